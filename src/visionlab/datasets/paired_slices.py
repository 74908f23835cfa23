"""Layouts of image and label files in pairs: prepared slices (``features/``, ``segmentation_maps/``) and tables."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from visionlab.console import LOG
from visionlab.datasets.time_points import Pair
from visionlab.errors import DataError, nearest
from visionlab.files import Problem, csv_lines

IMAGES, LABELS, LIST = "features", "segmentation_maps", "file_ids.csv"
TABLE = "metadata_pil.csv"

_SLICE = re.compile(r"([FL])([0-9]+)_([0-9]+)\.(?:png|tiff?|jpe?g)", re.IGNORECASE)
_LISTED = re.compile(r"[FL]?([0-9]+)_([0-9]+)(?:\.[A-Za-z]+)?")
_NUMBERS = ("time", "z")
_COLUMNS = ("image", "label", "mask", "sequence", *_NUMBERS, "group")

Slice = tuple[int, int]


# Prepared slices ----------------------------------------------------------------------------------------------------


def read_slices(root: Path) -> tuple[list[Pair], int, list[Problem]]:
    """Return the slices ``features/F{t}_{z}.png`` with labels ``segmentation_maps/L{t}_{z}.png``.

    If there is ``file_ids.csv``, those that it lists (``190_18.png`` is time point 190, slice 18); else all.

    Returns:
        The pairs, one sequence ``01`` sorted by time and slice; the digits of the numbers in names; what is wrong.

    Raises:
        DataError: a folder or the list cannot be read, or nothing is labelled.
    """
    problems: list[Problem] = []
    images, labels = _slices(root, IMAGES, "F", problems), _slices(root, LABELS, "L", problems)
    listed = _listed(root, problems)
    wanted = sorted(images.keys() & labels.keys() if listed is None else listed)
    for number in listed or ():
        for folder, letter, files in ((IMAGES, "F", images), (LABELS, "L", labels)):
            if number not in files:
                what = f"lists {number[0]}_{number[1]}, but there is no {folder}/{letter}{number[0]}_{number[1]}.png"
                problems.append(Problem(LIST, what, "add the file or remove the line"))
    for number in sorted(labels.keys() - images.keys()) if listed is None else ():
        what = f"is of time point {number[0]}, slice {number[1]}, which {IMAGES}/ does not have"
        problems.append(Problem(labels[number], what, "add the image or remove the labels"))
    wanted = [number for number in wanted if number in images and number in labels]
    if not wanted and not problems:
        what = f"expected labels {LABELS}/L0_0.png of images {IMAGES}/F0_0.png, found {len(images)} images and none of"
        raise DataError(f"{root}: {what} {len(labels)} label files belongs to one; name both by time point and slice")
    if bare := len(images.keys() - set(wanted)):
        LOG.info("%s: %d slices have no labels (or %s does not list them) and are not learnt from", root, bare, LIST)
    digits = max([3, *(len(str(part)) for number in images for part in number)])

    def name(t: int, z: int) -> str:
        return f"01_t{t:0{digits}d}_z{z:0{digits}d}"

    chosen, times = set(wanted), {t for t, _ in wanted}
    pairs = [
        # Those without labels make the volume whole.
        Pair(path, labels[t, z] if (t, z) in chosen else "", name(t, z), "01", t, z, stacked=True)
        for (t, z), path in sorted(images.items())
        if t in times
    ]
    return pairs, digits, problems


def _slices(root: Path, folder: str, letter: str, problems: list[Problem]) -> dict[Slice, str]:
    found: dict[Slice, str] = {}
    try:
        names = sorted(path.name for path in (root / folder).iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{root / folder}: expected a folder of files {letter}TIME_SLICE.png ({error.strerror or error}); add it"
        ) from None
    for name in names:
        match = _SLICE.fullmatch(name)
        if match is None or match[1].upper() != letter:
            continue
        path, number = f"{folder}/{name}", (int(match[2]), int(match[3]))
        if (first := found.setdefault(number, path)) != path:
            problems.append(Problem(path, f"has the same numbers as {first}", "keep one of the two"))
    if not found and not problems:
        raise DataError(f"{root / folder}: expected files {letter}TIME_SLICE.png, found {_some(names)}; rename them")
    return found


def _listed(root: Path, problems: list[Problem]) -> list[Slice] | None:
    """Return the slices that the list names; None if there is no list."""
    if not (root / LIST).exists():
        return None
    seen: dict[Slice, int] = {}
    for place, (line, cells) in enumerate(csv_lines(root / LIST, root, "data.root")):
        match = next((match for cell in cells if (match := _LISTED.fullmatch(cell.strip()))), None)
        if match is None:
            # The first line may be a header.
            if place:
                what = f"expected a name like 190_18.png, found '{','.join(cells)}'"
                problems.append(Problem(f"{LIST} line {line}", what, "mend or remove the line"))
            continue
        number = (int(match[1]), int(match[2]))
        if (first := seen.setdefault(number, line)) != line:
            what = f"'{match[0]}' stands in line {first} as well"
            problems.append(Problem(f"{LIST} line {line}", what, "keep one of the two"))
    if not seen and not problems:
        raise DataError(f"{root / LIST}: expected names like 190_18.png, found none; remove the file to use all slices")
    return list(seen)


# Tables -------------------------------------------------------------------------------------------------------------


def read_table(root: Path, table: str) -> tuple[list[Pair], int, list[Problem]]:
    """Return the images that a comma-separated table lists, with their labels, in its order.

    The header names the columns: ``image`` and ``label`` (or ``mask``), perhaps ``sequence``, ``time``, ``z`` and
    ``group``; others are ignored. Files are images, volumes or series; with ``z`` they are one slice of a volume: the
    image, or only the labels where the image is the volume. Cells of files are relative to the table's folder or to
    ``root``, or absolute; what they lead to must lie in ``root``.

    Returns:
        The pairs, the digits of the numbers in names, and what is wrong with rows.

    Raises:
        DataError: the table cannot be read, lacks a column or holds no row.
    """
    path = root / Path(table).expanduser()
    lines = csv_lines(path, root, "data.table")
    header = [name.strip() for name in next(lines, (0, []))[1]]
    _check_header(path, header)
    places = {"label" if name == "mask" else name: header.index(name) for name in _COLUMNS if name in header}
    pairs: list[Pair] = []
    problems: list[Problem] = []
    seen: dict[tuple[str, int | None], str] = {}
    files = _Files(root, path.parent)
    for line, cells in lines:
        where = f"{path.name} line {line}"
        if len(cells) != len(header):
            what = f"{len(cells)} cells where the header has {len(header)}"
            problems.append(Problem(where, what, "mend the row; names that hold a comma need quotes"))
            continue
        found = _pair({name: cells[place].strip() for name, place in places.items()}, files, where)
        if isinstance(found, Problem):
            problems.append(found)
        elif (first := seen.setdefault((found.image, found.z), where)) != where:
            problems.append(Problem(where, f"the image '{found.image}' stands in {first} as well", "keep one"))
        else:
            pairs.append(found)
    if not pairs and not problems:
        raise DataError(f"{path}: expected a row for each image below the header, found none")
    # Names without the folder that all images are in.
    folder = os.path.commonpath([Path(pair.image).parent for pair in pairs]) if pairs else ""
    pairs = [replace(pair, name=os.path.relpath(pair.name, folder or ".").replace(os.sep, "/")) for pair in pairs]
    return pairs, max([3, *(len(str(pair.time)) for pair in pairs)]), problems


def _pair(row: dict[str, str], files: _Files, where: str) -> Pair | Problem:
    if empty := [name for name, cell in row.items() if not cell]:
        return Problem(where, f"the cell '{empty[0]}' is empty", "fill it or remove the row")
    numbers: dict[str, int] = {}
    for name in _NUMBERS:
        if name in row:
            if not re.fullmatch(r"[0-9]{1,9}", row[name]):
                return Problem(where, f"the cell '{name}' holds '{row[name]}'", "expected a whole number from 0")
            numbers[name] = int(row[name])
    paths: dict[str, str] = {}
    for name in ("image", "label"):
        try:
            paths[name] = files.find(row[name])
        except ValueError as error:
            return Problem(where, f"the {name} '{row[name]}' {error}", "mend the path")
    sequence = row.get("sequence", "01" if "time" in row else "")
    name = paths["image"].rpartition(".")[0]
    return Pair(
        paths["image"],
        paths["label"],
        name,
        sequence,
        numbers.get("time", -1),
        numbers.get("z"),
        row.get("group", ""),
        where,
        stacked=True,
    )


def _check_header(path: Path, names: list[str]) -> None:
    listed = ", ".join(names) or "nothing"
    repeated = sorted({name for name in names if name in _COLUMNS and names.count(name) > 1})
    if repeated or {"label", "mask"} <= set(names):
        which = f"the column '{repeated[0]}' stands twice" if repeated else "both 'label' and 'mask' stand"
        raise DataError(f"{path}: {which} in the header ({listed}); keep one")
    for name, wanted in (("image", "image"), ("label", "label or mask")):
        if name not in names and not (name == "label" and "mask" in names):
            raise DataError(
                f"{path}: expected a header with a column {wanted}, separated by commas, found {listed}."
                f"{nearest(name, names)}"
            )


class _Files:
    """Bring paths relative to the table's folder, or to the root, to paths relative to the root."""

    def __init__(self, root: Path, start: Path) -> None:
        # Both resolved, so that a linked root and a table given by its real path agree.
        self.root = os.path.realpath(root)
        self.starts = tuple(dict.fromkeys((os.path.realpath(start), self.root)))

    def find(self, cell: str) -> str:
        """Return the path relative to the root; raise ``ValueError`` if it leads out of it or to no file."""
        for start in self.starts:
            full = os.path.normpath(Path(start, cell.replace("\\", "/")))
            if Path(full).is_file():
                relative = os.path.relpath(full, self.root).replace(os.sep, "/")
                if relative.split("/")[0] == "..":
                    raise ValueError(f"lies outside of data.root ({self.root}), which must hold all files")
                return relative
        raise ValueError(f"does not exist, neither beside the table nor in data.root ({self.root})")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
