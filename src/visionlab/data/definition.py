"""What a data set defines, and what it may: the rest is :class:`visionlab.data.module.ImageDataModule`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from visionlab.data.files import Problem, Scan
from visionlab.data.readers import Like, Reader
from visionlab.data.splits import Splits


class Definition:
    """A data set: literals, ``index``, and for maps ``reader``.

    The literals: ``task``; ``targets``, target name -> columns of numbers in the index; ``maps``, target name -> kind
    of map (``mask`` or ``depth``), whose files the index names in ``<target>_path``.
    """

    task: ClassVar[str]
    targets: ClassVar[dict[str, tuple[str, ...]]] = {}
    maps: ClassVar[dict[str, str]] = {}

    def index(self, root: Path) -> pd.DataFrame:
        """Return one row a sample: ``id``, ``group``, ``path`` and the target columns.

        Paths are relative to ``root``; those of further inputs and of maps stand in ``<name>_path``.
        """
        raise NotImplementedError

    def reader(self, name: str, like: Like) -> Reader:
        """Return how the files of a map are read; ``like`` says the sizes of their images."""
        raise NotImplementedError

    def check_sizes(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Refuse images by their height and width, given for each row of the index."""

    def map_unit(self, name: str, unit: str) -> tuple[float, str]:
        """Return the factor from a map's numbers to the user's unit, and that unit; ``unit`` is the configured one."""
        return 1.0, unit

    def assign(self, table: pd.DataFrame, splits: Splits) -> np.ndarray[Any, Any]:
        """Return the split of each row of an index, ``""`` for none."""
        return splits.assign(table["group"].tolist())

    def check_more(self, table: pd.DataFrame, root: Path) -> list[Problem]:
        """Return what is wrong with the files of an index beside its images."""
        return []

    def scan(self, root: Path) -> Scan:
        """Return the index of the usable files and a problem for each other one; for data sets that can tell."""
        return Scan(self.index(root), [])

    def remarks(self) -> list[str]:
        """Return, in words, what a reader of the results should know of this data set, once it is set up."""
        return []
