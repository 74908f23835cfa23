"""Samples, augmented, in batches that stop and go on anywhere: what shows one point stays at one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visionlab.config.compose import choice
from visionlab.data.loader import Augment, EpochBatches
from visionlab.errors import ConfigError


def data_module(root: Path, **changes: Any) -> Any:
    from tests.conftest import TINY
    from visionlab.config.compose import compose
    from visionlab.training.assembly import make_data

    data = make_data(compose([*TINY, f"data.root={root}", *(f"data.{key}={value}" for key, value in changes.items())]))
    data.setup()
    return data


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return len(one) == len(other) and all(
        a["id"] == b["id"] and torch.equal(a["image"], b["image"]) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_loader_goes_on_exactly_where_its_state_was_taken(focus_root: Path, workers: int, stop: int) -> None:
    whole = data_module(focus_root, batch_size=4).loader("train", train=True)
    whole.batches.set_epoch(3)
    expected = list(whole)
    begun = data_module(focus_root, batch_size=4).loader("train", train=True)
    begun.batches.set_epoch(3)
    iterator = iter(begun)
    for _ in range(stop):
        next(iterator)
    state = begun.state_dict()
    resumed = data_module(focus_root, batch_size=4, num_workers=workers).loader("train", train=True)
    resumed.load_state_dict(state)
    assert same(list(resumed), expected[stop:])
    resumed.batches.set_epoch(4)
    whole.batches.set_epoch(4)
    assert same(list(resumed), list(whole)), "the epoch after it is whole again"


def test_an_unused_iterator_leaves_no_trace(focus_root: Path) -> None:
    loader = data_module(focus_root).loader("train", train=True)
    loader.load_state_dict({"epoch": 0, "given": len(loader)})
    iter(loader)  # as Lightning does when a run goes on with the validation
    loader.batches.set_epoch(1)
    assert len(list(loader)) == len(loader)


def test_ranks_share_an_epoch_without_overlap() -> None:
    def positions(rank: int, world: int, train: bool) -> list[int]:
        batches = EpochBatches(23, 4, seed=1, train=train, rank=rank, world=world)
        assert len(list(batches)) == len(batches)
        return [position for batch in batches for _, position, _ in batch]

    ranks = [positions(rank, 3, False) for rank in range(3)]
    assert sorted(position for rank in ranks for position in rank) == list(range(23)), (
        "validation: each sample once, none twice"
    )
    trained = [positions(rank, 2, True) for rank in range(2)]
    assert len(trained[0]) == len(trained[1]) == 8, "training: equal numbers of whole batches"
    assert not set(trained[0]) & set(trained[1])
    assert [len(batch) for batch in EpochBatches(3, 16, seed=0, train=True)] == [3], "smaller than a batch"


def test_epochs_of_a_fixed_number_are_drawn_with_replacement() -> None:
    def keys(epoch: int, rank: int = 0, world: int = 1) -> list[tuple[int, int, int]]:
        batches = EpochBatches(5, 4, seed=1, train=True, samples=40, rank=rank, world=world)
        batches.set_epoch(epoch)
        assert len(batches) == 40 // (4 * world)
        return [key for batch in batches for key in batch]

    drawn = keys(0)
    assert len(drawn) == 40 == len(set(drawn)), "each draw of a sample is told from the others"
    assert drawn == keys(0) != keys(1), "it depends on the epoch only"
    assert max(again for _, _, again in drawn) == max(np.bincount([position for _, position, _ in drawn])) - 1
    assert sorted(keys(0, 0, 2) + keys(0, 1, 2)) == sorted(drawn), "ranks share the draw"
    assert len(list(EpochBatches(5, 4, seed=1, train=False, samples=40))) == 2, "validation: each sample once"


def test_weights_say_how_often_samples_are_drawn() -> None:
    weights = np.array([0.5, 0.25, 0.25, 0.0])
    batches = EpochBatches(4, 10, seed=0, train=True, samples=4000, weights=weights)
    drawn = np.bincount([position for batch in batches for _, position, _ in batch], minlength=4) / 4000
    assert drawn == pytest.approx(weights, abs=0.03) and drawn[3] == 0
    assert len(EpochBatches(4, 2, seed=0, train=True, weights=weights)) == 2, "as many as there are, unless said"


def test_a_sample_drawn_again_is_augmented_in_another_way(focus_root: Path) -> None:
    dataset = data_module(focus_root).loader("train", train=True).dataset
    first, again, other = (dataset[(0, 3, n)]["image"] for n in (0, 1, 2))
    assert not (torch.equal(first, again) and torch.equal(first, other))
    assert torch.equal(first, dataset[(0, 3, 0)]["image"])


def test_statistics_come_from_the_training_split_only(focus_root: Path) -> None:
    data = data_module(focus_root)
    pixels = np.stack([data.cache[int(row)] for row in data.rows["train"]]) / 255
    assert data.mean[0] == pytest.approx(pixels.mean())
    assert data.std[0] == pytest.approx(pixels.std())
    mean, std = data.scale("distance")
    trained = data.table[data.table["split"] == "train"]["distance"]
    assert mean[0] == pytest.approx(trained.mean())
    assert std[0] == pytest.approx(trained.std(ddof=0))
    assert data.step("distance") == pytest.approx(2.0)


# Augmentation ---------------------------------------------------------------------------------------------------------

SIDE = 64
# Each pixel says where it was: in the image as 4 x, 4 y and a third channel that is full wherever there is image.
Y, X = np.mgrid[:SIDE, :SIDE]
IMAGE = np.stack([4 * X, 4 * Y, np.full_like(X, 255)], axis=2).astype(np.uint8)
MASK = ((X // 8 + Y // 8) % 2).astype(np.float32)
DEPTH = (X + SIDE * Y).astype(np.float32)

STRONG = [
    {"transform": "Affine", "rotate": [-60, 60], "scale": [0.5, 1.5], "translate_percent": [-0.3, 0.3], "p": 1.0},
    {"transform": "ElasticTransform", "alpha": 60, "sigma": 5, "p": 1.0},
]
LISTS: dict[str, dict[str, list[Any]]] = {
    **{
        name: choice("augment", "augment", name) for name in ("fgbg", "fgbg_background", "depth_mask", "focus", "flips")
    },
    "affine": {"joint": STRONG[:1], "image": []},
    "elastic": {"joint": STRONG[1:], "image": []},
    "strong": {"joint": STRONG, "image": []},
}
EXACT = ("depth_mask", "focus", "flips")
# In pixels. Images are interpolated and maps take the nearest value, once for each of the transforms, of which the
# second sees pixels that the first has made larger.
TOLERANCE = {**dict.fromkeys(EXACT, 1e-4), "fgbg_background": 1.4, "strong": 2.1}


def joint(name: str) -> Augment:
    return Augment(LISTS[name]["joint"], [])


def whole(name: str) -> Augment:
    return Augment(LISTS[name]["joint"], LISTS[name]["image"])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", LISTS)
def test_image_background_mask_and_depth_stay_aligned(name: str, dtype: str) -> None:
    image = IMAGE if dtype == "uint8" else IMAGE.astype(np.float32) / np.float32(255)
    augment, moved, offsets = joint(name), 0, []
    for seed in range(20):
        (found, background), (mask, depth) = augment([image, image], [MASK, DEPTH], seed)
        assert found.dtype == background.dtype == image.dtype
        assert mask.dtype == depth.dtype == np.float32
        assert np.array_equal(found, background), "image and background are moved alike"
        known = np.isfinite(depth)
        assert np.array_equal(known, np.isfinite(mask))
        assert known.mean() > 0.05
        y, x = np.divmod(np.where(known, depth, 0), SIDE)
        assert np.array_equal(mask[known], ((x // 8 + y // 8) % 2)[known]), "the mask comes from where the depth does"
        says = found.astype(np.float64) / (1 if dtype == "uint8" else 1 / 255)
        # At the border the image is mixed with what is filled in.
        inner = known & (says[..., 2] > 254.99)
        off = np.stack([says[..., 0] / 4 - x, says[..., 1] / 4 - y])[:, inner]
        assert np.abs(off).max() <= TOLERANCE.get(name, 0.65)
        offsets.append(off.mean(axis=1))
        moved += not np.array_equal(depth, DEPTH)
        if name in EXACT:
            assert known.all()
    assert moved > 3
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.05, "nor are they apart by a part of a pixel"


@pytest.mark.parametrize("name", ["strong", "fgbg", "fgbg_background"])
def test_what_is_filled_in_is_unknown(name: str) -> None:
    filled = 0
    for seed in range(20):
        (found,), (mask, depth) = joint(name)([IMAGE], [MASK, DEPTH], seed)
        presence = found[..., 2]  # 255 where the image is, 0 where it was filled in, between the two at the border
        assert np.isnan(depth[presence == 0]).all()
        assert np.isnan(mask[presence == 0]).all()
        assert np.isfinite(depth[presence == 255]).mean() > 0.999
        filled += int((presence == 0).sum())
    assert filled > 1000


@pytest.mark.parametrize("name", [name for name, lists in LISTS.items() if lists["joint"]])
def test_holes_move_with_their_map_and_do_not_spread(name: str) -> None:
    holed = DEPTH.copy()
    hole = (X // 5 + Y // 7) % 3 == 0
    holed[hole] = np.nan
    for seed in range(6):
        _, (mask, depth, with_holes) = joint(name)([IMAGE], [MASK, DEPTH, holed], seed)
        known = np.isfinite(depth)
        y, x = np.divmod(depth[known].astype(int), SIDE)
        assert np.array_equal(np.isnan(with_holes[known]), hole[y, x])
        assert set(np.unique(mask[known])) <= {0, 1}


@pytest.mark.parametrize("name", [name for name, lists in LISTS.items() if lists["image"]])
def test_what_changes_values_never_touches_maps(name: str) -> None:
    """Alone it leaves them bit for bit as they are; after geometry, as the geometry left them."""
    only, holed, changed = Augment([], LISTS[name]["image"]), np.where(MASK > 0, np.nan, DEPTH), 0
    colourful = np.random.default_rng(0).integers(0, 256, IMAGE.shape, dtype=np.uint8)
    for seed in range(20):
        (found,), maps = only([colourful], [MASK, holed.astype(np.float32)], seed)
        for before, after in zip([MASK, holed.astype(np.float32)], maps, strict=True):
            assert np.array_equal(before.view(np.uint32), after.view(np.uint32))
        _, moved = whole(name)([colourful], [MASK, DEPTH], seed)
        _, expected = joint(name)([colourful], [MASK, DEPTH], seed)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(moved, expected, strict=True))
        changed += not np.array_equal(found, colourful)
    assert changed > 3


def test_image_and_background_get_the_same_colours() -> None:
    """Two images that agree in half of their pixels agree there afterwards: one function of the value changes both."""
    image = np.random.default_rng(1).integers(0, 256, IMAGE.shape, dtype=np.uint8)
    recolour = [{"transform": "RandomBrightnessContrast", "p": 1.0}, {"transform": "HueSaturationValue", "p": 1.0}]
    background = image[:, ::-1].copy()
    background[:20] = 255 - background[:20]
    (found, beside), _ = Augment([], recolour)([image, background], [], 3)
    assert np.array_equal(found[20:, ::-1], beside[20:])
    assert not np.array_equal(found[20:], image[20:])


@pytest.mark.parametrize(("share", "outcomes"), [(1.0, {"across", "down"}), (0.5, {"across", "down", "none"})])
def test_one_of_several_is_taken(share: float, outcomes: set[str]) -> None:
    flips = [{"transform": "HorizontalFlip", "p": 1.0}, {"transform": "VerticalFlip", "p": 1.0}]
    augment = Augment([{"one_of": flips, "p": share}], [])
    known = {DEPTH[:, ::-1].tobytes(): "across", DEPTH[::-1].tobytes(): "down", DEPTH.tobytes(): "none"}
    assert {known.get(augment([IMAGE], [DEPTH], seed)[1][0].tobytes(), "other") for seed in range(40)} == outcomes


@pytest.mark.parametrize("name", ["Affine", "HorizontalFlip", "GridDistortion"])
def test_geometry_is_refused_where_maps_would_not_follow(name: str) -> None:
    entry = {"transform": name, "p": 1.0}
    for entries in ([entry], [{"one_of": [{"transform": "Blur"}, entry], "p": 0.5}]):
        with pytest.raises(ConfigError, match=rf"augment\.image: {name} moves pixels.*write it in augment\.joint"):
            Augment([], entries)
        Augment(entries, [])
