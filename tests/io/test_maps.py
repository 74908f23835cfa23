"""Masks and depth maps: read exactly or refused by name, resized without inventing what is unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.io.written import MOVIE, SERIES, jpeg, npy, png, tiff, video
from visionlab.errors import DataError
from visionlab.io import (
    open_volume,
    read_depth,
    read_image,
    read_labels,
    read_mask,
    resize_depth,
    resize_mask,
    same_view,
)

RNG = np.random.default_rng(0)
DISC = (np.hypot(*np.mgrid[-12:12, -16:16]) < 9).astype(np.uint8)
RAMP = np.arange(20 * 12, dtype=np.uint16).reshape(20, 12)


def colour(values: np.ndarray, channels: int = 3) -> np.ndarray:
    return np.repeat(values[..., None], channels, axis=2)


# Masks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (DISC, "uint8"),
        (DISC * np.uint8(7), "uint8"),
        (DISC * np.uint16(65535), "uint16"),
        (colour(DISC * np.uint8(255)), "uint8"),
        (np.dstack([colour(DISC * np.uint8(255)), np.full_like(DISC, 255)]), "uint8"),
        (DISC.astype(bool), "uint8"),
        (DISC.astype(np.float32), "float32"),
        (DISC.astype(np.int16) * -1, "uint16"),
    ],
)
def test_masks_of_two_values(tmp_path: Path, values: np.ndarray, dtype: str) -> None:
    write = png if dtype in ("uint8", "uint16") and values.dtype.name == dtype else tiff
    mask, facts = read_mask(write(tmp_path / "m", values), None)
    assert mask.dtype == np.uint8
    assert mask.flags.c_contiguous
    np.testing.assert_array_equal(mask, DISC)
    assert (facts["grey"], facts["dtype"]) == (0, dtype)
    same = read_mask(png(tmp_path / "same.png", DISC * np.uint8(255)), None)[1]["hash"]
    assert facts["hash"] == same != read_mask(png(tmp_path / "other.png", DISC[::-1]), None)[1]["hash"]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_masks_are_cut_at_half_and_counted(tmp_path: Path, channels: int) -> None:
    values = DISC * np.uint8(255)
    path = jpeg(tmp_path / "m.jpg", values if channels == 1 else colour(values))
    stored = read_image(path)[..., 0]
    grey = int(((stored > 0) & (stored < 255)).sum())
    assert grey > 20
    for threshold in (None, 200):
        mask, facts = read_mask(path, threshold)
        np.testing.assert_array_equal(mask, stored >= (threshold or 128))
        assert facts["grey"] == grey
    # Two values, 0 and 2 say, are noise in JPEG and no foreground.
    speck = np.zeros((16, 16), np.uint8)
    speck[3, 4] = 9
    mask, facts = read_mask(jpeg(tmp_path / "empty.jpg", speck, quality=95), None)
    assert mask.sum() == 0
    assert facts["grey"] > 0


def with_pixel(values: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    changed = values.copy()
    changed[place] = value
    return changed


WHITE = DISC * np.uint8(255)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (with_pixel(WHITE, (0, 0), 60), r"0 to 255 with 1 of 768 pix.*mask_threshold=128"),
        (with_pixel(DISC, (0, 0), 2), r"data\.mask_threshold=1 if all above 0 is foreground"),
        (with_pixel(DISC * np.uint16(65535), (0, 0), 300), r"data\.mask_threshold=32768"),
        (DISC + np.uint8(1), r"found 1 to 2 .* set data\.mask_threshold=2"),
        (with_pixel(colour(WHITE), (5, 6, 1), 3), "3 channels that differ"),
        (np.dstack([colour(WHITE), DISC]), r"alpha\) varies"),
        (with_pixel(DISC.astype(np.float32), (0, 0), np.nan), "a mask with NaN"),
    ],
)
def test_masks_in_doubt_are_refused_with_what_to_set(tmp_path: Path, values: np.ndarray, message: str) -> None:
    write = tiff if values.dtype.kind == "f" else png
    with pytest.raises(DataError, match=rf"m: .*{message}"):
        read_mask(write(tmp_path / "m", values), None)


def test_a_threshold_is_followed(tmp_path: Path) -> None:
    values = WHITE.copy()
    values[0, :4] = 60, 60, 130, 140
    path = png(tmp_path / "soft.png", values)
    assert read_mask(path, 128)[0][0, :4].tolist() == [0, 0, 1, 1]
    assert read_mask(path, 128)[1]["grey"] == 4
    assert read_mask(path, 60)[0][0, :4].tolist() == [1, 1, 1, 1]
    faint = png(tmp_path / "m.png", DISC * np.uint8(100))
    assert [int(read_mask(faint, threshold)[0].sum()) for threshold in (128, 100)] == [0, int(DISC.sum())]
    np.testing.assert_array_equal(read_mask(png(tmp_path / "two.png", DISC + np.uint8(1)), 2)[0], DISC)


# Depth --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "values", "dtype"),
    [
        (png, RAMP.astype(np.uint8), "uint8"),
        (png, RAMP + 60_000, "uint16"),
        (png, colour(RAMP + 1), "uint16"),
        (tiff, RAMP.astype(np.float32) / 7 + 1, "float32"),
        (tiff, RAMP.astype(np.int32) + 100_000, "uint16"),
        (npy, RAMP.astype(np.float64) / 7 + 1, "float32"),
        (npy, (RAMP + 1).astype(">f4")[..., None], "float32"),
        (npy, np.asfortranarray(RAMP.astype(np.int64) + 1), "uint16"),
    ],
)
def test_depth_of_every_type_is_exact(tmp_path: Path, write: Any, values: np.ndarray, dtype: str) -> None:
    path = write(tmp_path / "d.npy", values)
    depth, facts = read_depth(path, "auto")
    expected = values.reshape(*RAMP.shape, -1)[..., 0].astype(np.float32)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, expected)
    assert (facts["dtype"], facts["known"]) == (dtype, 1.0)
    assert (facts["min"], facts["max"]) == (depth.min(), depth.max())
    head = open_volume(path)
    assert (head.height, head.width, head.dtype) == (*RAMP.shape, dtype)


@pytest.mark.parametrize(
    ("dtype", "invalid", "unknown"),
    [
        (np.uint8, "auto", []),
        (np.uint16, "auto", [0]),
        (np.float32, "auto", [0]),
        (np.uint8, 0, [0]),
        (np.uint16, "none", []),
        (np.float32, "none", []),
        (np.uint8, 255, [255]),
        (np.uint16, 3, [3]),
        (np.float32, 2.5, []),
    ],
)
def test_what_counts_as_not_measured(tmp_path: Path, dtype: type, invalid: str | float, unknown: list[float]) -> None:
    values: np.ndarray = np.array([[0, 0, 3, 9], [1, 2, 255, 7]], dtype)
    depth, facts = read_depth(tiff(tmp_path / "d.tif", values), invalid)
    holes = np.isin(values, unknown)
    np.testing.assert_array_equal(np.isnan(depth), holes)
    np.testing.assert_array_equal(depth[~holes], values[~holes])
    assert facts["known"] == pytest.approx(1 - holes.mean())
    assert (facts["min"], facts["max"]) == (values[~holes].min(), values[~holes].max())


@pytest.mark.parametrize("write", [tiff, npy])
@pytest.mark.parametrize("invalid", ["auto", "none", 5.0])
def test_nan_and_infinity_are_never_known(tmp_path: Path, write: Any, invalid: str | float) -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 1e300], [1, 2, 3, 4]])
    depth, facts = read_depth(write(tmp_path / "d.npy", values), invalid)
    assert np.isnan(depth[0]).all()
    assert depth[1].tolist() == [1, 2, 3, 4]
    assert (facts["min"], facts["max"], facts["known"]) == (1, 4, 0.5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((4, 5), 7, np.uint16), "every known value of the depth map is 7"),
        (np.array([[0, 7], [7, 0]], np.uint16), "every known value of the depth map is 7"),
        (np.zeros((4, 5), np.uint8), "every known value of the depth map is 0"),
        (np.zeros((4, 5), np.uint16), "without a known value in 20 pixels"),
        (np.full((4, 5), np.nan, np.float32), "without a known value in 20 pixels"),
        (np.array([[2**24 + 1, 1]], np.int32), "too large to be exact"),
        (np.array([[-1, -1, 3, 4]], np.int16), r"2 values are negative, the lowest -1; .*data\.depth_invalid=-1"),
        (np.zeros((3, 4, 5), np.uint8), "3 pages"),
        (RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8), "a depth map of one value a pixel, .*coloured picture"),
    ],
)
def test_depth_that_cannot_be_used_is_named(tmp_path: Path, values: np.ndarray, words: str) -> None:
    path = tiff(tmp_path / "d.tif", values, photometric="rgb" if values.shape[-1] == 3 else "minisblack")
    with pytest.raises(DataError, match=words) as caught:
        read_depth(path, "auto")
    assert str(caught.value).startswith(f"{path}: ")
    assert "; " in str(caught.value)


def test_a_negative_mark_may_be_given_and_the_hash_tells_what_is_known(tmp_path: Path) -> None:
    assert read_depth(tiff(tmp_path / "d.tif", np.array([[-1, -1, 3, 4]], np.int16)), -1)[1]["known"] == 0.5
    path = png(tmp_path / "d.png", RAMP)
    hashes = [read_depth(path, invalid)[1]["hash"] for invalid in ("auto", 0, "none")]
    assert hashes[0] == hashes[1] != hashes[2]


# Labels --------------------------------------------------------------------------------------------------------------

LABELS = RNG.integers(0, 400, (4, 12, 20)).astype(np.uint16)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
def test_labels_of_any_type_keep_their_ids(tmp_path: Path, dtype: Any) -> None:
    ids = LABELS.astype(dtype) + dtype(0 if dtype == np.uint16 else 100_000)
    path = tiff(tmp_path / "a.tif", ids, compression="zlib")
    for found, expected in ((read_labels(path), ids), (read_labels(path, 2), ids[2])):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


def test_labels_of_two_values_and_of_single_images(tmp_path: Path) -> None:
    mask = LABELS[0] > 200
    np.testing.assert_array_equal(read_labels(tiff(tmp_path / "a.tif", mask)), mask)
    np.testing.assert_array_equal(read_labels(png(tmp_path / "a.png", mask * np.uint8(255))), mask * 255)
    rgba = np.dstack([colour(mask * np.uint8(255)), np.full(mask.shape, 255, np.uint8)])
    np.testing.assert_array_equal(read_labels(png(tmp_path / "b.png", rgba), 0), mask * 255)
    assert read_labels(tiff(tmp_path / "c.tif", LABELS[:1], metadata={"axes": "ZYX"})).shape == (1, 12, 20)


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.5, "1 others"), (np.nan, "1 others"), (np.inf, "1 others"), (-2.0, "found -2 to"), (2.0**32, "found")],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, value: float, message: str) -> None:
    ids = LABELS.astype(np.float64)
    ids[1, 2, 3] = value
    with pytest.raises(DataError, match=rf"a\.tif: expected .*{message}"):
        read_labels(tiff(tmp_path / "a.tif", ids))


def test_labels_in_colour_or_with_loss_are_refused(tmp_path: Path) -> None:
    picture = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"a\.png: expected labels .* 3 channels that differ"):
        read_labels(png(tmp_path / "a.png", picture))
    jpeg(tmp_path / "a.jpg", picture[..., 0])
    Pillow.fromarray(picture).save(tmp_path / "b.tif", compression="jpeg")
    for name in ("a.jpg", "b.tif"):
        with pytest.raises(DataError, match=rf"{name}: labels stored as JPEG, which changes ids"):
            read_labels(tmp_path / name)
    with pytest.raises(DataError, match="labels stored as video"):
        read_labels(video(tmp_path / "a.mkv", "FFV1", MOVIE))


def test_labels_of_a_series_are_asked_for_one_by_one(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", SERIES, metadata={"axes": "TZYX"})
    with pytest.raises(DataError, match=r"a\.tif: holds 3 time points \(TZYX\)"):
        read_labels(path)
    np.testing.assert_array_equal(read_labels(path, 5), SERIES[1, 1])


# Sizes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(24, 32), (12, 16), (7, 9), (48, 64), (31, 50), (12, 64), (1, 1)])
def test_a_mask_keeps_its_area_at_any_size(size: tuple[int, int]) -> None:
    resized = resize_mask(DISC, size)
    assert resized.shape == size
    assert resized.dtype == np.uint8
    assert set(np.unique(resized)) <= {0, 1}
    assert resized.mean() == pytest.approx(DISC.mean(), abs=0.05 if min(size) > 1 else 1)
    assert resize_mask(np.ones_like(DISC), size).min() == 1
    assert resize_mask(np.zeros_like(DISC), size).max() == 0


def test_depth_shrinks_to_the_mean_of_what_is_known() -> None:
    nan = np.nan
    depth = np.array([[1, 2, nan, 8, nan, nan], [3, 4, nan, 4, nan, 5]], np.float32)
    resized = resize_depth(depth, (1, 3))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized[0, :2], [2.5, 6.0])
    assert np.isnan(resized[0, 2])  # only a quarter is known


def test_depth_is_weighted_by_area_where_pixels_are_cut() -> None:
    resized = resize_depth(np.array([[1, 2, 4]], np.float32), (1, 2))
    np.testing.assert_allclose(resized[0], [(1 + 2 / 2) / 1.5, (2 / 2 + 4) / 1.5], rtol=1e-6)
    resized = resize_depth(np.array([[1, np.nan, 4]], np.float32), (1, 2))
    np.testing.assert_allclose(resized[0], [1, 4], rtol=1e-6)


def test_unknown_depth_is_not_mixed_in_when_enlarging() -> None:
    depth = np.array([[10, 20, np.nan, np.nan]], np.float32)
    resized = resize_depth(depth, (1, 8))[0]
    np.testing.assert_allclose(resized[:4], [10, 12.5, 17.5, 20])
    assert np.isnan(resized[4:]).all()


@pytest.mark.parametrize("size", [(24, 32), (12, 16), (7, 9), (48, 64), (31, 50), (12, 64), (1, 1)])
def test_depth_stays_in_its_range_and_holes_keep_their_area(size: tuple[int, int]) -> None:
    depth = RNG.uniform(1, 5, DISC.shape).astype(np.float32)
    depth[DISC == 1] = np.nan
    resized = resize_depth(depth, size)
    assert resized.shape == size
    assert resized.dtype == np.float32
    known = resized[np.isfinite(resized)]
    assert known.min() >= np.nanmin(depth) - 1e-5
    assert known.max() <= np.nanmax(depth) + 1e-5
    assert resize_mask(DISC, size)[np.isnan(resized)].all()
    assert np.isnan(resized).mean() == pytest.approx(DISC.mean(), abs=0.05 if min(size) > 1 else 1)
    constant = np.where(np.isnan(depth), np.nan, np.float32(3.3)).astype(np.float32)
    resized = resize_depth(constant, size)
    np.testing.assert_allclose(resized[np.isfinite(resized)], 3.3, rtol=1e-6)


def test_depth_of_another_size_on_each_side_equals_numpy() -> None:
    depth = RNG.uniform(1, 5, (90, 120)).astype(np.float32)
    np.testing.assert_allclose(resize_depth(depth, (30, 40)), depth.reshape(30, 3, 40, 3).mean((1, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("image", "other", "expected"),
    [
        ((222, 222), (224, 224), True),
        ((772, 1032), (386, 516), True),
        ((386, 516), (772, 1032), True),
        ((480, 640), (640, 480), False),
        ((480, 640), (480, 640), True),
        ((375, 500), (94, 125), True),  # 93.75
        ((375, 500), (93, 125), True),
        ((375, 500), (91, 125), False),
        ((375, 500), (96, 125), False),
        ((720, 1280), (480, 640), False),
        ((1000, 1000), (1000, 1010), False),
        ((1001, 1000), (1000, 1000), True),
        ((1, 1), (500, 500), True),
    ],
)
def test_same_view(image: tuple[int, int], other: tuple[int, int], expected: bool) -> None:
    assert same_view(image, other) is expected
    assert same_view(other, image) is expected
