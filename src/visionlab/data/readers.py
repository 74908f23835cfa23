"""How files become arrays: images and maps for the cache, with facts about each, and whole time points."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError
from visionlab.io import (
    Image,
    Stains,
    Volume,
    open_labels,
    open_volume,
    read_image,
    read_labels,
    same_view,
    split_plane,
    to_channels,
)

Sizes = Sequence[tuple[tuple[int, int], tuple[int, int]]]
"""Of each image its height and width on disk, and as it is kept."""
Result = tuple[np.ndarray[Any, Any], dict[str, Any]]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Reader:
    """How one kind of file becomes cached arrays.

    Args:
        like: for files that belong to an image each, the sizes of these; None for the images themselves.

    Attributes:
        facts: names of what :meth:`read` tells of each file.
    """

    like: Sizes | None = None

    facts: ClassVar[tuple[str, ...]] = ()

    def spec(self) -> dict[str, Any]:
        """Return, as plain data, what shapes the arrays beside the :class:`Preprocess`: a part of the fingerprint."""
        if self.like is None:
            return {}
        sizes = np.asarray(self.like, dtype=np.int64)
        return {"like": hashlib.blake2b(sizes.tobytes(), digest_size=16).hexdigest()}

    def header(self, path: Path) -> Volume:
        """Return what a file says of itself without decoding it."""
        return open_volume(split_plane(path)[0])

    def dtype(self, found: Mapping[str, str]) -> str:
        """Return the type that all files are kept in; ``found`` maps each type to a file that has it."""
        raise NotImplementedError

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        """Return h x w x C at the working resolution, and the facts of the file."""
        raise NotImplementedError

    def further(self) -> Sequence[Path]:
        """Return the files that are read beside those that the index names."""
        return ()

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Say what a user should know of all files together."""


@dataclass(frozen=True)
class ImageReader(Reader):
    """Images, kept in the depth of their files; ``like`` for those that belong to others (backgrounds)."""

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash")

    def dtype(self, found: Mapping[str, str]) -> str:
        return common_depth(found)

    def pixels(self, path: Path, number: int, stains: Stains) -> Image:
        """Return file ``number`` as decoded, H x W x C; of one with an axis of channels the ``stains``."""
        return read_image(path, stains)

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        image = self.pixels(path, number, preprocess.stains)
        size = None
        if self.like is not None:
            original, size = self.like[number]
            refuse_other_view(path, image.shape[:2], original)
        return preprocess.resize(image, str(path), size), image_facts(image)


@dataclass(frozen=True)
class PlaneReader(ImageReader):
    """Planes of volumes, whose facts hold median and 99.8th percentile as well: they tell planes without signal."""

    facts: ClassVar[tuple[str, ...]] = (*ImageReader.facts, "p50", "p99.8")

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        image = self.pixels(path, number, preprocess.stains)
        seen = to_channels(image, preprocess.channels, str(path))
        middle, bright = (float(value) for value in np.percentile(seen, [50, 99.8]))
        return preprocess.resize(image, str(path)), {**image_facts(image), "p50": middle, "p99.8": bright}


@dataclass(frozen=True)
class MapReader(Reader):
    """What readers of maps share: each map is kept in the size of its image."""

    like: Sizes = field()  # without the default

    def header(self, path: Path) -> Volume:
        return open_labels(split_plane(path)[0])


def image_facts(image: Image) -> dict[str, Any]:
    """Return size, type, ``min``, ``max``, ``mean``, ``std`` over all values, and ``hash`` of shape, type, content."""
    digest = hashlib.blake2b(f"{image.shape}{image.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return {
        "height": image.shape[0],
        "width": image.shape[1],
        "channels": image.shape[2],
        "dtype": image.dtype.name,
        "min": float(image.min()),
        "max": float(image.max()),
        "mean": float(image.mean(dtype=np.float64)),
        "std": float(image.std(dtype=np.float64)),
        "hash": digest.hexdigest(),
    }


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
    """Return the depth that holds every file without loss; ``dtypes`` maps each depth to a file that has it.

    Raises:
        DataError: some are float and some are not.
    """
    if len(dtypes) > 1 and "float32" in dtypes:
        listed = ", ".join(f"{dtype} ({path})" for dtype, path in sorted(dtypes.items()))
        raise DataError(f"expected one kind of values, found {listed}; float and integer images have no common scale")
    return max(dtypes, key=lambda dtype: np.dtype(dtype).itemsize, default="uint8")


# Time points ----------------------------------------------------------------------------------------------------------


def read_planes(planes: Sequence[str], root: Path, stains: Stains = ()) -> npt.NDArray[Any]:
    """Return the planes of a time point, Z x H x W x C; of files with an axis of channels the ``stains``.

    Raises:
        DataError: one cannot be read, or they are not of one size and type.
    """
    found: list[Image] = []
    for name in planes:
        image = read_image(root / name, stains)
        if found and (image.shape, image.dtype) != (found[0].shape, found[0].dtype):
            one, other = (f"{array.shape[0]} x {array.shape[1]} pixels, {array.dtype}" for array in (image, found[0]))
            raise DataError(
                f"{root / name}: {one}, but {planes[0]}, of the same time point, is {other}; export all slices alike"
            )
        found.append(image)
    return np.stack(found)


def read_truth(places: Mapping[int, str], shape: tuple[int, int, int], root: Path) -> Labels:
    """Return the labels of a time point, Z x H x W (``shape``), -1 in slices without labels.

    Args:
        places: place of a slice -> its labels, a file or a plane of one. Labels at another scale are brought to that of
            the image: each pixel gets the object at its middle.
        shape: of the image.
        root: that the names are relative to.

    Raises:
        DataError: one cannot be read.
    """
    truth = np.full(shape, -1, np.int32)
    for place, name in places.items():
        labels = read_labels(*split_plane(root / name))
        rows, columns = (_middles(mine, other) for mine, other in zip(shape[1:], labels.shape, strict=True))
        truth[place] = labels[rows[:, None], columns]
    return truth


def _middles(wanted: int, found: int) -> npt.NDArray[np.int64]:
    """Return in which of ``found`` equal parts of a side the middles of ``wanted`` parts lie."""
    return (2 * np.arange(wanted) + 1) * found // (2 * wanted)
