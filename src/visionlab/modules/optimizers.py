"""Optimizers by the names that configurations use.

Each takes the parameters (or parameter groups) and ``fused``, whether all of them are updated by one GPU kernel, from
the LightningModule, and the keyword arguments from ``conf/optimizer/``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from pydantic import Field

Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[
    list[Momentum],
    Field(min_length=2, max_length=2, description="a list of two float of at least 0 and below 1"),
]
Parameters = Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]


def adam(
    parameters: Parameters, fused: bool, *, lr: Positive, betas: Betas, eps: Positive, weight_decay: Decay
) -> torch.optim.Optimizer:
    """Return Adam (Kingma and Ba 2015); its ``weight_decay`` is an L2 penalty added to the gradient."""
    return torch.optim.Adam(
        parameters, lr=lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay, fused=fused
    )


def adamw(
    parameters: Parameters, fused: bool, *, lr: Positive, betas: Betas, eps: Positive, weight_decay: Decay
) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov and Hutter 2019), whose ``weight_decay`` is decoupled from the gradient."""
    return torch.optim.AdamW(
        parameters, lr=lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay, fused=fused
    )


def sgd(
    parameters: Parameters, fused: bool, *, lr: Positive, momentum: Momentum, nesterov: bool, weight_decay: Decay
) -> torch.optim.Optimizer:
    """Return stochastic gradient descent with momentum."""
    return torch.optim.SGD(
        parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=fused
    )
