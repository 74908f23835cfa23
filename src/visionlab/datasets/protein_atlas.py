"""Data set ``protein_atlas``: cells in several stains, one file each, and which parts of the cell hold a protein."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from visionlab.console import LOG
from visionlab.data.channels import ChannelReader, Channels, StainFiles, parse
from visionlab.data.module import ImageDataModule
from visionlab.data.preprocess import Reader
from visionlab.data.splits import Splits
from visionlab.data.stratify import make_stratified_splits
from visionlab.datasets import choose_classes
from visionlab.datasets.tables import RowError, Table, filled, once
from visionlab.errors import ConfigError, DataError
from visionlab.files import Problem, Scan, check_folder

ID, TARGET = "Id", "Target"
Row = tuple[str, str, list[int]]
"""Of a sample: its Id, its group and the numbers of its classes."""


class ProteinAtlasDataModule(ImageDataModule):
    """Cells in several stains, one file each, with any number of 28 labels; groups are samples, or what a column says.

    Splits are the same whatever classes and channels are chosen, so that networks for different ones can be joined.

    Args:
        seed, augment, common: see :class:`visionlab.data.module.ImageDataModule`.
        channels: what the network sees; see :class:`visionlab.data.channels.Channels`.
        table, images, extra, group_column: see :func:`scan`. Samples of ``extra`` tables are trained on only.
        class_names: of all classes by number, for other data sets in this form; None: the 28 of the Protein Atlas.
        classes, class_group: which are learnt; see :func:`visionlab.datasets.choose_classes`.
        sampling: how often each training sample is drawn: all alike, or by its rarest label; see
            :func:`sample_weights`.

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
        class_names: Annotated[list[str], Field(min_length=1)] | None,
        classes: list[int] | None,
        class_group: str | None,
        sampling: Literal["uniform", "sqrt", "balanced"],
        **common: Any,
    ) -> None:
        parse(channels, self.stains)
        if common.get("stain") is not None:
            raise ConfigError("data.stain: expected null where each stain has a file; data.channels chooses stains")
        self.names: Sequence[str] = NAMES if class_names is None else class_names
        self._ids = choose_classes(self.names, classes, class_group)
        super().__init__(seed, augment, channels=len(channels), **common)
        self.files = Channels(channels)
        self.channel_names = tuple(self.files.spec)
        self.targets = {"labels": tuple(self.names[number] for number in self._ids)}
        self.sampling = sampling
        self._tables: dict[str, Any] = {"table": table, "images": images, "extra": extra, "group_column": group_column}

    def index(self, root: Path) -> pd.DataFrame:
        """See :func:`scan`; where all of another folder is tested, the extra tables of the training are not its."""
        tables = {**self._tables, "extra": ()} if self.chosen_splits else self._tables
        return scan(root, self.files, self.names, **tables).usable(root)

    def scan(self, root: Path) -> Scan:
        """See :func:`scan`."""
        return scan(root, self.files, self.names, **self._tables)

    def image_reader(self, table: pd.DataFrame) -> Reader:
        return ChannelReader(channels=self.files, root=self.root, table=table)

    def ids(self, target: str) -> list[int]:
        return self._ids

    def make_splits(self, table: pd.DataFrame) -> Splits:
        if self.chosen_splits or self.split_file:
            return super().make_splits(table)
        names = list(self.names)
        groups, labels, is_extra = table["group"].tolist(), table[names].to_numpy(), self._is_extra(table)
        return make_stratified_splits(groups, labels, self.shares, is_extra)

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
        names = list(self.names)
        if self.files.spec != list(self.stains):
            found.append(f"channels: {', '.join(self.files.spec)}, of the stains {', '.join(self.files.names)}")
        chosen = list(self.targets["labels"])
        if len(chosen) < len(names):
            none = int((self.table[chosen].sum(axis=1) == 0).sum())
            learnt = f"{len(chosen)} of {len(names)} classes are learnt ({', '.join(chosen)})"
            found.append(f"{learnt}; {none} images have none of them")
        if empty := int((self.table[names].sum(axis=1) == 0).sum()):
            found.append(f"{empty} images have no label of any class")
        if (is_extra := self._is_extra(self.table)).any():
            used = int((self.table.loc[is_extra, "split"] == "train").sum())
            rest = int(is_extra.sum()) - used
            where = f"{used} are trained on" + (f", {rest} left out, as others of their group are not" if rest else "")
            found.append(f"{int(is_extra.sum())} images are of {', '.join(self._tables['extra'])}: {where}")
        return found

    def _is_extra(self, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        return (table["set"] != self._tables["table"]).to_numpy()


NAMES = ProteinAtlasDataModule.targets["labels"]
"""The 28 classes of the Human Protein Atlas in the competition of 2018, by number."""


# Index --------------------------------------------------------------------------------------------------------------


def scan(
    root: str | Path,
    channels: Channels,
    names: Sequence[str],
    *,
    table: str = "train.csv",
    images: str | None = None,
    extra: Sequence[str] = (),
    group_column: str | None = None,
) -> Scan:
    """Index a folder, collecting what is wrong with rows and files.

    Rows without any file and files without a row are left out; how many is logged.

    Args:
        root: folder of the data.
        channels: whose stains are needed.
        names: of all classes, by number.
        table: a csv file relative to the root, or absolute, with the columns Id and Target (numbers of classes divided
            by spaces; none at all is a Target, too).
        images: folder of its images, relative to the root; what lies deeper is found, too. None: the folder beside the
            table that is named like it (``train/`` for ``train.csv``) if there is one, else the table's folder.
        extra: further tables; their images are where None says.
        group_column: of the tables, whose values are the groups; None: each sample is its own.

    Returns:
        One row a sample, sorted by ``id``: ``group``, ``path`` (the file of the first needed stain), ``<stain>_path``
        for each needed stain (all relative to ``root``), one of 0 and 1 for each class of the data set, and ``set``,
        the table that it is from.

    Raises:
        DataError: a folder or table cannot be read, or no row of a table has a file.
    """
    folder = check_folder(root, f"{table} and images of {', '.join(channels.names)}")
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    listings: dict[Path, StainFiles] = {}
    frames: list[pd.DataFrame] = []
    for key, name, inside in [("data.table", table, images), *(("data.extra", name, None) for name in extra)]:
        listed = Table(folder, name, key)
        rows = _labels(listed, len(names), group_column, seen)
        where = _images_of(folder, listed.path, inside)
        if where not in listings:
            listings[where] = StainFiles(folder, where, channels)
        frames.append(_join(rows, name, listings[where], channels, names, problems))
        problems += listed.problems
    unnamed = {path for there in listings.values() for path in there.unnamed(seen)}
    if unnamed:
        LOG.info("%s: %d image files are of no row and not used, for instance %s", root, len(unnamed), min(unnamed))
    found = pd.concat(frames).sort_values("id", ignore_index=True)
    stains = ", ".join(channels.names)
    LOG.info("%s: %d samples of %s in %d groups", root, len(found), stains, found["group"].nunique())
    return Scan(found, problems)


def _labels(table: Table, classes: int, group_column: str | None, seen: dict[str, str]) -> list[Row]:
    """Return the rows of a table; ``seen`` holds where the Ids of all tables stand."""
    table.require([ID, TARGET])
    if group_column is not None:
        table.require([group_column], hint="; data.group_column names it")
    group = group_column or ID
    known = {str(number): number for number in range(classes)}

    def labels(row: dict[str, str], where: str) -> Row:
        filled(row, [ID, group])
        once(seen, row[ID], where, f"the {ID} '{row[ID]}'")
        found = row[TARGET].split()
        for text in found:
            if text not in known:
                advice = f"expected numbers from 0 to {classes - 1} divided by spaces: mend {TARGET}"
                raise RowError(f"there is no label '{text}'", advice)
        if len(set(found)) < len(found):
            raise RowError(f"the {TARGET} '{row[TARGET]}' names a label twice", "keep one")
        return row[ID], row[group], [known[text] for text in found]

    return table.read(labels)


def _images_of(root: Path, table: Path, images: str | None) -> Path:
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


def _join(
    rows: list[Row], name: str, images: StainFiles, channels: Channels, names: Sequence[str], problems: list[Problem]
) -> pd.DataFrame:
    """Return the samples of table ``name`` that have all needed files; add to ``problems`` those that lack some."""
    there = [row for row in rows if row[0] in images.samples]
    if rows and not there:
        found = f"images of other types ({images.others}): convert them" if images.others else "none of them"
        raise DataError(
            f"{name}: expected images of its {len(rows)} rows in {images.folder}, such as "
            f"{rows[0][0]}_{channels.names[0]}.png (or .tif), found {found}; data.images sets the folder of data.table"
        )
    if len(there) < len(rows):
        absent = len(rows) - len(there)
        LOG.info("%s: %d of %d rows have no image in %s and are left out", name, absent, len(rows), images.folder)
    if images.others:
        LOG.warning("%s: only PNG and TIFF images are read; not used: %s", images.folder, images.others)
    wrong = {sample: images.wrong(sample) for sample, _, _ in there}
    problems += [problem for problem in wrong.values() if problem]
    kept = [row for row in there if not wrong[row[0]]]
    files = {f"{stain}_path": [images.samples[sample][stain] for sample, _, _ in kept] for stain in channels.names}
    about = {"id": [row[0] for row in kept], "group": [row[1] for row in kept], "path": next(iter(files.values()))}
    values = np.zeros((len(kept), len(names)), np.int8)
    for place, (_, _, classes) in enumerate(kept):
        values[place, classes] = 1
    columns = pd.DataFrame({**about, **files}, dtype=str), pd.DataFrame(values, columns=list(names))
    return pd.concat([*columns, pd.DataFrame({"set": [name] * len(kept)}, dtype=str)], axis=1)


def sample_weights(labels: npt.ArrayLike, method: Literal["sqrt", "balanced"]) -> npt.NDArray[np.float64]:
    """Return N chances of being drawn, their sum 1, so that rare labels are seen more often than they occur.

    A sample weighs as its rarest label, because that is the one whose images are missing otherwise; a label's other
    images come along with it. ``balanced``: 1 / n for a label of n samples (class-aware sampling, Shen et al. 2016,
    "Relay backpropagation"), so that the rarest labels of 11 and 10,000 samples are drawn equally often. That shows the
    11 images again and again; ``sqrt``: 1 / sqrt(n), lies between this and the true frequencies (Mahajan et al. 2018,
    "Exploring the limits of weakly supervised pretraining"; the maximum over labels as in Gupta et al. 2019, "LVIS").
    Samples without labels weigh as the commonest label.

    Args:
        labels: N x K of 0/1, N at least 1.
        method: ``sqrt`` or ``balanced``.
    """
    has = np.asarray(labels) > 0
    counts = has.sum(axis=0)
    commonest = counts.max(initial=1)
    rarest = np.where(has, counts, commonest).min(axis=1, initial=commonest).astype(np.float64)
    weights = 1.0 / (np.sqrt(rarest) if method == "sqrt" else rarest)
    return np.asarray(weights / weights.sum())
