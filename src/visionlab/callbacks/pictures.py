"""Pictures in TensorBoard: validation images with prediction and truth, figures of the whole split, the graph."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from visionlab.data.module import ImageDataModule
from visionlab.modules.base import TaskModule
from visionlab.reports.figures import validation_figures
from visionlab.reports.images import captioned


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

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not (self.graph and trainer.is_global_zero and trainer.global_step == 0):
            return
        assert isinstance(pl_module, TaskModule)
        writer, model = _writer(trainer), pl_module.model
        size = (1, self.data.channels, self.data.height, self.data.width)
        example = torch.zeros(size, dtype=torch.uint8, device=pl_module.device)
        model.eval()  # tracing runs the network once; its running statistics must not notice
        # TensorBoard prints what it cannot trace to stdout, graph by graph; a missing graph is no reason to stop.
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            writer.add_graph(model, example, use_strict_trace=False)
        model.train()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        assert isinstance(pl_module, TaskModule)
        # Lightning counts the steps of its scalars from 0.
        writer, step = _writer(trainer), trainer.global_step - 1
        # Values were gathered rank by rank; each rank took every world_size-th sample.
        count, world = len(self.data.rows["val"]), trainer.world_size
        order = np.concatenate([np.arange(count)[rank::world] for rank in range(world)])
        for head in pl_module.model.each_head():
            true, pred = pl_module.validated[head.name]
            order_seen = order[: len(true)]
            for name, figure in validation_figures(
                head.kind, true, pred, head.columns, head.unit, self.data.name
            ).items():
                writer.add_figure(f"val/{head.name}/{name}", figure, step)
            pictures = []
            for position in self.shown:
                where = np.flatnonzero(order_seen == position)
                if len(where):
                    image = self.data.cache.preprocess.window(self.data.cache[int(self.data.rows["val"][position])])
                    pictures.append(captioned(image, head.caption(true[where[0]], pred[where[0]])))
            if pictures:
                writer.add_images(f"val/{head.name}/images", np.stack(pictures), step, dataformats="NHWC")
        if self.histograms:
            for name, parameter in pl_module.model.named_parameters():
                writer.add_histogram(f"weights/{name}", parameter.detach().float().cpu(), step)


def _writer(trainer: pl.Trainer) -> Any:
    return trainer.logger.experiment  # type: ignore[union-attr]
