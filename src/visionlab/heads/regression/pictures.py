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
    columns, lines = [str(name) for name in spec["columns"]], []
    for sample in samples:
        said = [digits(float(x)) for x in sample.true[head]]
        if head in sample.pred:
            said = [f"{x} → {digits(float(p))}" for x, p in zip(said, sample.pred[head], strict=True)]
        names = [f"{shorten(column, 12)}  " for column in columns] if len(columns) > 1 else [""]
        lines.append([name + with_unit(x, spec.get("unit")) for name, x in zip(names, said, strict=True)])
    return Parts([()] * len(samples), lines, note="under each image: true → predicted")
