"""Heads of numbers: learnt standardised, answered in the user's unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from visionlab.heads.regression.head import RegressionHead


def head(**changes: Any) -> RegressionHead:
    return RegressionHead(
        "distance", ["distance"], **{"mean": [3.0], "std": [2.0], "unit": "um", "step": 2.0, **changes}
    )


def test_head_learns_standardised_and_answers_in_units() -> None:
    target = torch.tensor([[5.0], [1.0]])
    raw = torch.tensor([[1.0], [0.0]])
    assert head().loss(raw, target, torch.nn.functional.l1_loss) == pytest.approx((0 + 1) / 2)
    assert torch.equal(head().decode(raw), torch.tensor([[5.0], [3.0]]))


def test_head_measures_in_units() -> None:
    true, pred = np.array([[4.0], [-4.0], [1.0]]), np.array([[6.0], [1.0], [-1.0]])
    found = head(metrics=["mae", "rmse", "sign_accuracy"]).measure(np.hstack([true, pred]))
    assert found["mae"] == pytest.approx(3.0)
    assert found["rmse"] == pytest.approx(np.sqrt((4 + 25 + 4) / 3))
    assert found["sign_accuracy"] == pytest.approx(0.5), "the value within one step of focus does not count"


def test_counts_are_never_below_zero_and_still_find_back() -> None:
    raw, target = torch.tensor([[-5.0], [1.0]], requires_grad=True), torch.tensor([[0.0], [5.0]])
    counts = head(activation="nonnegative")
    assert counts.decode(raw).tolist() == [[0.0], [5.0]]
    counts.loss(raw, target, torch.nn.functional.l1_loss).backward()
    assert raw.grad is not None
    assert raw.grad[0] < 0
