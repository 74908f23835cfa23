"""Write volumes and series as TIFF files that are like the file they were made from, a time point at a time."""

from __future__ import annotations

import json
import math
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tifffile

from visionlab.errors import DataError
from visionlab.files import temporary
from visionlab.io.pixels import Image
from visionlab.io.volume import Volume
from visionlab.io.voxel_size import tiff_resolution

_DTYPES = ("uint8", "uint16", "uint32", "float32")
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_BIG = 3.5e9  # bytes before compression from which on a file is a BigTIFF: offsets of a TIFF end at 4 GiB


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
        DataError: the file cannot be written, or ``dtype`` cannot hold the values.
    """

    def __init__(self, path: str | Path, like: Volume, dtype: Any, *, description: str = "") -> None:
        self.path = Path(path)
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in _DTYPES:
            raise ValueError(f"cannot write {self.dtype}")
        self._like = like
        self._axes = like.axes.removesuffix("C")
        self._lengths = like.shape[: len(self._axes)]
        self._description = description
        self._part = temporary(self.path)
        self._shape = (like.planes, like.height, like.width)
        self._big = like.frames * math.prod(self._shape) * self.dtype.itemsize > _BIG
        self.form = self._choose_form()
        self._writer: tifffile.TiffWriter | None = None
        self._written = 0

    def __enter__(self) -> StackWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = tifffile.TiffWriter(self._part, bigtiff=self._big, ome=False, shaped=False)
        except OSError as error:
            raise self._failed(error) from None
        return self

    def write(self, frame: Image) -> None:
        """Write the next time point, Z x H x W."""
        assert self._writer is not None, "used outside of 'with'"
        if self._written == self._like.frames:
            raise ValueError(f"{self.path}: all {self._written} time points are written")
        if frame.shape != self._shape:
            raise ValueError(f"{self.path}: expected a time point of {self._shape}, found {frame.shape}")
        resolution, unit = tiff_resolution(self._like.voxel_size, imagej=self.form == "imagej")
        try:
            for z, page in enumerate(self._converted(frame)):
                self._writer.write(
                    page,
                    photometric="minisblack",
                    # A predictor makes labels and smooth maps no smaller, and fewer programs read it.
                    compression="zlib",
                    resolution=resolution,
                    resolutionunit=unit,
                    description=None if self._written or z else self._describe(),
                    metadata=None,
                    software="visionlab",
                    contiguous=False,
                )
        except OSError as error:
            raise self._failed(error) from None
        self._written += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._writer is not None
        try:
            self._writer.close()
            if kind is None:
                if self._written < self._like.frames:
                    raise ValueError(f"{self.path}: {self._written} of {self._like.frames} time points were written")
                self._part.replace(self.path)
        except OSError as failure:
            raise self._failed(failure) from None
        finally:
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> DataError:
        return DataError(
            f"{self.path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        )

    def _choose_form(self) -> str:
        like = self._like
        unsaid = any(like.voxel_size) and not all(like.voxel_size[1:])  # for ImageJ, pixels without a size are of 1
        # OME and ImageJ cannot tell a single time point from none.
        alone = any(length == 1 for axis, length in zip(self._axes, self._lengths, strict=True) if axis in "TZ")
        if alone or like.form not in ("ome", "imagej"):
            return "tiff"
        fits = self.dtype.name in _IMAGEJ_DTYPES and not self._big and not unsaid
        return "imagej" if like.form == "imagej" and fits else "ome"

    def _converted(self, frame: Image) -> Image:
        """Return a frame in the type of the file, if that holds its values (but for rounding of fractions)."""
        if frame.dtype == self.dtype:
            return frame
        with np.errstate(over="ignore", invalid="ignore"):
            converted = frame.astype(self.dtype)
        if self.dtype.kind != "f" and not np.array_equal(converted, frame):
            raise DataError(
                f"{self.path}: values from {frame.min()} to {frame.max()} cannot be written as {self.dtype.name}"
            )
        return converted

    def _describe(self) -> bytes:
        """Return what the first page says of the file, in ASCII as TIFF 6.0 has it."""
        like, about = self._like, " ".join(self._description.split())
        if self.form == "ome":
            sizes = {f"PhysicalSize{axis}": side for axis, side in zip("ZYX", like.voxel_size, strict=True)}
            told = {name: size for name, size in {**sizes, "TimeIncrement": like.interval}.items() if size}
            pages = like.frames * like.planes
            # The same file again has the same bytes.
            unique = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.path.name} {about}")
            xml = tifffile.OmeXml(Creator="visionlab", UUID=str(unique))
            stored = (pages, 1, 1, like.height, like.width, 1)
            names = {"Name": self.path.name, "Description": about}
            xml.addimage(self.dtype, self._lengths, stored, axes=self._axes, **names, **told)
            return xml.tostring(declaration=True).encode("ascii", "xmlcharrefreplace")
        # ImageJ's names of sizes, which tifffile's description of plain files takes over.
        depth, interval = like.voxel_size[0], like.interval
        said: dict[str, Any] = {"unit": "um"} if any(like.voxel_size) else {}
        said |= {name: value for name, value in (("spacing", depth), ("finterval", interval)) if value}
        if self.form == "imagej":
            text = tifffile.tifffile.imagej_description(
                self._lengths, axes=self._axes, ImageJ="1.54f", loop=False, description=about, **said
            )
            return text.encode("ascii", "replace")
        if "unit" in said and not all(like.voxel_size[1:]):
            said["zunit"] = said.pop("unit")  # that of the resolution, which is not known
        return json.dumps({"shape": self._lengths, "axes": self._axes, **said, "description": about}).encode()
