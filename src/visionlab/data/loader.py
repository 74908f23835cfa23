"""Batches that can stop anywhere and go on exactly there, with any number of workers and ranks."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from visionlab.data.cache import CachedColumn, stack_channels
from visionlab.data.transforms import Augment
from visionlab.seeds import derive

CENTRE = (0.5, 0.5)
"""Where the window of an image is cut, across and down, unless it is said otherwise."""

Key = tuple[int, int, int]  # (epoch, position in the split, how often it came before in this epoch)


class ImageDataset(Dataset[dict[str, Any]]):
    """The samples of one split, read from the cache.

    Args:
        images: what the network sees, in the order of its channels; e.g. the image and its background.
        maps: target name -> maps of the whole index.
        numbers: target name -> N x K float array of these rows, in the user's units.
        rows: positions in the index that belong to the split.
        ids: ids of these rows.
        augment: applied to each sample, or None.
        seed: of the run; what is drawn for a sample depends on it, the epoch and the row only.
        window: row of the index -> where its window is cut without augmentation, across and down, 0..1.
    """

    def __init__(
        self,
        images: Sequence[CachedColumn],
        maps: Mapping[str, CachedColumn],
        numbers: Mapping[str, np.ndarray[Any, Any]],
        rows: Sequence[int] | np.ndarray[Any, Any],
        ids: Sequence[str],
        augment: Augment | None,
        seed: int,
        window: Callable[[int], tuple[float, float]] = lambda row: CENTRE,
    ) -> None:
        self.window = window
        self.images, self.maps, self.numbers = images, maps, numbers
        self.rows, self.ids = rows, ids
        self.augment, self.seed = augment, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key | int) -> dict[str, Any]:
        epoch, position, again = key if isinstance(key, tuple) else (0, key, 0)
        row = int(self.rows[position])
        (across, down), seed = self.window(row), 0
        if self.augment is not None:
            # Drawn again within an epoch, a sample is augmented in another way.
            seed = derive(self.seed, "sample", epoch, row, *([again] if again else []))
            across, down = np.random.default_rng(seed).random(2)
        images = [stored.image(row, across, down) for stored in self.images]
        maps = [stored.map(row, across, down) for stored in self.maps.values()]
        if self.augment is not None:
            images, maps = self.augment(images, maps, seed)
        target = {name: torch.from_numpy(values[position].copy()) for name, values in self.numbers.items()}
        target |= {name: torch.from_numpy(values[None].copy()) for name, values in zip(self.maps, maps, strict=True)}
        return {"image": torch.from_numpy(stack_channels(images)), "target": target, "id": self.ids[position]}


class EpochBatches(Sampler[list[Key]]):
    """Batches of samples: shuffled by (seed, epoch), shared out over ranks, startable at any batch.

    Training leaves out the last incomplete batch (another one each epoch, as the order changes), so that every rank
    takes as many steps and batch normalisation never sees a single image; a split smaller than one batch is one batch.

    Args:
        count: samples of the split.
        batch_size: samples of a batch, on each rank.
        seed: of the run.
        train: whether to shuffle.
        samples: of an epoch in training, drawn with replacement; None: each once.
        weights: how often each sample is drawn in training, ``count`` shares; then with replacement, too.
        rank, world: which share is taken, of how many.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int,
        train: bool,
        samples: int | None = None,
        weights: np.ndarray[Any, Any] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.count, self.batch_size, self.seed, self.train = count, batch_size, seed, train
        self.replaced = train and (samples is not None or weights is not None)
        self.drawn = (samples or count) if self.replaced else count
        self.weights = weights
        self.rank, self.world = rank, world
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    @property
    def sampler(self) -> EpochBatches:
        # Where Lightning looks for something with set_epoch.
        return self

    def __len__(self) -> int:
        if not self.train:
            mine = len(range(self.rank, self.count, self.world))
            return math.ceil(mine / self.batch_size)
        return max(1, self.drawn // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[list[Key]]:
        order, again = np.arange(self.count), np.zeros(self.drawn, int)
        if self.train:
            rng = np.random.default_rng(derive(self.seed, "order", self.epoch))
            if self.replaced:
                order = rng.choice(self.count, self.drawn, p=self.weights)
                again = _occurrence(order)
            else:
                order = rng.permutation(self.count)
        mine = slice(self.rank, None, self.world)
        # Epoch and start are taken now, not at the first batch: an iterator may be made and thrown away unused.
        return self._batches(order[mine], again[mine], self.epoch, self.start)

    def _batches(
        self, mine: np.ndarray[Any, Any], again: np.ndarray[Any, Any], epoch: int, start: int
    ) -> Iterator[list[Key]]:
        for batch in range(start, len(self)):
            part = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield [(epoch, int(p), int(n)) for p, n in zip(mine[part], again[part], strict=True)]


def _occurrence(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return for each value how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    result = np.empty(len(values), int)
    result[order] = np.arange(len(values)) - np.repeat(first, np.diff(np.r_[first, len(values)]))
    return result


class ResumableLoader(DataLoader[dict[str, Any]]):
    """A ``DataLoader`` whose ``state_dict`` says which epoch it is in and how many of its batches were given out.

    Lightning stores and restores the state with its checkpoints.
    """

    def __init__(self, dataset: ImageDataset, batches: EpochBatches, num_workers: int, pin_memory: bool) -> None:
        super().__init__(
            dataset,
            batch_sampler=batches,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
        )
        self.batches = batches
        self.given = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        self.given = self.batches.start
        batches = super().__iter__()
        # Only now: with workers, torch asks the sampler twice when it makes its first iterator.
        self.batches.start = 0
        return self._count(batches)

    def _count(self, batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for batch in batches:
            self.given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.batches.epoch, "given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches.epoch, self.batches.start = state["epoch"], state["given"]


def _start_worker(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the main one decides when the workers end, after it has saved.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    # The workers are the parallelism; OpenCV's own threads would only fight them for the cores.
    cv2.setNumThreads(0)
