"""A head of instances: foreground, and what tells touching ones apart. Pure torch; objects are found with NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from visionlab.heads import instance_channels
from visionlab.heads.head import Array, Loss
from visionlab.heads.instances.parameters import Cells, Parameters, Separate
from visionlab.heads.instances.segment import segment, segment_plane
from visionlab.heads.instances.targets import boundary, distance
from visionlab.heads.map_head import MapHead
from visionlab.heads.map_sums import histogram_rows
from visionlab.losses.mixed import terms
from visionlab.metrics.instances import METRICS, WHILE_TRAINING, at_threshold, pixel_areas
from visionlab.metrics.matching import INSTANCE_COLUMNS
from visionlab.metrics.summary import measure

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule


class InstanceHead(MapHead):
    """Nuclei, cells or walls: the probability of the foreground, and perhaps of boundaries or the distance to them.

    Targets are numbers of instances, 0 between them and NaN where unknown. Objects are found in whole time points once
    training is done, with a threshold and other parameters chosen on the validation split; these stay in the checkpoint
    as buffers. Until then the threshold is 0.5.

    Args:
        name, metrics, weight, unit: see :class:`visionlab.heads.head.Head`.
        share: of the foreground in the training split, 0..1.
        separate: how touching objects are told apart: ``none`` (by their shape), ``boundary`` or ``distance`` (a second
            channel that is learnt, see :mod:`visionlab.heads.instances.targets`).
        cells: ``filled``: the foreground is the objects; ``enclosed``: it is walls, and objects are what they enclose.
        dimensions: 3 where the training data are volumes, else 2.
        activation: ``sigmoid``.
    """

    kind: ClassVar[str] = "instances"
    fits: ClassVar[bool] = True
    whole: ClassVar[bool] = True

    share: torch.Tensor
    parameters_found: torch.Tensor
    fitted: torch.Tensor

    def __init__(
        self,
        name: str,
        *,
        share: float,
        separate: Separate,
        cells: Cells,
        dimensions: int,
        metrics: Sequence[str],
        weight: float,
        activation: str,
        unit: str = "",
    ) -> None:
        super().__init__(
            name,
            instance_channels(name, separate),
            unit=unit,
            metrics=metrics,
            weight=weight,
            activation=activation,
        )
        self.separate, self.cells, self.dimensions = separate, cells, dimensions
        for key, value in (
            ("share", torch.tensor(share, dtype=torch.float32)),
            ("parameters_found", torch.tensor(Parameters().to_list(), dtype=torch.float64)),
            ("fitted", torch.tensor(False)),
        ):
            self.register_buffer(key, value)

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> InstanceHead:
        shares = data.stored_maps[name].facts["share"].to_numpy()[data.rows["train"]]
        # Slices by themselves, between missing ones, have a number too, but are time points of their own.
        table = data.table
        volumes = "z" in table and bool(((table["z"] >= 0) & (table["frame"] != table["id"])).any())
        return cls(name, share=float(shares.mean()), dimensions=3 if volumes else 2, **options)

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> InstanceHead:
        keys = ("unit", "metrics", "weight", "activation", "separate", "cells", "dimensions")
        return cls(name, share=0.0, **{key: spec[key] for key in keys})

    def spec(self) -> dict[str, Any]:
        own = {"separate": self.separate, "cells": self.cells, "dimensions": self.dimensions}
        return {**super().spec(), **own}

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "columns": [self.name],
            "separate": self.separate,
            "cells": self.cells,
            "dimensions": self.dimensions,
            "parameters": self.found.describe(),
            "threshold": self.found.threshold,
            "fitted": bool(self.fitted),
        }

    # Training ---------------------------------------------------------------------------------------------------

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        return (target > 0).to(target.dtype)

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss over the known pixels of raw channels (B, K, H, W) for instances (B, 1, H, W).

        Foreground and boundary are each compared by ``function``; the distance by its cross-entropy, which is smallest
        at the true value and, unlike an absolute difference, still has a slope where a sigmoid is nearly 0 or 1.
        """
        valid = torch.isfinite(target)
        found = self._compare(raw[:, :1], self.normalized(target), valid, function)
        if self.separate == "boundary":
            found = found + self._compare(raw[:, 1:], boundary(target), valid, function)
        elif self.separate == "distance":
            apart = functional.binary_cross_entropy_with_logits(raw[:, 1:], distance(target), reduction="none")
            found = found + (apart * valid).sum() / valid.sum().clamp_min(1)
        return found

    def _compare(self, raw: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, function: Loss) -> torch.Tensor:
        parts = []
        for weight, term in terms(function):
            given = raw if term.takes == "logits" else self.activated(raw)
            parts.append(weight * term(given, torch.where(valid, target, 0.0), valid))
        return torch.stack(parts).sum()

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the probabilities, and the distance as a share of its reach: (B, K, H, W), all 0..1."""
        return self.activated(raw)

    def mean_like(self, target: torch.Tensor) -> torch.Tensor:
        return self.share.to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return how often each probability was given to foreground and background, B x 200."""
        return histogram_rows(decoded[:, :1], target)

    def measure(self, rows: Array) -> dict[str, float]:
        """Return the metrics of pixels, from :meth:`rows`; those of objects take whole time points."""
        names = [name for name in self.metrics if name in WHILE_TRAINING]
        return measure(self.kind, names, self._sums(rows), self.describe())

    def _sums(self, rows: Array) -> Array:
        return rows if rows.shape[1] == len(INSTANCE_COLUMNS) else at_threshold(rows, self.found.threshold)

    # Objects ----------------------------------------------------------------------------------------------------

    @property
    def found(self) -> Parameters:
        """Return what objects are found with."""
        return Parameters.from_list(self.parameters_found.tolist())

    def set_parameters(self, parameters: Parameters, *, fitted: bool) -> None:
        """Keep what objects are found with, and whether it was chosen on validation data."""
        self.parameters_found.copy_(torch.tensor(parameters.to_list(), dtype=torch.float64))
        self.fitted.fill_(fitted)

    def segment(self, maps: Array, *, volume: bool, parameters: Parameters | None = None) -> Array:
        """Return the objects of a time point, Z x H x W int32 (0 between them), of decoded maps Z x K x H x W."""
        return segment(maps, parameters or self.found, separate=self.separate, cells=self.cells, volume=volume)

    def table(self, rows: Array) -> dict[str, Array]:
        true, pred = pixel_areas(rows)
        table = {f"{self.name}_area_true": true, f"{self.name}_area_pred": pred}
        for name in WHILE_TRAINING:
            metric = METRICS[name]
            table[f"{self.name}_{name}"] = metric.values(metric.sample_terms(rows))
        return table

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        """Return count and area of the objects of one image; ``decoded`` is K x H x W, or H x W with one channel."""
        maps = decoded if decoded.ndim == 3 else decoded[None]
        labels = segment_plane(maps, self.found, separate=self.separate, cells=self.cells)
        count = len(np.unique(labels[labels > 0]))
        area = float((labels > 0).sum())
        return {
            f"{self.name}_count": (float(count), ""),
            f"{self.name}_area": (area, "px"),
            f"{self.name}_mean_area": (area / count if count else float("nan"), "px"),
        }
