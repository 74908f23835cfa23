"""Losses for labels, and what makes rare classes count more."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch

from visionlab import losses
from visionlab.config import signature
from visionlab.config.compose import build
from visionlab.errors import ConfigError
from visionlab.losses.combined import WeightedSum, terms

LABELS = [target for target, entry in losses.LOSSES.items() if entry.labels]
# Those with weights of classes.
WEIGHTED = [losses.BCELoss, losses.FocalLoss, losses.AsymmetricLoss]
SHAPE = (6, 5)
COUNTS = torch.tensor([12885.0, 8228.0, 45.0, 11.0, 0.0])
TOTAL = 31072


def make(target: str, **options: Any) -> losses.Loss:
    loss: losses.Loss = build({"_target_": target, **options})
    return loss


def pair(target: str = "", dtype: torch.dtype = torch.float64, shape: tuple[int, int] = SHAPE) -> list[torch.Tensor]:
    """Return logits (or probabilities) and labels: several an image, the third image without any, a class absent."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = (torch.rand(shape, generator=generator, dtype=torch.float64) > 0.6).double()
    labels[2], labels[:, 4] = 0, 0
    input = logits.sigmoid() if target and losses.LOSSES[target].takes == "probabilities" else logits
    return [input.to(dtype), labels.to(dtype)]


def mask() -> torch.Tensor:
    """Return what is valid: the second image is wholly unknown, and some labels of others."""
    valid = torch.rand(SHAPE, generator=torch.Generator().manual_seed(4)) > 0.2
    valid[1] = False
    return valid


# What tests/test_losses.py asks of all losses, of those that take nothing but labels ----------------------------------


@pytest.mark.parametrize("target", LABELS)
def test_gradients_are_those_of_the_value(target: str) -> None:
    input, labels = pair(target)
    input.requires_grad_()
    for valid in (None, mask()):
        assert torch.autograd.gradcheck(lambda x, v=valid: make(target)(x, labels, v), (input,))


@pytest.mark.parametrize("target", LABELS)
def test_what_is_not_valid_has_no_influence(target: str) -> None:
    input, labels = pair(target)
    loss, valid = make(target), mask()
    plain, value = loss(input, labels), loss(input, labels, valid)
    assert plain.shape == () and plain > 0
    assert torch.equal(loss(input, labels, torch.ones(1, 1, dtype=torch.bool)), plain)
    assert value.item() != pytest.approx(plain.item(), abs=1e-6), "the mask does something"
    for wrong in (0.0, 1.0, -1e6, math.nan, math.inf):
        other = torch.where(valid, input, wrong).requires_grad_()
        found = loss(other, torch.where(valid, labels, wrong), valid)
        assert torch.equal(found, value)
        found.backward()
        assert other.grad is not None and other.grad.isfinite().all()
        assert (other.grad[~valid] == 0).all() and (other.grad[valid] != 0).any()


@pytest.mark.parametrize("target", LABELS)
def test_degenerate_inputs_have_finite_gradients(target: str) -> None:
    input, labels = pair(target, torch.float32)
    probable = losses.LOSSES[target].takes == "probabilities"
    inputs = [labels, 1 - labels, torch.zeros_like(labels), torch.ones_like(labels), torch.full_like(labels, 0.3)]
    inputs += [] if probable else [1e4 * input, -1e4 * input]
    for x, goal in itertools.product(inputs, (labels, torch.zeros_like(labels), torch.ones_like(labels))):
        start = x.clone().requires_grad_()
        value = make(target)(start, goal)
        value.backward()
        assert value.isfinite() and value > -1e-6
        assert start.grad is not None and start.grad.isfinite().all()
    start = input.clone().requires_grad_()
    value = make(target)(start, labels, torch.zeros(SHAPE, dtype=torch.bool))
    value.backward()
    assert value == 0 and start.grad is not None and not start.grad.any(), "nothing is known"


@pytest.mark.parametrize("target", LABELS)
def test_single_precision_under_autocast(target: str) -> None:
    input, labels = pair(target, torch.float32)
    rounded = input.bfloat16()
    expected = make(target)(rounded.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = make(target)(rounded.requires_grad_(), labels)
    assert found.dtype == torch.float32 and torch.equal(found, expected)


@pytest.mark.parametrize("target", LABELS)
def test_maps_are_refused(target: str) -> None:
    assert make(target).labels
    for shape in ((2, 3, 8, 8), (5,)):
        with pytest.raises(ValueError, match=rf"expected labels B x K, found \({shape[0]},"):
            make(target)(torch.zeros(shape), torch.zeros(shape))


# The asymmetric loss -------------------------------------------------------------------------------------------------


def test_asymmetric_loss() -> None:
    logits, labels = torch.tensor([math.log(3), 0.0, -math.log(4)]), torch.tensor([1.0, 0.0, 1.0])  # p = 3/4, 1/2, 1/5
    costs = 0.25**0.5 * math.log(0.75) + 0.4**3 * math.log(1 - 0.4) + 0.8**0.5 * math.log(0.2)
    loss = losses.AsymmetricLoss(gamma_positive=0.5, gamma_negative=3.0, clip=0.1)
    assert loss(logits, labels).item() == pytest.approx(-costs / 3)
    usual = math.log(0.75) + 0.45**4 * math.log(1 - 0.45) + math.log(0.2)
    assert losses.AsymmetricLoss()(logits, labels).item() == pytest.approx(-usual / 3)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_symmetric_and_without_a_clip_it_is_the_focal_loss(gamma: float) -> None:
    logits, labels = pair()
    found = losses.AsymmetricLoss(gamma_positive=gamma, gamma_negative=gamma, clip=0.0)(logits, labels)
    assert found.item() == pytest.approx(2 * losses.FocalLoss(alpha=0.5, gamma=gamma)(logits, labels).item())


def test_negatives_up_to_the_clip_cost_nothing() -> None:
    logits = torch.tensor([-4.0, -3.0, -2.0], requires_grad=True)  # p = 0.018, 0.047, 0.119
    for gamma in (0.0, 0.5, 4.0):
        loss = losses.AsymmetricLoss(gamma_negative=gamma)(logits, torch.zeros(3))
        (grad,) = torch.autograd.grad(loss, logits)
        assert (grad[:2] == 0).all() and grad[2] > 0 and loss > 0


@pytest.mark.parametrize("clip", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 4.0])
def test_asymmetric_loss_of_extreme_logits(gamma: float, clip: float) -> None:
    loss = losses.AsymmetricLoss(gamma_positive=gamma, gamma_negative=gamma, clip=clip)
    logits = torch.tensor([-1e4, -200.0, -90.0, 0.0, 90.0, 200.0, 1e4], requires_grad=True)
    for labels in (torch.zeros(7), torch.ones(7)):
        value = loss(logits, labels)
        (grad,) = torch.autograd.grad(value, logits)
        assert value.isfinite() and grad.isfinite().all()
    logits = pair()[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, 0.2 + 0.5 * pair()[1]), (logits,))


# Sets of labels ------------------------------------------------------------------------------------------------------


def test_soft_f1_is_of_each_class_that_the_batch_has() -> None:
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    scores = torch.tensor([[0.8, 0.9, 0.5], [0.4, 0.1, 1.0]], requires_grad=True)
    loss = losses.SoftF1Loss()(scores, labels)
    assert loss.item() == pytest.approx((1 - 2 * 1.2 / 3.2 + 1 - 2 * 1 / 2.5) / 2)
    loss.backward()
    assert scores.grad is not None
    assert (scores.grad[:, 1] == 0).all(), "the class that no image has"
    assert (scores.grad[labels > 0] < 0).all() and scores.grad[0, 2] > 0
    assert losses.SoftF1Loss()(labels, labels).item() == 0


def test_soft_f1_of_decisions_is_macro_f1() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, decisions = (torch.rand(40, 7, generator=generator) > 0.7 for _ in range(2))
    labels[:, 3] = False
    f1 = []
    for k in (0, 1, 2, 4, 5, 6):
        hits = (labels[:, k] & decisions[:, k]).sum().item()
        f1.append(2 * hits / (labels[:, k].sum() + decisions[:, k].sum()).item())
    assert losses.SoftF1Loss()(decisions.float(), labels.float()).item() == pytest.approx(1 - sum(f1) / 6)


def test_lovasz_is_of_the_labels_of_each_image() -> None:
    """Where each label is right (error 0) or wrong (1), it is 1 - IoU of the predicted and the true labels."""
    loss = losses.LovaszLabelLoss()
    values, rows = [], []
    for true, predicted in itertools.product(itertools.product([False, True], repeat=3), repeat=2):
        wanted, found = torch.tensor([true]), torch.tensor([predicted])
        union = (wanted | found).sum().item()
        iou = (wanted & found).sum().item() / union if union else 1.0
        logits = (wanted == found).double() * (2 * wanted.double() - 1)
        assert loss(logits, wanted.double()).item() == pytest.approx(1 - iou)
        values.append(1 - iou)
        rows.append((logits, wanted.double()))
    together, goal = (torch.cat(parts) for parts in zip(*rows, strict=True))
    assert loss(together, goal).item() == pytest.approx(sum(values) / len(values)), "the mean over images"
    many, labels = pair(shape=(20, 28))
    as_maps = losses.LovaszLoss()(many[:, None, None], labels[:, None, None])
    assert loss(many, labels).item() == pytest.approx(as_maps.item())


# Weights of classes, smoothed labels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("log", [math.log(1 + TOTAL / n) for n in (12885, 8228, 45, 11, 1)]),
        ("effective", [0.001 / (1 - 0.999**n) for n in (12885, 8228, 45, 11, 1)]),
    ],
)
@pytest.mark.parametrize("kind", WEIGHTED)
def test_class_weights_multiply_the_costs_of_a_class(kind: Any, method: str, expected: list[float]) -> None:
    input, labels = pair()
    loss, plain = kind(class_weights=method), kind()
    loss.set_counts(COUNTS, TOTAL)
    weights = [weight / (sum(expected) / 5) for weight in expected]
    costs = [plain(input[:, k], labels[:, k]).item() for k in range(5)]
    by_hand = sum(weight * cost for weight, cost in zip(weights, costs, strict=True)) / 5
    assert loss(input, labels).item() == pytest.approx(by_hand, rel=1e-6)
    assert weights[4] > weights[3] > weights[2] > weights[1] > weights[0] > 0
    for goal in (torch.zeros_like(labels), torch.ones_like(labels)):
        start = torch.zeros_like(input).requires_grad_()
        loss(start, goal).backward()
        assert start.grad is not None
        shares = start.grad[0] / start.grad[0, 0]
        assert torch.allclose(shares, torch.tensor(weights).double() / weights[0]), "positives and negatives alike"


@pytest.mark.parametrize("kind", WEIGHTED)
def test_unless_asked_for_counts_change_nothing(kind: Any) -> None:
    input, labels = pair()
    loss = kind()
    before = loss(input, labels)
    loss.set_counts(COUNTS, TOTAL)
    assert torch.equal(loss(input, labels), before)
    losses.l1().set_counts(COUNTS, TOTAL)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_class_weights_without_counts_say_so(kind: Any) -> None:
    input, labels = pair()
    with pytest.raises(
        ConfigError, match=r"class_weights=log: expected to know the training images of each class.*none"
    ):
        kind(class_weights="log")(input, labels)
    loss = kind(class_weights="log")
    loss.set_counts(COUNTS[:3], TOTAL)
    with pytest.raises(ValueError, match=r"expected B x 3 classes, as counted, found \(6, 5\)"):
        loss(input, labels)


def test_class_weights_are_no_part_of_a_checkpoint() -> None:
    loss = losses.BCELoss(class_weights="effective")
    loss.set_counts(COUNTS, TOTAL)
    assert not loss.state_dict()
    input, labels = pair(dtype=torch.float32)
    assert torch.equal(copy.deepcopy(loss)(input, labels), loss(input, labels))


@pytest.mark.gpu
def test_class_weights_follow_the_device() -> None:
    input, labels = pair(dtype=torch.float32)
    loss = losses.FocalLoss(class_weights="log")
    loss.set_counts(COUNTS.cuda(), TOTAL)
    expected = loss(input, labels).item()
    for _ in range(2):
        assert loss(input.cuda(), labels.cuda()).item() == pytest.approx(expected, rel=1e-5)
    assert loss(input, labels).item() == expected


def test_each_loss_of_a_sum_is_told_the_counts() -> None:
    input, labels = pair()
    both = WeightedSum([(1.0, losses.BCELoss(class_weights="log")), (0.5, losses.LovaszLabelLoss())])
    for _, term in terms(both):
        term.set_counts(COUNTS, TOTAL)
    assert all(term(input, labels).isfinite() for _, term in terms(both))


@pytest.mark.parametrize("kind", WEIGHTED)
def test_smoothed_labels(kind: Any) -> None:
    input, labels = pair()
    smoothed = torch.where(labels > 0, 0.95, 0.05).double()
    assert kind(label_smoothing=0.1)(input, labels).item() == pytest.approx(kind()(input, smoothed).item())
    valid = mask()
    expected = kind()(input, smoothed, valid)
    assert kind(label_smoothing=0.1)(input, labels, valid).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {"label_smoothing": value}) for kind in WEIGHTED for value in (-0.1, 1.0)),
        (losses.AsymmetricLoss, {"gamma_positive": -1.0}),
        (losses.AsymmetricLoss, {"gamma_negative": math.inf}),
        (losses.AsymmetricLoss, {"clip": 1.0}),
    ],
)
def test_options_out_of_range_are_refused(kind: Any, options: dict[str, float]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"{name}: expected a number .*, found {value}"):
        kind(**options)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_unknown_class_weights_are_refused_before_torch_is_there(kind: Any) -> None:
    target = f"{kind.__module__}.{kind.__name__}"
    signature.check(target, {"class_weights": "effective", "label_smoothing": 0.1}, "loss")
    with pytest.raises(
        ConfigError, match=r"loss\.class_weights: expected one of none, log, effective, found 'lgo'.*'log'"
    ):
        signature.check(target, {"class_weights": "lgo"}, "loss")
