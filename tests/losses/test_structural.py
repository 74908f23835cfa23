"""SSIM and MS-SSIM against pytorch-msssim, where it is defined, and against their definition, window by window."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_msssim
import torch
from torch.nn import functional

from visionlab import losses
from visionlab.losses.structural import FLOOR, LEVEL_WEIGHTS

Array = npt.NDArray[np.float64]


def natural(*shape: int) -> torch.Tensor:
    """Return smooth images with edges, B x C x H x W in 0..1, float64."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(*shape[:2], 5, 6, generator=generator, dtype=torch.float64)
    image = functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1)
    return torch.where(image > 0.6, 1.3 * image - 0.3, 0.8 * image)


def disturbed(image: torch.Tensor) -> torch.Tensor:
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(1), dtype=image.dtype)
    return 0.7 * image + 0.1 + 0.15 * noise


def scattered(image: torch.Tensor) -> torch.Tensor:
    """Return that about 70% of the pixels are known."""
    return torch.rand(image.shape, generator=torch.Generator().manual_seed(3)) > 0.3


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


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (80, 64)])
@pytest.mark.parametrize("holes", [False, True])
def test_small_images_and_unknown_pixels(size: tuple[int, int], holes: bool) -> None:
    target = natural(2, 1, *size)
    input = disturbed(target)
    valid = torch.ones(target.shape, dtype=torch.bool)
    if holes:
        valid = scattered(target)
        valid[..., :9] = False
        valid[..., 5:20, 12:20] = False
    planes = [(a[0].numpy(), b[0].numpy(), v[0].numpy() * 1.0) for a, b, v in zip(input, target, valid, strict=True)]
    # The windows of the losses are rounded to float32, which shows in the sixth decimal.
    for known in (valid,) if holes else (valid, None):
        expected = np.mean([1 - ms_ssim(*plane) for plane in planes])
        assert losses.MSSSIMLoss()(input, target, known).item() == pytest.approx(expected, abs=1e-5)
        expected = np.mean([1 - by_windows(*plane, 11)[1] for plane in planes])
        assert losses.SSIMLoss()(input, target, known).item() == pytest.approx(expected, abs=1e-5)
    usual = 1 - pytorch_msssim.ssim(input, target, data_range=1.0).item()
    assert losses.SSIMLoss()(input, target).item() == pytest.approx(usual, abs=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (10, 10)])
def test_ssim_of_images_smaller_than_the_window(size: tuple[int, int]) -> None:
    target = natural(1, 1, *size)
    input = disturbed(target)
    expected = 1 - by_windows(input[0, 0].numpy(), target[0, 0].numpy(), np.ones(size), min(size))[1]
    assert losses.SSIMLoss()(input, target).item() == pytest.approx(expected, abs=1e-6)


def test_the_loss_falls_steadily_from_the_negative_to_the_image() -> None:
    target = natural(2, 1, 64, 64)
    values = [
        losses.MSSSIMLoss()((1 - share) * (1 - target) + share * target, target).item()
        for share in np.linspace(0.05, 1, 400)
    ]
    steps = np.diff(values)
    assert (steps < 0).all() and (steps > -0.2).all(), "continuous also where similarities cross FLOOR and 0"
    assert values[0] > 1.5 and values[-1] == 0


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


@pytest.mark.parametrize("size", [(80, 80), (33, 47)])
@pytest.mark.parametrize("holes", [False, True])
def test_mixtures_are_the_sums_of_their_parts(size: tuple[int, int], holes: bool) -> None:
    target = natural(2, 1, *size)
    input = disturbed(target) + torch.linspace(0, 1, size[1], dtype=torch.float64) ** 3
    valid = scattered(target) if holes else torch.ones(target.shape, dtype=torch.bool)

    def coarsest(image: torch.Tensor) -> torch.Tensor:
        """Return the sum over what the windows of the coarsest level see."""
        for _ in range(4):
            image = functional.avg_pool2d(image, 2, padding=(image.shape[2] % 2, image.shape[3] % 2))
        window = min(11, *image.shape[2:])
        line = torch.exp(-((torch.arange(window, dtype=torch.float64) - (window - 1) / 2) ** 2) / (2 * 1.5**2))
        return functional.conv2d(image, torch.outer(line, line)[None, None]).sum()

    def of(loss: losses.Loss) -> float:
        return loss(input, target, valid if holes else None).item()

    plain, structure = of(losses.l1()), of(losses.MSSSIMLoss())
    weighted = (coarsest((input - target).abs() * valid) / coarsest(valid.double())).item()
    assert weighted != pytest.approx(plain, rel=1e-3)
    for alpha in (0.0, 0.84, 1.0):
        expected = (1 - alpha) * plain + alpha * structure
        assert of(losses.L1MSSSIMLoss(alpha=alpha)) == pytest.approx(expected)
        expected = (1 - alpha) * weighted + alpha * structure
        assert of(losses.L1MSSSIMLoss(alpha=alpha, gaussian_l1=True)) == pytest.approx(expected, rel=1e-6)
    assert of(losses.L1MSSSIMLoss()) == pytest.approx(0.16 * plain + 0.84 * structure), "as published"
    for data_range in (1.0, 10.0):
        similarity = of(losses.SSIMLoss(data_range=data_range)) / 2
        expected = similarity + of(losses.GradientLoss()) + 0.1 * plain
        assert of(losses.DenseDepthLoss(data_range=data_range)) == pytest.approx(expected)
