"""Trainings in stages: settings of each, counts and curves that go on, exact resumption in any stage, mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from tests.shell import separate
from tests.test_resume import KILLER, assert_same, load
from visionlab.config.compose import compose, compose_run
from visionlab.config.stages import each_stage, total_epochs
from visionlab.errors import ConfigError
from visionlab.reports.run import read_scalars
from visionlab.train import run
from visionlab.training.registry import REGISTRY

# The published settings on few and small images; the second stage is where runs are killed.
SMALL = (
    "trainer.accelerator=cpu",
    "trainer.limit_train_batches=2",
    "logger.graph=false",
    "callbacks.images.count=1",
    "callbacks.checkpoint.every_n_steps=1",
)
PROGRESSIVE = (
    *SMALL,
    "experiment=depth_mask_progressive",
    "data.image_size=32",
    *("stages.small.image_size=16", "stages.small.batch_size=4", "stages.small.epochs=2"),
    *("stages.medium.image_size=24", "stages.medium.batch_size=3", "stages.medium.epochs=2"),
    *("stages.large.image_size=32", "stages.large.batch_size=2"),
)
SHUFFLE = (
    *SMALL,
    "experiment=depth_mask_shuffle_unet",
    "data.image_size=40",
    *("stages.small.image_size=32", "stages.small.batch_size=4", "stages.small.epochs=1"),
    *("stages.large.image_size=40", "stages.large.batch_size=4"),
    *("stages.mask_20.image_size=40", "stages.mask_20.batch_size=4"),
    *("stages.mask_4.image_size=40", "stages.mask_4.batch_size=4", "stages.mask_4.epochs=1"),
)


def trained(folder: Path, root: Path, *overrides: str) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        return run(compose([*overrides, f"data.root={root}"]), folder, "a test")
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def progressive(depth_mask_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("stages") / "progressive", depth_mask_root, *PROGRESSIVE)


@pytest.fixture(scope="module")
def shuffle(depth_mask_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("stages") / "shuffle", depth_mask_root, *SHUFFLE)


def test_each_stage_has_its_own_settings_and_the_rest_of_the_run() -> None:
    cfg = compose(["experiment=depth_mask_shuffle_unet", "stages.large.lr=1e-3"])
    stages = each_stage(cfg)
    assert list(stages) == ["small", "large", "mask_20", "mask_4"]
    small, large, mask_20, mask_4 = stages.values()
    assert (small.data.image_size, small.data.batch_size, small.trainer.max_epochs) == (80, 192, 10)
    assert (small.optimizer.lr, large.optimizer.lr) == (2e-4, 1e-3)
    assert not small.augment.joint
    assert [entry["transform"] for entry in large.augment.joint] == ["Rotate", "HorizontalFlip"]
    assert "cyclic" in large.scheduler._target_
    assert "onecycle" in small.scheduler._target_
    assert (mask_20.balance.factor, mask_4.balance.factor) == (20, 4)
    assert "Sum" in large.balance._target_
    assert all(stage.loss == cfg.loss for stage in stages.values())
    assert total_epochs(cfg) == 10 + 2 + 1 + 2
    assert cfg.data.image_size == 160, "the run's own settings stay"


def test_counts_and_curves_go_on_through_the_stages(progressive: Path) -> None:
    curves = read_scalars(progressive)
    # Two steps an epoch, five epochs; Lightning logs at the last step of each.
    assert curves["val/loss"]["step"].tolist() == [1, 3, 5, 7, 9]
    assert curves["stage"]["value"].tolist() == [0, 0, 1, 1, 2]
    assert curves["epoch"]["value"].tolist()[-1] == 4
    # The step schedule (factor 0.1 after 2 epochs) begins anew in each stage.
    assert curves["lr"]["value"].round(6).unique().tolist()[0] == 0.047
    status = json.loads((progressive / "status.json").read_text())
    assert (status["state"], status["epoch"], status["step"]) == ("finished", 5, 10)


def test_the_last_stage_is_what_is_tested_and_predicts(progressive: Path) -> None:
    best = load(progressive, "best")
    assert (best["visionlab"]["preprocess"]["height"], best["visionlab"]["inputs"]) == (32, ["image", "background"])
    assert json.loads((progressive / "metrics.json").read_text())["test/mask/iou"]["n"] > 0
    log = load(progressive, "last")["progress"]
    assert (log["stage"], log["first_epoch"]) == (2, 4)


def test_weights_are_carried_over(shuffle: Path, depth_mask_root: Path, tmp_path: Path) -> None:
    """A stage that learns nothing ends with the weights that the one before left."""
    still = [f"stages.{name}.lr=1e-30" for name in ("large", "mask_20", "mask_4")]
    cycles = [f"stages.{name}.scheduler=none" for name in ("large", "mask_20", "mask_4")]
    folder = trained(tmp_path / "run", depth_mask_root, *SHUFFLE, *still, *cycles)
    weights = {name: value for name, value in load(folder)["state_dict"].items() if name.endswith("weight")}
    new = compose([*SHUFFLE])
    from visionlab.training import assembly

    torch.manual_seed(new.seed)
    network, _ = assembly.make_network(new)
    fresh = {f"model.network.{name}": value for name, value in network.state_dict().items()}
    assert all(weights[name].shape == fresh[name].shape for name in weights)
    moved = load(shuffle)["state_dict"]
    assert any(not torch.equal(weights[name], moved[name]) for name in weights), "the later stages do learn"
    assert any(not torch.equal(weights[name], fresh[name]) for name in weights), "the first stage's learning is kept"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "where", "name"),
    [
        ("progressive", "batch-6", "SIGKILL"),  # in the second epoch of stage 2
        ("progressive", "validation-7", "SIGTERM"),  # in a validation of stage 2
        ("shuffle", "batch-4", "SIGKILL"),  # in stage 2, whose batches are augmented
    ],
)
def test_killed_in_stage_2_and_resumed_equals_uninterrupted(
    which: str, where: str, name: str, depth_mask_root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    reference: Path = request.getfixturevalue(which)
    overrides = {"progressive": PROGRESSIVE, "shuffle": SHUFFLE}[which]
    folder = tmp_path / "run"
    command = [sys.executable, "-c", textwrap.dedent(KILLER), str(folder), where, name, *overrides]
    stopped = subprocess.run(
        [*command, f"data.root={depth_mask_root}"], capture_output=True, text=True, check=False, timeout=250
    )
    assert stopped.returncode == (-signal.SIGKILL if name == "SIGKILL" else 128 + getattr(signal, name)), stopped.stderr
    assert load(folder)["progress"]["stage"] == 1, "it was killed in stage 2"
    resumed = separate("resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "stage 1 of" not in resumed.stderr, "finished stages are not trained again"
    assert_same(folder, reference)
    assert read_scalars(folder)["val/loss"].equals(read_scalars(reference)["val/loss"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages.small.image_size=16"], "stages.small: data.image_size: expected at least 32"),
        (["stages.large.augment=fgbgg"], "stages.large.augment: expected one of .*Did you mean 'fgbg'"),
        (["stages.large.loss=dice"], "stages.large: loss: DiceLoss .*activation=none"),
        (["stages.mask_20.balance.by=dept"], "stages.mask_20: balance.by: .*Did you mean 'depth'"),
        (["stages.small.epochs=0"], "stages.small: trainer.max_epochs: expected int of at least 1"),
        (["stages.huge.epochs=2"], "stages.huge"),
        (["lr_find=true"], "lr_find: expected a run without stages"),
    ],
)
def test_mistakes_name_the_stage(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_run(["experiment=depth_mask_shuffle_unet", *overrides], REGISTRY)


def test_stages_can_be_written_on_the_command_line() -> None:
    cfg, _ = compose_run(["task=depth_mask", "+stages={first:{epochs:2,lr:1e-3},second:{epochs:1,loss:mse}}"], REGISTRY)
    first, second = each_stage(cfg).values()
    assert (first.trainer.max_epochs, first.optimizer.lr, second.trainer.max_epochs) == (2, 1e-3, 1)
    assert second.loss._target_.endswith(".mse")
    assert first.loss._target_.endswith("L1MSSSIMLoss")


@pytest.mark.parametrize("override", ["stages={first:{epochs:1}}", "+stages.first.epochs=1", "stages.first.epochs=1"])
def test_other_ways_to_write_new_stages_are_refused_with_the_right_one(override: str) -> None:
    with pytest.raises(ConfigError, match=r"\+stages=\{first:"):
        compose_run(["task=depth_mask", override], REGISTRY)
