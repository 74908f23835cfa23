"""What holds for every loss, and the values of each, computed by hand."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
import yaml

from visionlab import losses
from visionlab.config import build
from visionlab.config.compose import conf_dir
from visionlab.errors import ConfigError
from visionlab.losses import LOSSES, AsymmetricLoss, BCEDiceLoss, BCELoss, DiceLoss, FocalLoss, L1MSSSIMLoss, huber

ALL = list(LOSSES)
SHAPE = (3, 2, 34, 33)
LABELS_SHAPE = (6, 5)


def make(target: str, **options: Any) -> losses.Loss:
    loss: losses.Loss = build({"_target_": target, **options})
    return loss


def pair(target: str, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an input of the kind that the loss takes and a target, related but different everywhere."""
    generator, entry = torch.Generator().manual_seed(1), LOSSES[target]
    shape = LABELS_SHAPE if entry.labels else SHAPE
    first, second = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    true = first if entry.takes == "values" else (first > 0.6).double()
    near = (0.6 * first + 0.3 * second + 0.05) if entry.takes != "logits" else 4 * (first + second - 1)
    if entry.labels:
        true[2], true[:, 4] = 0, 0  # an image without a label, a class that the batch hasn't
    return near.to(dtype), true.to(dtype)


def mask(target: str) -> torch.Tensor:
    """Return what is valid: a corner and scattered elements are not, and the second image is wholly unknown."""
    shape = LABELS_SHAPE if LOSSES[target].labels else SHAPE
    valid = torch.rand(shape, generator=torch.Generator().manual_seed(2)) > 0.2
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


# What holds for every loss -------------------------------------------------------------------------------------------


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


def test_the_table_comes_without_torch() -> None:
    code = "import sys; from visionlab.losses import LOSSES; assert LOSSES and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'L2'"):
        _ = losses.L2


@pytest.mark.parametrize("target", ALL)
def test_gradients_are_those_of_the_value(target: str) -> None:
    input, true = pair(target)
    input.requires_grad_()
    for valid in (None, mask(target)):
        assert torch.autograd.gradcheck(lambda x, v=valid: make(target)(x, true, v), (input,), fast_mode=True)


@pytest.mark.parametrize("target", ALL)
def test_everything_valid_is_as_no_mask(target: str) -> None:
    input, true = pair(target, torch.float32)
    loss = make(target)
    plain = loss(input, true)
    assert plain.shape == () and plain.dtype == torch.float32 and 0 < plain < 10
    for shape in (input.shape, (1,) * input.ndim, (len(input), 1, *input.shape[2:])):
        assert loss(input, true, torch.ones(shape, dtype=torch.bool)).item() == pytest.approx(plain.item(), abs=1e-6)


@pytest.mark.parametrize("target", ALL)
def test_what_is_not_valid_has_no_influence(target: str) -> None:
    input, true = pair(target)
    loss, valid = make(target), mask(target)
    value = loss(input, true, valid)
    assert value.item() != pytest.approx(loss(input, true).item(), abs=1e-6), "the mask does something"
    for wrong in (0.0, -1e6, math.nan, math.inf):
        found, grad = value_and_grad(
            loss, torch.where(valid, input, wrong), torch.where(valid, true, wrong), valid.clone()
        )
        assert torch.equal(found, value)
        assert grad.isfinite().all() and (grad[~valid] == 0).all() and (grad[valid] != 0).any()


@pytest.mark.parametrize("target", ALL)
def test_nothing_valid_is_zero(target: str) -> None:
    input, true = pair(target, torch.float32)
    value, grad = value_and_grad(make(target), input, true, torch.zeros((1,) * input.ndim, dtype=torch.bool))
    assert value == 0 and (grad == 0).all()


@pytest.mark.parametrize("target", ALL)
def test_one_valid_element_is_enough(target: str) -> None:
    input, true = pair(target, torch.float32)
    if LOSSES[target].takes == "logits":
        input = 0.5 - true  # wrong everywhere
    for place in ((0, 0), (5, 3), (1, 0)) if LOSSES[target].labels else ((0, 0, 0, 0), (2, 1, 33, 32), (1, 0, 17, 16)):
        valid = torch.zeros(input.shape, dtype=torch.bool)
        valid[place] = True
        value, grad = value_and_grad(make(target), input, true, valid)
        assert value.isfinite() and grad.isfinite().all()
        # One pixel has no differences to neighbours, and F1 leaves out a class without a positive.
        if not target.endswith(("GradientLoss", "SoftF1Loss")):
            assert value > 0 and grad[place] != 0


@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize("inputs", ["equal", "constant", "zero", "one", "negated", "huge", "opposite"])
def test_degenerate_inputs_have_finite_gradients(target: str, inputs: str) -> None:
    near, true = pair(target, torch.float32)
    far = 1e4 * (near - 0.5) if LOSSES[target].takes != "probabilities" else near
    x = {
        "equal": true,
        "constant": torch.full_like(true, 0.3),
        "zero": torch.zeros_like(true),
        "one": torch.ones_like(true),
        "negated": 1 - true,
        "huge": far,
        "opposite": -far if LOSSES[target].takes != "probabilities" else 1 - near,
    }[inputs]
    for goal in (true, torch.zeros_like(true), torch.ones_like(true)):
        value, grad = value_and_grad(make(target), x, goal)
        assert value.isfinite() and value > -1e-6 and grad.isfinite().all()


@pytest.mark.parametrize("target", [target for target in ALL if LOSSES[target].takes != "logits"])
def test_equal_is_zero(target: str) -> None:
    _, true = pair(target, torch.float32)
    value, grad = value_and_grad(make(target), true, true)
    assert value.item() == pytest.approx(0, abs=1e-6)
    if LOSSES[target].takes == "values":
        assert grad.abs().max() < 1e-7


@pytest.mark.parametrize("target", ALL)
def test_single_precision_under_autocast(target: str) -> None:
    input, true = pair(target, torch.float32)
    rounded = input.bfloat16()
    expected = make(target)(rounded.float(), true)
    with torch.autocast("cpu", torch.bfloat16):
        found, grad = value_and_grad(make(target), rounded, true)
    assert found.dtype == torch.float32 and torch.equal(found, expected) and grad.isfinite().all()
    exact = make(target)(*pair(target)).item()
    assert make(target)(input, true).item() == pytest.approx(exact, rel=2e-6), "float32 has digits enough"


@pytest.mark.parametrize("target", ALL)
def test_wrong_shapes_are_refused(target: str) -> None:
    loss, entry = make(target), LOSSES[target]
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


@pytest.mark.parametrize("target", ALL)
def test_a_copy_is_the_same_and_holds_no_state(target: str) -> None:
    loss = make(target)
    assert not loss.state_dict() and not list(loss.parameters())
    assert copy.deepcopy(loss)(*pair(target)) == loss(*pair(target))


OUT_OF_RANGE = {
    "delta": (0.0, -1.0),
    "pos_weight": (0.0,),
    "alpha": (-0.1, 1.1),
    "gamma": (-1.0,),
    "gamma_positive": (-1.0,),
    "gamma_negative": (-1.0,),
    "clip": (-0.1, 1.0),
    "label_smoothing": (-0.1, 1.0),
    "smooth": (0.0,),
    "data_range": (0.0, -1.0),
}


@pytest.mark.parametrize("target", ALL)
def test_options_out_of_range_are_refused(target: str) -> None:
    takes = inspect.signature(getattr(losses, target.rpartition(".")[2])).parameters.values()
    for option in (parameter.name for parameter in takes if parameter.kind is parameter.KEYWORD_ONLY):
        if option in OUT_OF_RANGE:
            for value in (*OUT_OF_RANGE[option], math.nan, math.inf):
                with pytest.raises(ConfigError, match=rf"(?i)^{option}: expected .+, found \.?{value}"):
                    make(target, **{option: value})
            with pytest.raises(ConfigError, match=f"{option}: expected .+, found '1'"):
                make(target, **{option: "1"})
        elif option == "class_weights":
            with pytest.raises(ConfigError, match=r"class_weights: expected .*none.*log.*effective.*, found 'lgo'"):
                make(target, class_weights="lgo")
        else:
            assert option == "gaussian_l1", "an option that no bound is known of here"


# Values computed by hand ---------------------------------------------------------------------------------------------

NUMBERS = [[0.0, 1.0], [2.0, -3.0]], [[0.5, 1.0], [0.0, 1.0]]
LOGITS = [[math.log(3), 0.0, -math.log(4)]], [[1.0, 0.0, 1.0]]  # probabilities 3/4, 1/2, 1/5
A, B, C = math.log(0.75), math.log(0.5), math.log(0.2)
SCORES = [[0.8, 0.9, 0.5], [0.4, 0.1, 1.0]], [[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
# Maps of one image and channel.
MASKED = [[[[0.0] * 4, [1.0] * 4, [1.0] * 4, [0.0] * 4]]], [[[[1.0] * 4, [1.0] * 4, [0.0] * 4, [0.0] * 4]]]
EDGES = [[[[5.0, 6.0, 7.0], [5.0, 6.0, 8.0]]]], [[[[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]]]]
LOGIT_MAP = [[[[math.log(3), 0.0], [-math.log(4), 0.0]]]], [[[[1.0, 0.0], [1.0, 0.0]]]]
NOT_FIRST = [[[[False, True, True], [True, True, True]]]]


@pytest.mark.parametrize(
    ("loss", "tensors", "valid", "expected"),
    [
        (losses.l1(), NUMBERS, None, (0.5 + 0 + 2 + 4) / 4),
        (losses.l1(), NUMBERS, [[True, False], [False, True]], (0.5 + 4) / 2),
        (losses.mse(), NUMBERS, None, (0.25 + 0 + 4 + 16) / 4),
        (losses.mse(), NUMBERS, [[True, False], [False, True]], (0.25 + 16) / 2),
        (huber(), NUMBERS, None, (0.125 + 0 + 1.5 + 3.5) / 4),
        (huber(delta=3.0), NUMBERS, None, (0.125 + 0 + 2 + 7.5) / 4),
        (huber(delta=3), NUMBERS, [[True, False], [False, True]], (0.125 + 7.5) / 2),
        (BCELoss(), LOGITS, None, -(A + B + C) / 3),
        (BCELoss(pos_weight=5.0), LOGITS, None, -(5 * A + B + 5 * C) / 3),
        (BCELoss(label_smoothing=0.2), LOGITS, None, -(0.9 * A + 0.1 * math.log(0.25) + B + 0.9 * C
                                                       + 0.1 * math.log(0.8)) / 3),
        (FocalLoss(alpha=0.3, gamma=1.5), LOGITS, None, -(0.3 * 0.25**1.5 * A + 0.7 * 0.5**1.5 * B
                                                          + 0.3 * 0.8**1.5 * C) / 3),
        (FocalLoss(), LOGITS, None, -(0.25 * 0.25**2 * A + 0.75 * 0.5**2 * B + 0.25 * 0.8**2 * C) / 3),
        (FocalLoss(alpha=0.5, gamma=0.0), LOGITS, None, -(A + B + C) / 6),
        (AsymmetricLoss(gamma_positive=0.5, gamma_negative=3.0, clip=0.1), LOGITS, None,
         -(0.25**0.5 * A + 0.4**3 * math.log(0.6) + 0.8**0.5 * C) / 3),
        (AsymmetricLoss(), LOGITS, None, -(A + 0.45**4 * math.log(0.55) + C) / 3),
        (AsymmetricLoss(clip=0.6), LOGITS, None, -(A + C) / 3),  # negatives up to the clip cost nothing
        (AsymmetricLoss(gamma_positive=2.0, gamma_negative=2.0, clip=0.0), LOGITS, None,
         -(0.25**2 * A + 0.5**2 * B + 0.8**2 * C) / 3),
        (losses.SoftF1Loss(), SCORES, None, (1 - 2 * 1.2 / 3.2 + 1 - 2 * 1 / 2.5) / 2),
        (losses.SoftF1Loss(), SCORES, [[True] * 3, [False] * 3], 1 - 2 * 0.8 / 1.8),
        (losses.LovaszLabelLoss(), LOGITS, None, (1 + math.log(4)) * 0.5 + 1 / 6),
        (DiceLoss(), MASKED, None, 1 - 9 / 17),
        (DiceLoss(smooth=3.0), MASKED, None, 1 - 11 / 19),
        (DiceLoss(), MASKED, [[[[False] * 4, [True] * 4, [True] * 4, [True] * 4]]], 1 - 9 / 13),
        (losses.GradientLoss(), EDGES, None, 1 / 4 + 1 / 3),  # off by 0, 1, 0, 0 along rows; 0, 0, 1 along columns
        (losses.GradientLoss(), EDGES, NOT_FIRST, 1 / 3 + 1 / 2),
        (BCEDiceLoss(), LOGIT_MAP, None, -(A + 2 * B + C) / 4 + 1 - (2 * 0.95 + 1) / (1.95 + 2 + 1)),
        (BCEDiceLoss(smooth=3.0), LOGIT_MAP, None, -(A + 2 * B + C) / 4 + 1 - (1.9 + 3) / (3.95 + 3)),
        (BCEDiceLoss(), LOGIT_MAP, [[[[True, True], [False, False]]]],
         -(A + B) / 2 + 1 - (2 * 0.75 + 1) / (1.25 + 1 + 1)),
    ],
)  # fmt: skip
def test_known_values(loss: losses.Loss, tensors: Any, valid: Any, expected: float) -> None:
    input, true = (torch.tensor(tensor, dtype=torch.float64) for tensor in tensors)
    assert loss(input, true, None if valid is None else torch.tensor(valid)).item() == pytest.approx(expected, rel=1e-9)


def test_the_default_mixture_is_the_published_one() -> None:
    input, true = pair("visionlab.losses.mixed.L1MSSSIMLoss")
    parts = 0.16 * losses.l1()(input, true) + 0.84 * losses.MSSSIMLoss()(input, true)
    assert L1MSSSIMLoss()(input, true).item() == pytest.approx(parts.item(), rel=1e-12)
