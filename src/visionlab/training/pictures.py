"""Pictures of samples of a data module: examples of each split, those that a measured split calls for, TensorBoard's.

What is shown of a sample is asked of the kinds of heads, see :mod:`visionlab.heads.pictures`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure

from visionlab.console import LOG
from visionlab.data.cache import stack_channels
from visionlab.data.channels import parse
from visionlab.data.module import ImageDataModule
from visionlab.drawing import style
from visionlab.drawing.images import composite, stretch
from visionlab.drawing.outlines import shade
from visionlab.drawing.style import BLUE, save, styled
from visionlab.drawing.text import digits, shorten
from visionlab.errors import UsageError
from visionlab.heads.figures import HeadTables, Scores, Spec, figures_of
from visionlab.heads.pictures import Measured, Sample, grid, pictures_of, spread
from visionlab.inference import Predictor
from visionlab.inference.gradcam import grad_cam
from visionlab.inference.tiles import predict_frame
from visionlab.modules.task_module import TaskModule

Array = np.ndarray[Any, Any]

EXAMPLES, LAYERS = 6, 24
"""Samples of each split, and layers of a network, that are shown."""


def view(data: ImageDataModule, row: int, place: int = 0) -> Array:
    """Return an input of a sample for looking at, H x W or H x W x 3, 0 to 1: stains as one picture in their colours.

    Args:
        data: set up.
        row: of the index.
        place: of the input among those of the network.
    """
    image = data.images[place].image(row, *data.window(row))
    if data.neighbours:
        # The sample itself, without what is seen above and below it.
        image = image[:, :, data.channels * data.neighbours : data.channels * (data.neighbours + 1)]
    if data.channel_names:
        return composite(image, parse(data.channel_names))
    return shade(image, (0, 1)) if data.preprocess.scale == "percentile" else stretch(image)


def sample(
    data: ImageDataModule,
    row: int,
    specs: Mapping[str, Spec],
    pred: Mapping[str, Array] | None = None,
    scores: Mapping[str, str] | None = None,
) -> Sample:
    """Return a sample for looking at, with what the network is to say of it.

    Args:
        data: set up.
        row: of the index.
        specs: head -> its entry of run.json.
        pred: head -> decoded values or maps.
        scores: head -> a short text.
    """
    true = {
        name: data.stored_maps[name].map(row, *data.window(row))
        if name in data.stored_maps
        else data.table[list(data.targets[name])].iloc[row].to_numpy(float)
        for name in specs
    }
    inputs = {name: view(data, row, place) for place, name in enumerate(data.inputs)}
    return Sample(str(data.table["id"].iloc[row]), inputs, true, pred or {}, scores or {})


def example_figure(data: ImageDataModule, specs: Mapping[str, Spec]) -> Figure:
    """Return a few samples of each split, evenly spread, as the network sees them but for augmentation.

    Args:
        data: set up.
        specs: head -> its entry of run.json, or what is known of it before there is a head.
    """
    wanted = EXAMPLES // 2 if data.stored_maps else EXAMPLES
    sections = {
        split: [sample(data, int(rows[k]), specs) for k in spread(len(rows), wanted)]
        for split, rows in data.rows.items()
        if len(rows)
    }
    return grid(sections, specs, "Examples of each split", data.name)


def save_pictures(folder: Path, predictor: Predictor, data: ImageDataModule, split: str) -> None:
    """Draw the pictures of single samples that a split's predictions call for into ``plots/``.

    Those of another split than ``test`` replace none.

    Args:
        folder: of a run or an evaluation; holds ``predictions/<split>.csv``.
        predictor: with what is fitted, where there is any, fitted already.
        data: set up.
        split: its name.
    """
    text = dict.fromkeys(("id", "group", "frame", "sequence"), str)
    table, frames = (
        pd.read_csv(path, dtype=text) if path.is_file() else None
        for path in (folder / "predictions" / f"{split}{end}.csv" for end in ("", "_frames"))
    )
    assert table is not None
    rows, specs = data.rows[split], {head.name: head.describe() for head in predictor.heads}
    scores = {name: Scores.listed(HeadTables(name, spec, split, table, {}, "")) for name, spec in specs.items()}

    def network_input(place: int) -> torch.Tensor:
        row = int(rows[place])
        return torch.from_numpy(stack_channels([stored.image(row, *data.window(row)) for stored in data.images]))[None]

    def predicted(place: int) -> Sample:
        decoded = {name: values[0].numpy() for name, values in predictor.decode(network_input(place)).items()}
        said = {name: f"{one.name} {one.say(float(one.values[place]))}" for name, one in scores.items() if one}
        return sample(data, int(rows[place]), specs, decoded, said)

    measured = Measured(
        caption=f"{split}: {data.name}",
        split=split,
        folder=folder,
        heads={head.name: head for head in predictor.heads},
        specs=specs,
        table=table,
        frames=frames,
        place={int(row): place for place, row in enumerate(rows)},
        sample=predicted,
        times=lambda wanted: data.frames(split, wanted),
        maps=lambda frame, head: predict_frame(predictor, frame.image)[head],
        attention=lambda place, head, k: grad_cam(predictor.model, network_input(place), head, k)[0],
    )
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(str(spec["kind"]) for spec in specs.values()):
        found = {**pictures_of(kind).pictures(measured), **found}
    for name, draw in found.items():
        path = folder / "plots" / f"{name}.png"
        if split != "test" and path.is_file():
            continue
        try:
            save(draw(), path)
        except UsageError as error:
            LOG.info("%s is not drawn: %s", path.name, error)


class TensorBoardPictures(pl.Callback):
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
        shown = rows[spread(len(rows), count)]
        self.rows = {str(data.table["id"].iloc[row]): int(row) for row in shown}
        # What is decoded of the shown samples, kept as the validation passes them; other ranks' are not seen.
        self._decoded: dict[str, dict[str, Array]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not (self.graph and trainer.is_global_zero and trainer.global_step == 0):
            return
        assert isinstance(pl_module, TaskModule)
        model = pl_module.model
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
            trainer.logger.experiment.add_graph(model, example, use_strict_trace=False)  # type: ignore[union-attr]
        model.train()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        for place, name in enumerate(batch["id"]):
            if name in self.rows:
                self._decoded[name] = {head: values[place].float().cpu().numpy() for head, values in outputs.items()}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        left_out = (trainer.current_epoch + 1) % self.every_n_epochs
        if left_out or trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, TaskModule)
        # Lightning counts the steps of its scalars from 0.
        writer, step = trainer.logger.experiment, trainer.global_step - 1  # type: ignore[union-attr]
        model, name = pl_module.model, self.data.name
        specs = {head.name: head.describe() for head in model.each_head()}
        for head in model.each_head():
            table = pd.DataFrame(head.table_while_training(pl_module.validated[head.name]))
            tables = HeadTables(head.name, specs[head.name], "val", table, {}, name)
            for key, drawing in figures_of(str(specs[head.name]["kind"])).drawings.items():
                with contextlib.suppress(ValueError):  # nothing finite: early in training nothing may be foreground
                    figure = drawing.draw(tables) if drawing.live else None
                    if figure is not None:
                        writer.add_figure(f"val/{head.name}/{key}", figure, step)
        whole = {"val/images": specs} if model.dense else {f"val/{h}/images": {h: spec} for h, spec in specs.items()}
        for tag, shown in whole.items() if self._decoded else ():
            samples = [
                sample(self.data, self.rows[key], shown, {head: decoded[head] for head in shown})
                for key, decoded in sorted(self._decoded.items())
            ]
            writer.add_figure(tag, grid({"": samples}, shown, "Validation images", f"val: {name}"), step)
        if self.histograms:
            for key, parameter in model.named_parameters():
                writer.add_histogram(f"weights/{key}", parameter.detach().float().cpu(), step)


@styled
def weight_histograms(arrays: Mapping[str, Array], caption: str) -> Figure:
    """One small histogram a layer, from the input to the output; of very deep networks an even choice of layers.

    Args:
        arrays: name -> its weights, flat, in the order of the network.
        caption: what stands under the figure.
    """
    names = [list(arrays)[i] for i in spread(len(arrays), LAYERS)]
    figure, axes_of = style.grid(len(names), 6, 2.05, 1.7)
    for axes, name in zip(axes_of, names, strict=True):
        weights = arrays[name][np.isfinite(arrays[name])]
        axes.hist(weights, bins=41, color=BLUE)
        said = f"σ {digits(float(weights.std()))}" if len(weights) else "nothing finite"
        axes.set_title(f"{shorten(name.removeprefix('network.'), 24)}\n{said}", fontsize=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=3)
    few = f"{len(names)} of {len(arrays)} layers, evenly chosen" if len(names) < len(arrays) else ""
    return style.finish(figure, "Weights of each layer", caption, few, "each on its own axis; σ: spread")
