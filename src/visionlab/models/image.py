"""Networks from one image to a vector: any timm backbone with a small head, and one whose features are flattened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import timm
import torch
from pydantic import Field
from torch import nn

from visionlab.errors import ConfigError, UsageError, checked
from visionlab.models.pretrained import Freezable, brief, loading, refuse_gaps, timm_options

# timm's names of them; None: what the backbone does by itself.
_POOLS = {"avg": None, "max": "max", "avgmax": "catavgmax"}
_FLAT_BACKBONE = "inception_resnet_v2"
# Sides of what it gives of 299 x 299 pixels.
_FLAT_SIDE = 8


class ImageNetwork(Freezable):
    """A timm backbone, pooled, then fully connected layers: (B, C, H, W) -> (B, K).

    Args:
        name: of the backbone in timm, e.g. ``resnet34`` (with 1 channel in and 1 out 21,278,913 weights).
        in_channels: C, any number. Pretrained first layers are adapted by timm: summed for one channel, else repeated
            in turn and scaled by 3 / C, so that of four channels the fourth starts with the weights of the first.
        out_channels: K.
        pretrained: start from the published weights that timm fetches (needs the network).
        weights: a local file of weights of this backbone (``.safetensors``, or ``.pth`` of plain tensors) instead.
        pool: how the last features become a vector: ``avg`` is what the backbone does by itself (convolutional ones
            take the average over the image), ``max`` the largest value, ``avgmax`` the averages followed by the largest
            values, twice as many features.
        hidden: widths of fully connected layers between pooling and output, each followed by ReLU and dropout.
        dropout: probability, at least 0 and below 1, before each fully connected layer.
        freeze: train the fully connected layers only; the backbone keeps its weights and its running statistics.

    Raises:
        ConfigError: the backbone cannot pool so, as most transformers.
        UsageError: pretrained weights cannot be fetched, or the file does not hold weights of this backbone.
    """

    kind: ClassVar[str] = "image"
    divisor: ClassVar[int] = 1
    trunk: ClassVar[str] = "backbone"

    @checked
    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        *,
        pretrained: bool = False,
        weights: str | None = None,
        pool: Literal["avg", "max", "avgmax"] = "avg",
        hidden: Sequence[Annotated[int, Field(ge=1)]] = (),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        try:
            self.backbone = make_backbone(name, in_channels, pretrained, weights, _POOLS[pool])
        except (AssertionError, TypeError, UsageError) as error:
            # timm asserts which pooling it has, or does not know the argument.
            cause = error.__cause__ if isinstance(error, UsageError) else error
            if pool == "avg" or not isinstance(cause, AssertionError | TypeError):
                raise
            reason = f" ({brief(cause).rstrip('.')})" if str(cause) else ""
            raise ConfigError(
                f"model.pool: timm's {name} cannot pool by {pool}{reason}; set model.pool=avg or choose another model"
            ) from error
        # Some backbones widen after pooling and say so by head_hidden_size.
        width = int(getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features)  # type: ignore[arg-type]
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Dropout(dropout), nn.Linear(width, size), nn.ReLU(inplace=True)]
            width = size
        self.head = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(width, out_channels))
        self.set_frozen(freeze)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.backbone(image))
        return output


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
        in_channels: C, any number; pretrained first layers are adapted (:class:`ImageNetwork`).
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

    @checked
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
        self.backbone = make_backbone(_FLAT_BACKBONE, in_channels, pretrained, weights, "")
        features = int(self.backbone.num_features)  # type: ignore[arg-type]
        self.resize = nn.AdaptiveAvgPool2d(_FLAT_SIDE)
        self.head = nn.Sequential(
            nn.BatchNorm2d(features),
            nn.Conv2d(features, 128, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(128 * _FLAT_SIDE**2, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(512, out_channels),
        )
        self.set_frozen(freeze)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.resize(self.backbone(image)))
        return output


def make_backbone(name: str, in_channels: int, pretrained: bool, weights: str | None, pool: str | None) -> nn.Module:
    """Return a backbone of timm without classifier.

    Args:
        name, in_channels, pretrained, weights: see :class:`ImageNetwork`.
        pool: timm's ``global_pool``; ``""`` gives the features as they are, None is the backbone's own.

    Raises:
        UsageError: pretrained weights cannot be fetched, or the file does not hold weights of this backbone.
    """
    with loading(name, pretrained, weights):
        options = timm_options(name, pretrained, weights) | ({} if pool is None else {"global_pool": pool})
        backbone: nn.Module = timm.create_model(name, in_chans=in_channels, num_classes=0, **options)
        if weights is not None:
            refuse_gaps(backbone, weights)
        return backbone
