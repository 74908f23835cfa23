"""Metrics of predicted numbers, functions of ``true`` and ``pred``: N values, or N x C for several target columns."""

from __future__ import annotations

import numpy as np

from visionlab.metrics.metric import Array, Metric, mean, root_mean, stack


def _r2_terms(true: Array, pred: Array) -> Array:
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

    def terms(true: Array, pred: Array) -> Array:
        counted = np.abs(true) > margin
        right = (1 + np.sign(true) * np.sign(pred)) / 2
        return stack(np.where(counted, right, 0.0), counted.astype(np.float64))

    return Metric("sign_accuracy", "max", False, terms, mean)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mae", "min", True, lambda t, p: stack(np.abs(p - t), np.ones_like(t)), mean),
        Metric("rmse", "min", True, lambda t, p: stack((p - t) ** 2, np.ones_like(t)), root_mean),
        Metric("bias", "zero", True, lambda t, p: stack(p - t, np.ones_like(t)), mean),
        Metric("r2", "max", False, _r2_terms, _r2),
        sign_accuracy(),
    )
}
