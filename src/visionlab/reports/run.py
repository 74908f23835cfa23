"""A run folder as a report reads it: every file optional except config.yaml, every absence with its reason."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from visionlab.data.blocks import LEAKS
from visionlab.errors import DataError
from visionlab.reports.curves import read_scalars

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

SPLITS = ("test", "val", "train")
"""In the order in which a report prefers them."""
TEXTS = ("id", "group", "split", "path", "frame", "sequence")
"""Columns of tables of predictions that are text, whatever it looks like."""


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
    def heads(self) -> dict[str, dict[str, Any]]:
        """The heads of run.json, their ``columns`` and ``metrics`` as lists of text whatever stands there."""
        heads = self.info.get("heads")
        known = {k: v for k, v in heads.items() if isinstance(v, dict)} if isinstance(heads, dict) else {}
        return {
            name: {**head, **{key: _texts(head.get(key)) for key in ("columns", "metrics")}}
            for name, head in known.items()
        }

    @property
    def leak(self) -> str:
        """How the split was made, where it leaks; else empty."""
        source = str(self.splits.get("source") or "")
        return source.removeprefix(LEAKS) if source.startswith(LEAKS) else ""

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
    run.index = _try(run, "data_index.csv", lambda file: _table(file, text=("id", "group", "split", "path", "dtype")))
    for split in SPLITS:
        name = f"predictions/{split}.csv"
        if split == "train" and not (path / name).is_file():
            continue  # nobody evaluates on the training split unless asked to: no gap in the report
        table = _try(run, name, lambda file: _table(file, text=TEXTS))
        if table is not None:
            run.predictions[split] = table
        # Only heads of labels have the one, only those of instances the other.
        for kept, ending, text in ((run.classes, "classes", ("class",)), (run.frames, "frames", TEXTS)):
            name = f"predictions/{split}_{ending}.csv"
            if (path / name).is_file():
                table = _try(run, name, partial(_table, text=text))
                if table is not None:
                    kept[split] = table
    if (path / "lr_find.csv").is_file():
        run.lr_find = _try(run, "lr_find.csv", lambda file: _table(file, text=()))
    run.curves = read_scalars(path)
    if not run.curves:
        run.missing["TensorBoard events"] = "the run folder holds no event files with values"
    return run


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
