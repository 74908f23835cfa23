"""Samples whose stains lie in one file each, ``<Id>_red.png``, ``<Id>_green.png``: how they are found and mixed."""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visionlab.data.preprocess import ImageReader
from visionlab.errors import ConfigError, DataError, nearest
from visionlab.files import Problem, list_files, suffix
from visionlab.io import LOSSLESS_SUFFIXES, Image, Stains, read_image

if TYPE_CHECKING:
    import pandas as pd

STAINS = ("red", "green", "blue", "yellow")
"""Stains of the Human Protein Atlas; their files are known as parts of a sample also where the network sees others."""

# The characters of a name can lead to no other folder, for it may come from a checkpoint.
_TERM = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:/([0-9]+\.?[0-9]*|\.[0-9]+))?")
_RECENT = 2_000_000_000  # nanoseconds

Terms = tuple[tuple[str, float], ...]


class Channels:
    """Channels that are made of stains: one stain each, or mixes such as ``red/2+yellow/2``.

    Args:
        spec: for each channel its terms divided by ``+``, each a name or ``NAME/NUMBER`` with a number above 0.

    Attributes:
        spec: the same, without spaces.
        names: stains that are needed, in the order of their first use.

    Raises:
        ConfigError: a channel is not written so.
    """

    def __init__(self, spec: Sequence[str]) -> None:
        self._terms = parse(spec)
        self.spec: list[str] = [_compact(text) for text in spec]
        self.names = tuple(dict.fromkeys(name for terms in self._terms for name, _ in terms))

    def split(self, path: str | Path) -> tuple[str, str] | None:
        """Return the sample's Id and the stain from a file's name, without its folder; None if it is not named so.

        The stain may be one of :data:`STAINS` that no channel needs. Letter case matters, but for the suffix.
        """
        name = os.path.basename(path)  # noqa: PTH119 - a third of the time, for hundreds of thousands of files
        sample, _, stain = name.rpartition(".")[0].rpartition("_")
        if sample and (stain in self.names or stain in STAINS) and suffix(name) in LOSSLESS_SUFFIXES:
            return sample, stain
        return None

    def files(self, path: str | Path) -> dict[str, Path]:
        """Return the file of each needed stain of a sample, given any one of its files.

        Raises:
            DataError: the name holds no stain, a file is missing, or there are two for one stain.
        """
        found = self.split(path)
        folder = Path(path).parent
        if found is None:
            raise DataError(
                f"{path}: expected a name <Id>_{self.names[0]}.png (or .tif), found another; rename the files of each "
                f"sample so, one for each of {', '.join(self.names)}"
            )
        stems = _stems(folder)
        names = {stain: stems.get(f"{found[0]}_{stain}", ()) for stain in self.names}
        if missing := [stain for stain, beside in names.items() if not beside]:
            raise DataError(f"{path}: {self.lack(found[0], missing, suffix(str(path)))} beside it; add what is missing")
        for beside in names.values():
            if len(beside) > 1:
                raise DataError(f"{folder / beside[0]}: there is {beside[1]} as well; keep one of the two")
        return {stain: folder / beside[0] for stain, beside in names.items()}

    def lack(self, sample: str, missing: Sequence[str], kind: str) -> str:
        """Say which files (of suffix ``kind``) a sample lacks: ``3 of 4 channels found, no <Id>_yellow.png``."""
        count = f"{len(self.names) - len(missing)} of {len(self.names)} channels found"
        return f"{count}, no {', '.join(f'{sample}_{stain}.{kind}' for stain in missing)}"

    def read(self, path: str | Path) -> Image:
        """Return a sample, H x W x C in the depth of its files.

        Args:
            path: any one of the sample's files, or a file of another name that holds all of ``names`` as channels.

        Raises:
            DataError: see :meth:`files` and :meth:`read_files`, or the one file has another number of channels.
        """
        if self.split(path) is not None:
            return self.read_files(list(self.files(path).values()))
        image = read_plane(path) if len(self.names) == 1 else read_image(path)
        if image.shape[2] != len(self.names):
            raise DataError(
                f"{path}: expected {len(self.names)} channels ({', '.join(self.names)}) in it, found {image.shape[2]}; "
                f"give such a file, or one file for each, named <Id>_{self.names[0]}.png and so on"
            )
        return self.compose(image)

    def read_files(self, files: Sequence[Path]) -> Image:
        """Return a sample from the files of ``names``, in their order: H x W x C.

        Raises:
            DataError: a file cannot be read, is not gray, or has another size or depth than the first.
        """
        planes = [read_plane(path) for path in files]
        for path, plane in zip(files[1:], planes[1:], strict=True):
            if other := unlike(plane, planes[0]):
                raise DataError(f"{path}: {other} {files[0].name}; export all files of a sample alike")
        return self.compose(np.concatenate(planes, axis=2))

    def compose(self, planes: Image) -> Image:
        """Return the channels, H x W x C, of the stains ``names``, H x W x S, in the type of the latter.

        Mixes are summed in float64; for ``uint8`` and ``uint16`` they are rounded, half to even, and clipped.

        Raises:
            DataError: there are more or fewer than ``names``.
        """
        if planes.shape[2] != len(self.names):
            raise DataError(f"expected {len(self.names)} channels ({', '.join(self.names)}), found {planes.shape[2]}")
        result = np.empty((*planes.shape[:2], len(self.spec)), planes.dtype)
        for channel, terms in enumerate(self._terms):
            total = sum(planes[:, :, self.names.index(name)].astype(np.float64) / number for name, number in terms)
            if planes.dtype.kind == "u":
                total = np.clip(np.rint(total), 0, np.iinfo(planes.dtype).max)
            result[:, :, channel] = total
        return result


def parse(spec: Sequence[str], stains: Sequence[str] = ()) -> list[Terms]:
    """Return for each channel its stains and what they are divided by.

    Args:
        spec: see :class:`Channels`.
        stains: that there are; empty: any.

    Raises:
        ConfigError: a channel is not written so, or there is no such stain.
    """
    if not spec:
        raise ConfigError("data.channels: expected at least one channel, found none")
    found: list[Terms] = []
    for text in spec:
        terms = [_TERM.fullmatch(term) for term in _compact(text).split("+")]
        pairs = tuple((match[1], float(match[2] or 1)) for match in terms if match)
        if len({name for name, _ in pairs}) < len(terms) or not all(0 < number < math.inf for _, number in pairs):
            raise ConfigError(
                "data.channels: expected for each channel a stain, or a mix such as red/2+yellow/2 (different stains "
                f"divided by '+', each perhaps with '/' and a number above 0), found '{text}'"
            )
        for name, _ in pairs:
            if stains and name not in stains:
                raise ConfigError(
                    f"data.channels: expected stains of {', '.join(stains)}, found '{name}'.{nearest(name, stains)}"
                )
        found.append(pairs)
    return found


def _compact(text: str) -> str:
    return "".join(text.split())


def read_plane(path: str | Path) -> Image:
    """Return the one channel of a stain's file, H x W x 1; RGB is read if its three planes are equal.

    Raises:
        DataError: the file cannot be read, or is not gray.
    """
    image = read_image(path)
    channels = image.shape[2]
    if channels == 3 and (image[:, :, 1:] == image[:, :, :1]).all():
        return np.ascontiguousarray(image[:, :, :1])
    if channels != 1:
        differ = " that differ" if channels == 3 else ""
        raise DataError(f"{path}: expected one grey channel, found {channels}{differ}; save the stain as a grey image")
    return image


def unlike(plane: Image, first: Image) -> str:
    """Say in what a plane differs from the first of its sample, ending where that one's name goes; empty if not."""
    (height, width), (rows, columns) = plane.shape[:2], first.shape[:2]
    if (height, width) != (rows, columns):
        return f"{height} x {width} pixels, where {rows} x {columns} were expected as in"
    return f"{plane.dtype} values, where {first.dtype} were expected as in" if plane.dtype != first.dtype else ""


def _stems(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the names of the image files of a folder by what stands before their suffix."""
    try:
        changed, now = folder.stat().st_mtime_ns, time.time_ns()
        # A folder that changes right now may do so twice within one tick of its clock: it is listed each time.
        return _listed(str(folder), changed, now if now - changed < _RECENT else 0)
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror or error})") from None


@lru_cache(maxsize=1)
def _listed(folder: str, changed: int, when: int) -> dict[str, tuple[str, ...]]:
    stems: dict[str, tuple[str, ...]] = {}
    for name in sorted(entry.name for entry in Path(folder).iterdir()):
        if suffix(name) in LOSSLESS_SUFFIXES and not name.startswith("."):
            stem = name.rpartition(".")[0]
            stems[stem] = (*stems.get(stem, ()), name)
    return stems


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


@dataclass(frozen=True, kw_only=True)
class ChannelReader(ImageReader):
    """Samples of several files, kept as the channels that the network sees; the facts are of these.

    Args:
        channels: how they are made of the stains.
        root: folder that the files are relative to.
        table: an index with a column ``<stain>_path`` for each of ``channels.names``.
    """

    channels: Channels
    root: Path
    table: pd.DataFrame

    def spec(self) -> dict[str, Any]:
        """Return the channels, and the names of all files but the first of each sample, which the cache looks at."""
        names = "".join(f"{path}\0" for path in self._others())
        digest = hashlib.blake2b(names.encode(), digest_size=16)
        return {"channels": self.channels.spec, "files": digest.hexdigest()}

    def further(self) -> list[Path]:
        return [self.root / path for path in self._others()]

    def _others(self) -> list[str]:
        columns = [self.table[f"{name}_path"] for name in self.channels.names[1:]]
        return [path for paths in zip(*columns, strict=True) for path in paths]

    def pixels(self, path: Path, number: int, stains: Stains) -> Image:
        sample = self.table.iloc[number]
        return self.channels.read_files([self.root / str(sample[f"{name}_path"]) for name in self.channels.names])
