"""Regression of numbers from one image."""

from __future__ import annotations

from typing import ClassVar

from visionlab.modules.base import TaskModule


class Regressor(TaskModule):
    """One or several numbers an image, e.g. the distance from focus; see :class:`TaskModule`."""

    kind: ClassVar[str] = "image"
