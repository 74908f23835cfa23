"""What goes into a prediction, an image as a model takes it, and what comes out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionlab.data.cache import stack_channels
from visionlab.data.channels import STAINS, Channels, read_plane, unlike
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError, UsageError, nearest
from visionlab.files import IMAGE, suffix
from visionlab.io import IMAGE_SUFFIXES, Stains, native, read_image, same_view

Array = np.ndarray[Any, Any]
Source = str | os.PathLike[str] | Array
Sources = Mapping[str, Source | Mapping[str, Source]]


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one image.

    Each map, tuple of labels and value is also an attribute, looked for in this order: ``prediction.mask``,
    ``prediction.labels`` (the classes of a head called ``labels``), ``prediction.distance``, ``prediction.Cytosol``.

    Attributes:
        values: name of the quantity -> value, in the unit of the training files; name of the class -> its score, 0..1.
        units: name of the quantity, and of the map -> its unit, empty if it has none.
        path: the file (of several, that of the first stain that is needed), or None for an array.
        maps: name of the head -> H x W float32 in the size of the image: the probability of the foreground for masks
            and instances, a distance for depth.
        decided: name of the head -> the classes that the image has, by their scores and the thresholds of the head.
    """

    values: Mapping[str, float]
    units: Mapping[str, str]
    path: str | None = None
    maps: Mapping[str, Array] = field(default_factory=dict)
    decided: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        # Looked up in __dict__: copying asks for attributes before there are any.
        named = [self.__dict__.get(key, {}) for key in ("maps", "decided", "values")]
        for found in named:
            if name in found:
                return found[name]
        there = ", ".join(key for found in named for key in found)
        raise AttributeError(f"no predicted value '{name}'; there are: {there}")


class SourceImage(NamedTuple):
    """An image as it was given, H x W x C, and its file, if it was one."""

    image: Array
    path: str | None


@dataclass(frozen=True)
class Prepared:
    """The inputs of one sample as the network takes them.

    Attributes:
        values: C x h x w, the inputs one after the other, ``uint8`` or ``float32``.
        size: height and width of the image as it was given.
        path: the file, or None for an array.
    """

    values: Array
    size: tuple[int, int]
    path: str | None


@dataclass(frozen=True)
class Sampling:
    """How a model takes its samples.

    Attributes:
        inputs: names of what it sees of each; the first is the image.
        spec: of the :class:`Channels` of the image; empty for images of one file.
        preprocess: as in training.
        whole: keep all of the image (for maps), rather than the window that a network for single values takes.
        neighbours: planes below and above its own that are seen of each image of a volume; an image by itself has none
            and stands in their place.
    """

    inputs: tuple[str, ...]
    spec: tuple[str, ...]
    preprocess: Preprocess
    whole: bool
    neighbours: int = 0

    @cached_property
    def channels(self) -> Channels | None:
        """What the image is made of, or None for images of one file."""
        return Channels(self.spec) if self.spec else None


def check_inputs(inputs: Sequence[str], others: Iterable[str]) -> None:
    """Check that the further inputs given are those that the network takes.

    Raises:
        UsageError: one is missing, or there is no such input.
    """
    given = set(others)
    wanted = set(inputs[1:])
    for name in sorted(given - wanted):
        takes = f"image and {', '.join(inputs[1:])}" if wanted else "the image alone"
        raise UsageError(f"'{name}': the model takes {takes}.{nearest(name, wanted)}")
    if wanted - given:
        name = min(wanted - given)
        raise UsageError(
            f"the model was trained with image and {', '.join(inputs[1:])}: give the {name} as well, in Python as "
            f"{name}=PATH, in the shell as --with {name}=PATH"
        )


def prepare(sources: Sources, samplings: Sequence[Sampling], stains: Sequence[str]) -> list[Prepared]:
    """Return a sample as each model takes it; what several take alike is read and prepared once.

    Args:
        sources: input name -> path or array, or for images of several files: {stain: path or array}.
        samplings: of the models.
        stains: those that an array or a single file holds as its channels, in this order.

    Raises:
        DataError: a file cannot be read, an array is no image, or the inputs are not the same picture.
        UsageError: a stain is missing, or there is no such stain.
        TypeError: it is something else.
    """
    opened: dict[tuple[int | str, ...], SourceImage] = {}
    found: dict[Sampling, Prepared] = {}
    for sampling in dict.fromkeys(samplings):
        own = {}
        for name in sampling.inputs:
            channels = sampling.channels if name == IMAGE else None
            seen = sampling.preprocess.stains
            way = (name, *(channels.spec if channels else seen))
            if way not in opened:
                opened[way] = _open_stained(sources[name], channels, stains) if channels else _open(sources[name], seen)
            own[name] = opened[way]
        found[sampling] = _preprocessed(own, sampling)
    return [found[sampling] for sampling in samplings]


def _preprocessed(opened: Mapping[str, SourceImage], sampling: Sampling) -> Prepared:
    preprocess = sampling.preprocess
    (first, path), *_ = opened.values()
    size = preprocess.size(first.shape[0], first.shape[1], path or "array")
    parts = []
    for image, where in opened.values():
        if not same_view(first.shape[:2], image.shape[:2]):
            raise DataError(
                f"{where or 'array'}: {image.shape[0]} x {image.shape[1]} pixels, but its image has {first.shape[0]} x "
                f"{first.shape[1]}; expected the same picture"
            )
        resized = preprocess.resize(image, where or "array", size)
        limits = preprocess.limits(image) if preprocess.scale == "percentile" else None
        plane = preprocess.unit(resized if sampling.whole else preprocess.window(resized), limits)
        parts += [plane] * (2 * sampling.neighbours + 1)
    return Prepared(stack_channels(parts), (first.shape[0], first.shape[1]), path)


def _open(source: Any, stains: Stains = ()) -> SourceImage:
    if isinstance(source, np.ndarray):
        return SourceImage(_checked(source), None)
    if isinstance(source, str | os.PathLike):
        return SourceImage(read_image(source, stains), str(source))
    raise TypeError(f"expected an image's path, a NumPy array or a list of these, found {type(source).__name__}")


def _open_stained(source: Any, channels: Channels, stains: Sequence[str]) -> SourceImage:
    """Return the channels of a sample.

    Args:
        source: any one of its files, their path without the stain, {stain: path or array}, or all ``stains`` in one
            array or file.
        channels: that are wanted.
        stains: see :func:`prepare`.
    """
    if isinstance(source, Mapping):
        return _from_mapping(source, channels, stains)
    if isinstance(source, np.ndarray):
        planes, path = _checked(source), None
        if planes.shape[2] != len(stains):
            wanted = f"H x W x {len(stains)} ({', '.join(stains)})"
            raise DataError(f"array: expected {wanted}, found shape {source.shape}")
    elif isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if channels.split(path) is None and not Path(path).is_file() and suffix(path) not in IMAGE_SUFFIXES:
            # The path without the stain: as good as that of a file.
            path = f"{path}_{channels.names[0]}.png"
        if channels.split(path) is not None:
            files = list(channels.files(path).values())
            return SourceImage(channels.read_files(files), str(files[0]))
        planes = Channels(stains).read(path)
    else:
        kinds = "an image's path, a NumPy array, a mapping of stains or a list of these"
        raise TypeError(f"expected {kinds}, found {type(source).__name__}")
    places = [stains.index(name) for name in channels.names]
    return SourceImage(channels.compose(planes[:, :, places]), path)


def _from_mapping(sources: Mapping[str, Any], channels: Channels, stains: Sequence[str]) -> SourceImage:
    known = dict.fromkeys((*stains, *STAINS))
    for name in sources:
        if name not in known:
            raise UsageError(f"'{name}': expected stains of {', '.join(known)}.{nearest(str(name), known)}")
    if missing := [name for name in channels.names if name not in sources]:
        raise UsageError(f"the model needs {', '.join(channels.names)}: no {', '.join(missing)} was given")
    planes: list[Array] = []
    paths: list[str | None] = []
    for name in channels.names:
        source = sources[name]
        path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        plane = read_plane(path) if path is not None else _open(source).image
        where = path or f"array '{name}'"
        if plane.shape[2] != 1:
            raise DataError(f"{where}: expected one channel, H x W, found {plane.shape[2]}")
        if planes and (other := unlike(plane, planes[0])):
            raise DataError(f"{where}: {other} '{channels.names[0]}'; expected all stains of a sample alike")
        planes.append(plane)
        paths.append(path)
    return SourceImage(channels.compose(np.concatenate(planes, axis=2)), paths[0])


def _checked(array: Array) -> Array:
    """Return an array as H x W x C.

    Raises:
        DataError: it is no image.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(f"array: expected H x W or H x W x C, found shape {array.shape}")
    array = as_in_files(array)
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise DataError("array: expected finite values, found NaN or infinity")
    return array


def as_in_files(array: Array) -> Array:
    """Return an array in the order of bytes of this machine.

    Raises:
        DataError: its type is none that images are read as.
    """
    array = native(array)
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(
            f"array: expected uint8, uint16 or float32 as in the files, found {array.dtype}; convert it, keeping the "
            "scale"
        )
    return array
