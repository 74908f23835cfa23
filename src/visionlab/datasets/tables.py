"""Read the list of a dense data set from a table: one row an image, with the files that go with it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from visionlab.datasets.layouts import MAPS, SUFFIXES, Rows
from visionlab.errors import DataError, nearest
from visionlab.files import Problem, csv_lines, suffix

COLUMNS = (*SUFFIXES, "group", "foreground")


def read_table(root: Path, table: str) -> Rows:
    """Return the samples that a comma-separated table lists, sorted by ``id`` (the image's path without suffix).

    The header names the columns: ``image`` and at least one of ``mask``, ``depth``; perhaps ``background``, ``group``,
    ``foreground``; others are ignored. Cells are paths relative to the table's folder, or absolute; what they lead to
    must lie in ``root``. ``table`` is relative to ``root``, or absolute. ``group`` and ``foreground`` are taken over.

    Raises ``DataError`` if the table cannot be read, lacks a column or holds no row.
    """
    path = root / Path(table).expanduser()
    lines = csv_lines(path, root, "data.table")
    _, header = next(lines, (0, []))
    names = [name.strip() for name in header]
    _check_header(path, names)
    places = {name: names.index(name) for name in COLUMNS if name in names}
    folders = _Folders(root, path.parent)
    problems: list[Problem] = []
    found: list[dict[str, str]] = []
    seen: dict[str, int] = {}
    for line, cells in lines:
        where = f"{path.name} line {line}"
        if len(cells) != len(names):
            what = f"{len(cells)} cells where the header has {len(names)}"
            problems.append(Problem(where, what, "mend the row; names that hold a comma need quotes"))
            continue
        row = {name: cells[place].strip() for name, place in places.items()}
        wrong = _resolve(row, folders)
        if not wrong:
            row["id"] = row["path"].rpartition(".")[0]
            first = seen.setdefault(row["id"], line)
            wrong = [(f"the image '{row['path']}' stands in line {first} as well", "keep one")] if first < line else []
        problems += [Problem(where, what, advice) for what, advice in wrong]
        if not wrong:
            found.append(row)
    if not seen and not problems:
        raise DataError(f"{path}: expected a row for each image below the header, found none")
    found.sort(key=lambda row: row["id"])
    columns = ["id", "path", *(f"{name}_path" for name in SUFFIXES if name in places and name != "image")]
    columns += [name for name in ("group", "foreground") if name in places]
    return Rows({name: [row[name] for row in found] for name in columns}, problems)


def _check_header(path: Path, names: list[str]) -> None:
    listed = ", ".join(names) or "nothing"
    repeated = sorted({name for name in names if name in COLUMNS and names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: the column '{repeated[0]}' stands twice in the header ({listed}); keep one")
    if "image" not in names:
        raise DataError(
            f"{path}: expected a header with the columns image, mask, depth, separated by commas, found {listed}."
            f"{nearest('image', names)}"
        )
    if not any(name in names for name in MAPS):
        raise DataError(
            f"{path}: expected a column mask or depth beside image, found {listed}.{nearest('mask', names)}"
        )


def _resolve(row: dict[str, str], folders: _Folders) -> list[tuple[str, str]]:
    """Replace the cells of files by ``path`` and ``<name>_path``, relative to the root; return what is wrong."""
    wrong: list[tuple[str, str]] = []
    for name, kinds in SUFFIXES.items():
        if name not in row:
            continue
        cell = row.pop(name)
        if not cell:
            wrong.append((f"the cell '{name}' is empty", "fill it or remove the row"))
        elif suffix(cell) not in kinds:
            wrong.append((f"the {name} '{cell}' is of no type that is read ({', '.join(kinds)})", "convert it"))
        else:
            try:
                row["path" if name == "image" else f"{name}_path"] = folders.find(cell)
            except ValueError as error:
                wrong.append((f"the {name} '{cell}' {error}", "mend the path; it begins at the table's folder"))
    if row.get("group") == "":
        wrong.append(("the cell 'group' is empty", "fill it or remove the row"))
    return wrong


class _Folders:
    """Bring paths relative to the table's folder to paths relative to the root; each folder is listed once."""

    def __init__(self, root: Path, start: Path) -> None:
        # Both resolved, so that a linked root and a table given by its real path agree.
        self.root, self.start = os.path.realpath(root), os.path.realpath(start)
        self.known: dict[str, tuple[str, frozenset[str]]] = {}

    def find(self, cell: str) -> str:
        """Return the path relative to the root; raise ``ValueError`` if it leads out of it or to no file."""
        folder, slash, name = cell.replace("\\", "/").rpartition("/")
        key = folder + slash
        if key not in self.known:
            self.known[key] = self._list(key)
        prefix, names = self.known[key]
        if name not in names:
            raise ValueError("does not exist")
        return prefix + name

    def _list(self, folder: str) -> tuple[str, frozenset[str]]:
        full = os.path.normpath(Path(self.start, folder))
        relative = PurePosixPath(os.path.relpath(full, self.root).replace(os.sep, "/"))
        if relative.parts[:1] == ("..",):
            raise ValueError(f"lies outside of data.root ({self.root}); set data.root to a folder that holds all files")
        try:
            with os.scandir(full) as entries:
                names = frozenset(entry.name for entry in entries)
        except (OSError, ValueError):
            names = frozenset()
        return ("" if relative == PurePosixPath(".") else f"{relative}/"), names
