"""What a data set defines and a kind of head asks: the contracts of :class:`visionlab.data.module.ImageDataModule`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from visionlab.data.preprocess import ImageReader, Reader
from visionlab.data.splits import Splits
from visionlab.files import Scan

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Target:
    """What a kind of head asks of the data, so that the data need not know any kind.

    Attributes:
        reader: called with the sizes of the images that the files belong to, and with what the data set says of its
            files (:meth:`Definition.reading`); returns how they are read and resampled. NaN
            is unknown. None: the target is columns of numbers in the index.
        facts: name of what the reader tells of each file -> whether it has the target's unit; the index lists them.
        ranges: those facts whose range the data card tells.
        telling: the fact, a share, that is neither 0 nor 1 in maps that tell one scene from another: two images with
            the same such map should be of one group. Empty: equal maps mean nothing.
        classes: whether the columns are 0 and 1 of classes that a sample has or hasn't: they are counted, and splits
            are dealt out by them.
    """

    reader: Callable[..., Reader] | None = None
    facts: Mapping[str, bool] = field(default_factory=dict)
    ranges: tuple[str, ...] = ()
    telling: str = ""
    classes: bool = False


@dataclass(frozen=True)
class Frame:
    """A whole time point as it is on disk, in which objects are counted and measured; an image has Z = 1.

    Attributes:
        id: its name, e.g. ``01_t005``.
        group: which is in one split with it.
        sequence: what it is a time point of; empty: unknown.
        time: its number in the sequence; -1: unknown.
        image: Z x H x W x C, in the numbers and the size of the files.
        truth: Z x H x W, 0 background and the number of an object elsewhere; -1 in slices without labels.
        gold: a second truth of the same form; None where there is none.
        rows: place of a slice in these arrays -> its row of the data's ``table``; only those in the split.
        voxel: its size in micrometres, z, y and x; None if unknown. Of an image z is 1, which stands for nothing.
        volume: whether the slices are of one volume, if perhaps the only one.
        instances: whether the labels tell objects apart; else all above 0 is foreground.
    """

    id: str
    group: str
    sequence: str
    time: int
    image: npt.NDArray[Any]
    truth: Labels
    gold: Labels | None
    rows: dict[int, int]
    voxel: tuple[float, float, float] | None
    volume: bool
    instances: bool


class Definition:
    """A data set: literals, ``scan`` or ``index``, and for maps ``reading``.

    The literals: ``task``; ``targets``, target name -> columns of numbers in the index, of which an instance may choose
    some; ``kinds``, target name -> kind of head for those that are no quantities (``multilabel``: columns of 0 and 1);
    ``maps``, target name -> kind of map (``mask``, ``depth`` or ``instances``), whose files the index names in
    ``<target>_path``;
    ``stains``, names of the files that hold one channel each, where a sample has several.
    """

    task: ClassVar[str]
    targets: Mapping[str, tuple[str, ...]] = {}
    kinds: Mapping[str, str] = {}
    maps: ClassVar[dict[str, str]] = {}
    stains: ClassVar[tuple[str, ...]] = ()
    # The folder of the data, once it is found, and the index, chosen and split, once it is set up.
    root: Path
    table: pd.DataFrame

    def index(self, root: Path) -> pd.DataFrame:
        """Return one row a sample: ``id``, ``group``, ``path`` and the target columns.

        Paths are relative to ``root``; those of further inputs and of maps stand in ``<name>_path``.

        Raises:
            DataError: files cannot be used.
        """
        return self.scan(root).usable(root)

    def scan(self, root: Path) -> Scan:
        """Return the index of the usable files and a problem for each other one.

        A data set defines this, or :meth:`index` alone where it cannot tell the ones from the others.
        """
        return Scan(self.index(root), [])

    def image_reader(self, table: pd.DataFrame) -> Reader:
        """Return how the images of an index are read, whose files the column ``path`` names."""
        return ImageReader()

    def reading(self, name: str) -> dict[str, Any]:
        """Return what is known of the files of a map: options of the reader of its :class:`Target`."""
        return {}

    def map_unit(self, name: str, unit: str) -> tuple[float, str]:
        """Return the factor from a map's numbers to the user's unit, and that unit; ``unit`` is the configured one."""
        return 1.0, unit

    def check_sizes(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Refuse images by their height and width, given for each row of the index."""

    def assign(self, table: pd.DataFrame, splits: Splits) -> np.ndarray[Any, Any]:
        """Return the split of each row of an index, ``""`` for none."""
        return splits.assign(table["group"].tolist())

    def left_out(self) -> np.ndarray[Any, Any] | None:
        """Return which rows of ``table`` are in no split for what their files hold, which is known now; None: none."""
        return None

    def time_points(self) -> list[tuple[str, ...]]:
        """Return, for each row of ``table``, all planes of the time point that its image belongs to, itself included.

        Those that are not labelled are among them: images scaled by percentiles are scaled by those of all planes.
        """
        return [(path,) for path in self.table["path"]]

    def frames(self, split: str, only: Collection[str] | None = None) -> Iterator[Frame]:
        """Yield the time points of a split as they are on disk, or of these names; for maps of instances."""
        raise NotImplementedError

    def ids(self, target: str) -> list[int]:
        """Return the number that each column of a target of labels has in the data set."""
        return list(range(len(self.targets[target])))

    def sample_weights(self) -> np.ndarray[Any, Any] | None:
        """Return how often each training sample is drawn, N shares, once it is set up; None: all alike."""
        return None

    def remarks(self) -> list[str]:
        """Return, in words, what a reader of the results should know of this data set, once it is set up."""
        return []
