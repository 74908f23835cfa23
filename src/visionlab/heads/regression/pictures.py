"""Pictures of images with true and predicted numbers under them."""

from __future__ import annotations

from collections.abc import Sequence

from visionlab.drawing.text import digits, shorten, with_unit
from visionlab.heads.figures import Spec
from visionlab.heads.pictures import Parts, Sample, best_worst

__all__ = ["pictures", "show"]

pictures = best_worst


def show(head: str, spec: Spec, samples: Sequence[Sample]) -> Parts:
    """Return a line for each column: ``true → predicted``."""
    columns, unit = [str(name) for name in spec["columns"]], str(spec.get("unit") or "")
    places = 1 if len(columns) > 1 else None
    lines = []
    for sample in samples:
        said = [digits(float(x), 0 if x == round(x) else places) for x in sample.true[head]]
        if head in sample.pred:
            said = [f"{x} → {digits(float(p), places)}" for x, p in zip(said, sample.pred[head], strict=True)]
        if len(columns) > 1:
            said = [f"{shorten(column, 12)}  {x}" for column, x in zip(columns, said, strict=True)]
        lines.append([with_unit(x, unit) for x in said])
    what = "true → predicted" if any(sample.pred for sample in samples) else head
    return Parts([()] * len(samples), lines, note=f"under each image: {what}")
