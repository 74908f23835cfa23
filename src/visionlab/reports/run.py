"""A run folder as a report reads it: every file optional except config.yaml, every absence with its reason."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from visionlab.errors import DataError
from visionlab.heads import KINDS
from visionlab.heads.figures import Figures, HeadTables, figures_of

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

LEAKS = "LEAKS: "
"""How splits.json begins to say how its split was made, where parts of it are not independent."""
SPLITS = ("test", "val", "train")
"""In the order in which a report prefers them."""
# Columns that are text, whatever it looks like.
_INDEX = ("id", "group", "split", "path", "dtype")
_TEXTS = ("id", "group", "split", "path", "frame", "sequence", "class")
_UNKNOWN = Figures(key="", baseline=("the baseline", "the baseline"), drawings={}, pictures={})


@dataclass
class Run:
    """The content of a run folder. What could not be read is empty, and ``missing`` says why by file name."""

    path: Path
    config: dict[str, Any]
    status: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    index: pd.DataFrame | None = None
    lr_find: pd.DataFrame | None = None
    predictions: dict[str, pd.DataFrame] = field(default_factory=dict)
    classes: dict[str, pd.DataFrame] = field(default_factory=dict)
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    curves: dict[str, pd.DataFrame] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.config.get("task") or self.info.get("task") or "unknown task")

    @property
    def model(self) -> str:
        """The model's name."""
        model = self.config.get("model")
        name = model.get("name") if isinstance(model, dict) else model
        return str(name or self.info.get("model") or "unknown model")

    @property
    def synthetic(self) -> bool:
        """Whether the run's data is a generated sample."""
        return bool(self.info.get("synthetic") or self.card.get("synthetic"))

    @property
    def data(self) -> str:
        """What the run was trained on: ``generated sample`` or the data's root."""
        return "generated sample" if self.synthetic else str(self.info.get("data") or self.card.get("name") or "")

    @property
    def heads(self) -> dict[str, dict[str, Any]]:
        """The heads of run.json, their ``columns`` and ``metrics`` as lists of text whatever stands there."""
        heads = self.info.get("heads")
        known = {k: v for k, v in heads.items() if isinstance(v, dict)} if isinstance(heads, dict) else {}
        return {
            name: {**head, **{key: _texts(head.get(key)) for key in ("columns", "metrics")}}
            for name, head in known.items()
        }

    @property
    def labels(self) -> dict[str, dict[str, dict[str, int]]]:
        """How many images have each label: target -> class -> split -> count."""
        labels = self.card.get("labels")
        return labels if isinstance(labels, dict) else {}

    @property
    def leak(self) -> str:
        """How the split was made, where it leaks; else empty."""
        source = str(self.splits.get("source") or "")
        return source.removeprefix(LEAKS) if source.startswith(LEAKS) else ""

    def figures(self, head: str) -> Figures:
        """Return what reports tell of a head's kind."""
        return figures_of(str(self.heads.get(head, {}).get("kind"))) or _UNKNOWN

    def metric(self, head: str, name: str) -> Any:
        """Return a metric of a head's kind; None if it has none of that name."""
        kind = KINDS.get(str(self.heads.get(head, {}).get("kind")))
        return None if kind is None else kind.metrics.get(name)

    def label(self, name: str, *, short: bool = False) -> str:
        """Return the words for ``head/metric`` or ``head/column/metric``."""
        head = name.partition("/")[0]
        return self.figures(head).label(name, self.heads.get(head, {}), short=short)

    def key_metrics(self) -> list[str]:
        """Return ``head/metric``, the one that says most of each head."""
        return [f"{head}/{self.figures(head).key_metric(spec)}" for head, spec in self.heads.items()]

    def tables(self, head: str, split: str) -> HeadTables:
        """Return what there is of a head on a split that has predictions."""
        where = f"{split}/{head}/"
        metrics = {key.removeprefix(where): entry for key, entry in self.metrics.items() if key.startswith(where)}
        table, details = self.predictions[split], (self.classes.get(split), self.frames.get(split))
        return HeadTables(head, self.heads[head], split, table, metrics, self.data, *details)

    def attempt(self, name: str, make: Callable[[], T]) -> T | None:
        """Return ``make()``, or None where a file has another form than expected: then ``missing`` says so."""
        try:
            return make()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.missing.setdefault(name, f"not in the expected form: {type(error).__name__}: {error}")
            return None


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        DataError: it isn't one: config.yaml is missing or broken.
    """
    run = Run(path=path, config=_config(path / "config.yaml"))
    for key, name in (
        ("status", "status.json"),
        ("info", "run.json"),
        ("splits", "splits.json"),
        ("card", "data_card.json"),
    ):
        setattr(run, key, _try(run, name, _json) or {})
    metrics = _try(run, "metrics.json", _json) or {}
    run.metrics = {key: entry for key, entry in metrics.items() if isinstance(entry, dict)}
    run.index = _try(run, "data_index.csv", partial(_table, text=_INDEX))
    for split in SPLITS:
        # Nobody evaluates on the training split unless asked to; only some kinds have the tables of classes and frames.
        for kept, ending in ((run.predictions, ""), (run.classes, "_classes"), (run.frames, "_frames")):
            name = f"predictions/{split}{ending}.csv"
            if (path / name).is_file() or (not ending and split != "train"):
                table = _try(run, name, partial(_table, text=_TEXTS))
                if table is not None:
                    kept[split] = table
    if (path / "lr_find.csv").is_file():
        run.lr_find = _try(run, "lr_find.csv", partial(_table, text=()))
    run.curves = read_scalars(path)
    if not run.curves:
        run.missing["TensorBoard events"] = "the run folder holds no event files with values"
    return run


def read_prepared(folder: Path) -> tuple[Run, list[dict[str, str]]]:
    """Read what ``prepare`` left of a data set, and the rows of ``problems.csv``.

    Raises:
        DataError: a file is missing or damaged.
    """
    try:
        info, splits, card = (_json(folder / name) for name in ("run.json", "splits.json", "data_card.json"))
        index = _table(folder / "data_index.csv", _INDEX)
        problems = _table(folder / "problems.csv", ("path", "severity", "what", "advice")).to_dict("records")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: expected what visionlab.prepare writes, found: {error}") from None
    run = Run(path=folder, config={"task": info.get("task")}, info=info, splits=splits, card=card, index=index)
    return run, [{str(key): str(value) for key, value in row.items()} for row in problems]


def read_scalars(run_dir: Path) -> dict[str, pd.DataFrame]:
    """Return tag -> table of ``step`` and ``value`` of TensorBoard event files, sorted by step; empty without files.

    A resumed run writes a further file and repeats the steps after its checkpoint: the later value of a step counts.
    A file whose end was cut off by a crash is read up to there.
    """
    import pandas as pd
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


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path.parent}: expected a run folder, found no config.yaml in it")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected YAML, found: {error}") from None
    if not isinstance(config, dict):
        raise DataError(f"{path}: expected keys and values, found {type(config).__name__}")
    return config


def _try(run: Run, name: str, read: Callable[[Path], T]) -> T | None:
    """Return what ``read`` makes of a file, or None with the reason kept."""
    path = run.path / name
    if not path.is_file():
        run.missing[name] = "the run folder does not hold this file"
        return None
    try:
        return read(path)
    except (OSError, ValueError, KeyError) as error:
        run.missing[name] = f"the file cannot be read: {' '.join(str(error).split())[:300]}"
        return None


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, found {type(content).__name__}")
    return content


def _table(path: Path, text: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    # As text first: a group called NA or 007 must stay that.
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in table.columns.difference(list(text)):
        with contextlib.suppress(ValueError):  # other columns of text, such as hashes, are nobody's numbers
            table[column] = pd.to_numeric(table[column])
    return table
