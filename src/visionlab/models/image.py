"""Networks from one image to a vector: any timm backbone with a small head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
from torch import nn

from visionlab.errors import UsageError


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
    overlay = None
    if weights is not None:
        if not Path(weights).expanduser().is_file():
            raise UsageError(f"model.weights={weights}: expected a file of weights, found none")
        overlay = {"file": str(Path(weights).expanduser())}
    try:
        backbone: nn.Module = timm.create_model(
            name,
            pretrained=pretrained or weights is not None,
            pretrained_cfg_overlay=overlay,
            in_chans=in_channels,
            num_classes=0,
            **_start(name),
        )
        # timm only logs what it does not find when the classifier is left out, and would train on from random weights.
        if overlay is not None:
            _refuse_gaps(backbone, overlay["file"])
        return backbone
    except Exception as error:
        # timm, the hub's client and the reader of the file each raise their own kinds; all mean the weights failed.
        if weights is not None:
            raise UsageError(
                f"model.weights={weights}: expected weights of {name} (.safetensors, or .pth of plain tensors), "
                f"could not load them: {str(error).splitlines()[0]}"
            ) from error
        if pretrained:
            raise UsageError(
                f"model.pretrained=true: the weights of {name} could not be fetched ({type(error).__name__}); without "
                "network give model.weights=FILE with a copy of them, or set model.pretrained=false"
            ) from error
        raise


def _start(name: str) -> dict[str, Any]:
    """Return timm's arguments for the initial weights.

    timm starts the last normalisation of each residual block of its ResNets at zero, which helps long trainings with
    large batches and slows short ones. Here they start at one, as in He et al. 2016 and in torchvision.
    """
    residual = timm.models.model_entrypoint(name.partition(".")[0]).__module__ == "timm.models.resnet"
    return {"zero_init_last": False} if residual else {}


def _refuse_gaps(backbone: nn.Module, path: str) -> None:
    held = timm.models.load_state_dict(path, device="cpu", weights_only=True)
    absent = [name for name in backbone.state_dict() if name not in held and not name.endswith("num_batches_tracked")]
    if absent:
        raise ValueError(f"it has no '{absent[0]}'" + (f" and {len(absent) - 1} others" if len(absent) > 1 else ""))
