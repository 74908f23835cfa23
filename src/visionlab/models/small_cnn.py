"""A small network from an image to a vector, with four parallel convolutions of different reach."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

# Of fewer pixels the unpadded convolutions and the pooling leave nothing.
_SMALLEST = 94


class Parallel(nn.Module):
    """Convolutions of 3, 5, 7 and 1 pixels that keep the size, each with ReLU, one after the other in the channels."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, kernel, padding="same"), nn.ReLU(inplace=True))
            for kernel in (3, 5, 7, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(features) for branch in self.branches], dim=1)


class SmallCNN(nn.Module):
    """(B, C, H, W) -> (B, K); 193,246 weights with 3 channels in and 28 out (published with statistics: 193,948).

    Made for 192 x 192 pixels, of which 4 x 4 are left at the end. What is left of other sizes is averaged (or, of
    smaller ones, repeated) to 4 x 4 by adaptive pooling, which at 192 changes nothing; sides below 94 pixels are first
    filled up to that by repeating the border.

    Args:
        name: not used.
        in_channels: C.
        out_channels: K; the layer of 28 before the output is the same for any K.
    """

    kind: ClassVar[str] = "image"
    divisor: ClassVar[int] = 1

    def __init__(self, name: str, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.BatchNorm2d(in_channels), *_conv(in_channels, 8), *_conv(8, 8), *_conv(8, 16), *_halve()
        )
        self.parallel = nn.Sequential(Parallel(16, 16), nn.BatchNorm2d(64), *_halve())
        self.deep = nn.Sequential(
            *_conv(64, 32), *_halve(), *_conv(32, 64), *_halve(), *_conv(64, 128), *_halve(), nn.AdaptiveAvgPool2d(4)
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(2048, 28),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(28),
            nn.Dropout(0.1),
            nn.Linear(28, out_channels),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.deep(self.parallel(self.stem(_filled_up(image)))))
        return output


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a 3x3 convolution with bias that takes a pixel off each border, ReLU and BatchNorm."""
    return [nn.Conv2d(inputs, outputs, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(outputs)]


def _halve() -> list[nn.Module]:
    return [nn.MaxPool2d(2), nn.Dropout(0.25)]


def _filled_up(image: torch.Tensor) -> torch.Tensor:
    height, width = (max(0, _SMALLEST - side) for side in image.shape[-2:])
    if not height and not width:
        return image
    sides = (width // 2, width - width // 2, height // 2, height - height // 2)
    return functional.pad(image, sides, mode="replicate")
