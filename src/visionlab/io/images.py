"""Single images in PNG, JPEG and NumPy files, headers first, so that a broken file is refused and never filled in.

OpenCV is not used: it fills the missing part of a truncated image with an earlier one. Pillow reads JPEG only: it cuts
16-bit RGB PNG to 8 bits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import imagecodecs
import numpy as np
from PIL import Image as Pillow

from visionlab.errors import DataError
from visionlab.io.pixels import ORIENTATION, READ_AS, Image, check_size, decoding, native, swaps_sides, upright
from visionlab.io.volume import UNKNOWN_VOXEL, Source, Volume

_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette becomes RGB
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _image(path: Path, shape: tuple[int, int, int], stored: str, source: Source, orientation: int = 1) -> Volume:
    """Return an image of this shape (height, width, channels) as it is stored."""
    height, width, channels = shape
    check_size(*shape, path)
    sides = (width, height) if swaps_sides(orientation) else (height, width)
    axes, lengths = ("YXC", (*sides, channels)) if channels > 1 else ("YX", sides)
    return Volume(path, axes, lengths, READ_AS[stored], UNKNOWN_VOXEL, None, "image", source, stored)


# PNG ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PngSource:
    """The only plane of a PNG file."""

    path: Path
    orientation: int
    lossy: str = ""

    def plane(self, index: int) -> Image:
        with decoding(self.path, "PNG"):
            image = imagecodecs.png_decode(self.path.read_bytes())
        return upright(image.reshape(*image.shape[:2], -1), self.orientation)


def open_png(path: Path) -> Volume:
    """Return what a PNG file of any colour type and depth holds; transparency of single colours becomes alpha.

    Raises:
        DataError: it is truncated, damaged or an animation.
    """
    with decoding(path, "PNG"), path.open("rb") as file:
        file.seek(8)
        chunks = _png_chunks(file, path)
        name, start = next(chunks)
        if name != b"IHDR" or len(start) != 13 or start[9] not in _PNG_CHANNELS:
            raise DataError(f"{path}: damaged PNG file (its header is not valid); copy it again")
        width, height, bits, colour = struct.unpack(">IIBB", start[:10])
        channels, orientation = _PNG_CHANNELS[colour], 1
        check_size(height, width, channels, path)  # before the rest is looked at: it may be missing
        for name, content in chunks:
            if name == b"acTL" and (frames := struct.unpack(">I", content[:4])[0]) > 1:
                raise DataError(f"{path}: an animation of {frames} frames; save it as a TIFF stack or a video")
            if name == b"tRNS" and colour in (0, 2, 3):
                channels += 1
            if name == b"eXIf":
                exif = Pillow.Exif()
                exif.load(content)
                orientation = int(exif.get(ORIENTATION, 1))
    stored = "uint16" if bits == 16 else "uint8"
    return _image(path, (height, width, channels), stored, PngSource(path, orientation), orientation)


def _png_chunks(file: IO[bytes], path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and contents of the chunks up to the end mark; contents of those that matter here, checked."""
    name, size = b"", path.stat().st_size
    while name != b"IEND":
        start = file.read(8)
        length, name = struct.unpack(">I4s", start) if len(start) == 8 else (size, b"")
        if file.tell() + length + 4 > size:
            raise DataError(f"{path}: truncated PNG file: {size} bytes found, and its end is missing; copy it again")
        if name not in (b"IHDR", b"acTL", b"tRNS", b"eXIf"):
            file.seek(length + 4, 1)
            yield name, b""
            continue
        content = file.read(length)
        if struct.unpack(">I", file.read(4))[0] != zlib.crc32(name + content):
            raise DataError(f"{path}: damaged PNG file (its part {name.decode()} is not valid); copy it again")
        yield name, content


# JPEG -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JpegSource:
    """The only plane of a JPEG file."""

    path: Path
    orientation: int
    lossy: str = "JPEG"

    def plane(self, index: int) -> Image:
        with decoding(self.path, "JPEG"), Pillow.open(self.path, formats=["JPEG"]) as image:
            pixels = np.array(image)
        return upright(pixels.reshape(*pixels.shape[:2], -1), self.orientation)


def open_jpeg(path: Path) -> Volume:
    """Return what a JPEG file holds; raise ``DataError`` for what is neither gray nor RGB."""
    with decoding(path, "JPEG"), Pillow.open(path, formats=["JPEG"]) as image:
        if image.mode not in ("L", "RGB"):
            raise DataError(f"{path}: a JPEG of colour kind {image.mode}; save it as gray or RGB")
        width, height = image.size
        orientation = int(image.getexif().get(ORIENTATION, 1))
        channels = len(image.getbands())
    return _image(path, (height, width, channels), "uint8", JpegSource(path, orientation), orientation)


# NumPy ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NumpySource:
    """The only plane of a NumPy file."""

    path: Path
    lossy: str = ""

    def plane(self, index: int) -> Image:
        with decoding(self.path, "NumPy"):
            values: Image = np.load(self.path, allow_pickle=False)
        return native(values.reshape(*values.shape[:2], 1))


def open_numpy(path: Path) -> Volume:
    """Return what a NumPy file holds: one plane, H x W or H x W x 1.

    Raises:
        DataError: it has another shape, holds something other than numbers, claims more pixels than are read, or is
            longer or shorter than it says.
    """
    with decoding(path, "NumPy"), path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in _NPY_HEADERS:
            raise DataError(f"{path}: a NumPy file of version {version}; expected 1.0 or 2.0, as plain numbers have")
        shape, _, dtype = _NPY_HEADERS[version](file)
        start = file.tell()
    if dtype.name not in READ_AS:
        raise DataError(f"{path}: holds {dtype.name or dtype}, not real numbers; save it as float32 or uint16")
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,)):
        raise DataError(f"{path}: has the shape {shape}; expected height x width, or height x width x 1")
    image = _image(path, (shape[0], shape[1], 1), dtype.name, NumpySource(path))
    expected, size = start + shape[0] * shape[1] * dtype.itemsize, path.stat().st_size
    if size != expected:
        what = "truncated NumPy file" if size < expected else "NumPy file with something behind its array"
        raise DataError(f"{path}: {what}: expected {expected} bytes, found {size}; save it again")
    return image
