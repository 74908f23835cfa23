"""Parameters fitted on frames: better than the defaults, the same each time, and honest where nothing can be fitted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from visionlab.heads.instances import Separate
from visionlab.heads.instances.fit import FitFrame, fit
from visionlab.heads.instances.segment import Parameters, segment
from visionlab.metrics.matching import frame_sums

Array = np.ndarray[Any, Any]


def frame(seed: int, planes: int = 1, level: float = 0.4, specks: float = 0.004) -> FitFrame:
    """Return discs through all planes that a network sees with too low a probability, and specks that it sees too."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((planes, 48, 48), np.int32)
    y, x = np.indices(truth.shape[1:])
    for number, (cy, cx) in enumerate([(10, 10), (10, 23), (32, 12), (33, 34)], start=1):
        shift = rng.integers(-1, 2, 2)
        truth[:, np.hypot(y - cy - shift[0], x - cx - shift[1]) <= 6.5] = number
    foreground = ndimage.gaussian_filter((truth > 0).astype(np.float32), (0, 1, 1)) * level
    foreground[rng.random(truth.shape) < specks] = 0.9
    noisy = np.clip(foreground + rng.normal(0, 0.02, truth.shape), 0, 1)
    return FitFrame(noisy[:, None].astype(np.float32), truth, planes > 1)


def score(frames: Sequence[FitFrame], parameters: Parameters, separate: Separate = "none") -> float:
    total = dict.fromkeys(("objects_true", "objects_pred", "objects_hit", "seg_sum", "seg_n"), 0.0)
    for one in frames:
        labels = segment(one.maps, parameters, separate=separate, cells="filled", volume=one.volume)
        sums = frame_sums(one.truth, labels, objects=True)[1]
        total = {name: value + sums[name] for name, value in total.items()}
    f1 = 2 * total["objects_hit"] / (total["objects_true"] + total["objects_pred"])
    return (f1 + total["seg_sum"] / total["seg_n"]) / 2


def fitted(frames: Sequence[FitFrame], threshold: float = 0.2) -> Parameters:
    return fit(frames, separate="none", threshold=threshold)


def test_specks_are_left_out_and_fresh_frames_gain() -> None:
    frames = [frame(seed) for seed in range(3)]
    found = fitted(frames)
    assert found.min_area > 0 and found.threshold == 0.2
    for some in (frames, [frame(seed) for seed in range(10, 13)]):
        assert score(some, found) > 0.85 > score(some, Parameters(threshold=0.2))
    assert fitted(frames) == found


def test_links_and_fewest_planes_are_fitted_on_volumes_only() -> None:
    flat, solid = frame(0, specks=0), frame(1, planes=4, level=1, specks=0)
    solid.maps[2, 0, 20:28, 20:28] = 1  # in one slice only, as large as a nucleus
    assert fitted([solid], 0.5).min_planes > 1
    assert (fitted([flat]).link, fitted([flat]).min_planes) == (Parameters().link, Parameters().min_planes)


@pytest.mark.parametrize("seed", range(3))
def test_never_worse_than_the_defaults(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = frame(seed, planes=2).truth
    second = ndimage.gaussian_filter(rng.random(truth.shape), 1)
    maps = np.stack(
        [ndimage.gaussian_filter(rng.random(truth.shape) + (truth > 0) * rng.random(), 1.5), second], axis=1
    )
    frames = [FitFrame(maps.astype(np.float32), truth, True)]
    found = fit(frames, separate="distance", threshold=0.5)
    assert score(frames, found, "distance") >= score(frames, Parameters(), "distance")


def test_equals_keep_the_defaults() -> None:
    perfect = FitFrame((frame(0).truth[:, None] > 0).astype(np.float32), frame(0).truth, False)
    assert fitted([perfect], 0.37) == Parameters(threshold=0.37)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([], "no objects in the truth of 0 frames"),
        (
            [FitFrame(np.ones((1, 1, 9, 9), np.float32), np.zeros((1, 9, 9), np.int32), False)],
            "no objects in the truth",
        ),
        ([FitFrame(np.ones((2, 1, 9, 9), np.float32), np.full((2, 9, 9), -1), True)], "no objects in the truth of 1"),
        (
            [FitFrame(np.zeros((1, 1, 48, 48), np.float32), frame(0).truth, False)],
            "no true object of 1 frames is found",
        ),
    ],
)
def test_where_nothing_can_be_fitted_the_defaults_stay_and_it_is_said(
    frames: list[FitFrame], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        assert fitted(frames, 0.3) == Parameters(threshold=0.3)
    assert said in caplog.text
    assert "defaults kept" in caplog.text
