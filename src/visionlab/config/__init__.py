"""Configuration: conf/ and the command line, composed into one checked, plain configuration."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from visionlab.errors import ConfigError


def build(node: Mapping[str, Any], *args: Any, trust: Sequence[str] = (), **kwargs: Any) -> Any:
    """Call what ``node["_target_"]`` names with ``args``, ``kwargs`` and the other keys of ``node``.

    Only public classes and functions that are defined in visionlab or in a package of ``trust`` can be named.

    Args:
        node: plain or a ``DictConfig``.
        args, kwargs: what the program supplies.
        trust: names of packages whose code the user allowed to run.

    Raises:
        ConfigError: anything else is named, or a key is given twice.
    """
    from omegaconf import DictConfig, OmegaConf

    plain: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    target = plain.pop("_target_", None)
    if not isinstance(target, str):
        raise ConfigError(f"_target_: expected the name of a class or function of visionlab, found {target!r}")
    twice = sorted(set(plain) & set(kwargs))
    if twice:
        raise ConfigError(f"{target}: {', '.join(twice)} can't be configured, the program supplies it")
    return _locate(target, ("visionlab", *trust))(*args, **kwargs, **plain)


def defaults(task: str) -> dict[str, Any]:
    """Return what ``conf/`` composes for a task, resolved: ``data``, ``augment``, ``seed``, ``trainer``, ...

    Raises:
        ConfigError: there is no such task.
    """
    from omegaconf import OmegaConf

    from visionlab.config.compose import compose

    plain: Any = OmegaConf.to_container(compose([f"task={task}"]), resolve=True)
    return dict(plain)


def _locate(target: str, packages: Sequence[str]) -> Any:
    module, _, name = target.rpartition(".")
    package = target.partition(".")[0]
    public = not any(part.startswith("_") or not part.isidentifier() for part in target.split("."))
    found = None
    if module and package in packages and public:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    if not callable(found) or str(getattr(found, "__module__", "")).partition(".")[0] != package:
        raise ConfigError(f"_target_: expected a public class or function of {' or '.join(packages)}, found '{target}'")
    return found
