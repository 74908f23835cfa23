"""Names of single planes of files that hold several: ``01/t000.tif#5``."""

from __future__ import annotations

import os
from pathlib import Path

from visionlab.io.images import Image, read
from visionlab.io.volumes import read_plane

_SIGN = "#"


def plane(path: str, index: int) -> str:
    """Return the name of a plane of a file.

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


def read_image(path: str | os.PathLike[str]) -> Image:
    """Return an image file, or a plane of one, H x W x C of ``uint8``, ``uint16`` or ``float32``.

    Raises:
        DataError: it cannot be read; of a file of several planes, which one must be said.
    """
    file, index = split_plane(path)
    return read(file) if index is None else read_plane(file, index)
