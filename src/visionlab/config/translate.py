"""Hydra's and OmegaConf's complaints as one sentence: the key, what was expected, what was found, the nearest name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError
from yaml import YAMLError
from yaml.error import MarkedYAMLError

from visionlab.config import schema
from visionlab.config.annotations import show
from visionlab.config.compose import without_hydra
from visionlab.errors import ConfigError, nearest
from visionlab.models.catalog import timm_names


def parse(overrides: Sequence[str]) -> list[Override]:
    """Return the parsed overrides.

    Raises:
        ConfigError: one of them isn't ``key=value``.
    """
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        key, equals, value = text.partition("=")
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            if not equals:
                hint = "settings are written key=value, without spaces around '='"
            elif set(value) & set("=(){}[]:, '~\""):
                hint = f"put a value with such characters in quotes inside the shell's quotes: \"{key}='{value}'\""
            else:
                hint = f"expected key=value: {str(error).splitlines()[0]}"
            raise ConfigError(f"'{text}' is not understood: {hint}") from None
    return parsed


def read(overrides: Sequence[str], root: str) -> list[Override]:
    """Return the parsed overrides of one run, their choices and signs checked. Hydra must be initialised on ``conf/``.

    Args:
        overrides: as on the command line.
        root: the file of ``conf/`` that they are for.

    Raises:
        ConfigError: a choice doesn't exist, several values are given, or something would be removed.
    """
    parsed = parse(overrides)
    path = [str(item.input_line) for item in parsed if item.key_or_group == "hydra.searchpath"]
    for item in parsed:
        if item.key_or_group == "hydra.searchpath":
            _check_searchpath(item.value())
    chosen = {item.key_or_group for item in parsed}
    for item in parsed:
        key, line = item.key_or_group, str(item.input_line)
        group = key.lstrip("+").split(".")[0]
        if group == "make" and root != "prepare":
            raise ConfigError(f"'{line}': only `python -m visionlab.prepare` makes data; train on what it has made")
        if group == "benchmark" and root != "benchmark":
            raise ConfigError(f"'{line}': only `python -m visionlab.benchmark` measures; leave it out here")
        if key == "benchmark":
            raise ConfigError(f"'{line}': expected one of its keys, e.g. benchmark.batch_sizes=[8,32]")
        if group in ("make", "experiment") and key != group and group not in chosen:
            raise ConfigError(f"'{line}': nothing is chosen there; give {group}={'|'.join(options(group))} as well")
        if not key:
            raise ConfigError(f"'{line}' is not understood: expected a key before '='")
        if item.is_sweep_override():
            raise ConfigError(
                f"{key}: '{line}' holds several values; "
                f"add -m to run one after the other, or write a list as {key}=[a,b]"
            )
        if key in groups():
            _check_choice(item, options(key, path))
        elif item.is_delete() and not item.is_hydra_override() and not re.fullmatch(r"heads\.\w+", key):
            # A head may be left out: of data that have no maps of it, for one.
            raise ConfigError(f"'{line}': '{key}' can't be removed; set it to another value (null switches off)")
    return parsed


def groups() -> list[str]:
    """Return the names of all choices: ``model``, ``loss``, ... Hydra must be initialised."""
    return [name for name in GlobalHydra.instance().config_loader().list_groups("") if name != "hydra"]


def options(group: str, overrides: Sequence[str] = ()) -> list[str]:
    """Return the values of a choice, e.g. of ``model``; ``overrides`` may add a ``hydra.searchpath``."""
    loader = GlobalHydra.instance().config_loader()
    return sorted(loader.get_group_options(group, ObjectType.CONFIG, "train", list(overrides)))


def explain(error: Exception, parsed: Sequence[Override], root: str) -> ConfigError:
    """Return what to tell the user when composing with the overrides ``parsed`` failed with ``error``.

    The guilty override is found by composing with one at a time, since Hydra's messages don't always name it. Hydra
    must be initialised.
    """
    choices = [item for item in parsed if item.key_or_group in groups() or item.key_or_group == "hydra.searchpath"]
    chosen = [str(item.input_line) for item in choices]
    try:
        base = hydra.compose(root, chosen, return_hydra_config=True)
        for item in parsed:
            if item not in choices:
                _check_key(item, base, [*chosen, str(item.input_line)], root)
    except ConfigError as found:
        return found
    except (HydraException, OmegaConfBaseException, YAMLError) as broken:
        # What fails without any key being set is written in the files.
        return _in_files(broken)
    return ConfigError(first_line(error))


def unknown_key(key: str, keys: Sequence[str]) -> ConfigError:
    """Return the error for a key that isn't among ``keys`` (dotted names)."""
    return ConfigError(f"unknown key '{key}'.{_nearest_key(key, keys)}")


def wrong_type(key: str, value: Any, cause: OmegaConfBaseException) -> ConfigError:
    """Return the error for a value that its key's type refused with ``cause``."""
    if isinstance(value, dict) and cause.full_key:
        key, value = cause.full_key, OmegaConf.select(OmegaConf.create({key: value}), cause.full_key)
    expected = schema.type_name(key)
    return ConfigError(
        f"{key}: expected {expected}, found {show(value)}" if expected else f"{key}: {first_line(cause)}"
    )


def first_line(error: BaseException) -> str:
    """Return the message without OmegaConf's details and Hydra's search path and links."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [
        line
        for line in lines
        if line and not line.startswith(("full_key", "object_type", "reference_type", "See ", "To append"))
    ]
    cut = next((place for place, line in enumerate(kept) if "earch path" in line), len(kept))
    return " ".join(kept[:cut]) or type(error).__name__


def keys_of(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Return the dotted names of all keys, mappings included."""
    found = []
    for name in cfg:
        key = prefix + str(name)
        found.append(key)
        if OmegaConf.is_missing(cfg, name):
            continue
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none():
            found += keys_of(node, f"{key}.")
    return found


def _check_searchpath(folders: Any) -> None:
    for folder in folders if isinstance(folders, list) else [folders]:
        path = str(folder).removeprefix("file://")
        if "://" not in path and not Path(path).is_dir():
            raise ConfigError(f"hydra.searchpath: expected [file:///FOLDER], found no folder at '{folder}'")


def _check_choice(item: Override, choices: list[str]) -> None:
    group, value = item.key_or_group, item.value()
    if item.is_delete() or item.is_add() or item.is_force_add():
        raise ConfigError(f"'{item.input_line}': '{group}' is a choice; write {group}=<one of {_listed(choices)}>")
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{group}: no choice {show(value)}.{_nearest_option(group, str(value), choices)}")


def _nearest_option(group: str, value: str, choices: Sequence[str]) -> str:
    if group == "model" and value in timm_names():
        return f" It is a backbone of timm: write model=timm model.name={value}"
    return f"{nearest(value, choices)} Choices: {_listed(choices)}"


def _check_key(item: Override, base: DictConfig, overrides: list[str], root: str) -> None:
    key, line = item.key_or_group, str(item.input_line)
    keys = keys_of(base) if item.is_hydra_override() else keys_of(without_hydra(base))
    # An empty mapping of stages is there, but may be added to.
    if item.is_add() and key in keys and key != "stages":
        raise ConfigError(f"'{line}': '{key}' exists already; leave out the '+'")
    try:
        hydra.compose(root, overrides)
    except MissingConfigException as error:
        raise _in_files(error) from None
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        head = ".".join(key.split(".")[:2])
        if key.startswith("heads.") and head not in keys and (item.is_add() or item.is_force_add()):
            raise ConfigError(f"'{line}': '{head}' can't be added here; heads are written in conf/task/") from None
        if (key == "stages" and not any(name.startswith("stages.") for name in keys)) or (
            key.startswith("stages.") and head not in keys
        ):
            _check_stages(item.value() if key == "stages" else None)
            example = "'+stages={first:{epochs:2},second:{epochs:1}}'"
            raise ConfigError(f"'{line}': new stages are written all together, as {example}") from None
        if isinstance(cause, ValidationError):
            raise wrong_type(key, item.value(), cause) from None
        if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            similar = [group for group in groups() if item.value() in options(group)]
            meant = nearest(key, similar)
            raise (
                ConfigError(f"unknown key '{key}'.{meant}") if meant else unknown_key(key, [*keys, *groups()])
            ) from None
        raise ConfigError(f"'{line}': {first_line(cause)}") from None


def _check_stages(stages: Any) -> None:
    """Refuse unknown keys and wrong values in stages that were given all together."""
    allowed = OmegaConf.structured(schema.StageConfig)
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        for key, value in stage.items() if isinstance(stage, dict) else ():
            full = f"stages.{name}.{key}"
            if key not in allowed:
                raise unknown_key(full, [f"stages.{name}.{known}" for known in allowed])
            try:
                OmegaConf.merge(allowed, {key: value})
            except ValidationError as error:
                raise wrong_type(full, value, error) from None


def _nearest_key(key: str, names: Sequence[str]) -> str:
    """Return a hint: the neighbour most alike, a key elsewhere that ends alike (``lr``: ``optimizer.lr``), or any."""
    parent, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in names if name.rpartition(".")[0] == parent}
    elsewhere = [name for name in names if name.rpartition(".")[2] == last]
    beside = difflib.get_close_matches(last, siblings, n=1, cutoff=0.6)
    if beside and (parent or not elsewhere):
        hint = f" Did you mean '{siblings[beside[0]]}'?"
    else:
        hint = f" Did you mean '{elsewhere[0]}'?" if elsewhere else nearest(key, names)
    return f"{hint} Keys of {parent}: {_listed(siblings)}" if parent and siblings else hint


def _in_files(error: BaseException) -> ConfigError:
    """Return the message for a mistake in a file of ``conf/``."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, value = str(error.missing_cfg_file).rpartition("/")
        choices = [name for name in error.options or options(group) if name != value]
        where = str(error).split(":")[0] + ": " if str(error).startswith("In '") else ""
        return ConfigError(f"{where}{group or 'conf'}: no choice '{value}'.{_nearest_option(group, value, choices)}")
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return ConfigError(f"{mark.name}, line {mark.line + 1}: not YAML: {error.problem}")
    if isinstance(error, YAMLError):
        return ConfigError(f"a file of the configuration is not YAML: {first_line(error)}")
    cause = error.__context__
    where = str(error).split(":")[0]
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        known = keys_of(OmegaConf.structured(schema.TrainConfig))
        return ConfigError(f"{where}: {unknown_key(cause.full_key, known)}")
    if isinstance(cause, ValidationError) and cause.full_key:
        expected = schema.type_name(cause.full_key)
        return ConfigError(f"{where}: {cause.full_key}: expected {expected or 'another type'}: {first_line(cause)}")
    return ConfigError(first_line(error))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
