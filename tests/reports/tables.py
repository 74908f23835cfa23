"""Tables as a run leaves them, of each kind of head, and what a person must be able to read of any figure."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from visionlab.drawing import style
from visionlab.drawing.style import save
from visionlab.files import write_json
from visionlab.heads import KINDS
from visionlab.heads.figures import HeadTables, figures_of

N = 60
SPECS: dict[str, dict[str, Any]] = {
    "regression": {"columns": ["depth"], "unit": "um", "metrics": ["mae"]},
    "mask": {"columns": ["head"], "unit": "", "metrics": ["iou"]},
    "depth": {"columns": ["head"], "unit": "m", "metrics": ["mae"]},
    "multilabel": {
        "columns": ["Nucleoplasm", "Golgi apparatus", "Rods & rings"],
        "unit": "",
        "metrics": ["f1_macro"],
        "thresholds": [0.5, 0.3, None],
        "fitted": True,
        "method": "f1",
        "positives": [30, 9, 0],
    },
    "instances": {
        "columns": ["head"],
        "unit": "",
        "metrics": ["iou", "f1"],
        "dimensions": 3,
        "fitted": True,
        "parameters": {"threshold": 0.41, "min_planes": 2},
    },
}
"""Kind of a head -> what run.json says of it."""


def spec(kind: str, **other: Any) -> dict[str, Any]:
    return {"kind": kind, **SPECS[kind], **other}


def tables(kind: str, n: int = N, groups: int = 4, **other: Any) -> HeadTables:
    """Return tables of ``n`` samples with numbers that are the same each time."""
    rng, about = np.random.default_rng(3), spec(kind, **other)
    group = np.array([f"_group {i % groups} with a long name $x$" for i in range(n)])
    table = pd.DataFrame({"id": [f"{i:03}" for i in range(n)], "group": group, "split": "test", "path": "a.png"})
    frames = None
    if kind == "regression":
        for column in about["columns"]:
            table[f"{column}_true"] = rng.uniform(-9, 9, n)
            table[f"{column}_pred"] = table[f"{column}_true"] + rng.normal(1, 0.5, n)
        table["sequence"], table["time"] = group, np.arange(n) // groups
    elif kind == "multilabel":
        for k, name in enumerate(about["columns"]):
            true = rng.random(n) < (0.6, 0.2, 0.0)[k]
            score = np.clip(0.6 * true + rng.uniform(0, 0.4, n), 0, 1)
            made = score >= (about["thresholds"][k] or 2)
            table[f"{name}_true"], table[f"{name}_score"], table[f"{name}_pred"] = true * 1, score, made * 1
    else:
        table[f"head_{about['metrics'][0]}"] = rng.uniform(0.2, 0.9, n)
    if kind == "instances":
        table["z"], table["time"] = np.arange(n) % 6, np.arange(n) // 6
        counts = np.arange(10) + 5
        frames = pd.DataFrame({"frame": [f"t{i}" for i in range(10)], "group": "a", "sequence": "01"})
        frames = frames.assign(time=np.arange(10), objects_true=counts, objects_pred=counts + 1)
        frames = frames.assign(f1=0.9, seg=0.8, det=0.7)
    return HeadTables("head", about, "test", table, {}, "generated sample", frames)


def check_readable(figure: Figure, path: Path) -> None:
    """Save a figure and check that matplotlib could lay it out, and that no text lies on another or is cut off."""
    drawn: dict[Text, None] = {}
    draw = Text.draw

    def noted(self: Text, renderer: Any, *args: Any, **options: Any) -> None:
        drawn[self] = None
        draw(self, renderer, *args, **options)

    with warnings.catch_warnings(), mock.patch.object(Text, "draw", noted):
        warnings.simplefilter("error")
        save(figure, path)
    assert path.stat().st_size > 2000
    width, height = figure.canvas.get_width_height()
    boxes = [line for text in drawn for line in _lines(text)]
    for i, (one, a) in enumerate(boxes):
        assert min(a.x0, a.y0) >= -3, f"cut off: {one!r}"
        assert a.x1 <= width + 3 and a.y1 <= height + 3, f"cut off: {one!r}"
        for other, b in boxes[i + 1 :]:
            across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert across < 6 or down < 6, f"on each other: {one!r}, {other!r}"


EVIL = "<script>alert(1)</script> $\\frac{"


def _lines(text: Text) -> list[tuple[str, Bbox]]:
    """Return each line of a text and the box that it takes."""
    lines, box = text.get_text().split("\n"), text.get_window_extent()
    if len(lines) == 1 or text.get_rotation():
        return [(text.get_text(), box)] if text.get_text().strip() else []
    found = []
    for i, line in enumerate(lines):
        one = Text(text=line, fontproperties=text.get_fontproperties(), figure=text.figure)
        wide, high = one.get_window_extent().width, box.height / len(lines)
        found.append((line, Bbox.from_bounds(box.x0, box.y1 - (i + 1) * high, wide, high)))
    return [(line, box) for line, box in found if line.strip()]


def make_run(path: Path, kind: str = "regression", *, better: float = 0.0, **settings: Any) -> Path:
    """Write the folder of a finished run with one head of a kind, as training does; ``better``: than another one."""
    t, figures = tables(kind), figures_of(kind)
    groups = sorted(set(t.table["group"]))
    splits = {"train": ["a", "b"], "val": ["c"], "test": groups}
    config = {
        "task": "focus",
        "loss": {"_target_": "visionlab.losses.elementwise.l1"},
        "optimizer": {"lr": 1e-3},
        "monitor": f"val/head/{figures.key}",
        "mode": KINDS[kind].metrics[figures.key].better,
        "data": {"inputs": ["image", "background"]},
        **settings,
    }
    info = {
        "command": "python -m visionlab.train task=focus",
        "data": "generated sample",
        "model": "resnet34",
        "synthetic": True,
        "versions": {"visionlab": "0.1.0", "torch": "2.12.0"},
        "parameters": 21278913,
        "heads": {"head": t.spec},
        "seconds": 3723.0,
        "device": "cpu",
    }
    entry = {"low": 0.3, "high": 0.5, "unit": t.unit, "n": N, "groups": len(groups), "data": "generated sample"}
    metrics = {}
    for name in t.spec["metrics"]:
        rising = KINDS[kind].metrics[name].better == "max"
        of = {"value": 0.4 + (better if rising else -better), "baseline": 0.1 if rising else 0.9}
        metrics[f"test/head/{name}"] = {**entry, **of, "better": KINDS[kind].metrics[name].better}
        metrics[f"val/head/{name}"] = {**metrics[f"test/head/{name}"], "groups": 30}
    column = f"head_{t.spec['metrics'][0]}"
    table = t.table.assign(**{column: t.table[column] + better}) if column in t.table else t.table
    targets = {"depth": {"min": -9.0, "max": 9.0, "mean": 0.0, "std": 5.0}} if kind == "regression" else {}
    part = {"samples": 20, "groups": ["a"], "images": {"min": 3, "max": 251, "mean": 104.2, "std": 33.1}}
    labels = {name: {"train": 9, "val": 3, "test": 0} for name in t.columns}
    card = {
        "n": 60,
        "bytes": 18_400_000,
        "shapes": {"128x128": 60},
        "notes": ["a note"],
        "splits": {split: {**part, "groups": names, "targets": targets} for split, names in splits.items()},
        "labels": {"head": labels} if kind == "multilabel" else {},
    }
    index = table[["id", "group", "path"]].assign(split=["train", "val", "test"] * (N // 3), hash="b2b7")
    index["depth" if kind == "regression" else "head_share"] = np.arange(N) / N
    status = {"state": "finished", "epoch": 3, "step": 30, "message": "", "resume": "python -m visionlab.resume R"}
    (path / "plots").mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    named = {"run": info, "metrics": metrics, "data_card": card, "status": status}
    for name, content in {**named, "splits": {**splits, "source": "by group"}}.items():
        write_json(path / f"{name}.json", content)
    index.to_csv(path / "data_index.csv", index=False)
    (path / "predictions").mkdir()
    classes = pd.DataFrame({"class": t.columns, "threshold": 0.5}) if kind == "multilabel" else None
    for ending, rows in (("", table), ("_classes", classes), ("_frames", t.frames)):
        if rows is not None:
            rows.to_csv(path / "predictions" / f"test{ending}.csv", index=False)
            rows.to_csv(path / "predictions" / f"val{ending}.csv", index=False)
    pd.DataFrame({"lr": np.geomspace(1e-6, 1, 30), "loss": np.linspace(1, 0.2, 30)}).to_csv(
        path / "lr_find.csv", index=False
    )
    fall = [(step, 0.9 * 0.9**step) for step in range(30)]
    of_heads = {"train/head/loss_epoch": fall, "val/head/loss": fall, "val/other/loss": fall}
    tags = {"train/loss": fall, "val/loss": fall[::10], f"val/head/{figures.key}": fall[::10], "lr": fall, **of_heads}
    write_events(path, {**tags, "epoch": [(step, step // 10) for step in range(30)]})
    figure = style.new(4, 3)
    figure.subplots()
    for name in ("examples", *figures.pictures):
        save(figure, path / "plots" / f"{name}.png")
    return path


def write_events(folder: Path, tags: dict[str, list[tuple[int, float]]], start: float = 1e9, name: str = "") -> None:
    """Write event files as TensorBoard does: tag -> steps and values."""
    writer = EventFileWriter(str(folder), filename_suffix=name)
    for tag, points in tags.items():
        for i, (step, point) in enumerate(points):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=point)])
            writer.add_event(Event(wall_time=start + i, step=step, summary=summary))
    writer.close()


def requests(page: str) -> list[str]:
    """Return what a browser would fetch for this page."""
    found = re.findall(r"""(?:src|href|action|data|poster|srcset)\s*=\s*["']?([^"'\s>]+)""", page)
    found += re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", page)
    return [str(link) for link in found if not str(link).startswith("data:image/png;base64,")]
