"""How many images a second are loaded and trained on, by batch size and network: what a training waits for."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
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
from visionlab.data.readers import ImageReader, Reader
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
WARM_UP, LEAST = 2, 3  # batches before the measurement, and at least in it
_EPOCH = 1000  # batches: long enough that what begins an epoch is no median
_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")

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
    device = _device(str(assembly.trainer_options(cfg)["accelerator"]))
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
        said = row["note"] or f"{row['images_per_second']:,.0f} images/s"
        LOG.info("%s, batches of %d: %s", " ".join(filter(None, [row["what"], row["model"]])), row["batch_size"], said)

    seconds, batches = float(cfg.benchmark.seconds), {}
    for size in sorted(set(cfg.benchmark.batch_sizes)):
        # Drawn with replacement, so that a small set has batches of any size.
        data.batch_size, data.samples_per_epoch = size, _EPOCH * size
        for what in (CACHED, UNCACHED):
            row, batches[size] = _loading(data, what, seconds)
            note(row)
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


def _device(accelerator: str) -> torch.device:
    """Return the device that a training on one would take."""
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _facts(
    cfg: DictConfig, data: ImageDataModule, modules: Mapping[str, TaskModule], device: torch.device
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
    threads = f"{facts['threads']} thread{'s' * (facts['threads'] != 1)}"
    workers = f"{data.num_workers} loading process{'es' * (data.num_workers != 1)}" if data.num_workers else ""
    what = [facts["device"], threads, workers, f"images {facts['image']}", facts["precision"], data.name]
    return {**facts, "conditions": " · ".join(filter(None, what))}


# Measuring --------------------------------------------------------------------------------------------------------


def _median(once: Callable[[], Any], seconds: float) -> tuple[Any, int]:
    """Return the median of what ``once`` returns, called for that long after a warm-up, and how often it was."""
    for _ in range(WARM_UP):
        once()
    found: list[Any] = []
    end = time.perf_counter() + seconds
    while len(found) < LEAST or time.perf_counter() < end:
        found.append(once())
    return np.median(found, axis=0), len(found)


def _loading(data: ImageDataModule, what: str, seconds: float) -> tuple[dict[str, Any], Batch]:
    """Measure how long the loader takes for a batch of training images, augmented; return also a batch."""
    loader = data.loader("train", train=True)
    assert isinstance(loader.dataset, ImageDataset)
    if what == UNCACHED:
        loader.dataset.images, loader.dataset.maps = _decoding(data)
    batches: Iterator[Batch] = itertools.chain.from_iterable(itertools.repeat(loader))
    # Worker processes deliver together: what counts is how long it takes until each has delivered one.
    together = max(1, data.num_workers)
    batch: Batch = {}

    def once() -> float:
        nonlocal batch
        start = time.perf_counter()
        for _ in range(together):
            batch = next(batches)
        return (time.perf_counter() - start) / together

    taken, repeats = _median(once, seconds)
    row = {"what": what, "model": "", "batch_size": data.batch_size}
    return {**row, **_result(taken, data.batch_size, repeats)}, batch


def _step(module: TaskModule, batch: Batch, device: torch.device, precision: str, seconds: float) -> dict[str, Any]:
    """Measure forward, backward and optimizer on one batch that lies on the device."""
    size, note = len(batch["id"]), ""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        parts, repeats = _median(_training(module, batch, device, precision), seconds)
    except (RuntimeError, MemoryError, ValueError) as error:
        note = _why(error)
        if not note:
            raise
    # Outside of `except`, where the error would still hold the memory.
    module.zero_grad(set_to_none=True)
    memory = {}
    if device.type == "cuda":
        memory = {"memory_mib": torch.cuda.max_memory_allocated() / 2**20}
        torch.cuda.empty_cache()
    if note:
        return {"note": note}
    row = {f"{part}_ms": 1e3 * taken for part, taken in zip(("forward", "backward", "optimizer"), parts, strict=True)}
    return {**row, **memory, **_result(parts.sum(), size, repeats)}


def _training(
    module: TaskModule, batch: Batch, device: torch.device, precision: str
) -> Callable[[], tuple[float, float, float]]:
    """Return what takes one step and returns the seconds of its three parts."""
    module.to(device).train()
    image = batch["image"].to(device)
    target = {name: values.to(device) for name, values in batch["target"].items()}
    optimizer = module.make_optimizer([p for p in module.parameters() if p.requires_grad], device.type == "cuda")
    scaler = torch.GradScaler(device.type, enabled=precision == "16-mixed")
    autocast = torch.autocast(device.type, _AUTOCAST.get(precision), enabled=precision in _AUTOCAST)
    heads = module.model.each_head()

    def now() -> float:
        if device.type != "cpu":
            (torch.cuda if device.type == "cuda" else torch.mps).synchronize()
        return time.perf_counter()

    def once() -> tuple[float, float, float]:
        start = now()
        with autocast:
            raw = module.model(image)
            losses = {h.name: h.loss(raw[h.name], target[h.name], module.losses[h.name]) for h in heads}
            total = module.balance({head.name: head.weight * losses[head.name] for head in heads})
        forward = now()
        scaler.scale(total).backward()
        backward = now()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return forward - start, backward - forward, now() - backward

    return once


def _result(taken: float, size: int, repeats: int) -> dict[str, Any]:
    return {"ms": 1e3 * float(taken), "images_per_second": size / float(taken), "repeats": repeats, "note": ""}


def _why(error: Exception) -> str:
    """Return why a batch of this size can't be trained on, for the table; empty for any other error."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return "out of memory"
    if "more than 1 value per channel" in str(error):
        return "too few values for batch normalisation"
    return ""


# Decoding each time -----------------------------------------------------------------------------------------------


class _Files(Cache):
    """Stands in for a cache: reads, checks and resizes a file each time, as is done once to fill the cache."""

    def __init__(self, like: Cache, root: Path, paths: list[str], reader: Reader) -> None:
        self.preprocess = like.preprocess
        self._files, self._reader = [root / path for path in paths], reader

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
        column = "path" if name == IMAGE else f"{name}_path"
        paths = data.table[column].iloc[first].tolist()
        return replace(stored, cache=_Files(stored.cache, data.root, paths, reader))

    images = [files(stored, name) for name, stored in zip(data.inputs, data.images, strict=True)]
    return images, {name: files(stored, name) for name, stored in data.stored_maps.items()}
