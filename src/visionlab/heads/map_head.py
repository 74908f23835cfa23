"""What heads of maps have in common. Pure torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
    def check_spec(cls, name: str, spec: Mapping[str, Any]) -> None:
        super().check_spec(name, spec)
        channels = list(cls.channel_names(name, spec))
        what = f"{channels}, one map" if len(channels) == 1 else f"{channels}"
        expect(spec["columns"] == channels, f"heads.{name}.columns", what, spec["columns"])

    @staticmethod
    def shared(spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return of a description what every head of maps takes."""
        return {key: spec[key] for key in ("unit", "metrics", "weight", "activation")}

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
