"""Which samples of an index are used, and that none is in two splits."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from visionlab.console import LOG
from visionlab.errors import DataError


def choose_groups(table: pd.DataFrame, root: Path, include: Sequence[str], exclude: Sequence[str]) -> pd.DataFrame:
    """Return the rows of an index whose groups match a pattern of ``include`` (empty: all) and none of ``exclude``.

    Raises:
        DataError: no image is left, or a pattern matches no group.
    """
    groups = sorted(set(table["group"]))
    for option, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(group, pattern) for group in groups):
                raise DataError(
                    f"data.{option}: '{pattern}' matches none of the {len(groups)} groups in {root}, "
                    f"such as {', '.join(groups[:5])}"
                )
    kept = {
        group
        for group in groups
        if (not include or any(fnmatch.fnmatchcase(group, pattern) for pattern in include))
        and not any(fnmatch.fnmatchcase(group, pattern) for pattern in exclude)
    }
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
