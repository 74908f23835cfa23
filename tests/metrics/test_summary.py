"""The entries of metrics.json: of heads of numbers, masks and depth maps."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from visionlab.errors import ConfigError, DataError
from visionlab.metrics import DEPTH_COLUMNS, MASK_COLUMNS, METRICS, measure, summarise

TRUE = np.array([-4.0, -1.0, 0.0, 2.0, 6.0])
PRED = np.array([-3.0, 1.0, 0.0, 2.0, 2.0])  # errors 1, 2, 0, 0, -4
ROWS = np.stack([TRUE, PRED], axis=1)
BASE = np.stack([TRUE, np.ones(5)], axis=1)
GROUPS = list("xxyyz")

DISTANCE = {"kind": "regression", "columns": ["distance"], "unit": "um", "metrics": list(METRICS["regression"])}
MASK = {"kind": "mask", "columns": ["mask"], "unit": "", "metrics": list(METRICS["mask"])}
DEPTH = {"kind": "depth", "columns": ["depth"], "unit": "m", "metrics": list(METRICS["depth"])}


def sums(columns: tuple[str, ...], **given: Any) -> np.ndarray:
    """Rows of three images, 0 where not given."""
    rows = np.zeros((3, len(columns)))
    for name, values in given.items():
        rows[:, columns.index(name)] = values
    return rows


def test_one_column_of_numbers() -> None:
    result = summarise({"distance": (ROWS, BASE)}, {"distance": DISTANCE}, GROUPS, "test", "generated sample")
    assert list(result) == [f"test/distance/{name}" for name in METRICS["regression"]]
    mae = result["test/distance/mae"]
    assert mae["value"] == pytest.approx(1.4)
    assert mae["baseline"] == pytest.approx((5 + 2 + 1 + 1 + 5) / 5)
    assert mae["low"] < mae["value"] < mae["high"]
    assert (mae["unit"], mae["n"], mae["groups"], mae["better"]) == ("um", 5, 3, "min")
    assert mae["data"] == "generated sample"
    assert (result["test/distance/r2"]["unit"], result["test/distance/bias"]["better"]) == ("", "zero")
    assert result["test/distance/r2"]["baseline"] < 0  # the training mean isn't the test mean
    assert result["test/distance/sign_accuracy"]["n"] == 4
    json.dumps(result, allow_nan=False)


def test_the_margin_of_a_head_is_that_of_its_sign_accuracy() -> None:
    heads = {"distance": {**DISTANCE, "margin": 1.0}}
    result = summarise({"distance": (ROWS, BASE)}, heads, GROUPS, "test", "cells")
    assert (result["test/distance/sign_accuracy"]["value"], result["test/distance/sign_accuracy"]["n"]) == (1.0, 3)


def test_several_columns_have_each_and_the_mean() -> None:
    width = np.array([2.0, 2.0, 3.0, 3.0, 2.5])
    two = np.full(5, 2.0)
    rows, base = np.stack([TRUE, two, PRED, width], axis=1), np.stack([TRUE, two, np.zeros(5), two], axis=1)
    heads = {"size": {"kind": "regression", "columns": ["distance", "width"], "unit": "um", "metrics": ["mae", "r2"]}}
    result = summarise({"size": (rows, base)}, heads, GROUPS, "val", "cells")
    assert list(result) == [
        *("val/size/mae", "val/size/distance/mae", "val/size/width/mae"),
        *("val/size/r2", "val/size/distance/r2", "val/size/width/r2"),
    ]
    assert result["val/size/width/mae"]["value"] == pytest.approx(0.5)
    assert result["val/size/width/mae"]["baseline"] == 0
    assert result["val/size/mae"]["value"] == pytest.approx((1.4 + 0.5) / 2)
    assert result["val/size/width/r2"]["value"] is None  # constant: undefined, not NaN


def test_masks_and_depth() -> None:
    mask = sums(MASK_COLUMNS, known=100, tp=[20, 0, 0], fp=[0, 5, 0], fn=[5, 0, 0], absolute=[10, 20, 0])
    none = sums(MASK_COLUMNS, known=100, fn=[25, 0, 0], absolute=[25, 0, 0])
    depth = sums(DEPTH_COLUMNS, known=[10, 30, 0], absolute=[10, 60, 0], squared=[40, 120, 0], positive=[0, 20, 0])
    result = summarise(
        {"mask": (mask, none), "depth": (depth, 2 * depth)},
        {"mask": MASK, "depth": DEPTH},
        list("aab"),
        "val",
        "shapes",
    )
    assert list(result) == [f"val/mask/{name}" for name in METRICS["mask"]] + [
        f"val/depth/{name}" for name in METRICS["depth"]
    ]
    # Of the whole set: an image without any foreground isn't counted, a false one is.
    iou = result["val/mask/iou"]
    assert (iou["value"], iou["baseline"], iou["n"], iou["groups"], iou["unit"]) == (20 / 30, 0, 2, 1, "")
    assert result["val/mask/mae"]["value"] == 30 / 300
    assert result["val/mask/mae"]["n"] == 3
    assert result["val/mask/boundary_f1"]["value"] is None
    mae, rmse, relative = (result[f"val/depth/{name}"] for name in ("mae", "rmse", "abs_rel"))
    assert (mae["value"], mae["unit"], mae["n"]) == (70 / 40, "m", 2)
    assert (rmse["value"], rmse["unit"]) == (2, "m")
    assert (relative["n"], relative["unit"]) == (1, "")
    json.dumps(result, allow_nan=False)


def test_the_interval_is_over_groups_of_images() -> None:
    # Group a has an error of 1, group b of 3: resamples lie between, whatever single images say.
    depth = sums(DEPTH_COLUMNS, known=1, absolute=[0, 2, 3])
    result = summarise({"depth": (depth, depth)}, {"depth": {**DEPTH, "metrics": ["mae"]}}, list("aab"), "val", "x")
    assert (result["val/depth/mae"]["low"], result["val/depth/mae"]["high"]) == (1, 3)


def test_one_group_has_no_interval() -> None:
    result = summarise({"distance": (ROWS, BASE)}, {"distance": DISTANCE}, ["x"] * 5, "test", "cells")
    assert result["test/distance/mae"]["low"] is None
    assert result["test/distance/mae"]["high"] is None


def test_errors_name_what_is_wrong() -> None:
    missing = ROWS.copy()
    missing[2, 0] = np.nan
    with pytest.raises(DataError, match=r"distance: 1 of 5 samples have no true value, the first is number 3.*'y'"):
        summarise({"distance": (missing, BASE)}, {"distance": DISTANCE}, GROUPS, "test", "cells")
    with pytest.raises(ConfigError, match="Did you mean 'regression'"):
        summarise({"distance": (ROWS, BASE)}, {"distance": {**DISTANCE, "kind": "regresion"}}, GROUPS, "test", "c")
    with pytest.raises(ValueError, match=r"N x 2C, found shape \(5, 3\)"):
        measure("regression", ["mae"], np.zeros((5, 3)), {})
    with pytest.raises(ValueError, match=r"N x 9 \(known, tp.*found shape \(5, 2\)"):
        measure("mask", ["iou"], ROWS, {})


def test_a_prediction_that_is_not_finite_makes_the_value_undefined() -> None:
    diverged = ROWS.copy()
    diverged[2, 1] = np.nan
    result = summarise({"distance": (diverged, BASE)}, {"distance": DISTANCE}, GROUPS, "test", "cells")
    mae = result["test/distance/mae"]
    assert (mae["value"], mae["low"]) == (None, None)
    assert mae["baseline"] is not None


def test_measure_gives_single_values() -> None:
    assert measure("regression", ["mae", "sign_accuracy"], ROWS, {"margin": 1.0}) == {"mae": 1.4, "sign_accuracy": 1.0}
    rows = sums(MASK_COLUMNS, tp=[1, 2, 3], fp=[3, 1, 2])
    assert measure("mask", ["iou", "dice"], rows, {}) == {"iou": 0.5, "dice": 12 / 18}
    assert math.isnan(measure("depth", ["mae"], np.zeros((0, len(DEPTH_COLUMNS))), {})["mae"])


def test_metrics_are_light() -> None:
    code = (
        "import sys, visionlab.metrics, visionlab.reports, visionlab.report;"
        "heavy = {'torch', 'pandas', 'matplotlib', 'tensorboard', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "visionlab.metrics.summarise, visionlab.metrics.METRICS, visionlab.metrics.per_image;"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
