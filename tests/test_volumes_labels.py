"""Instance ids are read exactly or not at all, and real volumes too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from tests.volume_files import COLOUR, GRAY, LABELS, SERIES, tiff, video
from visionlab.errors import DataError
from visionlab.io.volumes import open_volume, read_labels

SHARED = Path(__file__).parents[2] / "shared" / "data" / "celegans"


# Labels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
def test_labels_of_any_type(tmp_path: Path, dtype: Any) -> None:
    path = tiff(tmp_path / "a.tif", LABELS.astype(dtype), compression="zlib")
    for found, expected in ((read_labels(path), LABELS), (read_labels(path, 2), LABELS[2])):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


def test_large_ids_stay(tmp_path: Path) -> None:
    ids = LABELS.astype(np.uint32) + 100_000
    np.testing.assert_array_equal(read_labels(tiff(tmp_path / "a.tif", ids)), ids)


def test_labels_of_two_values_and_of_single_images(tmp_path: Path, write_png: Any) -> None:
    mask = LABELS[0] > 200
    np.testing.assert_array_equal(read_labels(tiff(tmp_path / "a.tif", mask)), mask)
    write_png(tmp_path / "a.png", np.where(mask, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), mask * 255)
    rgba = np.dstack([np.where(mask, 255, 0)] * 3 + [np.full(mask.shape, 255)]).astype(np.uint8)
    write_png(tmp_path / "b.png", rgba)
    np.testing.assert_array_equal(read_labels(tmp_path / "b.png", 0), mask * 255)
    one = tiff(tmp_path / "c.tif", LABELS[:1], metadata={"axes": "ZYX"})
    assert read_labels(one).shape == (1, 12, 20)


@pytest.mark.parametrize(
    ("value", "message"), [(0.5, "1 others, e.g. 0.5"), (np.nan, "1 others"), (-2.0, "found -2 to")]
)
def test_labels_that_are_none_are_refused(tmp_path: Path, value: float, message: str) -> None:
    ids = LABELS.astype(np.float32)
    ids[1, 2, 3] = value
    with pytest.raises(DataError, match=rf"a\.tif: expected .*{message}"):
        read_labels(tiff(tmp_path / "a.tif", ids))
    with pytest.raises(DataError, match="found 0 to 4294967295"):
        read_labels(tiff(tmp_path / "b.tif", np.array([[0, 2**32 - 1]], np.uint32)))


def test_labels_in_colour_or_with_loss_are_refused(tmp_path: Path, write_png: Any) -> None:
    write_png(tmp_path / "a.png", COLOUR[0])
    with pytest.raises(DataError, match=r"a\.png: expected labels .* 3 channels that differ, e\.g\. \[\d+, \d+, \d+\]"):
        read_labels(tmp_path / "a.png")
    Pillow.fromarray(GRAY[0, :, :, 0]).save(tmp_path / "a.jpg")
    Pillow.fromarray(COLOUR[0]).save(tmp_path / "b.tif", compression="jpeg")
    for name in ("a.jpg", "b.tif"):
        with pytest.raises(DataError, match=rf"{name}: labels stored as JPEG, which changes ids"):
            read_labels(tmp_path / name)
    with pytest.raises(DataError, match="labels stored as video"):
        read_labels(video(tmp_path / "a.mkv", "FFV1", GRAY[:2]))


def test_labels_of_a_series_are_asked_for_one_by_one(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", SERIES, metadata={"axes": "TZYX"})
    with pytest.raises(DataError, match=r"a\.tif: holds 3 time points \(TZYX\)"):
        read_labels(path)
    np.testing.assert_array_equal(read_labels(path, 5), SERIES[1, 1])


# Real data ------------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_real_volumes_and_labels() -> None:
    root = SHARED / "BBBC050_ctc"
    if not root.is_dir():
        pytest.skip("the embryos are not there")
    volume = open_volume(root / "01" / "t000.tif")
    assert (volume.axes, volume.shape, volume.dtype, volume.form) == ("ZYX", (51, 124, 127), "uint16", "tiff")
    assert (volume.voxel, volume.interval) == ((None, None, None), None)
    np.testing.assert_array_equal(volume.frame(0)[..., 0], tifffile.imread(root / "01" / "t000.tif"))
    labels = read_labels(root / "01_ST" / "SEG" / "man_seg000.tif")
    assert labels.shape == volume.shape
    gold = sorted((root / "01_GT" / "SEG").glob("man_seg_000_*.tif"))
    for path in gold:
        z = int(path.stem.rpartition("_")[2])
        np.testing.assert_array_equal(read_labels(path), labels[z])
    assert len(gold) == 3


@pytest.mark.shared_data
def test_real_label_images() -> None:
    folder = SHARED / "dsb2018" / "masks_instance"
    if not folder.is_dir():
        pytest.skip("the nuclei are not there")
    for path in sorted(folder.glob("*.png"))[:10]:
        ids = read_labels(path)
        assert ids.ndim == 2
        assert ids.max() >= 1
