"""What a user names: runs, images and their partners, and the names of what is written of them.

Importing this does not import torch.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from visionlab.console import LOG
from visionlab.data.channels import Channels
from visionlab.errors import DataError, UsageError, nearest
from visionlab.files import IMAGE, list_files
from visionlab.inference.output_folder import holds_predictions, written
from visionlab.io import IMAGE_SUFFIXES, VOLUME_SUFFIXES, split_plane

# Folders of labels, results and errors beside the images, as the Cell Tracking Challenge names them.
_LABELS = re.compile(r"\d+_(GT|ST|RES|ERR_SEG)")

_LONGEST = 255 - len(".png")  # bytes of a name in most file systems


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


def find_images(inputs: Sequence[str], *, out: Path | None = None, volumes: bool = False) -> list[Path]:
    """Return the files meant by paths, folders (all depths) and patterns, each once, in the order given.

    In a folder, also one that a pattern matches, images are found by their suffix; a file named or matched is taken
    whatever it is called, and so is a variable of a MATLAB file, ``a.mat/embryo``. What was predicted is left out,
    which is said: all below ``out`` and below folders that hold our ``predictions.csv``, unless it is named file by
    file; of such a folder that is named itself, what was written into it.

    Args:
        inputs: as the user named them.
        out: the folder that will be written into.
        volumes: search folders for MATLAB files and videos too.

    Raises:
        UsageError: something named does not exist, or holds no images.
    """
    found: dict[Path, Path] = {}
    results = _Results(out)
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            files = _images_in(path, volumes)
            if not files:
                raise UsageError(f"{text}: expected images ({_kinds()}) in this folder, found none{_others(path)}")
            files = results.leave_out(files, path)
        elif path.is_file() or (path.parent.suffix.lower() == ".mat" and path.parent.is_file()):
            files = [path]
        elif glob.has_magic(text):
            files = list(_matching(str(path), volumes))
            if not files:
                raise UsageError(f"'{text}': expected images that match this pattern, found none")
            files = results.leave_out(files, _fixed(path))
        else:
            names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = nearest(path.name, names)
            raise UsageError(f"{text}: expected an image, a folder or a pattern, found nothing there.{hint}")
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise UsageError(
            f"{', '.join(inputs)}: expected images, found predictions only, such as {results.example}; name files one "
            "by one to predict them"
        )
    return list(found.values())


class _Results:
    """Which folders are of predictions: ``out``, and those that hold any.

    Attributes:
        example: a file of one.
    """

    def __init__(self, out: Path | None) -> None:
        self._out = None if out is None else out.resolve()
        self._known: dict[Path, bool] = {}
        self.example: Path | None = None

    def leave_out(self, files: Sequence[Path], root: Path) -> list[Path]:
        """Return those of a folder's files that are no predictions, and say that there were others."""
        own = written(root) if self._is_one(root) else set()
        results = {file for file in files if self._is_result(file, root, own)}
        if results:
            self.example = min(results)
            _say_left_out(self.example)
        return [file for file in files if file not in results]

    def _is_result(self, file: Path, root: Path, own: set[Path]) -> bool:
        below = list(itertools.takewhile(lambda folder: folder != root, file.parents))
        return not own.isdisjoint([file, *below]) or any(self._is_one(folder) for folder in below)

    def _is_one(self, folder: Path) -> bool:
        if folder not in self._known:
            self._known[folder] = folder.resolve() == self._out or holds_predictions(folder)
        return self._known[folder]


@cache
def _say_left_out(example: Path) -> None:
    LOG.info("What was predicted before is left out, such as %s", example)


def _fixed(pattern: Path) -> Path:
    """Return the folder in front of what varies in a pattern."""
    return next(folder for folder in pattern.parents if not glob.has_magic(str(folder)))


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


def without_labels(files: Sequence[Path], inputs: Sequence[str]) -> list[Path]:
    """Return the files but those in folders of labels of the Cell Tracking Challenge, and say which.

    Args:
        files: as found.
        inputs: as the user named them; what is in such a folder that was named itself is kept.

    Raises:
        UsageError: nothing is left.
    """
    named = {folder for text in inputs for path in [Path(text).expanduser()] for folder in (path, *path.parents)}
    labels = {folder for file in files for folder in file.parents if _LABELS.fullmatch(folder.name)} - named
    kept = [file for file in files if labels.isdisjoint(file.parents)]
    if len(kept) < len(files):
        one = min(set(files) - set(kept))
        if not kept:
            raise UsageError(f"{', '.join(inputs)}: expected images, found labels only, such as {one}")
        LOG.info("%d files in folders of labels left out, such as %s", len(files) - len(kept), one)
    return kept


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

    Planes of files (``a.tif#5``) have their number there: ``a_0005``. What would be too long with a suffix is cut, and
    ends in a digest of the whole.
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
    return [_fitting(name) for name in found]


def _fitting(name: str) -> str:
    above, sign, last = name.rpartition("/")
    encoded = os.fsencode(last)
    if len(encoded) <= _LONGEST:
        return name
    digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
    return f"{above}{sign}{encoded[: _LONGEST - len(digest) - 1].decode(errors='ignore')}_{digest}"


def _named_plane(path: Path) -> Path:
    file, index = split_plane(path)
    return path if index is None else file.with_name(f"{file.stem}_{index:04d}{file.suffix}")


# Samples of several files ---------------------------------------------------------------------------------------------


def sample_id(path: str | Path, channels: Channels | None) -> str:
    """Return the Id of a sample: what stands before the stain, or before the suffix where each is one file."""
    found = channels.split(path) if channels else None
    return found[0] if found else Path(path).stem


def group_stains(samples: Sequence[Mapping[str, Path]], channels: Channels | None) -> list[dict[str, Path]]:
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
