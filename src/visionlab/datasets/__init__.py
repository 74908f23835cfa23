"""Data sets: each is a file that reads its layouts on disk into an index table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_settings(data: Mapping[str, Any]) -> None:
    """Check what the types of a data set's arguments don't say: stains and classes. Torch isn't imported.

    Args:
        data: the arguments and ``_target_``, the dotted name of the class.

    Raises:
        ConfigError: there is no such stain or class.
    """
    from visionlab.config import signature
    from visionlab.data.channels import parse
    from visionlab.datasets.classes import choose_classes

    stains = signature.literal(data["_target_"], "stains")
    if stains:
        parse(data["channels"], stains)
    if "class_group" in data:
        names = data["class_names"]
        if names is None:
            names = next(iter(signature.literal(data["_target_"], "targets").values()))
        choose_classes(names, data["classes"], data["class_group"])
