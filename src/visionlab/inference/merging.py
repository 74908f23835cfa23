"""Heads of the same name of several models as one head."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from visionlab.errors import UsageError
from visionlab.heads import HEADS
from visionlab.heads.head import Head
from visionlab.heads.instances.head import InstanceHead
from visionlab.heads.instances.parameters import Parameters
from visionlab.heads.labels.head import MultilabelHead
from visionlab.heads.map_head import DepthHead
from visionlab.inference.prediction import Array
from visionlab.modules.task_model import head_class


@dataclass(frozen=True)
class Merged:
    """The heads of one name of all models.

    Attributes:
        head: that stands for all.
        parts: number of the model -> its head, and where the columns of that stand in the merged head.
    """

    head: Head
    parts: Mapping[int, tuple[Head, list[int]]]

    def add(self, number: int, found: Mapping[str, Array], total: dict[str, Array]) -> None:
        """Add what a model has found in an image to the sums of that image, head name -> K, or K x H x W."""
        if number not in self.parts:
            return
        head, places = self.parts[number]
        values = found[head.name]
        if isinstance(head, MultilabelHead):
            values = head.calibrated(values[None])[0]
        elif HEADS[head.kind].dense:
            values = values if values.ndim == 3 else values[None]
        if head.name not in total:
            total[head.name] = np.zeros((self.head.channels, *values.shape[1:]))
        total[head.name][places] += values

    def mean(self, total: Mapping[str, Array]) -> Array:
        """Return the mean of the models' values: K, or a map, H x W or K x H x W."""
        sums = total[self.head.name]
        counts = np.zeros(self.head.channels)
        for _, places in self.parts.values():
            counts[places] += 1
        means = (sums / counts.reshape(-1, *[1] * (sums.ndim - 1))).astype(np.float32)
        return np.asarray(means[0] if HEADS[self.head.kind].dense and len(means) == 1 else means)


class JoinedLabels(MultilabelHead):
    """The labels of several models, whose scores come calibrated."""

    def calibrated(self, scores: npt.ArrayLike) -> npt.NDArray[np.float32]:
        return np.asarray(scores, np.float32)

    @classmethod
    def of(cls, heads: Sequence[MultilabelHead]) -> MultilabelHead:
        """Return the head that decides each class by the mean of its thresholds."""
        number = {column: identity for head in heads for column, identity in zip(head.columns, head.ids, strict=True)}
        columns = list(heads[0].columns)
        if any(head.columns != heads[0].columns for head in heads):
            columns = sorted(number, key=number.__getitem__)
        ids = [number[column] for column in columns]
        lacking = [head for head in heads if head.chooses and not bool(head.fitted)]
        joined = cls.from_spec(heads[0].name, {**(lacking or heads)[0].spec(), "columns": columns, "ids": ids})
        sums, counts = np.zeros(len(columns)), np.zeros(len(columns))
        for head in heads:
            thresholds = head.thresholds.cpu().double().numpy()
            defined = ~np.isnan(thresholds)
            places = np.array([columns.index(column) for column in head.columns])[defined]
            sums[places] += thresholds[defined]
            counts[places] += 1
        means = np.divide(sums, counts, out=np.full(len(columns), np.nan), where=counts > 0)
        joined.thresholds.copy_(torch.from_numpy(means))
        joined.fitted.fill_(not lacking)
        return joined


def merge(models: Sequence[Sequence[Head]], names: Sequence[str]) -> list[Merged]:
    """Return the merged heads of all models, in the order of the models.

    Args:
        models: the heads of each.
        names: of the models, for messages.

    Raises:
        UsageError: heads of the same name are of different kinds, units or classes, or two have a column in common.
    """
    found: dict[str, dict[int, Head]] = {}
    for number, heads_of_one in enumerate(models):
        for head in heads_of_one:
            found.setdefault(head.name, {})[number] = head
    merged = []
    owners: dict[str, str] = {}
    for name, heads in found.items():
        for one, other in itertools.combinations(heads, 2):
            _refuse_unlike(heads[one], heads[other], names[one], names[other])
        joined = _joined(list(heads.values()))
        places = {column: place for place, column in enumerate(joined.columns)}
        parts = {number: (head, [places[column] for column in head.columns]) for number, head in heads.items()}
        merged.append(Merged(joined, parts))
        for column in joined.columns:
            if column in owners:
                raise UsageError(
                    f"'{column}' is predicted by the head {owners[column]} of one run and by {name} of another; "
                    "expected heads of the same name for what is to be merged"
                )
            owners[column] = name
    return merged


def _joined(heads: Sequence[Head]) -> Head:
    """Return the head that stands for these of the same name."""
    labels = [head for head in heads if isinstance(head, MultilabelHead)]
    if labels:
        return JoinedLabels.of(labels)
    depths = [head for head in heads if isinstance(head, DepthHead)]
    if depths:
        # Files of depth are scaled so that they hold the largest.
        return max(depths, key=lambda head: float(head.high))
    cells = [head for head in heads if isinstance(head, InstanceHead)]
    if cells:
        joined = InstanceHead.from_spec(cells[0].name, cells[0].spec())
        *means, planes = np.mean([head.found.to_list() for head in cells], axis=0).tolist()
        fitted = all(bool(head.fitted) for head in cells)
        joined.set_parameters(Parameters.from_list([*means, round(planes)]), fitted=fitted)
        return joined
    columns = list(dict.fromkeys(column for head in heads for column in head.columns))
    first = heads[0]
    return head_class(first.kind).from_spec(first.name, {**first.spec(), "columns": columns})


def _refuse_unlike(head: Head, other: Head, name: str, other_name: str) -> None:
    """Refuse heads of the same name that do not say the same thing."""
    for what, one, two in (("kind", head.kind, other.kind), ("unit", head.unit, other.unit)):
        if one != two:
            raise UsageError(
                f"{other_name}: its head {head.name} has the {what} '{two}', that of {name} '{one}'; expected runs "
                "that predict the same quantities"
            )
    if isinstance(head, InstanceHead) and isinstance(other, InstanceHead):
        for option in ("separate", "cells"):
            one, two = getattr(head, option), getattr(other, option)
            if one != two:
                raise UsageError(
                    f"{other_name}: its head {head.name} was trained with {option}={two}, that of {name} with {one}; "
                    "expected runs whose maps mean the same"
                )
    if isinstance(head, MultilabelHead) and isinstance(other, MultilabelHead):
        ids = dict(zip(head.columns, head.ids, strict=True))
        columns = dict(zip(head.ids, head.columns, strict=True))
        for column, number in zip(other.columns, other.ids, strict=True):
            known, its = columns.get(number, column), ids.get(column, number)
            if (known, its) != (column, number):
                found = f"class {number} is '{known}'" if known != column else f"'{column}' is class {its}"
                raise UsageError(
                    f"{other_name}: in its head {head.name} class {number} is '{column}', but in {name} {found}; "
                    "expected runs of the same data set"
                )
