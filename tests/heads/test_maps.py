"""Heads of masks and depth: their scales, and what each loss is given."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from visionlab.config.compose import choice
from visionlab.heads import KINDS
from visionlab.heads.depth.head import DepthHead
from visionlab.heads.mask.head import MaskHead
from visionlab.modules.task_module import make_loss


def mask_head(**changes: Any) -> MaskHead:
    given = {"share": 0.2, "metrics": list(KINDS["mask"].metrics), "weight": 1.0, "activation": "sigmoid"}
    return MaskHead("mask", **{**given, **changes})


def depth_head(**changes: Any) -> DepthHead:
    given = {"low": 2.0, "high": 6.0, "mean": 3.0, "unit": "m", "weight": 1.0, "activation": "none"}
    return DepthHead("depth", **{**given, "metrics": list(KINDS["depth"].metrics), **changes})


def test_depth_is_learnt_from_0_to_1_and_given_back_in_its_unit() -> None:
    head = depth_head()
    target = torch.tensor([[[[2.0, 4.0, 6.0, 8.0]]]])
    assert torch.equal(head.normalized(target), torch.tensor([[[[0.0, 0.5, 1.0, 1.5]]]]))
    assert torch.equal(head.decode(head.normalized(target)), target)
    assert head.loss(head.normalized(target), target, make_loss(choice("loss", "loss", "l1"))) == 0
    # One too far by a quarter of the range costs a quarter on that scale, and a metre in metrics.
    raw = head.normalized(target + 1)
    assert head.loss(raw, target, make_loss(choice("loss", "loss", "l1"))) == pytest.approx(0.25)
    assert depth_head(metrics=["mae"]).measure(head.rows(head.decode(raw), target).numpy())["mae"] == pytest.approx(1)


def test_a_sigmoid_keeps_depth_within_the_training_range() -> None:
    head = depth_head(activation="sigmoid")
    decoded = head.decode(torch.tensor([[[[-100.0, 0.0, 100.0]]]]))
    assert torch.allclose(decoded, torch.tensor([[[[2.0, 4.0, 6.0]]]]))
    assert head.loss(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 4.0), make_loss(choice("l", "loss", "l1"))) == 0


def test_each_loss_is_given_what_it_takes() -> None:
    raw, target = torch.tensor([[[[-2.0, 3.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    probability = torch.sigmoid(raw)
    entropy = torch.nn.functional.binary_cross_entropy(probability, target)
    dice = 1 - (2 * probability[..., 1].sum() + 1) / (probability.sum() + 1 + 1)
    absolute = (probability - target).abs().mean()
    parts = {"bce": entropy, "dice": dice, "l1": absolute}
    for name, expected in parts.items():
        assert mask_head().loss(raw, target, make_loss(choice("l", "loss", name))).item() == pytest.approx(
            expected.item(), rel=1e-5
        )
    weighted = make_loss(
        [{"weight": weight, "loss": choice("l", "loss", n)} for n, weight in (("bce", 1), ("dice", 0.5))]
    )
    assert mask_head().loss(raw, target, weighted).item() == pytest.approx((entropy + 0.5 * dice).item(), rel=1e-5)


def test_one_depth_everywhere_does_not_divide_by_zero() -> None:
    class Flat:
        def map_scale(self, name: str) -> Any:
            from visionlab.data.describe import MapScale

            return MapScale(3.0, 3.0, 3.0)

    options = {"unit": "m", "metrics": ["mae"], "weight": 1.0, "activation": "none"}
    head = DepthHead.from_data("depth", Flat(), **options)  # type: ignore[arg-type]
    assert torch.isfinite(head.normalized(torch.tensor([3.0, 4.0]))).all()
