"""Regression metrics, each a function of weighted sums over samples.

Every metric here is ``finish(sum of weight * terms)``. Written so, the value with integer multiplicities as weights is
exactly the value of the table in which every row is repeated that often, and a bootstrap over groups needs only one
sum a group (:mod:`visionlab.metrics.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visionlab.errors import ConfigError, nearest

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A metric of true and predicted values.

    Attributes:
        name: as in ``metrics.json``.
        better: ``min``, ``max``, or ``zero`` where the value nearest to zero is best.
        in_unit: whether the value carries the target's unit.
        terms: ``(true, pred)``, both of one shape, -> that shape + (K,); the last term is 1 where a sample counts.
        finish: sums of the terms, (..., K), -> values (...).
    """

    name: str
    better: Literal["min", "max", "zero"]
    in_unit: bool
    terms: Callable[[Array, Array], Array]
    finish: Callable[[Array], Array]

    def __call__(self, true: npt.ArrayLike, pred: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
        """Return the value in the target's unit (or none), ``nan`` where it is undefined.

        Args:
            true, pred: N values, or N x C for several target columns, whose mean over columns is returned.
            weight: N multiplicities of the samples, one each by default.

        Raises:
            ValueError: the shapes differ.
        """
        terms = self.sample_terms(true, pred)
        ones = np.ones(len(terms)) if weight is None else np.asarray(weight, dtype=np.float64)
        if ones.shape != (len(terms),):
            raise ValueError(f"weight: expected {len(terms)} values, one a sample, found shape {ones.shape}")
        return self.value(np.tensordot(ones, terms, axes=1))

    def sample_terms(self, true: npt.ArrayLike, pred: npt.ArrayLike) -> Array:
        """Return the terms, N x K or N x C x K."""
        t, p = np.asarray(true, dtype=np.float64), np.asarray(pred, dtype=np.float64)
        if t.shape != p.shape or t.ndim not in (1, 2):
            raise ValueError(f"true and pred: expected one shape, N or N x C, found {t.shape} and {p.shape}")
        return self.terms(t, p)

    def value(self, sums: Array) -> float:
        """Return the value of sums of terms, K or C x K (then the mean over the C columns)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.mean(self.finish(sums)))


def _stack(*terms: Array) -> Array:
    return np.stack(terms, axis=-1)


def _mean(sums: Array) -> Array:
    return sums[..., 0] / sums[..., -1]


def _r2_terms(true: Array, pred: Array) -> Array:
    # R2 doesn't change when both are shifted; centred values keep the difference of squares below accurate.
    centred = true - true.mean(axis=0) if len(true) else true
    return _stack((pred - true) ** 2, centred, centred**2, np.ones_like(true))


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
        return _stack(np.where(counted, right, 0.0), counted.astype(np.float64))

    return Metric("sign_accuracy", "max", False, terms, _mean)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mae", "min", True, lambda t, p: _stack(np.abs(p - t), np.ones_like(t)), _mean),
        Metric("rmse", "min", True, lambda t, p: _stack((p - t) ** 2, np.ones_like(t)), lambda s: np.sqrt(_mean(s))),
        Metric("bias", "zero", True, lambda t, p: _stack(p - t, np.ones_like(t)), _mean),
        Metric("r2", "max", False, _r2_terms, _r2),
        sign_accuracy(),
    )
}


def metric(name: str, spec: dict[str, Any] | None = None) -> Metric:
    """Return the metric called ``name``; ``spec`` is the head's, whose ``margin`` sets that of ``sign_accuracy``.

    Raises:
        ConfigError: there is no such metric.
    """
    if name not in METRICS:
        raise ConfigError(f"metric '{name}': expected one of {', '.join(METRICS)}.{nearest(name, METRICS)}")
    margin = (spec or {}).get("margin")
    return sign_accuracy(float(margin)) if name == "sign_accuracy" and margin is not None else METRICS[name]
