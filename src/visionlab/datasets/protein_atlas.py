"""Data set ``protein_atlas``: cells in several stains, one file each, and which parts of the cell hold a protein."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from visionlab.console import LOG
from visionlab.data.channel_reader import ChannelReader, StainFiles, check_stains, stain_files
from visionlab.data.channels import Channels, parse
from visionlab.data.module import ImageDataModule
from visionlab.data.readers import Reader
from visionlab.data.sampling import sample_weights
from visionlab.data.splits import Splits
from visionlab.data.stratify import make_stratified_splits
from visionlab.datasets.label_table import LabelTable, choose_classes, read_labels
from visionlab.errors import DataError
from visionlab.files import Problem, Scan, check_folder, listed


@dataclass(frozen=True)
class Sources:
    """What an index is made of.

    Attributes:
        channels: whose stains are needed.
        names: of all classes, by number.
        table: a csv file relative to the root, or absolute; see :func:`visionlab.datasets.label_table.read_labels`.
        images: folder of its images, relative to the root; what lies deeper is found, too. None: the folder beside the
            table that is named like it (``train/`` for ``train.csv``) if there is one, else the table's folder.
        extra: further tables; their images are where None says.
        group_column: of the tables, whose values are the groups; None: each sample is its own.
    """

    channels: Channels
    names: Sequence[str]
    table: str = "train.csv"
    images: str | None = None
    extra: Sequence[str] = ()
    group_column: str | None = None


def scan(root: str | Path, sources: Sources) -> Scan:
    """Index a folder, collecting what is wrong with rows and files.

    Rows without any file and files without a row are left out; how many is logged.

    Returns:
        The table of :func:`index` without the samples that have a problem, and the problems.

    Raises:
        DataError: a folder or table cannot be read, or no row of a table has a file.
    """
    folder = check_folder(root, f"{sources.table} and images of {', '.join(sources.channels.names)}")
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    listings: dict[Path, StainFiles] = {}
    frames: list[pd.DataFrame] = []
    named = [("data.table", sources.table, sources.images), *(("data.extra", name, None) for name in sources.extra)]
    for key, name, images in named:
        path = folder / Path(name).expanduser()
        about = {"classes": len(sources.names), "group_column": sources.group_column, "seen": seen}
        labels = read_labels(path, folder, key=key, name=name, **about)  # type: ignore[arg-type]
        where = _where(folder, path, images)
        if where not in listings:
            listings[where] = StainFiles(folder, where, sources.channels)
        frames.append(_join(labels, listings[where], sources, problems))
        problems += labels.problems
    unnamed = {path for images_there in listings.values() for path in images_there.unnamed(seen)}
    if unnamed:
        LOG.info("%s: %d image files are of no row and not used, for instance %s", root, len(unnamed), min(unnamed))
    found = pd.concat(frames).sort_values("id", ignore_index=True)
    stains = ", ".join(sources.channels.names)
    LOG.info("%s: %d samples of %s in %d groups", root, len(found), stains, found["group"].nunique())
    return Scan(found, problems)


def index(root: str | Path, sources: Sources) -> pd.DataFrame:
    """Return one row a sample, sorted by ``id``.

    Columns: ``id``, ``group``, ``path`` (the file of the first needed stain), ``<stain>_path`` for each needed stain
    (all relative to ``root``), one of 0 and 1 for each class of the data set, and ``set``, the table that it is from.

    Raises:
        DataError: as :func:`scan`, and if rows or files cannot be used (the first ten are listed).
    """
    found, problems = scan(root, sources)
    if problems:
        lines = listed([str(problem) for problem in problems])
        raise DataError(
            f"{root}: {len(problems)} problem{'s' * (len(problems) > 1)}, beside {len(found)} samples that can be "
            f"used:\n{lines}\n"
            "mend them, or take the rows out of the table; `python -m visionlab.prepare` lists every one"
        )
    return found


def _where(root: Path, table: Path, images: str | None) -> Path:
    """Return the folder of a table's images."""
    beside = table.with_suffix("")
    folder = beside if beside.is_dir() else table.parent
    if images is not None:
        folder = check_folder(root / Path(images).expanduser(), f"the images of {table.name} (data.images)")
    if Path(os.path.relpath(folder, root)).parts[:1] == ("..",):
        raise DataError(
            f"{folder}: expected the images of {table.name} in data.root ({root}), found them outside of it; set "
            "data.root to a folder that holds all files"
        )
    return folder


def _join(labels: LabelTable, images: StainFiles, sources: Sources, problems: list[Problem]) -> pd.DataFrame:
    """Return the rows of a table that have all needed files; add to ``problems`` those that lack some."""
    stains = sources.channels.names
    rows: list[int] = []
    files: list[list[str]] = []
    absent = 0
    for row, sample in enumerate(labels.ids):
        there = images.samples.get(sample)
        if there is None:
            absent += 1
        elif wrong := images.wrong(sample):
            problems.append(wrong)
        else:
            rows.append(row)
            files.append([there[stain] for stain in stains])
    if absent and absent == len(labels.ids):
        example = f"{labels.ids[0]}_{stains[0]}.png"
        found = f"images of other types ({images.others}): convert them" if images.others else "none of them"
        advice = "data.images sets another folder" if labels.name == sources.table else "move them there"
        raise DataError(
            f"{labels.name}: expected images of its {absent} rows in {images.folder}, such as {example} (or .tif), "
            f"found {found}; {advice}"
        )
    if absent:
        text = "%s: %d of %d rows have no image in %s and are left out"
        LOG.info(text, labels.name, absent, labels.rows, images.folder)
    if images.others:
        LOG.warning("%s: only PNG and TIFF images are read; not used: %s", images.folder, images.others)
    columns: dict[str, list[str]] = {
        "id": [labels.ids[row] for row in rows],
        "group": [labels.groups[row] for row in rows],
        "path": [paths[0] for paths in files],
        **{f"{stain}_path": [paths[place] for paths in files] for place, stain in enumerate(stains)},
    }
    values = pd.DataFrame(labels.labels[rows], columns=list(sources.names))
    named = pd.DataFrame({"set": [labels.name] * len(rows)}, dtype=str)
    return pd.concat([pd.DataFrame(columns, dtype=str), values, named], axis=1)


class ProteinAtlasDataModule(ImageDataModule):
    """Cells in several stains, one file each, with any number of 28 labels; groups are samples, or what a column says.

    Splits are the same whatever classes and channels are chosen, so that networks for different ones can be joined.

    Args:
        seed, augment, common: see :class:`visionlab.data.module.ImageDataModule`.
        channels: what the network sees; see :class:`visionlab.data.channels.Channels`.
        table, images, extra, group_column: see :class:`Sources`. Samples of ``extra`` tables are trained on only.
        class_names: of all classes by number, for other data sets in this form; None: the 28 of the Protein Atlas.
        classes, class_group: which are learnt; see :func:`visionlab.datasets.label_table.choose_classes`.
        sampling: how often each training sample is drawn: all alike, or by its rarest label; see
            :func:`visionlab.data.sampling.sample_weights`.

    Raises:
        ConfigError: channels or classes that there are not.
    """

    task: ClassVar[str] = "protein_atlas"
    # fmt: off
    targets: Mapping[str, tuple[str, ...]] = {
        "labels": (
            "Nucleoplasm", "Nuclear membrane", "Nucleoli", "Nucleoli fibrillar center", "Nuclear speckles",
            "Nuclear bodies", "Endoplasmic reticulum", "Golgi apparatus", "Peroxisomes", "Endosomes", "Lysosomes",
            "Intermediate filaments", "Actin filaments", "Focal adhesion sites", "Microtubules", "Microtubule ends",
            "Cytokinetic bridge", "Mitotic spindle", "Microtubule organizing center", "Centrosome", "Lipid droplets",
            "Plasma membrane", "Cell junctions", "Mitochondria", "Aggresome", "Cytosol", "Cytoplasmic bodies",
            "Rods & rings",
        )
    }
    # fmt: on
    kinds: Mapping[str, str] = {"labels": "multilabel"}
    stains: ClassVar[tuple[str, ...]] = ("red", "green", "blue", "yellow")

    def __init__(
        self,
        seed: int,
        augment: Mapping[str, Any],
        *,
        channels: list[str],
        table: str,
        images: str | None,
        extra: list[str],
        group_column: str | None,
        class_names: list[str] | None,
        classes: list[int] | None,
        class_group: str | None,
        sampling: Literal["uniform", "sqrt", "balanced"],
        **common: Any,
    ) -> None:
        parse(channels, self.stains)
        names = NAMES if class_names is None else class_names
        self._ids = choose_classes(names, classes, class_group)
        super().__init__(seed, augment, channels=len(channels), **common)
        self.files = Channels(channels)
        self.channel_names = tuple(self.files.spec)
        self.targets = {"labels": tuple(names[number] for number in self._ids)}
        self.sampling = sampling
        self._sources = Sources(self.files, names, table, images, extra, group_column)

    def index(self, root: Path) -> pd.DataFrame:
        """See :func:`index`; where all of another folder is tested, the extra tables of the training are not its."""
        return index(root, replace(self._sources, extra=()) if self.chosen_splits else self._sources)

    def scan(self, root: Path) -> Scan:
        """See :func:`scan`."""
        return scan(root, self._sources)

    def check_more(self, table: pd.DataFrame, root: Path) -> list[Problem]:
        """See :func:`visionlab.data.channel_reader.check_stains`."""
        return check_stains(table, root, self.files)

    def image_reader(self, table: pd.DataFrame) -> Reader:
        return ChannelReader(self.files, self.root, stain_files(table, self.files))

    def ids(self, target: str) -> list[int]:
        return self._ids

    def make_splits(self, table: pd.DataFrame) -> Splits:
        if self.chosen_splits or self.split_file:
            return super().make_splits(table)
        names = list(self._sources.names)
        groups, labels, is_extra = table["group"].tolist(), table[names].to_numpy(), self._is_extra(table)
        options: dict[str, Any] = {**self._split, "seed": self.seed, "names": names}
        return make_stratified_splits(groups, labels, is_extra, **options)

    def assign(self, table: pd.DataFrame, splits: Splits) -> np.ndarray[Any, Any]:
        """Return the split of each row; samples of extra tables whose group is tested with are in none."""
        found = super().assign(table, splits)
        found[self._is_extra(table) & (found != "train")] = ""
        return found

    def sample_weights(self) -> np.ndarray[Any, Any] | None:
        if self.sampling == "uniform":
            return None
        return sample_weights(self.values("labels", "train"), self.sampling)

    def remarks(self) -> list[str]:
        found = []
        names = self._sources.names
        if self.files.spec != list(self.stains):
            found.append(f"channels: {', '.join(self.files.spec)}, of the stains {', '.join(self.files.names)}")
        chosen = list(self.targets["labels"])
        if len(chosen) < len(names):
            none = int((self.table[chosen].sum(axis=1) == 0).sum())
            learnt = f"{len(chosen)} of {len(names)} classes are learnt ({', '.join(chosen)})"
            found.append(f"{learnt}; {none} images have none of them")
        if empty := int((self.table[list(names)].sum(axis=1) == 0).sum()):
            found.append(f"{empty} images have no label of any class")
        if (is_extra := self._is_extra(self.table)).any():
            used = int((self.table.loc[is_extra, "split"] == "train").sum())
            rest = int(is_extra.sum()) - used
            where = f"{used} are trained on" + (f", {rest} left out, as others of their group are not" if rest else "")
            found.append(f"{int(is_extra.sum())} images are of {', '.join(self._sources.extra)}: {where}")
        return found

    def _is_extra(self, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        return (table["set"] != self._sources.table).to_numpy()


NAMES = ProteinAtlasDataModule.targets["labels"]
"""The 28 classes of the Human Protein Atlas in the competition of 2018, by number."""
