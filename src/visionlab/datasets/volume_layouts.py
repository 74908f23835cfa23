"""Layouts of labelled volumes and slices on disk: Cell Tracking Challenge, prepared slices, tables, MATLAB volumes.

Each is read into :class:`visionlab.datasets.time_points.Pair`, an image file and a label file of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from visionlab.console import LOG
from visionlab.datasets.pairing import some
from visionlab.datasets.tables import FileCells, Table, filled, once, whole_number
from visionlab.datasets.time_points import IMAGE_VARIABLE, LABEL_VARIABLE, Pair
from visionlab.errors import ConfigError, DataError
from visionlab.files import Problem, csv_lines, in_parallel, list_files, problem_of
from visionlab.io import open_volume

SLICES, SLICE_LABELS, SLICE_LIST = "features", "segmentation_maps", "file_ids.csv"
TABLE = "metadata_pil.csv"
LAYOUTS = f"""the layouts are
  ctc:    01/t000.tif with 01_ST/SEG/man_seg000.tif or 01_GT/SEG/man_seg_000_012.tif (slice 12 of time point 0)
  pairs:  {SLICES}/F0_12.png with {SLICE_LABELS}/L0_12.png, perhaps a list of them in {SLICE_LIST}
  table:  {TABLE}, or data.table=FILE.csv, with the columns image and label, perhaps sequence, time, z, group
  matlab: FILE.mat with the variables {IMAGE_VARIABLE} and {LABEL_VARIABLE}, in one file or in two"""

Found = tuple[list[Pair], int, list[Problem]]
"""Images that have labels, with these; the digits of the numbers in names; and what is wrong with files."""

_DIGITS = 3
_Key = TypeVar("_Key")


def read_layout(root: Path, layout: str, table: str | None, truth: str) -> tuple[str, Found]:
    """Return the layout of a folder, and what is in it.

    Args:
        root: of the data.
        layout: ``ctc``, ``pairs``, ``table`` or ``matlab``; ``auto``: the first of table, ctc, pairs and matlab that
            the folder has.
        table: a csv file relative to the root, or absolute.
        truth: see :func:`read_ctc`.

    Raises:
        DataError: the folder cannot be read, or holds nothing in that layout.
        ConfigError: the settings contradict each other.
    """
    if table is not None and layout not in ("auto", "table"):
        raise ConfigError(f"data.table: not used with data.layout={layout}; leave one of them out")
    if table is None and layout in ("auto", "table") and (root / TABLE).is_file():
        table = TABLE
    if table is None and layout == "table":
        raise ConfigError(f"data.layout=table: expected data.table=FILE.csv, or {TABLE} in {root}, found neither")
    sequences = _sequences(root) if table is None and layout in ("auto", "ctc") else []
    if layout == "auto":
        there = {
            "table": lambda: table is not None,
            "ctc": lambda: bool(sequences),
            "pairs": (root / SLICES).is_dir,
            "matlab": lambda: any(root.rglob("*.mat")),
        }
        layout = next((name for name, found in there.items() if found()), "")
    if truth != "auto" and layout != "ctc":
        raise ConfigError(f"data.truth={truth}: is of data.layout=ctc, but {root} has the layout {layout}")
    if table is not None:
        return layout, read_table(root, table)
    if layout == "ctc" and sequences:
        return layout, read_ctc(root, sequences, truth)
    if layout == "pairs":
        return layout, read_slices(root)
    if layout == "matlab":
        return layout, read_matlab(root)
    raise DataError(f"{root}: expected volumes or slices with labels, found {some(_names(root))}; {LAYOUTS}")


def _names(folder: Path) -> list[str]:
    """Return what is in a folder that is not hidden, sorted; nothing if there is no such folder."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror or error}); check it") from None


def _add(known: dict[_Key, str], key: _Key, path: str, problems: list[Problem]) -> None:
    if (first := known.setdefault(key, path)) != path:
        problems.append(Problem(path, f"has the same number as {first}", "keep one of the two"))


# Cell Tracking Challenge --------------------------------------------------------------------------------------------
# https://public.celltrackingchallenge.net/documents/Naming%20and%20file%20content%20conventions.pdf

_IMAGE = re.compile(r"t([0-9]+)\.(?:tiff?|png)", re.IGNORECASE)
_LABELS = re.compile(r"man_seg_?([0-9]+)(?:_([0-9]+))?\.(?:tiff?|png|jpe?g)", re.IGNORECASE)
_TRUTHS = {"st": "_ST/SEG", "gt": "_GT/SEG"}
_TRUTH = re.compile(r"([0-9]+)_(?:ST|GT)")
_WHOLE = -1  # in place of a slice: labels of all of a time point


def _sequences(root: Path) -> list[str]:
    """Return the folders of sequences relative to ``root``: those in it, or in its only folder that has any.

    Raises:
        DataError: ``root`` is itself a sequence, or several of its folders hold some.
    """

    def has_images(folder: Path) -> bool:
        return folder.name.isdecimal() and any(map(_IMAGE.fullmatch, _names(folder)))

    if has_images(root):
        raise DataError(
            f"{root}: is a single sequence, whose labels lie beside it ({root.name}_GT); set data.root to the folder "
            f"that holds both, {root.parent}"
        )
    for folders in ([""], [f"{name}/" for name in _names(root)]):
        found = {
            folder: [name for name in _names(root / folder) if has_images(root / folder / name)] for folder in folders
        }
        within = [folder for folder, names in found.items() if names]
        if len(within) > 1:
            raise DataError(f"{root}: sequences lie in {', '.join(within)}; set data.root to one of these folders")
        if within:
            return [f"{within[0]}{name}" for name in found[within[0]]]
    return []


def read_ctc(root: Path, sequences: list[str], truth: str) -> Found:
    """Return the images and labels of sequences of the Cell Tracking Challenge: ``01/t00.tif``, ``01_ST``, ``01_GT``.

    Args:
        root: of the data.
        sequences: their folders, in one and the same folder.
        truth: ``st``: the silver truth; ``gt``: the gold truth, perhaps of some slices only; ``auto``: silver for a
            time point that has it, else gold. Where both are there, the gold one is kept beside the silver one.

    Raises:
        DataError: no time point has labels of that kind.
    """
    problems: list[Problem] = []
    pairs: list[Pair] = []
    files = {name: [match for file in _names(root / name) if (match := _IMAGE.fullmatch(file))] for name in sequences}
    digits = max([_DIGITS, *(len(match[1]) for found in files.values() for match in found)])
    within = sequences[0].rpartition("/")[0]
    for name in _names(root / within):
        if (match := _TRUTH.fullmatch(name)) and str(Path(within, match[1])) not in sequences:
            what = f"holds labels of a sequence without images: there is no {Path(within, match[1], 't000.tif')}"
            advice = "add the images or move the labels out"
            problems.append(Problem(str(Path(within, name)), what, advice, "warning"))
    for folder, found in files.items():
        images: dict[int, str] = {}
        for match in found:
            _add(images, int(match[1]), f"{folder}/{match[0]}", problems)
        labels = {kind: _truth(root, f"{folder}{ending}", images, problems) for kind, ending in _TRUTHS.items()}
        name = folder.rpartition("/")[2]
        for time, path in sorted(images.items()):
            image = Pair(path, "", f"{name}_t{time:0{digits}d}", name, time)
            pairs += _labelled(image, {kind: of.get(time, {}) for kind, of in labels.items()}, truth)
    count = sum(map(len, files.values()))
    if not pairs and not problems:
        wanted = " or ".join(f"{sequences[0]}{_TRUTHS[kind]}" for kind in _TRUTHS if truth in ("auto", kind))
        raise DataError(
            f"{root}: expected labels of its {count} time points in {wanted} (man_seg000.tif), found none; add labels "
            "of some of them, or set data.truth"
        )
    if bare := count - len({pair.image for pair in pairs}):
        LOG.info("%s: %d time points have no labels and are not used", root, bare)
    return pairs, digits, problems


def _truth(root: Path, folder: str, images: dict[int, str], problems: list[Problem]) -> dict[int, dict[int, str]]:
    """Return the labels in a folder: time -> slice -> file."""
    found: dict[int, dict[int, str]] = {}
    for file in _names(root / folder):
        if match := _LABELS.fullmatch(file):
            time, path = int(match[1]), f"{folder}/{file}"
            if time in images:
                _add(found.setdefault(time, {}), int(match[2] or _WHOLE), path, problems)
            else:
                what = f"is of time point {time}, of which there is no image"
                problems.append(Problem(path, what, "add the image or remove the labels"))
    return found


def _labelled(image: Pair, of: dict[str, dict[int, str]], truth: str) -> Iterator[Pair]:
    """Yield the labels of a time point: first those that are learnt from, then a gold truth beside a silver one."""
    first = truth if truth != "auto" else ("st" if of["st"] else "gt")
    for kind in ["st", "gt"] if first == "st" and of["st"] else [first]:
        # Those of the whole time point come first.
        for z, path in sorted(of[kind].items()):
            yield replace(image, label=path, z=None if z == _WHOLE else z, gold=kind != first)


# Prepared slices ----------------------------------------------------------------------------------------------------

_SLICE = re.compile(r"([FL])([0-9]+)_([0-9]+)\.(?:png|tiff?|jpe?g)", re.IGNORECASE)
_LISTED = re.compile(r"[FL]?([0-9]+)_([0-9]+)(?:\.[A-Za-z]+)?")

Slice = tuple[int, int]
"""Numbers of a time point and of a slice."""


def read_slices(root: Path) -> Found:
    """Return the slices ``features/F{t}_{z}.png`` with labels ``segmentation_maps/L{t}_{z}.png``.

    If there is ``file_ids.csv``, those that it lists (``190_18.png`` is time point 190, slice 18); else all. They are
    of one sequence, ``01``.

    Raises:
        DataError: a folder or the list cannot be read, or nothing is labelled.
    """
    problems: list[Problem] = []
    images, labels = _slices(root, SLICES, "F", problems), _slices(root, SLICE_LABELS, "L", problems)
    listed = _listed(root, problems)
    for number in sorted(labels.keys() - images.keys()) if listed is None else ():
        what = f"is of time point {number[0]}, slice {number[1]}, which {SLICES}/ does not have"
        problems.append(Problem(labels[number], what, "add the image or remove the labels"))
    both = images.keys() & labels.keys()
    for t, z in sorted((listed or set()) - both):
        what = f"lists {t}_{z}, but there is no {SLICES}/F{t}_{z}.png or no {SLICE_LABELS}/L{t}_{z}.png"
        problems.append(Problem(SLICE_LIST, what, "add the file or remove the line"))
    chosen = both if listed is None else both & listed
    if not chosen and not problems:
        raise DataError(
            f"{root}: expected labels {SLICE_LABELS}/L0_0.png of images {SLICES}/F0_0.png, found {len(images)} images "
            f"and none of {len(labels)} label files belongs to one; name both by time point and slice"
        )
    if bare := len(images.keys() - chosen):
        LOG.info("%s: %d slices have no labels (or %s does not list them): not learnt from", root, bare, SLICE_LIST)
    digits = max([_DIGITS, *(len(str(part)) for number in images for part in number)])
    times = {t for t, _ in chosen}
    pairs = [
        # Those without labels make the volume whole.
        Pair(
            path,
            labels[t, z] if (t, z) in chosen else "",
            f"01_t{t:0{digits}d}_z{z:0{digits}d}",
            "01",
            t,
            z,
            stacked=True,
        )
        for (t, z), path in sorted(images.items())
        if t in times
    ]
    return pairs, digits, problems


def _slices(root: Path, folder: str, letter: str, problems: list[Problem]) -> dict[Slice, str]:
    found: dict[Slice, str] = {}
    names = _names(root / folder)
    for name in names:
        match = _SLICE.fullmatch(name)
        if match and match[1].upper() == letter:
            _add(found, (int(match[2]), int(match[3])), f"{folder}/{name}", problems)
    if not found:
        raise DataError(f"{root / folder}: expected files {letter}TIME_SLICE.png, found {some(names)}; rename them")
    return found


def _listed(root: Path, problems: list[Problem]) -> set[Slice] | None:
    """Return the slices that the list names; None if there is no list."""
    if not (root / SLICE_LIST).exists():
        return None
    seen: set[Slice] = set()
    for place, (line, cells) in enumerate(csv_lines(root / SLICE_LIST, root, "data.root")):
        match = next((match for cell in cells if (match := _LISTED.fullmatch(cell.strip()))), None)
        if match:
            seen.add((int(match[1]), int(match[2])))
        elif place:  # the first line may be a header
            what = f"expected a name like 190_18.png, found '{','.join(cells)}'"
            problems.append(Problem(f"{SLICE_LIST} line {line}", what, "mend or remove the line"))
    return seen


# Tables -------------------------------------------------------------------------------------------------------------

_COLUMNS = ("sequence", "time", "z", "group")


def read_table(root: Path, name: str) -> Found:
    """Return the images that a comma-separated table lists, with their labels, in its order.

    The header names the columns: ``image`` and ``label`` (or ``mask``), perhaps ``sequence``, ``time``, ``z`` and
    ``group``; others are ignored. Files are images, volumes or series; with ``z`` they are one slice of a volume: the
    image, or only the labels where the image is the volume.

    Raises:
        DataError: the table cannot be read, lacks a column or holds no row.
    """
    table = Table(root, name)
    if {"label", "mask"} <= set(table.header):
        raise DataError(f"{table.path}: both 'label' and 'mask' stand in the header; keep one")
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
    return pairs, max([_DIGITS, *(len(str(one.time)) for one in pairs)]), table.problems


# MATLAB volumes -----------------------------------------------------------------------------------------------------

_VARIABLES = (IMAGE_VARIABLE, LABEL_VARIABLE)
_WORDS = re.compile("|".join(_VARIABLES), re.IGNORECASE)
_TIME = re.compile(r"(.+)[_-]t([0-9]{1,9})", re.IGNORECASE)


def read_matlab(root: Path) -> Found:
    """Return the volumes in the MATLAB files below ``root``, sorted by name, with the labels of each.

    Two files belong together if their names are the same but for ``embryo`` and ``membSeg`` in them (``a_embryo.mat``
    and ``a_membSeg.mat``, or ``a.mat`` in two folders), or if there are just these two. A name that ends in ``_t012``
    is of a time point of the sequence before it; else each volume is a sequence of its own.

    The two volumes show the same space, each sampled in its own way: their slices are matched by position.

    Raises:
        DataError: no file holds ``embryo``.
    """
    problems: list[Problem] = []
    of: dict[str, dict[str, str]] = {name: {} for name in _VARIABLES}
    paths = sorted(list_files(root, {"mat"}).paths)
    for path, (held, error) in zip(paths, in_parallel(lambda path: _variables(root / path), paths), strict=True):
        if error:
            problems.append(problem_of(error, path, root / path))
        for variable in held:
            first = of[variable].setdefault(_volume_name(path), path)
            if first != path:
                what = f"holds {variable} as {first} does, which has the same name"
                problems.append(Problem(path, what, "keep one, or name the volumes apart"))
    images, labels = of[IMAGE_VARIABLE], of[LABEL_VARIABLE]
    if len(images) == len(labels) == 1:
        labels = dict(zip(images, labels.values(), strict=True))
    if not images and not problems:
        raise DataError(
            f"{root}: expected the variables {IMAGE_VARIABLE} and {LABEL_VARIABLE} in its {len(paths)} MATLAB files, "
            f"found no {IMAGE_VARIABLE}; rename the variables"
        )
    pairs = []
    for key in sorted(images.keys() & labels.keys()):
        match = _TIME.fullmatch(key)
        sequence, time = (match[1], int(match[2])) if match else (key, -1)
        pairs.append(Pair(images[key], labels[key], key, sequence, time, scaled=True))
    for mine, others, missing in ((images, labels, LABEL_VARIABLE), (labels, images, IMAGE_VARIABLE)):
        for key in sorted(mine.keys() - others.keys()):
            what = f"neither it nor another file of its name holds {missing}"
            problems.append(Problem(mine[key], what, "add it or move the file out"))
    return pairs, _DIGITS, problems


def _variables(path: Path) -> tuple[list[str], DataError | None]:
    """Return which of the two variables a file holds, and the error of one that cannot be read at all."""
    held: list[str] = []
    errors: dict[str, DataError] = {}
    for variable in _VARIABLES:
        try:
            open_volume(path / variable)
            held.append(variable)
        except DataError as error:
            errors[str(error)] = error
    # Of a file that can't be read at all the same is said twice.
    return held, next(iter(errors.values())) if not held and len(errors) == 1 else None


def _volume_name(path: str) -> str:
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return _WORDS.sub("", stem).strip(" _-.") or stem
