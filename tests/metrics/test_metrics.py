"""What holds for every metric of every kind of head, whatever it is computed from."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from visionlab.heads import KINDS
from visionlab.heads.depth.head import depth_rows
from visionlab.heads.mask.head import mask_rows
from visionlab.metrics import group_interval
from visionlab.metrics.bootstrap import intervals
from visionlab.metrics.matching import frame_sums
from visionlab.metrics.metric import Metric
from visionlab.metrics.regression import sign_accuracy

Array = np.ndarray[Any, Any]
METRICS = {name: kind.metrics for name, kind in KINDS.items()}
ALL = [(kind, name) for kind, of_kind in METRICS.items() for name in of_kind]
N = 80


def maps(better: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return N predictions and targets, 0 to 1, that are nearer to each other the larger ``better`` is, 1 at most."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(2, N, 1, 12, 14, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise.flatten(0, 1), 5, 1, 2).unflatten(0, (2, N))
    target, other = ((smooth - 0.5) * 8).sigmoid()
    target[:, :, 0, 0] = torch.nan
    return better * target + (1 - better) * other, target


def instance_row(pred: Array, true: Array) -> Array:
    pixels, objects = frame_sums(true, pred, objects=True)
    return np.concatenate([pixels[0], list(objects.values())])


def rows_of(kind: str, better: float = 0.3) -> Array:
    """Return rows of N samples, of predictions that are right where ``better`` is 1."""
    rng = np.random.default_rng(2)
    if kind == "regression":
        true = rng.normal(1000, 10, (N, 2))  # far from zero: R2 must not lose its digits
        true[:, 1] -= 1000
        return np.concatenate([true, true + (1 - better) * rng.normal(1, 8, true.shape)], axis=1)
    if kind == "multilabel":
        labels = rng.random((N, 4)) < np.geomspace(0.6, 0.1, 4)
        scores = np.round(better * labels + (1 - better) * rng.random((N, 4)), 1)  # many are equal
        return np.concatenate([labels, scores, scores >= 0.6], axis=1)
    if kind == "instances":
        ids = np.kron(rng.integers(0, 3, (N, 1, 3, 4)) * np.arange(1, 13).reshape(3, 4), np.ones((4, 4), int))
        dropped = np.kron(rng.random((N, 1, 3, 4)) > better + 1e-9, np.ones((4, 4), bool))
        found = np.where(dropped & (ids > 0), 0, ids)
        if better < 1:
            found = np.roll(found, 1, axis=3)
        return np.stack([instance_row(*planes) for planes in zip(found, ids, strict=True)])
    pred, target = maps(better)
    if kind == "mask":
        target = torch.where(target.isnan(), torch.nan, (target > 0.5).float())
        pred = target.nan_to_num() if better == 1 else pred
        return mask_rows(pred, target).numpy()
    pred = torch.where(target.isnan(), 0.5, pred)
    return depth_rows(4 * pred + 0.1, 4 * target + 0.1, data_range=4.0, floor=1e-3).numpy()


def value(kind: str, name: str, rows: Array, **options: Any) -> float:
    return METRICS[kind][name](rows, **options)


def interval(kind: str, name: str, rows: Array, groups: Any, **options: Any) -> Any:
    return group_interval(METRICS[kind][name], rows, groups, **options)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_weight_is_a_number_of_repeats_and_the_order_is_nothing(kind: str, name: str) -> None:
    rows, rng = rows_of(kind), np.random.default_rng(3)
    weight = rng.integers(0, 4, N)
    repeated = value(kind, name, np.repeat(rows, weight, axis=0))
    assert value(kind, name, rows, weight=weight) == pytest.approx(repeated, rel=1e-9)
    # Sums beyond what two bytes hold.
    assert value(kind, name, rows, weight=5000 * weight) == pytest.approx(repeated, rel=1e-9)
    assert value(kind, name, rng.permutation(rows)) == pytest.approx(value(kind, name, rows), rel=1e-9)
    assert repeated != pytest.approx(value(kind, name, rows), rel=1e-9), "weights do something"


# Those of order are no sums, and R2 is centred on all samples that it is given.
@pytest.mark.parametrize(
    ("kind", "name"), [key for key in ALL if isinstance(METRICS[key[0]][key[1]], Metric) and key[1] != "r2"]
)
def test_sums_over_batches_of_any_size_give_the_whole(kind: str, name: str) -> None:
    one, rows = METRICS[kind][name], rows_of(kind)
    assert isinstance(one, Metric)
    batches = [one.terms(part).sum(axis=0) for part in np.split(rows, [3, 4, 50])]
    assert one.values(np.sum(batches, axis=0)[np.newaxis])[0] == pytest.approx(value(kind, name, rows), rel=1e-9)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_what_is_right_is_best(kind: str, name: str) -> None:
    one, best, worse = METRICS[kind][name], value(kind, name, rows_of(kind, 1.0)), value(kind, name, rows_of(kind))
    if name == "f1_macro_gain":  # where all is right, thresholds gain nothing
        assert best == 0
        return
    assert best == pytest.approx({"min": 0.0, "max": 1.0, "zero": 0.0}[one.better], abs=1e-6)
    assert abs(worse - best) > 1e-3
    assert one.better == "zero" or (worse < best) == (one.better == "max")


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_nothing_is_undefined(kind: str, name: str) -> None:
    rows = rows_of(kind)
    assert math.isnan(value(kind, name, rows[:0]))
    assert math.isnan(value(kind, name, rows, weight=np.zeros(N)))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_prediction_that_is_not_a_number_makes_the_value_undefined(kind: str, name: str) -> None:
    rows = rows_of(kind)
    # Of the sums of an image all are NaN then; of numbers and scores the prediction is.
    rows[7, {"regression": [2], "multilabel": [4]}.get(kind, slice(None))] = np.nan
    assert math.isnan(value(kind, name, rows))
    assert interval(kind, name, rows, np.arange(N)) == (None, None)


@pytest.mark.parametrize(("kind", "name"), ALL)
@pytest.mark.parametrize("n_groups", [5, N])
def test_intervals_over_groups_are_those_of_weights_on_samples(
    kind: str, name: str, n_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visionlab.metrics.ranking._WEIGHTS_AT_ONCE", N * 7 + 1)  # several passes
    rows, groups = rows_of(kind), np.arange(N) % n_groups
    one = METRICS[kind][name]
    if not one.interval:
        assert interval(kind, name, rows, groups) == (None, None)
        return
    plain = dataclasses.replace(one, within=None)  # the resamples as they are
    fast = group_interval(plain, rows, groups, replicates=60)
    member = np.unique(groups, return_inverse=True)[1]

    def draw(counts: Array) -> Array:
        return np.array([[value(kind, name, rows, weight=row[member])] for row in counts])

    slow = [end[0] for end in intervals(draw, n_groups, replicates=60)]
    assert fast == pytest.approx(slow, rel=1e-9)
    low, high = interval(kind, name, rows, groups)
    assert low <= value(kind, name, rows) <= high
    assert low < high or name == "f1_macro_gain"


def test_rows_of_another_shape_are_refused() -> None:
    for kind, name in ALL:
        with pytest.raises(ValueError, match=r"expected|zip|split"):
            METRICS[kind][name](np.zeros((4, 7)))
        with pytest.raises(ValueError, match="expected 80 values, one a sample"):
            value(kind, name, rows_of(kind), weight=[1, 2])


# Numbers by hand ----------------------------------------------------------------------------------------------------

ROWS = np.array([[-4.0, -3.0], [-1.0, 1.0], [0.0, 0.0], [2.0, 2.0], [6.0, 2.0]])  # errors 1, 2, 0, 0, -4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", 7 / 5),
        ("rmse", math.sqrt(21 / 5)),
        ("bias", -1 / 5),
        ("r2", 1 - 21 / 55.2),  # the sum of squares about the mean 0.6 is 57 - 5 * 0.36
        ("sign_accuracy", 3 / 4),  # 0 has no sign; -1 was taken for positive
    ],
)
def test_numbers_by_hand(name: str, expected: float) -> None:
    assert METRICS["regression"][name](ROWS) == pytest.approx(expected, rel=1e-12)


def test_the_sign_is_judged_beyond_the_margin() -> None:
    assert sign_accuracy(1.0)(ROWS) == 1.0  # -1 lies on the margin, not beyond it
    assert math.isnan(sign_accuracy(10.0)(ROWS))
    assert sign_accuracy()(np.array([[5.0, 0.0], [-5.0, -1.0]])) == 0.75, "a prediction of zero counts half"


@pytest.mark.parametrize("true", [[2.0, 2.0, 2.0], [0.1, 0.1, 0.1], [7.0]])
def test_r2_of_equal_true_values_is_undefined(true: list[float]) -> None:
    assert math.isnan(METRICS["regression"]["r2"](np.stack([true, np.zeros(len(true))], axis=1)))
