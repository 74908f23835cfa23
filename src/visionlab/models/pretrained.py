"""Trained parts of networks: where their weights come from, what can go wrong, and how they are kept as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import timm
import torch
from torch import nn

from visionlab.errors import UsageError


class Freezable(nn.Module):
    """A network with a trunk, the child of the name ``trunk``, that can be frozen."""

    trunk: ClassVar[str]
    frozen: bool = False

    def set_frozen(self, frozen: bool) -> None:
        """Freeze the trunk, weights and running statistics, or let it learn again; optimizers are to be made after it.

        What the trunk itself never trains stays so.
        """
        trunk = self.get_submodule(self.trunk)
        if frozen and not self.frozen:
            self._learning = {name for name, parameter in trunk.named_parameters() if parameter.requires_grad}
        if frozen != self.frozen:
            for name, parameter in trunk.named_parameters():
                parameter.requires_grad_(not frozen and name in self._learning)
        self.frozen = frozen
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            # Batch normalisation would otherwise go on adapting its running statistics.
            self.get_submodule(self.trunk).eval()
        return self


@contextmanager
def loading(name: str, pretrained: bool, weights: str | None) -> Iterator[None]:
    """Turn what fails while weights of the network ``name`` are loaded into an error that says what to do.

    Without weights to load, errors pass unchanged.

    Raises:
        UsageError: pretrained weights cannot be fetched, or the file does not hold weights of this network.
    """
    if weights is not None and not Path(weights).expanduser().is_file():
        raise UsageError(f"model.weights={weights}: expected a file of weights, found none")
    try:
        yield
    except Exception as error:
        # timm, the hub's client and the reader of the file each raise their own kinds; all mean the weights failed.
        if weights is not None:
            raise UsageError(
                f"model.weights={weights}: expected weights of {name} (.safetensors, or .pth of plain tensors), "
                f"could not load them: {brief(error)}"
            ) from error
        if pretrained:
            raise UsageError(
                f"model.pretrained=true: the weights of {name} could not be fetched ({type(error).__name__}); without "
                "network give model.weights=FILE with a copy of them, or set model.pretrained=false"
            ) from error
        raise


def brief(error: Exception) -> str:
    """Return an error's text in one line of at most 200 characters; torch names each tensor in a line of its own."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def timm_options(name: str, pretrained: bool, weights: str | None) -> dict[str, Any]:
    """Return ``timm.create_model``'s arguments for the initial weights of the backbone ``name``.

    timm starts the last normalisation of each residual block of its ResNets at zero, which helps long trainings with
    large batches and slows short ones. Here they start at one, as in He et al. 2016 and in torchvision.
    """
    overlay = {"file": str(Path(weights).expanduser())} if weights is not None else None
    residual = timm.models.model_entrypoint(name.partition(".")[0]).__module__ == "timm.models.resnet"
    return {
        "pretrained": pretrained or weights is not None,
        "pretrained_cfg_overlay": overlay,
        **({"zero_init_last": False} if residual else {}),
    }


def read(path: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, ``.safetensors`` or ``.pth`` of plain tensors; pickled objects are refused."""
    held: dict[str, torch.Tensor] = timm.models.load_state_dict(
        str(Path(path).expanduser()), device="cpu", weights_only=True
    )
    return held


def refuse_gaps(network: nn.Module, path: str) -> None:
    """Check that the file has every weight of a network of timm.

    timm only logs what it does not find when the classifier is left out, and would train on from random weights.

    Raises:
        ValueError: it has not.
    """
    held = {_plain(name) for name in read(path)}
    absent = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    absent = [name for name in absent if _plain(name) not in held]
    if absent:
        raise ValueError(f"it has no '{absent[0]}'" + (f" and {len(absent) - 1} others" if len(absent) > 1 else ""))


def _plain(name: str) -> str:
    # For feature pyramids timm wraps some networks in ``model`` and flattens the names of others, ``stages_0.blocks``.
    return name.removeprefix("model.").replace(".", "_")
