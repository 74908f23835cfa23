"""Split samples with several labels each: whole groups, and every label in every part as evenly as its count allows.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data"): the
rarest label's groups first, each to the part that lacks most of it. Then groups are moved and swapped between two parts
as long as that brings the counts nearer to their shares. Groups of equal counts are one *type* and counted together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.data.splits import PARTS, Shares, Splits
from visionlab.seeds import derive

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CANDIDATES = 256  # groups of each part that are tried against each other in one step
SIZE_WEIGHT = 8.0  # with 1, parts of 31,072 single images end up to two from their size, with more, labels suffer
MAX_SWAPS = 5000  # far more than were ever needed (about 100); a bound on the time

_UNIT = 256  # shares are rounded to 1/256 of a sample: then all sums are exact, and alike on every machine


def make_stratified_splits(
    groups: Sequence[str], labels: npt.ArrayLike, shares: Shares, train_only: npt.ArrayLike | None = None
) -> Splits:
    """Deal the groups out so that samples and labels are divided as asked for.

    Fractions are of the *samples* and, alike, of the samples with each label; each part gets at least one group. The
    folds are the same for every ``fold``. A label whose groups are at least as many as the parts is in each of them,
    even if a part's share of it is less than one; one with fewer is in train first (or it cannot be learned), then in
    test (where ranking metrics judge it without a threshold), then in validation. Folds share a rare label evenly. What
    ``shares.fraction`` keeps of train and of validation is stratified too.

    Args:
        groups: N names, one a sample, in any order.
        labels: N x K of 0/1.
        shares: fractions, folds and seed.
        train_only: N times whether the sample comes from an additional set: it counts for no share, and its group goes
            to train unless it holds other samples too.

    Raises:
        DataError: too few groups.
    """
    found, group_of = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    has = np.asarray(labels, dtype=np.int64)
    main = np.ones(len(group_of), bool) if train_only is None else ~np.asarray(train_only, dtype=bool)
    counts = _counts(has, group_of, len(found))
    own = _counts(has[main], group_of[main], len(found))
    rest = np.flatnonzero(own[:, 0])
    parts = {"train": np.flatnonzero(own[:, 0] == 0)}  # the groups of additional sets alone
    own_names = found[rest].tolist()
    seed, val_fraction = shares.seed, shares.val_fraction
    if of := shares.in_folds(own_names):
        fold, folds = of
        of_fold = stratified_parts(own[rest], [1 / folds] * folds, np.random.default_rng(derive(seed, "folds")))
        parts["test"], rest = rest[of_fold == fold], rest[of_fold != fold]
        wanted = {"train": 1 - val_fraction, "val": val_fraction}
        how = f"fold {fold} of {folds}"
    else:
        test_fraction = shares.test_fraction
        wanted = {"train": 1 - val_fraction - test_fraction, "test": test_fraction, "val": val_fraction}
        how = "one split"
    wanted = {part: share for part, share in wanted.items() if share > 0}
    how = f"{len(found)} groups dealt by their labels with seed {seed}, {how}"
    if len(rest) < len(wanted):
        raise shares.too_few(own_names, len(parts.get("test", rest[:0])) or int("test" in wanted), int("val" in wanted))
    rng = np.random.default_rng(derive(seed, "split", of[0] if of else -1))
    dealt = stratified_parts(own[rest], list(wanted.values()), rng, priority=range(len(wanted)))
    for number, part in enumerate(wanted):
        parts[part] = np.append(parts.get(part, rest[:0]), rest[dealt == number])
    if shares.fraction < 1:
        kept = {p: parts[p][_fraction_of(counts[parts[p]], shares.fraction, seed)] for p in wanted if p != "test"}
        parts = parts | kept
    train, val, test = (found[parts.get(part, rest[:0])].tolist() for part in PARTS[:3])
    return shares.drawn(how, train, val, test, set(found.tolist()).difference(train, val, test))


def _counts(has: Counts, group_of: npt.NDArray[np.intp], n_groups: int) -> Counts:
    """Return, groups x (1 + K), the samples of each group and those with each label."""
    columns = [np.bincount(group_of, minlength=n_groups)]
    columns += [np.bincount(group_of[column > 0], minlength=n_groups) for column in has.T]
    return np.stack(columns, axis=1)


def _fraction_of(counts: Counts, fraction: float, seed: int) -> Counts:
    """Return the groups that make up ``fraction`` of the samples, at least one; a larger one keeps these and more.

    Halving again and again gives an order of the groups of which every beginning is stratified.
    """
    rest, path, kept = np.arange(len(counts)), "", [np.arange(0)]
    goal = fraction * counts[:, 0].sum()
    while len(rest) > 1:
        half = stratified_parts(
            counts[rest], [0.5, 0.5], np.random.default_rng(derive(seed, "fraction", path)), priority=(0, 1)
        )
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


def stratified_parts(
    counts: Counts, shares: Sequence[float], rng: np.random.Generator, *, priority: Sequence[int] | None = None
) -> Counts:
    """Return the part (0 to P - 1) of each group.

    Every part gets at least one group. A label that is in fewer groups than there are parts goes to the parts of the
    lowest ``priority`` first (equal by default); one that is in as many or more is in every part. Beyond that, the
    sum over labels and parts of (count - share)^2 / (count of the label) is made small, the number of samples
    counting as a label that all have, ``SIZE_WEIGHT`` times.

    Args:
        counts: G x (1 + K), of each group the samples (at least 1) and the samples with each label; G >= P.
        shares: P fractions of the samples, each above 0, their sum 1.
        rng: decides among equals.
        priority: P numbers.
    """
    types, type_of = _types(counts)
    each = _even_part(np.bincount(type_of, minlength=len(types)), np.asarray(shares))
    target = np.round(np.outer(shares, counts.sum(axis=0)) * _UNIT) / _UNIT
    _rarest_first(types, np.bincount(type_of) - each.sum(axis=1), each, target, priority or [0] * len(shares), rng)
    _swap(types.astype(np.float64), each, target)
    # Which groups of a type go where is chance; they have the same counts.
    order = rng.permutation(len(counts))
    order = order[np.argsort(type_of[order], kind="stable")]
    part = np.empty(len(counts), dtype=np.int64)
    part[order] = np.repeat(np.tile(np.arange(len(shares)), len(types)), each.ravel())
    return part


def nested_folds(groups: Sequence[str] | npt.NDArray[Any], labels: npt.ArrayLike, folds: int = 5) -> npt.NDArray[Any]:
    """Return the fold (0, 1 ...) of each sample: whole groups, each label as even over the folds as they allow.

    For honest figures of what is fitted: each fold is decided by thresholds (and calibration) fitted on the others. The
    same groups give the same folds, in whatever order the samples come.

    Args:
        groups: N names.
        labels: N x C, 0 or 1.
        folds: at least 2; as many as there are groups if these are fewer. One group gives one fold, all zeros: then
            nothing is left to fit on, and the caller must say so.
    """
    names, member = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    folds = min(folds, len(names))
    if folds < 2:
        return np.zeros(len(member), np.int64)
    counts = _counts(np.asarray(labels, dtype=np.int64), member, len(names))
    return stratified_parts(counts, [1 / folds] * folds, np.random.default_rng(0))[member]


def _types(counts: Counts) -> tuple[Counts, Counts]:
    """Return the different rows, and the number of its row for each group."""
    order = np.lexsort(counts.T)
    is_new = np.append(True, (counts[order[1:]] != counts[order[:-1]]).any(axis=1))
    type_of = np.empty(len(counts), dtype=np.int64)
    type_of[order] = np.cumsum(is_new) - 1
    return counts[order[is_new]], type_of


def _even_part(many: Counts, shares: Floats) -> Counts:
    """Return, types x parts, the groups of frequent types that go to each part whatever else happens."""
    each = np.floor(many[:, None] * shares + 1e-9).astype(np.int64)
    each[(each == 0).any(axis=1)] = 0
    return each


def _rarest_first(
    types: Counts, left: Counts, each: Counts, target: Floats, priority: Sequence[int], rng: np.random.Generator
) -> None:
    """Add the groups that are ``left`` of each type to ``each``."""
    # Lists: this loop visits one group after another, where numpy would be slower.
    have: list[list[int]] = (types.T @ each).tolist()
    need: list[list[float]] = (target.T - types.T @ each).tolist()
    rows = types.tolist()
    labels = [np.flatnonzero(row).tolist() for row in types]
    parts = range(each.shape[1])
    n_left = int(left.sum())
    while n_left:
        in_groups = left @ (types > 0)
        in_groups[0] = np.iinfo(np.int64).max  # groups without a label come last
        label = int(np.where(in_groups > 0, in_groups, np.iinfo(np.int64).max).argmin())
        chosen = np.flatnonzero((types[:, label] > 0) & (left > 0))
        # The large groups first: small ones level what they leave uneven.
        queue = rng.permutation(np.repeat(chosen, left[chosen]))
        queue = queue[np.argsort(-types[queue, label], kind="stable")]
        chance = rng.random((len(queue), len(parts))).tolist()
        for kind, random in zip(queue.tolist(), chance, strict=True):
            empty = [part for part in parts if have[0][part] == 0]
            open_parts = empty if len(empty) >= n_left else parts
            wanted, size, owned = need[label], need[0], have[label]
            best = min(
                open_parts,
                key=lambda p: (owned[p] > 0, 0 if owned[p] else priority[p], -wanted[p], -size[p], random[p]),
            )
            each[kind, best] += 1
            for column in labels[kind]:
                have[column][best] += rows[kind][column]
                need[column][best] -= rows[kind][column]
            n_left -= 1
        left[chosen] = 0


def _swap(types: Floats, each: Counts, target: Floats) -> None:
    """Move or swap groups between two parts while that lowers the weighted deviation; no label leaves a part wholly."""
    count = each.T @ types
    # A power of two near 1 / count, so that products are exact.
    weight = np.array([2.0 ** -int(total).bit_length() for total in count.sum(axis=0)])
    weight[0] *= SIZE_WEIGHT
    types = np.vstack([types, np.zeros(types.shape[1])])  # the last stands for no group: a swap with it is a move
    square = np.square(types) @ weight
    nothing, largest = len(types) - 1, types.max(axis=0)
    pairs = [(p, q) for p in range(len(target)) for q in range(p + 1, len(target))]
    unchanged = swaps = step = 0
    while unchanged < len(pairs) and swaps < MAX_SWAPS:
        p, q = pairs[step % len(pairs)]
        step += 1
        deviation = count - target
        # Half the change of sum(weight * deviation^2) when a type goes from p to q, and from q to p.
        slope = types @ (weight * (deviation[q] - deviation[p]))
        there, back = square + slope, square - slope
        ahead, behind = _lowest(there, each[:, p]), _lowest(back, each[:, q])
        change = there[ahead][:, None] + back[behind] - 2.0 * (types[ahead] * weight) @ types[behind].T
        for part, from_there, to_there in ((p, types[ahead], types[behind]), (q, types[behind], types[ahead])):
            rare = (count[part] > 0) & (count[part] <= largest)
            if rare.any():
                lost = from_there[:, None, rare] - to_there[:, rare] >= count[part, rare]
                change[lost.any(axis=2) if part == p else lost.any(axis=2).T] = np.inf
        best = int(change.argmin())
        if change.flat[best] >= 0:
            unchanged += 1
            continue
        i, j = ahead[best // len(behind)], behind[best % len(behind)]
        for kind, source, goal in ((i, p, q), (j, q, p)):
            if kind != nothing:
                each[kind, source] -= 1
                each[kind, goal] += 1
        count[p] += types[j] - types[i]
        count[q] += types[i] - types[j]
        swaps += 1
        unchanged = 0


def _lowest(cost: Floats, present: Counts) -> npt.NDArray[Any]:
    """Return the types of lowest cost among those present, and the one that stands for no group."""
    here = np.append(np.flatnonzero(present), len(present))
    return here[np.argsort(cost[here], kind="stable")[:CANDIDATES]]
