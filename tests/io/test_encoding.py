"""Stacks that are written are like the file they were made from, and whole or not there at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from visionlab.errors import DataError
from visionlab.io import StackWriter, Volume, encoding, open_volume, read_labels

RNG = np.random.default_rng(2)
FORMS: dict[str, dict[str, Any]] = {"ome": {"ome": True}, "imagej": {"imagej": True}, "tiff": {}}
SIZES = {"T": 3, "Z": 4, "Y": 10, "X": 14}
SCALE: dict[str, Any] = {"PhysicalSizeX": 0.1083, "PhysicalSizeY": 0.1625, "PhysicalSizeZ": 0.3, "TimeIncrement": 33.3}


def source(path: Path, form: str, axes: str, *, scale: bool = True, dtype: Any = np.uint16) -> Volume:
    """Write a file of a kind, and open it."""
    image = RNG.integers(0, 200, [SIZES[axis] for axis in axes]).astype(dtype)
    metadata: dict[str, Any] = {"axes": axes}
    options = dict(FORMS[form])
    if scale and form == "ome":
        metadata |= SCALE
    elif scale:
        metadata |= {"spacing": 0.3, "unit": "um", "finterval": 33.3}
        options["resolution"] = (1 / 0.1083, 1 / 0.1625)
    tifffile.imwrite(path, image, photometric="minisblack", metadata=metadata, **options)
    volume = open_volume(path)
    assert (volume.axes, volume.form) == (axes, form)
    return volume


def write(path: Path, like: Volume, dtype: Any) -> tuple[Volume, np.ndarray]:
    """Write random frames, and return what is read back and what was written."""
    shape = (like.frames, like.planes, like.height, like.width)
    data = RNG.integers(0, 200, shape).astype(dtype)
    with StackWriter(path, like, dtype, description="<nuclei> & µ") as writer:
        for frame in data:
            writer.write(frame)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return open_volume(path), data


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX"])
@pytest.mark.parametrize("scale", [True, False])
def test_axes_lengths_and_scale_are_the_same(tmp_path: Path, form: str, axes: str, scale: bool) -> None:
    like = source(tmp_path / "in.tif", form, axes, scale=scale)
    (tmp_path / "out").mkdir()
    for dtype in ("uint8", "uint16", "float32"):
        volume, data = write(tmp_path / "out" / "a.tif", like, dtype)
        assert (volume.axes, volume.shape, volume.form) == (axes, like.shape, form)
        assert (volume.voxel_size, volume.interval, volume.dtype) == (like.voxel_size, like.interval, dtype)
        assert (None in volume.voxel_size) is not scale
        for t, frame in enumerate(data):
            np.testing.assert_array_equal(volume.frame(t)[..., 0], frame)
        # Other programs see the same.
        with tifffile.TiffFile(volume.path) as tif:
            assert (tif.series[0].axes, tif.series[0].shape) == (axes, like.shape)
            assert all(page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE for page in tif.pages)
            assert (tif.is_ome, tif.is_imagej) == (form == "ome", form == "imagej")
            np.testing.assert_array_equal(tif.asarray().ravel(), data.ravel())


@pytest.mark.parametrize("form", FORMS)
def test_many_ids_are_written_and_read(tmp_path: Path, form: str) -> None:
    """ImageJ knows no 32-bit ids, OME does."""
    like = source(tmp_path / "in.tif", form, "ZYX")
    with StackWriter(tmp_path / "a.tif", like, np.uint32) as writer:
        ids = np.full(like.shape, 100_000)
        ids[0, 0] = np.arange(14)
        writer.write(ids)
    assert writer.form == {"imagej": "ome"}.get(form, form)
    volume = open_volume(tmp_path / "a.tif")
    assert (volume.axes, volume.shape, volume.voxel_size) == (like.axes, like.shape, like.voxel_size)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), ids)


def test_channels_are_not_taken_over_and_what_is_turned_is_written_as_displayed(tmp_path: Path) -> None:
    image = RNG.integers(0, 200, (4, 2, 10, 14)).astype(np.uint16)
    told: dict[str, Any] = {"imagej": True, "metadata": {"axes": "ZCYX"}, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "in.tif", image, extratags=[(274, "H", 1, 6, True)], **told)
    like = open_volume(tmp_path / "in.tif", stains=(1,))
    (tmp_path / "out").mkdir()
    volume, data = write(tmp_path / "out" / "a.tif", like, "uint8")
    assert (volume.axes, volume.shape, data.shape) == ("ZYX", (4, 14, 10), (1, 4, 14, 10))
    with tifffile.TiffFile(volume.path) as tif:
        assert 274 not in tif.pages.first.tags


def test_what_is_no_stack_becomes_a_plain_one(tmp_path: Path) -> None:
    movie = Volume(Path("a.mp4"), "TYXC", (3, 10, 14, 3), "uint8", (None, None, None), None, "video")
    image = Volume(Path("a.png"), "YX", (10, 14), "uint8", (None, 25.0, 25.0), None, "image")
    matlab = Volume(Path("a.mat"), "ZYX", (4, 10, 14), "uint8", (0.7, None, None), None, "matlab")
    single = Volume(Path("a.tif"), "TZYX", (1, 1, 10, 14), "uint8", (1.0, 2.0, 3.0), 0.5, "imagej")
    part = Volume(Path("a.tif"), "ZYX", (4, 10, 14), "uint8", (2.0, None, None), None, "imagej")
    (tmp_path / "out").mkdir()
    for like in (movie, image, matlab, single, part):
        volume, _ = write(tmp_path / "out" / "a.tif", like, "uint8")
        # ImageJ would take pixels without a size as of 1.
        assert (volume.axes, volume.form) == (like.axes.removesuffix("C"), "ome" if like is part else "tiff")
        assert volume.shape == like.shape[: len(volume.axes)]
        assert (volume.voxel_size, volume.interval) == (like.voxel_size, like.interval)


@pytest.mark.parametrize("form", FORMS)
def test_voxel_sizes_come_back(tmp_path: Path, form: str) -> None:
    """Exactly what has few decimals or came from a file, else within what a TIFF's numerators can tell."""
    like = source(tmp_path / "in.tif", form, "TZYX")
    sizes = [*np.round(RNG.uniform(0.01, 19, 5), 4).tolist(), 0.325, 1e-4, 1000.0]
    for size in (*sizes, 1 / 7, 0.1 / 7):
        scaled = replace(like, voxel_size=(size, size, 2 * size), interval=size)
        for path in (tmp_path / "a.tif", tmp_path / "b.tif"):
            with StackWriter(path, scaled, np.uint8) as writer:
                for _ in range(3):
                    writer.write(np.zeros((4, 10, 14), np.uint8))
            volume = open_volume(path)
            assert volume.form == form
            assert volume.voxel_size == (
                scaled.voxel_size if size in sizes else pytest.approx(scaled.voxel_size, rel=1e-15)
            )
            assert volume.interval == scaled.interval
            sizes.append(size)  # the second file is like the first
            scaled = volume


def test_large_files_are_big_tiffs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    for form in FORMS:
        like = source(tmp_path / "in.tif", form, "TZYX")
        bytes_of = 3 * 4 * 10 * 14
        for limit, big in ((bytes_of, False), (bytes_of - 1, True)):
            monkeypatch.setattr(encoding, "_BIG", limit)
            volume, _ = write(tmp_path / "out" / "a.tif", like, "uint8")
            with tifffile.TiffFile(volume.path) as tif:
                assert tif.is_bigtiff is big
            # ImageJ does not open BigTIFF without Bio-Formats, which reads OME.
            assert volume.form == ("ome" if big and form == "imagej" else form)


def test_nothing_is_left_after_an_error_and_an_earlier_file_stays(tmp_path: Path) -> None:
    like = source(tmp_path / "in.tif", "tiff", "TZYX")
    frame = np.ones((4, 10, 14), np.uint8)
    out = tmp_path / "new" / "a.tif"
    with pytest.raises(KeyboardInterrupt), StackWriter(out, like, np.uint8) as writer:
        writer.write(frame)
        assert not out.exists()
        raise KeyboardInterrupt
    assert not list(out.parent.iterdir())
    out.write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt), StackWriter(out, like, np.uint8) as writer:
        raise KeyboardInterrupt
    assert [path.name for path in out.parent.iterdir()] == ["a.tif"]
    assert out.read_bytes() == b"earlier"


def test_what_would_not_be_read_back_is_refused(tmp_path: Path) -> None:
    like = source(tmp_path / "in.tif", "ome", "TZYX")
    frame = np.ones((4, 10, 14), np.uint16)
    cases = [(2, 1, "expected 12 planes, 8"), (4, 1, "expected 12 planes, 16"), (3, 256, "1 to 256 do not fit")]
    for frames, value, message in cases:
        frame[0, 0, 0] = value
        with pytest.raises(ValueError, match=message), StackWriter(tmp_path / "a.tif", like, np.uint8) as writer:
            for _ in range(frames):
                writer.write(frame)
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    like = source(tmp_path / "in.tif", "tiff", "ZYX")
    with pytest.raises(DataError, match=r"a\.tif: cannot be written"), StackWriter(like.path / "a.tif", like, np.uint8):
        pass
