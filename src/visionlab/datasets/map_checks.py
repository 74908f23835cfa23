"""Check that masks, depth maps and backgrounds can be read and fit the images that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.errors import DataError
from visionlab.files import Problem, in_parallel, problem_of
from visionlab.io import open_volume, read_depth, read_image, read_mask, same_view

SSIM_WINDOW = 11
"""Least side of an image, in pixels: SSIM compares windows of 11 x 11."""

Size = tuple[int, int]


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
    :func:`visionlab.data.describe.check_files` names it.

    Args:
        table: an index with ``path`` and any of ``mask_path``, ``depth_path``, ``background_path``.
        root: folder that the paths are relative to.
        mask_threshold: see ``read_mask``.
        invalid: see ``read_depth``.
    """
    folder = Path(root)
    columns = [name for name in ("path", "mask_path", "depth_path", "background_path") if name in table]
    alone = _Row()
    shared = table["background_path"].unique().tolist() if "background_path" in table else []
    read = in_parallel(lambda path: _read(folder, path, read_image), shared)
    backgrounds: dict[str, Size | None] = {}
    for path, found in zip(shared, progress(read, len(shared), "checking backgrounds"), strict=True):
        alone.problems += [found] if isinstance(found, Problem) else []
        backgrounds[path] = None if isinstance(found, Problem) else found.shape[:2]

    def check(files: dict[str, str]) -> _Row:
        return _check(folder, files, backgrounds, mask_threshold, invalid)

    each = (dict(zip(columns, values, strict=True)) for values in table[columns].itertuples(index=False, name=None))
    rows = list(progress(in_parallel(check, each), len(table), "checking masks and depth maps"))
    problems = [problem for row in (alone, *rows) for problem in row.problems]
    if "mask_path" in table:
        problems += _cut(table["mask_path"], rows, 128 if mask_threshold is None else mask_threshold)
        problems += _repeated(table.assign(hash=pd.Series([row.mask for row in rows], table.index, dtype=object)))
    if "depth_path" in table:
        problems += _mixed(table["depth_path"], rows)
    return sorted(problems, key=lambda problem: (problem.path, problem.what))


def _read(folder: Path, path: str, reader: Callable[..., Any], *options: Any) -> Any:
    """Return what a reader returns, or the problem that it has."""
    try:
        return reader(folder / path, *options)
    except DataError as error:
        return problem_of(error, path, folder / path)


def _check(
    folder: Path,
    files: dict[str, str],
    backgrounds: dict[str, Size | None],
    threshold: int | None,
    invalid: str | float,
) -> _Row:
    row = _Row()
    head = _read(folder, files["path"], open_volume)
    image = None if isinstance(head, Problem) else (head.height, head.width)
    row.problems += _too_small(files["path"], image)
    sizes: dict[str, Size | None] = {}
    if path := files.get("mask_path"):
        found = _read(folder, path, read_mask, threshold)
        if isinstance(found, Problem):
            row.problems.append(found)
        else:
            mask, about = found
            sizes[path], row.grey = mask.shape[:2], about["grey"]
            row.problems += _too_small(path, mask.shape[:2])
            if mask.any() and not mask.all():
                row.mask = about["hash"]
            else:
                what = "full: all is foreground" if mask.any() else "empty: all is background"
                row.problems.append(Problem(path, f"the mask is {what}", "remove it unless so meant", "warning"))
    if path := files.get("depth_path"):
        found = _read(folder, path, read_depth, invalid)
        if isinstance(found, Problem):
            row.problems.append(found)
        else:
            sizes[path], row.depth = found[0].shape[:2], found[1]["dtype"]
    if path := files.get("background_path"):
        sizes[path] = backgrounds[path]
    for path, size in sizes.items():
        if image and size and not same_view(image, size):
            what = f"is {size[0]} x {size[1]} pixels, but its image {files['path']} {image[0]} x {image[1]}"
            advice = "expected the same size, or the same picture at another scale: export both alike"
            row.problems.append(Problem(path, what, advice))
    return row


def _too_small(path: str, size: Size | None) -> Iterator[Problem]:
    if size and min(size) < SSIM_WINDOW:
        what = f"is {size[0]} x {size[1]} pixels, smaller than the window of SSIM ({SSIM_WINDOW} x {SSIM_WINDOW})"
        yield Problem(path, what, "export it larger, or remove it with what belongs to it")


def _cut(paths: pd.Series[str], rows: list[_Row], threshold: int) -> Iterator[Problem]:
    """Say once a folder (the first part of the path) how many masks had grey values."""
    total: Counter[str] = Counter()
    grey: Counter[str] = Counter()
    for path, row in zip(paths, rows, strict=True):
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


def _mixed(paths: pd.Series[str], rows: list[_Row]) -> Iterator[Problem]:
    types = np.array([row.depth or "" for row in rows], dtype=str)
    counts = Counter(types[types != ""].tolist()).most_common()
    for dtype, count in counts[1:]:
        common, most = counts[0]
        first = paths.iloc[int(np.flatnonzero(types == dtype)[0])]
        what = f"holds {dtype} values, as {count} depth maps do where {most} hold {common}: they have no common scale"
        yield Problem(first, what, "export all alike")
