"""Pictures of depth maps: target, prediction and their difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visionlab.drawing.gallery import Panel, Scale
from visionlab.heads.figures import Spec
from visionlab.heads.pictures import Parts, Sample, best_worst

__all__ = ["pictures", "show"]

LOW, HIGH = 2.0, 98.0
"""Percentiles of the targets between which depths are coloured, and of the error's size where its colours end."""

pictures = best_worst


def show(head: str, spec: Spec, samples: Sequence[Sample]) -> Parts:
    """Return the target, and where there is a prediction also that and the difference; all samples on one scale."""
    unit = str(spec.get("unit") or "")
    low, high = _ends([sample.true[head] for sample in samples], [LOW, HIGH])
    errors = [np.abs(sample.pred[head][0] - sample.true[head]) for sample in samples if head in sample.pred]
    _, reach = _ends(errors, [0.0, HIGH])
    depths, differences = Scale("viridis", low, high, unit), Scale("RdBu_r", -reach, reach, unit)
    panels = []
    for sample in samples:
        true = sample.true[head]
        panels.append([Panel(true, f"{head} {sample.scores.get(head, '')}\ntarget", depths)])
        if head in sample.pred:
            found = sample.pred[head][0]
            panels[-1] += [Panel(found, "prediction", depths), Panel(found - true, "difference", differences)]
    note = f"{head}: colours from the {LOW:.0f}nd to the {HIGH:.0f}th percentile of the targets"
    return Parts(panels, [()] * len(samples), note=note)


def _ends(maps: Sequence[np.ndarray], percentiles: Sequence[float]) -> tuple[float, float]:
    """Return the percentiles of the known pixels, the upper one above the lower."""
    known = np.concatenate([values[np.isfinite(values)] for values in maps] or [np.zeros(0)])
    low, high = np.percentile(known, percentiles) if len(known) else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)
