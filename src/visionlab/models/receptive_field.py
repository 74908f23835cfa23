"""How far the values of a network see, and the table of its parts with what each sees.

A network is run once, not on numbers but on rows: each value stands for the last row of the image that it depends on,
and each operation on values becomes the largest of those that it takes. Weights play no part, so nothing can cancel or
fade out, and a forward pass without multiplications answers for all values at once. A second image with the rows
counted backwards gives the first row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from visionlab.models.blocks import DenseNetwork

# Of the strips that a receptive field is measured on, the next where it does not lie well inside the one before.
_HEIGHTS = (512, 2048, 8192)
NEVER = float("-inf")
"""The row of a value that depends on no row, e.g. of padding with zeros."""

# Operations that only move values, so that they do with rows what they do with numbers. (The largest row of a window
# is what max-pooling takes, too.)
_MOVES = frozenset(
    {
        *("_to_copy", "_unsafe_view", "alias", "amax", "cat", "clone", "detach", "expand", "flip"),
        *("max_pool2d_with_indices", "permute", "pixel_shuffle", "pixel_unshuffle", "reflection_pad2d", "repeat"),
        *("replication_pad2d", "select", "slice", "split", "split_with_sizes", "squeeze", "stack", "t", "transpose"),
        *("unbind", "unsqueeze", "upsample_nearest2d", "view"),
    }
)
# Their means and deviations, taken over places, are not counted, as they are fixed in use (BatchNorm) or hardly depend
# on any one pixel (the others).
_NORMS = frozenset({"native_batch_norm", "native_group_norm", "native_layer_norm"})


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
    hooks = [part.register_forward_hook(functools.partial(note, name)) for name, part in parts.items()]
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
        with _watched(network, parts, note), Rows():
            network(Rows.image(in_channels, height, width))
    except StripTooLowError:
        return dict.fromkeys(parts, height)
    except Exception:
        # An operation that is not known, or a network for images of one size: each complains in its own way.
        found[""] = []
    return {name: max(map(span, rows)) if rows else None for name, rows in found.items()}


# Rows -----------------------------------------------------------------------------------------------------------------


class UnknownOperationError(Exception):
    """The network does something to rows that is not known here."""


class StripTooLowError(Exception):
    """The image has fewer rows than one operation looks over, so most of what it would see is not there."""


class Rows(TorchDispatchMode):
    """Within this context operations on tensors from :meth:`image` work on rows; those on others work as ever.

    Raises (any operation):
        UnknownOperationError: it is none that convolutional networks are made of.
        StripTooLowError: the image should have more rows.
    """

    @staticmethod
    def image(channels: int, height: int, width: int) -> torch.Tensor:
        """Return (2, channels, height, width): in the first image each row's number, in the second its negative."""
        rows = torch.arange(height, dtype=torch.float32)[:, None]
        return _mark(torch.stack([rows, -rows])[:, None].repeat(1, channels, 1, width))

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = tree_flatten((args, kwargs or {}))[0]
        tensors = [item for item in given if isinstance(item, torch.Tensor)]
        if not any(_is_rows(tensor) for tensor in tensors):
            return func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _RULES:
            return _mark(_RULES[name](*args, **(kwargs or {})))
        if name in _NORMS and _is_rows(args[0]):
            # What follows is their statistics, which nobody looks at.
            return (_mark(args[0].clone()), *(args[0].new_empty(0) for _ in func._schema.returns[1:]))
        if name in _MOVES:
            moved = tree_map_only(torch.Tensor, _rows_or_never, (args, kwargs or {}))
            return tree_map_only(torch.Tensor, _mark, func(*moved[0], **moved[1]))
        if torch.Tag.pointwise in func.tags:
            return _pointwise(func, tensors)
        raise UnknownOperationError(name)


def _mark(tensor: torch.Tensor) -> torch.Tensor:
    tensor.holds_rows = True  # type: ignore[attr-defined]
    return tensor


def _is_rows(item: Any) -> bool:
    return getattr(item, "holds_rows", False)


def _rows_or_never(tensor: torch.Tensor) -> torch.Tensor:
    if _is_rows(tensor) or not tensor.is_floating_point():
        return tensor
    return torch.full(tensor.shape, NEVER)


def _pointwise(func: Any, tensors: list[torch.Tensor]) -> torch.Tensor:
    largest = functools.reduce(torch.maximum, (tensor for tensor in tensors if _is_rows(tensor)))
    if func._schema.is_mutable:
        if not _is_rows(tensors[0]):
            raise UnknownOperationError(func.overloadpacket.__name__)
        return tensors[0] if largest is tensors[0] else tensors[0].copy_(largest)
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    return _mark(largest.expand(shape).clone())


def _convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> torch.Tensor:
    if x.dim() != 4 or _is_rows(weight):
        raise UnknownOperationError("convolution")
    kernel = weight.shape[2:]
    if dilation[0] * (kernel[0] - 1) >= x.shape[2]:
        raise StripTooLowError
    x = x.amax(1, keepdim=True)
    before, after = list(padding), list(padding)
    if transposed:
        # Its inputs lie ``stride`` apart in what an ordinary convolution then goes over.
        sides = [(side - 1) * step + 1 for side, step in zip(x.shape[2:], stride, strict=True)]
        spread = x.new_full((*x.shape[:2], *sides), NEVER)
        spread[:, :, :: stride[0], :: stride[1]] = x
        x, stride = spread, (1, 1)
        before = [dilation[axis] * (kernel[axis] - 1) - padding[axis] for axis in (0, 1)]
        after = [before[axis] + output_padding[axis] for axis in (0, 1)]
    x = functional.pad(x, (before[1], after[1], before[0], after[0]), value=NEVER)
    x = functional.max_pool2d(x, tuple(kernel), tuple(stride), dilation=tuple(dilation))
    return x.repeat(1, weight.shape[1] * groups if transposed else weight.shape[0], 1, 1)


def _avg_pool(
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    *further: Any,
) -> torch.Tensor:
    return functional.max_pool2d(x, list(kernel), list(stride) or None, list(padding), 1, ceil_mode)


def _reduce(x: torch.Tensor, dim: Sequence[int] | None = None, keepdim: bool = False, **further: Any) -> torch.Tensor:
    if not dim or (x.dim() == 4 and len(dim) > 1):
        raise UnknownOperationError("mean over the image")
    return x.amax(tuple(dim), keepdim)


def _bilinear(x: torch.Tensor, size: Sequence[int], align_corners: bool, *scales: float | None) -> torch.Tensor:
    for axis, count, scale in zip((2, 3), size, scales or (None, None), strict=True):
        side = x.shape[axis]
        # Where an output lies among the inputs, as a fraction of whole numbers: on an input it takes only that one.
        if align_corners:
            above, below = [place * (side - 1) for place in range(count)], max(count - 1, 1)
        elif scale is None or count == side * scale:
            above, below = [max(0, (2 * place + 1) * side - count) for place in range(count)], 2 * count
        else:
            raise UnknownOperationError("upsample_bilinear2d")
        first = torch.tensor([item // below for item in above])
        last = torch.tensor([min(side - 1, -(-item // below)) for item in above])
        x = torch.maximum(x.index_select(axis, first), x.index_select(axis, last))
    return x


def _addmm(bias: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, **further: Any) -> torch.Tensor:
    return _mm(x, weight)


def _mm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if _is_rows(weight) or not _is_rows(x):
        raise UnknownOperationError("mm")
    return x.amax(-1, keepdim=True).repeat(1, weight.shape[1])


_RULES: dict[str, Callable[..., torch.Tensor]] = {
    "addmm": _addmm,
    "avg_pool2d": _avg_pool,
    "convolution": _convolution,
    "constant_pad_nd": lambda x, pad, value=0: functional.pad(x, list(pad), value=NEVER),
    "mean": _reduce,
    "mm": _mm,
    "sum": _reduce,
    "upsample_bilinear2d": _bilinear,
}


def span(rows: torch.Tensor) -> int:
    """Return how many rows lie between the first and the last one that a value depends on, the most of any value.

    Args:
        rows: (2 N, ...), what became of N images from :meth:`Rows.image`; to be called outside the context.
    """
    last, minus_first = rows.unflatten(0, (-1, 2)).unbind(1)
    spans = (last + minus_first + 1)[torch.isfinite(last)]
    return int(spans.max()) if spans.numel() else 0
