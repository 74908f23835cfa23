"""Objects of a plane: told apart, holes filled, and the degenerate planes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import h_maxima

from visionlab.heads.instances import Separate
from visionlab.heads.instances import segment as module
from visionlab.heads.instances.segment import DISTANCE_UNIT, Parameters, basins, segment_plane

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


@pytest.mark.parametrize("separate", SEPARATES)
def test_discs_apart_come_back_exactly_at_the_edge_too(separate: Separate) -> None:
    ids = discs((50, 50), (0, 0, 9), (25, 25, 8), (49, 30, 7), (2, 40, 1), (12, 48, 0))
    assert same_objects(plane(perfect(ids, separate), separate), ids)


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


@pytest.mark.parametrize("hole", [1, 3, 6])
def test_a_hole_within_an_object_is_filled(hole: int) -> None:
    ids = discs((40, 40), (20, 20, 12))
    maps = perfect(ids, "none")
    maps[0, 20 - hole // 2 : 20 + hole - hole // 2, 18 : 18 + hole] = 0
    assert same_objects(plane(maps), ids)


def test_gaps_between_touching_objects_are_not_filled() -> None:
    angles = np.arange(8) * np.pi / 4
    ring = discs((100, 100), *((50 + 29 * np.sin(a), 50 + 29 * np.cos(a), 11.5) for a in angles))
    three = discs((60, 60), (20, 18, 11), (20, 40, 11), (39, 29, 11))
    for ids, n in ((ring, 8), (three, 3)):
        assert label(ids == 0, connectivity=2).max() > 1  # a gap there is
        labels = plane(perfect(ids, "none"))
        assert labels.max() == n
        assert not labels[ids == 0].any()


def test_a_hole_that_holds_another_object_stays_one() -> None:
    ids = discs((60, 60), (30, 30, 5))
    y, x = np.indices(ids.shape)
    radius = np.hypot(y - 30, x - 30)
    ids[(radius > 12) & (radius <= 22)] = 2
    assert same_objects(plane(perfect(ids, "none"), prominence=5), ids)


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


def test_small_objects_are_dropped_and_the_others_renumbered() -> None:
    ids = discs((40, 40), (5, 5, 1), (20, 20, 6), (35, 35, 2))
    areas = np.bincount(ids.ravel())[1:]
    assert plane(perfect(ids, "none"), min_area=float(areas[2])).max() == 2
    assert plane(perfect(ids, "none"), min_area=float(areas[2] + 1)).max() == 1
    assert plane(perfect(ids, "none"), min_area=1000).max() == 0


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


def test_what_is_open_is_outside_and_flaws_of_walls_are_no_cells() -> None:
    wall = walls()
    wall[20, 30] = wall[60, 70] = 0  # pinholes within a wall
    assert enclosed(wall).max() == 25
    assert enclosed(wall[:90]).max() == 15  # the row of cells that the edge cuts is open
    wall[54:68, 54:68] = 1
    wall[60:63, 60:63] = 0  # a larger one, in a lump
    assert enclosed(wall).max() == 26
    assert enclosed(wall, min_area=20).max() == 25
    assert enclosed(wall, min_area=150).max() == 25
    assert enclosed(wall, min_area=500).max() == 0
    assert not enclosed(np.zeros((30, 30), np.float32)).any()
    assert not enclosed(np.ones((30, 30), np.float32)).any()
    assert not enclosed(np.full((30, 30), np.nan, np.float32)).any()
