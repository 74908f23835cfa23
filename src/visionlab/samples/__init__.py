"""Small generated data sets in the real on-disk layouts, to try every command without any data.

    visionlab.samples.write("focus", "somewhere/focus")     # about 400 images, some seconds

A set is a :class:`SampleSet` whose fields are its size parameters.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from scipy import ndimage

from visionlab.console import LOG, progress
from visionlab.errors import DataError, UsageError, nearest
from visionlab.files import cache_dir, in_parallel, new_folder
from visionlab.version import __version__

__all__ = ["NAME", "SAMPLE", "SETS", "cached", "provide", "write"]

SAMPLE = "sample"
"""The ``data.root`` that stands for a generated set."""
NAME = "generated sample"
"""What a generated set is called in metrics and reports."""

# Part of the names of the cached sets' folders: raise it when a generator changes, and old sets aren't taken for new.
_GENERATION = 2

SETS = {
    "focus": "visionlab.samples.focus:FocusSet",
    "depth_mask": "visionlab.samples.depth_mask:DepthMaskSet",
    "protein_atlas": "visionlab.samples.protein_atlas:ProteinAtlasSet",
    "celegans_nuclei": "visionlab.samples.celegans:NucleiSet",
    "celegans_membrane": "visionlab.samples.celegans:MembraneSet",
    "celegans_lineage": "visionlab.samples.celegans:LineageSet",
    "cutouts": "visionlab.samples.depth_mask:CutoutSet",
}
"""Task -> where its set stands (``module:class``), imported when asked for.

``cutouts`` is of no task: backgrounds and cut-outs that a set for ``depth_mask`` can be composed of.
"""

CHECKED = ConfigDict(strict=True, extra="forbid")
"""How the size parameters of a set are checked."""

Array = NDArray[Any]


@dataclass(frozen=True, config=CHECKED)
class SampleSet:
    """A generated set: a number of independent parts, written in any order by any number of threads.

    The fields of a subclass are its size parameters.

    Attributes:
        task: name of the set.
        about: how the files are laid out and what they show, as a list in Markdown.
        seed: settles everything, part by part: a part does not depend on how many there are.
    """

    task: ClassVar[str]
    about: ClassVar[str]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @property
    def parts(self) -> int:
        """Number of parts."""
        raise NotImplementedError

    def write_part(self, part: int, folder: Path) -> int:
        """Write part ``part`` into ``folder`` and return how many samples it holds."""
        raise NotImplementedError

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        size = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(self).items() if name != "seed")
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


def write(task: str, root: str | os.PathLike[str], seed: int = 0, **size: Any) -> Path:
    """Generate the sample set of ``task`` in the folder ``root`` and return that folder.

    The set is built in a temporary folder beside ``root`` and moved there when complete, so ``root`` never holds
    half a set. The same arguments give the same bytes, whatever the number of cores.

    Args:
        task: name of a set in :data:`SETS`.
        root: a folder that does not exist yet or is empty.
        seed: a whole number, at least 0.
        size: parameters of the set: the fields of its class, e.g. :class:`visionlab.samples.focus.FocusSet`.

    Raises:
        UsageError: the task, a size parameter or its value is unknown or out of range.
        DataError: ``root`` is a file or holds files already, or cannot be written.
    """
    if task not in SETS:
        raise UsageError(
            f"no generated sample set for task '{task}'.{nearest(task, SETS)} There is one for: {', '.join(SETS)}."
        )
    module, _, name = SETS[task].partition(":")
    generator = getattr(importlib.import_module(module), name)
    try:
        sample: SampleSet = generator(seed=seed, **size)
    except ValidationError as error:
        first = error.errors()[0]
        key, names = str(first["loc"][0]), [field.name for field in dataclasses.fields(generator)]
        hint = nearest(key, names) if key not in names else ""
        raise UsageError(
            f"{key} of the {task} sample: {first['msg']}, found {first['input']!r}.{hint} It takes {', '.join(names)}."
        ) from None
    target = Path(root).absolute()
    if target.is_file() or (target.exists() and any(target.iterdir())):
        raise DataError(f"{target}: expected a new or empty folder for the sample set, found files; name another")
    started = time.monotonic()
    try:
        with new_folder(target) as folder:
            written = in_parallel(lambda part: sample.write_part(part, folder), range(sample.parts))
            count = sum(progress(written, sample.parts, f"generating the {task} sample, part by part"))
            (folder / "SOURCE.md").write_text(sample.source(), encoding="utf-8")
    except OSError as error:
        raise DataError(f"could not write the sample set to {target}: {error.strerror or error}") from error
    if not sys.stderr.isatty():
        # Printed, not logged: in a program that has set up no logging it is the only sign of what took the time.
        seconds = time.monotonic() - started
        print(f"generated the {task} sample: {count} samples in {target} ({seconds:.1f} s)", file=sys.stderr)
    return Path(root)


def cached(task: str, folder: str | os.PathLike[str] | None) -> Path:
    """Return where the generated set of a task stands in the cache folder (``data.cache_dir``); it is not made here."""
    return cache_dir(folder) / "samples" / f"{task}-{__version__}-{_GENERATION}"


def provide(task: str, root: Path) -> None:
    """Make the generated set of a task in ``root`` unless it is there; of several processes one makes it.

    Raises:
        DataError: there is no set for the task, or it cannot be written.
    """
    if task not in SETS:
        raise DataError(f"data.root=sample: there is no generated set for task {task}; give data.root=FOLDER")
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f"{root.name}.lock")):
        if not root.is_dir():
            LOG.info("data.root=sample: making a generated (synthetic) sample set in %s", root)
            write(task, root)
    LOG.info("data: generated sample (synthetic) in %s; give data.root=FOLDER for your own", root)


# What generators share ----------------------------------------------------------------------------------------------


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma: float | Sequence[float]) -> Array:
    """Return periodic Gaussian noise of variance 1, float32, correlated over ``sigma`` pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    return noise / (noise.std() + np.float32(1e-9))


def rotation(angle: float) -> Array:
    """Return the 2 x 2 matrix that turns by an angle in radians."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def csv_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Return a table as the bytes of a csv file."""
    return pd.DataFrame(rows, columns=list(columns), dtype=object).to_csv(index=False, lineterminator="\n").encode()


def save(path: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
