"""The submission to a competition: its rows and their order, and that it is whole or not there."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

import visionlab
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


def faults(submission: bytes, sample: bytes, classes: int = 28) -> list[str]:
    """Check a submission as the competition would: what is wrong with it, given ``sample_submission.csv``.

    It shares nothing with what writes submissions.
    """
    if b"\r" in submission or not submission.endswith(b"\n") or submission.startswith(b"\xef\xbb\xbf"):
        return ["line ends or byte order mark"]
    rows = [line.split(",") for line in submission.decode("utf-8").split("\n")[:-1]]
    wanted = [line.split(",")[0] for line in sample.decode("utf-8-sig").splitlines()][1:]
    found = []
    if rows[0] != ["Id", "Predicted"]:
        found.append("header")
    if any(len(row) != 2 for row in rows):
        found.append("cells")
    if sorted(row[0] for row in rows[1:]) != sorted(wanted):
        found.append("ids")
    if [row[0] for row in rows[1:]] != wanted:
        found.append("order")
    for row in rows[1:]:
        if not re.fullmatch(r"((0|[1-9][0-9]*)( (0|[1-9][0-9]*))*)?", row[-1]):
            found.append("numbers")
            continue
        predicted = [int(text) for text in row[-1].split()]
        if len(set(predicted)) < len(predicted):
            found.append("twice")
        if predicted != sorted(predicted):
            found.append("sorted")
        if any(number >= classes for number in predicted):
            found.append("range")
    return found


def ids(path: Path) -> dict[str, str]:
    """Return {Id: Predicted}."""
    return dict(line.split(",") for line in path.read_text().splitlines()[1:])


def test_the_nearest_class_is_measured_on_logits() -> None:
    head = labels((25, 0, 2), [0.9, 0.5, NAN])
    # logit(0.85) - logit(0.9) = -0.46, logit(0.3) - logit(0.5) = -0.85.
    assert head.nearest_class({"Cytosol": 0.85, "Nucleoplasm": 0.3, "Nucleoli": 1.0}) == ("Cytosol",)
    # By the plain difference the first would be nearer: 0.89 - 0.9 > 0.489 - 0.5, but -0.106 < -0.044 on logits.
    assert head.nearest_class({"Cytosol": 0.89, "Nucleoplasm": 0.489, "Nucleoli": 1.0}) == ("Nucleoplasm",)
    assert head.nearest_class({"Cytosol": 0.0, "Nucleoplasm": 0.0, "Nucleoli": 1.0}) == ("Nucleoplasm",)
    head.thresholds.fill_(NAN)
    assert head.nearest_class(dict.fromkeys(head.columns, 0.9)) == ()


# Files --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decisive_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def test(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "test", "abcdef")


def go(run: object, *arguments: object) -> int:
    runs = run if isinstance(run, Sequence) else [run]
    return shell.run("predict", *runs, *arguments, "--device", "cpu")


@pytest.mark.parametrize("place", ["in", "beside", "named", "none"])
def test_a_submission_has_the_order_that_is_wanted(
    place: str, run: Path, test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["f", "a", "d", "b"] if place != "none" else list("abcdef")
    sample = ("\ufeffId,Predicted\r\n" + "".join(f"{name},0\r\n" for name in wanted)).encode()
    where = {"in": test, "beside": tmp_path, "named": tmp_path / "elsewhere", "none": tmp_path / "elsewhere"}[place]
    where.mkdir(exist_ok=True)
    (where / "sample_submission.csv").write_bytes(sample)
    order = ["--order", where / "sample_submission.csv"] if place == "named" else []
    path = tmp_path / "new" / "submission.csv"
    assert go(run, test, "--out", tmp_path / "out", "--submission", path, *order) == 0
    assert faults(path.read_bytes(), sample) == []
    number = {name: n for n, name in NAMES.items()}
    found = predicted(run, test)
    assert ids(path) == {
        name: " ".join(map(str, sorted(number[label] for label in found[name].labels))) for name in wanted
    }
    said = capsys.readouterr().out
    empty = sum(not found[name].labels for name in wanted)
    assert f"submission: {path} ({len(wanted)} rows; {empty} without a label" in said
    assert empty > 0
    assert ("2 predicted images left out" in said) == (place != "none")


def test_rows_without_a_label_get_the_nearest_if_asked(
    run: Path, test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "submission.csv"
    assert go(run, test, "--out", tmp_path / "out", "--submission", path) == 0
    before = ids(path)
    assert go(run, test, "--out", tmp_path / "out", "--submission", path, "--at-least-one") == 0
    after = ids(path)
    assert "" in before.values()
    assert "" not in after.values()
    head = visionlab.load(run, device="cpu").heads[0]
    found = predicted(run, test)
    number = {name: n for n, name in NAMES.items()}
    for name, row in after.items():
        expected = before[name] or str(number[head.nearest_class(found[name].values)[0]])
        assert row == expected
    # What is said is of the rows that are wanted.
    wanted = tmp_path / "wanted.csv"
    wanted.write_text("Id\n" + "\n".join([next(name for name, row in before.items() if not row)]))
    capsys.readouterr()
    arguments = ("--submission", path, "--at-least-one", "--order", wanted)
    assert go(run, test, "--out", tmp_path / "out", *arguments) == 0
    assert "(1 rows; 0 without a label; 1 images given the class nearest" in capsys.readouterr().out


def test_groups_of_classes_become_one_submission(
    test: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = [(0, 1), (25,), (2, 16)]
    runs = [
        write_run(
            tmp_path / f"run{number}", [labels(group, [0.5] * len(group))], seed=number, size=(24 + 8 * number,) * 2
        )
        for number, group in enumerate(groups)
    ]
    path = tmp_path / "submission.csv"
    sample = b"Id,Predicted\n" + b"".join(b"%s,0\n" % name for name in (b"c", b"b", b"a", b"f", b"e", b"d"))
    (test / "sample_submission.csv").write_bytes(sample)
    assert go(runs, test, "--out", tmp_path / "out", "--submission", path, "--at-least-one") == 0
    assert faults(path.read_bytes(), sample) == []
    alone = [predicted(one, test) for one in runs]
    number = {name: n for n, name in NAMES.items()}
    for name, row in ids(path).items():
        labelled = [number[label] for found in alone for label in found[name].labels]
        assert not labelled or row == " ".join(map(str, sorted(labelled)))
    assert (
        "--submission: 23 classes of the data set are of none of the runs and never predicted: Nucleoli fib"
        in caplog.text
    )


def test_a_submission_is_whole_or_not_there(
    run: Path, test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "submission.csv", tmp_path / "out"
    order = tmp_path / "order.csv"
    # Known before anything is predicted.
    order.write_text("Id,Predicted\na,0\nx,0\ny,0\n")
    assert go(run, test, "--out", out, "--submission", path, "--order", order) == 1
    assert "not written: 2 of the 3 Ids wanted are not among the inputs:\n  x\n  y" in capsys.readouterr().err
    assert not path.exists()
    assert not (out / "predictions.csv").exists()
    # Known only then: the rest of the predictions is written.
    order.write_text("Id,Predicted\na,0\nb,0\n")
    (test / "b_blue.png").write_bytes(b"")
    assert go(run, test, "--out", out, "--submission", path, "--order", order) == 1
    said = capsys.readouterr().err
    assert "error: 1 of 6 files could not be predicted" in said
    assert "not written: 1 of the 2 Ids wanted are not predicted:\n  b" in said
    assert not path.exists()
    assert pd.read_csv(out / "labels.csv")["id"].tolist() == list("acdef")
    # A failed image whose Id is not wanted is no harm.
    order.write_text("Id,Predicted\na,0\n")
    assert go(run, test, "--out", out, "--submission", path, "--order", order) == 1
    assert faults(path.read_bytes(), order.read_bytes()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("--order", "{sample}"), 2, "--order: it goes with --submission"),
        (("--at-least-one",), 2, "--at-least-one: it goes with --submission"),
        (
            ("--submission", "{new}", "--order", "{new}x"),
            2,
            "--order {new}x: expected a file such as sample_submission",
        ),
        (("--submission", "{sample}"), 2, "found the file that gives the order"),
        (("--submission", "{test}"), 2, "--submission {test}: expected the name of a new file, found a folder"),
        (("--submission", "{sample}/x.csv"), 2, "--submission {sample}: expected a folder that can be written"),
        (("--submission", "{new}", "--order", "{semicolon}"), 1, "with a column Id, found 'Id;Predicted'"),
        (("--submission", "{new}", "--order", "{twice}"), 1, "{twice} line 5: expected each Id once, found a again"),
        (("--submission", "{new}", "--order", "{bare}"), 1, "found a table without rows"),
        (("--submission", "{new}", "--order", "{image}"), 1, "{image}: expected a table with a column Id, found: "),
        (
            ("{again}", "--submission", "{new}"),
            1,
            "expected each Id once, found a in {test}/a_red.png, {again}/a_red.png",
        ),
    ],
)
def test_wrong_use_of_submissions(
    arguments: tuple[str, ...],
    status: int,
    expected: str,
    run: Path,
    test: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"test": test, "new": tmp_path / "new.csv", "image": test / "a_red.png", "again": tmp_path / "again"}
    write_samples(places["again"], ["a"])
    for name, text in (
        ("sample", "Id,Predicted\na,0\n"),
        ("semicolon", "Id;Predicted\na;0\n"),
        ("twice", "Id,Predicted\na,0\n\nb,0\na,0\n"),
        ("bare", "Id,Predicted\n"),
    ):
        places[name] = tmp_path / f"{name}.csv"
        places[name].write_text(text)
    if arguments[:2] == ("--submission", "{sample}"):
        places["sample"] = places["sample"].rename(test / "sample_submission.csv")
    assert go(run, test, *(text.format(**places) for text in arguments), "--out", tmp_path / "out") == status
    said = capsys.readouterr()
    assert expected.format(**places) in said.err
    assert "Traceback" not in said.err
    assert not places["new"].exists()


# What is decided -----------------------------------------------------------------------------------------------------


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
