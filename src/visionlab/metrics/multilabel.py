"""Metrics of labels, any number of them an image: functions of ``rows``, N x 3K, K columns each of

- labels, 0 or 1;
- scores, 0 to 1, as users get them (calibrated, if there is a calibration);
- decisions, 0 or 1. ``nan`` means that none was made, as by the baseline, which doesn't look at the image: every metric
  then takes what suits it best: all labels for F1, precision and recall of each class, those that the scores make best
  for F1 of all classes together, else those whose score is at least ``HALF``.

Classes without a positive among the rows say nothing of how well they are found: means over classes leave them out, in
each resample of a bootstrap too, and :func:`counted_classes` says how many are left. A score that isn't finite makes
the metrics of its class undefined (``nan``), and the means with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionlab.metrics.bootstrap import intervals
from visionlab.metrics.calibration import BINS, ece, expected_f1
from visionlab.metrics.metric import Array, Metric, group_sums, mean, stack
from visionlab.metrics.ranking import Ranking, RankMetric, auroc, average_precision, mean_over

if TYPE_CHECKING:
    import pandas as pd

HALF = 0.5
"""From this score on a label counts as predicted where no threshold was fitted."""


class Labels(NamedTuple):
    """The parts of rows, N x K each."""

    true: Array
    scores: Array
    decided: Array


def parts(rows: npt.ArrayLike) -> Labels:
    """Return labels, scores and decisions of rows, N x 3K.

    Raises:
        ValueError: the shape doesn't fit, or labels or decisions are neither 0 nor 1.
    """
    given = np.asarray(rows, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] % 3:
        raise ValueError(f"rows of labels: expected N x 3K (labels, scores, decisions), found shape {given.shape}")
    true, scores, decided = np.split(given, 3, axis=1)
    if not _yes_or_no(true).all() or not (_yes_or_no(decided) | np.isnan(decided)).all():
        raise ValueError("rows of labels: expected labels of 0 and 1, and decisions of 0, 1 or NaN")
    return Labels(true, scores, decided)


def _yes_or_no(values: Array) -> npt.NDArray[np.bool_]:
    return (values == 0) | (values == 1)


# Decisions, and what they are worth in each class -------------------------------------------------------------------


def fitted(labels: Labels, undecided: npt.ArrayLike = 1.0) -> Array:
    """Return the decisions, N x K, 0 or 1; ``undecided`` where none was made, ``nan`` where a score isn't finite."""
    decided = np.where(np.isnan(labels.decided), undecided, labels.decided)
    return np.where(np.isfinite(labels.scores), decided, np.nan)


def at_half(labels: Labels) -> Array:
    """Return the same with scores of at least ``HALF`` for decisions, where any were made."""
    decided = np.where(np.isnan(labels.decided), np.nan, labels.scores >= HALF)
    return fitted(labels._replace(decided=decided))


def tallies(labels: Labels, *decisions: Array) -> Array:
    """Return N x (K + 2KD) terms: the labels, then for each of D decisions those that are right and all of them."""
    return np.concatenate([labels.true, *(part for made in decisions for part in (labels.true * made, made))], axis=1)


def precision(found: Array, true: Array, predicted: Array) -> Array:
    """Return the share of the predicted images that have the label, 0 if there are none.

    A class that is never predicted must not raise a mean over classes by staying out of it.
    """
    return np.where(predicted == 0, 0.0, found / predicted)


def recall(found: Array, true: Array, predicted: Array) -> Array:
    """Return the share of the images with the label that are predicted to have it."""
    return found / true


def f1(found: Array, true: Array, predicted: Array) -> Array:
    """Return the harmonic mean of precision and recall, 0 where nothing is found."""
    return 2 * found / (true + predicted)


# The metrics ---------------------------------------------------------------------------------------------------------

_Score = Callable[[Array, Array, Array], Array]


def _counted(terms: Array) -> Array:
    """Return the terms with a last one that says that every sample counts."""
    return np.concatenate([terms, np.ones((len(terms), 1))], axis=1)


def _macro(name: str, score: _Score, decide: Callable[[Labels], Array] = fitted) -> Metric:
    def terms(rows: Array) -> Array:
        labels = parts(rows)
        return _counted(tallies(labels, decide(labels)))

    def finish(sums: Array) -> Array:
        true, found, predicted = np.split(sums[..., :-1], 3, axis=-1)
        return mean_over(score(found, true, predicted), true > 0)

    return Metric(name, "max", False, terms, finish, within=(0, 1))


def _gain_terms(rows: Array) -> Array:
    labels = parts(rows)
    return _counted(tallies(labels, fitted(labels), at_half(labels)))


def _gain(sums: Array) -> Array:
    true, found, predicted, found_half, predicted_half = np.split(sums[..., :-1], 5, axis=-1)
    return mean_over(f1(found, true, predicted) - f1(found_half, true, predicted_half), true > 0)


def _micro_terms(rows: Array) -> Array:
    labels = parts(rows)
    true, found, predicted = np.split(tallies(labels, fitted(labels, _for_micro(labels.scores))), 3, axis=1)
    return stack(found.sum(axis=1), true.sum(axis=1), predicted.sum(axis=1), np.ones(len(true)))


def _for_micro(scores: Array) -> npt.NDArray[np.bool_]:
    """Return the decisions of the highest F1 of all labels together that scores promise, row by row, N x K.

    Those from half of that F1 on (Lipton, see :func:`visionlab.metrics.calibration.expected_f1`); all labels would be
    far too many, where most are rare.
    """
    highest = -np.sort(-scores, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        promised = 2 * highest.cumsum(axis=1) / (highest.sum(axis=1, keepdims=True) + np.arange(1, scores.shape[1] + 1))
    return np.asarray(scores >= promised.max(axis=1, keepdims=True, initial=0) / 2)


def _wrong(rows: Array) -> Array:
    """Return where the decision isn't the label, N x K, 0 or 1."""
    labels = parts(rows)
    return np.abs(fitted(labels, labels.scores >= HALF) - labels.true)


def _hamming_terms(rows: Array) -> Array:
    wrong = _wrong(rows)
    return stack(wrong.mean(axis=1), np.ones(len(wrong)))


def _exact_terms(rows: Array) -> Array:
    wrong = _wrong(rows)
    return stack(1 - wrong.max(axis=1), np.ones(len(wrong)))


def _error_terms(rows: Array) -> Array:
    """Return N x (K + K BINS + 1) terms: the labels, then score - label in the bin of the score."""
    labels = parts(rows)
    n_samples, n_classes = labels.true.shape
    place = np.clip(np.nan_to_num(labels.scores) * BINS, 0, BINS - 1).astype(int)
    errors = np.zeros((n_samples, n_classes, BINS))
    np.put_along_axis(errors, place[..., np.newaxis], (labels.scores - labels.true)[..., np.newaxis], axis=2)
    return _counted(np.concatenate([labels.true, errors.reshape(n_samples, n_classes * BINS)], axis=1))


def _error(sums: Array) -> Array:
    n_classes = (sums.shape[-1] - 1) // (BINS + 1)
    errors = sums[..., n_classes:-1].reshape(*sums.shape[:-1], n_classes, BINS)
    return mean_over(np.abs(errors).sum(axis=-1) / sums[..., -1:], sums[..., :n_classes] > 0)


def _ranked(rows: npt.ArrayLike) -> tuple[Array, Array]:
    labels = parts(rows)
    return labels.true, labels.scores


METRICS: dict[str, Metric | RankMetric] = {
    metric.name: metric
    for metric in (
        _macro("f1_macro", f1),
        _macro("f1_macro_half", f1, at_half),
        Metric("f1_macro_gain", "max", False, _gain_terms, _gain, within=(-1, 1)),
        Metric("f1_micro", "max", False, _micro_terms, lambda sums: f1(sums[..., 0], sums[..., 1], sums[..., 2])),
        _macro("precision_macro", precision),
        _macro("recall_macro", recall),
        RankMetric("map", average_precision, _ranked),
        RankMetric("auroc", auroc, _ranked),
        Metric("hamming", "min", False, _hamming_terms, mean),
        Metric("exact_match", "max", False, _exact_terms, mean),
        Metric("ece", "min", False, _error_terms, _error, interval=False),
    )
}
"""Metrics of labels, over the whole set.

- ``f1_macro``: mean over classes of F1, the harmonic mean of precision and recall; ``f1_macro_half``: with decisions at
  a score of ``HALF`` in place of those at the thresholds; ``f1_macro_gain``: the first less the second, what the
  thresholds are worth.
- ``precision_macro``, ``recall_macro``: means over classes of the share of the predicted images that have the label (0
  for a class never predicted), and of the images with the label that are found.
- ``f1_micro``: F1 of all labels of all classes counted together, those without positives as well.
- ``map``, ``auroc``: means over classes of average precision and of the area under the ROC curve: of the order that
  scores give, whatever the thresholds. The fewer positives, the higher average precision is on average (each counts
  itself among those found): it compares models on the same images, not sets of images.
- ``hamming``: share of wrong decisions; ``exact_match``: share of images without any.
- ``ece``: mean over classes of :func:`visionlab.metrics.calibration.ece`, how far scores are from the share of
  positives among like scores. It has no interval: every resample adds noise to the shares, which counts as error, and
  that of well calibrated scores would lie above their value.
"""

_OF_ALL = ("f1_micro", "hamming", "exact_match")


def counted_classes(name: str, rows: npt.ArrayLike) -> int:
    """Return how many of the K classes a metric counts: means over classes only those with positives.

    Args:
        name: of a metric in :data:`METRICS`; ``auroc`` needs negatives as well.
        rows: N x 3K.
    """
    true = parts(rows).true > 0
    if name in _OF_ALL:
        return true.shape[1]
    counted = true.any(axis=0) & ~true.all(axis=0) if name == "auroc" else true.any(axis=0)
    return int(counted.sum())


def class_table(rows: npt.ArrayLike, spec: Mapping[str, Any], groups: npt.ArrayLike) -> pd.DataFrame:
    """Return one row a class: how many images have it and are predicted to, and how well that goes.

    Args:
        rows: N x 3K.
        spec: of the K classes ``columns`` (names), ``ids``, ``thresholds`` (None where undefined) and ``positives``
            (training images).
        groups: N names, the group of each sample.

    Returns:
        ``class``, ``id``, ``threshold``, ``train`` (training images), ``support`` and ``predicted`` (images among the
        rows); ``precision``, ``recall``, ``f1``, ``f1_half`` (at a score of ``HALF``), ``ap`` (average precision) and
        ``auroc``, each also ``_low`` and ``_high`` (95%, over groups); ``expected_f1``, which the scores alone promise
        at the threshold; ``ece``. NaN where undefined; of a class without positives all measures that have intervals.
    """
    import pandas as pd

    labels = parts(rows)
    thresholds = np.array(spec["thresholds"], dtype=np.float64)
    columns: dict[str, Any] = {
        "class": list(spec["columns"]),
        "id": list(spec["ids"]),
        "threshold": thresholds,
        "train": list(spec["positives"]),
        "support": labels.true.sum(axis=0).astype(int),
        "predicted": np.nansum(fitted(labels), axis=0).astype(int),
    }
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    draw = _measures(labels, member, len(names))
    found = (draw(np.ones((1, len(names))))[0], *intervals(draw, len(names)))
    for name, *ends in zip(_MEASURES, *(part.reshape(len(_MEASURES), -1) for part in found), strict=True):
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    columns["expected_f1"] = expected_f1(labels.scores, thresholds)
    columns["ece"] = ece(labels.scores, labels.true)
    return pd.DataFrame(columns)


_MEASURES = ("precision", "recall", "f1", "f1_half", "ap", "auroc")


def _measures(labels: Labels, member: npt.NDArray[Any], n_groups: int) -> Callable[[Array], Array]:
    """Return the function that gives the measures of all classes, R x 6K, for how often each group was drawn."""
    sums = group_sums(tallies(labels, fitted(labels), at_half(labels)), member, n_groups)
    ranking = Ranking(labels.true, labels.scores, member)

    def draw(counts: Array) -> Array:
        true, found, predicted, *half = np.split(counts @ sums, 5, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            decided = [score(found, true, predicted) for score in (precision, recall, f1)]
            values = np.stack([*decided, f1(half[0], true, half[1])], axis=1)
        ranked = ranking.by_class(counts, average_precision, auroc)
        values = np.where(true[:, np.newaxis] > 0, np.concatenate([values, ranked], axis=1), np.nan)
        return values.reshape(len(counts), -1)

    return draw


# Which classes go with which ----------------------------------------------------------------------------------------


def confusion(rows: npt.ArrayLike) -> Array:
    """Return which classes are taken for which, K x K.

    An image of class i in which i was missed and other classes were predicted wrongly was taken for those, to equal
    parts. Row i shows where the images of class i went, as shares of them: on the diagonal those that were found (the
    recall), in column j those taken for j; what is missing to 1 was missed with no wrong class in its place. NaN in the
    rows of classes without positives, and where a score isn't finite.

    Args:
        rows: N x 3K.
    """
    labels = parts(rows)
    decided = fitted(labels)
    missed, wrong = labels.true * (1 - decided), (1 - labels.true) * decided
    instead = wrong / np.maximum(wrong.sum(axis=1, keepdims=True), 1)
    taken = missed.T @ instead + np.diag((labels.true * decided).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(taken / labels.true.sum(axis=0)[:, np.newaxis])
