"""A head of numbers. Pure torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from visionlab.data.definition import Target
from visionlab.heads.head import NUMBER, Array, Evaluation, Head, Loss, Types
from visionlab.heads.kind import Kind, Metrics
from visionlab.heads.regression import KIND
from visionlab.losses.mixed import terms
from visionlab.metrics.regression import sign_accuracy
from visionlab.metrics.summary import check_true, entry

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule


class RegressionHead(Head):
    """One or several numbers an image, learnt on a standardised scale and given back in the user's units.

    Args:
        name, columns, unit, metrics, weight: see :class:`visionlab.heads.head.Head`.
        mean, std: of each column over the training split, in the user's units.
        step: usual distance of neighbouring values, the margin for ``sign_accuracy``; None if unknown.
        activation: ``none``, or ``nonnegative`` for counts and the like: decoded values below 0 become 0. The loss sees
            the network's own values: beyond the end of the scale an error must still show the way back.
    """

    kind: ClassVar[Kind] = KIND
    own_spec: ClassVar[dict[str, Types]] = {"step": (*NUMBER, type(None))}

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        *,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        step: float | None = None,
        unit: str = "",
        metrics: Sequence[str] = ("mae",),
        weight: float = 1.0,
        activation: str = "none",
    ) -> None:
        super().__init__(name, columns, unit=unit, metrics=metrics, weight=weight, activation=activation)
        self.step = step
        self.register_buffer("mean", torch.tensor(mean or [0.0] * len(columns), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std or [1.0] * len(columns), dtype=torch.float32))

    @classmethod
    def statistics(cls, name: str, data: ImageDataModule) -> dict[str, Any]:
        mean, std = data.scale(name)
        return {"mean": mean, "std": std, "step": data.step(name)}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "margin": self.step}

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss, on the standardised scale, of raw channels (B, K) for targets (B, K)."""
        scaled = (target.to(raw.dtype) - self.mean) / self.std
        return torch.stack([weight * term(raw, scaled) for weight, term in terms(function)]).sum()

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        values = raw * self.std + self.mean
        return values.clamp_min(0) if self.activation == "nonnegative" else values

    def baseline(self, target: torch.Tensor) -> torch.Tensor:
        return self.mean.to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the true and then the predicted values, B x 2K."""
        return torch.cat([target.to(decoded.dtype), decoded], dim=1)

    def each_metric(self) -> Metrics:
        found = dict(super().each_metric())
        if "sign_accuracy" in found and self.step is not None:
            found["sign_accuracy"] = sign_accuracy(self.step)
        return found

    def summarise(self, found: Evaluation, groups: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return {metric: ...}, and of several columns {column/metric: ...} as well."""
        check_true(self.name, found.model[:, : self.channels], groups)
        result = {}
        for name, about in super().summarise(found, groups).items():
            result[name] = about
            for k, column in enumerate(self.columns if self.channels > 1 else ()):
                model, baseline = (rows[:, [k, self.channels + k]] for rows in (found.model, found.baseline))
                result[f"{column}/{name}"] = entry(self.each_metric()[name], model, baseline, groups, self.unit)
        return result

    def table(self, rows: Array) -> dict[str, Array]:
        named = {}
        for k, column in enumerate(self.columns):
            named[f"{column}_true"], named[f"{column}_pred"] = rows[:, k], rows[:, self.channels + k]
        return named

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        return {column: (value, self.unit) for column, value in zip(self.columns, decoded.tolist(), strict=True)}

    @property
    def curves(self) -> tuple[str, ...]:
        return self.columns


TARGET = Target()
