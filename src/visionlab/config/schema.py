"""The types of every configuration key. Values and what they mean stand in ``conf/``; cross-checks in ``checks.py``.

The dataclasses are read by OmegaConf: a misspelt key or a value of the wrong type is refused when the files are
composed. The open ``dict`` fields (``data``, ``model``, ``loss``, ...) are the arguments of our own classes and
functions and are checked against their signatures.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu", "mps")
STRATEGIES = ("auto", "ddp")
FITS = ("crop", "pad", "stretch", "native")
NORMALIZATIONS = ("dataset", "image", "percentile")
MODES = ("min", "max")


@dataclass
class ExperimentConfig:
    """A published run: its name and the task it is for."""

    name: str = MISSING
    task: str = MISSING


@dataclass
class HeadConfig:
    """One named output of the network; its channels are the columns of the target of that name."""

    kind: str = MISSING
    # null: the usual one of the kind.
    activation: str | None = None
    weight: float = 1.0
    unit: str = ""
    metrics: list[str] = field(default_factory=list)
    # null: the loss of the run; else the name of a file in conf/loss/, several with their weights {bce: 1, dice: 0.5},
    # or a mapping as in such a file. Not typed so, for Hydra can't set an optional mapping from the command line.
    loss: Any = None
    # Of heads of labels only; null: the usual one. A name, or a number for all classes.
    thresholds: Any = None
    calibration: str | None = None
    # Of heads of instances only; null: the usual one.
    separate: str | None = None
    cells: str | None = None


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

    joint: list[Any] = MISSING
    image: list[Any] = MISSING


@dataclass
class TrainerConfig:
    """How long, on what and how exactly the training runs."""

    max_epochs: int = MISSING
    accelerator: str = MISSING
    devices: int | str = MISSING
    strategy: str = MISSING
    precision: str = MISSING
    accumulate_grad_batches: int = MISSING
    gradient_clip_val: float | None = MISSING
    limit_train_batches: int | None = MISSING
    limit_val_batches: int | None = MISSING
    log_every_n_steps: int = MISSING
    channels_last: bool = MISSING
    deterministic: bool = MISSING


@dataclass
class EarlyStoppingConfig:
    """When to stop before ``max_epochs``."""

    patience: int | None = MISSING
    min_delta: float = MISSING


@dataclass
class EmaConfig:
    """The moving average of the weights."""

    decay: float | None = MISSING


@dataclass
class CheckpointConfig:
    """How often ``last.ckpt`` is saved within an epoch."""

    every_n_steps: int | None = MISSING
    every_minutes: float = MISSING


@dataclass
class ImagesConfig:
    """Pictures in TensorBoard."""

    count: int = MISSING
    every_n_epochs: int = MISSING


@dataclass
class CallbacksConfig:
    """What happens beside the training."""

    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)


@dataclass
class LoggerConfig:
    """What TensorBoard gets beside scalars and pictures."""

    histograms: bool = MISSING
    graph: bool = MISSING


@dataclass
class BenchmarkConfig:
    """What is measured."""

    models: list[str] = MISSING
    batch_sizes: list[int] = MISSING
    seconds: float = MISSING


@dataclass
class TrainConfig:
    """Everything that a run is made of."""

    task: str = MISSING
    experiment: ExperimentConfig | None = None
    seed: int = MISSING
    data: dict[str, Any] = field(default_factory=dict)
    module: str = MISSING
    heads: dict[str, HeadConfig] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    balance: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, StageConfig] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    monitor: str = MISSING
    mode: str = MISSING
    init_from: str | None = MISSING
    compile: bool = MISSING
    lr_find: bool = MISSING
    summary: bool = MISSING
    # Of `prepare` only: how to make the data set first.
    make: dict[str, Any] | None = None
    # Of `benchmark` only.
    benchmark: BenchmarkConfig | None = None


def register() -> None:
    """Make the schema known to Hydra under the name ``schema``, which stands first in ``conf/train.yaml``."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=TrainConfig, provider="visionlab")


def type_name(key: str) -> str:
    """Return the type of a dotted key as a reader would write it (``int``, ``float or null``), ``""`` if unknown."""
    annotation: Any = TrainConfig
    for part in key.split("."):
        if dataclasses.is_dataclass(annotation):
            annotation = typing.get_type_hints(annotation).get(part)
        elif typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[1]
        else:
            return ""
        members = [member for member in typing.get_args(annotation) if dataclasses.is_dataclass(member)]
        annotation = members[0] if members and typing.get_origin(annotation) is not dict else annotation
    return _describe(annotation)


def _describe(annotation: Any) -> str:
    if annotation is None or annotation is Any:
        return ""
    if annotation is type(None):
        return "null"
    if dataclasses.is_dataclass(annotation) or typing.get_origin(annotation) is dict:
        return "a mapping"
    if typing.get_origin(annotation) is list:
        return "a list"
    arguments = typing.get_args(annotation)
    return " or ".join(_describe(member) for member in arguments) if arguments else str(annotation.__name__)
