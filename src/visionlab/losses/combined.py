"""Several losses of one head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn


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
