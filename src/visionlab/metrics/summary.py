"""What ``metrics.json`` says of a metric: value, interval and baseline"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.errors import DataError
from visionlab.metrics.bootstrap import group_interval
from visionlab.metrics.metric import Array, Metric
from visionlab.metrics.ranking import RankMetric

AnyMetric = Metric | RankMetric


def entry(metric: AnyMetric, model: Array, baseline: Array, groups: npt.ArrayLike, unit: str) -> dict[str, Any]:
    """Return what ``metrics.json`` says of a metric.

    Args:
        metric: of N samples.
        model: rows of the model's predictions.
        baseline: the same of the baseline's.
        groups: N names, the group of each sample.
        unit: of the target.

    Returns:
        ``value``, ``low`` and ``high`` (95%, over groups; null with fewer than two), ``baseline``, ``n`` samples and
        ``groups`` that the metric counts, ``better`` and ``unit``. Undefined values are null.
    """
    names = np.asarray(groups).astype(str)
    low, high = group_interval(metric, model, names)
    counted = metric.counted(model)
    return {
        "value": _finite(metric(model)),
        "low": low,
        "high": high,
        "baseline": _finite(metric(baseline)),
        "n": int(counted.sum()),
        "groups": len(np.unique(names[counted])),
        "better": metric.better,
        "unit": unit if metric.in_unit else "",
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def check_true(head: str, true: Array, groups: npt.ArrayLike) -> None:
    """Refuse true values that are missing; a prediction that isn't finite makes metrics undefined.

    Args:
        head: its name.
        true: N x K.
        groups: N names, the group of each sample.

    Raises:
        DataError: naming the first sample.
    """
    bad = ~np.isfinite(true).all(axis=1)
    if bad.any():
        first = int(bad.argmax())
        raise DataError(
            f"{head}: {int(bad.sum())} of {len(true)} samples have no true value, the first is number {first + 1}, of "
            f"group '{np.asarray(groups)[first]}'; give every sample that is evaluated its target, or leave it out"
        )
