"""How far the values of a network see: which rows of the image each of them can depend on.

A network is run once, not on numbers but on rows: each value stands for the last row of the image that it depends on,
and each operation on values becomes the largest of those that it takes. Weights play no part, so nothing can cancel or
fade out, and a forward pass without multiplications answers for all values at once. A second image with the rows
counted backwards gives the first row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

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


class UnknownReachError(Exception):
    """The network does something to rows that is not known here."""


class StripTooLowError(Exception):
    """The image has fewer rows than one operation looks over, so most of what it would see is not there."""


class Rows(TorchDispatchMode):
    """Within this context operations on tensors from :meth:`image` work on rows; those on others work as ever.

    Raises (any operation):
        UnknownReachError: it is none that convolutional networks are made of.
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
        raise UnknownReachError(name)


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
            raise UnknownReachError(func.overloadpacket.__name__)
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
        raise UnknownReachError("convolution")
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
        raise UnknownReachError("mean over the image")
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
            raise UnknownReachError("upsample_bilinear2d")
        first = torch.tensor([item // below for item in above])
        last = torch.tensor([min(side - 1, -(-item // below)) for item in above])
        x = torch.maximum(x.index_select(axis, first), x.index_select(axis, last))
    return x


def _addmm(bias: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, **further: Any) -> torch.Tensor:
    return _mm(x, weight)


def _mm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if _is_rows(weight) or not _is_rows(x):
        raise UnknownReachError("mm")
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
