"""The entries of metrics.json, as heads of each kind make them from evaluated rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from visionlab.errors import DataError
from visionlab.heads import KINDS
from visionlab.heads.head import Evaluation
from visionlab.heads.labels.head import MultilabelHead
from visionlab.heads.regression.head import RegressionHead

TRUE = np.array([-4.0, -1.0, 0.0, 2.0, 6.0])
PRED = np.array([-3.0, 1.0, 0.0, 2.0, 2.0])  # errors 1, 2, 0, 0, -4
ROWS, BASE = np.stack([TRUE, PRED], axis=1), np.stack([TRUE, np.ones(5)], axis=1)
GROUPS = list("xxyyz")


def distance(**changes: Any) -> RegressionHead:
    options: dict[str, Any] = {"mean": [0.0], "std": [1.0], "unit": "um", "metrics": list(KINDS["regression"].metrics)}
    return RegressionHead("distance", ["distance"], **{**options, **changes})


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
