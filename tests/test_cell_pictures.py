"""Pictures of time points with instances, and animated GIFs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.test_reports_cells import volume, words_of
from visionlab.data.frames import Frame
from visionlab.drawing.animation import Animation, through_z
from visionlab.drawing.outlines import PREDICTED, TRUE
from visionlab.drawing.style import save
from visionlab.heads.instances.head import InstanceHead
from visionlab.reports.kept import read_kept
from visionlab.training import cell_pictures
from visionlab.training.cell_pictures import CellPictures, instance_draws
from visionlab.training.cell_windows import instance_examples, window_grid, window_view
from visionlab.training.sample_pictures import save_pictures

FRAMES = 5


class Data:
    """A data set of volumes ``01_t000`` to ``01_t004`` as it stands after setup, without files."""

    name, neighbours = "generated sample", 0

    def __init__(self, *, volumes: bool = True, instances: bool = True, prefix: str = "01_t") -> None:
        self.frames_read: list[str] = []
        self.prefix = prefix
        self.volumes, self.instances = volumes, instances
        self.parts = [volume(np.random.default_rng(k), 3, 0.0)[:2] for k in range(FRAMES)]
        if not volumes:
            self.parts = [(image[3:4], true[3:4]) for image, true in self.parts]
        planes = len(self.parts[0][0])
        ids = [(f"{prefix}{t:03d}", z) for t in range(FRAMES) for z in range(planes)]
        self.table = pd.DataFrame(
            {"id": [f"{frame}_z{z:03d}" for frame, z in ids], "frame": [frame for frame, _ in ids]}
        )
        self.rows = {"test": np.arange(len(ids))}
        self.planes = planes

    def frames(self, split: str) -> Iterator[Frame]:
        for k, (image, true) in enumerate(self.parts):
            self.frames_read.append(f"{self.prefix}{k:03d}")
            yield Frame(
                id=f"{self.prefix}{k:03d}",
                group=f"01/{k}",
                sequence="01",
                time=k,
                image=image,
                truth=true if self.instances else (true > 0).astype(np.int32),
                gold=None,
                rows={z: self.planes * k + z for z in range(self.planes)},
                voxel=(1.0, 0.5, 0.5),
                volume=self.volumes,
                instances=self.instances,
            )


def head_of(**more: Any) -> InstanceHead:
    options: dict[str, Any] = {"separate": "none", "cells": "filled", "dimensions": 3, "activation": "sigmoid"}
    return InstanceHead("nuclei", share=0.1, metrics=["iou", "f1"], weight=1.0, **{**options, **more})


def predicted(predictor: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """What is bright is foreground."""
    return {"nuclei": (image[..., 0] > 200).astype(np.float32)[:, None]}


def tables(data: Data) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = data.table.assign(nuclei_iou=np.linspace(0.5, 0.9, len(data.table)))
    names = data.table["frame"].drop_duplicates().tolist()
    return table, pd.DataFrame({"frame": names, "f1": [0.5, 0.9, 0.7, np.nan, 0.6]})


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cell_pictures, "predict_frame", predicted)

    def make(data: Data, *, head: InstanceHead | None = None, counted: bool = True) -> CellPictures:
        table, frames = tables(data)
        given: Any = SimpleNamespace(heads=[head or head_of()])
        return CellPictures(given, data, table, frames if counted else None, "test", given.heads[0])  # type: ignore[arg-type]

    return make


def test_best_and_worst_time_points_are_those_of_their_objects(pictures: Any, tmp_path: Path) -> None:
    made = pictures(Data())
    assert (made.best, made.worst) == (["01_t001", "01_t002"], ["01_t000", "01_t004"])
    assert made.typical == "01_t004"
    words = words_of(made.best_worst())
    fullest = int((Data().parts[1][1] > 0).sum(axis=(1, 2)).argmax())
    assert f"01_t001 z {fullest}" in words
    assert any(text.startswith("2D IoU 0.") and text.endswith("· object F1 0.90") for text in words)
    assert words.count("2 µm") + words.count("5 µm") == 2 * 4  # a scale bar for each slice, and its outlines
    # Without objects, by the overlap of their slices.
    assert pictures(Data(), counted=False).best == ["01_t004", "01_t003"]


def test_all_pictures_are_drawn(pictures: Any, tmp_path: Path) -> None:
    drawn = pictures(Data()).draws()
    assert list(drawn) == ["best_worst", "slices", "sizes"]
    assert save(drawn["best_worst"](), tmp_path / "a.png").stat().st_size > 5000
    assert "Slices of 01_t004 · object F1 0.60" in words_of(drawn["slices"]())
    axes = drawn["sizes"]().axes[0]
    assert axes.get_legend().get_texts()[0].get_text().startswith("true: 15 objects")
    assert axes.get_xlabel() == "size of an object (µm³)"
    flat = pictures(Data(volumes=False), head=head_of(dimensions=2)).draws()
    assert list(flat) == ["best_worst", "sizes"]
    assert flat["sizes"]().axes[0].get_xlabel() == "size of an object (µm²)"


def test_walls_are_compared_by_pixels(pictures: Any) -> None:
    made = pictures(Data(instances=False), head=head_of(cells="enclosed"), counted=False)
    assert list(made.draws()) == ["best_worst", "slices"]
    assert {"difference", "objects found", "foreground missed"} <= set(words_of(made.best_worst()))
    assert {"true foreground", "objects found"} <= set(words_of(made.slices()))


def test_a_run_folder_gets_its_animation_and_what_comparisons_read(
    pictures: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = Data()
    table, frames = tables(data)
    (tmp_path / "predictions").mkdir()
    frames.to_csv(tmp_path / "predictions" / "test_frames.csv", index=False)
    given: Any = SimpleNamespace(heads=[head_of()])
    drawn = instance_draws(tmp_path, given, data, table, "test")  # type: ignore[arg-type]
    assert list(drawn) == ["best_worst", "slices", "sizes"]
    assert data.frames_read == [f"01_t{k:03d}" for k in range(FRAMES)]  # once, one after the other
    kept = read_kept(tmp_path / "predictions" / "test_nuclei_slices.npz")
    assert len(kept) == FRAMES
    name, one = next(iter(kept.items()))
    z = int(name[-3:])
    assert (one.true == data.parts[0][1][z]).all() and one.pixel == 0.5
    assert one.score == pytest.approx(table.set_index("id")["nuclei_iou"][name])
    assert ((one.pred > 0) == (data.parts[0][0][z, ..., 0] > 200)).mean() > 0.95  # but for holes
    moving = tmp_path / "plots" / "volume.gif"
    with Image.open(moving) as gif:
        assert getattr(gif, "n_frames", 1) == data.planes
    moving.write_bytes(b"of the test split")
    instance_draws(tmp_path, given, data, table, "val")  # type: ignore[arg-type]
    assert moving.read_bytes() == b"of the test split"


def test_names_that_look_like_numbers_stay_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cell_pictures, "predict_frame", predicted)
    data = Data(prefix="", instances=False)
    table, _ = tables(data)
    (tmp_path / "predictions").mkdir()
    table.to_csv(tmp_path / "predictions" / "test.csv", index=False)
    given: Any = SimpleNamespace(heads=[head_of()])
    save_pictures(tmp_path, given, data, "test")  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "best_worst.png",
        "slices.png",
        "volume.gif",
    ]


class Window:
    """One sample of a data module: a window of 24 x 24 pixels with two touching nuclei and an unknown edge."""

    def __init__(self) -> None:
        ids = np.zeros((24, 24), np.float32)
        ids[2:20, 4:12], ids[2:20, 12:20] = 3, 7
        ids[:, 22:] = np.nan
        self.name, self.table = "generated sample", pd.DataFrame({"id": ["01_t000_z000", "empty"]})
        self.rows = {"train": np.array([0, 1]), "val": np.array([1])}
        self.preprocess = SimpleNamespace(scale="percentile")
        self.ids = ids
        facts = pd.DataFrame({"share": [0.5, 0.0]})
        self.window = lambda row: (0.5, 0.5)
        stored = SimpleNamespace(map=lambda row, across, down: ids * (row == 0), facts=facts)
        self.stored_maps = {"nuclei": stored}

    def view(self, row: int) -> np.ndarray:
        return np.nan_to_num(self.ids)[..., None] > 0


def test_windows_while_training(tmp_path: Path) -> None:
    data: Any = Window()
    shown = window_view(data, 0, "nuclei", data.view, np.nan_to_num(data.ids > 0) * 0.7)
    assert set(np.unique(shown.true)) == {-1, 0, 3, 7}
    assert shown.pred is not None and shown.pred.max() == 1  # touching ones are not parted yet
    figure = window_grid([shown], "val: generated sample")
    assert {"truth", "outlines", "unknown"} <= set(words_of(figure))
    assert save(figure, tmp_path / "a.png").stat().st_size > 5000
    words = words_of(instance_examples(data, data.view))
    assert words.count("train: 01_t000_z000") == 1 and words.count("val: empty") == 1  # one of the two has objects
    assert "train: empty" not in words and "predicted" not in words


# Animations -------------------------------------------------------------------------------------------------------


def pixels_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as gif:
        found = []
        for k in range(getattr(gif, "n_frames", 1)):
            gif.seek(k)
            found.append(np.asarray(gif.convert("RGB")))
    return found


def test_slices_become_frames_with_outlines_of_both(tmp_path: Path) -> None:
    image = np.zeros((3, 20, 30, 1), np.uint16)
    image[1] = 1000
    true, pred = np.zeros((3, 20, 30), int), np.zeros((3, 20, 30), np.int64)
    true[1, 2:12, 2:12], pred[1, 2:12, 16:26] = 1, 2**40
    true[2] = -1  # unknown is no object
    colours = {"true": TRUE, "predicted": PREDICTED}
    path = through_z(image, {"true": true, "predicted": pred}, colours, name="01_t004", pixel=0.5).save(
        tmp_path / "a.gif"
    )
    frames = pixels_of(path)
    assert len(frames) == 3 and frames[0].shape == (20 * 4 + 24, 30 * 4, 3)
    blue, orange = (
        (frames[1][:80] == [int(c[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2) for c in (TRUE, PREDICTED)
    )
    assert blue[:48, :48].sum() == 40**2 - 36**2  # two pixels deep
    assert orange[:48, 64:104].sum() == 40**2 - 38**2
    assert frames[1][60, 10].tolist() == [255, 255, 255] and frames[0][20, 60].tolist() == [0, 0, 0]
    assert not (frames[2][:60] > 0).any()
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0 and gif.mode == "P"
        gif.seek(2)
        assert gif.info["duration"] >= 1000  # the last one stays


def test_series_are_thinned_to_a_bounded_number_of_frames(tmp_path: Path) -> None:
    animation = Animation(most=8, width=60)
    for t in range(100):
        animation.add(np.full((2, 10, 90, 3), t % 7, np.uint8), {}, f"t {t}")
        assert len(animation) <= 8
    assert [frame.caption for frame in animation._frames] == [f"t {t}" for t in range(0, 100, 16)]
    assert pixels_of(animation.save(tmp_path / "a.gif"))[0].shape == (7 + 24, 60, 3)


def test_volumes_are_projected_and_their_objects_too(tmp_path: Path) -> None:
    image = np.zeros((3, 12, 12, 1), np.float32)
    image[0, 2, 2] = image[2, 9, 9] = 1
    labels = np.zeros((3, 12, 12), int)
    labels[0, 1:4, 1:4], labels[2, 8:11, 8:11] = 1, 2
    animation = Animation(width=12)
    animation.add(image, {"predicted": labels}, "t 0")
    (frame,) = pixels_of(animation.save(tmp_path / "a.gif"))
    ring = (frame[:12] == [int(PREDICTED[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2)
    assert ring.sum() == 16
    assert frame[2, 2].min() == frame[9, 9].min() > 200


def test_animations_of_nothing_or_of_other_sizes(tmp_path: Path) -> None:
    animation = Animation()
    with pytest.raises(ValueError, match="at least one frame"):
        animation.save(tmp_path / "a.gif")
    animation.add(np.zeros((10, 12, 1), np.uint8), {})
    with pytest.raises(ValueError, match=r"frame 1: expected \(10, 12\) pixels as in the first, found \(10, 13\)"):
        animation.add(np.zeros((10, 13, 1), np.uint8), {})
    assert [path.name for path in tmp_path.iterdir()] == []
    with pytest.raises(ValueError, match="outlines: expected at most 3, found 4"):
        Animation(dict.fromkeys("abcd", TRUE))
    long = Animation(pixel=0.1)
    long.add(np.zeros((50, 60, 1), np.uint8), {}, "a very long name of a volume " * 9)
    assert long.save(tmp_path / "b.gif").stat().st_size > 100
