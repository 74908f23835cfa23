"""Subsets of the classes: each learnt by a network of its own, and joined again into one prediction of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import visionlab
from tests import shell
from tests.conftest import train_labels
from tests.inference.test_labels import faults
from tests.test_labels_run import LABELS, draw_nothing, read
from visionlab.datasets.protein_atlas import NAMES
from visionlab.inference import Ensemble

SETTINGS = (*LABELS, "trainer.max_epochs=1")


def head(run: Path) -> dict[str, Any]:
    """Return what ``run.json`` says of a run's head."""
    about: dict[str, Any] = read(run / "run.json")["heads"]["labels"]
    return about


def scores(folder: Path) -> pd.DataFrame:
    """Return the scores of a prediction, one row an image, one column a class."""
    return pd.read_csv(folder / "predictions.csv").pivot_table(index="path", columns="name", values="value")


@pytest.fixture(scope="module")
def without_reports() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        yield


@pytest.fixture(scope="module", params=[2, 4])
def sweep(
    request: pytest.FixtureRequest, atlas_root: Path, tmp_path_factory: pytest.TempPathFactory, without_reports: None
) -> Path:
    """Two or four groups of classes, each learnt by a run of one sweep."""
    folder = tmp_path_factory.mktemp("groups") / "sweep"
    groups = "data.class_group=" + ",".join(f"{part}/{request.param}" for part in range(1, request.param + 1))
    assert shell.run("train", "-m", *SETTINGS, f"data.root={atlas_root}", groups, f"hydra.sweep.dir={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def runs(sweep: Path) -> list[Path]:
    return sorted(path for path in sweep.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def merged(runs: list[Path], atlas_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command predicts with all of them for the images without labels."""
    out = tmp_path_factory.mktemp("merged")
    words = (*runs, atlas_root / "test", "--out", out, "--submission", out / "submission.csv", "--device", "cpu")
    assert shell.run("predict", *words) == 0
    return out


def test_each_run_of_the_sweep_learns_its_part(sweep: Path, runs: list[Path], atlas_root: Path) -> None:
    size = 28 // len(runs)
    assert [head(run)["ids"] for run in runs] == [list(range(start, start + size)) for start in range(0, 28, size)]
    targets = pd.read_csv(atlas_root / "train.csv").set_index("Id")["Target"].str.split()
    for run in runs:
        about = head(run)
        assert about["columns"] == [NAMES[number] for number in about["ids"]]
        index = pd.read_csv(run / "data_index.csv")
        for number, positives in zip(about["ids"], about["positives"], strict=True):
            train = index.loc[index["split"] == "train", "id"]
            assert positives == sum(str(number) in targets[name] for name in train)
        metrics = read(run / "metrics.json")
        assert metrics["test/labels/f1_micro"]["of"] == size
    # Nothing that one part was tested on was seen by another.
    assert all(read(run / "splits.json") == read(runs[0] / "splits.json") for run in runs)
    assert (sweep / "comparison.html").is_file()


def test_joined_they_predict_every_class_as_its_own_run_does(
    runs: list[Path], merged: Path, atlas_root: Path, tmp_path: Path
) -> None:
    joined = scores(merged)
    assert sorted(joined.columns) == sorted(NAMES) and len(joined) == 6
    labels = pd.read_csv(merged / "labels.csv", keep_default_na=False)
    found = [set(text.split("; ")) - {""} for text in labels["labels"]]
    for number, run in enumerate(runs):
        out = tmp_path / str(number)
        assert shell.run("predict", run, atlas_root / "test", "--out", out, "--device", "cpu") == 0
        names = head(run)["columns"]
        pd.testing.assert_frame_equal(joined[sorted(names)], scores(out), rtol=1e-6, check_names=False)
        own = pd.read_csv(out / "labels.csv", keep_default_na=False)
        assert own["path"].tolist() == labels["path"].tolist()
        for text, all_found in zip(own["labels"], found, strict=True):
            assert all_found & set(names) == set(text.split("; ")) - {""}


def test_the_submission_of_all_classes_is_accepted(runs: list[Path], merged: Path, atlas_root: Path) -> None:
    text = (merged / "submission.csv").read_bytes()
    assert faults(text, (atlas_root / "sample_submission.csv").read_bytes()) == []
    rows = pd.read_csv(merged / "submission.csv", keep_default_na=False).set_index("Id")["Predicted"]
    labels = pd.read_csv(merged / "labels.csv", keep_default_na=False).set_index("id")
    assert sorted(rows.index) == sorted(labels.index)
    for name, names, numbers in zip(labels.index, labels["labels"], labels["numbers"], strict=True):
        expected = sorted(NAMES.index(found) for found in names.split("; ") if found)
        assert rows.loc[name] == numbers == " ".join(map(str, expected))
    parts = {int(number) * len(runs) // 28 for text in rows for number in text.split()}
    assert parts == set(range(len(runs))), "there are labels of every part"


def test_joined_thresholds_are_those_of_the_parts(runs: list[Path]) -> None:
    joined = visionlab.load(*runs, device="cpu")
    assert isinstance(joined, Ensemble)
    (merged,) = joined.heads
    assert tuple(merged.columns) == NAMES
    kept = [value for run in runs for value in head(run)["thresholds"]]
    expected = np.array([np.nan if value is None else value for value in kept], np.float32)
    np.testing.assert_array_equal(merged.thresholds.numpy(), expected)  # type: ignore[operator]


def test_labels_keep_their_numbers_in_any_order(atlas_root: Path, tmp_path: Path, without_reports: None) -> None:
    """Two classes, the second first: what belongs to which is known by name, in training and when merged."""
    run = train_labels(tmp_path / "run", atlas_root, "data.classes=[5,3]", *SETTINGS)
    about = head(run)
    assert (about["ids"], about["columns"]) == ([5, 3], [NAMES[5], NAMES[3]])
    table = pd.read_csv(run / "predictions" / "test.csv", keep_default_na=False)
    targets = pd.read_csv(atlas_root / "train.csv").set_index("Id")["Target"].str.split()
    for _, row in table.iterrows():
        for number in (5, 3):
            assert row[f"{NAMES[number]}_true"] == (str(number) in targets[row["id"]])
    classes = pd.read_csv(run / "predictions" / "test_classes.csv")
    assert classes[["class", "id"]].to_numpy().tolist() == [[NAMES[5], 5], [NAMES[3], 3]]
    # A network that is sure of its first output is sure of class 5.
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["model.network.head.1.bias"] += torch.tensor([50.0, -50.0])
    torch.save(content, path)
    words = (run, atlas_root / "test", "--out", tmp_path / "out", "--submission", tmp_path / "out.csv")
    assert shell.run("predict", *words, "--device", "cpu") == 0
    assert set(pd.read_csv(tmp_path / "out.csv", dtype=str)["Predicted"]) == {"5"}
    labels = pd.read_csv(tmp_path / "out" / "labels.csv", dtype=str)
    assert set(labels["labels"]) == {NAMES[5]} and set(labels["numbers"]) == {"5"}
