"""Samples, augmented, in batches that can stop anywhere and go on exactly there, with any number of workers."""

from __future__ import annotations

import math
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from visionlab.data.cache import CachedColumn, stack_channels
from visionlab.errors import ConfigError
from visionlab.seeds import derive

CENTRE = (0.5, 0.5)
"""Where the window of an image is cut, across and down, unless it is said otherwise."""

Array = np.ndarray[Any, Any]
Entry = Mapping[str, Any]
Key = tuple[int, int, int]  # (epoch, position in the split, how often it came before in this epoch)


class Augment:
    """Albumentations transforms whose randomness comes only from the seed given with each sample.

    Several images of one sample (image and background) get the same geometry and the same change of colours: they
    come from one camera. Maps get the geometry only, by nearest neighbour, so that no value arises that was not there.

    Args:
        joint: entries ``{transform: NAME, **arguments}`` of geometric transforms; ``{one_of: [entries], p: share}``
            takes one of several.
        image: the same for transforms that change values and must not touch maps.

    Raises:
        ConfigError: a transform does not exist, does not take an argument, or stands in the wrong list.
    """

    def __init__(self, joint: Sequence[Entry], image: Sequence[Entry]) -> None:
        self.span(0.0, 1.0)
        self._stretch = bool(image)
        self._transforms = [*_make(joint, "joint"), *_make(image, "image")]
        self._pipelines: dict[int, Any] = {}

    def span(self, low: float, high: float) -> None:
        """Set the lowest and highest value of float images.

        Transforms that change values are made for 0 to 1, which a 12-bit camera in 16-bit files does not nearly fill:
        they see the images stretched from this span to 0 to 1, and the result is brought back.
        """
        self.low, self.range = np.float32(low), np.float32(high - low or 1.0)

    def __call__(self, images: Sequence[Array], maps: Sequence[Array], seed: int) -> tuple[list[Array], list[Array]]:
        """Return the transformed images and maps.

        Args:
            images: each H x W x C, ``uint8``, or ``float32`` within the span (values beyond it may be cut off).
            maps: each H x W, ``float32``, NaN where unknown; so is what a transform fills in beyond the border.
            seed: 0..2^32-1; the same seed gives the same result, whatever was transformed before.

        Raises:
            ConfigError: a transform changed the size of the images.
        """
        if not self._transforms:
            return list(images), list(maps)
        pipeline = self._pipeline(len(images))
        pipeline.set_random_seed(seed)
        given: dict[str, Any] = {_name(i): self._in(image) for i, image in enumerate(images)}
        if maps:
            # What a transform fills in is unknown; where it continues the image by reflection, maps go with it.
            given["masks"] = [*maps, np.ones(maps[0].shape, np.float32)]
        result = pipeline(**given)
        moved: list[Array] = []
        if maps:
            *moved, inside = (np.asarray(item, np.float32) for item in result["masks"])
            moved = [np.where(inside > 0, item, np.float32(np.nan)) for item in moved]
        done = [self._out(result[_name(i)], images[i].dtype) for i in range(len(images))]
        if done[0].shape != images[0].shape:
            (height, width), (found, across) = images[0].shape[:2], done[0].shape[:2]
            raise ConfigError(
                f"augment.joint: expected images to keep their size of {height} x {width}, found {found} x {across} "
                "after it; crop by data.fit=crop, or use transforms that give the size back (RandomSizedCrop)"
            )
        if done[0].dtype != images[0].dtype:
            raise ConfigError(
                f"augment.image: expected values of the same type after it, {images[0].dtype}, found {done[0].dtype}; "
                "leave normalising and converting out, the model does it for every image"
            )
        return done, moved

    def _pipeline(self, count: int) -> Any:
        if count not in self._pipelines:
            import albumentations

            others = {_name(i): "image" for i in range(1, count)}
            self._pipelines[count] = albumentations.Compose(self._transforms, additional_targets=others)
        return self._pipelines[count]

    def _in(self, image: Array) -> Array:
        return (image - self.low) / self.range if self._stretch and image.dtype == np.float32 else image

    def _out(self, image: Array, dtype: Any) -> Array:
        if self._stretch and dtype == np.float32:
            image = image * self.range + self.low
        # albumentations drops a single channel's axis in some transforms.
        return image if image.ndim == 3 else image[:, :, None]


def _name(number: int) -> str:
    return "image" if number == 0 else f"image{number}"


def _make(entries: Sequence[Entry], part: str) -> list[Any]:
    if not entries:
        return []
    import albumentations

    made = []
    for entry in entries:
        if "one_of" in entry:
            made.append(albumentations.OneOf(_make(entry["one_of"], part), p=entry["p"]))
            continue
        arguments = {str(key): value for key, value in entry.items()}
        name = arguments.pop("transform")
        with warnings.catch_warnings():
            # albumentations only warns of arguments it does not know, and then ignores them.
            warnings.simplefilter("error", UserWarning)
            try:
                transform = getattr(albumentations, name)(**arguments)
            except (AttributeError, TypeError, ValueError, UserWarning) as error:
                raise ConfigError(f"augment: {name}({arguments}) cannot be made: {error}") from error
        if part == "image" and not isinstance(transform, albumentations.ImageOnlyTransform):
            raise ConfigError(f"augment.image: {name} moves pixels, so maps must follow it; write it in augment.joint")
        made.append(transform)
    return made


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
        numbers: Mapping[str, Array],
        rows: Sequence[int] | Array,
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
        weights: Array | None = None,
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
                again = pd.Series(order).groupby(order).cumcount().to_numpy()
            else:
                order = rng.permutation(self.count)
        mine = slice(self.rank, None, self.world)
        # Epoch and start are taken now, not at the first batch: an iterator may be made and thrown away unused.
        return self._batches(order[mine], again[mine], self.epoch, self.start)

    def _batches(self, mine: Array, again: Array, epoch: int, start: int) -> Iterator[list[Key]]:
        for batch in range(start, len(self)):
            part = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield [(epoch, int(p), int(n)) for p, n in zip(mine[part], again[part], strict=True)]


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
