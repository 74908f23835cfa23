"""Measure loading from the cache against a plain PyTorch data set.

    python benchmarks/loader.py [number of images, default 300]

The peer is what a hand-written training script has: a torch ``Dataset`` that opens each PNG with Pillow, resizes,
crops and normalises it, under a plain ``DataLoader``. Both give the same pixels (checked first) from the same files.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from visionlab.data.cache import Cache, CachedColumn, build
from visionlab.data.loader import EpochBatches, ImageDataset, ResumableLoader
from visionlab.data.preprocess import ImageReader, Preprocess
from visionlab.modules.task_model import Normalizer

HEIGHT, WIDTH, SIZE = 512, 640, 256  # of the files, and of the square that the network gets
BATCH, WORKERS = 16, (0, 2)
ROUNDS = 7  # ours and the peer in turn, so that what else the machine does meets both
EPOCHS = 10  # of ours in a round: one alone takes only hundredths of a second
MEAN, STD = 0.5, 0.2


class PillowImages(Dataset[torch.Tensor]):
    """The peer: decode, resize so that the shorter side fits, cut out the centre, normalise."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def pixels(self, item: int) -> np.ndarray[Any, Any]:
        """Return the pixels before normalising: SIZE x SIZE, uint8."""
        image = np.asarray(Image.open(self.paths[item]))
        scale = SIZE / min(image.shape)
        height, width = round(image.shape[0] * scale), round(image.shape[1] * scale)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        top, left = (height - SIZE) // 2, (width - SIZE) // 2
        return image[top : top + SIZE, left : left + SIZE]

    def __getitem__(self, item: int) -> torch.Tensor:
        image = torch.from_numpy(self.pixels(item).copy())[None]
        return (image.float() / 255.0 - MEAN) / STD


def one_thread(worker: int) -> None:
    """Keep OpenCV from fighting the other workers for the cores, as our loader does."""
    cv2.setNumThreads(0)


def make_files(root: Path, count: int) -> list[str]:
    """Write grey 8-bit PNGs of blurred noise, which take about 0.6 bytes a pixel, as noisy micrographs do."""
    rng = np.random.default_rng(0)
    names = []
    for i in range(count):
        image = cv2.GaussianBlur(rng.normal(128, 120, (HEIGHT, WIDTH)), (0, 0), 2) + rng.normal(0, 3, (HEIGHT, WIDTH))
        names.append(f"image{i:05d}.png")
        (root / names[-1]).write_bytes(imagecodecs.png_encode(image.clip(0, 255).astype(np.uint8)))
    return names


def loaders(cache: Cache, peer: PillowImages, workers: int) -> tuple[ResumableLoader, DataLoader[torch.Tensor]]:
    """Return our loader and the peer's, both in the order of the files."""
    count = len(cache)
    stored = CachedColumn(cache, np.arange(count), cache.preprocess)
    ours = ImageDataset([stored], {}, {}, range(count), [str(i) for i in range(count)], None, seed=0)
    return (
        ResumableLoader(ours, EpochBatches(count, BATCH, seed=0, train=False), workers, pin_memory=False),
        DataLoader(peer, BATCH, num_workers=workers, persistent_workers=workers > 0, worker_init_fn=one_thread),
    )


def check_same(cache: Cache, peer: PillowImages, normalise: Normalizer) -> None:
    """Stop unless both give the same: bytes exactly, normalised batches to rounding."""
    for i in range(len(cache)):
        assert np.array_equal(cache.preprocess.window(cache[i])[:, :, 0], peer.pixels(i)), f"image {i} differs"
    for one, other in zip(*loaders(cache, peer, 0), strict=True):
        torch.testing.assert_close(normalise(one["image"]), other)
    print(f"same output: {len(cache)} images, every pixel")


def seconds(batches: Iterable[Any], normalise: Normalizer | None) -> float:
    """Return how long an epoch takes, with normalising each batch if that isn't done by the loader."""
    start = time.perf_counter()
    for batch in batches:
        if normalise is not None:
            normalise(batch["image"])
    return time.perf_counter() - start


def several(batches: Iterable[Any], normalise: Normalizer | None) -> float:
    """Return how long an epoch takes on average over EPOCHS of them."""
    return sum(seconds(batches, normalise) for _ in range(EPOCHS)) / EPOCHS


def main() -> None:
    """Make the files, check that the outputs are the same, then time epochs, ours and the peer's in turn."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    normalise = Normalizer("dataset", [MEAN], [STD])
    torch.set_num_threads(1)  # normalising so few pixels in several threads would mostly measure their start
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        names = make_files(root, count)
        size = sum(file.stat().st_size for file in root.iterdir()) / count / 1e3
        print(f"{count} files, {HEIGHT} x {WIDTH} px, 8-bit grey PNG, {size:.0f} kB each -> {SIZE} x {SIZE} px")
        start = time.perf_counter()
        preprocess = Preprocess(1, SIZE, SIZE, "crop", "uint8")
        cache = build(names, root, preprocess, Path(folder) / "cache", "benchmark", ImageReader())
        built = time.perf_counter() - start
        peer = PillowImages([root / name for name in names])
        check_same(cache, peer, normalise)
        print(f"making the cache, once: {built:.2f} s\n")
        print(f"images a second, median of {ROUNDS} rounds (slowest to fastest); ratio: the first to the last")
        print(f"{'workers':>7}{'visionlab':>25}{'without normalising':>25}{'Pillow + DataLoader':>25}{'ratio':>7}")
        for workers in WORKERS:
            ours, other = loaders(cache, peer, workers)
            for loader in (ours, other):
                seconds(loader, None)  # starts the workers and warms the file cache of the system
            rounds = [(several(ours, normalise), several(ours, None), seconds(other, None)) for _ in range(ROUNDS)]
            rates = [[count / t for t in column] for column in zip(*rounds, strict=True)]
            middle = [statistics.median(rate) for rate in rates]
            texts = [f"{m:.0f} ({min(rate):.0f} to {max(rate):.0f})" for m, rate in zip(middle, rates, strict=True)]
            print(f"{workers:>7}{texts[0]:>25}{texts[1]:>25}{texts[2]:>25}{middle[0] / middle[2]:>7.1f}")


if __name__ == "__main__":
    main()
