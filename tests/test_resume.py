"""Interrupted anywhere and resumed, a run ends with the weights of the uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import shell
from tests.conftest import TINY, train

# Everything that has a state of its own: dropout, a schedule on plateaus, a moving average, early stopping, 2 batches
# to a step. Patience and factor are such that the rate changes within the run.
SETTINGS = (
    "model.dropout=0.2",
    "scheduler=plateau",
    "scheduler.patience=0",
    "callbacks.ema.decay=0.9",
    "callbacks.early_stopping.patience=9",
    "callbacks.checkpoint.every_n_steps=1",
    "trainer.accumulate_grad_batches=2",
    "trainer.max_epochs=3",
    "data.batch_size=4",
)
# Runs in a process of its own and sends itself a signal at a step, or in the validation after an epoch.
KILLER = """
    import logging, os, signal, sys
    from pathlib import Path
    from visionlab.training.checkpoints import Checkpoints
    from visionlab.config.compose import compose
    from visionlab.train import run

    folder, where, name, *overrides = sys.argv[1:]
    kind, number = where.split("-")
    hook = "on_train_batch_end" if kind == "batch" else "on_validation_batch_end"
    original = getattr(Checkpoints, hook)
    calls = 0

    def patched(self, *args, **kwargs):
        global calls
        calls += 1
        if calls == int(number):
            os.kill(os.getpid(), getattr(signal, name))
        original(self, *args, **kwargs)

    setattr(Checkpoints, hook, patched)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(compose(overrides), Path(folder), "a test")
"""


def load(run: Path, name: str = "last") -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [where]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{where}: keys"]
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True)
        return [found for i, (a, b) in enumerate(pairs) for found in differences(a, b, f"{where}/{i}")]
    return [] if one == other else [f"{where}: {one} != {other}"]


def assert_same(run: Path, reference: Path) -> None:
    for name in ("last", "best"):
        one, other = load(run, name), load(reference, name)
        # The loops count what was started, which differs; nothing that shapes the weights is among it.
        assert not differences({**one, "loops": None}, {**other, "loops": None}), name
    assert (run / "predictions" / "test.csv").read_text() == (reference / "predictions" / "test.csv").read_text()


def killed(folder: Path, where: str, name: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(KILLER)
    command = [sys.executable, "-c", code, str(folder), where, name, *TINY, *SETTINGS, *overrides]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


def resume(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return shell.separate("resume", folder, *overrides)


@pytest.fixture(scope="module")
def reference(focus_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    run = train(tmp_path_factory.mktemp("reference") / "run", f"data.root={focus_root}", *SETTINGS)
    torch.set_num_threads(threads)
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "name", "workers"),
    [
        ("batch-3", "SIGKILL", 0),  # within the first epoch, between two batches of one step
        ("batch-8", "SIGKILL", 2),  # within the second epoch, going on with workers
        ("validation-3", "SIGKILL", 0),  # in a validation
        ("batch-9", "SIGTERM", 2),
        ("validation-2", "SIGINT", 0),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    reference: Path, focus_root: Path, tmp_path: Path, where: str, name: str, workers: int
) -> None:
    folder = tmp_path / "run"
    stopped = killed(folder, where, name, f"data.root={focus_root}")
    signum = getattr(signal, name)
    status = json.loads((folder / "status.json").read_text())
    if name == "SIGKILL":
        assert stopped.returncode == -signum
        assert status["state"] == "running"
    else:
        assert stopped.returncode == 128 + signum, stopped.stderr
        assert status["state"] == "interrupted"
        assert name in status["message"]
        assert f"python -m visionlab.resume {folder}" in stopped.stderr
        assert "Traceback" not in stopped.stderr
    assert not list((folder / "checkpoints").glob("*.part")) or name == "SIGKILL"
    went_on = resume(folder, f"data.num_workers={workers}")
    assert went_on.returncode == 0, went_on.stderr
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert_same(folder, reference)


@pytest.mark.slow
def test_a_finished_run_trained_longer_equals_a_longer_run(reference: Path, focus_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder, f"data.root={focus_root}", *SETTINGS, "trainer.max_epochs=2")
    refused = resume(folder)
    assert refused.returncode == 2
    assert "finished" in refused.stderr
    assert "trainer.max_epochs=N" in refused.stderr
    before = json.loads((folder / "run.json").read_text())
    assert resume(folder, "trainer.max_epochs=3").returncode == 0
    assert_same(folder, reference)
    after = json.loads((folder / "run.json").read_text())
    assert after["command"].endswith("trainer.max_epochs=3"), "what to type for the longer run"
    assert after["started"] == before["started"]
    assert after["seconds"] > before["seconds"]
    assert "read from" not in json.loads((folder / "data_card.json").read_text())["notes"][0]
    assert "epoch   3/3" in (folder / "train.log").read_text()


def test_curves_are_continuous_after_resuming(reference: Path, focus_root: Path, tmp_path: Path) -> None:
    from visionlab.reports.run import read_scalars

    folder = tmp_path / "run"
    killed(folder, "batch-8", "SIGKILL", f"data.root={focus_root}", "trainer.log_every_n_steps=1")
    resume(folder)
    expected = read_scalars(reference)
    found = read_scalars(folder)
    for tag in ("val/distance/mae", "val/loss", "train/loss_epoch"):
        assert found[tag]["step"].tolist() == expected[tag]["step"].tolist()
        assert found[tag]["value"].tolist() == pytest.approx(expected[tag]["value"].tolist(), rel=1e-6)


def test_moved_data_are_the_same_and_changed_pixels_are_not(focus_root: Path, tmp_path: Path) -> None:
    import imagecodecs
    import numpy as np

    root, moved = tmp_path / "focus", tmp_path / "moved"
    shutil.copytree(focus_root, root)
    train(tmp_path / "run", f"data.root={root}", "trainer.max_epochs=1")
    root.rename(moved)
    went_on = resume(tmp_path / "run", "trainer.max_epochs=2", f"data.root={moved}")
    assert went_on.returncode == 0, went_on.stderr
    changed = next((moved / "images").glob("*.png"))
    changed.write_bytes(imagecodecs.png_encode(np.zeros((32, 32), np.uint8)))
    stopped = resume(tmp_path / "run", "trainer.max_epochs=3")
    assert stopped.returncode == 1
    assert "changed since" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_ctrl_c_reaches_the_workers_too_and_everything_is_saved(focus_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "visionlab.train", *TINY, f"data.root={focus_root}", "data.num_workers=2",
        "trainer.max_epochs=500", f"hydra.run.dir={folder}",
    ]  # fmt: skip
    # A session of its own: a terminal sends Ctrl-C to the whole group, workers included.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   2/"):
            break
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130, rest
    assert "Traceback" not in rest
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert "everything saved" in status["message"]
    assert load(folder)["global_step"] == status["step"]


def test_a_run_stopped_before_its_first_step_starts_again_and_is_whole(focus_root: Path, tmp_path: Path) -> None:
    from visionlab.training.evaluation import evaluate_own

    done = train(tmp_path / "done", f"data.root={focus_root}", "trainer.max_epochs=1")
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(done / "config.yaml", folder)
    assert resume(folder).returncode == 0
    assert (folder / "splits.json").read_text() == (done / "splits.json").read_text()
    assert evaluate_own(folder, "test", "cpu") == folder


def test_settings_in_the_checkpoint_cannot_be_changed_by_resuming(reference: Path) -> None:
    for change in ("optimizer.lr=1e-5", "scheduler.patience=3", "data.batch_size=2", "seed=5"):
        refused = resume(reference, "trainer.max_epochs=9", change)
        assert refused.returncode == 2
        assert f"init_from={reference}" in refused.stderr


def test_a_second_process_in_the_folder_is_refused(reference: Path) -> None:
    from filelock import FileLock

    before = (reference / "status.json").read_text()
    with FileLock(reference / ".lock"):
        refused = resume(reference, "trainer.max_epochs=9")
    assert refused.returncode == 2
    assert "another process" in refused.stderr
    assert (reference / "status.json").read_text() == before


def test_checkpoints_are_written_beside_their_place_and_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visionlab.training.checkpoints import AtomicCheckpointIO

    path = tmp_path / "checkpoints" / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"state_dict": {"a": torch.ones(2)}}, path)

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        writer.save_checkpoint({}, path)
    assert torch.equal(writer.load_checkpoint(path)["state_dict"]["a"], torch.ones(2))
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_checkpoints_never_load_pickled_objects(tmp_path: Path) -> None:
    import pickle

    from visionlab.training.checkpoints import AtomicCheckpointIO

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"state_dict": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "trap.ckpt", weights_only=False)
    assert not (tmp_path / "sprung").exists()
