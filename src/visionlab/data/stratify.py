"""Split samples with several labels each: whole groups, and every label in every part as evenly as its count allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from visionlab.console import LOG
from visionlab.data.dealing import Counts, deal
from visionlab.data.splits import PARTS, Splits, check_folds, check_numbers, drawn_splits, too_few_groups
from visionlab.seeds import derive


def make_stratified_splits(
    groups: Sequence[str],
    labels: npt.ArrayLike,
    train_only: npt.ArrayLike | None = None,
    *,
    seed: int,
    val_fraction: float,
    test_fraction: float,
    folds: int | None = None,
    fold: int | None = None,
    fraction: float = 1.0,
    names: Sequence[str] | None = None,
) -> Splits:
    """Deal the groups out so that samples and labels are divided as asked for, by ``seed``.

    The options are those of :func:`~visionlab.data.splits.make_splits`, but fractions are of the *samples* and, alike,
    of the samples with each label; each part gets at least one group. The folds are the same for every ``fold``. A
    label whose groups are at least as many as the parts is in each of them, even if a part's share of it is less than
    one; one with fewer is in train first (or it cannot be learned), then in test (where ranking metrics judge it
    without a threshold), then in validation. Folds share a rare label evenly. A line is logged for labels that a part
    lacks. ``fraction`` keeps a part of train and of validation that is stratified too.

    Args:
        groups: N names, one a sample, in any order.
        labels: N x K of 0/1.
        train_only: N times whether the sample comes from an additional set: it counts for no share, and its group goes
            to train unless it holds other samples too.
        names: of the K labels, for the log (default: their numbers).

    Raises:
        ConfigError: a number out of its range.
        DataError: too few groups.
    """
    check_numbers(val_fraction, test_fraction, folds, fold, fraction)
    found, group_of = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    has = np.asarray(labels, dtype=np.int64)
    main = np.ones(len(group_of), bool) if train_only is None else ~np.asarray(train_only, dtype=bool)
    counts = _counts(has, group_of, len(found))
    own = _counts(has[main], group_of[main], len(found))
    rest = np.flatnonzero(own[:, 0])
    parts = {"train": np.flatnonzero(own[:, 0] == 0)}  # the groups of additional sets alone
    own_names = found[rest].tolist()
    if folds is not None and fold is not None:
        check_folds(folds, own_names)
        of_fold = deal(own[rest], [1 / folds] * folds, np.random.default_rng(derive(seed, "folds")))
        parts["test"], rest = rest[of_fold == fold], rest[of_fold != fold]
        shares = {"train": 1 - val_fraction, "val": val_fraction}
        how = f"fold {fold} of {folds}"
    else:
        shares = {"train": 1 - val_fraction - test_fraction, "test": test_fraction, "val": val_fraction}
        how = "one split"
    shares = {part: share for part, share in shares.items() if share > 0}
    if len(rest) < len(shares):
        n_test = len(parts["test"]) if folds else int(test_fraction > 0)
        raise too_few_groups(own_names, n_test, int(val_fraction > 0), folds)
    rng = np.random.default_rng(derive(seed, "split", -1 if fold is None else fold))
    dealt = deal(own[rest], list(shares.values()), rng, priority=range(len(shares)))
    for number, part in enumerate(shares):
        parts[part] = np.append(parts.get(part, rest[:0]), rest[dealt == number])
    whole = parts
    if fraction < 1:
        parts = whole | {p: whole[p][_kept(counts[whole[p]], fraction, seed)] for p in shares if p != "test"}
    _log_missing({part: (counts if part == "train" else own)[rows] for part, rows in parts.items()}, counts, names)
    used = {part: found[parts.get(part, rest[:0])].tolist() for part in PARTS[:3]}
    unused = set(found.tolist()).difference(*used.values())
    return drawn_splits(
        f"{len(found)} groups dealt by their labels with seed {seed}, {how}", **used, unused=unused, fraction=fraction
    )


def _counts(has: Counts, group_of: npt.NDArray[np.intp], n_groups: int) -> Counts:
    """Return, groups x (1 + K), the samples of each group and those with each label."""
    columns = [np.bincount(group_of, minlength=n_groups)]
    columns += [np.bincount(group_of[column > 0], minlength=n_groups) for column in has.T]
    return np.stack(columns, axis=1)


def _kept(counts: Counts, fraction: float, seed: int) -> Counts:
    """Return the groups that make up ``fraction`` of the samples, at least one; a larger one keeps these and more.

    Halving again and again gives an order of the groups of which every beginning is stratified.
    """
    rest, path, kept = np.arange(len(counts)), "", [np.arange(0)]
    goal = fraction * counts[:, 0].sum()
    while len(rest) > 1:
        half = deal(counts[rest], [0.5, 0.5], np.random.default_rng(derive(seed, "fraction", path)), priority=(0, 1))
        first = rest[half == 0]
        size = counts[first, 0].sum()
        if size <= goal:
            kept.append(first)
            goal -= size
            rest, path = rest[half == 1], path + "1"
        else:
            rest, path = first, path + "0"
    if goal >= counts[rest, 0].sum() / 2 or len(kept) == 1:
        kept.append(rest)
    return np.concatenate(kept)


def _log_missing(parts: Mapping[str, Counts], counts: Counts, names: Sequence[str] | None) -> None:
    """Log one line with the labels that a part lacks though the data have them."""
    called = np.asarray(range(counts.shape[1] - 1) if names is None else names, dtype=np.str_)
    occurs = counts[:, 1:].any(axis=0)
    missing = {part: called[occurs & ~rows[:, 1:].any(axis=0)].tolist() for part, rows in parts.items()}
    sentences = [f"no image of {', '.join(missing[part])} in {part}" for part in PARTS[:3] if missing.get(part)]
    if sentences:
        LOG.warning("stratified splits: %s", "; ".join(sentences))
