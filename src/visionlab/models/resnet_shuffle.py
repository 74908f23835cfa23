"""The layers of a ResNet-18 at full resolution, and two pixel shuffles back."""

from __future__ import annotations

import torch
from torch import nn

from visionlab.models.blocks import DenseNetwork, conv, output


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and the input, added before the last ReLU (He et al. 2016).

    Where the shape changes the input goes through a 1x1 convolution with BatchNorm.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, stride=stride), conv(outputs, outputs, relu=False))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride=stride, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.relu(self.body(features) + self.shortcut(features))
        return result


class ResNetShuffle(DenseNetwork):
    """(B, C, H, W) -> (B, K, H, W); 11,497,744 weights with 3 channels in and 2 out.

    Args:
        name: not used.
        in_channels: C.
        out_channels: K.
    """

    stride = 8

    def __init__(self, name: str, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(in_channels, 16), conv(16, 32), conv(32, 64))
        widths = (64, 128, 256, 512)
        self.layers = nn.ModuleList(
            nn.Sequential(
                ResidualBlock(before, width, 1 if width == 64 else 2),
                ResidualBlock(width, width, 1),
            )
            for before, width in zip((64, *widths), widths, strict=False)
        )
        self.upsample = nn.Sequential(
            nn.PixelShuffle(4), conv(32, 64), conv(64, 128), conv(128, 512, 1), nn.PixelShuffle(2)
        )
        self.head = nn.Sequential(conv(128, 128), output(128, out_channels))

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem(image)
        for layer in self.layers:
            features = layer(features)
        result: torch.Tensor = self.head(self.upsample(features))
        return result
