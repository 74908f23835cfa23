"""Metrics of the order in which scores put samples: average precision and the area under the ROC curve.

They are no functions of sums over samples (:mod:`visionlab.metrics.metric`), but those of one class only need the
weights of the samples at and between the scores of its positives. So each class is sorted once, and a resample of the
bootstrap is one pass of sums over its samples, many resamples at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from visionlab.metrics.metric import Array, sample_weights

_WEIGHTS_AT_ONCE = 2**20
"""Samples times resamples in one pass: a few MB, which a processor's cache holds."""


class Ranked(NamedTuple):
    """Weights of one class in R resamples, at the M different scores that its positives have, highest first.

    Attributes:
        positives: M x R, of the positives with that score.
        tied: M x R, of the negatives with that score.
        higher: M x R, of the negatives with a higher score.
        negatives: R, of all negatives.
    """

    positives: Array
    tied: Array
    higher: Array
    negatives: Array


def average_precision(ranked: Ranked) -> Array:
    """Return the mean over the positives of the precision at their score, R values; ``nan`` without positives.

    Samples with equal scores are found together and nothing is interpolated, as in scikit-learn's
    ``average_precision_score``. Scores that know nothing give the share of positives.
    """
    found = ranked.positives.cumsum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(ranked.positives > 0, found / (found + ranked.higher + ranked.tied), 0.0)
        return np.asarray((ranked.positives * precision).sum(axis=0) / ranked.positives.sum(axis=0))


def auroc(ranked: Ranked) -> Array:
    """Return the share of pairs of a positive and a negative in which the positive scores higher, ties half, R values.

    ``nan`` without positives or without negatives; 0.5 if the scores know nothing. It is the area under the ROC curve:
    Hanley & McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
    Radiology 143:29-36.
    """
    lower = ranked.negatives - ranked.higher - ranked.tied / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = ranked.positives.sum(axis=0) * ranked.negatives
        return np.asarray((ranked.positives * lower).sum(axis=0) / pairs)


class Ranking:
    """The order of N samples in each of K classes.

    Args:
        labels: N x K, 0 or 1.
        scores: N x K; a class with one that isn't finite has no order, its measures are ``nan``.
        member: N numbers, from 0, of what is drawn: the samples' groups.
    """

    def __init__(self, labels: Array, scores: Array, member: npt.NDArray[Any]) -> None:
        self._member = member
        self._classes = [
            _Order(label > 0, score) if np.isfinite(score).all() else None
            for label, score in zip(labels.T, scores.T, strict=True)
        ]

    def by_class(self, counts: Array, *measures: Callable[[Ranked], Array]) -> Array:
        """Return the values of M measures, R x M x K, for how often each group counts.

        Args:
            counts: R x groups.
            measures: :func:`average_precision`, :func:`auroc`.
        """
        step = max(1, _WEIGHTS_AT_ONCE // max(len(self._member), 1))
        found = np.full((len(counts), len(measures), len(self._classes)), np.nan)
        for start in range(0, len(counts), step):
            # One row a sample: any order of the samples is then one of whole rows.
            weights = _narrow(np.ascontiguousarray(counts[start : start + step].T).take(self._member, axis=0))
            for k, order in enumerate(self._classes):
                if order is not None:
                    ranked = order.ranked(weights)
                    for m, measure in enumerate(measures):
                        found[start : start + step, m, k] = measure(ranked)
        return found


def _narrow(weights: Array) -> npt.NDArray[Any]:
    """Return whole numbers, as of resamples, in a type that holds every sum of them in a quarter of the memory."""
    whole = weights.sum(axis=0).max(initial=0) < 2**16 and (weights == np.rint(weights)).all()
    return weights.astype(np.uint16) if whole else weights


class _Order:
    """The positives and the negatives of one class, highest score first.

    The M different scores of the positives are places 1, 3, 5, ... of the order; places 0, 2, 4, ... lie between them.
    """

    def __init__(self, positive: npt.NDArray[np.bool_], score: Array) -> None:
        met = np.unique(-score[positive])
        place = np.searchsorted(met, -score, side="left") + np.searchsorted(met, -score, side="right")
        order = np.argsort(place, kind="stable")
        self._size = 2 * len(met) + 1
        self._positives, self._negatives = (self._runs(order[chosen[order]], place) for chosen in (positive, ~positive))

    @staticmethod
    def _runs(order: npt.NDArray[Any], place: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        """Return the samples in order, where each place among them starts, and those places."""
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        return order, starts, place[order][starts]

    def ranked(self, weights: npt.NDArray[Any]) -> Ranked:
        """Return the weights, given those of the samples, N x R."""
        positives, negatives = (np.zeros((self._size, weights.shape[1])) for _ in range(2))
        for (order, starts, places), sums in ((self._positives, positives), (self._negatives, negatives)):
            if len(order):
                sums[places] = np.add.reduceat(weights.take(order, axis=0), starts, axis=0, dtype=weights.dtype)
        until = negatives.cumsum(axis=0)
        return Ranked(positives[1::2], negatives[1::2], until[:-1:2], until[-1])


@dataclass(frozen=True)
class RankMetric:
    """The mean over the classes of a measure of their order, called as a :class:`~visionlab.metrics.metric.Metric` is.

    Classes for which the measure is undefined are left out, in each resample too.

    Attributes:
        name, better, in_unit, within: see :class:`~visionlab.metrics.metric.Metric`.
        of_class: :func:`average_precision` or :func:`auroc`.
        parts: rows of N samples -> labels, 0 or 1, and scores, N x K each.
    """

    name: str
    of_class: Callable[[Ranked], Array]
    parts: Callable[[Array], tuple[Array, Array]]
    better: Literal["max"] = "max"
    in_unit: bool = False
    within: tuple[float, float] | None = (0, 1)
    interval: ClassVar[bool] = True

    def __call__(self, rows: Array, weight: npt.ArrayLike | None = None) -> float:
        """Return the value, ``nan`` where it is undefined or a score isn't finite; see :class:`Metric`."""
        values = self.over_groups(rows, np.arange(len(rows)), len(rows))
        return float(values(sample_weights(weight, len(rows))[np.newaxis])[0])

    def counted(self, rows: Array) -> npt.NDArray[np.bool_]:
        """Return which of the N samples count: all."""
        return np.ones(len(rows), dtype=bool)

    def over_groups(self, rows: Array, member: npt.NDArray[Any], n_groups: int) -> Callable[[Array], Array]:
        """Return the function that gives R values for how often each group was drawn; see :class:`Metric`."""
        labels, scores = self.parts(rows)
        if not np.isfinite(scores).all():
            return lambda counts: np.full(len(counts), np.nan)
        ranking = Ranking(labels, scores, member)
        return lambda counts: mean_over(values := ranking.by_class(counts, self.of_class)[:, 0], np.isfinite(values))


def mean_over(values: Array, classes: npt.NDArray[np.bool_]) -> Array:
    """Return the means of the last axis over those classes, ``nan`` where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(classes, values, 0.0).sum(axis=-1) / classes.sum(axis=-1))
