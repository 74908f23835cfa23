"""Data set ``depth_mask``: images, perhaps with their backgrounds, and the foreground's mask and depth map of each.

Three layouts are read. ``flat``: ``images/``, ``masks/``, ``depth/`` hold files of equal names, or of equal numbers at
their ends (``fgbg000123`` and ``mask000123``). ``nested``: in each of them lies one folder a background, and ``bg/``
holds the backgrounds, once each. ``table``: one row an image, with the files that go with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.data.splits import Splits
from visionlab.datasets.pairing import (
    Files,
    by_name_or_number,
    group_by_number,
    group_by_pattern,
    some,
    warn_own_groups,
)
from visionlab.datasets.tables import FileCells, Table, filled, once
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.files import Problem, Scan, check_folder
from visionlab.io import IMAGE_SUFFIXES
from visionlab.seeds import derive

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
SSIM_WINDOW = 11
"""Least side of an image, in pixels: SSIM compares windows of 11 x 11."""

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
        self._layout: tuple[str, str | None, int, str | None] = (layout, table, per_background, group_pattern)
        self.mask_threshold, self.depth_invalid, self.depth_scale = mask_threshold, depth_invalid, depth_scale
        self.split_by = split_by

    def scan(self, root: Path) -> Scan:
        """See :func:`scan`."""
        return scan(root, *self._layout)

    def reading(self, name: str) -> dict[str, Any]:
        return {"threshold": self.mask_threshold} if name == "mask" else {"invalid": self.depth_invalid}

    def check_sizes(self, sizes: Sequence[tuple[int, int]]) -> None:
        small = [row for row, size in enumerate(sizes) if min(size) < SSIM_WINDOW]
        if small:
            raise DataError(
                f"{self.root / self.table['path'].iloc[small[0]]}: {sizes[small[0]][0]} x {sizes[small[0]][1]} pixels, "
                f"smaller than the window of SSIM ({SSIM_WINDOW} x {SSIM_WINDOW}), as are {len(small) - 1} other "
                "images; export them larger, or remove them with what belongs to them"
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


def scan(root: str | Path, layout: str, table: str | None, per_background: int, group_pattern: str | None) -> Scan:
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
    if (table is None) if layout == "table" else (table is not None and layout != "auto"):
        raise ConfigError(
            f"data.table: expected a csv file with data.layout=table, and none with others, found {table}"
        )
    if table is not None:
        layout, (found, problems) = "table", _listed(folder, table)
    else:
        folders = _folders(folder)
        if layout == "auto":
            layout = "nested" if _holds_folders_only(folder / folders["image"]) else "flat"
        found, problems = _paired(folder, folders, nested=layout == "nested")
    if group_pattern is not None and "group" in found and layout == "table":
        raise ConfigError("data.group_pattern: not used, as data.table has a column 'group'; leave one of them out")
    if group_pattern is not None:
        found["group"], wrong = group_by_pattern(found, group_pattern)
        problems += wrong
    elif layout == "flat":
        found["group"] = group_by_number(found["id"].tolist(), per_background)
    elif "group" not in found:
        found["group"] = found.get("background_path", found["id"])
        warn_own_groups(int((found.groupby("group")["id"].transform("size") == 1).sum()), len(found))
    found = found.loc[found["group"] != "", [name for name in _ORDER if name in found]].reset_index(drop=True)
    files = ", ".join(name.removesuffix("_path") for name in map(str, found) if name.endswith("_path"))
    LOG.info(
        "%s: %s layout, %d images in %d groups, with %s", root, layout, len(found), found["group"].nunique(), files
    )
    if "background_path" in found:
        counts = found.groupby("background_path")["group"].nunique()
        if shared := counts.index[counts > 1].tolist():
            what = f"is the background of several groups, like {len(shared) - 1} others of {len(counts)}"
            advice = "make the background the group, or a test sees backgrounds of training"
            problems.append(Problem(shared[0], what, advice, "warning"))
    return Scan(found, problems)


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
        listed = some([f"{name}/" for name in names]) if names else "no folders"
        raise DataError(f"{root}: expected images with masks or depth maps, found {listed}; {LAYOUTS}")
    return found


def _holds_folders_only(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return {entry.is_dir() for entry in entries if not entry.name.startswith(".")} == {True}


def _paired(root: Path, folders: Mapping[str, str], *, nested: bool) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the images of the folders, sorted by ``id``: the path in their folder, without suffix; and what is wrong.

    In the nested layout this is ``BACKGROUND/FOREGROUND/NAME``, or without the second; ``group`` and ``foreground``
    (empty if there is none) are columns then.
    """
    files = {role: Files(root, name, role, KINDS[role], LAYOUTS) for role, name in folders.items()}
    images = files["image"]
    table, problems = images.table(), list(images.problems)
    if nested:
        outside = ~table["id"].str.contains("/")
        advice = f"expected {folders['image']}/BACKGROUND/FOREGROUND/NAME, or data.layout=flat"
        problems += [Problem(path, "lies in no folder of a background", advice) for path in table["path"][outside]]
        table = table[~outside].reset_index(drop=True)
        parts = [sample.split("/", 2) for sample in table["id"]]
        table["group"] = [part[0] for part in parts]
        table["foreground"] = [part[1] if len(part) > 2 else "" for part in parts]
    for role in MAPS:
        if role in files:
            wanted = table["id"].tolist() if nested else by_name_or_number(images, files[role])
            problems += files[role].attach(table, wanted)
    if backgrounds := files.get("background"):
        wanted = table["group" if nested else "id"].tolist()
        if nested or backgrounds.paths.keys() & set(wanted):
            problems += backgrounds.attach(table, wanted)
        else:
            # A folder of backgrounds from which the images were made does not say which is behind which.
            LOG.warning(
                "%s: not used, since none of its %d files has the name of an image; a table with a column"
                " 'background' (data.table) can say which belongs to which",
                *(root / backgrounds.name, len(backgrounds.paths)),
            )
    partners = [name for name in map(str, table) if name.endswith("_path")]
    return table[(table[partners] != "").all(axis=1)].reset_index(drop=True), problems


def _listed(root: Path, name: str) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the images that a table lists, sorted by ``id`` (the path without suffix), and what is wrong with rows.

    The header names the columns: ``image`` and at least one of ``mask``, ``depth``; perhaps ``background``, ``group``,
    ``foreground``; others are ignored.
    """
    table = Table(root, name)
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
    return pd.DataFrame(found, columns=names, dtype=str), table.problems
