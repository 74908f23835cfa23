"""Mixtures of losses: published ones for maps, and the weighted sum of several losses of one head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from visionlab.errors import checked
from visionlab.losses.base import Loss, any_valid, mean
from visionlab.losses.elementwise import BCELoss
from visionlab.losses.gradient import GradientLoss
from visionlab.losses.overlap import DiceLoss
from visionlab.losses.structural import (
    LEVEL_WEIGHTS,
    TINY,
    MSSSIMLoss,
    SSIMLoss,
    gaussian,
    level_sides,
    level_windows,
)


class L1MSSSIMLoss(Loss):
    """``alpha`` (1 - MS-SSIM) + (1 - ``alpha``) L1, of images from 32 x 32 pixels (Zhao et al. 2017).

    MS-SSIM keeps structure and L1 the level, to which MS-SSIM is nearly blind.

    Args:
        alpha: 0 to 1.
        data_range: L of :class:`MSSSIMLoss`, above 0.
        gaussian_l1: weight the absolute error by the Gaussian of the coarsest level, as in the paper: each pixel by
            what it weighs in the windows there, so that pixels near the border count less, as they do for MS-SSIM.
            Otherwise L1 is the plain mean.

    Raises:
        ConfigError: an option is out of range.
    """

    dense: ClassVar[bool] = True
    smallest: ClassVar[int] = MSSSIMLoss.smallest

    @checked
    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.84,
        data_range: Annotated[float, Field(gt=0)] = 1.0,
        gaussian_l1: bool = False,
    ) -> None:
        super().__init__()
        self.alpha, self.gaussian_l1 = alpha, gaussian_l1
        self.msssim = MSSSIMLoss(data_range=data_range)

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        error = (input - target).abs()
        if not self.gaussian_l1:
            l1 = mean(error, valid)
        else:
            # One weighted mean over all pixels, as the plain one; errors are 0 where they are not valid.
            weight = _coarsest_weight(error).expand_as(error)
            known = weight.sum() if valid is None else (weight * valid).sum().clamp(min=TINY)
            l1 = (weight * error).sum() / known
        return self.alpha * self.msssim.compute(input, target, valid) + (1 - self.alpha) * l1


class DenseDepthLoss(Loss):
    """Structure + edges + 0.1 L1 (Alhashim and Wonka 2018): (1 - SSIM) / 2, :class:`GradientLoss`, mean absolute error.

    Args:
        data_range: L of :class:`SSIMLoss`, above 0.

    Raises:
        ConfigError: it isn't above 0.
    """

    dense: ClassVar[bool] = True
    smallest: ClassVar[int] = GradientLoss.smallest

    @checked
    def __init__(self, *, data_range: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.ssim, self.edges = SSIMLoss(data_range=data_range), GradientLoss()

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        structure = ((1 - self.ssim.similarity(input, target, valid)) / 2).clamp(0, 1)
        l1 = mean((input - target).abs(), valid)
        return mean(structure, any_valid(valid)) + self.edges.compute(input, target, valid) + 0.1 * l1


class BCEDiceLoss(Loss):
    """Binary cross-entropy + (1 - soft Dice coefficient) of logits and a mask of 0 and 1, as in nnU-Net (Isensee 2021).

    Cross-entropy tells each pixel which way to go, also where an image has no foreground; Dice counts small objects as
    much as large ones, see :class:`DiceLoss`. Other weights: ``{bce: 1, dice: 0.5}`` in the place of a loss.

    Args:
        smooth: of :class:`DiceLoss`, above 0, in pixels.

    Raises:
        ConfigError: it isn't above 0.
    """

    takes: ClassVar[Literal["logits"]] = "logits"
    dense: ClassVar[bool] = True

    @checked
    def __init__(self, *, smooth: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.bce, self.dice = BCELoss(), DiceLoss(smooth=smooth)

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        probability = torch.sigmoid(input)
        if valid is not None:  # a logit of 0, which stands for what is unknown, is a probability of 0.5
            probability = torch.where(valid, probability, 0.0)
        return self.bce.compute(input, target, valid) + self.dice.compute(probability, target, valid)


class WeightedSum(nn.Module):
    """Losses and their weights; a head gives each term the values that it ``takes`` and adds them up.

    Args:
        terms: pairs of weight (above 0) and loss.
    """

    def __init__(self, terms: Sequence[tuple[float, Callable[..., torch.Tensor]]]) -> None:
        super().__init__()
        self.terms = tuple(terms)


def terms(loss: Callable[..., torch.Tensor]) -> Sequence[tuple[float, Any]]:
    """Return the pairs of weight and loss that make up a loss: those of a sum, or the loss itself."""
    return loss.terms if isinstance(loss, WeightedSum) else ((1.0, loss),)


def _coarsest_weight(like: torch.Tensor) -> torch.Tensor:
    """Return what each pixel of an image weighs in the windows of the coarsest level, H x W with sum 1."""
    height, width = like.shape[2:]
    window = level_windows(height, width, len(LEVEL_WEIGHTS))[-1]
    lines = [_line_weight(side, window, like) for side in (height, width)]
    return torch.outer(*lines)


def _line_weight(side: int, window: int, like: torch.Tensor) -> torch.Tensor:
    *finer, coarsest = level_sides(side, len(LEVEL_WEIGHTS))
    positions = like.new_ones(1, 1, coarsest - window + 1)
    line = nn.functional.conv_transpose1d(positions, gaussian(window, like).view(1, 1, -1)).flatten()
    for length in reversed(finer):
        line = line.repeat_interleave(2)[-length:]  # odd sides were halved with a zero in front
    return line / line.sum()
