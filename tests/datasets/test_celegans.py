"""Embryos: whole sequences or runs of time with a gap, whole time points as they are on disk, slices without signal."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.celegans import SHAPE, challenge, image, labels, mat, module, png, tiff
from visionlab.data.blocks import LEAKS, leave_gap, name_blocks, split_sequences, split_times
from visionlab.data.describe import check_files
from visionlab.data.splits import Shares, Splits
from visionlab.datasets.celegans import CElegansDataModule, CElegansMembraneDataModule
from visionlab.errors import ConfigError, DataError

SHARES: dict[str, Any] = {"val_fraction": 0.2, "test_fraction": 0.2, "fraction": 1.0}
DRAWN = Shares(seed=0, **SHARES)
PARTS = ("train", "val", "test")


def table(sequences: dict[str, int], blocks: int = 10, z: int = 2) -> pd.DataFrame:
    """An index of sequences, name -> time points, of ``z`` slices each."""
    rows = [(name, time) for name, count in sequences.items() for time in range(count) for _ in range(z)]
    names, times = [name for name, _ in rows], [time for _, time in rows]
    return pd.DataFrame({"group": name_blocks(names, times, blocks), "sequence": names, "time": times})


def sequences_of(splits: Splits) -> dict[str, set[str]]:
    return {part: {name.split("/")[0] for name in getattr(splits, part)} for part in PARTS}


# Blocks of time -----------------------------------------------------------------------------------------------------


def test_blocks_cut_each_sequence_in_parts_as_equal_as_can_be() -> None:
    assert name_blocks(["a"] * 5, [0, 1, 2, 3, 4], 2) == ["a/t000-t002"] * 3 + ["a/t003-t004"] * 2
    # The time points that there are, not the numbers between them; in any order.
    assert name_blocks(["a", "a", "b", "a"], [90, 10, 3, 20], 2) == ["a/t090", "a/t010-t020", "b/t003", "a/t010-t020"]
    assert name_blocks(["a", "b"], [-1, -1], 10) == ["a", "b"]


def test_whole_sequences_are_dealt_out() -> None:
    index = table({f"{number:02d}": 4 for number in range(1, 7)})
    parts = sequences_of(split_sequences(index, DRAWN))
    assert [len(parts[part]) for part in PARTS] == [4, 1, 1] and len(set().union(*parts.values())) == 6
    tested = [sequences_of(split_sequences(index, replace(DRAWN, folds=3, fold=fold)))["test"] for fold in range(3)]
    assert sorted(name for part in tested for name in part) == ["01", "02", "03", "04", "05", "06"]


def test_of_two_sequences_one_is_the_test_and_the_end_of_the_other_validation() -> None:
    index = table({"01": 20, "02": 10}, blocks=5)
    splits = split_sequences(index, replace(DRAWN, folds=2, fold=0))
    assert splits.test == tuple(f"01/t{4 * block:03d}-t{4 * block + 3:03d}" for block in range(5))
    assert (splits.val, len(splits.train)) == (("02/t008-t009",), 4)
    assert sequences_of(split_sequences(index, replace(DRAWN, folds=2, fold=1)))["test"] == {"02"}


def test_time_is_cut_into_runs_that_folds_turn() -> None:
    index = table({"01": 10})
    for fold in range(5):
        splits = split_times(index, replace(DRAWN, folds=5, fold=fold), 0)
        times = {part: sorted(int(name[-3:]) for name in getattr(splits, part)) for part in PARTS}
        assert times["test"] == [2 * fold, 2 * fold + 1]
        assert times["val"] == sorted((2 * fold - back) % 10 for back in (1, 2))
        assert len(times["train"]) == 6
    begun = {split_times(table({"01": 10, "02": 20}), replace(DRAWN, seed=seed), 0).test for seed in range(8)}
    assert len(begun) > 2, "the seed says where the runs begin"
    for seed in range(6):  # a short sequence keeps something to validate on
        short = table({"01": 6})
        splits = split_times(short, replace(DRAWN, seed=seed), "auto")
        assert set(PARTS) <= set(leave_gap(short, splits.assign(short["group"].tolist()), "auto")[0])


@pytest.mark.parametrize("split", [partial(split_times, gap=1), split_sequences])
def test_a_fraction_keeps_that_part_of_what_is_learnt_from(split: Any) -> None:
    index = table({"01": 20, "02": 20})
    half, whole = split(index, replace(DRAWN, fraction=0.5)), split(index, DRAWN)
    assert half.test == whole.test and set(half.train) < set(whole.train) and set(half.val) < set(whole.val)
    assert len(half.train) == round(0.5 * len(whole.train))
    assert set(half.unused) == set(whole.train + whole.val) - set(half.train + half.val)


@pytest.mark.parametrize(
    ("parts", "gap", "expected"),
    [
        ("ttttvvvveeee", 0, "ttttvvvveeee"),
        ("ttttvvvveeee", 2, "tt..vv..eeee"),
        # 5% of 12 is less than one.
        ("ttttvvvveeee", "auto", "ttt.vvv.eeee"),
        ("t" * 30 + "e" * 30, "auto", "t" * 27 + "..." + "e" * 30),
        # What is left out of validation is no neighbour that training must keep away from.
        ("tttveeeevv", 1, "ttt.eeee.v"),
    ],
)
def test_the_gap_takes_from_training_then_from_validation(parts: str, gap: Any, expected: str) -> None:
    letters = {"t": "train", "v": "val", "e": "test", ".": ""}
    index = pd.DataFrame({"sequence": ["01"] * len(parts), "time": range(len(parts))})
    split = np.array([letters[part] for part in parts], dtype="<U5")
    assert leave_gap(index, split, gap)[0].tolist() == [letters[part] for part in expected]
    apart = index.assign(sequence=list(parts))
    assert leave_gap(apart, split, gap)[0].tolist() == split.tolist(), "the gap is within a sequence"
    if gap == 2:
        with pytest.raises(DataError, match=r"data.gap=4: leaves no time point in 'val', for all are near"):
            leave_gap(index, split, 4)


# The data module ----------------------------------------------------------------------------------------------------


def drawn(root: Path, **options: Any) -> tuple[CElegansDataModule, Splits, pd.DataFrame]:
    """The module, its splits and its table with the split of each row, before any pixel is read."""
    data = module(root, **options)
    index = data.index(root)
    splits = data.make_splits(index)
    return data, splits, index.assign(split=data.assign(index, splits))


def test_sequences_are_split_where_there_are_several_else_time(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 10, "02": 10})
    _, splits, index = drawn(tmp_path, folds=2, fold=1)
    assert splits.source.startswith("whole sequences of 2")
    found = index.groupby("sequence")["split"].unique().map(set).to_dict()
    assert found == {"01": {"train", "", "val"}, "02": {"test"}}
    assert (index.groupby("frame")["split"].nunique() == 1).all(), "all slices of a time point are in one split"
    _, splits, index = drawn(tmp_path, split_by="time")
    assert splits.source.startswith("time of 2 sequences")
    assert set(PARTS) <= set(index.loc[index["sequence"] == "02", "split"])
    data = module(tmp_path, include=["01/*"])
    assert data.make_splits(data.choose(data.index(tmp_path), tmp_path)).source.startswith("time of 1 sequence cut")


def test_random_slices_leak_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    challenge(tmp_path, {"01": 6})
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        data, splits, index = drawn(tmp_path, split_by="random_slices")
    assert splits.source.startswith(LEAKS) and "LEAKS" in caplog.text
    assert (index["split"] != "").all() and (index.groupby("frame")["split"].nunique() > 1).any()
    data.splits = splits
    assert data.remarks()[0].startswith(LEAKS)
    # Also where the splits were written down by others.
    Splits(splits.train, splits.val, splits.test, (), "published").write(tmp_path / "splits.json")
    _, again, _ = drawn(tmp_path, split_by="random_slices", split_file=str(tmp_path / "splits.json"))
    assert again.source.startswith(LEAKS)


@pytest.mark.parametrize("options", [{}, {"split_by": "time", "gap": 2}, {"split_by": "random_slices"}])
def test_written_splits_give_the_same_rows(tmp_path: Path, options: dict[str, Any]) -> None:
    challenge(tmp_path / "data", {"01": 12, "02": 12})
    _, splits, index = drawn(tmp_path / "data", **options)
    splits.write(tmp_path / "splits.json")
    again = drawn(tmp_path / "data", **options, split_file=str(tmp_path / "splits.json"))[2]
    pd.testing.assert_frame_equal(again, index)


def test_unrelated_images_and_groups_of_the_users_own_are_dealt_out(tmp_path: Path) -> None:
    for number in range(20):
        png(tmp_path / f"i{number}.png", image(SHAPE[1:], number))
    png(tmp_path / "l.png", labels(SHAPE[1:]))
    rows = [f"i{number}.png,l.png,s{number % 4},{number},g{number % 5}" for number in range(20)]
    for columns, groups in ((2, 20), (5, 5)):
        lines = [",".join(line.split(",")[:columns]) for line in ("image,label,sequence,time,group", *rows)]
        (tmp_path / "list.csv").write_text("\n".join(lines))
        _, splits, index = drawn(tmp_path, table="list.csv")
        assert splits.source.startswith(f"{groups} groups shuffled with seed 0")
        assert (index.groupby("group")["split"].nunique() == 1).all()
    for split_by in ("sequence", "time"):
        with pytest.raises(ConfigError, match=f"data.split_by={split_by}: expected a sequence.* of each image"):
            drawn(tmp_path, table="list.csv", split_by=split_by)


# Time points as they are on disk ------------------------------------------------------------------------------------


def test_frames_are_whole_volumes_with_both_truths(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 2, "02": 3}, gold=True)
    data = module(tmp_path, folds=2, fold=0, voxel_size=[1.5, 0.5, 0.25])
    data.setup()
    frames = list(data.frames("test"))
    assert [(one.id, one.group, one.sequence, one.time) for one in frames] == [
        (f"01_t00{time}", f"01/t00{time}", "01", time) for time in range(2)
    ]
    frame = frames[1]
    assert frame.image.shape == (*SHAPE, 1) and frame.image.dtype == np.uint16
    assert np.array_equal(frame.image[..., 0], image(seed=101)) and np.array_equal(frame.truth, labels())
    assert frame.gold is not None and np.array_equal(frame.gold[1], labels(SHAPE[1:]))
    assert (frame.gold[[0, 2, 3]] == -1).all()
    assert (frame.voxel, frame.volume, frame.instances) == ((1.5, 0.5, 0.25), True, True)
    # Slices without signal are in no split, but in the arrays.
    assert data.table["id"].iloc[list(frame.rows.values())].tolist() == ["01_t001_z001", "01_t001_z002"]
    assert list(frame.rows) == [1, 2]
    # Another module of the same data may have made the index.
    other = module(tmp_path, folds=2, fold=0)
    other.indexed = data.indexed
    other.setup()
    assert [one.id for one in other.frames("val")] == ["02_t002"]


def test_sparse_truth_is_unknown_elsewhere_and_files_tell_their_voxels(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 4, "02": 4}, gold=True)
    about = {"imagej": True, "resolution": (4.0, 2.0), "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "um"}}
    for time in range(4):
        tiff(tmp_path / f"01/t{time:03d}.tif", image(seed=time), **about)
    data = module(tmp_path, folds=2, fold=0, truth="gt", voxel_size=[1.0, 1.0, 1.0])
    data.setup()
    frame = next(data.frames("test"))
    assert np.array_equal(frame.truth[1], labels(SHAPE[1:])) and (frame.truth[[0, 2, 3]] == -1).all()
    assert frame.gold is None and list(frame.rows) == [1]
    assert frame.voxel == pytest.approx((2.0, 0.5, 0.25)) and next(data.frames("train")).voxel == (1.0, 1.0, 1.0)


def test_matlab_labels_are_brought_to_the_image(tmp_path: Path) -> None:
    walls = (np.random.default_rng(0).random((7, 9, 12)) < 0.5).astype(np.uint8)
    for number in range(4):
        mat(tmp_path / f"e{number}.mat", embryo=image(seed=number), membSeg=walls)
    data = module(tmp_path, CElegansMembraneDataModule, empty=0.0)
    data.setup()
    frame = next(data.frames("test"))
    sides = zip(SHAPE, walls.shape, strict=True)
    z, y, x = (((np.arange(wanted) + 0.5) * found / wanted).astype(int) for wanted, found in sides)
    assert np.array_equal(frame.truth, walls[z][:, y][:, :, x])
    assert (frame.instances, frame.time, frame.voxel, len(frame.rows)) == (False, -1, None, 4)


def test_prepared_slices_are_a_volume_again(tmp_path: Path) -> None:
    for time in range(5):
        for z in range(3, 6):
            png(tmp_path / f"features/F{time}_{z}.png", image(SHAPE[1:], 10 * time + z))
            if z > 3:
                png(tmp_path / f"segmentation_maps/L{time}_{z}.png", labels(SHAPE[1:]))
    data = module(tmp_path, gap=0)
    data.setup()
    frame = next(data.frames("train"))
    assert np.array_equal(frame.image[2, :, :, 0], image(SHAPE[1:], 10 * frame.time + 5))
    assert (frame.truth[0] == -1).all() and (frame.truth[1:].max(axis=(1, 2)) == 2).all()
    assert {place: data.table["z"].iloc[row] for place, row in frame.rows.items()} == {1: 4, 2: 5}


# Slices without signal ----------------------------------------------------------------------------------------------


def test_slices_without_labels_and_signal_are_in_no_split(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 5})
    # Labelled, if as dark: kept.
    dark = labels()
    dark[0, 2, 2] = 1
    tiff(tmp_path / "01_ST/SEG/man_seg000.tif", dark)
    # Without labels, but bright: kept.
    bright = image(seed=104)
    bright[3] = bright[2]
    bright[3, 0, 0] += 1
    tiff(tmp_path / "01/t004.tif", bright)
    data = module(tmp_path, gap=0)
    data.setup()
    left_out = data.table.loc[data.table["split"] == "", "id"].tolist()
    expected = [f"01_t00{time}_z00{z}" for time in range(5) for z in (0, 3)]
    assert left_out == [name for name in expected if name not in ("01_t000_z000", "01_t004_z003")]
    assert data.remarks()[0].startswith("8 slices without labels and with less than 0.1 of their time point's contrast")
    data = module(tmp_path, gap=0, empty=0)
    data.setup()
    assert (data.table["split"] != "").all() and data.remarks() == []


def test_labels_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    data = module(challenge(tmp_path, {"01": 5}), gap=0)
    tiff(tmp_path / "01_ST/SEG/man_seg001.tif", np.full(SHAPE, -1, np.int16))
    found = check_files(data)[0]
    assert [problem.path for problem in found] == [f"01_ST/SEG/man_seg001.tif#{z}" for z in range(4)]
    for path in (tmp_path / "01_ST/SEG").iterdir():
        tiff(path, np.zeros(SHAPE, np.uint16))
    with pytest.raises(DataError, match="expected objects in the labels of nuclei, found 20 slices without any"):
        data.setup()
