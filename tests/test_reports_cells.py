"""Reports of heads of instances, from run folders made here without training anything, and pictures of cells."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from PIL import Image

from tests.entries import summarise
from tests.test_reports import requests, titles
from visionlab.drawing.maps import FALSE, FOUND, MISSED
from visionlab.drawing.outlines import bar_length, edges, limits, partners, rim, shade
from visionlab.drawing.style import save
from visionlab.drawing.text import metric_label
from visionlab.files import write_json
from visionlab.heads.map_sums import histogram_rows
from visionlab.metrics import INSTANCE_COLUMNS, METRICS, frame_sums
from visionlab.reports import compare, write_report
from visionlab.reports.caveats import caveats
from visionlab.reports.cell_figures import sizes
from visionlab.reports.cell_panes import MENDED, OBJECTS, CellView
from visionlab.reports.cell_tables import Cells
from visionlab.reports.cells import Compared, cell_collage, cell_comparison, cell_examples, cell_slices
from visionlab.reports.figures import FIGURES, Part, validation_figures
from visionlab.reports.html import picture
from visionlab.reports.kept import SIDE, Kept, read_kept, window, write_kept
from visionlab.reports.paired import Paired, same_slices
from visionlab.reports.run import read_run

SPEC: dict[str, Any] = {
    "kind": "instances",
    "columns": ["nuclei"],
    "unit": "",
    "metrics": list(METRICS["instances"]),
    "separate": "distance",
    "cells": "filled",
    "dimensions": 3,
    "parameters": {"threshold": 0.41, "prominence": 0.1, "min_area": 12.0, "link": 0.5, "min_planes": 2},
    "threshold": 0.41,
    "fitted": True,
}
SHAPE = (6, 32, 40)


def volume(rng: np.random.Generator, cells: int, wrong: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bright balls on a dark ground: Z x H x W x 1, true ids, and predicted ones, displaced by ``wrong`` pixels."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    true, pred = np.zeros(SHAPE, np.int32), np.zeros(SHAPE, np.int32)
    for one in range(1, cells + 1):
        centre = rng.uniform(0.25, 0.75, 3) * SHAPE
        for labels, off in ((true, 0.0), (pred, wrong * rng.uniform(0.5, 1.5))):
            far = ((z - centre[0]) / 2) ** 2 + ((y - centre[1]) / 5) ** 2 + ((x - centre[2] - off) / 5) ** 2
            labels[(far < 1) & (labels == 0)] = one
    image = 100 + 200 * (true > 0) + rng.normal(0, 15, SHAPE)
    return image.astype(np.uint16)[..., None], true, pred


def tables(rng: np.random.Generator, sequences: str, split: str, wrong: float) -> tuple[Any, Any, np.ndarray]:
    """predictions/<split>.csv, predictions/<split>_frames.csv and the sums that the metrics are made of."""
    slices, frames, rows = [], [], []
    for sequence in sequences:
        for time in range(3):
            _, true, pred = volume(rng, 3 + time, wrong)
            pixels, objects = frame_sums(true, pred, objects=True)
            sums = np.zeros((len(pixels), len(INSTANCE_COLUMNS)))
            sums[:, :4] = pixels
            sums[0, 4:] = list(objects.values())
            own = {name: METRICS["instances"][name](sums) for name in ("f1", "seg", "det")}
            about = {"frame": f"{sequence}_t{time:03d}", "group": f"{sequence}/t{time}", "sequence": sequence}
            counted = {name: objects[name] for name in ("objects_true", "objects_pred", "seg_n")}
            frames.append({**about, "time": time, **counted, "hits": objects["objects_hit"], **own})
            iou = METRICS["instances"]["iou"]
            for k, value in enumerate(iou.values(iou.sample_terms(sums))):
                name = f"{about['frame']}_z{k:03d}"
                slices.append(
                    {"id": name, **about, "split": split, "path": name, "time": time, "z": k, "nuclei_iou": value}
                )
            rows.append(sums)
    return pd.DataFrame(slices), pd.DataFrame(frames), np.concatenate(rows)


def make_run(path: Path, *, seed: int = 0, wrong: float = 1.5, source: str = "whole sequences") -> Path:
    """Write a whole run folder of a finished segmentation of nuclei."""
    (path / "predictions").mkdir(parents=True)
    config = {"task": "celegans_nuclei", "model": {"name": "fpn"}, "monitor": "val/nuclei/iou", "mode": "max"}
    (path / "config.yaml").write_text(yaml.safe_dump({**config, "loss": {"bce_dice": 1.0}, "seed": seed}))
    write_json(path / "status.json", {"state": "finished", "epoch": 2, "step": 8, "message": "", "resume": ""})
    parts = {"val": "3", "test": "45"}
    groups = {split: [f"{s}/t{t}" for s in names for t in range(3)] for split, names in parts.items()}
    write_json(path / "splits.json", {"train": ["1/t0"], **groups, "unused": [], "source": source})
    about = {"command": "python -m visionlab.train task=celegans_nuclei", "data": "generated sample"}
    write_json(path / "run.json", {**about, "synthetic": True, "heads": {"nuclei": SPEC}})
    metrics: dict[str, Any] = {}
    for split, names in parts.items():
        slices, frames, sums = tables(np.random.default_rng([seed, len(names)]), names, split, wrong)
        slices.to_csv(path / "predictions" / f"{split}.csv", index=False)
        frames.to_csv(path / "predictions" / f"{split}_frames.csv", index=False)
        of_heads = {"nuclei": (sums, 0.5 * sums)}
        metrics |= summarise(of_heads, {"nuclei": SPEC}, slices["group"].tolist(), split, "generated sample")
    write_json(path / "metrics.json", metrics)
    kept = []
    for k, name in enumerate(("4_t000_z002", "5_t001_z003")):
        image, true, _ = volume(np.random.default_rng(k), 3, 0)
        pred = np.roll(true, round(wrong), axis=2)
        grey = np.round(255 * shade(image[2], limits(image))).astype(np.uint8)
        kept.append(Kept(name, grey, true[2], pred[2], 0.25, 0.9 - 0.1 * wrong))
    write_kept(path / "predictions" / "test_nuclei_slices.npz", kept)
    (path / "plots").mkdir()
    frames_of_gif = [Image.new("P", (8, 8), k) for k in range(3)]
    frames_of_gif[0].save(path / "plots" / "volume.gif", save_all=True, append_images=frames_of_gif[1:])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("outputs") / "new")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def view(seed: int = 0, *, wrong: float = 1.5, **more: Any) -> CellView:
    image, true, pred = volume(np.random.default_rng(seed), 4, wrong)
    return CellView(f"01_t{seed:03d} z 3", shade(image[3], limits(image)), true[3], pred[3], **more)


def images_of(figure: Any) -> list[np.ndarray]:
    return [np.asarray(image.get_array(), dtype=float) for image in figure.axes[0].images]


def words_of(figure: Any) -> list[str]:
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [text.get_text() for text in figure.axes[0].texts] + legend


# Outlines ---------------------------------------------------------------------------------------------------------


def test_edges_run_between_pixels_of_different_objects() -> None:
    labels = np.array([[1, 1, 2], [1, 1, 0], [-1, 0, 0]])
    found = {tuple(map(tuple, line)) for line in edges(labels).tolist()}
    assert found == {((0, 2), (2, 2)), ((2, 0), (2, 2)), ((2, 1), (3, 1))}
    assert len(edges(np.ones((4, 4), int))) == 0  # the border of the image is none


def test_rims_lie_within_their_objects() -> None:
    labels = np.zeros((9, 9), int)
    labels[1:8, 1:8] = 7
    assert rim(labels).sum() == 7 * 7 - 5 * 5
    assert rim(labels, 2).sum() == 7 * 7 - 3 * 3
    assert not rim(labels)[labels == 0].any()
    touching = np.repeat([[1, 1, 2, 2]], 3, axis=0)
    assert rim(touching).tolist() == [[False, True, True, False]] * 3


def test_partners_are_taken_once_and_unknown_pixels_count_for_nothing() -> None:
    true = np.array([[1, 1, 1, 1, 2, 2, 0, 0, 3, -1, -1]])
    pred = np.array([[5, 5, 5, 6, 6, 6, 8, 0, 9, 9, 9]])
    assert partners(true, pred) == {5: 1, 6: 2, 9: 3}
    assert partners(true, pred, least=0.8) == {9: 3}
    assert partners(true, np.zeros_like(true)) == {}


@pytest.mark.parametrize(
    ("across", "share", "words"),
    [(100, 0.2, "20 µm"), (0.5, 0.2, "0.1 µm"), (64, 10 / 64, "10 µm"), (8000, 0.25, "2 mm")],
)
def test_scale_bars_have_round_lengths(across: float, share: float, words: str) -> None:
    length, said = bar_length(across)
    assert length == pytest.approx(share)
    assert said == words


def test_slices_of_a_volume_share_their_scale() -> None:
    volume = np.zeros((5, 10, 10, 1), np.uint16)
    volume[2, :5] = 1000
    low, high = limits(volume)
    assert (low, high) == (0, 1000)
    assert shade(volume[0], (low, high)).max() == 0  # a slice without signal stays dark
    assert shade(np.ones((4, 4, 2)), (1, 1)).shape == (4, 4)
    assert shade(np.ones((4, 4, 5)), (0, 1)).shape == (4, 4, 3)


# Pictures ---------------------------------------------------------------------------------------------------------


def test_objects_that_are_partners_have_one_colour_and_others_are_white() -> None:
    true, pred = np.zeros((2, 20, 20), int)
    true[2:8, 2:8], pred[3:8, 2:8] = 1, 4
    true[12:18, 2:8], pred[2:8, 12:18] = 2, 6  # missed, and nothing there
    shown = CellView("a", np.zeros((20, 20), np.float32), true, pred, pixel=0.5, score="IoU 0.42")
    figure = cell_collage([("Worst", [shown])], "test")
    _, of_true, of_pred, _ = images_of(figure)
    assert of_true[4, 4].tolist() == of_pred[4, 4].tolist() == pytest.approx(to_rgb(OBJECTS[0]))
    assert of_true[14, 4].tolist() == of_pred[4, 14].tolist() == [1, 1, 1]
    assert {"Worst", "input", "truth", "prediction", "outlines", "a", "IoU 0.42", "2 µm", "predicted"} <= set(
        words_of(figure)
    )
    outlines = [part for part in figure.axes[0].collections if isinstance(part, LineCollection)]
    assert len(outlines) == 4
    widths = [float(np.asarray(part.get_linewidth())[0]) for part in outlines]
    assert widths[2] > widths[3]  # the truth is seen beside the prediction


def test_pixels_are_compared_where_the_truth_has_no_objects() -> None:
    true = np.array([[1, 1, 0, 0, -1]] * 5)
    mask = np.array([[True, False, True, False, True]] * 5)
    pred = np.array([[0, 0, 0, 3, 0]] * 5)
    shown = CellView("a", np.zeros((5, 5), np.float32), true, pred, mask)
    figure = cell_collage([("", [shown])], "test", instances=False)
    _, of_true, of_mask, difference, objects = images_of(figure)
    assert of_mask[0].tolist() == [1, 0, 1, 0, 1]
    assert of_true[0, :, 3].tolist() == [1, 1, 1, 1, 0]  # unknown
    for pixel, colour in zip(difference[0, :3, :3], (FOUND, MISSED, FALSE), strict=True):
        best = min((FOUND, FALSE, MISSED), key=lambda c: np.abs(pixel / pixel.max() - to_rgb(c)).sum())
        assert best == colour
    assert np.ptp(difference[0, 3, :3]) == 0
    assert objects[0, 3].tolist() == pytest.approx(to_rgb(OBJECTS[0]))
    assert {"foreground missed", "unknown", "objects found"} <= set(words_of(figure))


def test_small_objects_are_shown_large() -> None:
    true = np.zeros((100, 200), int)
    true[40:50, 150:160] = 1
    shown = CellView("a", np.zeros((100, 200), np.float32), true, np.roll(true, 5, axis=1), pixel=1.0)
    figure = cell_collage([("", [shown])], "test")
    images = images_of(figure)
    height, width = images[1].shape[:2]
    assert width == 2 * height < 120
    assert (images[1] == 1).sum() // 3 >= 100  # all of the object is there
    assert "cut to the part with objects" in titles(figure)
    everywhere = replace(shown, true=np.ones_like(true))
    assert "cut to" not in titles(cell_collage([("", [everywhere])], "test"))


def test_slices_and_examples(tmp_path: Path) -> None:
    views = [view(k, pixel=0.25, score="IoU 0.7") for k in range(5)]
    figure = cell_slices(views, "Slices of 01_t000", "test")
    assert len(images_of(figure)) == 5
    assert "01_t003 z 3 · IoU 0.7" in words_of(figure)
    save(figure, tmp_path / "slices.png")
    alone = [replace(one, pred=None) for one in views]
    figure = cell_examples(alone, [f"train: {k}" for k in range(5)], "generated sample")
    assert "predicted" not in words_of(figure) and "train: 4" in words_of(figure)
    assert "pixel size unknown" in titles(cell_slices([replace(views[0], pixel=None)], "", ""))
    assert save(figure, tmp_path / "examples.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="found 5 and 1"):
        cell_examples(alone, ["a"], "")
    with pytest.raises(ValueError, match="at least one slice"):
        cell_collage([("Best", [])], "")


@pytest.mark.parametrize("shape", [(40, 40), (20, 90), (90, 20)])
def test_pictures_of_any_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    none = np.zeros(shape, int)
    shown = CellView("a" * 90, np.ones((*shape, 3), np.float32), none, none, pixel=0.1)
    unknown = replace(shown, true=none - 1)
    for k, instances in enumerate((True, False)):
        figure = cell_collage([("", [shown, unknown])], "test", instances=instances)
        assert save(figure, tmp_path / f"{k}.png").stat().st_size > 3000


def test_two_models_on_one_slice() -> None:
    true = np.array([[1, 1, 1, 0, 0]] * 5)
    first = np.array([[1, 0, 0, 1, 0]] * 5)
    second = np.array([[0, 4, 0, 4, 0]] * 5)
    shown = CellView("a", np.zeros((5, 5), np.float32), true, pixel=1.0)
    figure = cell_comparison([Compared(shown, first, second, ("IoU 0.25", "IoU 0.30"))], ("old", "new"), "test")
    difference = images_of(figure)[-1][0]
    for pixel, colour in zip(difference[:4], (FALSE, MENDED, MISSED, MISSED), strict=True):
        assert np.abs(pixel - to_rgb(colour)).max() < 0.15
    assert {"old", "new", "IoU 0.25", "IoU 0.30", "only the second is right", "both are wrong"} <= set(words_of(figure))


# Figures of tables ------------------------------------------------------------------------------------------------


def part_of(run: Path, **more: Any) -> Part:
    read = read_run(run)
    given = {"frames": read.frames["test"], **more}
    return Part(read.predictions["test"], "nuclei", "nuclei", SPEC, "test", {}, synthetic=True, **given)


def test_figures_of_slices_and_of_time_points(run: Path) -> None:
    shown = FIGURES["instances"].read(part_of(run))
    drawings = FIGURES["instances"].of(shown)
    assert [d.key for d in drawings] == ["scores", "by_group", "by_place", "counts", "objects", "population"]
    for drawing in drawings:
        assert "generated sample" in titles(drawing.draw(shown))
    assert "36 slices of 6 groups" in shown.scores.caption
    assert shown.caption == "test: 6 volumes of 6 groups · generated sample"
    by_place = drawings[2].draw(shown)
    assert [axes.get_xlabel() for axes in by_place.axes] == ["slice z", "time point"]
    median = by_place.axes[1].lines[0].get_ydata()
    table = part_of(run).table
    assert median == pytest.approx(table.groupby("time")["nuclei_iou"].median().to_numpy())
    seg = drawings[4].draw(shown).axes[1]
    assert seg.get_title(loc="left").startswith("SEG (3D)")
    assert len(seg.lines) == 2  # sequences


def test_labels_without_objects_or_time_have_fewer_figures(run: Path) -> None:
    def keys(**more: Any) -> list[str]:
        shown = Cells.of(part_of(run, **more))
        return [d.key for d in FIGURES["instances"].of(shown)]

    frames = part_of(run).frames
    assert frames is not None
    assert keys(frames=None) == keys(frames=frames[["frame", "group"]]) == ["scores", "by_group", "by_place"]
    assert keys(frames=frames.assign(time=-1))[-1] == "objects"
    table = part_of(run).table.assign(time=-1, z=-1)
    shown = Cells.of(replace(part_of(run), table=table))
    assert "by_place" not in [d.key for d in FIGURES["instances"].of(shown)]
    with pytest.raises(ValueError, match="no slice has a finite iou of nuclei"):
        Cells.of(replace(part_of(run), table=table.assign(nuclei_iou=np.nan)))


def test_figures_while_training() -> None:
    probability = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    rows = histogram_rows(probability, (probability > 0.41).float()).numpy()
    drawn = validation_figures("instances", rows, SPEC, "generated sample")
    assert list(drawn) == ["scores"]
    assert "median 1.0" in titles(drawn["scores"])  # at the threshold of the head
    assert validation_figures("instances", np.zeros((3, 200)), SPEC, "") == {}


def test_sizes_of_objects(tmp_path: Path) -> None:
    figure = sizes(np.array([3.0, 40, 41]), np.array([1.0]), "µm³", "test")
    assert save(figure, tmp_path / "sizes.png").stat().st_size > 5000
    assert "true: 3 objects, median 40.0" in [t.get_text() for t in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="at least one object"):
        sizes(np.zeros(0), np.zeros(0), "px", "")


# The report -------------------------------------------------------------------------------------------------------


def test_report_keeps_slices_and_volumes_apart(run: Path, page: str) -> None:
    assert "Test result of nuclei: 2D IoU of slices over 32 slices of 6 groups" in page
    assert "Otsu&#39;s threshold of each time point (which learns nothing) would give" in page
    for words in ("SEG (3D volumes)", "DET (3D volumes)", "F1 of objects (IoU ≥ 0.5)", "2D Dice coefficient of slices"):
        assert f"<th>nuclei: {words}</th>" in page or f"<th>{words}</th>" in page
    assert "SEG and DET judge whole 3D objects: they are different things" in page
    assert "(threshold 0.41, prominence 0.1, min_area 12, link 0.5, min_planes 2)" in page
    assert "was fitted on the validation split: validation figures of objects are optimistic" in page
    assert "Objects of nuclei found with" in page and "told apart by: distance" in page
    assert "LEAKS" not in page
    assert [found for found in requests(page) if not found.startswith("data:image/gif;")] == []


def test_report_holds_figures_and_the_animation(run: Path, page: str) -> None:
    names = {path.name for path in (run / "plots").iterdir()}
    keys = ("scores", "by_group", "by_place", "counts", "objects", "population")
    assert {f"test_nuclei_{key}.png" for key in keys} <= names
    assert page.count("data:image/gif;base64,") == 1
    assert "How many objects there are over time" in page


def test_a_large_animation_is_left_out(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "volume.gif"
    path.write_bytes((run / "plots" / "volume.gif").read_bytes() + bytes(3_000_000))
    with pytest.raises(ValueError, match=r"volume\.gif has 3\.0 MB, too much for this page"):
        picture(path, "", "page")
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"volume\.gif is neither a PNG nor a GIF"):
        picture(path, "", "page")


def test_a_leaking_split_cannot_be_missed(tmp_path: Path) -> None:
    leaking = make_run(tmp_path / "leaking", source="LEAKS: slices beside those of the training are in the test")
    shutil.rmtree(leaking / "predictions")  # figures take long
    page = write_report(leaking).read_text(encoding="utf-8")
    assert page.index("THIS SPLIT LEAKS: slices beside those") < page.index("Test result of nuclei")
    assert "that training did not see, but whose neighbours it did" in page
    assert '<li class="leak">LEAKS: slices beside those of the training are in the test. The test asks' in page
    assert caveats(read_run(leaking))[0].startswith("LEAKS: ")
    assert '<li class="leak">LEAKS' in compare([leaking]).read_text(encoding="utf-8")


def test_what_labels_cannot_tell_is_said(run: Path) -> None:
    read = read_run(run)
    read.metrics = {"test/nuclei/iou": {"value": 0.8}, "test/nuclei/det": {"value": None}}
    said = " ".join(caveats(read))
    assert "Labels of nuclei are of single slices, not of whole volumes: DET (3D) cannot be known." in said
    assert "Undefined" not in said
    read.metrics = {f"test/nuclei/{name}": {"value": None} for name in ("f1", "seg", "det")}
    assert "labels of nuclei don't tell objects apart" in " ".join(caveats(read))
    read.info["heads"]["nuclei"] = {**SPEC, "fitted": False, "dimensions": 2}
    said = " ".join(caveats(read))
    assert "a threshold of 0.5 and defaults" in said and "3D" not in said


def test_names_of_metrics_say_what_they_are_of() -> None:
    flat = {**SPEC, "dimensions": 2}
    assert metric_label("nuclei/iou", spec=SPEC) == "nuclei: 2D IoU of slices"
    assert metric_label("iou", spec=flat) == "2D IoU of images"
    assert metric_label("seg", short=True, spec=SPEC) == "SEG (3D)"
    assert metric_label("seg", spec=flat) == "SEG (2D images)"
    assert metric_label("iou") == metric_label("iou", spec={"kind": "mask"}) == "intersection over union (IoU)"


# Two runs ---------------------------------------------------------------------------------------------------------


def test_an_old_run_against_a_new_one(run: Path, tmp_path: Path) -> None:
    old = make_run(tmp_path / "old", wrong=4)
    page = compare([old, run], tmp_path / "out.html").read_text(encoding="utf-8")
    assert "The same images, run by run" in page
    assert "Each test image of nuclei in both runs" in page
    assert "The same slices in both runs: truth, both predictions of nuclei, and what changed." in page
    assert "2D IoU" in page and "SEG (3D)" in page
    splits = json.loads((old / "splits.json").read_text())
    write_json(old / "splits.json", {**splits, "test": ["other"]})
    assert "run by run" not in compare([old, run], tmp_path / "out.html").read_text(encoding="utf-8")


def test_only_slices_that_are_alike_are_compared(tmp_path: Path) -> None:
    labels = np.ones((4, 4), np.int32)
    one = Kept("a", np.zeros((4, 4), np.uint8), labels, 0 * labels, 0.5, 0.5)
    (found,) = same_slices({"a": one, "b": one}, {"a": replace(one, pred=labels, score=0.75)}, "2D IoU")
    assert found.scores == ("2D IoU 0.50", "2D IoU 0.75 (+0.25)")
    assert (found.first == 0).all() and (found.second == 1).all() and found.view.pixel == 0.5
    for other in (replace(one, image=one.image + 1), replace(one, true=0 * labels), replace(one, true=labels[:2])):
        assert same_slices({"a": one}, {"a": other}, "") == []


def test_gains_are_paired_by_image(run: Path) -> None:
    old, new = read_run(run), read_run(run)
    shuffled = new.predictions["test"].sample(frac=1, random_state=0)
    new.predictions["test"] = shuffled.assign(nuclei_iou=shuffled["nuclei_iou"] + 0.1)
    paired = Paired.of(old, new, "nuclei", "generated sample")
    assert paired.gain == pytest.approx(np.full(len(paired.gain), 0.1))
    assert paired.rising and paired.samples == "slice"
    new.predictions["test"] = shuffled.assign(id="another")
    with pytest.raises(ValueError):
        Paired.of(old, new, "nuclei", "")


def test_kept_slices_come_back_and_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.npz"
    labels = np.arange(12, dtype=np.int32).reshape(3, 4) - 1
    one = Kept("a", np.zeros((3, 4), np.uint8), labels, labels + 1, float("nan"), 0.5)
    write_kept(path, [one])
    found = read_kept(path)
    assert list(found) == ["a"]
    assert (found["a"].true == labels).all() and np.isnan(found["a"].pixel) and found["a"].score == 0.5
    write_kept(path, [replace(one, pred=labels[:2])])
    with pytest.raises(ValueError, match=r"kept\.npz: expected image, truth and prediction of one size"):
        read_kept(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"kept\.npz: it cannot be read"):
        read_kept(path)


def test_of_large_slices_a_window_around_the_objects_is_kept() -> None:
    true = np.zeros((3000, 900), np.int8)
    true[2500:2600, 100:120] = 1
    rows, columns = window(true)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (SIDE, SIDE)
    assert true[rows, columns].sum() == true.sum()
    small = np.zeros((20, 30), int)
    assert small[window(small)].shape == (20, 30)
