"""What holds for every loss, with its defaults and with the options that change its formula."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import yaml

from visionlab import losses
from visionlab.config import build
from visionlab.config.compose import conf_dir
from visionlab.errors import ConfigError
from visionlab.losses import LOSSES

CASES: list[tuple[str, dict[str, Any]]] = [
    *((target, {}) for target in LOSSES),
    ("visionlab.losses.elementwise.FocalLoss", {"gamma": 0.5, "label_smoothing": 0.1}),
    ("visionlab.losses.elementwise.FocalLoss", {"gamma": 0.0}),
    ("visionlab.losses.labels.AsymmetricLoss", {"gamma_positive": 0.3, "gamma_negative": 0.3, "clip": 0.5}),
    ("visionlab.losses.labels.AsymmetricLoss", {"gamma_positive": 2.0, "clip": 0.0}),
    ("visionlab.losses.mixed.L1MSSSIMLoss", {"gaussian_l1": True}),
]
every_loss = pytest.mark.parametrize(("target", "options"), CASES, ids=lambda item: str(item).rpartition(".losses.")[2])


def make(target: str, options: dict[str, Any]) -> losses.Loss:
    loss: losses.Loss = build({"_target_": target, **options})
    return loss


def shape_of(target: str) -> tuple[int, ...]:
    return (6, 5) if LOSSES[target].labels else (3, 2, 34, 33)


def pair(target: str, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an input of the kind that the loss takes and a target, related but different everywhere."""
    generator, entry = torch.Generator().manual_seed(1), LOSSES[target]
    first, second = (torch.rand(shape_of(target), generator=generator, dtype=torch.float64) for _ in range(2))
    true = first if entry.takes == "values" else (first > 0.6).double()
    near = (0.6 * first + 0.3 * second + 0.05) if entry.takes != "logits" else 4 * (first + second - 1)
    if entry.labels:
        true[2], true[:, 4] = 0, 0  # an image without a label, a class that the batch hasn't
    return near.to(dtype), true.to(dtype)


def mask(target: str) -> torch.Tensor:
    """Return what is valid: a corner and scattered elements are not, and the second image is wholly unknown."""
    valid = torch.rand(shape_of(target), generator=torch.Generator().manual_seed(2)) > 0.2
    valid[1] = False
    valid[0, ..., :1] = False
    return valid


def value_and_grad(
    loss: losses.Loss, input: torch.Tensor, *more: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    start = input.clone().requires_grad_()
    value = loss(start, *more)
    (grad,) = torch.autograd.grad(value, start)
    return value.detach(), grad


def test_the_table_the_configurations_and_the_classes_agree() -> None:
    nodes = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in (conf_dir() / "loss").glob("*.yaml")}
    nodes["zhao"] = {**nodes["l1_msssim"], **nodes["zhao"]}
    assert {node["_target_"] for node in nodes.values()} == set(LOSSES)
    for node in nodes.values():
        node.pop("defaults", None)
        loss, entry = build(node), LOSSES[node["_target_"]]
        assert isinstance(loss, losses.Loss)
        assert (loss.takes, loss.dense, loss.labels, loss.smallest) == dataclasses.astuple(entry)
        assert getattr(losses, node["_target_"].rpartition(".")[2]) is not None
        assert not loss.state_dict(), "checkpoints hold nothing of it"


@every_loss
def test_gradients_are_those_of_the_value(target: str, options: dict[str, Any]) -> None:
    input, true = pair(target)
    input.requires_grad_()
    for valid in (None, mask(target)):
        assert torch.autograd.gradcheck(lambda x, v=valid: make(target, options)(x, true, v), (input,), fast_mode=True)


@every_loss
def test_everything_valid_is_as_no_mask_and_nothing_valid_is_zero(target: str, options: dict[str, Any]) -> None:
    input, true = pair(target, torch.float32)
    loss = make(target, options)
    plain = loss(input, true)
    assert plain.shape == () and plain.dtype == torch.float32 and 0 < plain < 10
    for shape in (input.shape, (1,) * input.ndim, (len(input), 1, *input.shape[2:])):
        assert loss(input, true, torch.ones(shape, dtype=torch.bool)).item() == pytest.approx(plain.item(), abs=1e-6)
    value, grad = value_and_grad(loss, input, true, torch.zeros((1,) * input.ndim, dtype=torch.bool))
    assert value == 0 and (grad == 0).all()


@every_loss
def test_what_is_not_valid_has_no_influence(target: str, options: dict[str, Any]) -> None:
    input, true = pair(target)
    loss, valid = make(target, options), mask(target)
    value = loss(input, true, valid)
    assert value.item() != pytest.approx(loss(input, true).item(), abs=1e-6), "the mask does something"
    for wrong in (0.0, -1e6, math.nan, math.inf):
        found, grad = value_and_grad(loss, torch.where(valid, input, wrong), torch.where(valid, true, wrong), valid)
        assert torch.equal(found, value)
        assert grad.isfinite().all() and (grad[~valid] == 0).all() and (grad[valid] != 0).any()
    one = torch.zeros_like(valid)
    one[0, 0] = valid[0, 0]
    one[..., 2:] = False
    value, grad = value_and_grad(loss, input, true, one)
    assert value.isfinite() and grad.isfinite().all()


@every_loss
def test_degenerate_inputs_have_finite_gradients(target: str, options: dict[str, Any]) -> None:
    near, true = pair(target, torch.float32)
    inputs = [true, torch.full_like(true, 0.3), torch.zeros_like(true), torch.ones_like(true), 1 - true, near]
    if LOSSES[target].takes != "probabilities":
        inputs += [1e4 * (near - 0.5), 1e4 * (0.5 - near)]
    for input in inputs:
        for goal in (true, torch.zeros_like(true), torch.ones_like(true)):
            value, grad = value_and_grad(make(target, options), input, goal)
            assert value.isfinite() and value > -1e-6 and grad.isfinite().all()
    if LOSSES[target].takes != "logits":
        value, grad = value_and_grad(make(target, options), true, true)
        assert value.item() == pytest.approx(0, abs=1e-6)
        assert LOSSES[target].takes == "probabilities" or grad.abs().max() < 1e-7


@every_loss
def test_single_precision_under_autocast(target: str, options: dict[str, Any]) -> None:
    input, true = pair(target, torch.float32)
    rounded = input.bfloat16()
    expected = make(target, options)(rounded.float(), true)
    with torch.autocast("cpu", torch.bfloat16):
        found, grad = value_and_grad(make(target, options), rounded, true)
    assert found.dtype == torch.float32 and torch.equal(found, expected) and grad.isfinite().all()
    exact = make(target, options)(*pair(target)).item()
    assert make(target, options)(input, true).item() == pytest.approx(exact, rel=2e-6), "float32 has digits enough"


@pytest.mark.parametrize("target", LOSSES)
def test_wrong_shapes_are_refused(target: str) -> None:
    loss, entry = make(target, {}), LOSSES[target]
    with pytest.raises(ValueError, match=r"expected equal shapes, found \(2, 1, 40, 40\) and \(2, 40, 40\)"):
        loss(torch.zeros(2, 1, 40, 40), torch.zeros(2, 40, 40))
    with pytest.raises(ValueError, match="at least one element"):
        loss(torch.zeros(0, 1, 40, 40), torch.zeros(0, 1, 40, 40))
    if entry.labels:
        for shape in ((2, 3, 8, 8), (5,)):
            with pytest.raises(ValueError, match=rf"expected labels B x K, found \({shape[0]},"):
                loss(torch.zeros(shape), torch.zeros(shape))
        return
    if entry.dense:
        with pytest.raises(ValueError, match=r"expected B x C x H x W.*, found \(4, 3\)"):
            loss(torch.zeros(4, 3), torch.zeros(4, 3))
    else:
        flat, true = (maps[:, 0, 0] for maps in pair(target))
        assert torch.equal(loss(flat, true), loss(flat[:, :, None, None], true[:, :, None, None]))
    side = entry.smallest
    assert loss(torch.zeros(1, 1, side, side), torch.zeros(1, 1, side, side)).isfinite()
    if side > 1:
        with pytest.raises(ValueError, match=f"sides of at least {side} pixels, found"):
            loss(torch.zeros(1, 1, 64, side - 1), torch.zeros(1, 1, 64, side - 1))


@pytest.mark.parametrize(
    ("names", "option", "wrong"),
    [
        (["huber"], "delta", [0.0, -1.0]),
        (["BCELoss"], "pos_weight", [0.0]),
        (["FocalLoss", "L1MSSSIMLoss"], "alpha", [-0.1, 1.1]),
        (["FocalLoss"], "gamma", [-1.0]),
        (["AsymmetricLoss"], "gamma_positive", [-1.0]),
        (["AsymmetricLoss"], "gamma_negative", [-1.0]),
        (["AsymmetricLoss"], "clip", [-0.1, 1.0]),
        (["BCELoss", "FocalLoss", "AsymmetricLoss"], "label_smoothing", [-0.1, 1.0]),
        (["BCELoss", "FocalLoss", "AsymmetricLoss"], "class_weights", ["lgo"]),
        (["DiceLoss", "BCEDiceLoss"], "smooth", [0.0]),
        (["SSIMLoss", "MSSSIMLoss", "L1MSSSIMLoss", "DenseDepthLoss"], "data_range", [0.0, -1.0]),
    ],
)
def test_options_out_of_range_are_refused(names: list[str], option: str, wrong: list[Any]) -> None:
    for name in names:
        for value in (*wrong, math.nan, math.inf, "1"):
            with pytest.raises(ConfigError, match=rf"(?i)^{option}: expected .+, found "):
                getattr(losses, name)(**{option: value})
