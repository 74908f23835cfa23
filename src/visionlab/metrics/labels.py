"""Rows of labels, any number of them an image: N x 3K, K columns each of

- labels, 0 or 1;
- scores, 0 to 1, as users get them (calibrated, if there is a calibration);
- decisions, 0 or 1. ``nan`` means that none was made, as by the baseline, which doesn't look at the image: every metric
  then takes what suits it best: all labels for F1, precision and recall of each class, those that the scores make best
  for F1 of all classes together, else those whose score is at least ``HALF``.

Here are their parts, what is counted of them, and which classes go with which.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionlab.metrics.metric import Array

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
    return _over(taken, labels.true.sum(axis=0))


def cooccurrence(labels: npt.ArrayLike) -> Array:
    """Return the share of the images with class i (row) that also have class j (column), K x K; the diagonal is 1.

    Args:
        labels: N x K, 0 or 1. The rows of classes without positives are NaN.
    """
    given = np.asarray(labels, dtype=np.float64)
    return _over(given.T @ given, given.sum(axis=0))


def _over(counts: Array, of_class: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(counts / of_class[:, np.newaxis])
