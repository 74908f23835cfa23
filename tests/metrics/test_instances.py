"""Metrics of segmented objects: by hand, by the definitions written as loops, and what must not matter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.acceptance.test_library import reference as by_definition
from visionlab.heads.instances.head import histogram_rows
from visionlab.heads.mask.head import mask_rows
from visionlab.metrics.instances import BINS, METRICS, at_threshold, best_threshold
from visionlab.metrics.matching import INSTANCE_COLUMNS, OBJECT_COLUMNS, PIXEL_COLUMNS, frame_sums

NAN = math.nan
Labels = npt.NDArray[Any]
Rows = npt.NDArray[np.float64]

FEW = {"objects_true": 0, "objects_pred": 0, "objects_hit": 0, "seg_sum": 0, "seg_n": 0}
NOTHING = {**FEW, "det_cost": 0, "det_worst": 0, "count_error": 0, "frames": 0}


def line(*ids: int) -> Labels:
    """Return a frame of one line of pixels."""
    return np.array(ids, np.int32)[np.newaxis, np.newaxis]


def frame_rows(true: Labels, pred: Labels) -> Rows:
    """Return the rows of a frame, as evaluation makes them."""
    pixels, sums = frame_sums(true, pred, objects=True)
    rows = np.zeros((len(pixels), len(INSTANCE_COLUMNS)))
    rows[:, : len(PIXEL_COLUMNS)] = pixels
    rows[0, len(PIXEL_COLUMNS) :] = [sums[name] for name in OBJECT_COLUMNS]
    return rows


def values(rows: Rows) -> dict[str, float]:
    return {name: metric(rows) for name, metric in METRICS.items()}


# The definitions, voxel by voxel ------------------------------------------------------------------------------------


def reference(true: Labels, pred: Labels) -> dict[str, float]:
    """Return the sums of one frame by the texts of the Cell Tracking Challenge, in loops over sets of known voxels."""
    found = by_definition(*(np.where(true >= 0, ids, 0) for ids in (true, pred)))
    return {
        "objects_true": found["true"],
        "objects_pred": found["pred"],
        "objects_hit": found["hits"],
        "seg_sum": found["seg"],
        "seg_n": found["true"],
        "det_cost": found["cost"],
        "det_worst": 10 * found["true"],
        "count_error": found["off"],
        "frames": 1,
    }


def random_frames(count: int, seed: int = 0) -> Iterator[tuple[Labels, Labels]]:
    """Yield true and predicted volumes of boxes that are moved, cut in halves, merged, dropped, added or renamed."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        shape = (1, 9, 12) if index % 2 else (3, 6, 8)
        true, pred = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for i in range(1, 1 + rng.integers(0, 9)):
            low = [rng.integers(0, side) for side in shape]
            high = [at + 1 + rng.integers(0, 4) for at in low]
            true[tuple(map(slice, low, high))] = i
        if index % 17:
            pred = np.roll(true, rng.integers(-1, 2, 2), axis=(1, 2))
            for i in np.unique(pred[pred > 0]):
                change, mine = rng.integers(0, 6), pred == i
                if change == 0:
                    pred[mine] = 0
                elif change == 1:
                    pred[mine] = rng.integers(1, 10)  # into another one
                elif change == 2:
                    places = np.flatnonzero(mine)
                    pred.flat[places[: len(places) // 2]] = 20 + i
                elif change == 3:
                    pred[rng.random(shape) < 0.05] = 40 + i
            pred = np.where(pred > 0, pred * 1009, 0).astype(np.int32)
        if index % 3 == 0:
            true[rng.random(shape) < 0.1] = -1
        yield true, pred


def test_it_is_what_the_definitions_say() -> None:
    seen = dict.fromkeys(("empty truth", "empty prediction", "merged", "cut", "half"), 0)
    for true, pred in random_frames(250):
        pixels, sums = frame_sums(true, pred, objects=True)
        expected = reference(true, pred)
        assert sums == pytest.approx(expected, abs=1e-12)
        known = true >= 0
        both = [(plane > 0, other > 0, ok) for plane, other, ok in zip(true, pred, known, strict=True)]
        assert pixels.tolist() == [
            [ok.sum(), (t & p & ok).sum(), (~t & p & ok).sum(), (t & ~p & ok).sum()] for t, p, ok in both
        ]
        seen["empty truth"] += expected["objects_true"] == 0
        seen["empty prediction"] += expected["objects_pred"] == 0
        hits, matched = expected["objects_hit"], expected["det_cost"] % 5
        seen["merged"] += expected["det_cost"] % 10 >= 5
        seen["cut"] += matched > 0
        seen["half"] += hits > 0 and expected["seg_sum"] < hits / 2
    assert min(seen.values()) >= 3, seen


def test_many_half_overlaps() -> None:
    # All pairs of labels of four pixels: every way of being exactly half of one another.
    labels = [line(*ids) for ids in itertools.product(range(3), repeat=4) if 2 not in ids or 1 in ids[: ids.index(2)]]
    for true, pred in itertools.product(labels, repeat=2):
        assert frame_sums(true, pred, objects=True)[1] == reference(true, pred)


# Unknown ------------------------------------------------------------------------------------------------------------


def test_single_slices_of_a_volume_are_compared_in_their_slice() -> None:
    rng = np.random.default_rng(3)
    true, pred = np.full((5, 8, 8), -1), rng.integers(0, 4, (5, 8, 8))
    true[1], true[3] = rng.integers(0, 3, (2, 8, 8))
    pixels, sums = frame_sums(true, pred, objects=True)
    assert pixels[:, 0].tolist() == [0, 64, 0, 64, 0]
    alone = [reference(true[z : z + 1], pred[z : z + 1]) for z in (1, 3)]
    assert sums == pytest.approx({**NOTHING, **{name: alone[0][name] + alone[1][name] for name in FEW}})
    assert math.isnan(values(frame_rows(true, pred))["det"])
    # An image that is known in part is no single slice of something larger.
    assert frame_sums(true[1:2], pred[1:2], objects=True)[1]["frames"] == 1


def test_nothing_known_or_no_objects_told_apart() -> None:
    unknown = np.full((2, 4, 4), -1)
    pixels, sums = frame_sums(unknown, np.ones((2, 4, 4), np.int32), objects=True)
    assert not pixels.any() and sums == NOTHING
    true = np.ones((2, 4, 4), np.int32)
    pixels, sums = frame_sums(true, true, objects=False)
    assert pixels.tolist() == [[16, 16, 0, 0]] * 2 and sums == NOTHING


# Histograms ---------------------------------------------------------------------------------------------------------


def maps(count: int = 4, size: tuple[int, int] = (24, 31)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    ids = torch.randint(0, 4, (count, 1, *size), generator=generator).float()
    probability = (0.3 * ids + 0.5 * torch.rand(ids.shape, generator=generator)).clamp(0, 1)
    ids[torch.rand(ids.shape, generator=generator) < 0.1] = NAN
    # All numbers of the grid themselves, and both ends.
    probability[0].view(-1)[: BINS + 1] = torch.arange(BINS + 1) / BINS
    return probability, ids


def test_every_threshold_is_that_of_the_maps() -> None:
    probability, ids = maps()
    histograms = histogram_rows(probability, ids)
    assert histograms.dtype == torch.float64 and histograms.shape == (4, 2 * BINS)
    foreground = torch.where(ids.isnan(), NAN, (ids > 0).float())
    for k in range(BINS):
        rows = at_threshold(histograms.numpy(), k / BINS)
        assert rows.shape == (4, len(INSTANCE_COLUMNS)) and not rows[:, 4:].any()
        assert rows[:, :4].tolist() == mask_rows(probability, foreground, k / BINS)[:, :4].tolist()
    none = at_threshold(histograms.numpy(), 1.0)
    assert not none[:, 1:3].any()
    assert (at_threshold(histograms.numpy(), 0.304) == at_threshold(histograms.numpy(), 0.30)).all()


@pytest.mark.gpu
def test_a_gpu_counts_the_same_and_is_not_waited_for() -> None:
    probability, ids = maps()
    on_gpu = probability.cuda(), ids.cuda()
    torch.use_deterministic_algorithms(True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        rows = histogram_rows(*on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.use_deterministic_algorithms(False)
    assert torch.equal(rows.cpu(), histogram_rows(probability, ids))


def histogram(foreground: dict[int, int], background: dict[int, int]) -> Rows:
    """Return one row: bin -> pixels."""
    row = np.zeros((1, 2 * BINS))
    for start, part in ((0, foreground), (BINS, background)):
        for place, count in part.items():
            row[0, start + place] = count
    return row


@pytest.mark.parametrize(
    ("foreground", "background", "best"),
    [
        ({90: 5}, {10: 5}, 0.50),  # anything from 0.11 to 0.90
        ({30: 5}, {9: 5}, 0.20),
        ({30: 5}, {10: 5}, 0.20),  # 0.11 to 0.30: of the two in the middle the lower
        ({99: 5}, {98: 5}, 0.99),
        ({0: 1, 99: 9}, {0: 9, 2: 5}, 0.51),  # what is in the lowest bin can't be had
        ({40: 50, 20: 10}, {30: 5, 20: 1}, 0.10),  # better all than without some of the foreground
        ({}, {50: 7}, 0.5),
        ({}, {}, 0.5),
    ],
)
def test_the_best_threshold(foreground: dict[int, int], background: dict[int, int], best: float) -> None:
    rows = histogram(foreground, background)
    assert best_threshold(rows) == best
    # Slices are added up first.
    apart = np.concatenate([histogram(foreground, {}), histogram({}, background)])
    assert best_threshold(apart) == best
