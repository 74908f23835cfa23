"""All metrics by the kind of head, and ``metrics.json``: value, interval and baseline, from rows of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.errors import ConfigError, DataError, nearest
from visionlab.metrics import dense, instances, multilabel, regression
from visionlab.metrics.bootstrap import group_interval
from visionlab.metrics.metric import Array, Metric
from visionlab.metrics.multilabel import counted_classes
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


def measure(kind: str, names: Sequence[str], rows: Array, spec: Mapping[str, Any]) -> dict[str, float]:
    """Return each metric of the rows of all samples, in the target's unit, ``nan`` where it is undefined.

    Args:
        kind: of the head.
        names: of the metrics.
        rows: see :func:`summarise`.
        spec: the head's, as in :func:`summarise`.

    Raises:
        ConfigError: an unknown kind of head or metric.
    """
    return {name: metric(kind, name, spec)(*arrays(kind, rows)) for name in names}


def summarise(
    rows: Mapping[str, tuple[Array, Array]],
    heads: Mapping[str, Mapping[str, Any]],
    groups: npt.ArrayLike,
    stage: str,
    data_name: str,
) -> dict[str, dict[str, Any]]:
    """Return the entries of ``metrics.json`` for one stage.

    Args:
        rows: head -> rows of the model's predictions and of the baseline's, one a sample: for ``regression`` N x 2C
            in the user's units, C true values and then C predicted ones; for ``mask`` and ``depth`` the N x K sums of
            :mod:`visionlab.metrics.dense`; for ``instances`` those of :mod:`visionlab.metrics.instances`; for
            ``multilabel`` the N x 3K of :mod:`visionlab.metrics.multilabel`.
        heads: ``run.json``'s heads (``kind``, ``columns``, ``unit``) with ``metrics``, a list of names, in each; a
            ``margin`` in the target's unit is handed to ``sign_accuracy``.
        groups: N names, the group of each sample.
        stage: ``test``, ``val`` or another name; the first part of the metrics' names.
        data_name: what the numbers are about, ``generated sample`` or the data's root.

    Returns:
        ``stage/head/metric``, and for regression heads of several columns also ``stage/head/column/metric``, ->
        ``value``, ``low`` and ``high`` (95%, over groups; null with fewer than two), ``baseline``, ``unit``, ``n``
        samples and ``groups`` that the metric counts, ``better`` and ``data``. Undefined values are null. Those of
        ``multilabel`` heads also have ``classes``, how many the metric counts, and ``of``, how many there are.

    Raises:
        DataError: a true value is missing.
        ConfigError: an unknown kind of head or metric.
    """
    names = np.asarray(groups).astype(str)
    result: dict[str, dict[str, Any]] = {}
    for head, spec in heads.items():
        of_metrics = {name: metric(spec["kind"], name, spec) for name in spec["metrics"]}
        model, base = (arrays(spec["kind"], part) for part in rows[head])
        columns = list(spec["columns"]) if spec["kind"] == "regression" else []
        if spec["kind"] in ("regression", "multilabel"):
            # Rows of labels begin with the true ones.
            check_true(head, model[0][:, : len(spec["columns"])], names)
        for name, one in of_metrics.items():
            parts = {f"{stage}/{head}/{name}": slice(None)}
            if len(columns) > 1:
                parts |= {f"{stage}/{head}/{column}/{name}": slice(i, i + 1) for i, column in enumerate(columns)}
            for key, part in parts.items():
                own, of_baseline = ([array[:, part] for array in arrays_of] for arrays_of in (model, base))
                result[key] = {**entry(one, own, of_baseline, names, spec.get("unit") or ""), "data": data_name}
                if spec["kind"] == "multilabel":
                    result[key] |= {"classes": counted_classes(name, model[0]), "of": len(spec["columns"])}
    return result


def entry(
    metric: AnyMetric, model: Sequence[Array], baseline: Sequence[Array], groups: npt.ArrayLike, unit: str
) -> dict[str, Any]:
    """Return what ``metrics.json`` says of a metric.

    Args:
        metric: of N samples.
        model: what it takes, of the model's predictions.
        baseline: the same of the baseline's.
        groups: N names, the group of each sample.
        unit: of the target.

    Returns:
        ``value``, ``low`` and ``high`` (95%, over groups; null with fewer than two), ``baseline``, ``n`` samples and
        ``groups`` that the metric counts, ``better`` and ``unit``. Undefined values are null.
    """
    names = np.asarray(groups).astype(str)
    low, high = group_interval(metric, model, names)
    counted = metric.counted(*model)
    return {
        "value": _finite(metric(*model)),
        "low": low,
        "high": high,
        "baseline": _finite(metric(*baseline)),
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
