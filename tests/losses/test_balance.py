"""How losses of several heads become one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from visionlab.config import build
from visionlab.config.compose import conf_dir
from visionlab.errors import ConfigError
from visionlab.losses.balance import Balance, ClampBalance, UncertaintyBalance

NAMES = ("mask", "depth")


def total_and_slopes(balance: Balance, mask: float, depth: float) -> tuple[float, list[float]]:
    losses = {name: torch.tensor(value, requires_grad=True) for name, value in (("mask", mask), ("depth", depth))}
    total = balance(losses)
    return total.item(), [grad.item() for grad in torch.autograd.grad(total, [losses[name] for name in NAMES])]


@pytest.mark.parametrize("path", sorted((conf_dir() / "balance").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_choice_gives_one_scalar(path: Path) -> None:
    balance = build(yaml.safe_load(path.read_text(encoding="utf-8")), NAMES)
    assert isinstance(balance, Balance)
    total, slopes = total_and_slopes(balance, 0.3, 0.3)
    assert total == pytest.approx(0.6) and slopes == [1.0, 1.0], "of losses of one size each is the sum"


@pytest.mark.parametrize(
    ("mask", "depth", "factor"),
    [(0.5, 1.0, 2.0), (0.01, 1.0, 20.0), (2.0, 1.0, 1.0), (0.0, 0.004, 4.0), (0.0, 0.0, 1.0)],
)
def test_clamp_raises_one_loss_to_the_other(mask: float, depth: float, factor: float) -> None:
    balance = ClampBalance(NAMES, raised="mask", by="depth", factor=20.0)
    total, slopes = total_and_slopes(balance, mask, depth)
    assert total == pytest.approx(factor * mask + depth)
    assert slopes == pytest.approx([factor, 1.0]), "the factor is a constant"
    with pytest.raises(ConfigError, match=r"factor: expected float of at least 1, found 0\.5"):
        ClampBalance(NAMES, raised="mask", by="depth", factor=0.5)


def test_uncertainty_weighs_by_learnt_scales() -> None:
    balance = UncertaintyBalance(NAMES)
    assert sorted(dict(balance.named_parameters())) == ["log_variances.depth", "log_variances.mask"]
    scales = {"mask": 0.05, "depth": 3.0}
    for name, scale in scales.items():
        balance.log_variances[name].data.fill_(scale).log_()
    total, slopes = total_and_slopes(balance, *scales.values())
    assert slopes == pytest.approx([1 / 0.05, 1 / 3])
    assert total == pytest.approx(sum(1 + torch.tensor(scale).log().item() for scale in scales.values()))
    balance({name: torch.tensor(scale) for name, scale in scales.items()}).backward()
    gradients = [value.grad.item() for value in balance.log_variances.values() if value.grad is not None]
    assert gradients == pytest.approx([0, 0], abs=1e-6), "least where the scales are those of the losses"
