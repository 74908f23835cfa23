"""What a kind of head asks of the data: plain objects, so that the data need not know any kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from visionlab.data.readers import Reader


@dataclass(frozen=True)
class Target:
    """What is to be read of a target, and what is known of it.

    Attributes:
        reader: called with the sizes of the images that the files belong to, and with what the data set says of its
            files (:meth:`visionlab.data.definition.Definition.reading`); returns how they are read and resampled. NaN
            is unknown. None: the target is columns of numbers in the index.
        facts: name of what the reader tells of each file -> whether it has the target's unit; the index lists them.
        ranges: those facts whose range the data card tells.
        classes: whether the columns are 0 and 1 of classes that a sample has or hasn't: they are counted, and splits
            are dealt out by them.
    """

    reader: Callable[..., Reader] | None = None
    facts: Mapping[str, bool] = field(default_factory=dict)
    ranges: tuple[str, ...] = ()
    classes: bool = False
