"""Pictures of masks: target, prediction, and what was found, falsely found and missed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visionlab.drawing.gallery import Panel
from visionlab.drawing.outlines import OVERLAP, overlap
from visionlab.heads.figures import Spec
from visionlab.heads.pictures import Parts, Sample, best_worst

__all__ = ["pictures", "show"]

THRESHOLD = 0.5
"""A probability from here on is foreground, in the differences."""

pictures = best_worst


def show(head: str, spec: Spec, samples: Sequence[Sample]) -> Parts:
    """Return the target, and where there is a prediction also that and the difference."""
    panels = []
    for sample in samples:
        true, found = sample.true[head], sample.pred.get(head)
        title = " ".join(filter(None, [head, sample.scores.get(head, "")]))
        row = [Panel(true, f"{title}\ntarget")]
        if found is not None:
            image = next(iter(sample.inputs.values()))
            marked = overlap(image, true >= THRESHOLD, found[0] >= THRESHOLD, np.isfinite(true))
            row += [Panel(found[0], "prediction"), Panel(marked, "difference")]
        panels.append(row)
    legend = OVERLAP if any(sample.pred for sample in samples) else {}
    return Parts(panels, [()] * len(samples), legend)
