"""Cross-checks of heads with the data, their metrics, activations and losses, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from visionlab.config import signature
from visionlab.config.annotations import show
from visionlab.config.ranges import AT_LEAST_0, check_choice
from visionlab.errors import ConfigError, nearest
from visionlab.heads import KINDS
from visionlab.losses import LOSSES
from visionlab.modules import MODULES

Plain = dict[str, Any]


def check_heads(plain: Plain) -> None:
    """Check kinds, metrics, weights and activations of the heads, and the monitored metric.

    Raises:
        ConfigError: the first mistake found.
    """
    check_choice("module", plain["module"], list(MODULES))
    target = plain["data"]["_target_"]
    numbers = signature.literal(target, "targets") or {}
    # Columns of numbers need not say what they are: they are of the first kind.
    kinds = dict.fromkeys(numbers, next(iter(KINDS))) | (signature.literal(target, "kinds") or {})
    kinds |= signature.literal(target, "maps") or {}
    if not plain["heads"]:
        raise ConfigError(f"heads: expected at least one of {', '.join(kinds)}; found none")
    for name, head in plain["heads"].items():
        _check_head(name, head, plain["module"], kinds)
    if not any(head["weight"] for head in plain["heads"].values()):
        raise ConfigError("heads: expected a weight above 0 in at least one, found 0 in all: nothing would be learnt")
    _check_monitor(plain)


def _check_head(name: str, head: Plain, module: str, kinds: dict[str, str]) -> None:
    """Check a head; ``kinds`` are those of the data's targets."""
    key = f"heads.{name}"
    if name not in kinds:
        listed = ", ".join(kinds) or "none"
        raise ConfigError(f"{key}: expected a target of the data, {listed}; found '{name}'.{nearest(name, kinds)}")
    check_choice(f"{key}.kind", head["kind"], list(KINDS))
    kind = KINDS[head["kind"]]
    if head["kind"] != kinds[name]:
        raise ConfigError(f"{key}.kind: expected {kinds[name]}, which this target of the data is; found {head['kind']}")
    if kind.module != module:
        raise ConfigError(f"module: expected {kind.module} for {key}.kind={head['kind']}, found {module}")
    if head["activation"] is not None:
        check_choice(f"{key}.activation", head["activation"], kind.activations)
    if not head["metrics"]:
        raise ConfigError(f"{key}.metrics: expected at least one of {', '.join(kind.metrics)}; found none")
    for metric in head["metrics"]:
        check_choice(f"{key}.metrics", metric, list(kind.metrics))
    if not AT_LEAST_0[1](head["weight"]):
        raise ConfigError(f"{key}.weight: expected {AT_LEAST_0[0]}, found {head['weight']}")
    _check_options(key, head)


def _check_options(key: str, head: Plain) -> None:
    """Check that a head has no options of other kinds, and that those of its own kind are what they may be."""
    own = KINDS[head["kind"]]
    for kind in KINDS.values():
        for name, option in kind.options.items():
            value = head[name]
            if value is None:
                continue
            if name not in own.options:
                raise ConfigError(f"{key}.{name}: only heads of {kind.gives} have it, found it on one of kind {own}")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if option.between is not None and number:
                low, high = option.between
                if not low < value < high:
                    raise ConfigError(f"{key}.{name}: expected a score above {low:g} and below {high:g}, found {value}")
            elif option.between is not None and not isinstance(value, str):
                names = ", ".join(option.choices)
                raise ConfigError(f"{key}.{name}: expected one of {names}, or a number, found {show(value)}")
            else:
                check_choice(f"{key}.{name}", value, option.choices)
    own.check(key, head)


def _check_monitor(plain: Plain) -> None:
    monitor, mode = plain["monitor"], plain["mode"]
    names = {
        f"val/{head}/{metric}": KINDS[entry["kind"]].metrics[metric].better
        for head, entry in plain["heads"].items()
        for metric in entry["metrics"]
        if metric in KINDS[entry["kind"]].while_training
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


def check_losses(plain: Plain) -> None:
    """Check that each head's losses suit its kind and activation and the size of the images, and the balance.

    Raises:
        ConfigError: an impossible pair, with the reason.
    """
    size = plain["data"]["image_size"]
    side = min(size) if isinstance(size, list) else size
    for name, head in plain["heads"].items():
        for key, node in list(own_losses(plain, name)) or [("loss", plain["loss"])]:
            _check_pair(key, node["_target_"], name, head, side)
            if node.get("class_weights", "none") != "none" and not KINDS[head["kind"]].classes:
                raise ConfigError(
                    f"{key}.class_weights: only labels have classes to weigh, heads.{name} is of kind {head['kind']}"
                )
    balance = plain["balance"]
    for argument in ("raised", "by"):
        if argument in balance:
            check_choice(f"balance.{argument}", balance[argument], list(plain["heads"]))
    idle = [name for name, head in plain["heads"].items() if not head["weight"]]
    if idle and balance["_target_"] == "visionlab.losses.balance.UncertaintyBalance":
        raise ConfigError(
            f"heads.{idle[0]}.weight: expected more than 0 for balance=uncertainty, found 0: the learnt scale of its "
            f"errors would shrink without end; leave the head out with '~heads.{idle[0]}'"
        )
    if "by" in balance and balance["by"] == balance.get("raised"):
        raise ConfigError(f"balance.by: expected another head than balance.raised, found '{balance['by']}' in both")


def _check_pair(key: str, target: str, name: str, head: Plain, side: int) -> None:
    if target not in LOSSES:
        raise ConfigError(f"{key}._target_: expected one of {', '.join(LOSSES)}; found '{target}'")
    loss, kind = LOSSES[target], KINDS[head["kind"]]
    short = target.rpartition(".")[2]
    activation = head["activation"] or kind.activations[0]
    if loss.dense and not kind.dense:
        raise ConfigError(f"{key}: {short} compares maps, but heads.{name} gives {kind.gives}; choose {kind.losses}")
    if target in kind.unsuited:
        raise ConfigError(f"{key}: {short} {kind.unsuited[target]}; choose {kind.losses} for heads.{name}")
    if loss.labels and not kind.classes:
        raise ConfigError(f"{key}: {short} is for labels of whole images, but heads.{name} is of kind {kind}")
    if loss.takes != "values" and not kind.binary:
        raise ConfigError(
            f"{key}: {short} needs targets of 0 and 1, but those of heads.{name} (kind {kind}) are numbers of any "
            "size, on which it diverges; choose l1, mse, l1_msssim, ... for it, e.g. heads."
            f"{name}.loss=l1"
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
