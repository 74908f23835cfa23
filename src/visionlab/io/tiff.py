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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

from visionlab.errors import DataError
from visionlab.io.pixels import MAX_VALUES, ORIENTATION, READ_AS, Image, check_size, decoding, swaps_sides, upright
from visionlab.io.volume import UNKNOWN, AxesError, Volume, advice, order_pages
from visionlab.io.voxel_size import ome_scale, tiff_scale

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


@dataclass(frozen=True, eq=False)
class TiffSource:
    """The planes of a TIFF file. It is opened for each, so that threads and forked processes share nothing.

    Args:
        path: of the file.
        offsets: where each page begins, or with ``bare`` where its pixels do.
        pages: planes x pages of a plane.
        bare: type, with the order of bytes, of pages whose pixels lie in the file as they are; else empty.
        axes: of a page: YX, YXS or SYX.
        shape: of a page.
        orientation: of all pages.
        lossy: the compression that changes values, or empty.
        samples: which of a page are taken; None: all.
    """

    path: Path
    offsets: npt.NDArray[np.int64]
    pages: npt.NDArray[np.int64]
    bare: str
    axes: str
    shape: tuple[int, ...]
    orientation: int
    lossy: str
    samples: tuple[int, ...] | None = None

    def plane(self, index: int) -> Image:
        offsets = [int(self.offsets[page]) for page in self.pages[index]]
        parts = self._bare(offsets) if self.bare else self._decoded(offsets)
        image = np.concatenate([self._last(part) for part in parts], axis=2) if len(parts) > 1 else self._last(parts[0])
        return upright(image if self.samples is None else image[..., self.samples], self.orientation)

    def choose(self, channels: Sequence[int]) -> TiffSource:
        if self.pages.shape[1] == 1:
            return replace(self, samples=tuple(channels))
        return replace(self, pages=self.pages[:, list(channels)])

    def _last(self, page: Image) -> Image:
        """Return a page with its samples last."""
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
                image = page.asarray(maxworkers=1)  # files are read in parallel already
                if image.shape != self.shape:
                    raise ValueError(f"the page at {offset} decodes to {image.shape}, not {self.shape}")
                images.append(image)
        return images

    def _bare(self, offsets: list[int]) -> list[Image]:
        dtype, count = np.dtype(self.bare), math.prod(self.shape)
        with decoding(self.path, "TIFF"):
            return [
                np.fromfile(self.path, dtype, count, offset=offset)
                .astype(dtype.newbyteorder("="), copy=False)
                .reshape(self.shape)
                for offset in offsets
            ]


def open_tiff(path: Path, axes: str | None) -> Volume:
    """Return what a TIFF file holds; see :func:`visionlab.io.formats.open_volume`."""
    with _reading(path) as tif:
        page = tif.pages.first
        _check_page(page, path)
        ome = _parse_ome(page, len(tif.pages), path) if page.is_ome else None
        series = _one_series(tif, path)
        names, sizes = _outer_axes(series, tif, path)
        offsets, bare = _find_pages(tif, series, math.prod(sizes), path)
        said = tif.imagej_metadata or _shaped(page)
        voxel_size, interval = ome_scale(ome.pixels) if ome else tiff_scale(page, said, imagej=series.kind == "imagej")
        lossy = tifffile.COMPRESSION(page.compression).name
    orientation, samples = _orientation(page), page.samplesperpixel
    height, width = page.imagelength, page.imagewidth
    if swaps_sides(orientation):
        height, width = width, height
        voxel_size = (voxel_size[0], voxel_size[2], voxel_size[1])
    order = order_pages(names, sizes, (height, width, samples), axes, path)
    count = order.pages.shape[1] if order.pages.shape[1] > 1 else samples if _is_stained(page) else 1
    stains = tuple((ome.stains[i] if ome and i < len(ome.stains) else "") or str(i) for i in range(count))
    source = TiffSource(
        path, offsets, order.pages, bare, page.axes, page.shape, orientation, lossy if lossy in _LOSSY else ""
    )
    stored = np.dtype(page.dtype).name
    form = _KINDS[series.kind]
    return Volume(
        path,
        order.axes,
        order.shape,
        READ_AS[stored],
        voxel_size,
        interval,
        form,
        source,
        stored,
        stains if count > 1 else (),
        order.assumed,
    )


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


def _is_stained(page: tifffile.TiffPage) -> bool:
    """Return whether the samples of a page are neither colours nor transparency."""
    gray = page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
    return bool(gray and page.samplesperpixel > 1 and not set(page.extrasamples) & set(_ALPHA))


def _orientation(page: tifffile.TiffPage, first: int = 1) -> int:
    """Return a page's orientation, which may be said in the first page alone."""
    return int(page.tags.valueof(ORIENTATION, default=first))


# Pages ----------------------------------------------------------------------------------------------------------------


def _one_series(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    found = tif.series
    if tif.pages.first.is_ome and [series.kind for series in found] != ["ome"] * len(found):
        raise DataError(
            f"{path}: its OME-XML is not of the pages in this file: is one of several files, or damaged; save it as one"
        )
    page = tif.pages.first
    alike = {(series.kind, series.shape, series.dtype, series.keyframe.axes) for series in found}
    if len(found) > 1 and alike == {("shaped", page.shape, page.dtype, page.axes)}:
        # Pages that were written one after the other by tifffile, each with a description of its own.
        pages = [series.keyframe for series in found]
        return tifffile.TiffPageSeries(
            pages, (len(pages), *page.shape), page.dtype, UNKNOWN + page.axes, kind="uniform", squeeze=False
        )
    other = next((series.kind for series in found if series.kind not in _KINDS), None)
    if other:
        raise DataError(f"{path}: a TIFF of the kind {other.upper()}; expected OME, ImageJ or plain TIFF, so export it")
    if len(found) != 1:
        sizes = ", ".join(" x ".join(map(str, series.keyframe.shape)) + f" {series.dtype}" for series in found[:3])
        raise DataError(
            f"{path}: holds {len(found)} images or series of other sizes or types ({sizes}); expected the planes of one"
            " volume or series, so save others (previews too) apart"
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
        raise AxesError(f"{path}: has {found}, its pages are {page.axes} {page.shape}: {advice()}")
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
            whole = max(0, (size - start) // first.nbytes)
            raise DataError(
                f"{path}: truncated TIFF file: {whole} of {count} planes are whole ({size} bytes found); copy it again"
            )
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
        raise DataError(f"{path}: truncated TIFF file: its last tags are cut ({size} bytes found); copy it again")
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
        raise DataError(
            f"{path}: truncated TIFF file: {missing} of {expected} strips or tiles of page {number} are missing or cut"
            f" ({size} bytes found); copy it again"
        )
    return int(offsets[0]), bool((ends[:-1] == offsets[1:]).all() and counts.sum() == first.nbytes)


def _shaped(page: tifffile.TiffPage) -> Mapping[str, Any]:
    """Return the metadata that tifffile writes into the first page of files without another format."""
    text = page.shaped_description if page.is_shaped else None
    return dict(tifffile.tifffile.shaped_description_metadata(text)) if text else {}


# OME ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ome:
    """Attributes of the pixels, and the names of the channels, empty where they have none."""

    pixels: Mapping[str, str]
    stains: tuple[str, ...]


def _parse_ome(page: tifffile.TiffPage, count: int, path: Path) -> _Ome:
    """Return what OME-XML says of the image, checked before tifffile makes room for the planes that it claims."""
    text = page.description
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: its OME-XML defines entities, which are not read; save it again")
    root = ElementTree.fromstring(text)
    found = root.findall("{*}Image/{*}Pixels")
    if len(found) != 1:
        held = f"{len(found)} images (scenes or positions)" if found else "metadata that are kept in another file"
        raise DataError(f"{path}: its OME-XML holds {held}; expected one image a file, so save it as such")
    (pixels,) = found
    sizes = [int(pixels.get(f"Size{axis}", "1")) for axis in "TZC"]
    if min(sizes) < 1:
        raise DataError(f"{path}: holds no planes (OME-XML says T, Z, C {sizes}); save it again")
    claimed = [math.prod(sizes), *(int(data.get("PlaneCount", "1")) for data in pixels.findall("{*}TiffData"))]
    if max(claimed) > _MOST_PLANES:
        raise DataError(f"{path}: claims {max(claimed)} planes, {count} are there; copy it again")
    return _Ome(pixels.attrib, tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel")))
