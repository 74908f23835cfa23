"""Heads of dense networks: a foreground mask, a depth map. Pure torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from visionlab.heads.head import Array, Head, Loss
from visionlab.heads.map_sums import depth_rows, mask_rows
from visionlab.losses.mixed import terms
from visionlab.metrics.dense import per_image, shares

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule


# Probability from which on a pixel is foreground.
THRESHOLD = 0.5


class MapHead(Head):
    """One value a pixel: raw channels and targets are (B, 1, H, W), targets NaN where unknown."""

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        """Return a target on the scale of about 0 to 1 that is learnt."""
        raise NotImplementedError

    def activated(self, raw: torch.Tensor) -> torch.Tensor:
        """Return raw channels after the activation, on the scale that is learnt."""
        return torch.sigmoid(raw) if self.activation == "sigmoid" else raw

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss over the known pixels; the function is given what it ``takes``."""
        valid = torch.isfinite(target)
        scaled = torch.where(valid, self.normalized(target), 0.0)
        parts = []
        for weight, term in terms(function):
            given = raw if term.takes == "logits" else self.activated(raw)
            parts.append(weight * term(given, scaled, valid))
        return torch.stack(parts).sum()

    def table(self, rows: Array) -> dict[str, Array]:
        return {f"{self.name}_{metric}": per_image(self.kind, metric, rows) for metric in self.metrics}


class MaskHead(MapHead):
    """The foreground: 1 in the mask, 0 elsewhere; decoded to a probability.

    Args:
        name, metrics, weight: see :class:`Head`.
        activation: ``sigmoid``; or ``none``, where the network's values are the probability as they are.
        share: of the foreground in the training split, 0..1.
    """

    kind: ClassVar[str] = "mask"

    share: torch.Tensor

    def __init__(
        self, name: str, *, share: float, metrics: Any, weight: float, activation: str, unit: str = ""
    ) -> None:
        super().__init__(name, (name,), unit=unit, metrics=metrics, weight=weight, activation=activation)
        self.register_buffer("share", torch.tensor(share, dtype=torch.float32))

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> MaskHead:
        return cls(name, share=data.map_scale(name).mean, **options)

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> MaskHead:
        return cls(name, share=0.0, **_options(spec))

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        return target

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        return self.activated(raw).clamp(0, 1)

    def mean_like(self, target: torch.Tensor) -> torch.Tensor:
        return self.share.to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return mask_rows(decoded, target, THRESHOLD)

    def table(self, rows: Array) -> dict[str, Array]:
        true, pred = shares(rows)
        return {f"{self.name}_area_true": true, f"{self.name}_area_pred": pred, **super().table(rows)}

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        foreground = decoded >= THRESHOLD
        return {
            f"{self.name}_area": (float(foreground.sum()), "px"),
            f"{self.name}_share": (float(foreground.mean()), ""),
        }


class DepthHead(MapHead):
    """A distance at each pixel, learnt on the scale on which the training range is 0 to 1.

    Args:
        name, unit, metrics, weight: see :class:`Head`.
        activation: ``none``; or ``sigmoid``, which keeps predictions within the training range.
        low, high, mean: of the training split, in the user's unit.
    """

    kind: ClassVar[str] = "depth"

    low: torch.Tensor
    high: torch.Tensor
    mean: torch.Tensor

    def __init__(
        self,
        name: str,
        *,
        low: float,
        high: float,
        mean: float,
        metrics: Any,
        weight: float,
        activation: str,
        unit: str = "",
    ) -> None:
        super().__init__(name, (name,), unit=unit, metrics=metrics, weight=weight, activation=activation)
        for key, value in (("low", low), ("high", high), ("mean", mean)):
            self.register_buffer(key, torch.tensor(value, dtype=torch.float32))
        self._known: tuple[float, float, float] | None = None

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> DepthHead:
        scale = data.map_scale(name)
        # Of one depth everywhere there is nothing to learn, but nothing may be divided by zero.
        high = scale.high if scale.high > scale.low else scale.low + 1.0
        return cls(name, low=scale.low, high=high, mean=scale.mean, **options)

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> DepthHead:
        return cls(name, low=0.0, high=1.0, mean=0.0, **_options(spec))

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        return (target - self.low) / (self.high - self.low)

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        return self.activated(raw) * (self.high - self.low) + self.low

    def mean_like(self, target: torch.Tensor) -> torch.Tensor:
        return self.mean.to(target).expand_as(target)

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        return {f"{self.name}_median": (float(np.median(decoded)), self.unit)}

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        low, high, mean = self._numbers()
        # Ratios and logarithms need positive predictions: a thousandth of the usual depth is next to nothing.
        return depth_rows(decoded, target, data_range=high - low, low=low, floor=max(1e-3 * mean, 1e-12))

    def _numbers(self) -> tuple[float, float, float]:
        """Return low, high and mean without waiting for the device at each batch."""
        if self._known is None:
            self._known = (float(self.low), float(self.high), float(self.mean))
        return self._known

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known = None
        super()._load_from_state_dict(*args, **kwargs)


def _options(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: spec[key] for key in ("unit", "metrics", "weight", "activation")}
