"""What all generated sets have in common: checked size parameters, random generators, and how images are encoded."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from visionlab.errors import UsageError

Array = NDArray[Any]


def whole(default: int, low: int, high: int) -> Any:
    """Return the dataclass field of a size parameter that is a whole number in a range."""
    return dataclasses.field(default=default, metadata={"range": (low, high), "whole": True})


def number(default: float, low: float, high: float) -> Any:
    """Return the dataclass field of a size parameter that is a number in a range."""
    return dataclasses.field(default=default, metadata={"range": (low, high), "whole": False})


def choice(default: object, other: object) -> Any:
    """Return the dataclass field of a size parameter that has one of two values."""
    return dataclasses.field(default=default, metadata={"choices": (default, other)})


@dataclass(frozen=True)
class SampleSet:
    """A generated set: a number of independent parts, written in any order by any number of threads.

    The fields of a subclass are its size parameters, made by :func:`whole`, :func:`number` and :func:`choice`.

    Attributes:
        task: name of the set.
        about: how the files are laid out and what they show, as a list in Markdown.
        seed: settles everything, part by part: a part does not depend on how many there are.

    Raises:
        UsageError: a value is out of range.
    """

    task: ClassVar[str]
    about: ClassVar[str]
    seed: int = whole(0, 0, 2**63)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if "choices" in field.metadata:
                choices = field.metadata["choices"]
                wanted = " or ".join(map(str, choices))
                right = any(type(value) is type(one) and value == one for one in choices)
            else:
                low, high = field.metadata["range"]
                kinds = (int,) if field.metadata["whole"] else (int, float)
                wanted = f"a {'whole ' * field.metadata['whole']}number from {low} to {high}"
                right = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
            if not right:
                raise UsageError(f"{field.name} of the {self.task} sample: {wanted} expected, got {value!r}.")

    @property
    def parts(self) -> int:
        """Number of parts."""
        raise NotImplementedError

    def write_part(self, part: int, folder: Path) -> int:
        """Write part ``part`` into ``folder`` and return how many samples it holds."""
        raise NotImplementedError

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        size = ", ".join(f"{f.name} {getattr(self, f.name)}" for f in dataclasses.fields(self) if f.name != "seed")
        return f"""# Generated sample set: {self.task}

Synthetic images, made by visionlab's `samples.write("{self.task}", ...)`; nothing in them was photographed.
Good for trying the commands and for tests; a model trained on them says nothing about real images.

{self.about.strip()}
- Size: {size}.
- Seed: {self.seed}.
- License: MIT, as the project.
"""

    def rng(self, *key: int) -> np.random.Generator:
        """Return the random generator of a part, or of something in it."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma: float | Sequence[float]) -> Array:
    """Return periodic Gaussian noise of variance 1, float32, correlated over ``sigma`` pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    return noise / (noise.std() + np.float32(1e-9))


def quantised(values: Array, bits: int) -> Array:
    """Return values from 0 to 1 (cut to that) as whole numbers of 8 or 16 bits."""
    kind = np.uint8 if bits == 8 else np.uint16
    return np.rint(np.clip(values, 0, 1) * np.iinfo(kind).max).astype(kind)


def rotation(angle: float) -> Array:
    """Return the 2 x 2 matrix that turns by an angle in radians."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a table as the bytes of a csv file."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
    return stream.getvalue().encode()


def save(path: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
