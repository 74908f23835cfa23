"""Which of the classes of a data set are learnt. Light to import: settings are checked before torch is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from visionlab.errors import ConfigError

_PART = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
# Columns of an index beside those of the classes; `labels_true` and `labels_pred` of predictions are all together.
_TAKEN = (
    *("id", "group", "path", "set", "split", "labels"),
    *("height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash"),
)


def choose_classes(names: Sequence[str], classes: Sequence[int] | None, group: str | None) -> list[int]:
    """Return the numbers of the classes that are learnt, in their order.

    Args:
        names: of all classes of the data set, by number.
        classes: numbers, kept in this order; None: all.
        group: ``i/n``: part i, counted from 1, of the classes cut by number into n parts as equal as can be.

    Raises:
        ConfigError: the names or choices are no such, or there is both ``classes`` and ``group``.
    """
    _check_names(names)
    last = len(names) - 1
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
        return [int(number) for number in np.array_split(np.arange(len(names)), parts)[part - 1]]
    if classes is None:
        return list(range(len(names)))
    if not classes:
        raise ConfigError(f"data.classes: expected numbers from 0 to {last}, found none; leave it null for all")
    for number in classes:
        if not 0 <= number <= last:
            raise ConfigError(f"data.classes: expected numbers from 0 to {last}, found {number}")
        if list(classes).count(number) > 1:
            raise ConfigError(f"data.classes: expected each class once, found {number} ({names[number]}) twice")
    return list(classes)


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise ConfigError("data.class_names: expected the names of the classes by number, found none")
    for number, name in enumerate(names):
        if not name.strip() or name != name.strip() or ";" in name:
            raise ConfigError(f"data.class_names: expected a name without ';' or spaces around it, found '{name}'")
        if name in _TAKEN or name.endswith("_path"):
            raise ConfigError(f"data.class_names: '{name}' is a column of the tables already; name class {number} else")
        if (first := names.index(name)) < number:
            raise ConfigError(f"data.class_names: expected each name once, found '{name}' for {first} and {number}")
