"""Open any file of images: a single one, a volume, a series of either, or a video; and read its planes.

What a file is follows from its first bytes. Everything that is in doubt (damage, another order of axes, values that
change) is refused with what was found and how to mend it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from visionlab.errors import DataError
from visionlab.io.axes import AxesError, check_axes
from visionlab.io.formats import Image, kind_of
from visionlab.io.images import decode, header
from visionlab.io.label_volumes import Labels, labels_of
from visionlab.io.matlab import is_matlab, open_matlab, split_variable
from visionlab.io.tiff import open_tiff
from visionlab.io.tiff_writer import StackWriter
from visionlab.io.video import is_video, open_video
from visionlab.io.volume import UNKNOWN_VOXEL, Array, Volume

__all__ = [
    "SUFFIXES",
    "AxesError",
    "StackWriter",
    "Volume",
    "open_labels",
    "open_volume",
    "read_labels",
    "read_plane",
    "stored_file",
]

SUFFIXES = frozenset(("png", "tif", "tiff", "jpg", "jpeg", "mat", "mp4", "avi", "mov", "mkv"))
"""Suffixes of the files that can be opened."""

# As published volumes of membranes name them.
_IMAGE_VARIABLE, _LABEL_VARIABLE = "embryo", "membSeg"
_EXPECTED = {"mat": "a MATLAB file of version 5 or 7.3", **dict.fromkeys(("mp4", "avi", "mov", "mkv"), "a video")}


class _ImageSource:
    """The only plane of a PNG or JPEG file."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.lossy = kind if kind == "JPEG" else ""

    def plane(self, index: int) -> Image:
        return decode(self.path)


def open_volume(path: str | Path, *, axes: str | None = None, variable: str | None = None) -> Volume:
    """Return what a file of images says of itself; no pixels are decoded but some frames of a video.

    PNG and JPEG (one image); TIFF: OME, ImageJ, plain, of one page or many, also tiled and compressed; MATLAB files of
    version 5 and 7.3, whose axes are y, x, z, time; video that OpenCV decodes (MP4, AVI, MOV, MKV), in gray if its
    channels are equal but for rounding.

    Voxel sizes are read from OME and ImageJ metadata, and from the resolution of plain TIFF files unless it is one of
    printing (20 micrometres or more).

    Args:
        path: of the file. A variable may stand behind a MATLAB file: ``a.mat/membSeg``.
        axes: ``ZYX``, ``TYX`` or ``TZYX`` for files that do not tell; without it their pages are taken as planes of a
            volume, as the Cell Tracking Challenge writes them. Files that tell are taken at their word; ImageJ stacks
            do only if they are hyperstacks.
        variable: of a MATLAB file; without it the only volume in there, or ``embryo``.

    Raises:
        DataError: it is missing, truncated, damaged, not of these kinds, holds no planes or planes of several sizes or
            more than ``MAX_PIXELS`` pixels a plane, or its axes cannot be brought into the order T, Z, Y, X, C.
        UsageError: ``axes`` is none of these.
    """
    return _open(Path(path), check_axes(axes), variable, _IMAGE_VARIABLE)


def open_labels(path: str | Path) -> Volume:
    """Return what :func:`read_labels` reads, as :func:`open_volume` does but for the variable of a MATLAB file."""
    return _open(Path(path), None, None, _LABEL_VARIABLE)


def stored_file(path: str | Path) -> Path:
    """Return the file on disk that a path means: that in front of a variable of a MATLAB file, else itself."""
    return split_variable(Path(path))[0]


def read_plane(path: str | Path, index: int) -> Array:
    """Return one plane of a file, H x W x C of uint8, uint16 or float32.

    From TIFF only that plane is decoded. What files say is kept for the last few, and the MATLAB volumes read last.
    Threads may call it at once.

    Args:
        path: of the file.
        index: time * planes + z, from 0.

    Raises:
        DataError: as :func:`open_volume` and :meth:`Volume.plane` do.
    """
    return _opened(Path(path), _IMAGE_VARIABLE).plane(index)


def read_labels(path: str | Path, index: int | None = None) -> Labels:
    """Return instance ids, 0 for none: H x W of one plane or of a file without z, else Z x H x W.

    Bool and 0/255 are taken as they are. Of several variables in a MATLAB file ``membSeg`` is taken.

    Args:
        path: of the file.
        index: of the plane, time * planes + z, from 0.

    Raises:
        DataError: as :func:`open_volume` does; or it is stored as JPEG or video, which change ids, its channels differ,
            or it holds fractions, NaN, negative numbers or more than int32 holds.
    """
    return labels_of(_opened(Path(path), _LABEL_VARIABLE), index)


def _opened(path: Path, preferred: str) -> Volume:
    try:
        state = stored_file(path).stat()
    except (OSError, ValueError):
        return _open(path, None, None, preferred)  # says what is wrong
    return _known(path, state.st_size, state.st_mtime_ns, preferred)


@lru_cache(maxsize=32)
def _known(path: Path, size: int, changed: int, preferred: str) -> Volume:
    """Return the description of a file in this state."""
    # Planes are numbered alike whatever their axis is called, so nothing is said of it.
    return _open(path, "", None, preferred)


def _open(path: Path, axes: str | None, variable: str | None, preferred: str) -> Volume:
    file, inner = split_variable(path)
    kind = _kind(file)
    if kind != "MATLAB" and (inner or variable):
        raise DataError(f"{path}: the variable {variable or inner} of a file that isn't MATLAB's was asked for")
    if kind == "MATLAB":
        return replace(open_matlab(file, variable or inner, axes, preferred), path=path)
    if kind == "video":
        return open_video(file)
    if kind == "TIFF":
        return open_tiff(file, axes)
    head = header(file)
    if head.pages > 1:
        raise DataError(f"{path}: an animation of {head.pages} frames; save it as a TIFF stack or a video")
    colour = head.channels > 1
    shape = (head.height, head.width, *([head.channels] if colour else []))
    return Volume(
        file, "YXC" if colour else "YX", shape, head.dtype, UNKNOWN_VOXEL, None, "image", _ImageSource(file, kind)
    )


def _kind(path: Path) -> str:
    """Return ``PNG``, ``TIFF``, ``JPEG``, ``MATLAB`` or ``video`` from the first bytes of a file."""
    try:
        return kind_of(path)
    except DataError:
        start = b""
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(32)
        if is_matlab(start):
            return "MATLAB"
        if is_video(start):
            return "video"
        expected = _EXPECTED.get(path.suffix.lower()[1:])
        if expected is None or not start or start.startswith(b"version https://git-lfs"):
            raise
        raise DataError(
            f"{path}: expected {expected}, found other content (it begins with {start[:8]!r}); export it again"
        ) from None
