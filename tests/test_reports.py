"""The report and the comparison, from run folders made here without training anything."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from tests.entries import summarise
from visionlab.drawing.images import best_worst, captioned, examples, pick_best_worst, stretch
from visionlab.drawing.style import save
from visionlab.drawing.text import digits, duration, interval, measure, size, value
from visionlab.errors import DataError
from visionlab.files import write_json
from visionlab.metrics import METRICS
from visionlab.report import main
from visionlab.reports import compare, write_report
from visionlab.reports.comparison import differing_settings
from visionlab.reports.curves import read_scalars
from visionlab.reports.facts import verdict
from visionlab.reports.figures import FIGURES, Predictions, validation_figures
from visionlab.reports.progress import best_point, learning_rate_finder, training_curves

EVIL = "<script>alert(1)</script> $\\frac{"


def predictions(split: str, groups: list[str], n: int, noise: float, seed: int) -> pd.DataFrame:
    """A focus series for each group, predicted with noise and an offset of the group's."""
    rng = np.random.default_rng(seed)
    parts = []
    for group in groups:
        true = np.round(np.linspace(-60, 60, n) / 4) * 4
        pred = 0.93 * true + rng.normal(0, noise) + rng.normal(0, noise * (0.5 + np.abs(true) / 60), n)
        ids = [f"{group}_{i:03d}_{t:.0f}" for i, t in enumerate(true)]
        parts.append(
            pd.DataFrame(
                {"id": ids, "group": group, "split": split, "path": ids, "distance_true": true, "distance_pred": pred}
            )
        )
    return pd.concat(parts, ignore_index=True)


def write_events(folder: Path, tags: dict[str, list[tuple[int, float]]], start: float = 1e9, name: str = "") -> None:
    writer = EventFileWriter(str(folder), filename_suffix=name)
    for tag, points in tags.items():
        for i, (step, point) in enumerate(points):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=point)])
            writer.add_event(Event(wall_time=start + i, step=step, summary=summary))
    writer.close()


def training_events(seed: int, epochs: int = 30, steps: int = 12) -> dict[str, list[tuple[int, float]]]:
    rng = np.random.default_rng(seed)
    every = range(epochs * steps)
    ends = [(epoch + 1) * steps - 1 for epoch in range(epochs)]
    fall = [0.9 * np.exp(-step / 60) + 0.06 for step in every]
    val = [1.1 * fall[step] + 0.04 * abs(rng.normal()) + 0.0004 * max(step - 200, 0) for step in ends]
    return {
        "train/loss": [(step, fall[step] * rng.lognormal(0, 0.25)) for step in every],
        "train/loss_epoch": [(step, fall[step]) for step in ends],
        "val/loss": list(zip(ends, val, strict=True)),
        "val/distance/mae": [(step, 35 * value) for step, value in zip(ends, val, strict=True)],
        "lr": [(step, 1e-3 * 0.8 ** (step // 100)) for step in every],
        "epoch": [(step, step // steps) for step in ends],
    }


def make_run(
    path: Path, *, groups: int = 6, noise: float = 4.0, seed: int = 0, model: str = "resnet34", lr: float = 1e-3
) -> Path:
    """Write a whole run folder of a finished regression."""
    path.mkdir(parents=True)
    names = [f"slide{chr(65 + i)}" for i in range(14 + groups)]
    split = {"train": names[:10], "val": names[10:14], "test": names[14:]}
    config = {
        "task": "focus",
        "model": {"name": model, "hidden": []},
        "loss": {"_target_": "visionlab.losses.elementwise.l1"},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": lr},
        "data": {"root": "sample", "image_size": 128, "batch_size": 16},
        "seed": seed,
        "monitor": "val/distance/mae",
        "mode": "min",
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    resume = f"python -m visionlab.resume {path.name}"
    write_json(path / "status.json", {"state": "finished", "epoch": 29, "step": 360, "message": "", "resume": resume})
    write_json(path / "splits.json", {**split, "unused": [], "source": "drawn by group with seed 0"})
    head = {"kind": "regression", "columns": ["distance"], "unit": "um", "step": 4.0}
    info = {
        "command": f"python -m visionlab.train task=focus model={model} optimizer.lr={lr}",
        "task": "focus",
        "model": model,
        "data": "generated sample",
        "synthetic": True,
        "versions": {"visionlab": "0.1.0", "torch": "2.12.0", "python": "3.11.9"},
        "parameters": 21278913,
        "heads": {"distance": head},
        "started": "2025-06-01 10:00:00",
        "finished": "2025-06-01 11:02:03",
        "seconds": 3723.0,
        "device": "cpu",
        "seed": seed,
    }
    write_json(path / "run.json", info)
    tables = {name: predictions(name, split[name], 31, noise, seed + i) for i, name in enumerate(split)}
    index = pd.concat(tables.values(), ignore_index=True).rename(columns={"distance_true": "distance"})
    index["hash"] = "b2b70956"  # text that is nobody's number
    index.drop(columns="distance_pred").to_csv(path / "data_index.csv", index=False)
    metrics: dict[str, Any] = {}
    spec = {"distance": {**head, "metrics": list(METRICS["regression"]), "margin": 4.0}}
    (path / "predictions").mkdir()
    for name in ("val", "test"):
        tables[name].to_csv(path / "predictions" / f"{name}.csv", index=False)
        rows = tables[name][["distance_true", "distance_pred"]].to_numpy()
        of_heads = {"distance": (rows, rows * [1, 0])}  # the baseline always says 0
        metrics |= summarise(of_heads, spec, tables[name]["group"].tolist(), name, "generated sample")
    write_json(path / "metrics.json", metrics)
    card = {
        "name": "generated sample",
        "root": "samples/focus",
        "synthetic": True,
        "n": len(index),
        "groups": names,
        "bytes": 18_400_000,
        "dtypes": {"uint8": len(index)},
        "shapes": {"128x128": len(index)},
        "preprocess": "centre crop to 128 x 128, grey, mean 0.41 and deviation 0.13 of the training images",
        "notes": ["12 images are 16-bit", "slideB has 3 images without a neighbour"],
        "splits": {
            name: {
                "samples": len(tables[name]),
                "groups": split[name],
                "images": {"min": 3, "max": 251, "mean": 104.2, "std": 33.1},
                "targets": {"distance": {"min": -60.0, "max": 60.0, "mean": 0.0, "std": 35.4}},
            }
            for name in split
        },
    }
    write_json(path / "data_card.json", card)
    write_events(path, training_events(seed))
    rates = np.geomspace(1e-7, 1, 100)
    losses = 0.9 - 0.6 / (1 + (3e-3 / rates) ** 1.2) + 40 * np.maximum(rates - 0.08, 0) ** 1.2
    pd.DataFrame({"lr": rates, "loss": losses}).to_csv(path / "lr_find.csv", index=False)
    rng = np.random.default_rng(seed)
    images = [spots(rng, blur) for blur in np.linspace(0, 5, 36)]
    test = tables["test"].iloc[: len(images)]
    shown = examples(images[:12], [f"{d:+.0f} µm" for d in range(12)], caption="generated sample")
    save(shown, path / "plots" / "examples.png")
    worst = best_worst(
        images, test["distance_true"], test["distance_pred"], list(test["id"]), "um", caption="generated sample"
    )
    save(worst, path / "plots" / "best_worst.png")
    return path


def spots(rng: np.random.Generator, blur: float) -> np.ndarray:
    y, x = np.mgrid[:96, :96]
    centres = rng.uniform(8, 88, (9, 2))
    image = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * (4 + blur**2))) / (1 + blur) for a, b in centres)
    return (np.clip(image * 120 + rng.normal(20, 3, (96, 96)), 0, 255)).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("outputs") / "focus" / "2025-06-01_10-00-00_resnet34")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def requests(page: str) -> list[str]:
    """What a browser would fetch for this page."""
    found = re.findall(r"""(?:src|href|action|data|poster|srcset)\s*=\s*["']?([^"'\s>]+)""", page)
    found += re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", page)
    return [str(link) for link in found if not str(link).startswith("data:image/png;base64,")]


def test_report_says_the_result(run: Path, page: str) -> None:
    entry = json.loads((run / "metrics.json").read_text())["test/distance/mae"]
    assert f"95% interval {interval(entry)} µm" in page
    assert f'<p class="big">{value(entry)}' in page
    ratio = f"{entry['baseline'] / entry['value']:.2g}"
    assert f"{digits(entry['baseline'])} µm: the model&#39;s error is {ratio} times lower" in page
    for name in ("RMSE", "bias (mean error)", "R²", "sign accuracy"):
        assert name in page
    for text in (
        "generated sample",
        "as few groups as 4 (validation) and 6 (test)",
        "21,278,913 parameters",
        "1 h 02 min",
        "18.4 MB",
    ):
        assert text in page
    assert "python -m visionlab.train task=focus model=resnet34 optimizer.lr=0.001" in page
    assert "Not available" not in page


def test_report_is_self_contained(run: Path, page: str) -> None:
    assert requests(page) == []
    assert "<script" not in page
    assert page.count("data:image/png;base64,") == 9  # 4 of predictions, best and worst, 2 of training, 2 of data
    names = {path.name for path in (run / "plots").iterdir()}
    assert {"test_distance_scatter.png", "test_distance_errors.png", "training.png", "lr_find.png"} <= names
    first = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    assert first and base64.b64decode(first[1]) == (run / "plots" / "test_distance_scatter.png").read_bytes()


def test_everything_from_the_run_folder_is_escaped(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    for path in [*copy.glob("*.json"), *copy.glob("*.csv"), *copy.glob("predictions/*.csv")]:
        content, evil = path.read_text(), json.dumps(EVIL)[1:-1] if path.suffix == ".json" else EVIL
        for text in ("slideO", "cpu", "drawn by group", "2.12.0"):
            content = content.replace(text, evil)
        path.write_text(content)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["name"] = config["task"] = config["monitor"] = EVIL
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    page = write_report(copy).read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 6
    assert requests(page) == []
    assert "<script" not in compare([copy, run], tmp_path / "two.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "missing",
    [
        ("status.json", "metrics.json", "predictions/test.csv", "plots/examples.png"),
        ("run.json", "splits.json", "data_index.csv"),
        ("data_card.json", "predictions/val.csv", "predictions/test.csv", "plots/best_worst.png"),
    ],
)
def test_files_may_be_missing(run: Path, tmp_path: Path, missing: tuple[str, ...]) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    for name in (*missing, "lr_find.csv"):
        (copy / name).unlink()
    page = write_report(copy).read_text(encoding="utf-8")
    gaps = set(re.findall("<strong>(.*?)</strong>", page))
    assert set(missing) <= gaps
    assert "lr_find.csv" not in gaps  # only a run that searched for a rate has it


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not what it says",
        "[1, 2]",
        '{"a": 1}',
        '{"splits": [], "test": 3, "heads": 7, "n": "x"}',
        '{"heads": {"a": {"kind": "mask", "columns": 3, "metrics": 5}}, "splits": {"train": {"targets": 1}}}',
    ],
)
def test_files_in_another_form_do_not_stop_the_report(run: Path, tmp_path: Path, content: str) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    for path in [*copy.glob("*.json"), *copy.glob("*.csv"), *copy.glob("predictions/*.csv"), *copy.glob("plots/*.png")]:
        path.write_text(content)
    for path in copy.glob("events*"):
        path.write_bytes(content.encode())
    page = write_report(copy).read_text(encoding="utf-8")
    assert "Key result: not available" in page
    assert "Training curves: not available" in page


def test_only_config_is_needed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: focus\n")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Metrics: not available. the run folder does not hold this file" in page
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"no config\.yaml"):
        write_report(tmp_path)


def test_unfinished_run_says_how_to_go_on(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    state = {
        "state": "interrupted",
        "epoch": 7,
        "message": "stopped by Ctrl-C",
        "resume": "python -m visionlab.resume R",
    }
    write_json(copy / "status.json", state)
    page = write_report(copy).read_text(encoding="utf-8")
    assert "interrupted after 7 full epochs" in page
    assert "<pre>python -m visionlab.resume R</pre>" in page
    assert "stopped by Ctrl-C" in page


def test_caveats_of_one_group_leak_and_range(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["test/distance/mae"] |= {"groups": 1, "low": None, "high": None}
    write_json(copy / "metrics.json", {"test/distance/mae": metrics["test/distance/mae"]})
    write_json(copy / "splits.json", {"train": ["a", "b"], "val": ["c"], "test": ["b"]})
    card = json.loads((copy / "data_card.json").read_text())
    card["splits"]["train"]["targets"]["distance"] |= {"min": -20, "max": 20}
    write_json(copy / "data_card.json", card)
    page = write_report(copy).read_text(encoding="utf-8")
    assert "all of one group: there is no interval" in page
    assert "1 group in both train and test, such as &#39;b&#39;" in page
    assert "training only saw −20.0 to 20.0" in page


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"value": 5.0, "low": 4.0, "high": 6.0, "baseline": 30.0, "unit": "um"}, "good"),
        ({"value": 25.0, "low": 15.0, "high": 35.0, "baseline": 30.0, "unit": "um"}, "unsure"),
        ({"value": 5.0, "low": None, "high": None, "baseline": 30.0, "unit": "um"}, "unsure"),
        ({"value": 31.0, "low": 29.0, "high": 35.0, "baseline": 30.0, "unit": "um"}, "bad"),
        ({"value": 0.0, "low": 0.0, "high": 0.0, "baseline": 30.0, "unit": "um"}, "good"),
    ],
)
def test_verdict_is_honest(entry: dict[str, Any], key: str) -> None:
    assert verdict(entry)["key"] == key


def test_resumed_curves_supersede(tmp_path: Path) -> None:
    write_events(tmp_path, {"loss": [(1, 5.0), (2, 4.0), (3, 9.0)]}, start=1e9, name=".a")
    write_events(tmp_path / "version_1", {"loss": [(3, 3.0), (4, 2.0)]}, start=2e9, name=".b")
    curve = read_scalars(tmp_path)["loss"]
    assert curve["step"].tolist() == [1, 2, 3, 4]
    assert curve["value"].tolist() == [5.0, 4.0, 3.0, 2.0]


def test_curves_keep_every_value_and_survive_a_cut_file(tmp_path: Path) -> None:
    write_events(tmp_path, {"loss": [(step, float(step)) for step in range(10_100)]})  # TensorBoard keeps 10,000
    path = next(tmp_path.glob("events*"))
    path.write_bytes(path.read_bytes()[:-7])
    assert len(read_scalars(tmp_path)["loss"]) == 10_099
    assert read_scalars(tmp_path / "nowhere") == {}


def test_best_epoch() -> None:
    curves = {
        "val/mae": pd.DataFrame({"step": [9, 19, 29, 39], "value": [3.0, 1.0, np.nan, 1.0]}),
        "epoch": pd.DataFrame({"step": [9, 19, 29, 39], "value": [0.0, 1.0, 2.0, 3.0]}),
    }
    assert best_point(curves, "val/mae", "min") == (19, 1.0, 2)
    assert best_point(curves, "val/mae", "max") == (9, 3.0, 1)
    assert best_point(curves, "val/loss", "min") is None


def titles(figure: Figure) -> str:
    texts = [axes.get_title(loc="left") for axes in figure.axes] + [figure.get_supxlabel()]
    return " | ".join(" ".join(text.split()) for text in texts)  # long captions are wrapped


@pytest.mark.parametrize(("n_groups", "per_group"), [(1, 1), (1, 30), (10, 20), (45, 1), (45, 200)])
def test_regression_figures_of_any_size(tmp_path: Path, n_groups: int, per_group: int) -> None:
    table = predictions("test", [f"_{i}$" for i in range(n_groups)], per_group, 3.0, 0)
    entry = {"value": 3.21, "low": 2.5, "high": 4.0, "unit": "um"}
    spec = {"unit": "um", "step": 2.0}
    p = Predictions.of(table, "distance", spec, "test", entry, synthetic=True)
    for drawing in FIGURES["regression"].of(p):
        figure = drawing.draw(p)
        assert "generated sample" in titles(figure)
        assert save(figure, tmp_path / f"{drawing.key}.png").stat().st_size > 5000
    assert "MAE 3.2 µm [2.5, 4.0]" in titles(FIGURES["regression"].drawings[0].draw(p))


def test_values_that_are_not_finite_are_named(run: Path) -> None:
    table = pd.read_csv(run / "predictions" / "test.csv")
    table.loc[:2, "distance_pred"] = np.nan
    p = Predictions.of(table, "distance", {"unit": "um"}, "test", {}, synthetic=False)
    assert "3 values not finite, not drawn" in p.caption
    with pytest.raises(ValueError, match="no sample has a finite"):
        Predictions.of(table[:3], "distance", {"unit": "um"}, "test", {}, synthetic=False)


def test_figures_while_training() -> None:
    true = np.linspace(0, 9, 20)[:, None].repeat(2, axis=1)
    rows = np.hstack([true, true + 1])
    spec = {"columns": ["a", "b"], "unit": "um"}
    figures = validation_figures("regression", rows, spec, "generated sample")
    assert set(figures) == {f"{c}_{k}" for c in "ab" for k in ("scatter", "errors", "by_value")}
    assert "MAE 1.00 µm" in titles(figures["a_scatter"])
    assert "generated sample" in titles(figures["a_scatter"])
    assert validation_figures("unheard", rows, spec, "x") == {}


def test_figures_without_anything_to_draw() -> None:
    with pytest.raises(ValueError, match="no loss"):
        training_curves({}, "val/mae")
    with pytest.raises(ValueError, match="fewer than two"):
        learning_rate_finder(pd.DataFrame({"lr": [1.0], "loss": [1.0]}), 1.0)


def test_stretch_and_mosaics() -> None:
    image = np.arange(10000, dtype=np.uint16).reshape(100, 100, 1)
    shown = stretch(image)
    assert shown.shape == (100, 100)
    assert (shown == 0).mean() == pytest.approx(0.01, abs=0.001)
    assert (shown == 1).mean() == pytest.approx(0.01, abs=0.001)
    assert (stretch(np.full((4, 4, 3), 7, np.uint8)) == 0.5).all()
    assert stretch(np.full((4, 4, 4), np.nan, np.float32)).shape == (4, 4, 3)
    with pytest.raises(ValueError, match="H x W x C"):
        stretch(np.zeros((4, 4)))
    assert "generated sample" in titles(examples([image, image], ["a", "b"], "generated sample"))
    assert "first 3 of 5 channels" in titles(examples([np.zeros((4, 4, 5), np.uint8)], ["a"]))
    with pytest.raises(ValueError, match="found 1 and 2"):
        examples([image], ["a", "b"])


def test_best_and_worst_are_asked_for_only() -> None:
    asked = []

    class Lazy:
        def __getitem__(self, index: int, /) -> np.ndarray:
            asked.append(index)
            return np.zeros((8, 8, 1), np.uint8)

    true, pred = np.zeros(100), np.arange(100.0)
    figure = best_worst(Lazy(), true, pred, [str(i) for i in range(100)], "um", k=2)
    assert asked == [0, 1, 99, 98]
    assert isinstance(figure, Figure)
    assert pick_best_worst([0, 0, 0], [1, np.nan, 2], k=6) == ([0, 2], [1])
    assert pick_best_worst([0], [1]) == ([0], [])


def test_captioned_pictures_of_one_head_have_one_size() -> None:
    image = np.zeros((40, 50, 1), np.uint8)
    a = captioned(image, "true 1 predicted 2 um")
    b = captioned(image, "true -1234.5678 predicted 2345678.9 um and some more words to make it long")
    assert a.shape == b.shape == (7 * 40 + 24, 7 * 50, 3)
    assert (a[300:] < 128).any()


def test_numbers_in_words() -> None:
    assert measure({"value": 6.3214, "low": 5.1, "high": 12.34, "unit": "um"}) == "6.3 µm [5.1, 12.3]"
    assert measure({"value": None}) == "undefined"
    assert (digits(-0.2), digits(0.0), digits("6"), digits(float("nan"))) == ("−0.200", "0.00", "–", "–")
    assert (digits(1234.6), digits(2.5e-6), digits(-0.001, 1)) == ("1235", "2.50e-06", "0.0")
    assert (duration(3723), duration(59.7), duration(None)) == ("1 h 02 min", "1 min 00 s", "–")
    assert (size(512), size(18_400_000), size(1e15)) == ("512 B", "18.4 MB", "1000 TB")


def test_settings_that_differ() -> None:
    a = {"seed": 0, "optimizer": {"lr": 1e-3, "betas": [0.9, 0.99]}, "task": "focus"}
    b = {"seed": 1, "optimizer": {"lr": 1e-3, "betas": [0.9, 0.99], "eps": 1e-8}, "task": "focus"}
    assert differing_settings([a, b]) == [("seed", ["0", "1"]), ("optimizer.eps", ["–", "1e-08"])]


@pytest.fixture(scope="module")
def runs(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("sweep")
    shutil.copytree(run, parent / "0_resnet34")
    make_run(parent / "1_resnet18", noise=9, seed=0, model="resnet18", lr=1e-4)
    return parent


def test_comparison(runs: Path) -> None:
    out = compare([runs / "0_resnet34", runs / "1_resnet18"])
    assert out == runs / "comparison.html"
    page = out.read_text(encoding="utf-8")
    assert requests(page) == []
    assert "<script" not in page
    best = json.loads((runs / "0_resnet34" / "metrics.json").read_text())["test/distance/mae"]
    assert f'<td class="num best">{value(best)}<br><span class="small light">{interval(best)}</span></td>' in page
    for text in (
        "0_resnet34",
        "1_resnet18",
        "From as few groups as",
        "optimizer.lr",
        "0.0001",
        "l1",
        "generated sample",
    ):
        assert text in page
    assert page.count("data:image/png;base64,") == len(METRICS["regression"]) + 1


def test_runs_tested_on_different_groups_have_no_best(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "runs")
    splits = json.loads((copy / "0_resnet34" / "splits.json").read_text())
    write_json(copy / "0_resnet34" / "splits.json", {**splits, "test": ["other"]})
    page = compare([copy / "0_resnet34", copy / "1_resnet18"]).read_text(encoding="utf-8")
    assert "tested on different groups" in page
    assert '<td class="num best">' not in page


def test_runs_of_other_classes_have_no_best(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "runs")
    about = json.loads((copy / "0_resnet34" / "run.json").read_text())
    about["heads"]["distance"]["columns"] = ["other"]
    write_json(copy / "0_resnet34" / "run.json", about)
    page = compare([copy / "0_resnet34", copy / "1_resnet18"]).read_text(encoding="utf-8")
    assert "different columns of distance" in page
    assert '<td class="num best">' not in page


def command(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["visionlab.report", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
    return int(exit_.value.code or 0)


def test_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = runs / "0_resnet34" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.touch()
    assert command(str(checkpoint)) == 0
    assert capsys.readouterr().out == f"{runs / '0_resnet34' / 'report.html'}\n"
    (runs / "0_resnet34" / ".hydra").mkdir(exist_ok=True)
    (runs / "0_resnet34" / ".hydra" / "config.yaml").touch()
    out = tmp_path / "two.html"
    assert command(str(runs), str(runs / "0_resnet34"), "--out", str(out)) == 0  # each run once
    assert "2 runs" in out.read_text(encoding="utf-8")


def test_command_names_mistakes(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(runs / "0_resnet43")) == 2
    assert f"Did you mean '{runs / '0_resnet34'}'?" in capsys.readouterr().err
    assert command(str(tmp_path)) == 2
    assert "no config.yaml in or below" in capsys.readouterr().err
    assert command(str(runs / "0_resnet34"), "--out", "x.html") == 2
    assert "expected several runs" in capsys.readouterr().err
    assert command(str(runs), "--out", str(tmp_path)) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert command() == 2
    assert command("--hlep") == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.chromium
def test_browser_shows_the_report_without_complaint(run: Path, page: str, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium")
    with tempfile.TemporaryDirectory() as profile:
        picture = tmp_path / "report.png"
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--hide-scrollbars",
        ]
        options += [f"--user-data-dir={profile}", f"--screenshot={picture}", "--window-size=1200,5000"]
        shown = [chromium, *options, "--enable-logging=stderr", (run / "report.html").resolve().as_uri()]
        result = subprocess.run(shown, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in result.stderr  # the page's own security policy forbids nothing that the page needs
    assert len(np.unique(np.asarray(Image.open(picture).convert("L")))) > 50
