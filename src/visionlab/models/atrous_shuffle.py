"""Dilated convolutions at half the size, and a pixel shuffle back to the full one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from visionlab.errors import checked
from visionlab.models.blocks import DenseNetwork, conv, double, output


class AtrousBlock(nn.Module):
    """1x1 to 32, then 3x3 to 64 and to 128, both dilated, with or without the input added: 128 channels in and out."""

    def __init__(self, dilation: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.body = nn.Sequential(
            conv(128, 32, 1),
            conv(32, 64, dilation=dilation),
            conv(64, 128, dilation=dilation, relu=False),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        change = self.body(features)
        result: torch.Tensor = self.relu(features + change if self.residual else change)
        return result


class AtrousShuffle(DenseNetwork):
    """A small network without bottleneck: (B, C, H, W) -> (B, K, H, W); 893,792 weights with 3 channels in and 2 out.

    The features at half the size see 79 px of the image, the output 83.

    Args:
        name: not used.
        in_channels: C.
        out_channels: K.
        variant: ``residual`` adds the input of each dilated block to its result, ``plain`` does not; ``transposed`` is
            the first version, plain, with dilations 2, 4, 8 in place of 2, 3, 4 and a transposed convolution in place
            of the pixel shuffle: 974,816 weights, 119 px at half the size and 125 at the output; it tends to
            draw checkerboards.
    """

    stride = 2

    @checked
    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        *,
        variant: Literal["residual", "plain", "transposed"] = "residual",
    ) -> None:
        super().__init__()
        transposed = variant == "transposed"
        self.stem = nn.Sequential(conv(in_channels, 32), conv(32, 64), conv(64, 128, stride=2))
        self.blocks = nn.Sequential(
            *(AtrousBlock(dilation, variant == "residual") for dilation in ((2, 4, 8) if transposed else (2, 3, 4)))
        )
        self.upsample = double(128, 128, 3) if transposed else nn.Sequential(conv(128, 512, 1), nn.PixelShuffle(2))
        self.head = nn.Sequential(conv(128, 128), conv(128, 256), output(256, out_channels))

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.upsample(self.blocks(self.stem(image))))
        return result
