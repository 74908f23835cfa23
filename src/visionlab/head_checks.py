"""Cross-checks of heads with the data, their metrics, activations and losses, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from visionlab import signature
from visionlab.annotations import show
from visionlab.errors import ConfigError, nearest
from visionlab.losses import LOSSES
from visionlab.metrics import METRICS
from visionlab.modules import HEADS, MODULES
from visionlab.ranges import AT_LEAST_0, check_choice

Plain = dict[str, Any]


def check_heads(plain: Plain) -> None:
    """Check kinds, metrics, weights and activations of the heads, and the monitored metric.

    Raises:
        ConfigError: the first mistake found.
    """
    check_choice("module", plain["module"], list(MODULES))
    target = plain["data"]["_target_"]
    numbers = signature.literal(target, "targets") or {}
    maps = signature.literal(target, "maps") or {}
    if not plain["heads"]:
        raise ConfigError(f"heads: expected at least one of {', '.join([*numbers, *maps])}; found none")
    for name, head in plain["heads"].items():
        _check_head(name, head, plain["module"], list(numbers), maps)
    if not any(head["weight"] for head in plain["heads"].values()):
        raise ConfigError("heads: expected a weight above 0 in at least one, found 0 in all: nothing would be learnt")
    _check_monitor(plain)


def _check_head(name: str, head: Plain, module: str, numbers: list[str], maps: dict[str, str]) -> None:
    key = f"heads.{name}"
    targets = [*numbers, *maps]
    if name not in targets:
        listed = ", ".join(targets) or "none"
        raise ConfigError(f"{key}: expected a target of the data, {listed}; found '{name}'.{nearest(name, targets)}")
    check_choice(f"{key}.kind", head["kind"], list(HEADS))
    entry = HEADS[head["kind"]]
    wanted = maps.get(name, "regression")
    if head["kind"] != wanted:
        raise ConfigError(f"{key}.kind: expected {wanted}, which this target of the data is; found {head['kind']}")
    if entry.dense != (MODULES[module].kind == "dense"):
        fitting = next(other for other, found in MODULES.items() if (found.kind == "dense") == entry.dense)
        raise ConfigError(f"module: expected {fitting} for {key}.kind={head['kind']}, found {module}")
    if head["activation"] is not None:
        check_choice(f"{key}.activation", head["activation"], entry.activations)
    if not head["metrics"]:
        raise ConfigError(f"{key}.metrics: expected at least one of {', '.join(METRICS[head['kind']])}; found none")
    for metric in head["metrics"]:
        check_choice(f"{key}.metrics", metric, list(METRICS[head["kind"]]))
    if not AT_LEAST_0[1](head["weight"]):
        raise ConfigError(f"{key}.weight: expected {AT_LEAST_0[0]}, found {head['weight']}")


def _check_monitor(plain: Plain) -> None:
    monitor, mode = plain["monitor"], plain["mode"]
    names = {
        f"val/{head}/{metric}": METRICS[entry["kind"]][metric].better
        for head, entry in plain["heads"].items()
        for metric in entry["metrics"]
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
    loss, kind = LOSSES[target], head["kind"]
    short = target.rpartition(".")[2]
    activation = head["activation"] or HEADS[kind].activations[0]
    if loss.dense and not HEADS[kind].dense:
        raise ConfigError(f"{key}: {short} compares maps, but heads.{name} gives numbers; choose l1, mse or huber")
    if loss.takes != "values" and kind != "mask":
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
