"""What the dense networks share: padding to the size that they need, and the layers that they are made of."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional


def pad(image: torch.Tensor, divisor: int) -> torch.Tensor:
    """Return (B, C, H, W) grown at the bottom and right to sides divisible by ``divisor``.

    The last row and column are repeated, which works from sides of one pixel and adds no edge that isn't there.
    """
    bottom, right = -image.shape[-2] % divisor, -image.shape[-1] % divisor
    return functional.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


class DenseNetwork(nn.Module):
    """A network from images to maps of their size: (B, C, H, W) -> (B, K, H, W) for any H and W.

    A network of its own kind says in ``stride`` what the sides of the images must be divisible by, and has a method
    ``predict`` for such images; sizes in between are padded (see :func:`pad`) and the result is cropped.
    """

    kind: ClassVar[str] = "dense"
    divisor: ClassVar[int] = 1
    stride: int

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        return self.predict(pad(image, self.stride))[..., :height, :width]

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, K, H, W) for images (B, C, H, W) with sides divisible by ``stride``."""
        raise NotImplementedError


def conv(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, relu: bool = True
) -> nn.Sequential:
    """Return a convolution without bias that keeps the size (but for its stride), BatchNorm and ReLU.

    Its weights start as in He et al. 2015 (Delving deep into rectifiers).
    """
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), *([nn.ReLU(inplace=True)] if relu else []))


def double(inputs: int, outputs: int, kernel: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution with bias that doubles height and width; ``kernel`` is 2 or 3."""
    layer = nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=kernel % 2, output_padding=kernel % 2)
    # Each output pixel is reached by a quarter of the kernel: He's rule with the number of inputs that it has.
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (inputs * kernel**2 / 4)))
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def output(inputs: int, outputs: int) -> nn.Conv2d:
    """Return the last 1x1 convolution: no bias, no norm, no activation."""
    layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return layer
