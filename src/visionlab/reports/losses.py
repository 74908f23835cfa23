"""What a run was trained to make small, in the words that choose it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from visionlab.config.compose import conf_dir


def loss_words(config: Mapping[str, Any]) -> str:
    """Return the loss of a run's config.yaml: ``l1``, or ``mask: bce + 0.5 dice, depth: l1_msssim``.

    Options other than those in ``conf/loss/`` stand in brackets, losses of later stages behind.
    """
    words = _named(config.get("loss"))
    heads = _mappings(config.get("heads"))
    if any(head.get("loss") is not None for head in heads.values()):
        words = ", ".join(
            f"{name}: {words if head.get('loss') is None else _named(head['loss'])}" for name, head in heads.items()
        )
    stages = [(name, stage["loss"]) for name, stage in _mappings(config.get("stages")).items() if stage.get("loss")]
    return "; ".join([words, *(f"stage {name}: {_named(loss)}" for name, loss in stages)])


def _named(loss: Any) -> str:
    if isinstance(loss, Mapping) and "_target_" in loss:
        return _chosen(loss)
    if isinstance(loss, Mapping) and loss:
        return " + ".join(_weighted(str(name), weight) for name, weight in loss.items())
    if isinstance(loss, list) and all(isinstance(item, Mapping) for item in loss):
        terms = [(_named(item.get("loss") or item.get("name")), item.get("weight", 1)) for item in loss]
        return " + ".join(_weighted(name, weight) for name, weight in terms)
    return str(loss or "–")


def _weighted(name: str, weight: Any) -> str:
    return name if weight == 1 else f"{weight} {name}"


def _chosen(loss: Mapping[str, Any]) -> str:
    """Return the file of ``conf/loss/`` that chooses this, with the options that are different from it."""
    changes = []
    for name, content in _choices().items():
        if content.get("_target_") == loss["_target_"]:
            changed = [f"{key}={value}" for key, value in loss.items() if content.get(key) != value]
            changes.append((len(changed), f"{name} ({', '.join(changed)})" if changed else name))
    return min(changes)[1] if changes else str(loss["_target_"]).rpartition(".")[2]


@cache
def _choices() -> dict[str, dict[str, Any]]:
    files = sorted((conf_dir() / "loss").glob("*.yaml"))
    return {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}


def _mappings(table: Any) -> dict[str, Mapping[str, Any]]:
    found = table.items() if isinstance(table, Mapping) else ()
    return {str(name): content for name, content in found if isinstance(content, Mapping)}
