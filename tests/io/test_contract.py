"""The contract of every format: exact or refused by name, upright, the same from threads and other processes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from tests.io.written import EXACT, MOVIE, PNGS, RGB, STACK, TIFFS, Case, jpeg, matlab, npy, png, raw_png, tiff, video
from visionlab.errors import DataError, UsageError
from visionlab.io import (
    open_labels,
    open_volume,
    plane,
    read_depth,
    read_image,
    read_labels,
    read_mask,
    split_plane,
)


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_every_plane_is_exact_from_threads_and_in_other_processes(tmp_path: Path, case: Case) -> None:
    path, expected = case.file(tmp_path), case.expected
    volume = pickle.loads(pickle.dumps(open_volume(path)))
    assert (volume.axes, volume.form, volume.dtype) == (case.axes, case.form, expected.dtype.name)
    assert (volume.shape, volume.stains) == (case.values.shape, ())
    assert (volume.frames, volume.planes, volume.height, volume.width, volume.channels) == expected.shape
    places = [(t, z) for t in range(volume.frames) for z in range(volume.planes)] * 4
    with ThreadPoolExecutor(4) as pool:
        for (t, z), found in zip(places, pool.map(lambda place: volume.plane(*place), places), strict=True):
            np.testing.assert_array_equal(found, expected[t, z])
    for t, z in places:
        alone = read_image(plane(str(path), t * volume.planes + z))
        np.testing.assert_array_equal(alone, expected[t, z])
        assert alone.dtype == expected.dtype
        assert alone.dtype.isnative and alone.flags.c_contiguous and alone.flags.writeable
    np.testing.assert_array_equal(everything(path), expected)


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_planes_that_are_not_there(tmp_path: Path, case: Case) -> None:
    path = case.file(tmp_path)
    volume = open_volume(path)
    count = volume.frames * volume.planes
    for t, z in ((volume.frames, 0), (0, volume.planes), (-1, 0), (0, -1)):
        with pytest.raises(DataError, match=rf"holds the planes 0 to {count - 1}; number -?\d+ is not there"):
            volume.plane(t, z)
    with pytest.raises(DataError, match=f"number {count} is not there"):
        read_image(plane(str(path), count))
    with pytest.raises(DataError, match="is not there"):
        volume.frame(volume.frames)
    if count > 1:
        with pytest.raises(DataError, match=f"holds {count} pages .* one image a file"):
            read_image(path)
    else:
        np.testing.assert_array_equal(read_image(path), case.expected[0, 0])


def everything(path: Path) -> np.ndarray:
    volume = open_volume(path)
    return np.stack([volume.frame(t) for t in range(volume.frames)])


CUT = [
    *EXACT,
    Case("image.jpg", lambda path: jpeg(path, np.tile(RGB, (3, 3, 1))), "YXC", np.tile(RGB, (3, 3, 1)), "image"),
    Case("a.mp4", lambda path: video(path, "mp4v", MOVIE), "TYX", MOVIE[..., 0], "video"),
]


@pytest.mark.parametrize("case", CUT, ids=str)
def test_truncated_files_are_refused_wherever_they_end(tmp_path: Path, case: Case) -> None:
    data = case.file(tmp_path).read_bytes()
    path = tmp_path / f"cut{Path(case.name).suffix}"
    ends = set() if case.form == "video" else {40, 128, 130, len(data) - 1, len(data) - 3, len(data) - 13}
    if case in TIFFS:
        with tifffile.TiffFile(tmp_path / case.name) as tif:
            pages = [page.aspage() for page in tif.pages]
            ends |= {edge for page in pages for edge in (page.offset, page.offset + 2, page.dataoffsets[0])}
            tags = [tag for page in pages for tag in page.tags]
            size = max(tag.offset for tag in tags) + tif.tiff.tagsize + tif.tiff.offsetsize
            size = max(size, *(tag.valueoffset + tag.valuebytecount for tag in tags))
            if case.name != "behind-one-page.tif":
                # What lies behind, nothing points at.
                size = max(size, *(page.dataoffsets[-1] + page.databytecounts[-1] for page in pages))
                ends |= set(range(size - 30, size))
                data = data[:size]
    parts = (0.1, 0.5, 0.85) if case.form == "video" else np.arange(1, 40) / 40
    for cut in sorted({*ends, *(int(len(data) * part) for part in parts)}):
        if not 32 <= cut < len(data):
            continue
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"cut\.\w+: .*(truncated|damaged)"):
            everything(path)


@pytest.mark.parametrize("case", [case for case in EXACT if case.form != "video"], ids=str)
def test_damage_never_escapes_as_another_error(tmp_path: Path, case: Case) -> None:
    """Bytes of the descriptions, and some of the pixels, which in PNG and MATLAB files have sums of their own."""
    data = case.file(tmp_path).read_bytes()
    path = tmp_path / f"bad{Path(case.name).suffix}"
    summed = path.suffix in (".png", ".mat") and not data.startswith(b"MATLAB 7.3")
    places = range(4, len(data), max(1, len(data) // 150))
    for position in places:
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            found = everything(path)
        except DataError as error:
            assert str(path) in str(error)
        else:
            if summed:
                np.testing.assert_array_equal(found, case.expected)


def claim(path: Path, **tags: int) -> Path:
    """Change tags of all pages of a TIFF file."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        for page in tif.pages:
            for name, value in tags.items():
                page.aspage().tags[name].overwrite(value)
    return path


def test_bombs_are_refused_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (8193, 8192)):
        (tmp_path / "a.png").write_bytes(raw_png(width, height, b""))
        with pytest.raises(DataError, match=rf"claims {height} x {width} pixels"):
            open_volume(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(raw_png(0, 5, b""))
    with pytest.raises(DataError, match="5 x 0 pixels"):
        open_volume(tmp_path / "a.png")
    for options in ({}, {"ome": True}, {"imagej": True}):
        path = tiff(tmp_path / "a.tif", STACK, compression=None if options else "zlib", **options)
        with pytest.raises(DataError, match="claims 60000 x 60000 pixels"):
            open_volume(claim(path, ImageWidth=60_000, ImageLength=60_000))
    path = tiff(tmp_path / "b.tif", STACK[0], compression="zlib", tile=(16, 16))
    with pytest.raises(DataError, match="tiles are"):
        open_volume(claim(path, TileWidth=60_000, TileLength=60_000))
    jpeg(tmp_path / "a.jpg", RGB)
    npy(tmp_path / "a.npy", STACK[0])
    matlab(tmp_path / "a.mat", "7.3", v=STACK.transpose(1, 2, 0))
    monkeypatch.setattr("visionlab.io.pixels.MAX_PIXELS", 200)
    for name in ("a.jpg", "a.npy", "a.mat"):
        with pytest.raises(DataError, match=f"{name}: the image claims 12 x 20 pixels"):
            open_volume(tmp_path / name)


READERS: list[Callable[[Path], Any]] = [
    open_volume,
    open_labels,
    read_image,
    read_labels,
    lambda path: read_mask(path, None),
    lambda path: read_depth(path, "auto"),
]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.npy", "a.mat", "a.mp4"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"this is a note\n", "expected a .*, found text"),
        (pickle.dumps({"v": [1, 2]}), "expected a .*, found other content"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"II*\0", "damaged or truncated"),
        (b"\xff\xd8\xff", "damaged or truncated"),
        (b"\x93NUMPY\x03\x00", "of version"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    for read in READERS:
        with pytest.raises(DataError, match=rf"{name}: .*{message}"):
            read(tmp_path / name)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for read in READERS:
        for name in ("none.png", "none.tif", "none.mat", "none.mp4", "none.npy"):
            with pytest.raises(DataError, match=rf"{name}: .*No such file"):
                read(tmp_path / name)
        with pytest.raises(DataError, match="found a folder"):
            read(tmp_path)
    with pytest.raises(UsageError, match="expected one of YX, ZYX, TYX, TZYX"):
        open_volume(tmp_path, axes="XYZ")


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(png(tmp_path / "a.tif", STACK[0]))[..., 0], STACK[0])
    np.testing.assert_array_equal(read_image(tiff(tmp_path / "b.PNG", STACK[0]))[..., 0], STACK[0])


# Orientation ----------------------------------------------------------------------------------------------------------


DISPLAYED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def oriented(path: Path, image: np.ndarray, tag: int) -> Path:
    """Write an image that is displayed as its orientation tag says."""
    exif = Pillow.Exif()
    exif[274] = tag
    if path.suffix == ".jpg":
        Pillow.fromarray(image).save(path, exif=exif, quality=100, subsampling=0)
    elif path.suffix == ".png":
        Pillow.fromarray(image).save(path, exif=exif)
    else:
        options: Any = {"photometric": "rgb"} if image.ndim == 3 else {}
        tiff(path, image, extratags=[(274, "H", 1, tag, True)], **options)
    return path


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_orientation_is_applied_to_images_and_maps_alike(tmp_path: Path, suffix: str, tag: int) -> None:
    """TIFF 6.0: where the first row and column of the file are displayed."""
    shown = oriented(tmp_path / f"a.{suffix}", RGB, tag)
    stored = np.array(Pillow.open(shown)) if suffix == "jpg" else RGB
    image, volume = read_image(shown), open_volume(shown)
    np.testing.assert_array_equal(image, DISPLAYED[tag](stored))
    assert (volume.height, volume.width) == image.shape[:2] == ((20, 12) if tag > 4 else (12, 20))
    ids = np.zeros((12, 20), np.uint8)
    ids[2:5, 3:11] = 255
    map_file = oriented(tmp_path / f"m.{suffix}", ids, tag)
    turned = DISPLAYED[tag](np.array(Pillow.open(map_file)) if suffix == "jpg" else ids)
    np.testing.assert_array_equal(read_mask(map_file, 128)[0], turned >= 128)
    np.testing.assert_array_equal(read_depth(map_file, "none")[0], turned)
    assert (open_labels(map_file).height, open_labels(map_file).width) == turned.shape
    if suffix != "jpg":
        np.testing.assert_array_equal(read_labels(map_file), turned)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"ome": True}, {"imagej": True}], ids=str)
def test_volumes_are_turned_with_their_voxels(tmp_path: Path, options: dict[str, Any]) -> None:
    scale: Any = {"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}
    if "ome" in options:
        scale = {"metadata": {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}}
    if "imagej" in options:
        scale = {"resolution": (4, 2), "metadata": {"axes": "ZYX", "unit": "um"}}
    path = tiff(tmp_path / "a.tif", STACK, extratags=[(274, "H", 1, 6, True)], **options, **scale)
    volume = open_volume(path)
    assert volume.shape == (5, 20, 12)
    assert volume.voxel_size[1:] == (0.25, 0.5)
    np.testing.assert_array_equal(volume.frame(0)[..., 0], np.rot90(STACK, -1, (1, 2)))
    np.testing.assert_array_equal(read_labels(path), np.rot90(STACK, -1, (1, 2)))


# Planes ---------------------------------------------------------------------------------------------------------------


def test_a_plane_has_a_name_that_gives_back_the_file_and_its_number(tmp_path: Path) -> None:
    assert plane("01/t000.tif", 5) == "01/t000.tif#5"
    assert split_plane("01/t000.tif#5") == (Path("01/t000.tif"), 5)
    assert split_plane("01/t000.tif") == (Path("01/t000.tif"), None)
    assert split_plane("a#b.tif") == (Path("a#b.tif"), None)
    for name in ("well#3", "a#5.tif", "a&b;c,ä.tif"):
        path = tiff(tmp_path / name, STACK)
        assert split_plane(path) == (path, None)
        np.testing.assert_array_equal(read_image(plane(str(path), 2))[..., 0], STACK[2])


@pytest.mark.parametrize("case", [*TIFFS[:1], *PNGS[:1]], ids=str)
def test_a_file_that_changed_is_opened_anew(tmp_path: Path, case: Case) -> None:
    path = case.file(tmp_path)
    before = everything(path)
    path.unlink()
    (tiff if path.suffix == ".tif" else png)(path, case.values[..., ::-1].copy())
    np.testing.assert_array_equal(everything(path), before[..., ::-1, :])
