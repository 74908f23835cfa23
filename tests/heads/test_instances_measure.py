"""Measured objects: analytic shapes, units, brightness; and the baseline's maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from visionlab.heads.instances.objects import measure
from visionlab.heads.instances.segment import otsu_maps

VOXEL = (1.75, 0.8, 0.5)
NO_VOXEL = (None, None, None)


def box() -> np.ndarray:
    ids = np.zeros((6, 20, 30), np.int32)
    ids[1:5, 3:9, 10:21] = 4
    return ids


def test_a_box_is_measured_exactly() -> None:
    image = np.full((6, 20, 30, 1), 7, np.uint16)
    image[1:5, 3:9, 10:21] = 100
    image[2, 4, 12] = 60_000
    (row,) = measure(box(), image, VOXEL, volume=True).to_dict("records")
    assert row == {
        "object": 4,
        **dict(zip(("z", "y", "x", "z_um", "y_um", "x_um"), (2.5, 5.5, 15.0, 2.5 * 1.75, 5.5 * 0.8, 7.5), strict=True)),
        "volume_px": 264,
        "volume_um3": pytest.approx(264 * 0.7),
        "planes": 4,
        "intensity_mean": (263 * 100 + 60_000) / 264,
        "intensity_max": 60_000,
        "intensity_sum": 263 * 100 + 60_000,
        **dict(zip(("z0", "y0", "x0", "z1", "y1", "x1"), (1, 3, 10, 5, 9, 21), strict=True)),
    }


def test_it_agrees_with_plain_numpy_on_random_labels() -> None:
    rng = np.random.default_rng(0)
    ids = np.kron(rng.integers(0, 5, (3, 6, 7)), np.ones((2, 3, 4), int)) * 300
    image = rng.integers(0, 65_536, (*ids.shape, 2)).astype(np.uint16)
    table = measure(ids, image, NO_VOXEL, volume=True)
    assert table["object"].tolist() == [300, 600, 900, 1200]
    for row in table.to_dict("records"):
        at = np.argwhere(ids == row["object"])
        values = image[ids == row["object"]].astype(np.int64)
        np.testing.assert_allclose([row[axis] for axis in "zyx"], at.mean(axis=0), rtol=1e-12)
        assert [row[f"{axis}0"] for axis in "zyx"] == at.min(axis=0).tolist()
        assert [row[f"{axis}1"] for axis in "zyx"] == (at.max(axis=0) + 1).tolist()
        assert (row["volume_px"], row["planes"]) == (len(at), len(np.unique(at[:, 0])))
        assert [row[f"intensity_sum_{c}"] for c in (1, 2)] == values.sum(axis=0).tolist()
        assert [row[f"intensity_max_{c}"] for c in (1, 2)] == values.max(axis=0).tolist()
        np.testing.assert_allclose([row[f"intensity_mean_{c}"] for c in (1, 2)], values.mean(axis=0), rtol=1e-12)
    assert table["intensity_max_1"].dtype == np.uint16


def test_ids_with_gaps_objects_at_the_edge_and_single_pixels() -> None:
    ids = np.zeros((1, 40, 40), np.int32)
    ids[0, ::2, ::2] = 3 * (1 + np.arange(400).reshape(20, 20))
    ids[0, 39, 39] = 5000
    image = -np.arange(ids.size, dtype=np.float32).reshape(1, 40, 40, 1)
    table = measure(ids, image, NO_VOXEL, volume=False)
    assert table["object"].tolist() == [*range(3, 1201, 3), 5000]
    assert table.iloc[-1][["object", "y", "x", "area_px"]].tolist() == [5000, 39, 39, 1]
    assert table.iloc[21][["y", "x", "y0", "x0", "y1", "x1"]].tolist() == [2, 2, 2, 2, 3, 3]
    assert table["intensity_max"].iloc[21] == table["intensity_sum"].iloc[21] == -(2 * 40 + 2)


def test_without_objects_the_table_is_empty_with_its_columns() -> None:
    labels = np.zeros((3, 4, 5), np.int32)
    table = measure(labels, np.zeros((3, 4, 5, 1), np.uint8), VOXEL, volume=True)
    full = measure(labels + 1, np.zeros((3, 4, 5, 1), np.uint8), VOXEL, volume=True)
    assert len(table) == 0
    assert list(table) == list(full)
    assert pd.concat([table, full]).shape == full.shape


def test_otsu_takes_one_threshold_for_the_whole_frame() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 5, (3, 20, 20, 1))
    image[1, 5:12, 6:13] += 300
    maps = otsu_maps(image.astype(np.uint16))
    assert maps.shape == (3, 1, 20, 20)
    assert maps.dtype == np.float32
    # A threshold of its own would divide the noise of the others.
    assert not maps[[0, 2]].any()
    # Smoothing moves the edge by less than a pixel.
    assert maps[1, 0, 5:12, 6:13].sum() >= 45
    assert maps[1].sum() <= 1.7 * 49
    np.testing.assert_array_equal(otsu_maps(np.repeat(image, 3, axis=-1)) > 0, otsu_maps(image) > 0)
