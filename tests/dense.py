"""What the tests of maps share: the settings of a tiny run, data modules, and small sets with known content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

import visionlab
from tests import shell

Array = np.ndarray[Any, Any]

SMALL = (
    *("task=depth_mask", "model=shuffle_unet", "data.image_size=32", "data.batch_size=4", "trainer.max_epochs=2"),
    *("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "logger.graph=false", "callbacks.images.count=2"),
)


def train(folder: Path, root: Path, *overrides: str) -> Path:
    """Train by the command into ``folder`` with the small settings and these; return the folder."""
    assert shell.run("train", *SMALL, f"data.root={root}", *overrides, f"hydra.run.dir={folder}") == 0
    return folder


def task_module(root: Path, *overrides: str) -> Any:
    """Return the LightningModule of the small settings and these, untrained, and its data, set up."""
    data, module = visionlab.compose(*SMALL, f"data.root={root}", *overrides)
    data.setup()
    module.build(data)
    return module, data


def data_module(root: Path, *overrides: str) -> Any:
    """Return the data module of the small settings and these, set up."""
    data, _ = visionlab.compose(*SMALL, f"data.root={root}", *overrides)
    data.setup()
    return data


def png(path: Path, image: Array) -> None:
    """Write an array as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))


def scene(number: int, size: tuple[int, int] = (32, 32)) -> tuple[Array, Array, Array]:
    """Return an image (uint8), a mask (0 and 255) and a depth map (uint16, mm), like no other number's."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[: size[0], : size[1]]
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    cy, cx = rng.uniform(0.3, 0.7, 2) * size
    mask = np.where(np.hypot(y - cy, x - cx) < min(size) * rng.uniform(0.15, 0.3), 255, 0).astype(np.uint8)
    depth = (1000 + number + 40 * y + 10 * x - 3 * (mask > 0) * 100).astype(np.uint16)
    return image, mask, depth


def write_nested(
    root: Path,
    *,
    backgrounds: int = 6,
    foregrounds: Sequence[Sequence[str]] | None = None,
    places: int = 2,
    size: tuple[int, int] = (32, 32),
    depth: bool = True,
) -> Path:
    """Write the nested layout and return ``root``.

    Args:
        root: the folder to make.
        backgrounds: number of backgrounds, ``bg0``, ``bg1``, ...
        foregrounds: of each background, the names of its foregrounds; by default one of its own.
        places: images of each foreground on each background.
        size: height and width.
        depth: whether there are depth maps.
    """
    number = 0
    for b in range(backgrounds):
        png(root / "bg" / f"bg{b}.png", np.full((*size, 3), 10 * b + 5, np.uint8))
        for foreground in foregrounds[b] if foregrounds else [f"fg{b}"]:
            for place in range(places):
                image, mask, distance = scene(number, size)
                name = f"bg{b}/{foreground}/{place}.png"
                png(root / "fgbg" / name, image)
                png(root / "fgbgmask" / name, mask)
                if depth:
                    png(root / "dense" / name, distance)
                number += 1
    return root
