"""Checks of heads with the data, their metrics, activations, options and losses, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from visionlab.config import signature
from visionlab.config.registry import Kind, Option, Registry
from visionlab.config.schema import HeadConfig, unknown_key
from visionlab.errors import ConfigError, nearest, show
from visionlab.losses import LOSSES

Plain = dict[str, Any]


def check_choice(key: str, value: Any, choices: Iterable[str]) -> None:
    """Check that ``value`` is one of ``choices``.

    Raises:
        ConfigError: it isn't; the message has the nearest.
    """
    if value not in (names := list(choices)):
        raise ConfigError(
            f"{key}: expected one of {', '.join(names)}; found {show(value)}.{nearest(str(value), names)}"
        )


def check_heads(plain: Plain, registry: Registry) -> None:
    """Check kinds, metrics, weights, activations and options of the heads, and the monitored metric.

    Raises:
        ConfigError: the first mistake found.
    """
    check_choice("module", plain["module"], registry.modules)
    target = plain["data"]["_target_"]
    numbers = signature.literal(target, "targets") or {}
    # Columns of numbers need not say what they are: they are of the first kind.
    kinds = dict.fromkeys(numbers, next(iter(registry.kinds))) | (signature.literal(target, "kinds") or {})
    kinds |= signature.literal(target, "maps") or {}
    if not plain["heads"]:
        raise ConfigError(f"heads: expected at least one of {', '.join(kinds)}; found none")
    for name, head in plain["heads"].items():
        if name not in kinds:
            listed = ", ".join(kinds) or "none"
            raise ConfigError(
                f"heads.{name}: expected a target of the data, {listed}; found '{name}'.{nearest(name, kinds)}"
            )
        _check_head(f"heads.{name}", head, plain["module"], kinds[name], registry.kinds)
    if not any(head["weight"] for head in plain["heads"].values()):
        raise ConfigError("heads: expected a weight above 0 in at least one, found 0 in all: nothing would be learnt")
    _check_monitor(plain, registry.kinds)


def _check_head(key: str, head: Plain, module: str, wanted: str, kinds: Mapping[str, Kind]) -> None:
    """Check a head on a target of the kind ``wanted``."""
    check_choice(f"{key}.kind", head["kind"], kinds)
    kind = kinds[head["kind"]]
    if head["kind"] != wanted:
        raise ConfigError(f"{key}.kind: expected {wanted}, which this target of the data is; found {head['kind']}")
    if kind.module != module:
        raise ConfigError(f"module: expected {kind.module} for {key}.kind={head['kind']}, found {module}")
    if head["activation"] is not None:
        check_choice(f"{key}.activation", head["activation"], kind.activations)
    if not head["metrics"]:
        raise ConfigError(f"{key}.metrics: expected at least one of {', '.join(kind.metrics)}; found none")
    for metric in head["metrics"]:
        check_choice(f"{key}.metrics", metric, kind.metrics)
    check_keys(key, head, kinds)
    for option, allowed in kind.options.items():
        _check_option(f"{key}.{option}", head.get(option), allowed)
    kind.check(key, dict.fromkeys(kind.options) | head)


def check_keys(key: str, head: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
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


def _check_option(key: str, value: Any, allowed: Option) -> None:
    """Check a key that only heads of one kind have; null is the kind's default."""
    between = allowed.between
    if value is None:
        return
    if between is None or isinstance(value, str):
        check_choice(key, value, allowed.choices)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key}: expected one of {', '.join(allowed.choices)}, or a number, found {show(value)}")
    elif not between[0] < value < between[1]:
        raise ConfigError(f"{key}: expected a number above {between[0]:g} and below {between[1]:g}, found {value}")


def _check_monitor(plain: Plain, kinds: Mapping[str, Kind]) -> None:
    monitor, mode = plain["monitor"], plain["mode"]
    names = {
        f"val/{name}/{metric}": kind.metrics[metric].better
        for name, head in plain["heads"].items()
        for kind in [kinds[head["kind"]]]
        for metric in head["metrics"]
        if metric in kind.while_training
    }
    check_choice("monitor", monitor, ["val/loss", *names])
    better = names.get(monitor, "min")
    if better == "zero":
        raise ConfigError(f"monitor: '{monitor}' is best near 0, neither smallest nor largest; choose another metric")
    if mode != better:
        raise ConfigError(f"mode: expected {better} for monitor={monitor}, found {mode}")


def own_losses(plain: Plain, head: str) -> Iterator[tuple[str, Any]]:
    """Yield the key and content of each loss that a head has of its own."""
    loss = plain["heads"][head]["loss"]
    if isinstance(loss, list):
        if not loss:
            raise ConfigError(f"heads.{head}.loss: expected a loss or several with their weights, found none")
        for term in loss:
            if not isinstance(term, dict) or set(term) != {"name", "weight", "loss"}:
                raise ConfigError(f"heads.{head}.loss: expected entries of name, weight and loss, found {show(term)}")
            yield f"heads.{head}.loss.{term['name']}", term["loss"]
    elif loss is not None:
        yield f"heads.{head}.loss", loss


def check_losses(plain: Plain, registry: Registry) -> None:
    """Check that each head's losses suit its kind and activation and the size of the images, and the balance.

    Raises:
        ConfigError: an impossible pair, with the reason.
    """
    size = plain["data"]["image_size"]
    side = min(size) if isinstance(size, list) else size
    for name, head in plain["heads"].items():
        kind = registry.kinds[head["kind"]]
        for key, node in list(own_losses(plain, name)) or [("loss", plain["loss"])]:
            _check_pair(key, node["_target_"], name, head, kind, side)
            if node.get("class_weights", "none") != "none" and not kind.classes:
                raise ConfigError(
                    f"{key}.class_weights: only labels have classes to weigh, heads.{name} is of kind {head['kind']}"
                )
    balance = plain["balance"]
    for argument in ("raised", "by"):
        if argument in balance:
            check_choice(f"balance.{argument}", balance[argument], plain["heads"])
    idle = [name for name, head in plain["heads"].items() if not head["weight"]]
    if idle and balance["_target_"].endswith(".UncertaintyBalance"):
        raise ConfigError(
            f"heads.{idle[0]}.weight: expected more than 0 for balance=uncertainty, found 0: the learnt scale of its "
            f"errors would shrink without end; leave the head out with '~heads.{idle[0]}'"
        )
    if "by" in balance and balance["by"] == balance.get("raised"):
        raise ConfigError(f"balance.by: expected another head than balance.raised, found '{balance['by']}' in both")


def _check_pair(key: str, target: str, name: str, head: Plain, kind: Kind, side: int) -> None:
    if not signature.is_ours(target):
        # A loss of somebody's own, who knows what it is for.
        return
    check_choice(f"{key}._target_", target, LOSSES)
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
    if side < loss.smallest:
        raise ConfigError(
            f"data.image_size: expected at least {loss.smallest} px for {key} ({short}), whose windows would not fit; "
            f"found {side}"
        )
