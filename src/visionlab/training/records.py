"""What a run leaves in its folder, in the order in which it comes to be."""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
import time
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import TensorBoardLogger

from visionlab.console import LOG
from visionlab.data.describe import card, index_table
from visionlab.data.module import ImageDataModule
from visionlab.drawing.style import save
from visionlab.drawing.text import count, digits, measure, unit_text
from visionlab.errors import DataError
from visionlab.files import write_json, write_text
from visionlab.inference import Predictor, load
from visionlab.inference.files import find_checkpoint
from visionlab.models.receptive_field import parameters, receptive_field
from visionlab.modules.task_model import TaskModel
from visionlab.training.measurement import (
    FITTED_ON,
    Rows,
    describe_heads,
    evaluate_split,
    fit_heads,
    measure_split,
)
from visionlab.training.pictures import example_figure, save_pictures, weight_histograms

_PACKAGES = ("visionlab", "torch", "pytorch-lightning", "torchmetrics", "timm", "hydra-core", "albumentations", "numpy")


class RunRecord:
    """Writes the files of one run folder.

    Args:
        folder: the run folder.
        cfg: composed and checked.
        command: the line that starts the run again.
        write: False in all ranks but the first, where nothing is written.
    """

    def __init__(self, folder: Path, cfg: DictConfig, command: str, write: bool) -> None:
        self.folder, self.cfg, self.command, self.write = folder, cfg, command, write
        self.about: dict[str, Any] = {}
        self.epoch = self.step = 0
        self._began = time.monotonic()
        self._seconds_before = 0.0

    @property
    def resume_command(self) -> str:
        return f"python -m visionlab.resume {shlex.quote(str(self.folder))}"

    def start(self, resume: bool) -> None:
        """Write the configuration and that the run is on its way."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.save_config()
        self.status("running", "")
        LOG.info("%s run folder: %s", "going on in" if resume else "new", self.folder)

    def save_config(self) -> None:
        """Write ``config.yaml``: every setting, resolved."""
        if self.write:
            write_text(self.folder / "config.yaml", OmegaConf.to_yaml(self.cfg, resolve=True))

    def status(self, state: str, message: str) -> None:
        """Write ``status.json``: running, interrupted, failed or finished."""
        content = {"state": state, "epoch": self.epoch, "step": self.step, "message": message}
        write_json(self.folder / "status.json", {**content, "resume": self.resume_command})

    def stopped(self, state: str, message: str) -> None:
        """Write the status of a run that ended early, if it got as far as having a folder."""
        if self.write and (self.folder / "config.yaml").is_file():
            self.status(state, message)
            if self.about:
                write_json(self.folder / "run.json", {**self.about, "seconds": self._seconds()})

    def discard(self) -> None:
        """Take back what :meth:`start` and the log wrote of a run that never came to training."""
        if not self.write:
            return
        for name in ("config.yaml", "status.json", "train.log", ".lock"):
            (self.folder / name).unlink(missing_ok=True)
        # Only folders that are empty now: the user may have chosen one with other things in it.
        for folder in (self.folder, self.folder.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def follow(self, data: ImageDataModule) -> None:
        """Let a resumed run use the splits that it began with."""
        if (self.folder / "splits.json").is_file():
            data.split_file = str(self.folder / "splits.json")

    def check_data(self, data: ImageDataModule) -> None:
        """Refuse to go on with other data than the run began with.

        Raises:
            DataError: files were added, removed or changed.
        """
        path = self.folder / "run.json"
        if not path.is_file():
            return
        before = json.loads(path.read_text()).get("fingerprint")
        if before != data.fingerprint:
            raise DataError(
                f"{data.root}: the files or how they are prepared changed since {self.folder} began, so it cannot go "
                "on exactly; restore them, or start a new run with init_from=" + str(self.folder)
            )

    def describe(self, data: ImageDataModule, model: TaskModel) -> None:
        """Write what is known before training: splits, data card, index, examples, ``run.json``."""
        if not (self.folder / "splits.json").is_file():
            data.splits.write(self.folder / "splits.json")
        write_json(self.folder / "data_card.json", card(data))
        write_text(self.folder / "data_index.csv", index_table(data).to_csv(index=False))
        heads = model.each_head()
        save(example_figure(data, describe_heads(heads)), self.folder / "plots" / "examples.png")
        weights = parameters(model.network)
        self.about = {
            "command": self.command,
            "task": self.cfg.task,
            "model": self.cfg.model.name,
            "data": data.name,
            "synthetic": data.synthetic,
            "fingerprint": data.fingerprint,
            "versions": _versions(),
            "parameters": weights,
            "receptive_field": receptive_field(model.network, data.in_channels),
            "heads": describe_heads(heads),
            "started": _now(),
            "seed": self.cfg.seed,
        }
        if (self.folder / "run.json").is_file():
            # The run goes on: its time began with its first part.
            begun = json.loads((self.folder / "run.json").read_text())
            self.about["started"] = begun["started"]
            self._seconds_before = float(begun.get("seconds", 0.0))
        write_json(self.folder / "run.json", self.about)
        LOG.info("%s with %s weights", self.cfg.model.name, f"{weights:,}")

    def _seconds(self) -> float:
        return round(self._seconds_before + time.monotonic() - self._began, 1)

    def finish(self, data: ImageDataModule, logger: TensorBoardLogger, device: str) -> None:
        """Test the best checkpoint and write predictions, metrics, pictures and hyper-parameters."""
        predictor = load(self.folder, trust=self.cfg.trust)
        rows = measure_split(predictor, data, FITTED_ON)
        fit_heads(find_checkpoint(self.folder), predictor, data, rows)
        self.about["heads"] = describe_heads(predictor.heads)
        # With data.test_fraction=0 there is no test split.
        splits = tuple(split for split in ("val", "test") if len(data.rows[split]))
        metrics = evaluate_into(self.folder, predictor, data, splits, {FITTED_ON: rows})
        if self.cfg.logger.histograms:
            arrays = {
                name: value.detach().flatten().cpu().numpy()
                for name, value in predictor.model.network.named_parameters()
            }
            save(weight_histograms(arrays, data.name), self.folder / "plots" / "weights.png")
        self.about |= {"finished": _now(), "seconds": self._seconds(), "device": device}
        write_json(self.folder / "run.json", self.about)
        test = {name: entry["value"] for name, entry in metrics.items() if name.startswith("test/")}
        scalars = {name: value for name, value in test.items() if value is not None}
        logger.log_hyperparams(_flat({**_plain(self.cfg), "data_name": data.name}), scalars)
        logger.save()
        logger.finalize("success")
        self.status("finished", "")
        say({name: entry for name, entry in metrics.items() if name.startswith("test/")}, data.name)


def say(metrics: dict[str, Any], data_name: str) -> None:
    """Log metrics, one line each, with interval and baseline."""
    for name, entry in metrics.items():
        unit = unit_text(entry["unit"])
        baseline = "undefined" if entry["baseline"] is None else f"{digits(entry['baseline'])} {unit}".strip()
        interval = f" (95% interval over {count(entry['groups'], 'group')})" if entry["low"] is not None else ""
        LOG.info("%s on %s: %s%s, baseline %s", name, data_name, measure(entry), interval, baseline)


def evaluate_into(
    folder: Path,
    predictor: Predictor,
    data: ImageDataModule,
    splits: tuple[str, ...],
    known: Mapping[str, Rows] | None = None,
) -> dict[str, Any]:
    """Evaluate these splits; write ``predictions/``, ``metrics.json`` and the pictures of single samples.

    Args:
        folder: a run folder.
        predictor: with thresholds, where it has any, fitted already.
        data: set up.
        splits: the last one is the one that pictures are made of.
        known: split -> rows of :func:`measure_split`, where they were measured already.
    """
    path = folder / "metrics.json"
    metrics: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for split in splits:
        metrics |= evaluate_split(predictor, data, split, folder, (known or {}).get(split))
    write_json(path, metrics)
    save_pictures(folder, predictor, data, splits[-1])
    return metrics


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _plain(cfg: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _flat(content: Any, key: str = "") -> dict[str, Any]:
    """Return nested settings as {"optimizer.lr": value}, lists as text: what TensorBoard's table can show."""
    if isinstance(content, dict):
        result: dict[str, Any] = {}
        for name, value in content.items():
            result |= _flat(value, f"{key}.{name}" if key else str(name))
        return result
    return {key: content if isinstance(content, bool | int | float | str) else str(content)}
