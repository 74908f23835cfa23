"""A run folder on disk: finding it from what the user names, and reading its configuration as untrusted text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from visionlab.checks import check
from visionlab.errors import ConfigError, DataError, UsageError, nearest
from visionlab.schema import TrainConfig


def run_folder(run: str | Path) -> Path:
    """Return the run folder meant by itself or one of its checkpoints.

    Raises:
        UsageError: it is not one.
    """
    path = Path(run).expanduser()
    folder = path
    if path.is_file():
        folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    if not path.exists():
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"{run}: expected a run folder, found nothing there.{nearest(path.name, names)}")
    if not (folder / "config.yaml").is_file():
        raise UsageError(f"{run}: expected a run folder, found no config.yaml in {folder}")
    return folder


def load_config(folder: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Return the checked configuration of a run folder.

    The file is text that anybody may have changed: it is read as plain YAML, typed by the schema and checked like a
    command line; what it names can only be visionlab's own.

    Args:
        folder: of the run.
        overrides: ``key=value`` for keys that exist.

    Raises:
        DataError: the file is damaged.
        ConfigError: a value, or an override, is wrong.
    """
    path = folder / "config.yaml"
    try:
        content = OmegaConf.load(path)
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a configuration in YAML, found: {str(error).splitlines()[0]}") from error
    try:
        cfg = OmegaConf.merge(OmegaConf.structured(TrainConfig), content)
    except OmegaConfBaseException as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from error
    assert isinstance(cfg, DictConfig)
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign:
            raise ConfigError(f"'{override}': expected key=value")
        if OmegaConf.select(cfg, key, default=_ABSENT) is _ABSENT:
            raise ConfigError(f"unknown key '{key}'.{nearest(key, _keys(cfg))}")
        try:
            OmegaConf.update(cfg, key, OmegaConf.from_dotlist([f"value={value}"])["value"])
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
    check(cfg)
    return cfg


_ABSENT = object()


def _keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name in cfg:
        key = f"{prefix}{name}"
        keys.append(key)
        if not OmegaConf.is_missing(cfg, name) and isinstance(cfg[name], DictConfig):
            keys += _keys(cfg[name], f"{key}.")
    return keys
