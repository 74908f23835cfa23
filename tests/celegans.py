"""Small data sets of embryos in the layouts of :mod:`visionlab.datasets.volume_layouts`, and what reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import scipy.io
import tifffile

from visionlab.datasets.celegans import CElegansDataModule
from visionlab.heads.instances.target import TARGET

SHAPE = (4, 12, 16)
"""Slices, height and width of the volumes here."""

OPTIONS: dict[str, Any] = {
    "root": "",
    "channels": 1,
    "image_size": 8,
    "fit": "native",
    "normalize": "percentile",
    "batch_size": 2,
    "num_workers": 0,
    "samples_per_epoch": None,
    "val_fraction": 0.2,
    "test_fraction": 0.2,
    "folds": None,
    "fold": None,
    "fraction": 1.0,
    "split_file": None,
    "include": [],
    "exclude": [],
    "cache_dir": None,
    "layout": "auto",
    "table": None,
    "truth": "auto",
    "split_by": "auto",
    "blocks": 10,
    "gap": "auto",
    "neighbours": 0,
    "empty": 0.1,
    "voxel_size": None,
}


def module(root: Path, kind: type[CElegansDataModule] = CElegansDataModule, **changed: Any) -> CElegansDataModule:
    """Return a data module of ``root`` with the options of the task's configuration."""
    found = kind(0, {"joint": [], "image": []}, **{**OPTIONS, "root": str(root), **changed})
    found.asked = dict.fromkeys(found.maps, TARGET)
    return found


def image(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return noise of 16 bits, dark in the first and last slice of a volume."""
    values = np.random.default_rng(seed).integers(100, 1000, shape)
    if len(shape) > 2:
        values[[0, -1]] = 100 + values[[0, -1]] % 20
    return values.astype(np.uint16)


def labels(shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    """Return objects 1 and 2 side by side, in no slice at an end of a volume."""
    ids = np.zeros(shape, np.uint16)
    ids[..., 2:6, 2:6], ids[..., 2:6, 8:12] = 1, 2
    if len(shape) > 2:
        ids[[0, -1]] = 0
    return ids


def tiff(path: Path, values: np.ndarray[Any, Any], **options: Any) -> Path:
    """Write a TIFF file of a page a plane, as the Cell Tracking Challenge does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, **{"photometric": "minisblack", "metadata": None, **options})
    return path


def png(path: Path, values: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(values))
    return path


def jpeg(path: Path, values: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.jpeg_encode(values.astype(np.uint8)))
    return path


def mat(path: Path, **variables: np.ndarray[Any, Any]) -> Path:
    """Write volumes z, y, x as MATLAB keeps them: y, x, z."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {name: np.moveaxis(values, 0, -1) for name, values in variables.items()})
    return path


def challenge(root: Path, times: dict[str, int], *, gold: bool = False, shape: tuple[int, ...] = SHAPE) -> Path:
    """Write sequences in the layout of the challenge, name -> time points, with silver truth, perhaps with gold."""
    for sequence, count in times.items():
        for time in range(count):
            seed = 100 * int(sequence) + time
            tiff(root / sequence / f"t{time:03d}.tif", image(shape, seed))
            tiff(root / f"{sequence}_ST" / "SEG" / f"man_seg{time:03d}.tif", labels(shape))
            if gold:
                tiff(root / f"{sequence}_GT" / "SEG" / f"man_seg_{time:03d}_001.tif", labels(shape[1:]))
    return root
