"""Files of every form that is read, with what is in them: the contract tests go over all."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import imagecodecs
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image as Pillow

RNG = np.random.default_rng(5)
STACK = RNG.integers(0, 65536, (5, 12, 20), dtype=np.uint16)
SERIES = RNG.integers(0, 65536, (3, 4, 12, 20), dtype=np.uint16)
RGB = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
RGBA = np.dstack([RGB, np.full((12, 20), 255, np.uint8)])
FLOAT = RNG.random((12, 20), dtype=np.float32)
MOVIE = np.repeat(RNG.integers(0, 256, (4, 48, 64, 1), dtype=np.uint8), 3, axis=3)


def tiff(path: Path, image: Any, **options: Any) -> Path:
    tifffile.imwrite(path, image, **{"photometric": "minisblack", **options})
    return path


def one_by_one(path: Path, image: np.ndarray) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for page in image:
            writer.write(page, photometric="minisblack", compression="zlib")
    return path


def bare(path: Path, image: np.ndarray) -> Path:
    """Write a big-endian ImageJ stack behind a single page, as ImageJ writes those of more than 4 GB."""
    count = len(image)
    description = f"ImageJ=1.53t\nimages={count}\nslices={count}\nhyperstack=true\n"
    tiff(path, image[0], byteorder=">", description=description, metadata=None)
    path.write_bytes(path.read_bytes() + image[1:].astype(">u2").tobytes())
    return path


def png(path: Path, image: np.ndarray) -> Path:
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))
    return path


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(width: int, height: int, rows: bytes, bits: int = 8) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg(path: Path, image: np.ndarray, **options: Any) -> Path:
    Pillow.fromarray(image).save(path, "JPEG", **options)
    return path


def npy(path: Path, image: np.ndarray) -> Path:
    np.save(path, image)
    return path


def matlab(path: Path, version: str, **variables: Any) -> Path:
    """Write variables that are arrays in MATLAB's order, as MATLAB does."""
    if version == "5":
        scipy.io.savemat(path, variables, do_compression=True)
        return path
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            data = value.T.astype(np.uint8) if value.dtype == bool else value.T
            stored = file.create_dataset(name, data=data, compression="gzip")
            classes = {"float64": "double", "float32": "single", "bool": "logical"}
            stored.attrs["MATLAB_class"] = np.bytes_(classes.get(value.dtype.name, value.dtype.name))
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


def video(path: Path, codec: str, frames: np.ndarray) -> Path:
    """Write T x H x W x 3 (RGB) frames; skip where there is no such encoder."""
    size = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 10, size, True)
    if not writer.isOpened():
        pytest.skip(f"OpenCV has no encoder for {codec}")
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


@dataclass(frozen=True)
class Case:
    """A form of file: how one is written, and what is read of it."""

    name: str
    write: Callable[[Path], Path]
    axes: str
    values: np.ndarray
    form: str = "tiff"

    def __str__(self) -> str:
        return self.name

    def file(self, folder: Path) -> Path:
        path = folder / self.name
        self.write(path)
        return path

    @property
    def expected(self) -> np.ndarray:
        """T x Z x H x W x C."""
        places = [slice(None) if axis in self.axes else None for axis in "TZYXC"]
        return self.values[tuple(places)]


def _tiffs() -> list[Case]:
    stack: dict[str, Any] = {
        "plain": {"metadata": None},
        "shaped": {},
        "ZYX": {"metadata": {"axes": "ZYX"}},
        "tiled": {"tile": (16, 16), "compression": "zlib"},
        "lzw": {"compression": "lzw", "predictor": True, "rowsperstrip": 5},
        "packbits": {"compression": "packbits"},
        "strips": {"rowsperstrip": 5},
        "big-endian": {"byteorder": ">"},
        "big-endian-zlib": {"byteorder": ">", "compression": "zlib"},
        "bigtiff": {"bigtiff": True, "compression": "zlib"},
        "bigtiff-strips": {"bigtiff": True, "rowsperstrip": 4},
        "one-page": {"metadata": {"axes": "ZYX"}, "truncate": True},
    }
    found = [
        Case(f"{name}.tif", partial(tiff, image=STACK, **options), "ZYX", STACK) for name, options in stack.items()
    ]
    found.append(Case("one-by-one.tif", partial(one_by_one, image=STACK), "ZYX", STACK))
    found.append(Case("behind-one-page.tif", partial(bare, image=STACK), "ZYX", STACK, "imagej"))
    forms: dict[str, Any] = {"tiff": {}, "imagej": {"imagej": True}, "ome": {"ome": True}}
    for form, options in forms.items():
        for compression in (None, "zlib"):
            told: Any = {**options, "metadata": {"axes": "TZYX"}, "compression": compression}
            name = f"series-{form}-{compression or 'raw'}.tif"
            found.append(Case(name, partial(tiff, image=SERIES, **told), "TZYX", SERIES, form))
        found.append(Case(f"image-{form}.tif", partial(tiff, image=STACK[0], **options), "YX", STACK[0], form))
    separate: Any = {"photometric": "rgb", "planarconfig": "separate", "image": np.moveaxis(RGB, -1, 0).copy()}
    colours = np.stack([RGB, 255 - RGB])
    return [
        *found,
        Case("movie.tif", partial(tiff, image=STACK, metadata={"axes": "TYX"}), "TYX", STACK),
        Case("float.tif", partial(tiff, image=FLOAT, byteorder=">", compression="zlib", predictor=True), "YX", FLOAT),
        Case("one-channel.tif", partial(tiff, image=FLOAT[..., None]), "YX", FLOAT),
        Case("rgb.tif", partial(tiff, image=RGB, photometric="rgb"), "YXC", RGB),
        Case("rgb-separate.tif", partial(tiff, **separate), "YXC", RGB),
        Case("rgba.tif", partial(tiff, image=RGBA, photometric="rgb", extrasamples=["unassalpha"]), "YXC", RGBA),
        Case("rgb-series.tif", partial(tiff, image=colours, photometric="rgb"), "ZYXC", colours),
        Case(
            "rgb-ome.tif",
            partial(tiff, image=colours, photometric="rgb", ome=True, metadata={"axes": "ZYXS"}),
            "ZYXC",
            colours,
            "ome",
        ),
        Case(
            "rgb-imagej.tif",
            partial(tiff, image=colours, photometric="rgb", imagej=True, metadata={"axes": "ZYXS"}),
            "ZYXC",
            colours,
            "imagej",
        ),
    ]


PNGS = [
    Case(f"{np.dtype(image.dtype).name}x{image.shape[2:]}.png", partial(png, image=image), axes, image, "image")
    for axes, image in (
        ("YX", STACK[0]),
        ("YX", RGB[..., 0]),
        ("YXC", RGB[..., :2]),
        ("YXC", RGB),
        ("YXC", STACK[:3].transpose(1, 2, 0).copy()),
        ("YXC", RGBA),
        ("YXC", STACK[:4].transpose(1, 2, 0).copy()),
    )
]
_MATLAB: Any = {"v": STACK.transpose(1, 2, 0)}
TIFFS = _tiffs()
EXACT = [
    *TIFFS,
    *PNGS,
    Case("image.npy", partial(npy, image=FLOAT), "YX", FLOAT, "image"),
    Case("big-endian.npy", partial(npy, image=STACK[0].astype(">u2")[..., None]), "YX", STACK[0], "image"),
    Case("fortran.npy", partial(npy, image=np.asfortranarray(STACK[0])), "YX", STACK[0], "image"),
    Case("5.mat", partial(matlab, version="5", **_MATLAB), "ZYX", STACK, "matlab"),
    Case("73.mat", partial(matlab, version="7.3", **_MATLAB), "ZYX", STACK, "matlab"),
    Case("series.mat", partial(matlab, version="7.3", v=SERIES.transpose(2, 3, 1, 0)), "TZYX", SERIES, "matlab"),
    Case("plane.mat", partial(matlab, version="5", v=STACK[0], scalar=np.ones((1, 1))), "YX", STACK[0], "matlab"),
    Case("gray.mkv", partial(video, codec="FFV1", frames=MOVIE), "TYX", MOVIE[..., 0], "video"),
    Case("gray.avi", partial(video, codec="FFV1", frames=MOVIE), "TYX", MOVIE[..., 0], "video"),
]
"""Files whose values come back as they were."""
