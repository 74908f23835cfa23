"""Checks of heads with the data, their metrics, activations, options and losses, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from visionlab.config import signature
from visionlab.config.schema import HeadConfig, unknown_key
from visionlab.errors import ConfigError, check_value, nearest, show
from visionlab.losses import LOSSES

if TYPE_CHECKING:
    from visionlab.heads.kind import Kind

Plain = dict[str, Any]
Kinds = Mapping[str, "Kind"]


def check_heads(plain: Plain, kinds: Kinds, modules: Iterable[str]) -> None:
    """Check kinds, metrics, weights, activations and options of the heads, and the monitored metric.

    Args:
        plain: the configuration of a run or stage.
        kinds: of heads, by name.
        modules: names of LightningModules.

    Raises:
        ConfigError: the first mistake found.
    """
    _check_choice("module", plain["module"], modules)
    target = plain["data"]["_target_"]
    try:
        numbers, named, maps = (signature.literal(target, name) or {} for name in ("targets", "kinds", "maps"))
    except ConfigError as error:
        raise ConfigError(f"data.{error}") from None
    # Columns of numbers need not say what they are: they are of the first kind.
    targets = {**dict.fromkeys(numbers, next(iter(kinds))), **named, **maps}
    if not plain["heads"]:
        raise ConfigError(f"heads: expected at least one of {', '.join(targets)}; found none")
    for name, head in plain["heads"].items():
        if name not in targets:
            listed = ", ".join(targets) or "none"
            raise ConfigError(
                f"heads.{name}: expected a target of the data, {listed}; found '{name}'.{nearest(name, targets)}"
            )
        _check_head(f"heads.{name}", head, plain["module"], targets[name], kinds)
    if not any(head["weight"] for head in plain["heads"].values()):
        raise ConfigError("heads: expected a weight above 0 in at least one, found 0 in all: nothing would be learnt")
    _check_monitor(plain, kinds)


def check_keys(key: str, head: Mapping[str, Any], kinds: Kinds) -> None:
    """Check that a head has no keys but those of all heads and of its kind.

    Raises:
        ConfigError: it has; the message has the nearest, or the kind that has it.
    """
    # Not their annotations: --help comes here, which imports no pydantic.
    known = [item.name for item in fields(HeadConfig)]
    own = kinds[head["kind"]].options if head.get("kind") in kinds else {}
    for option in [option for option in head if option not in known and option not in own]:
        others = [other for other in kinds.values() if option in other.options]
        if not others:
            raise unknown_key(f"{key}.{option}", [f"{key}.{item}" for item in (*known, *own)])
        # Of version 0.1.0 every head has the options of all kinds, as null.
        if head[option] is not None:
            raise ConfigError(
                f"{key}.{option}: only heads of {others[0].gives} have it, found it on one of kind {head['kind']}"
            )


def check_losses(plain: Plain, kinds: Kinds) -> None:
    """Check that the losses suit the kinds and activations of the heads and the size of the images.

    Raises:
        ConfigError: one doesn't.
    """
    for name, head in plain["heads"].items():
        for key, node in list(own_losses(plain, name)) or [("loss", plain["loss"])]:
            _check_loss(key, node, name, head, kinds[head["kind"]], plain["data"]["image_size"])


def own_losses(plain: Plain, head: str) -> Iterator[tuple[str, Any]]:
    """Yield the key and content of each loss that a head has of its own.

    Raises:
        ConfigError: they are no losses.
    """
    key, loss = f"heads.{head}.loss", plain["heads"][head]["loss"]
    if isinstance(loss, list):
        if not loss or not all(isinstance(term, dict) and set(term) == {"name", "weight", "loss"} for term in loss):
            raise ConfigError(
                f"{key}: expected a loss, or losses with weights as {{bce:1,dice:0.5}}, found {show(loss)}"
            )
        yield from ((f"{key}.{term['name']}", term["loss"]) for term in loss)
    elif loss is not None:
        yield key, loss


def check_balance(plain: Plain) -> None:
    """Check that what balances the losses of heads names heads, and suits their weights.

    Raises:
        ConfigError: it doesn't.
    """
    balance = plain["balance"]
    for argument in ("raised", "by"):
        if argument in balance:
            _check_choice(f"balance.{argument}", balance[argument], plain["heads"])
    idle = [name for name, head in plain["heads"].items() if not head["weight"]]
    if idle and balance["_target_"].endswith(".UncertaintyBalance"):
        raise ConfigError(
            f"heads.{idle[0]}.weight: expected more than 0 for balance=uncertainty, found 0: the learnt scale of its "
            f"errors would shrink without end; leave the head out with '~heads.{idle[0]}'"
        )
    if "by" in balance and balance["by"] == balance.get("raised"):
        raise ConfigError(f"balance.by: expected another head than balance.raised, found '{balance['by']}' in both")


def _check_head(key: str, head: Plain, module: str, wanted: str, kinds: Kinds) -> None:
    """Check a head on a target of the kind ``wanted``."""
    from pydantic import Field

    _check_choice(f"{key}.kind", head["kind"], kinds)
    kind = kinds[head["kind"]]
    if head["kind"] != wanted:
        raise ConfigError(f"{key}.kind: expected {wanted}, which this target of the data is; found {head['kind']}")
    if kind.module != module:
        raise ConfigError(f"module: expected {kind.module} for {key}.kind={head['kind']}, found {module}")
    if head["activation"] is not None:
        _check_choice(f"{key}.activation", head["activation"], kind.activations)
    if not head["metrics"]:
        raise ConfigError(f"{key}.metrics: expected at least one of {', '.join(kind.metrics)}; found none")
    for metric in head["metrics"]:
        _check_choice(f"{key}.metrics", metric, kind.metrics)
    check_keys(key, head, kinds)
    for option, allowed in kind.options.items():
        number = Annotated[float, Field(gt=allowed.between[0], lt=allowed.between[1])] if allowed.between else None
        # null is the kind's default.
        check_value(f"{key}.{option}", Literal[allowed.choices] | number | None, head.get(option))
    kind.check(key, dict.fromkeys(kind.options) | head)


def _check_monitor(plain: Plain, kinds: Kinds) -> None:
    monitor, mode = plain["monitor"], plain["mode"]
    names = {
        f"val/{name}/{metric}": kind.metrics[metric].better
        for name, head in plain["heads"].items()
        for kind in [kinds[head["kind"]]]
        for metric in head["metrics"]
        if metric in kind.while_training
    }
    _check_choice("monitor", monitor, ["val/loss", *names])
    better = names.get(monitor, "min")
    if better == "zero":
        raise ConfigError(f"monitor: '{monitor}' is best near 0, neither smallest nor largest; choose another metric")
    if mode != better:
        raise ConfigError(f"mode: expected {better} for monitor={monitor}, found {mode}")


def _check_loss(key: str, node: Plain, name: str, head: Plain, kind: Kind, size: Any) -> None:
    """Check that a loss suits the kind and activation of a head and the size of the images."""
    target = node["_target_"]
    if not signature.is_ours(target):
        # A loss of somebody's own, who knows what it is for.
        return
    _check_choice(f"{key}._target_", target, LOSSES)
    side = min(size) if isinstance(size, list) else size
    loss, short = LOSSES[target], target.rpartition(".")[2]
    activation = head["activation"] or kind.activations[0]
    if loss.dense and not kind.dense:
        raise ConfigError(f"{key}: {short} compares maps, but heads.{name} gives {kind.gives}; choose {kind.losses}")
    if target in kind.unsuited:
        raise ConfigError(f"{key}: {short} {kind.unsuited[target]}; choose {kind.losses} for heads.{name}")
    if loss.labels and not kind.classes:
        raise ConfigError(f"{key}: {short} is for labels of whole images, but heads.{name} is of kind {head['kind']}")
    if loss.takes != "values" and not kind.binary:
        raise ConfigError(
            f"{key}: {short} needs targets of 0 and 1, but those of heads.{name} (kind {head['kind']}) are numbers of "
            f"any size, on which it diverges; choose {kind.losses} for it, e.g. heads.{name}.loss=l1"
        )
    if loss.takes != "values" and activation == "none":
        reason = (
            "it reads the network's values as logits, while predictions without an activation are those values "
            "themselves"
            if loss.takes == "logits"
            else "it needs values of 0 to 1, which a network without an activation does not keep to"
        )
        raise ConfigError(
            f"{key}: {short} does not go with heads.{name}.activation=none: {reason}; "
            f"set heads.{name}.activation=sigmoid"
        )
    if node.get("class_weights", "none") != "none" and not kind.classes:
        raise ConfigError(
            f"{key}.class_weights: only labels have classes to weigh, heads.{name} is of kind {head['kind']}"
        )
    if side < loss.smallest:
        raise ConfigError(
            f"data.image_size: expected at least {loss.smallest} px for {key} ({short}), whose windows would not fit; "
            f"found {side}"
        )


def _check_choice(key: str, value: Any, choices: Iterable[str]) -> None:
    """Check that ``value`` is one of ``choices``.

    Raises:
        ConfigError: it isn't; the message has the nearest.
    """
    check_value(key, Literal[tuple(choices)], value)
