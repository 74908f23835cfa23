"""The values of each time point that become 0 and 1, measured once over all its planes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from visionlab.console import progress
from visionlab.data.cache import stamp
from visionlab.data.parallel import in_parallel
from visionlab.data.preprocess import Preprocess
from visionlab.files import write_json
from visionlab.io import read_image, split_plane, stored_file

# Part of the fingerprint: raise it when what :meth:`visionlab.data.preprocess.Preprocess.limits` returns changes.
_LAYOUT = 2


def limits_of(
    time_points: Sequence[tuple[str, ...]], root: Path, preprocess: Preprocess, folder: Path, *, verify: bool = False
) -> np.ndarray[Any, Any]:
    """Return the limits of each sample's time point, N x 2, in the values of the cache.

    They are measured on all cores, one time point in memory on each, and kept in the cache folder.

    Args:
        time_points: of N samples, all planes of the time point that each belongs to, relative to ``root``.
        root: of the data set.
        preprocess: with the type of the cached values.
        folder: the cache folder.
        verify: measure again even if the files seem to be the same.

    Raises:
        DataError: a file cannot be read.
    """
    each = list(dict.fromkeys(time_points))
    about = f"{_LAYOUT} {root.resolve()} {preprocess.dtype} {preprocess.channels}"
    about += f" {preprocess.stains}" if preprocess.stains else ""
    digest = hashlib.blake2b(about.encode(), digest_size=16)
    for planes in each:
        digest.update(f"{planes}\0".encode())
    for file in sorted({stored_file(split_plane(root / path)[0]) for planes in each for path in planes}):
        digest.update(f"{file}\0".encode() + stamp(file))
    target = folder / f"limits-{digest.hexdigest()}.json"
    folder.mkdir(parents=True, exist_ok=True)

    def measure(planes: tuple[str, ...]) -> tuple[float, float]:
        return preprocess.limits(np.stack([read_image(root / path, preprocess.stains) for path in planes]))

    with FileLock(target.with_suffix(".lock")):
        if verify or not target.is_file():
            write_json(target, list(progress(in_parallel(measure, each), len(each), "measuring intensities")))
    found = dict(zip(each, json.loads(target.read_text(encoding="utf-8")), strict=True))
    return np.array([found[planes] for planes in time_points], dtype=np.float64).reshape(-1, 2)
