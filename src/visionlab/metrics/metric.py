"""What a metric is: a function of weighted sums over samples.

Every metric is ``finish(sum of weight * terms)``. Written so, the value with integer multiplicities as weights is
exactly the value of the table in which every row is repeated that often, batches of any size give the same value, and a
bootstrap over groups needs only one sum a group (:mod:`visionlab.metrics.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A metric of rows, one a sample.

    Rows of numbers are N x 2C, the true and then the predicted values of C target columns; the mean over these is the
    value (:mod:`visionlab.metrics.regression`). Rows of maps are N x K, the sums of each image
    (:mod:`visionlab.metrics.dense`), those of labels N x 3K labels, scores and decisions
    (:mod:`visionlab.metrics.multilabel`).

    Attributes:
        name: as in ``metrics.json``.
        better: ``min``, ``max``, or ``zero`` where the value nearest to zero is best.
        in_unit: whether the value carries the target's unit.
        terms: the rows -> N x K or N x C x K; the last term is above 0 where a sample counts.
        finish: sums of the terms, (..., K), -> values (...).
        interval: whether the bootstrap shows how certain the value is; not where resampling alone makes it worse.
        within: lowest and highest value that the metric can have, where resampling shifts it (see
            :func:`visionlab.metrics.bootstrap.intervals`); None where it doesn't.
    """

    name: str
    better: Literal["min", "max", "zero"]
    in_unit: bool
    terms: Callable[[Array], Array]
    finish: Callable[[Array], Array]
    interval: bool = True
    within: tuple[float, float] | None = None

    def __call__(self, rows: Array, weight: npt.ArrayLike | None = None) -> float:
        """Return the value in the target's unit (or none), ``nan`` where it is undefined.

        Args:
            rows: of N samples.
            weight: N multiplicities of the samples, one each by default.

        Raises:
            ValueError: the shapes don't fit.
        """
        terms = self.terms(rows)
        sums = np.tensordot(sample_weights(weight, len(terms)), terms, axes=1)
        return float(self.values(sums[np.newaxis])[0])

    def each(self, rows: Array) -> Array:
        """Return the value of each of N samples by itself, ``nan`` where it is undefined."""
        return self.values(self.terms(rows))

    def counted(self, rows: Array) -> npt.NDArray[np.bool_]:
        """Return which of the N samples count."""
        terms = self.terms(rows)
        return np.asarray((terms[..., -1].reshape(len(terms), -1) > 0).any(axis=1))

    def over_groups(self, rows: Array, member: npt.NDArray[Any], n_groups: int) -> Callable[[Array], Array]:
        """Return the function that gives R values for how often each group was drawn, R x groups.

        Args:
            rows: of N samples.
            member: N group numbers of the samples, from 0.
            n_groups: how many groups there are.
        """
        terms = self.terms(rows)
        sums = group_sums(terms.reshape(len(terms), -1), member, n_groups)
        return lambda counts: self.values((counts @ sums).reshape(-1, *terms.shape[1:]))

    def values(self, sums: Array) -> Array:
        """Return R values of R sums of terms, R x K or R x C x K (then the mean over the C columns)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.finish(sums)
            return found if found.ndim == 1 else found.mean(axis=1)


def sample_weights(weight: npt.ArrayLike | None, n_samples: int) -> Array:
    """Return the multiplicities of the samples, one each by default.

    Raises:
        ValueError: it isn't one a sample.
    """
    weights = np.ones(n_samples) if weight is None else np.asarray(weight, dtype=np.float64)
    if weights.shape != (n_samples,):
        raise ValueError(f"weight: expected {n_samples} values, one a sample, found shape {weights.shape}")
    return weights


def group_sums(terms: Array, member: npt.NDArray[Any], n_groups: int) -> Array:
    """Return the sums of each group, groups x K, of terms of the samples, N x K, whose group numbers are ``member``."""
    return np.stack([np.bincount(member, weights=column, minlength=n_groups) for column in terms.T], axis=1)


def stack(*terms: Array) -> Array:
    """Return the terms along a new last axis."""
    return np.stack(terms, axis=-1)


def mean(sums: Array) -> Array:
    """Finish a mean: the first sum over the last."""
    return sums[..., 0] / sums[..., -1]


def root_mean(sums: Array) -> Array:
    """Finish the root of a mean."""
    return np.sqrt(mean(sums))


Sums = Mapping[str, Array]


def of_sums(
    columns: Sequence[str],
    name: str,
    better: Literal["min", "max"],
    terms: Callable[[Sums], tuple[Array, Array]],
    *,
    finish: Callable[[Array], Array] = mean,
    in_unit: bool = False,
) -> Metric:
    """Return a metric of rows, N x ``columns``; ``terms`` is given the columns by their names, N values each."""
    return Metric(name, better, in_unit, lambda rows: stack(*terms(by_name(rows, columns))), finish)


def by_name(rows: Array, columns: Sequence[str]) -> Sums:
    """Return {column: N values} of rows, N x ``columns``.

    Raises:
        ValueError: there are more columns or fewer.
    """
    return dict(zip(columns, rows.T, strict=True))
