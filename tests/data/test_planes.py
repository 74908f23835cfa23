"""Planes of volumes as samples: windows at their own scale, limits of time points, neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from visionlab.data.cache import CachedColumn, cache_column, fingerprint, limits_of
from visionlab.data.preprocess import PlaneReader, Preprocess

NATIVE = Preprocess(1, 8, 8, "native", "uint16", "percentile")


def volume(path: Path, values: np.ndarray) -> None:
    tifffile.imwrite(path, values.astype(np.uint16), photometric="minisblack", metadata={"axes": "ZYX"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = rng.integers(100, 1000, (4, 20, 24))
    volume(tmp_path / "t.tif", values)
    ids = np.zeros((4, 20, 24), int)
    ids[1, 2:6, 3:9] = 7
    ids[1, 10:12, 3:9] = 900
    volume(tmp_path / "s.tif", ids)
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


def test_a_constant_image_becomes_zeros() -> None:
    image = np.full((6, 6, 1), 500, np.uint16)
    assert not NATIVE.unit(image, NATIVE.limits(image)).any()


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
    other = Preprocess(1, 16, 12, "native", "uint16")
    assert fingerprint(["t.tif#1"], folder, NATIVE, PlaneReader()) == fingerprint(
        ["t.tif#1"], folder, other, PlaneReader()
    )
    squeezed = [Preprocess(1, side, 8, "stretch", "uint16") for side in (8, 16)]
    assert len({fingerprint(["t.tif#1"], folder, one, PlaneReader()) for one in squeezed}) == 2


def stored(folder: Path, **columns: list[str]) -> CachedColumn:
    beside = [name for name in columns if name != "path"]
    table = pd.DataFrame(columns)
    return cache_column(
        table, "path", NATIVE, "t", lambda like: PlaneReader(), None, root=folder, folder=folder / "c", beside=beside
    )


def test_neighbours_are_channels_in_the_order_of_the_volume_and_each_plane_is_kept_once(folder: Path) -> None:
    names = [f"t.tif#{z}" for z in range(4)]
    below, above = [names[0], *names[:3]], [*names[1:], names[3]]
    found = stored(folder, path=names, **{"path-1": below, "path+1": above})
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
