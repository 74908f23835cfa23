"""Choose groups of samples and split them into train, validation and test, so that no group is in two of them."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from visionlab.console import LOG
from visionlab.errors import DataError, nearest
from visionlab.files import read_json, write_json
from visionlab.seeds import derive

PARTS = ("train", "val", "test", "unused")


@dataclass(frozen=True)
class Splits:
    """Names of the groups in each part, and one sentence on how they were chosen.

    Raises ``DataError`` if a name stands twice: a group in two parts would leak from training into the test.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    unused: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        part_of: dict[str, str] = {}
        for part in PARTS:
            for name in getattr(self, part):
                if name in part_of:
                    raise DataError(
                        f"the group '{name}' is in two splits, {part_of[name]} and {part}: its images would leak from"
                        f" one into the other; keep it in one (splits from: {self.source})"
                    )
                part_of[name] = part

    def assign(self, groups: Sequence[str]) -> npt.NDArray[np.str_]:
        """Return ``train``, ``val`` or ``test`` for each sample's group; ``''`` for an unused or unknown group."""
        part_of = {name: part for part in PARTS[:3] for name in getattr(self, part)}
        return np.array([part_of.get(group, "") for group in groups], dtype="<U5")

    def write(self, path: str | Path) -> None:
        """Write the splits as JSON; the file is complete or, after an interruption, as it was before."""
        write_json(Path(path), {part: list(getattr(self, part)) for part in PARTS} | {"source": self.source})


@dataclass(frozen=True)
class Shares:
    """How groups are to be dealt out, the same for each way of doing so.

    Attributes:
        seed: of the run; what is drawn depends on it alone.
        val_fraction, test_fraction: shares of the groups, at least one group each when above 0.
        folds, fold: the test is fold number ``fold``, 0 to ``folds`` - 1, in place of ``test_fraction``, and validation
            is ``val_fraction`` of the other groups; None: no folds.
        fraction: of the train and validation groups that is used, at least one each; a larger one keeps the same groups
            and more. The test is left as it is.
    """

    seed: int
    val_fraction: float
    test_fraction: float
    folds: int | None = None
    fold: int | None = None
    fraction: float = 1.0

    def in_folds(self, names: Sequence[str]) -> tuple[int, int] | None:
        """Return which fold of how many the test is, None without.

        Raises:
            DataError: there are fewer groups, ``names``, than folds.
        """
        if self.folds is None or self.fold is None:
            return None
        if self.folds > len(names):
            raise DataError(
                f"data.folds={self.folds} needs as many groups, found {len(names)} ({_some(names)}); use fewer or add "
                "groups"
            )
        return self.fold, self.folds

    def drawn(
        self, how: str, train: Collection[str], val: Collection[str], test: Collection[str], unused: Collection[str]
    ) -> Splits:
        """Return the splits with sorted names, and a sentence of ``how`` they were drawn with the numbers of groups."""
        source = f"{how}: {len(train)} train, {len(val)} validation, {len(test)} test"
        if self.fraction < 1:
            source += f" (data.fraction={self.fraction:g} of train and validation, {len(unused)} unused)"
        return Splits(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)), tuple(sorted(unused)), source)

    def too_few(self, names: Sequence[str], n_test: int, n_val: int) -> DataError:
        """Return the error for groups of which nothing is left to train on."""
        return DataError(
            f"too few groups to split: {len(names)} found ({_some(names)}), which gives {n_test} for test,"
            f" {n_val} for validation and none for training; add images of other groups"
            f"{'' if self.folds else ', or set data.test_fraction=0'}"
        )


def make_splits(groups: Iterable[str], shares: Shares) -> Splits:
    """Shuffle the group names and deal them out; they may repeat (one per sample) and come in any order.

    Raises:
        DataError: there are too few.
    """
    names = sorted(set(groups))
    shuffled = [names[i] for i in np.random.default_rng(derive(shares.seed, "split")).permutation(len(names))]
    if found := shares.in_folds(names):
        fold, folds = found
        parts = [shuffled[i::folds] for i in range(folds)]
        test = parts[fold]
        # Starting behind the test fold gives each fold other validation groups.
        rest = [name for step in range(1, folds) for name in parts[(fold + step) % folds]]
        n_val = _count(shares.val_fraction, len(rest))
        how = f"fold {fold} of {folds}"
    else:
        n_val, n_test = _sizes(len(names), shares.val_fraction, shares.test_fraction)
        test, rest = shuffled[:n_test], shuffled[n_test:]
        how = "one random split"
    n_val = min(n_val, max(1, len(rest) - 1)) if n_val else 0
    val, train = rest[:n_val], rest[n_val:]
    if not train:
        raise shares.too_few(names, len(test), len(val))
    kept_train, kept_val = (part[: _count(shares.fraction, len(part))] for part in (train, val))
    unused = train[len(kept_train) :] + val[len(kept_val) :]
    how = f"{len(names)} groups shuffled with seed {shares.seed}, {how}"
    return shares.drawn(how, kept_train, kept_val, test, unused)


def read_splits(path: str | Path, groups: Iterable[str]) -> Splits:
    """Read splits from a JSON file and check them against the ``groups`` of the data (repeats allowed).

    The file holds lists of exact group names under ``train``, ``val`` and ``test`` (and perhaps ``unused``), or under
    ``train_images``, ``val_images`` and ``test_images``. Groups of the data that it does not name become unused and
    are logged. Raises ``DataError`` for a file that is not such JSON, for a group in two splits, for names without
    images and for an empty train list.
    """
    content = read_json(Path(path))
    suffix = "_images" if "train_images" in content else ""
    keys = [f"{part}{suffix}" for part in PARTS[:3]]
    for key in (*keys, "unused"):
        names = content.get(key, [] if key == "unused" else None)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            found = f"{json.dumps(names)[:60]}." if key in content else f"no such key.{nearest(key, content)}"
            raise DataError(f"{path}: expected a list of group names (text) as '{key}', found {found}")
    parts, unused = [content[key] for key in keys], content.get("unused", [])
    if not parts[0]:
        raise DataError(f"{path}: '{keys[0]}' names no group; there must be at least one to train on")
    known = set(groups)
    named = [name for names in parts for name in names]
    if unknown := [name for name in dict.fromkeys(named) if name not in known]:
        raise DataError(
            f"{path}: {len(unknown)} of its groups have no images in the data: {_some(unknown)}; names must agree"
            f" exactly with those of the data ({_some(sorted(known))}).{nearest(unknown[0], known)}"
        )
    if unnamed := sorted(known.difference(named, unused)):
        LOG.warning(
            "%s: %d groups of the data are in no split and stay unused: %s", path, len(unnamed), ", ".join(unnamed)
        )
    # A published list may name a group once for each of its images.
    train, val, test = (tuple(dict.fromkeys(names)) for names in parts)
    rest = tuple(sorted({*known.intersection(unused), *unnamed}))
    # How they were drawn says more than where they were written down.
    return Splits(train, val, test, rest, str(content.get("source") or f"read from {path}"))


def _count(fraction: float, total: int) -> int:
    """Return the number of groups that a fraction stands for: rounded, and at least one of any when above 0."""
    return min(total, max(1, round(fraction * total))) if fraction > 0 else 0


def _sizes(total: int, val_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Return the numbers of validation and test groups, leaving one to train on as long as both keep theirs."""
    n_val, n_test = _count(val_fraction, total), _count(test_fraction, total)
    while n_val + n_test >= total and max(n_val, n_test) > 1:
        # Rounding up may have left none: take from the part that has most above its share.
        above_val, above_test = n_val - val_fraction * total, n_test - test_fraction * total
        if n_test == 1 or (n_val > 1 and above_val >= above_test):
            n_val -= 1
        else:
            n_test -= 1
    return n_val, n_test


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def choose_groups(table: pd.DataFrame, root: Path, include: Sequence[str], exclude: Sequence[str]) -> pd.DataFrame:
    """Return the rows of an index whose groups match a pattern of ``include`` (empty: all) and none of ``exclude``.

    Raises:
        DataError: no image is left, or a pattern matches no group.
    """
    groups = sorted(set(table["group"]))
    matched: dict[str, set[str]] = {"include": set(), "exclude": set()}
    for option, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            found = [group for group in groups if fnmatch.fnmatchcase(group, pattern)]
            if not found:
                raise DataError(
                    f"data.{option}: '{pattern}' matches none of the {len(groups)} groups in {root}, "
                    f"such as {', '.join(groups[:5])}"
                )
            matched[option].update(found)
    kept = (matched["include"] if include else set(groups)) - matched["exclude"]
    if not kept:
        raise DataError(f"data.include and data.exclude leave none of the {len(groups)} groups in {root}")
    if len(kept) < len(groups):
        LOG.info("%d of %d groups chosen by data.include and data.exclude", len(kept), len(groups))
    return table[table["group"].isin(kept)].reset_index(drop=True)


def refuse_leaks(table: pd.DataFrame, facts: pd.DataFrame) -> None:
    """Refuse the same image (equal pixels) in two splits; images of one value are equal without being copies.

    Raises:
        DataError: naming the first pair.
    """
    used = table.assign(hash=facts["hash"].to_numpy())
    used = used[(used["split"] != "") & (facts["min"] < facts["max"]).to_numpy()]
    counts = used.groupby("hash")["split"].nunique()
    leaked = counts.index[counts > 1]
    if len(leaked):
        pair = used[used["hash"] == leaked[0]].drop_duplicates("split")[["path", "split"]].to_numpy().tolist()[:2]
        (first, one), (second, other) = pair
        raise DataError(
            f"{len(leaked)} image(s) lie in two splits with equal pixels: {first} ({one}) and {second} ({other}); "
            "a test on seen images means nothing, so remove the copies or give both names one group"
        )
