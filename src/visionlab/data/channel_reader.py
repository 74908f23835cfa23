"""Samples whose stains lie in one file each: which files there are, how they are cached, what is wrong with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from visionlab.console import progress
from visionlab.data.channels import Channels, read_plane, unlike
from visionlab.data.checks import facts
from visionlab.data.parallel import in_parallel
from visionlab.data.preprocess import Preprocess
from visionlab.data.readers import ImageReader, Result
from visionlab.errors import DataError
from visionlab.files import Problem, list_files, problem_of, suffix
from visionlab.io import LOSSLESS_SUFFIXES, Volume, open_volume


class StainFiles:
    """The files of a folder, and of those in it, that hold one stain of a sample each.

    Args:
        root: folder that the paths are relative to.
        folder: in ``root``.
        channels: whose stains are needed.

    Attributes:
        folder: as given.
        samples: Id -> stain -> path relative to the root, of all stains that are known.
        others: images of other types, in words.
    """

    def __init__(self, root: Path, folder: Path, channels: Channels) -> None:
        listing = list_files(folder, LOSSLESS_SUFFIXES)
        self.folder, self.others = folder, listing.describe_others()
        self.samples: dict[str, dict[str, str]] = {}
        self._channels = channels
        self._twins: dict[tuple[str, str], str] = {}
        self._plain: list[str] = []
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        for name in sorted(listing.paths):
            parts = channels.split(name)
            path = prefix + name
            if parts is None:
                self._plain.append(path)
            elif self.samples.setdefault(parts[0], {}).setdefault(parts[1], path) != path:
                self._twins[parts] = path

    def unnamed(self, known: Collection[str]) -> list[str]:
        """Return the files of samples that are not ``known``, and those that are not named as a sample's stain."""
        return self._plain + [
            path for sample, files in self.samples.items() if sample not in known for path in files.values()
        ]

    def wrong(self, sample: str) -> Problem | None:
        """Return what is wrong with the files of a sample: some are missing, or there are two for a stain."""
        files = self.samples[sample]
        if missing := [stain for stain in self._channels.names if stain not in files]:
            path = next(iter(files.values()))
            what = self._channels.lack(sample, missing, suffix(path))
            return Problem(path, what, "add what is missing, or take the row out of the table")
        for stain in self._channels.names:
            if twin := self._twins.get((sample, stain)):
                return Problem(twin, f"there is {files[stain]} as well", "keep one of the two")
        return None


@dataclass(frozen=True)
class ChannelReader:
    """Samples of several files, kept as the channels that the network sees; the facts are of these.

    Args:
        channels: how they are made of the stains.
        root: folder that the files are relative to.
        files: of each sample, one for each of ``channels.names``.
    """

    channels: Channels
    root: Path
    files: Sequence[tuple[str, ...]]

    facts: ClassVar[tuple[str, ...]] = ImageReader.facts

    def spec(self) -> dict[str, Any]:
        """Return the channels, and the names of all files but the first of each sample, which the cache looks at."""
        names = "".join(f"{path}\0" for sample in self.files for path in sample[1:])
        digest = hashlib.blake2b(names.encode(), digest_size=16)
        return {"channels": self.channels.spec, "files": digest.hexdigest()}

    def further(self) -> list[Path]:
        return [self.root / path for sample in self.files for path in sample[1:]]

    def header(self, path: Path) -> Volume:
        return open_volume(path)

    def dtype(self, found: Mapping[str, str]) -> str:
        return ImageReader().dtype(found)

    def size(self, head: Volume, number: int, preprocess: Preprocess) -> tuple[int, int]:
        return preprocess.size(head.height, head.width)

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        image = self.channels.read_files([self.root / name for name in self.files[number]])
        about = {"height": image.shape[0], "width": image.shape[1], "channels": image.shape[2]}
        return preprocess.resize(image, str(path)), {**about, "dtype": str(image.dtype), **facts(image)}

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        return


def stain_files(table: pd.DataFrame, channels: Channels) -> list[tuple[str, ...]]:
    """Return the files of each row of an index, one for each of ``channels.names``."""
    columns = [f"{name}_path" for name in channels.names]
    return list(table[columns].itertuples(index=False, name=None))


def check_stains(table: pd.DataFrame, root: Path, channels: Channels) -> list[Problem]:
    """Read every file of an index but the first of each sample on all cores; return what is wrong, sorted by path.

    Errors: a file that cannot be read, is not gray, or has another size or depth than the first file of its sample.
    Warnings: constant images. Of the first files the header is read, and their pixels if they seem to be not gray; one
    that cannot be read is passed over: :func:`visionlab.data.checks.check_files` names it.
    """

    def check(files: tuple[str, ...]) -> list[Problem]:
        return _check(root, files)

    found = progress(in_parallel(check, stain_files(table, channels)), len(table), "checking the other channels")
    return sorted((problem for problems in found for problem in problems), key=lambda problem: problem.path)


def _check(root: Path, files: tuple[str, ...]) -> list[Problem]:
    problems: list[Problem] = []
    first: Volume | None = None
    try:
        first = open_volume(root / files[0])
    except DataError:
        pass
    else:
        if first.channels != 1:
            problems += _gray(root, files[0])
    for path in files[1:]:
        problems += _gray(root, path, first, Path(files[0]).name)
    return problems


def _gray(root: Path, path: str, first: Volume | None = None, name: str = "") -> list[Problem]:
    """Return what is wrong with a stain's file, given the header and name of the sample's first one."""
    try:
        plane = read_plane(root / path)
    except DataError as error:
        return [problem_of(error, path, root / path)]
    if first is None:
        return []
    if other := unlike(plane.shape[:2], plane.dtype.name, (first.height, first.width), first.dtype):
        return [Problem(path, f"{other} {name}", "export all files of a sample alike")]
    if plane.min() == plane.max():
        advice = "remove the sample unless an empty image is meant"
        return [Problem(path, f"all values are {plane.min():g}", advice, "warning")]
    return []
