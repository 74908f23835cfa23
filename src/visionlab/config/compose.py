"""Composing: where ``conf/`` is, and one configuration of its files and of what was typed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import SafeLoader, YAMLError, load

from visionlab.config import schema, signature
from visionlab.config.checks import Registry, check
from visionlab.config.overrides import as_typed, explain, first_line, parse, read
from visionlab.errors import ConfigError, fits, nearest, show


@dataclass(frozen=True)
class OwnFile:
    """A file that the user wrote.

    Attributes:
        path: of the file.
        package: dotted name of what its keys are below, or nothing.
        content: as YAML reads it.
        values: dotted key -> value, as YAML reads it and as a text.
    """

    path: str
    package: str
    content: Any
    values: Mapping[str, tuple[Any, Any]]


class _Texts(SafeLoader):
    """Reads numbers and words such as ``null`` as the texts that are written."""


# Of what plain texts can be, only the sign of a merge, ``<<``.
_Texts.yaml_implicit_resolvers = {"<": SafeLoader.yaml_implicit_resolvers["<"]}
_Texts.add_constructor(None, lambda loader, node: node.value)


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
        ConfigError: a group or key is wrong; the message names it.
    """
    composed = _compose(overrides, root)
    return complete(without_hydra(composed), overrides, own_files(composed.hydra))


def compose_run(
    overrides: Sequence[str], registry: Registry, *, root: str = "train", multirun: bool = False
) -> tuple[DictConfig, Path]:
    """Return the composed and checked configuration of one run, and the folder it belongs into (not made).

    Args:
        overrides, root: see :func:`compose`.
        registry: what a configuration may name.
        multirun: whether it is one job of a sweep.

    Raises:
        ConfigError: as :func:`compose`, or a value is wrong, or the settings contradict each other.
    """
    composed = _compose(overrides, root)
    files = own_files(composed.hydra)
    cfg = complete(without_hydra(composed), overrides, files)
    for name, one in each_model(cfg).items():
        try:
            check(one, registry, multirun=multirun, preparing=root == "prepare")
        except ConfigError as error:
            key = getattr(error, "key", None)
            inside = [f"In {file.path}: " for file in files if key in file.values][:1]
            error.args = ("".join([f"benchmark.models: {name}: "] if name else inside) + str(error),)
            raise
    try:
        return cfg, Path(str(composed.hydra.run.dir))
    except OmegaConfBaseException as error:
        raise ConfigError(f"hydra.run.dir: {first_line(error)}") from error


def complete(cfg: DictConfig, overrides: Sequence[str] = (), files: Sequence[OwnFile] = ()) -> DictConfig:
    """Return a composed configuration with what heads and stages leave to their defaults and to files of ``conf/``.

    ``heads.mask.loss=bce`` becomes a list of one ``{name, weight, loss}``, ``{bce: 1, dice: 0.5}`` of two. Texts that
    YAML reads as numbers or words are texts again where texts are expected.

    Args:
        cfg: as Hydra composes it, without its own node.
        overrides: that it was composed with.
        files: of the user's that it was read from.

    Raises:
        ConfigError: there is no such file, or a weight isn't a number.
    """
    content: Any = OmegaConf.to_container(cfg)
    schema.fill(content)
    for name, head in content["heads"].items():
        key, loss = f"heads.{name}.loss", head["loss"]
        if isinstance(loss, str):
            loss = {loss: 1.0}
        if isinstance(loss, dict) and "_target_" not in loss:
            head["loss"] = [
                {"name": item, "weight": _weight(f"{key}.{item}", weight), "loss": choice(key, "loss", item)}
                for item, weight in ((str(item), weight) for item, weight in loss.items())
            ]
    for name, stage in content["stages"].items():
        for group in ("augment", "loss", "scheduler", "balance"):
            if isinstance(stage[group], str):
                stage[group] = choice(f"stages.{name}.{group}", group, stage[group])
    completed, given = OmegaConf.create(content), parse(overrides)
    typed = next((item.value() for item in given if item.key_or_group == "trust"), [])
    if content["trust"] != typed:
        raise ConfigError(
            f"trust: only the command line can give it, for it lets code run; found {show(content['trust'])} in a file"
        )
    for file in files:
        for key, (value, text) in file.values.items():
            _set_text(completed, key, value, text)
    for item in given:
        if not (item.is_delete() or item.is_sweep_override()):
            set_as_typed(completed, item)
    OmegaConf.set_struct(completed, True)
    return completed


def set_as_typed(cfg: DictConfig, item: Override) -> None:
    """Set what an override says to the text that was typed, if only that is what the key may be.

    ``data.exclude=[101,null]`` are names of folders, and ``data.root=2024`` is one.
    """
    _set_text(cfg, item.key_or_group, item.value(), as_typed(item))


def _set_text(cfg: DictConfig, key: str, value: Any, text: Any) -> None:
    """Set a key that is ``value`` to the text that was written, if only that is what the key may be."""
    if isinstance(value, list) and isinstance(text, list):
        text = [entry if isinstance(entry, str) else written for entry, written in zip(value, text, strict=True)]
    if isinstance(value, str | dict) or text == value:
        return
    if OmegaConf.select(cfg, key, throw_on_resolution_failure=False) != value:
        return
    part, _, name = key.partition(".")
    target = cfg[part].get("_target_") if part in ("data", "make") and isinstance(cfg.get(part), DictConfig) else None
    wanted = signature.annotation(str(target), name) if target is not None else schema.annotation(key)
    if wanted is not None and not fits(wanted, value) and fits(wanted, text):
        OmegaConf.update(cfg, key, text)


def own_files(hydra_node: Any) -> list[OwnFile]:
    """Return the chosen files that are not of ``conf/`` itself, by Hydra's own node of the configuration."""
    folders = [Path(item.path) for item in hydra_node.runtime.config_sources if item.schema == "file"]
    chosen = hydra_node.runtime.choices.items()
    return [file for group, name in chosen for file in _with_bases(folders, f"/{group}/{name}")]


def _with_bases(folders: Sequence[Path], name: str, group: str = "", package: str = "") -> list[OwnFile]:
    """Return the file that Hydra reads for an entry of ``defaults``, and those that it builds on; none of ``conf/``.

    Args:
        folders: that are searched, in this order.
        name: ``/group/name``, or a name in the group of the file that has the entry.
        group, package: of the file that has the entry.
    """
    if name.startswith("/"):
        group, name = "", name[1:]
    path = Path(group, f"{name}.yaml")
    folder = next((folder for folder in folders if (folder / path).is_file()), None)
    if folder is None or folder == conf_dir():
        return []
    file = read_file(folder / path, ".".join(filter(None, [package, *Path(name).parts[:-1]])))
    entries = [entry for entry in file.content.get("defaults") or [] if isinstance(entry, str)]
    bases = [_with_bases(folders, entry, path.parent.as_posix(), file.package) for entry in entries]
    return [file, *(found for several in bases for found in several)]


def read_file(path: Path, package: str = "") -> OwnFile:
    """Return a YAML file, its keys below ``package``, unless it says ``@package _global_``.

    Raises:
        YAMLError, OSError, UnicodeDecodeError: it can't be read.
    """
    source = path.read_text(encoding="utf-8")
    content: Any = OmegaConf.to_container(OmegaConf.load(StringIO(source)))
    package = "" if source.startswith("# @package _global_") else package
    keys = _keys(content, load(source, _Texts), package and f"{package}.")
    return OwnFile(str(path), package, content, {key: (value, text) for key, value, text in keys})


def _keys(values: Any, texts: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name, value and text of each key of nested content that was read in two ways."""
    if isinstance(values, dict) and isinstance(texts, dict):
        for name, value in values.items():
            # Where the name itself is no text, such as a number with zeros before it, there is only the value.
            text = texts.get(str(name), value)
            yield f"{prefix}{name}", value, text
            yield from _keys(value, text, f"{prefix}{name}.")


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


def _compose(overrides: Sequence[str], root: str) -> DictConfig:
    """Return the composed configuration with Hydra's own node."""
    # Keys that no file has may be set of these; all others must be in one.
    node = OmegaConf.create({"heads": {}, "stages": {}, "callbacks": {"extra": {}}, "logger": {"extra": {}}})
    for part in (node.heads, node.stages, node.callbacks.extra, node.logger.extra):
        OmegaConf.set_struct(part, False)
    ConfigStore.instance().store(name="schema", node=node, provider="visionlab")
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        parsed = read(overrides, root)
        try:
            return hydra.compose(root, list(overrides), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            raise explain(error, parsed, root) from error
