"""Check that masks, depth maps and backgrounds can be read and fit the images that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.data.parallel import in_parallel
from visionlab.errors import DataError
from visionlab.files import Problem, problem_of
from visionlab.io import open_volume, read_depth, read_image, read_mask, same_view
from visionlab.io.maps import Mask, Size

SSIM_WINDOW = 11
"""Least side of an image, in pixels: SSIM compares windows of 11 x 11."""

_PATHS = ["path", "mask_path", "depth_path", "background_path"]


@dataclass
class _Row:
    """What is wrong with the files of one image, and what matters only together with the other rows'."""

    problems: list[Problem] = field(default_factory=list)
    grey: int | None = None  # pixels of the mask that were cut to 0 or 1
    mask: str | None = None  # hash of the mask, if it has both values
    depth: str | None = None  # type of the depth map's values


def check_maps(
    table: pd.DataFrame, root: str | Path, *, mask_threshold: int | None, invalid: str | float
) -> list[Problem]:
    """Read every mask, depth map and background of an index on all cores, and return what is wrong, sorted by path.

    Errors: a file that cannot be used (see :func:`visionlab.io.read_mask` and ``read_depth``), is of another
    view than its image, has a side of less than 11 pixels, or a depth map of another type than most. Warnings: masks
    that are empty, or full, were cut from grey values (once a folder), or are equal in two groups (once).

    Only the header of the images themselves is read, and one that cannot be read is passed over:
    :func:`visionlab.data.checks.check_files` names it.

    Args:
        table: as :func:`visionlab.datasets.depth_mask.index` returns it.
        root: folder that the paths are relative to.
        mask_threshold: see ``read_mask``.
        invalid: see ``read_depth``.
    """
    folder = Path(root)
    paths = table[[name for name in _PATHS if name in table]]
    shared = paths["background_path"].unique().tolist() if "background_path" in paths else []
    sizes = progress(in_parallel(partial(_background, folder), shared), len(shared), "checking backgrounds")
    backgrounds = dict(zip(shared, sizes, strict=True)) if shared else {}

    def check(files: dict[str, str]) -> _Row:
        return _check(folder, files, backgrounds, mask_threshold, invalid)

    rows = (dict(zip(paths.columns, values, strict=True)) for values in paths.itertuples(index=False, name=None))
    found = list(progress(in_parallel(check, rows), len(paths), "checking masks and depth maps"))
    problems = [problem for row in found for problem in row.problems]
    problems += [size for size in backgrounds.values() if isinstance(size, Problem)]
    if "mask_path" in paths:
        problems += _cut(paths["mask_path"], found, 128 if mask_threshold is None else mask_threshold)
        problems += _repeated(table.assign(hash=pd.Series([row.mask for row in found], table.index, dtype=object)))
    if "depth_path" in paths:
        problems += _mixed(paths["depth_path"], found)
    return sorted(problems, key=lambda problem: (problem.path, problem.what))


def _check(
    folder: Path,
    files: dict[str, str],
    backgrounds: dict[str, Size | Problem],
    threshold: int | None,
    invalid: str | float,
) -> _Row:
    row = _Row()
    image: Size | None
    try:
        head = open_volume(folder / files["path"])
        image = (head.height, head.width)
        row.problems += _too_small(files["path"], image)
    except DataError:
        image = None
    sizes: dict[str, Size] = {}
    if path := files.get("mask_path"):
        try:
            mask, about = read_mask(folder / path, threshold)
            sizes[path] = (mask.shape[0], mask.shape[1])
            row.grey = about["grey"]
            constant = list(_one_value(path, mask))
            row.mask = None if constant else about["hash"]
            row.problems += [*_too_small(path, sizes[path]), *constant]
        except DataError as error:
            row.problems.append(problem_of(error, path, folder / path))
    if path := files.get("depth_path"):
        try:
            depth, about = read_depth(folder / path, invalid)
            sizes[path] = (depth.shape[0], depth.shape[1])
            row.depth = about["dtype"]
        except DataError as error:
            row.problems.append(problem_of(error, path, folder / path))
    if path := files.get("background_path"):
        background = backgrounds[path]
        if not isinstance(background, Problem):
            sizes[path] = background
    for path, size in sizes.items():
        if image and not same_view(image, size):
            what = f"is {size[0]} x {size[1]} pixels, but its image {files['path']} {image[0]} x {image[1]}"
            advice = "expected the same size, or the same picture at another scale: export both alike"
            row.problems.append(Problem(path, what, advice))
    return row


def _background(folder: Path, path: str) -> Size | Problem:
    try:
        image = read_image(folder / path)
    except DataError as error:
        return problem_of(error, path, folder / path)
    return image.shape[0], image.shape[1]


def _too_small(path: str, size: Size) -> Iterator[Problem]:
    if min(size) < SSIM_WINDOW:
        what = f"is {size[0]} x {size[1]} pixels, smaller than the window of SSIM ({SSIM_WINDOW} x {SSIM_WINDOW})"
        yield Problem(path, what, "export it larger, or remove it with what belongs to it")


def _one_value(path: str, mask: Mask) -> Iterator[Problem]:
    if not mask.any():
        yield Problem(path, "the mask is empty: all is background", "remove it unless so meant", "warning")
    elif mask.all():
        yield Problem(path, "the mask is full: all is foreground", "remove it unless so meant", "warning")


def _cut(paths: pd.Series[str], found: list[_Row], threshold: int) -> Iterator[Problem]:
    """Say once a folder (the first part of the path) how many masks had grey values."""
    total: Counter[str] = Counter()
    grey: Counter[str] = Counter()
    for path, row in zip(paths, found, strict=True):
        if row.grey is not None:
            place = path.rpartition("/")[0].partition("/")[0]
            total[place] += 1
            grey[place] += row.grey > 0
    for place in sorted(grey):
        if grey[place]:
            what = f"{grey[place]} of {total[place]} masks hold grey values: those from {threshold} on are foreground"
            advice = "nothing need be done, but PNG of two values is exact; data.mask_threshold sets another value"
            yield Problem(f"{place or '.'}/", what, advice, "warning")


def _repeated(table: pd.DataFrame) -> Iterator[Problem]:
    """Name a mask that stands in two groups: two images of one scene have the same, though their pixels differ."""
    shared = table[table["hash"].notna()]
    shared = shared[shared.groupby("hash")["group"].transform("nunique") > 1]
    if len(shared):
        first = shared[shared["hash"] == shared["hash"].iloc[0]].drop_duplicates("group")
        (path, group), (other, second) = first[["mask_path", "group"]].to_numpy().tolist()[:2]
        what = (
            f"is the same mask as {path}, but of group '{second}' where that is of '{group}' ({len(shared)} such masks)"
        )
        advice = "if they show one scene, give both one group (data.group_pattern): a test on seen scenes means nothing"
        yield Problem(other, what, advice, "warning")


def _mixed(paths: pd.Series[str], found: list[_Row]) -> Iterator[Problem]:
    types = np.array([row.depth or "" for row in found], dtype=str)
    counts = Counter(types[types != ""].tolist()).most_common()
    for dtype, count in counts[1:]:
        common, most = counts[0]
        first = paths.iloc[int(np.flatnonzero(types == dtype)[0])]
        what = f"holds {dtype} values, as {count} depth maps do where {most} hold {common}: they have no common scale"
        yield Problem(first, what, "export all alike")
