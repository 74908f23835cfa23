"""What a run leaves in its folder, in the order in which it comes to be."""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
import time
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import TensorBoardLogger

from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.drawing.style import save
from visionlab.errors import DataError
from visionlab.files import write_json, write_text
from visionlab.inference import load
from visionlab.inference.files import find_checkpoint
from visionlab.models.receptive_field import parameters, receptive_field
from visionlab.modules.task_model import TaskModel
from visionlab.training.assembly import plain
from visionlab.training.evaluation import FITTED_ON, describe_heads, evaluate_into, fit_heads, measure_split
from visionlab.training.pictures import weight_histograms
from visionlab.training.preparation import write_data
from visionlab.version import __version__

_PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "timm", "hydra-core", "albumentations", "numpy")


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
        # Earlier by what earlier parts of the run took.
        self._began = time.monotonic()

    @property
    def resume_command(self) -> str:
        return f"python -m visionlab.resume {shlex.quote(str(self.folder))}"

    def start(self, resume: bool) -> None:
        """Write the configuration and that the run is on its way."""
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
                self._write_about()

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
        begun = self._begun()
        if begun and begun.get("fingerprint") != data.fingerprint:
            raise DataError(
                f"{data.root}: the files or how they are prepared changed since {self.folder} began, so it cannot go "
                "on exactly; restore them, or start a new run with init_from=" + str(self.folder)
            )

    def describe(self, data: ImageDataModule, model: TaskModel) -> None:
        """Write what is known before training: splits, data card, index, examples, ``run.json``."""
        if not (self.folder / "splits.json").is_file():
            data.splits.write(self.folder / "splits.json")
        heads = describe_heads(model.each_head())
        write_data(self.folder, data, heads)
        weights = parameters(model.network)
        begun = self._begun()
        self._began -= float(begun.get("seconds", 0.0))
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
            "heads": heads,
            "started": begun.get("started", _now()),
            "seed": self.cfg.seed,
        }
        write_json(self.folder / "run.json", self.about)
        LOG.info("%s with %s weights", self.cfg.model.name, f"{weights:,}")

    def finish(self, data: ImageDataModule, logger: TensorBoardLogger, device: str) -> None:
        """Test the best checkpoint and write predictions, metrics, pictures and hyper-parameters."""
        predictor = load(self.folder, trust=self.cfg.trust)
        rows = measure_split(predictor, data, FITTED_ON)
        fit_heads(find_checkpoint(self.folder), predictor, data, rows)
        # With data.test_fraction=0 there is no test split.
        splits = tuple(split for split in ("val", "test") if len(data.rows[split]))
        metrics = evaluate_into(self.folder, predictor, data, splits, {FITTED_ON: rows})
        if self.cfg.logger.histograms:
            arrays = {
                name: value.detach().flatten().cpu().numpy()
                for name, value in predictor.model.network.named_parameters()
            }
            save(weight_histograms(arrays, data.name), self.folder / "plots" / "weights.png")
        self.about |= {"heads": describe_heads(predictor.heads), "finished": _now(), "device": device}
        self._write_about()
        test = {name: entry["value"] for name, entry in metrics.items() if name.startswith("test/")}
        scalars = {name: value for name, value in test.items() if value is not None}
        # One level of keys, such as optimizer.lr: what TensorBoard's table can show.
        flat: Any = pd.json_normalize({**plain(self.cfg), "data_name": data.name}).astype(object).iloc[0].to_dict()
        logger.log_hyperparams(flat, scalars)
        logger.save()
        logger.finalize("success")
        self.status("finished", "")

    def _begun(self) -> dict[str, Any]:
        """Return ``run.json`` of a run that goes on; of a new one nothing."""
        path = self.folder / "run.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def _write_about(self) -> None:
        write_json(self.folder / "run.json", {**self.about, "seconds": round(time.monotonic() - self._began, 1)})


def _versions() -> dict[str, str]:
    """Return the versions of what is installed; visionlab itself need not be."""
    found = {"python": platform.python_version(), "visionlab": __version__}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
