"""Read a table of counts: one row an image, with how many of each kind are in it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from visionlab.errors import DataError, nearest
from visionlab.files import Problem, Scan, csv_lines, suffix
from visionlab.io import IMAGE_SUFFIXES, plane, split_plane

IMAGE, SEQUENCE, TIME, GROUP = "image", "sequence", "time", "group"
ABOUT = (IMAGE, SEQUENCE, TIME, GROUP)
"""Columns that say what a row is of; by default all others are counts."""
UNKNOWN = -1
"""The time of an image whose table has none."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TIME = re.compile(r"[0-9]{1,9}")
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
# Columns of indexes and tables of predictions beside the counts'.
_TAKEN = (
    *("id", "path", "split", "set", "frame", "z"),
    *("height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash"),
)


def count_columns(path: Path) -> tuple[str, ...]:
    """Return the columns of a table that hold counts, all but those of :data:`ABOUT`; none if it cannot be read."""
    try:
        header = next(csv_lines(path, path.parent, "data.table"), (0, []))[1]
    except DataError:
        return ()
    return tuple(name for name in map(str.strip, header) if name not in ABOUT)


def read_counts(root: Path, table: str, columns: Sequence[str]) -> Scan:
    """Return the images that a comma-separated table lists, sorted by ``id``, and what is wrong with other rows.

    The header names the columns: ``image`` and those of ``columns``; perhaps ``sequence`` (text, e.g. the embryo),
    ``time`` (the number of the time point, from 0) and ``group``; others are ignored. Images are paths relative to the
    table's folder or to ``root``, or absolute, of files in ``root``; ``series.tif#5`` is the sixth plane of a file.
    Counts are numbers from 0 on; fractions (the mean of several persons' counts) are fine.

    Args:
        root: the folder of the data.
        table: relative to ``root``, or absolute.
        columns: those that hold counts.

    Returns:
        Columns ``id`` (the image's path without suffix), ``group`` (that of the table, else the sequence, else the
        image itself), ``path``, ``sequence`` (where the table has none but times, all are of one that is named as the
        table; else ``""``), ``time`` (``UNKNOWN`` where it has none) and ``columns``, float.

    Raises:
        DataError: the table cannot be read, lacks a column or holds no row.
    """
    path = root / Path(table).expanduser()
    lines = csv_lines(path, root, "data.table")
    header = [name.strip() for name in next(lines, (0, []))[1]]
    _check_header(path, header, columns)
    # Resolved, so that a linked root and a table given by its real path agree.
    rows = _Rows(root.resolve(), path.parent.resolve(), header, columns, path.stem if TIME in header else "")
    for line, cells in lines:
        rows.add(f"{path.name} line {line}", [cell.strip() for cell in cells])
    if not rows.found and not rows.problems:
        raise DataError(f"{path}: expected a row for each image below the header, found none")
    known = pd.DataFrame(rows.found, columns=["id", "group", "path", "sequence", "time", *columns])
    text = dict.fromkeys(("id", "group", "path", "sequence"), str)
    numbers = {TIME: "int64", **dict.fromkeys(columns, "float64")}
    return Scan(known.astype({**text, **numbers}).sort_values("id", ignore_index=True), rows.problems)


@dataclass
class _Rows:
    """The rows of a table as they are read: those that can be used, and what is wrong with the others."""

    root: Path
    start: Path
    header: list[str]
    columns: Sequence[str]
    sequence: str
    found: list[list[str | int | float]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, cells: list[str]) -> None:
        """Take a row that stands at ``where``."""
        if len(cells) != len(self.header):
            what = f"{len(cells)} cells where the header has {len(self.header)}"
            self.problems.append(Problem(where, what, "mend the row; what holds a comma needs quotes"))
            return
        try:
            self.found.append(self._row(where, dict(zip(self.header, cells, strict=True))))
        except _WrongRowError as error:
            self.problems.append(Problem(where, error.what, error.advice))

    def _row(self, where: str, row: dict[str, str]) -> list[str | int | float]:
        for name in ABOUT:
            if row.get(name) == "":
                raise _WrongRowError(f"the cell '{name}' is empty", "fill it or remove the row")
        path = self._path(row[IMAGE])
        # Files that differ in their suffix only are one sample to all that names samples.
        file, index = split_plane(self.root / path)
        name = path.rpartition(".")[0] if index is None else plane(str(PurePosixPath(path).with_name(file.stem)), index)
        first = self.seen.setdefault(name, where)
        if first != where:
            raise _WrongRowError(f"the image '{name}' stands in {first} as well", "keep one of the two rows")
        sequence = row.get(SEQUENCE, self.sequence)
        if not _TIME.fullmatch(row.get(TIME, "0")):
            advice = "expected the number of the time point, a whole number from 0"
            raise _WrongRowError(f"the {TIME} is '{row[TIME]}'", advice)
        counts = [_count(column, row[column]) for column in self.columns]
        time = int(row[TIME]) if TIME in row else UNKNOWN
        return [name, row.get(GROUP) or sequence or name, path, sequence, time, *counts]

    def _path(self, cell: str) -> str:
        """Return the path of an image relative to the root."""
        cell = cell.replace("\\", "/")
        for start in (self.start, self.root):
            full = os.path.normpath(Path(start, cell))
            file, index = split_plane(full)
            if not file.is_file():
                continue
            relative = os.path.relpath(full, self.root).replace(os.sep, "/")
            if relative.startswith("../"):
                advice = f"set data.root ({self.root}) to a folder that holds all files"
                raise _WrongRowError(f"the image '{cell}' lies outside of data.root", advice)
            # Of files of several planes there are more kinds than of images.
            if index is None and suffix(cell) not in IMAGE_SUFFIXES:
                raise _WrongRowError(
                    f"the image '{cell}' is of no type that is read ({', '.join(IMAGE_SUFFIXES)})", "convert it"
                )
            return relative
        raise _WrongRowError(f"the image '{cell}' does not exist", "mend the path; it begins at the table's folder")


class _WrongRowError(Exception):
    """A row that cannot be used: what is wrong with it, and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what, self.advice = what, advice


def _count(column: str, cell: str) -> float:
    if not cell:
        raise _WrongRowError(f"the cell '{column}' is empty", "fill it (0 where there are none) or remove the row")
    value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    if not math.isfinite(value):
        raise _WrongRowError(
            f"{column} is '{cell}'", "expected a number from 0 on; data.columns says which columns are counts"
        )
    if value < 0:
        raise _WrongRowError(f"{column} is {cell}", "expected a count, which cannot be negative")
    return value


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    listed = ", ".join(header) or "nothing"
    for separator, words in _SEPARATORS.items():
        if header and separator in header[0]:
            raise DataError(f"{path}: expected cells divided by commas, found {words}; save it as CSV with commas")
    for name in (*ABOUT, *columns):
        if header.count(name) > 1:
            raise DataError(f"{path}: the column '{name}' stands twice in the header ({listed}); keep one")
    for name in columns:
        if not name:
            raise DataError(
                f"{path}: a column of the header has no name ({listed}); name it or remove it (programs write the "
                "number of each row there)"
            )
        if name in _TAKEN or name.endswith("_path"):
            raise DataError(f"{path}: the column '{name}' has a name that is used for something else; rename it")
    missing = [name for name in (IMAGE, *columns) if name not in header]
    if missing:
        raise DataError(
            f"{path}: expected a header with the column{'s' * (len(missing) > 1)} {' and '.join(missing)}, found "
            f"{listed}; data.columns says which columns are counts.{nearest(missing[0], header)}"
        )
