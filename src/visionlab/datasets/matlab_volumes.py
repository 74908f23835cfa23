"""Layout of MATLAB volumes: the variables ``embryo`` (image) and ``membSeg`` (labels), in one file or in two."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from visionlab.console import LOG
from visionlab.datasets.time_points import IMAGE_VARIABLE, LABEL_VARIABLE, Pair
from visionlab.errors import DataError
from visionlab.files import Problem, in_parallel, list_files, problem_of
from visionlab.io import open_volume

_VARIABLES = (IMAGE_VARIABLE, LABEL_VARIABLE)
_WORDS = re.compile("|".join(_VARIABLES), re.IGNORECASE)
_TIME = re.compile(r"(.+)[_-]t([0-9]{1,9})", re.IGNORECASE)


@dataclass(frozen=True)
class _File:
    """Which of the two variables a file holds, and why it does not hold the other."""

    path: str
    held: tuple[str, ...]
    error: DataError | None


def read_matlab(root: Path) -> tuple[list[Pair], int, list[Problem]]:
    """Return the volumes in the MATLAB files below ``root``, sorted by name, with the labels of each.

    Two files belong together if their names are the same but for ``embryo`` and ``membSeg`` in them (``a_embryo.mat``
    and ``a_membSeg.mat``, or ``a.mat`` in two folders), or if there are just these two. A name that ends in ``_t012``
    is of a time point of the sequence before it; else each volume is a sequence of its own.

    The two volumes show the same space, each sampled in its own way: their slices are matched by position.

    Returns:
        The pairs, the digits of the numbers in names, and what is wrong with files.

    Raises:
        DataError: no file holds ``embryo``.
    """
    problems: list[Problem] = []
    files = list(in_parallel(lambda path: _look(root, path), sorted(list_files(root, {"mat"}).paths)))
    of: dict[str, dict[str, _File]] = {name: {} for name in _VARIABLES}
    for file in files:
        if not file.held and file.error:
            problems.append(problem_of(file.error, file.path, root / file.path))
        # Where a volume has its labels with it, another file of that name is of no use.
        for variable in file.held:
            first = of[variable].setdefault(_key(file.path), file)
            if first is not file:
                what = f"holds {variable} as {first.path} does, which has the same name"
                problems.append(Problem(file.path, what, "keep one, or name the volumes apart"))
    images, labels = of[IMAGE_VARIABLE], of[LABEL_VARIABLE]
    if len(images) == len(labels) == 1:
        labels = dict(zip(images, labels.values(), strict=True))
    if not images and not problems:
        there = f"{LABEL_VARIABLE} in {len(labels)} of them" if labels else "neither"
        raise DataError(
            f"{root}: expected the variables {IMAGE_VARIABLE} and {LABEL_VARIABLE} in its {len(files)} MATLAB files, "
            f"found {there}; rename the variables"
        )
    pairs = []
    for key, file in sorted(images.items()):
        if key in labels:
            match = _TIME.fullmatch(key)
            sequence, time = (match[1], int(match[2])) if match else (key, -1)
            pairs.append(Pair(file.path, labels[key].path, key, sequence, time, scaled=True))
        else:
            problems.append(_alone(root, file, LABEL_VARIABLE))
    problems += [_alone(root, labels[key], IMAGE_VARIABLE) for key in sorted(labels.keys() - images.keys())]
    if others := [file.path for file in files if not file.held and not file.error]:
        LOG.info("%s: %d MATLAB files hold neither variable and are not used, e.g. %s", root, len(others), others[0])
    return pairs, 3, problems


def _look(root: Path, path: str) -> _File:
    held: list[str] = []
    errors: list[DataError] = []
    for variable in _VARIABLES:
        try:
            open_volume(root / path, variable=variable)
            held.append(variable)
        except DataError as error:
            errors.append(error)
    # A file that can't be read at all says the same of both.
    if not held and str(errors[0]) != str(errors[1]):
        errors = []
    return _File(path, tuple(held), errors[0] if errors else None)


def _alone(root: Path, file: _File, missing: str) -> Problem:
    """Return the problem of a file that lacks one of the variables, as do others of its name."""
    reason = f": {problem_of(file.error, file.path, root / file.path).what}" if file.error else ""
    what = f"holds {file.held[0]}, but neither it nor another file of its name {missing}{reason}"
    return Problem(file.path, what, "add it or move the file out")


def _key(path: str) -> str:
    """Return the name of a file's volume."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return _WORDS.sub("", stem).strip(" _-.") or stem
