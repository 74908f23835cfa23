"""The values of each loss, by hand and by brute force."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from visionlab import losses
from visionlab.errors import ConfigError
from visionlab.losses import AsymmetricLoss, BCEDiceLoss, BCELoss, DiceLoss, FocalLoss, huber

WEIGHTED = [BCELoss, FocalLoss, AsymmetricLoss]
COUNTS, TOTAL = torch.tensor([12885.0, 8228.0, 45.0, 11.0, 0.0]), 31072


def logits_and_labels(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(shape, generator=generator, dtype=torch.float64) > 0.6).double()


NUMBERS = [[0.0, 1.0], [2.0, -3.0]], [[0.5, 1.0], [0.0, 1.0]]
DIAGONAL = [[True, False], [False, True]]
LOGITS = [[math.log(3), 0.0, -math.log(4)]], [[1.0, 0.0, 1.0]]  # probabilities 3/4, 1/2, 1/5
A, B, C = math.log(0.75), math.log(0.5), math.log(0.2)
SCORES = [[0.8, 0.9, 0.5], [0.4, 0.1, 1.0]], [[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
# Maps of one channel. The second image of MASKS has nothing, and nothing was found.
MASKED = [[0.0] * 4, [1.0] * 4, [1.0] * 4, [0.0] * 4], [[1.0] * 4, [1.0] * 4, [0.0] * 4, [0.0] * 4]
MASKS = [[MASKED[0]], [[[0.0] * 4] * 4]], [[MASKED[1]], [[[0.0] * 4] * 4]]
EDGES = [[[[5.0, 6.0, 7.0], [5.0, 6.0, 8.0]]]], [[[[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]]]]
LOGIT_MAP = [[[[math.log(3), 0.0], [-math.log(4), 0.0]]]], [[[[1.0, 0.0], [1.0, 0.0]]]]


@pytest.mark.parametrize(
    ("loss", "tensors", "valid", "expected"),
    [
        (losses.l1(), NUMBERS, DIAGONAL, (0.5 + 4) / 2),
        (losses.mse(), NUMBERS, None, (0.25 + 0 + 4 + 16) / 4),
        (huber(), NUMBERS, None, (0.125 + 0 + 1.5 + 3.5) / 4),
        (huber(delta=3), NUMBERS, DIAGONAL, (0.125 + 7.5) / 2),
        (BCELoss(pos_weight=5.0), LOGITS, None, -(5 * A + B + 5 * C) / 3),
        (BCELoss(label_smoothing=0.2), LOGITS, None, -(0.9 * A + 0.1 * math.log(0.25) + B + 0.9 * C
                                                       + 0.1 * math.log(0.8)) / 3),
        (FocalLoss(alpha=0.3, gamma=1.5), LOGITS, None, -(0.3 * 0.25**1.5 * A + 0.7 * 0.5**1.5 * B
                                                          + 0.3 * 0.8**1.5 * C) / 3),
        (FocalLoss(), LOGITS, None, -(0.25 * 0.25**2 * A + 0.75 * 0.5**2 * B + 0.25 * 0.8**2 * C) / 3),
        (AsymmetricLoss(gamma_positive=0.5, gamma_negative=3.0, clip=0.1), LOGITS, None,
         -(0.25**0.5 * A + 0.4**3 * math.log(0.6) + 0.8**0.5 * C) / 3),
        (AsymmetricLoss(), LOGITS, None, -(A + 0.45**4 * math.log(0.55) + C) / 3),
        (AsymmetricLoss(clip=0.6), LOGITS, None, -(A + C) / 3),  # negatives up to the clip cost nothing
        (AsymmetricLoss(gamma_positive=2.0, gamma_negative=2.0, clip=0.0), LOGITS, None,
         -(0.25**2 * A + 0.5**2 * B + 0.8**2 * C) / 3),
        (losses.SoftF1Loss(), SCORES, None, (1 - 2 * 1.2 / 3.2 + 1 - 2 * 1 / 2.5) / 2),
        (losses.SoftF1Loss(), SCORES, [[True] * 3, [False] * 3], 1 - 2 * 0.8 / 1.8),
        (losses.LovaszLabelLoss(), LOGITS, None, (1 + math.log(4)) * 0.5 + 1 / 6),
        (DiceLoss(), MASKS, None, (1 - 9 / 17) / 2),
        (DiceLoss(smooth=3.0), MASKS, [[[[True]]], [[[False]]]], 1 - 11 / 19),
        (DiceLoss(), MASKS, [[[[False] * 4, *[[True] * 4] * 3]]], (1 - 9 / 13) / 2),
        (losses.GradientLoss(), EDGES, None, 1 / 4 + 1 / 3),  # off by 0, 1, 0, 0 along rows; 0, 0, 1 along columns
        (losses.GradientLoss(), EDGES, [[[[False, True, True], [True, True, True]]]], 1 / 3 + 1 / 2),
        (BCEDiceLoss(smooth=3.0), LOGIT_MAP, None, -(A + 2 * B + C) / 4 + 1 - (1.9 + 3) / (3.95 + 3)),
        (BCEDiceLoss(), LOGIT_MAP, [[[[True, True], [False, False]]]],
         -(A + B) / 2 + 1 - (2 * 0.75 + 1) / (1.25 + 1 + 1)),
    ],
)  # fmt: skip
def test_known_values(loss: losses.Loss, tensors: Any, valid: Any, expected: float) -> None:
    input, true = (torch.tensor(tensor, dtype=torch.float64) for tensor in tensors)
    assert loss(input, true, None if valid is None else torch.tensor(valid)).item() == pytest.approx(expected, rel=1e-9)


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


def test_lovasz_of_many_pixels_in_single_precision_and_of_labels() -> None:
    input, true = logits_and_labels(2, 1, 300, 300)
    loss = losses.LovaszLoss()
    assert loss(input.float(), true.float()).item() == pytest.approx(loss(input, true).item(), rel=1e-6)
    many, labels = logits_and_labels(20, 28)
    as_maps = loss(many[:, None, None], labels[:, None, None]).item()
    assert losses.LovaszLabelLoss()(many, labels).item() == pytest.approx(as_maps), "image by image"


@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        *((FocalLoss(alpha=0.5, gamma=gamma), 0.5) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)),
        *((AsymmetricLoss(gamma_positive=g, gamma_negative=g, clip=0.0), 1.0) for g in (0.0, 0.3, 4.0)),
        (BCELoss(), 1.0),
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


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("log", [math.log(1 + TOTAL / n) for n in (12885, 8228, 45, 11, 1)]),
        ("effective", [0.001 / (1 - 0.999**n) for n in (12885, 8228, 45, 11, 1)]),
    ],
)
@pytest.mark.parametrize("kind", WEIGHTED)
def test_class_weights_multiply_the_costs_of_a_class(kind: Any, method: str, expected: list[float]) -> None:
    input, labels = logits_and_labels(6, 5)
    loss, plain = kind(class_weights=method), kind()
    with pytest.raises(ConfigError, match=r"class_weights=\w+: expected to know the training images of each class"):
        loss(input, labels)
    loss.set_counts(COUNTS, TOTAL)
    plain.set_counts(COUNTS, TOTAL)  # unless asked for, counts change nothing
    costs = [plain(input[:, k], labels[:, k]).item() for k in range(5)]
    by_hand = sum(weight * cost for weight, cost in zip(expected, costs, strict=True)) / sum(expected)
    assert loss(input, labels).item() == pytest.approx(by_hand, rel=1e-6)
    assert not loss.state_dict(), "checkpoints hold nothing of it"


@pytest.mark.gpu
def test_class_weights_follow_the_device() -> None:
    input, labels = (tensor.float() for tensor in logits_and_labels(6, 5))
    loss = FocalLoss(class_weights="log")
    loss.set_counts(COUNTS.cuda(), TOTAL)
    expected = loss(input, labels).item()
    for _ in range(2):
        assert loss(input.cuda(), labels.cuda()).item() == pytest.approx(expected, rel=1e-5)
    assert loss(input, labels).item() == expected
