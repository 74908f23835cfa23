"""How often a sample with several labels is drawn, so that rare labels are seen more often than they occur."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt


def sample_weights(labels: npt.ArrayLike, method: Literal["sqrt", "balanced"]) -> npt.NDArray[np.float64]:
    """Return N chances of being drawn, their sum 1.

    A sample weighs as its rarest label, because that is the one whose images are missing otherwise; a label's other
    images come along with it. ``balanced``: 1 / n for a label of n samples (class-aware sampling, Shen et al. 2016,
    "Relay backpropagation"), so that the rarest labels of 11 and 10,000 samples are drawn equally often. That shows the
    11 images again and again; ``sqrt``: 1 / sqrt(n), lies between this and the true frequencies (Mahajan et al. 2018,
    "Exploring the limits of weakly supervised pretraining"; the maximum over labels as in Gupta et al. 2019, "LVIS").
    Samples without labels weigh as the commonest label.

    Args:
        labels: N x K of 0/1, N at least 1.
        method: ``sqrt`` or ``balanced``.
    """
    has = np.asarray(labels) > 0
    counts = has.sum(axis=0)
    commonest = counts.max(initial=1)
    rarest = np.where(has, counts, commonest).min(axis=1, initial=commonest).astype(np.float64)
    weights = 1.0 / (np.sqrt(rarest) if method == "sqrt" else rarest)
    return np.asarray(weights / weights.sum())
