"""Networks by name: our own and the image backbones of timm. Importing this does not import torch."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visionlab.errors import ConfigError, nearest
from visionlab.models.catalog import smp_encoders, timm_names, timm_tags

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "Entry", "build", "check_options", "lookup", "timm_names"]


@dataclass(frozen=True)
class Entry:
    """A network.

    Attributes:
        target: dotted name of its class, called with name, in_channels, out_channels and the options.
        kind: ``image``, (B, C, H, W) -> (B, K), or ``dense``, (B, C, H, W) -> (B, K, H, W).
        divisor: what the height and width of its images must be divisible by.
        inputs: how many images of a sample it takes, one after the other in C; 0: any number.
        outputs: K; 0: any number.
    """

    target: str
    kind: str
    divisor: int = 1
    inputs: int = 0
    outputs: int = 0


NETWORKS: dict[str, Entry] = {
    "atrous_shuffle": Entry("visionlab.models.atrous_shuffle.AtrousShuffle", "dense"),
    "dense_unet": Entry("visionlab.models.dense_unet.DenseUNet", "dense", inputs=2, outputs=2),
    "fpn": Entry("visionlab.models.segmentation.SegmentationNetwork", "dense"),
    "inception_resnet_v2_flat": Entry("visionlab.models.image.FlatHeadNetwork", "image"),
    "resnet_shuffle": Entry("visionlab.models.resnet_shuffle.ResNetShuffle", "dense"),
    "shuffle_unet": Entry("visionlab.models.shuffle_unet.ShuffleUNet", "dense"),
    "small_cnn": Entry("visionlab.models.small_cnn.SmallCNN", "image"),
    "unet": Entry("visionlab.models.segmentation.SegmentationNetwork", "dense"),
}
_TIMM = Entry("visionlab.models.image.ImageNetwork", "image")


def lookup(name: str) -> Entry:
    """Return the network of that name: one of ``NETWORKS`` or a timm backbone (``resnet34``, ``resnet50.a1_in1k``).

    Raises:
        ConfigError: there is none; the message has the nearest name.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    known = timm_names()
    if name.partition(".")[0] not in known:
        raise ConfigError(
            f"model.name: expected a network of this project or a backbone of timm, found '{name}'."
            f"{nearest(name, {*NETWORKS, *known})}"
        )
    _check_tag("model.name", name)
    return _TIMM


def of_kind(kind: str) -> list[str]:
    """Return names of networks of a kind: this project's, for images some of timm's."""
    of_timm = ["resnet18", "resnet34", "resnet50"] if kind == "image" else []
    return [*of_timm, *(name for name, entry in NETWORKS.items() if entry.kind == kind)]


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check what the types of a network's options don't say: that its ``encoder``, if it takes one, exists.

    Args:
        name: of the network.
        options: of its class.

    Raises:
        ConfigError: there is no such encoder; the message has the nearest name.
    """
    encoder = options.get("encoder")
    if not isinstance(encoder, str) or encoder in smp_encoders():
        return
    known = timm_names()
    backbone = encoder.removeprefix("tu-")
    if backbone.partition(".")[0] not in known or backbone == encoder:
        choices = {*smp_encoders(), *(f"tu-{item}" for item in known)}
        hint = f" Did you mean 'tu-{encoder}'?" if encoder.partition(".")[0] in known else nearest(encoder, choices)
        raise ConfigError(
            f"model.encoder: expected an encoder of segmentation_models_pytorch for model.name={name}, or tu-NAME with "
            f"a backbone of timm, found '{encoder}'.{hint}"
        )
    _check_tag("model.encoder", backbone)


def _check_tag(key: str, name: str) -> None:
    backbone, _, tag = name.partition(".")
    tags = timm_tags(backbone) if tag else ()
    if tag and tag not in tags:
        raise ConfigError(
            f"{key}: '{backbone}' has no pretrained weights called '{tag}'.{nearest(tag, tags)} "
            f"Choices: {', '.join(tags) or 'none'}"
        )


def build(name: str, in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    """Return a new network.

    Args:
        name: see :func:`lookup`.
        in_channels: C of the images (B, C, H, W).
        out_channels: K of the output, (B, K) or (B, K, H, W).
        options: keyword arguments of the network's class, e.g. ``pretrained``, ``pool``, ``hidden``, ``encoder``.

    Raises:
        ConfigError: there is no network of that name, or it doesn't take an option or these numbers of channels.
    """
    entry = lookup(name)
    module, _, attribute = entry.target.rpartition(".")
    make = getattr(importlib.import_module(module), attribute)
    keys = [key for key, item in inspect.signature(make).parameters.items() if item.kind is item.KEYWORD_ONLY]
    for key in options:
        if key not in keys:
            listed = ", ".join(keys) or "none"
            raise ConfigError(f"model.{key}: unknown key.{nearest(key, keys)} Keys of model.name={name}: {listed}")
    check_options(name, options)
    try:
        network: nn.Module = make(name, in_channels, out_channels, **options)
    except Exception:
        import torch

        if torch.empty(0).device.type != "meta":
            raise
        # Some transformers read numbers back while they are built, which tensors without memory don't have.
        with torch.device("cpu"):
            network = make(name, in_channels, out_channels, **options).to("meta")
    return network
