"""Boundaries of instances and the distance to them: by hand, by another implementation, and what is unknown."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from visionlab.heads.instances.head import boundary, distance

NAN = math.nan


def image(*lines: list[float]) -> torch.Tensor:
    return torch.tensor([[lines]], dtype=torch.float32)


def random_ids(seed: int, unknown: float = 0.1) -> torch.Tensor:
    """Return touching and separate blobs of several images, some pixels of them unknown."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (3, 1, 5, 6)) * rng.integers(1, 4000, (3, 1, 5, 6))
    ids = coarse.repeat(8, axis=2).repeat(9, axis=3)[..., 1:, 2:].astype(np.float32)
    ids[rng.random(ids.shape) < 0.02] = 0
    ids[rng.random(ids.shape) < unknown] = np.nan
    return torch.from_numpy(ids)


def steps(ids: npt.NDArray[np.float32], most: int) -> npt.NDArray[np.float64]:
    """Return how often all that is another id must grow, to 4 and to 8 neighbours in turn, to reach each pixel."""
    found = np.zeros(ids.shape)
    for value in np.unique(ids[ids > 0]):
        mine, other = ids == value, (ids != value) & ~np.isnan(ids)
        found[mine] = most
        for step in range(most - 1, 0, -1):
            reached = other.copy()
            for k in range(step):
                reached = ndimage.binary_dilation(reached, ndimage.generate_binary_structure(2, 1 + k % 2))
            found[mine & reached] = step
    return found


@pytest.mark.parametrize("unknown", [0.0, 0.1])
def test_they_are_those_of_scipy(unknown: float) -> None:
    ids = random_ids(1, unknown)
    for reach in (1, 2, 5):
        expected = np.stack([steps(one[0].numpy(), reach)[np.newaxis] for one in ids])
        assert np.array_equal(distance(ids, reach).numpy(), (expected / reach).astype(np.float32))
    for width in (1, 2, 3):
        expected = np.stack([steps(one[0].numpy(), width + 1)[np.newaxis] for one in ids])
        found = boundary(ids, width)
        assert found.dtype == torch.float32
        assert np.array_equal(found.numpy(), (expected > 0) & (expected <= width))


def test_distances_by_hand() -> None:
    ids = torch.full((1, 1, 9, 9), 5.0)
    ids[0, 0, 4, 4] = 0
    found = 6 * distance(ids, 6)[0, 0, 4:, 4:]
    # Straight ahead one pixel a step; diagonally one pixel in every second.
    assert found[0].tolist() == [0, 1, 2, 3, 4]
    assert found.diagonal().tolist() == [0, 2, 3, 4, 6]
    assert torch.equal(found, found.T)
    assert distance(ids)[0, 0, 4].tolist() == [k / 8 for k in (4, 3, 2, 1, 0, 1, 2, 3, 4)]
    assert distance(ids, 2)[0, 0, 4].tolist() == [1, 1, 1, 0.5, 0, 0.5, 1, 1, 1]


def test_unknown_pixels_are_neither_boundary_nor_an_end() -> None:
    ids = image([4, 4, 4, NAN, NAN, 4, 4, 0])
    assert boundary(ids, 2)[0, 0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 0]
    assert (4 * distance(ids, 4))[0, 0, 0].tolist() == [4, 4, 4, 0, 0, 2, 1, 0]
    unknown = torch.full((1, 1, 4, 4), NAN)
    assert not boundary(unknown).any() and not distance(unknown).any()
