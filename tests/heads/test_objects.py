"""Objects of a time point: told apart in a plane, linked through the slices of a volume, measured."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import h_maxima

from visionlab.heads.instances import Separate
from visionlab.heads.instances import segment as module
from visionlab.heads.instances.objects import link_planes, measure
from visionlab.heads.instances.segment import DISTANCE_UNIT, Parameters, basins, otsu_maps, segment_plane

Array = np.ndarray[Any, Any]
SEPARATES: list[Separate] = ["none", "boundary", "distance"]


def discs(shape: tuple[int, int], *circles: tuple[float, float, float]) -> Array:
    """Return ids 1, 2 ... of discs (y, x, radius), later ones only where nothing is yet."""
    ids = np.zeros(shape, np.int32)
    y, x = np.indices(shape)
    for number, (cy, cx, radius) in enumerate(circles, start=1):
        ids[(np.hypot(y - cy, x - cx) <= radius) & (ids == 0)] = number
    return ids


def perfect(ids: Array, separate: Separate) -> Array:
    """Return the maps that a network without error would give."""
    foreground = (ids > 0).astype(np.float32)
    if separate == "none":
        return foreground[None]
    depth = np.zeros(ids.shape, np.float32)
    for number in range(1, int(ids.max()) + 1):
        inside = np.pad(ids == number, 1, mode="edge")
        depth += ndimage.distance_transform_cdt(inside, "chessboard")[1:-1, 1:-1] if not inside.all() else DISTANCE_UNIT
    second = (depth == 1) if separate == "boundary" else np.minimum(depth, DISTANCE_UNIT) / DISTANCE_UNIT
    return np.stack([foreground, second.astype(np.float32)])


def plane(maps: Array, separate: Separate = "none", **changes: float) -> Array:
    labels = segment_plane(maps, Parameters(**changes), separate=separate, cells="filled")  # type: ignore[arg-type]
    assert labels.dtype == np.int32
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, labels.max() + 1))
    return labels


def same_objects(one: Array, other: Array) -> bool:
    """Whether two label images divide the same pixels in the same way, whatever the numbers."""
    pairs = np.unique(one.astype(np.int64) << 32 | other.astype(np.int64))
    return bool(len(np.unique(pairs >> 32)) == len(np.unique(pairs & 0xFFFFFFFF)) == len(pairs))


@pytest.mark.parametrize("separate", SEPARATES)
def test_touching_discs_are_told_apart(separate: Separate) -> None:
    ids = discs((60, 90), (20, 20, 12), (20, 43, 12), (40, 31, 12), (45, 75, 10))
    labels = plane(perfect(ids, separate), separate)
    assert labels.max() == 4
    assert ((labels > 0) == (ids > 0)).all()
    for number in range(1, 5):
        inside = ids == number
        found = labels == np.bincount(labels[inside]).argmax()
        assert (found & inside).sum() / (found | inside).sum() > 0.9


def test_prominence_is_the_inner_radius_above_half_the_neck() -> None:
    ids = discs((50, 90), (25, 22, 15), (25, 66, 15))
    ids[19:32, 22:66] = 1  # 13 wide: half of it 7 pixels, the discs 15
    maps = (ids > 0).astype(np.float32)[None]
    assert plane(maps, prominence=7).max() == 2
    assert plane(maps, prominence=9.5).max() == 1


def test_basins_are_those_of_the_prominent_maxima() -> None:
    field = ndimage.gaussian_filter(np.random.default_rng(3).random((120, 150)), 3).astype(np.float32)
    field = (field - field.min()) / np.ptp(field)
    everywhere = np.ones(field.shape, bool)
    for prominence in (0.02, 0.1, 0.3):
        maxima, n = label(h_maxima(field, prominence), return_num=True)
        labels, peaks = basins(field, everywhere, prominence)
        assert labels.max() == n == len(peaks) - 1
        assert len(np.unique(labels[maxima > 0])) == n  # one in each
        np.testing.assert_array_equal(peaks[1:], ndimage.maximum(field, labels, np.arange(1, n + 1)))


def test_a_basin_never_crosses_the_corner_where_two_parts_touch() -> None:
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, :4, :4] = maps[0, 4:, 4:] = 1
    assert plane(maps).max() == 2
    assert plane(maps, prominence=100).max() == 2
    assert plane(np.eye(5, dtype=np.float32)[None]).max() == 5


def test_gaps_between_touching_objects_are_not_filled() -> None:
    angles = np.arange(8) * np.pi / 4
    ring = discs((100, 100), *((50 + 29 * np.sin(a), 50 + 29 * np.cos(a), 11.5) for a in angles))
    three = discs((60, 60), (20, 18, 11), (20, 40, 11), (39, 29, 11))
    for ids, n in ((ring, 8), (three, 3)):
        assert label(ids == 0, connectivity=2).max() > 1  # a gap there is
        labels = plane(perfect(ids, "none"))
        assert labels.max() == n
        assert not labels[ids == 0].any()


@pytest.mark.parametrize("separate", SEPARATES)
def test_degenerate_planes(separate: Separate) -> None:
    channels = 1 if separate == "none" else 2
    empty = np.zeros((channels, 20, 30), np.float32)
    assert not plane(empty, separate).any()
    assert not plane(np.full_like(empty, np.nan), separate).any()
    assert (plane(np.ones_like(empty), separate) == 1).all()
    assert (plane(np.ones((channels, 1, 1), np.float32), separate) == 1).all()
    one = empty.copy()
    one[0, 7, 9] = 0.5
    labels = plane(one, separate)
    assert labels[7, 9] == 1
    assert labels.sum() == 1
    assert not plane(one, separate, threshold=0.51).any()


@pytest.mark.parametrize("separate", SEPARATES)
def test_strips_change_nothing_and_bound_the_memory(monkeypatch: pytest.MonkeyPatch, separate: Separate) -> None:
    row = discs((26, 512), *((12, x, 9) for x in range(12, 500, 19)))  # discs that touch
    ids = np.concatenate([np.where(row > 0, row + 30 * k, 0) for k in range(10)])
    maps = np.stack([ids > 0, np.random.default_rng(0).random(ids.shape)]).astype(np.float32)
    whole = plane(maps, separate, prominence=2)
    assert whole.max() >= 200
    monkeypatch.setattr(module, "_STRIP", 1 << 15)
    tracemalloc.start()
    strips = plane(maps, separate, prominence=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert same_objects(whole, strips)
    assert peak / ids.size < 30  # 46 in one piece


def walls() -> Array:
    """Return a 5 x 5 grid of walls 3 pixels thick, 20 apart, well inside a plane of 140 x 140."""
    y, x = np.indices((140, 140)) - 20
    inside = (y >= -1) & (y <= 101) & (x >= -1) & (x <= 101)
    near = (np.abs((y + 10) % 20 - 10) <= 1) | (np.abs((x + 10) % 20 - 10) <= 1)
    return (inside & near).astype(np.float32)


def enclosed(wall: Array, **changes: float) -> Array:
    return segment_plane(wall[None], Parameters(**changes), separate="none", cells="enclosed")  # type: ignore[arg-type]


def test_cells_are_what_walls_enclose_up_to_their_middle() -> None:
    labels = enclosed(walls())
    assert labels.max() == 25
    assert not labels[0].any()
    for y in range(5):
        for x in range(5):
            assert len(np.unique(labels[22 + 20 * y : 39 + 20 * y, 22 + 20 * x : 39 + 20 * x])) == 1
    areas = np.bincount(labels.ravel())[1:]
    assert (np.abs(areas - 400) < 45).all()  # 17 x 17 and half of the walls around it


def test_a_small_gap_in_a_wall_joins_no_cells_and_a_wide_one_does() -> None:
    wall = walls()
    wall[29:32, 38:43] = 0  # 3 wide, between two cells
    wall[18:23, 109:112] = 0  # 3 wide, to the outside
    assert enclosed(wall).max() == 25
    wall[22:39, 58:63] = 0  # the whole wall between two cells
    assert enclosed(wall).max() == 24


# Linked through slices ------------------------------------------------------------------------------------------------


def ellipsoids(shape: tuple[int, int, int], *bodies: tuple[float, float, float, float, float]) -> Array:
    """Return ids 1, 2 ... of ellipsoids (z, y, x, radius in z, radius in y and x)."""
    ids = np.zeros(shape, np.int32)
    z, y, x = np.indices(shape)
    for number, (cz, cy, cx, rz, r) in enumerate(bodies, start=1):
        inside = ((z - cz) / rz) ** 2 + ((y - cy) ** 2 + (x - cx) ** 2) / r**2 <= 1
        ids[inside & (ids == 0)] = number
    return ids


def in_slices(ids: Array, seed: int = 0, most: int | None = None) -> Array:
    """Return the ids renumbered in each slice, in no order, with gaps if ``most`` is larger than needed."""
    rng = np.random.default_rng(seed)
    out = np.zeros(ids.shape, np.int64)
    for z, plane in enumerate(ids):
        there = np.unique(plane[plane > 0])
        for number, new in zip(there, rng.permutation(most or len(there))[: len(there)] + 1, strict=True):
            out[z][plane == number] = new
    return out


def linked(labels: Array, link: float = 0.5, min_planes: int = 1) -> Array:
    result = link_planes(labels, link=link, min_planes=min_planes)
    assert result.dtype == np.int32
    assert np.unique(result[result > 0]).tolist() == list(range(1, result.max() + 1))
    return result


CROWD = ellipsoids(
    (16, 60, 60),
    *((4, 12, 12, 3.6, 9), (5, 14, 32, 4.3, 10), (11, 12, 14, 3.4, 9), (12, 32, 30, 3.1, 11), (6, 40, 14, 5.2, 8)),
    *((3, 45, 45, 2.3, 8), (9, 47, 47, 3.6, 9), (14, 46, 45, 1.4, 7)),
)
"""Some of them touch the next one from above."""


@pytest.mark.parametrize("most", [None, 66_000])
def test_ellipsoids_come_back_whole_also_stacked_ones(most: int | None) -> None:
    result = linked(in_slices(CROWD, most=most))
    assert same_objects(result, CROWD)
    first = [int(np.flatnonzero((result == n).any(axis=(1, 2)))[0]) for n in range(1, result.max() + 1)]
    assert first == sorted(first)


def test_a_waist_divides_and_link_says_how_thin() -> None:
    ids = ellipsoids((13, 30, 30), (3, 15, 15, 4, 10), (9, 15, 15, 4, 10))
    ids[ids > 0] = 1
    areas = [int(plane.sum()) for plane in ids]
    waist = areas[6] / max(areas)
    assert 0.1 < waist < 0.9
    assert linked(ids, link=waist - 0.02).max() == 1
    assert linked(ids, link=waist + 0.02).max() == 2
    assert linked(ids, link=0).max() == 1


def test_the_best_assignment_as_a_whole_is_taken() -> None:
    # The one in the middle overlaps best with the lower left, which leaves nothing to the first one.
    ids = np.zeros((2, 10, 50), np.int32)
    ids[0, :, 0:20], ids[0, :, 20:40] = 1, 2
    ids[1, :, 14:30], ids[1, :, 30:48] = 1, 2  # 1-1: 6 of 30, 2-1: 10 of 26, 2-2: 10 of 28
    result = linked(ids, link=0)
    assert result[0, 0, 0] == result[1, 0, 15]
    assert result[0, 0, 25] == result[1, 0, 40]


# Measured ------------------------------------------------------------------------------------------------------------

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
