"""The numbers of the post-processing: what makes objects out of a network's maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Literal, Self, get_args

from visionlab.errors import ConfigError, nearest

Separate = Literal["none", "boundary", "distance"]
"""What tells touching objects apart: their shape, a predicted boundary, or a predicted distance to it."""

Cells = Literal["filled", "enclosed"]
"""Whether objects are the foreground itself or the spaces that it, as a wall, encloses."""


@dataclass(frozen=True)
class Parameters:
    """How objects are made out of maps. Fitted on validation data, kept in the checkpoint as a list.

    Attributes:
        threshold: from which probability on a pixel is foreground (with enclosed cells: wall), 0 to 1.
        prominence: how far a part must stand out to be an object of its own: by how many pixels its inner radius (as it
            appears by what separates, see ``segment_plane``) exceeds half the neck that joins it to a larger one; with
            enclosed cells, half the gap in their wall.
        min_area: objects of a slice with fewer pixels are dropped, 0 keeps all.
        link: of a volume. Cross-sections in neighbouring slices are one object if they overlap by at least this share
            of the largest cross-section on either side of them, whichever is smaller; 0 to 1.
        min_planes: of a volume. Objects that are in fewer slices are dropped, 1 keeps all.
    """

    threshold: float = 0.5
    prominence: float = 1.0
    min_area: float = 0.0
    link: float = 0.5
    min_planes: int = 1

    def __post_init__(self) -> None:
        for name, high in (("threshold", 1), ("prominence", math.inf), ("min_area", math.inf), ("link", 1)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= high):
                allowed = f"a number of 0 to {high}" if high == 1 else "a number of at least 0"
                raise ConfigError(f"{name}: expected {allowed}, found {value}")
        if self.min_planes < 1 or self.min_planes != int(self.min_planes):
            raise ConfigError(f"min_planes: expected a whole number of at least 1, found {self.min_planes}")

    def to_list(self) -> list[float]:
        """Return the values in the order of the fields."""
        return [float(value) for value in astuple(self)]

    @classmethod
    def from_list(cls, values: Sequence[float]) -> Self:
        """Return the parameters of :meth:`to_list`.

        Raises:
            ConfigError: another number of values than there are fields, or one out of range.
        """
        names = [field.name for field in fields(cls)]
        if len(values) != len(names):
            raise ConfigError(
                f"post-processing: expected {len(names)} numbers ({', '.join(names)}), found {len(values)}"
            )
        threshold, prominence, min_area, link, min_planes = (float(value) for value in values)
        if not min_planes.is_integer():
            raise ConfigError(f"min_planes: expected a whole number of at least 1, found {min_planes}")
        return cls(threshold, prominence, min_area, link, int(min_planes))

    def describe(self) -> dict[str, float]:
        """Return name -> value, plain numbers; :data:`MEANINGS` says what they mean."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


MEANINGS = {
    "threshold": "probability from which on a pixel is foreground (or wall)",
    "prominence": "pixels by which an object's inner radius exceeds half its neck to the next",
    "min_area": "fewest pixels of an object in a slice",
    "link": "overlap of neighbouring slices, as a share of the largest on either side, that makes them one object",
    "min_planes": "fewest slices of an object of a volume",
}
"""What each of :class:`Parameters` means, in a few words."""


def check(separate: str, cells: str) -> None:
    """Refuse what no objects can be made with.

    Raises:
        ConfigError: an unknown name, or enclosed cells separated by anything but their walls.
    """
    for key, value, choices in (("separate", separate, get_args(Separate)), ("cells", cells, get_args(Cells))):
        if value not in choices:
            raise ConfigError(
                f"unknown {key} '{value}'; choose one of {', '.join(choices)}.{nearest(str(value), choices)}"
            )
    if cells == "enclosed" and separate != "none":
        raise ConfigError(f"cells 'enclosed' are separated by their walls: separate must be 'none', found '{separate}'")
