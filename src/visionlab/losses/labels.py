"""Losses for labels, of which an image has few out of many."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch.nn import functional

from visionlab.errors import checked
from visionlab.losses.base import Loss, mean
from visionlab.losses.elementwise import BinaryLoss, ClassWeights
from visionlab.losses.overlap import lovasz_hinge


class AsymmetricLoss(BinaryLoss):
    """Mean asymmetric loss (Ridnik et al. 2021) of logits: many easy negatives do not drown the few positives.

    A positive element of predicted probability p costs ``(1 - p)^gamma_positive (-log p)``, a negative one
    ``q^gamma_negative (-log(1 - q))`` with ``q = max(p - clip, 0)``: negatives up to ``clip`` cost nothing. Targets
    between 0 and 1 mix the two. The defaults are the published ones for MS-COCO; there costs are summed up, here
    averaged, and gradients flow through the powers as well, as in the article.

    Args:
        gamma_positive: at least 0: how little right positives count; 0: fully.
        gamma_negative: at least 0: the same for negatives.
        clip: at least 0 and below 1.
        class_weights, label_smoothing: see :class:`visionlab.losses.elementwise.BinaryLoss`.

    Raises:
        ConfigError: a number is out of range.
    """

    @checked
    def __init__(
        self,
        *,
        gamma_positive: Annotated[float, Field(ge=0)] = 0.0,
        gamma_negative: Annotated[float, Field(ge=0)] = 4.0,
        clip: Annotated[float, Field(ge=0, lt=1)] = 0.05,
        class_weights: ClassWeights = "none",
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(class_weights=class_weights, label_smoothing=label_smoothing)
        self.gamma_positive, self.gamma_negative, self.clip = gamma_positive, gamma_negative, clip

    def costs(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # As in the focal loss: -log p and -log(1 - p), and powers by way of them.
        positive, negative = functional.softplus(-input), functional.softplus(input)
        costs = target * torch.exp(-self.gamma_positive * negative) * positive
        if self.clip == 0:
            return costs + (1 - target) * torch.exp(-self.gamma_negative * positive) * negative
        shifted = torch.sigmoid(input) - self.clip
        # Below it any value will do whose power has a finite gradient.
        inside = torch.where(shifted > 0, shifted, 0.5)
        clipped = torch.where(shifted > 0, inside**self.gamma_negative * -torch.log1p(-inside), 0.0)
        return costs + (1 - target) * clipped


class SoftF1Loss(Loss):
    """1 - F1 with probabilities in place of decisions: 0 to 1, a stand-in for 1 - macro-F1.

    For each class, over the images of the batch, 1 - 2 sum(p t) / (sum(p) + sum(t)), then the mean over the classes
    that a valid image of the batch has. The others are left out, as macro-F1 leaves out classes that it is not defined
    for: theirs would be 1 whatever was predicted, without a gradient. So false alarms of a class cost something only
    in batches that have it; large batches, or another loss beside it (``{bce: 1, soft_f1: 1}``), make up for that.
    Without any label in the batch it is 0.
    """

    takes: ClassVar[Literal["probabilities"]] = "probabilities"
    labels: ClassVar[bool] = True

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        both, either = (input * target).sum(dim=0), (input + target).sum(dim=0)
        present = target.sum(dim=0) > 0
        return mean(1 - 2 * both / torch.where(present, either, 1.0), present)


class LovaszLabelLoss(Loss):
    """Lovász hinge (Berman et al. 2018) of logits and labels: a convex stand-in for 1 - IoU of an image's label sets.

    For each image, over its classes, then the mean over the images that have a valid one. Image by image, as nearly
    every image has some label, while most classes are absent from most batches; and the value doesn't depend on which
    images share a batch or a device. An image without labels costs its largest error.
    """

    takes: ClassVar[Literal["logits"]] = "logits"
    labels: ClassVar[bool] = True

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        return mean(lovasz_hinge(input, target, valid), None if valid is None else valid.any(dim=1))
