"""Data set ``celegans_lineage``: images of embryos and how many cells of each lineage are in them.

Predicted counts are not rounded: what lies between two whole numbers says which of them is likelier, and sums and means
of many images come out right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from visionlab.console import LOG
from visionlab.data.blocks import leave_gap, name_blocks, split_sequences, split_times
from visionlab.data.module import ImageDataModule
from visionlab.data.splits import Splits
from visionlab.datasets.count_table import UNKNOWN, count_columns, read_counts
from visionlab.errors import ConfigError, DataError
from visionlab.files import Scan, check_folder, listed

FEW = 2
"""So few sequences can't be dealt to three splits as wholes; they are cut in time."""


def scan(root: str | Path, table: str, columns: Sequence[str]) -> Scan:
    """Index a folder, collecting what is wrong with single rows; see :func:`.read_counts`."""
    folder = check_folder(root, f"{table} and the images that it lists")
    found = read_counts(folder, table, columns)
    known = found.table
    LOG.info("%s: %d images of %d groups; counts: %s", root, len(known), known["group"].nunique(), ", ".join(columns))
    return found


def index(root: str | Path, table: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return one row an image, sorted by ``id``; the columns are those of :func:`scan`.

    Raises:
        DataError: as :func:`scan`, and if rows cannot be used (the first ten are listed).
    """
    found, problems = scan(root, table, columns)
    if problems:
        lines = listed([str(problem) for problem in problems])
        raise DataError(
            f"{root}: {len(problems)} problem{'s' * (len(problems) > 1)}, beside {len(found)} images that can be "
            f"used:\n{lines}\n"
            "mend them, or take the rows out of the table; `python -m visionlab.prepare` lists every one"
        )
    return found


class CElegansLineageDataModule(ImageDataModule):
    """Images of embryos and their numbers of cells; groups are sequences: all images of one embryo over time.

    Of one or two sequences, whose time points are known, groups are blocks of neighbouring ones, and time points near
    another split of their sequence are in none; see :mod:`visionlab.data.blocks`. Patterns of ``include`` and
    ``exclude`` are of sequences all the same.

    Args:
        seed, augment, common: see :class:`visionlab.data.module.ImageDataModule`.
        table: a csv file relative to the root, or absolute; see :func:`visionlab.datasets.count_table.read_counts`.
        columns: of the table, those that hold counts; None: all but ``image``, ``sequence``, ``time`` and ``group``.
        blocks: parts that a sequence is cut into in time.
        gap: how many time points lie between two splits of a sequence; ``auto``: 5% of them.

    Raises:
        ConfigError: no column, or one twice.
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
        columns: list[str] | None,
        blocks: Annotated[int, Field(ge=2)],
        gap: Literal["auto"] | Annotated[int, Field(ge=0)],
        **common: Any,
    ) -> None:
        super().__init__(seed, augment, **common)
        self._table, self._blocks, self._gap = table, blocks, gap
        # Whether groups are blocks of time, and what that leaves out in words; known once it is set up.
        self._in_time, self._left_out = False, ""
        if columns is not None:
            _check_columns(columns)
        elif not self.synthetic:
            # Now, not with the index: the network's outputs are asked for before. A table that cannot be read is
            # refused when it is indexed.
            columns = list(count_columns(Path(self._root).expanduser() / Path(table).expanduser()))
        if columns:
            self.targets = {"counts": tuple(columns)}

    def index(self, root: Path) -> pd.DataFrame:
        """See :func:`index`."""
        return index(root, self._table, self.targets["counts"])

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
        return split(table, seed=self.seed, **self._split)  # type: ignore[arg-type]

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


def _check_columns(columns: Sequence[str]) -> None:
    if not columns:
        raise ConfigError("data.columns: expected names of columns that hold counts, found none; leave it null for all")
    for name in columns:
        if columns.count(name) > 1:
            raise ConfigError(f"data.columns: expected each column once, found '{name}' twice")
