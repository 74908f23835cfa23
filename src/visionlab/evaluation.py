"""Measuring a finished run again: on a split of its own data, or on another labelled folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from visionlab import assembly
from visionlab.console import LOG
from visionlab.data.describe import card, index_table
from visionlab.data.module import STAGES, ImageDataModule
from visionlab.data.splits import Splits
from visionlab.data.store import write_json, write_text
from visionlab.errors import DataError, UsageError, nearest
from visionlab.inference import Predictor, load
from visionlab.records import evaluate_into, example_figure, say
from visionlab.reports.html import write_report
from visionlab.reports.style import save
from visionlab.saved import load_config, run_folder


def evaluate_own(run: Path, split: str, device: str) -> Path:
    """Measure a split of the run's own data, update its folder and return it.

    Raises:
        UsageError: no such run or split.
        DataError: the data changed since the run.
    """
    if split not in STAGES:
        raise UsageError(f"--split {split}: expected one of {', '.join(STAGES)}.{nearest(split, STAGES)}")
    folder = run_folder(run)
    cfg = load_config(folder)
    predictor = load(run, device=device)
    data = _data(cfg, folder)
    _check_same(predictor, data)
    metrics = evaluate_into(folder, predictor, data, (split,))
    say({name: entry for name, entry in metrics.items() if name.startswith(f"{split}/")}, data.name)
    write_report(folder)
    return folder


def evaluate_other(run: Path, root: Path, out: Path | None, device: str) -> Path:
    """Measure the run on another labelled folder, write a folder of the same form and return it.

    Raises:
        UsageError: no such run, or ``out`` exists.
        DataError: the folder cannot be read, or holds images that the run has seen in training.
    """
    folder = run_folder(run)
    out = out or folder / "evaluations" / root.resolve().name
    if (out / "config.yaml").exists():
        raise UsageError(f"{out}: expected a new folder, found an evaluation in it; give another --out or remove it")
    cfg = load_config(folder)
    predictor = load(run, device=device)
    cfg.data.root = str(root)
    cfg.data.split_file = None
    cfg.data.include, cfg.data.exclude = [], []
    data = assembly.make_data(cfg)
    data.chosen_splits = _all_as_test
    data.setup()
    _refuse_seen(folder, data)
    write_text(out / "config.yaml", (folder / "config.yaml").read_text())
    about: dict[str, Any] = json.loads((folder / "run.json").read_text())
    about |= {"data": data.name, "synthetic": data.synthetic}
    about["command"] = f"python -m visionlab.evaluate {run} --data {root}"
    write_json(out / "run.json", about)
    data.splits.write(out / "splits.json")
    write_json(out / "data_card.json", card(data))
    write_text(out / "data_index.csv", index_table(data).to_csv(index=False))
    save(example_figure(data), out / "plots" / "examples.png")
    say(evaluate_into(out, predictor, data, ("test",)), data.name)
    write_report(out)
    return out


def _data(cfg: DictConfig, folder: Path) -> ImageDataModule:
    data = assembly.make_data(cfg)
    data.split_file = str(folder / "splits.json")
    data.setup()
    return data


def _check_same(predictor: Predictor, data: ImageDataModule) -> None:
    if predictor.description["data"]["fingerprint"] != data.cache.fingerprint:
        LOG.warning(
            "the files in %s changed since the run; the groups of its splits are used as they are now", data.root
        )


def _all_as_test(groups: Sequence[str]) -> Splits:
    return Splits((), (), tuple(sorted(set(groups))), (), "all groups are the test set")


def _refuse_seen(folder: Path, data: ImageDataModule) -> None:
    """Refuse images that the run was trained or tuned on: measured on them it would flatter itself."""
    path = folder / "data_index.csv"
    if not path.is_file():
        return
    index = pd.read_csv(path, dtype={"hash": str}, keep_default_na=False)
    seen = set(index.loc[index["split"].isin(["train", "val"]), "hash"])
    copies = data.table["path"][data.cache.facts["hash"].isin(seen).to_numpy()]
    if len(copies):
        raise DataError(
            f"{data.root}: {len(copies)} of {len(data.table)} images were used in training or validation of {folder}, "
            f"the first is {copies.iloc[0]}; metrics on them mean nothing, so remove them"
        )
