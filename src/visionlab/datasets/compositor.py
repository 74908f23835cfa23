"""Make a data set of cut-outs pasted on backgrounds: every cut-out on every background, at many places and sizes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from visionlab.console import LOG, progress
from visionlab.data.parallel import in_parallel
from visionlab.datasets.composite_folder import MANIFEST, alone, check_root
from visionlab.datasets.composite_sources import SMALLEST, find_backgrounds, find_cutouts
from visionlab.datasets.composition import Composition, Settings
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.files import write_json

_TRIAL = 2.0  # seconds of composing from which time and size are estimated
_BLOCK = 4096  # bytes: nearly every file system stores files, and folders, in multiples of this


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
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        root: Path,
        seed: int,
        *,
        backgrounds: str,
        cutouts: str,
        per_pair: int,
        flips: bool,
        scale: list[float],
        image_size: int | None,
        mask_threshold: int,
        image_format: Literal["jpg", "png"],
        workers: int | None,
    ) -> None:
        _expect("per_pair", per_pair, "a whole number from 1 on", per_pair >= 1)
        good = len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1
        _expect("scale", list(scale), "[least, largest] with 0 < least <= largest <= 1", good)
        good = image_size is None or image_size >= SMALLEST
        _expect("image_size", image_size, f"a whole number from {SMALLEST} on, or null", good)
        _expect("mask_threshold", mask_threshold, "a whole number from 1 to 255", 1 <= mask_threshold <= 255)
        _expect("workers", workers, "a whole number from 1 on, or null", workers is None or workers >= 1)
        self.root = Path(root).expanduser().absolute()
        self.folders = Path(backgrounds).expanduser(), Path(cutouts).expanduser()
        self.settings = Settings(
            seed, per_pair, flips, (float(scale[0]), float(scale[1])), image_size, mask_threshold, image_format
        )
        self.workers = workers or _cores()

    def run(self) -> Path:
        """Make the set, or what is missing of it, and return its folder.

        Raises:
            DataError: sources cannot be used, ``root`` holds something else, or the disk is or would be full.
            UsageError: ``root`` was made with other settings, or another process is at work in it.
        """
        backgrounds, cutouts = self.folders
        for folder in self.folders:
            if self.root.is_relative_to(folder.absolute()):
                raise UsageError(f"data.root={self.root}: lies in {folder}, whose images are the sources; name another")
        found = find_backgrounds(backgrounds, self.settings.image_size)
        least, threshold = self.settings.scale[0], self.settings.mask_threshold
        composition = Composition(self.settings, self.folders, found, find_cutouts(cutouts, found, least, threshold))
        manifest = composition.manifest()
        check_root(self.root, manifest)
        missing = composition.missing(self.root)
        self._announce(composition, missing)
        if missing:
            with self._writing(), alone(self.root):
                write_json(self.root / MANIFEST, manifest)
                composition.clean(self.root)
                self._make(composition, missing)
        LOG.info("composite: done: %s", self.root)
        LOG.info(
            "composite: no depth is made. Train masks alone with '~heads.depth'; or put the depth of each image, from"
            " any depth network, into %s under the image's path, as 16-bit .png in millimetres (0: unknown)",
            self.root / "dense",
        )
        return self.root

    def _make(self, composition: Composition, missing: list[tuple[int, int]]) -> None:
        for background in range(len(composition.backgrounds)):
            composition.write_background(self.root, background)
        written = in_parallel(lambda pair: composition.write_pair(self.root, *pair), missing, self.workers)
        try:
            for _ in progress(written, len(missing), "composing, folder by folder"):
                pass
        except KeyboardInterrupt:
            LOG.info("composite: stopped; the same command goes on from here")
            raise

    def _announce(self, composition: Composition, missing: list[tuple[int, int]]) -> None:
        """Say what will be made, how large and how long; refuse if it does not fit on the disk."""
        total = len(composition.backgrounds) * len(composition.cutouts) * composition.per_folder
        LOG.info(
            "composite: %d backgrounds x %d cut-outs%s x %d placements = %d images with masks",
            *(len(composition.backgrounds), len(composition.cutouts)),
            " and their mirror images" if self.settings.flips else "",
            *(self.settings.per_pair, total),
        )
        enlarged, factor = composition.enlargement()
        if enlarged:
            LOG.info(
                "composite: %d of %d cut-outs have too few pixels for make.scale and are enlarged, up to %.1f times",
                *(enlarged, len(composition.cutouts), factor),
            )
        left = len(missing) * composition.per_folder
        if left < total:
            LOG.info("composite: %d of them are there already", total - left)
        if not left:
            return
        with self._writing():
            size, seconds, tried = self._trial(composition, missing)
        need = left * size + 2 * len(missing) * _BLOCK
        free = shutil.disk_usage(_existing(self.root)).free
        LOG.info(
            "composite: about %s on disk (%s free) and %s with %d threads, after a trial with %d images",
            *(_bytes(need), _bytes(free), _duration(left * seconds), self.workers, tried),
        )
        files = 2 * left + 2 * len(missing)
        if need > free:
            what = f"about {_bytes(need)} are needed for {left} images, {_bytes(free)} are free"
        elif files > (names := _free_names(_existing(self.root))):
            what = f"{files} files and folders are to be made, but the disk's file system has room for {names:.0f} only"
        else:
            return
        raise DataError(f"{self.root}: {what}; lower make.per_pair, name another disk, or free some space")

    def _trial(self, composition: Composition, missing: list[tuple[int, int]]) -> tuple[float, float, int]:
        """Compose some images beside the root for some seconds; return bytes and seconds an image, and their number."""
        self.root.parent.mkdir(parents=True, exist_ok=True)
        some = missing[:: max(1, len(missing) // 64)]
        limit = max(1, min(composition.per_folder, 4))
        sizes: list[int] = []
        with tempfile.TemporaryDirectory(prefix=f".{self.root.name}.", suffix=".part", dir=self.root.parent) as folder:
            composition.write_pair(Path(folder), *some[0], limit=1)  # imports and tables
            started = time.monotonic()

            def attempt(pair: tuple[int, int]) -> list[int]:
                return composition.write_pair(Path(folder), *pair, limit=limit)

            for written in in_parallel(attempt, some, self.workers):
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


def _expect(key: str, value: object, expected: str, good: bool) -> None:
    if not good:
        raise ConfigError(f"make.{key}={json.dumps(value)}: expected {expected}")


def _cores() -> int:
    # Containers and batch systems grant fewer cores than the machine has; macOS and Windows can't say.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _existing(path: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return path if path.is_dir() else _existing(path.parent)


def _free_names(folder: Path) -> float:
    """Return how many more files and folders the file system can hold; infinity where it does not say."""
    if not hasattr(os, "statvfs"):
        return math.inf
    found = os.statvfs(folder)
    return found.f_favail if found.f_files else math.inf


def _bytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 5400
        else f"{seconds / 60:.0f} min"
        if seconds >= 90
        else f"{seconds:.0f} s"
    )
