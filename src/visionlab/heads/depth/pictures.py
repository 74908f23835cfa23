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
    known = np.concatenate([sample.true[head][np.isfinite(sample.true[head])] for sample in samples])
    low, high = (float(end) for end in np.percentile(known, [LOW, HIGH])) if len(known) else (0.0, 1.0)
    unit = str(spec.get("unit") or "")
    depths = Scale("viridis", low, high if high > low else low + 1, unit)
    errors = [sample.pred[head][0] - sample.true[head] for sample in samples if head in sample.pred]
    sizes = np.abs(np.concatenate([error[np.isfinite(error)] for error in errors] or [np.zeros(0)]))
    reach = float(np.percentile(sizes, HIGH)) if sizes.any() else 1.0
    panels = []
    for sample in samples:
        title = " ".join(filter(None, [head, sample.scores.get(head, "")]))
        row = [Panel(sample.true[head], f"{title}\ntarget", depths)]
        if head in sample.pred:
            found = sample.pred[head][0]
            scale = Scale("RdBu_r", -reach, reach, unit)
            row += [Panel(found, "prediction", depths), Panel(found - sample.true[head], "difference", scale)]
        panels.append(row)
    note = f"{head}: colours from the {LOW:.0f}nd to the {HIGH:.0f}th percentile of the targets"
    return Parts(panels, [()] * len(samples), note=note + ("; difference: predicted − target" if errors else ""))
