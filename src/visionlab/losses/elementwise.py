"""Losses that compare element by element and average over all that are valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch.nn import functional

from visionlab.errors import ConfigError, checked
from visionlab.losses.base import Loss, mean

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ClassWeights = Literal["none", "log", "effective"]

# Cui et al. 2019 try 0.9, 0.99, 0.999 and 0.9999; images beyond about 1 / (1 - b) hardly count any more.
_BETA = 0.999


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


@checked
def huber(*, delta: Annotated[float, Field(gt=0)] = 1.0) -> ElementwiseLoss:
    """Return the mean Huber loss (Huber 1964): half the square of errors up to ``delta``, linear above.

    Args:
        delta: above 0, on the scale of the scaled target.

    Raises:
        ConfigError: it isn't.
    """
    return ElementwiseLoss(lambda input, target: functional.huber_loss(input, target, delta=delta, reduction="none"))


def class_weights(method: ClassWeights, positives: torch.Tensor, total: int) -> torch.Tensor:
    """Return a weight above 0 for each class, K values float32, their mean 1.

    Args:
        method: ``log``: log(1 + total / n) for n images of a class; ``effective``: (1 - b) / (1 - b^n), one over the
            effective number of images, with b = 0.999 (Cui et al. 2019); ``none``: 1. A class without any counts as if
            it had one.
        positives: training images of each class, K values from 0.
        total: training images.
    """
    count = positives.detach().cpu().double().clamp(min=1)
    if method == "log":
        weights = torch.log1p(total / count)
    elif method == "effective":
        weights = (1 - _BETA) / (1 - _BETA**count)
    else:
        weights = torch.ones_like(count)
    return (weights / weights.mean()).float()


class BinaryLoss(Loss):
    """The mean of a cost of each element, of logits and targets from 0 to 1; subclasses write :meth:`costs`.

    Args:
        class_weights: what the costs of a class are multiplied by, its positives and its negatives alike, where rare
            classes are to count more: ``log`` or ``effective``, see :func:`class_weights`,
            from the counts of :meth:`set_counts`; ``none``.
        label_smoothing: s, at least 0 and below 1: a target t becomes t (1 - s) + s / 2.

    Raises:
        ConfigError: the smoothing is out of range.
    """

    takes: ClassVar[Literal["logits"]] = "logits"

    @checked
    def __init__(
        self, *, class_weights: ClassWeights = "none", label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ) -> None:
        super().__init__()
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

    @checked
    def __init__(
        self,
        *,
        pos_weight: Annotated[float, Field(gt=0)] = 1.0,
        class_weights: ClassWeights = "none",
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(class_weights=class_weights, label_smoothing=label_smoothing)
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

    @checked
    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.25,
        gamma: Annotated[float, Field(ge=0)] = 2.0,
        class_weights: ClassWeights = "none",
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(class_weights=class_weights, label_smoothing=label_smoothing)
        self.alpha, self.gamma = alpha, gamma

    def costs(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # softplus(-x) is -log p, softplus(x) is -log(1 - p). Powers of p as exp(gamma log p): their gradients stay
        # finite for any gamma and where p itself is rounded to 0 or 1.
        positive, negative = functional.softplus(-input), functional.softplus(input)
        costs = self.alpha * target * torch.exp(-self.gamma * negative) * positive
        return costs + (1 - self.alpha) * (1 - target) * torch.exp(-self.gamma * positive) * negative
