"""Find the images of a dense data set and the masks, depth maps and backgrounds that go with them, by name.

Two layouts of folders are known. ``flat``: ``images/``, ``masks/``, ``depth/`` hold files of equal names, or of equal
numbers at their ends (``fgbg000123`` and ``mask000123``). ``nested``: in each of them lies one folder a background,
and ``bg/`` holds the backgrounds, once each. The third layout, a table, is in :mod:`visionlab.datasets.tables`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from visionlab.console import LOG
from visionlab.errors import DataError
from visionlab.files import Problem, list_files, suffix
from visionlab.io import IMAGE_SUFFIXES

SUFFIXES = {
    "image": IMAGE_SUFFIXES,
    "mask": IMAGE_SUFFIXES,
    "depth": (*IMAGE_SUFFIXES, "npy"),
    "background": IMAGE_SUFFIXES,
}
FOLDERS = {
    "image": ("images", "image", "fgbg", "fg_bg"),
    "mask": ("masks", "mask", "fgbgmask", "fg_bg_mask"),
    "depth": ("depth", "depths", "dense", "fg_bg_depth"),
    "background": ("background", "backgrounds", "bg"),
}
MAPS = ("mask", "depth")
LAYOUTS = """the layouts are
  flat:   images/, masks/ and depth/ with files of equal names or equal numbers at their ends
          (also called fg_bg, fg_bg_mask, fg_bg_depth); backgrounds/ is optional
  nested: fgbg/, fgbgmask/ and dense/ with BACKGROUND/FOREGROUND/NAME.jpg in each, and bg/BACKGROUND.jpg
  table:  data.table=FILE.csv with the columns image, mask, depth and optionally background, group, foreground"""

_SHOWN = 10
_DIGITS = "0123456789"


@dataclass
class Rows:
    """The samples found: equally long columns (``id``, ``path``, ``mask_path``, ...), and what cannot be used."""

    columns: dict[str, list[str]]
    problems: list[Problem] = field(default_factory=list)


def find_folders(root: Path) -> dict[str, str]:
    """Return the names of the folders in ``root`` that hold images, masks, depth maps and backgrounds.

    Raises ``DataError`` if there are no images, neither masks nor depth maps, or two folders for one of them.
    """
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
        listed = ", ".join(f"{name}/" for name in names[:_SHOWN]) or "no folders"
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise DataError(f"{root}: expected images with masks or depth maps, found {listed}{more}; {LAYOUTS}")
    return found


def is_nested(folder: Path) -> bool:
    """Return whether a folder of images holds folders only."""
    with os.scandir(folder) as entries:
        kinds = {entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    return kinds == {True}


def flat(root: Path, folders: Mapping[str, str]) -> Rows:
    """Return the samples of the flat layout, sorted by ``id``: the image's path in its folder, without suffix."""
    rows, images = _images(root, folders)
    for role in MAPS:
        if role in folders:
            partners = _Folder(root, folders, role, rows.problems)
            _attach(rows, partners, _by_number(images, partners, rows.problems))
    if "background" in folders:
        backgrounds = _Folder(root, folders, "background", rows.problems)
        if backgrounds.files.keys().isdisjoint(images.files):
            # A folder of backgrounds from which the images were made does not say which is behind which.
            LOG.warning(
                "%s/%s: not used, since none of its %d files has the name of an image; a table with a column"
                " 'background' (data.table) can say which belongs to which",
                *(root, backgrounds.name, len(backgrounds.files)),
            )
        else:
            _attach(rows, backgrounds, {})
    return _complete(rows)


def nested(root: Path, folders: Mapping[str, str]) -> Rows:
    """Return the samples of the nested layout, sorted by ``id`` (``BACKGROUND/FOREGROUND/NAME``).

    The columns hold ``group`` (the first folder) and ``foreground`` (the second one; empty if there is none) as well.
    """
    rows, _ = _images(root, folders)
    columns = rows.columns
    for sample, path in zip(columns["id"], columns["path"], strict=True):
        if "/" not in sample:
            what = f"lies directly in {folders['image']}/, in no folder of a background"
            advice = f"expected {folders['image']}/BACKGROUND/FOREGROUND/NAME"
            rows.problems.append(Problem(path, what, advice))
    _keep(columns, ["/" in sample for sample in columns["id"]])
    if not columns["id"]:
        raise DataError(
            f"{root / folders['image']}: expected a folder for each background, found files only; set data.layout=flat"
        )
    parts = [sample.split("/", 2) for sample in columns["id"]]
    shared: dict[str, str] = {}  # one string for all samples of a folder saves memory
    columns["group"] = [shared.setdefault(part[0], part[0]) for part in parts]
    columns["foreground"] = [shared.setdefault(part[1], part[1]) if len(part) > 2 else "" for part in parts]
    for role in MAPS:
        if role in folders:
            _attach(rows, _Folder(root, folders, role, rows.problems), {})
    if "background" in folders:
        backgrounds = _Folder(root, folders, "background", rows.problems)
        _attach(rows, backgrounds, dict(zip(columns["id"], columns["group"], strict=True)))
    return _complete(rows)


class _Folder:
    """The files of one role: ``files`` maps the path in the folder, without suffix, to the path in ``root``."""

    def __init__(self, root: Path, folders: Mapping[str, str], role: str, problems: list[Problem]) -> None:
        self.role, self.name = role, folders[role]
        self.files: dict[str, str] = {}
        listing = list_files(root / self.name, SUFFIXES[role])
        others = listing.describe_others()
        kinds = ", ".join(f".{kind}" for kind in SUFFIXES[role])
        if not listing.paths:
            found = f"found files of other types ({others})" if others else "found none"
            raise DataError(f"{root / self.name}: expected {kinds} files, {found}; {LAYOUTS}")
        if others:
            LOG.warning("%s: only %s files are read; not used: %s", root / self.name, kinds, others)
        # Sorted by what becomes the id, so that files that differ in their suffix only follow each other.
        for key, path in sorted((path.rpartition(".")[0], f"{self.name}/{path}") for path in listing.paths):
            if not _is_utf8(path):
                problems.append(Problem(_printable(path), "the name is not valid UTF-8", "rename it"))
            elif key in self.files:
                problems.append(Problem(path, f"has the same name as {self.files[key]}", "keep one of the two"))
            else:
                self.files[key] = path
        self.suffix = suffix(next(iter(self.files.values()), ""))

    def expected(self, key: str) -> str:
        """Return where the file of this key would lie."""
        return f"{self.name}/{key}.{self.suffix}"

    def prefix(self) -> str:
        """Return what most of the names that end in a number begin with."""
        counts = Counter(prefix for prefix, number in map(_split, self.files) if number)
        return counts.most_common(1)[0][0] if counts else ""


def _images(root: Path, folders: Mapping[str, str]) -> tuple[Rows, _Folder]:
    problems: list[Problem] = []
    images = _Folder(root, folders, "image", problems)
    return Rows({"id": list(images.files), "path": list(images.files.values())}, problems), images


def _by_number(images: _Folder, folder: _Folder, problems: list[Problem]) -> dict[str, str]:
    """Return the partner's key of each image by the numbers at the ends; empty if the names pair as many or more."""
    named = len(images.files.keys() & folder.files.keys())
    if named == len(images.files):
        return {}
    mine, theirs = images.prefix(), folder.prefix()
    partner: dict[int, str] = {}
    repeated: list[Problem] = []
    for key, path in folder.files.items():
        prefix, number = _split(key)
        if number and prefix == theirs and (first := partner.setdefault(int(number), key)) != key:
            repeated.append(Problem(path, f"has the same number as {folder.files[first]}", "keep one of the two"))
    wanted = {}
    for key in images.files:
        prefix, number = _split(key)
        if number and prefix == mine:
            wanted[key] = partner.get(int(number), f"{theirs}{number}")
    if sum(key in folder.files for key in wanted.values()) <= named:
        return {}
    problems += repeated
    LOG.info("%s/ and %s/: paired by the numbers at the ends of their names", images.name, folder.name)
    return wanted


def _attach(rows: Rows, folder: _Folder, wanted: Mapping[str, str]) -> None:
    """Add a column with each sample's file, empty if there is none; name these samples, and files without sample.

    ``wanted`` gives the key of a sample's file where that is not the sample's id.
    """
    column: list[str] = []
    used: set[str] = set()
    missing: dict[str, list[str]] = {}
    for sample, path in zip(rows.columns["id"], rows.columns["path"], strict=True):
        key = wanted.get(sample, sample)
        used.add(key)
        column.append(folder.files.get(key, ""))
        if not column[-1]:
            missing.setdefault(key, []).append(path)
    if not any(column):
        raise DataError(
            f"{folder.name}/: none of its {len(folder.files)} files belongs to an image by its name: expected e.g."
            f" {folder.expected(next(iter(missing), 'NAME'))}, found {_some(folder.files.values(), 3)}; {LAYOUTS}"
        )
    for key, (path, *more) in missing.items():
        also = f", nor have {len(more)} other images" if more else ""
        what = f"has no {folder.role}{also}: expected '{folder.expected(key)}', of any suffix that is read"
        rows.problems.append(Problem(path, what, "add it, or move the image out"))
    orphans = folder.files.keys() - used
    if orphans:
        names = _some(sorted(folder.files[key] for key in orphans), _SHOWN)
        what = f"{len(orphans)} of its {len(folder.files)} files belong to no image and are not used: {names}"
        rows.problems.append(Problem(f"{folder.name}/", what, "nothing need be done if so meant", "warning"))
    rows.columns[f"{folder.role}_path"] = column


def _complete(rows: Rows) -> Rows:
    """Drop the samples that lack a file."""
    partners = [column for name, column in rows.columns.items() if name.endswith("_path")]
    _keep(rows.columns, [all(paths) for paths in zip(*partners, strict=True)])
    return rows


def _keep(columns: dict[str, list[str]], kept: list[bool]) -> None:
    if not all(kept):
        for name, column in columns.items():
            columns[name] = [value for value, keep in zip(column, kept, strict=True) if keep]


def _split(key: str) -> tuple[str, str]:
    """Split a name into what stands before the number at its end, and that number's digits (maybe none)."""
    prefix = key.rstrip(_DIGITS)
    return prefix, key[len(prefix) :]


def _some(names: Iterable[str], shown: int) -> str:
    listed = list(names)
    return ", ".join(listed[:shown]) + (f" and {len(listed) - shown} more" if len(listed) > shown else "")


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()
