"""Metrics of labels: by hand, against scikit-learn, and over resampled groups."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from visionlab.metrics import group_interval
from visionlab.metrics.multilabel import METRICS as LABELS
from visionlab.metrics.multilabel import class_table, confusion, counted_classes

MACRO_AT = ("precision", "recall", "f1", "f1_half", "ap", "auroc")

TRUE = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
SCORES = np.array([[0.9, 0.4, 0.2], [0.4, 0.8, 0.1], [0.7, 0.3, 0.6], [0.2, 0.3, 0.1]])
DECIDED = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
ROWS = np.concatenate([TRUE, SCORES, DECIDED], axis=1)


def example(n: int = 80, k: int = 6, seed: int = 0) -> np.ndarray:
    """Rows with many equal scores, of classes from common to rare; the last has no positive."""
    rng = np.random.default_rng(seed)
    true = rng.random((n, k)) < np.geomspace(0.6, 0.04, k)
    true[:, -1] = False
    scores = np.round(np.clip(0.3 * true + 0.7 * rng.random((n, k)), 0, 1), 1)
    return np.concatenate([true, scores, scores >= 0.6], axis=1)


def values(rows: np.ndarray) -> dict[str, float]:
    return {name: metric(rows) for name, metric in LABELS.items()}


def undecided(true: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.concatenate([true, scores, np.full(true.shape, np.nan)], axis=1)


def spec(k: int, **changes: Any) -> dict[str, Any]:
    """What a head of K classes says of itself."""
    given = {"kind": "multilabel", "columns": [f"class {i}" for i in range(k)], "ids": list(range(k)), "unit": ""}
    return {**given, "thresholds": [0.6] * k, "positives": [10] * k, "metrics": list(LABELS), **changes}


# Values -------------------------------------------------------------------------------------------------------------


def test_values_by_hand() -> None:
    # F1 of the first two classes 2 * 2 / (2 + 2) and 2 * 1 / (2 + 2), at half 2 * 1 / (2 + 2) and 2 * 1 / (2 + 1);
    # the third has no positive and is left out of means over classes, but its false one counts among all labels.
    expected = {
        "f1_macro": (1 + 1 / 2) / 2,
        "f1_macro_half": (1 / 2 + 2 / 3) / 2,
        "f1_macro_gain": (1 + 1 / 2) / 2 - (1 / 2 + 2 / 3) / 2,
        "f1_micro": 2 * 3 / (4 + 5),
        "precision_macro": (1 + 1 / 2) / 2,
        "recall_macro": (1 + 1 / 2) / 2,
        # Order of class 0: + - + -; of class 1: + - and then a positive and a negative with equal scores.
        "map": ((1 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2,
        "auroc": (3 / 4 + (2 + 1 / 2) / 4) / 2,
        "hamming": 3 / 12,
        "exact_match": 2 / 4,
        # Class 0 by bins: 0.9 and 1, 0.4 and 1, 0.7 and 0, 0.2 and 0; class 1: 0.4 and 0, 0.8 and 1, 0.6 and 1 of two.
        "ece": ((0.1 + 0.6 + 0.7 + 0.2) / 4 + (0.4 + 0.2 + 0.4) / 4) / 2,
    }
    assert values(ROWS) == pytest.approx(expected, rel=1e-12)
    assert list(expected) == list(LABELS)
    assert {name for name, metric in LABELS.items() if metric.better == "min"} == {"hamming", "ece"}


@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_scikit_learn(weighted: bool) -> None:
    for seed in range(5):
        rows = example(seed=seed)
        weight = np.random.default_rng(seed).random(len(rows)) if weighted else None
        true, scores, decided = np.split(rows, 3, axis=1)
        some = true.any(axis=0)
        given: dict[str, Any] = {"zero_division": 0, "sample_weight": weight}
        kept = (true[:, some], decided[:, some])
        half = scores[:, some] >= 0.5
        of_scores = {"sample_weight": weight, "average": "macro"}
        expected = {
            "f1_macro": sklearn_metrics.f1_score(*kept, average="macro", **given),
            "f1_macro_half": sklearn_metrics.f1_score(true[:, some], half, average="macro", **given),
            "f1_micro": sklearn_metrics.f1_score(true, decided, average="micro", **given),
            "precision_macro": sklearn_metrics.precision_score(*kept, average="macro", **given),
            "recall_macro": sklearn_metrics.recall_score(*kept, average="macro", **given),
            "map": sklearn_metrics.average_precision_score(true[:, some], scores[:, some], **of_scores),
            "auroc": sklearn_metrics.roc_auc_score(true[:, some], scores[:, some], **of_scores),
            "hamming": sklearn_metrics.hamming_loss(true, decided, sample_weight=weight),
            "exact_match": sklearn_metrics.accuracy_score(true, decided, sample_weight=weight),
        }
        found = {name: LABELS[name](rows, weight=weight) for name in expected}
        assert found == pytest.approx(expected, rel=1e-12)


# Classes and samples that say nothing -------------------------------------------------------------------------------


def test_classes_without_positives_are_left_out_and_counted() -> None:
    rows = example(k=4)
    kept = np.concatenate([part[:, :3] for part in np.split(rows, 3, axis=1)], axis=1)
    for name in LABELS:
        everything = name in ("f1_micro", "hamming", "exact_match")
        assert counted_classes(name, rows) == (4 if everything else 3)
        if not everything:
            assert LABELS[name](rows) == pytest.approx(LABELS[name](kept), rel=1e-12)


def test_the_baseline_decides_as_suits_each_metric() -> None:
    true = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    found = values(undecided(true, np.full((4, 2), [0.7, 0.1])))
    assert found == pytest.approx(
        {
            "f1_macro": (6 / 7 + 2 / 5) / 2,  # always predicted
            "f1_macro_half": (6 / 7 + 2 / 5) / 2,
            "f1_macro_gain": 0,
            "f1_micro": 2 * 3 / (4 + 4),  # the second class would cost more than it finds
            "precision_macro": (3 / 4 + 1 / 4) / 2,
            "recall_macro": 1,
            "map": (3 / 4 + 1 / 4) / 2,
            "auroc": 0.5,
            "hamming": 2 / 8,  # only the first class is predicted
            "exact_match": 2 / 4,
            "ece": (0.05 + 0.15) / 2,
        }
    )


# Intervals ----------------------------------------------------------------------------------------------------------


def as_resampled(name: str) -> Any:
    """Return a metric whose interval is that of the resamples, not brought back to the value."""
    return dataclasses.replace(LABELS[name], within=None)


# Tables of classes --------------------------------------------------------------------------------------------------


def of_class(rows: np.ndarray, k: int) -> np.ndarray:
    return np.stack([part[:, k] for part in np.split(rows, 3, axis=1)], axis=1)


def test_the_table_has_each_class_as_the_metrics_have_it_alone() -> None:
    rows, groups = example(), np.arange(80) % 20
    given = spec(6, ids=[7, 5, 3, 2, 1, 0], thresholds=[0.6] * 5 + [None], positives=[60, 50, 40, 30, 20, 0])
    table = class_table(rows, given, groups)
    ends = [f"{name}{end}" for name in MACRO_AT for end in ("", "_low", "_high")]
    counts = ["class", "id", "threshold", "train", "support", "predicted"]
    assert list(table) == [*counts, *ends, "expected_f1", "ece"]
    assert table["class"].tolist() == given["columns"]
    assert table["id"].tolist() == given["ids"]
    assert table["train"].tolist() == given["positives"]
    assert table["threshold"].tolist()[:5] == [0.6] * 5
    assert pd.isna(table["threshold"][5])
    assert table["support"].tolist() == rows[:, :6].sum(axis=0).tolist()
    assert table["predicted"].tolist() == rows[:, 12:].sum(axis=0).tolist()
    metrics = ("precision_macro", "recall_macro", "f1_macro", "f1_macro_half", "map", "auroc")
    for column, name in zip(MACRO_AT, metrics, strict=True):
        assert table[column].mean() == pytest.approx(LABELS[name](rows), rel=1e-12)
        for k in (0, 4):
            alone = of_class(rows, k)
            assert table[column][k] == pytest.approx(LABELS[name](alone), rel=1e-12)
            interval = group_interval(as_resampled(name), alone, groups)
            assert (table[f"{column}_low"][k], table[f"{column}_high"][k]) == pytest.approx(interval, rel=1e-9)
        assert table[[column, f"{column}_low", f"{column}_high"]].loc[5].isna().all()
    assert table["ece"][:5].mean() == pytest.approx(LABELS["ece"](rows))
    assert table["expected_f1"].notna().tolist() == [True] * 5 + [False]


# Which classes go with which ----------------------------------------------------------------------------------------


def test_confusion_by_hand() -> None:
    true = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]])
    decided = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]])
    found = confusion(np.concatenate([true, decided, decided], axis=1))
    # Of five images of class 0 two are found, one taken for 1, one for 1 and 2, one for nothing; of two of class 1 one
    # is found, although 0 is wrong there, and one taken for 2.
    assert found[0].tolist() == pytest.approx([2 / 5, 1.5 / 5, 0.5 / 5, 0])
    assert found[1].tolist() == pytest.approx([0, 1 / 2, 1 / 2, 0])
    assert np.isnan(found[2:]).all()


def test_an_interval_of_a_mean_over_classes_holds_the_mean() -> None:
    """24 classes of one image each, always given: resamples leave classes out, and the mean of the others is higher."""
    labels = np.eye(24)
    rows = np.concatenate([labels, np.random.default_rng(0).random(labels.shape), np.ones_like(labels)], axis=1)
    groups = [str(number) for number in range(24)]
    value = LABELS["f1_macro"](rows)
    assert value == pytest.approx(2 / 25)
    resampled, _ = group_interval(as_resampled("f1_macro"), rows, groups)
    assert resampled is not None and resampled > value, "what the resamples alone would say"
    for name in ("f1_macro", "f1_macro_gain", "precision_macro", "recall_macro", "map", "auroc"):
        low, high = group_interval(LABELS[name], rows, groups)
        assert low is not None and high is not None
        assert -1 <= low <= LABELS[name](rows) <= high <= 1, name
