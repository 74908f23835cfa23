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
    panels, predicted = [], False
    for sample in samples:
        true = sample.true[head]
        panels.append([Panel(true, f"{head} {sample.scores.get(head, '')}\ntarget")])
        if head in sample.pred:
            found, predicted = sample.pred[head][0], True
            marked = overlap(sample.image, true >= THRESHOLD, found >= THRESHOLD, np.isfinite(true))
            panels[-1] += [Panel(found, "prediction"), Panel(marked, "difference")]
    return Parts(panels, [()] * len(samples), OVERLAP if predicted else {})
