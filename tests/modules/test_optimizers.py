"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, OneCycleLR

from visionlab.config import build
from visionlab.config import compose as config
from visionlab.modules import optimizers, schedulers
from visionlab.modules.schedulers import Plan, Schedule

PLAN = Plan(steps_per_epoch=10, total_steps=100, max_epochs=10)


def make_sgd(lr: float = 0.1) -> torch.optim.Optimizer:
    weight = torch.nn.Parameter(torch.zeros(1))
    return optimizers.sgd([weight], False, lr=lr, momentum=0.9, nesterov=True, weight_decay=0.0)


def curve(schedule: Schedule | None, steps: int = 100) -> list[float]:
    """Return the rate used by each step (or epoch)."""
    assert schedule is not None
    rates = []
    for _ in range(steps):
        rates.append(schedule.scheduler.optimizer.param_groups[0]["lr"])
        schedule.scheduler.optimizer.step()
        schedule.scheduler.step()
    return rates


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_configured_optimizers_learn(name: str) -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    node = config.compose([f"optimizer={name}", "optimizer.lr=0.1"]).optimizer
    optimizer = build(node, [{"params": [weight], "weight_decay": 0.0}], False)
    for _ in range(50):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
    assert weight.abs().max() < 0.2
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.param_groups[0]["fused"] is False


def test_adam_differs_from_adamw_in_the_decay_only() -> None:
    found = []
    for make in (optimizers.adam, optimizers.adamw):
        weight = torch.nn.Parameter(torch.ones(1))
        optimizer = make([weight], False, lr=0.1, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.5)
        weight.grad = torch.zeros(1)
        optimizer.step()
        found.append(weight.item())
    assert found == pytest.approx([0.9, 0.95]), "an L2 gradient is normalised by Adam, a decoupled decay isn't"


@pytest.mark.parametrize("name", ["step", "multistep", "cosine", "onecycle", "cyclic"])
def test_a_schedule_goes_on_exactly_from_plain_data(name: str) -> None:
    node = config.compose([f"scheduler={name}"]).scheduler
    whole = curve(build(node, make_sgd(), PLAN))
    first, second = build(node, make_sgd(), PLAN), build(node, make_sgd(), PLAN)
    assert first.interval == ("epoch" if name in ("step", "multistep") else "step")
    begun, buffer = curve(first, 37), io.BytesIO()
    torch.save([first.scheduler.state_dict(), first.scheduler.optimizer.state_dict()], buffer)
    buffer.seek(0)
    state, rates = torch.load(buffer, weights_only=True)
    second.scheduler.optimizer.load_state_dict(rates)
    second.scheduler.load_state_dict(state)
    assert begun + curve(second, 63) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: schedulers.cosine(make_sgd(), PLAN, min_lr=0.01), lambda: CosineAnnealingLR(make_sgd(), 99, 0.01)),
        (
            lambda: schedulers.onecycle(make_sgd(), PLAN, max_lr=0.5),
            lambda: OneCycleLR(make_sgd(), 0.5, total_steps=100, cycle_momentum=False),
        ),
        (
            lambda: schedulers.cyclic(make_sgd(0.09), PLAN, base_lr=0.01, step_size_epochs=2.0),
            lambda: CyclicLR(make_sgd(), 0.01, 0.09, step_size_up=20, mode="triangular2", cycle_momentum=False),
        ),
    ],
    ids=["cosine", "onecycle", "cyclic"],
)
def test_schedules_by_the_step_are_torchs(make: Callable[[], Schedule], expected: Callable[[], Any]) -> None:
    assert curve(make(), 99) == pytest.approx(curve(Schedule(expected(), "step"), 99), rel=1e-6)


def test_warm_up_rises_linearly_then_falls() -> None:
    found = curve(schedulers.cosine(make_sgd(), PLAN, warmup_epochs=1.5, min_lr=0.0))
    assert found[:16] == pytest.approx([0.1 * (number + 1) / 16 for number in range(16)])
    assert all(later < earlier for earlier, later in itertools.pairwise(found[15:]))
    assert found[-1] == pytest.approx(0.0, abs=1e-12)


def test_one_cycle_peaks_at_the_optimizers_rate_by_default() -> None:
    schedule = schedulers.onecycle(make_sgd(0.2), PLAN)
    found = curve(schedule, 120)
    assert max(found) == pytest.approx(0.2)
    assert found[-1] == pytest.approx(0.2 / 25 / 1e4), "beyond the plan the last rate stays"


def test_step_and_multistep() -> None:
    assert curve(schedulers.step(make_sgd(), PLAN, step_size=2, gamma=0.1), 5) == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001]
    )
    assert curve(schedulers.multistep(make_sgd(), PLAN, milestones=[1, 4], gamma=0.5), 5) == pytest.approx(
        [0.1, 0.05, 0.05, 0.05, 0.025]
    )


@pytest.mark.parametrize(("mode", "values"), [("min", [1.0, 2.0, 2.0, 2.0]), ("max", [1.0, 0.5, 0.5, 0.5])])
def test_plateau_follows_the_monitored_metric(mode: Any, values: list[float]) -> None:
    optimizer = make_sgd()
    schedule = schedulers.plateau(optimizer, Plan(10, 100, 10, mode), factor=0.8, patience=1, min_lr=0.09)
    rates = []
    for value in values:
        schedule.scheduler.step(value)  # type: ignore[arg-type]
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.1, 0.09, 0.09]), "0.08 is below min_lr"
