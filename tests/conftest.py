"""What several tests share: a tiny generated set, a cache folder of the tests' own, and the reasons to skip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

# Before anything imports torch: the tests share two cores, and results must not depend on their number.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

# A network, images and a plan so small that a run takes seconds.
TINY = (
    "task=focus",
    "model=timm",
    "model.name=test_resnet",
    "data.image_size=32",
    "data.batch_size=8",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "logger.graph=false",
    "callbacks.images.count=2",
)


# The files that take longest: begun first, so that no process is left with one of them at the end.
SLOWEST = ("test_notebooks", "test_resume_exact", "test_commands", "test_additions", "test_training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in SLOWEST)
    for item in items:
        if item.get_closest_marker("shared_data") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="the real images in ../shared/data are not there"))
        if item.get_closest_marker("gpu") and not shutil.which("nvidia-smi"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        if item.get_closest_marker("chromium") and not shutil.which("chromium"):
            item.add_marker(pytest.mark.skip(reason="Chromium is not installed"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep generated sets and decoded images out of the user's cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["VISIONLAB_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def focus_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated focus set of 6 fields with 7 images of 32 x 32 pixels each."""
    from visionlab import samples

    return samples.write("focus", tmp_path_factory.mktemp("data") / "focus", fields=6, heights=7, image_size=32)


@pytest.fixture(scope="session")
def depth_mask_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated depth and mask set of 8 rooms with 3 images of 40 x 40 pixels each."""
    from visionlab import samples

    size = {"backgrounds": 8, "per_background": 3, "image_size": 40}
    return samples.write("depth_mask", tmp_path_factory.mktemp("data") / "depth_mask", **size)


@pytest.fixture(scope="session")
def atlas_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated protein atlas set of 140 images of 48 x 48 pixels in four files each, and 6 without labels."""
    from visionlab import samples

    size = {"images": 140, "test_images": 6, "image_size": 48}
    return samples.write("protein_atlas", tmp_path_factory.mktemp("data") / "protein_atlas", **size)


@pytest.fixture(scope="session")
def nuclei_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generated embryos of 3 time points with volumes of 12 x 48 x 64 voxels each."""
    from visionlab import samples

    size = {"sequences": 3, "frames": 3, "planes": 12, "width": 64}
    return samples.write("celegans_nuclei", tmp_path_factory.mktemp("data") / "nuclei", **size)


@pytest.fixture(scope="session")
def membrane_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generated embryos of walls, one MATLAB volume each."""
    from visionlab import samples

    size = {"embryos": 3, "planes": 12, "width": 64}
    return samples.write("celegans_membrane", tmp_path_factory.mktemp("data") / "membrane", **size)


@pytest.fixture(scope="session")
def lineage_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated embryos whose cells are counted by lineage."""
    from visionlab import samples

    size = {"embryos": 6, "frames": 5, "image_size": 48}
    return samples.write("celegans_lineage", tmp_path_factory.mktemp("data") / "lineage", **size)


@pytest.fixture(scope="session")
def roots(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return the function that gives the folder of a task's tiny generated set, made on first use."""
    names = {"celegans_nuclei": "nuclei", "celegans_membrane": "membrane", "celegans_lineage": "lineage"}
    names["protein_atlas"] = "atlas"
    return lambda task: request.getfixturevalue(f"{names.get(task, task)}_root")


@pytest.fixture(scope="session")
def runs(roots: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the function that gives a finished run of a task, trained on first use; tests don't change it."""
    from tests.acceptance.conftest import TINY as SETTINGS
    from tests.acceptance.conftest import run_command

    @cache
    def trained(task: str) -> Path:
        folder = tmp_path_factory.mktemp("runs") / task
        ended = run_command("train", *SETTINGS[task], f"data.root={roots(task)}", f"hydra.run.dir={folder}")
        assert ended.status == 0, ended.err
        return folder

    return trained


@pytest.fixture(scope="session")
def tiny_run(runs: Callable[[str], Path]) -> Path:
    """A finished run of numbers."""
    return runs("focus")


@pytest.fixture(scope="session")
def dense_run(runs: Callable[[str], Path]) -> Path:
    """A finished run of mask and depth from one image."""
    return runs("depth_mask")


@pytest.fixture(scope="session")
def atlas_run(runs: Callable[[str], Path]) -> Path:
    """A finished run of 28 labels."""
    return runs("protein_atlas")


@pytest.fixture(scope="session")
def nuclei_run(runs: Callable[[str], Path]) -> Path:
    """A finished run of objects in volumes, seen with the slices beside each."""
    return runs("celegans_nuclei")


@pytest.fixture(scope="session")
def two_input_run(depth_mask_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run from image and background, with several losses and learnt weights of the heads."""
    from tests import dense

    settings = ("data.inputs=[image,background]", "augment=fgbg_background", "heads.mask.loss={bce:1,dice:0.5}")
    folder = tmp_path_factory.mktemp("runs") / "two_inputs"
    return dense.train(folder, depth_mask_root, *settings, "heads.mask.weight=2", "balance=uncertainty")


@pytest.fixture
def write_png() -> Callable[[Path, object], None]:
    """Return a function that writes an array as PNG."""
    import imagecodecs

    def write(path: Path, image: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(imagecodecs.png_encode(np.asarray(image)))

    return write


def train(folder: Path, *overrides: str) -> Path:
    """Train in this process into ``folder`` with the tiny settings and these."""
    from visionlab.config.compose import compose
    from visionlab.train import run

    tasks = [text for text in overrides if text.startswith("task=")]
    settings = [text for text in TINY if not (tasks and text.startswith("task="))]
    return run(compose([*settings, *overrides]), folder, "python -m visionlab.train (a test)")


def train_labels(folder: Path, root: Path, *overrides: str) -> Path:
    """Train on a set of labels in this process into ``folder`` with the tiny settings and these."""
    return train(folder, "task=protein_atlas", "optimizer.lr=5e-3", f"data.root={root}", *overrides)


def chosen(group: str, choice: str) -> list[str]:
    """Return the overrides that choose a file of conf/, with the task that it is for where the default's isn't."""
    from visionlab import models
    from visionlab.config.compose import choice as content
    from visionlab.losses import LOSSES

    if group == "model" and choice != "timm" and models.lookup(choice).kind == "dense":
        inputs = ["data.inputs=[image,background]"] if choice == "dense_unet" else []
        return ["task=depth_mask", f"model={choice}", *inputs]
    if group == "loss":
        entry = LOSSES[content("loss", "loss", choice)["_target_"]]
        task = "protein_atlas" if entry.labels else "celegans_nuclei" if choice == "bce_dice" else "depth_mask"
        if task == "depth_mask" and entry.takes != "values":
            return [f"task={task}", f"heads.mask.loss={choice}"]
        return [f"task={task}", f"loss={choice}"] if entry.labels or entry.dense else [f"loss={choice}"]
    if group == "balance":
        return ["task=depth_mask", f"balance={choice}"]
    return [f"{group}={choice}"]
