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
from visionlab.drawing.images import stretch, stretch_words
from visionlab.drawing.outlines import shade
from visionlab.drawing.stains import WORDS, composite
from visionlab.drawing.style import BLUE, GREY, save, styled
from visionlab.drawing.text import count, digits, with_unit
from visionlab.errors import UsageError
from visionlab.heads import KINDS
from visionlab.heads.figures import HeadTables, Spec, figures_of
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


def _words(data: ImageDataModule) -> str:
    """Return what :func:`view` does, for a caption."""
    if data.channel_names:
        return WORDS
    return "each time point stretched as one" if data.preprocess.scale == "percentile" else stretch_words(data.channels)


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
        if name in data.stored_maps or name in data.targets
    }
    inputs = {name: view(data, row, place) for place, name in enumerate(data.inputs)}
    return Sample(str(data.table["id"].iloc[row]), inputs, true, pred or {}, scores or {})


def example_figure(data: ImageDataModule, specs: Mapping[str, Spec]) -> Figure:
    """Return a few samples of each split, evenly spread, as the network sees them but for augmentation.

    Args:
        data: set up.
        specs: head -> its entry of run.json, or what is known of it before there is a head.
    """
    sections = {}
    known = {name: spec for name, spec in specs.items() if name in data.stored_maps or name in data.targets}
    shares = [stored.facts["share"].to_numpy() for stored in data.stored_maps.values() if "share" in stored.facts]
    for split, every in data.rows.items():
        rows = every
        for share in shares:  # maps in which there is nothing show nothing
            rows = rows[share[rows] > 0] if (share[rows] > 0).any() else rows
        wide = len(data.stored_maps) > 1 or any(target.classes for target in data.asked.values())
        wanted = 4 if wide else EXAMPLES // 2 if data.stored_maps else EXAMPLES  # so that rows are full
        sections[split] = [sample(data, int(rows[k]), known) for k in spread(len(rows), wanted)]
    return grid(sections, known, "Examples of each split", f"{data.name} · {_words(data)}")


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
    tables = {}
    for ending in ("", "_frames"):
        path = folder / "predictions" / f"{split}{ending}.csv"
        tables[ending] = pd.read_csv(path, dtype=text, keep_default_na=True) if path.is_file() else None
    table, rows = tables[""], data.rows[split]
    assert table is not None
    specs = {head.name: head.describe() for head in predictor.heads}

    def network_input(place: int) -> torch.Tensor:
        row = int(rows[place])
        return torch.from_numpy(stack_channels([stored.image(row, *data.window(row)) for stored in data.images]))[None]

    def predicted(place: int) -> Sample:
        decoded = {name: values[0].numpy() for name, values in predictor.decode(network_input(place)).items()}
        return sample(data, int(rows[place]), specs, decoded, _scores(table, place, specs))

    measured = Measured(
        split=split,
        data=data.name,
        words=_words(data),
        folder=folder,
        heads={head.name: head for head in predictor.heads},
        specs=specs,
        table=table,
        frames=tables["_frames"],
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


def _scores(table: pd.DataFrame, place: int, specs: Mapping[str, Spec]) -> dict[str, str]:
    """Return the key score of a sample for each head that has one, in words."""
    found = {}
    for head, spec in specs.items():
        figures = figures_of(str(spec["kind"]))
        assert figures is not None
        key = figures.key_metric(spec)
        if f"{head}_{key}" in table:
            unit = str(spec["unit"]) if KINDS[str(spec["kind"])].metrics[key].in_unit else ""
            value = digits(float(table[f"{head}_{key}"].iloc[place]))
            found[head] = f"{figures.label(key, spec, short=True)} {with_unit(value, unit)}"
    return found


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
            figures = figures_of(str(specs[head.name]["kind"]))
            for key, drawing in figures.drawings.items() if figures else ():
                with contextlib.suppress(ValueError):  # nothing finite: early in training nothing may be foreground
                    figure = drawing.draw(tables) if drawing.live else None
                    if figure is not None:
                        writer.add_figure(f"val/{head.name}/{key}", figure, step)
        whole = {"val/images": specs} if model.dense else {f"val/{h}/images": {h: spec} for h, spec in specs.items()}
        for tag, shown in whole.items() if self._decoded else ():
            samples = [
                sample(self.data, row, shown, {head: self._decoded[key][head] for head in shown})
                for key, row in self.rows.items()
                if key in self._decoded
            ]
            caption = f"val: {name} · {_words(self.data)}"
            writer.add_figure(tag, grid({"": samples}, shown, "Validation images", caption), step)
        if self.histograms:
            for key, parameter in model.named_parameters():
                writer.add_histogram(f"weights/{key}", parameter.detach().float().cpu(), step)


@styled
def weight_histograms(arrays: Mapping[str, Array], caption: str) -> Figure:
    """One small histogram a layer, from the input to the output; of very deep networks an even choice of layers.

    Args:
        arrays: name -> its weights, of any shape, in the order of the network.
        caption: the line under the figure.

    Raises:
        ValueError: there are no weights.
    """
    layers = {name: np.asarray(values, float).ravel() for name, values in arrays.items() if np.size(values)}
    if not layers:
        raise ValueError("expected the weights of at least one layer")
    names = [list(layers)[i] for i in spread(len(layers), LAYERS)]
    figure, axes_of = style.grid(len(names), 6, 2.05, 1.7)
    for axes, name in zip(axes_of, names, strict=True):
        finite = layers[name][np.isfinite(layers[name])]
        lost = len(layers[name]) - len(finite)
        end = float(np.quantile(np.abs(finite), 0.999, method="higher")) if len(finite) else 0.0
        axes.hist(finite, bins=41, range=(-end, end) if end else (-1, 1), color=BLUE)
        axes.axvline(0, color=GREY, linewidth=0.8)
        short = name.removeprefix("network.").removesuffix(".weight")
        spread_of = f"σ {digits(float(finite.std()))}" if len(finite) else ""
        said = ", ".join(filter(None, [spread_of, f"{count(lost, 'value')} not finite" if lost else ""]))
        axes.set_title(f"{short if len(short) <= 24 else f'…{short[-23:]}'}\n{said}", fontsize=9)
        axes.set(yticks=[], xticks=[-end, end] if end else [])
        axes.set_xticklabels([f"{tick:.2g}" for tick in axes.get_xticks()], fontsize=8)
        axes.grid(visible=False)
    few = f"{len(names)} of {len(layers)} layers, evenly chosen" if len(names) < len(layers) else ""
    notes = [caption, few, "each on its own axis, without its outermost thousandth; σ: spread"]
    return style.finish(figure, "Weights of each layer", " · ".join(filter(None, notes)))
