"""Heads of the same name of several models as one head."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visionlab.errors import UsageError
from visionlab.heads.head import Head
from visionlab.inference.prediction import Array


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
        values = head.averaged(found[head.name])
        if head.name not in total:
            total[head.name] = np.zeros((self.head.channels, *values.shape[1:]))
        total[head.name][places] += values

    def mean(self, total: Mapping[str, Array]) -> Array:
        """Return the mean of the models' values: K, or K x H x W."""
        sums = total[self.head.name]
        counts = np.zeros(self.head.channels)
        for _, places in self.parts.values():
            counts[places] += 1
        return np.asarray(sums / counts.reshape(-1, *[1] * (sums.ndim - 1)), np.float32)


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
            heads[one].refuse_unlike(heads[other], names[one], names[other])
        joined = type(next(iter(heads.values()))).merge(list(heads.values()))
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
