"""Measuring a run again, on its own data and on others: the same numbers, in the right place, or a reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests import shell
from tests.conftest import train
from visionlab import samples
from visionlab.report import expand

GRAY = np.arange(1024, dtype=np.uint16).reshape(32, 32)


@pytest.fixture(scope="module")
def own(focus_root: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, with a copy of its data, that a module may change."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(focus_root, folder / "focus")
    shutil.copytree(tiny_run, folder / "run")
    config = folder / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(focus_root), str(folder / "focus")))
    return folder / "run"


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another generated set in the same layout."""
    folder = tmp_path_factory.mktemp("data") / "others"
    return samples.write("focus", folder, seed=7, fields=3, heights=5, image_size=32)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which takes longer than the rest, where its content is not looked at."""
    monkeypatch.setattr("visionlab.reports.write_report", lambda folder: folder / "report.html")


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return name -> size and time of change of all files outside ``evaluations``."""
    files = (path for path in folder.rglob("*") if path.is_file() and "evaluations" not in path.parts)
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


# Its own data -------------------------------------------------------------------------------------------------------


def test_the_test_split_gives_the_same_numbers(
    tiny_run: Path, own: Path, capsys: pytest.CaptureFixture[str], caplog: Any
) -> None:
    before = read(own / "metrics.json")
    shutil.rmtree(own / "predictions")
    (own / "metrics.json").unlink()
    assert shell.run("evaluate", own, "--split", "test", "--device", "cpu") == 0
    assert capsys.readouterr().out == f"{own / 'report.html'}\n"
    expected = {key: entry for key, entry in before.items() if key.startswith("test/")}
    data = str(own.parent / "focus")
    assert read(own / "metrics.json") == {key: {**entry, "data": data} for key, entry in expected.items()}
    pd.testing.assert_frame_equal(
        pd.read_csv(own / "predictions" / "test.csv"), pd.read_csv(tiny_run / "predictions" / "test.csv")
    )
    # A copy of the data is the same data.
    assert "changed since the run" not in caplog.text


@pytest.mark.usefixtures("no_report")
def test_changed_pixels_are_said(own: Path, caplog: Any) -> None:
    import imagecodecs
    import numpy as np

    index = pd.read_csv(own / "data_index.csv")
    path = own.parent / "focus" / index.loc[index["split"] == "train", "path"].iloc[0]
    before = path.read_bytes()
    path.write_bytes(imagecodecs.png_encode(np.full((32, 32), 9, np.uint8)))
    try:
        assert shell.run("evaluate", own, "--split", "test", "--device", "cpu") == 0
    finally:
        path.write_bytes(before)  # other tests use this folder, too
    assert "changed since the run" in caplog.text


@pytest.mark.usefixtures("no_report")
def test_other_splits_are_added(own: Path, tiny_run: Path) -> None:
    picture = (own / "plots" / "best_worst.png").read_bytes()
    for split, count in (("val", 7), ("train", 28)):
        assert shell.run("evaluate", own, "--split", split) == 0
        table = pd.read_csv(own / "predictions" / f"{split}.csv")
        assert len(table) == count
        assert set(table["split"]) == {split}
        entry = read(own / "metrics.json")[f"{split}/distance/mae"]
        assert entry["n"] == count
        assert entry["value"] == pytest.approx((table["distance_true"] - table["distance_pred"]).abs().mean(), abs=1e-5)
    expected = read(tiny_run / "metrics.json")["val/distance/mae"]["value"]
    assert read(own / "metrics.json")["val/distance/mae"]["value"] == expected
    assert "test/distance/mae" in read(own / "metrics.json")
    # The picture stays that of the test split.
    assert (own / "plots" / "best_worst.png").read_bytes() == picture


@pytest.mark.usefixtures("no_report")
def test_changed_data_are_warned_about(own: Path, caplog: Any, write_png: Callable[[Path, object], None]) -> None:
    added = own.parent / "focus" / "images" / "newfield_1.00_0.00.png"
    write_png(added, GRAY.astype(np.uint8))
    try:
        assert shell.run("evaluate", own) == 0
    finally:
        added.unlink()
    assert "changed since the run" in caplog.text
    assert "newfield" in caplog.text
    assert "newfield" not in (own / "predictions" / "test.csv").read_text()


def test_groups_that_are_gone_are_an_error(own: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    group = read(own / "splits.json")["test"][0]
    moved = [path for path in (own.parent / "focus" / "images").iterdir() if path.name.startswith(group)]
    for path in moved:
        shutil.move(path, tmp_path)
    try:
        assert shell.run("evaluate", own) == 1
    finally:
        for path in moved:
            shutil.move(tmp_path / path.name, path)
    assert f"have no images in the data: {group}" in capsys.readouterr().err


def test_another_checkpoint_does_not_touch_the_results_of_the_best(own: Path) -> None:
    before = state(own)
    assert shell.run("evaluate", own / "checkpoints" / "last.ckpt", "--split", "val") == 0
    assert state(own) == before
    out = own / "evaluations" / "last_val"
    assert set(read(out / "metrics.json")) == {key for key in read(own / "metrics.json") if key.startswith("val/")}
    assert "last.ckpt measured on" in (out / "report.html").read_text()
    assert shell.run("evaluate", own / "checkpoints" / "best.ckpt", "--split", "val") == 0
    assert state(own) != before


@pytest.mark.usefixtures("no_report")
def test_what_is_said_of_thresholds_is_of_the_checkpoint_that_is_measured(
    atlas_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = shutil.copytree(atlas_run, tmp_path / "run")
    about = read(run / "run.json")
    assert shell.run("evaluate", run, "--device", "cpu") == 0
    assert "never fitted" not in caplog.text
    assert read(run / "run.json") == about
    assert shell.run("evaluate", run / "checkpoints" / "last.ckpt", "--device", "cpu") == 0
    assert "labels: thresholds and calibration were never fitted on validation images" in caplog.text
    measured = read(run / "evaluations" / "last_test" / "run.json")["heads"]["labels"]
    assert not measured["fitted"] and set(measured["thresholds"]) == {0.5}
    assert read(run / "run.json") == about
    # As a run that goes on after its end is described until it ends again.
    text = json.dumps({**about, "heads": {"labels": measured}})
    (run / "run.json").write_text(text)
    assert shell.run("evaluate", run, "--device", "cpu") == 0
    assert read(run / "run.json") == about


def test_a_run_without_test_split_has_none_to_measure(
    focus_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "run", f"data.root={focus_root}", "data.test_fraction=0", "trainer.max_epochs=1")
    assert {key.partition("/")[0] for key in read(run / "metrics.json")} == {"val"}
    assert read(run / "status.json")["state"] == "finished"
    assert shell.run("evaluate", run) == 2
    assert "--split test: the run has no test images" in capsys.readouterr().err


# Other data ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(own: Path, others: Path) -> Path:
    before = state(own)
    assert shell.run("evaluate", own, "--data", others) == 0
    assert state(own) == before, "the run folder was touched"
    return own / "evaluations" / "others"


def test_other_data_get_a_folder_of_their_own(evaluated: Path, others: Path, own: Path) -> None:
    metrics = read(evaluated / "metrics.json")
    assert {key.partition("/")[0] for key in metrics} == {"test"}
    assert {(entry["groups"], entry["data"]) for entry in metrics.values()} == {(3, str(others))}
    assert {key: entry["n"] for key, entry in metrics.items() if "sign" not in key} == dict.fromkeys(
        (f"test/distance/{name}" for name in ("mae", "rmse", "bias", "r2")), 15
    )
    mae = metrics["test/distance/mae"]
    assert mae["low"] <= mae["value"] <= mae["high"]
    # The baseline predicts the mean of the run's training images, not that of these.
    table = pd.read_csv(evaluated / "predictions" / "test.csv")
    index = pd.read_csv(own / "data_index.csv")
    mean = index.loc[index["split"] == "train", "distance"].mean()
    assert mae["baseline"] == pytest.approx((table["distance_true"] - mean).abs().mean(), abs=1e-5)
    assert read(evaluated / "splits.json")["source"] == "all groups are the test set"
    card = read(evaluated / "data_card.json")
    assert (card["name"], card["n"], list(card["splits"])) == (str(others), 15, ["test"])
    page = (evaluated / "report.html").read_text()
    assert str(others) in page
    assert "Go on where it stopped" not in page
    # What can be typed from there is about the run, which has the checkpoints.
    assert f"python -m visionlab.predict {own} IMAGES" in page
    assert f"python -m visionlab.evaluate {own} --data {others}" in page


def test_an_evaluation_is_no_run(evaluated: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("evaluate", "resume"):
        assert shell.run(verb, evaluated) == 2
        assert f"found an evaluation; its run is {own}" in capsys.readouterr().err
    # Among runs to compare it counts only when it is named.
    assert expand([str(own.parent)]) == [own]
    assert expand([str(own)]) == [own]
    assert expand([str(own), str(evaluated)]) == [own, evaluated]


@pytest.mark.usefixtures("no_report")
def test_an_existing_evaluation_is_kept(
    evaluated: Path, own: Path, others: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = (evaluated / "metrics.json").stat().st_mtime_ns
    assert shell.run("evaluate", own, "--data", others) == 2
    assert "evaluations/others: expected a new folder, found something there" in capsys.readouterr().err
    assert (evaluated / "metrics.json").stat().st_mtime_ns == before
    (tmp_path / "file").touch()
    assert shell.run("evaluate", own, "--data", others, "--out", tmp_path / "file") == 2
    out = tmp_path / "elsewhere"
    assert shell.run("evaluate", own, "--data", others, "--out", out) == 0
    assert read(out / "metrics.json") == read(evaluated / "metrics.json")


def test_images_seen_in_training_are_refused(
    own: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(others, data)
    index = pd.read_csv(own / "data_index.csv")
    for split, name in (("test", "tested"), ("val", "validated"), ("train", "trained")):
        source = own.parent / "focus" / index.loc[index["split"] == split, "path"].iloc[0]
        shutil.copy(source, data / f"{name}_1.00_2.00.png")
    assert shell.run("evaluate", own, "--data", data) == 1
    said = capsys.readouterr().err
    # By content, whatever the name; an image of the test split is nothing that training saw.
    assert "2 of 18 images were used in training or validation" in said
    assert "the first is trained_1.00_2.00.png" in said
    assert not (own / "evaluations" / "data").exists()


@pytest.mark.usefixtures("no_report")
def test_the_data_of_the_run_need_not_be_there(
    tiny_run: Path, focus_root: Path, others: Path, tmp_path: Path, evaluated: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    config = run / "config.yaml"
    text = config.read_text().replace(str(focus_root), "/gone").replace("init_from: null", "init_from: /gone/too")
    config.write_text(text.replace("split_file: null", "split_file: /gone/splits.json"))
    assert shell.run("evaluate", run, "--data", others) == 0
    found = read(run / "evaluations" / "others" / "metrics.json")
    assert found == read(evaluated / "metrics.json")


@pytest.mark.usefixtures("no_report")
def test_a_missing_index_is_said(own: Path, others: Path, tmp_path: Path, caplog: Any) -> None:
    run = tmp_path / "run"
    shutil.copytree(own, run)
    (run / "data_index.csv").unlink()
    assert shell.run("evaluate", run, "--data", others, "--out", tmp_path / "out") == 0
    assert "nobody knows whether training saw these images" in caplog.text


@pytest.mark.usefixtures("no_report")
def test_deeper_images_are_measured_alike_and_float_ones_refused(
    own: Path, others: Path, evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import imagecodecs
    import tifffile

    for path in others.rglob("*.png"):
        image = imagecodecs.png_decode(path.read_bytes())
        kinds = {"deep": image.astype(np.uint16) * np.uint16(257), "float": image / np.float32(255)}
        for folder, converted in kinds.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / folder / f"{path.stem}.tif", converted)
    assert shell.run("evaluate", own, "--data", tmp_path / "deep", "--out", tmp_path / "out") == 0
    found, expected = (read(folder / "metrics.json")["test/distance/mae"] for folder in (tmp_path / "out", evaluated))
    assert found["value"] == pytest.approx(expected["value"], abs=1e-5)
    assert shell.run("evaluate", own, "--data", tmp_path / "float", "--out", tmp_path / "none") == 1
    assert "expected uint8 images as in training, found float32" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


# Wrong use ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("{run}", "--split", "tset"), "--split tset: expected one of train, val, test. Did you mean 'test'?"),
        (("{run}x",), "expected a run folder, found nothing there. Did you mean 'run'?"),
        (("{data}",), "expected a run folder, found no config.yaml"),
        (("{run}", "--data", "{data}s"), "--data {data}s: expected a folder with labelled images"),
        (("{run}", "--data", "{data}", "--split", "val"), "--split: it is of the run's own data"),
        (("{run}", "--out", "{data}"), "--out: it goes with --data"),
        (("{run}", "--device", "gpu"), "device 'gpu'"),
        (("{run}", "--splitt", "val"), "No such option: --splitt"),
        ((), "Missing argument"),
    ],
)
def test_wrong_use_ends_with_status_2(
    arguments: tuple[str, ...], expected: str, own: Path, others: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"run": own, "data": others}
    before = state(own)
    assert shell.run("evaluate", *(text.format(**places) for text in arguments)) == 2
    said = capsys.readouterr().err
    assert expected.format(**places) in said
    assert "Traceback" not in said
    assert state(own) == before
