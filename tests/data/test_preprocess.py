"""How images and planes of volumes are brought to size and scale: windows, limits of time points, neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from visionlab.data.cache import CachedColumn, build, cache_column, fingerprint, limits_of
from visionlab.data.preprocess import ImageReader, PlaneReader, Preprocess
from visionlab.errors import DataError

NATIVE = Preprocess(1, 8, 8, "native", "uint16", "percentile")


def volume(path: Path, values: np.ndarray) -> None:
    tifffile.imwrite(path, values.astype(np.uint16), photometric="minisblack", metadata={"axes": "ZYX"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = rng.integers(100, 1000, (4, 20, 24))
    volume(tmp_path / "t.tif", values)
    return tmp_path


def test_native_images_keep_their_scale_and_give_windows() -> None:
    image = np.arange(20 * 24, dtype=np.uint16).reshape(20, 24, 1)
    assert NATIVE.size(20, 24) == (20, 24)
    assert np.array_equal(NATIVE.resize(image), image)
    assert np.array_equal(NATIVE.window(image, 0, 0), image[:8, :8])
    assert np.array_equal(NATIVE.window(image, 1, 1), image[-8:, -8:])
    assert NATIVE.window(image[:4]).shape == (8, 8, 1)


def test_limits_are_of_all_planes_so_that_an_empty_one_stays_dark() -> None:
    rng = np.random.default_rng(0)
    empty = rng.normal(100, 2, (30, 30, 1))
    full = empty.copy()
    full[5:20, 5:20] = 1000
    image = np.stack([empty, empty, full]).astype(np.uint16)
    low, high = NATIVE.limits(image)
    assert 90 < low < 100
    assert high == 1000
    assert NATIVE.unit(image[0], (low, high)).max() < 0.05
    assert NATIVE.unit(image[2], (low, high)).max() == pytest.approx(1.0)


def test_limits_of_bytes_among_16_bit_images_are_in_the_values_that_are_kept() -> None:
    image = np.full((6, 6, 1), 10, np.uint8)
    image[0, 0] = 20
    assert NATIVE.limits(image)[0] == 10 * 257
    assert float(NATIVE.unit(NATIVE.resize(image), NATIVE.limits(image)).min()) == 0
    assert not NATIVE.unit(np.full_like(image, 5), (5 * 257, 5 * 257)).max() > 0, "a constant image"


def test_limits_are_of_the_grey_that_is_seen() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[..., 0] = 200
    assert Preprocess(1, 8, 8, "native", "uint8", "percentile").limits(rgb) == (60.0, 60.0)
    assert Preprocess(3, 8, 8, "native", "uint8", "percentile").limits(rgb) == (0.0, 200.0)


def test_the_scale_survives_the_checkpoint_and_is_the_type_s_range_in_older_ones() -> None:
    assert Preprocess.from_spec(NATIVE.spec()) == NATIVE
    old = {key: value for key, value in NATIVE.spec().items() if key != "scale"}
    assert Preprocess.from_spec(old).scale == "dtype"


def test_windows_of_another_size_use_the_same_cache(folder: Path) -> None:
    windows = [Preprocess(1, side, 8, "native", "uint16") for side in (8, 16)]
    squeezed = [Preprocess(1, side, 8, "stretch", "uint16") for side in (8, 16)]
    for some, caches in ((windows, 1), (squeezed, 2)):
        assert len({fingerprint(["t.tif#1"], folder, one, PlaneReader()) for one in some}) == caches


def test_images_may_be_planes_of_files(folder: Path) -> None:
    cache = build(["t.tif#1", "t.tif#3"], folder, NATIVE, folder / "c", "t", ImageReader())
    assert np.array_equal(cache[1][..., 0], tifffile.imread(folder / "t.tif")[3])


def test_neighbours_are_channels_in_the_order_of_the_volume_and_each_plane_is_kept_once(folder: Path) -> None:
    names = [f"t.tif#{z}" for z in range(4)]
    table = pd.DataFrame({"path": names, "path-1": [names[0], *names[:3]], "path+1": [*names[1:], names[3]]})
    places: Any = {"root": folder, "folder": folder / "c", "beside": ["path-1", "path+1"]}
    found = cache_column(table, "path", NATIVE, "t", lambda like: PlaneReader(), None, **places)
    assert len(found.cache) == 4
    assert found.facts["mean"].tolist() == [found.cache[z].mean() for z in range(4)]
    limits = limits_of([tuple(names)] * 4, folder, NATIVE, folder / "c")
    whole = Preprocess(1, 20, 24, "native", "uint16", "percentile")
    scaled = CachedColumn(found.cache, found.places, whole, around=found.around, limits=limits)
    volume = tifffile.imread(folder / "t.tif")
    seen = scaled.image(1, 0.5, 0.5)
    assert seen.shape == (20, 24, 3)
    low, high = whole.limits(volume[..., None])
    assert np.allclose(seen, (volume[:3].transpose(1, 2, 0) - low) / (high - low), atol=1e-5)
    assert np.array_equal(scaled.image(0, 0.5, 0.5)[:, :, 0], scaled.image(0, 0.5, 0.5)[:, :, 1])


def test_limits_are_measured_once_and_again_when_a_file_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [("t.tif#0", "t.tif#1"), ("t.tif#2",), ("t.tif#0", "t.tif#1")]
    first = limits_of(points, folder, NATIVE, folder / "c")
    assert first.shape == (3, 2)
    assert np.array_equal(first[0], first[2])
    assert not np.array_equal(first[0], first[1])
    monkeypatch.setattr(Preprocess, "limits", lambda *_: (0.0, 1.0))
    assert np.array_equal(limits_of(points, folder, NATIVE, folder / "c"), first)
    volume(folder / "t.tif", np.ones((4, 20, 25)))
    assert limits_of(points, folder, NATIVE, folder / "c").tolist() == [[0.0, 1.0]] * 3


# Images ---------------------------------------------------------------------------------------------------------------


def make(fit: str = "crop", dtype: str = "uint8", channels: int = 1, size: tuple[int, int] = (32, 48)) -> Preprocess:
    return Preprocess.from_spec({"channels": channels, "height": size[0], "width": size[1], "fit": fit, "dtype": dtype})


@pytest.mark.parametrize("shape", [(100, 60), (60, 100), (32, 48), (20, 20), (33, 500)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_any_size_comes_out_in_the_size_asked_for(shape: tuple[int, int], fit: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 1), dtype=np.uint8)
    assert make(fit)(image).shape == (32, 48, 1)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_aspect_ratio_is_kept(fit: str) -> None:
    # A disc stays a disc: as wide as it is high.
    y, x = np.mgrid[:128, :256]
    disc = (((y - 64) ** 2 + (x - 128) ** 2) < 40**2).astype(np.uint8)[:, :, None] * 255
    out = make(fit, size=(64, 64)).resize(disc)[:, :, 0] > 127
    assert abs(np.ptp(np.flatnonzero(out.any(0))) - np.ptp(np.flatnonzero(out.any(1)))) <= 1
    stretched = make("stretch", size=(64, 64)).resize(disc)[:, :, 0] > 127
    assert np.ptp(np.flatnonzero(stretched.any(0))) < 0.7 * np.ptp(np.flatnonzero(stretched.any(1)))


def test_sixteen_bits_stay_sixteen_bits() -> None:
    image = np.array([[1000, 1001], [1002, 1003]], np.uint16).repeat(32, 0).repeat(32, 1)[:, :, None]
    out = make(dtype="uint16", size=(64, 64))(image)
    assert out.dtype == np.float32
    assert set(np.unique((out * 65535).round().astype(int))) == {1000, 1001, 1002, 1003}


def test_eight_bits_travel_as_bytes_and_mixed_sets_scale_exactly() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert make(size=(16, 16))(image).dtype == np.uint8
    mixed = make(dtype="uint16", size=(16, 16))(image)
    assert np.allclose(mixed, image / np.float32(255), atol=1e-7)


def test_sixteen_bit_image_for_an_eight_bit_model_is_not_truncated() -> None:
    image = np.full((16, 16, 1), 257 * 100 + 128, np.uint16)
    assert make(size=(16, 16))(image)[0, 0, 0] == pytest.approx((257 * 100 + 128) / 65535)


def test_float_and_integer_images_do_not_mix() -> None:
    with pytest.raises(DataError, match=r"a\.tif: expected uint8.*found float32"):
        make()(np.zeros((40, 60, 1), np.float32), "a.tif")


def test_window_positions() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(1, 64, 1).repeat(32, 0)
    preprocess = make(size=(32, 32))
    assert preprocess.window(image, across=0.0)[0, 0, 0] == 0
    assert preprocess.window(image)[0, 0, 0] == 16
    assert preprocess.window(image, across=1.0)[0, -1, 0] == 63


def test_padding_reflects() -> None:
    image = np.arange(1, 33, dtype=np.uint8).reshape(32, 1, 1).repeat(16, 1)
    out = make("pad", size=(32, 32)).window(image)
    assert out.shape == (32, 32, 1)
    assert (out == out[:, :1]).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_more_than_four_channels_shrink(fit: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 107, 6), dtype=np.uint8)
    out = make(fit, channels=6).resize(image)
    assert out.shape[2] == 6
    for k in range(6):
        assert np.array_equal(out[:, :, k : k + 1], make(fit).resize(image[:, :, k : k + 1]))
