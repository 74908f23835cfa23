"""Labels that are decided, beside their scores: in Python, in labels.csv, and what is said of thresholds."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pandas as pd
import pytest

from tests import shell
from tests.untrained import (
    NAMES,
    NAN,
    STAINS,
    Means,
    labels,
    numbers,
    planes,
    predicted,
    predictor,
    write_decisive_run,
    write_run,
    write_samples,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decisive_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def test(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "test", "abcdef")


def test_labels_stand_beside_scores() -> None:
    head = labels((25, 0, 2), [0.6, 0.5, NAN])
    found = predictor([head], Means([[0.1, 0, 0, 0], [0, 0, 0, 0], [9.0, 9, 9, 9]]), STAINS).predict(planes(0))
    assert found.labels == ("Nucleoplasm",)
    assert found.decided == {"labels": ("Nucleoplasm",)}
    assert list(found.values) == list(found.units) == ["Cytosol", "Nucleoplasm", "Nucleoli"]
    assert found.Nucleoplasm == found.values["Nucleoplasm"] == 0.5, "exactly the threshold counts"
    assert found.Nucleoli > 0.99, "and yet never predicted"
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert other == found
        assert other.labels == found.labels
    with pytest.raises(
        AttributeError, match="no predicted value 'label'; there are: labels, Cytosol, Nucleoplasm, Nuc"
    ):
        found.label  # noqa: B018
    assert predictor([numbers("x")], Means([[1.0] * 4]), STAINS).predict(planes(0)).decided == {}


def test_labels_are_written_beside_the_scores(run: Path, test: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert shell.run("predict", run, test, "--out", out) == 0
    expected = predicted(run, test)
    table = pd.read_csv(out / "labels.csv", keep_default_na=False, dtype=str)
    assert list(table) == ["path", "id", "labels", "numbers"]
    assert table["path"].tolist() == [str(test / f"{name}_red.png") for name in "abcdef"]
    assert table["id"].tolist() == list("abcdef")
    number = {name: n for n, name in NAMES.items()}
    for row in table.itertuples():
        found = expected[str(row.id)].labels
        assert row.labels == "; ".join(found)
        assert row.numbers == " ".join(str(n) for n in sorted(number[name] for name in found))
    assert len(set(table["labels"])) > 2
    assert "\r" not in (out / "labels.csv").read_text()
    scores = pd.read_csv(out / "predictions.csv")
    assert len(scores) == 6 * len(NAMES)
    assert scores["name"][: len(NAMES)].tolist() == list(NAMES.values())


def test_a_table_of_labels_is_not_written_over(
    run: Path, test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.csv").write_text("Id,Target\na,0\n")
    assert shell.run("predict", run, test, "--out", tmp_path) == 2
    assert "found 'labels.csv' there, not from an earlier prediction" in capsys.readouterr().err
    assert (tmp_path / "labels.csv").read_text() == "Id,Target\na,0\n"
    assert not (tmp_path / "predictions.csv").exists()


def test_thresholds_that_are_missing_are_said(
    run: Path, test: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert shell.run("predict", run, test, "--out", tmp_path / "out") == 0
    assert "labels: 1 of 5 classes have no threshold" in caplog.text
    assert "never predicted: Cytosol" in caplog.text
    assert "never fitted" not in caplog.text
    begun = write_run(tmp_path / "begun", [labels()])
    assert shell.run("predict", begun, test, "--out", tmp_path / "out") == 0
    assert "labels: thresholds and calibration were never fitted on validation images" in caplog.text
    assert "when training ends; 0.5 stands in for the thresholds" in caplog.text
    caplog.clear()
    fixed = labels()
    fixed.threshold_method = 0.3
    begun = write_run(tmp_path / "fixed", [fixed])
    assert shell.run("predict", begun, test, "--out", tmp_path / "out") == 0
    assert "never fitted" not in caplog.text, "of a given number there is nothing to fit"
