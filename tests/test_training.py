"""Whole runs on a tiny network: what they write, and that every setting of training does what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.conftest import train
from visionlab.errors import UsageError, UserError


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def events(run: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0, "graph": 0})
    reader.Reload()
    return reader


def test_tensorboard_holds_scalars_images_figures_and_hyperparameters(tiny_run: Path) -> None:
    reader = events(tiny_run)
    tags = reader.Tags()
    assert {"train/loss_epoch", "val/loss", "val/distance/mae", "lr", "epoch"} <= set(tags["scalars"])
    steps = [event.step for event in reader.Scalars("val/distance/mae")]
    assert len(steps) == 2
    assert steps == sorted(set(steps))
    assert {"val/distance/images", "val/distance/scatter", "val/distance/errors"} <= {
        tag.rsplit("/", 1)[0] if tag.rsplit("/", 1)[1].isdigit() else tag for tag in tags["images"]
    }
    tag = next(tag for tag in tags["images"] if tag.startswith("val/distance/scatter"))
    assert [event.step for event in reader.Images(tag)] == steps
    metadata = reader.summary_metadata
    assert any(name.startswith("_hparams_") for name in metadata), "the table of hyper-parameters"
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    assert reader.Scalars("test/distance/mae")[-1].value == pytest.approx(metrics["test/distance/mae"]["value"])


def test_tensorboard_holds_the_graph_and_histograms(focus_root: Path, tmp_path: Path) -> None:
    run = train(
        tmp_path / "run",
        f"data.root={focus_root}",
        "logger.graph=true",
        "logger.histograms=true",
        "trainer.max_epochs=1",
    )
    reader = events(run)
    assert reader.Tags()["graph"]
    assert any(tag.startswith("weights/") for tag in reader.Tags()["histograms"])


def test_tracing_the_graph_does_not_change_the_training(focus_root: Path, tiny_run: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "run", f"data.root={focus_root}", "logger.graph=true")
    assert same_weights(run, tiny_run)


def same_weights(one: Path, other: Path) -> bool:
    a, b = checkpoint(one)["state_dict"], checkpoint(other)["state_dict"]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "changes",
    [
        ["optimizer=adamw", "scheduler=cosine", "scheduler.warmup_epochs=1", "trainer.precision=bf16-mixed"],
        ["optimizer=sgd", "scheduler=onecycle", "loss=huber", "trainer.accumulate_grad_batches=2"],
        ["scheduler=cyclic", "scheduler.base_lr=1e-4", "scheduler.step_size_epochs=0.5", "loss=mse"],
        ["scheduler=step", "trainer.gradient_clip_val=0.1", "trainer.channels_last=true", "augment=none"],
        ["scheduler=multistep", "callbacks.ema.decay=0.9", "model.hidden=[16]", "model.dropout=0.3"],
        ["scheduler=none", "data.fit=pad", "data.normalize=image", "data.channels=3", "augment=flips"],
    ],
    ids=lambda changes: changes[0].split("=")[1] + "-" + changes[1].split("=")[1],
)
def test_settings_train(focus_root: Path, tmp_path: Path, changes: list[str]) -> None:
    import visionlab

    run = train(tmp_path / "run", f"data.root={focus_root}", *changes)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test/distance/mae"]["value"] > 0
    image = next((focus_root / "images").glob("*.png"))
    table = pd.read_csv(run / "predictions" / "test.csv")
    path = focus_root / table["path"].iloc[0]
    assert visionlab.load(run).predict(path).distance == pytest.approx(table["distance_pred"].iloc[0], abs=1e-3)
    assert image.is_file()


def test_learning_rate_follows_the_schedule(focus_root: Path, tmp_path: Path) -> None:
    run = train(
        tmp_path / "run",
        f"data.root={focus_root}",
        "scheduler=onecycle",
        "trainer.log_every_n_steps=1",
        "optimizer.lr=0.01",
    )
    rates = [event.value for event in events(run).Scalars("lr")]
    assert max(rates) == pytest.approx(0.01, rel=0.3)
    assert rates[0] < max(rates)
    assert rates[-1] < rates[0]


def test_plateau_follows_validation(focus_root: Path, tmp_path: Path) -> None:
    run = train(
        tmp_path / "run",
        f"data.root={focus_root}",
        "scheduler=plateau",
        "scheduler.patience=0",
        "scheduler.factor=0.5",
        "optimizer=sgd",
        "optimizer.lr=1e-6",
        "trainer.max_epochs=5",
        "trainer.log_every_n_steps=1",
    )
    rates = [event.value for event in events(run).Scalars("lr")]
    assert rates[-1] < rates[0]
    halvings = sum(not better for better in improvements(events(run)))
    assert rates[-1] / rates[0] == pytest.approx(0.5**halvings), "the last validation is followed by no step"


def improvements(reader: Any) -> list[bool]:
    """Return for each validation but the last whether its metric was the best so far by the plateau's threshold."""
    values = [event.value for event in reader.Scalars("val/distance/mae")]
    best = [min([float("inf"), *values[:i]]) for i in range(len(values))]
    return [value < low * (1 - 1e-4) for value, low in zip(values, best, strict=True)][:-1]


def test_early_stopping(focus_root: Path, tmp_path: Path) -> None:
    run = train(
        tmp_path / "run",
        f"data.root={focus_root}",
        "optimizer=sgd",
        "optimizer.lr=1e-12",
        "callbacks.early_stopping.patience=2",
        "callbacks.early_stopping.min_delta=0.1",
        "trainer.max_epochs=9",
    )
    assert len(events(run).Scalars("val/loss")) == 3


def test_moving_average_is_what_is_validated_and_kept(focus_root: Path, tmp_path: Path, tiny_run: Path) -> None:
    run = train(tmp_path / "run", f"data.root={focus_root}", "callbacks.ema.decay=0.99")
    last = checkpoint(run)
    averaged, current = last["state_dict"], last["current_model_state"]
    name = "model.network.head.1.weight"
    assert not torch.equal(averaged[name], current[name])
    assert torch.equal(current[name], checkpoint(tiny_run)["state_dict"][name]), "the training itself is unchanged"
    assert torch.equal(averaged["model.heads.distance.std"], current["model.heads.distance.std"])


def test_best_checkpoint_is_that_of_the_best_epoch(focus_root: Path, tmp_path: Path) -> None:
    import visionlab
    from tests.data.test_loader import data_module
    from visionlab.training.measurement import measure_split

    run = train(tmp_path / "run", f"data.root={focus_root}", "trainer.max_epochs=4", "optimizer.lr=0.02")
    values = [event.value for event in events(run).Scalars("val/distance/mae")]
    rows, _ = measure_split(visionlab.load(run), data_module(focus_root), "val")["distance"]
    found = abs(rows[:, 1] - rows[:, 0]).mean()
    assert found == pytest.approx(min(values), rel=1e-4)


def test_learning_rate_finder_saves_its_curve_and_is_recorded(focus_root: Path, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    run = train(tmp_path / "run", f"data.root={focus_root}", "lr_find=true", "trainer.max_epochs=1", "scheduler=none")
    curve = pd.read_csv(run / "lr_find.csv")
    assert len(curve) >= 20
    assert curve["lr"].is_monotonic_increasing
    suggested = OmegaConf.load(run / "config.yaml").optimizer.lr
    assert suggested != 1e-3
    assert events(run).Scalars("lr")[0].value == pytest.approx(suggested, rel=1e-5)
    assert not list(run.glob(".lr_find*"))
    assert (run / "plots" / "lr_find.png").is_file()


def test_init_from_loads_weights_only(focus_root: Path, tiny_run: Path, tmp_path: Path) -> None:
    run = train(
        tmp_path / "run",
        f"data.root={focus_root}",
        f"init_from={tiny_run}",
        "optimizer=sgd",
        "optimizer.lr=1e-12",
        "trainer.max_epochs=1",
    )
    name = "model.network.head.1.weight"
    start = checkpoint(tiny_run, "best")["state_dict"][name]
    assert torch.allclose(checkpoint(run)["state_dict"][name], start, atol=1e-8)
    assert checkpoint(run)["epoch"] == 0


def test_init_from_another_network_is_refused(focus_root: Path, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"init_from=.*test_resnet with 3 channel.*found test_resnet with 1"):
        train(tmp_path / "run", f"data.root={focus_root}", f"init_from={tiny_run}", "data.channels=3")


def test_divergence_is_said_in_words(focus_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"diverged.*optimizer\.lr"):
        train(tmp_path / "run", f"data.root={focus_root}", "optimizer=sgd", "optimizer.lr=1e30", "loss=mse")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


def test_a_folder_with_a_run_is_refused(focus_root: Path, tiny_run: Path) -> None:
    with pytest.raises(UsageError, match=r"found a run in it.*visionlab\.resume"):
        train(tiny_run, f"data.root={focus_root}")


def test_compile_keeps_the_names_of_the_weights(
    focus_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    run = train(tmp_path / "run", f"data.root={focus_root}", "compile=true", "trainer.max_epochs=1")
    assert compiled == ["ImageNetwork"]
    assert all("_orig_mod" not in name for name in checkpoint(run)["state_dict"])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_training_on_a_gpu(focus_root: Path, tmp_path: Path, precision: str) -> None:
    run = train(
        tmp_path / "run",
        f"data.root={focus_root}",
        f"trainer.precision={precision}",
        "trainer.accelerator=gpu",
        "trainer.channels_last=true",
        "trainer.gradient_clip_val=1.0",
    )
    assert json.loads((run / "metrics.json").read_text())["test/distance/mae"]["value"] > 0


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    from visionlab.errors import DataError

    (tmp_path / "data").mkdir()
    for group in "abc":
        (tmp_path / "data" / f"{group}_1_2.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a_1_2\.png"):
        train(tmp_path / "runs" / "run", f"data.root={tmp_path / 'data'}")
    assert not (tmp_path / "runs").exists()


def test_a_network_that_does_not_take_the_size_is_named(focus_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"image_size=32 x 32.*vit_tiny_patch16_224.*224"):
        train(tmp_path / "run", f"data.root={focus_root}", "model.name=vit_tiny_patch16_224")


def test_batches_too_small_for_batch_normalisation(focus_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.batch_size=1: batch normalisation"):
        train(tmp_path / "run", f"data.root={focus_root}", "model.name=resnet18", "data.batch_size=1")
    with pytest.raises(UsageError, match=r"data\.samples_per_epoch=1: batch normalisation"):
        train(tmp_path / "other", f"data.root={focus_root}", "model.name=resnet18", "data.samples_per_epoch=1")


def test_an_epoch_of_fewer_images_than_devices_is_refused(focus_root: Path, tmp_path: Path) -> None:
    ranks = ("trainer.devices=2", "trainer.strategy=ddp")
    with pytest.raises(UsageError, match=r"data\.samples_per_epoch: expected at least 2, .*devices, found 1"):
        train(tmp_path / "run", f"data.root={focus_root}", "data.samples_per_epoch=1", *ranks)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said_before_anything_is_made(focus_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"trainer\.accelerator=gpu"):
        train(tmp_path / "runs" / "run", f"data.root={focus_root}", "trainer.accelerator=gpu")
    assert not (tmp_path / "runs").exists()
