"""Images, volumes and series in TIFF files: OME, ImageJ, plain; each page exactly or not at all.

tifffile reads them under a guard, since it fills in what is missing and ends quietly where the chain of pages is cut:
any warning of it is an error, all strips and tiles lie inside the file, every page belongs to the one series.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

from visionlab.errors import DataError
from visionlab.io.pixels import MAX_VALUES, ORIENTATION, READ_AS, Image, check_size, decoding, swaps_sides, upright
from visionlab.io.volume import ADVICE, UNKNOWN, AxesError, Volume, VoxelSize, order_pages

_KINDS = {"ome": "ome", "imagej": "imagej", "shaped": "tiff", "uniform": "tiff", "generic": "tiff"}
# Formats on top of TIFF that are read as what they are beside that: OME or plain.
_NOT_READ_AS: dict[str, Any] = {f"is_{name}": False for name in ("mmstack", "ndtiff", "scanimage", "philips", "eer")}
_LOSSY = ("OJPEG", "JPEG", "ALT_JPEG", "JPEG_LOSSY", "JPEGXR", "JPEGXR_NDPI", "WEBP")
_ALPHA = (1, 2)  # extra samples that are transparency, TIFF 6.0
_MOST_PLANES = 2**24


class _Warnings(logging.Filter):
    """Collects what tifffile warns of while a file is read in this thread, in place of printing it."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        found: list[str] | None = getattr(self._here, "found", None)
        if found is None:
            return True
        if record.levelno >= logging.WARNING:
            found.append(record.getMessage())
        return False

    @contextlib.contextmanager
    def refused(self) -> Iterator[None]:
        """Raise ``ValueError`` at the end for the first warning."""
        found: list[str] = []
        self._here.found = found
        try:
            yield
        finally:
            self._here.found = None
        if found:
            raise ValueError(re.sub(r"<tifffile\.\S+ .*?> ", "", found[0]))


_WARNINGS = _Warnings()
logging.getLogger("tifffile").addFilter(_WARNINGS)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[tifffile.TiffFile]:
    with decoding(path, "TIFF"), _WARNINGS.refused(), tifffile.TiffFile(path, _multifile=False, **_NOT_READ_AS) as tif:
        yield tif


def open_tiff(path: Path, axes: str | None) -> Volume:
    """Return what a TIFF file holds; see :func:`visionlab.io.formats.open_volume`."""
    with _reading(path) as tif:
        page = tif.pages.first
        _check_page(page, path)
        pixels, stains = _parse_ome(page, len(tif.pages), path) if page.is_ome else ({}, [])
        series = _one_series(tif, path)
        names, sizes = _outer_axes(series, tif, path)
        offsets, bare = _find_pages(tif, series, math.prod(sizes), path)
        said = tif.imagej_metadata or next(iter(tif.shaped_metadata or ()), {})
        voxel_size, interval = _ome_scale(pixels) if pixels else _tiff_scale(page, said, series.kind == "imagej")
        compression = tifffile.COMPRESSION(page.compression).name
    orientation, samples = _orientation(page), page.samplesperpixel
    height, width = page.imagelength, page.imagewidth
    if swaps_sides(orientation):
        height, width = width, height
        voxel_size = (voxel_size[0], voxel_size[2], voxel_size[1])
    order = order_pages(names, sizes, (height, width, samples), axes, path)
    # Samples of a page that are neither colours nor transparency are channels, as pages of a plane are.
    gray = page.photometric == tifffile.PHOTOMETRIC.MINISBLACK and not set(page.extrasamples) & set(_ALPHA)
    count = order.pages.shape[1] if order.pages.shape[1] > 1 else samples if gray else 1
    stored = np.dtype(page.dtype).name
    return Volume(
        path,
        order.axes,
        order.shape,
        READ_AS[stored],
        voxel_size,
        interval,
        _KINDS[series.kind],
        TiffPages(path, offsets, order.pages, bare, page.axes, page.shape, orientation),
        stored,
        compression if compression in _LOSSY else "",
        tuple((*stains[:count], *[""] * count)[i] or str(i) for i in range(count)) if count > 1 else (),
    )


@dataclass(frozen=True, eq=False)
class TiffPages:
    """Reads the planes of a TIFF file. It is opened for each, so that threads and forked processes share nothing.

    Args:
        path: of the file.
        offsets: where each page begins, or with ``bare`` where its pixels do.
        pages: planes x pages of a plane.
        bare: type, with the order of bytes, of pages whose pixels lie in the file as they are; else empty.
        axes: of a page: YX, YXS or SYX.
        shape: of a page.
        orientation: of all pages.
    """

    path: Path
    offsets: npt.NDArray[np.int64]
    pages: npt.NDArray[np.int64]
    bare: str
    axes: str
    shape: tuple[int, ...]
    orientation: int

    def __call__(self, index: int, channels: Sequence[int] | None = None) -> Image:
        """Return a plane, H x W x C, or these of its channels."""
        pages, samples = self.pages[index], channels
        if len(pages) > 1 and channels is not None:
            pages, samples = pages[list(channels)], None
        offsets = [int(offset) for offset in self.offsets[pages]]
        parts = self._bare(offsets) if self.bare else self._decoded(offsets)
        planes = [self._samples_last(part) for part in parts]
        image = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
        return upright(image if samples is None else image[..., list(samples)], self.orientation)

    def _samples_last(self, page: Image) -> Image:
        if self.axes == "YX":
            return page[..., None]
        return np.moveaxis(page, 0, -1) if self.axes == "SYX" else page

    def _decoded(self, offsets: list[int]) -> list[Image]:
        images = []
        with _reading(self.path) as tif:
            for offset in offsets:
                page = tif.pages.first
                if page.offset != offset:
                    tif.filehandle.seek(offset)
                    page = tifffile.TiffPage(tif, 0)
                if page.shape != self.shape or _orientation(page, self.orientation) != self.orientation:
                    raise ValueError(f"the page at {offset} is of another size or orientation than the first")
                images.append(page.asarray(maxworkers=1))  # files are read in parallel already
                if images[-1].shape != self.shape:
                    raise ValueError(f"the page at {offset} decodes to {images[-1].shape}, not {self.shape}")
        return images

    def _bare(self, offsets: list[int]) -> list[Image]:
        dtype, count = np.dtype(self.bare), math.prod(self.shape)
        with decoding(self.path, "TIFF"):
            pages = [np.fromfile(self.path, dtype, count, offset=offset).reshape(self.shape) for offset in offsets]
        return [page.astype(dtype.newbyteorder("="), copy=False) for page in pages]


def _check_page(page: tifffile.TiffPage, path: Path) -> None:
    """Refuse what is not read, from the description of the first page alone."""
    stored = page.dtype.name if page.dtype is not None else "unknown"
    bits = page.bitspersample
    if stored not in READ_AS or 1 < bits < 8:
        raise DataError(f"{path}: stores {bits}-bit values ({stored}); save it as uint8, uint16 or float32")
    photometric = tifffile.PHOTOMETRIC(page.photometric).name
    if photometric == "MINISWHITE":
        raise DataError(f"{path}: stores white as 0, which programs read in opposite ways; save it with black as 0")
    rgb_from_jpeg = photometric == "YCBCR" and page.compression == tifffile.COMPRESSION.JPEG
    if photometric not in ("MINISBLACK", "RGB") and not rgb_from_jpeg:
        raise DataError(f"{path}: a TIFF of colour kind {photometric}; save it as gray or RGB")
    if page.imagedepth > 1:
        raise DataError(f"{path}: its pages are volumes of {page.imagedepth} planes (SGI); save a plane a page")
    check_size(page.imagelength, page.imagewidth, page.samplesperpixel, path)
    if page.axes not in ("YX", "YXS", "SYX"):
        raise DataError(f"{path}: expected pages with axes YX, YXS or SYX, found {page.axes} {page.shape}")
    if math.prod(page.chunks) > MAX_VALUES:
        raise DataError(f"{path}: its tiles are {page.chunks} values each; at most {MAX_VALUES} are read")


def _orientation(page: tifffile.TiffPage, first: int = 1) -> int:
    """Return a page's orientation, which may be said in the first page alone."""
    return int(page.tags.valueof(ORIENTATION, default=first))


# Pages ----------------------------------------------------------------------------------------------------------------


def _one_series(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    found, page = tif.series, tif.pages.first
    if page.is_ome and [series.kind for series in found] != ["ome"] * len(found):
        raise DataError(
            f"{path}: its OME-XML is not of the pages in this file: is one of several files, or damaged; save it as one"
        )
    alike = {(series.kind, series.shape, series.dtype, series.keyframe.axes) for series in found}
    if len(found) > 1 and alike == {("shaped", page.shape, page.dtype, page.axes)}:
        # Pages that were written one after the other by tifffile, each with a description of its own.
        pages = [series.keyframe for series in found]
        return tifffile.TiffPageSeries(
            pages, (len(pages), *page.shape), page.dtype, UNKNOWN + page.axes, kind="uniform", squeeze=False
        )
    if other := next((series.kind for series in found if series.kind not in _KINDS), None):
        raise DataError(f"{path}: a TIFF of the kind {other.upper()}; expected OME, ImageJ or plain TIFF, so export it")
    if len(found) != 1:
        raise DataError(
            f"{path}: holds {len(found)} images or series of other sizes or types; expected the planes of one volume or"
            " series, so save others (previews too) apart"
        )
    return found[0]


def _outer_axes(series: tifffile.TiffPageSeries, tif: tifffile.TiffFile, path: Path) -> tuple[str, tuple[int, ...]]:
    """Return names and lengths of the axes from page to page."""
    page = series.keyframe
    axes, shape = series.axes.upper().replace("I", UNKNOWN), series.shape
    if shape[-1:] == (1,) and axes[:-1].endswith("YX") and page.axes == "YX":
        axes, shape = axes[:-1], shape[:-1]  # a gray image written as height x width x 1
    inner = len(page.shape)
    tail = axes[-inner:].replace("C", "S") if inner > 2 else axes[-inner:]
    if shape[-inner:] != page.shape or tail != page.axes:
        found = f"axes {axes} ({' x '.join(map(str, shape))})"
        raise AxesError(f"{path}: has {found}, its pages are {page.axes} {page.shape}: {ADVICE}")
    names = axes[:-inner]
    if series.kind == "imagej" and names == "Z" and not (tif.imagej_metadata or {}).get("hyperstack"):
        names = UNKNOWN  # ImageJ calls the images of any stack slices, those of a movie too
    return names, tuple(shape[:-inner])


def _find_pages(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, count: int, path: Path
) -> tuple[npt.NDArray[np.int64], str]:
    """Return where each page, or its pixels, begins, and the type of pixels that lie there as they are.

    Raises:
        DataError: there are more or fewer pages than ``count``, or one is not wholly in the file.
    """
    first, size = series.keyframe, tif.filehandle.size
    dtype = np.dtype(tif.byteorder + np.dtype(first.dtype).char).str
    if len(tif.pages) == 1 < count and first.is_final:
        # What is beyond the first page of a big stack stands in the file without a page of its own.
        start = _parts(first, first, 0, size, path)[0]
        offsets = start + np.arange(count, dtype=np.int64) * first.nbytes
        if offsets[-1] + first.nbytes > size:
            raise _truncated(path, f"{max(0, (size - start) // first.nbytes)} of {count} planes are whole", size)
        return offsets, dtype
    pages = [page for page in series.pages if page is not None]
    if not count == len(pages) == len(tif.pages):
        raise DataError(
            f"{path}: says that it holds {count} planes, {len(pages)} are there in {len(tif.pages)} pages: truncated,"
            " damaged, one of several files or with previews, so copy it again or save its planes alone as one file"
        )
    # Of tags only some were read; the file may end within the others of its last page.
    tags = list(max(pages, key=lambda page: page.offset).aspage().tags)
    ends = [tag.valueoffset + tag.valuebytecount for tag in tags]
    ends.append(max(tag.offset for tag in tags) + tif.tiff.tagsize + tif.tiff.offsetsize)
    if max(ends) > size:
        raise _truncated(path, "its last tags are cut", size)
    starts = [_parts(page, first, number, size, path) for number, page in enumerate(pages)]
    bare = first.is_final and all(whole for _, whole in starts)
    offsets = np.array([start if bare else page.offset for (start, _), page in zip(starts, pages, strict=True)])
    return offsets.astype(np.int64), dtype if bare else ""


def _parts(page: Any, first: tifffile.TiffPage, number: int, size: int, path: Path) -> tuple[int, bool]:
    """Return where the pixels of a page begin, and whether they lie one behind the other.

    Raises:
        DataError: strips or tiles are not all in the file.
    """
    expected = math.prod(first.chunked)
    offsets, counts = (np.array(values[:expected], np.int64) for values in (page.dataoffsets, page.databytecounts))
    there = min(len(offsets), len(counts))
    ends = offsets[:there] + counts[:there]
    missing = int(np.sum((counts[:there] <= 0) | (offsets[:there] <= 0) | (ends > size))) + expected - there
    if missing or not expected:
        what = f"{missing} of {expected} strips or tiles of page {number} are missing or cut"
        raise _truncated(path, what, size)
    return int(offsets[0]), bool((ends[:-1] == offsets[1:]).all() and counts.sum() == first.nbytes)


def _truncated(path: Path, what: str, size: int) -> DataError:
    return DataError(f"{path}: truncated TIFF file: {what} ({size} bytes found); copy it again")


def _parse_ome(page: tifffile.TiffPage, count: int, path: Path) -> tuple[Mapping[str, str], list[str]]:
    """Return attributes of the pixels and names of the channels in OME-XML, empty where they have none.

    They are checked before tifffile makes room for the planes that the file claims.
    """
    text = page.description
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: its OME-XML defines entities, which are not read; save it again")
    found = ElementTree.fromstring(text).findall("{*}Image/{*}Pixels")
    if len(found) != 1:
        held = f"{len(found)} images (scenes or positions)" if found else "metadata that are kept in another file"
        raise DataError(f"{path}: its OME-XML holds {held}; expected one image a file, so save it as such")
    (pixels,) = found
    sizes = [int(pixels.get(f"Size{axis}", "1")) for axis in "TZC"]
    claimed = [math.prod(sizes), *(int(data.get("PlaneCount", "1")) for data in pixels.findall("{*}TiffData"))]
    if min(sizes) < 1 or max(claimed) > _MOST_PLANES:
        said = f"{max(claimed)} planes" if min(sizes) > 0 else "{} x {} x {} planes (time, z, channels)".format(*sizes)
        raise DataError(f"{path}: claims {said}, {count} are there; copy or save it again")
    return pixels.attrib, [channel.get("Name", "") for channel in pixels.findall("{*}Channel")]


# Voxel sizes in micrometres and intervals in seconds ------------------------------------------------------------------


_LENGTHS = {
    "pm": Fraction(1, 10**6),
    "å": Fraction(1, 10**4),
    "nm": Fraction(1, 10**3),
    **dict.fromkeys(("µm", "um", "micron", "microns", "micrometer", "micrometre"), Fraction(1)),
    "mm": Fraction(10**3),
    "cm": Fraction(10**4),
    "m": Fraction(10**6),
}
_TIMES = {
    **dict.fromkeys(("µs", "us"), Fraction(1, 10**6)),
    "ms": Fraction(1, 10**3),
    **dict.fromkeys(("s", "sec", "second", "seconds"), Fraction(1)),
    **dict.fromkeys(("min", "minute", "minutes"), Fraction(60)),
    **dict.fromkeys(("h", "hour", "hours"), Fraction(3600)),
    "d": Fraction(86400),
}
_RESOLUTION_UNITS = {2: Fraction(25400), 3: Fraction(10**4)}  # inch and centimetre, TIFF 6.0
# Micrometres from which on the resolution of a plain TIFF is taken as one of printing (600 dpi is 42) and not used.
_PRINTED = 20.0


def _ome_scale(pixels: Mapping[str, str]) -> tuple[VoxelSize, float | None]:
    """Return voxel size and interval of the attributes of OME's pixels."""
    z, y, x = (
        _scaled(pixels.get(f"PhysicalSize{axis}"), _unit(_LENGTHS, pixels.get(f"PhysicalSize{axis}Unit", "µm")))
        for axis in "ZYX"
    )
    return (z, y, x), _scaled(pixels.get("TimeIncrement"), _unit(_TIMES, pixels.get("TimeIncrementUnit", "s")))


def _tiff_scale(page: tifffile.TiffPage, said: Mapping[str, Any], imagej: bool) -> tuple[VoxelSize, float | None]:
    """Return voxel size and interval of an ImageJ or plain TIFF file.

    Args:
        page: with the resolution: pixels a unit.
        said: its description: ``unit`` of all, ``spacing`` in z, and ``yunit`` and ``zunit`` where they differ.
        imagej: the resolution is in the description's unit whatever the tag says, as ImageJ writes it.
    """
    unit = said.get("unit")
    tagged = None if imagej else _RESOLUTION_UNITS.get(int(page.tags.valueof("ResolutionUnit", default=2)))
    sides = []
    for tag, name in (("YResolution", said.get("yunit", unit)), ("XResolution", unit)):
        rational = page.tags.valueof(tag)
        known = isinstance(rational, tuple) and len(rational) == 2 and min(rational) > 0
        side = _scaled(Fraction(rational[1], rational[0]) if known else None, tagged or _unit(_LENGTHS, name))
        printed = not imagej and unit is None and side is not None and side >= _PRINTED
        sides.append(None if printed else side)
    # ImageJ notes the direction of a stack in the sign.
    spacing = said.get("spacing")
    depth = abs(spacing) if isinstance(spacing, int | float) else None
    voxel_size = (_scaled(depth, _unit(_LENGTHS, said.get("zunit", unit))), sides[0], sides[1])
    return voxel_size, _scaled(said.get("finterval"), _unit(_TIMES, said.get("tunit", "s")))


def _unit(units: Mapping[str, Fraction], name: object) -> Fraction | None:
    """Return the size of a unit in one of the spellings of its name; None for others (pixel, for instance)."""
    text = re.sub(r"\\u00[bB]5|\u03bc|\ufffd(?=m$)", "µ", str(name).strip())
    return units.get(text if text == "m" else text.lower())


def _scaled(value: Any, factor: Fraction | None) -> float | None:
    """Return a number in another unit, exactly rounded; None if it is no size."""
    try:
        number = value if isinstance(value, Fraction) else Fraction(repr(float(value)))
        return max(0.0, float(number * (factor or 0))) or None
    except (TypeError, ValueError, OverflowError):
        return None
