"""Measure the prediction of large slices in tiles: memory, time, and the difference to the slice in one piece.

    python benchmarks/tiles.py

An FPN over ResNet-18 on the CPU, trained for a moment on generated nuclei: which surroundings matter to a network, and
so what tiles change, depends on its weights.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from visionlab import models
from visionlab.data.preprocess import Preprocess
from visionlab.heads.mask.head import MaskHead
from visionlab.inference.predictor import Predictor
from visionlab.inference.tiles import TILE, predict_frame
from visionlab.modules.task_model import Normalizer, TaskModel

LARGE, SMALL = 4096, 2048  # sides of the slice whose memory is bounded, and of one that is also predicted in one piece
MOST = 1.5  # GiB, of the large slice
ROUNDS = 3  # in tiles and in one piece in turn, so that what else the machine does meets both
STEPS, WINDOW = 100, 128

Array = np.ndarray[Any, Any]


def nuclei(side: int, seed: int) -> tuple[Array, Array]:
    """Return a slice with nuclei of many sizes and brightnesses, uint16, 1 x side x side x 1, and where they are."""
    rng = np.random.default_rng(seed)
    image: Array = np.full((side, side), 300, np.float32)
    for _ in range(side * side // 3000):
        place, axes = rng.integers(0, side, 2).tolist(), rng.integers(4, 18, 2).tolist()
        cv2.ellipse(image, place, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(320, 2000)), -1)
    mask = image > 300
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    return rng.poisson(image).astype(np.uint16)[None, :, :, None], mask


def make() -> Predictor:
    """Return a predictor that knows nothing."""
    network = models.build("fpn", 1, 1, norm="batch")
    spec = {"name": "fpn", "in_channels": 1, "out_channels": 1, "options": {"norm": "batch"}}
    head = MaskHead("nuclei", share=0.1, metrics=[], weight=1.0, activation="sigmoid")
    model = TaskModel(network, spec, [head], Normalizer("dataset", [0.25], [0.25]))
    preprocess = Preprocess(1, WINDOW, WINDOW, "native", "uint16", "percentile")
    return Predictor(model, {"task": "celegans_nuclei", "inputs": ["image"], "preprocess": preprocess.spec()}, "cpu")


def train(path: Path) -> None:
    """Train on generated nuclei and write the weights."""
    torch.manual_seed(0)
    predictor, rng = make(), np.random.default_rng(0)
    image, mask = nuclei(1024, seed=1)
    values = predictor.preprocess.unit(image, predictor.preprocess.limits(image))[0, :, :, 0]
    model = predictor.model.train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(STEPS):
        places = rng.integers(0, 1024 - WINDOW, (8, 2))
        cut = [np.stack([one[y : y + WINDOW, x : x + WINDOW] for y, x in places]) for one in (values, mask)]
        images, targets = (torch.from_numpy(one.astype(np.float32))[:, None] for one in cut)
        loss = functional.binary_cross_entropy_with_logits(model(images)["nuclei"], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(model.state_dict(), path)


def load(weights: Path) -> Predictor:
    """Return the trained predictor."""
    predictor = make()
    predictor.model.load_state_dict(torch.load(weights, weights_only=True))
    return predictor


def memory(side: int, tile: int, folder: Path) -> None:
    """Predict a slice and print the memory above that of the loaded model, in MiB; for a process of its own."""
    predictor = load(folder / "weights.pt")
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    before = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    predict_frame(predictor, np.load(folder / f"{side}.npy"), tile=tile)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def apart(side: int, tile: int, folder: Path) -> float:
    """Return what :func:`memory` prints."""
    command = [sys.executable, __file__, str(side), str(tile), str(folder)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """Measure memory, then time and difference of a slice in tiles and in one piece, in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder / "weights.pt")
        for side in (LARGE, SMALL):
            np.save(folder / f"{side}.npy", nuclei(side, seed=0)[0])
        print("\nMiB above the loaded model")
        for side, tile in ((LARGE, TILE), (SMALL, TILE), (SMALL, SMALL)):
            most = apart(side, tile, folder)
            print(f"{side} x {side} px, uint16, {'in one piece' if tile >= side else 'in tiles'}: {most:.0f}")
            assert most <= MOST * 1024 or tile >= side, f"expected at most {MOST} GiB"
        predictor, image = load(folder / "weights.pt"), np.load(folder / f"{SMALL}.npy")
    seconds: dict[int, list[float]] = {TILE: [], SMALL: []}
    maps = {}
    for _ in range(ROUNDS):
        for tile, times in seconds.items():
            start = time.perf_counter()
            maps[tile] = predict_frame(predictor, image, tile=tile)["nuclei"]
            times.append(time.perf_counter() - start)
    tiled, whole = (statistics.median(times) for times in seconds.values())
    print(f"\n{SMALL} x {SMALL} px, median of {ROUNDS} rounds, seconds a megapixel")
    print(
        f"in tiles {tiled / SMALL**2 * 1e6:.2f}, in one piece {whole / SMALL**2 * 1e6:.2f}, ratio {whole / tiled:.2f}"
    )
    unsure = np.mean((maps[SMALL] > 0.1) & (maps[SMALL] < 0.9))
    difference = np.abs(maps[TILE] - maps[SMALL]).max()
    print(f"largest difference of probabilities: {difference:.1e} ({unsure:.0%} of them are in 0.1..0.9)")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        memory(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
