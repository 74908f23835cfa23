"""Read comma-separated tables strictly: every wrong row is named by file and line, with what to do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from visionlab.errors import DataError, nearest
from visionlab.files import Problem, csv_lines, suffix
from visionlab.io import split_plane

T = TypeVar("T")

_WHOLE = re.compile(r"[0-9]{1,9}")


class RowError(Exception):
    """A row that cannot be used: what is wrong with it, and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what, self.advice = what, advice


class Table:
    """A comma-separated table in UTF-8 whose first line names the columns.

    Args:
        root: folder of the data.
        name: of the file, relative to ``root`` or absolute.
        key: of the configuration that names the table, for messages.

    Attributes:
        path: of the file.
        header: the names of the columns.
        problems: what is wrong with rows, once they are read.
        rows: how many there are, with those that have a problem.

    Raises:
        DataError: it cannot be read, or is no such table.
    """

    def __init__(self, root: Path, name: str, key: str = "data.table") -> None:
        self.path, self.problems, self.rows = root / Path(name).expanduser(), list[Problem](), 0
        self._root = root
        self._lines = csv_lines(self.path, root, key)
        self.header = [name.strip() for name in next(self._lines, (0, []))[1]]

    def require(self, columns: Sequence[str | Sequence[str]], once: Collection[str] = (), hint: str = "") -> None:
        """Refuse a header that lacks columns, or names one twice.

        Args:
            columns: names; of several in one place, one must be there.
            once: further names that must not stand twice.
            hint: said of what is missing.

        Raises:
            DataError: with the nearest name that there is.
        """
        wanted = [(one,) if isinstance(one, str) else tuple(one) for one in columns]
        missing = [names for names in wanted if not any(name in self.header for name in names)]
        listed = ", ".join(self.header) or "nothing"
        if missing and (found := re.search(r"[;\t|]", listed)):
            raise DataError(
                f"{self.path}: expected cells divided by commas, found {found[0]!r}; save it as CSV with commas"
            )
        if missing:
            names = " and ".join(" or ".join(names) for names in missing)
            raise DataError(
                f"{self.path}: expected a header with the column{'s' * (len(missing) > 1)} {names}, found {listed}"
                f"{hint}.{nearest(missing[0][0], self.header)}"
            )
        for name in (*once, *(name for names in wanted for name in names)):
            if self.header.count(name) > 1:
                raise DataError(f"{self.path}: the column '{name}' stands twice in the header ({listed}); keep one")

    def read(self, row: Callable[[dict[str, str], str], T]) -> list[T]:
        """Return what ``row`` makes of each line, given its cells by column and where it stands.

        Rows that it refuses by :class:`RowError` become ``problems``.

        Raises:
            DataError: there is no row at all.
        """
        found: list[T] = []
        name = self.path.relative_to(self._root) if self.path.is_relative_to(self._root) else self.path
        for line, cells in self._lines:
            self.rows += 1
            where = f"{name} line {line}"
            try:
                if len(cells) != len(self.header):
                    what = f"{len(cells)} cells where the header has {len(self.header)}"
                    raise RowError(what, "mend the row; what holds a comma needs quotes")
                values = (cell.strip() for cell in cells)
                found.append(row(dict(zip(self.header, values, strict=True)), where))
            except RowError as error:
                self.problems.append(Problem(where, error.what, error.advice))
        if not self.rows:
            raise DataError(f"{self.path}: expected a row for each sample below the header, found none")
        return found


def filled(row: dict[str, str], columns: Collection[str]) -> None:
    """Raise :class:`RowError` if the cell of one of these columns, as far as the table has them, is empty."""
    for name in columns:
        if row.get(name) == "":
            raise RowError(f"the cell '{name}' is empty", "fill it or remove the row")


def once(seen: dict[T, str], key: T, where: str, what: str) -> None:
    """Raise :class:`RowError` if ``key`` stands in a row before, which ``what`` names; else remember it."""
    first = seen.setdefault(key, where)
    if first != where:
        raise RowError(f"{what} stands in {first} as well", "keep one of the two rows")


def whole_number(row: dict[str, str], column: str) -> int:
    """Return the whole number, from 0, in a cell."""
    if not _WHOLE.fullmatch(row[column]):
        raise RowError(f"the cell '{column}' holds '{row[column]}'", "expected a whole number from 0")
    return int(row[column])


class FileCells:
    """Bring the paths in a table's cells to paths relative to the root.

    Cells are relative to the table's folder or else to the root, or absolute.

    Args:
        root: folder of the data, which must hold all files.
        table: path of the table.
    """

    def __init__(self, root: Path, table: Path) -> None:
        # Resolved, so that a linked root and a table given by its real path agree.
        self.root = os.path.realpath(root)
        self._starts = (os.path.realpath(table.parent), self.root)

    def find(self, row: dict[str, str], column: str, kinds: Collection[str] = (), *, planes: bool = False) -> str:
        """Return the path that a cell means, relative to the root.

        Args:
            row: cells by column.
            column: of the cell.
            kinds: suffixes that are read of files; empty: any.
            planes: whether ``series.tif#5`` is the sixth plane of a file.

        Raises:
            RowError: there is no such file in the root, or it is of another kind.
        """
        filled(row, [column])
        cell = row[column]
        for start in self._starts:
            path = os.path.normpath(Path(start, cell.replace("\\", "/")))
            file, index = split_plane(path) if planes else (Path(path), None)
            if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises OSError of names that are too long
                continue
            if not path.startswith(f"{self.root}{os.sep}"):
                advice = f"set data.root ({self.root}) to a folder that holds all files"
                raise RowError(f"the {column} '{cell}' lies outside of data.root", advice)
            # Of files of several planes there are more kinds than of images.
            if kinds and index is None and suffix(file.name) not in kinds:
                raise RowError(f"the {column} '{cell}' is of no type that is read ({', '.join(kinds)})", "convert it")
            return path[len(self.root) + 1 :].replace(os.sep, "/")
        advice = f"mend the path; it begins at the table's folder or at data.root ({self.root})"
        raise RowError(f"the {column} '{cell}' does not exist", advice)
