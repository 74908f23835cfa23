"""Calibration: known distortions are undone, hopeless classes left alone, the order kept; promises held."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from visionlab.metrics.calibration import (
    LEAST_SLOPE,
    calibrate,
    ece,
    expected_f1,
    fit_calibration,
    wilson,
)
from visionlab.metrics.scores import expit, logit
from visionlab.metrics.thresholds import f1_thresholds

Array = npt.NDArray[Any]


def distorted(slope: float, offset: float, samples: int = 20_000, seed: int = 0) -> tuple[Array, Array]:
    """Scores, N x 2 of float32, that ``slope`` and ``offset`` on the logit calibrate, and labels."""
    rng = np.random.default_rng(seed)
    right = rng.normal(-2, 2, (samples, 2))
    labels = rng.random(right.shape) < expit(right)
    return expit((right - offset) / slope).astype(np.float32), labels


@pytest.mark.parametrize(("method", "slope", "offset"), [("temperature", 0.5, 0.0), ("platt", 1.8, -0.7)])
def test_finds_the_distortion(method: str, slope: float, offset: float) -> None:
    scores, labels = distorted(slope, offset)
    parameters = fit_calibration(method, scores, labels)
    assert parameters == pytest.approx(np.tile([slope, offset], (2, 1)), abs=0.06)
    assert ece(calibrate(scores, parameters), labels).max() < 0.02 < ece(scores, labels).min()


def test_nothing_nearby_fits_better() -> None:
    scores, labels = distorted(1.5, 0.5, samples=300)
    parameters = fit_calibration("platt", scores, labels)

    def loss(slope: float, offset: float) -> float:
        z = slope * logit(scores[:, 0]) + offset
        prior = ((slope - 1) ** 2 + offset**2) / 2
        return float((np.logaddexp(0, z) - labels[:, 0] * z).sum() + prior)

    best = loss(*parameters[0])
    around = [loss(*(parameters[0] + step)) for step in 1e-3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1]])]
    assert best < min(around)


def test_no_change_without_method_positives_or_negatives() -> None:
    scores = np.random.default_rng(0).random((50, 2))
    labels = np.stack([np.zeros(50), np.ones(50)], axis=1)
    for method in ("none", "temperature", "platt"):
        assert fit_calibration(method, scores, labels).tolist() == [[1.0, 0.0]] * 2
    assert fit_calibration("none", *distorted(2, 1, 100)).tolist() == [[1.0, 0.0]] * 2


@pytest.mark.parametrize("method", ["temperature", "platt"])
@pytest.mark.parametrize("positives", [1, 3, 100])
def test_separable_scores_stay_moderate(method: str, positives: int) -> None:
    scores = np.where(np.arange(200) < positives, 0.7, 0.2)[:, None]
    parameters = fit_calibration(method, scores, (scores > 0.5).astype(int))
    assert np.isfinite(parameters).all() and 1 <= parameters[0, 0] < 6
    calibrated = calibrate(scores, parameters)
    assert calibrated[0] > 0.5 > calibrated[-1]


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_inverted_scores_keep_their_order(method: str) -> None:
    scores, labels = distorted(1.0, 0.0, samples=2000)
    parameters = fit_calibration(method, scores, ~labels)
    assert parameters[:, 0].tolist() == [LEAST_SLOPE] * 2
    assert (np.diff(calibrate(np.sort(scores, axis=0), parameters), axis=0) >= 0).all()
    if method == "platt":
        # With the slope at its bound, the offset alone brings the mean to the share of positives.
        assert calibrate(scores, parameters).mean(axis=0) == pytest.approx((~labels).mean(axis=0), abs=0.01)


# What calibrated means -----------------------------------------------------------------------------------------------


def test_wilson_interval() -> None:
    low, high = wilson([0.8, 0.0, 1.0, np.nan], [10, 10, 10, 0])
    assert low == pytest.approx([0.4901625, 0, 0.7224672, np.nan], abs=1e-6, nan_ok=True)
    assert high == pytest.approx([0.9433178, 0.2775328, 1, np.nan], abs=1e-6, nan_ok=True)


def test_expected_f1_by_hand() -> None:
    scores = np.array([[0.9, 0.5], [0.6, 0.5], [0.1, 0.0]])
    # Accepted 0.9 and 0.6: 1.5 of 1.6 positives expected, 2 predicted.
    assert expected_f1(scores, [0.5, np.nan]) == pytest.approx([2 * 1.5 / (1.6 + 2), np.nan], nan_ok=True)
    assert expected_f1(scores, [0.95, 0.95]).tolist() == [0, 0]
    assert np.isnan(expected_f1([[np.nan], [0.5]], [0.2])).all()


def test_calibrated_scores_hold_what_they_promise() -> None:
    scores, labels = distorted(1.0, 0.0, samples=60_000)
    thresholds, best = f1_thresholds(scores, labels)
    promised = expected_f1(scores, thresholds)
    assert promised == pytest.approx(best, abs=0.01)
    # Lipton et al. 2014: the best threshold of calibrated scores is half the F1 that it gives.
    assert thresholds == pytest.approx(best / 2, abs=0.04)
