"""U-Net and FPN of segmentation_models_pytorch over any of its encoders."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Literal

import segmentation_models_pytorch as smp
import torch
from torch import nn

from visionlab.errors import ConfigError, checked
from visionlab.models.blocks import DenseNetwork
from visionlab.models.pretrained import Freezable, brief, loading, read, refuse_gaps, timm_options

_BUILDERS = {"unet": smp.Unet, "fpn": smp.FPN}
# Far more than any image has. smp makes another first layer than one for 3 channels in real memory even where torch is
# told to use none, as it is when a checkpoint's description is checked before it is believed.
_MOST_CHANNELS = 1024
# The end of the classifiers that smp keeps in its EfficientNets, but never calls.
_UNUSED = ("_conv_head", "_bn1", "conv_head", "bn2")


class SegmentationNetwork(Freezable, DenseNetwork):
    """An encoder, one or more decoders and their heads: (B, C, H, W) -> (B, K, H, W), no activation.

    U-Net: Ronneberger et al. 2015; FPN: Lin et al. 2017, with the segmentation head of Kirillov et al. 2019
    (13,040,961 weights with resnet18, 1 channel in and 1 out).

    Args:
        name: ``unet`` or ``fpn``.
        in_channels: C, any number; pretrained first layers are adapted (summed or repeated over channels).
        out_channels: K.
        encoder: of segmentation_models_pytorch, e.g. ``resnet18``, or ``tu-`` and a backbone of timm, ``tu-resnet34d``.
        decoders: ``shared``: one decoder, and one head with all channels; ``separate``: for each channel a decoder and
            a head of its own over the one encoder.
        pretrained: start the encoder from published weights, which are fetched (needs the network).
        weights: a local file of weights of the encoder (``.safetensors``, or ``.pth`` of plain tensors) instead.
        freeze: train decoders and heads only; the encoder keeps its weights and its running statistics.
        norm: of the FPN's decoder. ``group``: as published by segmentation_models_pytorch, whose results at a pixel
            depend on the whole image: GroupNorm takes statistics over it, and enlarging aligns the corners of maps.
            ``batch``: BatchNorm, and enlarging that aligns pixels, so that each output depends on its surroundings
            alone and an image predicted in tiles gives the same. The number of weights is the same.

    Raises:
        ConfigError: the encoder does not give the features that the decoder needs, or takes other numbers of channels;
            or another ``norm`` for a network that has only one.
        UsageError: pretrained weights cannot be fetched, or the file does not hold weights of this encoder.
    """

    trunk: ClassVar[str] = "encoder"

    @checked
    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        *,
        encoder: str = "resnet18",
        decoders: Literal["shared", "separate"] = "shared",
        pretrained: bool = False,
        weights: str | None = None,
        freeze: bool = False,
        norm: Literal["group", "batch"] = "group",
    ) -> None:
        super().__init__()
        if norm != "group" and name != "fpn":
            raise ConfigError(f"model.norm={norm}: only fpn has a choice of norms, not model.name={name}; leave it out")
        if in_channels > _MOST_CHANNELS:
            raise ConfigError(f"model.name={name}: expected at most {_MOST_CHANNELS} channels in, found {in_channels}")
        count, channels = (1, out_channels) if decoders == "shared" else (out_channels, 1)
        model = _build(name, encoder, in_channels, channels, pretrained, weights)
        if norm == "batch":
            _make_local(model)
        self.encoder: nn.Module = model.encoder
        self.decoders, self.heads = nn.ModuleList(), nn.ModuleList()
        for place in range(count):
            if place:
                model.initialize()  # decoder and head anew, so that each starts from weights of its own
            self.decoders.append(copy.deepcopy(model.decoder))
            self.heads.append(copy.deepcopy(model.segmentation_head))
        if name == "fpn":
            # Its decoder sums four maps; smp's heads make outputs of several units of that and are slow to come down.
            for head in self.heads:
                nn.init.normal_(head[0].weight, std=0.01)  # type: ignore[index]
        self.stride = int(model.encoder.output_stride)
        self.set_frozen(freeze)

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        features = self.encoder(image)
        # A list of its own for each decoder, as nothing keeps a decoder from changing it.
        parts = [head(decoder([*features])) for decoder, head in zip(self.decoders, self.heads, strict=True)]
        return torch.cat(parts, dim=1)


def _make_local(model: Any) -> None:
    """Let nothing in the decoder and head of an FPN depend on the size of the image, or on what is elsewhere in it."""
    for block in model.decoder.seg_blocks:
        steps = []
        for step in block.block:
            step.block[1] = nn.BatchNorm2d(step.block[1].num_channels)
            steps.append(step)
            if step.upsample:
                # Bilinear with aligned corners: the places that are looked at drift with the size of the map.
                step.upsample = False
                steps.append(nn.Upsample(scale_factor=2, mode="bilinear"))
        block.block = nn.Sequential(*steps)
    head = model.segmentation_head
    head[1] = nn.Upsample(scale_factor=head[1].scale_factor, mode="bilinear")


def _build(name: str, encoder: str, in_channels: int, channels: int, pretrained: bool, weights: str | None) -> Any:
    try:
        with loading(encoder, pretrained, weights):
            return _load(name, encoder, in_channels, channels, pretrained, weights)
    except Exception as error:
        # Is it the weights' fault? Only an encoder that can be built without them makes a network.
        try:
            _load(name, encoder, in_channels, channels, False, None)
        except Exception as cause:
            raise ConfigError(
                f"model.encoder={encoder}: it can't be the encoder of model.name={name} with {in_channels} channel(s) "
                f"in: {brief(cause).rstrip('.')}; choose another encoder"
            ) from error
        raise


def _load(name: str, encoder: str, in_channels: int, channels: int, pretrained: bool, weights: str | None) -> Any:
    build = _BUILDERS[name]
    backbone = encoder.removeprefix("tu-")
    if backbone != encoder:
        options = timm_options(backbone, pretrained, weights)
        start = options.pop("pretrained") or None  # smp takes it under another name
        model: Any = build(encoder, encoder_weights=start, in_channels=in_channels, classes=channels, **options)
        if weights is not None:
            refuse_gaps(model.encoder.model, weights)
    elif weights is not None:
        model = build(encoder, encoder_weights=None, in_channels=3, classes=channels)
        model.encoder.load_state_dict(read(weights))
        model.encoder.set_in_channels(in_channels, pretrained=True)
    else:
        published = list(smp.encoders.encoders[encoder]["pretrained_settings"])
        start = ("imagenet" if "imagenet" in published else published[0]) if pretrained else None
        model = build(encoder, encoder_weights=start, in_channels=in_channels, classes=channels)
    if "efficientnet" in encoder and backbone == encoder:
        for layer in _UNUSED:
            if hasattr(model.encoder, layer):
                setattr(model.encoder, layer, nn.Identity())
    return model
