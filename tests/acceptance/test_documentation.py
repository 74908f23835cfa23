"""Every command line of the README and of docs/ is run as it stands there, on small data, for one step."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import TINY, Command
from tests.conftest import ROOT

# Page -> task that its runs are of.
PAGES = {
    "README.md": "focus",
    "docs/data.md": "focus",
    "docs/focus.md": "focus",
    "docs/depth_mask.md": "depth_mask",
    "docs/protein_atlas.md": "protein_atlas",
    "docs/celegans_nuclei.md": "celegans_nuclei",
    "docs/celegans_membrane.md": "celegans_membrane",
    "docs/celegans_lineage.md": "celegans_lineage",
    "docs/training.md": "focus",
}
# Folders of the user's data in the pages -> task whose generated set stands for them.
FOLDERS = {
    "cells": "focus",
    "new_cells": "focus",
    "rooms": "depth_mask",
    "atlas": "protein_atlas",
    "embryos": "celegans_nuclei",
    "membranes": "celegans_membrane",
    "lineages": "celegans_lineage",
}
# Lines of other programs, which install or show.
OTHERS = ("make ", "pip install ", "python3 -m venv ", "tensorboard ")
# One step on small images. What asks for a GPU is left out where there is none.
SMALL = ("data.image_size=64", "data.batch_size=4", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1")
QUICK = (*SMALL, "trainer.max_epochs=1", "logger.graph=false", "callbacks.images.count=1")
Roots = Callable[[str], Path]


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of code in a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def lines(page: str) -> list[str]:
    """Return the command lines of a page, without comments."""
    found = []
    for block in blocks(page, "sh"):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            found.append(re.sub(r"\s{2,}#.*", "", line).strip())
    return [line for line in found if line and not line.startswith("#")]


def own(page: str) -> list[list[str]]:
    """Return the words after ``python -m`` of the lines that call visionlab."""
    return [shlex.split(line)[2:] for line in lines(page) if line.startswith("python -m visionlab.")]


def test_every_page_is_known() -> None:
    pages = {"README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))}
    assert {page for page in pages if lines(page)} == set(PAGES)
    others = [
        line for page in PAGES for line in lines(page) if not line.startswith(("python -m visionlab.", "python -c"))
    ]
    assert [line for line in others if not line.startswith(OTHERS)] == []


def test_links_lead_to_files() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_files_that_contributors_are_told_of_exist() -> None:
    examples = ("cell_count", "<", "NAME")
    named = re.findall(r"`((?:[\w<>]+/)+[\w<>]+\.(?:py|yaml))`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert named
    for name in (name for name in named if not any(word in name for word in examples)):
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "src" / "visionlab")), name


@pytest.mark.parametrize("page", PAGES)
def test_settings_of_the_pages_compose(page: str, command: Command, tmp_path: Path) -> None:
    experiments(page, tmp_path)
    for module, *words in own(page):
        verb = module.removeprefix("visionlab.")
        if verb not in ("train", "prepare", "benchmark"):
            continue
        settings = [word.replace("$PWD", str(tmp_path)) for word in words if word != "-m" and not swept(word)]
        ended = command(verb, *settings, "--cfg", "job")
        assert ended.status == 0, f"{' '.join(words)}: {ended.err}"


def swept(word: str) -> bool:
    return re.fullmatch(r"[\w.]+=[^\[{'\"]*,.*", word) is not None


def experiments(page: str, folder: Path) -> None:
    """Write the experiments that a page shows where it says that they are."""
    for block in blocks(page, "yaml"):
        if (name := re.search(r"^  name: (\w+)$", block, flags=re.MULTILINE)) is not None:
            path = folder / "my" / "experiment" / f"{name[1]}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES)
def test_command_lines_run(page: str, command: Command, roots: Roots, runs: Roots, tmp_path: Path) -> None:
    task = PAGES[page]
    experiments(page, tmp_path)
    files(task, roots(task), tmp_path)
    for number, line in enumerate(lines(page)):
        if line.startswith("python -c"):
            subprocess.run([sys.executable, *shlex.split(line)[1:]], cwd=tmp_path, check=True, timeout=200)
        if not line.startswith("python -m visionlab."):
            continue
        module, *words = shlex.split(line)[2:]
        verb = module.removeprefix("visionlab.")
        words = [placed(word, roots, tmp_path) for word in words]
        if verb in ("train", "prepare"):
            words += [word for word in QUICK if verb == "train" or word.startswith("data.")]
            words += (
                [] if any(word.startswith("hydra.sweep.dir") for word in words) else [f"hydra.run.dir=run_{number}"]
            )
            words += missing_root(words, roots)
        elif verb == "benchmark":
            words += [
                "data.image_size=80",
                "benchmark.batch_sizes=[2]",
                "benchmark.seconds=0.1",
                *missing_root(words, roots),
            ]
        else:
            run = two_inputs(command, roots, tmp_path) if "--with" in words else runs(task)
            words = [word for item in words for word in run_of(item, run, tmp_path, number)]
            words += ["trainer.max_epochs=3"] if verb == "resume" else []
        words = [
            f"{word}_{number}" if words[max(0, place - 1)] == "--out" else word for place, word in enumerate(words)
        ]
        ended = command(verb, *words, cwd=tmp_path)
        assert ended.status == 0, f"{line}: {ended.err}"


def placed(word: str, roots: Roots, folder: Path) -> str:
    """Return a word with the folders of this machine, and without what only a GPU can do."""
    if match := re.search(r"/data/(\w+)", word):
        word = word.replace(match[0], str(roots(FOLDERS[match[1]])))
    return "trainer=default" if word == "trainer=gpu" else word.replace("$PWD", str(folder))


def missing_root(words: list[str], roots: Roots) -> list[str]:
    """Return the small set for lines that leave out ``data.root``, which then is a large generated one."""
    if any(word.startswith("data.root=") for word in words):
        return []
    task = next((word.removeprefix("task=") for word in words if word.startswith("task=")), "depth_mask")
    return [f"data.root={roots(task)}"]


def run_of(word: str, run: Path, folder: Path, number: int) -> list[str]:
    """Return the run that a word stands for, a copy that may be changed; or the word."""
    if "*" in word:
        return sorted(str(path) for path in folder.glob(word))
    if word == "RUN" or word.startswith("outputs/"):
        copy = folder / f"copy_{number}"
        shutil.copytree(run, copy, dirs_exist_ok=True)
        return [str(copy)]
    return [word]


def two_inputs(command: Command, roots: Roots, folder: Path) -> Path:
    """Return a run that takes an image and its background."""
    settings = ("data.inputs=[image,background]", "augment=fgbg_background", f"data.root={roots('depth_mask')}")
    ended = command("train", *TINY["depth_mask"], *settings, "trainer.max_epochs=1", f"hydra.run.dir={folder / 'two'}")
    assert ended.status == 0, ended.err
    return folder / "two"


def files(task: str, root: Path, folder: Path) -> None:
    """Make the files that the pages predict for."""
    if task == "depth_mask":
        photos = sorted((root / "fgbg").rglob("*.jpg") if (root / "fgbg").is_dir() else root.glob("images/*"))[:2]
        for name in ("photos", "empty"):
            (folder / name).mkdir()
            for photo in photos:
                shutil.copy(photo, folder / name / photo.name)
    if task == "celegans_nuclei":
        volumes = sorted((root / "01").glob("t*.tif"))
        (folder / "frames").mkdir()
        for volume in volumes[:2]:
            shutil.copy(volume, folder / "frames" / volume.name)
        shutil.copy(volumes[0], folder / "recording.tif")
    if task == "protein_atlas":
        import timm
        from safetensors.torch import save_file

        network = timm.create_model("densenet121", num_classes=0)
        save_file(
            {name: value.contiguous() for name, value in network.state_dict().items()},
            folder / "densenet121.safetensors",
        )
