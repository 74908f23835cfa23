"""Reading checkpoints: found from what the user names, loaded as tensors and plain data only."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from visionlab.errors import DataError, UsageError, nearest
from visionlab.modules.task_model import TaskModel

# Raised when what a checkpoint holds changes so that older code cannot read it.
FORMAT = 1


def find_checkpoint(run: str | Path, prefer: str = "best.ckpt") -> Path:
    """Return the checkpoint file meant by a run folder or a file.

    Args:
        run: a run folder, its ``checkpoints`` folder, or a ``.ckpt`` file.
        prefer: which of a folder's checkpoints; the other one is taken if it is missing.

    Raises:
        UsageError: there is no such path, or no checkpoint in it.
    """
    path = Path(run).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(
            f"{run}: expected a run folder or a checkpoint, found nothing there.{nearest(path.name, siblings)}"
        )
    for folder in (path / "checkpoints", path):
        for name in dict.fromkeys((prefer, "best.ckpt", "last.ckpt")):
            if (folder / name).is_file():
                return folder / name
    raise UsageError(
        f"{run}: expected checkpoints/best.ckpt or checkpoints/last.ckpt in a run folder, found neither; "
        "was the run stopped before its first epoch ended?"
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content: tensors and plain data; nothing pickled is ever loaded.

    Raises:
        DataError: the file is damaged, holds more than tensors and plain data, or is not one of visionlab's.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: expected tensors and plain data only, found other objects; it is not a visionlab checkpoint, "
            "and loading it could run code, so it is refused"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: expected a checkpoint, found a damaged or other file ({_first_line(error)})"
        ) from error
    if not isinstance(content, dict) or "visionlab" not in content or "state_dict" not in content:
        raise DataError(f"{path}: expected a visionlab checkpoint, found a file of tensors without its description")
    version = content["visionlab"].get("format")
    if version != FORMAT:
        raise DataError(
            f"{path}: expected checkpoint format {FORMAT}, found {version}; use the visionlab that wrote it"
        )
    return content


def rebuild(path: Path, content: dict[str, Any]) -> TaskModel:
    """Return the model of a checkpoint with its weights.

    Raises:
        DataError: the description or the weights are not complete.
    """
    weights = {name.removeprefix("model."): tensor for name, tensor in content["state_dict"].items()}
    try:
        model = TaskModel.from_spec(content["visionlab"])
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise DataError(f"{path}: its description and its weights do not fit together: {_first_line(error)}") from error
    return model.eval()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
