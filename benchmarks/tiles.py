"""Measure the prediction of large slices in tiles: memory, time, and the difference to the slice in one piece.

    python benchmarks/tiles.py

An FPN over ResNet-18 on the CPU, in a process of its own for each measurement. Its weights are random, but its norms
have seen such images and its maps have both sure and unsure places, as after training: the differences that count are
those of probabilities.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from visionlab import models
from visionlab.data.preprocess import Preprocess
from visionlab.inference.checkpoint import FORMAT
from visionlab.inference.predictor import Predictor
from visionlab.inference.stacks import peak_memory, predict_frame
from visionlab.inference.tiles import TILE
from visionlab.modules.dense_heads import MaskHead
from visionlab.modules.task_model import Normalizer, TaskModel

LARGE, SMALL = 4096, 2048  # sides of the slice whose memory is bounded, and of one that is also predicted in one piece
ROUNDS = 3
MOST = 1.5  # GiB

Array = np.ndarray[Any, Any]


def nuclei(side: int) -> Array:
    """Return a slice with nuclei of all sizes and brightnesses, uint16, 1 x side x side x 1."""
    rng = np.random.default_rng(0)
    image: Array = np.full((side, side), 300, np.float32)
    for _ in range(side * side // 3000):
        place, axes = rng.integers(0, side, 2).tolist(), rng.integers(4, 18, 2).tolist()
        cv2.ellipse(image, place, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(400, 4000)), -1)
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    return rng.poisson(image).astype(np.uint16)[None, :, :, None]


def make() -> Predictor:
    """Return a predictor that is like a trained one."""
    torch.manual_seed(0)
    network: Any = models.build("fpn", 1, 1, norm="batch")
    spec = {"name": "fpn", "in_channels": 1, "out_channels": 1, "options": {"norm": "batch"}}
    head = MaskHead("nuclei", share=0.1, metrics=[], weight=1.0, activation="sigmoid")
    model = TaskModel(network, spec, [head], Normalizer("dataset", [0.25], [0.25]))
    preprocess = Preprocess(1, 256, 256, "native", "uint16", "percentile")
    seen = nuclei(512)
    images = model.normalizer(torch.from_numpy(preprocess.unit(seen, preprocess.limits(seen)).transpose(0, 3, 1, 2)))
    with torch.no_grad():
        for _ in range(20):
            network.train()(images)
        found = network.eval()(images)
        scale = 4 / found.std()
        network.heads[0][0].weight *= scale
        network.heads[0][0].bias.fill_(float(-2 - scale * found.mean()))
    about = {"format": FORMAT, "task": "celegans_nuclei", "inputs": ["image"], "preprocess": preprocess.spec()}
    return Predictor(model, {**about, **model.spec()}, device="cpu")


def resident() -> float:
    """Return the memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def measure(side: int, tile: int, rounds: int, maps: Path) -> None:
    """Predict a slice, write its map and print the memory above that of the loaded model, in MiB, and the seconds."""
    predictor = make()
    image = np.load(maps.parent / f"{side}.npy", mmap_mode="r")
    before = resident()
    image = np.array(image)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        found = predict_frame(predictor, image, tile=tile)["nuclei"]
        seconds.append(time.perf_counter() - start)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    np.save(maps, found)
    print(json.dumps([most, sorted(seconds)[rounds // 2]]))


def apart(side: int, tile: int, rounds: int, folder: Path) -> tuple[float, float, Array]:
    """Return memory, seconds and the map of :func:`measure` in a process of its own."""
    maps = folder / "maps.npy"
    command = [sys.executable, __file__, str(side), str(tile), str(rounds), str(maps)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    most, seconds = json.loads(found)
    return most, seconds, np.load(maps)


def main() -> None:
    """Measure a large slice, then a smaller one with and without tiles."""
    print(peak_memory())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side in (LARGE, SMALL):
            np.save(folder / f"{side}.npy", nuclei(side))
        most, seconds, _ = apart(LARGE, TILE, 1, folder)
        print(f"{LARGE} x {LARGE} px, uint16: {most:.0f} MiB above the loaded model, {seconds:.0f} s in tiles")
        print(f"{seconds / LARGE**2 * 1e6:.2f} s a megapixel")
        assert most <= MOST * 1024, f"expected at most {MOST} GiB"
        tiled, whole = apart(SMALL, TILE, ROUNDS, folder), apart(SMALL, SMALL, ROUNDS, folder)
    for way, (most, seconds, _) in (("in tiles", tiled), ("in one piece", whole)):
        text = f"{most:.0f} MiB, {seconds:.1f} s (median of {ROUNDS}), {seconds / SMALL**2 * 1e6:.2f} s a megapixel"
        print(f"{SMALL} x {SMALL} px {way}: {text}")
    unsure = np.mean((whole[2] > 0.1) & (whole[2] < 0.9))
    print(f"time in one piece to time in tiles: {whole[1] / tiled[1]:.2f}")
    print(
        f"largest difference of probabilities: {np.abs(tiled[2] - whole[2]).max():.1e} ({unsure:.0%} are in 0.1..0.9)"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        numbers = [int(text) for text in sys.argv[1:4]]
        measure(numbers[0], numbers[1], numbers[2], Path(sys.argv[4]))
    else:
        main()
