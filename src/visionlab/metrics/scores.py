"""Scores of labels, N x C with a label of 0 or 1 each: how they are checked and read, class by class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]

_CLASSES, _SAMPLES = 64, 512  # turned from rows into columns at once: what caches hold is three times as fast
_ZERO, _ONE = 2.0**-160, 2.0**-54


def aligned(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Values, npt.NDArray[Any]]:
    """Return scores, N x C of float32 or float64 (float16 becomes float32, integers float64), and labels as they are.

    Raises:
        ValueError: they aren't both N x C, or the scores aren't numbers.
    """
    given, labelled = np.asarray(scores), np.asarray(labels)
    if given.ndim != 2 or given.shape != labelled.shape:
        raise ValueError(
            "scores and labels: expected two arrays of one shape, samples x classes, found "
            f"{given.shape} and {labelled.shape}"
        )
    if given.dtype.kind not in "fiu":
        raise ValueError(f"scores: expected real numbers, found {given.dtype}")
    if given.dtype == np.float16:
        return given.astype(np.float32), labelled
    return given if given.dtype in (np.float32, np.float64) else given.astype(np.float64), labelled


def columns(scores: Values, labels: npt.NDArray[Any]) -> Iterator[tuple[int, Values, Flags]]:
    """Yield the number of each class, its N scores and which are positive, contiguous; copies of 64 classes at a time.

    Args:
        scores, labels: of :func:`aligned`.

    Raises:
        ValueError: a score is NaN or infinite, or a label neither 0 nor 1.
    """
    for first in range(0, scores.shape[1], _CLASSES):
        block = _turned(scores[:, first : first + _CLASSES])
        # NaN and infinities pass through the extremes, which need no second array as isfinite would.
        if block.size and not (np.isfinite(block.min()) and np.isfinite(block.max())):
            c, row = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(f"scores: expected finite numbers, found {block[c, row]} in row {row}, class {first + c}")
        given = _turned(labels[:, first : first + _CLASSES])
        positive = given.astype(bool)
        if given.dtype != np.bool_ and not np.array_equal(positive, given):
            c, row = np.argwhere(positive != given)[0]
            raise ValueError(f"labels: expected 0 or 1, found {given[c, row]} in row {row}, class {first + c}")
        yield from zip(range(first, first + len(block)), block, positive, strict=True)


def _turned(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    turned = np.empty(rows.shape[::-1], rows.dtype)
    for first in range(0, len(rows), _SAMPLES):
        turned[:, first : first + _SAMPLES] = rows[first : first + _SAMPLES].T
    return turned


def logit(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return log(p / (1 - p)) of scores in 0 to 1: finite for 0 (-111) and 1 (37) too, and the order stays."""
    p = np.asarray(scores, dtype=np.float64)
    return np.asarray(np.log(np.maximum(p, _ZERO)) - np.log(np.maximum(1 - p, _ONE)))


def expit(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return 1 / (1 + exp(-z)), without overflow; after :func:`logit` float32 come back exactly. NaN stays NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype=np.float64))))
