"""Data set ``focus``: images named by field of view, stage height and distance from the focal plane."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from visionlab.data.module import ImageDataModule
from visionlab.datasets.pairing import Files
from visionlab.errors import DataError
from visionlab.files import Problem, Scan, check_folder
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

    Returns:
        One row a PNG or TIFF image in ``root`` and its subfolders, sorted by ``id`` (path relative to ``root``, without
        suffix): ``group`` (the exact unique image name), ``path`` (relative to ``root``), ``height`` and ``distance``
        (as in the name, in the user's unit). And a problem for each image whose name cannot be used.

    Raises:
        DataError: the folder is missing, cannot be read or holds no images.
    """
    folder = check_folder(root, f"{', '.join(f'.{kind}' for kind in LOSSLESS_SUFFIXES)} images named {PATTERN}")
    files = Files(folder, "", "image", LOSSLESS_SUFFIXES, f"expected images named {PATTERN}", stem=_without_suffix)
    problems = list(files.problems)
    # Plain lists: of hundreds of thousands of small objects in others, most time would go into collecting garbage.
    ids: list[str] = []
    groups: list[str] = []
    paths: list[str] = []
    heights: list[float] = []
    distances: list[float] = []
    for sample, path in files.paths.items():
        try:
            group, height, distance = parse_name(sample.rpartition("/")[2])
        except DataError:
            advice = f"rename it to {PATTERN}, e.g. {EXAMPLE}, or move it out"
            problems.append(Problem(path, "the name does not match", advice))
            continue
        ids.append(sample)
        groups.append(group)
        paths.append(path)
        heights.append(height)
        distances.append(distance)
    table = pd.DataFrame({"id": ids, "group": groups, "path": paths}, dtype=str)
    table["height"], table["distance"] = np.array(heights, float), np.array(distances, float)
    return Scan(table, problems)


def index(root: str | Path) -> pd.DataFrame:
    """Return the table of :func:`scan`.

    Raises:
        DataError: as ``scan``, and if a name cannot be used (the first ten are listed).
    """
    return scan(root).usable(root)


def _without_suffix(path: str) -> str:
    stem, _, kind = path.rpartition(".")
    # 'a_1_2.ome.tif' is an OME-TIFF of the sample 'a_1_2'.
    return stem[:-4] if kind.lower() in ("tif", "tiff") and stem.lower().endswith(".ome") else stem
