"""Cross-checks of heads with the data, their metrics, activations and losses, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from visionlab.config import signature
from visionlab.config.annotations import show
from visionlab.config.ranges import AT_LEAST_0, check_choice
from visionlab.errors import ConfigError, nearest
from visionlab.heads import CALIBRATIONS, CELLS, HEADS, SEPARATE, THRESHOLDS, HeadEntry
from visionlab.losses import LOSSES
from visionlab.metrics import METRICS, WHILE_TRAINING
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
    kinds = dict.fromkeys(numbers, "regression") | (signature.literal(target, "kinds") or {})
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
    check_choice(f"{key}.kind", head["kind"], list(HEADS))
    entry = HEADS[head["kind"]]
    if head["kind"] != kinds[name]:
        raise ConfigError(f"{key}.kind: expected {kinds[name]}, which this target of the data is; found {head['kind']}")
    if entry.module != module:
        raise ConfigError(f"module: expected {entry.module} for {key}.kind={head['kind']}, found {module}")
    if head["activation"] is not None:
        check_choice(f"{key}.activation", head["activation"], entry.activations)
    if not head["metrics"]:
        raise ConfigError(f"{key}.metrics: expected at least one of {', '.join(METRICS[head['kind']])}; found none")
    for metric in head["metrics"]:
        check_choice(f"{key}.metrics", metric, list(METRICS[head["kind"]]))
    if not AT_LEAST_0[1](head["weight"]):
        raise ConfigError(f"{key}.weight: expected {AT_LEAST_0[0]}, found {head['weight']}")
    _check_options(key, head, entry)
    _check_decisions(key, head)


def _check_options(key: str, head: Plain, entry: HeadEntry) -> None:
    """Check that a head has no options of other kinds, and what heads of instances have."""
    for options, whose in ((("thresholds", "calibration"), "labels"), (("separate", "cells"), "instances")):
        for option in options:
            if head[option] is not None and option not in entry.options:
                raise ConfigError(
                    f"{key}.{option}: only heads of {whose} have it, found it on one of kind {head['kind']}"
                )
    for option, choices in (("separate", SEPARATE), ("cells", CELLS)):
        if head[option] is not None:
            check_choice(f"{key}.{option}", head[option], choices)
    if head["cells"] == "enclosed" and head["separate"] not in (None, "none"):
        raise ConfigError(
            f"{key}.separate: expected none with cells=enclosed, as walls tell the cells apart; found "
            f"{head['separate']}"
        )


def _check_decisions(key: str, head: Plain) -> None:
    """Check how thresholds and calibration of labels are found."""
    thresholds, calibration = head["thresholds"], head["calibration"]
    if isinstance(thresholds, int | float) and not isinstance(thresholds, bool):
        if not 0 < thresholds < 1:
            raise ConfigError(f"{key}.thresholds: expected a score above 0 and below 1, found {thresholds}")
    elif thresholds is not None:
        if not isinstance(thresholds, str):
            names = ", ".join(THRESHOLDS)
            raise ConfigError(f"{key}.thresholds: expected one of {names}, or a number, found {show(thresholds)}")
        check_choice(f"{key}.thresholds", thresholds, THRESHOLDS)
    if calibration is not None:
        check_choice(f"{key}.calibration", calibration, CALIBRATIONS)


def _check_monitor(plain: Plain) -> None:
    monitor, mode = plain["monitor"], plain["mode"]
    names = {
        f"val/{head}/{metric}": METRICS[entry["kind"]][metric].better
        for head, entry in plain["heads"].items()
        for metric in entry["metrics"]
        # Objects are found once training is done.
        if entry["kind"] != "instances" or metric in WHILE_TRAINING
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
            if node.get("class_weights", "none") != "none" and head["kind"] != "multilabel":
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
    loss, kind = LOSSES[target], head["kind"]
    short = target.rpartition(".")[2]
    activation = head["activation"] or HEADS[kind].activations[0]
    if loss.dense and not HEADS[kind].dense:
        gives, instead = ("labels", "bce or focal") if kind == "multilabel" else ("numbers", "l1, mse or huber")
        raise ConfigError(f"{key}: {short} compares maps, but heads.{name} gives {gives}; choose {instead}")
    if kind == "multilabel" and target.endswith((".l1", ".huber")):
        raise ConfigError(
            f"{key}: {short} is smallest where a class that is mostly absent is never given (its median is 0); choose "
            f"bce, focal or asymmetric for heads.{name}"
        )
    if loss.labels and kind != "multilabel":
        raise ConfigError(f"{key}: {short} is for labels of whole images, but heads.{name} is of kind {kind}")
    if loss.takes != "values" and kind not in ("mask", "instances", "multilabel"):
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
