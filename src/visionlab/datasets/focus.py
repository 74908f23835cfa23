"""Data set ``focus``: images named by field of view, stage height and distance from the focal plane."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.errors import DataError
from visionlab.files import Problem, Scan, check_folder, list_files, listed
from visionlab.io import LOSSLESS_SUFFIXES

PATTERN = "<unique_image_name>_<absolute_focus_height>_<relative_focus_distance>"
EXAMPLE = "well_A3_1250.50_-4.25.png"

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
# The name is greedy, so the two numbers are the last two however many underscores and digits stand before them.
_NAME = re.compile(rf"(.+)_({_NUMBER})_({_NUMBER})", re.DOTALL)


class FocusDataModule(ImageDataModule):
    """Microscope images and their distance from the focal plane; groups are fields of view (unique image names)."""

    task: ClassVar[str] = "focus"
    targets: Mapping[str, tuple[str, ...]] = {"distance": ("distance",)}

    def index(self, root: Path) -> pd.DataFrame:
        """See :func:`index`."""
        return index(root)

    def scan(self, root: Path) -> Scan:
        """See :func:`scan`."""
        return scan(root)


def parse_name(stem: str) -> tuple[str, float, float]:
    """Split a file name without suffix into unique name, absolute height and relative distance, from the right.

    The name may hold underscores, digits and dots; the numbers may have signs, decimals and exponents. Raises
    ``DataError`` if the name does not end in two finite numbers.
    """
    match = _NAME.fullmatch(stem)
    if match:
        name, height, distance = match[1], float(match[2]), float(match[3])
        if math.isfinite(height) and math.isfinite(distance):
            return name, height, distance
    raise DataError(f"'{stem}' does not match {PATTERN}, e.g. {EXAMPLE}")


def scan(root: str | Path) -> Scan:
    """Index a folder, collecting what is wrong with single names instead of raising it.

    Returns the table of ``index`` without the files that have a problem. Raises ``DataError`` if the folder is missing,
    cannot be read or holds no images.
    """
    kinds = ", ".join(f".{suffix}" for suffix in LOSSLESS_SUFFIXES)
    folder = check_folder(root, f"{kinds} images named {PATTERN}")
    listing = list_files(folder, LOSSLESS_SUFFIXES)
    others = listing.describe_others()
    if not listing.paths:
        found = f"found images of other types ({others}): convert them to PNG or TIFF" if others else "found none"
        raise DataError(f"{root}: expected {kinds} images named {PATTERN} in it or its subfolders, {found}")
    if others:
        LOG.warning("%s: only %s images are read; not used: %s", root, kinds, others)
    problems: list[Problem] = []
    ids: list[str] = []
    groups: list[str] = []
    paths: list[str] = []
    numbers: list[tuple[float, float]] = []
    shared: dict[str, str] = {}  # one string for all samples of a group saves memory
    # Sorting by what becomes the id puts files that differ in their suffix only beside each other.
    for sample, path in sorted((_without_suffix(path), path) for path in listing.paths):
        try:
            name, *height_distance = parse_name(sample.rpartition("/")[2])
        except DataError:
            advice = f"rename it to {PATTERN}, e.g. {EXAMPLE}, or move it out"
            problems.append(Problem(_printable(path), "the name does not match", advice))
            continue
        if ids and sample == ids[-1]:
            problems.append(Problem(path, f"has the same name as {paths[-1]}", "keep one of the two"))
        elif _printable(path) != path:
            problems.append(Problem(_printable(path), "the name is not valid UTF-8", "rename it"))
        else:
            ids.append(sample)
            groups.append(shared.setdefault(name, name))
            paths.append(path)
            numbers.append((height_distance[0], height_distance[1]))
    table = pd.DataFrame({"id": ids, "group": groups, "path": paths}, dtype=str)
    table[["height", "distance"]] = np.array(numbers, dtype=float).reshape(-1, 2)
    return Scan(table, problems)


def index(root: str | Path) -> pd.DataFrame:
    """Return one row a PNG or TIFF image in ``root`` and its subfolders, sorted by ``id``.

    Columns: ``id`` (path relative to ``root``, without suffix), ``group`` (the exact unique image name), ``path``
    (relative to ``root``), ``height`` and ``distance`` (as in the name, in the user's unit). Raises ``DataError`` if
    ``root`` is no folder or holds no images, if names do not match the pattern (the first ten are listed), or if two
    files differ in their suffix only.
    """
    table, problems = scan(root)
    if problems:
        lines = listed([f"{problem.path}: {problem.what}" for problem in problems])
        raise DataError(
            f"{root}: expected names {PATTERN}, e.g. {EXAMPLE}; {len(problems)} of {len(table) + len(problems)}"
            f" image files have a name that cannot be used:\n{lines}\nrename them or move them out"
        )
    return table


def _without_suffix(path: str) -> str:
    stem, _, kind = path.rpartition(".")
    # 'a_1_2.ome.tif' is an OME-TIFF of the sample 'a_1_2'.
    return stem[:-4] if kind.lower() in ("tif", "tiff") and stem.lower().endswith(".ome") else stem


def _printable(path: str) -> str:
    """Return a path as it is, or escaped if it cannot be written (names in another encoding hold lone surrogates)."""
    return path.encode("utf-8", "backslashreplace").decode()
