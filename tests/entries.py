"""What metrics are computed from, for tests of all kinds."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def arrays(kind: str, rows: Array) -> tuple[Array, ...]:
    """Return what the metrics of a kind take: of numbers the true and the predicted ones, of others the rows."""
    return tuple(np.split(rows, 2, axis=1)) if kind == "regression" else (rows,)
