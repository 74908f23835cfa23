"""Objects out of maps: a network's probabilities become labelled, linked and measured objects."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from visionlab.errors import ConfigError
from visionlab.heads.kind import Kind, Option
from visionlab.metrics.instances import METRICS, WHILE_TRAINING

Separate = Literal["none", "boundary", "distance"]
"""What tells touching objects apart: their shape, a predicted boundary, or a predicted distance to it."""

Cells = Literal["filled", "enclosed"]
"""Whether objects are the foreground itself or the spaces that it, as a wall, encloses."""


def _check(key: str, head: Mapping[str, Any]) -> None:
    if head["cells"] == "enclosed" and head["separate"] not in (None, "none"):
        raise ConfigError(
            f"{key}.separate: expected none with cells=enclosed, as walls tell the cells apart; found "
            f"{head['separate']}"
        )


KIND = Kind(
    name="instances",
    head="visionlab.heads.instances.head.InstanceHead",
    target="visionlab.heads.instances.target.TARGET",
    figures="visionlab.heads.instances.figures",
    module="dense",
    activations=("sigmoid",),
    metrics=METRICS,
    gives="instances",
    losses="bce, dice or bce_dice",
    binary=True,
    monitored=WHILE_TRAINING,
    options={"separate": Option("none", get_args(Separate)), "cells": Option("filled", get_args(Cells))},
    check=_check,
)
