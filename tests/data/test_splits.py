"""Splits by group: no leak, the same for a seed, and faithful to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from visionlab.data.splits import Shares, Splits, make_splits, read_splits
from visionlab.errors import DataError

GROUPS = [f"g{i:02d}" for i in range(37)]


def split(groups: list[str] = GROUPS, **changes: Any) -> Splits:
    return make_splits(groups, Shares(**({"seed": 1, "val_fraction": 0.2, "test_fraction": 0.1} | changes)))


def parts(splits: Splits) -> list[set[str]]:
    return [set(splits.train), set(splits.val), set(splits.test), set(splits.unused)]


def test_same_seed_same_splits_whatever_the_order_and_repeats() -> None:
    assert split(GROUPS[::-1] * 3) == split()
    assert split(seed=2).test != split().test


def test_splits_of_a_seed_do_not_change_between_versions() -> None:
    splits = split(list("abcdef"), seed=0, val_fraction=0.2, test_fraction=0.2)
    assert (splits.train, splits.val, splits.test) == (("b", "c", "d", "f"), ("a",), ("e",))


@pytest.mark.parametrize(
    ("n", "val", "test", "sizes"),
    [
        (3, 0.2, 0.1, [1, 1, 1]),
        (2, 0.2, 0.0, [1, 1, 0]),
        (10, 0.01, 0.01, [8, 1, 1]),
        (4, 0.6, 0.39, [1, 2, 1]),
    ],
)
def test_few_groups_get_at_least_one_each(n: int, val: float, test: float, sizes: list[int]) -> None:
    splits = split(GROUPS[:n], val_fraction=val, test_fraction=test)
    assert [len(part) for part in parts(splits)][:3] == sizes


def test_too_few_groups_say_what_to_do() -> None:
    with pytest.raises(DataError, match=r"too few groups to split: 2 found.*data\.test_fraction=0"):
        split(GROUPS[:2])


def test_folds_cover_all_groups_once() -> None:
    folds = [split(folds=5, fold=i) for i in range(5)]
    tests = [name for splits in folds for name in splits.test]
    assert sorted(tests) == GROUPS
    assert {len(splits.test) for splits in folds} == {7, 8}
    assert len({splits.val for splits in folds}) == 5
    for i, splits in enumerate(folds):
        assert sorted(splits.train + splits.val + splits.test) == GROUPS
        assert len(splits.val) == 6
        assert f"fold {i} of 5" in splits.source


def test_fraction_is_nested_and_leaves_the_test_alone() -> None:
    whole, small, half = split(), split(fraction=0.1), split(fraction=0.5)
    assert set(small.train) < set(half.train) < set(whole.train) and set(small.val) <= set(half.val) <= set(whole.val)
    assert whole.test == half.test == small.test
    assert sorted(half.train + half.val + half.test + half.unused) == GROUPS
    assert len(small.train) == 3 and "data.fraction=0.1" in small.source


def test_assign_compares_names_exactly() -> None:
    """A name that begins like another is another group."""
    splits = Splits(("cell", "cell_10"), ("cell_1",), ("cell_1_",), ("x",), "by hand")
    groups = ["cell_1", "cell_10", "cell", "cell_1_", "x", "other", "cell_1"]
    assert splits.assign(groups).tolist() == ["val", "train", "train", "test", "", "", "val"]


def test_written_splits_are_read_back(tmp_path: Path) -> None:
    splits = split(["ä", "ß 1", *GROUPS], fraction=0.5)
    splits.write(tmp_path / "splits.json")
    again = read_splits(tmp_path / "splits.json", ["ä", "ß 1", *GROUPS])
    assert parts(again) == parts(splits)
    assert list(tmp_path.iterdir()) == [tmp_path / "splits.json"]
    content = json.loads((tmp_path / "splits.json").read_text("utf-8"))
    assert set(content) == {"train", "val", "test", "unused", "source"}


def put(folder: Path, content: Any) -> Path:
    path = folder / "splits.json"
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_published_form(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {"train_images": ["a", "a_1"], "val_images": ["b"], "test_images": ["c"], "author": "someone"}
    splits = read_splits(put(tmp_path, content), ["a", "a", "a_1", "a_10", "b", "c"])
    assert parts(splits) == [{"a", "a_1"}, {"b"}, {"c"}, {"a_10"}]
    assert "read from" in splits.source
    assert "a_10" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": ["a"], "val": [', "expected JSON in UTF-8"),
        ("[1, 2]", "found list"),
        ('{"train": ["a"], "train": ["b"], "val": ["b"], "test": []}', "expected each key once, found train, train"),
        (b"\xff\xfe\x00\x01", "expected JSON in UTF-8"),
        ({"train": ["a"], "vall": ["b"], "test": []}, "'val', found no such key.*Did you mean 'vall'"),
        ({"train": "a", "val": [], "test": []}, "expected a list of group names .* as 'train', found \"a\""),
        ({"train": [], "val": ["a"], "test": []}, "'train' names no group"),
        ({"train": ["a"], "val": ["b"], "test": ["a"]}, "'a' is in two splits, train and test"),
        ({"train": ["a"], "val": ["bb"], "test": ["A"]}, "2 of its groups have no images in the data: bb, A"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, content: Any, message: str) -> None:
    path = put(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        read_splits(path, ["a", "b"])
    assert str(path) in str(caught.value)
