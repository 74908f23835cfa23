"""Which files are time points of one series, and planes of files as images of their own.

Importing this does not import torch.
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from visionlab.console import LOG
from visionlab.errors import DataError, UsageError
from visionlab.files import IMAGE, suffix
from visionlab.inference.files import output_names
from visionlab.io import AxesError, Stains, Volume, VoxelSize, check_axes, open_volume, plane

# t000, embryo_T12, time-3, frame 0007: what stands before it tells series in one folder apart.
_TIME = re.compile(r"(?P<before>|.*[^a-z0-9])(?:t|time|frame)[ _-]?(?P<number>\d+)", re.IGNORECASE)
_EXAMPLE = "such as 1.0,0.25,0.25 (of images y and x)"


@dataclass(frozen=True)
class InputFile:
    """A file that is predicted.

    Attributes:
        path: as the user named it.
        name: of its outputs, unlike any other's.
        series: that it is a time point of; of a file by itself its name.
        time: number in the series; None for a file by itself, whose own time points count from 0.
    """

    path: Path
    name: str
    series: str
    time: int | None

    def holding(self, frames: int) -> InputFile:
        """Return the file as what it is if it holds so many time points: with several a series by itself."""
        return self if frames == 1 else replace(self, series=self.name, time=None)

    def time_point(self, t: int) -> int:
        """Return the number in the series of the file's own time point ``t``."""
        return t if self.time is None else self.time


@dataclass(frozen=True)
class TimePoint:
    """What an image is of a series: its name, the number of the time point, and seconds since the first if known."""

    series: str
    time: int
    seconds: float | None = None


def arrange(files: Sequence[Path]) -> list[InputFile]:
    """Return the files with the series that they are time points of.

    Files of one folder and one kind that are named by their time point (``t000.tif``, ``embryo_T12.png``, ``frame-3``)
    are a series if no number is there twice. It has the name of the folder, and what stands before the number.
    """
    names = output_names(files)
    members: dict[tuple[str, str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, file in enumerate(files):
        if found := _TIME.fullmatch(file.stem.removesuffix(".ome")):
            key = (os.path.abspath(file.parent), found["before"], suffix(file.name))  # noqa: PTH100 - keeps links
            members[key][int(found["number"])].append(place)
    items = [InputFile(file, name, name, None) for file, name in zip(files, names, strict=True)]
    taken = set(names)
    for (folder, before, _), times in members.items():
        if len(times) < 2 or any(len(places) > 1 for places in times.values()):
            continue
        above = Path(names[next(iter(times.values()))[0]]).parent.as_posix()
        series = "/".join(filter(None, [Path(folder).name if above == "." else above, before.strip(" ._-")]))
        while series in taken:
            series += "_series"
        taken.add(series)
        for time, (place,) in times.items():
            items[place] = replace(items[place], series=series, time=time)
    return items


# Voxels -------------------------------------------------------------------------------------------------------------


def parse_axes(text: str | None) -> str | None:
    """Return the axes that ``--axes`` names, without channels.

    Raises:
        UsageError: they are none of those that are known.
    """
    try:
        return check_axes(text)
    except UsageError as error:
        raise UsageError(f"--axes {text}: {str(error).partition(': ')[2]}") from None


def parse_voxel(text: str | None) -> VoxelSize | None:
    """Return micrometres along z, y and x of ``1.0,0.25,0.25``; of ``0.25,0.25`` those of y and x.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return None
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--voxel-size {text}: expected numbers with commas between them, {_EXAMPLE}") from None
    return voxel_of(sizes, "--voxel-size")


def voxel_of(sizes: Sequence[float], what: str) -> VoxelSize:
    """Return micrometres along z, y and x of three sizes, or of two: those of y and x.

    Raises:
        UsageError: they are others; ``what`` names them.
    """
    if len(sizes) not in (2, 3) or not all(0 < size < math.inf for size in sizes):
        found = ", ".join(f"{size:g}" for size in sizes)
        raise UsageError(f"{what}: expected micrometres along z, y and x, {_EXAMPLE}; found {found}")
    return (float(sizes[0]) if len(sizes) == 3 else None, float(sizes[-2]), float(sizes[-1]))


def open_scaled(
    path: str | Path, *, axes: str | None = None, voxel: VoxelSize | None = None, stains: Stains = ()
) -> Volume:
    """Open a file, the sizes of whose voxels are ``voxel`` along the axes of which it does not tell.

    Raises:
        DataError: see :func:`visionlab.io.open_volume`.
    """
    volume = open_volume(path, axes=axes, stains=stains)
    if voxel is None:
        return volume
    _say_if_unlike(volume.voxel_size, voxel)
    own, given = volume.voxel_size, voxel
    return replace(volume, voxel_size=(own[0] or given[0], own[1] or given[1], own[2] or given[2]))


@cache
def _say_if_unlike(own: VoxelSize, given: VoxelSize) -> None:
    if any(one and other and not math.isclose(one, other, rel_tol=0.01) for one, other in zip(own, given, strict=True)):
        told = ", ".join(f"{size:g}" if size else "unknown" for size in own)
        LOG.warning("files that tell the size of their voxels (%s um along z, y, x) are taken at their word", told)


# Planes as images ---------------------------------------------------------------------------------------------------


def as_planes(
    samples: Iterable[Mapping[str, Path]], axes: str | None = None
) -> tuple[list[dict[str, Path]], dict[str, TimePoint]]:
    """Return samples in which each plane of a volume, series or video is an image of its own, ``a.tif#5``.

    Args:
        samples: input name -> file. Of those other than the image each belongs to all planes.
        axes: of files that do not tell.

    Returns:
        The samples, and {image: which time point it is}, for images without z of a series that has more than one. A
        file that cannot be opened stays as it is, to be refused when it is read.
    """
    given = [dict(sample) for sample in samples]
    items = arrange([sample[IMAGE] for sample in given])
    found: list[dict[str, Path]] = []
    moments: dict[str, TimePoint] = {}
    for item, sample in zip(items, given, strict=True):
        try:
            volume = _stack(item.path, axes)
        except AxesError:
            # Read as an image, its planes could be taken for colours: as a plane it is refused with the reason.
            found.append({**sample, IMAGE: Path(plane(str(item.path), 0))})
            continue
        if volume is None:
            found.append(sample)
            if item.time is not None:
                moments[str(item.path)] = TimePoint(item.series, item.time)
            continue
        for index in range(volume.frames * volume.planes):
            name = plane(str(item.path), index)
            found.append({**sample, IMAGE: Path(name)})
            if volume.planes == 1 and volume.frames > 1:
                moments[name] = TimePoint(item.name, index, volume.interval and index * volume.interval)
    return found, moments


def _stack(path: Path, axes: str | None) -> Volume | None:
    """Return a file that is more than an image.

    Raises:
        AxesError: its axes are not those that its pages have.
    """
    if suffix(path.name) in ("png", "jpg", "jpeg"):
        return None
    try:
        volume = open_volume(path, axes=axes)
    except AxesError:
        raise
    except DataError:
        return None
    return volume if volume.frames * volume.planes > 1 or volume.form in ("matlab", "video") else None
