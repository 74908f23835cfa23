"""What heads of maps have in common. Pure torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from visionlab.heads.head import Array, Head, Loss, expect
from visionlab.losses.mixed import terms

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule


class MapHead(Head):
    """Values at each pixel: raw channels are (B, K, H, W), targets (B, 1, H, W), NaN where unknown."""

    @classmethod
    def columns_of(cls, name: str, data: ImageDataModule, options: Mapping[str, Any]) -> tuple[str, ...]:
        return cls.channel_names(name, options)

    @classmethod
    def channel_names(cls, name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of its channels; ``options`` are those of its kind."""
        return (name,)

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> Self:
        return cls(name, **cls.statistics(name, data), **options)

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> Self:
        return cls(name, **cls.options_of(spec))

    @classmethod
    def check_spec(cls, name: str, spec: Mapping[str, Any]) -> None:
        super().check_spec(name, spec)
        channels = list(cls.channel_names(name, spec))
        expect(spec["columns"] == channels, f"heads.{name}.columns", f"{channels}", spec["columns"])

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        """Return a target on the scale of about 0 to 1 that is learnt."""
        raise NotImplementedError

    def activated(self, raw: torch.Tensor) -> torch.Tensor:
        """Return raw channels after the activation, on the scale that is learnt."""
        return torch.sigmoid(raw) if self.activation == "sigmoid" else raw

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss over the known pixels; the function is given what it ``takes``."""
        return self.compared(raw, self.normalized(target), torch.isfinite(target), function)

    def compared(self, raw: torch.Tensor, scaled: torch.Tensor, valid: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss of raw channels for a target on the scale that is learnt, over the pixels that are valid."""
        scaled = torch.where(valid, scaled, 0.0)
        parts = [
            weight * term(raw if term.takes == "logits" else self.activated(raw), scaled, valid)
            for weight, term in terms(function)
        ]
        return torch.stack(parts).sum()

    def table(self, rows: Array) -> dict[str, Array]:
        return {
            f"{self.name}_{name}": metric.each(rows)  # type: ignore[union-attr]
            for name, metric in self.each_metric().items()
        }

    def map(self, decoded: Array) -> Array:
        # Of several channels the first is the foreground.
        return np.asarray(decoded[0])


# The sums of each image that metrics are made of ----------------------------------------------------------------------


def comparable(
    pred: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return both, B x 1 x H x W, as float32 without the axis of 1; what is known; and which images can be measured.

    Pixels whose target is NaN are unknown and count for nothing, whatever is predicted there. An image can't be
    measured if a known pixel's prediction isn't finite: :func:`sums_of_images` makes all its sums NaN.
    """
    pred, target = pred.detach()[:, 0].float(), target.detach()[:, 0].float()
    known = ~target.isnan()
    return pred, target, known, (pred.isfinite() | ~known).flatten(1).all(dim=1)


def total(maps: torch.Tensor) -> torch.Tensor:
    """Return B sums over B x H x W numbers, NaN left out, or counts of what is true, in float64 where there is any."""
    dtype = torch.float32 if maps.device.type == "mps" else torch.float64
    flat = maps.flatten(1)
    return flat.sum(dim=1, dtype=dtype) if maps.dtype == torch.bool else flat.nansum(dim=1, dtype=dtype)


def sums_of_images(sums: Mapping[str, torch.Tensor], columns: Sequence[str], measurable: torch.Tensor) -> torch.Tensor:
    """Return the rows of a head of maps, B x columns, of {column: B sums}."""
    return torch.where(measurable[:, None], torch.stack([sums[column] for column in columns], dim=1), torch.nan)
