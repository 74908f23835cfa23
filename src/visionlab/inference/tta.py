"""Test-time augmentation: the image and its mirror images are predicted, and the predictions merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from visionlab.data.preprocess import Preprocess
from visionlab.errors import UsageError, nearest

MERGES = ("mean", "max")


class View(NamedTuple):
    """A way to look at images (..., H, W): transposed or not, then reversed along some axes."""

    transposed: bool
    axes: tuple[int, ...]

    def turn(self, images: torch.Tensor) -> torch.Tensor:
        """Return images as they are seen so."""
        return (images.transpose(-2, -1) if self.transposed else images).flip(self.axes)

    def turn_back(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps of turned images as those of the images themselves."""
        maps = maps.flip(self.axes)
        return maps.transpose(-2, -1) if self.transposed else maps


# As it is, mirrored, upside down, both; their transposes are the turns by 90 and 270 degrees and the diagonal mirrors.
_FLIPS = tuple(View(False, axes) for axes in ((), (-1,), (-2,), (-2, -1)))
VIEWS = {"flips": _FLIPS, "all": (*_FLIPS, *(view._replace(transposed=True) for view in _FLIPS))}


class Views:
    """Several views of each image, predicted one after the other and merged.

    Args:
        name: ``flips``, 4 views: as it is, mirrored, upside down, both; ``all``, 8: these and their transposes, for
            models of square images.
        merge: ``mean`` or ``max`` of the decoded values: probabilities, numbers, maps turned back.

    Raises:
        UsageError: there is no such name or merge.
    """

    def __init__(self, name: str, merge: str = "mean") -> None:
        for key, value, choices in (("tta", name, tuple(VIEWS)), ("tta_merge", merge, MERGES)):
            if value not in choices:
                raise UsageError(f"{key} '{value}': expected {' or '.join(choices)}.{nearest(str(value), choices)}")
        self.name, self.merge = name, merge

    def check(self, preprocess: Preprocess) -> None:
        """Check that a model that takes images so can be shown all views.

        Raises:
            UsageError: its images are not square, but would be transposed.
        """
        if preprocess.height != preprocess.width and any(view.transposed for view in VIEWS[self.name]):
            raise UsageError(
                f"tta '{self.name}': expected a model of square images, found one of {preprocess.height} x "
                f"{preprocess.width} pixels; use 'flips'"
            )

    def decode(
        self, decode: Callable[[torch.Tensor], Mapping[str, torch.Tensor]], images: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return {head: merged values, float32} of preprocessed images, B x C x H x W.

        Args:
            decode: images -> {head: decoded values on the CPU, B x K, or maps B x 1 x H x W}.
            images: B x C x H x W.
        """
        merged: dict[str, torch.Tensor] = {}
        for view in VIEWS[self.name]:
            for head, values in decode(view.turn(images)).items():
                # In double precision, for the mean of equal values to be that value.
                found = (view.turn_back(values) if values.dim() == 4 else values).double()
                if head in merged:
                    found = merged[head] + found if self.merge == "mean" else merged[head].maximum(found)
                merged[head] = found
        count = len(VIEWS[self.name]) if self.merge == "mean" else 1
        return {head: (values / count).float() for head, values in merged.items()}
