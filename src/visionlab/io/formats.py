"""The formats that are read, and the one way in for pixels: :func:`open_volume` and :func:`read_image`.

What a file is follows from its first bytes, not from its suffix. Everything that is in doubt (damage, another order of
axes, values that change) is refused with what was found and how to mend it.

PNG, JPEG and NumPy files are read here, headers first. OpenCV is not used for them: it fills the missing part of a
truncated image with an earlier one. Pillow reads JPEG only: it cuts 16-bit RGB PNG to 8 bits.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image as Pillow

from visionlab.errors import DataError
from visionlab.io.matlab import LABELS, VOLUME, open_matlab, split_variable
from visionlab.io.pixels import ORIENTATION, READ_AS, Image, check_size, decoding, native, swaps_sides, upright
from visionlab.io.tiff import open_tiff
from visionlab.io.video import is_video, open_video
from visionlab.io.volume import UNKNOWN_VOXEL, Stains, Volume, check_axes

_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette becomes RGB
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

# Single images --------------------------------------------------------------------------------------------------------


def _image(
    path: Path,
    shape: tuple[int, int, int],
    stored: str,
    read: Callable[[int], Image],
    orientation: int = 1,
    lossy: str = "",
) -> Volume:
    """Return an image of this shape (height, width, channels) as it is stored."""
    height, width, channels = shape
    check_size(*shape, path)
    sides = (width, height) if swaps_sides(orientation) else (height, width)
    axes, lengths = ("YXC", (*sides, channels)) if channels > 1 else ("YX", sides)
    return Volume(path, axes, lengths, READ_AS[stored], UNKNOWN_VOXEL, None, "image", read, stored, lossy)


def open_png(path: Path) -> Volume:
    """Return what a PNG file of any colour type and depth holds; transparency of single colours becomes alpha.

    Raises:
        DataError: it is truncated, damaged or an animation.
    """
    with decoding(path, "PNG"):
        chunks = _png_chunks(path)
        width, height, bits, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
        channels, orientation = _PNG_CHANNELS[colour], 1
        if b"acTL" in chunks and struct.unpack(">I", chunks[b"acTL"][:4])[0] > 1:
            raise DataError(f"{path}: an animation of several frames; save it as a TIFF stack or a video")
        if b"tRNS" in chunks and colour in (0, 2, 3):
            channels += 1
        if b"eXIf" in chunks:
            exif = Pillow.Exif()
            exif.load(chunks[b"eXIf"])
            orientation = int(exif.get(ORIENTATION, 1))
    stored = "uint16" if bits == 16 else "uint8"
    return _image(path, (height, width, channels), stored, partial(_read_png, path, orientation), orientation)


def _png_chunks(path: Path) -> dict[bytes, bytes]:
    """Return name -> content of the chunks up to the end mark; contents of those that matter here alone, checked."""
    chunks: dict[bytes, bytes] = {}
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(8)
        while b"IEND" not in chunks:
            start = file.read(8)
            length, name = struct.unpack(">I4s", start) if len(start) == 8 else (size, b"")
            if file.tell() + length + 4 > size:
                raise DataError(f"{path}: truncated PNG file: {size} bytes found, its end is missing; copy it again")
            content = b""
            if name in (b"IHDR", b"acTL", b"tRNS", b"eXIf"):
                content = file.read(length)
                if struct.unpack(">I", file.read(4))[0] != zlib.crc32(name + content):
                    raise DataError(f"{path}: damaged PNG file (its part {name.decode()} is not valid); copy it again")
            else:
                file.seek(length + 4, 1)
            chunks.setdefault(name, content)
    return chunks


def _read_png(path: Path, orientation: int, index: int) -> Image:
    with decoding(path, "PNG"):
        image = imagecodecs.png_decode(path.read_bytes())
    return upright(image.reshape(*image.shape[:2], -1), orientation)


def open_jpeg(path: Path) -> Volume:
    """Return what a JPEG file holds; raise ``DataError`` for what is neither gray nor RGB."""
    with decoding(path, "JPEG"), Pillow.open(path, formats=["JPEG"]) as image:
        if image.mode not in ("L", "RGB"):
            raise DataError(f"{path}: a JPEG of colour kind {image.mode}; save it as gray or RGB")
        shape = (image.height, image.width, len(image.getbands()))
        orientation = int(image.getexif().get(ORIENTATION, 1))
    return _image(path, shape, "uint8", partial(_read_jpeg, path, orientation), orientation, "JPEG")


def _read_jpeg(path: Path, orientation: int, index: int) -> Image:
    with decoding(path, "JPEG"), Pillow.open(path, formats=["JPEG"]) as image:
        pixels = np.array(image)
    return upright(pixels.reshape(*pixels.shape[:2], -1), orientation)


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
    image = _image(path, (shape[0], shape[1], 1), dtype.name, partial(_read_numpy, path))
    expected, size = start + shape[0] * shape[1] * dtype.itemsize, path.stat().st_size
    if size != expected:
        what = "truncated NumPy file" if size < expected else "NumPy file with something behind its array"
        raise DataError(f"{path}: {what}: expected {expected} bytes, found {size}; save it again")
    return image


def _read_numpy(path: Path, index: int) -> Image:
    with decoding(path, "NumPy"):
        values: Image = np.load(path, allow_pickle=False)
    return native(values.reshape(*values.shape[:2], 1))


# All formats ----------------------------------------------------------------------------------------------------------


class Format(NamedTuple):
    """A format: the suffixes of its files, what it is in words, how one begins, and what opens one, if it has axes."""

    suffixes: tuple[str, ...]
    words: str
    begins: Callable[[bytes], bool]
    open: Callable[[Path, str | None], Volume]


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(starts)


FORMATS = {
    "PNG": Format(("png",), "a PNG image", _begins(b"\x89PNG\r\n\x1a\n"), lambda path, axes: open_png(path)),
    "TIFF": Format(("tif", "tiff"), "a TIFF file", _begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), open_tiff),
    "JPEG": Format(("jpg", "jpeg"), "a JPEG image", _begins(b"\xff\xd8\xff"), lambda path, axes: open_jpeg(path)),
    "NumPy": Format(("npy",), "a NumPy file", _begins(b"\x93NUMPY"), lambda path, axes: open_numpy(path)),
    "MATLAB": Format(
        ("mat",),
        "a MATLAB file of version 5 or 7.3",
        _begins(b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file", b"\x89HDF\r\n\x1a\n"),
        lambda path, axes: open_matlab(path, None, axes, VOLUME),
    ),
    "video": Format(("mp4", "avi", "mov", "mkv"), "a video", is_video, lambda path, axes: open_video(path)),
}


def _suffixes(*names: str) -> tuple[str, ...]:
    return tuple(suffix for name in names for suffix in FORMATS[name].suffixes)


IMAGE_SUFFIXES = _suffixes("PNG", "TIFF", "JPEG")
LOSSLESS_SUFFIXES = _suffixes("PNG", "TIFF")
VOLUME_SUFFIXES = _suffixes("MATLAB", "video")
"""Suffixes of files that are always more than an image; TIFF may be."""


def kind_of(path: Path) -> str:
    """Return the name of a file's format in :data:`FORMATS`, from its first bytes.

    Raises:
        DataError: it is missing, empty, or of no such format.
    """
    try:
        # A pipe would be waited for.
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: expected an image file, found {'a folder' if path.is_dir() else 'no file'}")
        with path.open("rb") as file:
            start = file.read(32)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the file cannot be read ({getattr(error, 'strerror', None) or error})") from None
    for name, form in FORMATS.items():
        if form.begins(start):
            return name
    if not start:
        raise DataError(f"{path}: the file is empty (0 bytes); copy it again")
    if start.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: is a Git LFS pointer, not the image itself; run 'git lfs pull'")
    text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)
    expected = [form.words for form in FORMATS.values() if path.suffix.lower()[1:] in form.suffixes]
    raise DataError(
        f"{path}: expected {expected[0] if expected else 'a PNG, TIFF or JPEG image'}, found"
        f" {'text' if text else 'other content'} (it begins with {start[:8]!r}); remove, convert or export it again"
    )


def open_volume(path: str | os.PathLike[str], *, axes: str | None = None, stains: Stains = ()) -> Volume:
    """Return what a file of images says of itself; no pixels are decoded but some frames of a video.

    PNG, JPEG and NumPy files (one image); TIFF: OME, ImageJ, plain, of one page or many, also tiled and compressed;
    MATLAB files of version 5 and 7.3, whose axes are y, x, z, time; video that OpenCV decodes (MP4, AVI, MOV, MKV), in
    gray if its channels are equal but for rounding. Images are turned as their orientation tag says.

    Voxel sizes are read from OME and ImageJ metadata, and from the resolution of plain TIFF files unless it is one of
    printing (20 micrometres or more). What files say is kept for the last few. Threads may call it at once.

    Args:
        path: of the file. A variable may stand behind a MATLAB file, ``a.mat/membSeg``; without it the only volume in
            there is taken, or ``embryo``.
        axes: ``ZYX``, ``TYX`` or ``TZYX`` for files that do not tell; without it their pages are taken as planes of a
            volume, as the Cell Tracking Challenge writes them. Files that tell are taken at their word; ImageJ stacks
            do only if they are hyperstacks.
        stains: channels that are read of a file with an axis of them, by number from 0 or name; see
            :meth:`Volume.choose`.

    Raises:
        DataError: it is missing, truncated, damaged, not of these kinds, holds no planes or planes of several sizes or
            more than ``MAX_PIXELS`` pixels a plane, its axes cannot be brought into the order T, Z, Y, X, C, or it has
            not these channels.
        UsageError: ``axes`` is none of these.
    """
    return _open(Path(path), check_axes(axes), VOLUME).choose(stains)


def open_labels(path: str | os.PathLike[str]) -> Volume:
    """Return a file as :func:`open_volume` does, but of several variables of a MATLAB file ``membSeg``.

    Of an axis of channels all are taken: they must be equal, as those of labels saved as colours are.
    """
    volume = _open(Path(path), None, LABELS)
    return volume.choose(range(len(volume.stains)))


def stored_file(path: str | os.PathLike[str]) -> Path:
    """Return the file on disk that a path means: that in front of a variable of a MATLAB file, else itself."""
    return split_variable(Path(path))[0]


def _open(path: Path, axes: str | None, preferred: str) -> Volume:
    try:
        state = stored_file(path).stat()
    except (OSError, ValueError):
        kind_of(path)  # says what is wrong
        raise
    return _opened(path, (state.st_size, state.st_mtime_ns, state.st_ino), axes, preferred)


@lru_cache(maxsize=256)
def _opened(path: Path, state: tuple[int, ...], axes: str | None, preferred: str) -> Volume:
    """Return the description of a file in this state."""
    file, variable = split_variable(path)
    kind = kind_of(file)
    if kind == "MATLAB":
        return replace(open_matlab(file, variable, axes, preferred), path=path)
    if variable:
        raise DataError(f"{path}: the variable {variable} of a file that isn't MATLAB's was asked for")
    return FORMATS[kind].open(file, axes)


# Planes of files ------------------------------------------------------------------------------------------------------

_SIGN = "#"


def plane(path: str, index: int) -> str:
    """Return the name of a plane of a file, ``01/t000.tif#5``.

    Args:
        path: of the file.
        index: of the plane, time * planes of a volume + z, from 0.
    """
    return f"{path}{_SIGN}{index}"


def split_plane(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """Return the file that a path means, and which of its planes; None for the whole file.

    A file whose own name ends like that of a plane is taken as it is.
    """
    whole, sign, index = os.fspath(path).rpartition(_SIGN)
    if sign and whole and index.isdecimal() and not Path(path).is_file():
        return Path(whole), int(index)
    return Path(path), None


def plane_of(volume: Volume, index: int | None) -> tuple[int, int]:
    """Return time and z of a plane by its number, or of the only one.

    Raises:
        DataError: it is not said which of several.
    """
    count = volume.frames * volume.planes
    if index is None and count > 1:
        raise DataError(
            f"{volume.path}: holds {count} pages (a stack or movie); expected one image a file, so save them apart"
            f" (for predictions, '{plane(volume.path.name, 0)}' is a plane of it, and `predict_volume` takes all)"
        )
    return divmod(index or 0, volume.planes)


def read_image(path: str | os.PathLike[str], stains: Stains = ()) -> Image:
    """Return an image file, or a plane of a volume (``a.tif#5``): H x W x C of ``uint8``, ``uint16`` or ``float32``.

    1, 2 and 4-bit PNG is scaled to 0..255, a palette becomes RGB, 16 bits stay 16 bits. Colours are as in the file: 1,
    2 (gray and alpha), 3, 4 or more. Images are turned upright as their orientation tag says. bool becomes 0 and 255;
    int8, float16 and, where every value fits, int16 to uint64 (as uint16) and float64 (as float32) are converted.

    Args:
        path: of the file.
        stains: see :func:`open_volume`.

    Raises:
        DataError: as :func:`open_volume` does; or it holds NaN or infinity, values that do not fit these types, or
            several planes of which none is named.
    """
    file, index = split_plane(path)
    volume = open_volume(file, stains=stains)
    return volume.plane(*plane_of(volume, index))
