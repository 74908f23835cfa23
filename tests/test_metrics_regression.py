"""Regression metrics against values worked out by hand, and the table of metrics.json."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from visionlab.errors import ConfigError, DataError
from visionlab.metrics import METRICS, metric, summarise
from visionlab.metrics.regression import sign_accuracy

TRUE = np.array([-4.0, -1.0, 0.0, 2.0, 6.0])
PRED = np.array([-3.0, 1.0, 0.0, 2.0, 2.0])  # errors 1, 2, 0, 0, -4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", 7 / 5),
        ("rmse", math.sqrt(21 / 5)),
        ("bias", -1 / 5),
        ("r2", 1 - 21 / 55.2),  # the sum of squares about the mean 0.6 is 57 - 5 * 0.36
        ("sign_accuracy", 3 / 4),  # 0 has no sign; -1 was taken for positive
    ],
)
def test_known_values(name: str, expected: float) -> None:
    assert METRICS[name](TRUE, PRED) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_is_a_number_of_repeats(name: str) -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(1000, 5, 40)  # far from zero: R2 must not lose its digits
    pred = true + rng.normal(0, 2, 40)
    weight = rng.integers(0, 4, 40)
    assert METRICS[name](true, pred, weight) == pytest.approx(
        METRICS[name](np.repeat(true, weight), np.repeat(pred, weight)), rel=1e-9
    )


@pytest.mark.parametrize("name", METRICS)
def test_several_columns_give_the_mean_over_columns(name: str) -> None:
    true, pred = np.stack([TRUE, 3 * TRUE], axis=1), np.stack([PRED, PRED], axis=1)
    single = [METRICS[name](true[:, i], pred[:, i]) for i in range(2)]
    assert METRICS[name](true, pred) == pytest.approx(np.mean(single))


def test_margin_leaves_out_samples_near_zero() -> None:
    assert sign_accuracy(1.0)(TRUE, PRED) == 1.0  # -1 lies on the margin, not beyond it
    assert math.isnan(sign_accuracy(10.0)(TRUE, PRED))
    assert metric("sign_accuracy", {"margin": 1.0})(TRUE, PRED) == 1.0
    assert metric("sign_accuracy", {"margin": None})(TRUE, PRED) == 0.75


def test_a_prediction_of_zero_counts_half() -> None:
    assert METRICS["sign_accuracy"]([5.0, -5.0], [0.0, -1.0]) == 0.75


@pytest.mark.parametrize("true", [[2.0, 2.0, 2.0], [0.1, 0.1, 0.1], [7.0]])
def test_r2_of_equal_true_values_is_undefined(true: list[float]) -> None:
    assert math.isnan(METRICS["r2"](true, np.zeros(len(true))))


@pytest.mark.parametrize("name", METRICS)
def test_nothing_and_nan_are_undefined(name: str) -> None:
    assert math.isnan(METRICS[name]([], []))
    assert math.isnan(METRICS[name](TRUE, np.array([1, 2, np.nan, np.nan, np.nan])))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(5,\) and \(4,\)"):
        METRICS["mae"](TRUE, PRED[:4])
    with pytest.raises(ValueError, match="weight"):
        METRICS["mae"](TRUE, PRED, [1, 2])


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'rmse'"):
        metric("rmsee")


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {"id": list("abcde"), "group": list("xxyyz"), "distance_true": TRUE, "distance_pred": PRED},
    )


HEADS = {"distance": {"kind": "regression", "columns": ["distance"], "unit": "um", "metrics": list(METRICS)}}


def test_summary_of_one_column() -> None:
    result = summarise(table(), HEADS, "test", {"distance": 1.0}, "generated sample")
    assert list(result) == [f"test/distance/{name}" for name in METRICS]
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


def test_summary_of_several_columns_has_each_and_the_mean() -> None:
    frame = table().assign(width_true=2.0, width_pred=[2.0, 2.0, 3.0, 3.0, 2.5])
    heads = {"size": {"kind": "regression", "columns": ["distance", "width"], "unit": "um", "metrics": ["mae", "r2"]}}
    result = summarise(frame, heads, "val", {"distance": 0.0, "width": 2.0}, "cells")
    assert list(result) == [
        *("val/size/mae", "val/size/distance/mae", "val/size/width/mae"),
        *("val/size/r2", "val/size/distance/r2", "val/size/width/r2"),
    ]
    assert result["val/size/width/mae"]["value"] == pytest.approx(0.5)
    assert result["val/size/mae"]["value"] == pytest.approx((1.4 + 0.5) / 2)
    assert result["val/size/width/r2"]["value"] is None  # constant: undefined, not NaN


def test_one_group_has_no_interval() -> None:
    result = summarise(table().assign(group="x"), HEADS, "test", {"distance": 0.0}, "cells")
    assert result["test/distance/mae"]["low"] is None
    assert result["test/distance/mae"]["high"] is None


def test_summary_names_what_is_wrong() -> None:
    with pytest.raises(DataError, match=r"expected the columns distance_pred, found id, group"):
        summarise(table().drop(columns="distance_pred"), HEADS, "test", {"distance": 0.0}, "cells")
    with pytest.raises(DataError, match=r"1 of 5 samples have no true value, the first 'c'"):
        frame = table()
        frame.loc[2, "distance_true"] = np.nan
        summarise(frame, HEADS, "test", {"distance": 0.0}, "cells")
    with pytest.raises(ConfigError, match="Did you mean 'regression'"):
        summarise(table(), {"distance": {**HEADS["distance"], "kind": "regresion"}}, "test", {"distance": 0.0}, "c")


def test_metrics_are_light() -> None:
    code = (
        "import sys, visionlab.metrics, visionlab.reports, visionlab.report;"
        "heavy = {'torch', 'pandas', 'matplotlib', 'tensorboard', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "visionlab.metrics.summarise;"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
