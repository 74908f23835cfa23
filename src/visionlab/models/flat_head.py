"""InceptionResNetV2 whose last features are flattened, place by place, where others pool them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from visionlab.models.freezing import Freezable
from visionlab.models.image import make_backbone

_BACKBONE = "inception_resnet_v2"
# What it gives of 299 x 299 pixels.
_SIDE = 8


class FlatHeadNetwork(Freezable):
    """(B, C, H, W) -> (B, K) for sides of at least 75 pixels.

    The trunk is timm's InceptionResNetV2 (Szegedy et al. 2017), which gives 1536 x 8 x 8 of 299 x 299 pixels; what it
    gives of other sizes is averaged (or, of smaller ones, repeated) to 8 x 8 by adaptive pooling, which at 299 changes
    nothing. Then BatchNorm, 1x1 to 128, ReLU, flattened to 8192, dropout 0.5, 512, ReLU, dropout 0.5, K. That a ReLU
    follows 512 is assumed: without one, the last two layers would be a single linear one.

    58,715,452 weights with 3 channels in and 28 out, published as 58.7 M. In Keras the same network has 58,685,180
    trained ones, as 30,272 normalisations of its trunk have no factor, and 58,748,796 with the running statistics.

    Args:
        name: not used.
        in_channels: C, any number; pretrained first layers are adapted (:class:`visionlab.models.image.ImageNetwork`).
        out_channels: K.
        pretrained: start the trunk from the published weights that timm fetches (needs the network).
        weights: a local file of weights of timm's ``inception_resnet_v2`` (``.safetensors``, or ``.pth`` of plain
            tensors) instead.
        freeze: train the layers behind the trunk only; it keeps its weights and its running statistics.

    Raises:
        UsageError: pretrained weights cannot be fetched, or the file does not hold weights of the trunk.
    """

    kind: ClassVar[str] = "image"
    divisor: ClassVar[int] = 1
    trunk: ClassVar[str] = "backbone"

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        *,
        pretrained: bool = False,
        weights: str | None = None,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = make_backbone(_BACKBONE, in_channels, pretrained, weights, "")
        features = int(self.backbone.num_features)  # type: ignore[arg-type]
        self.resize = nn.AdaptiveAvgPool2d(_SIDE)
        self.head = nn.Sequential(
            nn.BatchNorm2d(features),
            nn.Conv2d(features, 128, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(128 * _SIDE**2, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(512, out_channels),
        )
        self.set_frozen(freeze)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.resize(self.backbone(image)))
        return output
