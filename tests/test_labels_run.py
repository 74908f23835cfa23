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
from tests.conftest import SHARED, TINY
from visionlab import samples
from visionlab.data.stratify import nested_folds
from visionlab.datasets.protein_atlas import NAMES
from visionlab.metrics.calibration import calibrate, fit_calibration
from visionlab.metrics.thresholds import f1_thresholds, shrunken_thresholds
from visionlab.reports.run import read_scalars

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


def parts(run: Path, split: str) -> tuple[Array, Array, Array]:
    """Return labels, scores and decisions of a split, N x K each, as its table holds them."""
    table = pd.read_csv(run / "predictions" / f"{split}.csv")
    names = read(run / "run.json")["heads"]["labels"]["columns"]
    columns = [[f"{name}_{kind}" for name in names] for kind in ("true", "score", "pred")]
    true, scores, decided = (table[wanted].to_numpy() for wanted in columns)
    return true, scores.astype(np.float32), decided


def thresholds(run: Path) -> Array:
    """Return the thresholds of a run's head, K, NaN where there is none."""
    return np.array(read(run / "run.json")["heads"]["labels"]["thresholds"], np.float32)


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
    patch.setattr("visionlab.training.records.save_pictures", lambda *_: None)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def copy(atlas_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run that this file may change."""
    return Path(shutil.copytree(atlas_run, tmp_path_factory.mktemp("copy") / "run"))


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


# Files --------------------------------------------------------------------------------------------------------------


def test_a_row_for_each_sample_and_for_each_class(atlas_run: Path, atlas_root: Path) -> None:
    table = pd.read_csv(atlas_run / "predictions" / "test.csv")
    columns = [f"{name}_{kind}" for name in NAMES for kind in ("true", "pred", "score")]
    assert list(table.columns) == ["id", "group", "split", "path", "labels_true", "labels_pred", *columns]
    assert sorted(table["group"]) == read(atlas_run / "splits.json")["test"]
    assert table["path"].tolist() == [f"train/{name}_red.png" for name in table["id"]]
    given = pd.read_csv(atlas_root / "train.csv").set_index("Id")["Target"]
    for _, row in table.fillna({"labels_pred": ""}).iterrows():
        numbers = sorted(int(text) for text in given[row["id"]].split())
        assert row["labels_true"] == "; ".join(NAMES[number] for number in numbers)
        assert row["labels_pred"] == "; ".join(name for name in NAMES if row[f"{name}_pred"])
        assert [number for number, name in enumerate(NAMES) if row[f"{name}_true"]] == numbers


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_table_of_classes_is_that_of_the_predictions(atlas_run: Path, split: str) -> None:
    table = pd.read_csv(atlas_run / "predictions" / f"{split}_classes.csv")
    measures = ["precision", "recall", "f1", "f1_half", "ap", "auroc"]
    ends = [f"{name}{end}" for name in measures for end in ("", "_low", "_high")]
    first = ["class", "id", "threshold", "train", "support", "predicted"]
    assert list(table.columns) == [*first, *ends, "expected_f1", "ece"]
    assert (table["class"].tolist(), table["id"].tolist()) == (list(NAMES), list(range(28)))
    np.testing.assert_allclose(table["threshold"], thresholds(atlas_run), rtol=1e-6)
    true, scores, decided = parts(atlas_run, split)
    index = pd.read_csv(atlas_run / "data_index.csv")
    assert table["train"].tolist() == index.loc[index["split"] == "train", list(NAMES)].sum().tolist()
    assert table["support"].tolist() == true.sum(axis=0).tolist()
    assert table["predicted"].tolist() == decided.sum(axis=0).tolist()
    given: dict[str, Any] = {"average": None, "zero_division": 0}
    np.testing.assert_allclose(table["precision"], reference.precision_score(true, decided, **given), atol=1e-6)
    np.testing.assert_allclose(table["recall"], reference.recall_score(true, decided, **given), atol=1e-6)
    np.testing.assert_allclose(table["f1"], reference.f1_score(true, decided, **given), atol=1e-6)
    np.testing.assert_allclose(table["f1_half"], reference.f1_score(true, scores >= 0.5, **given), atol=1e-6)
    np.testing.assert_allclose(table["ap"], reference.average_precision_score(true, scores, average=None), atol=1e-6)


def test_each_metric_has_its_baseline_and_says_how_many_classes_count(atlas_run: Path, atlas_root: Path) -> None:
    metrics = read(atlas_run / "metrics.json")
    assert list(metrics) == [f"{split}/labels/{name}" for split in ("val", "test") for name in METRICS]
    for split in ("val", "test"):
        true = parts(atlas_run, split)[0]
        counted = int(true.any(axis=0).sum())
        shares = true[:, true.any(axis=0)].mean(axis=0)
        expected = {
            # Always predicted; its scores are one value; predicted where more than half of the training images have it.
            "f1_macro": np.mean(2 * shares / (1 + shares)),
            "f1_macro_gain": 0,
            "precision_macro": shares.mean(),
            "recall_macro": 1,
            "map": shares.mean(),
            "auroc": 0.5,
            "hamming": true.mean(),
            "exact_match": 0,
        }
        for name, value in expected.items():
            assert metrics[f"{split}/labels/{name}"]["baseline"] == pytest.approx(value, abs=1e-6), name
        for name in METRICS:
            entry = metrics[f"{split}/labels/{name}"]
            assert (entry["n"], entry["groups"], entry["unit"], entry["data"]) == (28, 28, "", str(atlas_root))
            assert entry["better"] == ("min" if name in ("hamming", "ece") else "max")
            of_all = name in ("f1_micro", "hamming", "exact_match")
            assert (entry["classes"], entry["of"]) == (28 if of_all else counted, 28)


def test_thresholds_are_kept_in_the_best_checkpoint_only(atlas_run: Path, small_run: Path) -> None:
    for run, method in ((atlas_run, "shrunken"), (small_run, "f1")):
        about = read(run / "run.json")["heads"]["labels"]
        assert (about["kind"], about["fitted"], about["method"]) == ("multilabel", True, method)
        best, last = (
            torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
            for name in ("best", "last")
        )
        kept = {name: best[f"model.heads.labels.{name}"] for name in ("thresholds", "calibration", "positives")}
        np.testing.assert_array_equal(kept["thresholds"].numpy(), thresholds(run))
        assert kept["calibration"].tolist() == about["calibration"]
        index = pd.read_csv(run / "data_index.csv")
        train = index.loc[index["split"] == "train", about["columns"]]
        assert kept["positives"].tolist() == about["positives"] == train.sum().tolist()
        assert best["model.heads.labels.total"] == about["total"] == len(train)
        assert best["model.heads.labels.fitted"] and not last["model.heads.labels.fitted"]
        assert last["model.heads.labels.thresholds"].tolist() == [0.5] * len(train.columns)
        assert last["model.heads.labels.calibration"].tolist() == [[1, 0]] * len(train.columns)
    assert about["ids"] == CLASSES


# Numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", ["atlas_run", "small_run"])
def test_metrics_are_those_of_the_predictions(name: str, split: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    expected = values(*parts(run, split))
    assert found(run, split) == pytest.approx(expected, abs=2e-5)


def test_the_test_split_is_decided_by_what_was_fitted_on_validation(atlas_run: Path, small_run: Path) -> None:
    for run in (atlas_run, small_run):
        _, scores, decided = parts(run, "test")
        np.testing.assert_array_equal(decided, scores >= thresholds(run))
        assert decided.any()
    true, scores, _ = parts(atlas_run, "val")
    # Printed with 7 digits.
    np.testing.assert_allclose(thresholds(atlas_run), shrunken_thresholds(scores, true), rtol=1e-5)


def test_validation_is_decided_by_what_the_other_folds_give(atlas_run: Path) -> None:
    true, scores, decided = parts(atlas_run, "val")
    folds = nested_folds(pd.read_csv(atlas_run / "predictions" / "val.csv")["group"].to_numpy(), true)
    assert set(folds) == {0, 1, 2, 3, 4}
    expected = np.zeros(true.shape, int)
    for fold in range(5):
        fitted = shrunken_thresholds(scores[folds != fold], true[folds != fold])
        expected[folds == fold] = scores[folds == fold] >= fitted
    np.testing.assert_array_equal(decided, expected)
    own = (scores >= thresholds(atlas_run)).astype(int)
    assert (own != decided).any()
    assert values(true, scores, own)["f1_macro"] > found(atlas_run, "val")["f1_macro"], "the fitted ones flatter"


def test_calibration_of_validation_is_nested_as_well(small_run: Path, atlas_root: Path) -> None:
    """From the scores as the network gives them: on test by what validation gives, there by what other folds give."""
    predictor = visionlab.load(small_run, device="cpu")
    about = read(small_run / "run.json")["heads"]["labels"]
    with_calibration = parts(small_run, "test")[1]
    table = pd.read_csv(small_run / "predictions" / "val.csv")
    predictor.heads[0].calibration.copy_(torch.tensor([[1.0, 0.0]] * 3))

    def raw(split: str) -> Array:
        paths = pd.read_csv(small_run / "predictions" / f"{split}.csv")["path"]
        scores = [list(one.values.values()) for one in predictor.predict([atlas_root / path for path in paths])]
        return np.array(scores, np.float32)

    true, scores, decided = parts(small_run, "val")
    folds = nested_folds(table["group"].to_numpy(), true)
    before, kept = raw("val"), [0, 2]
    np.testing.assert_allclose(calibrate(raw("test"), about["calibration"]), with_calibration, atol=1e-5)
    np.testing.assert_allclose(fit_calibration("platt", before, true), about["calibration"], rtol=1e-3, atol=1e-3)
    for fold in range(5):
        rest = folds != fold
        parameters = fit_calibration("platt", before[rest], true[rest])
        np.testing.assert_allclose(scores[~rest], calibrate(before[~rest], parameters), atol=1e-4)
        fitted = f1_thresholds(calibrate(before[rest], parameters), true[rest])[0]
        np.testing.assert_array_equal(decided[~rest][:, kept], (scores[~rest] >= fitted)[:, kept])


# A class that validation says nothing of ----------------------------------------------------------------------------


def test_a_class_without_validation_images_is_never_predicted(
    small_run: Path, atlas_root: Path, tmp_path: Path
) -> None:
    place, name = CLASSES.index(ABSENT), NAMES[ABSENT]
    about = read(small_run / "run.json")["heads"]["labels"]
    assert [value is None for value in about["thresholds"]] == [False, True, False]
    assert about["positives"][place] > 0, "it was learnt"
    assert parts(small_run, "test")[0][:, place].any(), "and it is there to be found"
    for split in ("val", "test"):
        assert not parts(small_run, split)[2][:, place].any()
    metrics = read(small_run / "metrics.json")
    assert (metrics["val/labels/f1_macro"]["classes"], metrics["test/labels/f1_macro"]["classes"]) == (2, 3)
    row = pd.read_csv(small_run / "predictions" / "val_classes.csv").set_index("class").loc[name]
    assert np.isnan(row[["threshold", "precision", "recall", "f1", "ap", "auroc"]].to_numpy(float)).all()
    log = (small_run / "train.log").read_text()
    assert "labels: thresholds fitted on" in log and "for 2 of 3 classes" in log
    assert f"labels: no validation image has {name}: no threshold, so never predicted" in log
    said = f"No threshold, because no validation image has it, so never predicted: {name}."
    assert said in (small_run / "report.html").read_text()

    # Whatever its score: in the pictures to predict it is as high as can be.
    sure = shutil.copytree(small_run, tmp_path / "sure")
    for path in (sure / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        content["state_dict"]["model.network.head.1.bias"][place] = 50
        torch.save(content, path)
    assert shell.run("predict", sure, atlas_root / "test", "--out", tmp_path / "out") == 0
    scores = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert (scores.loc[scores["name"] == name, "value"] > 0.5).all()
    labels = pd.read_csv(tmp_path / "out" / "labels.csv", keep_default_na=False)
    assert len(labels) == 6
    assert not labels["labels"].str.contains(name).any()
    assert {number for text in labels["numbers"] for number in text.split()} <= {"3", "25"}
    assert all(
        name not in one.labels for one in visionlab.load(sure).predict(list((atlas_root / "test").glob("*red*")))
    )


# Measured again -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_report")
def test_measured_again_the_numbers_are_the_same(copy: Path, atlas_run: Path) -> None:
    checkpoint = (copy / "checkpoints" / "best.ckpt").read_bytes()
    shutil.rmtree(copy / "predictions")
    (copy / "metrics.json").unlink()
    for split in ("val", "test"):
        assert shell.run("evaluate", copy, "--split", split, "--device", "cpu") == 0
        for name in (f"{split}.csv", f"{split}_classes.csv"):
            assert (copy / "predictions" / name).read_text() == (atlas_run / "predictions" / name).read_text()
    assert read(copy / "metrics.json") == read(atlas_run / "metrics.json")
    assert (copy / "checkpoints" / "best.ckpt").read_bytes() == checkpoint, "nothing is fitted again"


@pytest.mark.usefixtures("no_report")
def test_training_images_are_decided_by_the_fitted_thresholds(copy: Path) -> None:
    assert shell.run("evaluate", copy, "--split", "train", "--device", "cpu") == 0
    true, scores, decided = parts(copy, "train")
    assert len(true) == 84
    np.testing.assert_array_equal(decided, scores >= thresholds(copy))
    assert found(copy, "train") == pytest.approx(values(true, scores, decided), abs=2e-5)


@pytest.mark.usefixtures("no_report")
def test_another_checkpoint_is_measured_with_what_it_holds_itself(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was fitted for the last one: a half stands in, which is said, and is no nested figure."""
    assert shell.run("evaluate", copy / "checkpoints" / "last.ckpt", "--split", "val", "--device", "cpu") == 0
    assert "never fitted on validation images" in caplog.text
    folder = copy / "evaluations" / "last_val"
    about = read(folder / "run.json")["heads"]["labels"]
    assert (about["fitted"], about["thresholds"]) == (False, [0.5] * 28)
    true, scores, decided = parts(folder, "val")
    np.testing.assert_array_equal(decided, scores >= 0.5)
    assert found(folder, "val") == pytest.approx(values(true, scores, decided), abs=2e-5)


@pytest.mark.usefixtures("no_report")
def test_other_data_are_measured_with_the_thresholds_of_the_run(copy: Path, tmp_path: Path) -> None:
    others = samples.write("protein_atlas", tmp_path / "others", seed=7, images=16, test_images=1, image_size=48)
    rows = (others / "train.csv").read_text().splitlines()
    (others / "some.csv").write_text("\n".join(rows[:13]) + "\n")
    words = ("data.table=some.csv", "data.images=train")
    assert shell.run("evaluate", copy, *words, "--data", others, "--device", "cpu") == 0
    folder = copy / "evaluations" / "others"
    true, scores, decided = parts(folder, "test")
    assert len(true) == 12
    assert thresholds(folder).tolist() == thresholds(copy).tolist()
    np.testing.assert_array_equal(decided, scores >= thresholds(copy))
    assert found(folder, "test") == pytest.approx(values(true, scores, decided), abs=2e-5)
    predictor = visionlab.load(copy, device="cpu")
    table = pd.read_csv(folder / "predictions" / "test.csv", keep_default_na=False)
    for path, names in zip(table["path"], table["labels_pred"], strict=True):
        assert "; ".join(predictor.predict(others / path).labels) == names


def test_what_the_run_has_learnt_cannot_be_changed(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for setting in ("data.classes=[1]", "data.class_group=1/2", "data.channels=[red]", "data.class_names=[a,b]"):
        assert shell.run("evaluate", copy, setting, "--data", copy) == 2
        assert f"'{setting}': expected how the files of --data are read" in capsys.readouterr().err
    assert shell.run("evaluate", copy, "data.classes=[1]") == 2
    assert "settings go with --data" in capsys.readouterr().err
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("classes: null", "classes: [1, 0]"))
    assert shell.run("evaluate", copy, "--split", "val") == 1
    (copy / "config.yaml").write_text(config)
    said = capsys.readouterr().err
    assert "heads.labels: expected Nucleoplasm, Nuclear membrane" in said and "it was changed since" in said


# While training -----------------------------------------------------------------------------------------------------


def test_curves_of_every_metric_are_kept(atlas_run: Path) -> None:
    curves = read_scalars(atlas_run)
    for name in ("val/loss", "train/loss_epoch", *(f"val/labels/{metric}" for metric in METRICS)):
        assert len(curves[name]) == 2, name
        assert np.isfinite(curves[name]["value"]).all()
    # Ranking needs no threshold, so the best epoch's is that of the checkpoint.
    assert found(atlas_run, "val")["map"] == pytest.approx(curves["val/labels/map"]["value"].max(), rel=1e-4)


def module(root: Path, *overrides: str) -> tuple[Any, Any]:
    """Return the LightningModule of seven classes and these settings, untrained, and its data."""
    from visionlab.config.compose import compose
    from visionlab.training.assembly import make_data, make_module

    cfg = compose([*LABELS, f"data.root={root}", "data.class_group=2/4", *overrides])
    data = make_data(cfg)
    data.setup()
    module = make_module(cfg)
    module.build(data)
    return module, data


@pytest.mark.parametrize(
    "loss",
    [
        ("loss=focal", "loss.class_weights=effective", "loss.label_smoothing=0.1"),
        ("loss=lovasz_labels",),
        ("heads.labels.loss={asymmetric:1,soft_f1:0.5}",),
    ],
    ids=lambda loss: loss[0].partition("=")[2],
)
def test_losses_by_name_take_a_step(loss: tuple[str, ...], atlas_root: Path, tmp_path: Path) -> None:
    import pytorch_lightning as pl

    learner, data = module(atlas_root, *loss)
    before = {name: value.clone() for name, value in learner.model.network.named_parameters()}
    trainer = pl.Trainer(fast_dev_run=1, accelerator="cpu", default_root_dir=tmp_path, enable_model_summary=False)
    trainer.fit(learner, datamodule=data)
    assert trainer.callback_metrics["train/loss"] > 0
    assert trainer.callback_metrics["val/loss"] > 0
    for name, value in learner.model.network.named_parameters():
        assert torch.isfinite(value).all() and not torch.equal(value, before[name]), name


def test_class_weights_are_made_of_the_counts_of_training(atlas_root: Path) -> None:
    learner, data = module(atlas_root, "loss=bce", "loss.class_weights=log", "loss.label_smoothing=0.1")
    counts = data.values("labels", "train").sum(axis=0)
    assert len(counts) == 7 and counts.min() < counts.max()
    weights = np.log1p(len(data.rows["train"]) / counts)
    raw, labels = np.random.default_rng(0).normal(size=(2, 9, 7))
    labels = (labels > 0).astype(float)
    smooth = 0.9 * labels + 0.05
    costs = smooth * np.log1p(np.exp(-raw)) + (1 - smooth) * np.log1p(np.exp(raw))
    (head,) = learner.model.each_head()
    found = head.loss(torch.tensor(raw), torch.tensor(labels), learner.losses["labels"])
    assert float(found) == pytest.approx((costs * weights / weights.mean()).mean(), rel=1e-5)


# Real images --------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_the_real_images_train_and_predict(tmp_path: Path) -> None:
    root = SHARED / "protein_atlas"
    settings = (*LABELS, f"data.root={root}", "trainer.max_epochs=1")
    assert shell.run("prepare", *settings, f"hydra.run.dir={tmp_path / 'prepare'}") == 0
    card = read(tmp_path / "prepare" / "data_card.json")
    assert (card["n"], card["shapes"], card["dtypes"]) == (83, {"512x512": 83}, {"uint8": 83})
    splits = f"data.split_file={tmp_path / 'prepare' / 'splits.json'}"
    assert shell.run("train", *settings, splits, f"hydra.run.dir={tmp_path / 'run'}") == 0
    log = (tmp_path / "run" / "train.log").read_text()
    assert "train.csv: 30989 of 31072 rows have no image" in log
    assert "83 samples of red, green, blue, yellow" in log
    absent = [NAMES[number] for number in (8, 9, 10, 16, 17, 24, 26, 27)]
    about = read(tmp_path / "run" / "run.json")["heads"]["labels"]
    for name, value, positives in zip(NAMES, about["thresholds"], about["positives"], strict=True):
        assert name not in absent or (value is None and positives == 0)
        assert name not in absent or name in log
    assert read(tmp_path / "run" / "metrics.json")["test/labels/f1_macro"]["classes"] <= 20
    names = [
        "000a9596-bbc4-11e8-b2bc-ac1f6b6435d0",
        "001bcdd2-bbb2-11e8-b2ba-ac1f6b6435d0",
        "02b13740-bbc5-11e8-b2bc-ac1f6b6435d0",
    ]
    files = [root / "train" / f"{name}_{stain}.png" for name, stain in zip(names, ("blue", "*", "red"), strict=True)]
    assert shell.run("predict", tmp_path / "run", *files, "--out", tmp_path / "out") == 0
    labels = pd.read_csv(tmp_path / "out" / "labels.csv", keep_default_na=False)
    assert labels["id"].tolist() == names
    assert not any(name in text for name in absent for text in labels["labels"])
