"""Data sets ``celegans_nuclei`` and ``celegans_membrane``: slices of embryos over time, and the objects in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from visionlab.console import LOG
from visionlab.data.blocks import (
    LEAKS,
    in_blocks,
    leave_gap,
    mark,
    name_blocks,
    split_sequences,
    split_times,
)
from visionlab.data.definition import Frame, Labels
from visionlab.data.module import ImageDataModule
from visionlab.data.preprocess import PlaneReader, Reader
from visionlab.data.splits import Splits, make_splits
from visionlab.datasets.time_points import TimePoint, build, repeated, stack
from visionlab.datasets.volume_layouts import read_layout
from visionlab.errors import ConfigError, DataError
from visionlab.files import Scan, check_folder
from visionlab.io import Stains, read_image, read_labels, split_plane

VoxelSize = Annotated[
    list[Annotated[float, Field(gt=0)]],
    Field(min_length=3, max_length=3, description="[z, y, x] in micrometres, each above 0"),
]


class CElegansDataModule(ImageDataModule):
    """Slices of volumes, or images, whose labels number the objects; groups are blocks of time.

    Args:
        seed, augment, common: see :class:`visionlab.data.module.ImageDataModule`.
        layout, table, truth: see :func:`visionlab.datasets.volume_layouts.read_layout`.
        blocks: parts that a sequence is cut into in time; each is a group.
        split_by: ``sequence``, whole ones; ``time``, runs of each one's blocks; ``auto``, the first where there are
            several, and where nothing is known of sequences or groups are given, these; ``random_slices``, each slice
            by itself, as published: then the test is on slices whose neighbours were trained on.
        gap: see :func:`visionlab.data.blocks.leave_gap`.
        neighbours: how many slices below and above are further channels of the network's input.
        empty: slices whose labels are empty, and whose contrast (99.8th percentile less median) is below this share of
            the largest of their time point, are in no split; 0 keeps all.
        voxel_size: z, y, x in micrometres, for files that don't tell.
    """

    task: ClassVar[str] = "celegans_nuclei"
    maps: ClassVar[dict[str, str]] = {"nuclei": "instances"}

    def __init__(
        self,
        seed: int,
        augment: Mapping[str, Any],
        *,
        layout: Literal["auto", "ctc", "pairs", "table", "matlab"],
        table: str | None,
        truth: Literal["auto", "st", "gt"],
        split_by: Literal["auto", "sequence", "time", "random_slices"],
        blocks: Annotated[int, Field(ge=2)],
        gap: Literal["auto"] | Annotated[int, Field(ge=0)],
        neighbours: Annotated[int, Field(ge=0, le=32)],
        empty: Annotated[float, Field(ge=0, lt=1)],
        voxel_size: VoxelSize | None,
        **common: Any,
    ) -> None:
        super().__init__(seed, augment, **common)
        self.target = next(iter(self.maps))
        self._layout: tuple[str, str | None, str] = (layout, table, truth)
        self.split_by, self.blocks, self.gap = split_by, blocks, gap
        self.neighbours, self.empty, self.voxel_size = neighbours, empty, voxel_size
        self._points: dict[str, TimePoint] | None = None
        # What is left out for being near another split, and for having no signal, in words.
        self._near, self._dark = "", ""

    # Index and splits -------------------------------------------------------------------------------------------

    def scan(self, root: Path) -> Scan:
        """Index the labelled slices of a folder, collecting what is wrong with files.

        Returns:
            One row a slice, sorted by sequence, time and slice: ``id``, ``group``, ``path``, ``<target>_path`` (files,
            or planes of files), ``sequence`` (empty: unknown), ``time`` (-1: unknown), ``z`` (-1: no volume), ``frame``
            (name of the time point) and, with ``neighbours``, ``path-1``, ``path+1``, ... (the slices beside it; the
            last one again where there is none).
        """
        folder = check_folder(root, f"volumes or slices and labels of their {self.target}")
        layout, (pairs, digits, problems) = read_layout(folder, *self._layout)
        points, wrong = build(pairs, folder, digits)
        again = list(repeated(points))
        points, apart = stack(points)
        points = sorted(
            (point for point in points if point.truth),
            key=lambda point: (point.sequence, point.time, point.zs[0], point.name),
        )
        self._points = {point.name: point for point in points}
        table = self._index(points, digits)
        what = f"slices of {len(points)} volumes" if any(point.volume for point in points) else "images"
        groups = table["group"].nunique()
        LOG.info("%s: %s layout, %d labelled %s in %d groups", root, layout, len(table), what, groups)
        return Scan(table, [*problems, *wrong, *again, *apart])

    def _index(self, points: Sequence[TimePoint], digits: int) -> pd.DataFrame:
        rows = [(point, place) for point in points for place in sorted(point.truth)]
        text = {
            "id": [point.ids[place] for point, place in rows],
            "group": self._groups([point for point, _ in rows], digits),
            "path": [point.planes[place] for point, place in rows],
            f"{self.target}_path": [point.truth[place] for point, place in rows],
            "sequence": [point.sequence for point, _ in rows],
            "time": [point.time for point, _ in rows],
            "z": [point.zs[place] for point, place in rows],
            "frame": [point.name for point, _ in rows],
        }
        for step in range(-self.neighbours, self.neighbours + 1):
            if step:
                ends = (min(max(place + step, 0), len(point.planes) - 1) for point, place in rows)
                text[f"path{step:+d}"] = [point.planes[end] for (point, _), end in zip(rows, ends, strict=True)]
        if self.split_by == "random_slices":
            text["group"] = text["id"]
        return pd.DataFrame(text, dtype=str).astype({"time": int, "z": int})

    def _groups(self, points: Sequence[TimePoint], digits: int) -> list[str]:
        """Return the group of each slice's time point: what the data say, else its block of time, else itself."""
        if all(point.group for point in points):
            return [point.group for point in points]
        if all(point.sequence for point in points):
            times = [point.time for point in points]
            return name_blocks([point.sequence for point in points], times, self.blocks, digits)
        return [point.sequence or point.name for point in points]

    def make_splits(self, table: pd.DataFrame) -> Splits:
        """Return the splits of an index: blocks of time, see ``split_by``; or those wanted or read."""
        if self.split_by == "random_slices" and not self.chosen_splits:
            if self.split_file:
                return mark(super().make_splits(table))
            LOG.warning("data.split_by=random_slices LEAKS: the test is on slices whose neighbours are trained on")
            return mark(make_splits(table["id"], self.shares))
        if self.chosen_splits or self.split_file:
            return super().make_splits(table)
        blocked = in_blocks(table)
        if self.split_by == "auto" and not blocked:
            return super().make_splits(table)
        by_time = self.split_by == "time" or (self.split_by == "auto" and table["sequence"].nunique() == 1)
        if not blocked or (by_time and (table["time"] < 0).any()):
            if self.split_by == "auto":
                raise DataError(
                    f"{self.name}: expected several volumes, or one with time points, found one volume whose slices "
                    "cannot be split without leaks; add volumes, or set data.split_by=random_slices, which leaks"
                )
            raise ConfigError(
                f"data.split_by={self.split_by}: expected a sequence{' and times' if by_time else ''} of each image, "
                f"which {self.name} does not tell (in a table, the columns sequence and time, and no group across "
                "sequences); set data.split_by=auto to deal out groups"
            )
        return split_times(table, self.shares, self.gap) if by_time else split_sequences(table, self.shares)

    def assign(self, table: pd.DataFrame, splits: Splits) -> np.ndarray[Any, Any]:
        """Return the split of each row; time points near another split are in none, see ``gap``."""
        found = super().assign(table, splits)
        if self.chosen_splits or self.split_by == "random_slices" or not in_blocks(table):
            return found
        found, self._near = leave_gap(table, found, self.gap)
        if self._near and self.announced:
            LOG.info("%s", self._near)
        return found

    def left_out(self) -> np.ndarray[Any, Any]:
        """Return which rows have no labels and too little contrast, see ``empty``.

        Raises:
            DataError: the labels of all slices are empty.
        """
        unlabelled = self.stored_maps[self.target].facts["share"].to_numpy() == 0
        if unlabelled.all():
            raise DataError(
                f"{self.root}: expected objects in the labels of {self.target}, found {len(unlabelled)} slices without "
                "any; check that the labels are not empty"
            )
        contrast = self.facts["p99.8"] - self.facts["p50"]
        largest = contrast.groupby(self.table["frame"].to_numpy()).transform("max")
        found = unlabelled & (contrast < self.empty * largest).to_numpy()
        if count := int((found & (self.table["split"] != "").to_numpy()).sum()):
            less = f"less than {self.empty:g} of their time point's contrast"
            self._dark = f"{count} slices without labels and with {less} are left out (data.empty)"
            if self.announced:
                LOG.info("%s", self._dark)
        return np.asarray(found)

    def remarks(self) -> list[str]:
        found = []
        if self.splits.source.startswith(LEAKS):
            found.append(
                f"{LEAKS}slices were dealt out at random (data.split_by=random_slices), so the test is on slices whose "
                "neighbours in z and time were trained on; figures on new embryos will be lower"
            )
        return found + [text for text in (self._near, self._dark) if text]

    # Files ------------------------------------------------------------------------------------------------------

    def image_reader(self, table: pd.DataFrame) -> Reader:
        return PlaneReader()

    def time_points(self) -> list[tuple[str, ...]]:
        found = self._known()
        return [tuple(found[name].planes) for name in self.table["frame"]]

    def _known(self) -> dict[str, TimePoint]:
        """Return the time points by name; where the index was made by another module, they are looked for again."""
        if self._points is None:
            self.scan(self.root)
        assert self._points is not None
        return self._points

    def frames(self, split: str, only: Collection[str] | None = None) -> Iterator[Frame]:
        """Yield the time points that have slices in a split, in the order of the index, one in memory at a time.

        Slices of a time point that are in another split, as random ones may be, count as unlabelled.

        Args:
            split: its name.
            only: names of time points; None: all.

        Raises:
            DataError: a file cannot be read.
        """
        points = self._known()
        instances = self._numbered()
        chosen = self.table.iloc[self.rows[split]]
        for name, rows in chosen.reset_index().groupby("frame", sort=False):
            if only is not None and name not in only:
                continue
            point = points[str(name)]
            places = {path: place for place, path in enumerate(point.planes)}
            known = self.table[self.table["frame"] == name]
            others = {places[path] for path in known.loc[~known["split"].isin(("", split)), "path"]}
            image = read_planes(point.planes, self.root, self.file_stains)
            shape = (image.shape[0], image.shape[1], image.shape[2])
            yield Frame(
                point.name,
                str(rows["group"].iloc[0]),
                point.sequence,
                point.time,
                image,
                read_truth(_without(point.truth, others), shape, self.root),
                read_truth(_without(point.gold, others), shape, self.root) if point.gold else None,
                {places[path]: int(row) for row, path in zip(rows["index"], rows["path"], strict=True)},
                self._voxel(point),
                point.volume,
                instances,
            )

    def _numbered(self) -> bool:
        """Return whether the labels tell objects apart: a volume, or the images of the set, have several numbers.

        Of a young embryo no two objects may lie in one slice, and of walls all slices have the same number.
        """
        facts, points = self.stored_maps[self.target].facts, self._known()
        of = np.array([name if points[name].volume else "" for name in self.table["frame"]])
        labelled = (facts["objects"] > 0).to_numpy()
        numbers = facts[labelled].groupby(of[labelled])
        return bool((facts["objects"] > 1).any() or (numbers["highest"].max() > numbers["lowest"].min()).any())

    def _voxel(self, point: TimePoint) -> tuple[float, float, float] | None:
        told = self.voxel_size or (None, None, None)
        z, y, x = (own or given for own, given in zip(point.voxel, told, strict=True))
        if not point.volume:
            z = 1.0
        return (z, y, x) if z and y and x else None


def _without(truth: Mapping[int, str], places: Collection[int]) -> dict[int, str]:
    return {place: path for place, path in truth.items() if place not in places}


def read_planes(planes: Sequence[str], root: Path, stains: Stains = ()) -> npt.NDArray[Any]:
    """Return the planes of a time point, Z x H x W x C; of files with an axis of channels the ``stains``.

    Raises:
        DataError: one cannot be read, or they are not of one size and type.
    """
    found: list[npt.NDArray[Any]] = []
    for name in planes:
        image = read_image(root / name, stains)
        if found and (image.shape, image.dtype) != (found[0].shape, found[0].dtype):
            one, other = (f"{array.shape[0]} x {array.shape[1]} pixels, {array.dtype}" for array in (image, found[0]))
            raise DataError(
                f"{root / name}: {one}, but {planes[0]}, of the same time point, is {other}; export all slices alike"
            )
        found.append(image)
    return np.stack(found)


def read_truth(places: Mapping[int, str], shape: tuple[int, int, int], root: Path) -> Labels:
    """Return the labels of a time point, Z x H x W (``shape``), -1 in slices without labels.

    Args:
        places: place of a slice -> its labels, a file or a plane of one. Labels at another scale are brought to that of
            the image: each pixel gets the object at its middle.
        shape: of the image.
        root: that the names are relative to.

    Raises:
        DataError: one cannot be read.
    """
    truth = np.full(shape, -1, np.int32)
    for place, name in places.items():
        labels = read_labels(*split_plane(root / name))
        rows, columns = (_middles(mine, other) for mine, other in zip(shape[1:], labels.shape, strict=True))
        truth[place] = labels[rows[:, None], columns]
    return truth


def _middles(wanted: int, found: int) -> npt.NDArray[np.int64]:
    """Return in which of ``found`` equal parts of a side the middles of ``wanted`` parts lie."""
    return (2 * np.arange(wanted) + 1) * found // (2 * wanted)


class CElegansMembraneDataModule(CElegansDataModule):
    """Slices of volumes whose labels are the membranes between cells; else as :class:`CElegansDataModule`."""

    task: ClassVar[str] = "celegans_membrane"
    maps: ClassVar[dict[str, str]] = {"membrane": "instances"}
