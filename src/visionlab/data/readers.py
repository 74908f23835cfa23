"""What the cache asks of each kind of file: its size, its pixels at the working resolution, and facts about them."""

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
from visionlab.io.images import Header, header, read
from visionlab.io.maps import map_header, read_depth, read_mask, resize_depth, resize_mask, same_view

Like = Sequence[tuple[tuple[int, int], tuple[int, int]]]
Result = tuple[np.ndarray[Any, Any], dict[str, Any]]


class Reader(Protocol):
    """How one kind of file becomes cached arrays.

    Attributes:
        facts: names of what :meth:`read` tells of each file.
    """

    facts: ClassVar[tuple[str, ...]]

    def spec(self) -> dict[str, Any]:
        """Return, as plain data, what shapes the arrays beside the :class:`Preprocess`: a part of the fingerprint."""

    def header(self, path: Path) -> Header:
        """Return size and type of a file without decoding it."""

    def dtype(self, found: Mapping[str, str]) -> str:
        """Return the type that all files are kept in; ``found`` maps each type to a file that has it."""

    def size(self, head: Header, number: int, preprocess: Preprocess) -> tuple[int, int]:
        """Return the height and width that file ``number`` is kept in."""

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        """Return h x w x C at the working resolution, and the facts of the file."""

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Say what a user should know of all files together."""


@dataclass(frozen=True)
class ImageReader:
    """Images, kept in the depth of their files.

    Args:
        like: for images that belong to others (backgrounds): the size of the other on disk, and as it is kept.
    """

    like: Like | None = None

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash")

    def spec(self) -> dict[str, Any]:
        return {} if self.like is None else {"like": digest_like(self.like)}

    def header(self, path: Path) -> Header:
        return header(path)

    def dtype(self, found: Mapping[str, str]) -> str:
        return _common_depth(found)

    def size(self, head: Header, number: int, preprocess: Preprocess) -> tuple[int, int]:
        return self.like[number][1] if self.like is not None else preprocess.size(head.height, head.width)

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        image = read(path)
        size = None
        if self.like is not None:
            original, size = self.like[number]
            refuse_other_view(path, image.shape[:2], original)
        about = {"height": image.shape[0], "width": image.shape[1], "channels": image.shape[2]}
        return preprocess.resize(image, str(path), size), {**about, "dtype": str(image.dtype), **facts(image)}

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        return


@dataclass(frozen=True)
class MaskReader:
    """Foreground masks, kept as 0 and 1.

    Args:
        like: of each mask's image, the size on disk and as it is kept.
        threshold: grey values from here on are foreground; None for masks of two values.
    """

    like: Like
    threshold: int | None

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "dtype", "share", "grey", "hash")

    def spec(self) -> dict[str, Any]:
        return {"like": digest_like(self.like), "threshold": self.threshold}

    def header(self, path: Path) -> Header:
        return map_header(path)

    def dtype(self, found: Mapping[str, str]) -> str:
        return "uint8"

    def size(self, head: Header, number: int, preprocess: Preprocess) -> tuple[int, int]:
        return self.like[number][1]

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        mask, about = read_mask(path, self.threshold)
        original, size = self.like[number]
        refuse_other_view(path, mask.shape, original)
        found = {**about, "height": mask.shape[0], "width": mask.shape[1], "share": float(mask.mean())}
        return resize_mask(mask, size)[:, :, None], found

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        grey = [about for about in found if about["grey"] > 0]
        if grey and self.threshold is None:
            LOG.warning(
                "%d of %d masks hold grey values, as JPEG makes them: cut at half of the range; "
                "data.mask_threshold sets another value",
                len(grey),
                len(found),
            )


@dataclass(frozen=True)
class DepthReader:
    """Depth maps in the numbers of their files, NaN where nothing is known.

    Args:
        like: of each map's image, the size on disk and as it is kept.
        invalid: see :func:`visionlab.io.maps.read_depth`.
    """

    like: Like
    invalid: str | float

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "dtype", "min", "max", "known", "hash")

    def spec(self) -> dict[str, Any]:
        return {"like": digest_like(self.like), "invalid": self.invalid}

    def header(self, path: Path) -> Header:
        return map_header(path)

    def dtype(self, found: Mapping[str, str]) -> str:
        _common_depth({dtype: path for dtype, path in found.items() if dtype != "uint8"})
        if "uint8" in found and len(found) > 1:
            other = next(dtype for dtype in found if dtype != "uint8")
            raise DataError(
                f"expected depth maps of one kind, found uint8 ({found['uint8']}) and {other} ({found[other]}), which "
                "have no common scale; export them alike"
            )
        # A quarter of the space, where no value can be unknown.
        return "uint8" if set(found) == {"uint8"} and isinstance(self.invalid, str) else "float32"

    def size(self, head: Header, number: int, preprocess: Preprocess) -> tuple[int, int]:
        return self.like[number][1]

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        depth, about = read_depth(path, self.invalid)
        original, size = self.like[number]
        refuse_other_view(path, depth.shape, original)
        kept = resize_depth(depth, size)[:, :, None]
        if preprocess.dtype == "uint8":
            kept = np.rint(kept).astype(np.uint8)
        return kept, {**about, "height": depth.shape[0], "width": depth.shape[1]}

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        known = float(np.mean([about["known"] for about in found])) if found else 1.0
        if known < 1:
            LOG.info("depth: %.1f%% of the pixels are unknown and count for nothing", 100 * (1 - known))


def digest_like(like: Like) -> str:
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


def _common_depth(dtypes: Mapping[str, str]) -> str:
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
