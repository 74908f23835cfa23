"""Every metric there is, by the kind of head that it measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionlab.errors import ConfigError, nearest
from visionlab.metrics import dense, instances, multilabel, regression
from visionlab.metrics.metric import Array, Metric
from visionlab.metrics.ranking import RankMetric

AnyMetric = Metric | RankMetric

METRICS: dict[str, Mapping[str, AnyMetric]] = {
    "regression": regression.METRICS,
    **dense.METRICS,
    "instances": instances.METRICS,
    "multilabel": multilabel.METRICS,
}
"""Kind of head -> name -> metric."""


def metric(kind: str, name: str, spec: Mapping[str, Any] | None = None) -> AnyMetric:
    """Return the metric called ``name``; ``spec`` is the head's, whose ``margin`` sets that of ``sign_accuracy``.

    Raises:
        ConfigError: there is no such metric or kind of head.
    """
    if kind not in METRICS:
        raise ConfigError(f"kind of head '{kind}': expected one of {', '.join(METRICS)}.{nearest(kind, METRICS)}")
    if name not in METRICS[kind]:
        choices = METRICS[kind]
        raise ConfigError(
            f"metric '{name}' of a {kind} head: expected one of {', '.join(choices)}.{nearest(name, choices)}"
        )
    margin = (spec or {}).get("margin")
    if name == "sign_accuracy" and margin is not None:
        return regression.sign_accuracy(float(margin))
    return METRICS[kind][name]


def arrays(kind: str, rows: Array) -> tuple[Array, ...]:
    """Return what the metrics of this kind take, of one row a sample.

    Args:
        kind: of the head.
        rows: ``mask``, ``depth``, ``instances``: N x sums of each image; ``multilabel``: N x 3K, labels, scores,
            decisions; ``regression``: N x 2C, true values, then predicted ones.

    Raises:
        ValueError: the shape doesn't fit.
    """
    if kind != "regression":
        return (rows,)
    if rows.ndim != 2 or rows.shape[1] % 2:
        raise ValueError(f"rows of a {kind} head: expected N x 2C, found shape {rows.shape}")
    half = rows.shape[1] // 2
    return rows[:, :half], rows[:, half:]
