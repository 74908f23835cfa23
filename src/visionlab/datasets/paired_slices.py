"""Layouts of image and label files in pairs: prepared slices (``features/``, ``segmentation_maps/``) and tables."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from visionlab.console import LOG
from visionlab.datasets.pairing import some
from visionlab.datasets.tables import FileCells, Table, filled, once, whole_number
from visionlab.datasets.time_points import Pair
from visionlab.errors import DataError
from visionlab.files import Problem, csv_lines

IMAGES, LABELS, LIST = "features", "segmentation_maps", "file_ids.csv"
TABLE = "metadata_pil.csv"

_SLICE = re.compile(r"([FL])([0-9]+)_([0-9]+)\.(?:png|tiff?|jpe?g)", re.IGNORECASE)
_LISTED = re.compile(r"[FL]?([0-9]+)_([0-9]+)(?:\.[A-Za-z]+)?")
_COLUMNS = ("sequence", "time", "z", "group")

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
        raise DataError(f"{root / folder}: expected files {letter}TIME_SLICE.png, found {some(names)}; rename them")
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


def read_table(root: Path, name: str) -> tuple[list[Pair], int, list[Problem]]:
    """Return the images that a comma-separated table lists, with their labels, in its order.

    The header names the columns: ``image`` and ``label`` (or ``mask``), perhaps ``sequence``, ``time``, ``z`` and
    ``group``; others are ignored. Files are images, volumes or series; with ``z`` they are one slice of a volume: the
    image, or only the labels where the image is the volume.

    Returns:
        The pairs, the digits of the numbers in names, and what is wrong with rows.

    Raises:
        DataError: the table cannot be read, lacks a column or holds no row.
    """
    table = Table(root / Path(name).expanduser(), root, "data.table")
    if {"label", "mask"} <= set(table.header):
        raise DataError(
            f"{table.path}: both 'label' and 'mask' stand in the header ({', '.join(table.header)}); keep one"
        )
    table.require(["image", ("label", "mask")], once=_COLUMNS)
    label = "label" if "label" in table.header else "mask"
    cells = FileCells(root, table.path)
    seen: dict[tuple[str, int | None], str] = {}

    def pair(row: dict[str, str], where: str) -> Pair:
        filled(row, ["image", label, *_COLUMNS])
        time, z = (whole_number(row, column) if column in row else None for column in ("time", "z"))
        image = cells.find(row, "image")
        once(seen, (image, z), where, f"the image '{image}'")
        return Pair(
            image,
            cells.find(row, label),
            image.rpartition(".")[0],
            row.get("sequence", "01" if "time" in row else ""),
            -1 if time is None else time,
            z,
            row.get("group", ""),
            where,
            stacked=True,
        )

    pairs = table.read(pair)
    # Names without the folder that all images are in.
    folder = os.path.commonpath([Path(one.image).parent for one in pairs]) if pairs else ""
    pairs = [replace(one, name=os.path.relpath(one.name, folder or ".").replace(os.sep, "/")) for one in pairs]
    return pairs, max([3, *(len(str(one.time)) for one in pairs)]), table.problems
