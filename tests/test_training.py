"""Whole runs on a tiny network: every setting of training does what it says, and what cannot be trained is named."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

import visionlab
from tests.conftest import TINY, train
from visionlab.config.checks import check
from visionlab.config.compose import compose
from visionlab.config.stages import each_stage
from visionlab.errors import ConfigError, DataError, UsageError, UserError
from visionlab.training import assembly
from visionlab.training.evaluation import measure_split
from visionlab.training.registry import REGISTRY

WEIGHT = "model.network.head.1.weight"
FREEZING = "+stages={head:{epochs:1,freeze:true},all:{epochs:1,freeze:false,lr:1e-4}}"


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def events(run: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0, "graph": 0})
    reader.Reload()
    return reader


def curve(run: Path, tag: str) -> list[float]:
    return [event.value for event in events(run).Scalars(tag)]


def data_module(root: Path) -> Any:
    data = assembly.make_data(compose([*TINY, f"data.root={root}"]))
    data.setup()
    return data


def no_report(patch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which takes longer than the rest, where nobody looks at it."""
    patch.setattr("visionlab.reports.write_report", lambda folder: folder / "report.html")


# Settings -----------------------------------------------------------------------------------------------------------


def test_what_only_watches_changes_no_weight(
    focus_root: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moving average, the graph, histograms and compiling leave the training as it is, and the weights' names."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    watched = ("callbacks.ema.decay=0.99", "compile=true", "logger.graph=true", "logger.histograms=true")
    run = train(tmp_path / "run", f"data.root={focus_root}", *watched)
    assert compiled == ["ImageNetwork"]
    averaged, current = checkpoint(run)["state_dict"], checkpoint(run)["current_model_state"]
    expected = checkpoint(tiny_run)["state_dict"]
    assert current.keys() == expected.keys()
    assert all(torch.equal(current[name], expected[name]) for name in expected)
    assert not torch.equal(averaged[WEIGHT], current[WEIGHT]), "the average is what is validated and kept"
    tags = events(run).Tags()
    assert tags["graph"]
    assert any(tag.startswith("weights/") for tag in tags["histograms"])
    assert (run / "plots" / "weights.png").is_file()


@pytest.mark.parametrize(
    "changes",
    [
        (
            *("optimizer=adamw", "scheduler=cosine", "scheduler.warmup_epochs=1", "trainer.precision=bf16-mixed"),
            *("trainer.gradient_clip_val=0.1", "trainer.channels_last=true", "model.hidden=[16]", "model.dropout=0.3"),
            "trainer.num_sanity_val_steps=2",
        ),
        (
            *("optimizer=sgd", "scheduler=cyclic", "scheduler.base_lr=1e-4", "scheduler.step_size_epochs=0.5"),
            *("loss=mse", "data.fit=pad", "data.normalize=image", "data.channels=3", "augment=flips"),
            "trainer.accumulate_grad_batches=2",
        ),
    ],
    ids=lambda changes: str(changes[0]),
)
def test_settings_train(
    focus_root: Path, tmp_path: Path, changes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_report(monkeypatch)
    run = train(tmp_path / "run", f"data.root={focus_root}", *changes)
    assert json.loads((run / "metrics.json").read_text())["test/distance/mae"]["value"] > 0
    assert len(curve(run, "val/loss")) == 2, "a rehearsal of validation is none"
    row = pd.read_csv(run / "predictions" / "test.csv").iloc[0]
    found = visionlab.load(run).predict(focus_root / row["path"]).distance
    assert found == pytest.approx(row["distance_pred"], abs=1e-3)


def test_the_rate_falls_on_plateaus_and_the_best_epoch_is_kept(
    focus_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_report(monkeypatch)
    settings = ("scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5", "trainer.log_every_n_steps=1")
    run = train(tmp_path / "run", f"data.root={focus_root}", *settings, "optimizer.lr=0.02", "trainer.max_epochs=5")
    values, rates = curve(run, "val/distance/mae"), curve(run, "lr")
    best = [min([float("inf"), *values[:epoch]]) for epoch in range(len(values))]
    # The last validation is followed by no step.
    halvings = sum(value >= low * (1 - 1e-4) for value, low in list(zip(values, best, strict=True))[:-1])
    assert halvings > 0
    assert rates[-1] / rates[0] == pytest.approx(0.5**halvings)
    rows, _ = measure_split(visionlab.load(run), data_module(focus_root), "val")["distance"]
    assert abs(rows[:, 1] - rows[:, 0]).mean() == pytest.approx(min(values), rel=1e-4)


def test_a_rate_is_found_and_followed(focus_root: Path, tmp_path: Path) -> None:
    settings = ("lr_find=true", "scheduler=onecycle", "trainer.log_every_n_steps=1", "trainer.max_epochs=2")
    run = train(tmp_path / "run", f"data.root={focus_root}", *settings)
    found = pd.read_csv(run / "lr_find.csv")
    assert len(found) >= 20
    assert found["lr"].is_monotonic_increasing
    from omegaconf import OmegaConf

    suggested = OmegaConf.load(run / "config.yaml").optimizer.lr
    assert suggested != 1e-3
    rates = curve(run, "lr")
    assert rates[0] == pytest.approx(suggested / 25, rel=1e-5)
    assert max(rates) == pytest.approx(suggested, rel=0.3)
    assert rates[-1] < rates[0]
    assert not list(run.glob(".lr_find*"))
    assert (run / "plots" / "lr_find.png").is_file()


def test_init_from_loads_weights_only(
    focus_root: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_report(monkeypatch)
    still = ("optimizer=sgd", "optimizer.lr=1e-12", "trainer.max_epochs=1")
    run = train(tmp_path / "run", f"data.root={focus_root}", f"init_from={tiny_run}", *still)
    start = checkpoint(tiny_run, "best")["state_dict"][WEIGHT]
    assert torch.allclose(checkpoint(run)["state_dict"][WEIGHT], start, atol=1e-8)
    assert checkpoint(run)["epoch"] == 0
    for other, message in (
        ("data.channels=3", r"test_resnet with 3 channel.*found test_resnet with 1.* differ, the first is"),
        ("model.hidden=[8]", r"and 1 out, hidden=\[8\], found .*and 1 out, hidden=.*the first is head\.1\.weight"),
    ):
        with pytest.raises(UsageError, match=f"init_from=.*{message}"):
            train(tmp_path / "other", f"data.root={focus_root}", f"init_from={tiny_run}", other)


def test_packages_need_not_be_installed(focus_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    no_report(monkeypatch)
    monkeypatch.setattr("visionlab.training.records.version", absent)
    run = train(tmp_path / "run", f"data.root={focus_root}", "trainer.max_epochs=1")
    assert set(json.loads((run / "run.json").read_text())["versions"]) == {"python", "visionlab"}


def test_a_trunk_is_frozen_in_one_stage_and_learns_in_the_next(focus_root: Path, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", in_chans=1, num_classes=0).state_dict(), tmp_path / "start.pth")
    settings = ("task=focus", "model=timm", "model.name=test_resnet", f"model.weights={tmp_path / 'start.pth'}")
    cfg = compose([*settings, FREEZING])
    check(cfg, REGISTRY)
    data, model, learning = data_module(focus_root), None, []
    for stage in each_stage(cfg).values():
        module = assembly.make_module(stage, model)
        module.build(data)
        model = module.model
        learning.append({name for name, value in model.network.named_parameters() if value.requires_grad})
    assert learning[0] == {"head.1.weight", "head.1.bias"}
    assert learning[1] == {name for name, _ in model.network.named_parameters()}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "message"),
    [("resnet18", r"model\.freeze: expected trained weights"), ("small_cnn", r"unknown key 'model\.freeze'")],
)
def test_what_cannot_be_frozen_is_named(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"stages\.head: .*{message}|stages\.head: {message}"):
        check(compose(["task=protein_atlas", f"model={model}", FREEZING]), REGISTRY)


# What cannot be trained ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model.name=vit_tiny_patch16_224",), r"image_size=32 x 32.*vit_tiny_patch16_224.*224"),
        (
            ("data.samples_per_epoch=1", "trainer.devices=2", "trainer.strategy=ddp"),
            r"data\.samples_per_epoch: expected at least 2, .*devices, found 1",
        ),
        pytest.param(
            ("trainer.accelerator=gpu",),
            r"trainer\.accelerator=gpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_run_that_never_began_leaves_no_folder(
    settings: tuple[str, ...], message: str, focus_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "runs" / "run", f"data.root={focus_root}", *settings)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("accelerator", "advised"), [("gpu", "accelerator"), ("auto", "devices")])
def test_what_takes_the_devices_that_there_are_is_advised(
    accelerator: str, advised: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise MisconfigurationException("You requested gpu: [0, 1, 2, 3], your machine has [0].")

    monkeypatch.setattr("pytorch_lightning.Trainer", refuse)
    with pytest.raises(UsageError, match=rf"trainer\.devices=4: You .*\. trainer\.{advised}=auto takes what there is"):
        assembly.bare_trainer(compose([f"trainer.accelerator={accelerator}", "trainer.devices=4"]))


def test_files_that_cannot_be_used_are_named_and_leave_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for group in "abc":
        (tmp_path / "data" / f"{group}_1_2.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a_1_2\.png"):
        train(tmp_path / "runs" / "run", f"data.root={tmp_path / 'data'}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("optimizer=sgd", "optimizer.lr=1e30", "loss=mse"), r"diverged.*optimizer\.lr"),
        (("model.name=resnet18", "data.batch_size=1"), r"data\.batch_size=1: batch normalisation"),
        (("trainer.max_steps=1",), r"training ended before the first validation"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_training_that_fails_says_why(
    settings: tuple[str, ...], message: str, focus_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(tmp_path / "run", f"data.root={focus_root}", *settings)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


def test_a_folder_with_a_run_is_refused(focus_root: Path, tiny_run: Path) -> None:
    with pytest.raises(UsageError, match=r"found a run in it.*visionlab\.resume"):
        train(tiny_run, f"data.root={focus_root}")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_training_on_a_gpu(focus_root: Path, tmp_path: Path, precision: str) -> None:
    settings = ("trainer.accelerator=gpu", "trainer.channels_last=true", "trainer.gradient_clip_val=1.0")
    run = train(tmp_path / "run", f"data.root={focus_root}", f"trainer.precision={precision}", *settings)
    assert json.loads((run / "metrics.json").read_text())["test/distance/mae"]["value"] > 0
