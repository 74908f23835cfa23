"""Which images of a split to look at: most wrong, most uncertain, labels that may be wrong. NumPy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_LEAST = 1e-6
"""Scores nearer to 0 or 1 count as that far away, so that one sure error is no infinite loss."""


class Suspect(NamedTuple):
    """A label that the scores contradict: which image, which class, whether it is given, its score."""

    row: int
    column: int
    given: bool
    score: float


def loss(true: Flags, scores: Array) -> Array:
    """Return the binary cross-entropy of each image, summed over the classes, N.

    Args:
        true, scores: N x K, the scores finite, 0 to 1.
    """
    p = np.clip(np.asarray(scores, dtype=float), _LEAST, 1 - _LEAST)
    return -np.log(np.where(true, p, 1 - p)).sum(axis=1)


def uncertainty(scores: Array, thresholds: Array) -> Array:
    """Return how near the scores of each class lie to its threshold, N x K, from 0 (far) to 0.5 (at it).

    The distance is one of logits, so that it means the same at a threshold of 0.05 and at one of 0.5: it becomes the
    chance of deciding wrongly that a score calibrated to its threshold would have. 0 for undefined thresholds.

    Args:
        scores: N x K, finite, 0 to 1.
        thresholds: K, NaN where undefined.
    """
    distance = np.abs(_logit(scores) - _logit(thresholds))
    return np.where(np.isfinite(distance), 1 / (1 + np.exp(np.where(np.isfinite(distance), distance, 0))), 0.0)


def suspects(true: Flags, scores: Array, decided: Flags) -> list[Suspect]:
    """Return the labels that may be wrong, those that the scores contradict most firmly first.

    Suspect are labels that aren't predicted as they are given, if the score is nearer to the mean of the images with
    the other label. They are ranked by how far the score is from the label, times the distance of the two means: a
    class that the network hardly tells apart says little. (After confident learning, Northcutt et al. 2021, "Confident
    Learning: Estimating Uncertainty in Dataset Labels", JAIR 70:1373-1411, which judges by the means of a class, too.)

    Args:
        true, scores, decided: N x K, the scores finite, 0 to 1.
    """
    found: list[tuple[float, Suspect]] = []
    for k, (label, score, made) in enumerate(zip(true.T, np.asarray(scores, float).T, decided.T, strict=True)):
        if label.all() or not label.any():
            continue
        with_it, without = float(score[label].mean()), float(score[~label].mean())
        if with_it <= without:
            continue
        firm = np.where(label, score < (with_it + without) / 2, score > (with_it + without) / 2)
        for row in np.flatnonzero(firm & (label != made)):
            far = abs(float(label[row]) - float(score[row]))
            found.append((far * (with_it - without), Suspect(int(row), k, bool(label[row]), float(score[row]))))
    return [suspect for _, suspect in sorted(found, key=lambda pair: -pair[0])]


def _logit(p: npt.ArrayLike) -> Array:
    clipped = np.clip(np.asarray(p, dtype=float), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped / (1 - clipped)))
