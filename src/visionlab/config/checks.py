"""Checks of a composed configuration, made before any data is touched and before torch is imported.

Types and bounds are :mod:`visionlab.config.schema`'s and :mod:`visionlab.config.signature`'s; here is what several keys
must say together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab import models
from visionlab.config import schema, signature
from visionlab.config.head_checks import Kinds, Plain, check_balance, check_heads, check_losses, own_losses
from visionlab.config.stages import each_stage
from visionlab.config.transforms import check_transform
from visionlab.errors import ConfigError, nearest, show
from visionlab.files import IMAGE, unpack_command


@dataclass(frozen=True)
class Registry:
    """What a configuration may name.

    Attributes:
        kinds: of heads, by name, see :class:`visionlab.heads.kind.Kind`.
        modules: name of a LightningModule -> kind of the networks that it takes, ``image`` or ``dense``.
        places: part of a configuration (``data``, ``loss``, ...) -> what the names under its ``_target_`` begin with.
        supplied: part -> how many arguments our code gives to a class of another package; 0 where not listed.
        check_data: called with the arguments of the data set and its ``_target_``, for what their types don't say;
            raises ConfigError.
    """

    kinds: Kinds
    modules: Mapping[str, str]
    places: Mapping[str, str]
    supplied: Mapping[str, int]
    check_data: Callable[[Mapping[str, Any]], None]


def check(cfg: DictConfig, registry: Registry, *, multirun: bool = False, preparing: bool = False) -> None:
    """Check that a configuration is complete, that its values are what they may be and that they fit together.

    Args:
        cfg: the composed configuration, or one read from a run folder.
        registry: what it may name.
        multirun: whether it is one job of a sweep.
        preparing: whether it is for `prepare`, which may make the data first.

    Raises:
        ConfigError: the first mistake found, with its key, what is allowed and the nearest name.
    """
    # First of all, for the values that an experiment sets are of its task's keys.
    name, wanted, task = (OmegaConf.select(cfg, key) for key in ("experiment.name", "experiment.task", "task"))
    if wanted is not None and wanted != task:
        raise ConfigError(f"experiment: '{name}' is for task={wanted}, found task={task}; leave one of them out")
    plain = _plain(cfg)
    if plain["make"] is not None and not preparing:
        raise ConfigError("make: only `python -m visionlab.prepare` makes data; train on what it has made")
    if plain["stages"] and plain["lr_find"]:
        raise ConfigError("lr_find: expected a run without stages, each of which would need its own rate; set the lr")
    heads_have_losses = all(head["loss"] is not None for head in plain["heads"].values())
    for name, stage in each_stage(cfg).items():
        if name and heads_have_losses and plain["stages"][name]["loss"] is not None:
            raise ConfigError(f"stages.{name}.loss: not used, as every head has a loss of its own; leave one out")
        try:
            _check_stage(_plain(stage), registry, multirun)
        except ConfigError as error:
            if name:
                error.args = (f"stages.{name}: {error}",)
            raise


def _plain(cfg: DictConfig) -> Plain:
    """Return a configuration resolved, as dicts and lists, its keys, types and bounds checked."""
    try:
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error.msg or error).splitlines()[0]}") from error
    missing = sorted(OmegaConf.missing_keys(OmegaConf.create(plain)))
    if missing:
        hint = ", e.g. model.name=convnext_tiny" if missing[0] == "model.name" else ""
        raise ConfigError(f"{missing[0]}: expected a value, found none; give {missing[0]}=...{hint}")
    schema.check(plain)
    return dict(plain)


def _check_stage(plain: Plain, registry: Registry, multirun: bool) -> None:
    _check_targets(plain, registry)
    check_heads(plain, registry.kinds, registry.modules)
    check_losses(plain, registry.kinds)
    check_balance(plain)
    if "_target_" not in plain["model"]:
        _check_model(plain, registry.modules)
    _check_path("init_from", plain["init_from"], "a run folder or checkpoint", Path.exists)
    _check_data(plain["data"], registry, made=plain["make"] is not None)
    for part, entries in plain["augment"].items():
        for place, entry in enumerate(entries):
            check_transform(f"augment.{part}[{place}]", entry, plain["data"]["image_size"])
    _check_training(plain, multirun)


def _check_targets(plain: Plain, registry: Registry) -> None:
    """Check each part that has a ``_target_``, and the network, against the signature of what is called."""
    nodes = [(key, key, plain[key]) for key in registry.places if plain.get(key) is not None]
    nodes += [("loss", key, node) for name in plain["heads"] for key, node in own_losses(plain, name)]
    for group in ("callbacks", "logger"):
        nodes += [(group, f"{group}.extra.{name}", node) for name, node in plain[group]["extra"].items()]
    if "_target_" in plain["model"]:
        nodes.append(("model", "model", {key: value for key, value in plain["model"].items() if key != "name"}))
    for part, key, node in nodes:
        _check_target(part, key, node, plain["trust"], registry)
    name = plain["model"].get("name")
    if not isinstance(name, str):
        raise ConfigError(f"model.name: expected the name of a network, found {show(name)}")
    if "_target_" not in plain["model"]:
        options = {key: value for key, value in plain["model"].items() if key != "name"}
        signature.check(models.lookup(name).target, options, "model")


def _check_target(part: str, key: str, node: Any, trust: Sequence[str], registry: Registry) -> None:
    """Check that what a part names is where such parts are, or in a package that is trusted, and its arguments."""
    place = registry.places.get(part)
    target: Any = node.get("_target_") if isinstance(node, dict) else None
    package = target.partition(".")[0] if isinstance(target, str) else ""
    if not package or not ((place and target.startswith(place)) or package in trust):
        package = "PACKAGE" if signature.is_ours(f"{package}.") else package or "PACKAGE"
        ours = f"a name that begins with '{place}', or " if place else ""
        raise ConfigError(
            f"{key}._target_: expected {ours}one of a package that you trust (trust=[{package}] on the command line), "
            f"found {show(target)}"
        )
    arguments = {name: value for name, value in node.items() if name != "_target_"}
    later = ["save_dir"] if part == "logger" else []
    signature.check(target, arguments, key, registry.supplied.get(part, 0), later)


def _check_model(plain: Plain, modules: Mapping[str, str]) -> None:
    model, module = plain["model"], plain["module"]
    network, kind = models.lookup(model["name"]), modules[module]
    if network.kind != kind:
        raise ConfigError(
            f"model.name: expected a network of kind '{kind}' for module={module}, such as "
            f"{', '.join(models.of_kind(kind))}; found '{model['name']}' of kind '{network.kind}'"
        )
    models.check_options(model["name"], {key: value for key, value in model.items() if key != "name"})
    inputs, heads = plain["data"].get("inputs", [IMAGE]), list(plain["heads"])
    if network.inputs and len(inputs) != network.inputs:
        raise ConfigError(
            f"data.inputs: expected {network.inputs} for model.name={model['name']}, e.g. [image,background]; "
            f"found {show(inputs)}"
        )
    if network.outputs and len(heads) != network.outputs:
        raise ConfigError(
            f"heads: expected {network.outputs} for model.name={model['name']}, found {', '.join(heads)}; "
            "choose another model"
        )
    size = plain["data"]["image_size"]
    for side in size if isinstance(size, list) else [size]:
        if side % network.divisor:
            up = -(-side // network.divisor) * network.divisor
            raise ConfigError(
                f"data.image_size: expected sides divisible by {network.divisor} for model.name={model['name']}, "
                f"found {side}; the next is {up}"
            )
    pretrained, weights = model.get("pretrained", False), model.get("weights")
    if pretrained and weights is not None:
        raise ConfigError("model.pretrained and model.weights: expected one of them, found both")
    if model.get("freeze", False) and not (pretrained or weights or plain["init_from"]):
        raise ConfigError(
            "model.freeze: expected trained weights to keep, found none; "
            "set model.pretrained=true, model.weights=FILE or init_from=RUN as well"
        )
    _check_path("model.weights", weights, "a file", Path.is_file)


def check_data(data: Mapping[str, Any]) -> None:
    """Check what the settings of a data set must say together, whatever the data set; types and bounds are checked.

    Raises:
        ConfigError: the first mistake found.
    """
    inputs = data.get("inputs", [IMAGE])
    if inputs[:1] != [IMAGE] or len(set(inputs)) != len(inputs):
        raise ConfigError(f"data.inputs: expected image, and perhaps others after it; found {show(inputs)}")
    split_by = data.get("split_by")
    if isinstance(split_by, list) and sorted(split_by) not in (["background"], ["background", "foreground"]):
        raise ConfigError(f"data.split_by: expected [background] or [background,foreground], found {show(split_by)}")
    if isinstance(data["normalize"], list) and not data["normalize"][1] > 0:
        raise ConfigError(f"data.normalize: expected [mean, std] with a std above 0, found {show(data['normalize'])}")
    folds, fold = data["folds"], data["fold"]
    if (folds is None) != (fold is None):
        raise ConfigError(f"data.folds and data.fold: expected both or none, found {show(folds)} and {show(fold)}")
    if folds is not None and not 0 <= fold < folds:
        raise ConfigError(f"data.fold: expected 0 to {folds - 1} for data.folds={folds}, found {fold}")
    if folds is not None and data["split_file"] is not None:
        raise ConfigError("data.folds and data.split_file: expected one of them, found both")
    if folds is None and data["val_fraction"] + data["test_fraction"] >= 1:
        raise ConfigError(
            "data.val_fraction and data.test_fraction: expected less than 1 together, so that some is left to train "
            f"on, found {data['val_fraction']} and {data['test_fraction']}"
        )


def _check_data(data: Mapping[str, Any], registry: Registry, made: bool) -> None:
    check_data(data)
    registry.check_data(data)
    if made and data["root"] == "sample":
        raise ConfigError("data.root: expected the folder that make=... is to write, found 'sample'")
    if data["root"] != "sample" and not made:
        _check_path("data.root", data["root"], "a folder, or 'sample' for a small generated set", Path.is_dir)
    _check_path("data.split_file", data["split_file"], "a file", Path.is_file)


def _check_training(plain: Plain, multirun: bool) -> None:
    trainer, scheduler, optimizer = plain["trainer"], plain["scheduler"], plain["optimizer"]
    devices = trainer["devices"]
    if trainer["precision"] == "16-mixed" and trainer["accelerator"] == "cpu":
        raise ConfigError("trainer.precision: 16-mixed needs a GPU, found trainer.accelerator=cpu; use bf16-mixed")
    if trainer["limit_predict_batches"] is not None:
        raise ConfigError(
            "trainer.limit_predict_batches: expected null, as a run predicts what it tests; set "
            f"trainer.limit_test_batches, found {trainer['limit_predict_batches']}"
        )
    if trainer["check_val_every_n_epoch"] > trainer["max_epochs"]:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch: expected at most trainer.max_epochs={trainer['max_epochs']}, as "
            f"the best epoch is chosen by validation; found {trainer['check_val_every_n_epoch']}"
        )
    if multirun and (trainer["strategy"] == "ddp" or devices != 1):
        raise ConfigError(
            f"trainer: a sweep (-m) can't train on several devices, found strategy={trainer['strategy']}, "
            f"devices={devices}: each further process would run the whole sweep again. "
            "Set trainer.devices=1 trainer.strategy=auto, or start the runs one by one"
        )
    if scheduler.get("warmup_epochs", 0) >= trainer["max_epochs"]:
        raise ConfigError(
            f"scheduler.warmup_epochs: expected less than trainer.max_epochs={trainer['max_epochs']}, "
            f"found {scheduler['warmup_epochs']}"
        )
    if optimizer.get("nesterov", False) and not optimizer.get("momentum", 0):
        raise ConfigError("optimizer.nesterov: expected optimizer.momentum above 0 with it, found 0")


def _check_path(key: str, value: str | None, expected: str, exists: Any) -> None:
    """Check that a path exists; ``~`` is the home folder. The nearest name in the same folder is suggested."""
    if value is None or exists(Path(value).expanduser()):
        return
    path = Path(value).expanduser()
    if command := unpack_command(path):
        raise ConfigError(f"{key}: expected {expected}, found the archive '{value}'; unpack it: {command}")
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    similar = nearest(path.name, beside)
    where = f" in {path.parent}" if similar else ""
    raise ConfigError(f"{key}: expected {expected}, found none at '{value}'.{similar}{where}")
