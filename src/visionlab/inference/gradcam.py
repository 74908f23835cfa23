"""Where in an image a network looked for one of its outputs: Grad-CAM.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from visionlab.errors import UsageError, nearest
from visionlab.modules.task_model import TaskModel

_SQUARENESS = 1.5
"""How far the shape of a feature map may be from the image's: convolutions without padding cost borders."""


def grad_cam(model: TaskModel, images: torch.Tensor, head: str, column: int) -> npt.NDArray[np.float32]:
    """Return what speaks for one output of a network, B x H x W, 0 to 1 in each image.

    The channels of the network's last feature map are weighted with the mean slope of the raw output over that map,
    added, cut off at 0 (what speaks against the output isn't shown), enlarged to the image and divided by the largest
    value. An image in which nothing speaks for the output is 0 everywhere.

    The model is used in evaluation mode; it, its mode and its gradients are afterwards as they were.

    Args:
        model: of whole images, not of maps.
        images: preprocessed, B x C x H x W, uint8 or float in 0..1.
        head: name of a head.
        column: number of one of its outputs.

    Raises:
        UsageError: there is no such output, or no feature map in the network (a transformer's tokens are none).
    """
    heads = {found.name: found for found in model.each_head()}
    if head not in heads:
        raise UsageError(f"head '{head}': expected one of {', '.join(heads)}.{nearest(head, heads)}")
    if model.dense:
        raise UsageError(f"head '{head}' gives a map: Grad-CAM explains numbers and labels of whole images")
    if not 0 <= column < heads[head].channels:
        raise UsageError(f"column {column}: expected 0 to {heads[head].channels - 1} of head '{head}'")
    # A copy made here is no inference tensor, whatever mode the caller is in.
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(model):
        batch = images.detach().clone().to(next(model.parameters()).device)
        place = _last_map(model, batch)
        features, output = _from_map(model, batch, place)
        (slopes,) = torch.autograd.grad(output[head][:, column].sum(), features)
        weights = slopes.mean(dim=(2, 3), keepdim=True)
        found = functional.relu((weights * features.detach()).sum(dim=1, keepdim=True))
        large = functional.interpolate(found.float(), size=batch.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        peak = large.amax(dim=(1, 2), keepdim=True)
        return (large / peak.where(peak > 0, torch.ones_like(peak))).cpu().numpy()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        # Not train(): modules may have a mode of their own, as a frozen trunk has.
        for module, mode in modes.items():
            module.training = mode


@dataclass(frozen=True)
class _Place:
    """A module's output: the module, and which of its calls in one pass."""

    module: nn.Module
    call: int


@contextmanager
def _watched(model: TaskModel, hook: Callable[[nn.Module, int, torch.Tensor], Any]) -> Iterator[None]:
    """Call ``hook`` with each tensor that a module of the network returns; what it returns replaces it, if not None."""
    calls: dict[nn.Module, int] = {}

    def after(module: nn.Module, _: Any, output: Any) -> Any:
        calls[module] = calls.get(module, 0) + 1
        return hook(module, calls[module], output) if isinstance(output, torch.Tensor) else None

    handles = [module.register_forward_hook(after) for module in model.network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _last_map(model: TaskModel, batch: torch.Tensor) -> _Place:
    """Return where the last feature map comes from, B x K x h x w with h and w above 1."""
    place: _Place | None = None
    tokens = False

    def look(module: nn.Module, call: int, output: torch.Tensor) -> None:
        nonlocal place, tokens
        if _is_map(output, batch):
            place, tokens = _Place(module, call), False
        elif output.ndim > 2 and output.shape[1:-1].numel() > 1 and output[0].numel() > output.shape[1]:
            # Many positions, their channels last.
            tokens = True

    with torch.no_grad(), _watched(model, look):
        model(batch)
    if place is None or tokens:
        raise UsageError(
            f"Grad-CAM: expected a feature map of more than one pixel in each direction, {model.network_spec['name']} "
            f"{'ends in tokens' if tokens else 'has none'} for images of {batch.shape[2]} x {batch.shape[3]}; choose a "
            "convolutional network such as resnet34, or larger images"
        )
    return place


def _is_map(output: torch.Tensor, batch: torch.Tensor) -> bool:
    if output.ndim != 4 or len(output) != len(batch):
        return False
    (height, width), (rows, columns) = batch.shape[2:], output.shape[2:]
    if not (1 < rows <= height and 1 < columns <= width):
        return False
    ratio = (rows / columns) / (height / width)
    # Networks with channels last have other shapes than the image.
    return rows == columns if height == width else 1 / _SQUARENESS <= ratio <= _SQUARENESS


def _from_map(model: TaskModel, batch: torch.Tensor, place: _Place) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return that feature map and the raw outputs, which hang on nothing but it."""
    kept: list[torch.Tensor] = []

    def cut(module: nn.Module, call: int, output: torch.Tensor) -> torch.Tensor | None:
        if _Place(module, call) != place:
            return None
        kept.append(output.detach().requires_grad_())
        return kept[0].clone()  # which what follows may change in place

    with _watched(model, cut):
        raw = model(batch)
    return kept[0], raw
