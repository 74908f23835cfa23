"""The head of instances: what it learns, what is fitted after training, what it finds objects with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from tests.celegans import SHAPE, challenge, image, labels, module, png, tiff
from visionlab.data.preprocess import Preprocess
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.heads.head import Split
from visionlab.heads.instances import Separate
from visionlab.heads.instances.fit import FitFrame, fit
from visionlab.heads.instances.head import InstanceHead, boundary, distance
from visionlab.heads.instances.segment import Parameters, segment
from visionlab.heads.instances.target import InstanceReader
from visionlab.inference.predictor import merge
from visionlab.losses.elementwise import BCELoss
from visionlab.losses.mixed import BCEDiceLoss
from visionlab.losses.overlap import DiceLoss, LovaszLoss
from visionlab.metrics.matching import frame_sums


def head(separate: str = "none", cells: str = "filled", share: float = 0.2) -> InstanceHead:
    return InstanceHead(
        "nuclei",
        share=share,
        separate=separate,  # type: ignore[arg-type]
        cells=cells,  # type: ignore[arg-type]
        dimensions=2,
        metrics=["iou", "dice", "f1", "seg"],
        weight=1.0,
        activation="sigmoid",
    )


@pytest.fixture
def ids() -> torch.Tensor:
    """Two instances that touch, and a column that is unknown; 1 x 1 x 16 x 16."""
    target = torch.zeros(1, 1, 16, 16)
    target[..., 3:9, 2:7] = 4
    target[..., 3:9, 7:12] = 9
    target[..., 15] = float("nan")
    return target


def perfect(ids: torch.Tensor) -> torch.Tensor:
    return torch.where(ids > 0, 12.0, -12.0)


@pytest.mark.parametrize("loss", [DiceLoss(), BCELoss(), BCEDiceLoss(), LovaszLoss()], ids=lambda x: type(x).__name__)
def test_foreground_is_learnt_whatever_the_numbers_of_instances(loss: torch.nn.Module, ids: torch.Tensor) -> None:
    good = head().loss(perfect(ids), ids, loss)
    assert float(good) < 0.05
    assert float(head().loss(-perfect(ids), ids, loss)) > float(good) + 0.5
    renumbered = torch.where(ids > 0, 13.0, ids)
    assert torch.equal(head().loss(perfect(ids), renumbered, loss), good)


@pytest.mark.parametrize("separate", ["boundary", "distance"])
def test_what_separates_is_learnt_beside_the_foreground(separate: str, ids: torch.Tensor) -> None:
    raw = torch.cat([perfect(ids), torch.ones_like(ids)], dim=1).requires_grad_()
    one = head(separate).loss(raw, ids, BCELoss())
    merged = torch.where(ids > 0, 4.0, ids)
    # Where two instances touch there is a boundary only as long as they are two.
    assert not torch.equal(one, head(separate).loss(raw, merged, BCELoss()))
    one.backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    assert float(raw.grad[:, 1].abs().sum()) > 0
    assert not raw.grad[..., 15].any()


def test_while_training_pixels_are_measured_at_the_threshold(ids: torch.Tensor) -> None:
    one = head()
    decoded = torch.where(ids > 0, 0.4, 0.1)
    rows = one.rows(decoded, ids).numpy()
    assert one.measure(rows) == {"iou": 0.0, "dice": 0.0}
    one.set_parameters(Parameters(threshold=0.3), fitted=True)
    assert one.measure(rows) == {"iou": 1.0, "dice": 1.0}


def test_a_changed_parameter_is_named() -> None:
    with pytest.raises(ConfigError, match=r"link: .* less than or equal to 1, found 7"):
        Parameters.from_list([0.5, 1.0, 0.0, 7.0, 1])


def test_several_models_find_objects_with_the_mean_of_their_parameters() -> None:
    heads = [head(), head()]
    heads[0].set_parameters(Parameters(threshold=0.4, min_planes=1), fitted=True)
    heads[1].set_parameters(Parameters(threshold=0.6, min_planes=4), fitted=True)
    (merged,) = merge([[heads[0]], [heads[1]]], ["a", "b"])
    assert isinstance(merged.head, InstanceHead)
    assert merged.head.post_processing.threshold == pytest.approx(0.5)
    assert merged.head.post_processing.min_planes == 2
    assert bool(merged.head.fitted)


def test_models_whose_maps_mean_other_things_are_not_merged() -> None:
    with pytest.raises(UsageError, match="has the separate 'distance'"):
        merge([[head()], [head("distance")]], ["a", "b"])


# Boundaries and distances ------------------------------------------------------------------------------------------


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


# Fitted after training ---------------------------------------------------------------------------------------------


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


# Whether labels number objects -------------------------------------------------------------------------------------


def layers(*numbers: int) -> np.ndarray:
    """A volume whose second and third slice have one object each, of these numbers."""
    ids = np.zeros(SHAPE, np.uint16)
    for z, number in enumerate(numbers, start=1):
        ids[z, 2:6, 2:6] = number
    return ids


@pytest.mark.parametrize(
    ("numbers", "apart"), [((1, 2), True), ((2, 1), True), ((7, 7), False), ((1, 1), False), ((255, 255), False)]
)
def test_objects_of_which_no_two_lie_in_one_slice(tmp_path: Path, numbers: tuple[int, int], apart: bool) -> None:
    challenge(tmp_path, {"01": 2, "02": 3})
    for path in tmp_path.glob("*_ST/SEG/*.tif"):
        tiff(path, layers(*numbers))
    data = module(tmp_path, folds=2, fold=0)
    data.setup()
    assert {frame.instances for split in ("train", "test") for frame in data.frames(split)} == {apart}
    (facts,) = [stored.facts for stored in data.stored_maps.values()]
    assert facts["objects"].max() == 1, "none of the slices tells"


@pytest.mark.parametrize(("numbers", "apart"), [((1, 1, 1, 1, 1), False), ((1, 1, 3, 1, 1), True)])
def test_images_of_one_object_each_are_decided_by_the_set(
    tmp_path: Path, numbers: tuple[int, ...], apart: bool
) -> None:
    rows = ["image,label"]
    for place, number in enumerate(numbers):
        png(tmp_path / f"i{place}.png", image((9, 11), place))
        png(tmp_path / f"l{place}.png", np.eye(9, 11, dtype=np.uint8) * number)
        rows.append(f"i{place}.png,l{place}.png")
    (tmp_path / "metadata_pil.csv").write_text("\n".join(rows))
    data = module(tmp_path)
    data.setup()
    assert {frame.instances for frame in data.frames("train")} == {apart}


def test_they_are_counted_and_matched(tmp_path: Path) -> None:
    """Two objects above each other, both found: every metric of objects is perfect, none undefined."""

    challenge(tmp_path, {"01": 2, "02": 3})
    ids = np.zeros(SHAPE, np.uint16)
    ids[1, 2:6, 2:6], ids[2, 7:11, 9:13] = 1, 2
    for path in tmp_path.glob("*_ST/SEG/*.tif"):
        tiff(path, ids)
    data = module(tmp_path, folds=2, fold=0)
    data.setup()
    names = ["precision", "recall", "f1", "seg", "det"]
    options = {"separate": "none", "cells": "filled", "weight": 1.0, "activation": "sigmoid"}
    head = InstanceHead.from_data("nuclei", data, metrics=[*names, "count_error"], **options)
    head.set_parameters(Parameters(min_planes=1), fitted=True)
    rows = data.rows["test"]
    split = Split(
        data.table["group"].iloc[rows].tolist(),
        np.zeros((0, 0)),
        np.zeros((0, 0)),
        samples={int(row): number for number, row in enumerate(rows)},
        frames=lambda only: data.frames("test", only),
        maps=lambda frame: (frame.truth > 0).astype(np.float32)[:, None],
    )
    found = head.summarise(head.evaluate(split), split.groups)
    assert {name: found[name]["value"] for name in names} == dict.fromkeys(names, 1.0)
    assert found["count_error"]["value"] == 0


def test_slices_with_gaps_between_them_are_no_volumes(tmp_path: Path) -> None:
    for name in ("_0", "_2"):
        for time in range(6):
            png(tmp_path / "features" / f"F{time}{name}.png", image((16, 16), time + 10 * len(name)) + int(name[1]))
            png(tmp_path / "segmentation_maps" / f"L{time}{name}.png", labels((16, 16)))
    data = module(tmp_path, gap=0)
    data.setup()
    assert not next(data.frames("train")).volume
    options = {"separate": "none", "cells": "filled", "metrics": ["seg"], "weight": 1.0, "activation": "sigmoid"}
    assert InstanceHead.from_data("nuclei", data, **options).dimensions == 2


def test_ids_may_be_large() -> None:
    truth = np.zeros((1, 20, 20), np.int32)
    truth[0, 3:8, 3:8], truth[0, 12:17, 12:17] = 2**31 - 1, 2**31 - 5
    maps = (truth > 0)[:, None].astype(np.float32)
    assert fit([FitFrame(maps, truth, False)], separate="none", threshold=0.5).min_area == 0


def test_more_objects_than_are_kept_apart_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "many.tif", np.arange(1, 70001, dtype=np.uint32).reshape(100, 700))
    with pytest.raises(DataError, match="70000 objects in a plane"):
        InstanceReader([((100, 700), (100, 700))]).read(path, 0, Preprocess(1, 100, 700, "native", "uint16"))
