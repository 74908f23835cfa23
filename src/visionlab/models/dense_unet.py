"""A mask branch at full size and a depth branch like a U-Net, for an image and its background."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from visionlab.errors import ConfigError
from visionlab.models.blocks import DenseNetwork, conv, double, output

_DROPOUT = 0.02


class Up(nn.Module):
    """A 3x3 convolution with dropout, then a transposed one (bias, ReLU, BatchNorm) that doubles the size."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(inputs, width), nn.Dropout(_DROPOUT))
        self.upsample = nn.Sequential(double(width, outputs, 2), nn.ReLU(inplace=True), nn.BatchNorm2d(outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.upsample(self.conv(features))
        return result


class DenseUNet(DenseNetwork):
    """(B, 2 C, H, W) -> (B, 2, H, W), mask and depth; 3,786,872 weights with two images of 3 channels.

    The first C channels are the image with the foreground, the others its background. The first convolution is shared
    by both; what it finds is handed on to every later convolution of the first levels.

    Args:
        name: not used.
        in_channels: 2 C.
        out_channels: 2, the mask and the depth, each from a branch of its own.

    Raises:
        ConfigError: an odd number of channels in, or other than 2 out.
    """

    stride = 8

    def __init__(self, name: str, in_channels: int, out_channels: int) -> None:
        super().__init__()
        if in_channels % 2:
            raise ConfigError(
                "model.name: dense_unet takes an image with the foreground and one of the background, of as many "
                f"channels each, found {in_channels} channel(s) in all; set data.inputs=[image,background] or choose "
                "another model"
            )
        if out_channels != 2:
            raise ConfigError(
                "model.name: dense_unet has one branch for a mask and one for depth, each of 1 channel, but the heads "
                f"have {out_channels} channel(s) in all; choose those two heads or another model"
            )
        self.first = conv(in_channels // 2, 32)
        self.c1 = conv(64, 64)
        self.c2 = conv(96, 96)
        self.mask = nn.Sequential(conv(192, 256), conv(256, 64), conv(64, 32), output(32, 1))
        self.c4 = conv(224, 256)
        self.down = nn.ModuleList([conv(256, 192), conv(192, 128), conv(128, 64)])
        self.up = nn.ModuleList([Up(64, 128, 128), Up(192, 156, 128), Up(256, 224, 64)])
        self.depth = nn.Sequential(conv(320, 256), nn.Dropout(_DROPOUT), output(256, 1))

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        # As one batch, so that BatchNorm treats both alike and what is equal in image and background stays equal.
        fx, fy = self.first(torch.cat(image.chunk(2, dim=1))).chunk(2)
        c1 = self.c1(torch.cat([fx, fy], dim=1))
        c2 = self.c2(torch.cat([c1, fx], dim=1))
        mask = self.mask(torch.cat([c1, c2, fx], dim=1))
        c4 = self.c4(torch.cat([c1, c2, fx, fy], dim=1))
        return torch.cat([mask, self._depth(c4)], dim=1)

    def _depth(self, c4: torch.Tensor) -> torch.Tensor:
        # The level after the first is not joined again: the full size is joined with c4 itself.
        half = functional.max_pool2d(self.down[0](c4), 2)
        u2 = self.down[1](half)
        u3 = self.down[2](functional.max_pool2d(u2, 2))
        features = self.up[0](functional.max_pool2d(u3, 2))
        features = self.up[1](torch.cat([features, u3], dim=1))
        features = self.up[2](torch.cat([features, u2], dim=1))
        result: torch.Tensor = self.depth(torch.cat([features, c4], dim=1))
        return result
