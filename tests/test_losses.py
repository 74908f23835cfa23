"""What all losses have in common, and the known values of those that compare pixel by pixel or region by region."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
import yaml
from torch.nn import functional

from visionlab import losses
from visionlab.config.compose import build, conf_dir
from visionlab.errors import ConfigError

DENSE = [target for target, entry in losses.LOSSES.items() if entry.dense]
LABELS = [target for target, entry in losses.LOSSES.items() if entry.labels]  # see test_losses_labels.py
MAPS = [target for target in losses.LOSSES if target not in LABELS]
NUMBERS = [target for target in MAPS if target not in DENSE]
SHAPE = (3, 2, 34, 33)


def make(target: str, **options: Any) -> losses.Loss:
    loss: losses.Loss = build({"_target_": target, **options})
    return loss


def pair(target: str, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Return an input of the kind that the loss takes and a target, related but different everywhere."""
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    takes = losses.LOSSES[target].takes
    true = first if takes == "values" else (first > 0.6).double()
    near = (0.6 * first + 0.3 * second + 0.05) if takes != "logits" else 4 * (first + second - 1)
    return [near.to(dtype), true.to(dtype)]


def mask(shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Return what is valid: a corner and scattered pixels are not, and the second image is wholly unknown."""
    valid = torch.rand(shape, generator=torch.Generator().manual_seed(2)) > 0.2
    valid[1] = False
    valid[0, ..., :3] = False
    return valid


# Common to all -----------------------------------------------------------------------------------------------------


def test_configurations_and_registry_agree() -> None:
    nodes = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (conf_dir() / "loss").glob("*.yaml")
    }
    nodes["zhao"] = {**nodes["l1_msssim"], **nodes["zhao"]}
    assert {node["_target_"] for node in nodes.values()} == set(losses.LOSSES)
    for node in nodes.values():
        node.pop("defaults", None)
        loss, entry = build(node), losses.LOSSES[node["_target_"]]
        assert isinstance(loss, losses.Loss)
        assert (loss.takes, loss.dense, loss.labels, loss.smallest) == dataclasses.astuple(entry)
        assert getattr(losses, node["_target_"].rpartition(".")[2]) is not None
    assert set(losses.__all__) >= {target.rpartition(".")[2] for target in losses.LOSSES}


def test_the_registry_comes_without_torch() -> None:
    code = "import sys; from visionlab.losses import LOSSES; assert LOSSES and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'L2'"):
        _ = losses.L2


@pytest.mark.parametrize("target", MAPS)
def test_gradients_are_those_of_the_value(target: str) -> None:
    input, true = pair(target)
    input.requires_grad_()
    for valid in (None, mask()):
        assert torch.autograd.gradcheck(lambda x, v=valid: make(target)(x, true, v), (input,), fast_mode=True)


@pytest.mark.parametrize("target", MAPS)
def test_everything_valid_is_as_no_mask(target: str) -> None:
    input, true = pair(target, dtype=torch.float32)
    loss = make(target)
    plain = loss(input, true)
    assert plain.shape == () and plain.dtype == torch.float32 and 0 < plain < 10
    for shape in (SHAPE, (1, 1, 1, 1), (3, 1, 34, 33), (34, 33)):
        assert loss(input, true, torch.ones(shape, dtype=torch.bool)).item() == pytest.approx(plain.item(), abs=1e-6)


@pytest.mark.parametrize("target", MAPS)
def test_what_is_not_valid_has_no_influence(target: str) -> None:
    input, true = pair(target)
    loss, valid = make(target), mask()
    value = loss(input, true, valid)
    assert value.item() != pytest.approx(loss(input, true).item(), abs=1e-6), "the mask does something"
    for wrong in (0.0, 1.0, -1e6, math.nan, math.inf):
        other = torch.where(valid, input, wrong).requires_grad_()
        found = loss(other, torch.where(valid, true, wrong), valid)
        assert torch.equal(found, value)
        found.backward()
        assert other.grad is not None and other.grad.isfinite().all()
        assert (other.grad[~valid] == 0).all() and (other.grad[valid] != 0).any()


@pytest.mark.parametrize("target", MAPS)
def test_nothing_valid_is_zero(target: str) -> None:
    input, true = pair(target, dtype=torch.float32)
    input.requires_grad_()
    loss = make(target)(input, true, torch.zeros(1, 1, 1, 1, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert input.grad is not None and (input.grad == 0).all()


@pytest.mark.parametrize("target", MAPS)
def test_one_valid_pixel(target: str) -> None:
    input, true = pair(target, dtype=torch.float32)
    if losses.LOSSES[target].takes == "logits":
        input = 0.5 - true  # wrong everywhere
    for place in ((0, 0, 0, 0), (2, 1, 33, 32), (1, 0, 17, 16)):
        valid = torch.zeros(SHAPE, dtype=torch.bool)
        valid[place] = True
        x = input.clone().requires_grad_()
        loss = make(target)(x, true, valid)
        loss.backward()
        assert x.grad is not None and loss.isfinite() and x.grad.isfinite().all()
        # One pixel has no differences to neighbours.
        assert (loss > 0) == (x.grad[place] != 0) == (not target.endswith("GradientLoss"))


@pytest.mark.parametrize("target", MAPS)
@pytest.mark.parametrize("inputs", ["equal", "constant", "zero", "one", "negated", "huge"])
def test_degenerate_inputs_have_finite_gradients(target: str, inputs: str) -> None:
    near, true = pair(target, dtype=torch.float32)
    x = {
        "equal": true,
        "constant": torch.full_like(true, 0.3),
        "zero": torch.zeros_like(true),
        "one": torch.ones_like(true),
        "negated": 1 - true,
        "huge": 1e4 * (near - 0.5) if losses.LOSSES[target].takes != "probabilities" else near,
    }[inputs]
    for goal in (true, torch.zeros_like(true), torch.ones_like(true)):
        start = x.clone().requires_grad_()
        loss = make(target)(start, goal)
        loss.backward()
        assert loss.isfinite() and loss > -1e-6
        assert start.grad is not None and start.grad.isfinite().all()


@pytest.mark.parametrize("target", [target for target in MAPS if losses.LOSSES[target].takes != "logits"])
def test_equal_is_zero(target: str) -> None:
    _, true = pair(target, dtype=torch.float32)
    x = true.clone().requires_grad_()
    loss = make(target)(x, true)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert x.grad is not None
    if losses.LOSSES[target].takes == "values":
        assert x.grad.abs().max() < 1e-7


@pytest.mark.parametrize("target", MAPS)
def test_single_precision_under_autocast(target: str) -> None:
    input, true = pair(target, dtype=torch.float32)
    rounded = input.bfloat16()
    expected = make(target)(rounded.float(), true)
    rounded.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = make(target)(rounded, true)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    found.backward()
    assert rounded.grad is not None and rounded.grad.isfinite().all()


@pytest.mark.parametrize("target", MAPS)
def test_wrong_shapes_are_refused(target: str) -> None:
    loss = make(target)
    with pytest.raises(ValueError, match=r"expected equal shapes, found \(2, 1, 40, 40\) and \(2, 40, 40\)"):
        loss(torch.zeros(2, 1, 40, 40), torch.zeros(2, 40, 40))
    with pytest.raises(ValueError, match="at least one element"):
        loss(torch.zeros(0, 1, 40, 40), torch.zeros(0, 1, 40, 40))
    if losses.LOSSES[target].dense:
        with pytest.raises(ValueError, match=r"expected B x C x H x W.*, found \(4, 3\)"):
            loss(torch.zeros(4, 3), torch.zeros(4, 3))
    smallest = losses.LOSSES[target].smallest
    assert loss(torch.zeros(1, 1, smallest, smallest), torch.zeros(1, 1, smallest, smallest)).isfinite()
    if smallest > 1:
        with pytest.raises(ValueError, match=f"sides of at least {smallest} pixels, found"):
            loss(torch.zeros(1, 1, 64, smallest - 1), torch.zeros(1, 1, 64, smallest - 1))


@pytest.mark.parametrize("target", NUMBERS)
def test_numbers_need_no_maps(target: str) -> None:
    input, true = pair(target, (5, 3))
    as_maps = make(target)(input[:, :, None, None], true[:, :, None, None])
    assert torch.equal(make(target)(input, true), as_maps)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("elementwise.huber", {"delta": 0.0}),
        ("elementwise.BCELoss", {"pos_weight": 0.0}),
        ("elementwise.FocalLoss", {"alpha": 1.1}),
        ("elementwise.FocalLoss", {"gamma": -1.0}),
        ("overlap.DiceLoss", {"smooth": 0.0}),
        ("structural.SSIMLoss", {"data_range": 0.0}),
        ("structural.MSSSIMLoss", {"data_range": -1.0}),
        ("mixed.L1MSSSIMLoss", {"alpha": -0.1}),
        ("mixed.L1MSSSIMLoss", {"data_range": 0.0}),
        ("mixed.DenseDepthLoss", {"data_range": 0.0}),
    ],
)
def test_options_out_of_range_are_refused(target: str, options: dict[str, float]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"{name}: expected a number .*, found {value}"):
        make(f"visionlab.losses.{target}", **options)


# Elementwise -------------------------------------------------------------------------------------------------------

PAIR = (torch.tensor([[0.0, 1.0], [2.0, -3.0]]), torch.tensor([[0.5, 1.0], [0.0, 1.0]]))


@pytest.mark.parametrize(
    ("loss", "value", "partly"),
    [
        (losses.l1(), (0.5 + 0 + 2 + 4) / 4, (0.5 + 4) / 2),
        (losses.mse(), (0.25 + 0 + 4 + 16) / 4, (0.25 + 16) / 2),
        (losses.huber(), (0.125 + 0 + 1.5 + 3.5) / 4, (0.125 + 3.5) / 2),
        (losses.huber(delta=3.0), (0.125 + 0 + 2 + 7.5) / 4, (0.125 + 7.5) / 2),
    ],
)
def test_known_values(loss: losses.Loss, value: float, partly: float) -> None:
    assert loss(*PAIR).item() == pytest.approx(value)
    assert loss(PAIR[0], PAIR[0]).item() == 0.0
    assert loss(*PAIR, torch.tensor([[True, False], [False, True]])).item() == pytest.approx(partly)


def test_huber_lies_between_the_square_and_the_line() -> None:
    error = torch.linspace(-4, 4, 41, dtype=torch.float64)
    zero = torch.zeros_like(error[:1])
    for delta in (0.5, 2.0):
        for value in error[:, None]:
            found = losses.huber(delta=delta)(value, zero)
            square, line = losses.mse()(value, zero) / 2, delta * losses.l1()(value, zero)
            assert found <= square + 1e-12 and found <= line + 1e-12
            assert math.isclose(found, square if abs(value) <= delta else line - delta**2 / 2, abs_tol=1e-12)


def test_cross_entropy() -> None:
    logits, true = torch.tensor([math.log(3), 0.0, -math.log(4)]), torch.tensor([1.0, 0.0, 1.0])  # p = 3/4, 1/2, 1/5
    loss = -(math.log(0.75) + math.log(0.5) + math.log(0.2)) / 3
    assert losses.BCELoss()(logits, true).item() == pytest.approx(loss)
    weighted = -(5 * math.log(0.75) + math.log(0.5) + 5 * math.log(0.2)) / 3
    assert losses.BCELoss(pos_weight=5.0)(logits, true).item() == pytest.approx(weighted)


def test_focal_loss() -> None:
    logits, true = torch.tensor([math.log(3), 0.0, -math.log(4)]), torch.tensor([1.0, 0.0, 1.0])
    terms = 0.3 * 0.25**1.5 * math.log(0.75) + 0.7 * 0.5**1.5 * math.log(0.5) + 0.3 * 0.8**1.5 * math.log(0.2)
    assert losses.FocalLoss(alpha=0.3, gamma=1.5)(logits, true).item() == pytest.approx(-terms / 3)
    half = losses.FocalLoss(alpha=0.5, gamma=0.0)(logits, true)
    assert half.item() == pytest.approx(losses.BCELoss()(logits, true).item() / 2)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_of_extreme_logits(gamma: float) -> None:
    logits = torch.tensor([-1e4, -200.0, -90.0, 0.0, 90.0, 200.0, 1e4], requires_grad=True)
    for true, wrong in ((torch.zeros(7), 1e4), (torch.ones(7), -1e4)):
        loss = losses.FocalLoss(alpha=0.5, gamma=gamma)(logits, true)
        (grad,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite() and grad.isfinite().all()
        assert grad[logits == wrong].abs().item() == pytest.approx(0.5 / 7), "what is surely wrong still learns"
        assert grad[logits == -wrong].abs().item() == 0


def test_focal_loss_counts_what_is_right_less() -> None:
    right, wrong, true = torch.tensor([3.0]), torch.tensor([-3.0]), torch.tensor([1.0])
    focal, plain = losses.FocalLoss(), losses.BCELoss()
    assert focal(right, true) / focal(wrong, true) < 0.01 * plain(right, true) / plain(wrong, true)


# Overlap -----------------------------------------------------------------------------------------------------------


def test_dice_is_of_each_image() -> None:
    true = torch.zeros(3, 1, 4, 4)
    true[0, :, :2], true[1, 0, 0, 0] = 1, 1
    input = torch.zeros(3, 1, 4, 4)
    input[0, :, 1:3], input[1, 0, 0, 0] = 1, 0.5
    # overlap 4 of 8 and 8; 0.5 of 0.5 and 1; nothing of nothing: right
    expected = [1 - 9 / 17, 1 - 2 / 2.5, 0.0]
    loss = losses.DiceLoss()
    assert [loss(i[None], t[None]).item() for i, t in zip(input, true, strict=True)] == pytest.approx(expected)
    assert loss(input, true).item() == pytest.approx(sum(expected) / 3)
    valid = torch.ones(3, 1, 4, 4, dtype=torch.bool)
    valid[0, :, 0], valid[2] = False, False
    # without the first row: overlap 4 of 8 and 4; the third image is left out
    assert loss(input, true, valid).item() == pytest.approx((1 - 9 / 13 + expected[1]) / 2)
    assert losses.DiceLoss(smooth=1e-6)(input[:1], true[:1]).item() == pytest.approx(0.5)


def test_dice_learns_soft_values() -> None:
    input = torch.full((1, 1, 4, 4), 0.4, requires_grad=True)
    true = torch.zeros(1, 1, 4, 4)
    true[..., :2] = 1
    losses.DiceLoss()(input, true).backward()
    assert input.grad is not None
    assert (input.grad[..., :2] < 0).all() and (input.grad[..., 2:] > 0).all()


def iou_loss(wrong: torch.Tensor, true: torch.Tensor) -> float:
    """Return 1 - IoU of a prediction that is wrong in the given pixels."""
    predicted = true ^ wrong
    union = (predicted | true).sum().item()
    return 1 - (predicted & true).sum().item() / union if union else 0.0


@pytest.mark.parametrize("positives", range(5))
def test_lovasz_is_the_extension_of_iou(positives: int) -> None:
    true = torch.tensor([True] * positives + [False] * (4 - positives))
    target = true.double().view(1, 1, 2, 2)
    # At the corners, where each pixel's error is 0 or 1, it is 1 - IoU of the pixels in error.
    for bits in itertools.product([False, True], repeat=4):
        wrong = torch.tensor(bits)
        logits = (1 - wrong.double()).view(1, 1, 2, 2) * (2 * target - 1)
        assert losses.LovaszLoss()(logits, target).item() == pytest.approx(iou_loss(wrong, true))
    # In between it adds up the steps in the order of the errors.
    generator = torch.Generator().manual_seed(positives)
    logits = 2 * torch.randn(1, 1, 2, 2, generator=generator, dtype=torch.float64)
    errors = (1 - logits * (2 * target - 1)).flatten()
    total, wrong = 0.0, torch.zeros(4, dtype=torch.bool)
    for place in errors.argsort(descending=True).tolist():
        before = iou_loss(wrong, true)
        wrong[place] = True
        total += max(errors[place].item(), 0) * (iou_loss(wrong, true) - before)
    assert losses.LovaszLoss()(logits, target).item() == pytest.approx(total)


def test_lovasz_of_many_pixels_in_single_precision() -> None:
    input, true = pair("visionlab.losses.overlap.LovaszLoss", (2, 1, 300, 300))
    loss = losses.LovaszLoss()
    assert loss(input.float(), true.float()).item() == pytest.approx(loss(input, true).item(), rel=1e-6)


def test_lovasz_leaves_out_unknown_pixels() -> None:
    input, true = pair("visionlab.losses.overlap.LovaszLoss", (1, 1, 6, 6))
    valid = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    valid[..., 4:, :] = False
    assert torch.equal(
        losses.LovaszLoss()(input, true, valid), losses.LovaszLoss()(input[..., :4, :], true[..., :4, :])
    )


# Edges -------------------------------------------------------------------------------------------------------------


def test_gradient_loss() -> None:
    true = torch.tensor([[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]])[None, None]
    input = torch.tensor([[5.0, 6.0, 7.0], [5.0, 6.0, 8.0]])[None, None]
    # differences along rows are off by 0, 1, 0, 0; along columns by 0, 0, 1
    loss = losses.GradientLoss()
    assert loss(input, true).item() == pytest.approx(1 / 4 + 1 / 3)
    assert loss(true + 5, true).item() == 0, "a constant offset costs nothing"
    valid = torch.ones(1, 1, 2, 3, dtype=torch.bool)
    valid[..., 0, 0] = False
    assert loss(input, true, valid).item() == pytest.approx(1 / 3 + 1 / 2)


def test_huber_takes_its_delta_from_torch() -> None:
    input, true = pair("visionlab.losses.elementwise.huber")
    expected = functional.huber_loss(3 * input, true, delta=0.2)
    assert losses.huber(delta=0.2)(3 * input, true).item() == pytest.approx(expected.item())
