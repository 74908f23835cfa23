"""From which score on a label is given: one threshold for each class, chosen on scores that no training has seen.

A label is predicted where score >= threshold. NaN is *undefined*: of a class without a positive among the samples
nothing is known, and ``score >= nan`` never predicts it. What thresholds are worth is seen only on samples that they
were not chosen on (:func:`visionlab.data.stratify.nested_folds`): on their own they flatter, rare classes most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.metrics.scores import Flags, Values, aligned, columns, expit, logit

Array = npt.NDArray[np.float64]

SUPPORT = 10
"""Positives at which a class's own optimum and the common threshold weigh the same in :func:`shrunken_thresholds`."""

_BINS = 1024
_CANDIDATES = 512  # common thresholds that are tried


def f1_thresholds(scores: npt.ArrayLike, labels: npt.ArrayLike, beta: float = 1.0) -> tuple[Values, Array]:
    """Return for each class the threshold of the highest F-beta on these samples, and that F-beta.

    It is the exact optimum over all cut points. Where several are equal, the one with the fewest predicted wins. The
    threshold lies halfway between the lowest accepted score and the highest rejected one, or on the lowest accepted
    score where all are accepted or no number lies between.

    Args:
        scores: N x C, finite, any scale.
        labels: N x C, 0 or 1 (bool, integers or floats).
        beta: weight of recall against precision, above 0 (van Rijsbergen 1979, "Information Retrieval", chapter 7).

    Returns:
        C thresholds of the scores' type, so that comparing needs no rounding (float16 gives float32, integers float64);
        C values of F-beta, 0 to 1. Both are NaN for a class without positives.

    Raises:
        ValueError: the arrays are not as said.
    """
    given, labelled = aligned(scores, labels)
    thresholds, best = np.full(given.shape[1], np.nan, given.dtype), np.full(given.shape[1], np.nan)
    if not 0 < beta < np.inf:
        raise ValueError(f"beta: expected a number above 0, found {beta}")
    weight = float(beta) ** 2
    for c, score, positive in columns(given, labelled):
        if positive.any():
            thresholds[c], best[c] = _best_cut(score, positive, weight)
    return thresholds, best


def _best_cut(score: Values, positive: Flags, weight: float) -> tuple[np.floating[Any], np.floating[Any]]:
    """Return the best threshold of one class and its F-beta.

    Only a cut at a positive's score can be best. Sorting all scores is most of the work, so they are first counted in
    equal bins from the lowest positive to the highest. What F-beta a bin's own cuts could reach at most (all positives
    of the bin, none of its negatives) excludes nearly all bins; the scores in the others are sorted. Whatever the
    bins, the result is exact: were all scores in one bin, all would be sorted.
    """

    def f_beta(found: npt.NDArray[Any], wrong: npt.NDArray[Any]) -> Array:
        return np.asarray((1 + weight) * found / (weight * n_positive + found + wrong))

    own = score[positive]
    n_positive, low = len(own), own.min()
    limits = np.finfo(score.dtype)
    # Each step keeps the order, also where it rounds or overflows; the limits keep 0 * inf out.
    with np.errstate(over="ignore", divide="ignore"):
        place = (score - low) * np.clip(_BINS / (own.max() - low), limits.tiny, limits.max) + 1
    bins = np.clip(place, 0, _BINS + 1, out=place).astype(np.int64)  # 0: below all positives
    counts = np.zeros((_BINS + 3, 2), np.int64)
    counts[:-1] = np.bincount(2 * bins + positive, minlength=2 * _BINS + 4).reshape(-1, 2)
    wrong, found = counts[::-1].cumsum(axis=0)[::-1].T  # accepted from each bin on
    reached = f_beta(found[:-1], wrong[:-1]).max()
    # A little below what is reached, so that rounding excludes no equal.
    possible = np.flatnonzero((f_beta(found[:-1], wrong[1:]) >= reached * (1 - 1e-9)) & (found[:-1] > found[1:]))
    inside = (bins >= possible[0]) & (bins <= possible[-1])
    after = possible[-1] + 1
    near, own = np.sort(score[inside]), np.sort(score[inside & positive])
    n_found = found[after] + np.arange(len(own), 0, -1)
    # Of equal positives the first counts them all; the others seem to find fewer, and never win.
    n_wrong = wrong[after] + found[after] + len(near) - np.searchsorted(near, own) - n_found
    values = f_beta(n_found, n_wrong)
    best = len(values) - 1 - values[::-1].argmax()
    upper = own[best]
    rejected = np.where(score < upper, score, -np.inf).max()
    return _between(rejected, upper), values[best]


def _between(rejected: np.floating[Any], accepted: np.floating[Any]) -> np.floating[Any]:
    """Return t of the same type with rejected < t <= accepted; ``accepted`` if nothing is rejected (-inf)."""
    middle = accepted.dtype.type(rejected / 2 + accepted / 2)
    return middle if rejected < middle <= accepted else accepted


def ratio_thresholds(scores: npt.ArrayLike, ratios: npt.ArrayLike) -> Values:
    """Return the thresholds at which each class is predicted as often as given, as nearly as ties allow.

    Of two cuts that are equally near, the one with fewer predicted is taken. If none predicted is nearest, the
    threshold is the next number above the highest score.

    Args:
        scores: N x C, finite.
        ratios: C shares, 0 to 1, of the training samples that have the label.

    Returns:
        C thresholds of the scores' type; NaN where the ratio is 0, or without samples.
    """
    given, shares = np.asarray(scores), np.asarray(ratios, dtype=np.float64)
    thresholds = np.full(given.shape[1], np.nan, given.dtype)
    for c, score in enumerate(given.T):
        if shares[c] == 0 or not len(score):
            continue
        values, counts = np.unique(score, return_counts=True)
        accepted = np.append(0, counts[::-1].cumsum())  # none, the highest value, the two highest ...
        cut = len(values) - int(np.abs(accepted - shares[c] * len(score)).argmin())
        if cut == len(values):
            thresholds[c] = np.nextafter(values[-1], values.dtype.type(np.inf))
        else:
            thresholds[c] = _between(values[cut - 1] if cut else -values.dtype.type(np.inf), values[cut])
    return thresholds


def shrunken_thresholds(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Values:
    """Return each class's optimum (:func:`f1_thresholds`) drawn towards one common threshold, the more the rarer it is.

    Between the logits of both, with weight n / (n + ``SUPPORT``) of the class's own for n positives. The common one is
    that of the highest mean F1 over the classes with positives (of 512 candidates, quantiles of the positives'
    scores).

    Why: the optimum of a few positives fits their chance. Macro-F1 in percent on fresh samples, mean of 48 networks (12
    generated data sets with the label sets of the Human Protein Atlas, the rarest label 11 times in 31,072; trained
    with BCE, briefly and long, focal and weighted BCE), and in brackets of the classes with up to 10 positives alone:

    ========= =========== =========== =========== =========== =========== =========== ===========
    fitted on f1          ratio       0.5         common      SUPPORT 3   SUPPORT 10  SUPPORT 30
    ========= =========== =========== =========== =========== =========== =========== ===========
    300       73.8 (66.4) 72.6 (65.4) 76.0 (69.7) 76.0 (70.2) 75.7 (70.0) 76.2 (70.5) 76.3 (70.5)
    1000      72.7 (51.2) 72.7 (53.3) 73.6 (53.4) 73.8 (55.3) 74.0 (56.0) 74.1 (56.0) 74.2 (55.7)
    6214      71.7 (39.8) 71.4 (40.9) 70.6 (36.2) 71.2 (39.0) 72.1 (42.0) 72.0 (41.4) 71.9 (40.2)
    ========= =========== =========== =========== =========== =========== =========== ===========

    On their own samples the thresholds of ``f1`` promised 82.7, 79.3 and 74.4. A common threshold of all decisions
    pooled was worse than that of the mean over classes, and shrinking the scores no better than their logits. If the
    scales of classes differ much (simulated: offsets of standard deviation 1 on the logit), ``ratio`` is level with
    this or ahead by up to about one point, ``f1`` still behind.

    Args:
        scores: N x C, 0 to 1.
        labels: N x C, 0 or 1.

    Returns:
        C thresholds of the scores' type; NaN for a class without positives.

    Raises:
        ValueError: the arrays are not as said.
    """
    given, labelled = aligned(scores, labels)
    own, _ = f1_thresholds(given, labelled)
    support = (labelled != 0).sum(axis=0)
    if not support.any():
        return own
    common = _common_threshold(given, labelled)
    weight = support / (support + SUPPORT)
    return expit(weight * logit(own) + (1 - weight) * logit(common)).astype(given.dtype)


def _common_threshold(scores: Values, labels: npt.NDArray[Any]) -> np.floating[Any]:
    """Return the threshold of the highest mean F1 over the classes that have positives; of equals the highest."""
    candidates = np.quantile(scores[labels != 0], np.linspace(0, 1, _CANDIDATES), method="lower")
    total = np.zeros(_CANDIDATES)
    for _, score, positive in columns(scores, labels):
        if positive.any():
            own = np.sort(score[positive])
            found = len(own) - np.searchsorted(own, candidates)
            predicted = len(score) - np.searchsorted(np.sort(score), candidates)
            total += 2 * found / (len(own) + predicted)
    best: np.floating[Any] = candidates[_CANDIDATES - 1 - total[::-1].argmax()]
    return best


def fit_thresholds(method: str | float, scores: npt.ArrayLike, labels: npt.ArrayLike, ratios: npt.ArrayLike) -> Values:
    """Return C thresholds of the scores' type; NaN for a class without positives, but for a fixed number.

    Args:
        method: ``f1`` (:func:`f1_thresholds`), ``ratio`` (:func:`ratio_thresholds`), ``shrunken``
            (:func:`shrunken_thresholds`), or a number for all classes.
        scores: N x C, 0 to 1.
        labels: N x C, 0 or 1.
        ratios: C shares of the training samples that have the label; ``ratio`` needs them.

    Raises:
        ValueError: the arrays are not as said.
    """
    given, labelled = aligned(scores, labels)
    if not isinstance(method, str):
        return np.full(given.shape[1], method, given.dtype)
    if method == "ratio":
        found = ratio_thresholds(given, ratios)
        return np.where((labelled > 0).any(axis=0), found, found.dtype.type(np.nan))
    return f1_thresholds(given, labelled)[0] if method == "f1" else shrunken_thresholds(given, labelled)
