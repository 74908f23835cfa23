"""Regression metrics against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from visionlab.metrics.regression import METRICS, sign_accuracy

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
def test_several_columns_give_the_mean_over_columns(name: str) -> None:
    true, pred = np.stack([TRUE, 3 * TRUE], axis=1), np.stack([PRED, PRED], axis=1)
    single = [METRICS[name](true[:, i], pred[:, i]) for i in range(2)]
    assert METRICS[name](true, pred) == pytest.approx(np.mean(single))


def test_margin_leaves_out_samples_near_zero() -> None:
    assert sign_accuracy(1.0)(TRUE, PRED) == 1.0  # -1 lies on the margin, not beyond it
    assert math.isnan(sign_accuracy(10.0)(TRUE, PRED))


def test_a_prediction_of_zero_counts_half() -> None:
    assert METRICS["sign_accuracy"]([5.0, -5.0], [0.0, -1.0]) == 0.75


@pytest.mark.parametrize("true", [[2.0, 2.0, 2.0], [0.1, 0.1, 0.1], [7.0]])
def test_r2_of_equal_true_values_is_undefined(true: list[float]) -> None:
    assert math.isnan(METRICS["r2"](true, np.zeros(len(true))))
