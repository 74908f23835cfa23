"""How much each class of labels counts, by how many training images have it."""

from __future__ import annotations

from typing import Literal

import torch

ClassWeights = Literal["none", "log", "effective"]

# Cui et al. 2019 try 0.9, 0.99, 0.999 and 0.9999; images beyond about 1 / (1 - b) hardly count any more.
_BETA = 0.999


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
