"""Volumes in MATLAB files, of version 5 (scipy) and 7.3 (HDF5), in MATLAB's order of axes: y, x, z, time."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io

from visionlab.errors import DataError
from visionlab.io.pixels import MAX_VALUES, READ_AS, Image, check_size, decoding
from visionlab.io.volume import UNKNOWN, UNKNOWN_VOXEL, Volume, order_pages

VOLUME, LABELS = "embryo", "membSeg"
"""Variables of images and of labels, as published volumes of membranes name them."""

_MOST = 4 * MAX_VALUES  # values of a volume, which is loaded as a whole
# MATLAB's names of numeric types, as both versions write them, and NumPy's.
_CLASSES = {"double": "float64", "single": "float32", "logical": "bool"}
_CLASSES |= {f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_HEADER = 128  # bytes, version 5
_LOADING = Lock()
# A process that is forked while another thread loads would wait for it for ever: the fork waits instead.
os.register_at_fork(before=_LOADING.acquire, after_in_parent=_LOADING.release, after_in_child=_LOADING.release)

Shapes = dict[str, tuple[tuple[int, ...], str]]
"""Names of variables with shape (in MATLAB's order) and NumPy type; arrays of numbers only."""


def split_variable(path: Path) -> tuple[Path, str | None]:
    """Return the file and the variable that ``a.mat/embryo`` means; other paths as they are."""
    if path.parent.suffix.lower() == ".mat" and path.parent.is_file():
        return path.parent, path.name
    return path, None


@dataclass(frozen=True, eq=False)
class MatlabPlanes:
    """Reads the planes of a variable.

    Args:
        path: of the file.
        variable: its name.
        shape: as in MATLAB: y, x, and perhaps z, and time.
        pages: planes x 1, numbers of the pages y, x in the file, z fastest.
        stored: NumPy's name of its class in MATLAB; version 5 stores whole numbers in smaller types.
        hdf5: the file is of version 7.3.
    """

    path: Path
    variable: str
    shape: tuple[int, ...]
    pages: npt.NDArray[np.int64]
    stored: str
    hdf5: bool

    def __call__(self, index: int) -> Image:
        page = int(self.pages[index, 0])
        # Version 5 compresses a variable as a whole; from HDF5 a time point can be read on its own.
        time, z = divmod(page, self.shape[2]) if self.hdf5 and len(self.shape) == 4 else (None, page)
        with decoding(self.path, "MATLAB"), _LOADING:
            volume = _load(self.path, self.path.stat().st_mtime_ns, self.variable, time, self.hdf5)
            if volume.shape[:2] != self.shape[:2]:
                raise DataError(f"{self.path}: {self.variable} is {volume.shape}, the file promised {self.shape}")
            if volume.dtype.kind == "c":
                raise DataError(f"{self.path}: {self.variable} holds complex numbers; save their size as an image")
            return volume.reshape(*self.shape[:2], -1, order="F")[:, :, z, None].astype(self.stored)


@lru_cache(maxsize=2)
def _load(path: Path, changed: int, variable: str, time: int | None, hdf5: bool) -> Image:
    """Return a variable, or a time point of it from HDF5, in MATLAB's order of axes; the last two are kept."""
    if not hdf5:
        return np.asarray(scipy.io.loadmat(path, appendmat=False, variable_names=[variable])[variable])
    with h5py.File(path, "r") as file:
        return np.asarray(file[variable][() if time is None else time]).T


def open_matlab(path: Path, variable: str | None, axes: str | None, preferred: str) -> Volume:
    """Return what a variable of a MATLAB file holds; see :func:`visionlab.io.formats.open_volume`.

    ``preferred`` is the variable that is taken where several could be and none is named.
    """
    with path.open("rb") as file:
        hdf5 = not file.read(_HEADER).startswith(b"MATLAB 5.0")
    with decoding(path, "MATLAB"):
        shapes = _hdf5_shapes(path) if hdf5 else _old_shapes(path)
    name = _choose(shapes, variable, preferred, path)
    shape, stored = shapes[name]
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        what = "empty" if min(shape) < 1 else "no volume"
        raise DataError(f"{path}: {name} is {what} ({_product(shape)}); expected y, x, perhaps z, and perhaps time")
    check_size(shape[0], shape[1], 1, path)
    if math.prod(shape[:3] if hdf5 else shape) > _MOST:
        raise DataError(f"{path}: {name} claims {_product(shape)} values; at most {_MOST} are read; save it in parts")
    outer = shape[:1:-1]  # time, z
    order = order_pages(UNKNOWN * len(outer), outer, (shape[0], shape[1], 1), axes, path)
    planes = MatlabPlanes(path, name, shape, order.pages, stored, hdf5)
    return Volume(path, order.axes, order.shape, READ_AS[stored], UNKNOWN_VOXEL, None, "matlab", planes, stored)


def _choose(shapes: Shapes, variable: str | None, preferred: str, path: Path) -> str:
    volumes = [name for name, (shape, _) in shapes.items() if len(shape) > 2]
    choices = volumes or [name for name, (shape, _) in shapes.items() if min(shape, default=0) > 1]
    wanted = variable or (preferred if preferred in choices or len(choices) != 1 else choices[0])
    if wanted in shapes and (variable or wanted in choices):
        return wanted
    held = ", ".join(f"{name} ({_product(shape)} {dtype})" for name, (shape, dtype) in shapes.items()) or "none"
    what = f"found no {variable}" if variable else "several could be the volume" if choices else "found no volume"
    raise DataError(
        f"{path}: {what}; arrays of numbers in the file: {held}; expected one, or give the variable as {path.name}/NAME"
    )


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)


def _old_shapes(path: Path) -> Shapes:
    """Return the variables of a file of version 5; refuse one that ends before they do."""
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(_HEADER)[-2:] == b"IM" else ">"
        position = _HEADER
        while position < size:
            file.seek(position)
            kind, length = struct.unpack(f"{order}II", file.read(8))
            position += 8 if kind >> 16 else 8 + length
    if position != size or size == _HEADER:
        raise ValueError(f"{size} bytes found, its variables end at {position}")
    return {
        name: (tuple(shape), _CLASSES[kind])
        for name, shape, kind in scipy.io.whosmat(path, appendmat=False)
        if kind in _CLASSES
    }


def _hdf5_shapes(path: Path) -> Shapes:
    shapes: Shapes = {}
    with h5py.File(path, "r") as file:
        for name in file:
            # Links into other files, or to other names, are nothing that MATLAB writes.
            item = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
            if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
                continue
            said = item.attrs.get("MATLAB_class", b"")
            said = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
            kind = _CLASSES.get(said) if said else item.dtype.name
            if kind not in READ_AS or kind not in ("bool", item.dtype.name):
                continue
            empty = item.shape is None or bool(item.attrs.get("MATLAB_empty", 0))
            shapes[name] = ((0, 0) if empty else item.shape[::-1], kind)
            if not empty and item.size:
                _check_chunks(item, path)
    return shapes


def _check_chunks(item: Any, path: Path) -> None:
    """Refuse a variable of which HDF5 would fill in what was never written."""
    expected = math.prod(
        -(-length // chunk) for length, chunk in zip(item.shape, item.chunks or item.shape, strict=True)
    )
    there = item.id.get_num_chunks() if item.chunks else int(item.id.get_storage_size() > 0)
    if there < expected:
        raise DataError(
            f"{path}: {expected - there} of {expected} blocks of {item.name[1:]} were never written; save it again"
        )
