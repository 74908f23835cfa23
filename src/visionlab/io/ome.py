"""The part of OME-XML that says what the pages of a TIFF file are.

The OME model, 2016-06 (openmicroscopy.org/Schemas/OME/2016-06).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from visionlab.errors import DataError
from visionlab.io.volume import Voxel
from visionlab.io.voxel_size import micrometres, seconds

_MOST = 2**24  # planes


@dataclass(frozen=True, eq=False)
class Ome:
    """Axes from page to page, slowest first, without those of length 1; ``pages`` holds the page of each place."""

    names: str
    sizes: tuple[int, ...]
    pages: npt.NDArray[np.int64]
    voxel: Voxel
    interval: float | None


def parse_ome(text: str, count: int, samples: int, path: Path) -> Ome:
    """Return what OME-XML says of a file.

    Args:
        text: the XML.
        count: number of pages in the file.
        samples: channels that each page holds.
        path: of the file.

    Raises:
        DataError: it isn't valid, describes several images or files, or pages that are not there.
    """
    pixels = _pixels(text, path)
    order = pixels.get("DimensionOrder", "XYZCT")
    try:
        lengths = {axis: int(pixels.get(f"Size{axis}", "1")) for axis in "TZC"}
        if sorted(order) != sorted("XYZCT") or not order.startswith("XY"):
            raise ValueError(order)
        lengths["C"] = max(lengths["C"] // samples, min(lengths["C"], 1))
        if min(lengths.values()) < 1:
            shown = ", ".join(f"{axis} {length}" for axis, length in lengths.items())
            raise DataError(f"{path}: holds no planes (OME-XML says {shown}); save it again")
        if math.prod(lengths.values()) > _MOST:
            raise DataError(f"{path}: claims {math.prod(lengths.values())} planes, {count} are there; copy it again")
        outer = order[:1:-1]
        pages = _places(pixels, outer, lengths, count)
    except ValueError as error:
        raise DataError(f"{path}: its OME-XML is not valid ({error}); save it again") from None
    missing = int(np.sum((pages < 0) | (pages >= count)))
    if missing:
        raise DataError(
            f"{path}: truncated, or one of several files: OME-XML says {pages.size} planes, {missing} of them are not"
            f" in this file ({count} pages); copy it again or save it as one file"
        )
    kept = [axis for axis in outer if lengths[axis] > 1]
    depth, height, width = (
        micrometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX"
    )
    interval = seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    return Ome("".join(kept), tuple(lengths[axis] for axis in kept), pages, (depth, height, width), interval)


def _pixels(text: str, path: Path) -> ElementTree.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: its OME-XML defines entities, which are not read; save it again")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: its OME-XML is damaged ({error}); save or copy it again") from None
    found = [element for image in _named(root, "Image") for element in _named(image, "Pixels")]
    if len(found) != 1:
        held = f"{len(found)} images (scenes or positions)" if found else "metadata that are kept in another file"
        raise DataError(f"{path}: its OME-XML holds {held}; expected one image a file, so save it as such")
    return found[0]


def _places(pixels: ElementTree.Element, outer: str, lengths: dict[str, int], count: int) -> npt.NDArray[np.int64]:
    """Return the page of each plane in the order ``outer``, slowest first; -1 where none is named."""
    sizes = [lengths[axis] for axis in outer]
    pages = np.full(math.prod(sizes), -1, dtype=np.int64)
    entries = _named(pixels, "TiffData")
    files = {(uuid.text or "").strip() for entry in entries for uuid in _named(entry, "UUID")}
    if len(files) > 1:
        return pages
    for entry in entries or [ElementTree.Element("TiffData")]:
        place = [int(entry.get(f"First{axis}", "0")) for axis in outer]
        if any(not 0 <= at < size for at, size in zip(place, sizes, strict=True)):
            raise ValueError(f"a plane at {dict(zip(outer, place, strict=True))}")
        start = int(np.ravel_multi_index(place, sizes))
        first = int(entry.get("IFD", "0"))
        most = 1 if "IFD" in entry.attrib else max(count, pages.size)
        length = min(int(entry.get("PlaneCount", str(most))), pages.size - start)
        if first < 0 or length < 0:
            raise ValueError("a negative IFD or PlaneCount")
        pages[start : start + length] = np.arange(first, first + length)
    return pages


def _named(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the children of that name in whatever version of the schema."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]
