"""Small generated data sets in the real on-disk layouts, to try every command without any data.

    visionlab.samples.write("focus", "somewhere/focus")     # about 400 images, some seconds

A set is a dataclass whose fields are its size parameters, see :class:`visionlab.samples.sets.SampleSet`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from visionlab.console import LOG, progress
from visionlab.errors import DataError, UsageError, nearest
from visionlab.files import cache_dir, new_folder
from visionlab.version import __version__

if TYPE_CHECKING:
    from visionlab.samples.sets import SampleSet

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
    "celegans_nuclei": "visionlab.samples.nuclei:NucleiSet",
    "celegans_membrane": "visionlab.samples.membranes:MembraneSet",
    "celegans_lineage": "visionlab.samples.lineage:LineageSet",
    "cutouts": "visionlab.samples.depth_mask:CutoutSet",
}
"""Task -> where its set stands (``module:class``), imported when asked for.

``cutouts`` is of no task: backgrounds and cut-outs that a set for ``depth_mask`` can be composed of.
"""


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
    names = [field.name for field in dataclasses.fields(generator) if field.name != "seed"]
    for key in size:
        if key not in names:
            raise UsageError(
                f"the sample set of task '{task}' has no parameter '{key}'.{nearest(key, names)} "
                f"It takes: {', '.join(names)}."
            )
    sample: SampleSet = generator(seed=seed, **size)
    target = Path(root).absolute()
    if target.is_file():
        raise DataError(f"a folder was expected for the sample set, but {target} is a file. Name another folder.")
    if target.exists() and any(target.iterdir()):
        raise DataError(f"{target} holds files already; a sample set is written only into a new or empty folder.")
    started = time.monotonic()
    try:
        with new_folder(target) as folder:
            count = _write_parts(sample, folder)
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


def _write_parts(sample: SampleSet, folder: Path) -> int:
    """Write every part with one thread a core (filters and encoders release the GIL); return the samples written."""
    pool = ThreadPoolExecutor(max_workers=_cores())
    try:
        futures = [pool.submit(sample.write_part, part, folder) for part in range(sample.parts)]
        doing = f"generating the {sample.task} sample, part by part"
        return sum(future.result() for future in progress(as_completed(futures), len(futures), doing))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    # Containers and batch systems grant fewer cores than the machine has; macOS and Windows can't say.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
