"""Structural similarity (Wang et al. 2004) and its multi-scale form (Wang et al. 2003) as losses.

Gaussian windows of 11 pixels and sigma 1.5, moved over the inside of the image only, with C1 = (0.01 L)^2 and
C2 = (0.03 L)^2 for values of range L. Every image and channel has a similarity of its own; the loss is their mean.

Small images: the window is min(11, height, width) at each level. It keeps its sigma, so it is the standard window with
its tails cut off; shrunk with the window, sigma would leave weight on a few pixels of an already small sample. A window
of even size is as good as an odd one: it is centred between pixels, the same for both images.

Unknown pixels: a window's means and variances are those of its known pixels, and it weighs by their share of its
Gaussian weight. Halving an image averages the known ones of each four pixels and keeps their share.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch.nn import functional

from visionlab.errors import checked
from visionlab.losses.base import Loss, any_valid, mean

LOG = logging.getLogger("visionlab")

WINDOW = 11
SIGMA = 1.5
LEVEL_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Similarities below it go on linearly, see MSSSIMLoss.
FLOOR = 1e-3
# Below any share of known pixels that a window with one known pixel can have.
TINY = 1e-12


class StructuralLoss(Loss):
    """1 - similarity, averaged over all images and channels with a valid pixel: 0 for equal images, up to 2.

    Args:
        data_range: L, above 0: largest minus smallest value that the targets can have.

    Raises:
        ConfigError: it isn't above 0.
    """

    dense: ClassVar[bool] = True

    @checked
    def __init__(self, *, data_range: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.data_range = data_range

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        return mean(1 - self.similarity(input, target, valid), any_valid(valid))

    def similarity(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """Return it for each image and channel, B x C, from -1 to 1; meaningless where nothing is valid."""
        raise NotImplementedError


class SSIMLoss(StructuralLoss):
    """1 - SSIM."""

    def similarity(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        windows = level_windows(*input.shape[2:], 1)
        pair, share = _pair(input, target, valid)
        return _similarity(pair, share, windows[0], self.data_range, luminance=True).view(input.shape[:2])


class MSSSIMLoss(StructuralLoss):
    """1 - MS-SSIM of images from 32 x 32 pixels.

    MS-SSIM is the product of five powers x^w: x is the contrast-structure term of an image at full size and halved
    once to three times, and SSIM of it halved four times. At 0 such a power has an infinite slope, and below, where one
    image is the other's negative, the usual relu leaves no slope at all. So the powers are of max(x, 0.001), and
    w (x - 0.001) is added for each x below: continuous, still rising with x, and the standard where no x is below.

    Equal to the standard implementations where those are defined, from sides of 161 pixels.
    """

    smallest: ClassVar[int] = 32

    def similarity(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        windows = level_windows(*input.shape[2:], len(LEVEL_WEIGHTS))
        pair, share = _pair(input, target, valid)
        log_product, below = input.new_zeros(()), input.new_zeros(())
        for level, (window, power) in enumerate(zip(windows, LEVEL_WEIGHTS, strict=True)):
            if level:
                pair, share = _halve(pair, share)
            coarsest = level == len(windows) - 1
            value = _similarity(pair, share, window, self.data_range, luminance=coarsest)
            above = value.clamp(min=FLOOR)
            log_product = log_product + power * above.log()
            below = below + power * (value - above)
        return (log_product.exp() + below).view(input.shape[:2])


@lru_cache(maxsize=1024)
def level_windows(height: int, width: int, levels: int) -> tuple[int, ...]:
    """Return the window at each level, each half the size (rounded up) of the one before.

    Where they aren't the standard's this is logged, once for each size.
    """
    sides = level_sides(min(height, width), levels)
    windows = tuple(min(WINDOW, side) for side in sides)
    if windows[-1] < WINDOW:
        name = "SSIM" if levels == 1 else "MS-SSIM"
        listed = ", ".join(f"{window} on {side}" for window, side in zip(windows, sides, strict=True))
        LOG.info("%s of %d x %d pixels: window on shorter side, in pixels: %s", name, height, width, listed)
    return windows


def level_sides(side: int, levels: int) -> list[int]:
    """Return the lengths of a side at each level."""
    sides = [side]
    while len(sides) < levels:
        sides.append(-(-sides[-1] // 2))
    return sides


def gaussian(size: int, like: torch.Tensor) -> torch.Tensor:
    """Return the window in one direction: ``size`` weights that sum to 1, of the dtype and device of ``like``.

    They are rounded to float32 for any dtype, as in the usual implementations: in the small variances of bright or
    noisy images that rounding reaches the sixth decimal, where values are to agree with theirs.
    """
    place = torch.arange(size, dtype=torch.float32, device=like.device) - (size - 1) / 2
    weights = torch.exp(-place.square() / (2 * SIGMA**2))
    return (weights / weights.sum()).to(like.dtype)


def _pair(
    input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return sum and difference, 2 x N x H x W, and the known share of each pixel, 1 x N x H x W; N is B C."""
    pair = torch.stack([input + target, input - target]).flatten(1, 2)
    return pair, None if valid is None else valid.flatten(0, 1)[None].to(pair.dtype)


def _similarity(
    pair: torch.Tensor, share: torch.Tensor | None, window: int, data_range: float, *, luminance: bool
) -> torch.Tensor:
    """Return the mean over windows of the contrast-structure term, or with its luminance factor, SSIM: N values.

    With s = x + y and d = x - y, 4 cov(x, y) = var(s) - var(d) and 2 (var(x) + var(y)) = var(s) + var(d): four filtered
    maps instead of five, and a small difference of two similar images keeps its digits.
    """
    planes = torch.cat([pair, pair.square()])
    if share is None:
        weight, means = None, _filter(planes, window)
    else:
        filtered = _filter(torch.cat([planes * share, share]), window)
        weight = filtered[4]
        means = filtered[:4] / weight.clamp(min=TINY)
    squares = means[:2].square()
    # Rounding takes variances of flat windows below 0, and of large values far enough to turn the sign of the quotient.
    var_s, var_d = (means[2:] - squares).clamp(min=0)
    small = 2 * (0.03 * data_range) ** 2
    similarity = (var_s - var_d + small) / (var_s + var_d + small)
    if luminance:
        small = 2 * (0.01 * data_range) ** 2
        similarity = similarity * (squares[0] - squares[1] + small) / (squares[0] + squares[1] + small)
    if weight is None:
        return similarity.mean(dim=(1, 2))
    return (similarity * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=TINY)


def _filter(planes: torch.Tensor, window: int) -> torch.Tensor:
    """Return planes, K x N x H x W, averaged over windows that lie inside.

    All planes are channels of one image: grouped convolutions are many times slower if an image has few channels.
    """
    count, one = planes.shape[0] * planes.shape[1], gaussian(window, planes)
    flat = planes.flatten(0, 1)[None]
    flat = functional.conv2d(flat, one.view(1, 1, -1, 1).expand(count, 1, -1, 1), groups=count)
    flat = functional.conv2d(flat, one.view(1, 1, 1, -1).expand(count, 1, 1, -1), groups=count)
    return flat[0].unflatten(0, planes.shape[:2])


def _halve(pair: torch.Tensor, share: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the pair and the known share at half the size.

    Odd sides get a line of zeros in front, as in the usual implementations; each is as well known as the pixel behind.
    """
    odd = (pair.shape[2] % 2, pair.shape[3] % 2)
    if share is None:
        return functional.avg_pool2d(pair, 2, padding=odd), None
    known = functional.avg_pool2d(functional.pad(share, (odd[1], 0, odd[0], 0), mode="replicate"), 2)
    return functional.avg_pool2d(pair * share, 2, padding=odd) / known.clamp(min=TINY), known
