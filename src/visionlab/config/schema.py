"""The types and bounds of every configuration key. Values and what they mean stand in ``conf/``.

The open ``dict`` fields (``data``, ``model``, ``loss``, ...) are arguments of classes and functions, whose bounds stand
there (:mod:`visionlab.config.signature`); further keys of a head are those of its kind.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from visionlab.errors import ConfigError, check_value, nearest, show

if TYPE_CHECKING:
    # Its import takes a third of the time that --help takes, which checks nothing.
    from pydantic import Field


@dataclass
class ExperimentConfig:
    """A published run: its name and the task it is for."""

    name: str
    task: str


@dataclass
class HeadConfig:
    """One named output of the network; its channels are the columns of the target of that name."""

    kind: str
    # null: the usual one of the kind.
    activation: str | None = None
    weight: Annotated[float, Field(ge=0)] = 1.0
    unit: str = ""
    metrics: list[str] = field(default_factory=list)
    # null: the loss of the run; else the name of a file in conf/loss/, several with their weights {bce: 1, dice: 0.5},
    # or a mapping as in such a file.
    loss: Any = None


@dataclass
class StageConfig:
    """What one stage of a training has of its own; null: as the run has it.

    ``augment``, ``loss``, ``scheduler`` and ``balance`` are names of files in ``conf/``, or mappings as in such a file.
    """

    image_size: Any = None
    batch_size: int | None = None
    epochs: int | None = None
    lr: float | None = None
    freeze: bool | None = None
    augment: Any = None
    loss: Any = None
    scheduler: Any = None
    balance: Any = None


@dataclass
class AugmentConfig:
    """Two lists of ``{transform: <albumentations class>, <its arguments>}``."""

    joint: list[Any]
    image: list[Any]


@dataclass
class TrainerConfig:
    """How long, on what and how exactly the training runs: keys of Lightning's Trainer, and ``channels_last``."""

    max_epochs: Annotated[int, Field(ge=1)]
    max_steps: Annotated[int, Field(ge=1)] | Literal[-1]
    max_time: Annotated[str, Field(pattern=r"^\d+:\d\d:\d\d:\d\d$", description="DD:HH:MM:SS, e.g. 00:12:00:00")] | None
    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Annotated[int, Field(ge=1)] | Literal["auto"]
    num_nodes: Annotated[int, Field(ge=1)]
    strategy: Literal["auto", "ddp"]
    precision: Literal["32-true", "16-mixed", "bf16-mixed"]
    sync_batchnorm: bool
    accumulate_grad_batches: Annotated[int, Field(ge=1)]
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    gradient_clip_algorithm: Literal["norm", "value"] | None
    limit_train_batches: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] | None
    limit_val_batches: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] | None
    limit_test_batches: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] | None
    limit_predict_batches: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] | None
    overfit_batches: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, le=1)]
    fast_dev_run: bool | Annotated[int, Field(ge=1)]
    val_check_interval: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] | None
    check_val_every_n_epoch: Annotated[int, Field(ge=1)]
    num_sanity_val_steps: Annotated[int, Field(ge=-1)]
    log_every_n_steps: Annotated[int, Field(ge=1)]
    profiler: Literal["simple", "advanced", "pytorch"] | None
    channels_last: bool
    deterministic: bool
    benchmark: bool | None
    detect_anomaly: bool


@dataclass
class EarlyStoppingConfig:
    """When to stop before ``max_epochs``."""

    patience: Annotated[int, Field(ge=1)] | None
    min_delta: Annotated[float, Field(ge=0)]


@dataclass
class EmaConfig:
    """The moving average of the weights."""

    decay: Annotated[float, Field(gt=0, lt=1)] | None


@dataclass
class CheckpointConfig:
    """How often ``last.ckpt`` is saved within an epoch."""

    every_n_steps: Annotated[int, Field(ge=1)] | None
    every_minutes: Annotated[float, Field(gt=0)]


@dataclass
class ImagesConfig:
    """Pictures in TensorBoard."""

    count: Annotated[int, Field(ge=0)]
    every_n_epochs: Annotated[int, Field(ge=1)]


@dataclass
class CallbacksConfig:
    """What happens beside the training."""

    early_stopping: EarlyStoppingConfig
    ema: EmaConfig
    checkpoint: CheckpointConfig
    images: ImagesConfig
    # Name -> _target_ and arguments of a callback of Lightning or of somebody's own.
    extra: dict[str, dict[str, Any]]


@dataclass
class LoggerConfig:
    """What TensorBoard gets beside scalars and pictures."""

    histograms: bool
    graph: bool
    # Name -> _target_ and arguments of a further logger.
    extra: dict[str, dict[str, Any]]


@dataclass
class BenchmarkConfig:
    """What is measured."""

    models: list[str]
    batch_sizes: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    seconds: Annotated[float, Field(gt=0)]


@dataclass
class TrainConfig:
    """Everything that a run is made of."""

    task: str
    seed: Annotated[int, Field(ge=0, le=4294967295)]
    data: dict[str, Any]
    module: str
    heads: dict[str, HeadConfig]
    model: dict[str, Any]
    loss: dict[str, Any]
    balance: dict[str, Any]
    stages: dict[str, StageConfig]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    augment: AugmentConfig
    trainer: TrainerConfig
    callbacks: CallbacksConfig
    logger: LoggerConfig
    monitor: str
    mode: Literal["min", "max"]
    trust: list[str]
    init_from: str | None
    compile: bool
    lr_find: bool
    summary: bool
    experiment: ExperimentConfig | None = None
    # Of `prepare` only: how to make the data set first.
    make: dict[str, Any] | None = None
    # Of `benchmark` only.
    benchmark: BenchmarkConfig | None = None


@cache
def fields(kind: type) -> dict[str, Any]:
    """Return field -> annotation, with its bounds, of one of the classes above."""
    from pydantic import Field

    return typing.get_type_hints(kind, localns={"Field": Field}, include_extras=True)


def annotation(key: str) -> Any:
    """Return the annotation of a dotted key; None where it is unknown or checked elsewhere."""
    found: Any = TrainConfig
    for part in key.split("."):
        inner = _inner(found)
        if inner is not None:
            found = inner
        elif (kind := _class(found)) is not None:
            found = fields(kind).get(part)
        else:
            return None
    return None if found is None or _class(found) is not None or typing.get_origin(found) is dict else found


def fill(content: dict[str, Any]) -> None:
    """Put the defaults that no file of ``conf/`` has, those of heads and stages, where they are missing."""
    for part, kind in (("heads", HeadConfig), ("stages", StageConfig)):
        for name, node in _mapping(part, content.setdefault(part, {})).items():
            content[part][name] = _defaults(kind) | _mapping(f"{part}.{name}", node)
    content.update(_defaults(TrainConfig) | content)


def check(content: Mapping[str, Any], kind: type = TrainConfig, where: str = "") -> None:
    """Check keys, types and bounds of a plain configuration; keys that heads have beside are left to their kinds.

    Raises:
        ConfigError: a key is unknown or missing, or a value isn't what it may be.
    """
    hints = fields(kind)
    for name in content:
        if name not in hints and kind is not HeadConfig:
            raise unknown_key(f"{where}{name}", [f"{where}{known}" for known in hints])
    for name, hint in hints.items():
        if name not in content:
            continue
        key, value, inner, nested = f"{where}{name}", content[name], _inner(hint), _class(hint)
        if nested is not None and not (value is None and hint is not nested):
            check(_mapping(key, value), nested, f"{key}.")
        elif inner is not None:
            for each, node in _mapping(key, value).items():
                check(_mapping(f"{key}.{each}", node), inner, f"{key}.{each}.")
        elif nested is None:
            check_value(key, hint, value)
    # Last, for a misspelt key is missing, too.
    absent = [name for name in hints if name not in content and name not in _defaults(kind)]
    if absent:
        raise ConfigError(f"{where}{absent[0]}: expected a value, found none")


class UnknownKeyError(ConfigError):
    """There is no such key.

    Attributes:
        key: its dotted name.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def unknown_key(key: str, keys: Sequence[str]) -> UnknownKeyError:
    """Return the error for a key that isn't among ``keys`` (dotted names).

    Suggested is the neighbour most alike, a key elsewhere that ends alike (``lr``: ``optimizer.lr``), or any.
    """
    parent, _, last = key.rpartition(".")
    siblings = [name.rpartition(".")[2] for name in keys if name.rpartition(".")[0] == parent]
    elsewhere = [name for name in keys if name.rpartition(".")[2] == last]
    beside = nearest(last, siblings, cutoff=0.6)
    if beside and (parent or not elsewhere):
        # Keys of an entry of a list can't be typed with their place.
        hint = beside.replace("'", f"'{parent}.", 1) if parent and not parent.endswith("]") else beside
    else:
        hint = f" Did you mean '{elsewhere[0]}'?" if elsewhere else nearest(key, keys)
    listed = f" Keys of {parent}: {', '.join(siblings)}" if parent and siblings else ""
    return UnknownKeyError(key, f"unknown key '{key}'.{hint}{listed}")


def _mapping(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{key}: expected a mapping, found {show(value)}")
    return value


def _defaults(kind: type) -> dict[str, Any]:
    found = {item.name: item for item in dataclasses.fields(kind)}
    made = {name: item.default_factory() for name, item in found.items() if callable(item.default_factory)}
    return {name: item.default for name, item in found.items() if item.default is not dataclasses.MISSING} | made


def _class(hint: Any) -> Any:
    """Return the class above that an annotation is or may be, or None."""
    members = [hint, *typing.get_args(hint)] if typing.get_origin(hint) is not dict else []
    return next((member for member in members if dataclasses.is_dataclass(member)), None)


def _inner(hint: Any) -> Any:
    """Return the class above that each value of a mapping is, or None."""
    inner = typing.get_args(hint)[1] if typing.get_origin(hint) is dict else None
    return inner if dataclasses.is_dataclass(inner) else None
