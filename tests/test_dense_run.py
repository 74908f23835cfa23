"""A whole run of mask and depth: what is written, and that the numbers are those of the maps."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import visionlab
from tests import dense, shell
from tests.entries import summarise
from visionlab.data.cache import stack_channels
from visionlab.heads import KINDS
from visionlab.reports.run import read_scalars
from visionlab.training.measurement import describe_heads, measure_split

NAMES = {
    "mask": ["iou", "dice", "mae", "boundary_f1"],
    "depth": [
        *("mae", "rmse", "abs_rel", "log10", "delta1", "delta2", "delta3", "ssim"),
        *("aligned_mae", "aligned_rmse", "aligned_abs_rel", "aligned_delta1"),
    ],
}
ALL = [f"{head}/{metric}" for head, metrics in NAMES.items() for metric in metrics]


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="module")
def predictor(dense_run: Path) -> Any:
    return visionlab.load(dense_run, device="cpu")


@pytest.fixture(scope="module")
def maps(dense_run: Path, depth_mask_root: Path, predictor: Any) -> tuple[pd.DataFrame, dict[str, tuple[Any, Any]]]:
    """The index of the test split, and of each head the true and predicted maps, N x H x W, NaN where unknown."""
    import torch

    data = dense.data_module(depth_mask_root, f"data.split_file={dense_run / 'splits.json'}")
    rows = data.rows["test"]
    images = np.stack([stack_channels([stored.image(row, 0.5, 0.5) for stored in data.images]) for row in rows])
    decoded = predictor.decode(torch.from_numpy(images))
    found = {
        name: (np.stack([stored.map(row, 0.5, 0.5) for row in rows]), decoded[name].numpy()[:, 0])
        for name, stored in data.stored_maps.items()
    }
    return data.table.iloc[rows].reset_index(drop=True), found


# metrics.json -------------------------------------------------------------------------------------------------------


def test_each_metric_has_value_interval_baseline_unit_and_counts(dense_run: Path, depth_mask_root: Path) -> None:
    metrics = read(dense_run / "metrics.json")
    assert list(metrics) == [f"{split}/{name}" for split in ("val", "test") for name in ALL]
    groups = read(dense_run / "splits.json")
    for name, entry in metrics.items():
        split, head, metric = name.split("/")
        assert entry["data"] == str(depth_mask_root)
        assert (entry["n"], entry["groups"]) == (3 * len(groups[split]), len(groups[split])) == (6, 2)
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert entry["low"] < entry["high"] or head == "mask"
        assert entry["baseline"] is not None
        in_unit = head == "depth" and metric in ("mae", "rmse", "aligned_mae", "aligned_rmse")
        assert entry["unit"] == ("m" if in_unit else "")
        assert entry["better"] == KINDS[head].metrics[metric].better
    about = read(dense_run / "run.json")
    assert about["heads"] == {
        "mask": {"kind": "mask", "columns": ["mask"], "unit": "", "metrics": NAMES["mask"]},
        "depth": {"kind": "depth", "columns": ["depth"], "unit": "m", "metrics": NAMES["depth"]},
    }
    assert about["receptive_field"] > 32


def test_metrics_of_the_set_are_those_of_its_maps(dense_run: Path, maps: Any) -> None:
    """Recomputed in numpy from the maps themselves: all known pixels of all images together."""
    metrics = {name.removeprefix("test/"): entry for name, entry in read(dense_run / "metrics.json").items()}
    true, probability = (values.astype(np.float64) for values in maps[1]["mask"])
    foreground, found = true > 0.5, probability >= 0.5
    both, either = (foreground & found).sum(), (foreground | found).sum()
    assert 0 < either < foreground.size
    expected = {"iou": both / either, "dice": 2 * both / (both + either), "mae": np.abs(probability - true).mean()}
    for name, value in expected.items():
        assert metrics[f"mask/{name}"]["value"] == pytest.approx(value, rel=1e-5)
    true, depth = (values.astype(np.float64) for values in maps[1]["depth"])
    assert np.isfinite(true).all()
    raised = np.maximum(depth, 1e-6)
    ratio = np.maximum(raised / true, true / raised)
    expected = {
        "mae": np.abs(depth - true).mean(),
        "rmse": math.sqrt(np.square(depth - true).mean()),
        "delta1": (ratio < 1.25).mean(),
        "delta3": (ratio < 1.25**3).mean(),
    }
    for name, value in expected.items():
        assert metrics[f"depth/{name}"]["value"] == pytest.approx(value, rel=1e-5)


def test_the_baseline_is_the_mean_of_training(dense_run: Path, depth_mask_root: Path, maps: Any) -> None:
    metrics = read(dense_run / "metrics.json")
    data = dense.data_module(depth_mask_root, f"data.split_file={dense_run / 'splits.json'}")
    for name, stored in data.stored_maps.items():
        mean = np.mean([stored.map(row, 0.5, 0.5) for row in data.rows["train"]], dtype=np.float64)
        expected = np.abs(maps[1][name][0] - mean).mean()
        assert metrics[f"test/{name}/mae"]["baseline"] == pytest.approx(expected, rel=1e-4)
    assert metrics["test/mask/iou"]["baseline"] == 0, "the mean share of foreground is no foreground anywhere"


def test_intervals_draw_whole_backgrounds(dense_run: Path, maps: Any) -> None:
    """With two of them, each interval ends at the values of the single ones."""
    table, found = maps
    true, pred = found["depth"]
    errors = np.abs(true.astype(np.float64) - pred).mean(axis=(1, 2))
    alone = sorted(errors[(table["group"] == group).to_numpy()].mean() for group in set(table["group"]))
    entry = read(dense_run / "metrics.json")["test/depth/mae"]
    assert (entry["low"], entry["high"]) == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("size", [1, 5, 100])
def test_metrics_do_not_depend_on_the_batch_size(
    size: int, dense_run: Path, depth_mask_root: Path, predictor: Any
) -> None:
    data = dense.data_module(depth_mask_root, f"data.split_file={dense_run / 'splits.json'}", f"data.batch_size={size}")
    groups = data.table["group"].iloc[data.rows["test"]].tolist()
    found = summarise(
        measure_split(predictor, data, "test"), describe_heads(predictor.heads), groups, "test", data.name
    )
    expected = read(dense_run / "metrics.json")
    assert found
    for name, entry in found.items():
        for key in ("value", "low", "high", "baseline"):
            assert entry[key] == pytest.approx(expected[name][key], rel=1e-4, abs=1e-6), (name, key)


def test_another_batch_size_in_the_settings_gives_the_same_numbers(
    dense_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visionlab.reports.write_report", lambda folder: folder / "report.html")
    run = tmp_path / "run"
    shutil.copytree(dense_run, run)
    config = (run / "config.yaml").read_text()
    assert "  batch_size: 4\n" in config
    (run / "config.yaml").write_text(config.replace("  batch_size: 4\n", "  batch_size: 3\n"))
    (run / "metrics.json").unlink()
    assert shell.run("evaluate", run, "--split", "test", "--device", "cpu") == 0
    before = pd.read_csv(dense_run / "predictions" / "test.csv")
    after = pd.read_csv(run / "predictions" / "test.csv")
    pd.testing.assert_frame_equal(after, before, rtol=1e-4)
    expected = read(dense_run / "metrics.json")
    for name, entry in read(run / "metrics.json").items():
        assert entry["value"] == pytest.approx(expected[name]["value"], rel=1e-4)


# The rest of the folder ---------------------------------------------------------------------------------------------


def test_predictions_have_the_metrics_of_each_image(dense_run: Path, maps: Any) -> None:
    table = pd.read_csv(dense_run / "predictions" / "test.csv")
    of_mask = ["mask_area_true", "mask_area_pred", *(f"mask_{name}" for name in NAMES["mask"])]
    of_depth = [f"depth_{name}" for name in NAMES["depth"]]
    assert list(table.columns) == ["id", "group", "split", "path", *of_mask, *of_depth]
    assert table[["id", "group", "path"]].equals(maps[0][["id", "group", "path"]])
    true, probability = maps[1]["mask"]
    for row, (foreground, found) in enumerate(zip(true > 0.5, probability >= 0.5, strict=True)):
        assert table["mask_area_true"][row] == pytest.approx(foreground.mean(), rel=1e-5)
        assert table["mask_area_pred"][row] == pytest.approx(found.mean(), rel=1e-5)
        assert table["mask_iou"][row] == pytest.approx(
            (foreground & found).sum() / (foreground | found).sum(), rel=1e-5
        )
    np.testing.assert_allclose(table["mask_mae"], np.abs(probability - true).mean(axis=(1, 2)), rtol=1e-4)
    true, depth = maps[1]["depth"]
    np.testing.assert_allclose(table["depth_mae"], np.abs(depth - true).mean(axis=(1, 2)), rtol=1e-4)
    assert sorted(path.name for path in (dense_run / "predictions").iterdir()) == ["test.csv", "val.csv"]


def test_plots_and_report(dense_run: Path) -> None:
    plots = {path.name for path in (dense_run / "plots").iterdir()}
    assert {"best_worst.png", "examples.png", "training.png"} <= plots
    assert all((dense_run / "plots" / name).stat().st_size > 5000 for name in ("best_worst.png", "examples.png"))
    page = (dense_run / "report.html").read_text()
    metrics = read(dense_run / "metrics.json")
    for text in (
        "intersection over union (IoU)",
        "structural similarity (SSIM)",
        "MAE, scale-aligned",
        "Receptive field",
        "uint16 files taken as millimetres",
        f"{metrics['test/depth/mae']['baseline']:.3g} m",
        "over 6 images of 2 groups",
        f"python -m visionlab.predict {dense_run} IMAGES --out predictions",
    ):
        assert text in page, text


def test_the_command_in_the_report_names_further_inputs(two_input_run: Path) -> None:
    page = (two_input_run / "report.html").read_text()
    assert f"visionlab.predict {two_input_run} IMAGES --with background=BACKGROUNDS --out predictions" in page


def test_curves_and_pictures_in_tensorboard(dense_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = read_scalars(dense_run)
    assert curves["val/loss"]["step"].tolist() == [2, 5]
    parts = [f"{part}/{head}/loss" for part in ("train", "val") for head in NAMES]
    wanted = ["train/loss", "train/loss_epoch", "train/mask/loss_epoch", "val/loss", "lr", *parts]
    assert set(wanted) <= set(curves)
    for name in ALL:
        assert len(curves[f"val/{name}"]) == 2
        assert curves[f"test/{name}"]["value"].tolist() == pytest.approx(
            [read(dense_run / "metrics.json")[f"test/{name}"]["value"]], rel=1e-5
        )
    for part, losses in (("train/loss_epoch", "train/{}/loss_epoch"), ("val/loss", "val/{}/loss")):
        total = sum(curves[losses.format(head)]["value"].to_numpy() for head in NAMES)
        np.testing.assert_allclose(curves[part]["value"], total, rtol=1e-5)
    assert len(curves["train/loss"]) == 6
    events = EventAccumulator(str(dense_run), size_guidance={"images": 0})
    events.Reload()
    shown = events.Tags()["images"]
    assert {"val/images", "val/mask/scores", "val/depth/scores"} <= set(shown)
    assert [event.step for event in events.Images("val/images")] == [2, 5]
    assert "stage" not in curves, "which a run of one stage has no use for"


def test_the_graph_is_drawn_without_warnings(depth_mask_root: Path, tmp_path: Path) -> None:
    from pytorch_lightning import Trainer
    from pytorch_lightning.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from visionlab.training.pictures import TensorBoardPictures

    module, data = dense.task_module(depth_mask_root, "model=unet", "data.inputs=[image,background]")
    pictures = TensorBoardPictures(data, count=1, every_n_epochs=1, graph=True, histograms=False)
    logger = TensorBoardLogger(str(tmp_path), name="", version="")
    trainer = Trainer(accelerator="cpu", logger=logger, enable_checkpointing=False, default_root_dir=tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pictures.on_train_start(trainer, module)
    assert "TracerWarning" not in {warning.category.__name__ for warning in said}
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["graph"]
    assert module.model.training


# Other data ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionlab.reports.write_report", lambda folder: folder / "report.html")


@pytest.mark.usefixtures("no_report")
def test_other_labelled_data_are_measured(dense_run: Path, two_input_run: Path, tmp_path: Path) -> None:
    other = dense.write_nested(tmp_path / "other", backgrounds=3, size=(40, 48))
    for number, run in enumerate((dense_run, two_input_run)):
        out = tmp_path / f"out{number}"
        assert shell.run("evaluate", run, "--data", other, "--out", out) == 0
        metrics = read(out / "metrics.json")
        assert list(metrics) == [f"test/{name}" for name in ALL]
        assert (metrics["test/depth/mae"]["n"], metrics["test/depth/mae"]["groups"]) == (6, 3)
        assert len(pd.read_csv(out / "predictions" / "test.csv")) == 6


@pytest.mark.usefixtures("no_report")
def test_data_without_these_maps_or_on_another_scale_are_refused(
    dense_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = dense.write_nested(tmp_path / "masks", backgrounds=3, depth=False)
    relative = dense.write_nested(tmp_path / "relative", backgrounds=3)
    for path in (relative / "dense").rglob("*.png"):
        dense.png(path, dense.scene(int(path.parts[-3][2:]))[2].astype(np.uint8))
    for root, expected in ((masks, "expected depth maps"), (relative, "expected depth in m as in training")):
        assert shell.run("evaluate", dense_run, "--data", root, "--out", tmp_path / "out") == 1
        said = capsys.readouterr().err
        assert f"error: {root}: {expected}" in said
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_report")
def test_other_data_are_measured_whole_whatever_the_splits_were_by(dense_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(dense_run, run)
    config = (run / "config.yaml").read_text()
    assert "  - background\n" in config
    (run / "config.yaml").write_text(config.replace("  - background\n", "  - background\n  - foreground\n"))
    for number in range(6):
        image, mask, depth = dense.scene(number + 50)
        for folder, content in (("images", image), ("masks", mask), ("depth", depth)):
            dense.png(tmp_path / "flat" / folder / f"{number:03d}.png", content)
    assert shell.run("evaluate", run, "--data", tmp_path / "flat", "--out", tmp_path / "out") == 0
    assert read(tmp_path / "out" / "metrics.json")["test/mask/iou"]["n"] == 6
