"""Objects of slices become objects of a volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from visionlab.heads.instances.objects import link_planes

Array = np.ndarray[Any, Any]


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


def same_objects(one: Array, other: Array) -> bool:
    pairs = np.unique(one.astype(np.int64) << 32 | other.astype(np.int64))
    return bool(len(np.unique(pairs >> 32)) == len(np.unique(pairs & 0xFFFFFFFF)) == len(pairs))


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


def test_caps_belong_to_their_object_however_small_they_are() -> None:
    ids = ellipsoids((9, 40, 40), (4, 20, 20, 4.02, 18))
    areas = [int((plane > 0).sum()) for plane in ids]
    assert areas[0] < 0.05 * areas[1]
    assert linked(in_slices(ids)).max() == 1


def test_a_waist_divides_and_link_says_how_thin() -> None:
    ids = ellipsoids((13, 30, 30), (3, 15, 15, 4, 10), (9, 15, 15, 4, 10))
    ids[ids > 0] = 1
    areas = [int(plane.sum()) for plane in ids]
    waist = areas[6] / max(areas)
    assert 0.1 < waist < 0.9
    assert linked(ids, link=waist - 0.02).max() == 1
    assert linked(ids, link=waist + 0.02).max() == 2
    assert linked(ids, link=0).max() == 1


def test_an_object_shifted_aside_is_another() -> None:
    ids = np.zeros((2, 20, 40), np.int32)
    ids[0, 5:15, 5:15], ids[1, 5:15, 11:21] = 1, 1
    assert linked(ids, link=0.3).max() == 1  # they share 40%
    assert linked(ids, link=0.5).max() == 2


def test_the_best_assignment_as_a_whole_is_taken() -> None:
    # The one in the middle overlaps best with the lower left, which leaves nothing to the first one.
    ids = np.zeros((2, 10, 50), np.int32)
    ids[0, :, 0:20], ids[0, :, 20:40] = 1, 2
    ids[1, :, 14:30], ids[1, :, 30:48] = 1, 2  # 1-1: 6 of 30, 2-1: 10 of 26, 2-2: 10 of 28
    result = linked(ids, link=0)
    assert result[0, 0, 0] == result[1, 0, 15]
    assert result[0, 0, 25] == result[1, 0, 40]


def test_a_small_object_goes_on_in_what_it_fills() -> None:
    ids = np.zeros((2, 10, 50), np.int32)
    ids[0, :, 5:11], ids[0, :, 11:35] = 1, 2
    ids[1, :, 5:18] = 1  # shares 6 columns of 13 with the first, 7 of 30 with the second
    result = linked(ids, link=0.3)
    assert result[1, 0, 5] == result[0, 0, 5] != result[0, 0, 20]


def test_objects_of_few_slices_are_dropped() -> None:
    planes = [sum(n in plane for plane in CROWD) for n in range(1, CROWD.max() + 1)]
    result = linked(in_slices(CROWD), min_planes=6)
    assert result.max() == sum(count >= 6 for count in planes) < len(planes)
    one_slice = in_slices(CROWD[4:5])
    assert linked(one_slice, min_planes=5).max() == one_slice.max()  # never more than there are
