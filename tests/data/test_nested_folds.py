"""Folds for what is fitted: whole groups, rare labels spread."""

from __future__ import annotations

import numpy as np
import pytest

from visionlab.data.stratify import nested_folds


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


@pytest.mark.parametrize(("names", "folds"), [(["a", "a", "b", "c"], 3), (["a", "b", "b", "b"], 2), (["a"] * 4, 1)])
def test_few_groups_give_few_folds(names: list[str], folds: int) -> None:
    found = nested_folds(names, np.ones((4, 2)))
    assert sorted(set(found.tolist())) == list(range(folds))
