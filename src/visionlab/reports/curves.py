"""Scalars out of the TensorBoard event files of a run folder."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd


def read_scalars(run_dir: Path) -> dict[str, pd.DataFrame]:
    """Return tag -> table of ``step`` and ``value``, sorted by step; empty if there are no event files.

    A resumed run writes a further file and repeats the steps after its checkpoint: the later value of a step counts.
    A file whose end was cut off by a crash is read up to there.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # It reports each cut-off file on the terminal; here such a file is normal.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    rows: dict[str, list[pd.DataFrame]] = {}
    for path in sorted(run_dir.rglob("events.out.tfevents.*")):
        # 0 keeps every value; the default is a random sample of 10,000.
        events = EventAccumulator(str(path), size_guidance={"scalars": 0}, purge_orphaned_data=False).Reload()
        for tag in events.Tags()["scalars"]:
            rows.setdefault(tag, []).append(pd.DataFrame(events.Scalars(tag), columns=["wall_time", "step", "value"]))
    return {tag: _latest(pd.concat(parts)) for tag, parts in sorted(rows.items())}


def _latest(events: pd.DataFrame) -> pd.DataFrame:
    newest = events.sort_values("wall_time", kind="stable").drop_duplicates("step", keep="last")
    return newest.sort_values("step")[["step", "value"]].reset_index(drop=True)
