"""``key=value`` arguments: parsed, their choices checked, and what Hydra says against them as one sentence."""

from __future__ import annotations

import re
import shlex
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
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError
from yaml.error import MarkedYAMLError

from visionlab.config.schema import unknown_key
from visionlab.errors import ConfigError, nearest, show
from visionlab.models.catalog import timm_names

QUOTES = "'\""
# An entry of a list: quoted, or up to the next comma.
_ENTRY = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,\[\]]+)""")


def parse(overrides: Sequence[str]) -> list[Override]:
    """Return the parsed overrides.

    Raises:
        ConfigError: one of them isn't ``key=value``, or needs quotes.
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
            elif not key or not value or (value.startswith("{") and value.endswith("}")):
                hint = f"expected key=value: {first_line(error)}"
            else:
                hint = f"put a value with such characters in quotes, and those in the shell's: {quoted(key, value)}"
            raise ConfigError(f"'{text}' is not understood: {hint}") from None
    return parsed


def trusted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the packages that the arguments of a command trust, ``trust=[mypackage]``, and the other arguments."""
    given = [word for word in words if word.startswith("trust=")]
    values: list[Any] = [item.value() for item in parse(given)]
    packages = [str(name) for value in values for name in (value if isinstance(value, list) else [value])]
    return packages, [word for word in words if word not in given]


def quoted(key: str, value: str) -> str:
    """Return what to type in a shell so that a key is set to a text, whatever its characters."""
    if value.startswith("[") and value.endswith("]"):
        entries = [entry.strip() for entry in _ENTRY.findall(value)]
        value = f"[{','.join(entry if entry[0] in QUOTES else _in_quotes(entry) for entry in entries)}]"
    else:
        value = _in_quotes(value)
    return shlex.quote(f"{key}={value}")


def _in_quotes(text: str) -> str:
    """Return a text in Hydra's quotes, in which backslashes count only before a quote."""
    text = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", text)
    return "'" + re.sub(r"\\+$", lambda match: match[0] * 2, text) + "'"


def read(overrides: Sequence[str], root: str) -> list[Override]:
    """Return the parsed overrides of one run, their choices and signs checked. Hydra must be initialised on ``conf/``.

    Args:
        overrides: as on the command line.
        root: the file of ``conf/`` that they are for.

    Raises:
        ConfigError: a choice doesn't exist or several values are given.
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
        if group == "benchmark" and (root != "benchmark" or key == group):
            raise ConfigError(
                f"'{line}': expected keys of `python -m visionlab.benchmark` alone, such as benchmark.seconds=3"
            )
        if group in ("make", "experiment") and key != group and group not in chosen:
            raise ConfigError(f"'{line}': nothing is chosen there; give {group}={'|'.join(options(group))} as well")
        if not key:
            raise ConfigError(f"'{line}' is not understood: expected a key before '='")
        if item.is_sweep_override():
            value = line.partition("=")[2]
            text = f"; a text with commas goes in quotes, and those in the shell's: {quoted(key, value)}"
            raise ConfigError(
                f"{key}: '{line}' holds several values; add -m to run one after the other, or write a list as "
                f"{key}=[a,b]{text}"
            )
        if key in groups():
            _check_choice(item, options(key, path))
    _check_stages(parsed, root)
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

    Hydra must be initialised.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, value = str(error.missing_cfg_file).rpartition("/")
        choices = [name for name in error.options or options(group) if name != value]
        where = str(error).split(":")[0] + ": " if str(error).startswith("In '") else ""
        return ConfigError(f"{where}{group or 'conf'}: no choice '{value}'.{_nearest_option(group, value, choices)}")
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return ConfigError(f"{mark.name}, line {mark.line + 1}: not YAML: {error.problem}")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = str(getattr(cause, "full_key", None) or "")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and key:
        try:
            keys = [*keys_of(_chosen(parsed, root)), *groups()]
        except (HydraException, OmegaConfBaseException, YAMLError) as broken:
            # What fails without any key being set is written in the files.
            return ConfigError(first_line(broken))
        chosen = {item.key_or_group: item.value() for item in parsed}
        meant = nearest(key, [group for group in groups() if chosen.get(key) in options(group)])
        return ConfigError(f"unknown key '{key}'.{meant}") if meant else unknown_key(key, keys)
    said = first_line(error)
    # Hydra names the key where OmegaConf's cause doesn't.
    return ConfigError(said if cause is error else f"{said}: {first_line(cause)}")


def as_typed(item: Override) -> Any:
    """Return the value of an override with numbers and words such as ``null`` as the texts that were typed."""
    text, value = str(item.input_line).partition("=")[2], item.value()
    if isinstance(value, list):
        texts = [entry for found in _ENTRY.findall(text) if (entry := found.strip())]
        if len(texts) != len(value):
            return value
        return [entry if isinstance(entry, str) else typed for entry, typed in zip(value, texts, strict=True)]
    return text if isinstance(value, bool | int | float) else value


def first_line(error: BaseException) -> str:
    """Return the message without OmegaConf's details and Hydra's search path and links."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [
        line
        for line in lines
        if line and not line.startswith(("full_key", "object_type", "reference_type", "See ", "To append"))
    ]
    cut = next((place for place, line in enumerate(said) if "earch path" in line), len(said))
    return " ".join(said[:cut]) or type(error).__name__


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


def _chosen(parsed: Sequence[Override], root: str) -> DictConfig:
    """Return what the choices alone compose, no key being set."""
    choices = [item for item in parsed if item.key_or_group in groups() or item.key_or_group == "hydra.searchpath"]
    return hydra.compose(root, [str(item.input_line) for item in choices], return_hydra_config=True)


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


def _check_stages(parsed: Sequence[Override], root: str) -> None:
    """Refuse new stages that aren't given all together: a misspelt name would become one."""
    together = [item.value() for item in parsed if item.key_or_group == "stages"]
    written = [str(name) for stages in together if isinstance(stages, dict) for name in stages]
    for item in parsed:
        key, line = item.key_or_group, str(item.input_line)
        part, _, rest = key.partition(".")
        if part != "stages" or (not rest and (item.is_add() or item.is_force_add())):
            continue
        known = [*map(str, _chosen(parsed, root).stages), *written]
        name = rest.partition(".")[0]
        if name not in known:
            example = "'+stages={first:{epochs:2},second:{epochs:1}}'"
            raise ConfigError(
                f"'{line}': no stage '{name}'.{nearest(name, known)} Stages: {_listed(known)}; new ones are written "
                f"all together, as {example}"
            )


def _nearest_option(group: str, value: str, choices: Sequence[str]) -> str:
    if group == "model" and value in timm_names():
        return f" It is a backbone of timm: write model=timm model.name={value}"
    return f"{nearest(value, choices)} Choices: {_listed(choices)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
