"""What all losses share: checks, precision, and pixels that are unknown."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import nn


class Loss(nn.Module):
    """A comparison of two tensors: ``loss(input, target, valid=None)`` -> a scalar, at best 0.

    Subclasses write :meth:`compute` and the attributes that :class:`visionlab.losses.Entry` explains.
    It is computed in float32 (float64 if the input is), also under autocast: half precision has no digits left for the
    small differences that losses are made of.
    """

    takes: ClassVar[Literal["values", "probabilities", "logits"]] = "values"
    dense: ClassVar[bool] = False
    labels: ClassVar[bool] = False
    smallest: ClassVar[int] = 1

    def set_counts(self, positives: torch.Tensor, total: int) -> None:
        """Tell the loss what the training split holds; only losses with class weights make use of it.

        Args:
            positives: images of each class, K values.
            total: images.
        """

    def forward(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        """Return the loss.

        Args:
            input: B x C x H x W maps where the loss isn't for ``labels``, or B x K numbers where it isn't ``dense``.
            target: of the same shape.
            valid: bool, broadcastable to the target; what is False there has no influence on the value or on any
                gradient. None: everything counts. If nothing is valid, the loss is 0 and so are its gradients.

        Raises:
            ValueError: the shapes differ (torch would broadcast them and compare what doesn't belong together), there
                is no element, the maps are no maps or too small, or the labels are not B x K.
        """
        shape = tuple(input.shape)
        if input.shape != target.shape:
            raise ValueError(f"loss: expected equal shapes, found {shape} and {tuple(target.shape)}")
        if input.numel() == 0:
            raise ValueError(f"loss: expected at least one element, found shape {shape}")
        if self.dense and (input.ndim != 4 or min(shape[2:]) < self.smallest):
            size = f" with sides of at least {self.smallest} pixels" if self.smallest > 1 else ""
            raise ValueError(f"{type(self).__name__}: expected B x C x H x W{size}, found {shape}")
        if self.labels and input.ndim != 2:
            raise ValueError(f"{type(self).__name__}: expected labels B x K, found {shape}")
        dtype = torch.promote_types(input.dtype, torch.float32)
        with torch.autocast(input.device.type, enabled=False):
            input, target = input.to(dtype), target.to(dtype)
            if valid is not None:
                valid = valid.expand(input.shape)
                # Whatever stands there, NaN too, would else come back in the gradient as 0 * NaN.
                input, target = torch.where(valid, input, 0.0), torch.where(valid, target, 0.0)
            return self.compute(input, target, valid)

    def compute(self, input: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """Return the loss of checked tensors: one shape and dtype, ``valid`` too; both are 0 where it is False."""
        raise NotImplementedError


def mean(values: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Return the mean of the values that are valid (same shape); 0 if none is."""
    if valid is None:
        return values.mean()
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def any_valid(valid: torch.Tensor | None) -> torch.Tensor | None:
    """Return for each image and channel, B x C, whether any pixel of B x C x H x W is valid."""
    return None if valid is None else valid.flatten(2).any(dim=2)
