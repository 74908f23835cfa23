"""Write volumes and series as TIFF files that are like the file they were made from, a time point at a time."""

from __future__ import annotations

import json
import math
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import tifffile

from visionlab.errors import DataError
from visionlab.io.axes import MOST_CHANNELS
from visionlab.io.volume import Array, Volume

_DTYPES = {"uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "float32": "float"}  # NumPy's names, and OME's
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_BIG = 3.5e9  # bytes before compression from which on a file is a BigTIFF: offsets of a TIFF end at 4 GiB
_MOST_RATIONAL = 2**32 - 1


class StackWriter:
    """Writes a TIFF file with the axes, lengths, voxel size and interval of another, for use in ``with``.

    OME-TIFF is written for OME-TIFF, an ImageJ hyperstack for ImageJ (OME-TIFF where that cannot hold the type, the
    size or the voxels), and for all else plain TIFF with tifffile's axes. The file appears when it is complete; after
    an error nothing is left.

    Args:
        path: of the file; its folder is made.
        like: what its axes, lengths, voxel size and interval are taken from; channels are not.
        dtype: ``uint8``, ``uint16``, ``uint32`` or ``float32``.
        channels: of what is written.
        description: a line that is kept in the file.

    Raises:
        DataError: the file cannot be written, or ``dtype`` cannot hold the values.
    """

    def __init__(self, path: str | Path, like: Volume, dtype: Any, *, channels: int = 1, description: str = "") -> None:
        self.path = Path(path)
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in _DTYPES or channels < 1:
            raise ValueError(f"cannot write {channels} channels of {self.dtype}")
        self._like = like
        self._channels = channels
        self._description = description
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._shape = (like.planes, like.height, like.width, channels)
        self._big = like.frames * math.prod(self._shape) * self.dtype.itemsize > _BIG
        self.form = self._choose_form()
        self._writer: tifffile.TiffWriter | None = None
        self._written = self._pages = 0

    def __enter__(self) -> StackWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = tifffile.TiffWriter(self._part, bigtiff=self._big, ome=False, shaped=False)
        except OSError as error:
            raise self._failed(error) from None
        return self

    def write(self, frame: Array) -> None:
        """Write the next time point, Z x H x W or Z x H x W x C."""
        assert self._writer is not None, "used outside of 'with'"
        if self._written == self._like.frames:
            raise ValueError(f"{self.path}: all {self._written} time points are written")
        if frame.shape not in (self._shape, self._shape[:-1]) or (frame.ndim == 3 and self._channels > 1):
            raise ValueError(f"{self.path}: expected a time point of {self._shape}, found {frame.shape}")
        try:
            for plane in self._converted(frame.reshape(self._shape)):
                for page in [plane] if self.form == "tiff" else np.moveaxis(plane, -1, 0):
                    self._write_page(page[..., 0] if page.ndim == 3 and page.shape[-1] == 1 else page)
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
        sides = like.voxel[1:]
        unsaid = any(like.voxel) and not all(sides)  # for ImageJ, pixels without a size are of 1
        # OME and ImageJ cannot tell a single time point from none.
        alone = any(like.shape[like.axes.index(axis)] == 1 for axis in "TZ" if axis in like.axes)
        if alone or self._channels > MOST_CHANNELS or like.form not in ("ome", "imagej"):
            return "tiff"
        fits = self.dtype.name in _IMAGEJ_DTYPES and not self._big and not unsaid
        return "imagej" if like.form == "imagej" and fits else "ome"

    def _converted(self, frame: Array) -> Array:
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

    def _write_page(self, page: Array) -> None:
        assert self._writer is not None
        resolution, unit = self._resolution()
        self._writer.write(
            page,
            photometric="minisblack",
            planarconfig="contig" if page.ndim == 3 else None,
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

    def _resolution(self) -> tuple[tuple[tuple[int, int], tuple[int, int]] | None, str]:
        """Return pixels a unit in x and y, and the unit: a micrometre for ImageJ, else a centimetre."""
        _, y, x = self._like.voxel
        scale = 1 if self.form == "imagej" else 10**4
        sides = [_rational(Fraction(scale) / Fraction(side)) if side else None for side in (x, y)]
        if sides[0] is None or sides[1] is None:
            return None, "NONE"
        return (sides[0], sides[1]), "NONE" if self.form == "imagej" else "CENTIMETER"

    def _describe(self) -> str:
        return {"ome": self._ome, "imagej": self._imagej, "tiff": self._plain}[self.form]()

    def _plain(self) -> str:
        """Return axes and shape as tifffile writes them, and what ImageJ's names say of z and time."""
        like = self._like
        said: dict[str, Any] = {
            "shape": [like.shape[like.axes.index(axis)] for axis in like.axes if axis != "C"],
            "axes": like.axes.removesuffix("C"),
        }
        if self._channels > 1:
            said["shape"].append(self._channels)
            said["axes"] += "S"
        if like.voxel[0]:
            said |= {"spacing": like.voxel[0], "zunit": "um"}
        if all(like.voxel[1:]):
            said["unit"] = "um"
        if like.interval:
            said["finterval"] = like.interval
        return json.dumps(said | {"description": self._description})

    def _imagej(self) -> str:
        like = self._like
        numbers = {"channels": self._channels, "slices": like.planes, "frames": like.frames}
        lines = ["ImageJ=1.54f", f"images={math.prod(numbers.values())}"]
        lines += [f"{name}={number}" for name, number in numbers.items() if number > 1]
        lines += ["hyperstack=true", "mode=grayscale", "loop=false"]
        if any(like.voxel):
            lines.append("unit=micron")
        if like.voxel[0]:
            lines.append(f"spacing={like.voxel[0]!r}")
        if like.interval:
            lines.append(f"finterval={like.interval!r}")
        lines.append(f"description={' '.join(self._description.split())}")
        return "\n".join(lines).encode("ascii", "replace").decode() + "\n"

    def _ome(self) -> str:
        like = self._like
        sizes = {f"PhysicalSize{axis}": side for axis, side in zip("ZYX", like.voxel, strict=True)}
        scale = "".join(
            f' {name}="{size!r}"' for name, size in {**sizes, "TimeIncrement": like.interval}.items() if size
        )
        pages = like.frames * like.planes * self._channels
        channels = "".join(f'<Channel ID="Channel:0:{i}" SamplesPerPixel="1"/>' for i in range(self._channels))
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation='
            '"http://www.openmicroscopy.org/Schemas/OME/2016-06 http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd"'
            f' Creator="visionlab"><Image ID="Image:0" Name="{escape(self.path.name, {chr(34): "&quot;"})}">'
            f"<Description>{escape(self._description)}</Description>"
            f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{_DTYPES[self.dtype.name]}" BigEndian="false"'
            f' SizeX="{like.width}" SizeY="{like.height}" SizeC="{self._channels}" SizeZ="{like.planes}"'
            f' SizeT="{like.frames}"{scale}>{channels}<TiffData IFD="0" PlaneCount="{pages}"/></Pixels></Image></OME>'
        )
        # A description is ASCII: TIFF 6.0.
        return text.encode("ascii", "xmlcharrefreplace").decode()


def _rational(value: Fraction) -> tuple[int, int] | None:
    """Return the nearest numerator and denominator of 32 bits each."""
    if value > 1:
        inverse = _rational(1 / value)
        return inverse and (inverse[1], inverse[0])
    near = value.limit_denominator(_MOST_RATIONAL)
    return (near.numerator, near.denominator) if near > 0 else None
