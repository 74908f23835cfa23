"""Splits of embryos: whole sequences or runs of blocks of time, a gap between them, and nothing of one in another."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.celegans import SHAPE, challenge, image, labels, module, png, tiff
from visionlab.data.blocks import LEAKS, in_blocks, leave_gap, name_blocks, split_sequences, split_times
from visionlab.data.splits import Splits
from visionlab.datasets.celegans import CElegansDataModule
from visionlab.errors import ConfigError, DataError

Warnings = pytest.LogCaptureFixture

DRAWN: dict[str, Any] = {
    "seed": 0,
    "val_fraction": 0.2,
    "test_fraction": 0.2,
    "folds": None,
    "fold": None,
    "fraction": 1.0,
}


def table(sequences: dict[str, int], blocks: int = 10, z: int = 2) -> pd.DataFrame:
    """An index of sequences, name -> time points, of ``z`` slices each."""
    rows = [(name, time) for name, count in sequences.items() for time in range(count) for _ in range(z)]
    names, times = [name for name, _ in rows], [time for _, time in rows]
    groups = name_blocks(names, times, blocks)
    ids = [f"{name}_{time}_{number % z}" for number, (name, time) in enumerate(rows)]
    return pd.DataFrame({"id": ids, "group": groups, "sequence": names, "time": times})


def sequences_of(splits: Splits) -> dict[str, set[str]]:
    return {part: {name.split("/")[0] for name in getattr(splits, part)} for part in ("train", "val", "test")}


# Blocks -------------------------------------------------------------------------------------------------------------


def test_blocks_cut_each_sequence_in_parts_as_equal_as_can_be() -> None:
    assert name_blocks(["a"] * 5, [0, 1, 2, 3, 4], 2) == ["a/t000-t002"] * 3 + ["a/t003-t004"] * 2
    # The time points that there are, not the numbers between them; in any order.
    assert name_blocks(["a", "a", "b", "a"], [90, 10, 3, 20], 2) == ["a/t090", "a/t010-t020", "b/t003", "a/t010-t020"]
    assert name_blocks(["a", "a"], [5, 6], 10, 4) == ["a/t0005", "a/t0006"]
    assert name_blocks(["a", "b"], [-1, -1], 10) == ["a", "b"]
    with pytest.raises(ConfigError, match=r"data.blocks: expected at least 1, found 0"):
        name_blocks(["a"], [1], 0)


@pytest.mark.parametrize(
    ("groups", "blocked"),
    [(["p", "p", "q", "q"], True), (["p", "q", "p", "q"], False), (["p", "q", "r", "p"], False)],
)
def test_groups_of_the_users_own_may_be_blocks(groups: list[str], blocked: bool) -> None:
    index = pd.DataFrame({"group": groups, "sequence": ["a", "a", "a", "a"], "time": [0, 1, 2, 3]})
    assert in_blocks(index) is blocked
    assert not in_blocks(index.assign(sequence=""))
    assert not in_blocks(index.assign(sequence=["a", "b", "a", "b"], group=["p", "p", "q", "q"]))


# Whole sequences ----------------------------------------------------------------------------------------------------


def test_whole_sequences_are_dealt_out() -> None:
    index = table({f"{number:02d}": 4 for number in range(1, 7)})
    splits = split_sequences(index, **DRAWN)
    parts = sequences_of(splits)
    assert [len(parts[part]) for part in ("train", "val", "test")] == [4, 1, 1]
    assert not parts["train"] & parts["val"] | parts["train"] & parts["test"] | parts["val"] & parts["test"]
    assert splits == split_sequences(index, **DRAWN)
    assert {frozenset(sequences_of(split_sequences(index, **{**DRAWN, "seed": seed}))["test"]) for seed in range(9)} > {
        frozenset(parts["test"])
    }
    tested = [sequences_of(split_sequences(index, **{**DRAWN, "folds": 3, "fold": fold}))["test"] for fold in range(3)]
    assert sorted(name for part in tested for name in part) == ["01", "02", "03", "04", "05", "06"]


def test_of_two_sequences_one_is_the_test_and_the_end_of_the_other_validation() -> None:
    index = table({"01": 20, "02": 10}, blocks=5)
    splits = split_sequences(index, **{**DRAWN, "folds": 2, "fold": 0})
    assert splits.test == tuple(f"01/t{4 * block:03d}-t{4 * block + 3:03d}" for block in range(5))
    assert splits.val == ("02/t008-t009",)
    assert len(splits.train) == 4
    assert "fold 0 of 2: tested on 01, validated on the end of 02" in splits.source
    assert sequences_of(split_sequences(index, **{**DRAWN, "folds": 2, "fold": 1}))["test"] == {"02"}
    assert {str(sequences_of(split_sequences(index, **{**DRAWN, "seed": seed}))["test"]) for seed in range(9)} == {
        "{'01'}",
        "{'02'}",
    }
    without = split_sequences(index, **{**DRAWN, "folds": 2, "fold": 0, "val_fraction": 0.0})
    assert (without.val, len(without.train), len(without.test)) == ((), 5, 5)
    untested = sequences_of(split_sequences(index, **{**DRAWN, "test_fraction": 0.0}))
    assert [len(untested[part]) for part in ("train", "val", "test")] == [1, 1, 0]


def test_too_few_to_split() -> None:
    with pytest.raises(DataError, match="too few groups to split: 1 found"):
        split_sequences(table({"01": 9}), **DRAWN)
    with pytest.raises(DataError, match="too few groups to split: 1 found"):
        split_sequences(table({"01": 9, "02": 9}, blocks=1), **DRAWN)
    with pytest.raises(DataError, match="too few groups to split: 2 found"):
        split_times(table({"01": 2}), 0, **DRAWN)
    with pytest.raises(DataError, match=r"data.folds=4 needs as many groups, found 3"):
        split_times(table({"01": 3}), 0, **{**DRAWN, "folds": 4, "fold": 0})


# Runs of blocks -----------------------------------------------------------------------------------------------------


def test_time_is_cut_into_runs_that_folds_turn() -> None:
    index = table({"01": 10})
    seen = []
    for fold in range(5):
        splits = split_times(index, 0, **{**DRAWN, "folds": 5, "fold": fold})
        times = {part: sorted(int(name[-3:]) for name in getattr(splits, part)) for part in ("train", "val", "test")}
        assert times["test"] == [2 * fold, 2 * fold + 1]
        assert times["val"] == sorted((2 * fold - back) % 10 for back in (1, 2))
        assert len(times["train"]) == 6
        seen += times["test"]
    assert seen == list(range(10))


def test_time_begins_where_the_seed_says() -> None:
    index = table({"01": 10, "02": 20})
    tests = set()
    for seed in range(8):
        splits = split_times(index, 0, **{**DRAWN, "seed": seed})
        assert [len(getattr(splits, part)) for part in ("train", "val", "test")] == [12, 4, 4]
        assert sequences_of(splits)["test"] == {"01", "02"}
        # Whatever the start, the test follows the validation in the circle of time.
        val, test = ({int(name[4:7]) for name in part if name.startswith("01")} for part in (splits.val, splits.test))
        assert {(time + 2) % 10 for time in val} == test
        tests.add(splits.test)
    assert len(tests) > 2
    assert split_times(index, 0, **DRAWN) == split_times(index, 0, **DRAWN)


def test_a_short_sequence_keeps_something_to_validate_on() -> None:
    index = table({"01": 6})
    for seed in range(6):
        splits = split_times(index, "auto", **{**DRAWN, "seed": seed})
        found, _ = leave_gap(index, splits.assign(index["group"].tolist()), "auto")
        assert {"train", "val", "test"} <= set(found)
        assert len(splits.val) <= 2


@pytest.mark.parametrize("split", [partial(split_times, gap=1), split_sequences])
def test_a_fraction_keeps_that_part_of_what_is_learnt_from(split: Any) -> None:
    index = table({"01": 20, "02": 20})
    half, all_of_it = split(index, **{**DRAWN, "fraction": 0.5}), split(index, **DRAWN)
    assert half.test == all_of_it.test
    assert len(half.train) == round(0.5 * len(all_of_it.train))
    assert set(half.train) < set(all_of_it.train)
    assert set(half.val) < set(all_of_it.val)
    assert set(half.unused) == set(all_of_it.train + all_of_it.val) - set(half.train + half.val)
    least = split(index, **{**DRAWN, "fraction": 0.1})
    assert set(least.train) < set(half.train)
    assert len(least.val) == 1


# Gap ----------------------------------------------------------------------------------------------------------------


def gapped(parts: str, gap: Any, sequence: str = "") -> str:
    """Splits of time points by their letters, ``tr``ain ``v``al ``e`` test, and those that a gap leaves."""
    letters = {"t": "train", "v": "val", "e": "test", ".": ""}
    index = pd.DataFrame({"sequence": list(sequence) or ["01"] * len(parts), "time": range(len(parts))})
    found, _ = leave_gap(index, np.array([letters[part] for part in parts], dtype="<U5"), gap)
    back = {name: letter for letter, name in letters.items()}
    return "".join(back[name] for name in found)


@pytest.mark.parametrize(
    ("parts", "gap", "expected"),
    [
        ("ttttvvvveeee", 0, "ttttvvvveeee"),
        ("ttttvvvveeee", 1, "ttt.vvv.eeee"),
        ("ttttvvvveeee", 2, "tt..vv..eeee"),
        # 5% of 12 is less than one.
        ("ttttvvvveeee", "auto", "ttt.vvv.eeee"),
        ("t" * 30 + "e" * 30, "auto", "t" * 27 + "..." + "e" * 30),
        # What is left out of validation is no neighbour that training must keep away from.
        ("tttveeeevv", 1, "ttt.eeee.v"),
        ("eetttttvv", 1, "ee.ttt.vv"),
    ],
)
def test_the_gap_takes_from_training_then_from_validation(parts: str, gap: Any, expected: str) -> None:
    assert gapped(parts, gap) == expected


def test_the_gap_is_within_a_sequence() -> None:
    assert gapped("tttttteeeeee", 2, "aaaaaabbbbbb") == "tttttteeeeee"


def test_the_gap_says_what_it_left_out_and_leaves_something() -> None:
    index = table({"01": 6})
    split = np.repeat(np.array(["train", "val", "test"], dtype="<U5"), 4)
    found, text = leave_gap(index, split, 1)
    assert text == "time points near another split are left out: 1 of val in 01 (within 1), 1 of train in 01 (within 1)"
    assert (found == "").sum() == 4
    assert split.tolist().count("") == 0
    with pytest.raises(DataError, match=r"data.gap=2: leaves no time point in 'val', for all are near"):
        leave_gap(index, split, 2)
    with pytest.raises(ConfigError, match=r"data.gap: expected auto or at least 0, found -1"):
        leave_gap(index, split, -1)


# The data module ----------------------------------------------------------------------------------------------------


def drawn(root: Path, **options: Any) -> tuple[CElegansDataModule, Splits, pd.DataFrame]:
    """The module, its splits and its table with the split of each row, before any pixel is read."""
    data = module(root, **options)
    index = data.index(root)
    splits = data.make_splits(index)
    return data, splits, index.assign(split=data.assign(index, splits))


def test_sequences_are_split_where_there_are_several_else_time(tmp_path: Path, caplog: Warnings) -> None:
    challenge(tmp_path, {"01": 10, "02": 10})
    with caplog.at_level(logging.INFO, logger="visionlab"):
        _, splits, index = drawn(tmp_path, folds=2, fold=1)
    assert splits.source.startswith("whole sequences of 2")
    assert index.groupby("sequence")["split"].unique().map(set).to_dict() == {
        "01": {"train", "", "val"},
        "02": {"test"},
    }
    assert "1 of train in 01 (within 1)" in caplog.text
    # All slices of a time point are in one split.
    assert (index.groupby("frame")["split"].nunique() == 1).all()
    _, splits, index = drawn(tmp_path, split_by="time")
    assert splits.source.startswith("time of 2 sequences")
    assert {"train", "val", "test"} <= set(index.loc[index["sequence"] == "02", "split"])
    _, splits, _ = drawn(tmp_path, include=["01/*"])
    assert splits.source.startswith("whole")
    data = module(tmp_path, include=["01/*"])
    assert data.make_splits(data.choose(data.index(tmp_path), tmp_path)).source.startswith("time of 1 sequence cut")


def test_random_slices_leak_and_say_so(tmp_path: Path, caplog: Warnings) -> None:
    challenge(tmp_path, {"01": 6})
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        data, splits, index = drawn(tmp_path, split_by="random_slices")
    assert splits.source.startswith(LEAKS)
    assert "LEAKS" in caplog.text
    assert (index["group"] == index["id"]).all()
    assert (index["split"] != "").all()
    assert (index.groupby("frame")["split"].nunique() > 1).any()
    data.splits = splits
    assert data.remarks()[0].startswith(LEAKS)
    # Also where the splits were written down, by us or by others.
    splits.write(tmp_path / "splits.json")
    _, again, _ = drawn(tmp_path, split_by="random_slices", split_file=str(tmp_path / "splits.json"))
    assert (again.source, again.test) == (splits.source, splits.test)
    Splits(splits.train, splits.val, splits.test, (), "published").write(tmp_path / "splits.json")
    _, again, _ = drawn(tmp_path, split_by="random_slices", split_file=str(tmp_path / "splits.json"))
    assert again.source.startswith(LEAKS)
    assert again.source.endswith("published")


@pytest.mark.parametrize("options", [{}, {"split_by": "time", "gap": 2}, {"split_by": "random_slices"}])
def test_written_splits_give_the_same_rows(tmp_path: Path, options: dict[str, Any]) -> None:
    challenge(tmp_path / "data", {"01": 12, "02": 12})
    _, splits, index = drawn(tmp_path / "data", **options)
    splits.write(tmp_path / "splits.json")
    again = drawn(tmp_path / "data", **options, split_file=str(tmp_path / "splits.json"))[2]
    pd.testing.assert_frame_equal(again, index)


def test_all_of_another_folder_has_no_gap(tmp_path: Path) -> None:
    data = module(challenge(tmp_path, {"01": 3}), split_by="random_slices")
    data.chosen_splits = lambda groups: Splits((), (), tuple(sorted(set(groups))), (), "all")
    index = data.index(tmp_path)
    splits = data.make_splits(index)
    assert splits.source == "all"
    assert (data.assign(index, splits) == "test").all()


def flat_images(root: Path, header: str, *rows: str) -> Path:
    for number, row in enumerate(rows):
        png(root / row.split(",")[0], image(SHAPE[1:], number))
    png(root / "l.png", labels(SHAPE[1:]))
    (root / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def test_unrelated_images_and_groups_of_the_users_own_are_dealt_out(tmp_path: Path) -> None:
    root = flat_images(tmp_path / "a", "image,label", *(f"i{number}.png,l.png" for number in range(10)))
    _, splits, index = drawn(root, table="list.csv")
    assert splits.source.startswith("10 groups shuffled with seed 0")
    assert index["split"].value_counts().to_dict() == {"train": 6, "val": 2, "test": 2}
    # Groups across sequences are kept together, though there are several sequences.
    rows = [f"i{number}.png,l.png,s{number % 4},{number},g{number % 5}" for number in range(20)]
    root = flat_images(tmp_path / "b", "image,label,sequence,time,group", *rows)
    _, splits, index = drawn(root, table="list.csv")
    assert splits.source.startswith("5 groups shuffled with seed 0")
    assert (index.groupby("group")["split"].nunique() == 1).all()
    for split_by in ("sequence", "time"):
        with pytest.raises(ConfigError, match=f"data.split_by={split_by}: expected a sequence.* of each image"):
            drawn(root, table="list.csv", split_by=split_by)


def test_volumes_without_a_time_are_sequences_of_their_own(tmp_path: Path) -> None:
    rows = [f"v{number}.tif,l.tif,s{number}" for number in range(6)]
    root = tmp_path / "data"
    for number in range(6):
        tiff(root / f"v{number}.tif", image(seed=number))
    tiff(root / "l.tif", labels())
    (root / "list.csv").write_text("\n".join(["image,label,sequence", *rows]) + "\n")
    _, splits, index = drawn(root, table="list.csv")
    assert splits.source.startswith("whole sequences of 6")
    assert index["split"].value_counts().to_dict() == {"train": 16, "val": 4, "test": 4}
    with pytest.raises(ConfigError, match=r"data.split_by=time: expected a sequence and times of each image"):
        drawn(root, table="list.csv", split_by="time")
