"""Measure MS-SSIM, as a loss with its gradient, against the package pytorch-msssim.

    python benchmarks/losses.py

Both get the same images; that the values are equal is checked first. Sides up to 160 pixels, which pytorch-msssim
refuses, are timed without it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from pytorch_msssim import ms_ssim

from visionlab.losses import MSSSIMLoss

SHAPES = ((16, 2, 64, 64), (16, 2, 128, 128), (8, 1, 192, 192), (8, 2, 192, 192), (12, 1, 224, 224))
ROUNDS = 7  # ours and the peer in turn, so that what else the machine does meets both
SMALLEST = 161  # side from which on pytorch-msssim is defined

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def peer(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 - MS-SSIM of pytorch-msssim."""
    value: torch.Tensor = 1 - ms_ssim(image, target, data_range=1.0)
    return value


def pair(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return smooth images and the same with noise, in 0..1."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((*shape[:2], shape[2] // 8, shape[3] // 8), generator=generator)
    target = torch.nn.functional.interpolate(coarse, size=shape[2:], mode="bicubic").clamp(0, 1)
    return (target + 0.1 * torch.randn(shape, generator=generator)).clamp(0, 1), target


def seconds(loss: Loss, image: torch.Tensor, target: torch.Tensor) -> float:
    """Return how long the value and its gradient take."""
    image = image.clone().requires_grad_()
    start = time.perf_counter()
    loss(image, target).backward()
    return time.perf_counter() - start


def check_same(ours: Loss, image: torch.Tensor, target: torch.Tensor) -> None:
    """Check values in float64 to 1e-9, and in float32 to 1e-5: sums of float32 differ in their order."""
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        one, other = image.to(dtype), target.to(dtype)
        difference = float((ours(one, other) - peer(one, other)).abs())
        assert difference < tolerance, f"{tuple(image.shape)}, {dtype}: the values differ by {difference}"


def main() -> None:
    """Check, then time, ours and the peer's in turn."""
    torch.set_num_threads(1)
    ours = MSSSIMLoss()
    print(f"milliseconds, forward and backward, median of {ROUNDS} rounds; ratio: pytorch-msssim to visionlab")
    print(f"{'shape':>20}{'visionlab':>12}{'pytorch-msssim':>16}{'ratio':>7}")
    for shape in SHAPES:
        image, target = pair(shape)
        defined = min(shape[2:]) >= SMALLEST
        if defined:
            check_same(ours, image, target)
        seconds(ours, image, target)
        rounds = [
            (seconds(ours, image, target), seconds(peer, image, target) if defined else float("nan"))
            for _ in range(ROUNDS)
        ]
        mine, other = (1e3 * statistics.median(column) for column in zip(*rounds, strict=True))
        listed = " x ".join(map(str, shape))
        print(f"{listed:>20}{mine:>12.1f}" + (f"{other:>16.1f}{other / mine:>7.1f}" if defined else f"{'refused':>16}"))


if __name__ == "__main__":
    main()
