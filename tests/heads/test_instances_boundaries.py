"""Boundaries of instances and the distance to them: by hand, by another implementation, and what is unknown."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from torch._subclasses.fake_tensor import FakeTensorMode

from visionlab.heads.instances.boundaries import boundary, distance

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


def test_boundaries_lie_inside_on_both_sides() -> None:
    ids = image([0, 0, 7, 7, 7, 7, 3, 3, 3, 3, 3, 3, 3])
    assert boundary(ids, 1)[0, 0, 0].tolist() == [0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert boundary(ids)[0, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_the_edge_of_the_image_is_no_boundary() -> None:
    ids = torch.full((2, 1, 6, 5), 2.0)
    assert not boundary(ids).any() and (distance(ids, 4) == 1).all()
    empty = torch.zeros(1, 1, 6, 5)
    assert not boundary(empty).any() and not distance(empty).any()
    assert distance(torch.ones(1, 1, 1, 1)).item() == 1


def test_unknown_pixels_are_neither_boundary_nor_an_end() -> None:
    ids = image([4, 4, 4, NAN, NAN, 4, 4, 0])
    assert boundary(ids, 2)[0, 0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 0]
    assert (4 * distance(ids, 4))[0, 0, 0].tolist() == [4, 4, 4, 0, 0, 2, 1, 0]
    unknown = torch.full((1, 1, 4, 4), NAN)
    assert not boundary(unknown).any() and not distance(unknown).any()


def test_only_which_ids_differ_matters() -> None:
    ids = random_ids(2)
    names = torch.randperm(2**14, generator=torch.Generator().manual_seed(0)).float() + 1
    renamed = torch.where(ids > 0, names[ids.nan_to_num().long() % 2**14], ids)
    assert torch.equal(boundary(ids), boundary(renamed)) and torch.equal(distance(ids), distance(renamed))
    for turn in (lambda maps: maps.flip(3), lambda maps: maps.transpose(2, 3)):
        assert torch.equal(turn(distance(ids)), distance(turn(ids)))
    assert torch.equal(distance(ids)[1:2], distance(ids[1:2])), "nor do the others of a batch"


def test_whole_numbers_do_as_well() -> None:
    ids = random_ids(3, unknown=0.0)
    assert torch.equal(distance(ids.int()), distance(ids)) and torch.equal(boundary(ids.int()), boundary(ids))


def test_nothing_is_waited_for() -> None:
    with FakeTensorMode():
        ids = torch.empty(2, 1, 16, 16)
        assert boundary(ids).shape == distance(ids).shape == ids.shape


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    ids = random_ids(4)
    torch.use_deterministic_algorithms(True)
    try:
        found = boundary(ids.cuda()), distance(ids.cuda())
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(found[0].cpu(), boundary(ids)) and torch.equal(found[1].cpu(), distance(ids))


def test_what_cannot_be_is_refused() -> None:
    for wrong in (torch.zeros(2, 8, 8), torch.zeros(2, 3, 8, 8)):
        with pytest.raises(ValueError, match="ids: expected B x 1 x H x W, found"):
            distance(wrong)
    with pytest.raises(ValueError, match="reach: expected at least 1 pixel, found 0"):
        distance(torch.zeros(1, 1, 8, 8), 0)
    with pytest.raises(ValueError, match="width: expected at least 1 pixel, found 0"):
        boundary(torch.zeros(1, 1, 8, 8), 0)
