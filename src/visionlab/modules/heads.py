"""Heads: a named slice of the network's channels, with its loss, its scale and its metrics. Pure torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from visionlab.metrics.regression import metric

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class RegressionHead(nn.Module):
    """One or several numbers an image, learnt on a standardised scale and given back in the user's units.

    Args:
        name: of the head and its target.
        columns: what the numbers are called; their count is the head's number of channels, K.
        mean, std: of each column over the training split, in the user's units.
        unit: of the values; empty if they have none.
        step: usual distance of neighbouring values, the margin for ``sign_accuracy``; None if unknown.
        metrics: names from :data:`visionlab.metrics.regression.METRICS`.
        weight: factor of its loss in the sum over heads.
    """

    kind: ClassVar[str] = "regression"

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        unit: str = "",
        step: float | None = None,
        metrics: Sequence[str] = ("mae",),
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.name, self.columns, self.unit, self.step = name, tuple(columns), unit, step
        self.metrics, self.weight = tuple(metrics), weight
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    @property
    def channels(self) -> int:
        return len(self.columns)

    def spec(self) -> dict[str, Any]:
        """Return all but the buffers as plain data, for the checkpoint."""
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "unit": self.unit,
            "step": self.step,
            "metrics": list(self.metrics),
            "weight": self.weight,
        }

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> RegressionHead:
        """Rebuild from :meth:`spec`; the buffers come with the weights."""
        count = len(spec["columns"])
        return cls(
            name,
            spec["columns"],
            mean=[0.0] * count,
            std=[1.0] * count,
            unit=spec["unit"],
            step=spec["step"],
            metrics=spec["metrics"],
            weight=spec["weight"],
        )

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss, on the standardised scale, of raw channels (B, K) for targets (B, K) in the user's units."""
        return function(raw, (target.to(raw.dtype) - self.mean) / self.std)

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        """Return raw channels (B, K) in the user's units."""
        return raw * self.std + self.mean

    def measure(self, true: np.ndarray[Any, Any], pred: np.ndarray[Any, Any]) -> dict[str, float]:
        """Return each metric, averaged over the columns, of N x K values in the user's units."""
        return {name: metric(name, {"margin": self.step})(true, pred) for name in self.metrics}

    def caption(self, true: np.ndarray[Any, Any], pred: np.ndarray[Any, Any]) -> str:
        """Return K true and predicted values as the text below a picture."""
        pairs = [f"true {t:.4g} predicted {p:.4g}" for t, p in zip(true, pred, strict=True)]
        named = pairs if self.channels == 1 else [f"{c}: {pair}" for c, pair in zip(self.columns, pairs, strict=True)]
        return f"{', '.join(named)} {self.unit}".rstrip()
