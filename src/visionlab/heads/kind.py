"""What is known of a kind of head before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from visionlab.metrics.metric import Metric
from visionlab.metrics.ranking import RankMetric

Metrics = Mapping[str, Metric | RankMetric]


@dataclass(frozen=True)
class Option:
    """A key of the configuration that only heads of one kind have.

    Attributes:
        default: what it is where the configuration says null.
        choices: names that it may be.
        between: a number between these two is allowed as well; None: names only.
    """

    default: str
    choices: tuple[str, ...]
    between: tuple[float, float] | None = None


def _any_options(key: str, head: Mapping[str, Any]) -> None:
    return


@dataclass(frozen=True)
class Kind:
    """A kind of head.

    Attributes:
        name: what configurations, checkpoints and ``run.json`` call it.
        head: dotted name of its class, a :class:`visionlab.heads.head.Head`.
        target: dotted name of what it asks of the data, a :class:`visionlab.data.definition.Target`.
        figures: dotted name of the module of its report's figures.
        module: name of the LightningModule that trains it.
        activations: what may stand between the network and the decoded values; the first is the default.
        metrics: name -> metric, all that it can be measured by.
        gives: what it predicts, in a word of the plural, for messages.
        losses: names of a few losses that suit it, for messages.
        binary: whether its targets are 0 and 1, as losses of probabilities and of logits need them.
        classes: whether its columns are classes that an image has or hasn't, as losses of labels and class weights
            need them.
        unsuited: dotted name of a loss -> why it must not be taken though its values fit.
        monitored: names of the metrics known while training; None: all.
        options: key -> option, of keys of a head's configuration that only this kind has.
        check: called with the head's key (``heads.nuclei``) and its configuration, for options that depend on each
            other; raises ConfigError.
    """

    name: str
    head: str
    target: str
    figures: str
    module: str
    activations: tuple[str, ...]
    metrics: Metrics
    gives: str
    losses: str
    binary: bool = False
    classes: bool = False
    unsuited: Mapping[str, str] = field(default_factory=dict)
    monitored: tuple[str, ...] | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    check: Callable[[str, Mapping[str, Any]], None] = _any_options

    def __str__(self) -> str:
        return self.name

    @property
    def dense(self) -> bool:
        """Whether it is of a network that gives a map an image."""
        return self.module == "dense"

    @property
    def while_training(self) -> tuple[str, ...]:
        """Names of the metrics that are known after each epoch and can be monitored."""
        return tuple(self.metrics) if self.monitored is None else self.monitored
