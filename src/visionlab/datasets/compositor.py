"""Make a data set of cut-outs pasted on backgrounds: every cut-out on every background, at many places and sizes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
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
from visionlab.datasets.pairing import Files
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.files import check_folder, in_parallel, listed, new_folder, write_bytes, write_json
from visionlab.io import IMAGE_SUFFIXES, Image, dtype_range, read_image, to_channels
from visionlab.io.encoding import eight_bits, jpeg, png
from visionlab.seeds import derive

Array = NDArray[np.floating]

MANIFEST = "composite.json"
IMAGES, MASKS, BACKGROUNDS = "fgbg", "fgbgmask", "bg"
FOLDERS = ("backgrounds", "cutouts")
"""Settings that name folders of sources."""

_LOCK = ".composite.lock"
_MEMORY = 2**29  # bytes of cut-outs that are kept in memory


def to_light(srgb: Array) -> Array:
    """Return the light (0..1, float32) of values encoded as sRGB (0..1); IEC 61966-2-1."""
    value = srgb.astype(np.float32)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


# Light of 8-bit values, and 8-bit values of light in 65536 steps: fine enough that the one undoes the other exactly.
_LIGHT = to_light(np.arange(256) / 255)
_STEPS = (np.arange(65536) / 65535).astype(np.float32)
_BYTE = eight_bits(np.where(_STEPS <= 0.0031308, 12.92 * _STEPS, 1.055 * _STEPS ** (1 / 2.4) - 0.055))


@dataclass(frozen=True)
class Source:
    """A background as it is used, or the visible part of a cut-out: path below its folder, digest of the file, size."""

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
        if scale[0] > scale[1]:
            raise ConfigError(f"make.scale={list(scale)}: expected [least, largest] with least <= largest")
        self.root = Path(root).expanduser().absolute()
        self.folders = {"backgrounds": Path(backgrounds).expanduser(), "cutouts": Path(cutouts).expanduser()}
        self.settings: dict[str, Any] = {
            "seed": seed,
            "per_pair": per_pair,
            "flips": flips,
            "scale": [float(part) for part in scale],
            "image_size": image_size,
            "mask_threshold": mask_threshold,
            "image_format": image_format,
        }
        self.per_pair, self.scale, self.image_size = per_pair, scale, image_size
        self.mask_threshold, self.image_format, self.workers = mask_threshold, image_format, workers
        self.encode = png if image_format == "png" else jpeg
        self.per_folder = per_pair * (2 if flips else 1)

    def run(self) -> Path:
        """Make the set, or what is missing of it, and return its folder.

        Raises:
            DataError: sources cannot be used, ``root`` holds something else or cannot be written.
            UsageError: ``root`` was made with other settings, or another process is at work in it.
        """
        for folder in self.folders.values():
            if self.root.is_relative_to(folder.absolute()):
                raise UsageError(f"data.root={self.root}: lies in {folder}, whose images are the sources; name another")
        self._find_sources()
        manifest = self._manifest()
        _check_root(self.root, manifest)
        pairs = [(b, c) for b in range(len(self.backgrounds)) for c in range(len(self.cutouts))]
        missing = [pair for pair in pairs if {len(list(f.glob("*"))) for f in self._places(*pair)} != {self.per_folder}]
        LOG.info(
            "composite: %d backgrounds x %d cut-outs x %d placements = %d images with masks; %d of them are there",
            *(len(self.backgrounds), len(self.cutouts), self.per_folder, len(pairs) * self.per_folder),
            (len(pairs) - len(missing)) * self.per_folder,
        )
        if missing:
            try:
                self._make(missing, manifest)
            except Timeout:
                raise UsageError(f"{self.root}: another process is composing in this folder now; wait for it") from None
            except OSError as error:
                advice = "when that is mended, the same command goes on from here"
                raise DataError(f"{self.root}: cannot be written: {error.strerror or error}; {advice}") from error
        LOG.info(
            "composite: done: %s. No depth is made: train masks alone with '~heads.depth', or put the depth of each "
            "image, from any depth network, into %s under the image's path, as 16-bit .png in millimetres (0: unknown)",
            *(self.root, self.root / "dense"),
        )
        return self.root

    def _find_sources(self) -> None:
        """Check all backgrounds and cut-outs before anything is made of them."""
        self.backgrounds = self._find("backgrounds", lambda path: read_background(path, self.image_size))
        self.cutouts = self._find("cutouts", lambda path: read_cutout(path, self.mask_threshold))
        # Images follow each other by background; of the cut-outs as many are kept as there is memory for.
        most = max(4 * 4 * height * width for height, width in map(self._kept_size, self.cutouts))
        self._background = lru_cache(maxsize=4)(
            lambda number: read_background(self.folders["backgrounds"] / self.backgrounds[number].path, self.image_size)
        )
        self._cutout = lru_cache(maxsize=max(4, _MEMORY // most))(self._read_cutout)

    def _manifest(self) -> dict[str, Any]:
        """Return all that the images depend on, as plain data."""
        return {
            "format": 1,
            "settings": self.settings,
            "backgrounds": {f"bg_{n:03d}": asdict(source) for n, source in enumerate(self.backgrounds, 1)},
            "cutouts": {f"{n:03d}": asdict(source) for n, source in enumerate(self.cutouts, 1)},
        }

    def _image(self, background: int, cutout: int, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return image (H x W x 3) and mask (H x W, 0 and 255) number ``number`` of a cut-out on a background."""
        below, above = self.backgrounds[background], self.cutouts[cutout]
        rng = np.random.default_rng(derive(self.settings["seed"], "composite", below.path, above.path, number))
        factor = rng.uniform(self.scale[0], self.scale[1]) * min(below.height / above.height, below.width / above.width)
        height, width = max(1, round(above.height * factor)), max(1, round(above.width * factor))
        pasted = resize(self._cutout(cutout), height, width)
        if number >= self.per_pair:
            pasted = pasted[:, ::-1]
        top, left = (int(rng.integers(0, spare + 1)) for spare in (below.height - height, below.width - width))
        return paste(self._background(background), pasted, top, left, self.mask_threshold)

    def write_pair(self, background: int, cutout: int) -> None:
        """Write all images of a cut-out on a background."""
        images, masks = self._places(background, cutout)
        for folder in (images, masks):
            shutil.rmtree(folder, ignore_errors=True)  # whole folders are left alone, so this one lacks some files
        with new_folder(masks) as new_masks, new_folder(images) as new_images:
            for number in range(self.per_folder):
                image, mask = self._image(background, cutout, number)
                (new_images / f"{number + 1:03d}.{self.image_format}").write_bytes(self.encode(image))
                (new_masks / f"{number + 1:03d}.png").write_bytes(png(mask))

    def _make(self, missing: list[tuple[int, int]], manifest: dict[str, Any]) -> None:
        """Write what is missing; raises ``Timeout`` where another process is at work in the folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / _LOCK, timeout=0):
            write_json(self.root / MANIFEST, manifest)
            for part in self.root.glob("*/*/.*.part"):  # what a killed process left unfinished
                shutil.rmtree(part)
            for number in range(len(self.backgrounds)):
                path = self.root / BACKGROUNDS / f"bg_{number + 1:03d}.{self.image_format}"
                if not path.is_file():
                    write_bytes(path, self.encode(self._background(number)))
            written = in_parallel(lambda pair: self.write_pair(*pair), missing, self.workers)
            for _ in progress(written, len(missing), "composing, folder by folder"):
                pass

    def _places(self, background: int, cutout: int) -> tuple[Path, Path]:
        part = Path(f"bg_{background + 1:03d}", f"{cutout + 1:03d}")
        return self.root / IMAGES / part, self.root / MASKS / part

    # Sources ----------------------------------------------------------------------------------------------------------

    def _find(self, key: str, read: Callable[[Path], Array | NDArray[np.uint8]]) -> list[Source]:
        """Return the images of a folder, sorted by path; all that ``read`` refuses are named."""
        root = check_folder(self.folders[key], f"the images of make.{key}")
        files = Files(root, "", key, IMAGE_SUFFIXES, f"check make.{key}", stem=str)
        paths = list(files.paths)

        def checked(path: str) -> Source | str:
            try:
                height, width = read(root / path).shape[:2]
            except DataError as error:
                return str(error)
            return Source(path, hashlib.blake2b((root / path).read_bytes(), digest_size=16).hexdigest(), height, width)

        results = list(progress(in_parallel(checked, paths), len(paths), f"checking {key}"))
        problems = [*map(str, files.problems), *(result for result in results if isinstance(result, str))]
        if problems:
            count = len(paths) + len(files.problems)
            raise DataError(f"{len(problems)} of {count} {key} cannot be used:\n{listed(problems, 50)}")
        return [result for result in results if isinstance(result, Source)]

    def _kept_size(self, cutout: Source) -> tuple[int, int]:
        """Return the size at which a cut-out is kept: twice the largest that it is used at, if it is larger."""
        largest = max(min(b.height / cutout.height, b.width / cutout.width) for b in self.backgrounds)
        factor = min(1.0, 2 * (self.scale[1] * largest))
        return max(1, round(cutout.height * factor)), max(1, round(cutout.width * factor))

    def _read_cutout(self, number: int) -> Array:
        source = self.cutouts[number]
        cutout = read_cutout(self.folders["cutouts"] / source.path, self.mask_threshold)
        return resize(cutout, *self._kept_size(source))


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
        raise DataError(
            f"{path}: expected a cut-out with an alpha channel, found {image.shape[2]} channels without; save it as "
            "PNG with transparency"
        )
    image = _unit(image, path)
    alpha = image[..., -1]
    if alpha.min() == 1 or np.rint(255 * alpha.max()) < threshold:
        raise DataError(
            f"{path}: expected alpha that is less than 255 around the object and at least {threshold} "
            f"(make.mask_threshold) in it, found {255 * alpha.min():.0f} to {255 * alpha.max():.0f}; cut the object "
            "out, or remove the file"
        )
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    seen = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    light = to_light(np.broadcast_to(seen[..., :-1], (*seen.shape[:2], 3)))
    return np.dstack([light * seen[..., -1:], seen[..., -1:]]).astype(np.float32)


def _unit(image: Image, path: Path) -> Array:
    """Return an image as float32 of 0..1."""
    values: Array = image.astype(np.float32) / np.float32(dtype_range(image.dtype))
    if values.min() < 0 or values.max() > 1:
        found = f"{values.min():g} to {values.max():g}"
        raise DataError(f"{path}: expected values from 0 to 1 in floating point, found {found}; save it with 16 bits")
    return values


# Pasting: in linear light, without fringes ----------------------------------------------------------------------------


def resize(image: Array, height: int, width: int) -> Array:
    """Return an image of another size: averaged over areas when it shrinks, interpolated when it grows."""
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.float32)


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
    mask[inside] = 255 * (np.rint(255 * cutout[..., 3]) >= threshold)
    return image, mask


# The folder -----------------------------------------------------------------------------------------------------------


def _check_root(root: Path, manifest: dict[str, Any]) -> None:
    """Raise unless ``root`` is new, empty, or holds (a part of) just this composite.

    Raises:
        DataError: it is a file, holds something else, or its manifest is damaged.
        UsageError: it holds a composite with other settings or of other files.
    """
    if not root.exists():
        return
    held = sorted(entry.name for entry in root.iterdir() if entry.name != _LOCK) if root.is_dir() else ["a file"]
    if held and MANIFEST not in held:
        raise DataError(
            f"data.root={root}: expected a new or empty folder, or one with {MANIFEST}, found {', '.join(held[:5])}; "
            "name another"
        )
    try:
        there = json.loads((root / MANIFEST).read_text(encoding="utf-8")) if held else manifest
        old, new = ({**about["settings"], **{kind: about[kind] for kind in FOLDERS}} for about in (there, manifest))
        changed = [key if key == "seed" else f"make.{key}" for key in new if old[key] != new[key]]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{root / MANIFEST}: is damaged ({error}); remove {root} and begin again") from error
    if changed:
        raise UsageError(
            f"data.root={root}: was made with another {', '.join(changed)}, see {MANIFEST}; use the same to go on with "
            "it, or another data.root for a new set"
        )
