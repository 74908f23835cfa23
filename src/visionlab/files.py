"""Find, list and write files, and work on many in threads: without following a loop; whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shlex
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from visionlab.console import LOG
from visionlab.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
R = TypeVar("R")

# The first input of every network, in the column ``path`` of every index.
IMAGE = "image"

# Suffixes that people call images; those that a dataset does not read are counted, so that they are not lost unseen.
IMAGE_SUFFIXES = frozenset(
    suffix
    for line in (
        "png tif tiff jpg jpeg jpe jfif bmp gif webp jp2 j2k jxl pgm pnm ppm heic avif tga",
        "dcm czi lif lsm nd2 oib oif ims ics vsi svs stk mrc",
    )
    for suffix in line.split()
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one file (path relative to the data's root), and what to do about it.

    ``severity`` is ``error`` (the file cannot be used, or would spoil the result) or ``warning``.
    """

    path: str
    what: str
    advice: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.advice}"


def problem_of(error: DataError, path: str, full: str | Path) -> Problem:
    """Return an error about one file or plane, whose message begins with ``full`` or its file, as that of ``path``."""
    file = str(full).rpartition("#")[0] or full
    what, _, advice = str(error).removeprefix(f"{full}: ").removeprefix(f"{file}: ").rpartition("; ")
    return Problem(path, what or advice, advice if what else "mend or remove it")


class Scan(NamedTuple):
    """What a data set's folder holds: the index of its usable files, and a problem for each of the others."""

    table: pd.DataFrame
    problems: list[Problem]

    def usable(self, root: str | Path) -> pd.DataFrame:
        """Return the index; warnings are logged.

        Raises:
            DataError: files of ``root`` cannot be used; the first ten are listed.
        """
        errors = [str(problem) for problem in self.problems if problem.severity == "error"]
        if errors:
            raise DataError(
                f"{root}: {len(errors)} problem{'s' * (len(errors) > 1)}, beside {len(self.table)} samples that can be "
                f"used:\n{listed(errors)}\n"
                "mend them or take them out; `python -m visionlab.prepare` lists every one"
            )
        for problem in self.problems:
            LOG.warning("%s", problem)
        return self.table


def listed(lines: Sequence[str], most: int = 10) -> str:
    """Return the first lines, indented, one below the other, and how many more there are."""
    shown = "\n".join(f"  {line}" for line in lines[:most])
    return f"{shown}\n  and {len(lines) - most} more" if len(lines) > most else shown


@dataclass
class Listing:
    """What a folder holds: ``paths`` (relative to it, posix) that were looked for, and counts of other image types."""

    paths: list[str] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    example: str = ""

    def describe_others(self) -> str:
        """Return e.g. ``.jpg 12, .bmp 1, for instance 'a/b.jpg'``, or an empty string if there are none."""
        if not self.others:
            return ""
        counts = ", ".join(f".{suffix} {count}" for suffix, count in sorted(self.others.items()))
        return f"{counts}, for instance '{self.example}'"


def suffix(name: str) -> str:
    """Return what follows the last dot of a file name, in lower case and without the dot (empty if there is none)."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def csv_lines(path: Path, beside: Path, key: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and cells of each line of a comma-separated table that is not empty.

    Args:
        path: of the table.
        beside: folder whose tables are suggested if there is none.
        key: of the configuration that names it, for messages.

    Raises:
        DataError: it cannot be read, or is no such table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if any(cells):
                    yield reader.line_num, cells
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected a table in UTF-8, found other bytes; save it as CSV UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: not a comma-separated table ({error}); save it as CSV with commas") from None
    except OSError as error:
        hint = nearest(path.name, [entry.name for entry in beside.glob("*.csv")])
        if not hint and isinstance(error, FileNotFoundError):
            hint = f" Set data.root to the folder that holds the table, and {key} to its name in it"
        raise DataError(f"{key}: {path} cannot be read ({error.strerror or error}).{hint}") from None


def list_files(root: str | Path, suffixes: Collection[str]) -> Listing:
    """List all files below ``root`` whose suffix (lower case, no dot) is in ``suffixes``, in any letter case.

    Hidden files and folders (names that begin with a dot) are ignored. Linked folders are followed, each real folder
    once. A broken link is listed, so that reading it names it. Raises ``DataError`` if a folder cannot be read.
    """
    listing = Listing()
    seen: set[tuple[int, int]] = set()
    folders = [""]
    links: list[str] = []  # after all real folders, so that a file keeps its real path rather than that of a link
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        for name, is_folder, is_link in _entries(Path(root, folder), seen):
            path = f"{folder}/{name}" if folder else name
            if is_folder:
                (links if is_link else folders).append(path)
            elif (kind := suffix(name)) in suffixes:
                listing.paths.append(path)
            elif kind in IMAGE_SUFFIXES:
                listing.others[kind] = listing.others.get(kind, 0) + 1
                listing.example = min(listing.example or path, path)
    return listing


def _entries(folder: Path, seen: set[tuple[int, int]]) -> list[tuple[str, bool, bool]]:
    """Return name, whether a folder and whether a link of what is in a folder; nothing if it was ``seen`` before."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return []
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            return [(e.name, e.is_dir(), e.is_symlink()) for e in entries if not e.name.startswith(".")]
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{folder}: the folder cannot be read ({reason}); check its permissions") from None


# Archives by their suffixes, and what unpacks one into a folder.
_UNPACKED = {
    (".zip",): "unzip {file} -d {folder}",
    (".7z",): "7z x {file} -o{folder}",
    (".rar",): "unrar x {file} {folder}/",
    (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"): (
        "mkdir -p {folder} && tar -xf {file} -C {folder}"
    ),
}


def unpack_command(path: Path) -> str:
    """Return the command, quoted for a shell, that unpacks a file that is an archive by its name; empty for others."""
    for endings, command in _UNPACKED.items():
        ending = max((end for end in endings if path.name.lower().endswith(end)), key=len, default="")
        if ending and path.is_file():
            folder = path.with_name(path.name[: -len(ending)] or "unpacked")
            return command.format(file=shlex.quote(str(path)), folder=shlex.quote(str(folder)))
    return ""


def check_folder(path: str | Path, wanted: str) -> Path:
    """Return ``path`` as a Path if it is a folder, else raise ``DataError`` that says what was looked for.

    ``wanted`` completes "expected a folder with ...". The nearest name beside the first missing part is suggested.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if command := unpack_command(folder):
        raise DataError(f"{path}: expected a folder with {wanted}, found an archive; unpack it: {command}")
    if folder.exists():
        raise DataError(
            f"{path}: expected a folder with {wanted}, found a file; give the folder that holds it ('{folder.parent}')"
        )
    missing = folder
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        siblings = [entry.name for entry in os.scandir(missing.parent) if entry.is_dir()]
    except OSError:
        siblings = []
    hint = nearest(missing.name, siblings) if missing.name else ""
    raise DataError(
        f"{path}: expected a folder with {wanted}, found no such folder ('{missing.name}' is not in"
        f" '{missing.parent.resolve()}').{hint}"
    )


def cache_dir(configured: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder for generated sets and decoded images (not created here).

    ``configured`` (``data.cache_dir``) comes first, then ``$VISIONLAB_CACHE``, then ``$XDG_CACHE_HOME/visionlab``,
    then ``~/.cache/visionlab``.
    """
    if configured:
        return Path(configured).expanduser()
    if chosen := os.environ.get("VISIONLAB_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "visionlab"


def temporary(path: Path) -> Path:
    """Return an unused name beside ``path`` that is short: one made of its own could be longer than names may be."""
    return path.with_name(f"{_mark(path)}.{uuid.uuid4().hex[:8]}.part")


def left_behind(path: Path) -> Iterator[Path]:
    """Yield what :func:`temporary` named for ``path``, which a process that was killed has left."""
    return path.parent.glob(f"{_mark(path)}.*.part")


def _mark(path: Path) -> str:
    return f".{hashlib.blake2b(os.fsencode(path.name), digest_size=6).hexdigest()}"


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically: a temporary file beside it, flushed to disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def read_json(path: Path, expected: str = "a JSON file") -> dict[str, Any]:
    """Return the keys and values of a JSON file, which anybody may have changed.

    Args:
        path: of the file.
        expected: what it should be, for the message if it isn't there.

    Raises:
        DataError: it cannot be read, is no JSON in UTF-8 or no mapping, or names a key twice, of which JSON's reader
            would keep the last.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise DataError(f"{path}: expected each key once, found {', '.join(key for key, _ in pairs)}")
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except OSError as error:
        raise DataError(f"{path}: expected {expected}, which cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON in UTF-8, found: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically. NaN is refused: JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; it becomes ``path`` if the block ends well, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path)
    part.mkdir()
    try:
        yield part
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def in_parallel(job: Callable[[T], R], items: Iterable[T], threads: int | None = None) -> Iterator[R]:
    """Yield ``job(item)`` in order, from all cores, with few results in memory; what a job raises is raised here.

    Threads suffice where decoding, resizing and hashing release the interpreter's lock; by default one for each core.
    """
    threads = threads or os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:  # few at a time, since there may be hundreds of thousands
            waiting.append(pool.submit(job, item))
            if len(waiting) >= 8 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
