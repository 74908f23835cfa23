"""Splits of time series: whole sequences, or blocks of neighbouring time points with a gap between the splits.

Neighbouring time points are nearly the same picture, and so are neighbouring slices of a volume: dealt out one by one,
the test would be on what was trained on. Here a group is a block of time points, with all their slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from visionlab.data.splits import Shares, Splits, make_splits
from visionlab.errors import DataError
from visionlab.seeds import derive

Gap = Literal["auto"] | int

LEAKS = "LEAKS: "
"""How the sentence on splits begins whose training and test share what they show."""

_GAP = 0.05  # of the time points of a sequence


def name_blocks(sequences: Sequence[str], times: Sequence[int], blocks: int, digits: int = 3) -> list[str]:
    """Return the group of each sample: a block of its sequence's time points, e.g. ``01/t000-t004``.

    The time points that there are (not the numbers between them) are cut into ``blocks`` parts as equal as can be, of
    at least one each. Samples without a time, -1, are of one group, named as the sequence.
    """
    known: dict[str, set[int]] = {}
    for sequence, time in zip(sequences, times, strict=True):
        known.setdefault(sequence, set()).add(time)
    of: dict[tuple[str, int], str] = {}
    for sequence, found in known.items():
        of[sequence, -1] = sequence
        order = np.array(sorted(found - {-1}), dtype=int)
        for block in np.array_split(order, min(blocks, max(1, len(order)))):
            for time in block.tolist():
                first, last = (f"t{int(end):0{digits}d}" for end in (block[0], block[-1]))
                of[sequence, time] = f"{sequence}/{first}" + (f"-{last}" if last != first else "")
    return [of[key] for key in zip(sequences, times, strict=True)]


def in_blocks(table: pd.DataFrame) -> bool:
    """Return whether the groups of an index are blocks of time: each of one sequence, none between another's ends.

    Args:
        table: an index with the columns ``group``, ``sequence`` (empty: none) and ``time``.
    """
    if (table["sequence"] == "").any() or (table.groupby("group")["sequence"].nunique() > 1).any():
        return False
    found = table.groupby(["sequence", "group"], sort=False)["time"].agg(["min", "max"]).reset_index()
    found = found.sort_values(["sequence", "min", "max"])
    before = found.groupby("sequence")["max"].shift()
    return not (found["min"] <= before).any()


def split_sequences(table: pd.DataFrame, shares: Shares) -> Splits:
    """Deal out whole sequences.

    Where the test leaves one sequence only, validation is its last blocks in time. Of two sequences, fold 0 tests on
    the first by name. ``shares.fraction`` keeps that part of the blocks of training and of validation.

    Raises:
        DataError: there are too few sequences.
    """
    blocks = _blocks(table)
    names = sorted(blocks)
    # The test does not depend on how many sequences validation takes, unless it leaves none.
    held = make_splits(names, replace(shares, val_fraction=0.0, fraction=1.0))
    test, rest = list(held.test), list(held.train)
    if shares.folds == len(names) == 2:
        test, rest = [names[shares.fold or 0]], [names[1 - (shares.fold or 0)]]
    if len(rest) == 1 and test:
        chosen = blocks[rest[0]]
        place = len(chosen) - _count(shares.val_fraction, len(chosen))
        train, val = chosen[:place], chosen[place:]
        if not train:
            raise shares.too_few(chosen, 0, len(val))
        how = f"validated on {f'the end of {rest[0]}' if val else 'none'}"
    else:
        drawn = make_splits(names, replace(shares, fraction=1.0))
        test = list(drawn.test)
        train, val = ([name for one in part for name in blocks[one]] for part in (drawn.train, drawn.val))
        how = f"validated on {', '.join(drawn.val) or 'none'}"
    part = f", fold {shares.fold} of {shares.folds}" if shares.folds else f", drawn with seed {shares.seed}"
    text = f"whole sequences of {len(names)}{part}: tested on {', '.join(test) or 'none'}, {how}; blocks of time"
    return _keep(text, train, val, [name for one in test for name in blocks[one]], shares)


def split_times(table: pd.DataFrame, shares: Shares, gap: Gap = 0) -> Splits:
    """Cut each sequence in time: a run of blocks to train on, the next for validation, the next for the test.

    Where the first run begins is drawn from the seed, and a run may go on at the start of the sequence; or the test is
    one of several equal runs, the folds. Validation has more blocks of a short sequence if ``gap``, see
    :func:`leave_gap`, would leave nothing of it.

    Raises:
        DataError: a sequence has too few blocks.
    """
    turn = np.random.default_rng(derive(shares.seed, "split")).random()
    train: list[str] = []
    val: list[str] = []
    test: list[str] = []
    for sequence, blocks in _blocks(table).items():
        if found := shares.in_folds(blocks):
            run = np.array_split(np.arange(len(blocks)), found[1])[found[0]]
            n_test, end = len(run), int(run[-1]) + 1
        else:
            n_test, end = _count(shares.test_fraction, len(blocks)), int(turn * len(blocks))
        n_val = _count(shares.val_fraction, len(blocks) - (n_test if found else 0))
        n_train = len(blocks) - n_test - n_val
        if n_train < 1:
            raise shares.too_few(blocks, n_test, n_val)
        circle = blocks[end:] + blocks[:end]
        of = table[table["sequence"] == sequence].groupby("group")["time"].unique()
        width = _width(np.concatenate(of.tolist()), gap)
        after = np.sort(np.concatenate([[], *of[circle[len(circle) - n_test :]]]))
        while n_val and n_train > 1:
            held = np.concatenate(of[circle[n_train : n_train + n_val]].tolist())
            if not _near(held, after, width).all():
                break
            n_train, n_val = n_train - 1, n_val + 1
        train += circle[:n_train]
        val += circle[n_train : n_train + n_val]
        test += circle[n_train + n_val :]
    how = f"fold {shares.fold} of {shares.folds}" if shares.folds else f"begun at a place drawn with seed {shares.seed}"
    count = table["sequence"].nunique()
    text = f"time of {count} sequence{'s' * (count > 1)} cut into runs of blocks, {how}"
    return _keep(text, train, val, test, shares)


def mark(splits: Splits) -> Splits:
    """Return splits of slices dealt out one by one, as published work did, whose sentence says that they leak."""
    if splits.source.startswith(LEAKS):
        return splits
    source = f"{LEAKS}slices beside those of the training, in z and in time, are in validation and test: "
    return replace(splits, source=source + splits.source)


def leave_gap(table: pd.DataFrame, split: npt.NDArray[Any], gap: Gap) -> tuple[npt.NDArray[Any], str]:
    """Take the time points near another split of their sequence out of the training, or else out of validation.

    Args:
        table: an index of N rows with the columns ``sequence`` and ``time``.
        split: of each row; ``""`` for none.
        gap: how many time points must lie between two splits; ``auto``: 5% of a sequence's, at least 1.

    Returns:
        The new split of each row, and what was left out in words; empty if nothing.

    Raises:
        DataError: nothing is left of a split.
    """
    found = split.copy()
    times = table["time"].to_numpy()
    dropped: list[str] = []
    for sequence, rows in table.groupby("sequence", sort=True).indices.items():
        mine = times[rows]
        if (mine < 0).any():
            continue
        width = _width(mine, gap)
        for part, others in (("val", ["test"]), ("train", ["test", "val"])):
            near = _near(mine, np.unique(mine[np.isin(found[rows], others)]), width) & (found[rows] == part)
            if near.any():
                found[rows[near]] = ""
                dropped.append(f"{len(np.unique(mine[near]))} of {part} in {sequence} (within {width})")
    for part in ("train", "val"):
        if (split == part).any() and not (found == part).any():
            raise DataError(
                f"data.gap={gap}: leaves no time point in '{part}', for all are near another split ({dropped[0]}); set "
                "data.gap=0 or another split (data.split_by, data.blocks, data.val_fraction)"
            )
    return found, f"time points near another split are left out: {', '.join(dropped)}" if dropped else ""


def _width(times: npt.NDArray[Any], gap: Gap) -> int:
    """Return how many of a sequence's time points must lie between two splits."""
    if gap == "auto":
        return max(1, round(_GAP * (int(times.max()) - int(times.min()) + 1)))
    return gap


def _near(times: npt.NDArray[Any], others: npt.NDArray[Any], width: int) -> npt.NDArray[np.bool_]:
    """Return which of the times are at most ``width`` from one of the others."""
    each, places = np.unique(times, return_inverse=True)  # of a time there are as many rows as slices
    return np.asarray((np.abs(each[:, None] - others) <= width).any(axis=1)[places])


def _blocks(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the groups of each sequence in the order of time."""
    starts = table.groupby(["sequence", "group"])["time"].min().reset_index().sort_values(["sequence", "time"])
    return {str(name): rows["group"].tolist() for name, rows in starts.groupby("sequence")}


def _count(fraction: float, total: int) -> int:
    """Return the number of blocks that a fraction stands for: at least one of any when above 0, never all of two."""
    return min(max(1, total - 1), max(1, round(fraction * total))) if fraction > 0 else 0


def _keep(how: str, train: list[str], val: list[str], test: list[str], shares: Shares) -> Splits:
    """Return the splits with a part of the training and validation blocks, drawn from the seed."""
    kept: list[list[str]] = []
    unused: list[str] = []
    rng = np.random.default_rng(derive(shares.seed, "fraction"))
    for part in (train, val):
        order = [part[place] for place in rng.permutation(len(part))]
        count = max(1, round(shares.fraction * len(part))) if part else 0
        kept.append(order[:count])
        unused += order[count:]
    return shares.drawn(how, kept[0], kept[1], test, unused)
