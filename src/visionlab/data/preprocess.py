"""The one way from a file to what the network sees: how files are read, and how their pixels are brought to size.

Training, the shell and Python share :class:`Preprocess`; the cache is made by a :class:`Reader` for each kind of file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from visionlab.errors import DataError
from visionlab.io import (
    MAX_VALUES,
    Image,
    Stains,
    Volume,
    dtype_range,
    open_labels,
    open_volume,
    read_image,
    same_view,
    split_plane,
    to_channels,
)

Fit = Literal["crop", "pad", "stretch", "native"]
Scale = Literal["dtype", "percentile"]
Sizes = Sequence[tuple[tuple[int, int], tuple[int, int]]]
"""Of each image its height and width on disk, and as it is kept."""
Result = tuple[Image, dict[str, Any]]

_HOW = {
    "crop": "resized so that the shorter side fits, then cropped (aspect ratio kept)",
    "pad": "resized so that the longer side fits, then padded by reflection (aspect ratio kept)",
    "stretch": "stretched to fit (aspect ratio NOT kept)",
    "native": "windows of images at their own scale in training, whole images in prediction of maps",
}
# Of the pixels of a plane: what is dark, and what is bright but for a few hot pixels.
_DARK, _BRIGHT = 1.0, 99.8


@dataclass(frozen=True)
class Preprocess:
    """How an image of any size and depth becomes the network's input.

    Attributes:
        channels: channels of the result; see :func:`visionlab.io.to_channels`.
        height, width: size of the result in pixels.
        fit: ``crop``, ``pad``, ``stretch`` or ``native``.
        dtype: depth of the training set: ``uint8``, ``uint16`` or ``float32``.
        scale: ``dtype``: the range of the type becomes 0..1; ``percentile``: that of each time point's own values does,
            see :meth:`limits`.
        stains: channels, by number or name, that are seen of files with an axis of them; empty: all of a file.
    """

    channels: int
    height: int
    width: int
    fit: Fit
    dtype: str
    scale: Scale = "dtype"
    stains: tuple[int | str, ...] = ()

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Preprocess:
        """Rebuild from :meth:`spec`, as a checkpoint holds it."""
        return cls(
            channels=int(spec["channels"]),
            height=int(spec["height"]),
            width=int(spec["width"]),
            fit=spec["fit"],
            dtype=str(spec["dtype"]),
            # Earlier versions knew no other.
            scale=spec.get("scale", "dtype"),
            stains=tuple(spec.get("stains", ())),
        )

    def spec(self) -> dict[str, Any]:
        """Return the settings as plain data; ``stains`` only if some are chosen, as earlier versions knew none."""
        spec = asdict(self)
        stains = list(spec.pop("stains"))
        return {**spec, "stains": stains} if stains else spec

    def sentence(self) -> str:
        """Say in words what is done to every image."""
        scaled = "; the 1st and 99.8th percentiles of each time point become 0 and 1" if self.scale != "dtype" else ""
        stains = f" ({', '.join(map(str, self.stains))} of each file)" if self.stains else ""
        size = f"{self.height} x {self.width} px, {self.channels} channel(s){stains}"
        return f"{size}, {self.dtype}: {_HOW[self.fit]}{scaled}"

    def size(self, height: int, width: int, path: str = "") -> tuple[int, int]:
        """Return the height and width that an image of this size is resized to, before the window is cut.

        Raises:
            DataError: the image is so long and thin that it would become too large.
        """
        if self.fit == "native":
            return (height, width)
        if self.fit == "stretch":
            size = (self.height, self.width)
        else:
            bound = max if self.fit == "crop" else min
            scale = bound(self.height / height, self.width / width)
            size = (max(1, round(height * scale)), max(1, round(width * scale)))
        if size != (height, width) and size[0] * size[1] * self.channels > MAX_VALUES:
            raise DataError(
                f"{path or 'image'}: {height} x {width} pixels would become {size[0]} x {size[1]} to fit "
                f"{self.height} x {self.width} (fit: {self.fit}), too many to hold; cut it to another shape"
            )
        return size

    def resize(self, image: Image, path: str = "", size: tuple[int, int] | None = None) -> Image:
        """Bring a decoded image to the right channels and scale, keeping its depth.

        Args:
            image: H x W x C, ``uint8``, ``uint16`` or ``float32``.
            path: named in errors.
            size: height and width to resize to, for an image that belongs to another one; by default :meth:`size`.

        Returns:
            h x w x ``channels``: with ``crop`` at least the target size, with ``pad`` at most, ``stretch``: just it,
            ``native``: as it was.
            In a set of 8 and 16 bits, 8-bit values are multiplied by 257, which maps 0..255 onto 0..65535 exactly.

        Raises:
            DataError: the channels cannot be brought to what is wanted, float meets integer images, or a strip is so
                long and thin that it would become too large.
        """
        image = self._depth(to_channels(image, self.channels, path), path)
        height, width = image.shape[:2]
        size = size or self.size(height, width, path)
        if size == (height, width):
            return image
        # Area averaging is the anti-aliased choice when shrinking; linear does not overshoot when enlarging.
        method = cv2.INTER_AREA if size[0] <= height and size[1] <= width else cv2.INTER_LINEAR
        # OpenCV averages at most 4 channels at once.
        parts = [image[:, :, k : k + 4] for k in range(0, self.channels, 4)]
        resized = [cv2.resize(np.ascontiguousarray(part), (size[1], size[0]), interpolation=method) for part in parts]
        return np.concatenate([part.reshape(*size, -1) for part in resized], axis=2)

    def window(self, image: Image, across: float = 0.5, down: float = 0.5, fill: float | None = None) -> Image:
        """Cut or pad a resized image to exactly ``height`` x ``width``.

        Args:
            image: as returned by :meth:`resize`.
            across, down: where to crop, 0 (left, top) to 1 (right, bottom); 0.5 is the centre, as at prediction.
            fill: value to pad with, for maps in which nothing is known there; by default the image is reflected.
        """
        height, width, channels = image.shape
        spare_y, spare_x = height - self.height, width - self.width
        top, left = round(max(spare_y, 0) * down), round(max(spare_x, 0) * across)
        image = image[top : top + self.height, left : left + self.width]
        if spare_y >= 0 and spare_x >= 0:
            return image
        pad_y, pad_x = max(-spare_y, 0), max(-spare_x, 0)
        above, before = pad_y // 2, pad_x // 2
        if fill is None:
            border: dict[str, Any] = {"borderType": cv2.BORDER_REFLECT_101}
        else:
            border = {"borderType": cv2.BORDER_CONSTANT, "value": fill}
        padded = cv2.copyMakeBorder(image, above, pad_y - above, before, pad_x - before, **border)
        return padded.reshape(self.height, self.width, channels)

    def limits(self, image: Image) -> tuple[float, float]:
        """Return the values of a time point that become 0 and 1 where ``scale`` is ``percentile``.

        Those are the median over its planes of each one's 1st percentile, and the largest of their 99.8th: a plane
        without signal is then as dark as it is beside the others, not stretched to be as bright.

        Args:
            image: as decoded, H x W x C, or Z x H x W x C of a volume.
        """
        planes = list(image.reshape(-1, *image.shape[-3:]))
        if self.channels in (1, 3):
            # Of what is seen: an alpha channel is no intensity.
            planes = [to_channels(plane, self.channels) for plane in planes]
        found = np.array([np.percentile(plane, [_DARK, _BRIGHT]) for plane in planes])
        factor = 257.0 if image.dtype == np.uint8 and self.dtype == "uint16" else 1.0
        return float(np.median(found[:, 0])) * factor, float(found[:, 1].max()) * factor

    def unit(self, image: Image, limits: tuple[float, float] | None = None) -> Image:
        """Return an image as the network is given it.

        Args:
            image: as returned by :meth:`resize` or :meth:`window`.
            limits: see :meth:`limits`; needed where ``scale`` is ``percentile``.

        Returns:
            With ``scale`` ``dtype``, 8-bit images as they are (they are scaled on the device) and others as float32:
            16-bit values become 0..1, float values stay what they are. With ``percentile`` float32, ``limits`` becoming
            0 and 1; values beyond them are kept.
        """
        if self.scale == "percentile":
            assert limits is not None
            low, high = limits
            # A constant image has no range; zeros are as good as anything.
            return (image.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-12))
        if image.dtype == np.uint8 and self.dtype == "uint8":
            return image
        return image.astype(np.float32) / np.float32(dtype_range(image.dtype))

    def __call__(self, image: Image, path: str = "") -> Image:
        """Do all of it, as at prediction: H x W x C as decoded -> ``height`` x ``width`` x ``channels``.

        Raises:
            DataError: see :meth:`resize`.
        """
        limits = self.limits(image) if self.scale == "percentile" else None
        return self.unit(self.window(self.resize(image, path)), limits)

    def _depth(self, image: Image, path: str) -> Image:
        found = str(image.dtype)
        if found == self.dtype:
            return image
        if "float32" in (found, self.dtype):
            raise DataError(
                f"{path or 'image'}: expected {self.dtype} values as in the rest of the training set, found {found}; "
                "float and integer images have no common scale, so convert them to one kind first"
            )
        # A 16-bit image given to a model trained on 8 bits keeps its 16 bits: unit() scales it by its own range.
        return image.astype(np.uint16) * np.uint16(257) if found == "uint8" else image


# Kinds of files -------------------------------------------------------------------------------------------------------


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
        image = read_image(path, stains)
        if self.like is not None:
            refuse_other_view(path, image.shape[:2], self.like[number][0])
        return image

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        image = self.pixels(path, number, preprocess.stains)
        size = None if self.like is None else self.like[number][1]
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
