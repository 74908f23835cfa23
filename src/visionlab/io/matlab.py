"""Volumes in MATLAB files, of version 5 (scipy) and 7.3 (HDF5), in MATLAB's order of axes: y, x, z, time."""

from __future__ import annotations

import math
import os
import struct
from collections import OrderedDict
from dataclasses import dataclass
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

Shapes = dict[str, tuple[tuple[int, ...], str]]
"""Names of variables with shape (in MATLAB's order) and NumPy type; arrays of numbers only."""


def split_variable(path: Path) -> tuple[Path, str | None]:
    """Return the file and the variable that ``a.mat/embryo`` means; other paths as they are."""
    if path.parent.suffix.lower() == ".mat" and path.parent.is_file():
        return path.parent, path.name
    return path, None


@dataclass(frozen=True, eq=False)
class MatlabSource:
    """The planes of a variable. The volume that was read last is kept, shared by all sources; two at most.

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
    lossy: str = ""

    def plane(self, index: int) -> Image:
        page = int(self.pages[index, 0])
        planes = self.shape[2] if len(self.shape) > 2 else 1
        # Version 5 compresses a variable as a whole; from HDF5 a time point can be read on its own.
        time, z = divmod(page, planes) if self.hdf5 else (0, page)
        with decoding(self.path, "MATLAB"):
            volume = _LOADED.get(self, time)
        return np.ascontiguousarray(volume[:, :, z])[:, :, None]

    def load(self, time: int) -> Image:
        """Return y x x x pages: of a time point from HDF5, else of all."""
        if not self.hdf5:
            found = scipy.io.loadmat(self.path, appendmat=False, variable_names=[self.variable])
            volume = np.asarray(found[self.variable])
        else:
            with h5py.File(self.path, "r") as file:
                stored = file[self.variable]
                volume = np.asarray(stored[time] if len(self.shape) == 4 else stored[()]).T
        if volume.shape[:2] != self.shape[:2]:
            raise DataError(f"{self.path}: {self.variable} is {volume.shape}, the file promised {self.shape}")
        if volume.dtype.kind == "c":
            raise DataError(f"{self.path}: {self.variable} holds complex numbers; expected an image, so save its size")
        return volume.astype(self.stored, copy=False).reshape(*self.shape[:2], -1, order="F")


class _Loaded:
    """The last volumes, loaded once however many threads ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.clear()

    def clear(self) -> None:
        self._lock = Lock()
        self._volumes: OrderedDict[tuple[object, ...], Image] = OrderedDict()

    def get(self, source: MatlabSource, time: int) -> Image:
        state = source.path.stat()
        key = (source.path, state.st_size, state.st_mtime_ns, source.variable, time)
        with self._lock:
            if key not in self._volumes:
                while len(self._volumes) >= self._most:
                    self._volumes.popitem(last=False)
                self._volumes[key] = source.load(time)
            self._volumes.move_to_end(key)
            return self._volumes[key]


_LOADED = _Loaded(2)
# A process that is forked while another thread loads must not wait for it.
os.register_at_fork(after_in_child=_LOADED.clear)


def open_matlab(path: Path, variable: str | None, axes: str | None, preferred: str) -> Volume:
    """Return what a variable of a MATLAB file holds; see :func:`visionlab.io.formats.open_volume`.

    ``preferred`` is the variable that is taken where several could be and none is named.
    """
    with path.open("rb") as file:
        hdf5 = not file.read(_HEADER).startswith(b"MATLAB 5.0")
    with decoding(path, "MATLAB"):
        shapes, others = _hdf5_shapes(path) if hdf5 else _old_shapes(path)
    name = _choose(shapes, others, variable, preferred, path)
    shape, stored = shapes[name]
    whole = (*shape, 1, 1)[: max(4, len(shape))]
    if len(whole) > 4 or len(shape) < 2:
        raise DataError(
            f"{path}: {name} has {len(shape)} axes ({_product(shape)}); expected y, x, perhaps z, and perhaps time"
        )
    if min(shape) < 1:
        raise DataError(f"{path}: {name} is empty ({_product(shape)}); expected a volume y x x x z with planes")
    check_size(shape[0], shape[1], 1, path)
    if math.prod(shape[:3] if hdf5 else shape) > _MOST:
        raise DataError(f"{path}: {name} claims {_product(shape)} values; at most {_MOST} are read; save it in parts")
    outer = shape[:1:-1]  # time, z
    order = order_pages(UNKNOWN * len(outer), outer, (shape[0], shape[1], 1), axes, path)
    source = MatlabSource(path, name, shape, order.pages, stored, hdf5)
    return Volume(
        path, order.axes, order.shape, READ_AS[stored], UNKNOWN_VOXEL, None, "matlab", source, stored, (), order.assumed
    )


def _choose(shapes: Shapes, others: list[str], variable: str | None, preferred: str, path: Path) -> str:
    held = ", ".join(f"{name} ({_product(shape)} {dtype})" for name, (shape, dtype) in shapes.items()) or "none"
    if variable is not None:
        if variable in shapes:
            return variable
        what = "is no array of numbers" if variable in others else "isn't there"
        raise DataError(f"{path}: the variable {variable} {what}; arrays of numbers in the file: {held}")
    volumes = [name for name, (shape, _) in shapes.items() if len(shape) > 2]
    choices = volumes or [name for name, (shape, _) in shapes.items() if min(shape, default=0) > 1]
    if len(choices) != 1 and preferred not in choices:
        what = "several variables could be the volume" if choices else "found no volume"
        raise DataError(
            f"{path}: {what}; arrays of numbers in the file: {held}; expected one, or give the variable as"
            f" {path.name}/NAME"
        )
    return preferred if preferred in choices else choices[0]


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)


# Version 5 -----------------------------------------------------------------------------------------------------------


def _old_shapes(path: Path) -> tuple[Shapes, list[str]]:
    _check_elements(path)
    found = [(name, tuple(shape), kind) for name, shape, kind in scipy.io.whosmat(path, appendmat=False)]
    shapes = {name: (shape, _CLASSES[kind]) for name, shape, kind in found if kind in _CLASSES}
    return shapes, [name for name, _, _ in found if name not in shapes]


def _check_elements(path: Path) -> None:
    """Refuse a file of version 5 that ends before its variables do."""
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(_HEADER)[-2:] == b"IM" else ">"
        position = _HEADER
        while position < size:
            file.seek(position)
            tag = file.read(8)
            if len(tag) < 8:
                break
            kind, length = struct.unpack(f"{order}II", tag)
            position += 8 if kind >> 16 else 8 + length
    if position != size or size == _HEADER:
        raise DataError(
            f"{path}: truncated or damaged MATLAB file: {size} bytes found, its variables end at {position}; copy it"
            " again"
        )


# Version 7.3 ---------------------------------------------------------------------------------------------------------


def _hdf5_shapes(path: Path) -> tuple[Shapes, list[str]]:
    shapes: Shapes = {}
    others: list[str] = []
    with h5py.File(path, "r") as file:
        for name in file:
            # Links into other files, or to other names, are nothing that MATLAB writes.
            item = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
            if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
                others.append(name)
                continue
            kind = _CLASSES.get(_hdf5_class(item) or item.dtype.name)
            kind = item.dtype.name if _hdf5_class(item) == "" and item.dtype.name in READ_AS else kind
            if kind is None or kind not in ("bool", item.dtype.name):
                others.append(name)
                continue
            empty = bool(item.attrs.get("MATLAB_empty", 0))
            shapes[name] = ((0, 0) if empty else item.shape[::-1], kind)
            if not empty and math.prod(item.shape) > 0:
                _check_chunks(item, path)
    return shapes, others


def _hdf5_class(item: Any) -> str:
    name = item.attrs.get("MATLAB_class", b"")
    return name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)


def _check_chunks(item: Any, path: Path) -> None:
    """Refuse a variable of which HDF5 would fill in what was never written."""
    if item.chunks:
        expected = math.prod(-(-length // chunk) for length, chunk in zip(item.shape, item.chunks, strict=True))
        there = item.id.get_num_chunks()
    else:
        expected, there = 1, int(item.id.get_storage_size() > 0)
    if there < expected:
        raise DataError(
            f"{path}: {expected - there} of {expected} blocks of {item.name[1:]} were never written; save it again"
        )
