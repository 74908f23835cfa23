from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visionlab.data.loader import Augment, EpochBatches
from visionlab.errors import ConfigError


def data_module(root: Path, **changes: Any) -> Any:
    from tests.conftest import TINY
    from visionlab.config.compose import compose
    from visionlab.training.assembly import make_data

    data = make_data(compose([*TINY, f"data.root={root}", *(f"data.{key}={value}" for key, value in changes.items())]))
    data.setup()
    return data


def epoch_of(loader: Any) -> list[dict[str, Any]]:
    return list(loader)


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return len(one) == len(other) and all(
        a["id"] == b["id"] and torch.equal(a["image"], b["image"]) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_loader_goes_on_exactly_where_its_state_was_taken(focus_root: Path, workers: int, stop: int) -> None:
    whole = data_module(focus_root, batch_size=4).loader("train", train=True)
    whole.batches.set_epoch(3)
    expected = epoch_of(whole)
    begun = data_module(focus_root, batch_size=4).loader("train", train=True)
    begun.batches.set_epoch(3)
    iterator = iter(begun)
    for _ in range(stop):
        next(iterator)
    state = begun.state_dict()
    resumed = data_module(focus_root, batch_size=4, num_workers=workers).loader("train", train=True)
    resumed.load_state_dict(state)
    assert same(epoch_of(resumed), expected[stop:])
    resumed.batches.set_epoch(4)
    whole.batches.set_epoch(4)
    assert same(epoch_of(resumed), epoch_of(whole)), "the epoch after it is whole again"


def test_an_unused_iterator_leaves_no_trace(focus_root: Path) -> None:
    loader = data_module(focus_root).loader("train", train=True)
    loader.load_state_dict({"epoch": 0, "given": len(loader)})
    iter(loader)  # as Lightning does when a run goes on with the validation
    loader.batches.set_epoch(1)
    assert len(epoch_of(loader)) == len(loader)


def test_epochs_differ_and_repeat(focus_root: Path) -> None:
    loader = data_module(focus_root).loader("train", train=True)
    first = epoch_of(loader)
    loader.batches.set_epoch(1)
    assert not same(first, epoch_of(loader))
    loader.batches.set_epoch(0)
    assert same(first, epoch_of(loader))


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


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    assert [len(batch) for batch in EpochBatches(3, 16, seed=0, train=True)] == [3]


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


def test_augmentation_depends_on_its_seed_only() -> None:
    augment = Augment([{"transform": "D4", "p": 1}], [{"transform": "RandomBrightnessContrast", "p": 1}])
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8)

    def changed(seed: int) -> np.ndarray:
        return augment([image], [], seed)[0][0]

    first = changed(5)
    np.random.seed(1)
    for seed in range(3):
        changed(seed)
    assert np.array_equal(changed(5), first)
    assert any(not np.array_equal(changed(seed), first) for seed in range(6, 12))


def test_augmentation_keeps_float_precision() -> None:
    augment = Augment([{"transform": "HorizontalFlip", "p": 1}], [])
    image = (np.arange(64, dtype=np.float32) / 65535).reshape(8, 8, 1)
    (found,), _ = augment([image], [], 0)
    assert np.array_equal(found, image[:, ::-1])


def test_unknown_transform_arguments_are_errors() -> None:
    with pytest.raises(ConfigError, match="HorizontalFlip"):
        Augment([{"transform": "HorizontalFlip", "probability": 1}], [])


def test_bytes_reach_the_batch(focus_root: Path) -> None:
    batch = next(iter(data_module(focus_root).loader("val")))
    assert batch["image"].dtype == torch.uint8
    assert batch["image"].shape[1:] == (1, 32, 32)
    assert batch["target"]["distance"].shape[1:] == (1,)


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


def test_no_group_is_in_two_splits(focus_root: Path) -> None:
    data = data_module(focus_root)
    assert data.table.groupby("group")["split"].nunique().max() == 1
    assert set(data.table["split"]) == {"train", "val", "test"}
