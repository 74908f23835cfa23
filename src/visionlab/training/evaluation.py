"""What a model is worth: predictions of a labelled split, what heads fit on them, metrics; a run measured again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from visionlab.config.run_folder import load_config, run_folder
from visionlab.console import LOG, progress
from visionlab.data.definition import Frame
from visionlab.data.module import STAGES, ImageDataModule
from visionlab.data.splits import Splits
from visionlab.drawing.text import count, digits, measure, unit_text
from visionlab.errors import DataError, UsageError, nearest
from visionlab.files import check_folder, new_folder, read_json, write_json, write_text
from visionlab.heads.head import Array, Head, Split
from visionlab.inference import Predictor, load
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.inference.files import find_checkpoint
from visionlab.inference.tiles import predict_frame
from visionlab.modules.task_module import TaskModule
from visionlab.samples import SAMPLE
from visionlab.training import assembly
from visionlab.training.checkpoints import AtomicCheckpointIO
from visionlab.training.pictures import save_pictures
from visionlab.training.preparation import write_data
from visionlab.training.registry import REGISTRY

# The split on whose scores heads fit what they fit after training.
FITTED_ON = "val"

# Columns of an index that say where a sample stands in a recording; data sets of single images have none.
_PLACES = ("frame", "sequence", "time", "z")

# Settings of the data that the network was made for.
_OF_RUN = "a file of a run that got as far as training"
_MODELS_OWN = (
    *("channels", "image_size", "fit", "inputs", "neighbours", "normalize"),
    *("classes", "class_group", "class_names", "folds", "fold"),
)

Rows = dict[str, tuple[Array, Array]]
"""Head -> rows of the model's predictions and of the baseline's, N x S each, see ``Head.rows``."""


# Measuring ----------------------------------------------------------------------------------------------------------


def measure_split(predictor: Predictor, data: ImageDataModule, split: str) -> Rows:
    """Return the rows of the samples of a split; heads ``by_time_point`` are left out."""
    parts: dict[str, tuple[list[Any], list[Any]]] = {
        head.name: ([], []) for head in predictor.heads if not head.by_time_point
    }
    if not parts:
        return {}
    loader = data.loader(split)
    for batch in progress(loader, len(loader), f"predicting {split}"):
        for name, rows in predictor.measure(batch["image"], batch["target"]).items():
            for part, found in zip(parts[name], rows, strict=True):
                part.append(found.double().numpy())
    return {name: (np.concatenate(model), np.concatenate(base)) for name, (model, base) in parts.items()}


def _split_of(head: Head, predictor: Predictor, data: ImageDataModule, split: str, rows: Rows) -> Split:
    """Return what a head of a predictor is fitted on (``val``) and evaluated by, from :func:`measure_split`."""
    table = data.table.iloc[data.rows[split]]
    names = table["frame"].drop_duplicates().tolist() if "frame" in table else []

    def frames(only: Collection[str] | None) -> Iterator[Frame]:
        total = len(names) if only is None else len(only)
        yield from progress(data.frames(split, only), total, f"finding {head.name} in {split}")

    none = np.zeros((0, 0))
    return Split(
        table["group"].tolist(),
        *rows.get(head.name, (none, none)),
        fitted_on=split == FITTED_ON,
        samples={int(row): number for number, row in enumerate(data.rows[split])},
        times=names,
        frames=frames,
        maps=lambda frame: predict_frame(predictor, frame.image)[head.name],
    )


def time_points(module: TaskModule, head: Head, data: ImageDataModule) -> Split:
    """Return the time points that a head of a module in training is fitted on; its model is in eval mode then."""
    about = {**module.description, **module.model.spec()}
    return _split_of(head, Predictor(module.model, about, str(module.device)), data, FITTED_ON, {})


def fit_heads(checkpoint: Path, predictor: Predictor, data: ImageDataModule, rows: Rows) -> None:
    """Let the heads that fit something do so on the validation split, and write it into their checkpoint.

    Args:
        checkpoint: that ``predictor`` was loaded from.
        predictor: whose heads are changed.
        data: set up.
        rows: of the validation split, see :func:`measure_split`.
    """
    heads = [head for head in predictor.heads if head.fits]
    if not heads:
        return
    content = read_checkpoint(checkpoint)
    for head in heads:
        head.fit(_split_of(head, predictor, data, FITTED_ON, rows))
        for name, value in head.state_dict().items():
            content["state_dict"][f"model.heads.{head.name}.{name}"] = value.cpu()
    AtomicCheckpointIO().save_checkpoint(content, checkpoint)


def describe_heads(heads: Sequence[Head]) -> dict[str, dict[str, Any]]:
    """Return {head: kind, columns, unit, metrics, ...} for ``run.json`` and the metrics."""
    return {head.name: head.describe() for head in heads}


def _evaluate_split(
    predictor: Predictor, data: ImageDataModule, split: str, folder: Path, rows: Rows
) -> dict[str, Any]:
    """Write ``predictions/<split>.csv`` into ``folder`` and return the split's entries of ``metrics.json``.

    Heads' tables of something else than samples (classes, time points) become ``predictions/<split>_<table>.csv``.
    """
    groups = data.table["group"].iloc[data.rows[split]].tolist()
    found = {head.name: head.evaluate(_split_of(head, predictor, data, split, rows)) for head in predictor.heads}
    named = ["id", "group", "split", "path", *(name for name in _PLACES if name in data.table)]
    samples = data.table.iloc[data.rows[split]][named].reset_index(drop=True)
    columns = {key: values for head in predictor.heads for key, values in head.table(found[head.name].model).items()}
    tables = {split: pd.concat([samples, pd.DataFrame(columns)], axis=1)}
    tables |= {f"{split}_{name}": table for one in found.values() for name, table in one.tables.items()}
    for name, table in tables.items():
        write_text(folder / "predictions" / f"{name}.csv", table.to_csv(index=False, float_format="%.7g"))
    return {
        f"{split}/{head.name}/{name}": {**entry, "data": data.name}
        for head in predictor.heads
        for name, entry in head.summarise(found[head.name], groups).items()
    }


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
        splits: the last one is the one that pictures are made of and whose metrics are logged.
        known: split -> rows of :func:`measure_split`, where they were measured already.

    Returns:
        What ``metrics.json`` holds.
    """
    path = folder / "metrics.json"
    metrics: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for split in splits:
        rows = (known or {}).get(split) or measure_split(predictor, data, split)
        found = _evaluate_split(predictor, data, split, folder, rows)
        metrics |= found
    write_json(path, metrics)
    save_pictures(folder, predictor, data, splits[-1])
    for name, entry in found.items():
        unit = unit_text(entry["unit"])
        baseline = "undefined" if entry["baseline"] is None else f"{digits(entry['baseline'])} {unit}".strip()
        interval = f" (95% interval over {count(entry['groups'], 'group')})" if entry["low"] is not None else ""
        LOG.info("%s on %s: %s%s, baseline %s", name, data.name, measure(entry), interval, baseline)
    return metrics


# A run measured again -----------------------------------------------------------------------------------------------


def evaluate_own(run: Path, split: str, device: str, trust: Sequence[str] = ()) -> Path:
    """Measure a split of the run's own data and return the folder written.

    That is the run's own folder for its best checkpoint, else ``RUN/evaluations/<checkpoint>_<split>``. It may name
    classes of the packages in ``trust``.

    Raises:
        UsageError: no such run or split.
        DataError: groups of the run are gone from its data.
    """
    if split not in STAGES:
        raise UsageError(f"--split {split}: expected one of {', '.join(STAGES)}.{nearest(split, STAGES)}")
    folder, checkpoint = run_folder(run), find_checkpoint(run)
    best = folder / "checkpoints" / "best.ckpt"
    own = not best.is_file() or checkpoint.resolve() == best.resolve()
    out = folder if own else folder / "evaluations" / f"{checkpoint.stem}_{split}"
    if not own:
        _refuse_occupied(out)
    predictor = load(checkpoint, device=device, trust=trust)
    splits = {"data.split_file": str(folder / "splits.json"), "data.folds": None, "data.fold": None}
    data = assembly.make_data(_config(folder, predictor, splits, trust=trust))
    _refuse_other_classes(predictor, data)
    data.setup()
    if predictor.description["data"]["fingerprint"] != data.fingerprint:
        LOG.warning(
            "the files in %s changed since the run; the groups of its splits are used as they are now", data.root
        )
    if not len(data.rows[split]):
        raise UsageError(f"--split {split}: the run has no {split} images")
    predictor.say_warnings()
    if own:
        about = read_json(folder / "run.json", _OF_RUN)
        evaluate_into(folder, predictor, data, (split,))
        # A run that went on after its end has begun them anew.
        write_json(folder / "run.json", {**about, "heads": describe_heads(predictor.heads)})
    else:
        command = ["python", "-m", "visionlab.evaluate", str(run), "--split", split]
        _write_evaluation(out, folder, checkpoint, predictor, data, split, shlex.join(command))
    return out


def evaluate_other(
    run: Path,
    root: Path,
    out: Path | None,
    device: str,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> Path:
    """Measure the run on another labelled folder, write a folder of the same form and return it.

    Args:
        run: a run folder, or a checkpoint in one.
        root: the other folder.
        out: where to write.
        device: see :class:`visionlab.inference.Predictor`.
        overrides: ``data.key=value``, how the files of that folder are read where it differs.
        trust: packages whose classes the run may name.

    Raises:
        UsageError: no such run or folder, a setting that is the model's, or ``out`` holds something.
        DataError: the folder cannot be read, or holds images that the run has seen in training.
    """
    folder, checkpoint = run_folder(run), find_checkpoint(run)
    try:
        check_folder(root, "labelled images in the layout of the task")
    except DataError as error:
        raise UsageError(f"--data {error}") from error
    out = out or folder / "evaluations" / root.resolve().name
    _refuse_occupied(out)
    predictor = load(checkpoint, device=device, trust=trust)
    # A folder of that name is not the generated set.
    name = str(root) if str(root) != SAMPLE else f"./{SAMPLE}"
    others: dict[str, Any] = {"data.root": name, "data.split_file": None, "data.include": [], "data.exclude": []}
    fixed = {*others, *(f"data.{key}" for key in _MODELS_OWN)}
    for text in overrides:
        key = text.partition("=")[0]
        if not key.startswith("data.") or key in fixed:
            raise UsageError(f"'{text}': expected how the files of --data are read, e.g. data.depth_scale=0.001")
    # Without a training split there is nothing to take the intensities' scale from; the network has its own. That of
    # percentiles is of each image, done before the network.
    normalize = "percentile" if predictor.preprocess.scale == "percentile" else "image"
    data = assembly.make_data(_config(folder, predictor, {**others, "data.normalize": normalize}, overrides, trust))
    data.chosen_splits = _all_as_test
    _refuse_other_classes(predictor, data)
    data.setup()
    _refuse_other_kind(predictor, data)
    _refuse_seen(folder, data)
    predictor.say_warnings()
    command = ["python", "-m", "visionlab.evaluate", str(run), *overrides, "--data", str(root)]
    _write_evaluation(out, folder, checkpoint, predictor, data, "test", shlex.join(command))
    return out


def _config(
    folder: Path,
    predictor: Predictor,
    data: dict[str, Any],
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> DictConfig:
    """Return the run's configuration for its data module.

    What the checkpoint says stands above the file, and what only training needs (it may be gone) is left out.
    """
    network, preprocess = predictor.description["network"], predictor.preprocess
    several = list(preprocess.stains) if len(preprocess.stains) > 1 else []
    replace = {
        "model": {"name": network["name"], **network["options"]},
        "init_from": None,
        "augment.joint": [],
        "augment.image": [],
        "data.channels": list(predictor.description["channels"]) or several or preprocess.channels,
        "data.stain": preprocess.stains[0] if preprocess.stains and not several else None,
        "data.image_size": [preprocess.height, preprocess.width],
        "data.fit": preprocess.fit,
    }
    trusted = [f"trust=[{','.join(trust)}]"] if trust else []
    return load_config(folder, REGISTRY, [*overrides, *trusted], replace={**replace, **data})


def _write_evaluation(
    out: Path, run: Path, checkpoint: Path, predictor: Predictor, data: ImageDataModule, split: str, command: str
) -> None:
    """Write the folder of an evaluation, whole or not at all."""
    # Those of this checkpoint: only the best one has fitted thresholds.
    heads = describe_heads(predictor.heads)
    about = read_json(run / "run.json", _OF_RUN)
    about |= {"command": command, "data": data.name, "synthetic": data.synthetic, "heads": heads}
    about |= {"fingerprint": data.fingerprint, "evaluation_of": str(run)}
    status = {"epoch": 0, "step": 0, **read_json(run / "status.json", _OF_RUN)}
    status |= {"state": "finished", "message": f"{checkpoint} measured on {data.name}", "resume": ""}
    with new_folder(out) as part:
        write_text(part / "config.yaml", (run / "config.yaml").read_text(encoding="utf-8"))
        write_json(part / "run.json", about)
        write_json(part / "status.json", status)
        data.splits.write(part / "splits.json")
        write_data(part, data, heads)
        evaluate_into(part, predictor, data, (split,))


def _refuse_occupied(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out}: expected a new folder, found something there; give another --out or remove it")


def _all_as_test(groups: Sequence[str]) -> Splits:
    return Splits((), (), tuple(sorted(set(groups))), (), "all groups are the test set")


def _refuse_other_classes(predictor: Predictor, data: ImageDataModule) -> None:
    for head in predictor.heads:
        columns = list(head.columns_of(head.name, data, head.spec()))
        if columns != list(head.columns):
            raise DataError(
                f"heads.{head.name}: expected {', '.join(head.columns)} as in the checkpoint, found "
                f"{', '.join(columns)} in the run's config.yaml; it was changed since"
            )


def _refuse_other_kind(predictor: Predictor, data: ImageDataModule) -> None:
    """Refuse images and maps on another scale than in training."""
    found, trained = data.preprocess.dtype, predictor.preprocess.dtype
    if found != trained and "float32" in (found, trained):
        raise DataError(
            f"{data.root}: expected {trained} images as in training, found {found}; float and integer images have no "
            "common scale, so convert them"
        )
    for head in predictor.heads:
        if head.name not in data.maps:
            continue
        if head.name not in data.stored_maps:
            raise DataError(f"{data.root}: expected {head.name} maps to compare the predictions with, found none")
        unit = data.map_unit(head.name, head.unit)[1]
        if unit != head.unit:
            raise DataError(
                f"{data.root}: expected {head.name} in {head.unit or 'relative numbers'} as in training, found "
                f"{unit or 'relative numbers'} (8-bit files are relative); export the maps alike"
            )


def _refuse_seen(folder: Path, data: ImageDataModule) -> None:
    """Refuse images that the run was trained or tuned on: measured on them it would flatter itself."""
    path = folder / "data_index.csv"
    try:
        index = pd.read_csv(path, dtype=str, keep_default_na=False)
        seen = set(index.loc[index["split"].isin(["train", "val"]), "hash"])
    except (OSError, ValueError, KeyError) as error:
        LOG.warning("%s cannot be read (%s), so nobody knows whether training saw these images", path, error)
        return
    facts = data.facts
    # Images of one value are equal without being copies.
    copies = data.table["path"][(facts["hash"].isin(seen) & (facts["min"] < facts["max"])).to_numpy()]
    if len(copies):
        raise DataError(
            f"{data.root}: {len(copies)} of {len(data.table)} images were used in training or validation of {folder}, "
            f"the first is {copies.iloc[0]}; metrics on them mean nothing, so remove them"
        )
