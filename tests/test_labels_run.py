"""A whole run of labels: what is written, that the numbers are those of the predictions, and that none flatters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as reference

import visionlab
from tests import shell
from tests.conftest import TINY
from visionlab import samples
from visionlab.data.stratify import nested_folds
from visionlab.datasets.protein_atlas import NAMES
from visionlab.metrics.calibration import calibrate, fit_calibration
from visionlab.metrics.thresholds import f1_thresholds

METRICS = [
    *("f1_macro", "f1_macro_half", "f1_macro_gain", "f1_micro", "precision_macro", "recall_macro"),
    *("map", "auroc", "hamming", "exact_match", "ece"),
]
LABELS = (*(text for text in TINY if text != "task=focus"), "task=protein_atlas", "callbacks.images.every_n_epochs=9")
# Three classes in another order than that of their numbers; no validation image has the second.
CLASSES, ABSENT = [25, 5, 3], 5

Array = np.ndarray[Any, Any]


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def about_labels(run: Path) -> dict[str, Any]:
    return dict(read(run / "run.json")["heads"]["labels"])


def parts(run: Path, split: str) -> tuple[Array, Array, Array]:
    """Return labels, scores and decisions of a split, N x K each, as its table holds them."""
    table = pd.read_csv(run / "predictions" / f"{split}.csv")
    columns = [[f"{name}_{kind}" for name in about_labels(run)["columns"]] for kind in ("true", "score", "pred")]
    true, scores, decided = (table[wanted].to_numpy() for wanted in columns)
    return true, scores.astype(np.float32), decided


def thresholds(run: Path) -> Array:
    """Return the thresholds of a run's head, K, NaN where there is none."""
    return np.array(about_labels(run)["thresholds"], np.float32)


def values(true: Array, scores: Array, decided: Array) -> dict[str, float]:
    """Return every metric, by scikit-learn and by hand."""
    some = true.any(axis=0)
    half = scores >= 0.5
    given: dict[str, Any] = {"average": "macro", "zero_division": 0}
    f1 = {name: reference.f1_score(true[:, some], by[:, some], **given) for name, by in (("", decided), ("half", half))}
    off = []
    for label, score in zip(true[:, some].T, scores[:, some].T.astype(float), strict=True):
        bins = np.minimum((score * 15).astype(int), 14)
        off.append(sum(abs((score - label)[bins == place].sum()) for place in range(15)) / len(label))
    return {
        "f1_macro": f1[""],
        "f1_macro_half": f1["half"],
        "f1_macro_gain": f1[""] - f1["half"],
        "f1_micro": reference.f1_score(true, decided, average="micro"),
        "precision_macro": reference.precision_score(true[:, some], decided[:, some], **given),
        "recall_macro": reference.recall_score(true[:, some], decided[:, some], **given),
        "map": reference.average_precision_score(true[:, some], scores[:, some]),
        "auroc": reference.roc_auc_score(true[:, some], scores[:, some]),
        "hamming": reference.hamming_loss(true, decided),
        "exact_match": reference.accuracy_score(true, decided),
        "ece": float(np.mean(off)),
    }


def found(run: Path, split: str) -> dict[str, float]:
    metrics = read(run / "metrics.json")
    return {name: metrics[f"{split}/labels/{name}"]["value"] for name in METRICS}


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Leave out reports and pictures, which take longer than the rest, where nobody looks at them."""
    patch.setattr("visionlab.reports.write_report", lambda folder: folder / "report.html")
    patch.setattr("visionlab.training.evaluation.save_pictures", lambda *_: None)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def small_run(atlas_run: Path, atlas_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``CLASSES`` by the command, from mixed stains, calibrated, with other thresholds and another loss."""
    folder = tmp_path_factory.mktemp("small")
    splits = read(atlas_run / "splits.json")
    index = pd.read_csv(atlas_run / "data_index.csv").set_index("group")
    moved = [group for group in splits["val"] if index.loc[group, NAMES[ABSENT]]]
    assert moved
    splits["val"] = [group for group in splits["val"] if group not in moved]
    splits["train"] += moved
    (folder / "splits.json").write_text(json.dumps(splits))
    settings = (
        f"data.classes={CLASSES}".replace(" ", ""),
        "data.channels=[red/2+yellow/2,green,blue]",
        *("heads.labels.thresholds=f1", "heads.labels.calibration=platt"),
        *("loss=asymmetric", "loss.class_weights=effective", "loss.label_smoothing=0.05"),
        *("optimizer.lr=5e-3", "callbacks.ema.decay=0.5"),
    )
    own = (f"data.root={atlas_root}", f"data.split_file={folder / 'splits.json'}", f"hydra.run.dir={folder / 'run'}")
    assert shell.run("train", *LABELS, *settings, *own) == 0
    return folder / "run"


def test_a_row_for_each_sample_and_for_each_class(atlas_run: Path, atlas_root: Path) -> None:
    table = pd.read_csv(atlas_run / "predictions" / "test.csv").fillna({"labels_pred": ""})
    assert sorted(table["group"]) == read(atlas_run / "splits.json")["test"]
    targets = pd.read_csv(atlas_root / "train.csv").set_index("Id")["Target"]
    for _, row in table.iterrows():
        numbers = sorted(int(text) for text in targets[row["id"]].split())
        assert row["labels_true"] == "; ".join(NAMES[number] for number in numbers)
        assert row["labels_pred"] == "; ".join(name for name in NAMES if row[f"{name}_pred"])
    table = pd.read_csv(atlas_run / "predictions" / "test_classes.csv")
    assert (table["class"].tolist(), table["id"].tolist()) == (list(NAMES), list(range(28)))
    np.testing.assert_allclose(table["threshold"], thresholds(atlas_run), rtol=1e-6)
    true, scores, decided = parts(atlas_run, "test")
    index = pd.read_csv(atlas_run / "data_index.csv")
    assert table["train"].tolist() == index.loc[index["split"] == "train", list(NAMES)].sum().tolist()
    assert table["support"].tolist() == true.sum(axis=0).tolist()
    assert table["predicted"].tolist() == decided.sum(axis=0).tolist()
    given: dict[str, Any] = {"average": None, "zero_division": 0}
    np.testing.assert_allclose(table["f1"], reference.f1_score(true, decided, **given), atol=1e-6)
    np.testing.assert_allclose(table["f1_half"], reference.f1_score(true, scores >= 0.5, **given), atol=1e-6)
    np.testing.assert_allclose(table["ap"], reference.average_precision_score(true, scores, average=None), atol=1e-6)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", ["atlas_run", "small_run"])
def test_metrics_are_those_of_the_predictions(name: str, split: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    true, scores, decided = parts(run, split)
    assert found(run, split) == pytest.approx(values(true, scores, decided), abs=2e-5)
    if split == "test":
        np.testing.assert_array_equal(decided, scores >= thresholds(run))
        assert decided.any()


def test_thresholds_are_kept_in_the_best_checkpoint_only(atlas_run: Path, small_run: Path) -> None:
    for run, method in ((atlas_run, "shrunken"), (small_run, "f1")):
        about = about_labels(run)
        assert (about["kind"], about["fitted"], about["method"]) == ("multilabel", True, method)
        best, last = (
            torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
            for name in ("best", "last")
        )
        np.testing.assert_array_equal(best["model.heads.labels.thresholds"].numpy(), thresholds(run))
        assert best["model.heads.labels.calibration"].tolist() == about["calibration"]
        index = pd.read_csv(run / "data_index.csv")
        train = index.loc[index["split"] == "train", about["columns"]]
        assert best["model.heads.labels.positives"].tolist() == about["positives"] == train.sum().tolist()
        assert best["model.heads.labels.fitted"] and not last["model.heads.labels.fitted"]
        assert last["model.heads.labels.thresholds"].tolist() == [0.5] * len(train.columns)
    assert about["ids"] == CLASSES


def test_calibration_of_validation_is_nested_as_well(small_run: Path, atlas_root: Path) -> None:
    """From the scores as the network gives them: on test by what validation gives, there by what other folds give."""
    predictor = visionlab.load(small_run, device="cpu")
    predictor.heads[0].calibration.copy_(torch.tensor([[1.0, 0.0]] * 3))

    def raw(split: str) -> Array:
        paths = pd.read_csv(small_run / "predictions" / f"{split}.csv")["path"]
        scores = [list(one.values.values()) for one in predictor.predict([atlas_root / path for path in paths])]
        return np.array(scores, np.float32)

    calibration = about_labels(small_run)["calibration"]
    true, scores, decided = parts(small_run, "val")
    folds = nested_folds(pd.read_csv(small_run / "predictions" / "val.csv")["group"].to_numpy(), true)
    before, kept = raw("val"), [0, 2]
    np.testing.assert_allclose(calibrate(raw("test"), calibration), parts(small_run, "test")[1], atol=1e-5)
    np.testing.assert_allclose(fit_calibration("platt", before, true), calibration, rtol=1e-3, atol=1e-3)
    for fold in range(5):
        rest = folds != fold
        parameters = fit_calibration("platt", before[rest], true[rest])
        np.testing.assert_allclose(scores[~rest], calibrate(before[~rest], parameters), atol=1e-4)
        fitted = f1_thresholds(calibrate(before[rest], parameters), true[rest])[0]
        np.testing.assert_array_equal(decided[~rest][:, kept], (scores[~rest] >= fitted)[:, kept])


def test_a_class_without_validation_images_is_never_predicted(
    small_run: Path, atlas_root: Path, tmp_path: Path
) -> None:
    place, name = CLASSES.index(ABSENT), NAMES[ABSENT]
    about = about_labels(small_run)
    assert [value is None for value in about["thresholds"]] == [False, True, False]
    assert about["positives"][place] > 0, "it was learnt"
    assert parts(small_run, "test")[0][:, place].any(), "and it is there to be found"
    assert not any(parts(small_run, split)[2][:, place].any() for split in ("val", "test"))
    metrics = read(small_run / "metrics.json")
    assert (metrics["val/labels/f1_macro"]["classes"], metrics["test/labels/f1_macro"]["classes"]) == (2, 3)
    assert f"no validation image has {name}" in (small_run / "train.log").read_text()
    assert f"no validation image has it, so never predicted: {name}." in (small_run / "report.html").read_text()
    # Whatever its score: in the pictures to predict it is as high as can be.
    sure = shutil.copytree(small_run, tmp_path / "sure")
    best = sure / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["state_dict"]["model.network.head.1.bias"][place] = 50
    torch.save(content, best)
    assert shell.run("predict", sure, atlas_root / "test", "--out", tmp_path / "out") == 0
    scores = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert (scores.loc[scores["name"] == name, "value"] > 0.5).all()
    labels = pd.read_csv(tmp_path / "out" / "labels.csv", keep_default_na=False)
    assert len(labels) == 6
    assert not labels["labels"].str.contains(name).any()


@pytest.mark.usefixtures("no_report")
def test_measured_again_with_what_the_checkpoint_holds(
    atlas_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(atlas_run, tmp_path / "run"))
    best = (run / "checkpoints" / "best.ckpt").read_bytes()
    (run / "metrics.json").unlink()
    for split in ("val", "test", "train"):
        assert shell.run("evaluate", run, "--split", split, "--device", "cpu") == 0
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == best, "nothing is fitted again"
    expected, metrics = read(atlas_run / "metrics.json"), read(run / "metrics.json")
    assert {name: metrics[name] for name in expected} == expected
    true, scores, decided = parts(run, "train")
    np.testing.assert_array_equal(decided, scores >= thresholds(run))
    assert found(run, "train") == pytest.approx(values(true, scores, decided), abs=2e-5)

    # Nothing was fitted for the last one: a half stands in, which is said, and is no nested figure.
    assert shell.run("evaluate", run / "checkpoints" / "last.ckpt", "--split", "val", "--device", "cpu") == 0
    assert "never fitted on validation images" in caplog.text
    folder = run / "evaluations" / "last_val"
    assert (about_labels(folder)["fitted"], about_labels(folder)["thresholds"]) == (False, [0.5] * 28)
    true, scores, decided = parts(folder, "val")
    np.testing.assert_array_equal(decided, scores >= 0.5)

    # Other data: another table, the thresholds of the run, what it has learnt stays.
    others = samples.write("protein_atlas", tmp_path / "others", seed=7, images=16, test_images=1, image_size=48)
    rows = (others / "train.csv").read_text().splitlines()
    (others / "some.csv").write_text("\n".join(rows[:13]) + "\n")
    words = ("data.table=some.csv", "data.images=train")
    assert shell.run("evaluate", run, *words, "--data", others, "--device", "cpu") == 0
    true, scores, decided = parts(run / "evaluations" / "others", "test")
    assert len(true) == 12
    np.testing.assert_array_equal(decided, scores >= thresholds(run))
    capsys.readouterr()
    for setting in ("data.classes=[1]", "data.class_group=1/2", "data.channels=[red]", "data.class_names=[a,b]"):
        assert shell.run("evaluate", run, setting, "--data", others, "--out", tmp_path / "new") == 2
        assert f"'{setting}': expected how the files of --data are read" in capsys.readouterr().err
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("classes: null", "classes: [1, 0]"))
    assert shell.run("evaluate", run, "--split", "val") == 1
    assert "it was changed since" in capsys.readouterr().err
