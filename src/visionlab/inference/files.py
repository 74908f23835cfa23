"""Finding the images a user names, and writing what was predicted for them."""

from __future__ import annotations

import csv
import glob
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from visionlab.console import LOG
from visionlab.errors import DataError, UsageError, nearest
from visionlab.inference.predictor import Prediction

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")


def find_images(inputs: Sequence[str]) -> list[Path]:
    """Return the image files meant by paths, folders (all depths) and patterns, each once, in the order given.

    Raises:
        UsageError: something named does not exist, or holds no images.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and _visible(file, path))
            if not files:
                raise UsageError(f"{text}: expected images ({', '.join(SUFFIXES)}) in this folder, found none")
        elif path.is_file():
            files = [path]
        elif glob.has_magic(text):
            files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
            if not files:
                raise UsageError(f"'{text}': expected files that match this pattern, found none")
        else:
            names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UsageError(
                f"{text}: expected an image, a folder or a pattern, found nothing.{nearest(path.name, names)}"
            )
        found.update(dict.fromkeys(files))
    return list(found)


def _visible(file: Path, below: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(below).parts)


def write_predictions(results: Iterable[tuple[Path, Prediction | DataError]], out: Path) -> tuple[int, int]:
    """Write ``predictions.csv`` (path, name, value, unit) and, if there are any, ``failed.csv`` (path, reason) into ``out``.

    The files appear when complete; those of an earlier prediction are replaced.

    Returns:
        How many files were predicted and how many failed.

    Raises:
        UsageError: ``out`` cannot be a folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: expected a folder that can be written, found: {error.strerror}") from error
    part = out / f".predictions.csv.{uuid.uuid4().hex}.part"
    good, failed = 0, []
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "name", "value", "unit"])
            for path, result in results:
                if isinstance(result, DataError):
                    LOG.warning("%s", result)
                    failed.append((str(path), str(result)))
                    continue
                good += 1
                for name, value in result.values.items():
                    writer.writerow([str(path), name, f"{value:.7g}", result.units[name]])
        part.replace(out / "predictions.csv")
    finally:
        part.unlink(missing_ok=True)
    (out / "failed.csv").unlink(missing_ok=True)
    if failed:
        with (out / "failed.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "reason"])
            writer.writerows(failed)
    return good, len(failed)
