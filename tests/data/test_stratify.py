"""Stratified splits: whole groups, every label in every part as evenly as its count allows, the same for a seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tests.conftest import SHARED
from visionlab.data.splits import Shares, Splits
from visionlab.data.stratify import SIZE_WEIGHT, make_stratified_splits, nested_folds, stratified_parts

Labels = npt.NDArray[np.int64]

CHANCES = (0.4, 0.25, 0.2, 0.1, 0.05, 0.02, 0.01)


def random_labels(n: int, seed: int = 0) -> Labels:
    return (np.random.default_rng(seed).random((n, len(CHANCES))) < CHANCES).astype(np.int64)


def own_groups(n: int) -> list[str]:
    return [f"id{i:05d}" for i in range(n)]


def mixed_groups(n: int, largest: int, seed: int = 0) -> list[str]:
    """Groups of 1 to ``largest`` samples that do not stand together."""
    rng = np.random.default_rng(seed)
    return [f"g{i:05d}" for i in rng.permutation(np.repeat(np.arange(n), rng.integers(1, largest + 1, n))[:n])]


def split(groups: Sequence[str], labels: Labels, **changes: Any) -> Splits:
    options = {"seed": 1, "val_fraction": 0.1, "test_fraction": 0.2} | changes
    return make_stratified_splits(groups, labels, Shares(**options))


def counts(splits: Splits, groups: Sequence[str], labels: Labels) -> dict[str, Labels]:
    """Return the samples and, behind them, the samples with each label, of each part."""
    part_of = splits.assign(groups)
    columns = np.column_stack([np.ones(len(labels), np.int64), labels])
    return {part: columns[part_of == part].sum(axis=0) for part in ("train", "val", "test")}


def test_folds_cover_every_group_once_and_share_every_label_evenly() -> None:
    groups, labels = mixed_groups(1500, 8), random_labels(1500)
    folds = [split(groups, labels, folds=5, fold=i) for i in range(5)]
    found = [counts(splits, groups, labels) for splits in folds]
    every = np.append(1500, labels.sum(axis=0))
    assert sorted(name for splits in folds for name in splits.test) == sorted(set(groups))
    for i, (splits, of_parts) in enumerate(zip(folds, found, strict=True)):
        assert sorted(splits.train + splits.val + splits.test) == sorted(set(groups))
        assert np.abs(of_parts["test"] - every / 5).max() < 1.2
        assert np.abs(of_parts["val"] - 0.1 * (every - of_parts["test"])).max() < 1.2
        assert f"fold {i} of 5" in splits.source
    assert len({splits.val for splits in folds}) == 5


@pytest.mark.parametrize(
    ("n", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (12, (8, 1, 3))]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rare_label_is_in_train_then_test_then_validation(n: int, expected: tuple[int, ...], seed: int) -> None:
    labels = np.column_stack([np.arange(200) < n, np.arange(200) % 2]).astype(np.int64)
    found = counts(split(own_groups(200), labels, seed=seed), own_groups(200), labels)
    assert tuple(int(found[part][1]) for part in ("train", "val", "test")) == expected
    assert found["train"][0] == 140


def test_the_same_seed_gives_the_same_splits_whatever_the_order() -> None:
    groups, labels = mixed_groups(300, 4), random_labels(300)
    order = np.random.default_rng(5).permutation(300)
    again = split([groups[i] for i in order], labels[order])
    assert again == split(groups, labels)
    assert split(groups, labels, seed=2).test != again.test


def test_splits_of_a_seed_do_not_change_between_versions() -> None:
    labels = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [1, 1], [0, 0]])
    splits = split(list("abcdefgh"), labels, val_fraction=0.25, test_fraction=0.25, seed=0)
    assert (splits.val, splits.test) == (("a", "f"), ("g", "h"))


def test_fraction_is_stratified_and_nested_and_leaves_the_test_alone() -> None:
    groups, labels = mixed_groups(2000, 3), random_labels(2000)
    whole = split(groups, labels)
    before: set[str] = set()
    for fraction in (0.01, 0.1, 0.5, 0.77):
        splits = split(groups, labels, fraction=fraction)
        kept = {*splits.train, *splits.val}
        assert before <= kept and splits.test == whole.test
        found, of_whole = counts(splits, groups, labels), counts(whole, groups, labels)
        assert all(np.abs(found[part] - fraction * of_whole[part]).max() < 6 for part in ("train", "val"))
        assert found["train"].all(), "every label, even in the smallest part"
        before = kept


def test_additional_sets_go_to_train_and_count_for_no_share() -> None:
    groups, labels = own_groups(300), random_labels(300)
    groups[299] = groups[0]  # a sample of the additional set that belongs to a group of the main one
    outside = np.arange(300) >= 200
    splits = make_stratified_splits(groups, labels, Shares(1, 0.2, 0.2), outside)
    assert set(groups[200:299]) <= set(splits.train)
    found = counts(splits, groups[:200], labels[:200])
    assert [int(found[part][0]) for part in ("train", "val", "test")] == [120, 40, 40]
    assert np.abs(found["test"] - 0.2 * np.append(200, labels[:200].sum(axis=0))).max() < 1
    assert sorted(splits.train + splits.val + splits.test) == sorted(set(groups))
    fold = make_stratified_splits(groups, labels, Shares(1, 0.0, 0.0, 4, 2), outside)
    assert len(fold.test) == 50
    assert set(groups[200:299]) <= set(fold.train)
    half = make_stratified_splits(groups, labels, Shares(1, 0.2, 0.2, fraction=0.5), outside)
    assert 40 <= len(set(groups[200:299]) & set(half.train)) <= 60


def test_no_move_or_swap_would_make_a_dealing_better() -> None:
    """Compared with trying them all, on groups too few to meet every share."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        sizes = rng.integers(1, 6, 14)
        rows = np.column_stack([sizes, rng.integers(0, 6, (14, 4)).clip(max=sizes[:, None])])
        part = stratified_parts(rows, [0.5, 0.3, 0.2], rng)
        weight = np.array([2.0 ** -int(n).bit_length() for n in rows.sum(axis=0)]) * [SIZE_WEIGHT, 1, 1, 1, 1]
        target = np.round(np.outer([0.5, 0.3, 0.2], rows.sum(axis=0)) * 256) / 256

        def cost(of: npt.NDArray[np.int64], rows: Labels, weight: Any, target: Any) -> float:
            count = np.array([rows[of == p].sum(axis=0) for p in range(3)])
            # A label that leaves a part wholly counts as the worst.
            return float((weight * (count - target) ** 2).sum()) + 1e9 * float((count == 0).sum())

        best = cost(part, rows, weight, target)
        for i, j in itertools.product(range(14), range(14)):
            swapped = part.copy()
            swapped[i], swapped[j] = part[j], part[i]
            assert cost(swapped, rows, weight, target) >= best
        for i, p in itertools.product(range(14), range(3)):
            moved = part.copy()
            moved[i] = p
            assert cost(moved, rows, weight, target) >= best


@pytest.mark.shared_data
@pytest.mark.parametrize("largest", [1, 8])
def test_every_class_of_the_atlas_is_in_every_fold_to_the_nearest_sample(largest: int) -> None:
    """The 31,072 real rows: each class has its fifth in each fold, rounded up or down, also with groups."""
    rows = pd.read_csv(SHARED / "protein_atlas" / "train.csv")
    labels = np.zeros((len(rows), 28), np.int64)
    for row, target in enumerate(rows["Target"]):
        labels[row, [int(number) for number in target.split()]] = 1
    groups = list(rows["Id"]) if largest == 1 else mixed_groups(len(rows), largest)
    n = np.append(len(labels), labels.sum(axis=0))
    assert n.min() == 11
    for fold in range(5):
        found = counts(split(groups, labels, folds=5, fold=fold), groups, labels)
        assert np.abs(found["test"] - n / 5).max() < 1
        assert np.abs(found["val"] - 0.1 * (n - found["test"])).max() < 1


def test_nested_folds_are_whole_groups_with_rare_classes_spread() -> None:
    rng = np.random.default_rng(5)
    groups = np.repeat([f"slide {i}" for i in range(60)], 4)
    labels = rng.random((240, 4)) < 0.3
    labels[:, 0] = False
    labels[::48, 0] = True  # 5 samples, of 5 groups
    folds = nested_folds(groups, labels)
    assert all(len(set(folds[groups == name])) == 1 for name in set(groups))
    assert np.bincount(folds).tolist() == [48] * 5
    assert np.bincount(folds[labels[:, 0]]).tolist() == [1] * 5
    order = rng.permutation(240)
    assert np.array_equal(nested_folds(groups[order], labels[order]), folds[order])
    assert sorted(set(nested_folds(["a", "b", "b", "b"], np.ones((4, 2))))) == [0, 1], "few groups give few folds"
    assert set(nested_folds(["a"] * 4, np.ones((4, 2)))) == {0}
