"""Data set ``depth_mask``: images, perhaps with their backgrounds, and the foreground's mask and depth map of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.data.splits import Splits
from visionlab.datasets.background_groups import by_number, by_pattern, warn_own
from visionlab.datasets.layouts import MAPS, Rows, find_folders, flat, is_nested, nested
from visionlab.datasets.pairs import SSIM_WINDOW, check_maps
from visionlab.datasets.tables import read_table
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.files import Problem, Scan, check_folder, listed
from visionlab.seeds import derive

Layout = Literal["auto", "flat", "nested", "table"]

_ORDER = ("id", "group", "path", "mask_path", "depth_path", "background_path", "foreground")


def scan(
    root: str | Path, *, layout: Layout, table: str | None, per_background: int, group_pattern: str | None
) -> Scan:
    """Index a folder in one of the layouts of :mod:`visionlab.datasets.layouts`, collecting what is wrong with files.

    Args:
        root: folder of the data.
        layout: ``auto`` takes the table if there is one, else ``nested`` if the folder of the images holds folders
            only, else ``flat``.
        table: a csv file relative to ``root``, or absolute; see :func:`visionlab.datasets.tables.read_table`.
        per_background: how many images that follow each other by number show one background (flat layout).
        group_pattern: a regular expression; what its first parenthesis finds in the id is the group.

    Returns:
        The table of :func:`index` without the samples that have a problem, and the problems.

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
        layout, rows = "table", read_table(folder, table)
    else:
        folders = find_folders(folder)
        if layout == "auto":
            layout = "nested" if is_nested(folder / folders["image"]) else "flat"
        rows = nested(folder, folders) if layout == "nested" else flat(folder, folders)
    _group(rows, layout, per_background, group_pattern)
    found = pd.DataFrame({name: rows.columns[name] for name in _ORDER if name in rows.columns}, dtype=str)
    found = found[found["group"] != ""].reset_index(drop=True)
    files = ", ".join(name.removesuffix("_path") for name in _ORDER if name.endswith("_path") and name in found)
    LOG.info(
        "%s: %s layout, %d images in %d groups, with %s", root, layout, len(found), found["group"].nunique(), files
    )
    return Scan(found, [*rows.problems, *_shared_backgrounds(found)])


def index(
    root: str | Path, *, layout: Layout, table: str | None, per_background: int, group_pattern: str | None
) -> pd.DataFrame:
    """Return one row an image, sorted by ``id``; arguments as for :func:`scan`.

    Columns: ``id``, ``group``, ``path`` and, where the data have such files, ``mask_path``, ``depth_path``,
    ``background_path`` (all relative to ``root``) and ``foreground`` (its name, empty if unknown).

    Raises:
        DataError: as :func:`scan`, and if files cannot be used (the first ten are listed).
        ConfigError: as :func:`scan`.
    """
    found, problems = scan(root, layout=layout, table=table, per_background=per_background, group_pattern=group_pattern)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        lines = listed([f"{problem.path}: {problem.what}" for problem in errors])
        raise DataError(
            f"{root}: {len(errors)} problem{'s' * (len(errors) > 1)}, beside {len(found)} images that can be used:\n"
            f"{lines}\n"
            "mend them or move the files out; `python -m visionlab.prepare` lists every one"
        )
    for problem in problems:
        LOG.warning("%s", problem)
    return found


def _group(rows: Rows, layout: str, per_background: int, pattern: str | None) -> None:
    """Fill the column ``group``: empty where the pattern finds none."""
    columns = rows.columns
    ids = columns["id"]
    if pattern is not None and (layout != "table" or "group" not in columns):
        columns["group"], problems = by_pattern(ids, columns["path"], pattern)
        rows.problems += problems
    elif pattern is not None:
        raise ConfigError("data.group_pattern: not used, as data.table has a column 'group'; leave one of them out")
    elif layout == "flat":
        columns["group"] = by_number(ids, per_background)
    elif "group" not in columns:
        columns["group"] = columns.get("background_path", ids)
        if own := sum(count == 1 for count in Counter(columns["group"]).values()):
            warn_own(own, len(ids))


def _shared_backgrounds(found: pd.DataFrame) -> list[Problem]:
    if "background_path" not in found:
        return []
    counts = found.groupby("background_path")["group"].nunique()
    shared = counts.index[counts > 1].tolist()
    if not shared:
        return []
    what = f"is the background of several groups, like {len(shared) - 1} others of {len(counts)}"
    return [
        Problem(shared[0], what, "make the background the group, or a test sees backgrounds of training", "warning")
    ]


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

    def index(self, root: Path) -> pd.DataFrame:
        """See :func:`index`."""
        return index(root, **self._layout)  # type: ignore[arg-type]

    def scan(self, root: Path) -> Scan:
        """See :func:`scan`."""
        return scan(root, **self._layout)  # type: ignore[arg-type]

    def check_more(self, table: pd.DataFrame, root: Path) -> list[Problem]:
        """See :func:`visionlab.datasets.pairs.check_maps`."""
        left_out = [f"{name}_path" for name in self.maps if name not in self.learnt and f"{name}_path" in table]
        table = table.drop(columns=left_out)
        return check_maps(table, root, mask_threshold=self.mask_threshold, invalid=self.depth_invalid)

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


# Type of the depth files -> factor and unit with data.depth_scale=auto.
_SCALES = {"uint8": (1 / 255, ""), "uint16": (0.001, "m"), "float32": (1.0, "m")}
_MEANING = {"uint8": "relative depth, 0 to 1", "uint16": "millimetres", "float32": "metres"}
