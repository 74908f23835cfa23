"""The folder of a composite: one process at a time, and one set of settings for good."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from visionlab.errors import DataError, UsageError

MANIFEST = "composite.json"

_LOCK = ".composite.lock"


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Make the folder, and refuse a second process in it with ``UsageError``; the lock goes with its process."""
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise UsageError(f"{root}: another process is composing in this folder now; wait for it or stop it") from error


def check_root(root: Path, manifest: dict[str, Any]) -> None:
    """Raise unless ``root`` is new, empty, or holds (a part of) just this composite.

    Raises:
        DataError: it is a file, holds something else, or its manifest is damaged.
        UsageError: it holds a composite with other settings or of other files; the differences are named.
    """
    if not root.exists():
        return
    if not root.is_dir():
        raise DataError(f"data.root={root}: expected a folder for the new set, found a file; name another")
    if not (root / MANIFEST).is_file():
        if held := sorted(entry.name for entry in os.scandir(root) if entry.name != _LOCK):
            raise DataError(
                f"data.root={root}: expected a new or empty folder, or one with {MANIFEST}, found"
                f" {', '.join(held[:5])}; name another"
            )
        return
    try:
        there = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        differences = list(_differences(there, manifest))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{root / MANIFEST}: is damaged ({error}); remove {root} and begin again") from error
    if differences:
        raise UsageError(
            f"data.root={root}: was made with other settings: {'; '.join(differences[:5])}"
            + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
            + ". Use the same ones to go on with it, or another data.root for a new set"
        )


def _differences(there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    if there["format"] != here["format"]:
        yield f"format {there['format']} there, {here['format']} here"
    for key, value in here["settings"].items():
        if there["settings"][key] != value:
            name = key if key == "seed" else f"make.{key}"
            yield f"{name} is {json.dumps(there['settings'][key])} there, {json.dumps(value)} here"
    for kind in ("backgrounds", "cutouts"):
        old, new = ({source["path"]: source["digest"] for source in m[kind].values()} for m in (there, here))
        for path in sorted(old.keys() | new.keys()):
            if old.get(path) != new.get(path):
                how = "is new" if path not in old else "is missing" if path not in new else "has changed"
                yield f"make.{kind}: {path} {how}"
