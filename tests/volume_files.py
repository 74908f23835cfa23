"""What the tests of volumes share: writing stacks, and comparing what is opened with what was written."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from visionlab.io.volumes import Volume, open_volume, read_plane

RNG = np.random.default_rng(5)
STACK = RNG.integers(0, 65536, (5, 12, 20), dtype=np.uint16)
SERIES = RNG.integers(0, 65536, (3, 4, 12, 20), dtype=np.uint16)
LABELS = RNG.integers(0, 400, (4, 12, 20)).astype(np.uint16)
GRAY = np.repeat(RNG.integers(0, 256, (30, 48, 64, 1), dtype=np.uint8), 3, axis=3)
COLOUR = RNG.integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)

# Ways of storing a stack as TIFF.
STORED: dict[str, dict[str, Any]] = {
    "tiled": {"tile": (16, 16), "compression": "zlib"},
    "lzw": {"compression": "lzw", "predictor": True, "rowsperstrip": 5},
    "strips": {"rowsperstrip": 5},
    "big-endian": {"byteorder": ">"},
    "big-endian zlib": {"byteorder": ">", "compression": "zlib"},
    "bigtiff": {"bigtiff": True, "compression": "zlib"},
    "one page": {"metadata": {"axes": "ZYX"}, "truncate": True},
}


def tiff(path: Path, image: Any, **options: Any) -> Path:
    tifffile.imwrite(path, image, **{"photometric": "minisblack", **options})
    return path


def check(path: Path, names: str, expected: np.ndarray, form: str, **options: Any) -> Volume:
    """Compare what is opened with an array T x Z x H x W x C, plane by plane and frame by frame."""
    volume = open_volume(path, **options)
    assert (volume.axes, volume.form, volume.dtype) == (names, form, expected.dtype.name)
    lengths = dict(zip("TZYXC", expected.shape, strict=True))
    assert volume.shape == tuple(lengths[axis] for axis in names)
    assert (volume.frames, volume.planes, volume.height, volume.width, volume.channels) == expected.shape
    for t in range(expected.shape[0]):
        frame = volume.frame(t)
        assert frame.dtype == expected.dtype
        np.testing.assert_array_equal(frame, expected[t])
    for index, (t, z) in enumerate(itertools.product(range(expected.shape[0]), range(expected.shape[1]))):
        np.testing.assert_array_equal(read_plane(path, index), expected[t, z])
    return volume


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
