"""Thresholds: equal to trying every cut, on hostile input too; what is fitted on few positives holds on fresh data."""

from __future__ import annotations

import tracemalloc
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import precision_recall_curve

from visionlab.errors import ConfigError
from visionlab.metrics import f1_thresholds, fit_thresholds, ratio_thresholds, shrunken_thresholds
from visionlab.metrics.scores import expit

Scores = npt.NDArray[Any]


def f_beta(predicted: Scores, positive: Scores, beta: float = 1.0) -> float:
    found = (predicted & positive).sum()
    return float((1 + beta**2) * found / (beta**2 * positive.sum() + predicted.sum()))


def every_cut(score: Scores, positive: Scores, beta: float) -> tuple[float, Scores]:
    """The highest F-beta and its predictions; cuts from the highest score down, so of equals the fewest predicted."""
    best, predicted = -1.0, np.zeros(len(score), bool)
    for cut in np.unique(score)[::-1]:
        value = f_beta(score >= cut, positive, beta)
        if value > best:
            best, predicted = value, score >= cut
    return best, predicted


def case(number: int) -> tuple[Scores, Scores]:
    """Scores and labels with all that is awkward: ties, constants, neighbours, one sample, none or only positives."""
    rng = np.random.default_rng(number)
    n, c = int(rng.integers(1, 60)), int(rng.integers(1, 4))
    kind: type[np.floating[Any]] = (np.float32, np.float64)[number % 2]
    scores = (
        lambda: rng.random((n, c)),
        lambda: rng.integers(0, 4, (n, c)) / 3,
        lambda: np.full((n, c), 0.3),
        lambda: rng.normal(size=(n, c)) * 10.0 ** rng.integers(-42, 38),
        lambda: 0.5 + rng.integers(0, 3, (n, c)) * (2.0**-24 if kind == np.float32 else 2.0**-53),
    )[number // 2 % 5]()
    return scores.astype(kind), rng.random((n, c)) < rng.choice([0, 0.05, 0.3, 1])


@pytest.mark.parametrize("beta", [1.0, 0.5, 2.0])
def test_equals_trying_every_cut_on_200_random_cases(beta: float) -> None:
    undefined = 0
    for number in range(200):
        scores, labels = case(number)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            thresholds, best = f1_thresholds(scores, labels, beta)
        assert thresholds.dtype == scores.dtype
        for c, positive in enumerate(labels.T):
            if not positive.any():
                assert np.isnan(thresholds[c]) and np.isnan(best[c]), f"case {number}"
                undefined += 1
                continue
            value, predicted = every_cut(scores[:, c], positive, beta)
            assert best[c] == pytest.approx(value, abs=1e-12), f"case {number}"
            assert np.array_equal(scores[:, c] >= thresholds[c], predicted), f"case {number}"
    assert undefined > 20, "the cases must cover classes without positives"


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_same_f1_as_scikit_learn(kind: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((3000, 6)) < np.geomspace(0.002, 0.6, 6)
    scores = expit(rng.normal(size=labels.shape) + 2 * labels - 3).astype(kind)
    thresholds, best = f1_thresholds(scores, labels)
    for c in range(6):
        precision, recall, _ = precision_recall_curve(labels[:, c], scores[:, c])
        curve = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        assert best[c] == pytest.approx(curve.max(), abs=1e-12)
        assert f_beta(scores[:, c] >= thresholds[c], labels[:, c]) == pytest.approx(best[c], abs=1e-12)


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


def test_halfway_between_accepted_and_rejected() -> None:
    thresholds, best = f1_thresholds(np.array([[0.2], [0.4], [0.8], [0.9]]), np.array([[0], [0], [1], [1]]))
    assert thresholds == pytest.approx([0.6]) and best.tolist() == [1.0]


def test_neighbouring_float32_have_no_number_between() -> None:
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    thresholds, _ = f1_thresholds(np.array([[low], [high]]), np.array([[0], [1]]))
    assert thresholds.dtype == np.float32 and thresholds[0] == high


@pytest.mark.parametrize("scores", [[0.3, 0.7], [0.3, 0.3], [0.0, 0.0]])
def test_all_accepted_is_the_lowest_score_itself(scores: list[float]) -> None:
    thresholds, best = f1_thresholds(np.array([scores]).T, np.ones((2, 1)))
    assert thresholds.tolist() == [min(scores)] and best.tolist() == [1.0]


def test_of_equal_optima_the_fewest_predicted() -> None:
    # One found of one predicted, or two found of four: F1 is 2/3 for both.
    thresholds, best = f1_thresholds(np.array([[0.9, 0.8, 0.7, 0.6]]).T, np.array([[1, 0, 0, 1]]).T)
    assert thresholds == pytest.approx([0.85]) and best == pytest.approx([2 / 3])


def test_a_class_without_positives_is_undefined_and_never_predicted() -> None:
    scores = np.array([[0.9, 0.9], [0.1, 1.0]])
    thresholds, best = f1_thresholds(scores, np.array([[1, 0], [0, 0]]))
    assert np.isnan(thresholds).tolist() == np.isnan(best).tolist() == [False, True]
    assert not (scores >= thresholds)[:, 1].any()
    assert np.isnan(f1_thresholds(np.zeros((0, 2)), np.zeros((0, 2)))).all(), "no samples, no positives"


@pytest.mark.parametrize("kind", [bool, np.int64, np.uint8, np.float32])
def test_labels_of_any_type(kind: type) -> None:
    scores = np.array([[0.1], [0.6], [0.5], [0.9]], np.float16)
    thresholds, best = f1_thresholds(scores, np.array([[0], [1], [0], [1]]).astype(kind))
    assert thresholds.dtype == np.float32 and 0.5 < thresholds[0] <= 0.6 and best.tolist() == [1.0]


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


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_is_above_0(beta: float) -> None:
    with pytest.raises(ValueError, match="beta"):
        f1_thresholds([[0.5]], [[1]], beta)


# Ratios --------------------------------------------------------------------------------------------------------------


def test_ratio_predicts_as_often_as_given() -> None:
    scores = np.random.default_rng(0).random((1000, 4)).astype(np.float32)
    ratios = [0.25, 0.0013, 1.0, 0.0]
    thresholds = ratio_thresholds(scores, ratios)
    assert thresholds.dtype == np.float32
    assert (scores >= thresholds).sum(axis=0).tolist() == [250, 1, 1000, 0]
    assert thresholds[2] == scores[:, 2].min() and np.isnan(thresholds[3])


@pytest.mark.parametrize(("ratio", "predicted"), [(0.1, 0), (0.25, 0), (0.3, 2), (0.6, 2), (0.8, 4)])
def test_ratio_as_nearly_as_ties_allow(ratio: float, predicted: int) -> None:
    scores = np.array([[0.2], [0.2], [0.7], [0.7]], np.float32)
    threshold = ratio_thresholds(scores, [ratio])
    assert (scores >= threshold).sum() == predicted
    assert np.isfinite(threshold).all()


@pytest.mark.parametrize("ratios", [[0.5], [0.5, 1.5], [0.5, -0.1], [0.5, np.nan]])
def test_ratios_are_shares_one_a_class(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 2 numbers of 0 to 1"):
        ratio_thresholds(np.zeros((3, 2)), ratios)


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
            found.append([np.mean([f_beta(*pair) for pair in pairs]) for pairs in (decided, own)])
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


def test_shrunken_keeps_undefined_classes_and_the_type() -> None:
    scores = np.array([[0.9, 0.9], [0.1, 1.0]], np.float32)
    thresholds = shrunken_thresholds(scores, np.array([[1, 0], [0, 0]]))
    assert thresholds.dtype == np.float32 and np.isnan(thresholds).tolist() == [False, True]
    assert np.isnan(shrunken_thresholds(scores, np.zeros((2, 2)))).all()


def test_shrunken_with_scores_of_0_and_1() -> None:
    thresholds = shrunken_thresholds(np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), np.array([[0, 1], [1, 0], [1, 0]]))
    assert ((thresholds >= 0) & (thresholds <= 1)).all()


def test_shrunken_needs_scores_of_0_to_1() -> None:
    with pytest.raises(ValueError, match="expected 0 to 1, found -2 to 3"):
        shrunken_thresholds([[-2.0], [3.0]], [[0], [1]])


@pytest.mark.parametrize("find", [lambda s, y, b: f1_thresholds(s, y, b)[0], shrunken_thresholds])
def test_a_larger_beta_predicts_more(find: Any) -> None:
    scores, labels = network_scores(3000, np.random.default_rng(3))
    counts = [(scores >= find(scores, labels, beta)).sum() for beta in (0.3, 1.0, 3.0)]
    assert counts[0] < counts[1] < counts[2]


# One way to all of them, and folds to judge them ---------------------------------------------------------------------


def test_fit_thresholds_by_name() -> None:
    scores, labels = network_scores(2000, np.random.default_rng(4))
    labels[:, 0] = False
    ratios = np.full(20, 0.1)
    assert np.array_equal(
        fit_thresholds("f1", scores, labels, ratios, 2.0), f1_thresholds(scores, labels, 2.0)[0], True
    )
    shrunken = shrunken_thresholds(scores, labels, 2.0)
    assert np.array_equal(fit_thresholds("shrunken", scores, labels, ratios, 2.0), shrunken, True)
    by_ratio = fit_thresholds("ratio", scores, labels, ratios)
    assert np.isnan(by_ratio[0]), "no positive to show that it is right"
    assert np.array_equal(by_ratio[1:], ratio_thresholds(scores, ratios)[1:])
    fixed = fit_thresholds(0.3, scores, labels, ratios)
    assert fixed.dtype == np.float32 and (fixed == np.float32(0.3)).all()


def test_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'ratios'.*f1, ratio, shrunken, or a number.*Did you mean 'ratio'"):
        fit_thresholds("ratios", [[0.5]], [[1]], [0.5])
