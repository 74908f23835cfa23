"""``predict`` on the command line: what it finds, what it writes, and what it says of files that cannot be used."""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

import visionlab
from tests import shell
from visionlab.errors import UsageError, UserError
from visionlab.inference.files import find_images
from visionlab.inference.predictor import Predictor
from visionlab.inference.tables import write_predictions

Write = Callable[[Path, object], None]
GRAY = np.arange(100, dtype=np.uint8).reshape(10, 10)


@pytest.fixture(scope="module")
def predictor(tiny_run: Path) -> Predictor:
    loaded: Predictor = visionlab.load(tiny_run, device="cpu")
    return loaded


@pytest.fixture
def folder(tmp_path: Path, write_png: Write) -> Path:
    """Two plates of two images each, in a folder with other things."""
    for name in ("plate1/a.png", "plate1/b.PNG", "plate2/c.png", "plate2/deep/d.png", ".hidden/e.png", "plate1/.f.png"):
        write_png(tmp_path / "scans" / name, GRAY)
    (tmp_path / "scans" / "notes.txt").write_text("text")
    return tmp_path / "scans"


def names(*inputs: object) -> list[str]:
    return [path.name for path in find_images([str(item) for item in inputs])]


# What is written ----------------------------------------------------------------------------------------------------


def test_the_table_is_what_python_predicts_and_what_the_run_tested(
    predictor: Predictor, tiny_run: Path, focus_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert shell.run("predict", tiny_run, focus_root, "--out", out, "--device", "cpu") == 0
    assert capsys.readouterr().out == f"42 images predicted: {out / 'predictions.csv'}\n"
    text = (out / "predictions.csv").read_bytes()
    assert text.startswith(b"path,name,value,unit\n")
    assert b"\r" not in text
    table = pd.read_csv(out / "predictions.csv")
    assert len(table) == 42
    assert set(table["name"]) == {"distance"}
    assert set(table["unit"]) == {"um"}
    for row in table.iloc[::7].itertuples():
        assert predictor.predict(str(row.path)).distance == pytest.approx(row.value, abs=1e-5)
    tested = pd.read_csv(tiny_run / "predictions" / "test.csv")
    found = table.set_index("path")["value"].reindex([str(focus_root / path) for path in tested["path"]])
    np.testing.assert_allclose(found.to_numpy(), tested["distance_pred"].to_numpy(), atol=1e-5)
    assert sorted(path.name for path in out.iterdir()) == ["predictions.csv"]


@pytest.fixture
def bad_files(tmp_path: Path, focus_root: Path) -> Path:
    """A folder with one good file and one of each kind of bad ones."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = min((focus_root / "images").iterdir())
    shutil.copy(good, folder / "good.png")
    (folder / "cut.png").write_bytes(good.read_bytes()[:150])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no image")
    tifffile.imwrite(folder / "nan.tif", np.full((32, 32), np.nan, np.float32))
    tifffile.imwrite(folder / "float.tif", np.ones((32, 32), np.float32))
    rng = np.random.default_rng(0)
    tifffile.imwrite(folder / "five.tif", rng.integers(0, 255, (32, 32, 5), np.uint8), planarconfig="contig")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    return folder


def test_bad_files_are_named_and_the_rest_is_done(
    bad_files: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    out = tmp_path / "out"
    assert shell.run("predict", tiny_run, bad_files, "--out", out) == 1
    assert pd.read_csv(out / "predictions.csv")["path"].tolist() == [str(bad_files / "good.png")]
    failed = pd.read_csv(out / "failed.csv").set_index("path")["reason"]
    expected = {
        "cut.png": "truncated",
        "empty.png": "0 bytes",
        "text.png": "found text",
        "nan.tif": "1024 values are NaN",
        "float.tif": "expected uint8 values",
        "five.tif": "holds the channels 0, 1, 2, 3, 4, which are no colours",
        "gone.png": "cannot be read",
    }
    assert set(failed.index) == {str(bad_files / name) for name in expected}
    for name, reason in expected.items():
        path = str(bad_files / name)
        assert reason in failed[path]
        # The reason on the screen names the file, the one in the table stands beside it.
        assert f"{path}: {failed[path]}" in caplog.text
    said = capsys.readouterr()
    assert said.out.startswith("1 images predicted")
    assert f"error: 7 of 8 files could not be predicted; see {out / 'failed.csv'}" in said.err
    # Nothing of it is left when the next prediction goes well.
    assert shell.run("predict", tiny_run, bad_files / "good.png", "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["predictions.csv"]


def test_what_cannot_be_written_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").mkdir()
    with pytest.raises(UserError, match="the predictions cannot be written"):
        write_predictions([], tmp_path, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_names_of_any_kind_are_written(tmp_path: Path, tiny_run: Path, write_png: Write) -> None:
    odd = ["a,b.png", 'quote".png', "line\nbreak.png", "µm.png", os.fsdecode(b"latin\xe9.png"), "[1].png", "a=b.png"]
    for name in odd:
        write_png(tmp_path / "odd" / name, GRAY)
    assert shell.run("predict", tiny_run, tmp_path / "odd", "--out", tmp_path) == 0
    found = pd.read_csv(tmp_path / "predictions.csv")["path"]
    expected = {str(tmp_path / "odd" / name) for name in odd if "latin" not in name}
    assert set(found) == {*expected, str(tmp_path / "odd" / "latin\\udce9.png")}


# What is found ------------------------------------------------------------------------------------------------------


def test_folders_are_searched_to_the_bottom(folder: Path) -> None:
    assert names(folder) == ["a.png", "b.PNG", "c.png", "d.png"]


def test_patterns_match_files_and_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(folder / "plate1" / "*.png") == ["a.png"]
    assert names(folder / "**" / "*.png") == ["a.png", "c.png", "d.png"]
    assert names(folder / "plate*") == ["a.png", "b.PNG", "c.png", "d.png"]
    assert names(folder / "plate[2]") == ["c.png", "d.png"]
    # Named files are taken whatever they are called, as the shell would give them.
    assert names(folder / "*.txt") == ["notes.txt"]
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/plate1/*.png") == ["a.png"]


def test_a_mix_gives_each_file_once_in_the_order_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "link.png").symlink_to(folder / "plate1" / "a.png")
    monkeypatch.chdir(folder)
    mix = ("plate2/c.png", "plate1/../plate2/c.png", folder / "plate2" / "c.png", "plate*", "link.png", ".")
    assert names(*mix) == ["c.png", "a.png", "b.PNG", "d.png"]


def test_a_name_that_looks_like_a_pattern_is_a_name_first(tmp_path: Path, write_png: Write) -> None:
    write_png(tmp_path / "a[1].png", GRAY)
    write_png(tmp_path / "a1.png", GRAY)
    assert names(tmp_path / "a[1].png") == ["a[1].png"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plate3", "found nothing there. Did you mean 'plate"),
        ("plate1/aa.png", "found nothing there. Did you mean 'a.png'"),
        ("plate9/*.png", "expected images that match this pattern, found none"),
        ("none", "in this folder, found none$"),
        ("other", r"in this folder, found none but other kinds \(.bmp 1, for instance 'x.bmp'\): convert them"),
    ],
)
def test_what_is_not_there_is_refused(name: str, expected: str, folder: Path) -> None:
    (folder / "none").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "x.bmp").touch()
    with pytest.raises(UsageError, match=expected):
        find_images([str(folder / "plate1"), str(folder / name)])


# Wrong use ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("{run}x", "{data}"), "expected a run folder or a checkpoint, found nothing there. Did you mean 'focus'?"),
        (("{data}", "{data}"), "expected checkpoints/best.ckpt"),
        (("{run}", "{data}s"), "found nothing there. Did you mean 'focus'?"),
        (("{run}", "{empty}"), "expected images (.png, .tif, .tiff, .jpg, .jpeg) in this folder, found none"),
        (
            ("{run}", "{data}", "--out", "{file}"),
            "--out {file}: expected a folder that can be written, found: File exists",
        ),
        (("{run}", "{data}", "--out", "{file}/out"), "--out {file}/out: expected a folder that can be written"),
        (("{run}", "{data}", "--device", "cdua"), "device 'cdua': expected one that is there: auto, cpu"),
        (("{run}", "{data}", "--batch-size", "0"), "--batch-size"),
        (("{run}", "{data}", "--batch-size", "many"), "--batch-size"),
        (("{run}", "{data}", "--bath-size", "3"), "No such option: --bath-size"),
        (("{run}",), "Missing argument"),
        ((), "Missing argument"),
    ],
)
def test_wrong_use_ends_with_status_2(
    arguments: tuple[str, ...],
    expected: str,
    tiny_run: Path,
    focus_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    places = {"run": tiny_run, "data": focus_root, "empty": tmp_path / "empty", "file": tmp_path / "file"}
    assert shell.run("predict", *(text.format(**places) for text in arguments)) == 2
    said = capsys.readouterr()
    assert expected.format(**places) in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


# Progress -----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """Standard error of somebody who watches."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_messages_above_it(
    tiny_run: Path, focus_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TTY_COMPATIBLE", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    # As in a fresh process, where the command sets up its own.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    (tmp_path / "bad.png").touch()
    assert shell.run("predict", tiny_run, focus_root, tmp_path / "bad.png", "--out", tmp_path / "out") == 1
    shown = terminal.getvalue()
    assert "predicting" in shown
    assert "43/43" in shown
    message = next(line for line in shown.splitlines() if "bad.png: the file is empty" in line)
    assert "predicting" not in message.rpartition("\r")[2].replace("\x1b[2K", "").split("bad.png")[0]
