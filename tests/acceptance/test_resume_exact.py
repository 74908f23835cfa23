"""Interrupted anywhere and resumed, a run on the CPU ends with the weights of the uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import torch

import visionlab
from tests.acceptance.conftest import PLAN, TINY, Command, Ended

# Everything that has a state of its own: dropout, a schedule on plateaus, a moving average, early stopping, 2 batches
# to a step. Patience and factor are such that the rate changes within the run.
STATEFUL = (
    *("model.dropout=0.2", "scheduler=plateau", "scheduler.patience=0", "callbacks.ema.decay=0.9"),
    *("callbacks.early_stopping.patience=9", "callbacks.checkpoint.every_n_steps=1"),
    *("trainer.accumulate_grad_batches=2", "trainer.max_epochs=3", "data.batch_size=4"),
)
QUICK = (*PLAN, "trainer.limit_train_batches=2", "callbacks.checkpoint.every_n_steps=1")
# name -> task of the data, settings
SETTINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "numbers": ("focus", (*TINY["focus"], *STATEFUL)),
    # Nothing is learnt, so training stops by itself: where it does depends on what was counted before it was killed.
    "stopping": (
        "focus",
        (
            *TINY["focus"],
            *STATEFUL,
            "optimizer.lr=1e-30",
            "callbacks.early_stopping.patience=2",
            "trainer.max_epochs=9",
        ),
    ),
    "labels": (
        "protein_atlas",
        (
            *(*TINY["protein_atlas"], *STATEFUL, "data.classes=[25,21,0]", "data.samples_per_epoch=20"),
            *("data.sampling=balanced", "heads.labels.calibration=platt", "loss.class_weights=log"),
        ),
    ),
    "objects": ("celegans_nuclei", (*TINY["celegans_nuclei"], *QUICK, "trainer.max_epochs=2")),
    "stages": (
        "depth_mask",
        (
            *(*QUICK, "experiment=depth_mask_progressive", "callbacks.images.count=1", "data.image_size=32"),
            *("stages.small.image_size=16", "stages.small.batch_size=4", "stages.small.epochs=2"),
            *("stages.medium.image_size=24", "stages.medium.batch_size=3", "stages.medium.epochs=2"),
            *("stages.large.image_size=32", "stages.large.batch_size=2"),
        ),
    ),
    "augmented stages": (
        "depth_mask",
        (
            *(*QUICK, "experiment=depth_mask_shuffle_unet", "callbacks.images.count=1", "data.image_size=40"),
            *("stages.small.image_size=32", "stages.small.batch_size=4", "stages.small.epochs=1"),
            *("stages.large.image_size=40", "stages.large.batch_size=4"),
            *("stages.mask_20.image_size=40", "stages.mask_20.batch_size=4"),
            *("stages.mask_4.image_size=40", "stages.mask_4.batch_size=4", "stages.mask_4.epochs=1"),
        ),
    ),
}
# Trains, and sends itself a signal at a batch of training or validation, or in the middle of saving a checkpoint.
KILLER = """
import os, signal, sys
import pytorch_lightning as pl
import torch

place, name, *sys.argv[1:] = sys.argv[1:]
kind, number = place.split("-")
calls = 0

def reached():
    global calls
    calls += 1
    return calls == int(number)

class Killer(pl.Callback):
    def on_train_batch_end(self, *_):
        if kind == "batch" and reached():
            os.kill(os.getpid(), getattr(signal, name))

    def on_validation_batch_end(self, *_):
        if kind == "validation" and reached():
            os.kill(os.getpid(), getattr(signal, name))

start, save = pl.Trainer.__init__, torch.save

def started(self, *args, callbacks=None, **options):
    start(self, *args, callbacks=[Killer(), *(callbacks or [])], **options)

def saved(content, file, *args, **options):
    save(content, file, *args, **options)
    if kind == "saving" and reached():
        path = file.name if hasattr(file, "name") else file
        if hasattr(file, "flush"):
            file.flush()
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

pl.Trainer.__init__, torch.save = started, saved
from visionlab.train import main
main()
"""

Whole = Callable[[str], Path]


def words(name: str, roots: Callable[[str], Path], folder: Path) -> list[str]:
    """Return what is typed to train with some settings into a folder."""
    task, settings = SETTINGS[name]
    return [*settings, f"data.root={roots(task)}", f"hydra.run.dir={folder}"]


@pytest.fixture(scope="module")
def whole(roots: Callable[[str], Path], command: Command, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return the function that gives the uninterrupted run of some settings."""

    @cache
    def train(name: str) -> Path:
        folder = tmp_path_factory.mktemp("whole") / "run"
        ended = command("train", *words(name, roots, folder))
        assert ended.status == 0, ended.err
        return folder

    return train


def killed(place: str, name: str, arguments: list[str]) -> Ended:
    """Train in a process that is sent a signal (``name``) at a place such as ``batch-3``; say how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER, place, name, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [where]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{where}: keys"]
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        return [
            found for i, pair in enumerate(zip(one, other, strict=True)) for found in differences(*pair, f"{where}/{i}")
        ]
    return [] if one == other else [f"{where}: {one} != {other}"]


def curve(run: Path, tag: str) -> dict[int, float]:
    """Return step -> value; a step that a resumed run did again counts as it was then."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    reader.Reload()
    return {event.step: event.value for event in reader.Scalars(tag)}


def assert_same(run: Path, reference: Path) -> None:
    """Check that two runs ended alike: weights, states of optimizer and schedule, callbacks, metrics, predictions."""
    for name in ("last", "best"):
        one, other = checkpoint(run, name), checkpoint(reference, name)
        # The loops count what was started, which differs; nothing that shapes the weights is among it.
        assert not differences({**one, "loops": None}, {**other, "loops": None}), name
    for table in ("test.csv", "val.csv"):
        assert (run / "predictions" / table).read_text() == (reference / "predictions" / table).read_text()
    assert not differences(read(run / "metrics.json"), read(reference / "metrics.json"))
    for tag in ("val/loss", "train/loss_epoch"):
        assert curve(run, tag) == pytest.approx(curve(reference, tag), rel=1e-6), tag


FULL = pytest.mark.acceptance


@pytest.mark.parametrize(
    ("name", "place", "sent", "workers"),
    [
        ("numbers", "batch-8", "SIGKILL", 2),  # within the second epoch, going on with workers
        pytest.param("numbers", "batch-3", "SIGKILL", 0, marks=FULL),  # between two batches of one step
        pytest.param("numbers", "validation-3", "SIGKILL", 0, marks=FULL),
        pytest.param("numbers", "batch-9", "SIGTERM", 2, marks=FULL),
        pytest.param("numbers", "validation-2", "SIGINT", 0, marks=FULL),
        pytest.param("numbers", "saving-6", "SIGKILL", 0, marks=FULL),  # half a checkpoint is on the disk
        pytest.param("stopping", "batch-8", "SIGKILL", 0, marks=FULL),
        pytest.param("labels", "batch-8", "SIGKILL", 2, marks=FULL),
        pytest.param("objects", "batch-3", "SIGTERM", 2, marks=FULL),
        pytest.param("stages", "batch-6", "SIGKILL", 0, marks=FULL),  # in the second epoch of stage 2
        pytest.param("stages", "validation-7", "SIGTERM", 0, marks=FULL),  # in a validation of stage 2
        pytest.param("augmented stages", "batch-4", "SIGKILL", 2, marks=FULL),  # in stage 2
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    name: str,
    place: str,
    sent: str,
    workers: int,
    whole: Whole,
    roots: Callable[[str], Path],
    command: Command,
    tmp_path: Path,
) -> None:
    reference, folder = whole(name), tmp_path / "run"
    stopped = killed(place, sent, words(name, roots, folder))
    number, status = getattr(signal, sent), read(folder / "status.json")
    if sent == "SIGKILL":
        assert stopped.status == -number, stopped.err
        assert status["state"] == "running"
    else:
        assert stopped.status == 128 + number, stopped.err
        assert status["state"] == "interrupted" and sent in status["message"]
        assert f"python -m visionlab.resume {folder}" in stopped.err
        assert "Traceback" not in stopped.err
        assert not list(folder.rglob("*.part"))
    # What there is can be loaded.
    assert checkpoint(folder)["global_step"] >= 1
    went_on = command("resume", folder, f"data.num_workers={workers}", process=workers > 0)
    assert went_on.status == 0, went_on.err
    assert "stage 1 of" not in went_on.err, "finished stages are not trained again"
    assert read(folder / "status.json")["state"] == "finished"
    assert_same(folder, reference)
    if name == "stopping":
        assert read(folder / "status.json")["epoch"] < 9


@pytest.mark.acceptance
def test_a_finished_run_trained_longer_equals_a_longer_run(
    whole: Whole, roots: Callable[[str], Path], command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert command("train", *words("numbers", roots, folder), "trainer.max_epochs=2").status == 0
    refused = command("resume", folder)
    assert refused.status == 2 and "finished" in refused.err and "trainer.max_epochs=" in refused.err
    assert command("resume", folder, "trainer.max_epochs=3").status == 0
    assert_same(folder, whole("numbers"))
    assert read(folder / "run.json")["command"].endswith("trainer.max_epochs=3"), "what to type for the longer run"


@pytest.mark.acceptance
def test_counts_and_curves_go_on_through_stages(whole: Whole) -> None:
    # Two steps an epoch, five epochs; Lightning logs at the last step of each.
    assert list(curve(whole("stages"), "val/loss")) == [1, 3, 5, 7, 9]
    assert list(curve(whole("stages"), "stage").values()) == [0, 0, 1, 1, 2]
    status = read(whole("stages") / "status.json")
    assert (status["state"], status["epoch"], status["step"]) == ("finished", 5, 10)
    best = checkpoint(whole("stages"), "best")["visionlab"]
    assert (best["preprocess"]["height"], best["inputs"]) == (32, ["image", "background"])


@pytest.mark.acceptance
def test_weights_are_carried_over_to_the_next_stage(
    roots: Callable[[str], Path], command: Command, tmp_path: Path
) -> None:
    base = (*TINY["focus"], f"data.root={roots('focus')}", "scheduler=none")
    stages = "+stages={first:{epochs:1},second:{epochs:1,lr:1e-30}}"
    for name, change in (("one", "trainer.max_epochs=1"), ("two", stages)):
        ended = command("train", *base, change, f"hydra.run.dir={tmp_path / name}")
        assert ended.status == 0, ended.err
    one, two = (checkpoint(tmp_path / name)["state_dict"] for name in ("one", "two"))
    weights = [name for name, value in one.items() if value.ndim > 1 and "running" not in name]
    assert len(weights) > 10
    assert all(torch.equal(one[name], two[name]) for name in weights), "the second stage learns nothing"


@pytest.mark.acceptance
def test_ctrl_c_saves_and_nobody_else_may_go_on_meanwhile(
    roots: Callable[[str], Path], command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = [*TINY["focus"], f"data.root={roots('focus')}", "data.num_workers=2", "trainer.max_epochs=500"]
    # A session of its own: a terminal sends Ctrl-C to the whole group, workers included.
    process = subprocess.Popen(
        [sys.executable, "-m", "visionlab.train", *words, f"hydra.run.dir={folder}"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("epoch   2/"):
                break
        refused = command("resume", folder)
        assert refused.status == 2 and "another process" in refused.err
    finally:
        os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130, rest
    assert "Traceback" not in rest
    status = read(folder / "status.json")
    assert status["state"] == "interrupted"
    assert checkpoint(folder)["global_step"] == status["step"]


@pytest.mark.acceptance
def test_moved_data_are_the_same_and_changed_pixels_are_not(
    roots: Callable[[str], Path], command: Command, tmp_path: Path
) -> None:
    root, moved, run = tmp_path / "focus", tmp_path / "moved", tmp_path / "run"
    shutil.copytree(roots("focus"), root)
    words = (*TINY["focus"], f"data.root={root}", "trainer.max_epochs=1", f"hydra.run.dir={run}")
    assert command("train", *words).status == 0
    root.rename(moved)
    assert command("resume", run, "trainer.max_epochs=2", f"data.root={moved}").status == 0
    changed = next((moved / "images").glob("*.png"))
    changed.write_bytes(imagecodecs.png_encode(np.zeros((32, 32), np.uint8)))
    stopped = command("resume", run, "trainer.max_epochs=3")
    assert stopped.status == 1 and "changed since" in stopped.err and "Traceback" not in stopped.err


@pytest.mark.acceptance
def test_a_run_stopped_before_its_first_step_starts_again(
    roots: Callable[[str], Path], command: Command, tmp_path: Path
) -> None:
    words = (
        *TINY["focus"],
        f"data.root={roots('focus')}",
        "trainer.max_epochs=1",
        f"hydra.run.dir={tmp_path / 'done'}",
    )
    assert command("train", *words).status == 0
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(tmp_path / "done" / "config.yaml", folder)
    assert command("resume", folder).status == 0
    assert (folder / "splits.json").read_text() == (tmp_path / "done" / "splits.json").read_text()
    assert not differences(checkpoint(folder)["state_dict"], checkpoint(tmp_path / "done")["state_dict"])
    assert visionlab.load(folder).heads


def test_what_shapes_the_weights_is_not_changed_by_resuming(whole: Whole, command: Command) -> None:
    run = whole("numbers")
    for change in ("optimizer.lr=1e-5", "scheduler.patience=3", "data.batch_size=2", "seed=5"):
        refused = command("resume", run, "trainer.max_epochs=9", change)
        assert refused.status == 2 and f"init_from={run}" in refused.err


@pytest.mark.acceptance
def test_the_number_of_workers_does_not_matter_and_the_seed_does(
    whole: Whole, roots: Callable[[str], Path], command: Command, tmp_path: Path
) -> None:
    for change, same in (("data.num_workers=2", True), ("seed=1", False)):
        run = tmp_path / str(same)
        assert command("train", *words("numbers", roots, run), change).status == 0
        found = differences(checkpoint(run)["state_dict"], checkpoint(whole("numbers"))["state_dict"])
        assert (not found) == same
