"""Pictures in TensorBoard: validation images with prediction and truth, figures of the whole split, the graph."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from visionlab.data.module import ImageDataModule
from visionlab.drawing.images import captioned
from visionlab.drawing.maps import map_grid
from visionlab.heads.head import Head
from visionlab.modules.task_module import TaskModule
from visionlab.reports.figures import validation_figures
from visionlab.training.cell_windows import window_grid, window_view
from visionlab.training.sample_pictures import shown, view

_SCORES = 3  # below a picture


class Pictures(pl.Callback):
    """After validation, add images and figures at the current step.

    Args:
        data: set up already.
        count: how many validation images, evenly spread over the split and the same each time.
        every_n_epochs: how often.
        graph: whether to add the network's graph at the start.
        histograms: whether to add histograms of the weights each time.
    """

    def __init__(
        self, data: ImageDataModule, *, count: int, every_n_epochs: int, graph: bool, histograms: bool
    ) -> None:
        self.data, self.every_n_epochs = data, every_n_epochs
        self.graph, self.histograms = graph, histograms
        rows = data.rows["val"]
        self.shown = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
        self.rows = {str(data.table["id"].iloc[rows[position]]): int(rows[position]) for position in self.shown}
        # Maps of the shown samples, kept as the validation passes them; other ranks' are not seen.
        self._decoded: dict[str, dict[str, np.ndarray[Any, Any]]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not (self.graph and trainer.is_global_zero and trainer.global_step == 0):
            return
        assert isinstance(pl_module, TaskModule)
        writer, model = _writer(trainer), pl_module.model
        size = (1, self.data.in_channels, self.data.height, self.data.width)
        example = torch.zeros(size, dtype=torch.uint8, device=pl_module.device)
        model.eval()  # tracing runs the network once; its running statistics must not notice
        # TensorBoard prints what it cannot trace to stdout, graph by graph; a missing graph is no reason to stop.
        with (
            torch.no_grad(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.suppress(Exception),
            warnings.catch_warnings(),
        ):
            # Of decisions by the images' size, which are those of the images that are drawn.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            writer.add_graph(model, example, use_strict_trace=False)
        model.train()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        assert isinstance(pl_module, TaskModule)
        if pl_module.model.dense:
            for place, name in enumerate(batch["id"]):
                if name in self.rows:
                    self._decoded[name] = {head: maps[place, 0].cpu().numpy() for head, maps in outputs.items()}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        assert isinstance(pl_module, TaskModule)
        # Lightning counts the steps of its scalars from 0.
        writer, step = _writer(trainer), trainer.global_step - 1
        for head in pl_module.model.each_head():
            rows = pl_module.validated[head.name]
            about = {"name": head.name, **head.describe()}
            for name, figure in validation_figures(head.kind.name, rows, about, self.data.name).items():
                writer.add_figure(f"val/{head.name}/{name}", figure, step)
        if self._decoded:
            writer.add_figure("val/images", self._maps(pl_module), step)
        elif not pl_module.model.dense:
            self._numbers(trainer, pl_module, writer, step)
        if self.histograms:
            for name, parameter in pl_module.model.named_parameters():
                writer.add_histogram(f"weights/{name}", parameter.detach().float().cpu(), step)

    def _numbers(self, trainer: pl.Trainer, module: TaskModule, writer: Any, step: int) -> None:
        """Add the shown images with true and predicted numbers or labels under them."""
        # Values were gathered rank by rank; each rank took every world_size-th sample.
        count, world = len(self.data.rows["val"]), trainer.world_size
        order = np.concatenate([np.arange(count)[rank::world] for rank in range(world)])
        for head in module.model.each_head():
            rows = module.validated[head.name]
            pictures = []
            for position in self.shown:
                where = np.flatnonzero(order[: len(rows)] == position)
                if len(where):
                    image = view(self.data, int(self.data.rows["val"][position]))
                    true, pred = np.split(rows[where[0]], 2)
                    pictures.append(captioned(image, CAPTIONS[head.kind.name](head, true, pred)))
            if pictures:
                writer.add_images(f"val/{head.name}/images", np.stack(pictures), step, dataformats="NHWC")

    def _maps(self, module: TaskModule) -> Any:
        """Return a grid of the shown samples with their maps: target, prediction, difference."""
        units = {head.name: head.unit for head in module.model.each_head()}
        instances = next((head.name for head in module.model.each_head() if head.by_time_point), None)
        if instances is not None:
            views = [
                window_view(self.data, row, instances, partial(view, self.data), self._decoded[name][instances])
                for name, row in self.rows.items()
                if name in self._decoded
            ]
            return window_grid(views, f"val: {self.data.name}")
        samples = [
            shown(self.data, row, units, self._decoded[name])
            for name, row in self.rows.items()
            if name in self._decoded
        ]
        return map_grid(samples, f"val: {self.data.name}")


def _number_caption(head: Head, true: np.ndarray[Any, Any], pred: np.ndarray[Any, Any]) -> str:
    """Return K true and predicted values as the text below a picture."""
    pairs = [f"true {t:.4g} predicted {p:.4g}" for t, p in zip(true, pred, strict=True)]
    named = pairs if len(pairs) == 1 else [f"{c}: {pair}" for c, pair in zip(head.columns, pairs, strict=True)]
    return f"{', '.join(named)} {head.unit}".rstrip()


def _label_caption(head: Head, true: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> str:
    """Return the labels and the highest of the K scores; a comma begins a new line."""
    names = [column.replace(",", " ") for column in head.columns]
    given = "; ".join(name for name, has in zip(names, true, strict=True) if has > 0) or "none"
    highest = np.argsort(-scores, kind="stable")[:_SCORES]
    return ", ".join([f"true: {given}", *(f"{names[k]} {scores[k]:.2f}" for k in highest)])


CAPTIONS: dict[str, Callable[[Head, np.ndarray[Any, Any], np.ndarray[Any, Any]], str]] = {
    "regression": _number_caption,
    "multilabel": _label_caption,
}
"""Kind of a head that gives no map -> the text below a picture, of as many parts for each picture."""


def _writer(trainer: pl.Trainer) -> Any:
    return trainer.logger.experiment  # type: ignore[union-attr]
