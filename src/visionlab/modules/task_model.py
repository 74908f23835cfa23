"""The whole of what is trained and what predicts: normaliser, network, heads. Pure torch, rebuilt from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from visionlab import models
from visionlab.config import build
from visionlab.data.module import ImageDataModule
from visionlab.errors import ConfigError, UsageError
from visionlab.heads import KINDS, head_class
from visionlab.heads.head import Head
from visionlab.version import __version__

# Raised when what a checkpoint holds changes so that older code cannot read it.
FORMAT = 2

# Options that say where weights come from, not what the network is: a checkpoint brings its own weights.
ORIGIN = ("pretrained", "weights", "freeze")

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
    def from_spec(cls, spec: Mapping[str, Any], trust: Sequence[str] = ()) -> TaskModel:
        """Rebuild, without weights, from :meth:`spec`.

        Args:
            spec: names are looked up in explicit lists of our own classes.
            trust: packages of which a network may be as well.

        Raises:
            KeyError, TypeError: the specification is not one.
        """
        network_spec = dict(spec["network"])
        network = make_network(
            network_spec["name"],
            network_spec["in_channels"],
            network_spec["out_channels"],
            network_spec["options"],
            trust,
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


def make_network(
    name: str, in_channels: int, out_channels: int, options: Mapping[str, Any], trust: Sequence[str] = ()
) -> nn.Module:
    """Return a new network: one of ours by its name, or of a trusted package by the ``_target_`` in its options."""
    if "_target_" in options:
        # Ours go by name: a checkpoint from elsewhere must not call any function of this package by this door.
        if str(options["_target_"]).partition(".")[0] not in trust:
            raise ConfigError(f"_target_: the network is {options['_target_']}, of a package that is not trusted")
        network: nn.Module = build(options, in_channels, out_channels, trust=trust)
        return network
    return models.build(name, in_channels, out_channels, **options)


def build_model(
    settings: Mapping[str, Any], data: ImageDataModule, *, begun: bool = False, trust: Sequence[str] = ()
) -> TaskModel:
    """Return the model of a configuration, its heads and normaliser scaled by the training split.

    Args:
        settings: ``heads`` and ``model`` of a checked configuration, as plain data.
        data: set up.
        begun: whether its weights will come from a checkpoint, so that pretrained ones need not be there any more.
        trust: packages of which the network may be.

    Raises:
        UserError: the network does not take images of this size or number of channels, or it has no weights.
    """
    heads = []
    for name, head in settings["heads"].items():
        options = {**own_options(head), **{key: head[key] for key in ("metrics", "weight")}}
        options["activation"] = head["activation"] or KINDS[head["kind"]].activations[0]
        options["unit"] = data.unit(name, head["unit"])
        heads.append(head_class(head["kind"]).from_data(name, data, **options))
    options = dict(settings["model"])
    name = options.pop("name")
    if begun:
        options = {key: value for key, value in options.items() if key not in ("pretrained", "weights")}
    channels = sum(head.channels for head in heads)
    network = make_network(name, data.in_channels, channels, options, trust)
    spec = {
        "name": name,
        "in_channels": data.in_channels,
        "out_channels": channels,
        "options": {key: value for key, value in options.items() if key not in ORIGIN},
    }
    probe(network, name, data)
    mode = "image" if data.normalize == "image" else "dataset"
    return TaskModel(network, spec, heads, Normalizer(mode, data.mean, data.std))


def own_options(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that only heads of this kind have, of a head's configuration; null is the kind's default."""
    return {
        key: option.default if head[key] is None else head[key] for key, option in KINDS[head["kind"]].options.items()
    }


def probe(network: nn.Module, name: str, data: ImageDataModule) -> None:
    """Refuse images that the network does not take; transformers, for one, are built for one size.

    Raises:
        UsageError: naming the size.
    """
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, data.in_channels, data.height, data.width))
    except Exception as error:
        size = f"data.image_size={data.height} x {data.width}"
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"{size}: model {name} does not take images of this size ({reason})") from error
    network.train(training)


def describe_data(data: ImageDataModule) -> dict[str, Any]:
    """Return what a checkpoint says of the data and their preparation, as plain data."""
    return {
        "format": FORMAT,
        "version": __version__,
        "inputs": list(data.inputs),
        "neighbours": data.neighbours,
        "channels": list(data.channel_names),
        "preprocess": data.preprocess.spec(),
        "data": {"name": data.name, "synthetic": data.synthetic, "fingerprint": data.fingerprint},
    }
