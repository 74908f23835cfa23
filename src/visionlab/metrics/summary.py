"""From a table of predictions to ``metrics.json``: value, interval and baseline of every metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from visionlab.errors import ConfigError, DataError, nearest
from visionlab.metrics.bootstrap import group_interval
from visionlab.metrics.regression import Metric, metric

if TYPE_CHECKING:
    import pandas as pd

KINDS: dict[str, Callable[[str, dict[str, Any]], Metric]] = {"regression": metric}
"""Head kind -> how a metric's name becomes a metric."""


def summarise(
    table: pd.DataFrame,
    heads: Mapping[str, Mapping[str, Any]],
    stage: str,
    train_targets: Mapping[str, float],
    data_name: str,
) -> dict[str, dict[str, Any]]:
    """Return the entries of ``metrics.json`` for one stage.

    Args:
        table: one row a sample: ``group``, and ``<column>_true`` and ``<column>_pred`` in the user's units.
        heads: ``run.json``'s heads (``kind``, ``columns``, ``unit``) with ``metrics``, a list of names, in each; a
            ``margin`` in the target's unit is handed to ``sign_accuracy``.
        stage: ``test``, ``val`` or another name; the first part of the metrics' names.
        train_targets: mean of each target column over the training samples; predicting it is the baseline.
        data_name: what the numbers are about, ``generated sample`` or the data's root.

    Returns:
        ``stage/head/metric``, and for heads of several columns also ``stage/head/column/metric``, -> ``value``, ``low``
        and ``high`` (95%, over groups; null with fewer than two), ``baseline``, ``unit``, ``n`` samples and ``groups``
        that the metric counts, ``better`` and ``data``. Undefined values are null.

    Raises:
        DataError: a column is missing, or a true value is.
        ConfigError: an unknown kind of head or metric.
    """
    result: dict[str, dict[str, Any]] = {}
    for head, given in heads.items():
        spec = dict(given)
        if spec["kind"] not in KINDS:
            raise ConfigError(
                f"head '{head}', kind '{spec['kind']}': expected one of {', '.join(KINDS)}."
                f"{nearest(str(spec['kind']), KINDS)}"
            )
        columns = list(spec["columns"])
        true, pred = _columns(table, columns, "true"), _columns(table, columns, "pred")
        base = np.broadcast_to([float(train_targets[column]) for column in columns], true.shape)
        groups = table["group"].astype(str).to_numpy()
        for name in spec["metrics"]:
            measure = KINDS[spec["kind"]](name, spec)
            parts = {f"{stage}/{head}/{name}": slice(None)}
            if len(columns) > 1:
                parts |= {f"{stage}/{head}/{column}/{name}": slice(i, i + 1) for i, column in enumerate(columns)}
            for key, part in parts.items():
                entry = _entry(measure, true[:, part], pred[:, part], base[:, part], groups)
                result[key] = {**entry, "unit": (spec.get("unit") or "") if measure.in_unit else "", "data": data_name}
    return result


def _entry(
    measure: Metric,
    true: npt.NDArray[np.float64],
    pred: npt.NDArray[np.float64],
    base: npt.NDArray[np.float64],
    groups: npt.NDArray[Any],
) -> dict[str, Any]:
    low, high = group_interval(measure, (true, pred), groups)
    counted = (measure.sample_terms(true, pred)[..., -1] > 0).any(axis=1)
    return {
        "value": _finite(measure(true, pred)),
        "low": low,
        "high": high,
        "baseline": _finite(measure(true, base)),
        "n": int(counted.sum()),
        "groups": len(np.unique(groups[counted])),
        "better": measure.better,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _columns(table: pd.DataFrame, columns: list[str], which: str) -> npt.NDArray[np.float64]:
    """Return N x C values; a missing true value is an error, a prediction that isn't finite makes metrics undefined."""
    names = [f"{column}_{which}" for column in columns]
    absent = [name for name in ("group", *names) if name not in table]
    if absent:
        raise DataError(f"predictions: expected the columns {', '.join(absent)}, found {', '.join(map(str, table))}")
    values = table[names].to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values).all(axis=1)
    if which == "true" and bad.any():
        first = f", the first '{table['id'].iloc[int(bad.argmax())]}'" if "id" in table else ""
        raise DataError(
            f"{', '.join(names)}: {int(bad.sum())} of {len(table)} samples have no true value{first}; "
            "give every sample that is evaluated its target, or leave it out"
        )
    return values
