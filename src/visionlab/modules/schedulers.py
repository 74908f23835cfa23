"""Learning-rate schedules by the names that configurations use.

Each takes the optimizer and the :class:`Plan` of the training, and the keyword arguments from ``conf/scheduler/``.
Schedules by the step are plain functions of the step's number: their state is that number alone, so a resumed
training goes on exactly, and one that is resumed with more epochs follows the longer plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, ReduceLROnPlateau, StepLR

Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Plan:
    """How long a training will be.

    Attributes:
        steps_per_epoch: steps of the optimizer an epoch.
        total_steps: steps of the optimizer in all.
        max_epochs: epochs in all.
        mode: whether a smaller (``min``) or a larger (``max``) monitored metric is better.
    """

    steps_per_epoch: int
    total_steps: int
    max_epochs: int
    mode: Literal["min", "max"] = "min"


@dataclass(frozen=True)
class Schedule:
    """A scheduler and when to step it: after each ``epoch``, each ``step`` of the optimizer, or each ``validation``.

    One stepped after a validation is given the monitored metric.
    """

    scheduler: LRScheduler
    interval: Literal["epoch", "step", "validation"]


def none(optimizer: Optimizer, plan: Plan) -> None:
    """Keep the learning rate."""


def plateau(
    optimizer: Optimizer,
    plan: Plan,
    *,
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.8,
    patience: Annotated[int, Field(ge=0)] = 5,
    min_lr: Annotated[float, Field(ge=0)] = 0.0,
) -> Schedule:
    """Multiply the rate by ``factor`` after more than ``patience`` validations without a new best monitored metric."""
    return Schedule(ReduceLROnPlateau(optimizer, plan.mode, factor, patience, min_lr=min_lr), "validation")


def step(optimizer: Optimizer, plan: Plan, *, step_size: Annotated[int, Field(ge=1)], gamma: Share) -> Schedule:
    """Multiply the rate by ``gamma`` every ``step_size`` epochs."""
    return Schedule(StepLR(optimizer, step_size, gamma), "epoch")


def multistep(
    optimizer: Optimizer, plan: Plan, *, milestones: list[Annotated[int, Field(ge=1)]], gamma: Share
) -> Schedule:
    """Multiply the rate by ``gamma`` after each of the ``milestones`` (epochs)."""
    return Schedule(MultiStepLR(optimizer, milestones, gamma), "epoch")


def cosine(
    optimizer: Optimizer,
    plan: Plan,
    *,
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0,
    min_lr: Annotated[float, Field(ge=0)] = 0.0,
) -> Schedule:
    """Rise linearly to the optimizer's rate over ``warmup_epochs``, then fall as a half cosine to ``min_lr``.

    Loshchilov and Hutter 2017, without restarts. The fall ends with the last step.
    """
    warmup = round(warmup_epochs * plan.steps_per_epoch)

    def rate(number: int, lr: float) -> float:
        if number < warmup:
            return lr * (number + 1) / (warmup + 1)
        return _anneal(lr, min_lr, (number - warmup) / max(1, plan.total_steps - 1 - warmup))

    return _by_step(optimizer, rate)


def onecycle(
    optimizer: Optimizer,
    plan: Plan,
    *,
    max_lr: Rate | None = None,
    pct_start: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    div_factor: Annotated[float, Field(ge=1)] = 25.0,
    final_div_factor: Annotated[float, Field(ge=1)] = 1e4,
) -> Schedule:
    """Rise from ``max_lr / div_factor`` to ``max_lr``, fall to the first rate / ``final_div_factor``, both as cosines.

    Smith and Topin 2019. The momentum stays as the optimizer has it.

    Args:
        optimizer: whose rate is ``max_lr`` where that is None.
        plan: the cycle takes all its steps.
        pct_start: share of the steps in which the rate rises, 0..1.
        max_lr, div_factor, final_div_factor: see above.
    """
    peak = max(1e-9, pct_start * plan.total_steps - 1)

    def rate(number: int, lr: float) -> float:
        top = lr if max_lr is None else max_lr
        first = top / div_factor
        if number <= peak:
            return _anneal(first, top, number / peak)
        return _anneal(top, first / final_div_factor, (number - peak) / max(1e-9, plan.total_steps - 1 - peak))

    return _by_step(optimizer, rate)


def cyclic(
    optimizer: Optimizer, plan: Plan, *, base_lr: Rate, max_lr: Rate | None = None, step_size_epochs: Rate
) -> Schedule:
    """Go up and down between ``base_lr`` and ``max_lr`` by the step, the height halved after each cycle.

    Smith 2017, "triangular2".

    Args:
        optimizer: whose rate is ``max_lr`` where that is None.
        plan: gives the steps an epoch.
        base_lr, max_lr: see above.
        step_size_epochs: half a cycle, in epochs.
    """
    half = max(1, round(step_size_epochs * plan.steps_per_epoch))

    def rate(number: int, lr: float) -> float:
        cycle, position = divmod(number, 2 * half)
        height = 1 - abs(position / half - 1)
        return base_lr + ((lr if max_lr is None else max_lr) - base_lr) * height / 2**cycle

    return _by_step(optimizer, rate)


def _anneal(start: float, end: float, part: float) -> float:
    """Return the value ``part`` (0..1, beyond it ``end``) of the way along a half cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, part))) / 2


def _by_step(optimizer: Optimizer, rate: Callable[[int, float], float]) -> Schedule:
    """Return a schedule that sets each parameter group to ``rate(step number, the group's own rate)``."""

    def factor(lr: float) -> Callable[[int], float]:
        return lambda number: rate(number, lr) / lr

    # A group that was scheduled before (training from a checkpoint) keeps its own rate in "initial_lr".
    return Schedule(
        LambdaLR(optimizer, [factor(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]), "step"
    )
