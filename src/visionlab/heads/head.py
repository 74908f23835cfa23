"""Heads: a named slice of the network's channels, with its loss, its scale and its metrics. Pure torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from visionlab.losses.mixed import terms
from visionlab.metrics.summary import measure

if TYPE_CHECKING:
    import pandas as pd

    from visionlab.data.module import ImageDataModule

Loss = Callable[..., torch.Tensor]
Array = np.ndarray[Any, Any]


class Head(nn.Module):
    """What all heads have in common.

    Args:
        name: of the head and its target.
        columns: names of its channels; their count is K.
        unit: of the decoded values; empty if they have none.
        metrics: names from :data:`visionlab.metrics.METRICS` of the head's kind.
        weight: factor of its loss in the sum over heads.
        activation: between the network and the decoded values, one of ``ACTIVATIONS``.
    """

    kind: ClassVar[str]
    # Whether something (thresholds) is fitted on the validation split once training is done.
    fits: ClassVar[bool] = False
    # Whether it is judged on whole time points as they are on disk, not on the loader's samples.
    whole: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        *,
        unit: str,
        metrics: Sequence[str],
        weight: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.name, self.columns, self.unit = name, tuple(columns), unit
        self.metrics, self.weight, self.activation = tuple(metrics), weight, activation

    @property
    def channels(self) -> int:
        return len(self.columns)

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> Head:
        """Return the head for a target, scaled by the training split; ``options`` as in the configuration."""
        raise NotImplementedError

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> Head:
        """Rebuild from :meth:`spec`; the buffers come with the weights."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """Return all but the buffers as plain data, for the checkpoint."""
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "unit": self.unit,
            "metrics": list(self.metrics),
            "weight": self.weight,
            "activation": self.activation,
        }

    def describe(self) -> dict[str, Any]:
        """Return what metrics and reports are told of the head."""
        return {"kind": self.kind, "columns": list(self.columns), "unit": self.unit, "metrics": list(self.metrics)}

    def prepare(self, function: Loss) -> None:
        """Tell a loss what it has to know of the training split."""

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss of raw channels for targets in the user's units."""
        raise NotImplementedError

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        """Return raw channels in the user's units."""
        raise NotImplementedError

    def mean_like(self, target: torch.Tensor) -> torch.Tensor:
        """Return the decoded values of the baseline: always the mean over the training split."""
        raise NotImplementedError

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return one row a sample, B x S, from which the metrics of any set of samples can be computed."""
        raise NotImplementedError

    def fit(self, rows: Array) -> None:
        """Fit, from the rows of the validation split, what is fitted once training is done; see ``fits``."""

    def judge(self, rows: Array, groups: Sequence[str] | None = None) -> Array:
        """Return the rows that metrics and tables are made of, from those of :meth:`rows`.

        Args:
            rows: of N samples.
            groups: N names, if these are the samples that :meth:`fit` was given: what was fitted on a sample must not
                judge it.
        """
        return rows

    def judge_baseline(self, rows: Array) -> Array:
        """Return the same of the baseline's rows."""
        return rows

    def table(self, rows: Array) -> dict[str, Array]:
        """Return the columns of the predictions' table, N values each, from the judged rows of N samples."""
        raise NotImplementedError

    def details(self, rows: Array, groups: Sequence[str]) -> pd.DataFrame | None:
        """Return a table of its own for each class of a head of classes, from judged rows and the samples' groups."""
        return None

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        """Return {name: value and unit} of one image's decoded values, for a table of predictions."""
        raise NotImplementedError

    def measure(self, rows: Array) -> dict[str, float]:
        """Return each metric of the rows of all samples, in the user's units."""
        return measure(self.kind, self.metrics, rows, self.describe())


class RegressionHead(Head):
    """One or several numbers an image, learnt on a standardised scale and given back in the user's units.

    Args:
        name, columns, unit, metrics, weight: see :class:`Head`.
        mean, std: of each column over the training split, in the user's units.
        step: usual distance of neighbouring values, the margin for ``sign_accuracy``; None if unknown.
        activation: ``none``, or ``nonnegative`` for counts and the like: decoded values below 0 become 0. The loss sees
            the network's own values: beyond the end of the scale an error must still show the way back.
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
        activation: str = "none",
    ) -> None:
        super().__init__(name, columns, unit=unit, metrics=metrics, weight=weight, activation=activation)
        self.step = step
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> RegressionHead:
        mean, std = data.scale(name)
        return cls(name, data.targets[name], mean=mean, std=std, step=data.step(name), **options)

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> RegressionHead:
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
            activation=spec["activation"],
        )

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "step": self.step}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "step": self.step, "margin": self.step}

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss, on the standardised scale, of raw channels (B, K) for targets (B, K)."""
        scaled = (target.to(raw.dtype) - self.mean) / self.std
        return torch.stack([weight * term(raw, scaled) for weight, term in terms(function)]).sum()

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        values = raw * self.std + self.mean
        return values.clamp_min(0) if self.activation == "nonnegative" else values

    def mean_like(self, target: torch.Tensor) -> torch.Tensor:
        return self.mean.to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the true and then the predicted values, B x 2K."""
        return torch.cat([target.to(decoded.dtype), decoded], dim=1)

    def table(self, rows: Array) -> dict[str, Array]:
        named = {}
        for k, column in enumerate(self.columns):
            named[f"{column}_true"], named[f"{column}_pred"] = rows[:, k], rows[:, self.channels + k]
        return named

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        return {column: (value, self.unit) for column, value in zip(self.columns, decoded.tolist(), strict=True)}
