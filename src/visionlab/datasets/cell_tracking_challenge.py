"""Layout of the Cell Tracking Challenge: ``01/t00.tif``, ``01_ST/SEG/man_seg00.tif``, ``01_GT/SEG/man_seg_00_9.tif``.

https://public.celltrackingchallenge.net/documents/Naming%20and%20file%20content%20conventions.pdf
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from visionlab.console import LOG
from visionlab.datasets.time_points import Pair
from visionlab.errors import DataError
from visionlab.files import Problem

Truth = Literal["auto", "st", "gt"]

_SEQUENCE = re.compile(r"[0-9]+")
_IMAGE = re.compile(r"t([0-9]+)\.(?:tiff?|png)", re.IGNORECASE)
_LABELS = re.compile(r"man_seg_?([0-9]+)(?:_([0-9]+))?\.(?:tiff?|png|jpe?g)", re.IGNORECASE)
_FOLDERS = {"st": "_ST/SEG", "gt": "_GT/SEG"}


Labels = dict[int, dict[int, str]]
"""Time -> slice -> file; slice ``WHOLE``: all of the time point."""

WHOLE = -1
_Key = TypeVar("_Key")


@dataclass
class _Sequence:
    """The files of a sequence: its folder, time -> image, and kind of truth -> labels."""

    name: str
    folder: str
    images: dict[int, str] = field(default_factory=dict)
    labels: dict[str, Labels] = field(default_factory=dict)


def find_sequences(root: Path) -> dict[str, str]:
    """Return the folders of sequences, number -> path relative to ``root``.

    They are in ``root``, or in its only folder that has any. Empty if there are none.

    Raises:
        DataError: ``root`` is itself a sequence, or several of its folders hold sequences.
    """
    if _SEQUENCE.fullmatch(root.name) and any(_IMAGE.fullmatch(name) for name in _names(root)):
        raise DataError(
            f"{root}: is a single sequence, whose labels lie beside it ({root.name}_GT); set data.root to the folder "
            f"that holds both, {root.parent}"
        )
    if found := _sequences_in(root):
        return {name: name for name in found}
    inside = {name: _sequences_in(root / name) for name in _names(root) if (root / name).is_dir()}
    inside = {name: sequences for name, sequences in inside.items() if sequences}
    if len(inside) > 1:
        raise DataError(
            f"{root}: {len(inside)} of its folders hold sequences: {', '.join(inside)}; set data.root to one of them"
        )
    return {sequence: f"{name}/{sequence}" for name, sequences in inside.items() for sequence in sequences}


def read_ctc(root: Path, sequences: dict[str, str], truth: Truth) -> tuple[list[Pair], int, list[Problem]]:
    """Return the images that have labels, with these; the digits of the numbers in names; and what is wrong.

    Args:
        root: of the data.
        sequences: as :func:`find_sequences` returns them.
        truth: ``st``: the silver truth; ``gt``: the gold truth, perhaps of some slices only; ``auto``: silver for a
            time point that has it, else gold. Where both are there, the gold one is kept beside the silver one.

    Raises:
        DataError: no time point has labels of that kind.
    """
    problems = list(_without_folder(root, sequences))
    pairs: list[Pair] = []
    found = [_read(root, name, path, problems) for name, path in sequences.items()]
    digits = max([3, *(len(match[1]) for one in found for path in one.images.values() if (match := _number(path)))])
    bare = 0
    for one in found:
        for labels in one.labels.values():
            problems += _without_image(one, labels, digits)
        for time, path in one.images.items():
            mine = list(_pairs(one, Pair(path, "", f"{one.name}_t{time:0{digits}d}", one.name, time), truth))
            bare += not mine
            pairs += mine
    if not pairs and not problems:
        raise DataError(f"{root}: {_nothing(found, truth)}")
    if bare:
        LOG.info("%s: %d time points have no labels and are not used", root, bare)
    return pairs, digits, problems


def _pairs(sequence: _Sequence, image: Pair, truth: Truth) -> Iterator[Pair]:
    """Yield the labels of a time point: first those that are learnt from, then a gold truth beside a silver one."""
    of = {kind: sequence.labels[kind].get(image.time, {}) for kind in _FOLDERS}
    first = truth if truth != "auto" else ("st" if of["st"] else "gt")
    for kind in ["st", "gt"] if first == "st" and of["st"] else [first]:
        # Those of the whole time point come first.
        for z, path in sorted(of[kind].items()):
            yield replace(image, label=path, z=None if z == WHOLE else z, gold=kind != first)


def _read(root: Path, name: str, folder: str, problems: list[Problem]) -> _Sequence:
    images: dict[int, str] = {}
    for file in _names(root / folder):
        if match := _IMAGE.fullmatch(file):
            _add(images, int(match[1]), f"{folder}/{file}", problems)
    sequence = _Sequence(name, folder, dict(sorted(images.items())))
    for kind, ending in _FOLDERS.items():
        labels: Labels = {}
        for file in _names(root / f"{folder}{ending}"):
            path = f"{folder}{ending}/{file}"
            if match := _LABELS.fullmatch(file):
                _add(labels.setdefault(int(match[1]), {}), int(match[2] or WHOLE), path, problems)
        sequence.labels[kind] = labels
    return sequence


def _add(known: dict[_Key, str], key: _Key, path: str, problems: list[Problem]) -> None:
    if (first := known.setdefault(key, path)) != path:
        problems.append(Problem(path, f"has the same number as {first}", "keep one of the two"))


def _without_image(sequence: _Sequence, labels: Labels, digits: int) -> Iterator[Problem]:
    span = f"{min(sequence.images)} to {max(sequence.images)}"
    for time in labels.keys() - sequence.images.keys():
        expected = f"{sequence.folder}/t{time:0{digits}d}.tif"
        for path in labels[time].values():
            what = f"is of time point {time}, but there is no {expected}: those of sequence {sequence.name} are {span}"
            yield Problem(path, what, "add the image or remove the labels")


def _without_folder(root: Path, sequences: dict[str, str]) -> Iterator[Problem]:
    """Yield the folders of labels that are of no sequence."""
    prefix = next(iter(sequences.values())).rpartition("/")[0]
    for name in _names(root / prefix):
        match = re.fullmatch(r"([0-9]+)_(?:GT|ST)", name)
        if match and match[1] not in sequences:
            path = f"{prefix}/{name}" if prefix else name
            what = f"holds labels of a sequence without images: there is no {path.rpartition('_')[0]}/t000.tif"
            yield Problem(path, what, "add the images or move the labels out", "warning")


def _nothing(found: list[_Sequence], truth: Truth) -> str:
    kinds = [kind for kind in _FOLDERS if any(one.labels[kind] for one in found)]
    first = found[0].name
    wanted = " or ".join(f"{first}{ending}" for kind, ending in _FOLDERS.items() if truth in ("auto", kind))
    count = sum(len(one.images) for one in found)
    has = f"labels in {first}{_FOLDERS[kinds[0]]}" if kinds else "nothing labelled"
    other = f"set data.truth={kinds[0]}" if kinds and truth not in ("auto", kinds[0]) else "add labels of some of them"
    return f"expected labels of its {count} time points in {wanted} (man_seg000.tif), found {has}; {other}"


def _sequences_in(folder: Path) -> list[str]:
    return [
        name
        for name in _names(folder)
        if _SEQUENCE.fullmatch(name)
        and (folder / name).is_dir()
        and any(_IMAGE.fullmatch(file) for file in _names(folder / name))
    ]


def _number(path: str) -> re.Match[str] | None:
    return _IMAGE.fullmatch(path.rpartition("/")[2])


def _names(folder: Path) -> list[str]:
    """Return what is in a folder that is not hidden, sorted; nothing if there is no such folder."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror or error}); check it") from None
