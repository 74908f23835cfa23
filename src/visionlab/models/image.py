"""Networks from one image to a vector: any timm backbone with a small head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import timm
import torch
from torch import nn

from visionlab.models.weights import loading, refuse_gaps, timm_options


class ImageNetwork(nn.Module):
    """A timm backbone, pooled, then fully connected layers: (B, C, H, W) -> (B, K).

    Args:
        name: of the backbone in timm, e.g. ``resnet34`` (with 1 channel in and 1 out 21,278,913 weights).
        in_channels: C, any number; pretrained first layers are adapted by timm (summed or repeated over channels).
        out_channels: K.
        pretrained: start from the published weights that timm fetches (needs the network).
        weights: a local file of weights of this backbone (``.safetensors``, or ``.pth`` of plain tensors) instead.
        hidden: widths of fully connected layers between pooling and output, each followed by ReLU and dropout.
        dropout: probability, 0..1, before each fully connected layer.
        freeze: train the fully connected layers only; the backbone keeps its weights and its running statistics.

    Raises:
        UsageError: pretrained weights cannot be fetched, or the file does not hold weights of this backbone.
    """

    kind: ClassVar[str] = "image"
    divisor: ClassVar[int] = 1

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        *,
        pretrained: bool = False,
        weights: str | None = None,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = _backbone(name, in_channels, pretrained, weights)
        # Some backbones widen after pooling and say so by head_hidden_size.
        width = int(getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features)  # type: ignore[arg-type]
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Dropout(dropout), nn.Linear(width, size), nn.ReLU(inplace=True)]
            width = size
        self.head = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(width, out_channels))
        self.frozen = freeze
        if freeze:
            self.backbone.requires_grad_(False)
            self.train(self.training)

    def train(self, mode: bool = True) -> ImageNetwork:
        super().train(mode)
        if self.frozen:
            # Batch normalisation would otherwise go on adapting its running statistics.
            self.backbone.eval()
        return self

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.backbone(image))
        return output


def _backbone(name: str, in_channels: int, pretrained: bool, weights: str | None) -> nn.Module:
    with loading(name, pretrained, weights):
        backbone: nn.Module = timm.create_model(
            name, in_chans=in_channels, num_classes=0, **timm_options(name, pretrained, weights)
        )
        if weights is not None:
            refuse_gaps(backbone, weights)
        return backbone
