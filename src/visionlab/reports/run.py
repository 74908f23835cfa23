"""A run folder as a report reads it: every file optional except config.yaml, every absence with its reason."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml

from visionlab.errors import DataError
from visionlab.heads import KINDS
from visionlab.heads.figures import Figures, HeadTables, figures_of

T = TypeVar("T")

LEAKS = "LEAKS: "
"""How splits.json begins to say how its split was made, where parts of it are not independent."""
SPLITS = ("test", "val", "train")
"""In the order in which a report prefers them."""
_TEXT = {"id", "group", "split", "path", "dtype", "frame", "sequence", "class", "severity", "what", "advice"}
"""Columns that are text, whatever it looks like."""


@dataclass
class Run:
    """The content of a run folder, or of what ``prepare`` left.

    What could not be read is empty, and ``missing`` says why by file name.
    """

    path: Path
    config: dict[str, Any]
    status: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    index: pd.DataFrame | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Name below predictions/, without suffix -> table: ``test``, ``test_classes``, ..."""
    curves: dict[str, pd.DataFrame] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.config.get("task") or self.info.get("task"))

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.info.get("model") or "unknown model")

    @property
    def synthetic(self) -> bool:
        """Whether the run's data is a generated sample."""
        return bool(self.info.get("synthetic"))

    @property
    def data(self) -> str:
        """What the run was trained on: ``generated sample`` or the data's root."""
        return "generated sample" if self.synthetic else str(self.info.get("data") or "")

    @property
    def heads(self) -> dict[str, dict[str, Any]]:
        """The heads of run.json whose kind is known here, and that say which columns they have."""
        heads = self.info.get("heads")
        found = heads.items() if isinstance(heads, dict) else ()
        known = {name: spec for name, spec in found if isinstance(spec, dict) and spec.get("kind") in list(KINDS)}
        return {name: spec for name, spec in known.items() if isinstance(spec.get("columns"), list)}

    @property
    def leak(self) -> str:
        """How the split was made, where it leaks; else empty."""
        source = str(self.splits.get("source") or "")
        return source.removeprefix(LEAKS) if source.startswith(LEAKS) else ""

    @property
    def predicted(self) -> list[str]:
        """The splits with predictions."""
        return [split for split in SPLITS if split in self.tables]

    def figures(self, head: str) -> Figures:
        """Return what reports tell of a head's kind."""
        return figures_of(self.heads[head]["kind"])

    def unit(self, tag: str) -> str:
        """Return the unit of a logged metric such as ``val/distance/mae``; empty for a loss."""
        _, head, *_, name = tag.split("/") if tag.count("/") > 1 else ("", "", tag)
        metric = KINDS[self.heads[head]["kind"]].metrics.get(name) if head in self.heads else None
        return str(self.heads[head].get("unit") or "") if metric and metric.in_unit else ""

    def key_metrics(self) -> list[str]:
        """Return ``head/metric``, the one that says most of each head."""
        return [f"{head}/{self.figures(head).key_metric(spec)}" for head, spec in self.heads.items()]

    def of_head(self, head: str, split: str) -> HeadTables:
        """Return what there is of a head on a split that has predictions."""
        where = f"{split}/{head}/"
        metrics = {key.removeprefix(where): entry for key, entry in self.metrics.items() if key.startswith(where)}
        frames = self.tables.get(f"{split}_frames")
        return HeadTables(head, self.heads[head], split, self.tables[split], metrics, self.data, frames)

    def attempt(self, name: str, make: Callable[[], T]) -> T | None:
        """Return ``make()``, or None where a file has another form than expected: then ``missing`` says so."""
        try:
            return make()
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            self.missing.setdefault(name, f"not in the expected form: {type(error).__name__}: {error}")
            return None


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        DataError: it isn't one: config.yaml is missing or broken.
    """
    try:
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        config["task"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError) as error:
        raise DataError(f"{path}: expected a run folder, found no config.yaml of a run: {error!r}") from None
    run = _read(path, config)
    run.metrics = {key: entry for key, entry in _json(run, "metrics.json").items() if isinstance(entry, dict)}
    run.status = _json(run, "status.json")
    names = sorted(f"{split}{end}" for split in SPLITS for end in ("", "_classes", "_frames"))
    files = {name: f"predictions/{name}.csv" for name in names}
    tables = {n: _csv(run, file) for n, file in files.items() if n in ("test", "val") or (path / file).is_file()}
    run.tables = {name: table for name, table in tables.items() if table is not None}
    run.curves = read_scalars(path)
    if not run.curves:
        run.missing["TensorBoard events"] = "the run folder holds no event files with values"
    return run


def read_prepared(folder: Path) -> tuple[Run, list[list[str]]]:
    """Read what ``prepare`` left of a data set, and path, what and advice of the rows of ``problems.csv``.

    Raises:
        DataError: a file is missing or damaged.
    """
    run = _read(folder, {})
    problems = _csv(run, "problems.csv")
    if run.missing or problems is None:
        name, reason = next(iter(run.missing.items()))
        raise DataError(f"{folder}: expected what visionlab.prepare writes, found: {name}: {reason}")
    return run, problems[["path", "what", "advice"]].to_numpy().tolist()


def _read(path: Path, config: dict[str, Any]) -> Run:
    run = Run(path, config)
    run.info, run.splits, run.card = (_json(run, f"{name}.json") for name in ("run", "splits", "data_card"))
    run.index = _csv(run, "data_index.csv")
    return run


def read_scalars(run_dir: Path) -> dict[str, pd.DataFrame]:
    """Return tag -> table of ``step`` and ``value`` of TensorBoard event files, sorted by step; empty without files.

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
    found = {}
    for tag, parts in sorted(rows.items()):
        newest = pd.concat(parts).sort_values("wall_time", kind="stable").drop_duplicates("step", keep="last")
        found[tag] = newest.sort_values("step")[["step", "value"]].reset_index(drop=True)
    return found


def _json(run: Run, name: str) -> dict[str, Any]:
    """Return the content of a file; empty, with the reason kept, if it can't be read."""
    try:
        content = json.loads((run.path / name).read_text(encoding="utf-8"))
        return dict(content.items())
    except (OSError, ValueError, AttributeError) as error:
        run.missing[name] = f"the file cannot be read: {error}"
        return {}


def _csv(run: Run, name: str) -> pd.DataFrame | None:
    """Return a table; None, with the reason kept, if it can't be read."""
    try:
        # As text first: a group called NA or 007 must stay that.
        table = pd.read_csv(run.path / name, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        run.missing[name] = f"the file cannot be read: {error}"
        return None
    for column in table.columns.difference(list(_TEXT)):
        with contextlib.suppress(ValueError):  # other columns of text, such as hashes, are nobody's numbers
            table[column] = pd.to_numeric(table[column])
    return table
