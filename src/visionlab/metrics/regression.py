"""Metrics of predicted numbers, functions of ``rows``: N x 2C, the true and then the predicted values of C columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from visionlab.metrics.metric import Array, Metric, mean, root_mean, stack


def _of_errors(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the terms of a mean of a function of predicted - true values."""

    def terms(rows: Array) -> Array:
        true, pred = np.split(rows, 2, axis=1)
        return stack(function(pred - true), np.ones_like(true))

    return terms


def _r2_terms(rows: Array) -> Array:
    true, pred = np.split(rows, 2, axis=1)
    # R2 doesn't change when both are shifted; centred values keep the difference of squares below accurate.
    centred = true - true.mean(axis=0) if len(true) else true
    return stack((pred - true) ** 2, centred, centred**2, np.ones_like(true))


def _r2(sums: Array) -> Array:
    error, first, second, n = np.moveaxis(sums, -1, 0)
    spread = second - first**2 / n
    # Equal true values leave rounding noise where the spread is exactly zero: R2 is undefined then, not huge.
    return np.where(spread > 1e-12 * np.maximum(second, 1e-300), 1 - error / spread, np.nan)


def sign_accuracy(margin: float = 0.0) -> Metric:
    """Share of the samples with ``|true| > margin`` (in the target's unit) whose predicted sign is right.

    For a focal distance it says how often the stage would move the right way. Undefined (``nan``) if no true value
    lies beyond the margin. A prediction of exactly 0 says nothing and counts half, as guessing would.
    """

    def terms(rows: Array) -> Array:
        true, pred = np.split(rows, 2, axis=1)
        counted = np.abs(true) > margin
        right = (1 + np.sign(true) * np.sign(pred)) / 2
        return stack(np.where(counted, right, 0.0), counted.astype(np.float64))

    return Metric("sign_accuracy", "max", False, terms, mean)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mae", "min", True, _of_errors(np.abs), mean),
        Metric("rmse", "min", True, _of_errors(np.square), root_mean),
        Metric("bias", "zero", True, _of_errors(np.positive), mean),
        Metric("r2", "max", False, _r2_terms, _r2),
        sign_accuracy(),
    )
}
