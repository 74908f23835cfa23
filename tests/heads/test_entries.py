"""The entries of metrics.json, as heads of each kind make them from evaluated rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from visionlab.errors import DataError
from visionlab.heads import KINDS
from visionlab.heads.depth.head import DepthHead
from visionlab.heads.head import Evaluation
from visionlab.heads.labels.head import MultilabelHead
from visionlab.heads.mask.head import MaskHead
from visionlab.heads.regression.head import RegressionHead
from visionlab.metrics.dense import DEPTH_COLUMNS, MASK_COLUMNS

TRUE = np.array([-4.0, -1.0, 0.0, 2.0, 6.0])
PRED = np.array([-3.0, 1.0, 0.0, 2.0, 2.0])  # errors 1, 2, 0, 0, -4
ROWS, BASE = np.stack([TRUE, PRED], axis=1), np.stack([TRUE, np.ones(5)], axis=1)
GROUPS = list("xxyyz")


def distance(**changes: Any) -> RegressionHead:
    options: dict[str, Any] = {"mean": [0.0], "std": [1.0], "unit": "um", "metrics": list(KINDS["regression"].metrics)}
    return RegressionHead("distance", ["distance"], **{**options, **changes})


def sums(columns: tuple[str, ...], **given: Any) -> np.ndarray:
    """Rows of three images, 0 where not given."""
    rows = np.zeros((3, len(columns)))
    for name, values in given.items():
        rows[:, columns.index(name)] = values
    return rows


def test_one_column_of_numbers() -> None:
    result = distance().summarise(Evaluation(ROWS, BASE), GROUPS)
    assert list(result) == list(KINDS["regression"].metrics)
    mae = result["mae"]
    assert mae["value"] == pytest.approx(1.4)
    assert mae["baseline"] == pytest.approx((5 + 2 + 1 + 1 + 5) / 5)
    assert mae["low"] < mae["value"] < mae["high"]
    assert (mae["unit"], mae["n"], mae["groups"], mae["better"]) == ("um", 5, 3, "min")
    assert (result["r2"]["unit"], result["bias"]["better"]) == ("", "zero")
    assert result["r2"]["baseline"] < 0  # the training mean isn't the test mean
    assert result["sign_accuracy"]["n"] == 4
    json.dumps(result, allow_nan=False)
    one_group = distance().summarise(Evaluation(ROWS, BASE), ["x"] * 5)["mae"]
    assert (one_group["value"], one_group["low"], one_group["high"]) == (mae["value"], None, None)


def test_several_columns_have_each_and_the_mean() -> None:
    width, two = np.array([2.0, 2.0, 3.0, 3.0, 2.5]), np.full(5, 2.0)
    rows, base = np.stack([TRUE, two, PRED, width], axis=1), np.stack([TRUE, two, np.zeros(5), two], axis=1)
    head = RegressionHead("size", ["distance", "width"], mean=[0.0] * 2, std=[1.0] * 2, metrics=["mae", "r2"])
    result = head.summarise(Evaluation(rows, base), GROUPS)
    assert list(result) == ["mae", "distance/mae", "width/mae", "r2", "distance/r2", "width/r2"]
    assert result["width/mae"]["value"] == pytest.approx(0.5)
    assert result["width/mae"]["baseline"] == 0
    assert result["mae"]["value"] == pytest.approx((1.4 + 0.5) / 2)
    assert result["width/r2"]["value"] is None  # constant: undefined, not NaN


def test_masks_and_depth_are_of_the_whole_set() -> None:
    mask = sums(MASK_COLUMNS, known=100, tp=[20, 0, 0], fp=[0, 5, 0], fn=[5, 0, 0], absolute=[10, 20, 0])
    none = sums(MASK_COLUMNS, known=100, fn=[25, 0, 0], absolute=[25, 0, 0])
    of_mask = MaskHead("mask", share=0.1, metrics=list(KINDS["mask"].metrics), weight=1.0, activation="sigmoid")
    result = of_mask.summarise(Evaluation(mask, none), list("aab"))
    # An image without any foreground isn't counted, a false one is.
    iou = result["iou"]
    assert (iou["value"], iou["baseline"], iou["n"], iou["groups"], iou["unit"]) == (20 / 30, 0, 2, 1, "")
    assert (result["mae"]["value"], result["mae"]["n"]) == (30 / 300, 3)
    assert result["boundary_f1"]["value"] is None
    json.dumps(result, allow_nan=False)
    depth = sums(DEPTH_COLUMNS, known=[10, 30, 0], absolute=[10, 60, 0], squared=[40, 120, 0], positive=[0, 20, 0])
    options: dict[str, Any] = {"low": 0.0, "high": 9.0, "mean": 1.0, "unit": "m", "weight": 1.0, "activation": "none"}
    of_depth = DepthHead("depth", metrics=list(KINDS["depth"].metrics), **options)
    result = of_depth.summarise(Evaluation(depth, 2 * depth), list("aab"))
    mae, rmse, relative = (result[name] for name in ("mae", "rmse", "abs_rel"))
    assert (mae["value"], mae["unit"], mae["n"]) == (70 / 40, "m", 2)
    assert (rmse["value"], rmse["unit"], relative["n"], relative["unit"]) == (2, "m", 1, "")
    # Group a has an error of 1, group b of 3: resamples lie between, whatever single images say.
    two = sums(DEPTH_COLUMNS, known=1, absolute=[0, 2, 3])
    mae = of_depth.summarise(Evaluation(two, two), list("aab"))["mae"]
    assert (mae["low"], mae["high"]) == (1, 3)


def test_labels_say_how_many_classes_they_count() -> None:
    true = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
    scores = np.array([[0.9, 0.4, 0.2], [0.4, 0.8, 0.1], [0.7, 0.3, 0.6], [0.2, 0.3, 0.1]])
    decided = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
    rows = np.concatenate([true, scores, decided], axis=1)
    base = np.concatenate([true, np.full((4, 3), [0.3, 0.2, 0.1]), np.full((4, 3), np.nan)], axis=1)
    names = list(KINDS["multilabel"].metrics)
    head = MultilabelHead("labels", ["a", "b", "c"], ids=[0, 1, 2], positives=[10] * 3, total=30.0, metrics=names)
    found = head.summarise(Evaluation(rows, base), list("aabb"))
    assert list(found) == names
    entry = found["f1_macro"]
    assert (entry["value"], entry["baseline"]) == (0.75, (2 * 2 / 6 + 2 * 2 / 6) / 2)
    # Images without any label count as well.
    assert (entry["n"], entry["groups"], entry["classes"], entry["of"]) == (4, 2, 2, 3)
    assert (entry["unit"], entry["better"], found["hamming"]["classes"]) == ("", "max", 3)
    assert (found["ece"]["low"], found["ece"]["n"]) == (None, 4)
    json.dumps(found, allow_nan=False)
    rows[1, 2] = np.nan
    with pytest.raises(DataError, match="labels: 1 of 4 samples have no true value, the first is number 2"):
        head.summarise(Evaluation(rows, base), list("aabb"))


def test_a_missing_true_value_is_an_error_and_a_prediction_that_is_not_finite_makes_it_undefined() -> None:
    missing, diverged = ROWS.copy(), ROWS.copy()
    missing[2, 0] = diverged[2, 1] = np.nan
    with pytest.raises(DataError, match=r"distance: 1 of 5 samples have no true value, the first is number 3.*'y'"):
        distance().summarise(Evaluation(missing, BASE), GROUPS)
    mae = distance().summarise(Evaluation(diverged, BASE), GROUPS)["mae"]
    assert (mae["value"], mae["low"]) == (None, None)
    assert mae["baseline"] is not None
