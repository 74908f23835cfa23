"""Damaged and misleading files of volumes are refused, never filled in."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.volume_files import STACK, STORED, tiff
from visionlab.errors import DataError
from visionlab.io.volumes import open_volume, read_labels, read_plane


@pytest.mark.parametrize("options", [{}, *STORED.values(), {"imagej": True}, {"ome": True}], ids=str)
def test_truncated_files_are_refused_wherever_they_end(tmp_path: Path, options: dict[str, Any]) -> None:
    data = tiff(tmp_path / "a.tif", STACK, **options).read_bytes()
    path = tmp_path / "cut.tif"
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        ends = {edge for page in tif.pages for edge in (page.offset, page.offset + 2, page.dataoffsets[0])}
    cuts = {*ends, 8, *(int(len(data) * part) for part in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99))}
    for cut in sorted(cuts - {0}):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"cut\.tif: .*(truncated|damaged)"):
            open_volume(path).frame(0)


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    data = tiff(tmp_path / "a.tif", STACK[:2, :4, :5], compression="lzw", rowsperstrip=2).read_bytes()
    path = tmp_path / "b.tif"
    for position in range(4, len(data), 5):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            open_volume(path).frame(0)
        except DataError as error:
            assert "b.tif" in str(error)


def test_pages_that_lead_back_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STACK, compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[-1].offset
    data = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", data, last)
    struct.pack_into("<I", data, last + 2 + 12 * tags, first)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tif: .*lead back to an earlier"):
        open_volume(path)


def test_a_strip_that_was_never_written_is_not_filled_with_zeros(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STACK, compression="zlib", rowsperstrip=5)
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages[2].aspage().tags["StripByteCounts"]
    data = bytearray(path.read_bytes())
    data[tag.valueoffset : tag.valueoffset + 2] = bytes(2)
    path.write_bytes(data)
    with pytest.raises(DataError, match="1 of 3 strips or tiles of page 2 are missing"):
        open_volume(path)


@pytest.mark.parametrize("other", [np.zeros((6, 10), np.uint16), STACK[0].astype(np.uint8)], ids=["size", "type"])
def test_pages_of_several_kinds_are_refused(tmp_path: Path, other: np.ndarray) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK[0], metadata=None)
        writer.write(other, metadata=None)
    with pytest.raises(DataError, match=r"a\.tif: page 1 is (6 x 10 pixels, the first 12 x 20|of another type)"):
        open_volume(tmp_path / "a.tif")


def test_volumetric_pages_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", np.zeros((16, 16, 16), np.uint8), volumetric=True, tile=(16, 16, 16))
    with pytest.raises(DataError, match="volumes of 16 planes"):
        open_volume(path)


@pytest.mark.filterwarnings("ignore:.*zero-size")
@pytest.mark.parametrize("shape", [(0, 5, 6), (3, 0, 6)])
def test_files_without_planes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=r"a\.tif: the image is 0 x 0"):
        open_volume(tmp_path / "a.tif")


def test_bombs_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STACK, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as tif:
        for page in tif.pages:
            page.aspage().tags["ImageWidth"].overwrite(60_000)
            page.aspage().tags["ImageLength"].overwrite(60_000)
    with pytest.raises(DataError, match="claims 60000 x 60000 pixels"):
        open_volume(path)


@pytest.mark.parametrize("name", ["a.tif", "a.mat", "a.mp4"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (pickle.dumps({"v": [1, 2]}), "expected .*, found other content"),
    ],
    ids=["empty", "lfs", "pickle"],
)
def test_what_is_no_image_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    for call in (open_volume, lambda path: read_plane(path, 0), read_labels):
        with pytest.raises(DataError, match=rf"{name}: .*{message}"):
            call(tmp_path / name)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tif", tmp_path / "none.mat", tmp_path / "none.mp4"):
        with pytest.raises(DataError, match="No such file"):
            read_plane(path, 0)
    with pytest.raises(DataError, match="found a folder"):
        open_volume(tmp_path)
