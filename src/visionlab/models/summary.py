"""What a network is made of: its parts, their outputs and weights, and how much of the image they see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from visionlab.models import reach
from visionlab.models.blocks import DenseNetwork

# Of the strips that a receptive field is measured on, the next where it does not lie well inside the one before.
_HEIGHTS = (512, 2048, 8192)


def parameters(network: nn.Module) -> int:
    """Return the number of weights, trained or frozen."""
    return sum(parameter.numel() for parameter in network.parameters())


def receptive_field(network: nn.Module, in_channels: int) -> int | None:
    """Return the side in pixels of the largest square of the image that one value of the output can depend on.

    It is that of the output at full size. (For networks with a decoder published figures are often those of the
    features before it, which are smaller; :func:`summarise` shows them for each part.) Different places of the output
    can see squares of different sizes, e.g. at the two places that come from one pixel before it was doubled.
    Normalisation is taken as fixed, as it is in use. The network, its mode and torch's random state stay as they are.

    Args:
        network: (B, C, H, W) -> (B, K, ...), any device.
        in_channels: C.

    Returns:
        None if it has no bound (squeeze-and-excitation, attention, pooling over the image), if it is 4096 px or more
        or if the network takes images of one size only.
    """
    return _receptive_fields(network, in_channels, {"": network})[""]


def summarise(network: nn.Module, in_channels: int, size: tuple[int, int]) -> str:
    """Return a table of the network's parts, two levels deep: output, weights and receptive field (px) of each.

    Args:
        network: (B, C, H, W) -> (B, K, H, W) or (B, K).
        in_channels: C.
        size: (H, W).
    """
    parts = dict(_parts(network))
    shapes: dict[str, str] = {}

    def note(name: str, module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            shapes[name] = " x ".join(map(str, output.shape[1:]))

    device = next(network.parameters()).device
    with _watched(network, parts, note):
        output = network(torch.zeros(1, in_channels, *size, device=device))
    shapes[""] = " x ".join(map(str, output.shape[1:]))
    fields = _receptive_fields(network, in_channels, {**parts, "": network})
    rows = [("part", "output", "weights", "receptive field")]
    for name, part in [*parts.items(), ("", network)]:
        field = fields[name]
        label = "  " * name.count("/") + name.rpartition("/")[2] if name else "all"
        rows.append((label, shapes.get(name, ""), f"{parameters(part):,}", str(field or "")))
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    given = f"{in_channels} x {size[0]} x {size[1]}"
    return "\n".join([f"{type(network).__name__}, {given} in, {trained:,} weights are trained", *_aligned(rows)])


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for label, shape, *numbers in rows:
        right = [text.rjust(width) for text, width in zip(numbers, widths[2:], strict=True)]
        lines.append("  ".join([label.ljust(widths[0]), shape.ljust(widths[1]), *right]).rstrip())
    return lines


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield ``stem``, ``stem/0``, ...: two levels, of the second those that hold some of the first's weights."""
    for name, part in _children(network):
        yield name, part
        for second, item in _children(part):
            if 0 < parameters(item) < parameters(part):
                yield f"{name}/{second}", item


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the children; a list of modules, which itself is never called, gives its items, as ``blocks.0``."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{place}", item) for place, item in enumerate(child))
        else:
            yield name, child


@contextmanager
def _watched(network: nn.Module, parts: Mapping[str, nn.Module], note: Any) -> Iterator[None]:
    """Run a network as it predicts, calling ``note(name, module, inputs, output)`` after each part."""
    modes = [(module, module.training) for module in network.modules()]
    hooks = [part.register_forward_hook(partial(note, name)) for name, part in parts.items()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode


def _receptive_fields(network: nn.Module, in_channels: int, parts: Mapping[str, nn.Module]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for height in _HEIGHTS:
        found = _spans(network, in_channels, parts, height)
        if all(span is None or span < height // 2 for span in found.values()):
            break
    # What reaches further may be cut off by the ends of the strip.
    return {name: span if span is not None and 0 < span < height // 2 else None for name, span in found.items()}


def _spans(network: nn.Module, in_channels: int, parts: Mapping[str, nn.Module], height: int) -> dict[str, int | None]:
    found: dict[str, list[torch.Tensor]] = {name: [] for name in parts}

    def note(name: str, module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.dim() == 4:
            found[name].append(output.amax((1, 3)))

    # A narrow strip is enough, as only rows are looked at; the network's stride is the least that needs no padding.
    width = network.stride if isinstance(network, DenseNetwork) else 32
    try:
        with _watched(network, parts, note), reach.Rows():
            network(reach.Rows.image(in_channels, height, width))
    except reach.StripTooLowError:
        return dict.fromkeys(parts, height)
    except Exception:
        # An operation that is not known, or a network for images of one size: each complains in its own way.
        found[""] = []
    return {name: max(map(reach.span, rows)) if rows else None for name, rows in found.items()}
