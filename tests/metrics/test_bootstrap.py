"""The interval over groups: exact where it can be counted by hand, honest in simulations."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from visionlab.metrics import group_interval
from visionlab.metrics.regression import METRICS

MAE = METRICS["mae"]


def rows(error: npt.ArrayLike) -> np.ndarray:
    """Return rows of true values of 0 and predictions with these errors."""
    return np.stack([np.zeros_like(error), error], axis=1)


def clustered(n_groups: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Errors half of whose variance is their group's, and the groups."""
    groups = np.repeat(np.arange(n_groups), size)
    return rng.normal(0, 1, n_groups)[groups] + rng.normal(0, 1, len(groups)), groups


def test_two_groups_by_hand() -> None:
    # Resamples are AA (1/4), AB (1/2), BB (1/4): the interval goes from A's MAE to B's.
    low, high = group_interval(MAE, rows([1.0, 1, 1, 5, 5]), list("aaabb"))
    assert (low, high) == (1.0, 5.0)


def test_three_groups_by_counting_all_resamples() -> None:
    error, groups = np.array([1.0, 2, 2, 9, 9, 9]), np.array(list("abbccc"))
    values = np.sort(
        [np.concatenate([error[groups == g] for g in draw]).mean() for draw in itertools.product("abc", repeat=3)]
    )
    low, high = group_interval(MAE, rows(error), groups, replicates=20000)
    # 27 equally likely resamples, each 3.7% of them.
    assert low == pytest.approx(values[0])
    assert high == pytest.approx(values[26])


def test_covers_the_truth_95_times_of_100() -> None:
    rng = np.random.default_rng(0)
    truth = 2 / np.sqrt(np.pi)  # mean of |N(0, 2)|
    inside = 0
    for _ in range(300):
        error, groups = clustered(60, 10, rng)
        low, high = group_interval(MAE, rows(error), groups, replicates=400)
        assert low is not None and high is not None
        inside += low <= truth <= high
    assert 0.91 <= inside / 300 <= 0.98


def test_no_interval_without_groups_or_value() -> None:
    assert group_interval(MAE, rows([1.0, 1, 1]), ["a"] * 3) == (None, None)
    assert group_interval(MAE, rows([1, np.nan, 1]), list("abc")) == (None, None)
    assert group_interval(METRICS["sign_accuracy"], rows([1.0, 1, 1]), list("abc")) == (None, None)


def test_resamples_without_a_counted_sample_are_left_out() -> None:
    # Only group a has a sign; a resample without a is undefined.
    result = group_interval(METRICS["sign_accuracy"], np.array([[1.0, 1.0], [1.0, -1.0], [0.0, 1.0]]), list("aab"))
    assert result == (0.5, 0.5)


@pytest.mark.parametrize("n_groups", [3, 40])
def test_draws_are_those_of_one_resample_after_the_other(n_groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Several chunks of several resamples.
    monkeypatch.setattr("visionlab.metrics.bootstrap._DRAWN_AT_ONCE", 7 * n_groups + 1)
    error, groups = clustered(n_groups, 3, np.random.default_rng(6))
    rng = np.random.default_rng(0)
    values = [
        np.abs(np.concatenate([error[groups == g] for g in rng.integers(n_groups, size=n_groups)])).mean()
        for _ in range(50)
    ]
    expected = np.quantile(values, [0.025, 0.975])
    found = group_interval(MAE, rows(error), groups, replicates=50)
    assert found == pytest.approx(tuple(expected), rel=1e-12)
