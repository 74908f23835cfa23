"""Thresholds: equal to trying every cut, on hostile input too; what is fitted on few positives holds on fresh data."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from visionlab.metrics.scores import expit
from visionlab.metrics.thresholds import f1_thresholds, fit_thresholds, ratio_thresholds, shrunken_thresholds

Scores = npt.NDArray[Any]


def f1(predicted: Scores, positive: Scores) -> float:
    return float(2 * (predicted & positive).sum() / (positive.sum() + predicted.sum()))


def test_many_classes_as_one_by_one() -> None:
    """More classes than are turned at once, and more samples."""
    rng = np.random.default_rng(1)
    labels = rng.random((1300, 130)) < rng.random(130) * 0.2
    scores = rng.random(labels.shape, dtype=np.float32) + labels * np.float32(0.3)
    together = f1_thresholds(scores, labels)
    single = [f1_thresholds(scores[:, [c]], labels[:, [c]]) for c in range(130)]
    for k in range(2):
        assert np.array_equal(together[k], np.concatenate([found[k] for found in single]), equal_nan=True)


def test_memory_stays_far_below_the_input() -> None:
    scores = np.random.default_rng(2).random((1000, 1000), dtype=np.float32)
    labels = scores > 0.9
    tracemalloc.start()
    f1_thresholds(scores, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < scores.nbytes / 5


ONE, NEXT = np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(1))


@pytest.mark.parametrize(
    ("scores", "labels", "threshold", "best"),
    [
        ([0.2, 0.4, 0.8, 0.9], [0, 0, 1, 1], 0.6, 1.0),  # halfway between accepted and rejected
        ([ONE, NEXT], [0, 1], NEXT, 1.0),  # no number lies between
        ([0.3, 0.7], [1, 1], 0.3, 1.0),  # all accepted: the lowest score itself
        ([0.0, 0.0], [1, 1], 0.0, 1.0),
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1], 0.85, 2 / 3),  # one of one, or two of four: the fewest predicted
        ([0.9, 0.1], [0, 0], np.nan, np.nan),  # undefined, never predicted
        ([], [], np.nan, np.nan),
    ],
)
def test_one_class_by_hand(scores: list[float], labels: list[int], threshold: float, best: float) -> None:
    found = f1_thresholds(np.array([scores], np.float32).T, np.array([labels]).T)
    assert found[0].dtype == np.float32
    assert found[0] == pytest.approx([np.float32(threshold)], rel=1e-7, nan_ok=True)
    assert found[1] == pytest.approx([best], nan_ok=True)
    for kind in (bool, np.uint8, np.float32):
        again = f1_thresholds(np.array([scores], np.float32).T, np.array([labels]).T.astype(kind))
        assert np.array_equal(again[0], found[0], equal_nan=True)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[0.1], [np.nan]], [[0], [1]], "found nan in row 1, class 0"),
        ([[0.1, np.inf]], [[0, 1]], "found inf in row 0, class 1"),
        ([[0.1], [0.2]], [[0], [2]], "expected 0 or 1, found 2 in row 1, class 0"),
        ([[0.1], [0.2]], [[0.5], [1]], "expected 0 or 1, found 0.5 in row 0"),
        ([[0.1], [0.2]], [[np.nan], [1]], "expected 0 or 1, found nan in row 0"),
        ([[0.1], [0.2]], [[0, 1]], r"found \(2, 1\) and \(1, 2\)"),
        ([0.1, 0.2], [0, 1], "samples x classes"),
        ([["a"], ["b"]], [[0], [1]], "expected real numbers"),
    ],
)
def test_wrong_input_is_named(scores: list[Any], labels: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        f1_thresholds(scores, labels)
    with pytest.raises(ValueError, match="beta"):
        f1_thresholds([[0.5]], [[1]], -1.0)


# Ratios --------------------------------------------------------------------------------------------------------------


def test_ratio_predicts_as_often_as_given() -> None:
    scores = np.random.default_rng(0).random((1000, 4)).astype(np.float32)
    ratios = [0.25, 0.0013, 1.0, 0.0]
    thresholds = ratio_thresholds(scores, ratios)
    assert thresholds.dtype == np.float32
    assert (scores >= thresholds).sum(axis=0).tolist() == [250, 1, 1000, 0]
    assert thresholds[2] == scores[:, 2].min() and np.isnan(thresholds[3])


# Shrinking -----------------------------------------------------------------------------------------------------------


def network_scores(samples: int, rng: np.random.Generator) -> tuple[Scores, Scores]:
    """Scores of 20 classes, positives 0.1% to 30%, nearly calibrated as a network's are, and labels."""
    shares = np.geomspace(0.001, 0.3, 20)
    labels = rng.random((samples, 20)) < shares
    logits = 2.5 * (rng.normal(size=labels.shape) + 2.5 * labels) - 2.5**2 / 2 + np.log(shares / (1 - shares))
    off = np.random.default_rng(7)
    return expit(logits * off.normal(1, 0.1, 20) + off.normal(0, 0.3, 20)).astype(np.float32), labels


def test_shrunken_holds_on_fresh_samples_where_the_optimum_flatters() -> None:
    rng = np.random.default_rng(0)
    fresh, truth = network_scores(40_000, rng)
    found = []
    for _ in range(20):
        scores, labels = network_scores(1000, rng)
        for thresholds in (f1_thresholds(scores, labels)[0], shrunken_thresholds(scores, labels)):
            known = np.flatnonzero(~np.isnan(thresholds))
            decided = [(fresh[:, c] >= thresholds[c], truth[:, c]) for c in known]
            own = [(scores[:, c] >= thresholds[c], labels[:, c]) for c in known]
            found.append([np.mean([f1(*pair) for pair in pairs]) for pairs in (decided, own)])
    (own_optimum, promised), (shrunken, _) = np.array(found).reshape(20, 2, 2).mean(axis=0)
    assert promised > own_optimum + 0.05
    assert shrunken > own_optimum + 0.01


def test_rare_classes_are_near_the_common_threshold_and_frequent_ones_near_their_own() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    labels = np.zeros((n, 3), bool)
    for c, count in enumerate((2000, 2000, 1)):
        labels[:count, c] = True
    scores = expit(rng.normal(size=(n, 3)) + 3 * labels + np.array([-1.0, -2.0, 1.0]))
    own, shrunken = f1_thresholds(scores, labels)[0], shrunken_thresholds(scores, labels)
    assert np.abs(shrunken - own)[:2].max() < 0.02
    # One positive: 1/11 of the way to its own from the common threshold, which the other two make.
    assert own[2] > 0.9 and own[1] < shrunken[2] < 0.75


# One way to all of them, and folds to judge them ---------------------------------------------------------------------


def test_fit_thresholds_by_name() -> None:
    scores, labels = network_scores(2000, np.random.default_rng(4))
    labels[:, 0] = False
    ratios = np.full(20, 0.1)
    assert np.array_equal(fit_thresholds("f1", scores, labels, ratios), f1_thresholds(scores, labels)[0], True)
    shrunken = fit_thresholds("shrunken", scores, labels, ratios)
    assert np.array_equal(shrunken, shrunken_thresholds(scores, labels), True)
    assert shrunken.dtype == np.float32 and np.isnan(shrunken).tolist() == [True] + [False] * 19
    by_ratio = fit_thresholds("ratio", scores, labels, ratios)
    assert np.isnan(by_ratio[0]), "no positive to show that it is right"
    assert np.array_equal(by_ratio[1:], ratio_thresholds(scores, ratios)[1:])
    fixed = fit_thresholds(0.3, scores, labels, ratios)
    assert fixed.dtype == np.float32 and (fixed == np.float32(0.3)).all()
