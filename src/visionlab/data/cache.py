"""Images decoded and resized once, then read through a memory map by every run, worker and rank."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock

from visionlab.console import LOG, progress
from visionlab.data.preprocess import Preprocess, Reader, Sizes
from visionlab.errors import DataError
from visionlab.files import in_parallel, left_behind, listed, new_folder, write_json
from visionlab.io import read_image, split_plane, stored_file

T = TypeVar("T")
R = TypeVar("R")

# Part of the fingerprint: raise it when decoding, resizing or the layout below changes, and old caches are left alone.
LAYOUT = 3

_PART = 4096  # bytes that are read at three places of each file to tell whether it has changed


class Cache:
    """The decoded images, or maps, of one index, in its order.

    On disk: ``images.bin`` (all images one after the other, h x w x C each), ``layout.npz`` (offset in values, height
    and width of each), ``facts.csv`` (what each file held before resizing) and ``cache.json``.

    Attributes:
        folder: where it lies.
        preprocess: how the images were made; its ``dtype`` is that of the arrays. Windows are not cut here.
        height, width: of each image here.
        facts: one row a file, with what the reader tells of it: height, width, dtype, content hash, ...
    """

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "cache.json").read_text())
        self.folder = folder
        self.preprocess = Preprocess.from_spec(about["preprocess"])
        self.facts = pd.read_csv(folder / "facts.csv", dtype={"hash": str})
        with np.load(folder / "layout.npz", allow_pickle=False) as layout:
            self._offset, self.height, self.width = layout["offset"], layout["height"], layout["width"]
        self._values: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self._offset)

    def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
        """Return image ``index`` as a read-only view, h x w x C."""
        if self._values is None:
            # Opened on first use, so that each worker process maps the file for itself.
            self._values = np.memmap(self.folder / "images.bin", dtype=self.preprocess.dtype, mode="r")
        height, width = int(self.height[index]), int(self.width[index])
        start = int(self._offset[index])
        size = height * width * self.preprocess.channels
        return self._values[start : start + size].reshape(height, width, self.preprocess.channels)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_values": None}


def fingerprint(paths: Sequence[str], root: Path, preprocess: Preprocess, reader: Reader) -> str:
    """Digest the files' names and what :func:`stamp` tells of them with the settings that shape the cached arrays."""
    digest = hashlib.blake2b(digest_size=16)
    # Found in the files, or done after the cache.
    left_out = {"dtype", "scale"}
    if preprocess.fit == "native":
        # What is kept is the whole image, whatever the windows that are cut of it.
        left_out |= {"height", "width"}
    spec = {key: value for key, value in preprocess.spec().items() if key not in left_out}
    about = [LAYOUT, str(root.resolve()), spec, reader.spec()]
    digest.update(json.dumps(about, sort_keys=True).encode())
    digest.update("".join(f"{path}\0" for path in paths).encode())
    for found in in_parallel(stamp, _files(paths, root, reader)):
        digest.update(found)
    return digest.hexdigest()


def stamp(path: Path) -> bytes:
    """Return a digest of a file's size, time of change, inode and of 4 KiB each at its beginning, middle and end.

    Size and time alone stay the same when a program writes other pixels within a tick of the clock, or sets the time.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            state = os.fstat(file.fileno())
            digest = hashlib.blake2b(f"{state.st_size} {state.st_mtime_ns} {state.st_ino} ".encode(), digest_size=16)
            for start in (0, state.st_size // 2, max(0, state.st_size - _PART)):
                file.seek(start)
                digest.update(file.read(_PART))
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, found: {error.strerror}") from error
    return digest.digest()


def _files(paths: Sequence[str], root: Path, reader: Reader) -> list[Path]:
    """Return all files that are read, once each."""
    named = [stored_file(split_plane(root / path)[0]) for path in paths]
    return list(dict.fromkeys([*named, *reader.further()]))


def _contents(files: Sequence[Path]) -> str:
    """Return a digest of all bytes of the files."""

    def content(path: Path) -> bytes:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()

    digest = hashlib.blake2b(digest_size=16)
    for found in progress(in_parallel(content, files), len(files), "comparing files with the cache"):
        digest.update(found)
    return digest.hexdigest()


def build(
    paths: Sequence[str],
    root: Path,
    preprocess: Preprocess,
    folder: Path,
    name: str,
    reader: Reader,
    *,
    verify: bool = False,
) -> Cache:
    """Return the cache of these files, making it first unless it is there.

    Several runs and ranks may call this at once: one builds, the others wait and then use the same files.

    Args:
        paths: image files, or planes of them, relative to ``root``, in the order of the index.
        root: the data set.
        preprocess: channels and geometry; its ``dtype`` is replaced by the depth that the files have.
        folder: the cache folder.
        name: of the data set; the beginning of the cache's own folder.
        reader: for the kind of these files.
        verify: make the cache again unless it is of files with just these bytes, all of which are read.

    Raises:
        DataError: a file is missing or broken (all such files are named), depths cannot be mixed, or the disk is full.
    """
    key = fingerprint(paths, root, preprocess, reader)
    target = folder / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}-{key}.lock"):
        about = target / "cache.json"
        contents = _contents(_files(paths, root, reader)) if verify else None
        if not about.is_file() or (contents and json.loads(about.read_text()).get("contents") != contents):
            # With the lock in hand nobody else is writing: what lies here was left by a process that was killed.
            for left in (target, *left_behind(target)):
                shutil.rmtree(left, ignore_errors=True)
            _write(paths, root, preprocess, target, {"contents": contents}, reader)
    return Cache(target)


def _write(
    paths: Sequence[str], root: Path, preprocess: Preprocess, target: Path, about: Mapping[str, Any], reader: Reader
) -> None:
    def header(item: tuple[int, str]) -> tuple[str, str, int]:
        number, path = item
        head = reader.header(root / path)
        size = reader.like[number][1] if reader.like else preprocess.size(head.height, head.width, str(root / path))
        return path, head.dtype, math.prod(size) * preprocess.channels

    dtypes: dict[str, str] = {}
    values = 0
    for path, dtype, count in _each(header, list(enumerate(paths)), "reading headers"):
        dtypes.setdefault(dtype, path)
        values += count
    preprocess = replace(preprocess, dtype=reader.dtype(dtypes), scale="dtype")
    need, free = values * np.dtype(preprocess.dtype).itemsize, shutil.disk_usage(target.parent).free
    if need > free:
        raise DataError(
            f"{target.parent}: the cache needs {need / 1e9:.1f} GB, found {free / 1e9:.1f} GB free; free some space or "
            "set data.cache_dir to another disk"
        )
    LOG.info("caching %d files in %s", len(paths), target)

    def decode(item: tuple[int, str]) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        number, path = item
        return reader.read(root / path, number, preprocess)

    shapes, rows = [], []
    try:
        with new_folder(target) as part:
            with (part / "images.bin").open("wb") as file:
                for image, facts in _each(decode, list(enumerate(paths)), "decoding images"):
                    file.write(np.ascontiguousarray(image).data)
                    shapes.append(image.shape)
                    rows.append(facts)
                file.flush()
                os.fsync(file.fileno())
            height, width, _ = np.array(shapes).T
            offset = np.cumsum([0, *(math.prod(shape) for shape in shapes[:-1])])
            np.savez(part / "layout.npz", offset=offset, height=height, width=width)
            pd.DataFrame(rows, columns=list(reader.facts)).to_csv(part / "facts.csv", index=False)
            (part / "cache.json").write_text(json.dumps({**about, "preprocess": preprocess.spec()}))
    except OSError as error:
        raise DataError(
            f"{target.parent}: the cache cannot be written ({error.strerror}); free some space or set data.cache_dir "
            "to another disk"
        ) from error
    reader.report(rows)


def _each(job: Callable[[T], R], items: Sequence[T], doing: str) -> Iterator[R]:
    """Yield what a job returns for each item, in order, from all cores.

    Raises:
        DataError: at the end, naming all files that failed.
    """
    problems: list[str] = []

    def attempt(item: T) -> R | DataError:
        try:
            return job(item)
        except DataError as error:
            return error

    for result in progress(in_parallel(attempt, items), len(items), doing):
        if isinstance(result, DataError):
            problems.append(str(result))
        else:
            yield result
    if problems:
        raise DataError(
            f"{len(problems)} file(s) cannot be used:\n{listed(problems)}\n"
            "mend or remove them; `python -m visionlab.prepare` lists every one"
        )


@dataclass(frozen=True)
class CachedColumn:
    """Images or maps of an index in a cache.

    Attributes:
        cache: the arrays.
        places: for each row of the index, which of them; several images may share one background.
        preprocess: how windows are cut of them and scaled.
        scale: what maps are multiplied with to have the user's unit.
        around: for each row, the places of all planes that are seen of it, one after the other, its own among them;
            None: its own alone.
        limits: for each row, the values that become 0 and 1 where the preprocessing scales by percentiles.
    """

    cache: Cache
    places: np.ndarray[Any, Any]
    preprocess: Preprocess
    scale: float = 1.0
    around: np.ndarray[Any, Any] | None = None
    limits: np.ndarray[Any, Any] | None = None

    @property
    def facts(self) -> pd.DataFrame:
        """Return what each row's file held, in the order of the index."""
        return self.cache.facts.iloc[self.places].reset_index(drop=True)

    def image(self, row: int, across: float, down: float) -> np.ndarray[Any, Any]:
        """Return the window of an image, H x W x C, ``uint8`` or ``float32``; of several planes, their channels."""
        places = [self.places[row]] if self.around is None else self.around[row]
        limits = None if self.limits is None else (float(self.limits[row, 0]), float(self.limits[row, 1]))
        planes = [
            self.preprocess.unit(self.preprocess.window(self.cache[int(place)], across, down), limits)
            for place in places
        ]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def map(self, row: int, across: float, down: float) -> np.ndarray[Any, Any]:
        """Return the window of a map, H x W, ``float32`` in the user's unit, NaN where it is unknown."""
        stored = self.cache[int(self.places[row])].astype(np.float32)
        values = self.preprocess.window(stored, across, down, fill=float("nan"))
        return values[:, :, 0] * np.float32(self.scale)

    def like(self) -> Sizes:
        """Return, for each row, the height and width of its file and of what is kept of it."""
        facts, cache = self.facts, self.cache
        on_disk = zip(facts["height"].tolist(), facts["width"].tolist(), strict=True)
        kept = zip(cache.height[self.places].tolist(), cache.width[self.places].tolist(), strict=True)
        return list(zip(on_disk, kept, strict=True))


def cache_column(
    table: pd.DataFrame,
    column: str,
    preprocess: Preprocess,
    name: str,
    reader: Callable[[Any], Reader],
    like: Sizes | None,
    *,
    root: Path,
    folder: Path,
    beside: Sequence[str] = (),
    verify: bool = False,
) -> CachedColumn:
    """Return the decoded files of one column of an index, made first if need be; each file is kept once.

    Args:
        table: the index.
        column: of paths relative to ``root``, or of planes of such files.
        preprocess: channels and geometry.
        name: the beginning of the cache's own folder.
        reader: the sizes of the images that the files belong to -> how they are read.
        like: for each row, the sizes of its image; None for the images themselves.
        root: of the data set.
        folder: the cache folder.
        beside: columns of further planes that are seen of each row, half of them before its own.
        verify: see :func:`visionlab.data.cache.build`.

    Raises:
        DataError: a file is missing or broken, or belongs to images of several sizes.
    """
    columns = [column, *beside]
    named = np.concatenate([table[one].to_numpy(str) for one in columns])
    first, places = np.unique(named, return_index=True, return_inverse=True)[1:]
    # In the order of the index, not of the names.
    order = np.argsort(first, kind="stable")
    first, places = first[order], np.argsort(order)[places].reshape(len(columns), -1)
    paths = named[first].tolist()
    for row, place in enumerate(places[0]):
        # It is kept once, in the size of one of them.
        if like is not None and like[row][1] != like[first[place]][1]:
            one, other = table["path"].iloc[int(first[place])], table["path"].iloc[row]
            raise DataError(
                f"{table[column].iloc[row]}: belongs to images of different shapes, {one} and {other}; expected one "
                "shape, so that they can share it: give each its own copy"
            )
    own = reader([like[row] for row in first]) if like is not None else reader(None)
    cache = build(paths, root, preprocess, folder, name, own, verify=verify)
    half = 1 + len(beside) // 2
    around = np.concatenate([places[1:half], places[:1], places[half:]]).T if beside else None
    return CachedColumn(cache, places[0], replace(preprocess, dtype=cache.preprocess.dtype), around=around)


def stack_channels(images: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return the images of one sample, H x W x C each, as one C x H x W; bytes become 0..1 beside floats."""
    if len({image.dtype for image in images}) > 1:
        images = [image if image.dtype == np.float32 else image / np.float32(255) for image in images]
    # Copied: the cache's arrays are read-only views, which tensors cannot be.
    image = np.concatenate(images, axis=2) if len(images) > 1 else images[0]
    return image.transpose(2, 0, 1).copy()


# Part of the fingerprint: raise it when what :meth:`visionlab.data.preprocess.Preprocess.limits` returns changes.
_LIMITS_LAYOUT = 3


def limits_of(
    time_points: Sequence[tuple[str, ...]], root: Path, preprocess: Preprocess, folder: Path, *, verify: bool = False
) -> np.ndarray[Any, Any]:
    """Return the limits of each sample's time point, N x 2, in the values of the cache.

    They are measured on all cores, one time point in memory on each, and kept in the cache folder.

    Args:
        time_points: of N samples, all planes of the time point that each belongs to, relative to ``root``.
        root: of the data set.
        preprocess: with the type of the cached values.
        folder: the cache folder.
        verify: measure again even if the files seem to be the same.

    Raises:
        DataError: a file cannot be read.
    """
    each = list(dict.fromkeys(time_points))
    about = [_LIMITS_LAYOUT, str(root.resolve()), preprocess.dtype, preprocess.channels, preprocess.stains, each]
    digest = hashlib.blake2b(json.dumps(about).encode(), digest_size=16)
    for file in dict.fromkeys(stored_file(split_plane(root / path)[0]) for planes in each for path in planes):
        digest.update(stamp(file))
    target = folder / f"limits-{digest.hexdigest()}.json"
    folder.mkdir(parents=True, exist_ok=True)

    def measure(planes: tuple[str, ...]) -> tuple[float, float]:
        return preprocess.limits(np.stack([read_image(root / path, preprocess.stains) for path in planes]))

    with FileLock(target.with_suffix(".lock")):
        if verify or not target.is_file():
            write_json(target, list(progress(in_parallel(measure, each), len(each), "measuring intensities")))
    found = dict(zip(each, json.loads(target.read_text(encoding="utf-8")), strict=True))
    return np.array([found[planes] for planes in time_points], dtype=np.float64).reshape(-1, 2)
