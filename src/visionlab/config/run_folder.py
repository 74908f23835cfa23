"""A run folder on disk: finding it from what the user names, and reading its files as untrusted text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from visionlab.config import schema
from visionlab.config.checks import Registry, check
from visionlab.config.compose import OwnFile, complete, compose, conf_dir, read_file, set_as_typed
from visionlab.config.overrides import first_line, keys_of, parse
from visionlab.errors import ConfigError, DataError, UsageError, nearest
from visionlab.files import read_json
from visionlab.renamed import with_new_names

# What a checkpoint cannot go on without, beside the choices that are folders of conf/.
_FIXED = ("module", "model.name", "model.hidden")


def run_folder(run: str | Path) -> Path:
    """Return the run folder meant by itself, its ``checkpoints`` folder or one of its files.

    Raises:
        UsageError: it is not one.
    """
    path = Path(run).expanduser()
    if not path.exists():
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"{run}: expected a run folder, found nothing there.{nearest(path.name, names)}")
    folder = path.parent if path.is_file() else path
    folder = folder.parent if folder.name == "checkpoints" else folder
    if not (folder / "config.yaml").is_file():
        raise UsageError(f"{run}: expected a run folder, found no config.yaml in {folder}.{runs_below(folder)}")
    evaluated = read_json(folder / "run.json").get("evaluation_of") if (folder / "run.json").is_file() else None
    if evaluated:
        raise UsageError(f"{run}: expected a run folder, found an evaluation; its run is {evaluated}")
    return folder


def runs_below(folder: Path) -> str:
    """Return a hint at the newest run in ``folder``, or nothing: people name the folder that their runs are in."""
    runs = sorted(file.parent for file in [*folder.glob("*/config.yaml"), *folder.glob("*/*/config.yaml")])
    return f" It holds runs, such as {max(runs, key=lambda run: run.name)}" if runs else ""


def load_config(
    folder: Path, registry: Registry, overrides: Sequence[str] = (), *, replace: Mapping[str, Any] | None = None
) -> DictConfig:
    """Return the checked configuration of a run folder.

    The file is text that anybody may have changed: it is read as plain YAML and checked like a command line; what it
    names can only be visionlab's own, or of a package in an override ``trust=[PACKAGE]``.

    Args:
        folder: of the run.
        registry: what a configuration may name.
        overrides: ``key=value``, as on the command line, for keys that exist.
        replace: key -> value to put in place of what the file says before anything is checked, for what this use of
            the configuration does not need or has from elsewhere.

    Raises:
        DataError: the file is damaged.
        ConfigError: a key or value of the file, or an override, is wrong.
    """
    path = folder / "config.yaml"
    file = _read(path)
    # What was trusted when the run began is information; who goes on with it is asked again.
    content = {**file.content, "trust": []}
    try:
        cfg = complete(OmegaConf.create(content), files=[file])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    for key, value in (replace or {}).items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    for item in parse(overrides):
        _override(cfg, item)
    try:
        check(cfg, registry)
    except ConfigError as error:
        raise ConfigError(f"{' with '.join([str(path), *overrides])}: {error}") from error
    return cfg


def no_longer_needed(folder: Path) -> dict[str, Any]:
    """Return what to :func:`load_config` a begun run with, key -> value, in place of files that are gone since.

    Its splits are in ``splits.json`` and its first weights have gone into ``last.ckpt``.
    """
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        return {}
    cfg = OmegaConf.create(_read(folder / "config.yaml").content)
    # The checkpoint stands for the files that its first weights came from.
    last = str(folder / "checkpoints" / "last.ckpt")
    instead = {"init_from": last, "model.weights": last, "data.split_file": str(folder / "splits.json")}
    given = {key: OmegaConf.select(cfg, key) for key in instead}
    return {key: instead[key] for key, path in given.items() if path and not Path(str(path)).expanduser().exists()}


def _read(path: Path) -> OwnFile:
    """Return a file, its content under the names of today, with the keys that earlier versions did not have."""
    try:
        file = read_file(path)
    except YAMLError as error:
        raise DataError(f"{path}: expected YAML, found: {first_line(error)}") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: expected a configuration in YAML, found: {error}") from error
    content = with_new_names(file.content)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected keys and values, found a list")
    # What a key that is missing meant is what conf/ says.
    present: Any = OmegaConf.to_container(compose([]))
    for part in ("trainer", "callbacks", "logger"):
        if isinstance(content.get(part), dict):
            content[part] = present[part] | content[part]
    return dataclasses.replace(file, content=content)


def _override(cfg: DictConfig, item: Override) -> None:
    """Set what a parsed override says.

    Raises:
        ConfigError: it is not the plain setting of a single key.
    """
    key, line = item.key_or_group, str(item.input_line)
    if item.is_sweep_override():
        raise ConfigError(f"'{line}' holds several values, but one run goes on; write a list as {key}=[a,b]")
    if item.is_add() or item.is_force_add() or item.is_delete():
        raise ConfigError(f"'{line}': only keys that the run has can be set, as {key.lstrip('+~')}=value")
    if (conf_dir() / key).is_dir() or key in _FIXED or key.endswith("._target_"):
        raise ConfigError(
            f"'{line}': '{key}' was chosen when the run began and is part of its checkpoints; a new run can start from "
            f"its weights with init_from=RUN {line}"
        )
    keys = keys_of(cfg)
    if key not in keys:
        raise schema.unknown_key(key, keys)
    OmegaConf.update(cfg, key, item.value(), merge=False)
    set_as_typed(cfg, item)
