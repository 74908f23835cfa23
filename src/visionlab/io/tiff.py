"""Volumes and series in TIFF files: OME, ImageJ hyperstacks, and plain pages with or without tifffile's metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from visionlab.errors import DataError
from visionlab.io.axes import UNKNOWN, AxesError, advice, order_pages
from visionlab.io.formats import Header, Image, decoding
from visionlab.io.images import header
from visionlab.io.ome import parse_ome
from visionlab.io.tiff_pages import page_offsets
from visionlab.io.volume import UNKNOWN_VOXEL, Volume, Voxel
from visionlab.io.voxel_size import seconds, tiff_voxel

# Formats on top of TIFF whose pages mean something else than they seem to.
_OTHERS = ("lsm", "stk", "nih", "fluoview", "ndpi", "svs", "scn", "qpi", "bif")
_LOSSY = ("OJPEG", "JPEG", "ALT_JPEG", "JPEG_LOSSY", "JPEGXR", "JPEGXR_NDPI", "WEBP")


@dataclass(frozen=True, eq=False)
class TiffSource:
    """The planes of a TIFF file. It is opened for each, so that threads and forked processes share nothing.

    Args:
        path: of the file.
        offsets: where each page begins, or with ``bare`` where its pixels do.
        pages: planes x pages of a plane.
        bare: type and height x width (x samples) of pages without a description of their own.
        lossy: the compression that changes values, or empty.
    """

    path: Path
    offsets: npt.NDArray[np.int64]
    pages: npt.NDArray[np.int64]
    bare: tuple[str, tuple[int, ...]] | None
    lossy: str

    def plane(self, index: int) -> Image:
        with decoding(self.path, "TIFF"):
            read = self._bare if self.bare else self._described
            parts = read([int(self.offsets[page]) for page in self.pages[index]])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def _described(self, offsets: list[int]) -> list[Image]:
        images = []
        with tifffile.TiffFile(self.path) as tif:
            for offset in offsets:
                tif.filehandle.seek(offset)
                page = tifffile.TiffPage(tif, 0)
                image = page.asarray(maxworkers=1)
                image = np.moveaxis(image, 0, -1) if page.axes == "SYX" else image
                images.append(image.reshape(*image.shape[:2], -1))
        return images

    def _bare(self, offsets: list[int]) -> list[Image]:
        assert self.bare is not None
        dtype, shape = self.bare
        images = []
        with self.path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                data = file.read(math.prod(shape) * np.dtype(dtype).itemsize)
                image = np.frombuffer(data, dtype).reshape(shape)
                images.append(image.astype(image.dtype.newbyteorder("=")).reshape(*shape[:2], -1))
        return images


@dataclass(frozen=True, eq=False)
class _Pages:
    """Names and lengths of the axes from page to page, and the page of each place, as a file describes them."""

    form: str
    names: str
    sizes: tuple[int, ...]
    places: npt.NDArray[np.int64]
    voxel: Voxel
    interval: float | None
    bare: bool = False


def open_tiff(path: Path, axes: str | None) -> Volume:
    """Return what a TIFF file holds; see :func:`visionlab.io.volumes.open_volume`."""
    head = header(path)
    with decoding(path, "TIFF"):
        offsets = page_offsets(path)
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            _check_kind(tif, page, path)
            found = _describe(tif, page, head, len(offsets), path)
            lossy = tifffile.COMPRESSION(page.compression).name
            bare = None
            if found.bare:
                bare = (np.dtype(tif.byteorder + np.dtype(page.dtype).char).str, page.shape)
                offsets = _spread(page, math.prod(found.sizes), path)
    order = order_pages(found.names, found.sizes, (head.height, head.width, head.channels), axes, path)
    source = TiffSource(path, offsets, found.places[order.pages], bare, lossy if lossy in _LOSSY else "")
    return Volume(path, order.axes, order.shape, head.dtype, found.voxel, found.interval, found.form, source)


def _check_kind(tif: tifffile.TiffFile, page: tifffile.TiffPage, path: Path) -> None:
    other = next((name for name in _OTHERS if getattr(page, f"is_{name}", False)), None)
    if other:
        raise DataError(f"{path}: a TIFF of the kind {other.upper()}; expected OME, ImageJ or plain TIFF, so export it")
    if page.imagedepth > 1:
        raise DataError(f"{path}: its pages are volumes of {page.imagedepth} planes (SGI); save a plane a page")


def _describe(tif: tifffile.TiffFile, page: tifffile.TiffPage, head: Header, count: int, path: Path) -> _Pages:
    if page.is_ome:
        ome = parse_ome(page.description, count, head.channels, path)
        return _Pages("ome", ome.names, ome.sizes, ome.pages, ome.voxel, ome.interval)
    imagej = tif.imagej_metadata
    said = imagej or _shaped(page, path)
    voxel, interval = _scale(page, said, imagej=bool(imagej))
    if imagej:
        form, (names, sizes) = "imagej", _imagej_axes(imagej, head, path)
    else:
        form, (names, sizes) = "tiff", _shaped_axes(said, page, count, path)
    # What is beyond the first page of a big stack stands in the file without a page of its own.
    total = math.prod(sizes)
    bare = total > count == 1 and page.is_contiguous and page.axes != "SYX" and page.predictor == page.fillorder == 1
    if total != count and not bare:
        raise DataError(
            f"{path}: says that it holds {' x '.join(map(str, sizes)) or 1} planes, found {count} pages: truncated or"
            " damaged, so copy or save it again"
        )
    return _Pages(form, names, sizes, np.arange(total), voxel, interval, bare)


def _scale(page: tifffile.TiffPage, said: Mapping[str, Any], *, imagej: bool) -> tuple[Voxel, float | None]:
    tags = [page.tags.get(name) for name in ("YResolution", "XResolution")]
    resolution = tuple(tag.value if tag is not None else None for tag in tags)
    unit = page.tags.get("ResolutionUnit")
    voxel = tiff_voxel(said, (resolution[0], resolution[1]), int(unit.value) if unit is not None else 2, imagej=imagej)
    interval = seconds(said.get("finterval"), said.get("tunit", "s")) if said else None
    return voxel if any(voxel) else UNKNOWN_VOXEL, interval


def _imagej_axes(said: Mapping[str, Any], head: Header, path: Path) -> tuple[str, tuple[int, ...]]:
    """Return the axes of an ImageJ stack, whose pages run through channels first, then z, then time."""
    numbers = [said.get(key, 1) for key in ("frames", "slices", "channels", "images")]
    if any(not isinstance(number, int) or number < 1 for number in numbers):
        raise DataError(f"{path}: its ImageJ description is not valid (frames, slices, channels, images: {numbers})")
    frames, slices, channels, images = numbers
    if str(said.get("order", "czt")).lower() not in ("czt", "default", "xyczt"):
        raise DataError(f"{path}: an ImageJ stack in the order {said['order']}; save it from ImageJ as a TIFF again")
    if channels == head.channels > 1:
        channels = 1  # the samples of a page were counted
    if frames * slices * channels == 1 < images:
        return UNKNOWN, (images,)
    kept = [(name, size) for name, size in (("T", frames), ("Z", slices), ("C", channels)) if size > 1]
    if [name for name, _ in kept] == ["Z"] and not said.get("hyperstack"):
        kept = [(UNKNOWN, slices)]  # ImageJ calls the images of any stack slices, those of a movie too
    return "".join(name for name, _ in kept), tuple(size for _, size in kept)


def _shaped(page: tifffile.TiffPage, path: Path) -> Mapping[str, Any]:
    """Return the metadata that tifffile writes into the first page of files without another format."""
    if not page.is_shaped:
        return {}
    try:
        said = tifffile.tifffile.shaped_description_metadata(page.shaped_description or "")
        if min(int(size) for size in said["shape"]) < 0 or len(said.get("axes", said["shape"])) != len(said["shape"]):
            raise ValueError("axes and shape disagree")
    except (ValueError, TypeError, KeyError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: its description of axes and shape is damaged ({error}); save it again") from None
    return dict(said)


def _shaped_axes(
    said: Mapping[str, Any], page: tifffile.TiffPage, count: int, path: Path
) -> tuple[str, tuple[int, ...]]:
    """Return the axes from page to page of a plain file."""
    plain = (UNKNOWN if count > 1 else "", (count,) if count > 1 else ())
    if not said:
        return plain
    shape = tuple(int(size) for size in said["shape"])
    axes = str(said.get("axes", "")).upper().replace("I", UNKNOWN)
    if axes and shape[-1:] == (1,) and axes[-1] in "SC":
        axes, shape = axes[:-1], shape[:-1]
    inner = len(page.shape)
    tail = axes[-inner:].replace("C", "S") if axes else page.axes
    if shape[-inner:] != page.shape or tail != page.axes:
        found = f"axes {axes} ({' x '.join(map(str, shape))})" if axes else f"a shape of {' x '.join(map(str, shape))}"
        raise AxesError(f"{path}: has {found}, its pages are {page.axes} {page.shape}: {advice()}")
    outer = shape[:-inner]
    if not outer:
        return plain  # each page was written on its own
    return (axes[:-inner] or UNKNOWN * len(outer)), outer


def _spread(page: tifffile.TiffPage, count: int, path: Path) -> npt.NDArray[np.int64]:
    """Return where the pixels of each of ``count`` planes begin that follow those of the first page."""
    offsets = int(page.dataoffsets[0]) + np.arange(count, dtype=np.int64) * int(page.nbytes)
    size = path.stat().st_size
    if int(offsets[-1]) + int(page.nbytes) > size:
        whole = max(0, (size - int(offsets[0])) // int(page.nbytes))
        raise DataError(
            f"{path}: truncated TIFF file: {whole} of {count} planes are whole ({size} bytes found); copy it again"
        )
    return offsets
