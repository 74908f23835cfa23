"""Arrays to image files: PNG and JPEG as bytes, and TIFF files of volumes and series, a time point at a time."""

from __future__ import annotations

import json
import math
import uuid
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import ArrayLike, NDArray

from visionlab.errors import DataError
from visionlab.files import temporary
from visionlab.io.pixels import Image
from visionlab.io.volume import Volume

JPEG_QUALITY = 95
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_BIG = 3.5e9  # bytes before compression from which on a file is a BigTIFF: offsets of a TIFF end at 4 GiB
_MOST_RATIONAL = 2**32 - 1


def eight_bits(values: ArrayLike) -> NDArray[np.uint8]:
    """Return values (cut to 0..1) as 0..255, rounded."""
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode an H x W x 3 image as JPEG of quality 95, its colours at full resolution so that outlines keep theirs."""
    return bytes(imagecodecs.jpeg8_encode(image, level=JPEG_QUALITY, subsampling="444"))


def png(image: NDArray[Any]) -> bytes:
    """Encode an image of 8 or 16 bits as PNG, without loss."""
    return bytes(imagecodecs.png_encode(image))


class StackWriter:
    """Writes a gray TIFF file with the axes, lengths, voxel size and interval of another, for use in ``with``.

    OME-TIFF is written for OME-TIFF, an ImageJ hyperstack for ImageJ (OME-TIFF where that cannot hold the type, the
    size or the voxels), and for all else plain TIFF with tifffile's axes. The file appears when it is complete; after
    an error nothing is left. It lies as the other is displayed, and has no orientation tag.

    Args:
        path: of the file; its folder is made.
        like: what its axes, lengths, voxel size and interval are taken from; channels are not.
        dtype: ``uint8``, ``uint16``, ``uint32`` or ``float32``.
        description: a line that is kept in the file.

    Raises:
        DataError: the file cannot be written.
        ValueError: values don't fit ``dtype``, or fewer or more planes are written than ``like`` has.
    """

    def __init__(self, path: str | Path, like: Volume, dtype: Any, *, description: str = "") -> None:
        self.path = Path(path)
        self.dtype = np.dtype(dtype)
        self._like = like
        self._axes = like.axes.removesuffix("C")
        self._lengths = like.shape[: len(self._axes)]
        self._description = " ".join(description.split())
        self._part = temporary(self.path)
        self._big = math.prod(self._lengths) * self.dtype.itemsize > _BIG
        self.form = self._choose_form()
        self._pages = 0

    def _choose_form(self) -> str:
        like = self._like
        # OME and ImageJ cannot tell a single time point from none.
        alone = any(length == 1 for axis, length in zip(self._axes, self._lengths, strict=True) if axis in "TZ")
        if alone or like.form not in ("ome", "imagej"):
            return "tiff"
        unsaid = any(like.voxel_size) and not all(like.voxel_size[1:])  # for ImageJ, pixels without a size are of 1
        fits = self.dtype.name in _IMAGEJ_DTYPES and not self._big and not unsaid
        return "imagej" if like.form == "imagej" and fits else "ome"

    def __enter__(self) -> StackWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = tifffile.TiffWriter(self._part, bigtiff=self._big, ome=False, shaped=False)
        except OSError as error:
            raise self._failed(error) from None
        return self

    def write(self, frame: Image) -> None:
        """Write the next time point, Z x H x W."""
        resolution, unit = self._resolution()
        pages = frame.astype(self.dtype, copy=False)
        if self.dtype.kind == "u" and not np.array_equal(pages, frame):
            raise ValueError(f"{self.path}: values from {frame.min()} to {frame.max()} do not fit {self.dtype}")
        try:
            for page in pages:
                self._writer.write(
                    page,
                    photometric="minisblack",
                    # A predictor makes labels and smooth maps no smaller, and fewer programs read it.
                    compression="zlib",
                    resolution=resolution,
                    resolutionunit=unit,
                    description=None if self._pages else self._describe(),
                    metadata=None,
                    software="visionlab",
                    contiguous=False,
                )
                self._pages += 1
        except OSError as error:
            raise self._failed(error) from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._writer.close()
            expected = self._like.frames * self._like.planes
            if kind is None and self._pages != expected:
                raise ValueError(f"{self.path}: expected {expected} planes, {self._pages} were written")
            if kind is None:
                self._part.replace(self.path)
        except OSError as failure:
            raise self._failed(failure) from None
        finally:
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> DataError:
        return DataError(
            f"{self.path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        )

    def _resolution(self) -> tuple[Any, str]:
        """Return pixels a unit in x and y, and the unit: for ImageJ a micrometre, which its description says, or cm."""
        _, y, x = self._like.voxel_size
        if not x or not y:
            return None, "NONE"
        scale, unit = (1, "NONE") if self.form == "imagej" else (10**4, "CENTIMETER")
        return tuple(_rational(Fraction(scale) / Fraction(side)) for side in (x, y)), unit

    def _describe(self) -> bytes:
        """Return what the first page says of the file, in ASCII as TIFF 6.0 has it."""
        like, about = self._like, self._description
        if self.form == "ome":
            sizes = {f"PhysicalSize{axis}": side for axis, side in zip("ZYX", like.voxel_size, strict=True)}
            told = {name: size for name, size in {**sizes, "TimeIncrement": like.interval}.items() if size}
            # The same file again has the same bytes.
            unique = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.path.name} {about}")
            xml = tifffile.OmeXml(Creator="visionlab", UUID=str(unique))
            stored = (like.frames * like.planes, 1, 1, like.height, like.width, 1)
            names = {"Name": self.path.name, "Description": about}
            xml.addimage(self.dtype, self._lengths, stored, axes=self._axes, **names, **told)
            return xml.tostring(declaration=True).encode("ascii", "xmlcharrefreplace")
        # ImageJ's names of sizes, which tifffile's description of plain files takes over.
        said: dict[str, Any] = {"unit": "um"} if any(like.voxel_size) else {}
        said |= {name: size for name, size in (("spacing", like.voxel_size[0]), ("finterval", like.interval)) if size}
        if self.form == "imagej":
            text = tifffile.tifffile.imagej_description(
                self._lengths, axes=self._axes, ImageJ="1.54f", loop=False, description=about, **said
            )
            return text.encode("ascii", "replace")
        if "unit" in said and not all(like.voxel_size[1:]):
            said["zunit"] = said.pop("unit")  # that of the resolution, which is not known
        return json.dumps({"shape": self._lengths, "axes": self._axes, **said, "description": about}).encode()


def _rational(value: Fraction) -> tuple[int, int]:
    """Return the nearest numerator and denominator of 32 bits each."""
    if value > 1:
        denominator, numerator = _rational(1 / value)
        return numerator, denominator
    near = value.limit_denominator(_MOST_RATIONAL)
    return near.numerator, near.denominator
