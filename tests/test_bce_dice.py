"""Cross-entropy + Dice of logits: its value, its parts, and what is unknown. See test_losses.py for what all share."""

from __future__ import annotations

import math

import pytest
import torch

from visionlab.config.compose import build, choice
from visionlab.errors import ConfigError
from visionlab.losses import BCEDiceLoss, BCELoss, DiceLoss

SHAPE = (3, 1, 9, 11)


def example(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits, noise, third = (torch.randn(SHAPE, generator=generator, dtype=dtype) for _ in range(3))
    return 3 * logits, (noise > 0.5).to(dtype), third > -1


def test_known_value() -> None:
    logits = torch.tensor([[[[math.log(3), 0.0], [-math.log(4), 0.0]]]])  # 3/4, 1/2, 1/5, 1/2
    true = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    entropy = -(math.log(0.75) + 2 * math.log(0.5) + math.log(0.2)) / 4
    dice = 1 - (2 * 0.95 + 1) / (1.95 + 2 + 1)
    loss = BCEDiceLoss()(logits, true)
    assert loss.shape == () and loss.item() == pytest.approx(entropy + dice)
    assert BCEDiceLoss(smooth=3.0)(logits, true).item() == pytest.approx(entropy + 1 - (1.9 + 3) / (3.95 + 3))
    # Of the first line alone.
    valid = torch.tensor([[[[True, True], [False, False]]]])
    part = -(math.log(0.75) + math.log(0.5)) / 2 + 1 - (2 * 0.75 + 1) / (1.25 + 1 + 1)
    assert BCEDiceLoss()(logits, true, valid).item() == pytest.approx(part)


def test_it_is_the_sum_of_both() -> None:
    logits, true, valid = example()
    for known in (None, valid):
        both = BCELoss()(logits, true, known) + DiceLoss()(logits.sigmoid(), true, known)
        assert BCEDiceLoss()(logits, true, known).item() == pytest.approx(both.item(), rel=1e-12)


def test_gradients() -> None:
    logits, true, valid = (maps[:, :, :4, :5] for maps in example())
    logits = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: BCEDiceLoss()(x, true), (logits,))
    assert torch.autograd.gradcheck(lambda x: BCEDiceLoss()(x, true, valid), (logits,))
    BCEDiceLoss()(logits, true, valid).backward()
    assert logits.grad is not None
    assert ((logits.grad < 0) == (true > 0))[valid].all() and not logits.grad[~valid].any()


def test_unknown_pixels_count_for_nothing() -> None:
    logits, true, valid = example(torch.float32)
    valid[1] = False
    value = BCEDiceLoss()(logits, true, valid)
    for wrong in (-1e4, 0.0, 1e4, math.nan, math.inf):
        other = torch.where(valid, logits, wrong), torch.where(valid, true, wrong)
        assert torch.equal(BCEDiceLoss()(*other, valid), value)
    # As if the unknown lines weren't there.
    lines = torch.ones(SHAPE, dtype=torch.bool)
    lines[:, :, 5:] = False
    cut = BCEDiceLoss()(logits[:, :, :5], true[:, :, :5])
    assert BCEDiceLoss()(logits, true, lines).item() == pytest.approx(cut.item(), rel=1e-6)
    assert BCEDiceLoss()(logits, true, torch.zeros_like(valid)).item() == 0


@pytest.mark.parametrize("size", [0.0, 50.0, 1e4])
def test_extreme_inputs(size: float) -> None:
    none, all_of_it = torch.zeros(SHAPE), torch.ones(SHAPE)
    for true in (none, all_of_it):
        for sign in (1, -1):
            logits = (sign * size * (2 * true - 1)).requires_grad_()
            loss = BCEDiceLoss()(logits, true)
            loss.backward()
            assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()
            if size:
                assert loss.item() == pytest.approx(0, abs=1e-6) if sign > 0 else loss > size
                assert sign > 0 or logits.grad.all(), "what is surely wrong still learns"


def test_single_precision_is_enough() -> None:
    logits, true, valid = example()
    exact = BCEDiceLoss()(logits, true, valid).item()
    assert BCEDiceLoss()(logits.float(), true.float(), valid).item() == pytest.approx(exact, rel=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert BCEDiceLoss()(logits.float(), true.float(), valid).item() == pytest.approx(exact, rel=1e-6)


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(ConfigError, match="smooth: expected a number above 0, found 0"):
        BCEDiceLoss(smooth=0.0)
    with pytest.raises(ValueError, match=r"BCEDiceLoss: expected B x C x H x W, found \(4, 3\)"):
        BCEDiceLoss()(torch.zeros(4, 3), torch.zeros(4, 3))


def test_it_has_a_name_on_the_command_line() -> None:
    loss = build(choice("loss", "loss", "bce_dice"))
    assert isinstance(loss, BCEDiceLoss) and loss.dice.smooth == 1.0
