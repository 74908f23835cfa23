"""Time points of embryos as they are on disk, and the slices without signal that are learnt from no more."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.celegans import SHAPE, challenge, image, labels, mat, module, png, tiff
from visionlab.data.readers import read_planes, read_truth
from visionlab.datasets.celegans import CElegansMembraneDataModule
from visionlab.errors import DataError

Warnings = pytest.LogCaptureFixture


def test_frames_are_whole_volumes_with_both_truths(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 2, "02": 3}, gold=True)
    data = module(tmp_path, folds=2, fold=0, voxel_size=[1.5, 0.5, 0.25])
    data.setup()
    frames = list(data.frames("test"))
    assert [(frame.id, frame.group, frame.sequence, frame.time) for frame in frames] == [
        ("01_t000", "01/t000", "01", 0),
        ("01_t001", "01/t001", "01", 1),
    ]
    frame = frames[1]
    assert frame.image.shape == (*SHAPE, 1)
    assert frame.image.dtype == np.uint16
    assert np.array_equal(frame.image[..., 0], image(seed=101))
    assert frame.truth.dtype == np.int32
    assert np.array_equal(frame.truth, labels())
    assert frame.gold is not None
    assert np.array_equal(frame.gold[1], labels(SHAPE[1:]))
    assert (frame.gold[[0, 2, 3]] == -1).all()
    assert frame.voxel == (1.5, 0.5, 0.25)
    assert frame.volume
    assert frame.instances
    # Slices without signal are in no split, but in the arrays.
    assert data.table["id"].iloc[list(frame.rows.values())].tolist() == ["01_t001_z001", "01_t001_z002"]
    assert list(frame.rows) == [1, 2]
    (single,) = data.frames("val")
    assert single.id == "02_t002"


def test_sparse_truth_is_unknown_elsewhere(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 2, "02": 3}, gold=True)
    data = module(tmp_path, folds=2, fold=0, truth="gt")
    data.setup()
    frame = next(data.frames("test"))
    assert np.array_equal(frame.truth[1], labels(SHAPE[1:]))
    assert (frame.truth[[0, 2, 3]] == -1).all()
    assert frame.gold is None
    assert frame.voxel is None
    assert list(frame.rows) == [1]


def test_frames_are_read_where_another_module_made_the_index(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 5})
    first, second = module(tmp_path, gap=0), module(tmp_path, gap=0)
    first.setup()
    second.indexed = first.indexed
    second.setup()
    assert [frame.id for frame in second.frames("train")] == [frame.id for frame in first.frames("train")]


def test_voxel_sizes_of_files_come_before_the_configured(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 4, "02": 4})
    for time in range(4):
        resolution = {
            "imagej": True,
            "resolution": (4.0, 2.0),
            "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "um"},
        }
        tiff(tmp_path / f"01/t{time:03d}.tif", image(seed=time), **resolution)
    data = module(tmp_path, folds=2, fold=0, voxel_size=[1.0, 1.0, 1.0])
    data.setup()
    assert next(data.frames("test")).voxel == pytest.approx((2.0, 0.5, 0.25))
    assert next(data.frames("train")).voxel == (1.0, 1.0, 1.0)


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
    assert not frame.instances
    assert (frame.time, frame.voxel, len(frame.rows)) == (-1, None, 4)


def test_prepared_slices_are_a_volume_again(tmp_path: Path) -> None:
    for time in range(5):
        for z in range(3, 6):
            png(tmp_path / f"features/F{time}_{z}.png", image(SHAPE[1:], 10 * time + z))
            if z > 3:
                png(tmp_path / f"segmentation_maps/L{time}_{z}.png", labels(SHAPE[1:]))
    data = module(tmp_path, gap=0)
    data.setup()
    frame = next(data.frames("train"))
    assert frame.image.shape == (3, *SHAPE[1:], 1)
    assert np.array_equal(frame.image[2, :, :, 0], image(SHAPE[1:], 10 * frame.time + 5))
    assert (frame.truth[0] == -1).all()
    assert (frame.truth[1:].max(axis=(1, 2)) == 2).all()
    assert {place: data.table["z"].iloc[row] for place, row in frame.rows.items()} == {1: 4, 2: 5}
    assert frame.volume


def test_images_have_one_slice(tmp_path: Path) -> None:
    rows = ["image,label"]
    for number in range(5):
        png(tmp_path / f"i{number}.png", image((9 + number, 11), number))
        png(tmp_path / f"l{number}.png", np.eye(9 + number, 11, dtype=np.uint8) * 255)
        rows.append(f"i{number}.png,l{number}.png")
    (tmp_path / "metadata_pil.csv").write_text("\n".join(rows))
    data = module(tmp_path, voxel_size=[1.0, 0.5, 0.25])
    data.setup()
    for frame in data.frames("train"):
        number = int(frame.id[1:])
        assert frame.image.shape == (1, 9 + number, 11, 1)
        assert sorted(np.unique(frame.truth)) == [0, 255]
        assert (frame.volume, frame.instances, frame.sequence, frame.time) == (False, False, "", -1)
        assert frame.voxel == (1.0, 0.5, 0.25)
        assert data.table["id"].iloc[frame.rows[0]] == frame.id


def test_slices_of_several_sizes_are_refused(tmp_path: Path) -> None:
    png(tmp_path / "a.png", image((8, 9)))
    png(tmp_path / "b.png", image((9, 8)))
    with pytest.raises(DataError, match=r"b.png: 9 x 8 pixels, uint16, but a.png, of the same time"):
        read_planes(["a.png", "b.png"], tmp_path)


def test_labels_may_be_at_another_scale(tmp_path: Path) -> None:
    png(tmp_path / "l.png", np.array([[1, 2], [3, 4]], np.uint8))
    truth = read_truth({1: "l.png"}, (2, 4, 3), tmp_path)
    assert (truth[0] == -1).all()
    assert truth[1].tolist() == [[1, 2, 2], [1, 2, 2], [3, 4, 4], [3, 4, 4]]


# Slices without signal ----------------------------------------------------------------------------------------------


def test_slices_without_labels_and_signal_are_in_no_split(tmp_path: Path, caplog: Warnings) -> None:
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
    with caplog.at_level(logging.INFO, logger="visionlab"):
        data.setup()
    left_out = data.table.loc[data.table["split"] == "", "id"].tolist()
    expected = [f"01_t00{time}_z00{z}" for time in range(5) for z in (0, 3)]
    assert left_out == [name for name in expected if name not in ("01_t000_z000", "01_t004_z003")]
    said = "8 slices without labels and with less than 0.1 of their time point's contrast are left out (data.empty)"
    assert said in caplog.text
    assert data.remarks() == [said]
    data = module(tmp_path, gap=0, empty=0)
    data.setup()
    assert (data.table["split"] != "").all()
    assert data.remarks() == []


def test_labels_without_any_object_are_refused(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 5})
    for path in (tmp_path / "01_ST/SEG").iterdir():
        tiff(path, np.zeros(SHAPE, np.uint16))
    with pytest.raises(DataError, match="expected objects in the labels of nuclei, found 20 slices without any"):
        module(tmp_path, gap=0).setup()


def test_the_gap_is_remarked(tmp_path: Path) -> None:
    data = module(challenge(tmp_path, {"01": 10}), empty=0)
    data.setup()
    assert data.remarks()[0].startswith("time points near another split are left out: ")


def test_labels_that_cannot_be_read_are_named_before_training(tmp_path: Path) -> None:
    data = module(challenge(tmp_path, {"01": 2}))
    tiff(tmp_path / "01_ST/SEG/man_seg001.tif", np.full(SHAPE, -1, np.int16))
    found = data.check_more(data.scan(tmp_path).table, tmp_path)
    assert [problem.path for problem in found] == [f"01_ST/SEG/man_seg001.tif#{z}" for z in range(4)]
    assert "found -1 to -1" in found[0].what or "found -1 to -1" in found[0].advice
