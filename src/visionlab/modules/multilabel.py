"""Classification of one image into any number of classes at once."""

from __future__ import annotations

from typing import ClassVar

from visionlab.modules.base import TaskModule


class MultilabelClassifier(TaskModule):
    """Several yes-or-no labels an image, e.g. where in the cell a protein is; see :class:`TaskModule`."""

    kind: ClassVar[str] = "image"
