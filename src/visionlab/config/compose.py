"""Configuration: where ``conf/`` is, composing it, and :func:`build`, the only place that makes objects from it."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab.errors import ConfigError, nearest


def conf_dir() -> Path:
    """Return the folder of the configuration files: the one in the installed package, or the checkout's.

    Raises:
        ConfigError: there is neither.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"expected the configuration in {package / 'conf'}, found none; reinstall visionlab")


def compose(overrides: Sequence[str], *, root: str = "train") -> DictConfig:
    """Return the composed configuration, unchecked.

    Args:
        overrides: as on the command line, e.g. ``["task=focus", "optimizer.lr=1e-4"]``.
        root: the file of ``conf/`` to begin with.

    Raises:
        ConfigError: a group, key or value is wrong; the message names it.
    """
    return expand(without_hydra(_compose(overrides, root)))


def compose_run(overrides: Sequence[str], *, root: str = "train", multirun: bool = False) -> tuple[DictConfig, Path]:
    """Return the composed and checked configuration of one run, and the folder it belongs into (not made).

    Args:
        overrides, root: see :func:`compose`.
        multirun: whether it is one job of a sweep.

    Raises:
        ConfigError: as :func:`compose`, or the settings contradict each other.
    """
    from visionlab.config.checks import check
    from visionlab.config.translate import first_line

    composed = _compose(overrides, root)
    cfg = expand(without_hydra(composed))
    for name, one in each_model(cfg).items():
        try:
            check(one, multirun=multirun, preparing=root == "prepare")
        except ConfigError as error:
            if not name:
                raise
            raise ConfigError(f"benchmark.models: {name}: {error}") from error
    try:
        return cfg, Path(str(composed.hydra.run.dir))
    except OmegaConfBaseException as error:
        raise ConfigError(f"hydra.run.dir: {first_line(error)}") from error


def expand(cfg: DictConfig) -> DictConfig:
    """Put the content of ``conf/`` where heads and stages only name one of its files; return ``cfg``.

    ``heads.mask.loss=bce`` becomes a list of one ``{name, weight, loss}``, ``{bce: 1, dice: 0.5}`` of two.

    Raises:
        ConfigError: there is no such file, or a weight isn't a number.
    """
    for name, head in cfg.heads.items():
        key = f"heads.{name}.loss"
        loss = OmegaConf.to_container(head.loss) if OmegaConf.is_config(head.loss) else head.loss
        if isinstance(loss, str):
            loss = {loss: 1.0}
        if isinstance(loss, dict) and "_target_" not in loss:
            head.loss = [
                {"name": item, "weight": _weight(f"{key}.{item}", weight), "loss": choice(key, "loss", item)}
                for item, weight in ((str(item), weight) for item, weight in loss.items())
            ]
    for name, stage in cfg.stages.items():
        for group in ("augment", "loss", "scheduler", "balance"):
            if isinstance(stage[group], str):
                stage[group] = choice(f"stages.{name}.{group}", group, stage[group])
    return cfg


def choice(key: str, group: str, name: str) -> dict[str, Any]:
    """Return the content of ``conf/<group>/<name>.yaml``, with the files of the group that it builds on.

    Raises:
        ConfigError: there is none; the message names ``key``, which asked for it.
    """
    names = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    if name not in names:
        raise ConfigError(f"{key}: expected one of {', '.join(names)}; found '{name}'.{nearest(name, names)}")
    content: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{name}.yaml")) or {}
    result: dict[str, Any] = {}
    for base in content.pop("defaults", []):
        result |= choice(key, group, base) if base != "_self_" else {}
    return result | content


def each_model(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return {name: the configuration with that network} for ``benchmark.models``; else ``cfg`` alone, called ``""``.

    Raises:
        ConfigError: there is no such file in ``conf/model/``, or nothing to measure.
    """
    if cfg.benchmark is not None and not cfg.benchmark.batch_sizes:
        raise ConfigError("benchmark.batch_sizes: expected at least one, e.g. [8,32,128]; found none")
    if cfg.benchmark is None or not cfg.benchmark.models:
        return {"": cfg}
    found = {}
    for name in map(str, cfg.benchmark.models):
        found[name] = cfg.copy()
        OmegaConf.update(found[name], "model", choice("benchmark.models", "model", name), merge=False)
    return found


def _weight(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"{key}: expected a weight above 0, found {value!r}")
    return float(value)


def without_hydra(cfg: DictConfig) -> DictConfig:
    """Return a copy without Hydra's own node."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in Hydra's order; one job where nothing is swept.

    Raises:
        ConfigError: an override can't be read, or sweeps over a range that has no list of values.
    """
    from visionlab.config.translate import parse

    choices: dict[str, list[str]] = {}
    for override in parse(overrides):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [str(override.input_line)]
        elif override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ConfigError(
                f"'{override.input_line}': expected the values to try, as {key}=1,2,3; intervals need another sweeper"
            )
    return [list(job) for job in itertools.product(*choices.values())]


def build(node: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Call what ``node["_target_"]`` names with ``args``, ``kwargs`` and the other keys of ``node``.

    Only public classes and functions that are defined in visionlab can be named.

    Raises:
        ConfigError: anything else is named, or a key is given twice.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    target = plain.pop("_target_", None)
    if not isinstance(target, str):
        raise ConfigError(f"_target_: expected the name of a class or function of visionlab, found {target!r}")
    twice = sorted(set(plain) & set(kwargs))
    if twice:
        raise ConfigError(f"{target}: {', '.join(twice)} can't be configured, the program supplies it")
    return _locate(target)(*args, **kwargs, **plain)


def _locate(target: str) -> Any:
    module, _, name = target.rpartition(".")
    public = not any(part.startswith("_") or not part.isidentifier() for part in target.split("."))
    found = None
    if module.startswith("visionlab.") and public:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    if not callable(found) or not str(getattr(found, "__module__", "")).startswith("visionlab."):
        raise ConfigError(f"_target_: expected a public class or function of visionlab, found '{target}'")
    return found


def _compose(overrides: Sequence[str], root: str) -> DictConfig:
    """Return the composed configuration with Hydra's own node."""
    import hydra
    from hydra.errors import HydraException
    from yaml import YAMLError

    from visionlab.config import schema, translate

    schema.register()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        parsed = translate.read(overrides, root)
        try:
            return hydra.compose(root, list(overrides), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            raise translate.explain(error, parsed, root) from error
