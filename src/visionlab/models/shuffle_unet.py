"""A U-Net that goes down in parallel dilated branches and up by pixel shuffles."""

from __future__ import annotations

import torch
from torch import nn

from visionlab.models.blocks import DenseNetwork, conv, output


class Down(nn.Module):
    """Halve the size and double the channels in four parallel branches of a quarter of them each.

    One branch is a 1x1 convolution; the others are two 3x3 convolutions with dilation 1, 2 and 4. The ReLU comes after
    the branches are put together.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        width = outputs // 4
        self.branches = nn.ModuleList([conv(inputs, width, 1, stride=2, relu=False)])
        for dilation in (1, 2, 4):
            first = conv(inputs, width, stride=2, dilation=dilation)
            self.branches.append(nn.Sequential(first, conv(width, width, dilation=dilation, relu=False)))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.relu(torch.cat([branch(features) for branch in self.branches], dim=1))
        return result


class Up(nn.Module):
    """Double the size by a pixel shuffle and join the features of that size from the way down, halved in channels.

    ``inputs`` channels in, half of them out: a quarter from below and a quarter from the skip of ``inputs`` / 2.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        width = inputs // 4
        self.body = nn.Sequential(nn.PixelShuffle(2), conv(width, width), conv(width, width, relu=False))
        self.skip = conv(inputs // 2, width, 1, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.relu(torch.cat([self.body(features), self.skip(skip)], dim=1))
        return result


class ShuffleUNet(DenseNetwork):
    """(B, C, H, W) -> (B, K, H, W); 2,317,200 weights with 3 channels in and 2 out.

    Args:
        name: not used.
        in_channels: C.
        out_channels: K.
    """

    stride = 8

    def __init__(self, name: str, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(in_channels, 16), conv(16, 32), conv(32, 64))
        self.down = nn.ModuleList(Down(width, 2 * width) for width in (64, 128, 256))
        self.up = nn.ModuleList(Up(width) for width in (512, 256, 128))
        self.head = nn.Sequential(conv(64, 64), conv(64, 64), output(64, out_channels))

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem(image)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(features)
        for up in self.up:
            features = up(features, skips.pop())
        result: torch.Tensor = self.head(features)
        return result
