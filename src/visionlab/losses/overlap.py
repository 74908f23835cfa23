"""Losses of how well a predicted region covers the true one, image by image."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from visionlab.errors import checked
from visionlab.losses.base import Loss, any_valid, mean


class DiceLoss(Loss):
    """1 - soft Dice coefficient (Milletari et al. 2016) of probabilities and a mask of 0 and 1: 0 to 1.

    For each image and channel, (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), then the mean over all that have a
    valid pixel. Image by image, so that a small object counts as much as a large one and the value doesn't depend on
    which images share a batch or a device.

    Args:
        smooth: above 0, in pixels: an image without any object and prediction is right (loss 0), and objects much
            smaller than this hardly count.

    Raises:
        ConfigError: it isn't above 0.
    """

    takes: ClassVar[Literal["probabilities"]] = "probabilities"
    dense: ClassVar[bool] = True

    @checked
    def __init__(self, *, smooth: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.smooth = smooth

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        both = (input * target).sum(dim=(2, 3))
        either = (input + target).sum(dim=(2, 3))
        return mean(1 - (2 * both + self.smooth) / (either + self.smooth), any_valid(valid))


class LovaszLoss(Loss):
    """Lovász hinge (Berman et al. 2018) of logits and a mask of 0 and 1: a convex stand-in for 1 - IoU at logit 0.

    For each image and channel, then the mean over all that have a valid pixel. An image without an object costs its
    largest error.
    """

    takes: ClassVar[Literal["logits"]] = "logits"
    dense: ClassVar[bool] = True

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        known = None if valid is None else valid.flatten(2)
        return mean(lovasz_hinge(input.flatten(2), target.flatten(2), known), any_valid(valid))


def lovasz_hinge(input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Return the Lovász hinge of each set of elements, which lie along the last dimension.

    Args:
        input: logits, ... x N.
        target: 0 or 1, of the same shape.
        valid: of the same shape; what is False there counts for nothing.

    Returns:
        One value a set, of the shape without the last dimension.
    """
    errors = 1 - input * (2 * target - 1)
    if valid is not None:  # last in the order, where they change the weight of none before them, and cost nothing
        errors = errors.masked_fill(~valid, -torch.inf)
    errors, order = errors.sort(dim=-1, descending=True)
    labels = target.gather(-1, order)
    count = labels.sum(dim=-1, keepdim=True)
    # If the elements up to the k-th are wrong, IoU is kept / union. Each weighs by how much IoU falls with it;
    # written out, as differences of neighbouring values of IoU would lose most digits in float32.
    kept = count - labels.cumsum(dim=-1)
    union = count + (1 - labels).cumsum(dim=-1)
    weight = torch.where(labels > 0, 1 / union, kept / (union * (union - 1).clamp(min=1)))
    # Without an object the first wrong element takes IoU from 1 to 0 and the others nothing.
    weight = torch.where((count == 0) & (union == 1), 1.0, weight)
    return (errors.relu() * weight).sum(dim=-1)
