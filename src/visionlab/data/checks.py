"""Check every image file of an index: decode it, take its facts, and name all that is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.data.parallel import in_parallel
from visionlab.errors import DataError
from visionlab.files import Problem, problem_of
from visionlab.io import Image, Stains, open_volume, read_image, split_plane

_FACTS = ("height", "width", "channels", "dtype", "stored", "min", "max", "mean", "std", "hash")


@dataclass(frozen=True)
class Report:
    """The result of ``check_files``.

    ``table`` has one row a readable file: ``id``, ``group``, ``path``, ``height``, ``width``, ``channels``, ``dtype``,
    ``stored`` (the type in the file), ``min``, ``max``, ``mean``, ``std`` (in the file's units) and ``hash``.
    ``problems`` are sorted by path.
    """

    table: pd.DataFrame
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """The problems that must be mended before training."""
        return [problem for problem in self.problems if problem.severity == "error"]


def facts(image: Image) -> dict[str, Any]:
    """Return ``min``, ``max``, ``mean``, ``std`` (over all values) and ``hash`` (of shape, type, content)."""
    digest = hashlib.blake2b(f"{image.shape}{image.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return {
        "min": float(image.min()),
        "max": float(image.max()),
        "mean": float(image.mean(dtype=np.float64)),
        "std": float(image.std(dtype=np.float64)),
        "hash": digest.hexdigest(),
    }


def check_files(
    table: pd.DataFrame,
    root: str | Path,
    *,
    known: Sequence[Problem] = (),
    stains: Stains = (),
) -> Report:
    """Decode every file of an index (``id``, ``group``, ``path``) on all cores and report what is wrong.

    Errors: files that cannot be read (missing, empty, truncated, damaged, NaN, several pages, ...) and the same pixels
    in two groups (a leak, wherever the groups end up). Warnings: constant images, the same pixels twice in a group, and
    types that are converted without loss. ``known`` are problems found before, e.g. names that do not match; ``stains``
    are read of files with an axis of channels.
    """
    folder = Path(root)
    paths = table["path"].tolist()
    results = in_parallel(partial(_check, folder, stains), paths)
    found: list[dict[str, Any] | Problem] = list(progress(results, len(paths), "checking images"))
    good = [row for row, result in enumerate(found) if isinstance(result, dict)]
    checked = table.iloc[good][["id", "group", "path"]].reset_index(drop=True)
    values = [result for result in found if isinstance(result, dict)]
    checked = pd.concat([checked, pd.DataFrame(values, columns=list(_FACTS))], axis=1)
    problems = [*known, *(result for result in found if isinstance(result, Problem))]
    problems += [*_constant(checked), *_converted(checked), *_duplicates(checked)]
    return Report(checked, sorted(problems, key=lambda problem: (problem.path, problem.what)))


def _check(folder: Path, stains: Stains, path: str) -> dict[str, Any] | Problem:
    try:
        image = read_image(folder / path, stains)
        # Planes are told the type that they are read as only.
        stored = image.dtype.name if split_plane(folder / path)[1] is not None else open_volume(folder / path).stored
    except DataError as error:
        return problem_of(error, path, folder / path)
    height, width, channels = image.shape
    shape = {"height": height, "width": width, "channels": channels, "dtype": image.dtype.name, "stored": stored}
    return {**shape, **facts(image)}


def _constant(checked: pd.DataFrame) -> Iterator[Problem]:
    for path, value in checked.loc[checked["min"] == checked["max"], ["path", "min"]].itertuples(index=False):
        yield Problem(path, f"all values are {value:g}", "remove it unless an empty image is meant", "warning")


def _converted(checked: pd.DataFrame) -> Iterator[Problem]:
    other = checked[checked["stored"] != checked["dtype"]]
    for (stored, dtype), rows in other.groupby(["stored", "dtype"]):
        what = f"stores {stored}, read as {dtype} without loss ({len(rows)} such files)"
        yield Problem(rows["path"].iloc[0], what, "nothing need be done", "warning")


def _duplicates(checked: pd.DataFrame) -> Iterator[Problem]:
    # Constant images are equal without being copies; they have a warning of their own.
    varied = checked[checked["min"] != checked["max"]]
    for _, rows in varied[varied.duplicated("hash", keep=False)].groupby("hash", sort=False):
        (first, group), *rest = rows[["path", "group"]].itertuples(index=False)
        for path, other in rest:
            if other == group:
                advice = "remove one unless the image was taken twice"
                yield Problem(path, f"has the same pixels as {first}", advice, "warning")
            else:
                yield Problem(
                    path,
                    f"has the same pixels as {first}, but is of group '{other}' where that is of '{group}'",
                    "remove one or give both the same group: a copy in two splits makes the test worthless",
                )
