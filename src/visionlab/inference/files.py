"""Finding what a user names, and writing what was predicted. Importing this does not import torch."""

from __future__ import annotations

import csv
import glob
import io
import itertools
import os
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from visionlab.console import LOG
from visionlab.errors import DataError, UsageError, UserError, nearest
from visionlab.files import IMAGE, list_files, write_text
from visionlab.io import IMAGE_SUFFIXES, VOLUME_SUFFIXES, split_plane

if TYPE_CHECKING:
    from visionlab.inference.prediction import Prediction

"""Further suffixes that folders are searched for where volumes and series are predicted."""


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


def split_runs(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the checkpoints of the leading words that name runs, at least one, and the other words: the images.

    Raises:
        UsageError: the first is no run, or nothing else is named.
    """
    runs = [words[0], *itertools.takewhile(_is_run, words[1:])]
    checkpoints = [find_checkpoint(run) for run in runs]
    if len(runs) == len(words):
        raise UsageError(f"Missing argument INPUT: expected images, a folder or a pattern after {runs[-1]}")
    return checkpoints, list(words[len(runs) :])


def _is_run(word: str) -> bool:
    path = Path(word).expanduser()
    if path.is_file():
        return path.suffix == ".ckpt"
    own = ("checkpoints", "best.ckpt", "last.ckpt", "multirun.yaml")
    # With these two it is a run that has no checkpoint yet, which is said.
    return any((path / name).exists() for name in own) or all((path / n).is_file() for n in ("config.yaml", "run.json"))


def find_images(inputs: Sequence[str], *, volumes: bool = False) -> list[Path]:
    """Return the files meant by paths, folders (all depths) and patterns, each once, in the order given.

    In a folder, also one that a pattern matches, images are found by their suffix; a file named or matched is taken
    whatever it is called, and so is a variable of a MATLAB file, ``a.mat/embryo``.

    Args:
        inputs: as the user named them.
        volumes: search folders for MATLAB files and videos too.

    Raises:
        UsageError: something named does not exist, or holds no images.
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            files = _images_in(path, volumes)
            if not files:
                raise UsageError(f"{text}: expected images ({_kinds()}) in this folder, found none{_others(path)}")
        elif path.is_file() or (path.parent.suffix.lower() == ".mat" and path.parent.is_file()):
            files = [path]
        elif glob.has_magic(text):
            files = list(_matching(str(path), volumes))
            if not files:
                raise UsageError(f"'{text}': expected images that match this pattern, found none")
        else:
            names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = nearest(path.name, names)
            raise UsageError(f"{text}: expected an image, a folder or a pattern, found nothing there.{hint}")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _matching(pattern: str, volumes: bool) -> Iterator[Path]:
    for path in sorted(map(Path, glob.glob(pattern, recursive=True))):  # noqa: PTH207 - Path.glob wants relative patterns
        if path.is_dir():
            yield from _images_in(path, volumes)
        else:
            yield path


def _images_in(folder: Path, volumes: bool = False) -> list[Path]:
    suffixes = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES) if volumes else IMAGE_SUFFIXES
    return [folder / path for path in sorted(list_files(folder, suffixes).paths)]


def _kinds() -> str:
    return ", ".join(f".{suffix}" for suffix in IMAGE_SUFFIXES)


def _others(folder: Path) -> str:
    others = list_files(folder, IMAGE_SUFFIXES).describe_others()
    return f" but other kinds ({others}): convert them" if others else ""


def pair(files: Sequence[Path], others: Mapping[str, Path]) -> list[dict[str, Path]]:
    """Return the inputs of each image, {``image``: file, other input: its file}.

    Args:
        files: the images.
        others: input name -> one file for all images, or a folder that holds the partner of each: the same path below
            it, else the name of a folder that the image is in (``bg_001/7/3.jpg`` and
            ``bg_001.jpg``).

    Raises:
        UsageError: there is no such path, or an image has no partner, or several.
    """
    samples: list[dict[str, Path]] = [{IMAGE: file} for file in files]
    for name, place in others.items():
        if place.is_file():
            found = dict.fromkeys(files, place)
        elif place.is_dir():
            found = _partners(files, place, name)
        else:
            raise UsageError(f"--with {name}={place}: expected a file or a folder, found nothing there")
        for sample in samples:
            sample[name] = found[sample[IMAGE]]
    return samples


def _partners(files: Sequence[Path], folder: Path, name: str) -> dict[Path, Path]:
    named: dict[str, list[Path]] = {}
    for path in _images_in(folder):
        named.setdefault(path.stem, []).append(path)
    found = {}
    for file, own in zip(files, output_names(files), strict=True):
        same = [path for path in named.get(file.stem, []) if path.relative_to(folder).with_suffix("") == Path(own)]
        above = [path for part in reversed(file.parts[:-1]) for path in named.get(part, [])]
        candidates = same or above
        if not candidates:
            raise UsageError(
                f"{file}: expected its {name} in {folder}, as {own} or named like a folder that the image is in; "
                "found neither"
            )
        if len(candidates) > 1 and candidates[0].stem == candidates[1].stem:
            raise UsageError(f"{file}: expected one {name} in {folder}, found {candidates[0]} and {candidates[1]}")
        found[file] = candidates[0]
    return found


def output_names(files: Sequence[Path]) -> list[str]:
    """Return a name for the outputs of each file, different ones: its path below all files' folder, without suffix.

    Planes of files (``a.tif#5``) have their number there: ``a_0005``.
    """
    # Links keep their names, which are those that the user sees.
    paths = [_named_plane(Path(os.path.abspath(file))) for file in files]  # noqa: PTH100 - Path.resolve follows them
    common = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    names = [path.relative_to(common).with_suffix("").as_posix() for path in paths]
    counts = Counter(names)
    found: dict[str, None] = {}
    for name, path in zip(names, paths, strict=True):
        # Files that differ in their suffix only keep it, which may make it the name of another one.
        wanted = f"{name}_{path.suffix[1:]}" if counts[name] > 1 else name
        numbered = (f"{wanted}_{number}" for number in itertools.count(2))
        found[next(text for text in itertools.chain([wanted], numbered) if text not in found)] = None
    return list(found)


def _named_plane(path: Path) -> Path:
    file, index = split_plane(path)
    return path if index is None else file.with_name(f"{file.stem}_{index:04d}{file.suffix}")


def prepare_output(out: Path, option: str = "--out") -> None:
    """Make a folder for predictions, named by ``option``.

    Raises:
        UsageError: it cannot be one that is written into.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".{uuid.uuid4().hex}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{option} {out}: expected a folder that can be written, found: {error.strerror}") from error


def write_predictions(
    results: Iterable[tuple[Path, Prediction | DataError]], out: Path, *writers: Callable[[Prediction], None]
) -> tuple[int, int]:
    """Write ``predictions.csv`` (path, name, value, unit) and, if there are any, ``failed.csv`` (path, reason).

    The files appear when complete; those of an earlier prediction are replaced.

    Args:
        results: each image with its prediction or its error.
        out: the folder.
        writers: called with each prediction, to write its maps or note its labels.

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
                    failed.append((printable(path), printable(str(result).removeprefix(f"{path}: "))))
                    continue
                good += 1
                for write in writers:
                    write(result)
                for name, value in result.values.items():
                    writer.writerow([printable(path), name, f"{value:.7g}", result.units[name]])
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


def say_failed(bad: int, count: int, out: Path) -> None:
    """Say on stderr that some of ``count`` files failed, if so."""
    if bad:
        print(f"error: {bad} of {count} files could not be predicted; see {out / 'failed.csv'}", file=sys.stderr)


def printable(text: object) -> str:
    """Return a text as it is, or escaped where a file name holds bytes that are no UTF-8."""
    return str(text).encode("utf-8", "backslashreplace").decode()
