"""Data set ``celegans_lineage``: images of embryos and how many cells of each lineage are in them.

Predicted counts are not rounded: what lies between two whole numbers says which of them is likelier, and sums and means
of many images come out right.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from visionlab.console import LOG
from visionlab.data.blocks import leave_gap, name_blocks, split_sequences, split_times
from visionlab.data.module import ImageDataModule
from visionlab.data.splits import Splits
from visionlab.datasets import TAKEN
from visionlab.datasets.tables import FileCells, RowError, Table, filled, once, whole_number
from visionlab.errors import ConfigError, DataError
from visionlab.files import Scan, check_folder
from visionlab.io import IMAGE_SUFFIXES, plane, split_plane

IMAGE, SEQUENCE, TIME, GROUP = "image", "sequence", "time", "group"
ABOUT = (IMAGE, SEQUENCE, TIME, GROUP)
"""Columns that say what a row is of; by default all others are counts."""
UNKNOWN = -1
"""The time of an image whose table has none."""
FEW = 2
"""So few sequences can't be dealt to three splits as wholes; they are cut in time."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class CElegansLineageDataModule(ImageDataModule):
    """Images of embryos and their numbers of cells; groups are sequences: all images of one embryo over time.

    Of one or two sequences, whose time points are known, groups are blocks of neighbouring ones, and time points near
    another split of their sequence are in none; see :mod:`visionlab.data.blocks`. Patterns of ``include`` and
    ``exclude`` are of sequences all the same.

    Args:
        seed, augment, common: see :class:`visionlab.data.module.ImageDataModule`.
        table: a csv file relative to the root, or absolute; see :func:`scan`.
        columns: of the table, those that hold counts; None: all but ``image``, ``sequence``, ``time`` and ``group``.
        blocks: parts that a sequence is cut into in time.
        gap: how many time points lie between two splits of a sequence; ``auto``: 5% of them.

    Raises:
        ConfigError: a column stands twice.
    """

    task: ClassVar[str] = "celegans_lineage"
    # The founder cells' descendants; a table may have others.
    targets: Mapping[str, tuple[str, ...]] = {"counts": ("A", "E", "M", "P", "C", "D", "Z")}

    def __init__(
        self,
        seed: int,
        augment: Mapping[str, Any],
        *,
        table: str,
        columns: Annotated[list[str], Field(min_length=1)] | None,
        blocks: Annotated[int, Field(ge=2)],
        gap: Literal["auto"] | Annotated[int, Field(ge=0)],
        **common: Any,
    ) -> None:
        super().__init__(seed, augment, **common)
        self._table, self._blocks, self._gap = table, blocks, gap
        # Whether groups are blocks of time, and what that leaves out in words; known once it is set up.
        self._in_time, self._left_out = False, ""
        if columns is None:
            # Now, not with the index: the network's outputs are asked for before. A table that cannot be read is
            # refused when it is indexed.
            with contextlib.suppress(DataError):
                columns = [name for name in Table(Path(self._root).expanduser(), table).header if name not in ABOUT]
        elif len(set(columns)) < len(columns):
            raise ConfigError(f"data.columns: expected each column once, found {', '.join(columns)}")
        if columns:
            self.targets = {"counts": tuple(columns)}

    def scan(self, root: Path) -> Scan:
        """See :func:`scan`."""
        return scan(root, self._table, self.targets["counts"])

    def choose(self, table: pd.DataFrame, root: Path) -> pd.DataFrame:
        """Return the rows whose groups are chosen; few sequences are cut into groups in time."""
        found = super().choose(table, root)
        whole = (found["group"] == found["sequence"]).all() and (found["time"] != UNKNOWN).all()
        self._in_time = bool(whole) and found["sequence"].nunique() <= FEW
        if not self._in_time:
            return found
        return found.assign(group=name_blocks(found["sequence"].tolist(), found["time"].tolist(), self._blocks))

    def make_splits(self, table: pd.DataFrame) -> Splits:
        if self.chosen_splits or self.split_file or not self._in_time:
            return super().make_splits(table)
        split = split_times if table["sequence"].nunique() == 1 else split_sequences
        return split(table, self.shares)

    def assign(self, table: pd.DataFrame, splits: Splits) -> np.ndarray[Any, Any]:
        """Return the split of each row; in time, those near another split of their sequence are in none."""
        found = super().assign(table, splits)
        if self._in_time and not self.chosen_splits:
            found, self._left_out = leave_gap(table, found, self._gap)
            if self._left_out:
                LOG.info("%s", self._left_out)
        return found

    def remarks(self) -> list[str]:
        table = self.table
        found = [self._left_out] if self._left_out else []
        columns = list(self.targets["counts"])
        if (table["group"] == table["id"]).all():
            found.append(
                f"{self._table} tells neither sequence nor group, so each image is a group of its own: images of one "
                "embryo may be in several splits, which makes the test too easy"
            )
        fractions = int((table[columns] % 1 != 0).any(axis=1).sum())
        if fractions:
            found.append(f"{fractions} images have counts that are no whole numbers")
        constant = [name for name in columns if table.loc[table["split"] == "train", name].nunique() == 1]
        if constant:
            found.append(f"always the same number in training, so nothing to learn: {', '.join(constant)}")
        return found


def scan(root: str | Path, name: str, columns: Sequence[str]) -> Scan:
    """Index the images that a comma-separated table lists, collecting what is wrong with single rows.

    The header names the columns: ``image`` and those of ``columns``; perhaps ``sequence`` (text, e.g. the embryo),
    ``time`` (the number of the time point, from 0) and ``group``; others are ignored. Of files of several planes,
    ``series.tif#5`` is the sixth. Counts are numbers from 0 on; fractions (the mean of several persons' counts) are
    fine.

    Args:
        root: the folder of the data.
        name: of the table, relative to ``root``, or absolute.
        columns: those that hold counts.

    Returns:
        One row an image, sorted by ``id`` (the image's path without suffix): ``group`` (that of the table, else the
        sequence, else the image itself), ``path``, ``sequence`` (where the table has none but times, all are of one
        that is named as the table; else ``""``), ``time`` (``UNKNOWN`` where it has none) and ``columns``, float.

    Raises:
        DataError: the table cannot be read, lacks a column or holds no row.
    """
    folder = check_folder(root, f"{name} and the images that it lists")
    table = Table(folder, name)
    for column in columns:
        if not column or column in {*TAKEN, "frame", "z"} or column.endswith("_path"):
            raise DataError(
                f"{table.path}: expected another name of a column of counts than '{column}', which is empty or used "
                "for something else; rename it, or choose others by data.columns"
            )
    table.require([IMAGE, *columns], once=ABOUT, hint="; data.columns says which columns are counts")
    cells = FileCells(folder, table.path)
    seen: dict[str, str] = {}
    only = table.path.stem if TIME in table.header else ""

    def image(row: dict[str, str], where: str) -> list[str | int | float]:
        filled(row, ABOUT)
        path = cells.find(row, IMAGE, IMAGE_SUFFIXES, planes=True)
        # Files that differ in their suffix only are one sample to all that names samples.
        file, number = split_plane(folder / path)
        stem = (
            path.rpartition(".")[0] if number is None else plane(str(PurePosixPath(path).with_name(file.stem)), number)
        )
        once(seen, stem, where, f"the image '{stem}'")
        sequence = row.get(SEQUENCE, only)
        time = whole_number(row, TIME) if TIME in row else UNKNOWN
        counts = [_count(row, column) for column in columns]
        return [stem, row.get(GROUP) or sequence or stem, path, sequence, time, *counts]

    text = ("id", "group", "path", "sequence")
    known = pd.DataFrame(table.read(image), columns=[*text, "time", *columns])
    types: dict[str, Any] = {**dict.fromkeys(text, str), TIME: "int64", **dict.fromkeys(columns, "float64")}
    known = known.astype(types).sort_values("id", ignore_index=True)
    LOG.info("%s: %d images of %d groups; counts: %s", root, len(known), known["group"].nunique(), ", ".join(columns))
    return Scan(known, table.problems)


def _count(row: dict[str, str], column: str) -> float:
    cell = row[column]
    value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    if not 0 <= value < math.inf:
        advice = "expected a number from 0 on (0 where there are none); data.columns says which columns are counts"
        raise RowError(f"{column} is '{cell}'", advice)
    return value
