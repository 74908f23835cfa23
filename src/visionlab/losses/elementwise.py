"""Losses that compare element by element and average over all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class ElementwiseLoss(nn.Module):
    """The mean of a function over all elements: two tensors of one shape -> a scalar.

    Args:
        function: (input, target) -> scalar.

    Raises (``forward``):
        ValueError: the shapes differ (torch would broadcast them and average over pairs that don't belong together)
            or the tensors are empty (the mean would be NaN).
    """

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if input.shape != target.shape:
            raise ValueError(f"loss: expected equal shapes, found {tuple(input.shape)} and {tuple(target.shape)}")
        if input.numel() == 0:
            raise ValueError(f"loss: expected at least one element, found shape {tuple(input.shape)}")
        return self.function(input, target)


def l1() -> ElementwiseLoss:
    """Return the mean absolute error; its gradient is 0 where input and target are equal."""
    return ElementwiseLoss(functional.l1_loss)


def l2() -> ElementwiseLoss:
    """Return the mean squared error."""
    return ElementwiseLoss(functional.mse_loss)


def huber(*, delta: float = 1.0) -> ElementwiseLoss:
    """Return the mean Huber loss (Huber 1964): half the square of errors up to ``delta``, linear above.

    Args:
        delta: above 0, on the scale of the standardised target.
    """

    def function(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return functional.huber_loss(input, target, delta=delta)

    return ElementwiseLoss(function)
