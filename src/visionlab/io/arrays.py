"""Read one plane of numbers from a NumPy file (.npy), its header first; pickled content is refused."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from visionlab.errors import DataError
from visionlab.io.formats import READ_AS, Header, Image, checked, decoding

_MAGIC = b"\x93NUMPY"
_PARSERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def is_npy(path: str | Path) -> bool:
    """Return whether a file begins as a NumPy file does; False for what cannot be opened."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


def npy_header(path: str | Path) -> Header:
    """Return size and type of a NumPy file that holds one plane, H x W or H x W x 1.

    Raises ``DataError`` if it has another shape, holds something other than numbers, claims more pixels than are read,
    or is longer or shorter than it says.
    """
    with decoding(path, "NumPy"), Path(path).open("rb") as file:
        return _parse(file, path)


def read_npy(path: str | Path) -> Image:
    """Return the H x W x 1 values of a NumPy file as they are stored; errors as in :func:`npy_header`."""
    with decoding(path, "NumPy"), Path(path).open("rb") as file:
        head = _parse(file, path)
        file.seek(0)
        values: Image = np.load(file, allow_pickle=False)
        return values.reshape(head.height, head.width, 1)


def _parse(file: IO[bytes], path: str | Path) -> Header:
    version = np.lib.format.read_magic(file)
    if version not in _PARSERS:
        raise DataError(f"{path}: a NumPy file of version {version}; expected 1.0 or 2.0, as plain numbers have")
    shape, _, dtype = _PARSERS[version](file)
    if dtype.name not in READ_AS:
        raise DataError(f"{path}: holds {dtype.name or dtype}, not real numbers; save it as float32 or uint16")
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,)):
        raise DataError(f"{path}: has the shape {shape}; expected height x width, or height x width x 1")
    head = checked(Header(shape[0], shape[1], 1, READ_AS[dtype.name], 1, dtype.name), path)
    expected = file.tell() + head.height * head.width * dtype.itemsize
    size = Path(path).stat().st_size
    if size != expected:
        what = "truncated NumPy file" if size < expected else "NumPy file with something behind its array"
        raise DataError(f"{path}: {what}: expected {expected} bytes, found {size}; save it again")
    return head
