"""Decode PNG, TIFF and JPEG files, headers first, so that a broken or malicious file is refused and never filled in.

OpenCV is not used: it fills the missing part of a truncated image with an earlier one. Pillow reads JPEG only: it cuts
16-bit RGB PNG to 8 bits. :mod:`visionlab.io.images` is what others call.
"""

from __future__ import annotations

import contextlib
import logging
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, ImageOps
from PIL import Image as Pillow

from visionlab.errors import DataError

Image = np.ndarray[Any, Any]

# What is wrong with a file is said in one message, by name; tifffile would print lines of its own beside it.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

MAX_PIXELS = 2**26
"""Most pixels (height x width) that are read, 8192 x 8192: the header of a small file may claim far more (a bomb)."""
MAX_VALUES = 4 * MAX_PIXELS
"""Most values (height x width x channels) that are read."""

# What a file may store, and what it is read as, if every value can be kept.
READ_AS = {
    "uint8": "uint8",
    "uint16": "uint16",
    "float32": "float32",
    "bool": "uint8",
    "int8": "uint8",
    "int16": "uint16",
    "int32": "uint16",
    "uint32": "uint16",
    "int64": "uint16",
    "uint64": "uint16",
    "float16": "float32",
    "float64": "float32",
}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette becomes RGB


@dataclass(frozen=True)
class Header:
    """What an image file says about itself.

    ``dtype`` (``uint8``, ``uint16`` or ``float32``) and ``channels`` are those that ``read`` gives; ``stored`` is the
    type in the file. ``pages`` is the number of images in the file; the rest describes the first.
    """

    height: int
    width: int
    channels: int
    dtype: str
    pages: int = 1
    stored: str = ""


def kind_of(path: str | Path) -> str:
    """Return ``PNG``, ``TIFF`` or ``JPEG`` from the first bytes of a file."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(
                f"{path}: expected an image file, found {'a folder' if stat.S_ISDIR(status.st_mode) else 'no file'}"
            )
        with Path(path).open("rb") as file:
            start = file.read(32)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the file cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if not start:
        raise DataError(f"{path}: the file is empty (0 bytes); copy it again")
    if start.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: is a Git LFS pointer, not the image itself; run 'git lfs pull'")
    text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)
    raise DataError(
        f"{path}: expected a PNG, TIFF or JPEG image, found {'text' if text else 'other content'} (it begins with"
        f" {start[:8]!r}); remove or convert it"
    )


@contextlib.contextmanager
def decoding(path: str | Path, kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a ``DataError`` that names the file."""
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path}: not enough memory to decode it") from None
    # Damaged files make the decoders raise nearly anything (struct.error, KeyError, ZeroDivisionError, ...).
    except Exception as error:
        raise DataError(
            f"{path}: cannot be decoded: a damaged or truncated {kind} file ({error}); copy or export it again"
        ) from error


def checked(head: Header, path: str | Path) -> Header:
    """Return a header whose sides and number of values can be read; raise ``DataError`` otherwise."""
    if min(head.height, head.width, head.channels) < 1:
        raise DataError(f"{path}: the image is {head.height} x {head.width} pixels; expected at least 1 x 1")
    pixels = head.height * head.width
    if pixels > MAX_PIXELS or pixels * head.channels > MAX_VALUES:
        raise DataError(
            f"{path}: the image claims {head.height} x {head.width} pixels x {head.channels} channels; at most"
            f" {MAX_PIXELS} pixels and {MAX_VALUES} values are read; cut it into tiles"
        )
    return head


def _one_image(head: Header, path: str | Path) -> Header:
    if head.pages > 1:
        raise DataError(
            f"{path}: holds {head.pages} pages (a stack or movie); expected one image a file, so save them apart"
            f" (for predictions, '{Path(path).name}#0' is a plane of it, and `predict_volume` takes all)"
        )
    return head


# PNG ----------------------------------------------------------------------------------------------------------------


def png_header(path: str | Path) -> Header:
    """Return the header of a PNG file; raise ``DataError`` for what is not supported."""
    with Path(path).open("rb") as file:
        return _parse_png(file, path)


def _parse_png(file: IO[bytes], path: str | Path) -> Header:
    file.seek(8)
    start = file.read(25)
    if len(start) < 25:
        raise DataError(f"{path}: truncated PNG file: it ends inside its header; copy it again")
    width, height, bits, colour = struct.unpack(">IIBB", start[8:18])
    checksum = struct.unpack(">I", start[21:])[0]
    if start[:8] != b"\0\0\0\rIHDR" or zlib.crc32(start[4:21]) != checksum or colour not in _PNG_CHANNELS:
        raise DataError(f"{path}: damaged PNG file (its header is not valid); copy it again")
    channels, frames = _PNG_CHANNELS[colour], 1
    while True:
        chunk = file.read(8)
        if len(chunk) < 8:
            raise DataError(f"{path}: truncated PNG file: it ends before its pixels; copy it again")
        length, name = struct.unpack(">I4s", chunk)
        if name in (b"IDAT", b"IEND"):
            break
        content = file.read(4) if name == b"acTL" else b""
        if content:
            frames = struct.unpack(">I", content)[0]
        if name == b"tRNS" and colour in (0, 2, 3):
            channels += 1  # transparency of single colours becomes an alpha channel
        file.seek(length + 4 - len(content), 1)
    dtype = "uint16" if bits == 16 else "uint8"
    return checked(Header(height, width, channels, dtype, frames, dtype), path)


def read_png(path: str | Path) -> tuple[Image, Header]:
    """Decode a PNG file of any colour type and depth; gray images have no channel axis."""
    with Path(path).open("rb") as file:
        head = _one_image(_parse_png(file, path), path)
        file.seek(0)
        data = file.read()
    # libpng checks the sums of the pixels' chunks; a file that lost only its end mark would pass there.
    position, name = 8, b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise DataError(
                f"{path}: truncated PNG file: {len(data)} bytes found, and its end is missing; copy it again"
            )
        length, name = struct.unpack_from(">I4s", data, position)
        position += 12 + length
    return imagecodecs.png_decode(data), head


# TIFF ---------------------------------------------------------------------------------------------------------------


def tiff_header(path: str | Path) -> Header:
    """Return the header of a TIFF file; raise ``DataError`` for what is not supported."""
    with tifffile.TiffFile(path) as tif:
        return _parse_tiff(tif, path)


def _parse_tiff(tif: tifffile.TiffFile, path: str | Path) -> Header:
    page = tif.pages.first
    # ImageJ writes big stacks behind a single page and says so in its description only.
    imagej = tif.imagej_metadata or {}
    pages = max(len(tif.pages), int(imagej.get("images", 1))) * page.imagedepth
    stored = page.dtype.name if page.dtype is not None else "unknown"
    bits = page.bitspersample
    if (stored not in READ_AS) or 1 < bits < 8:
        raise DataError(f"{path}: stores {bits}-bit values ({stored}); save it as uint8, uint16 or float32")
    photometric = tifffile.PHOTOMETRIC(page.photometric).name
    if photometric == "MINISWHITE":
        raise DataError(f"{path}: stores white as 0, which programs read in opposite ways; save it with black as 0")
    rgb_from_jpeg = photometric == "YCBCR" and page.compression == tifffile.COMPRESSION.JPEG
    if photometric not in ("MINISBLACK", "RGB") and not rgb_from_jpeg:
        raise DataError(f"{path}: a TIFF of colour kind {photometric}; save it as gray or RGB")
    channels = {"YX": 1, "YXS": page.shape[-1], "SYX": page.shape[0], "ZYX": 1}.get(page.axes)
    if channels is None:
        raise DataError(f"{path}: expected one image with axes YX, YXS or SYX, found {page.axes} {page.shape}")
    head = Header(page.imagelength, page.imagewidth, channels, READ_AS[stored], pages, stored)
    if int(np.prod(page.chunks, dtype=object)) > MAX_VALUES:
        raise DataError(f"{path}: its tiles are {page.chunks} values each; at most {MAX_VALUES} are read")
    return checked(head, path)


def read_tiff(path: str | Path) -> tuple[Image, Header]:
    """Decode a TIFF file of one page; gray images may have no channel axis, the type is as stored."""
    size = Path(path).stat().st_size
    with tifffile.TiffFile(path) as tif:
        head = _one_image(_parse_tiff(tif, path), path)
        page = tif.pages.first
        # tifffile fills strips and tiles without bytes with zeros, and reads what there is of one that is cut.
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        missing = sum(count <= 0 or offset <= 0 or offset + count > size for offset, count in parts)
        if missing or not parts:
            raise DataError(
                f"{path}: truncated TIFF file: {missing} of its {len(parts)} strips or tiles are missing or cut"
                f" ({size} bytes found); copy it again"
            )
        image = page.asarray(maxworkers=1)  # files are read in parallel already
        return (np.moveaxis(image, 0, -1) if page.axes == "SYX" else image), head


# JPEG ---------------------------------------------------------------------------------------------------------------


def jpeg_header(path: str | Path) -> Header:
    """Return the header of a JPEG file; raise ``DataError`` for what is not supported."""
    with Pillow.open(path, formats=["JPEG"]) as image:
        return _parse_jpeg(image, path)


def _parse_jpeg(image: Pillow.Image, path: str | Path) -> Header:
    if image.mode not in ("L", "RGB"):
        raise DataError(f"{path}: a JPEG of colour kind {image.mode}; save it as gray or RGB")
    width, height = image.size
    if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:
        width, height = height, width
    return checked(Header(height, width, len(image.getbands()), "uint8", 1, "uint8"), path)


def read_jpeg(path: str | Path) -> tuple[Image, Header]:
    """Decode a JPEG file, turned upright; gray images have no channel axis."""
    with Pillow.open(path, formats=["JPEG"]) as image:
        head = _parse_jpeg(image, path)
        return np.array(ImageOps.exif_transpose(image)), head


HEADERS: dict[str, Callable[[str | Path], Header]] = {"PNG": png_header, "TIFF": tiff_header, "JPEG": jpeg_header}
READERS: dict[str, Callable[[str | Path], tuple[Image, Header]]] = {
    "PNG": read_png,
    "TIFF": read_tiff,
    "JPEG": read_jpeg,
}
