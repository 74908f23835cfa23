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


def scalars(mask: float, depth: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, requires_grad=True) for name, value in (("mask", mask), ("depth", depth))}


def slopes(balance: Balance, losses: dict[str, torch.Tensor]) -> tuple[float, list[float]]:
    total = balance(losses)
    return total.item(), [grad.item() for grad in torch.autograd.grad(total, [losses[name] for name in NAMES])]


@pytest.mark.parametrize("path", sorted((conf_dir() / "balance").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_choice_gives_one_scalar(path: Path) -> None:
    balance = build(yaml.safe_load(path.read_text(encoding="utf-8")), NAMES)
    assert isinstance(balance, Balance)
    total, slope = slopes(balance, scalars(0.3, 0.2))
    assert total > 0 and min(slope) > 0
    with pytest.raises(ValueError, match="expected losses of mask, depth; found mask"):
        balance({"mask": torch.tensor(1.0)})


@pytest.mark.parametrize(
    ("mask", "depth", "factor"),
    [(0.5, 1.0, 2.0), (0.01, 1.0, 20.0), (2.0, 1.0, 1.0), (0.0, 0.004, 4.0), (0.0, 0.0, 1.0)],
)
def test_clamp_raises_one_loss_to_the_other(mask: float, depth: float, factor: float) -> None:
    balance = ClampBalance(NAMES, raised="mask", by="depth", factor=20.0)
    total, slope = slopes(balance, scalars(mask, depth))
    assert total == pytest.approx(factor * mask + depth)
    assert slope == pytest.approx([factor, 1.0]), "the factor is a constant"


def test_clamp_leaves_other_heads_alone() -> None:
    balance = ClampBalance(("other", *NAMES), raised="depth", by="mask", factor=4.0)
    assert balance({"other": torch.tensor(7.0), **scalars(1.0, 0.5)}).item() == pytest.approx(7 + 1 + 2 * 0.5)


@pytest.mark.parametrize(
    ("raised", "by", "factor", "message"),
    [
        ("mas", "depth", 2.0, r"balance\.raised: expected one of mask, depth; found 'mas'\. Did you mean 'mask'\?"),
        ("mask", "height", 2.0, r"balance\.by: expected one of mask, depth; found 'height'"),
        ("mask", "mask", 2.0, r"balance\.by: expected another head than balance\.raised, found 'mask' in both"),
        ("mask", "depth", 0.5, r"factor: expected float of at least 1, found 0\.5"),
    ],
)
def test_wrong_options_are_refused(raised: str, by: str, factor: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClampBalance(NAMES, raised=raised, by=by, factor=factor)


def test_uncertainty_begins_as_the_sum_and_learns_the_scales() -> None:
    balance = UncertaintyBalance(NAMES)
    losses = scalars(0.05, 3.0)
    total, slope = slopes(balance, losses)
    assert total == pytest.approx(3.05) and slope == [1.0, 1.0]
    assert sorted(dict(balance.named_parameters())) == ["log_variances.depth", "log_variances.mask"]
    assert torch.autograd.gradcheck(
        lambda a, b: balance.double()({"mask": a, "depth": b}),
        [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.3, 2.0)],
    )
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        balance(losses).backward()
        optimizer.step()
    learnt = {name: value.exp().item() for name, value in balance.log_variances.items()}
    assert learnt == pytest.approx({"mask": 0.05, "depth": 3.0}, rel=1e-3)
    assert slopes(balance, losses)[1] == pytest.approx([1 / 0.05, 1 / 3], rel=1e-2)
