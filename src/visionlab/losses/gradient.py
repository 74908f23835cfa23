"""A loss of edges."""

from __future__ import annotations

from typing import ClassVar

import torch

from visionlab.losses.base import Loss, mean


class GradientLoss(Loss):
    """Mean absolute error of the differences between neighbouring pixels, along rows plus along columns.

    A constant offset costs nothing, a blurred edge does. A difference counts where both its pixels are valid. The edge
    term of Alhashim and Wonka 2018.
    """

    dense: ClassVar[bool] = True
    smallest: ClassVar[int] = 2

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        error = input - target
        total = error.new_zeros(())
        for dim in (2, 3):
            last = error.shape[dim] - 1
            both = None if valid is None else valid.narrow(dim, 1, last) & valid.narrow(dim, 0, last)
            total = total + mean(error.diff(dim=dim).abs(), both)
        return total
