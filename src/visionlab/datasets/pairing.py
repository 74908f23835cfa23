"""Find the files that belong together: by equal names, by the numbers at their ends, by what their names begin with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from visionlab.console import LOG
from visionlab.errors import ConfigError, DataError
from visionlab.files import Problem, list_files, suffix

_DIGITS = "0123456789"


class Files:
    """The files below a folder, by name.

    Args:
        root: folder that the paths are relative to.
        name: of the folder, relative to ``root``; empty: ``root`` itself.
        role: what the files are, for messages, e.g. ``mask``.
        kinds: suffixes that are read.
        advice: said where there are none.
        stem: what a path becomes as a key of ``paths``; by default it loses its suffix.

    Attributes:
        paths: a file's path in the folder without suffix -> its path in ``root``, sorted.
        problems: files that cannot be used for their names: of equal ones but for the suffix, or not UTF-8.

    Raises:
        DataError: the folder cannot be read or holds no such file.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        role: str,
        kinds: Collection[str],
        advice: str,
        stem: Callable[[str], str] = lambda path: path.rpartition(".")[0],
    ) -> None:
        self.name, self.role = name, role
        self.paths: dict[str, str] = {}
        self.problems: list[Problem] = []
        folder = root / name
        listing = list_files(folder, kinds)
        others, wanted = listing.describe_others(), ", ".join(f".{kind}" for kind in kinds)
        if not listing.paths:
            found = f"found files of other types ({others}): convert them" if others else "found none"
            raise DataError(f"{folder}: expected {wanted} files, {found}; {advice}")
        if others:
            LOG.warning("%s: only %s files are read; not used: %s", folder, wanted, others)
        prefix = f"{name}/" if name else ""
        # Sorted by what becomes the id, so that files that differ in their suffix only follow each other.
        for key, path in sorted((stem(path), prefix + path) for path in listing.paths):
            shown = path.encode("utf-8", "backslashreplace").decode()
            if key in self.paths:
                self.problems.append(Problem(shown, f"has the same name as {self.paths[key]}", "keep one of the two"))
            elif shown != path:  # names in another encoding hold lone surrogates
                self.problems.append(Problem(shown, "the name is not valid UTF-8", "rename it"))
            else:
                self.paths[key] = path

    def table(self) -> pd.DataFrame:
        """Return the files as images: one row each, with ``id`` and ``path``."""
        return pd.DataFrame({"id": list(self.paths), "path": list(self.paths.values())}, dtype=str)

    def attach(self, table: pd.DataFrame, wanted: Sequence[str]) -> list[Problem]:
        """Add a column with the file of each image, ``<role>_path``, empty where it has none.

        Args:
            table: of images, with ``path``.
            wanted: name of each image's file.

        Returns:
            A problem for each name that is missing, and a warning of files of no image.

        Raises:
            DataError: no file belongs to an image.
        """
        table[f"{self.role}_path"] = [self.paths.get(key, "") for key in wanted]
        missing: dict[str, list[str]] = {}
        for key, path in zip(wanted, table["path"], strict=True):
            if key not in self.paths:
                missing.setdefault(key, []).append(path)
        kind = suffix(next(iter(self.paths.values()), ""))
        if missing and not any(table[f"{self.role}_path"]):
            raise DataError(
                f"{self.name}/: none of its {len(self.paths)} files belongs to an image by its name: expected e.g. "
                f"{self.name}/{next(iter(missing))}.{kind}, found {some(self.paths.values())}"
            )
        problems = []
        for key, (path, *more) in missing.items():
            also = f", nor have {len(more)} other images" if more else ""
            what = f"has no {self.role}{also}: expected '{self.name}/{key}.{kind}', of any suffix that is read"
            problems.append(Problem(path, what, "add it, or move the image out"))
        if orphans := sorted(self.paths[key] for key in self.paths.keys() - set(wanted)):
            what = f"{len(orphans)} of its {len(self.paths)} files belong to no image and are not used: {some(orphans)}"
            problems.append(Problem(f"{self.name}/", what, "nothing need be done if so meant", "warning"))
        return [*self.problems, *problems]


def by_name_or_number(images: Files, files: Files) -> list[str]:
    """Return for each image the name of its file: the same one, or, if that pairs more, that of the same number.

    Numbers stand at the ends, behind what most names of a folder begin with (``fgbg000123`` and ``mask000123``); other
    images go by their names. So do all where a number is of two files or two images.
    """
    mine, theirs = _usual_prefix(images.paths), _usual_prefix(files.paths)
    numbered = [(key, number) for key, prefix, number in _numbers(files.paths) if number and prefix == theirs]
    partner = {int(number): key for key, number in numbered}
    same = list(images.paths)
    wanted = [
        partner.get(int(number), f"{theirs}{number}") if number and prefix == mine else key
        for key, prefix, number in _numbers(same)
    ]
    by_name, by_number = (sum(key in files.paths for key in keys) for keys in (same, wanted))
    if by_number <= by_name or len(partner) < len(numbered) or len(set(wanted)) < len(wanted):
        return same
    LOG.info("%s/ and %s/: paired by the numbers at the ends of their names", images.name, files.name)
    return wanted


def _numbers(keys: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    return ((key, *split_number(key)) for key in keys)


def _usual_prefix(keys: Iterable[str]) -> str:
    """Return what most of the names that end in a number begin with."""
    counts = Counter(prefix for _, prefix, number in _numbers(keys) if number)
    return max(counts, key=counts.__getitem__, default="")


def group_by_pattern(table: pd.DataFrame, pattern: str) -> tuple[list[str], list[Problem]]:
    """Return the group of each image, what the first parenthesis of ``pattern`` finds in its ``id``; empty if nothing.

    The latter are named in the problems.

    Raises:
        ConfigError: ``pattern`` is no regular expression or has no parenthesis.
    """
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.group_pattern: expected a regular expression, found '{pattern}' ({error})") from None
    if not found.groups:
        raise ConfigError(
            "data.group_pattern: expected a parenthesis around the part of the name that is the group, e.g."
            f" '^(scene[0-9]+)_', found '{pattern}'"
        )
    groups = [(match[1] or "") if (match := found.search(sample)) else "" for sample in table["id"]]
    problems = [
        Problem(path, f"data.group_pattern '{pattern}' finds no group in its name", "make it fit every image")
        for group, path in zip(groups, table["path"], strict=True)
        if not group
    ]
    return groups, problems


def group_by_number(ids: Sequence[str], size: int) -> list[str]:
    """Return the group of each image from the number at the end of its id: ``bg0``, ``bg1``, ...

    ``size`` images that follow each other show the same background. If the names before the numbers differ, they become
    part of the group's name. An image without a number is its own group, which is logged.
    """
    parts = [split_number(sample) for sample in ids]
    several = len({prefix for prefix, number in parts if number}) > 1
    groups = [f"{prefix * several}bg{int(number) // size}" if number else prefix for prefix, number in parts]
    warn_own_groups(sum(not number for _, number in parts), len(ids))
    if len(set(groups)) == 1:
        LOG.warning(
            "all %d images are of one group, %s, since data.per_background=%d images are taken to show one background;"
            " set data.per_background to their number (1 if each shows another scene) or data.group_pattern",
            *(len(ids), groups[0], size),
        )
    return groups


def warn_own_groups(count: int, total: int) -> None:
    """Log that images, if any, are groups of their own."""
    if count:
        LOG.warning(
            "%d of %d images are each a group of their own, as nothing tells what belongs together, so near-duplicates "
            "may land in two splits; set data.group_pattern, e.g. '^(scene[0-9]+)_', or give a column 'group'",
            *(count, total),
        )


def split_number(key: str) -> tuple[str, str]:
    """Split a name into what stands before the number at its end, and that number's digits (maybe none)."""
    prefix = key.rstrip(_DIGITS)
    return prefix, key[len(prefix) :]


def some(names: Collection[str], most: int = 10) -> str:
    """Return the first names and how many more there are."""
    listed = ", ".join(list(names)[:most]) or "none"
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")
