"""Losses of regions and of labels: what is special to them."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch

from visionlab import losses
from visionlab.errors import ConfigError
from visionlab.losses.mixed import WeightedSum, terms

WEIGHTED = [losses.BCELoss, losses.FocalLoss, losses.AsymmetricLoss]
COUNTS = torch.tensor([12885.0, 8228.0, 45.0, 11.0, 0.0])
TOTAL = 31072


def pair(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and labels of 0 and 1."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = (torch.rand(shape, generator=generator, dtype=torch.float64) > 0.6).double()
    return logits.to(dtype), labels.to(dtype)


# Regions -------------------------------------------------------------------------------------------------------------


def test_dice_is_of_each_image() -> None:
    true, input = torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)
    true[0, :, :2], true[1, 0, 0, 0] = 1, 1
    input[0, :, 1:3], input[1, 0, 0, 0] = 1, 0.5
    # overlap 4 of 8 and 8; 0.5 of 0.5 and 1; nothing of nothing: right
    expected = [1 - 9 / 17, 1 - 2 / 2.5, 0.0]
    loss = losses.DiceLoss()
    assert [loss(i[None], t[None]).item() for i, t in zip(input, true, strict=True)] == pytest.approx(expected)
    assert loss(input, true).item() == pytest.approx(sum(expected) / 3)
    valid = torch.ones(3, 1, 4, 4, dtype=torch.bool)
    valid[2] = False
    assert loss(input, true, valid).item() == pytest.approx(sum(expected[:2]) / 2), "an unknown image is left out"


def iou_loss(wrong: torch.Tensor, true: torch.Tensor) -> float:
    """Return 1 - IoU of a prediction that is wrong in the given pixels."""
    predicted = true ^ wrong
    union = (predicted | true).sum().item()
    return 1 - (predicted & true).sum().item() / union if union else 0.0


@pytest.mark.parametrize("positives", range(5))
def test_lovasz_is_the_extension_of_iou(positives: int) -> None:
    true = torch.tensor([True] * positives + [False] * (4 - positives))
    target = true.double().view(1, 1, 2, 2)
    # At the corners, where each pixel's error is 0 or 1, it is 1 - IoU of the pixels in error.
    for bits in itertools.product([False, True], repeat=4):
        wrong = torch.tensor(bits)
        logits = (1 - wrong.double()).view(1, 1, 2, 2) * (2 * target - 1)
        assert losses.LovaszLoss()(logits, target).item() == pytest.approx(iou_loss(wrong, true))
    # In between it adds up the steps in the order of the errors.
    logits = 2 * torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(positives), dtype=torch.float64)
    errors = (1 - logits * (2 * target - 1)).flatten()
    total, wrong = 0.0, torch.zeros(4, dtype=torch.bool)
    for place in errors.argsort(descending=True).tolist():
        before = iou_loss(wrong, true)
        wrong[place] = True
        total += max(errors[place].item(), 0) * (iou_loss(wrong, true) - before)
    assert losses.LovaszLoss()(logits, target).item() == pytest.approx(total)


def test_lovasz_of_many_pixels_in_single_precision() -> None:
    input, true = pair(2, 1, 300, 300)
    loss = losses.LovaszLoss()
    assert loss(input.float(), true.float()).item() == pytest.approx(loss(input, true).item(), rel=1e-6)


def test_lovasz_of_labels_is_of_each_image() -> None:
    loss, (many, labels) = losses.LovaszLabelLoss(), pair(20, 28)
    each = [loss(*rows).item() for rows in zip(many.split(1), labels.split(1), strict=True)]
    assert loss(many, labels).item() == pytest.approx(sum(each) / 20)
    as_maps = losses.LovaszLoss()(many[:, None, None], labels[:, None, None])
    assert loss(many, labels).item() == pytest.approx(as_maps.item())
    lines = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    lines[..., 4:, :] = False
    maps, true = pair(1, 1, 6, 6)
    cut = losses.LovaszLoss()(maps[..., :4, :], true[..., :4, :])
    assert torch.equal(losses.LovaszLoss()(maps, true, lines), cut), "unknown pixels are as if they weren't there"


# Logits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        *((losses.FocalLoss(alpha=0.5, gamma=gamma), 0.5) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)),
        *((losses.AsymmetricLoss(gamma_positive=g, gamma_negative=g, clip=0.0), 1.0) for g in (0.0, 0.3, 4.0)),
        (losses.BCELoss(), 1.0),
    ],
)
def test_what_is_surely_wrong_still_learns(loss: losses.Loss, slope: float) -> None:
    logits = torch.tensor([-1e4, -200.0, -90.0, 0.0, 90.0, 200.0, 1e4], requires_grad=True)
    for true, wrong in ((torch.zeros(7), 1e4), (torch.ones(7), -1e4)):
        value = loss(logits, true)
        (grad,) = torch.autograd.grad(value, logits)
        assert value.isfinite() and grad.isfinite().all()
        assert grad[logits == wrong].abs().item() == pytest.approx(slope / 7)
        assert grad[logits == -wrong].abs().item() == 0


@pytest.mark.parametrize("clip", [0.05, 0.5])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 4.0])
def test_asymmetric_loss_with_a_clip(gamma: float, clip: float) -> None:
    loss = losses.AsymmetricLoss(gamma_positive=gamma, gamma_negative=gamma, clip=clip)
    logits = torch.tensor([-1e4, -200.0, -4.0, -3.0, 0.5, 90.0, 200.0, 1e4], requires_grad=True)
    for labels in (torch.zeros(8), torch.ones(8)):
        value = loss(logits, labels)
        (grad,) = torch.autograd.grad(value, logits)
        assert value.isfinite() and grad.isfinite().all()
        if not labels.any():
            assert (grad[:4] == 0).all() and grad[4] > 0, "negatives up to the clip cost nothing"
    start, labels = pair(6, 5)
    assert torch.autograd.gradcheck(lambda x: loss(x, 0.2 + 0.5 * labels), (start.requires_grad_(),))


def test_focal_loss_counts_what_is_right_less() -> None:
    right, wrong, true = torch.tensor([3.0]), torch.tensor([-3.0]), torch.tensor([1.0])
    focal, plain = losses.FocalLoss(), losses.BCELoss()
    assert focal(right, true) / focal(wrong, true) < 0.01 * plain(right, true) / plain(wrong, true)


def test_cross_entropy_and_dice_are_told_what_is_known() -> None:
    logits, true = pair(3, 1, 9, 11)
    valid = torch.rand(logits.shape, generator=torch.Generator().manual_seed(4)) > 0.3
    both = losses.BCELoss()(logits, true, valid) + losses.DiceLoss()(logits.sigmoid(), true, valid)
    assert losses.BCEDiceLoss()(logits, true, valid).item() == pytest.approx(both.item(), rel=1e-12)
    start = logits.clone().requires_grad_()
    losses.BCEDiceLoss()(start, true, valid).backward()
    assert start.grad is not None and ((start.grad < 0) == (true > 0))[valid].all()


def test_soft_f1_of_decisions_is_macro_f1() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, decisions = (torch.rand(40, 7, generator=generator) > 0.7 for _ in range(2))
    labels[:, 3] = False
    f1 = []
    for k in (0, 1, 2, 4, 5, 6):
        hits = (labels[:, k] & decisions[:, k]).sum().item()
        f1.append(2 * hits / (labels[:, k].sum() + decisions[:, k].sum()).item())
    assert losses.SoftF1Loss()(decisions.float(), labels.float()).item() == pytest.approx(1 - sum(f1) / 6)
    scores = torch.full((40, 7), 0.4, requires_grad=True)
    losses.SoftF1Loss()(scores, labels.float()).backward()
    assert scores.grad is not None and (scores.grad[:, 3] == 0).all(), "the class that no image has"
    assert (scores.grad[labels] < 0).all()


# Weights of classes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("log", [math.log(1 + TOTAL / n) for n in (12885, 8228, 45, 11, 1)]),
        ("effective", [0.001 / (1 - 0.999**n) for n in (12885, 8228, 45, 11, 1)]),
    ],
)
@pytest.mark.parametrize("kind", WEIGHTED)
def test_class_weights_multiply_the_costs_of_a_class(kind: Any, method: str, expected: list[float]) -> None:
    input, labels = pair(6, 5)
    loss, plain = kind(class_weights=method), kind()
    loss.set_counts(COUNTS, TOTAL)
    weights = [weight / (sum(expected) / 5) for weight in expected]
    costs = [plain(input[:, k], labels[:, k]).item() for k in range(5)]
    by_hand = sum(weight * cost for weight, cost in zip(weights, costs, strict=True)) / 5
    assert loss(input, labels).item() == pytest.approx(by_hand, rel=1e-6)
    for goal in (torch.zeros_like(labels), torch.ones_like(labels)):
        start = torch.zeros_like(input).requires_grad_()
        loss(start, goal).backward()
        assert start.grad is not None
        shares = start.grad[0] / start.grad[0, 0]
        assert torch.allclose(shares, torch.tensor(weights).double() / weights[0]), "positives and negatives alike"


@pytest.mark.parametrize("kind", WEIGHTED)
def test_class_weights_need_the_counts_of_these_classes(kind: Any) -> None:
    input, labels = pair(6, 5)
    plain = kind()
    before = plain(input, labels)
    plain.set_counts(COUNTS, TOTAL)
    assert torch.equal(plain(input, labels), before), "unless asked for, counts change nothing"
    with pytest.raises(ConfigError, match=r"class_weights=log: expected to know the training images of each class"):
        kind(class_weights="log")(input, labels)
    loss = kind(class_weights="log")
    loss.set_counts(COUNTS[:3], TOTAL)
    with pytest.raises(ValueError, match=r"expected B x 3 classes, as counted, found \(6, 5\)"):
        loss(input, labels)


def test_class_weights_are_no_part_of_a_checkpoint_but_of_a_copy() -> None:
    loss, (input, labels) = losses.BCELoss(class_weights="effective"), pair(6, 5)
    loss.set_counts(COUNTS, TOTAL)
    assert not loss.state_dict()
    assert torch.equal(copy.deepcopy(loss)(input, labels), loss(input, labels))


def test_each_loss_of_a_sum_is_told_the_counts() -> None:
    input, labels = pair(6, 5)
    both = WeightedSum([(1.0, losses.BCELoss(class_weights="log")), (0.5, losses.LovaszLabelLoss())])
    assert [weight for weight, _ in terms(both)] == [1.0, 0.5] and terms(losses.l1())[0][0] == 1.0
    for _, term in terms(both):
        term.set_counts(COUNTS, TOTAL)
    assert all(term(input, labels).isfinite() for _, term in terms(both))


@pytest.mark.gpu
def test_class_weights_follow_the_device() -> None:
    input, labels = pair(6, 5, dtype=torch.float32)
    loss = losses.FocalLoss(class_weights="log")
    loss.set_counts(COUNTS.cuda(), TOTAL)
    expected = loss(input, labels).item()
    for _ in range(2):
        assert loss(input.cuda(), labels.cuda()).item() == pytest.approx(expected, rel=1e-5)
    assert loss(input, labels).item() == expected


@pytest.mark.parametrize("kind", WEIGHTED)
def test_smoothed_labels(kind: Any) -> None:
    input, labels = pair(6, 5)
    smoothed = torch.where(labels > 0, 0.95, 0.05).double()
    assert kind(label_smoothing=0.1)(input, labels).item() == pytest.approx(kind()(input, smoothed).item())
