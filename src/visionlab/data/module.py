"""The data module under every task: index -> splits -> cache -> batches, and the facts about them."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pydantic import Field
from torch.utils.data import DataLoader

from visionlab.config import defaults, signature
from visionlab.config.checks import check_data
from visionlab.console import LOG
from visionlab.data.cache import cache_column, limits_of
from visionlab.data.definition import Definition, Target
from visionlab.data.describe import MapScale, image_span, image_statistics, map_statistics
from visionlab.data.loader import CENTRE, Augment, EpochBatches, ImageDataset, ResumableLoader
from visionlab.data.preprocess import ImageReader, Preprocess, Reader, Scale, Sizes, common_depth
from visionlab.data.splits import Shares, Splits, choose_groups, make_splits, read_splits, refuse_leaks
from visionlab.errors import ConfigError, DataError, UsageError, check_value
from visionlab.files import IMAGE, cache_dir, check_folder
from visionlab.seeds import derive

STAGES = ("train", "val", "test")
# Of images scaled by percentiles nearly all values are within; what hot pixels are beyond doesn't count.
_SPAN = (-0.25, 1.5)
Side = Annotated[int, Field(ge=8)]
Size = Side | Annotated[list[Side], Field(min_length=2, max_length=2, description="[height, width]")]
Stain = Annotated[int, Field(ge=0)] | str
MeanAndStd = Annotated[list[float], Field(min_length=2, max_length=2, description="[mean, std] with a std above 0")]


class _TaskDefaults(type):
    """Let a data module take what it isn't given from its task's configuration, where each default stands once.

    What it is given is checked as a configuration is; tuples may stand for lists, and paths for their text.
    """

    def __call__(cls, seed: int | None = None, augment: Mapping[str, Any] | None = None, **settings: Any) -> Any:
        made: Any = cls
        needed = {
            name
            for base in cls.__mro__
            if issubclass(base, ImageDataModule)
            for name, parameter in inspect.signature(base.__init__).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        }
        if seed is None or augment is None or needed - {"root"} - settings.keys():
            found = defaults(made.task)
            seed = found["seed"] if seed is None else seed
            augment = found["augment"] if augment is None else augment
            others = {key: value for key, value in found["data"].items() if key not in ("_target_", "root")}
            settings = {**others, **settings}
        for name, value in settings.items():
            plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
            stated = (signature.annotation(f"{base.__module__}.{base.__qualname__}", name) for base in cls.__mro__)
            check_value(f"data.{name}", next((one for one in stated if one is not None), Any), plain)
            settings[name] = plain
        check_data(settings)
        return super().__call__(seed, augment, **settings)


class ImageDataModule(Definition, pl.LightningDataModule, metaclass=_TaskDefaults):
    """Images with numbers or maps as targets, split by group; see :class:`visionlab.data.definition.Definition`.

    ``FocusDataModule(root="cells")`` takes all other arguments from the configuration of the class's task.

    Args:
        seed: of the run; splits, order and augmentation derive from it.
        augment: ``{joint: [...], image: [...]}``, see :class:`visionlab.data.loader.Augment`.
        root: folder of the data.
        channels: what every image is brought to; or a list of channels, by number from 0 or name, that are seen of
            files with an axis of them, such as hyperstacks.
        image_size: height and width in pixels, or one number for both.
        fit: how other sizes become ``image_size``: ``crop``, ``pad`` or ``stretch``; or ``native``: windows of that
            size are cut of images at their own scale.
        normalize: ``dataset`` (mean and deviation of the training split, per channel), ``image`` (of each image),
            ``percentile`` (1st and 99.8th of each time point become 0 and 1), or a pair mean, deviation on the 0..1
            scale.
        batch_size: images a step and device.
        num_workers: processes that load.
        samples_per_epoch: images of an epoch of training, drawn with replacement; None: each once.
        val_fraction, test_fraction: shares of the groups, 0..1.
        folds, fold: grouped cross-validation; fold 0..folds-1 is the test split.
        fraction: share of the training and validation groups to use, 0..1; the test split stays whole.
        split_file: a ``splits.json`` to follow instead, ours or in the published form.
        include, exclude: patterns (``bbbc050-*``) of group names; an empty ``include`` means all.
        cache_dir: where generated sets and decoded images are kept; the default is the user's cache folder.
        stain: the one channel, by number from 0 or name, that is seen of files with an axis of them.

    Raises:
        ConfigError: a setting is of the wrong type, out of bounds or contradicts another.
    """

    def __init__(
        self,
        seed: int,
        augment: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        root: str,
        channels: Annotated[int, Field(ge=1)] | Annotated[list[Stain], Field(min_length=1)],
        image_size: Size,
        fit: Literal["crop", "pad", "stretch", "native"],
        normalize: Literal["dataset", "image", "percentile"] | MeanAndStd,
        batch_size: Annotated[int, Field(ge=1)],
        num_workers: Annotated[int, Field(ge=0)],
        samples_per_epoch: Annotated[int, Field(ge=1)] | None,
        val_fraction: Annotated[float, Field(gt=0, lt=1)],
        test_fraction: Annotated[float, Field(ge=0, lt=1)],
        folds: Annotated[int, Field(ge=2)] | None,
        fold: int | None,
        fraction: Annotated[float, Field(gt=0, le=1)],
        split_file: str | None,
        include: list[str],
        exclude: list[str],
        cache_dir: str | None,
        # Runs that were begun before there was one have none.
        stain: Stain | None = None,
    ) -> None:
        super().__init__()
        self.seed, self.augment = seed, Augment(augment["joint"], augment["image"])
        self._root = root
        # What the data are called in metrics, TensorBoard and report.
        self.name: str = root
        # Makes the set in its folder unless it is there: set where the data are a generated set.
        self.generate: Callable[[Path], None] | None = None
        if stain is not None and not isinstance(channels, int):
            raise ConfigError(f"data.stain: expected null with data.channels={list(channels)}, found {stain}; give one")
        # Which channels are seen of files with an axis of them; empty: files have none.
        self.file_stains: tuple[int | str, ...] = () if stain is None else (stain,)
        if not isinstance(channels, int):
            self.file_stains, channels = tuple(channels), len(channels)
        self.channels, self.fit = channels, fit
        self.height, self.width = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.normalize: str | list[float] = normalize
        self.batch_size, self.num_workers, self.samples_per_epoch = batch_size, num_workers, samples_per_epoch
        self.shares = Shares(seed, val_fraction, test_fraction, folds, fold, fraction)
        self.split_file = split_file
        self.include, self.exclude = include, exclude
        self.cache_dir = cache_dir
        # What the network sees of each sample, in the order of its channels.
        self.inputs: tuple[str, ...] = (IMAGE,)
        # How many planes below and above its own are seen of each image of a volume.
        self.neighbours = 0
        # Stains of the image's channels, for pictures in their colours; empty: a plain image.
        self.channel_names: tuple[str, ...] = ()
        # Set where other splits than the configured ones are wanted: groups of all samples -> splits.
        self.chosen_splits: Callable[[Sequence[str]], Splits] | None = None
        # What heads ask of the targets that they learn: given before setting up. Other maps are not read.
        self.asked: Mapping[str, Target] = {}
        # Whether setting up says how many images there are; once is enough for the stages of one run.
        self.announced = True
        # Whether all bytes of the files are compared with those that the cache was made of; else some of each.
        self.verify = False
        # The index, where another module of the same data has made it already.
        self.indexed: pd.DataFrame | None = None
        self.ready = False

    # Setting up -------------------------------------------------------------------------------------------------

    def locate(self) -> Path:
        """Return the folder of the data; a generated set is made on first use.

        Raises:
            DataError: there is no such folder.
        """
        if self.generate is not None:
            self.generate(Path(self._root))
        self.root = check_folder(self._root, f"the images of task {self.task}")
        return self.root

    @property
    def synthetic(self) -> bool:
        """Whether the data are a generated set."""
        return self.generate is not None

    def choose(self, table: pd.DataFrame, root: Path) -> pd.DataFrame:
        """Return the rows of an index whose groups are chosen by ``include`` and ``exclude``."""
        return choose_groups(table, root, self.include, self.exclude)

    def make_splits(self, table: pd.DataFrame) -> Splits:
        """Return the splits of an index, drawn from the seed or read from ``split_file``."""
        groups = table["group"].tolist()
        if self.chosen_splits:
            return self.chosen_splits(groups)
        if self.split_file:
            return read_splits(self.split_file, groups)
        return make_splits(groups, self.shares)

    def prepare_data(self) -> None:
        """Decode the images into the cache, in one process of each machine; called by Lightning."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Index, split, cache and take statistics, once; safe to call in every rank.

        Args:
            stage: Lightning's; all is set up at once.

        Raises:
            DataError: files are missing, broken, or the same image lies in two splits.
        """
        if self.ready:
            return
        if not self.asked and self.trainer:
            # Made in Python, for a trainer: the module that learns from it says what its heads ask.
            self.asked = getattr(self.trainer.lightning_module, "targets", dict)()
        self.locate()
        if self.indexed is None:
            self.indexed = self.index(self.root)
        self.table = self.choose(self.indexed, self.root)
        self.splits = self.make_splits(self.table)
        self.table["split"] = self.assign(self.table, self.splits)
        self._decode()
        if (left_out := self.left_out()) is not None:
            self.table.loc[left_out, "split"] = ""
        refuse_leaks(self.table, self.facts)
        self.rows = {stage: np.flatnonzero((self.table["split"] == stage).to_numpy()) for stage in STAGES}
        for split in ("train", "val") if self.chosen_splits is None else ():
            if not len(self.rows[split]):
                raise DataError(f"{self.splits.source}: expected images to learn from, found none in '{split}'")
        for split, rows in self.rows.items() if self.announced else ():
            LOG.info("%-5s %5d images, %d groups", split, len(rows), self.table["group"].iloc[rows].nunique())
        self.mean, self.std = self._image_scale()
        self.augment.span(*(_SPAN if self.normalize == "percentile" else image_span(self.images, self.rows["train"])))
        self.ready = True

    def _decode(self) -> None:
        """Make or find the caches of images, further inputs and maps."""
        if absent := [name for name in self.inputs[1:] if f"{name}_path" not in self.table]:
            raise DataError(f"{self.root}: data.inputs asks for {', '.join(absent)}, which the data set doesn't have")
        # The type of values is that of the files, found while caching.
        scale: Scale = "percentile" if self.normalize == "percentile" else "dtype"
        preprocess = Preprocess(self.channels, self.height, self.width, self.fit, "uint8", scale, self.file_stains)
        folder = cache_dir(self.cache_dir) / "images"
        store = partial(cache_column, self.table, root=self.root, folder=folder, verify=self.verify)
        beside = [f"path{n:+d}" for n in range(-self.neighbours, self.neighbours + 1) if n]
        image = store("path", preprocess, self.task, lambda like: self.image_reader(self.table), None, beside=beside)
        self.cache, self.preprocess = image.cache, image.preprocess
        like = image.like()
        self.check_sizes([on_disk for on_disk, _ in like])
        further = [(f"{name}_path", preprocess, f"{self.task}-{name}", ImageReader, like) for name in self.inputs[1:]]
        self.images = [image, *(store(*column) for column in further)]
        common_depth({image.cache.preprocess.dtype: name for name, image in zip(self.inputs, self.images, strict=True)})
        self.stored_maps = {}
        for name in self.learnt:
            if f"{name}_path" in self.table:
                own, reader = replace(preprocess, channels=1), partial(self.reader, name)
                found = self.stored_maps[name] = store(f"{name}_path", own, f"{self.task}-{name}", reader, like)
                self.stored_maps[name] = replace(found, scale=self.map_unit(name, "")[0])
        if scale == "percentile":
            each = [self.time_points()]
            each += [[(path,) for path in self.table[f"{name}_path"]] for name in self.inputs[1:]]
            self.images = [
                replace(stored, limits=limits_of(points, self.root, stored.preprocess, folder, verify=self.verify))
                for points, stored in zip(each, self.images, strict=True)
            ]

    def _image_scale(self) -> tuple[list[float], list[float]]:
        """Return mean and deviation per channel for the normaliser; unused with ``normalize=image``."""
        if self.normalize == "dataset":
            found = [image_statistics(stored.cache, stored.places[self.rows["train"]]) for stored in self.images]
            found = [one for one in found for _ in range(2 * self.neighbours + 1)]
            return [m for mean, _ in found for m in mean], [d for _, std in found for d in std]
        # Scaled already, or by each image's own.
        mean, std = (0.0, 1.0) if isinstance(self.normalize, str) else self.normalize
        return [mean] * self.in_channels, [std] * self.in_channels

    @property
    def learnt(self) -> tuple[str, ...]:
        """Names of the maps that a head learns; others are left alone, and may be missing or broken."""
        return tuple(name for name in self.maps if name in self.asked)

    def reader(self, name: str, like: Sizes) -> Reader:
        """Return how the files of a map are read; ``like`` says the sizes of their images."""
        make = self.asked[name].reader
        assert make is not None, f"{name}: its head learns numbers, not maps"
        return make(like, **self.reading(name))

    @property
    def in_channels(self) -> int:
        """Channels of all inputs together, what the network takes."""
        return self.channels * len(self.inputs) * (2 * self.neighbours + 1)

    @property
    def facts(self) -> pd.DataFrame:
        """What the image file of each row of ``table`` holds."""
        return self.images[0].facts

    # Facts for heads, checkpoint and report ----------------------------------------------------------------------

    def unit(self, target: str, configured: str) -> str:
        """Return the unit of a target: that which the data set's maps have, else the configured one.

        Raises:
            UsageError: the data set has no such maps.
        """
        if target not in self.maps:
            return configured
        if target not in self.stored_maps:
            raise UsageError(
                f"heads.{target}: {self.root} has no {target} maps to learn from; add them, or leave the head out "
                f"with '~heads.{target}'"
            )
        return self.map_unit(target, configured)[1]

    def map_scale(self, target: str) -> MapScale:
        """Return the range and mean of a map over the known pixels of the training split, in the user's unit."""
        return map_statistics(self.stored_maps[target], self.rows["train"])

    def values(self, target: str, split: str) -> np.ndarray[Any, Any]:
        """Return the N x K values of a target in a split, in the user's units, float32."""
        return self.table.iloc[self.rows[split]][list(self.targets[target])].to_numpy(np.float32)

    def scale(self, target: str) -> tuple[list[float], list[float]]:
        """Return mean and deviation of each of a target's columns over the training split."""
        values = self.values(target, "train").astype(np.float64)
        std = values.std(axis=0)
        # A constant target has nothing to learn, but must not divide by zero.
        return values.mean(axis=0).tolist(), np.where(std > 0, std, 1.0).tolist()

    @property
    def fingerprint(self) -> str:
        """Digest of what the data are: samples, groups, pixels, targets, and how images are prepared.

        Unlike the cache's, it stays the same when the folder moves or the files are copied.
        """
        columns = [column for columns in self.targets.values() for column in columns]
        spec = self.preprocess.spec()
        if spec["scale"] == "dtype":
            del spec["scale"]  # as earlier versions knew it, whose runs are to go on
        about: Any = [spec, list(self.inputs)] if len(self.inputs) > 1 else spec
        if self.neighbours:
            about = [about, self.neighbours]
        digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16)
        table = self.table[["id", "group", *columns]].copy()
        for name, stored in {**dict(zip(self.inputs, self.images, strict=True)), **self.stored_maps}.items():
            table[f"{name} hash"] = stored.facts["hash"].to_numpy()
        digest.update(table.to_csv(index=False).encode())
        return digest.hexdigest()

    def step(self, target: str) -> float | None:
        """Return the median gap between neighbouring values of a group; None for several columns, or without any."""
        columns = list(self.targets[target])
        if len(columns) > 1:
            return None
        ordered = self.table.iloc[self.rows["train"]].sort_values(["group", *columns])
        gaps = ordered[columns[0]].diff()[ordered["group"].eq(ordered["group"].shift())]
        gaps = gaps[gaps > 1e-9]
        return float(gaps.median()) if len(gaps) else None

    # Batches ----------------------------------------------------------------------------------------------------

    def loader(self, split: str, *, train: bool = False, rank: int = 0, world: int = 1) -> ResumableLoader:
        """Return the batches of a split: shuffled and augmented if ``train``, else in order and as they are."""
        rows = self.rows[split]
        ids = self.table["id"].iloc[rows].tolist()
        numbers = {name: self.values(name, split) for name in self.targets}
        augment = self.augment if train else None
        dataset = ImageDataset(self.images, self.stored_maps, numbers, rows, ids, augment, self.seed, self.window)
        batches = EpochBatches(
            len(rows),
            self.batch_size,
            seed=self.seed,
            train=train,
            samples=self.samples_per_epoch,
            weights=self.sample_weights() if train else None,
            rank=rank,
            world=world,
        )
        return ResumableLoader(dataset, batches, self.num_workers, pin_memory=torch.cuda.is_available())

    def window(self, row: int) -> tuple[float, float]:
        """Return where the window of an image is cut when nothing is augmented, across and down, 0..1.

        That is the middle; but of maps at their own scale it is another place in each image, the same each time: a
        window may be a small part of a slice, and all of them together shall show what is at its edges, too.
        """
        if self.fit != "native" or not self.maps:
            return CENTRE
        across, down = np.random.default_rng(derive(self.seed, "window", row)).random(2)
        return float(across), float(down)

    def train_dataloader(self) -> ResumableLoader:
        return self._shared("train", train=True)

    def val_dataloader(self) -> ResumableLoader:
        return self._shared("val", train=False)

    def test_dataloader(self) -> ResumableLoader:
        return self._shared("test", train=False)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the batches of the test split; plain ones, as Lightning puts a sampler of its own into them."""
        return DataLoader(self.loader("test").dataset, batch_size=self.batch_size, num_workers=self.num_workers)

    def _shared(self, split: str, *, train: bool) -> ResumableLoader:
        """Return this rank's share of a split."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return self.loader(split, train=train, rank=rank, world=world)
