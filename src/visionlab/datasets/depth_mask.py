"""Data set ``depth_mask``: images, perhaps with their backgrounds, and the foreground's mask and depth map of each.

Three layouts are read. ``flat``: ``images/``, ``masks/``, ``depth/`` hold files of equal names, or of equal numbers at
their ends (``fgbg000123`` and ``mask000123``). ``nested``: in each of them lies one folder a background, and ``bg/``
holds the backgrounds, once each. ``table``: one row an image, with the files that go with it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.data.splits import Splits
from visionlab.datasets.map_checks import SSIM_WINDOW, check_maps
from visionlab.datasets.pairing import (
    Files,
    by_name_or_number,
    group_by_number,
    group_by_pattern,
    shared,
    some,
    warn_own_groups,
)
from visionlab.datasets.tables import FileCells, Table, filled, once
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.files import Problem, Scan, check_folder
from visionlab.io import IMAGE_SUFFIXES
from visionlab.seeds import derive

Layout = Literal["auto", "flat", "nested", "table"]

FOLDERS = {
    "image": ("images", "image", "fgbg", "fg_bg"),
    "mask": ("masks", "mask", "fgbgmask", "fg_bg_mask"),
    "depth": ("depth", "depths", "dense", "fg_bg_depth"),
    "background": ("background", "backgrounds", "bg"),
}
KINDS = dict.fromkeys(FOLDERS, IMAGE_SUFFIXES) | {"depth": (*IMAGE_SUFFIXES, "npy")}
MAPS = ("mask", "depth")
LAYOUTS = """the layouts are
  flat:   images/, masks/ and depth/ with files of equal names or equal numbers at their ends
          (also called fg_bg, fg_bg_mask, fg_bg_depth); backgrounds/ is optional
  nested: fgbg/, fgbgmask/ and dense/ with BACKGROUND/FOREGROUND/NAME.jpg in each, and bg/BACKGROUND.jpg
  table:  data.table=FILE.csv with the columns image, mask, depth and optionally background, group, foreground"""

_ORDER = ("id", "group", "path", "mask_path", "depth_path", "background_path", "foreground")
# Type of the depth files -> factor and unit with data.depth_scale=auto, and what that means.
_SCALES = {"uint8": (1 / 255, ""), "uint16": (0.001, "m"), "float32": (1.0, "m")}
_MEANING = {"uint8": "relative depth, 0 to 1", "uint16": "millimetres", "float32": "metres"}


class DepthMaskDataModule(ImageDataModule):
    """Images with a foreground: its mask and the depth of everything; groups are backgrounds.

    Args:
        seed, augment, common: see :class:`visionlab.data.module.ImageDataModule`.
        inputs: what the network sees: ``[image]``, or ``[image, background]``.
        layout, table, per_background, group_pattern: see :func:`scan`.
        mask_threshold: see :func:`visionlab.io.read_mask`.
        depth_invalid: see :func:`visionlab.io.read_depth`.
        depth_scale: what the numbers in depth files are multiplied with to have the unit of the head. ``auto``: 8 bits
            are relative, 0 to 1 without a unit; 16 bits are millimetres and float is metres, both given in m.
        split_by: ``[background]``, or ``[background, foreground]``: then no foreground is in two splits either, and
            images that mix the foreground of one split with the background of another are in none.
    """

    task: ClassVar[str] = "depth_mask"
    maps: ClassVar[dict[str, str]] = {"mask": "mask", "depth": "depth"}

    def __init__(
        self,
        seed: int,
        augment: Mapping[str, Any],
        *,
        inputs: list[Literal["image", "background"]],
        layout: Literal["auto", "flat", "nested", "table"],
        table: str | None,
        per_background: Annotated[int, Field(ge=1)],
        group_pattern: str | None,
        mask_threshold: Annotated[int, Field(ge=1)] | None,
        depth_invalid: Literal["auto", "none"] | float,
        depth_scale: Literal["auto"] | Annotated[float, Field(gt=0)],
        split_by: list[Literal["background", "foreground"]],
        **common: Any,
    ) -> None:
        super().__init__(seed, augment, **common)
        self.inputs = tuple(inputs)
        self._layout = {
            "layout": layout,
            "table": table,
            "per_background": per_background,
            "group_pattern": group_pattern,
        }
        self.mask_threshold, self.depth_invalid, self.depth_scale = mask_threshold, depth_invalid, depth_scale
        self.split_by = split_by

    def scan(self, root: Path) -> Scan:
        """See :func:`scan`."""
        return scan(root, **self._layout)  # type: ignore[arg-type]

    def check_more(self, table: pd.DataFrame, root: Path) -> list[Problem]:
        """See :func:`visionlab.datasets.map_checks.check_maps`; maps that no head learns are left out."""
        others = [f"{name}_path" for name in self.maps if name not in self.learnt and f"{name}_path" in table]
        return check_maps(
            table.drop(columns=others), root, mask_threshold=self.mask_threshold, invalid=self.depth_invalid
        )

    def reading(self, name: str) -> dict[str, Any]:
        return {"threshold": self.mask_threshold} if name == "mask" else {"invalid": self.depth_invalid}

    def check_sizes(self, sizes: Sequence[tuple[int, int]]) -> None:
        small = [row for row, size in enumerate(sizes) if min(size) < SSIM_WINDOW]
        if small:
            height, width = sizes[small[0]]
            more = f", nor can {len(small) - 1} others" if len(small) > 1 else ""
            raise DataError(
                f"{self.root / self.table['path'].iloc[small[0]]}: {height} x {width} pixels, smaller than the window "
                f"of SSIM ({SSIM_WINDOW} x {SSIM_WINDOW}), so its maps cannot be compared{more}; export them larger, "
                "or remove them with what belongs to them"
            )

    def map_unit(self, name: str, unit: str) -> tuple[float, str]:
        if name == "mask":
            return 1.0, ""
        if self.depth_scale != "auto":
            return float(self.depth_scale), unit
        if unit not in ("", "m"):
            raise UsageError(
                f"heads.{name}.unit: expected m with data.depth_scale=auto, found '{unit}'; give data.depth_scale, "
                f"what the numbers in the files are multiplied with to be {unit}"
            )
        return _SCALES[str(self.stored_maps[name].cache.facts["dtype"].iloc[0])]

    def assign(self, table: pd.DataFrame, splits: Splits) -> np.ndarray[Any, Any]:
        found = super().assign(table, splits)
        # Where other splits than the configured ones are wanted, that is all of another folder.
        if "foreground" not in self.split_by or self.chosen_splits:
            return found
        if "foreground" not in table or (table["foreground"] == "").any():
            raise UsageError(
                "data.split_by: expected the foreground of each image, which this data set does not tell; in nested "
                "folders it is the middle one, in a table the column 'foreground'. Or set data.split_by=[background]"
            )
        of = self._foregrounds(table, found)
        kept = np.where(table["foreground"].map(of).to_numpy() == found, found, "")
        LOG.info(
            "%d images mix foreground and background of different splits and are left out",
            int(((kept == "") & (found != "")).sum()),
        )
        return kept

    def _foregrounds(self, table: pd.DataFrame, split: np.ndarray[Any, Any]) -> dict[str, str]:
        """Return the split of each foreground: the one that all its images are in, else dealt out like the backgrounds.

        Dealt out means shuffled by the seed, each split getting its share of them, to the nearest number.
        """
        used = table.assign(split=split)[split != ""]
        seen = used.groupby("foreground")["split"].unique()
        of = {str(name): str(splits[0]) for name, splits in seen.items()}
        mixed = sorted(str(name) for name, splits in seen.items() if len(splits) > 1)
        shares = used["split"].value_counts(normalize=True).sort_index()
        ends = np.rint(shares.cumsum().to_numpy() * len(mixed)).astype(int)
        order = np.random.default_rng(derive(self.seed, "foreground")).permutation(len(mixed))
        for place, chosen in enumerate(order):
            of[mixed[chosen]] = str(shares.index[int(np.searchsorted(ends, place, side="right"))])
        return of

    def remarks(self) -> list[str]:
        found = []
        if "depth" in self.stored_maps and self.depth_scale == "auto":
            dtype = str(self.stored_maps["depth"].cache.facts["dtype"].iloc[0])
            found.append(f"depth: {dtype} files taken as {_MEANING[dtype]} (data.depth_scale=auto)")
        if "foreground" in self.table and "foreground" not in self.split_by:
            of = self.table[(self.table["foreground"] != "") & (self.table["split"] != "")].groupby("foreground")
            shared = int((of["split"].nunique() > 1).sum())
            if shared:
                found.append(
                    f"{shared} foregrounds are in several splits (their backgrounds are not): the test says how well "
                    "new backgrounds do, not new objects; data.split_by=[background,foreground] keeps them apart"
                )
        return found


@dataclass
class _Samples:
    """The samples found: equally long columns (``id``, ``path``, ``mask_path``, ...), and what cannot be used."""

    columns: dict[str, list[str]]
    problems: list[Problem] = field(default_factory=list)

    def attach(self, files: Files, wanted: Mapping[str, str]) -> None:
        """Add a column with each sample's file; samples without one lose their row in :meth:`complete`."""
        images = dict(zip(self.columns["id"], self.columns["path"], strict=True))
        try:
            column, problems = files.partners(wanted, images)
        except DataError as error:
            raise DataError(f"{error}; {LAYOUTS}") from None
        self.columns[f"{files.role}_path"] = column
        self.problems += files.problems + problems

    def keep(self, kept: Sequence[bool]) -> None:
        for name, column in self.columns.items():
            self.columns[name] = [value for value, keep in zip(column, kept, strict=True) if keep]

    def complete(self) -> _Samples:
        """Drop the samples that lack a file."""
        partners = [column for name, column in self.columns.items() if name.endswith("_path")]
        self.keep([all(paths) for paths in zip(*partners, strict=True)])
        return self


def scan(
    root: str | Path, *, layout: Layout, table: str | None, per_background: int, group_pattern: str | None
) -> Scan:
    """Index a folder in one of the layouts, collecting what is wrong with files.

    Args:
        root: folder of the data.
        layout: ``auto`` takes the table if there is one, else ``nested`` if the folder of the images holds folders
            only, else ``flat``.
        table: a csv file relative to ``root``, or absolute.
        per_background: how many images that follow each other by number show one background (flat layout).
        group_pattern: a regular expression; what its first parenthesis finds in the id is the group.

    Returns:
        One row an image, sorted by ``id``: ``group``, ``path`` and, where the data have such files, ``mask_path``,
        ``depth_path``, ``background_path`` (all relative to ``root``) and ``foreground`` (its name, empty if unknown).

    Raises:
        DataError: the folder or table cannot be read, or holds nothing in that layout.
        ConfigError: the arguments contradict each other, or ``group_pattern`` cannot be used.
    """
    folder = check_folder(root, f"images and their {' or '.join(MAPS)} maps")
    if layout == "table" and table is None:
        raise ConfigError("data.table: expected a csv file for data.layout=table, found none")
    if table is not None and layout not in ("auto", "table"):
        raise ConfigError(f"data.table: not used with data.layout={layout}; leave one of them out")
    if table is not None:
        layout, samples = "table", _listed(folder, table)
    else:
        folders = _folders(folder)
        if layout == "auto":
            layout = "nested" if _holds_folders_only(folder / folders["image"]) else "flat"
        samples = (_nested if layout == "nested" else _flat)(folder, folders)
    _group(samples, layout, per_background, group_pattern)
    columns = samples.columns
    found = pd.DataFrame({name: columns[name] for name in _ORDER if name in columns}, dtype=str)
    found = found[found["group"] != ""].reset_index(drop=True)
    files = ", ".join(name.removesuffix("_path") for name in _ORDER if name.endswith("_path") and name in found)
    LOG.info(
        "%s: %s layout, %d images in %d groups, with %s", root, layout, len(found), found["group"].nunique(), files
    )
    return Scan(found, [*samples.problems, *_shared_backgrounds(found)])


def _folders(root: Path) -> dict[str, str]:
    """Return the names of the folders in ``root`` that hold images, masks, depth maps and backgrounds."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    found: dict[str, str] = {}
    for role, known in FOLDERS.items():
        matching = [name for name in names if name.lower() in known]
        if len(matching) > 1:
            raise DataError(
                f"{root}: expected one folder for each {role}, found {' and '.join(matching)}; rename the one that is"
                " not meant, or list the files in a table (data.table=FILE.csv)"
            )
        if matching:
            found[role] = matching[0]
    if "image" not in found or not any(role in found for role in MAPS):
        listed = some([f"{name}/" for name in names], 10) if names else "no folders"
        raise DataError(f"{root}: expected images with masks or depth maps, found {listed}; {LAYOUTS}")
    return found


def _holds_folders_only(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return {entry.is_dir() for entry in entries if not entry.name.startswith(".")} == {True}


def _files(root: Path, folders: Mapping[str, str], role: str) -> Files:
    return Files(root, folders[role], role, KINDS[role], LAYOUTS)


def _flat(root: Path, folders: Mapping[str, str]) -> _Samples:
    """Return the samples of the flat layout, sorted by ``id``: the image's path in its folder, without suffix."""
    images = _files(root, folders, "image")
    samples = _Samples({"id": list(images.paths), "path": list(images.paths.values())}, list(images.problems))
    for role in MAPS:
        if role in folders:
            files = _files(root, folders, role)
            samples.attach(files, by_name_or_number(images, files))
    if "background" in folders:
        backgrounds = _files(root, folders, "background")
        if backgrounds.paths.keys().isdisjoint(images.paths):
            # A folder of backgrounds from which the images were made does not say which is behind which.
            LOG.warning(
                "%s/%s: not used, since none of its %d files has the name of an image; a table with a column"
                " 'background' (data.table) can say which belongs to which",
                *(root, backgrounds.name, len(backgrounds.paths)),
            )
        else:
            samples.attach(backgrounds, {key: key for key in images.paths})
    return samples.complete()


def _nested(root: Path, folders: Mapping[str, str]) -> _Samples:
    """Return the samples of the nested layout, sorted by ``id``: ``BACKGROUND/FOREGROUND/NAME``, or without the second.

    The columns hold ``group`` (the first folder) and ``foreground`` (the second one; empty if there is none) as well.
    """
    images = _files(root, folders, "image")
    samples = _Samples({"id": list(images.paths), "path": list(images.paths.values())}, list(images.problems))
    columns = samples.columns
    for sample, path in images.paths.items():
        if "/" not in sample:
            what = f"lies directly in {folders['image']}/, in no folder of a background"
            advice = f"expected {folders['image']}/BACKGROUND/FOREGROUND/NAME"
            samples.problems.append(Problem(path, what, advice))
    samples.keep(["/" in sample for sample in columns["id"]])
    if not columns["id"]:
        raise DataError(
            f"{root / folders['image']}: expected a folder for each background, found files only; set data.layout=flat"
        )
    parts = [sample.split("/", 2) for sample in columns["id"]]
    columns["group"] = shared(part[0] for part in parts)
    columns["foreground"] = shared(part[1] if len(part) > 2 else "" for part in parts)
    for role in MAPS:
        if role in folders:
            samples.attach(_files(root, folders, role), {key: key for key in columns["id"]})
    if "background" in folders:
        of = dict(zip(columns["id"], columns["group"], strict=True))
        samples.attach(_files(root, folders, "background"), of)
    return samples.complete()


def _listed(root: Path, name: str) -> _Samples:
    """Return the samples that a table lists, sorted by ``id`` (the image's path without suffix).

    The header names the columns: ``image`` and at least one of ``mask``, ``depth``; perhaps ``background``, ``group``,
    ``foreground``; others are ignored.
    """
    table = Table(root / Path(name).expanduser(), root, "data.table")
    table.require(["image", MAPS], once=(*KINDS, "group", "foreground"))
    roles = [role for role in KINDS if role in table.header]
    about = [column for column in ("group", "foreground") if column in table.header]
    cells = FileCells(root, table.path)
    seen: dict[str, str] = {}

    def sample(row: dict[str, str], where: str) -> list[str]:
        filled(row, [*roles, "group"])
        paths = [cells.find(row, role, KINDS[role]) for role in roles]
        key = paths[0].rpartition(".")[0]
        once(seen, key, where, f"the image '{paths[0]}'")
        return [key, *paths, *(row[column] for column in about)]

    found = sorted(table.read(sample), key=lambda row: row[0])
    names = ["id", "path", *(f"{role}_path" for role in roles[1:]), *about]
    return _Samples({column: [row[place] for row in found] for place, column in enumerate(names)}, table.problems)


def _group(samples: _Samples, layout: str, per_background: int, pattern: str | None) -> None:
    """Fill the column ``group``: empty where the pattern finds none."""
    columns = samples.columns
    ids = columns["id"]
    if pattern is not None and (layout != "table" or "group" not in columns):
        columns["group"], problems = group_by_pattern(ids, columns["path"], pattern)
        samples.problems += problems
    elif pattern is not None:
        raise ConfigError("data.group_pattern: not used, as data.table has a column 'group'; leave one of them out")
    elif layout == "flat":
        columns["group"] = group_by_number(ids, per_background)
    elif "group" not in columns:
        columns["group"] = columns.get("background_path", ids)
        if own := sum(count == 1 for count in Counter(columns["group"]).values()):
            warn_own_groups(own, len(ids))


def _shared_backgrounds(found: pd.DataFrame) -> list[Problem]:
    if "background_path" not in found:
        return []
    counts = found.groupby("background_path")["group"].nunique()
    shared_ones = counts.index[counts > 1].tolist()
    if not shared_ones:
        return []
    what = f"is the background of several groups, like {len(shared_ones) - 1} others of {len(counts)}"
    advice = "make the background the group, or a test sees backgrounds of training"
    return [Problem(shared_ones[0], what, advice, "warning")]
