"""Finding what a user names, and writing what was predicted. Importing this does not import torch."""

from __future__ import annotations

import csv
import glob
import io
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from visionlab.console import LOG
from visionlab.data.files import list_files
from visionlab.data.store import write_text
from visionlab.errors import DataError, UsageError, UserError, nearest

if TYPE_CHECKING:
    from visionlab.inference.predictor import Prediction

SUFFIXES = ("png", "tif", "tiff", "jpg", "jpeg")


def find_checkpoint(run: str | Path) -> Path:
    """Return the checkpoint file meant by a run folder, its ``checkpoints`` folder, or a ``.ckpt`` file.

    Of a folder it is ``best.ckpt``, or ``last.ckpt`` (which is said) where no epoch has ended yet.

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
        if (folder / "best.ckpt").is_file():
            return folder / "best.ckpt"
        if (folder / "last.ckpt").is_file():
            LOG.warning("%s: there is no best.ckpt yet; last.ckpt is used", folder)
            return folder / "last.ckpt"
    found = "a run that stopped before its first epoch ended" if (path / "config.yaml").is_file() else "neither"
    below = sorted(folder.parent for pattern in ("*", "*/*") for folder in path.glob(f"{pattern}/checkpoints"))
    hint = f". It holds runs, such as {max(below, key=lambda folder: folder.name)}" if below else ""
    raise UsageError(
        f"{run}: expected checkpoints/best.ckpt or checkpoints/last.ckpt in a run folder, found {found}{hint}"
    )


def find_images(inputs: Sequence[str]) -> list[Path]:
    """Return the files meant by paths, folders (all depths) and patterns, each once, in the order given.

    In a folder, also one that a pattern matches, images are found by their suffix; a file named or matched is taken
    whatever it is called.

    Raises:
        UsageError: something named does not exist, or holds no images.
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            files = _images_in(path)
            if not files:
                raise UsageError(f"{text}: expected images ({_kinds()}) in this folder, found none{_others(path)}")
        elif path.is_file():
            files = [path]
        elif glob.has_magic(text):
            files = list(_matching(str(path)))
            if not files:
                raise UsageError(f"'{text}': expected images that match this pattern, found none")
        else:
            names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = nearest(path.name, names)
            raise UsageError(f"{text}: expected an image, a folder or a pattern, found nothing there.{hint}")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _matching(pattern: str) -> Iterator[Path]:
    for path in sorted(map(Path, glob.glob(pattern, recursive=True))):  # noqa: PTH207 - Path.glob wants relative patterns
        if path.is_dir():
            yield from _images_in(path)
        else:
            yield path


def _images_in(folder: Path) -> list[Path]:
    return [folder / path for path in sorted(list_files(folder, SUFFIXES).paths)]


def _kinds() -> str:
    return ", ".join(f".{suffix}" for suffix in SUFFIXES)


def _others(folder: Path) -> str:
    others = list_files(folder, SUFFIXES).describe_others()
    return f" but other kinds ({others}): convert them" if others else ""


def prepare_output(out: Path) -> None:
    """Make the folder for predictions.

    Raises:
        UsageError: it cannot be one that is written into.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".{uuid.uuid4().hex}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out {out}: expected a folder that can be written, found: {error.strerror}") from error


def write_predictions(results: Iterable[tuple[Path, Prediction | DataError]], out: Path) -> tuple[int, int]:
    """Write ``predictions.csv`` (path, name, value, unit) and, if there are any, ``failed.csv`` (path, reason).

    The files appear when complete; those of an earlier prediction are replaced.

    Returns:
        How many files were predicted and how many failed.

    Raises:
        UserError: the files cannot be written.
    """
    part = out / f".predictions.csv.{uuid.uuid4().hex}.part"
    good, failed = 0, []
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "name", "value", "unit"])
            for path, result in results:
                if isinstance(result, DataError):
                    LOG.warning("%s", result)
                    failed.append((_printable(path), _printable(str(result).removeprefix(f"{path}: "))))
                    continue
                good += 1
                for name, value in result.values.items():
                    writer.writerow([_printable(path), name, f"{value:.7g}", result.units[name]])
        part.replace(out / "predictions.csv")
        (out / "failed.csv").unlink(missing_ok=True)
        if failed:
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *failed])
            write_text(out / "failed.csv", text.getvalue())
    except OSError as error:
        raise UserError(f"{out}: the predictions cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return good, len(failed)


def _printable(text: object) -> str:
    """Return a text as it is, or escaped where a file name holds bytes that are no UTF-8."""
    return str(text).encode("utf-8", "backslashreplace").decode()
