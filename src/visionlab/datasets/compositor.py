"""Make a data set of cut-outs pasted on backgrounds: every cut-out on every background, at many places and sizes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import Field

from visionlab.console import LOG, progress
from visionlab.data.parallel import in_parallel
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.files import check_folder, list_files, listed, new_folder, write_bytes, write_json
from visionlab.io import IMAGE_SUFFIXES, Image, dtype_range, read_image, to_channels
from visionlab.io.encoding import Array, eight_bits, jpeg, png, to_light, to_srgb
from visionlab.seeds import derive

MANIFEST = "composite.json"
IMAGES, MASKS, BACKGROUNDS = "fgbg", "fgbgmask", "bg"
SMALLEST = 16
"""Least side of a background in pixels."""

_LOCK = ".composite.lock"
_MEMORY = 2**29  # bytes of cut-outs that are kept in memory
_TRIAL = 2.0  # seconds of composing from which time and size are estimated
_BLOCK = 4096  # bytes: nearly every file system stores files, and folders, in multiples of this
# Light of 8-bit values, and 8-bit values of light in 65536 steps: fine enough that the one undoes the other exactly.
_LIGHT = to_light(np.arange(256) / 255)
_BYTE = eight_bits(to_srgb(np.arange(65536) / 65535))

Pair = tuple[int, int]
"""The numbers of a background and of a cut-out."""


@dataclass(frozen=True)
class Source:
    """A background or cut-out: its path below its folder, a digest of the file, height and width in pixels.

    The size of a background is the one it is used with, that of a cut-out is its visible part's.
    """

    path: str
    digest: str
    height: int
    width: int


class Compositor:
    """Paste every cut-out, and its mirror image, on every background, ``per_pair`` times each.

    The set is written in the nested layout of the task ``depth_mask``: ``fgbg/<background>/<cut-out>/<number>``, masks
    of the same names in ``fgbgmask/`` (PNG, 0 and 255), and the backgrounds once each in ``bg/``. A cut-out and its
    mirror image share a folder, for they are the same foreground. ``composite.json`` holds the settings and which file
    is which. Cut-outs lie wholly inside the image; size and place derive from the seed, the two files and the number
    alone, not from the workers. Images have 8 bits a channel, whatever the sources have.

    A run that was stopped goes on where it was when called again: a folder of a cut-out is there whole or not at all.

    Args:
        root: folder of the new set.
        seed: of sizes and places.
        backgrounds: folder of images (PNG, JPEG, TIFF), looked through with its subfolders.
        cutouts: folder of images with an alpha channel.
        per_pair: images of each cut-out on each background.
        flips: also paste the mirror image of each cut-out, ``per_pair`` times as well.
        scale: least and largest size of a cut-out: the larger of its shares of the image's height and width.
        image_size: side of the images in pixels, cut from the middle of the background; None: the background's size.
        mask_threshold: alpha (of 255) from which on a pixel is foreground.
        image_format: ``jpg`` (quality 95) or ``png`` (without loss, about four times the size).
        workers: threads; None: one for each core.

    Raises:
        ConfigError: the least size is above the largest.
    """

    def __init__(
        self,
        root: Path,
        seed: int,
        *,
        backgrounds: str,
        cutouts: str,
        per_pair: Annotated[int, Field(ge=1)],
        flips: bool,
        scale: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)],
        image_size: Annotated[int, Field(ge=16)] | None,
        mask_threshold: Annotated[int, Field(ge=1, le=255)],
        image_format: Literal["jpg", "png"],
        workers: Annotated[int, Field(ge=1)] | None,
    ) -> None:
        self.root, self.seed = Path(root).expanduser().absolute(), seed
        self.scale = (float(scale[0]), float(scale[1]))
        if not self.scale[0] <= self.scale[1]:
            raise ConfigError(f"make.scale={list(scale)}: expected [least, largest] with least <= largest")
        self.folders = Path(backgrounds).expanduser(), Path(cutouts).expanduser()
        self.per_pair, self.flips, self.image_size = per_pair, flips, image_size
        self.mask_threshold, self.image_format = mask_threshold, image_format
        self.workers = workers or _cores()
        self.per_folder = per_pair * (2 if flips else 1)
        self.backgrounds: dict[str, Source] = {}
        self.cutouts: dict[str, Source] = {}

    def run(self) -> Path:
        """Make the set, or what is missing of it, and return its folder.

        Raises:
            DataError: sources cannot be used, ``root`` holds something else, or the disk is or would be full.
            UsageError: ``root`` was made with other settings, or another process is at work in it.
        """
        for folder in self.folders:
            if self.root.is_relative_to(folder.absolute()):
                raise UsageError(f"data.root={self.root}: lies in {folder}, whose images are the sources; name another")
        self.find_sources()
        manifest = self.manifest()
        _check_root(self.root, manifest)
        missing = [pair for pair in self.pairs() if any(_count(p) != self.per_folder for p in self._places(*pair))]
        self._announce(missing)
        if missing:
            with self._writing(), _alone(self.root):
                write_json(self.root / MANIFEST, manifest)
                # What a killed process left unfinished.
                for part in self.root.glob("*/*/.*.part"):
                    shutil.rmtree(part)
                for part in self.root.glob(f"{BACKGROUNDS}/.*.part"):
                    part.unlink()
                self._make(missing)
        LOG.info("composite: done: %s", self.root)
        LOG.info(
            "composite: no depth is made. Train masks alone with '~heads.depth'; or put the depth of each image, from"
            " any depth network, into %s under the image's path, as 16-bit .png in millimetres (0: unknown)",
            self.root / "dense",
        )
        return self.root

    def find_sources(self) -> None:
        """Check all backgrounds and cut-outs before anything is made of them.

        Raises:
            DataError: images cannot be used; all are named.
        """
        found = _find(self.folders[0], "backgrounds", self._background_source)
        self.backgrounds = {f"bg_{number:03d}": source for number, source in enumerate(found, 1)}
        self._least = min(b.height for b in found), min(b.width for b in found)
        found = _find(self.folders[1], "cutouts", self._cutout_source)
        self.cutouts = {f"{number:03d}": source for number, source in enumerate(found, 1)}
        self._of = list(self.backgrounds.values()), list(self.cutouts.values())
        # Images follow each other by background; of the cut-outs as many are kept as there is memory for.
        most = max(4 * 4 * height * width for height, width in map(self._kept_size, found))
        self._background = lru_cache(maxsize=4)(self._read_background)
        self._cutout = lru_cache(maxsize=max(4, _MEMORY // most))(self._read_cutout)

    def pairs(self) -> list[Pair]:
        """Return the numbers of background and cut-out of each folder of images."""
        return [(b, c) for b in range(len(self.backgrounds)) for c in range(len(self.cutouts))]

    def image(self, background: int, cutout: int, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return image (H x W x 3) and mask (H x W, 0 and 255) number ``number`` of a cut-out on a background."""
        below, above = self._of[0][background], self._of[1][cutout]
        rng = np.random.default_rng(derive(self.seed, "composite", below.path, above.path, number))
        height, width = fitted((above.height, above.width), (below.height, below.width), rng.uniform(*self.scale))
        pasted = resize(self._cutout(cutout), height, width)
        if number >= self.per_pair:
            pasted = pasted[:, ::-1]
        top, left = (int(rng.integers(0, spare + 1)) for spare in (below.height - height, below.width - width))
        return paste(self._background(background), pasted, top, left, self.mask_threshold)

    def write_pair(self, root: Path, background: int, cutout: int, limit: int | None = None) -> list[int]:
        """Write all images of a cut-out on a background, or the first ``limit``; return the sizes of the files."""
        images, masks = self._places(background, cutout, root)
        sizes = []
        for folder in (images, masks):
            shutil.rmtree(folder, ignore_errors=True)  # whole folders are left alone, so this one lacks some files
        with new_folder(masks) as new_masks, new_folder(images) as new_images:
            for number in range(self.per_folder)[:limit]:
                image, mask = self.image(background, cutout, number)
                for path, content in (
                    (new_images / f"{number + 1:03d}.{self.image_format}", self._encode(image)),
                    (new_masks / f"{number + 1:03d}.png", png(mask)),
                ):
                    path.write_bytes(content)
                    sizes.append(len(content))
        return sizes

    def manifest(self) -> dict[str, Any]:
        """Return all that the images depend on, as plain data."""
        names = ("seed", "per_pair", "flips", "scale", "image_size", "mask_threshold", "image_format")
        return {
            "format": 1,
            "settings": {name: getattr(self, name) for name in names} | {"scale": list(self.scale)},
            "backgrounds": {name: asdict(source) for name, source in self.backgrounds.items()},
            "cutouts": {name: asdict(source) for name, source in self.cutouts.items()},
        }

    def _make(self, missing: list[Pair]) -> None:
        for number, name in enumerate(self.backgrounds):
            path = self.root / BACKGROUNDS / f"{name}.{self.image_format}"
            if not path.is_file():
                write_bytes(path, self._encode(self._background(number)))
        written = in_parallel(lambda pair: self.write_pair(self.root, *pair), missing, self.workers)
        try:
            for _ in progress(written, len(missing), "composing, folder by folder"):
                pass
        except KeyboardInterrupt:
            LOG.info("composite: stopped; the same command goes on from here")
            raise

    def _announce(self, missing: list[Pair]) -> None:
        """Say what will be made, how large and how long; refuse if it does not fit on the disk."""
        total = len(self.pairs()) * self.per_folder
        LOG.info(
            "composite: %d backgrounds x %d cut-outs%s x %d placements = %d images with masks",
            *(len(self.backgrounds), len(self.cutouts), " and their mirror images" if self.flips else ""),
            *(self.per_pair, total),
        )
        factors = [self.scale[1] * self._largest_share(cutout) for cutout in self.cutouts.values()]
        if enlarged := sum(factor > 1 for factor in factors):
            LOG.info(
                "composite: %d of %d cut-outs have too few pixels for make.scale and are enlarged, up to %.1f times",
                *(enlarged, len(factors), max(factors)),
            )
        left = len(missing) * self.per_folder
        if left < total:
            LOG.info("composite: %d of them are there already", total - left)
        if not left:
            return
        with self._writing():
            size, seconds, tried = self._trial(missing)
        need = left * size + 2 * len(missing) * _BLOCK
        free = shutil.disk_usage(self.root.parent).free
        LOG.info(
            "composite: about %.1f MB on disk (%.1f MB free), %.1f minutes with %d threads, tried with %d images",
            *(need / 1e6, free / 1e6, left * seconds / 60, self.workers, tried),
        )
        if need > free:
            raise DataError(
                f"{self.root}: about {need / 1e6:.1f} MB are needed for {left} images, {free / 1e6:.1f} MB are free; "
                "lower make.per_pair, name another disk, or free some space"
            )

    def _trial(self, missing: list[Pair]) -> tuple[float, float, int]:
        """Compose some images beside the root for some seconds; return bytes and seconds an image, and their number."""
        self.root.parent.mkdir(parents=True, exist_ok=True)
        some = missing[:: max(1, len(missing) // 64)]
        limit = max(1, min(self.per_folder, 4))
        sizes: list[int] = []
        with tempfile.TemporaryDirectory(prefix=f".{self.root.name}.", suffix=".part", dir=self.root.parent) as folder:
            self.write_pair(Path(folder), *some[0], limit=1)  # imports and tables
            started = time.monotonic()
            attempts = in_parallel(lambda pair: self.write_pair(Path(folder), *pair, limit=limit), some, self.workers)
            for written in attempts:
                sizes += written
                if time.monotonic() - started > _TRIAL:
                    break
            seconds = time.monotonic() - started
        count = len(sizes) // 2
        return sum(_BLOCK * math.ceil(size / _BLOCK) for size in sizes) / count, seconds / count, count

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.root}: cannot be written: {error.strerror or error}; when that is mended, the same command goes"
                " on from here"
            ) from error

    def _places(self, background: int, cutout: int, root: Path | None = None) -> tuple[Path, Path]:
        part = Path(list(self.backgrounds)[background], list(self.cutouts)[cutout])
        return (root or self.root) / IMAGES / part, (root or self.root) / MASKS / part

    def _encode(self, image: NDArray[np.uint8]) -> bytes:
        return jpeg(image) if self.image_format == "jpg" else png(image)

    def _read_background(self, number: int) -> NDArray[np.uint8]:
        return read_background(self.folders[0] / self._of[0][number].path, self.image_size)

    def _read_cutout(self, number: int) -> Array:
        source = self._of[1][number]
        return resize(read_cutout(self.folders[1] / source.path, self.mask_threshold), *self._kept_size(source))

    def _largest_share(self, cutout: Source) -> float:
        """Return the factor by which a cut-out would just fit into the background that has most room for it."""
        return max(min(b.height / cutout.height, b.width / cutout.width) for b in self.backgrounds.values())

    def _kept_size(self, cutout: Source) -> tuple[int, int]:
        """Return the size at which a cut-out is kept: twice the largest that it is used at, if it is larger."""
        factor = min(1.0, 2 * (self.scale[1] * self._largest_share(cutout)))
        return max(1, round(cutout.height * factor)), max(1, round(cutout.width * factor))

    def _background_source(self, path: Path) -> tuple[int, int]:
        height, width = read_background(path, None).shape[:2]
        if min(height, width) < SMALLEST:
            raise DataError(
                f"{path}: the background is {height} x {width} pixels; expected at least {SMALLEST} on each side"
            )
        return (height, width) if self.image_size is None else (self.image_size, self.image_size)

    def _cutout_source(self, path: Path) -> tuple[int, int]:
        cutout = read_cutout(path, self.mask_threshold)
        height, width = cutout.shape[:2]
        size = fitted((height, width), self._least, self.scale[0])
        if not _foreground(resize(cutout, *size), self.mask_threshold).any():
            raise DataError(
                f"{path}: {height} x {width} pixels; at the smallest size, {size[0]} x {size[1]} (make.scale begins at "
                f"{self.scale[0]:g}), no pixel of it is foreground; raise make.scale or remove it"
            )
        return height, width


# Sources ------------------------------------------------------------------------------------------------------------


def _find(folder: Path, key: str, check: Callable[[Path], tuple[int, int]]) -> list[Source]:
    """Return the images of a folder, sorted by path, with the sizes that ``check`` returns."""
    root = check_folder(folder, f"the images of make.{key}")
    listing = list_files(root, IMAGE_SUFFIXES)
    others = listing.describe_others()
    if not listing.paths:
        found = f"found other types: {others}" if others else "found none"
        raise DataError(f"{folder}: expected {key} (PNG, JPEG or TIFF files), {found}; check make.{key}")
    if others:
        LOG.warning("%s: not used, since only PNG, JPEG and TIFF are read: %s", folder, others)

    def checked(path: str) -> Source | str:
        try:
            height, width = check(root / path)
        except DataError as error:
            return str(error)
        return Source(path, hashlib.blake2b((root / path).read_bytes(), digest_size=16).hexdigest(), height, width)

    paths = sorted(listing.paths)
    results = list(progress(in_parallel(checked, paths), len(paths), f"checking {key}"))
    if problems := [result for result in results if isinstance(result, str)]:
        raise DataError(f"{len(problems)} of {len(paths)} {key} cannot be used:\n{listed(problems, 50)}")
    return [result for result in results if isinstance(result, Source)]


def read_background(path: Path, size: int | None) -> NDArray[np.uint8]:
    """Return a background as H x W x 3 of 8 bits; with ``size`` resized and cut to a square around its middle.

    Raises:
        DataError: the file cannot be read, is not grey or colour, is partly transparent, or holds values beyond 0..1.
    """
    image = _unit(to_channels(read_image(path), 3, path), path)
    height, width = image.shape[:2]
    if size is not None:
        factor = size / min(height, width)
        image = resize(image, max(size, round(height * factor)), max(size, round(width * factor)))
        top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
        image = image[top : top + size, left : left + size]
    return eight_bits(image)


def read_cutout(path: Path, threshold: int) -> Array:
    """Return the visible part of a cut-out: h x w x 4, light (0..1) times alpha, and alpha (0..1).

    Raises:
        DataError: the file cannot be read, has no alpha, is opaque everywhere, or nowhere reaches the mask's
            ``threshold`` (of 255).
    """
    image = read_image(path)
    if image.shape[2] not in (2, 4):
        kind = {1: "grey", 3: "red, green and blue"}.get(image.shape[2], f"{image.shape[2]} channels")
        raise DataError(
            f"{path}: expected a cut-out with an alpha channel, found {kind} only; save it as PNG with transparency"
        )
    image = _unit(image, path)
    alpha = image[..., -1]
    if alpha.min() == 1:
        raise DataError(
            f"{path}: is opaque everywhere, so it has no outline; cut the object out, or move the file away if it is a"
            " background"
        )
    if np.rint(255 * alpha.max()) < threshold:
        raise DataError(
            f"{path}: its alpha is at most {np.rint(255 * alpha.max()):.0f} of 255, so no pixel is foreground"
            f" (make.mask_threshold={threshold}); remove it or lower the threshold"
        )
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    seen = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    light = to_light(np.broadcast_to(seen[..., :-1], (*seen.shape[:2], 3)))
    return np.dstack([light * seen[..., -1:], seen[..., -1:]]).astype(np.float32)


def _unit(image: Image, path: Path) -> Array:
    """Return an image as float32 of 0..1."""
    values: Array = image.astype(np.float32) / np.float32(dtype_range(image.dtype))
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            f"{path}: expected values from 0 to 1 in a floating-point image, found {values.min():g} to"
            f" {values.max():g}; save it with 8 or 16 bits"
        )
    return values


# Pasting: in linear light, without fringes ----------------------------------------------------------------------------


def resize(image: Array, height: int, width: int) -> Array:
    """Return an image of another size: averaged over areas when it shrinks, interpolated when it grows."""
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.float32)


def fitted(size: tuple[int, int], image: tuple[int, int], share: float) -> tuple[int, int]:
    """Return height and width of a cut-out whose larger share of the image's height or width shall be ``share``."""
    factor = share * min(image[0] / size[0], image[1] / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def paste(
    background: NDArray[np.uint8], cutout: Array, top: int, left: int, threshold: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a copy of the background with the cut-out on it, and the mask.

    Args:
        background: H x W x 3.
        cutout: h x w x 4 as :func:`read_cutout` gives it. Light times alpha was resized, so what lies hidden under
            alpha 0 (often black or white) leaves no fringe.
        top, left: where its upper left corner goes, such that all of it is inside.
        threshold: alpha (of 255) from which on a pixel is foreground.

    Returns:
        H x W x 3 of 8 bits, and H x W with 255 where alpha reaches the threshold, else 0.
    """
    inside = slice(top, top + cutout.shape[0]), slice(left, left + cutout.shape[1])
    light = cutout[..., :3] + (1 - cutout[..., 3:]) * _LIGHT[background[inside]]
    image = background.copy()
    image[inside] = _BYTE[np.minimum(light * 65535 + 0.5, 65535).astype(np.uint16)]
    mask = np.zeros(background.shape[:2], np.uint8)
    mask[inside] = 255 * _foreground(cutout, threshold)
    return image, mask


def _foreground(cutout: Array, threshold: int) -> NDArray[np.bool_]:
    """Return where the alpha of a cut-out reaches the threshold (of 255)."""
    reached: NDArray[np.bool_] = np.rint(255 * cutout[..., 3]) >= threshold
    return reached


# The folder -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Make the folder, and refuse a second process in it with ``UsageError``; the lock goes with its process."""
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise UsageError(f"{root}: another process is composing in this folder now; wait for it or stop it") from error


def _check_root(root: Path, manifest: dict[str, Any]) -> None:
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


def _count(folder: Path) -> int:
    """Return the number of files in a folder, 0 if there is none."""
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def _cores() -> int:
    # Containers and batch systems grant fewer cores than the machine has; macOS and Windows can't say.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
