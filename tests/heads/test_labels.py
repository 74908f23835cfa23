"""The head of labels: what it learns, what it decides by, and that fitting never flatters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from visionlab.errors import UserError
from visionlab.heads.head import Split
from visionlab.heads.labels.head import MultilabelHead

NAMES = ("Nucleoplasm", "Cytosol", "Rods & rings")


def head(**options: Any) -> MultilabelHead:
    settings: dict[str, Any] = {"ids": [0, 25, 27], "positives": [50.0, 30.0, 2.0], "total": 100.0}
    return MultilabelHead("labels", NAMES, **settings | options)


def some_rows(count: int = 300, seed: int = 0) -> np.ndarray:
    """Labels of three classes, the last without any, and scores that are low where the second is present at all."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, 3)) < [0.5, 0.2, 0.0]).astype(float)
    scores = np.clip(0.2 * rng.random((count, 3)) + [0.4, 0.25, 0.3] * labels + [0.1, 0.0, 0.5], 0, 1)
    return np.concatenate([labels, scores.astype(np.float32)], axis=1)


def fit(one: MultilabelHead, rows: np.ndarray) -> None:
    one.fit(Split([], rows, rows))


@pytest.mark.parametrize("method", ["f1", "ratio", "shrunken"])
def test_a_class_without_positives_has_no_threshold_and_is_never_predicted(method: str) -> None:
    found = head(thresholds=method)
    fit(found, some_rows())
    assert bool(found.fitted)
    assert torch.isnan(found.thresholds).tolist() == [False, False, True]
    assert found.describe()["thresholds"][2] is None
    assert not found.decide(np.ones((4, 3)))[:, 2].any()
    assert not found.decided_rows(some_rows(), None)[:, 8].any()


def test_validation_is_judged_by_thresholds_of_other_groups() -> None:
    """On labels that nothing predicts, thresholds searched on the same data flatter; nested ones cannot."""
    rng = np.random.default_rng(3)
    gains: list[float] = []
    honest: list[float] = []
    for _ in range(20):
        labels = (rng.random((60, 3)) < 0.15).astype(float)
        labels[:2] = 1
        rows = np.concatenate([labels, rng.random((60, 3))], axis=1)
        found = head(thresholds="f1")
        fit(found, rows)
        groups = [str(number) for number in range(60)]
        for judged, kept in ((found.decided_rows(rows), gains), (found.decided_rows(rows, groups), honest)):
            truth, decided = judged[:, :3], judged[:, 6:]
            kept.append(float((2 * (truth * decided).sum(0) / (truth + decided).sum(0)).mean()))
    assert np.mean(gains) > np.mean(honest) + 0.05
    fixed = head(thresholds=0.3)
    fit(fixed, rows)
    assert np.array_equal(fixed.decided_rows(rows, groups), fixed.decided_rows(rows)), "a given number was not searched"


def test_a_given_number_is_not_said_to_be_fitted() -> None:
    fixed, calibrated = head(thresholds=0.3), head(thresholds=0.3, calibration="platt", metrics=["ece"])
    assert (fixed.chooses, calibrated.chooses, head().chooses) == (False, True, True)
    rows = some_rows()
    while_training = calibrated.measure(rows)
    for one in (fixed, calibrated):
        fit(one, rows)
        assert not one.describe()["fitted"]
    assert while_training["ece"] < 0.1 < head(metrics=["ece"]).measure(rows)["ece"], "as it will be judged"


def test_calibration_brings_scores_to_frequencies() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4000, 3))
    labels = (rng.random((4000, 3)) < 1 / (1 + np.exp(-logits))).astype(float)
    confident = 1 / (1 + np.exp(-3 * logits))
    found = head(calibration="temperature")
    fit(found, np.concatenate([labels, confident], axis=1))
    assert found.calibration[:, 0].tolist() == pytest.approx([1 / 3] * 3, rel=0.15)
    assert np.abs(found.calibrated(confident) - 1 / (1 + np.exp(-logits))).max() < 0.06
    assert np.array_equal(head().calibrated(confident), confident.astype(np.float32)), "none: as they are"


def test_scores_that_are_no_numbers_end_in_a_sentence() -> None:
    rows = some_rows(20)
    rows[3, 4] = np.nan
    with pytest.raises(UserError, match=r"heads\.labels: a score .* diverged"):
        fit(head(), rows)
    assert all(np.isnan(value) for value in head(metrics=["f1_macro", "map"]).measure(rows).values())
