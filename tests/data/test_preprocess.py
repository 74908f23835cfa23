from __future__ import annotations

import numpy as np
import pytest

from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError


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
