"""Data sets: each is a file that reads its layouts on disk into an index table. Light to import."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from visionlab.errors import ConfigError

_PART = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
TAKEN = (
    *("id", "group", "path", "set", "split", "labels"),
    *("height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash"),
)
"""Columns of an index beside those of a target's; ``labels_true`` of predictions is of all classes together."""


def check_settings(data: Mapping[str, Any]) -> None:
    """Check what the types of a data set's arguments don't say: stains and classes. Torch isn't imported.

    Args:
        data: the arguments and ``_target_``, the dotted name of the class.

    Raises:
        ConfigError: there is no such stain or class.
    """
    from visionlab.config import signature
    from visionlab.data.channels import parse

    stains = signature.literal(data["_target_"], "stains")
    if stains:
        parse(data["channels"], stains)
    if "class_group" in data:
        names = data["class_names"]
        if names is None:
            names = next(iter(signature.literal(data["_target_"], "targets").values()))
        choose_classes(names, data["classes"], data["class_group"])


def choose_classes(names: Sequence[str], classes: Sequence[int] | None, group: str | None) -> list[int]:
    """Return the numbers of the classes that are learnt, in their order.

    Args:
        names: of all classes of the data set, by number.
        classes: numbers, kept in this order; None: all.
        group: ``i/n``: part i, counted from 1, of the classes cut by number into n parts as equal as can be.

    Raises:
        ConfigError: the names or choices are no such, or there is both ``classes`` and ``group``.
    """
    for number, name in enumerate(names):
        if not name.strip() or name != name.strip() or ";" in name:
            raise ConfigError(f"data.class_names: expected a name without ';' or spaces around it, found '{name}'")
        if name in TAKEN or name.endswith("_path"):
            raise ConfigError(f"data.class_names: '{name}' is a column of the tables already; name class {number} else")
        if (first := names.index(name)) < number:
            raise ConfigError(f"data.class_names: expected each name once, found '{name}' for {first} and {number}")
    if group is not None:
        if classes is not None:
            raise ConfigError("data.classes and data.class_group: expected one of them, found both")
        match = _PART.fullmatch(group)
        part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= part <= parts <= len(names):
            raise ConfigError(
                f"data.class_group: expected i/n, the part i of 1 to n of n parts of the {len(names)} classes, e.g. "
                f"2/4; found '{group}'"
            )
        import numpy as np

        return [int(number) for number in np.array_split(np.arange(len(names)), parts)[part - 1]]
    chosen = list(range(len(names))) if classes is None else list(classes)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(len(names))):
        found = ", ".join(f"{n} ({names[n]})" if 0 <= n < len(names) else str(n) for n in chosen) or "none"
        raise ConfigError(f"data.classes: expected numbers from 0 to {len(names) - 1}, each once, found {found}")
    return chosen
