"""The whole of what is trained and what predicts: normaliser, network, heads. Pure torch, rebuilt from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from visionlab import models
from visionlab.heads import head_class
from visionlab.heads.head import Head

Statistics = tuple[torch.Tensor, torch.Tensor]


class Normalizer(nn.Module):
    """Scale images on the device: (B, C, H, W) uint8, or float in 0..1, -> float32 of about zero mean, unit deviation.

    Args:
        mode: ``dataset`` for the given mean and deviation per channel, ``image`` for each image's own per channel.
        mean, std: C values on the 0..1 scale.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mode: str, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mode = mode
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, image: torch.Tensor, statistics: Statistics | None = None) -> torch.Tensor:
        mean, std = statistics or self.statistics(image)
        return (_unit(image) - mean) / std

    def statistics(self, image: torch.Tensor) -> Statistics:
        """Return the mean and deviation that become 0 and 1, B or 1 x C x 1 x 1.

        Those of a whole image are what its tiles must be scaled by, see :meth:`forward`.
        """
        if self.mode == "image":
            std, mean = torch.std_mean(_unit(image), dim=(2, 3), keepdim=True, correction=0)
            # A constant image has no deviation; 1/65535 is the finest step that an image can show.
            return mean, std.clamp_min(1 / 65535)
        return self.mean, self.std


def _unit(image: torch.Tensor) -> torch.Tensor:
    return image.float() / 255.0 if image.dtype == torch.uint8 else image.float()


class TaskModel(nn.Module):
    """Images in, raw channels of each head out.

    Args:
        network: (B, C, H, W) -> (B, K) or (B, K, H, W) with K the channels of all heads together.
        network_spec: ``name``, ``in_channels``, ``out_channels`` and ``options`` it was built with.
        heads: in the order of their channels.
        normalizer: applied first.
    """

    def __init__(
        self, network: nn.Module, network_spec: dict[str, Any], heads: Sequence[Head], normalizer: Normalizer
    ) -> None:
        super().__init__()
        self.memory_format = torch.contiguous_format
        self.normalizer = normalizer
        self.network = network
        self.network_spec = network_spec
        self.heads = nn.ModuleDict({head.name: head for head in heads})

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> TaskModel:
        """Rebuild, without weights, from :meth:`spec`. Names are looked up in explicit lists of our own classes.

        Raises:
            KeyError, TypeError: the specification is not one.
        """
        network_spec = dict(spec["network"])
        network = models.build(
            network_spec["name"],
            network_spec["in_channels"],
            network_spec["out_channels"],
            **network_spec["options"],
        )
        heads = [head_class(head["kind"]).from_spec(name, head) for name, head in spec["heads"].items()]
        channels = int(network_spec["in_channels"])
        return cls(network, network_spec, heads, Normalizer(spec["normalize"], [0.0] * channels, [1.0] * channels))

    def spec(self) -> dict[str, Any]:
        """Return what :meth:`from_spec` needs, as plain data."""
        return {
            "network": self.network_spec,
            "heads": {head.name: head.spec() for head in self.each_head()},
            "normalize": self.normalizer.mode,
        }

    def channels_last(self) -> None:
        """Lay the weights and images out with channels innermost, which convolutions on recent GPUs prefer."""
        self.memory_format = torch.channels_last
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def each_head(self) -> list[Head]:
        """Return the heads in the order of their channels."""
        return [head for head in self.heads.values() if isinstance(head, Head)]

    def forward(self, image: torch.Tensor, statistics: Statistics | None = None) -> dict[str, torch.Tensor]:
        """Return {head: its raw channels, float32} for images (B, C, H, W), uint8 or float in 0..1.

        Args:
            image: whole, or tiles of images.
            statistics: of the whole images that these are tiles of, see :meth:`Normalizer.statistics`.
        """
        image = self.normalizer(image, statistics).contiguous(memory_format=self.memory_format)
        raw = self.network(image).float()
        parts = raw.split([head.channels for head in self.each_head()], dim=1)
        return dict(zip(self.heads, parts, strict=True))

    @property
    def dense(self) -> bool:
        """Whether the network gives a map an image, not a vector."""
        return any(head.kind.dense for head in self.each_head())

    def decode(self, raw: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return {head: values in the user's units} from :meth:`forward`'s result."""
        return {head.name: head.decode(raw[head.name]) for head in self.each_head()}
