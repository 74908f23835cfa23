"""How many images a second are loaded and trained on, by batch size and network: what a training waits for."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig

from visionlab.config.compose import each_model
from visionlab.console import LOG
from visionlab.data.cache import Cache, CachedColumn
from visionlab.data.loader import ImageDataset
from visionlab.data.module import ImageDataModule
from visionlab.data.preprocess import ImageReader, Reader
from visionlab.drawing.text import count
from visionlab.errors import UsageError
from visionlab.files import IMAGE, write_json, write_text
from visionlab.models.receptive_field import parameters
from visionlab.modules.task_module import TaskModule
from visionlab.training import assembly

CACHED, UNCACHED, STEP = "loading, cached", "loading, uncached", "training step"
COLUMNS = (
    *("what", "model", "weights", "batch_size", "images_per_second"),
    *("ms", "forward_ms", "backward_ms", "optimizer_ms", "memory_mib", "repeats", "note"),
)
"""Of throughput.csv, one row a measurement: medians for a batch, the most memory taken on a GPU, why there is none."""
_WARM_UP, _LEAST = 2, 3  # batches before the measurement, and at least in it
_EPOCH = 1000  # batches: long enough that what begins an epoch is no median
_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
# What errors of a batch size that can't be trained on are or say -> the note in the table.
_NOTES = {
    "MemoryError": "out of memory",
    "out of memory": "out of memory",
    "can't allocate memory": "out of memory",
    "not enough memory": "out of memory",
    "ALLOC_FAILED": "out of memory",
    "more than 1 value per channel": "too few values for batch normalisation",
}

Batch = dict[str, Any]


def benchmark(cfg: DictConfig, folder: Path, command: str) -> Path:
    """Measure the loader and the training step apart; write ``throughput.csv`` and ``throughput.json``.

    A batch size that a device has no memory for is noted in the table, and the others are measured.

    Returns:
        ``folder``.

    Raises:
        UsageError: ``folder`` holds such files already, or the accelerator isn't there.
        DataError: the data cannot be used.
    """
    if (folder / "throughput.csv").exists() or (folder / "config.yaml").exists():
        raise UsageError(f"hydra.run.dir={folder}: expected a new folder, found throughput.csv or a run in it")
    assembly.quiet()
    torch.manual_seed(cfg.seed)
    device = assembly.bare_trainer(cfg).strategy.root_device
    data = assembly.make_data(cfg)
    data.setup()
    modules = {name or str(cfg.model.name): _module(one, data) for name, one in each_model(cfg).items()}
    facts = _facts(cfg, data, modules, device)
    LOG.info("%s", facts["conditions"])
    rows: list[dict[str, Any]] = []

    def note(row: dict[str, Any]) -> None:
        rows.append(row)
        # After each measurement: what was measured outlives a process that is killed for its memory.
        write_text(folder / "throughput.csv", pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False))
        said = row.get("note") or f"{row['images_per_second']:,.0f} images/s"
        LOG.info("%s, batches of %d: %s", f"{row['what']} {row['model']}".strip(), row["batch_size"], said)

    seconds, batches = float(cfg.benchmark.seconds), {}
    for size in sorted(set(cfg.benchmark.batch_sizes)):
        # Drawn with replacement, so that a small set has batches of any size.
        data.batch_size, data.samples_per_epoch = size, _EPOCH * size
        for what in (CACHED, UNCACHED):
            measured, batches[size] = _loading(data, what, seconds)
            note({"what": what, "model": "", "batch_size": size, **measured})
    for name in list(modules):
        module = modules.pop(name)
        about = {"what": STEP, "model": name, "weights": facts["models"][name]}
        for size, batch in batches.items():
            note({**about, "batch_size": size, **_step(module, batch, device, str(cfg.trainer.precision), seconds)})
    write_json(folder / "throughput.json", {**facts, "command": command})
    return folder


def _module(cfg: DictConfig, data: ImageDataModule) -> TaskModule:
    module = assembly.make_module(cfg)
    module.build(data)
    if cfg.compile:
        module.model.network.compile()
    return module


def _facts(
    cfg: DictConfig, data: ImageDataModule, modules: dict[str, TaskModule], device: torch.device
) -> dict[str, Any]:
    """Return what the numbers depend on, and a line of it."""
    facts = {
        "task": cfg.task,
        "data": data.name,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type.upper(),
        "threads": torch.get_num_threads(),
        "workers": data.num_workers,
        "image": f"{data.in_channels} x {data.height} x {data.width}",
        "precision": cfg.trainer.precision,
        "torch": torch.__version__,
        "models": {name: parameters(module.model.network) for name, module in modules.items()},
    }
    workers = [f"{data.num_workers} loading process{'es' * (data.num_workers != 1)}"] * (data.num_workers > 0)
    what = [
        facts["device"],
        count(torch.get_num_threads(), "thread"),
        *workers,
        f"images {facts['image']}",
        facts["precision"],
        data.name,
    ]
    return {**facts, "conditions": " · ".join(what)}


# Measuring --------------------------------------------------------------------------------------------------------


def _median(once: Callable[[], Any], seconds: float, size: int) -> tuple[Any, dict[str, Any]]:
    """Call ``once``, which returns the seconds for a batch or those of its parts, for that long after a warm-up.

    Returns:
        The medians, and what a table says of them for batches of this size.
    """
    for _ in range(_WARM_UP):
        once()
    found: list[Any] = []
    end = time.perf_counter() + seconds
    while len(found) < _LEAST or time.perf_counter() < end:
        found.append(once())
    parts = np.median(found, axis=0)
    taken = float(np.sum(parts))
    return parts, {"ms": 1e3 * taken, "images_per_second": size / taken, "repeats": len(found)}


def _loading(data: ImageDataModule, what: str, seconds: float) -> tuple[dict[str, Any], Batch]:
    """Measure how long the loader takes for a batch of training images, augmented; return also a batch."""
    loader = data.loader("train", train=True)
    assert isinstance(loader.dataset, ImageDataset)
    if what == UNCACHED:
        loader.dataset.images, loader.dataset.maps = _decoding(data)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    # Worker processes deliver together: what counts is how long it takes until each has delivered one.
    together = max(1, data.num_workers)
    batch: Batch = {}

    def once() -> float:
        nonlocal batch
        start = time.perf_counter()
        for _ in range(together):
            batch = next(batches)
        return (time.perf_counter() - start) / together

    return _median(once, seconds, data.batch_size)[1], batch


def _step(module: TaskModule, batch: Batch, device: torch.device, precision: str, seconds: float) -> dict[str, Any]:
    """Measure forward, backward and optimizer on one batch that lies on the device."""
    row: dict[str, Any] = {}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        parts, row = _median(_training(module, batch, device, precision), seconds, len(batch["id"]))
        row |= dict(zip(("forward_ms", "backward_ms", "optimizer_ms"), 1e3 * parts, strict=True))
        if device.type == "cuda":
            row["memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    except (RuntimeError, MemoryError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
        note = next((note for words, note in _NOTES.items() if words in said), None)
        if note is None:
            raise
        row = {"note": note}
    # Outside of `except`, where the error would still hold the memory.
    module.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return row


def _training(
    module: TaskModule, batch: Batch, device: torch.device, precision: str
) -> Callable[[], tuple[float, float, float]]:
    """Return what takes one step and returns the seconds of its three parts."""
    module.to(device).train()
    target = {name: values.to(device) for name, values in batch["target"].items()}
    there = {"image": batch["image"].to(device), "target": target}
    optimizer = module.make_optimizer([p for p in module.parameters() if p.requires_grad], device.type == "cuda")
    scaler = torch.GradScaler(device.type, enabled=precision == "16-mixed")
    autocast = torch.autocast(device.type, _AUTOCAST.get(precision), enabled=precision in _AUTOCAST)

    def now() -> float:
        if device.type != "cpu":
            (torch.cuda if device.type == "cuda" else torch.mps).synchronize()
        return time.perf_counter()

    def once() -> tuple[float, float, float]:
        start = now()
        with autocast:
            total = module.balance(module.weighted(module.each_loss(there)[0]))
        forward = now()
        scaler.scale(total).backward()
        backward = now()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return forward - start, backward - forward, now() - backward

    return once


# Decoding each time -----------------------------------------------------------------------------------------------


class _Files(Cache):
    """Stands in for a cache: reads, checks and resizes a file each time, as is done once to fill the cache."""

    def __init__(self, like: Cache, files: list[Path], reader: Reader) -> None:
        self.preprocess, self._files, self._reader = like.preprocess, files, reader

    def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
        return self._reader.read(self._files[index], index, self.preprocess)[0]


def _decoding(data: ImageDataModule) -> tuple[list[CachedColumn], dict[str, CachedColumn]]:
    """Return the inputs and maps of a data set, read from its files."""
    like = data.images[0].like()

    def files(stored: CachedColumn, name: str) -> CachedColumn:
        first = np.unique(stored.places, return_index=True)[1]
        sizes = [like[row] for row in first]
        if name == IMAGE:
            reader = data.image_reader(data.table)
        else:
            reader = data.reader(name, sizes) if name in data.stored_maps else ImageReader(sizes)
        paths = data.table["path" if name == IMAGE else f"{name}_path"].iloc[first]
        return replace(stored, cache=_Files(stored.cache, [data.root / path for path in paths], reader))

    images = [files(stored, name) for name, stored in zip(data.inputs, data.images, strict=True)]
    return images, {name: files(stored, name) for name, stored in data.stored_maps.items()}
