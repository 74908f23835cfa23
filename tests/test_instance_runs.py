"""A run on volumes: trained on windows, judged on whole time points, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from visionlab.config.compose import compose_run
from visionlab.heads.instances.head import InstanceHead
from visionlab.inference import load
from visionlab.inference.tiles import predict_frame
from visionlab.training.assembly import make_data
from visionlab.training.registry import REGISTRY

OBJECTS = ("precision", "recall", "f1", "seg", "det", "count_error")


def metrics(run: Path) -> dict[str, dict[str, float]]:
    return dict(json.loads((run / "metrics.json").read_text()))


def test_pixels_and_objects_are_measured_on_whole_time_points(nuclei_run: Path) -> None:
    found = metrics(nuclei_run)
    for name in ("iou", "dice", *OBJECTS):
        entry = found[f"test/nuclei/{name}"]
        assert entry["value"] is not None, name
        # Otsu's threshold finds nuclei, which are bright.
        assert entry["baseline"] is not None, name
    frames = pd.read_csv(nuclei_run / "predictions" / "test_frames.csv")
    slices = pd.read_csv(nuclei_run / "predictions" / "test.csv")
    assert found["test/nuclei/f1"]["n"] == len(frames) == 3
    assert found["test/nuclei/iou"]["n"] <= len(slices)
    assert set(slices["frame"]) == set(frames["frame"])
    assert {"sequence", "time", "z", "nuclei_iou", "nuclei_area_true"} <= set(slices)
    assert slices["sequence"].nunique() == 1
    pooled = 2 * frames["hits"].sum() / (frames["objects_true"] + frames["objects_pred"]).sum()
    assert found["test/nuclei/f1"]["value"] == pytest.approx(pooled)
    weighted = (frames["seg"] * frames["seg_n"]).sum() / frames["seg_n"].sum()
    assert found["test/nuclei/seg"]["value"] == pytest.approx(weighted, rel=1e-5)
    area = slices["nuclei_area_true"]
    both = (area + slices["nuclei_area_pred"]) * slices["nuclei_iou"].fillna(0) / (1 + slices["nuclei_iou"].fillna(0))
    iou = both.sum() / (area + slices["nuclei_area_pred"] - both).sum()
    assert found["test/nuclei/iou"]["value"] == pytest.approx(iou, rel=1e-4)


def test_what_objects_are_found_with_is_fitted_on_validation_and_kept_in_the_checkpoint(nuclei_run: Path) -> None:
    (head,) = load(nuclei_run).heads
    assert isinstance(head, InstanceHead)
    assert bool(head.fitted)
    about = json.loads((nuclei_run / "run.json").read_text())["heads"]["nuclei"]
    assert about["parameters"] == dataclasses.asdict(head.post_processing)
    assert about["fitted"]
    assert about["dimensions"] == 3
    last = load(nuclei_run / "checkpoints" / "last.ckpt").heads[0]
    assert isinstance(last, InstanceHead)
    assert not bool(last.fitted)


def test_neighbouring_slices_are_channels(nuclei_run: Path) -> None:
    predictor = load(nuclei_run)
    assert predictor.neighbours == 1
    volume = np.random.default_rng(0).integers(90, 900, (3, 40, 52, 1)).astype(np.uint16)
    maps = predict_frame(predictor, volume)["nuclei"]
    assert maps.shape == (3, 2, 40, 52)
    other = volume.copy()
    other[2] = other[2, ::-1]
    changed = predict_frame(predictor, other)["nuclei"]
    assert not np.allclose(changed[1], maps[1])
    assert np.allclose(changed[0], maps[0], atol=1e-5)


def test_windows_of_validation_are_all_over_the_slices_and_the_same_each_time(nuclei_root: Path) -> None:
    cfg, _ = compose_run(["task=celegans_nuclei", f"data.root={nuclei_root}", "data.image_size=32"], REGISTRY)
    data = make_data(cfg)
    data.setup()
    places = {data.window(row) for row in range(20)}
    assert len(places) == 20
    assert places == {data.window(row) for row in range(20)}
    one, other = (torch.cat([batch["image"] for batch in data.loader("val")]) for _ in range(2))
    assert torch.equal(one, other)
    first = int(data.rows["val"][0])
    assert np.allclose(one[0].numpy().transpose(1, 2, 0), data.images[0].image(first, *data.window(first)))
    assert not np.allclose(one[0].numpy().transpose(1, 2, 0), data.images[0].image(first, 0.5, 0.5))
