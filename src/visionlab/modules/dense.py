"""Prediction of maps from one image, or from an image and its background."""

from __future__ import annotations

from typing import ClassVar

from visionlab.modules.base import TaskModule


class DensePredictor(TaskModule):
    """A value at each pixel for each head, e.g. a foreground mask and a depth map; see :class:`TaskModule`."""

    kind: ClassVar[str] = "dense"
