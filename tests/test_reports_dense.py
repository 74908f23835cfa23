"""Reports of heads that predict maps, from run folders made here without training anything."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.colors import to_rgb

from tests.entries import summarise
from tests.test_reports import requests, titles, write_events
from visionlab.drawing.maps import FALSE, FOUND, MISSED, MapShown, Shown, best_worst_maps, map_examples, map_grid
from visionlab.drawing.style import save
from visionlab.drawing.text import metric_label
from visionlab.files import write_json
from visionlab.heads.map_sums import depth_rows, mask_rows
from visionlab.metrics import METRICS, per_image, shares
from visionlab.reports import compare, write_report
from visionlab.reports.caveats import caveats
from visionlab.reports.data import write_data_report
from visionlab.reports.facts import verdict
from visionlab.reports.figures import FIGURES, Part, Scores, validation_figures
from visionlab.reports.losses import loss_words
from visionlab.reports.progress import training_curves
from visionlab.reports.run import read_run
from visionlab.reports.weights import weight_histograms

SIDE = 40
HEADS: dict[str, dict[str, Any]] = {
    "mask": {"kind": "mask", "columns": ["mask"], "unit": "", "metrics": list(METRICS["mask"])},
    "depth": {"kind": "depth", "columns": ["depth"], "unit": "m", "metrics": list(METRICS["depth"])},
}
LOSS = {"_target_": "visionlab.losses.elementwise.l1"}


def waves(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """A smooth surface of mean 0."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    total = np.zeros((height, width))
    for _ in range(count):
        fx, fy, phase = rng.uniform(0, 1.5), rng.uniform(0, 1.5), rng.uniform(0, 6)
        total += rng.normal() * np.cos(2 * np.pi * (fx * x + fy * y) + phase)
    return total


def sample(
    rng: np.random.Generator, name: str, noise: float, height: int = SIDE, width: int = SIDE, *, holes: bool = False
) -> Shown:
    """A blob before a smooth scene, predicted displaced and with a wavy error; ``noise`` says how badly."""
    y, x = np.mgrid[:height, :width]
    cx, cy, radius = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height, rng.uniform(0.14, 0.3) * height
    border = radius * (1 + 0.25 * np.sin(3 * np.arctan2(y - cy, x - cx) + rng.uniform(0, 6)))
    inside = np.hypot(x - cx, y - cy) < border
    depth = np.where(inside, 2.0, 4 + 0.6 * waves(rng, 4, height, width)).astype(np.float32)
    scene = np.clip(120 + 30 * waves(rng, 4, height, width)[..., None] + rng.normal(0, 4, (height, width, 3)), 0, 255)
    object_ = np.array([200, 80, 60]) + rng.normal(0, 15, (height, width, 3))
    image = np.where(inside[..., None], object_, scene).clip(0, 255)
    shift = 0.6 * noise * radius * rng.choice([-1, 1])
    mask, logit = inside.astype(np.float32), (border - np.hypot(x - cx - shift, y - cy)) / 1.5
    probability = (1 / (1 + np.exp(-logit - noise * waves(rng, 3, height, width)))).astype(np.float32)
    predicted = depth * (1 + 0.1 * noise * rng.normal()) + 0.3 * noise * waves(rng, 3, height, width)
    if holes:
        mask[:, :5] = np.nan
        depth[:, :5] = depth[20:28, 24:33] = np.nan
    return Shown(
        name,
        {"image": image.astype(np.uint8), "background": scene.astype(np.uint8)},
        {
            "mask": MapShown("mask", "", mask, probability),
            "depth": MapShown("depth", "m", depth, np.maximum(predicted, 0.1).astype(np.float32)),
        },
        {"mask": "IoU 0.91", "depth": "MAE 0.12 m"},
    )


def rows_of(samples: list[Shown]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The sums of each sample's maps, of the prediction and of a constant one."""

    def stacked(head: str, which: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([getattr(shown.maps[head], which) for shown in samples])[:, None])

    masks, depths = stacked("mask", "true"), stacked("depth", "true")
    constant = torch.full_like(masks, 0.15), torch.full_like(depths, 3.7)
    predicted = stacked("mask", "pred"), stacked("depth", "pred")
    depth, base = (depth_rows(p, depths, data_range=4.0, floor=1e-3).numpy() for p in (predicted[1], constant[1]))
    return {
        "mask": (mask_rows(predicted[0], masks).numpy(), mask_rows(constant[0], masks).numpy()),
        "depth": (depth, base),
    }


def table_of(samples: list[Shown], groups: list[str], split: str) -> pd.DataFrame:
    """predictions/<split>.csv"""
    ids = [shown.name for shown in samples]
    table = {"id": ids, "group": groups, "split": split, "path": [f"fgbg/{name}.jpg" for name in ids]}
    rows = {head: model for head, (model, _) in rows_of(samples).items()}
    table["mask_area_true"], table["mask_area_pred"] = shares(rows["mask"])
    for head, spec in HEADS.items():
        for metric in spec["metrics"]:
            table[f"{head}_{metric}"] = per_image(spec["kind"], metric, rows[head])
    return pd.DataFrame(table)


def events(seed: int, epochs: int = 24, steps: int = 10) -> dict[str, list[tuple[int, float]]]:
    rng = np.random.default_rng(seed)
    ends = [(epoch + 1) * steps - 1 for epoch in range(epochs)]
    falls = {
        "mask": [0.6 * np.exp(-s / 50) + 0.05 for s in ends],
        "depth": [0.3 * np.exp(-s / 80) + 0.08 for s in ends],
    }
    tags: dict[str, list[tuple[int, float]]] = {}
    for head, fall in falls.items():
        tags[f"train/{head}/loss_epoch"] = list(zip(ends, fall, strict=True))
        noisy = [1.1 * value + 0.03 * abs(rng.normal()) for value in fall]
        tags[f"val/{head}/loss"] = list(zip(ends, noisy, strict=True))
    both = list(zip(*tags.values(), strict=True))
    tags["train/loss_epoch"] = [(step[0][0], step[0][1] + step[2][1]) for step in both]
    tags["val/loss"] = [(step[0][0], step[1][1] + step[3][1]) for step in both]
    tags["train/loss"] = [(s, (0.9 * np.exp(-s / 60) + 0.13) * rng.lognormal(0, 0.2)) for s in range(epochs * steps)]
    tags["val/mask/iou"] = [(step, 1 - value) for step, value in tags["val/mask/loss"]]
    tags["val/depth/mae"] = [(step, 1.4 * value) for step, value in tags["val/depth/loss"]]
    tags["lr"] = [(step, 1e-3 if step < 120 else 1e-4) for step in range(epochs * steps)]
    tags["stage"] = [(step, float(step >= 120)) for step in range(epochs * steps)]
    tags["epoch"] = [(step, step // steps) for step in ends]
    return tags


def make_run(path: Path, *, noise: float = 0.5, seed: int = 0, loss: Any = None, groups: int = 6) -> Path:
    """Write a whole run folder of a finished prediction of masks and depth."""
    rng = np.random.default_rng(seed)
    names = [f"bg{i:03d}" for i in range(8 + groups)]
    split = {"train": names[:5], "val": names[5:8], "test": names[8:]}
    path.mkdir(parents=True)
    config = {
        "task": "depth_mask",
        "model": {"name": "shuffle_unet"},
        "loss": loss or LOSS,
        "heads": {name: {"kind": spec["kind"], "loss": None} for name, spec in HEADS.items()},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 2e-4},
        "monitor": "val/loss",
        "mode": "min",
        "seed": seed,
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    write_json(path / "status.json", {"state": "finished", "epoch": 24, "step": 240, "message": "", "resume": ""})
    write_json(path / "splits.json", {**split, "unused": [], "source": "drawn by group with seed 0"})
    info = {
        "command": "python -m visionlab.train task=depth_mask",
        "data": "generated sample",
        "synthetic": True,
        "versions": {"visionlab": "0.2.0"},
        "parameters": 2317200,
        "receptive_field": 79,
        "heads": HEADS,
        "device": "cpu",
        "seconds": 312.0,
    }
    write_json(path / "run.json", info)
    (path / "predictions").mkdir()
    metrics: dict[str, Any] = {}
    samples: dict[str, list[Shown]] = {}
    card_splits = {}
    index = []
    for part, members in split.items():
        group = [name for name in members for _ in range(5)]
        badly = {name: noise * rng.uniform(0.3, 1.7) for name in members}
        samples[part] = [sample(rng, f"{name}/{i:06d}", badly[name], holes=i % 4 == 0) for i, name in enumerate(group)]
        table = table_of(samples[part], group, part)
        depths = [shown.maps["depth"].true for shown in samples[part]]
        facts = {"depth_min": [np.nanmin(d) for d in depths], "depth_max": [np.nanmax(d) for d in depths]}
        index.append(
            table[["id", "group", "split", "path"]].assign(mask_share=table["mask_area_true"], depth_known=1.0, **facts)
        )
        if part != "train":
            table.to_csv(path / "predictions" / f"{part}.csv", index=False)
            metrics |= summarise(rows_of(samples[part]), HEADS, group, part, "generated sample")
        described = index[-1][["mask_share", "depth_min", "depth_max"]].agg(["min", "max", "mean", "std"])
        card_splits[part] = {
            "samples": len(group),
            "groups": members,
            "images": {"min": 0, "max": 255, "mean": 118.0, "std": 44.0},
            "targets": described.to_dict(),
        }
    write_json(path / "metrics.json", metrics)
    pd.concat(index).to_csv(path / "data_index.csv", index=False)
    card = {"n": 5 * len(names), "groups": len(names), "bytes": 3_100_000, "splits": card_splits, "notes": []}
    write_json(path / "data_card.json", {**card, "dtypes": {"uint8": 5 * len(names)}, "shapes": {"40x40": 70}})
    write_events(path, events(seed))
    shown = [samples[part][i] for part in samples for i in (0, 6)]
    without = [Shown(s.name, s.inputs, {h: MapShown(m.kind, m.unit, m.true) for h, m in s.maps.items()}) for s in shown]
    names_of = [f"{part}: {samples[part][i].name}" for part in samples for i in (0, 6)]
    save(map_examples(without, names_of, "generated sample: images of each split"), path / "plots" / "examples.png")
    order = table["mask_iou"].sort_values().index
    best, worst = ([samples["test"][i] for i in chosen] for chosen in (order[:-4:-1], order[:3]))
    save(best_worst_maps(best, worst, "test: generated sample"), path / "plots" / "best_worst.png")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("outputs") / "depth_mask" / "2025-06-01_10-00-00_shuffle_unet")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_report_says_the_result_of_each_head(run: Path, page: str) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert "Test result of mask: intersection over union (IoU) over 30 images of 6 groups" in page
    assert "Test result of depth: mean absolute error (MAE) over 30 images of 6 groups" in page
    assert "Always predicting the mean of the training masks at every pixel would give" in page
    assert "the model&#39;s IoU is higher" in page
    baseline = f"{metrics['test/depth/mae']['baseline']:.3f}"
    assert f"Always predicting the mean depth of the training images at every pixel would give {baseline} m" in page
    for words in ("Dice coefficient", "share within factor 1.25² (δ₂)", "AbsRel, scale-aligned", "79 x 79 pixels"):
        assert words in page
    assert page.index(">mask</th>") < page.index("boundary F1") < page.index(">depth</th>") < page.index("RMSE")
    assert "Not available" not in page
    assert requests(page) == []


def test_report_draws_every_head(run: Path, page: str) -> None:
    names = {path.stem for path in (run / "plots").iterdir()}
    assert {f"test_mask_{key}" for key in ("scores", "by_group", "area")} <= names
    assert {f"test_depth_{key}" for key in ("scores", "by_group", "scale")} <= names
    assert {"targets_mask_share", "targets_depth_min", "targets_depth_max"} <= names
    assert page.count("data:image/png;base64,") == len(names) == 12  # and training, examples, best and worst
    assert page.count('<figure class="wide"><img') == 2
    assert "mask share 0." in page and re.search(r"largest depth [\d.]+ to [\d.]+, mean [\d.]+ ± [\d.]+ m", page)


def test_weights_are_shown_where_they_were_drawn(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: depth_mask\n")
    save(weight_histograms({"a.weight": np.arange(9.0)}, "best checkpoint"), tmp_path / "plots" / "weights.png")
    assert "Distribution of the weights of each layer." in write_report(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        ({"value": 0.9, "low": 0.8, "high": 0.95, "baseline": 0.3}, "good", "the model's IoU is higher"),
        ({"value": 0.9, "low": 0.2, "high": 0.95, "baseline": 0.3}, "unsure", "inside the interval"),
        ({"value": 0.9, "low": None, "high": None, "baseline": 0.3}, "unsure", "0.600 less; with one group"),
        ({"value": 0.3, "low": 0.2, "high": 0.4, "baseline": 0.3}, "bad", "no better than that"),
    ],
)
def test_verdict_where_higher_is_better(entry: dict[str, Any], key: str, words: str) -> None:
    said = verdict({**entry, "better": "max", "unit": ""}, "mask", "IoU")
    assert said["key"] == key
    assert words in said["words"]


def test_depths_beyond_training_are_named(run: Path) -> None:
    read = read_run(run)
    train, test = (read.card["splits"][split]["targets"] for split in ("train", "test"))
    train["depth_min"]["min"], train["depth_max"]["max"] = 1.0, 8.0
    test["depth_min"]["min"], test["depth_max"]["max"] = 0.9, 8.2  # single pixels are always beyond
    test["mask_share"]["max"] = 0.9
    assert not [text for text in caveats(read) if "training only saw" in text]
    test["depth_max"]["max"] = 12.0
    said = (
        "Test values of depth go from 0.900 to 12.0, but training only saw 1.00 to 8.00: beyond that the model guesses."
    )
    assert said in caveats(read)


def test_data_report_of_maps(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run", ignore=lambda *_: ["plots", "predictions"])
    data = read_run(copy)
    page = write_data_report(data, [], [("Train", "python -m visionlab.train")]).read_text(encoding="utf-8")
    assert "Distribution of mask share in each split" in page
    assert data.index is not None
    data.index = data.index[["id", "group", "split", "path"]]  # the facts about maps are optional
    page = write_data_report(data, [], []).read_text(encoding="utf-8")
    assert "Distribution of" not in page


def images_of(figure: Any) -> list[Any]:
    """The pictures of a sheet without its colour bars, in reading order."""
    return [image for image in figure.axes[0].images if image.get_array().shape[0] > 1]


def words_of(figure: Any) -> list[str]:
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [text.get_text() for text in figure.axes[0].texts] + legend


def test_grid_shows_target_prediction_and_difference() -> None:
    rng = np.random.default_rng(0)
    samples = [sample(rng, f"bg/{i}", noise, holes=i == 1) for i, noise in enumerate((0.2, 1.0))]
    figure = map_grid(samples, "generated sample", "Epoch 3")
    pictures = images_of(figure)
    assert len(pictures) == 2 * 8
    words = words_of(figure)
    assert words.count("image") == words.count("background") == words.count("mask") == words.count("depth") == 1
    assert words.count("target") == words.count("prediction") == words.count("difference") == 2
    for text in ("Epoch 3", "bg/0", "bg/1", "IoU 0.91", "MAE 0.12 m", "foreground missed", "unknown"):
        assert text in words
    assert "generated sample" in titles(figure)
    for i, shown in enumerate(samples):
        mask_true, mask_pred, depth_true, depth_pred, error = (pictures[8 * i + k] for k in (2, 3, 5, 6, 7))
        assert mask_true.get_clim() == mask_pred.get_clim() == (0, 1)
        low, high = np.nanpercentile(shown.maps["depth"].true, [2, 98])
        assert depth_true.get_clim() == depth_pred.get_clim() == (pytest.approx(low), pytest.approx(high))
        assert f"{high:.2f} m" in words
        assert (depth_true.get_array().mask == np.isnan(shown.maps["depth"].true)).all()
        assert error.get_clim() == pictures[7].get_clim() and error.get_clim()[0] == -error.get_clim()[1]
    assert f"{pictures[7].get_clim()[1]:.2f} m" in words or f"{pictures[7].get_clim()[1]:.3f} m" in words


def test_differences_of_masks_have_a_colour_each() -> None:
    true = np.array([[1, 1, 0, 0, np.nan]] * 5, np.float32)
    pred = np.array([[0.9, 0.2, 0.8, 0.1, 0.9]] * 5, np.float32)
    black = np.zeros((10, 10, 1), np.uint8)  # maps may be smaller than their image
    shown = Shown("a", {"image": black}, {"mask": MapShown("mask", "", true, pred)})
    pixels = images_of(map_grid([shown], ""))[-1].get_array()[0]
    found, missed, false, nothing, unknown = np.asarray(pixels, dtype=float)
    for pixel, colour in ((found, FOUND), (missed, MISSED), (false, FALSE)):
        nearest = min((FOUND, FALSE, MISSED), key=lambda c: np.abs(pixel[:3] / pixel[:3].max() - to_rgb(c)).sum())
        assert nearest == colour
    assert np.ptp(nothing[:3]) == 0
    assert (unknown[3], nothing[3]) == (0, 1)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (24, 64), (64, 24)])
def test_grids_of_any_size(tmp_path: Path, height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    shown = sample(rng, "a/very/long/name/of/a/sample/" * 3, 0.5, height, width)
    one = Shown(shown.name, {"image": shown.inputs["image"][..., :1]}, {"depth": shown.maps["depth"]})
    unknown = np.full((height, width), np.nan, np.float32)
    blind = Shown("b", one.inputs, {"depth": MapShown("depth", "m", unknown, shown.maps["depth"].pred)})
    flat = np.full((height, width), 2, np.float32)
    exact = Shown("c", one.inputs, {"depth": MapShown("depth", "m", flat, flat)})
    for i, chosen in enumerate(([shown], [one, blind], [exact], [blind])):
        assert save(map_grid(chosen, "val"), tmp_path / f"{i}.png").stat().st_size > 5000


def test_best_and_worst_have_the_same_colours_of_error() -> None:
    rng = np.random.default_rng(0)
    best, worst = [sample(rng, "a", 0.1)], [sample(rng, "b", 2.0)]
    figure = best_worst_maps(best, worst, "test")
    assert {"Predicted best", "Predicted worst"} <= set(words_of(figure))
    pictures = images_of(figure)
    assert pictures[7].get_clim() == pictures[15].get_clim()
    assert "Predicted worst" not in words_of(best_worst_maps(best, [], "test"))


def test_examples_show_targets_only() -> None:
    rng = np.random.default_rng(0)
    samples = []
    for i in range(3):
        shown = sample(rng, str(i), 0.5)
        maps = {head: MapShown(m.kind, m.unit, m.true) for head, m in shown.maps.items()}
        samples.append(Shown(shown.name, shown.inputs, maps))
    figure = map_examples(samples, ["train: a", "val: b", "test: c"], "generated sample")
    assert len(images_of(figure)) == 3 * 4
    assert {"train: a", "val: b", "test: c", "target"} <= set(words_of(figure))
    assert not {"prediction", "difference", "foreground missed"} & set(words_of(figure))
    with pytest.raises(ValueError, match="found 3 and 1"):
        map_examples(samples, ["a"], "")


def test_grids_of_nothing_or_of_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        map_grid([], "")
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="map 'flow': expected a kind of mask, depth, found 'flow'"):
        map_grid([Shown("a", {"image": image}, {"flow": MapShown("flow", "", np.zeros((4, 4), np.float32))})], "")


def scores(groups: int, per_group: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    group = np.repeat([f"_{i}$" for i in range(groups)], per_group)
    iou = rng.beta(9, 2, len(group))
    mae = rng.gamma(2, 0.1, len(group))
    area = rng.uniform(0, 0.4, (2, len(group)))
    table = {"group": group, "mask_iou": iou, "mask_area_true": area[0], "mask_area_pred": area[1]}
    return pd.DataFrame({**table, "depth_mae": mae, "depth_aligned_mae": 0.5 * mae})


@pytest.mark.parametrize(("groups", "per_group"), [(1, 1), (2, 30), (30, 2), (100, 1), (40, 100)])
@pytest.mark.parametrize("head", HEADS)
def test_figures_of_scores_of_any_size(tmp_path: Path, head: str, groups: int, per_group: int) -> None:
    shown = FIGURES[head].read(Part(scores(groups, per_group), head, head, HEADS[head], "test", {}, synthetic=True))
    drawings = FIGURES[head].of(shown)
    assert len(drawings) == 3
    for drawing in drawings:
        figure = drawing.draw(shown)
        assert "generated sample" in titles(figure)
        assert save(figure, tmp_path / f"{drawing.key}.png").stat().st_size > 5000


def test_groups_are_sorted_from_best_to_worst() -> None:
    table = pd.DataFrame({"group": ["a", "a", "b", "b"], "mask_iou": [0.2, 0.4, 0.8, 0.9], "depth_mae": [1, 2, 3, 4]})
    order = {}
    for head, spec in HEADS.items():
        shown = Scores.of(Part(table, head, head, spec, "test", {}, synthetic=False))
        figure = next(d for d in FIGURES[head].drawings if d.of_groups).draw(shown)
        order[head] = [label.get_text()[0] for label in figure.axes[0].get_yticklabels()]
    assert order == {"mask": ["b", "a"], "depth": ["a", "b"]}
    shown = Scores.of(Part(scores(60, 3), "mask", "mask", HEADS["mask"], "test", {}, synthetic=False))
    figure = FIGURES["mask"].drawings[1].draw(shown)
    worst = pd.Series(shown.values).groupby(shown.group).mean().idxmin()
    listed = next(text.get_text() for text in figure.axes[0].texts)
    assert listed.splitlines()[1].startswith(str(worst))


def test_images_without_a_score_are_named() -> None:
    table = scores(3, 4)
    table.loc[:4, "mask_iou"] = np.nan
    part = Part(table, "mask", "mask", HEADS["mask"], "test", {}, synthetic=False)
    assert "12 images of 3 groups · 5 images without IoU, not drawn" in Scores.of(part).caption
    table["mask_iou"] = np.nan
    with pytest.raises(ValueError, match="no image has a finite iou of mask"):
        Scores.of(part)


def test_a_head_without_the_usual_metric() -> None:
    table = scores(3, 4).rename(columns={"mask_iou": "mask_dice"}).drop(columns=["mask_area_pred"])
    spec = {**HEADS["mask"], "metrics": ["dice"]}
    shown = Scores.of(Part(table, "mask", "mask", spec, "test", {}, synthetic=False))
    assert shown.score == "Dice"
    assert [drawing.key for drawing in FIGURES["mask"].of(shown)] == ["scores", "by_group"]


def test_figures_while_training() -> None:
    rng = np.random.default_rng(0)
    samples = [sample(rng, str(i), 0.5) for i in range(6)]
    rows = {head: model for head, (model, _) in rows_of(samples).items()}
    masks = validation_figures("mask", rows["mask"], HEADS["mask"], "generated sample")
    depths = validation_figures("depth", rows["depth"], HEADS["depth"], "generated sample")
    assert (set(masks), set(depths)) == ({"scores", "area"}, {"scores", "scale"})
    median = np.median(per_image("mask", "iou", rows["mask"]))
    assert f"median {median:.2f}" in titles(masks["scores"])
    assert "val: 6 images · generated sample" in titles(masks["scores"])
    assert validation_figures("mask", np.zeros_like(rows["mask"]), HEADS["mask"], "x") == {}


def test_losses_of_heads_and_stages_are_drawn(run: Path) -> None:
    curves = read_run(run).curves
    figure = training_curves(curves, "val/loss", "min", "", "x", {"val/mask/iou": "", "val/depth/mae": "m"})
    names = [axes.get_ylabel() for axes in figure.axes]
    assert names[2:] == ["val/mask/iou", "val/depth/mae (m)", "learning rate"]
    assert names[1].startswith("loss of each head")
    starts = [
        line for axes in figure.axes for line in axes.lines if np.array_equal(np.asarray(line.get_xdata()), [120, 120])
    ]
    assert len(starts) == len(figure.axes)
    one = {tag: curve for tag, curve in curves.items() if "/mask/" not in tag and tag != "stage"}
    figure = training_curves(one, "val/depth/mae", "min", "m")
    assert [axes.get_ylabel() for axes in figure.axes][1:] == ["val/depth/mae (m)", "learning rate"]


SSIM = {"_target_": "visionlab.losses.structural.SSIMLoss"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"loss": LOSS}, "l1"),
        ({"loss": {"_target_": "their.own.Loss"}}, "Loss"),
        ({"loss": {"_target_": "visionlab.losses.elementwise.huber", "delta": 3.0}}, "huber (delta=3.0)"),
        ({}, "–"),
        ({"loss": LOSS, "heads": {"mask": {"loss": None}, "depth": {"loss": None}}}, "l1"),
        ({"loss": LOSS, "heads": {"mask": {"loss": "bce"}, "depth": {"loss": None}}}, "mask: bce, depth: l1"),
        ({"loss": LOSS, "heads": {"mask": {"loss": {"bce": 1, "dice": 0.5}}}}, "mask: bce + 0.5 dice"),
        ({"loss": LOSS, "heads": {"mask": {"loss": [{"name": "l1", "weight": 0.2, "loss": LOSS}]}}}, "mask: 0.2 l1"),
        ({"loss": LOSS, "stages": {"fine": {"loss": "mse"}, "coarse": {"loss": None}}}, "l1; stage fine: mse"),
        ({"loss": 7, "heads": [1], "stages": "x"}, "7"),
    ],
)
def test_losses_in_words(config: dict[str, Any], words: str) -> None:
    assert loss_words(config) == words


@pytest.fixture(scope="module")
def sweep(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("sweep")
    shutil.copytree(run, parent / "0_shuffle_unet")
    huber = {"_target_": "visionlab.losses.elementwise.huber", "delta": 0.1}
    make_run(parent / "1_shuffle_unet", noise=1.2, seed=0, loss=huber)
    return parent


def test_comparison_is_a_table_of_losses(sweep: Path) -> None:
    page = compare([sweep / "0_shuffle_unet", sweep / "1_shuffle_unet"]).read_text(encoding="utf-8")
    assert requests(page) == []
    assert "<td>l1</td>" in page and "<td>huber (delta=0.1)</td>" in page
    first, second = page.split("<h2>All metrics</h2>")
    assert first.count('<th class="num">') == 2 and "mask: IoU" in first and "depth: MAE" in first
    assert second.count("loss l1<") == 1
    for label in ("δ &lt; 1.25²", "AbsRel, scale-aligned", "boundary F1"):
        assert label in second
    assert page.count('<td class="num best">') >= 10
    assert "whose values cannot be compared" in page
    assert page.count("data:image/png;base64,") == 2 + 1  # bars of each head's key metric, curves


def test_comparison_of_one_loss_shows_it(run: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(run, tmp_path / name) for name in ("a", "b")]
    assert "cannot be compared" not in compare(copies).read_text(encoding="utf-8")


def test_histograms_of_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layers = {f"network.block{i}.weight": rng.normal(0, 1 / (i + 1), 200) for i in range(60)}
    figure = weight_histograms(layers, "generated sample")
    drawn = [axes.get_title(loc="left") for axes in figure.axes if axes.has_data()]
    assert len(drawn) == 24
    assert (drawn[0], drawn[-1]) == ("block0", "block59")
    assert "generated sample · 24 of 60 layers" in titles(figure)
    odd = {"a": np.array([np.nan, 1.0]), "b": np.zeros(3), "c": np.array([np.inf])}
    figure = weight_histograms(odd, "")
    assert "1 value\nnot finite" in figure.axes[0].texts[0].get_text()
    assert save(figure, tmp_path / "weights.png").stat().st_size > 3000
    with pytest.raises(ValueError, match="at least one layer"):
        weight_histograms({"a": []})


def test_metrics_in_words() -> None:
    assert metric_label("mask/iou") == "mask: intersection over union (IoU)"
    assert metric_label("depth/delta1", short=True) == "depth: δ < 1.25"
    assert metric_label("aligned_rmse") == "RMSE, scale-aligned"
    known = {name for table in METRICS.values() for name in table}
    assert not {name for name in known if metric_label(name) == name}
