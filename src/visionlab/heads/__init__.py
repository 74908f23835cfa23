"""Kinds of heads by the names that configurations use. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class HeadEntry:
    """A kind of head.

    Attributes:
        target: dotted name of the class.
        module: name of the LightningModule that trains it.
        activations: what may stand between the network and the decoded values; the first is the default.
        options: keys of a head's configuration that only heads of this kind have -> their defaults.
    """

    target: str
    module: str
    activations: tuple[str, ...]
    options: dict[str, object] = field(default_factory=dict)

    @property
    def dense(self) -> bool:
        """Whether it is of a network that gives a map an image."""
        return self.module == "dense"


SEPARATE = ("none", "boundary", "distance")
"""How touching instances are told apart, see :class:`visionlab.heads.instances.head.InstanceHead`."""
CELLS = ("filled", "enclosed")
"""Whether instances are the foreground or what it encloses."""
THRESHOLDS = ("f1", "ratio", "shrunken")
"""How the thresholds of labels can be found, see :func:`visionlab.metrics.thresholds.fit_thresholds`."""
CALIBRATIONS = ("none", "temperature", "platt")
"""How scores of labels can be calibrated, see :func:`visionlab.metrics.calibration.fit_calibration`."""

HEADS = {
    "regression": HeadEntry("visionlab.heads.head.RegressionHead", "regressor", ("none", "nonnegative")),
    "mask": HeadEntry("visionlab.heads.map_head.MaskHead", "dense", ("sigmoid", "none")),
    "depth": HeadEntry("visionlab.heads.map_head.DepthHead", "dense", ("none", "sigmoid")),
    "instances": HeadEntry(
        "visionlab.heads.instances.head.InstanceHead",
        "dense",
        ("sigmoid",),
        {"separate": "none", "cells": "filled"},
    ),
    "multilabel": HeadEntry(
        "visionlab.heads.labels.head.MultilabelHead",
        "multilabel",
        ("sigmoid",),
        {"thresholds": "shrunken", "calibration": "none"},
    ),
}


def instance_channels(name: str, separate: str) -> tuple[str, ...]:
    """Return the names of the channels of a head of instances."""
    return (name,) if separate == "none" else (name, f"{name}_{separate}")
