"""Losses that compare element by element and average over all that are valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch.nn import functional

from visionlab.losses.base import FROM_0_TO_1, Loss, check_option, mean
from visionlab.ranges import ABOVE_0, AT_LEAST_0

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class ElementwiseLoss(Loss):
    """The mean of a function of each element; values of any range.

    Args:
        function: two tensors of one shape -> one of that shape.
    """

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        return mean(self.function(input, target), valid)


def l1() -> ElementwiseLoss:
    """Return the mean absolute error; its gradient is 0 where input and target are equal."""
    return ElementwiseLoss(lambda input, target: (input - target).abs())


def mse() -> ElementwiseLoss:
    """Return the mean squared error."""
    return ElementwiseLoss(lambda input, target: (input - target).square())


def huber(*, delta: float = 1.0) -> ElementwiseLoss:
    """Return the mean Huber loss (Huber 1964): half the square of errors up to ``delta``, linear above.

    Args:
        delta: above 0, on the scale of the scaled target.

    Raises:
        ConfigError: it isn't.
    """
    check_option("delta", delta, ABOVE_0)
    return ElementwiseLoss(lambda input, target: functional.huber_loss(input, target, delta=delta, reduction="none"))


class BCELoss(Loss):
    """Mean binary cross-entropy of logits and targets from 0 to 1.

    Args:
        pos_weight: factor, above 0, of what positive elements cost; e.g. negatives / positives of the training set.

    Raises:
        ConfigError: the factor is not above 0.
    """

    takes: ClassVar[Literal["logits"]] = "logits"

    def __init__(self, *, pos_weight: float = 1.0) -> None:
        super().__init__()
        check_option("pos_weight", pos_weight, ABOVE_0)
        self.pos_weight = pos_weight

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        weight = input.new_full((), self.pos_weight)
        values = functional.binary_cross_entropy_with_logits(input, target, pos_weight=weight, reduction="none")
        return mean(values, valid)


class FocalLoss(Loss):
    """Mean focal loss (Lin et al. 2017) of logits: a cross-entropy in which what is already right counts little.

    A positive element of predicted probability p costs ``alpha (1 - p)^gamma (-log p)``, a negative one
    ``(1 - alpha) p^gamma (-log(1 - p))``; targets between 0 and 1 mix the two.

    Args:
        alpha: 0 to 1; 0.5 treats positives and negatives alike.
        gamma: at least 0; 0 is the (alpha-weighted) cross-entropy.

    Raises:
        ConfigError: one is out of range.
    """

    takes: ClassVar[Literal["logits"]] = "logits"

    def __init__(self, *, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        check_option("alpha", alpha, FROM_0_TO_1)
        check_option("gamma", gamma, AT_LEAST_0)
        self.alpha, self.gamma = alpha, gamma

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        # softplus(-x) is -log p, softplus(x) is -log(1 - p). Powers of p as exp(gamma log p): their gradients stay
        # finite for any gamma and where p itself is rounded to 0 or 1.
        positive, negative = functional.softplus(-input), functional.softplus(input)
        loss = self.alpha * target * torch.exp(-self.gamma * negative) * positive
        loss = loss + (1 - self.alpha) * (1 - target) * torch.exp(-self.gamma * positive) * negative
        return mean(loss, valid)
