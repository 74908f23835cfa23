"""What a network sees of samples whose stains lie in one file each: ``<Id>_red.png``, ``<Id>_green.png``, ..."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from visionlab.errors import ConfigError, DataError, nearest
from visionlab.files import suffix
from visionlab.io import LOSSLESS_SUFFIXES, Image, read_image

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

    def __len__(self) -> int:
        return len(self.spec)

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
        names = {stain: _stems(folder).get(f"{found[0]}_{stain}", ()) for stain in self.names}
        if missing := [stain for stain, beside in names.items() if not beside]:
            raise DataError(f"{path}: {self.lack(found[0], missing, suffix(str(path)))} beside it; add what is missing")
        for beside in names.values():
            if len(beside) > 1:
                raise DataError(f"{folder / beside[0]}: there is {beside[1]} as well; keep one of the two")
        return {stain: folder / beside[0] for stain, beside in names.items()}

    def lack(self, sample: str, missing: Sequence[str], kind: str) -> str:
        """Say which files (of suffix ``kind``) a sample lacks: ``3 of 4 channels found, no <Id>_yellow.png``."""
        more = f" nor those of {', '.join(missing[1:])}" if len(missing) > 1 else ""
        count = f"{len(self.names) - len(missing)} of {len(self.names)} channels found"
        return f"{count}, no {sample}_{missing[0]}.{kind}{more}"

    def read(self, path: str | Path) -> Image:
        """Return a sample, H x W x C in the depth of its files.

        Args:
            path: any one of the sample's files, or a file of another name that holds all of ``names`` as channels.

        Raises:
            DataError: see :meth:`files` and :meth:`read_files`, or the one file has another number of channels.
        """
        if self.split(path) is not None:
            return self.read_files(list(self.files(path).values()))
        if len(self.names) == 1:
            return self.compose(read_plane(path))
        image = read_image(path)
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
            if other := unlike(plane.shape[:2], plane.dtype.name, planes[0].shape[:2], planes[0].dtype.name):
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
        result = np.empty((*planes.shape[:2], len(self)), planes.dtype)
        for channel, terms in enumerate(self._terms):
            parts = [(planes[:, :, self.names.index(name)], number) for name, number in terms]
            if len(parts) == 1 and parts[0][1] == 1:
                result[:, :, channel] = parts[0][0]
                continue
            total = np.zeros(planes.shape[:2])
            for plane, number in parts:
                total += plane.astype(np.float64) / number
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
        if len(pairs) < len(terms):
            raise ConfigError(
                "data.channels: expected for each channel a stain, or a mix such as red/2+yellow/2 (stains divided by "
                f"'+', each perhaps with '/' and a number), found '{text}'"
            )
        if not all(0 < number < math.inf for _, number in pairs):
            raise ConfigError(f"data.channels: expected numbers above 0 behind '/', found '{text}'")
        if len({name for name, _ in pairs}) < len(pairs):
            raise ConfigError(f"data.channels: expected each stain once in a channel, found '{text}'")
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


def unlike(size: Sequence[int], dtype: str, first_size: Sequence[int], first_dtype: str) -> str:
    """Say in what a file differs from the first of its sample, ending where that one's name goes; empty if it doesn't.

    Sizes are height and width.
    """
    if tuple(size) != tuple(first_size):
        return f"{size[0]} x {size[1]} pixels, where {first_size[0]} x {first_size[1]} were expected as in"
    return f"{dtype} values, where {first_dtype} were expected as in" if dtype != first_dtype else ""


def _stems(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the names of the image files of a folder by what stands before their suffix."""
    try:
        changed = folder.stat().st_mtime_ns
        now = time.time_ns()
        # A folder that changes right now may do so twice within one tick of its clock: it is listed each time.
        return _listed(str(folder), changed, now if now - changed < _RECENT else 0)
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror or error})") from None


@lru_cache(maxsize=1)
def _listed(folder: str, changed: int, when: int) -> dict[str, tuple[str, ...]]:
    stems: dict[str, tuple[str, ...]] = {}
    with os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries):
            if suffix(name) in LOSSLESS_SUFFIXES and not name.startswith("."):
                stem = name.rpartition(".")[0]
                stems[stem] = (*stems.get(stem, ()), name)
    return stems
