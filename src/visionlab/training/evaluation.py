"""Measuring a run again: on a split of its own data, or on another labelled folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from visionlab.config.run_folder import load_config, read_json, run_folder
from visionlab.console import LOG
from visionlab.data.describe import card, index_table
from visionlab.data.module import STAGES, ImageDataModule
from visionlab.data.splits import Splits
from visionlab.drawing.style import save
from visionlab.errors import DataError, UsageError, nearest
from visionlab.files import check_folder, new_folder, write_json, write_text
from visionlab.inference import Predictor, load
from visionlab.inference.files import find_checkpoint
from visionlab.samples import SAMPLE
from visionlab.training import assembly
from visionlab.training.measurement import describe_heads
from visionlab.training.pictures import example_figure
from visionlab.training.records import evaluate_into, say
from visionlab.training.registry import REGISTRY

# Settings of the data that the network was made for.
_MODELS_OWN = (
    "data.channels",
    "data.image_size",
    "data.fit",
    "data.inputs",
    "data.neighbours",
    "data.normalize",
    "data.classes",
    "data.class_group",
    "data.class_names",
    "data.folds",
    "data.fold",
)


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
    folder = run_folder(run)
    checkpoint = find_checkpoint(run)
    best = folder / "checkpoints" / "best.ckpt"
    out = folder
    if best.is_file() and checkpoint.resolve() != best.resolve():
        out = folder / "evaluations" / f"{checkpoint.stem}_{split}"
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
    if out == folder:
        about = read_json(folder / "run.json")
        metrics = evaluate_into(folder, predictor, data, (split,))
        # A run that went on after its end has begun them anew.
        write_json(folder / "run.json", {**about, "heads": describe_heads(predictor.heads)})
        say({name: entry for name, entry in metrics.items() if name.startswith(f"{split}/")}, data.name)
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
    folder = run_folder(run)
    try:
        check_folder(root, "labelled images in the layout of the task")
    except DataError as error:
        raise UsageError(f"--data {error}") from error
    out = out or folder / "evaluations" / root.resolve().name
    _refuse_occupied(out)
    checkpoint = find_checkpoint(run)
    predictor = load(checkpoint, device=device, trust=trust)
    # A folder of that name is not the generated set.
    name = str(root) if str(root) != SAMPLE else f"./{SAMPLE}"
    others: dict[str, Any] = {"data.root": name, "data.split_file": None, "data.include": [], "data.exclude": []}
    for text in overrides:
        key = text.partition("=")[0]
        if not key.startswith("data.") or key in (*others, *_MODELS_OWN):
            raise UsageError(f"'{text}': expected how the files of --data are read, e.g. data.depth_scale=0.001")
    # Without a training split there is nothing to take the intensities' scale from; the network has its own. That of
    # percentiles is of each image, done before the network.
    normalize = "percentile" if predictor.preprocess.scale == "percentile" else "image"
    settings = {**others, "data.normalize": normalize}
    data = assembly.make_data(_config(folder, predictor, settings, overrides, trust))
    data.chosen_splits = _all_as_test
    _refuse_other_classes(predictor, data)
    data.setup()
    _refuse_other_kind(predictor, data)
    _refuse_other_unit(predictor, data)
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
    about = read_json(run / "run.json")
    about |= {"command": command, "data": data.name, "synthetic": data.synthetic}
    # Those of this checkpoint: only the best one has fitted thresholds.
    about |= {"heads": describe_heads(predictor.heads)}
    about |= {"fingerprint": data.fingerprint, "evaluation_of": str(run)}
    status = {"epoch": 0, "step": 0, **read_json(run / "status.json")}
    status |= {"state": "finished", "message": f"{checkpoint} measured on {data.name}", "resume": ""}
    with new_folder(out) as part:
        write_text(part / "config.yaml", (run / "config.yaml").read_text(encoding="utf-8"))
        write_json(part / "run.json", about)
        write_json(part / "status.json", status)
        data.splits.write(part / "splits.json")
        write_json(part / "data_card.json", card(data))
        write_text(part / "data_index.csv", index_table(data).to_csv(index=False))
        save(example_figure(data, describe_heads(predictor.heads)), part / "plots" / "examples.png")
        say(evaluate_into(part, predictor, data, (split,)), data.name)


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
    found, trained = data.preprocess.dtype, predictor.preprocess.dtype
    if found != trained and "float32" in (found, trained):
        raise DataError(
            f"{data.root}: expected {trained} images as in training, found {found}; float and integer images have no "
            "common scale, so convert them"
        )


def _refuse_other_unit(predictor: Predictor, data: ImageDataModule) -> None:
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
