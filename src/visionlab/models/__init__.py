"""Networks by name: hand-written ones and the image backbones of timm. Importing this does not import torch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visionlab.catalog import timm_names, timm_tags
from visionlab.errors import ConfigError, nearest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "Entry", "build", "lookup", "timm_names"]


@dataclass(frozen=True)
class Entry:
    """A network.

    Attributes:
        target: dotted name of its class, called with name, in_channels, out_channels and the options.
        kind: ``image``, (B, C, H, W) -> (B, K), or ``dense``, (B, C, H, W) -> (B, K, H, W).
        divisor: what the height and width of its images must be divisible by.
    """

    target: str
    kind: str
    divisor: int = 1


NETWORKS: dict[str, Entry] = {}
_TIMM = Entry("visionlab.models.image.ImageNetwork", "image")


def lookup(name: str) -> Entry:
    """Return the network of that name: one of ``NETWORKS`` or a timm backbone (``resnet34``, ``resnet50.a1_in1k``).

    Raises:
        ConfigError: there is none; the message has the nearest name.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    backbone, _, tag = name.partition(".")
    known = timm_names()
    if backbone not in known:
        raise ConfigError(
            f"model.name: expected a network of this project or a backbone of timm, found '{name}'."
            f"{nearest(name, {*NETWORKS, *known})}"
        )
    tags = timm_tags(backbone) if tag else ()
    if tag and tag not in tags:
        raise ConfigError(
            f"model.name: '{backbone}' has no pretrained weights called '{tag}'.{nearest(tag, tags)} "
            f"Choices: {', '.join(tags) or 'none'}"
        )
    return _TIMM


def build(name: str, in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    """Return a new network.

    Args:
        name: see :func:`lookup`.
        in_channels: C of the images (B, C, H, W).
        out_channels: K of the output, (B, K) or (B, K, H, W).
        options: keyword arguments of the network's class, e.g. ``pretrained``, ``hidden``, ``dropout``.

    Raises:
        ConfigError: there is no network of that name, or it doesn't take an option.
    """
    from visionlab import signature

    entry = lookup(name)
    signature.check(entry.target, options, "model")
    module, _, attribute = entry.target.rpartition(".")
    network: nn.Module = getattr(importlib.import_module(module), attribute)(name, in_channels, out_channels, **options)
    return network
