"""Reports of runs, of data and of several runs, from folders made here without training anything."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests import shell
from tests.reports.tables import EVIL, SPECS, check_readable, make_run, requests, write_events
from visionlab.data.blocks import LEAKS as DATA_LEAKS
from visionlab.errors import DataError
from visionlab.files import write_json
from visionlab.heads.figures import figures_of
from visionlab.reports import compare, write_data_report, write_report
from visionlab.reports.comparison import differing_settings
from visionlab.reports.curves import best_point, learning_rate_finder, training_curves
from visionlab.reports.facts import verdict
from visionlab.reports.page import MAX_ANIMATION
from visionlab.reports.run import LEAKS, Run, read_run, read_scalars


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of each kind, their reports written."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in SPECS:
        write_report(make_run(folder / kind, kind))
    return folder


def copy(runs: Path, tmp_path: Path, kind: str = "regression") -> Path:
    return Path(shutil.copytree(runs / kind, tmp_path / "run"))


def change(path: Path, **content: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **content})


def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", list(SPECS))
def test_the_report_of_every_kind_is_whole_and_asks_for_nothing(runs: Path, kind: str) -> None:
    run = runs / kind
    text = (run / "report.html").read_text(encoding="utf-8")
    assert requests(text) == []
    assert "<script" not in text and "Not available" not in text
    figures = figures_of(kind)
    held = {base64.b64decode(code) for code in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)}
    drawn = {path.stem: path.read_bytes() for path in (run / "plots").iterdir()}
    name = "head" if kind == "multilabel" else SPECS[kind]["columns"][0]
    expected = {f"test_{name}_{key}" for key in figures.drawings} | set(figures.pictures)
    assert set(drawn) - {"targets_head"} == expected | {"training", "lr_find", "examples"}
    assert set(drawn.values()) <= held
    for words in ("95% interval [0.30, 0.50]", "generated sample", "21,278,913 parameters", "1:02:03", "18.4 MB"):
        assert words in text
    text = text.replace("&#39;", "'")
    assert figures.baseline[1:] in text
    for words in ("2.12.0", "python -m visionlab.train task=focus", "--with background=BACKGROUNDS"):
        assert words in text
    assert "as few groups as 4 (test)" in text
    assert ("Classes: predictions/test_classes.csv" in text) == (kind == "multilabel")


def test_everything_from_the_run_folder_is_escaped(runs: Path, tmp_path: Path) -> None:
    run = copy(runs, tmp_path, "mask")
    for path in [*run.glob("*.json"), *run.glob("*.csv"), *run.glob("predictions/*.csv")]:
        evil = json.dumps(EVIL)[1:-1] if path.suffix == ".json" else EVIL
        content = path.read_text()
        for text in ("_group 0", "cpu", "by group", "2.12.0", "a note", "resnet34"):
            content = content.replace(text, evil)
        path.write_text(content)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["task"] = config["monitor"] = EVIL
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    text = page(run)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 6
    assert requests(text) == []
    assert "<script" not in compare([run, runs / "mask"], tmp_path / "two.html").read_text(encoding="utf-8")


def test_files_may_be_missing(runs: Path, tmp_path: Path) -> None:
    run = copy(runs, tmp_path)
    missing = {"status.json", "metrics.json", "predictions/test.csv", "plots/best_worst.png", "data_index.csv"}
    for name in (*missing, "lr_find.csv"):
        (run / name).unlink()
    gaps = set(re.findall("<strong>(.*?)</strong>", page(run)))
    assert missing <= gaps
    assert re.search(r"<pre>python -m visionlab\.resume \S+run</pre>", page(run))
    assert "lr_find.csv" not in gaps  # only a run that searched for a rate has it
    for path in run.iterdir():
        if path.name not in ("config.yaml", "predictions", "plots"):
            path.unlink()
    assert "Metrics: not available. the file cannot be read" in page(run)
    for content in ("[1]", "a: ["):
        (run / "config.yaml").write_text(content)
        with pytest.raises(DataError, match=r"no config\.yaml of a run"):
            write_report(run)


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2]",
        '{"splits": [], "test": 3, "heads": 7, "n": "x"}',
        '{"heads": {"a": {"kind": "mask", "columns": 3, "metrics": 5}}, "splits": {"train": {"targets": 1}}}',
        '{"heads": {"a": {"kind": "a kind of tomorrow", "columns": ["a"]}}, "labels": 5}',
    ],
)
def test_files_in_another_form_do_not_stop_the_report(runs: Path, tmp_path: Path, content: str) -> None:
    run = copy(runs, tmp_path)
    for path in [*run.glob("*.json"), *run.glob("*.csv"), *run.glob("*/*.csv"), *run.glob("*/*.png"), *run.glob("ev*")]:
        path.write_text(content)
    assert {"Key result", "Training curves"} <= set(re.findall(r">([\w ]+): not available", page(run)))


def test_entries_in_another_form_cost_only_what_they_are_of(runs: Path, tmp_path: Path) -> None:
    run = copy(runs, tmp_path)
    entry = json.loads((run / "metrics.json").read_text())["test/head/mae"]
    unread = {**{key: x for key, x in entry.items() if key != "better"}, "groups": 3}
    one = {**entry, "groups": 1}
    metrics = {
        "test/head/mae": entry,
        "test/head/rmse": unread,
        "exam/head/mae": unread,
        "test/head/sign_accuracy": one,
    }
    write_json(run / "metrics.json", metrics)
    change(run / "splits.json", train=3)
    (run / "predictions" / "mine.csv").write_bytes(b"\xff")
    text = page(run)
    assert "root mean square error" in text
    for words in ("generated sample: the figures", "as few groups as 4 (test) and 3 (exam)", "check shared_groups"):
        assert words in text
    assert "all of one group" not in text and "mine.csv" not in text


def test_a_large_animation_is_left_out(runs: Path, tmp_path: Path) -> None:
    run = copy(runs, tmp_path, "instances")
    (run / "plots" / "volume.gif").write_bytes(b"GIF89a" + bytes(MAX_ANIMATION))
    assert "too much for this page" in page(run)
    (run / "plots" / "volume.gif").write_bytes(b"GIF89a")
    assert "data:image/gif;base64," in page(run)


def test_what_to_know_before_use(runs: Path, tmp_path: Path) -> None:
    run = copy(runs, tmp_path)
    change(run / "status.json", state="interrupted", epoch=7, message="stopped by Ctrl-C")
    entry = json.loads((run / "metrics.json").read_text())["test/head/mae"]
    one = {**entry, "groups": 1, "low": None, "high": None}
    write_json(run / "metrics.json", {"test/head/mae": one, "test/head/r2": {**one, "value": None}})
    change(run / "splits.json", source=f"{LEAKS}slices at random", val=["c", "a"])
    parts = json.loads((run / "data_card.json").read_text())["splits"]
    parts["test"]["targets"] = {"depth": {"min": -9.5, "max": 13.0}}
    change(run / "data_card.json", splits=parts)
    assert LEAKS == DATA_LEAKS
    text = page(run)
    for words in (
        "interrupted after 7 full epochs",
        "<pre>python -m visionlab.resume R</pre>",
        "stopped by Ctrl-C",
        "all of one group: there is no interval",
        "undefined",
        "with one group nothing says how certain",
        "THIS SPLIT LEAKS: slices at random.",
        "but whose neighbours it did",
        '<li class="leak">LEAKS: 1 group in both the validation and the training split: a.',
        "Test values of depth go from −9.50 to 13.0, but training only saw −9.00 to 9.00",
        "Undefined: test/head/r2 (",
    ):
        assert words in text
    assert text.count("too good") >= 2
    assert "LEAKS" in compare([run, runs / "regression"], tmp_path / "two.html").read_text()


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"value": 5.0, "low": 4.0, "high": 6.0, "baseline": 30.0, "unit": "um"}, "good"),
        ({"value": 25.0, "low": 15.0, "high": 35.0, "baseline": 30.0, "unit": "um"}, "unsure"),
        ({"value": 5.0, "low": None, "high": None, "baseline": 30.0, "unit": "um"}, "unsure"),
        ({"value": 31.0, "low": 29.0, "high": 35.0, "baseline": 30.0, "unit": "um"}, "bad"),
        ({"value": 0.0, "low": 0.0, "high": 0.0, "baseline": 30.0, "unit": "um"}, "good"),
        ({"value": 0.9, "low": 0.8, "high": 0.95, "baseline": 0.5, "better": "max"}, "good"),
        ({"value": 0.9, "low": 0.4, "high": 0.95, "baseline": 0.5, "better": "max"}, "unsure"),
        ({"value": 0.4, "low": 0.3, "high": 0.5, "baseline": 0.5, "better": "max"}, "bad"),
        ({"value": 0.4}, "unsure"),
    ],
)
def test_the_verdict_is_honest(entry: dict[str, Any], key: str) -> None:
    assert verdict(entry, figures_of("mask"), "IoU")[1] == key


# Curves -------------------------------------------------------------------------------------------------------------


def test_resumed_curves_supersede_keep_every_value_and_survive_a_cut_file(tmp_path: Path) -> None:
    write_events(tmp_path, {"loss": [(1, 5.0), (2, 4.0), (3, 9.0)]}, start=1e9, name=".a")
    write_events(tmp_path / "version_1", {"loss": [(3, 3.0), (4, 2.0)]}, start=2e9, name=".b")
    curve = read_scalars(tmp_path)["loss"]
    assert curve.to_numpy().tolist() == [[1, 5.0], [2, 4.0], [3, 3.0], [4, 2.0]]
    many = tmp_path / "many"
    write_events(many, {"loss": [(step, float(step)) for step in range(10_100)]})  # TensorBoard keeps 10,000
    path = next(many.glob("events*"))
    path.write_bytes(path.read_bytes()[:-7])
    assert len(read_scalars(many)["loss"]) == 10_099
    assert read_scalars(tmp_path / "nowhere") == {}


def test_the_best_epoch_is_marked(runs: Path, tmp_path: Path) -> None:
    numbers = {
        "val/mae": [3.0, 1.0, float("nan"), 1.0],
        "epoch": [0.0, 1.0, 2.0, 3.0],
        "val/loss": [1.0, 0.1, 0.05, 0.01],
    }
    curves = {tag: pd.DataFrame({"step": [9, 19, 29, 39], "value": values}) for tag, values in numbers.items()}
    assert best_point(curves, "val/mae", "min") == (19, 1.0, 2)
    assert best_point(curves, "val/mae", "max") == (9, 3.0, 1)
    assert best_point(curves, "val/none", "min") is None
    figure = training_curves(Run(tmp_path, {"monitor": "val/mae", "mode": "min"}, curves=curves))
    check_readable(figure, tmp_path / "one.png")
    assert figure.get_suptitle() == "Training: best val/mae 1.00 in epoch 2"
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "val/mae"]
    assert figure.axes[0].get_yscale() == "log"
    check_readable(learning_rate_finder(read_run(runs / "mask")), tmp_path / "two.png")


# Several runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one head, the second better, with other settings."""
    folder = tmp_path_factory.mktemp("pair")
    make_run(folder / "old", "instances", loss="l1")
    make_run(folder / "new", "instances", better=0.05, optimizer={"lr": 1e-4}, loss={"bce": 1, "dice": 0.5})
    return folder


def test_comparison(pair: Path) -> None:
    out = compare([pair / "old", pair / "new"])
    assert out == pair / "comparison.html"
    text = out.read_text(encoding="utf-8")
    assert requests(text) == []
    assert '<td class="best nowrap">★ 0.45 [0.30, 0.50]</td>' in text
    for words in ("optimizer.lr", "0.0001", "generated sample", "From as few groups as", "different losses"):
        assert words in text
    assert "The same images, run by run" in text
    assert len(re.findall("data:image/png;base64,", text)) == 3, "the slices of both runs, and curves"
    a, b = {"seed": 0, "optimizer": {"lr": 1}}, {"seed": 1, "optimizer": {"lr": 1, "eps": 1e-8}}
    assert differing_settings([a, b]) == [("seed", ["0", "1"]), ("optimizer.eps", ["–", "1e-08"])]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("splits.json", {"test": ["other"]}, "tested on different groups"),
        ("run.json", {"heads": {"head": {"kind": "mask", "columns": ["other"]}}}, "different columns of head"),
        ("run.json", {"synthetic": False, "data": "elsewhere"}, "of different data"),
        ("status.json", {"state": "failed"}, "failed"),
    ],
)
def test_what_cannot_be_compared_has_no_best(pair: Path, tmp_path: Path, file: str, content: Any, words: str) -> None:
    runs = Path(shutil.copytree(pair, tmp_path / "runs"))
    change(runs / "old" / file, **content)
    text = compare([runs / "old", runs / "new"]).read_text(encoding="utf-8")
    assert words in text
    assert ("★ 0" in text) == (file == "status.json")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("run.json", {"heads": {"head": {"kind": "instances", "columns": 3}}}, "0.45 [0.30, 0.50]"),
        ("run.json", {"heads": {"head": {"kind": "instances"}, "x": {"kind": []}}}, "0.45 [0.30, 0.50]"),
        ("splits.json", {"test": 3}, "Splits: not available"),
        ("metrics.json", {"test/head/iou": {"value": 0.4}, "test/head/x": {"better": 7, "value": 1}}, "<th>Run</th>"),
        ("plots/slices.png", None, "data:image/png"),
    ],
)
def test_files_in_another_form_do_not_stop_the_comparison(
    pair: Path, tmp_path: Path, file: str, content: Any, words: str
) -> None:
    runs = Path(shutil.copytree(pair, tmp_path / "runs"))
    for run in (runs / "old", runs / "new") if file != "plots/slices.png" else (runs / "old",):
        change(run / file, **content) if content else (run / file).write_text("no picture")
    text = compare([runs / "old", runs / "new"]).read_text(encoding="utf-8")
    assert words in text and "Settings that differ" in text
    assert "From as few groups as 4 (test)" in text or file == "metrics.json"


# The data before training, and commands -----------------------------------------------------------------------------


def test_the_report_of_prepared_data(runs: Path, tmp_path: Path) -> None:
    run = copy(runs, tmp_path, "multilabel")
    for name in ("config.yaml", "report.html"):
        (run / name).unlink()
    (run / "problems.csv").write_text("path,severity,what,advice\na.png,warning,is small,look at it\n")
    with pytest.raises(DataError, match=r"visionlab\.prepare writes"):
        write_data_report(tmp_path)
    change(run / "run.json", task="focus", train="python -m visionlab.train data.split_file=s.json")
    text = write_data_report(run).read_text()
    assert requests(text) == []
    for words in ("look at it", "data.split_file=s.json", "a note", "Classes of head", "by group"):
        assert words in text


def test_command(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = Path(shutil.copytree(pair, tmp_path / "runs"))
    checkpoint = runs / "old" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    assert shell.run("report", checkpoint) == 0
    assert capsys.readouterr().out == f"{runs / 'old' / 'report.html'}\n"
    (runs / "old" / ".hydra").mkdir()
    (runs / "old" / ".hydra" / "config.yaml").touch()
    out = tmp_path / "two.html"
    assert shell.run("report", runs, runs / "old", "--out", out) == 0  # each run once
    assert "2 runs" in out.read_text(encoding="utf-8")
    for arguments, words in (
        ((runs / "olt",), f"Did you mean '{runs / 'old'}'?"),
        ((runs / "old" / "plots",), "no config.yaml in or below"),
        ((runs / "old", "--out", "x.html"), "expected several runs"),
    ):
        assert shell.run("report", *arguments) == 2
        assert words in capsys.readouterr().err
    assert shell.run("report", runs, "--out", tmp_path) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.chromium
def test_a_browser_shows_the_report_without_complaint(runs: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        options += [f"--user-data-dir={profile}", f"--screenshot={tmp_path / 'a.png'}", "--enable-logging=stderr"]
        shown = [chromium, *options, (runs / "multilabel" / "report.html").resolve().as_uri()]
        result = subprocess.run(shown, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in result.stderr  # the page's own security policy forbids nothing that the page needs
