"""Samples of several files, one for each stain: which files belong together. Importing this does not import torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from visionlab.data.channels import Channels
from visionlab.errors import DataError
from visionlab.files import IMAGE


def sample_id(path: str | Path, channels: Channels | None) -> str:
    """Return the Id of a sample: what stands before the stain, or before the suffix where each is one file."""
    found = channels.split(path) if channels else None
    return found[0] if found else Path(path).stem


def group(samples: Sequence[Mapping[str, Path]], channels: Channels | None) -> list[dict[str, Path]]:
    """Return each sample once, in the order of the first of its files.

    Args:
        samples: input name -> file, one for each file found.
        channels: that are needed; None: each file is a sample.

    Returns:
        The same, the image being the file of the first stain that is needed; where that can't be told, as a file is
        missing, the one that was found. A file whose name holds no stain is a sample of its own.
    """
    if channels is None:
        return [dict(sample) for sample in samples]
    found: dict[tuple[str, str], dict[str, Path]] = {}
    folders: dict[Path, str] = {}
    for sample in samples:
        file = sample[IMAGE]
        if file.parent not in folders:
            folders[file.parent] = os.path.realpath(file.parent)
        named = channels.split(file)
        # No Id ends so.
        key = (folders[file.parent], named[0] if named else f"{file.name}/")
        if key not in found:
            found[key] = {**sample, IMAGE: _first(file, channels) if named else file}
    return list(found.values())


def _first(file: Path, channels: Channels) -> Path:
    try:
        return channels.files(file)[channels.names[0]]
    except DataError:
        # Said when it is read, so that the others are predicted.
        return file
