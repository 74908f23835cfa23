"""How each kind of file is read for the cache: its size, its pixels at the working resolution, and facts about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from visionlab.console import LOG
from visionlab.data.checks import facts
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError
from visionlab.io import Volume, open_labels, open_volume, read_image, same_view, split_plane, to_channels

Sizes = Sequence[tuple[tuple[int, int], tuple[int, int]]]
Result = tuple[np.ndarray[Any, Any], dict[str, Any]]


class Reader(Protocol):
    """How one kind of file becomes cached arrays.

    Attributes:
        facts: names of what :meth:`read` tells of each file.
    """

    facts: ClassVar[tuple[str, ...]]

    def spec(self) -> dict[str, Any]:
        """Return, as plain data, what shapes the arrays beside the :class:`Preprocess`: a part of the fingerprint."""

    def header(self, path: Path) -> Volume:
        """Return size and type of a file without decoding it."""

    def dtype(self, found: Mapping[str, str]) -> str:
        """Return the type that all files are kept in; ``found`` maps each type to a file that has it."""

    def size(self, head: Volume, number: int, preprocess: Preprocess) -> tuple[int, int]:
        """Return the height and width that file ``number`` is kept in."""

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        """Return h x w x C at the working resolution, and the facts of the file."""

    def further(self) -> Sequence[Path]:
        """Return the files that are read beside those that the index names."""

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Say what a user should know of all files together."""


@dataclass(frozen=True)
class ImageReader:
    """Images, kept in the depth of their files.

    Args:
        like: for images that belong to others (backgrounds): the size of the other on disk, and as it is kept.
    """

    like: Sizes | None = None

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash")

    def spec(self) -> dict[str, Any]:
        return {} if self.like is None else {"like": digest_like(self.like)}

    def header(self, path: Path) -> Volume:
        return open_volume(path)

    def dtype(self, found: Mapping[str, str]) -> str:
        return common_depth(found)

    def size(self, head: Volume, number: int, preprocess: Preprocess) -> tuple[int, int]:
        return self.like[number][1] if self.like is not None else preprocess.size(head.height, head.width)

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        image = read_image(path, preprocess.stains)
        size = None
        if self.like is not None:
            original, size = self.like[number]
            refuse_other_view(path, image.shape[:2], original)
        about = {"height": image.shape[0], "width": image.shape[1], "channels": image.shape[2]}
        return preprocess.resize(image, str(path), size), {**about, "dtype": str(image.dtype), **facts(image)}

    def further(self) -> Sequence[Path]:
        return ()

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        return


@dataclass(frozen=True)
class MapReader:
    """What readers of maps share: each map is kept in the size of its image.

    Args:
        like: of each map's image, the size on disk and as it is kept.
    """

    like: Sizes

    def spec(self) -> dict[str, Any]:
        return {"like": digest_like(self.like)}

    def header(self, path: Path) -> Volume:
        return open_labels(split_plane(path)[0])

    def size(self, head: Volume, number: int, preprocess: Preprocess) -> tuple[int, int]:
        return self.like[number][1]

    def further(self) -> Sequence[Path]:
        return ()

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        return


def digest_like(like: Sizes) -> str:
    """Return a digest of the sizes, for the fingerprint of what is made to fit them."""
    return hashlib.blake2b(np.asarray(like, dtype=np.int64).tobytes(), digest_size=16).hexdigest()


def refuse_other_view(path: Path, found: tuple[int, ...], image: tuple[int, int]) -> None:
    """Refuse a map whose size is neither that of its image nor that of the same picture at another scale.

    Raises:
        DataError: naming the file and both sizes.
    """
    if not same_view(image, (found[0], found[1])):
        raise DataError(
            f"{path}: {found[0]} x {found[1]} pixels, but its image has {image[0]} x {image[1]}; expected the same "
            "size, or the same picture at another scale: export both alike"
        )


def common_depth(dtypes: Mapping[str, str]) -> str:
    """Return the depth that holds every file without loss; ``dtypes`` maps each depth to a file that has it."""
    found = set(dtypes)
    if found <= {"uint8"}:
        return "uint8"
    if found <= {"uint8", "uint16"}:
        if len(found) == 2:
            LOG.info(
                "both 8-bit (%s) and 16-bit files (%s): kept at 16 bits, 8-bit values times 257",
                dtypes["uint8"],
                dtypes["uint16"],
            )
        return "uint16"
    if found == {"float32"}:
        return "float32"
    listed = ", ".join(f"{dtype} ({path})" for dtype, path in sorted(dtypes.items()))
    raise DataError(f"expected one kind of values, found {listed}; float and integer images have no common scale")


@dataclass(frozen=True)
class PlaneReader(ImageReader):
    """Planes of volumes, or images of one plane, kept in the depth of their files.

    The facts hold the median and the 99.8th percentile as well, which tell planes without signal.
    """

    facts: ClassVar[tuple[str, ...]] = (*ImageReader.facts, "p50", "p99.8")

    def header(self, path: Path) -> Volume:
        return open_volume(split_plane(path)[0])

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        image = read_image(path, preprocess.stains)
        about = {"height": image.shape[0], "width": image.shape[1], "channels": image.shape[2]}
        seen = to_channels(image, preprocess.channels, str(path))
        middle, bright = (float(value) for value in np.percentile(seen, [50, 99.8]))
        found = {**about, "dtype": str(image.dtype), **facts(image), "p50": middle, "p99.8": bright}
        return preprocess.resize(image, str(path)), found
