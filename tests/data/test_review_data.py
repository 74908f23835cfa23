"""What a review of the data of embryos and of their evaluation found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.celegans import image, labels, module, png, tiff
from tests.conftest import TINY
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError
from visionlab.heads.instances.fit import FitFrame, fit
from visionlab.heads.instances.head import InstanceHead
from visionlab.heads.instances.target import InstanceReader
from visionlab.training.evaluation import evaluate_other

Write = Callable[[Path, object], None]


def pairs(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Write images of 8 bits, changed, and a table of them."""
    lines = ["image,label"]
    for number in range(6):
        grey = (image((16, 16), number) // 10).astype(np.uint8)
        png(root / "images" / f"{number}.png", change(grey))
        png(root / "labels" / f"{number}.png", labels((16, 16)))
        lines.append(f"images/{number}.png,labels/{number}.png")
    (root / "pairs.csv").write_text("\n".join(lines) + "\n")
    return root


def test_alpha_is_no_intensity(tmp_path: Path) -> None:
    plain = module(pairs(tmp_path / "grey", lambda grey: grey), table="pairs.csv")
    alpha = module(
        pairs(tmp_path / "rgba", lambda grey: np.dstack([grey] * 3 + [np.full_like(grey, 255)])), table="pairs.csv"
    )
    plain.setup()
    alpha.setup()
    assert plain.images[0].limits is not None
    assert alpha.images[0].limits is not None
    assert np.array_equal(alpha.images[0].limits, plain.images[0].limits)
    assert np.array_equal(alpha.facts[["p50", "p99.8"]], plain.facts[["p50", "p99.8"]])


def test_limits_are_of_the_grey_that_is_seen() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[..., 0] = 200
    assert Preprocess(1, 8, 8, "native", "uint8", "percentile").limits(rgb) == (60.0, 60.0)
    assert Preprocess(3, 8, 8, "native", "uint8", "percentile").limits(rgb) == (0.0, 200.0)


def test_percentiles_are_those_of_training_on_another_folder(
    tmp_path: Path, write_png: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    import visionlab
    from tests.datasets.test_lineage import make

    monkeypatch.chdir(tmp_path)
    root = make(tmp_path / "embryos", write_png)
    settings = [text for text in TINY if text != "task=focus"]
    options = ["task=celegans_lineage", f"data.root={root}", "data.normalize=percentile", "data.batch_size=4"]
    run = visionlab.train(*settings, *options, f"hydra.run.dir={tmp_path / 'run'}")  # type: ignore[operator]
    own = json.loads((run / "metrics.json").read_text())
    held = json.loads((run / "splits.json").read_text())["test"]
    table = pd.read_csv(root / "lineage.csv", dtype=str)
    other = tmp_path / "other"
    for name in held:
        shutil.copytree(root / name, other / name)
    table[table["sequence"].isin(held)].to_csv(other / "lineage.csv", index=False)
    again = json.loads((evaluate_other(run, other, None, "cpu") / "metrics.json").read_text())
    for name, entry in again.items():
        if entry["value"] is not None:
            assert entry["value"] == pytest.approx(own[name]["value"], rel=1e-4), name


def test_ids_may_be_large() -> None:
    truth = np.zeros((1, 20, 20), np.int32)
    truth[0, 3:8, 3:8], truth[0, 12:17, 12:17] = 2**31 - 1, 2**31 - 5
    maps = (truth > 0)[:, None].astype(np.float32)
    assert fit([FitFrame(maps, truth, False)], separate="none", threshold=0.5).min_area == 0


def test_slices_with_gaps_between_them_are_no_volumes(tmp_path: Path) -> None:
    for name in ("_0", "_2"):
        for time in range(6):
            png(tmp_path / "features" / f"F{time}{name}.png", image((16, 16), time + 10 * len(name)) + int(name[1]))
            png(tmp_path / "segmentation_maps" / f"L{time}{name}.png", labels((16, 16)))
    data = module(tmp_path, gap=0)
    data.setup()
    assert not next(data.frames("train")).volume
    options = {"separate": "none", "cells": "filled", "metrics": ["seg"], "weight": 1.0, "activation": "sigmoid"}
    assert InstanceHead.from_data("nuclei", data, **options).dimensions == 2


def test_more_objects_than_are_kept_apart_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "many.tif", np.arange(1, 70001, dtype=np.uint32).reshape(100, 700))
    reader = InstanceReader([((100, 700), (100, 700))])
    with pytest.raises(DataError, match="70000 objects in a plane"):
        reader.read(path, 0, Preprocess(1, 100, 700, "native", "uint16"))
