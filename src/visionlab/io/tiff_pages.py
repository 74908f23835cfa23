"""Walk through all pages of a TIFF file, and refuse it unless every one is whole and like the first.

tifffile ends quietly where the chain of pages is cut, and fills strips that are missing with zeros.
TIFF 6.0 (Adobe, 1992); BigTIFF (AWare Systems).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from visionlab.errors import DataError

_TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u8", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "u8", 11: "f4", 12: "f8"}
_TYPES |= {13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_WIDTH, _HEIGHT, _SAMPLES, _PLANAR = 256, 257, 277, 284
# What must be the same for pages to be planes of one volume, and what a file that leaves it out means.
_ALIKE = {_WIDTH: (), _HEIGHT: (), 258: (1,), 262: (), _SAMPLES: (1,), _PLANAR: (1,), 339: (1,), 32997: (1,)}
_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_STRIPS, _TILES = (273, 279), (324, 325)

Tags = dict[int, npt.NDArray[np.generic]]


class _Form(NamedTuple):
    """How numbers are stored: byte order, and formats and sizes of what differs in BigTIFF."""

    order: str
    number: str
    entry: int
    offset: str


def page_offsets(path: Path) -> npt.NDArray[np.int64]:
    """Return where each page of a TIFF file (its IFD) begins.

    Raises:
        DataError: the chain of pages is cut or loops, a page's strips or tiles are missing or lie beyond the file's
            end, or a page differs from the first in size or type.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        form, position = _start(file)
        offsets: list[int] = []
        seen: set[int] = set()
        first: Tags = {}
        while position:
            if position in seen:
                raise DataError(f"{path}: damaged TIFF file (its pages lead back to an earlier one); copy it again")
            seen.add(position)
            try:
                tags, following = _page(file, form, position, size)
            except (struct.error, ValueError):
                raise DataError(
                    f"{path}: truncated TIFF file: page {len(offsets)} is missing or cut ({size} bytes found); copy it"
                    " again"
                ) from None
            first = first or tags
            _check_like(tags, first, len(offsets), path)
            _check_parts(tags, size, len(offsets), path)
            offsets.append(position)
            position = following
    if not offsets:
        raise DataError(f"{path}: a TIFF file without pages; copy or save it again")
    return np.array(offsets, dtype=np.int64)


def _start(file: IO[bytes]) -> tuple[_Form, int]:
    """Return the file's form and where its first page is."""
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    if struct.unpack_from(f"{order}H", start, 2)[0] == 43:
        return _Form(order, "Q", 20, "Q"), struct.unpack_from(f"{order}Q", start, 8)[0]
    return _Form(order, "H", 12, "I"), struct.unpack_from(f"{order}I", start, 4)[0]


def _page(file: IO[bytes], form: _Form, position: int, size: int) -> tuple[Tags, int]:
    """Return the tags of a page that matter here, and where the next is.

    Raises ``struct.error`` or ``ValueError`` if it is not wholly within the ``size`` of the file.
    """
    file.seek(position)
    (count,) = struct.unpack(f"{form.order}{form.number}", file.read(struct.calcsize(form.number)))
    if count > 4096:
        raise ValueError("too many tags")
    block = file.read(count * form.entry)
    (following,) = struct.unpack(f"{form.order}{form.offset}", file.read(struct.calcsize(form.offset)))
    wide = struct.calcsize(form.offset)
    tags: Tags = {}
    for at in range(0, len(block), form.entry):
        code, kind, length = struct.unpack_from(f"{form.order}HH{form.offset}", block, at)
        if kind not in _TYPES:
            continue
        dtype = np.dtype(f"{form.order}{_TYPES[kind]}")
        data = block[at + form.entry - wide : at + form.entry]
        if length * dtype.itemsize > wide:
            (place,) = struct.unpack(f"{form.order}{form.offset}", data)
            # Descriptions too: without theirs, OME and ImageJ files would pass for plain ones.
            if place + length * dtype.itemsize > size:
                raise ValueError("a tag is cut")
            file.seek(place)
            data = file.read(length * dtype.itemsize) if code in _WANTED else b""
        if code in _WANTED:
            tags[code] = np.frombuffer(data, dtype, length)
    return tags, following


_WANTED = frozenset((*_ALIKE, _ROWS, _TILE_WIDTH, _TILE_HEIGHT, *_STRIPS, *_TILES))


def _values(tags: Tags, code: int) -> tuple[int, ...]:
    values = tuple(tags[code].tolist()) if code in tags else _ALIKE[code]
    # Bits and sample formats are written once, or once a sample.
    return values[:1] if len(set(values)) == 1 else values


def _check_like(tags: Tags, first: Tags, page: int, path: Path) -> None:
    other = [code for code in _ALIKE if _values(tags, code) != _values(first, code)]
    if not other:
        return
    if {_WIDTH, _HEIGHT} & set(other):
        sizes = [" x ".join(str(*_values(page, code)) for code in (_HEIGHT, _WIDTH)) for page in (tags, first)]
        raise DataError(
            f"{path}: page {page} is {sizes[0]} pixels, the first {sizes[1]}; expected the planes of one volume or"
            " series, so save images of other sizes (previews too) apart"
        )
    raise DataError(
        f"{path}: page {page} is of another type, colour or number of channels than the first; expected the planes of"
        " one volume or series, so save them apart"
    )


def _check_parts(tags: Tags, size: int, page: int, path: Path) -> None:
    """Refuse a page whose strips or tiles are not all in the file."""
    offset_code, count_code = _TILES if _TILES[0] in tags else _STRIPS
    nothing = np.zeros(0, np.int64)
    offsets, counts = (tags.get(code, nothing).astype(np.int64) for code in (offset_code, count_code))
    height, width = int(_values(tags, _HEIGHT)[0]), int(_values(tags, _WIDTH)[0])
    if offset_code == _TILES[0]:
        tall, wide = (max(1, int(tags[code][0])) for code in (_TILE_HEIGHT, _TILE_WIDTH))
        expected = -(-height // tall) * -(-width // wide)
    else:
        rows = int(tags[_ROWS][0]) if _ROWS in tags else height
        expected = -(-height // max(1, min(rows, height)))
    if _values(tags, _PLANAR) == (2,):
        expected *= int(_values(tags, _SAMPLES)[0])
    there = min(len(offsets), len(counts))
    ends = offsets[:there] + counts[:there]
    missing = int(np.sum((counts[:there] <= 0) | (offsets[:there] <= 0) | (ends > size))) + max(0, expected - there)
    if missing or not expected:
        raise DataError(
            f"{path}: truncated TIFF file: {missing} of {expected} strips or tiles of page {page} are missing or cut"
            f" ({size} bytes found); copy it again"
        )
