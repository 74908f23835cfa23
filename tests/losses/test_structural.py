"""SSIM and MS-SSIM against pytorch-msssim, where it is defined, and against their definition, window by window."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_msssim
import torch
from torch.nn import functional

from visionlab import losses
from visionlab.losses.structural import FLOOR, LEVEL_WEIGHTS, level_windows

Array = npt.NDArray[np.float64]


def natural(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return smooth images with edges, B x C x H x W in 0..1, float64."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*shape[:2], 5, 6, generator=generator, dtype=torch.float64)
    image = functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1)
    return torch.where(image > 0.6, 1.3 * image - 0.3, 0.8 * image)


def disturbed(image: torch.Tensor, seed: int = 1) -> torch.Tensor:
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed), dtype=image.dtype)
    return 0.7 * image + 0.1 + 0.15 * noise


def gradient(function: Callable[..., torch.Tensor], start: torch.Tensor, *more: Any) -> tuple[float, torch.Tensor]:
    x = start.clone().requires_grad_()
    value = function(x, *more)
    (grad,) = torch.autograd.grad(value, x)
    return value.item(), grad


# Against pytorch-msssim --------------------------------------------------------------------------------------------

KINDS = {
    "natural": lambda shape: (disturbed(natural(*shape)), natural(*shape)),
    "noise": lambda shape: (disturbed(disturbed(natural(*shape)), 2), disturbed(natural(*shape))),
    "bright": lambda shape: (0.95 + 0.05 * disturbed(natural(*shape)), 0.95 + 0.05 * natural(*shape)),
    "mask": lambda shape: (torch.sigmoid(9 * natural(*shape) - 5), (natural(*shape) > 0.5).double()),
}


@pytest.mark.parametrize("size", [(11, 11), (12, 40), (80, 64)])
def test_ssim_of_small_images_is_the_usual_one(size: tuple[int, int]) -> None:
    target = natural(2, 1, *size)
    input = disturbed(target)
    expected = 1 - pytorch_msssim.ssim(input, target, data_range=1.0).item()
    assert losses.SSIMLoss()(input, target).item() == pytest.approx(expected, abs=1e-9)


# Against the definition --------------------------------------------------------------------------------------------


def by_windows(x: Array, y: Array, known: Array, window: int) -> tuple[float, float]:
    """Return contrast-structure and SSIM of two images, H x W, as weighted means over windows."""
    line = np.exp(-((np.arange(window) - (window - 1) / 2) ** 2) / (2 * 1.5**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    total = contrast = similarity = 0.0
    for i in range(x.shape[0] - window + 1):
        for j in range(x.shape[1] - window + 1):
            part = np.s_[i : i + window, j : j + window]
            weight = kernel * known[part]
            share = weight.sum()
            if share == 0:
                continue
            weight = weight / share
            mx, my = (weight * x[part]).sum(), (weight * y[part]).sum()
            dx, dy = x[part] - mx, y[part] - my
            cs = (2 * (weight * dx * dy).sum() + 0.03**2) / ((weight * (dx**2 + dy**2)).sum() + 0.03**2)
            total, contrast = total + share, contrast + share * cs
            similarity += share * cs * (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
    return contrast / total, similarity / total


def halved(image: Array, known: Array) -> tuple[Array, Array]:
    """Return the mean of the known pixels of each four and their share; odd sides get a line of zeros in front."""
    odd = [(side % 2, 0) for side in image.shape]
    image, known = np.pad(image, odd), np.pad(known, odd, mode="edge")

    def fours(values: Array) -> Array:
        return (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]) / 4

    share = fours(known)
    return np.divide(fours(image * known), share, out=np.zeros_like(share), where=share > 0), share


def by_levels(x: Array, y: Array, known: Array) -> list[float]:
    """Return the five factors of MS-SSIM, before their powers."""
    values = []
    for level in range(5):
        if level:
            x, y, known = halved(x, known)[0], *halved(y, known)
        values.append(by_windows(x, y, known, min(11, *x.shape))[level == 4])
    return values


def ms_ssim(x: Array, y: Array, known: Array) -> float:
    return math.prod(value**weight for value, weight in zip(by_levels(x, y, known), LEVEL_WEIGHTS, strict=True))


@pytest.mark.parametrize("size", [(32, 32), (80, 80), (33, 47), (64, 40)])
@pytest.mark.parametrize("holes", [False, True])
def test_small_images_and_unknown_pixels(size: tuple[int, int], holes: bool) -> None:
    target = natural(2, 1, *size)
    input = disturbed(target)
    valid = torch.ones(target.shape, dtype=torch.bool)
    if holes:
        valid = torch.rand(target.shape, generator=torch.Generator().manual_seed(3)) > 0.3
        valid[..., :9] = False
        valid[..., 5:20, 12:20] = False
    planes = [(a[0].numpy(), b[0].numpy(), v[0].numpy() * 1.0) for a, b, v in zip(input, target, valid, strict=True)]
    # The windows of the losses are rounded to float32, which shows in the sixth decimal.
    for known in (valid,) if holes else (valid, None):
        expected = np.mean([1 - ms_ssim(*plane) for plane in planes])
        assert losses.MSSSIMLoss()(input, target, known).item() == pytest.approx(expected, abs=1e-5)
        expected = np.mean([1 - by_windows(*plane, 11)[1] for plane in planes])
        assert losses.SSIMLoss()(input, target, known).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 7), (10, 10)])
def test_ssim_of_images_smaller_than_the_window(size: tuple[int, int]) -> None:
    target = natural(1, 1, *size)
    input = disturbed(target)
    expected = 1 - by_windows(input[0, 0].numpy(), target[0, 0].numpy(), np.ones(size), min(size))[1]
    assert losses.SSIMLoss()(input, target).item() == pytest.approx(expected, abs=1e-6)


def test_windows_are_those_published_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    level_windows.cache_clear()
    with caplog.at_level(logging.INFO, logger="visionlab"):
        assert level_windows(161, 400, 5) == (11,) * 5
        assert level_windows(11, 11, 1) == (11,)
        assert not caplog.messages, "the standard needs no remark"
        assert level_windows(80, 80, 5) == (11, 11, 11, 10, 5)
        assert level_windows(32, 64, 5) == (11, 11, 8, 4, 2)
        assert level_windows(222, 222, 5) == (11,) * 5
        for _ in range(3):
            losses.MSSSIMLoss()(torch.zeros(1, 1, 80, 80), torch.zeros(1, 1, 80, 80))
            losses.SSIMLoss()(torch.zeros(1, 1, 8, 9), torch.zeros(1, 1, 8, 9))
    assert caplog.messages == [
        "MS-SSIM of 80 x 80 pixels: window on shorter side, in pixels: 11 on 80, 11 on 40, 11 on 20, 10 on 10, 5 on 5",
        "MS-SSIM of 32 x 64 pixels: window on shorter side, in pixels: 11 on 32, 11 on 16, 8 on 8, 4 on 4, 2 on 2",
        "SSIM of 8 x 9 pixels: window on shorter side, in pixels: 8 on 8",
    ]


# Where the standard fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("start", ["negated", "constant", "zero", "noise"])
def test_any_start_finds_the_target(side: int, start: str) -> None:
    target = natural(1, 1, side, side).float()
    x = {
        "negated": 1 - target,
        "constant": torch.full_like(target, 0.5),
        "zero": torch.zeros_like(target),
        "noise": torch.rand(target.shape, generator=torch.Generator().manual_seed(5)),
    }[start].requires_grad_()
    loss, optimizer = losses.MSSSIMLoss(), torch.optim.Adam([x], lr=0.02)
    first = loss(x, target).item()
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(x, target)
        value.backward()
        assert x.grad is not None and x.grad.isfinite().all() and (x.grad != 0).any()
        optimizer.step()
    assert first > 0.7 and value.item() < 0.4 * first


def test_the_loss_falls_steadily_from_the_negative_to_the_image() -> None:
    target = natural(2, 1, 64, 64)
    values = [
        losses.MSSSIMLoss()((1 - share) * (1 - target) + share * target, target).item()
        for share in np.linspace(0.05, 1, 400)
    ]
    steps = np.diff(values)
    assert (steps < 0).all() and (steps > -0.2).all(), "continuous also where similarities cross FLOOR and 0"
    assert values[0] > 1.5 and values[-1] == 0


def test_slopes_are_bounded_where_a_similarity_is_zero() -> None:
    target = natural(1, 1, 32, 32)

    def scaled(share: torch.Tensor | float) -> torch.Tensor:
        return target.mean() + share * (target - target.mean())

    low, high = -0.5, 0.5
    for _ in range(30):
        middle = (low + high) / 2
        least = min(by_levels(scaled(middle)[0, 0].numpy(), target[0, 0].numpy(), np.ones((32, 32))))
        low, high = (low, middle) if least > 0 else (middle, high)
    for beside in (-1e-3, -1e-6, 0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
        share = torch.tensor(high + beside, dtype=torch.float64, requires_grad=True)
        losses.MSSSIMLoss()(scaled(share), target).backward()
        assert share.grad is not None and -50 < share.grad.item() < -0.1


def test_rounding_cannot_take_similarities_out_of_their_range() -> None:
    generator = torch.Generator().manual_seed(0)
    input, target = (1000 + torch.rand(200, 1, 11, 11, generator=generator) for _ in range(2))
    values = torch.stack([losses.SSIMLoss()(x[None], y[None]) for x, y in zip(input, target, strict=True)])
    assert values.min() >= 0 and values.max() <= 2


@pytest.mark.parametrize("place", [(0, 0), (175, 175), (100, 57)])
def test_one_known_pixel_has_luminance_only(place: tuple[int, int]) -> None:
    target = natural(1, 1, 176, 176)
    input = 0.5 * target
    valid = torch.zeros(target.shape, dtype=torch.bool)
    valid[0, 0, *place] = True
    x, y = input[0, 0, *place].item(), target[0, 0, *place].item()
    luminance = (2 * x * y + 0.01**2) / (x**2 + y**2 + 0.01**2)
    assert losses.SSIMLoss()(input, target, valid).item() == pytest.approx(1 - luminance, rel=1e-6)
    assert losses.MSSSIMLoss()(input, target, valid).item() == pytest.approx(1 - luminance**0.1333, rel=1e-6)


def test_continuation_below_the_floor() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(1, 1, 176, 176, dtype=torch.float64)
    for scale in (1, 2, 4, 8, 16):  # something to compare at every level
        noise = torch.rand(1, 1, 176 // scale, 176 // scale, generator=generator, dtype=torch.float64)
        target += functional.interpolate(noise, scale_factor=scale) / 5
    values = by_levels((1 - target)[0, 0].numpy(), target[0, 0].numpy(), np.ones((176, 176)))
    assert max(values) < -0.1
    product = math.prod(FLOOR**weight for weight in LEVEL_WEIGHTS)
    missing = sum(weight * (FLOOR - value) for weight, value in zip(LEVEL_WEIGHTS, values, strict=True))
    assert losses.MSSSIMLoss()(1 - target, target).item() == pytest.approx(1 - product + missing, abs=1e-5)


# Mixtures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.84, 1.0])
@pytest.mark.parametrize("holes", [False, True])
def test_l1_and_ms_ssim(alpha: float, holes: bool) -> None:
    target = natural(2, 1, 48, 48)
    input = disturbed(target)
    valid = torch.rand(target.shape, generator=torch.Generator().manual_seed(3)) > 0.3 if holes else None
    l1, structure = losses.l1()(input, target, valid), losses.MSSSIMLoss()(input, target, valid)
    mixed = losses.L1MSSSIMLoss(alpha=alpha)(input, target, valid)
    assert mixed.item() == pytest.approx(((1 - alpha) * l1 + alpha * structure).item())
    assert losses.L1MSSSIMLoss()(input, target, valid).item() == pytest.approx((0.16 * l1 + 0.84 * structure).item())


@pytest.mark.parametrize("size", [(80, 80), (33, 47), (222, 176)])
@pytest.mark.parametrize("holes", [False, True])
def test_gaussian_l1_is_weighted_as_the_coarsest_windows_are(size: tuple[int, int], holes: bool) -> None:
    target = natural(2, 1, *size)
    input = disturbed(target) + torch.linspace(0, 1, size[1], dtype=torch.float64) ** 3
    valid = torch.ones(target.shape, dtype=torch.bool)
    if holes:
        valid = torch.rand(target.shape, generator=torch.Generator().manual_seed(3)) > 0.3

    def coarsest(image: torch.Tensor) -> torch.Tensor:
        for _ in range(4):
            image = functional.avg_pool2d(image, 2, padding=(image.shape[2] % 2, image.shape[3] % 2))
        window = min(11, *image.shape[2:])
        line = torch.exp(-((torch.arange(window, dtype=torch.float64) - (window - 1) / 2) ** 2) / (2 * 1.5**2))
        return functional.conv2d(image, torch.outer(line, line)[None, None]).sum()

    expected = coarsest((input - target).abs() * valid) / coarsest(valid.double())
    loss = losses.L1MSSSIMLoss(alpha=0.0, gaussian_l1=True)
    assert loss(input, target, valid if holes else None).item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected.item() != pytest.approx(losses.l1()(input, target, valid).item(), rel=1e-3)
    mixed = losses.L1MSSSIMLoss(gaussian_l1=True)(input, target, valid)
    structure = losses.MSSSIMLoss()(input, target, valid)
    assert mixed.item() == pytest.approx((0.16 * expected + 0.84 * structure).item(), rel=1e-6)


@pytest.mark.parametrize("holes", [False, True])
def test_dense_depth_loss(holes: bool) -> None:
    target = natural(2, 1, 30, 40)
    input = disturbed(target)
    valid = torch.rand(target.shape, generator=torch.Generator().manual_seed(3)) > 0.3 if holes else None
    parts = [loss(input, target, valid).item() for loss in (losses.SSIMLoss(), losses.GradientLoss(), losses.l1())]
    expected = parts[0] / 2 + parts[1] + 0.1 * parts[2]
    assert losses.DenseDepthLoss()(input, target, valid).item() == pytest.approx(expected)
    scaled = losses.DenseDepthLoss(data_range=10.0)(input, target, valid).item()
    wide = losses.SSIMLoss(data_range=10.0)(input, target, valid).item() / 2 + parts[1] + 0.1 * parts[2]
    assert scaled == pytest.approx(wide) and scaled != pytest.approx(expected)
