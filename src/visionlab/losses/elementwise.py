"""Losses that compare element by element and average over all that are valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch.nn import functional

from visionlab.config.ranges import ABOVE_0, AT_LEAST_0, BELOW_1
from visionlab.errors import ConfigError
from visionlab.losses.base import FROM_0_TO_1, Loss, check_option, mean
from visionlab.losses.weighting import ClassWeights, class_weights

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


class BinaryLoss(Loss):
    """The mean of a cost of each element, of logits and targets from 0 to 1; subclasses write :meth:`costs`.

    Args:
        class_weights: what the costs of a class are multiplied by, its positives and its negatives alike, where rare
            classes are to count more: ``log`` or ``effective``, see :func:`visionlab.losses.weighting.class_weights`,
            from the counts of :meth:`set_counts`; ``none``.
        label_smoothing: s, at least 0 and below 1: a target t becomes t (1 - s) + s / 2.

    Raises:
        ConfigError: the smoothing is out of range.
    """

    takes: ClassVar[Literal["logits"]] = "logits"

    def __init__(self, *, class_weights: ClassWeights = "none", label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_option("label_smoothing", label_smoothing, BELOW_1)
        self.class_weights, self.label_smoothing = class_weights, label_smoothing
        # No buffer: it is made of the data, and a checkpoint has no need of it.
        self.weights: torch.Tensor | None = None

    def set_counts(self, positives: torch.Tensor, total: int) -> None:
        if self.class_weights != "none":
            self.weights = class_weights(self.class_weights, positives, total)

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        costs = self.costs(input, target * (1 - self.label_smoothing) + self.label_smoothing / 2)
        return mean(costs if self.class_weights == "none" else costs * self._weights(input), valid)

    def costs(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the cost of each element, of the shape of input and target."""
        raise NotImplementedError

    def _weights(self, input: torch.Tensor) -> torch.Tensor:
        """Return the weights of the classes, which lie along dimension 1 of the input."""
        if self.weights is None:
            raise ConfigError(
                f"class_weights={self.class_weights}: expected to know the training images of each class, but they "
                "were never given (set_counts); set class_weights=none, or count them first"
            )
        if input.ndim < 2 or input.shape[1] != len(self.weights):
            raise ValueError(f"loss: expected B x {len(self.weights)} classes, as counted, found {tuple(input.shape)}")
        # Kept there, so that it travels once.
        self.weights = self.weights.to(input.device)
        return self.weights.to(input.dtype).view(-1, *[1] * (input.ndim - 2))


class BCELoss(BinaryLoss):
    """Mean binary cross-entropy of logits and targets from 0 to 1.

    Args:
        pos_weight: factor, above 0, of what positive elements cost; e.g. negatives / positives of the training set.
        class_weights, label_smoothing: see :class:`BinaryLoss`.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self, *, pos_weight: float = 1.0, class_weights: ClassWeights = "none", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(class_weights=class_weights, label_smoothing=label_smoothing)
        check_option("pos_weight", pos_weight, ABOVE_0)
        self.pos_weight = pos_weight

    def costs(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        weight = input.new_full((), self.pos_weight)
        return functional.binary_cross_entropy_with_logits(input, target, pos_weight=weight, reduction="none")


class FocalLoss(BinaryLoss):
    """Mean focal loss (Lin et al. 2017) of logits: a cross-entropy in which what is already right counts little.

    A positive element of predicted probability p costs ``alpha (1 - p)^gamma (-log p)``, a negative one
    ``(1 - alpha) p^gamma (-log(1 - p))``; targets between 0 and 1 mix the two.

    Args:
        alpha: 0 to 1; 0.5 treats positives and negatives alike.
        gamma: at least 0; 0 is the (alpha-weighted) cross-entropy.
        class_weights, label_smoothing: see :class:`BinaryLoss`.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
        class_weights: ClassWeights = "none",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(class_weights=class_weights, label_smoothing=label_smoothing)
        check_option("alpha", alpha, FROM_0_TO_1)
        check_option("gamma", gamma, AT_LEAST_0)
        self.alpha, self.gamma = alpha, gamma

    def costs(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # softplus(-x) is -log p, softplus(x) is -log(1 - p). Powers of p as exp(gamma log p): their gradients stay
        # finite for any gamma and where p itself is rounded to 0 or 1.
        positive, negative = functional.softplus(-input), functional.softplus(input)
        costs = self.alpha * target * torch.exp(-self.gamma * negative) * positive
        return costs + (1 - self.alpha) * (1 - target) * torch.exp(-self.gamma * positive) * negative
