"""Time points of a data set of labelled volumes: the planes of each, and where the labels of these are.

A layout says which label file belongs to which image file. Here the headers of both are read, on all cores, and each is
checked against the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from visionlab.console import LOG, progress
from visionlab.errors import DataError
from visionlab.files import Problem, in_parallel, problem_of
from visionlab.io import Volume, VoxelSize, open_labels, open_volume, plane, same_view

IMAGE_VARIABLE, LABEL_VARIABLE = "embryo", "membSeg"
"""Variables of MATLAB files that hold images and labels."""


@dataclass(frozen=True)
class Pair:
    """An image file and a label file of it.

    Attributes:
        image, label: paths relative to the root; no label, an empty path, for slices beside labelled ones.
        name: of the image's time point.
        sequence: what the time points belong to; empty: nothing is known.
        time: number of the (first) time point in the sequence; -1: unknown.
        z: the slice of the image that the label file shows; None: the label shows all that the image does.
        group: what belongs together, where the data say so; else empty.
        where: what a problem names; by default the label file.
        gold: the labels are a second truth, beside another one.
        scaled: the label volume may be sampled otherwise than the image; both show the same space.
        stacked: an image without an axis Z is slice ``z`` of a volume whose other slices are in other files.
    """

    image: str
    label: str
    name: str
    sequence: str = ""
    time: int = -1
    z: int | None = None
    group: str = ""
    where: str = ""
    gold: bool = False
    scaled: bool = False
    stacked: bool = False


@dataclass
class TimePoint:
    """A time point: Z slices of one size, from the bottom.

    Attributes:
        name, sequence, time, group: as in :class:`Pair`.
        planes: Z files, or planes of files, relative to the root.
        zs: Z numbers of the slices; -1 for an image that is no slice of a volume.
        ids: Z names.
        size: height, width and channels of each plane.
        volume: whether there is an axis Z at all; a volume may have a single slice.
        voxel: size in micrometres (z, y, x), None where the file does not tell.
        truth: place in ``planes`` -> file or plane with its labels.
        gold: the same for the second truth, if any.
        where: what a problem names.
    """

    name: str
    sequence: str
    time: int
    group: str
    planes: list[str]
    zs: list[int]
    ids: list[str]
    size: tuple[int, int, int]
    volume: bool
    voxel: VoxelSize
    truth: dict[int, str] = field(default_factory=dict)
    gold: dict[int, str] = field(default_factory=dict)
    where: str = ""


def build(pairs: Sequence[Pair], root: Path, digits: int = 3) -> tuple[list[TimePoint], list[Problem]]:
    """Return the time points of pairs whose files fit each other, in their order, and what is wrong with the others.

    Args:
        pairs: several may be of one image; a label file of the whole image comes before those of single slices.
        root: of the data.
        digits: of numbers in the names of slices, at least.
    """
    paths = [*dict.fromkeys((pair.image, False) for pair in pairs)]
    paths += [*dict.fromkeys((pair.label, True) for pair in pairs if pair.label)]
    read = in_parallel(lambda item: _header(root, *item), paths)
    heads = dict(zip(paths, progress(read, len(paths), "reading headers"), strict=True))
    problems = list({head.path: head for head in heads.values() if isinstance(head, Problem)}.values())
    points: dict[tuple[str, int], TimePoint] = {}
    for pair in pairs:
        image, label = heads[pair.image, False], heads.get((pair.label, True))
        if isinstance(image, Problem) or isinstance(label, Problem):
            continue
        wrong = _misfit(pair, image, label) if label else None
        first = points.get((pair.image, 0))
        if not wrong and first and first.group != pair.group:
            wrong = f"is of group '{pair.group}', but {first.where} of '{first.group}'", "give one volume one group"
        if wrong:
            problems.append(Problem(pair.where or pair.label, *wrong))
            continue
        for t in range(image.frames):
            point = points.setdefault((pair.image, t), _point(pair, image, t, digits))
            truth = point.gold if pair.gold else point.truth
            for place, name in _labels(pair, image, label, t) if label else ():
                truth.setdefault(place, name)
    return list(points.values()), problems


def _header(root: Path, path: str, is_label: bool) -> Volume | Problem:
    """Return what the header of an image or label file says, or what is wrong with the file."""
    try:
        head = open_labels(root / path) if is_label else open_volume(root / path)
    except DataError as error:
        return problem_of(error, path, root / path)
    if is_label and head.lossy:
        what = f"labels compressed as {head.lossy}, which changes the numbers of objects at their edges"
        return Problem(path, what, "export them again as PNG or TIFF: converting this file does not mend them")
    return head


def _point(pair: Pair, image: Volume, t: int, digits: int) -> TimePoint:
    planes, single = image.planes, image.frames * image.planes == 1
    volume = "Z" in image.axes
    name = pair.name if image.frames == 1 else f"{pair.name}_t{t:0{digits}d}"
    zs = list(range(planes)) if volume else [pair.z if pair.stacked and pair.z is not None else -1]
    return TimePoint(
        name,
        pair.sequence or (pair.name if image.frames > 1 else ""),
        max(pair.time, 0) + t if image.frames > 1 or pair.time >= 0 else -1,
        pair.group,
        [pair.image if single else plane(pair.image, t * planes + z) for z in range(planes)],
        zs,
        [f"{name}_z{z:0{digits}d}" for z in range(planes)] if volume else [name],
        (image.height, image.width, image.channels),
        volume,
        image.voxel_size,
        where=pair.where,
    )


def _labels(pair: Pair, image: Volume, label: Volume, t: int) -> Iterator[tuple[int, str]]:
    """Yield places of the image's slices in time point ``t``, and the plane with the labels of each."""
    if pair.z is not None:
        yield (pair.z if "Z" in image.axes else 0), pair.label
        return
    single = label.frames * label.planes == 1
    for z in range(image.planes):
        # By physical position: the middle of the slice. Alike for equal samplings.
        index = t * label.planes + (2 * z + 1) * label.planes // (2 * image.planes)
        yield z, (pair.label if single else plane(pair.label, index))


def _misfit(pair: Pair, image: Volume, label: Volume) -> tuple[str, str] | None:
    """Return what is wrong with a label file beside its image, and what to do."""
    mine, other = ((one.frames, one.planes, one.height, one.width) for one in (image, label))
    if pair.scaled and label.frames == image.frames and same_view(mine[2:], other[2:]):
        return None
    # Labels of one slice of an image that holds others, too.
    part = None if pair.stacked and "Z" not in image.axes else pair.z
    if part is not None and part >= image.planes:
        what = f"is of slice {part}, but its image {pair.image} has the slices 0 to {image.planes - 1}"
        return what, "correct the number or remove the file"
    if other == (mine if part is None else (1, 1, *mine[2:])) and (part is None or image.frames == 1):
        return None
    if mine != other and Counter(mine) == Counter(other):
        advice = "the axes look to be in another order: save both with the axes time, z, y, x in this order"
    elif other[:2] == (1, 1) and part is None:
        advice = "say of which slice it is (man_seg_TIME_SLICE.tif, or a column z), or save labels of all slices"
    else:
        advice = "expected equal sizes, or the labels of one slice with its number: export both alike"
    return f"is {describe(label)}, but its image {pair.image} is {describe(image)}", advice


def describe(volume: Volume) -> str:
    """Return the size of a file in words, e.g. ``35 x 512 x 708 (z, y, x)``."""
    axes = volume.axes.removesuffix("C")
    sizes = " x ".join(str(size) for size in volume.shape[: len(axes)])
    return f"{sizes} ({', '.join(axes.lower())})"


# Slices in files of their own --------------------------------------------------------------------------------------


def stack(points: Sequence[TimePoint]) -> tuple[list[TimePoint], list[Problem]]:
    """Join images that are slices of one time point into volumes, all or none, and return what is wrong with groups.

    They are volumes if in every time point of a sequence the numbers of the slices follow each other without a gap and
    the slices are of one size; else each image stands for itself.
    """
    if any(point.time < 0 or point.zs == [-1] for point in points):
        return list(points), []
    times: dict[tuple[str, int], list[TimePoint]] = {}
    for point in sorted(points, key=lambda point: point.zs[0]):
        times.setdefault((point.sequence, point.time), []).append(point)
    stacks = list(times.values())
    problems = []
    for first, *others in stacks:
        for point in others:
            if point.group != first.group:
                what = f"is of group '{point.group}', but {first.where}, of the same time, of '{first.group}'"
                problems.append(Problem(point.where, what, "give all slices of a time point one group"))
    if len(stacks) == len(points):
        return list(points), problems
    digits = max([3, *(len(str(point.time)) for point in points)])
    joined = [_joined(slices, digits) for slices in stacks]
    whole = [one.zs == list(range(one.zs[0], one.zs[0] + len(one.zs))) for one in joined]
    if not all(whole) or any(len({point.size for point in slices}) > 1 for slices in stacks):
        LOG.info("the images are not taken as slices of volumes: some are missing, or they have several sizes")
        return list(points), problems
    return joined, problems


def _joined(slices: Sequence[TimePoint], digits: int) -> TimePoint:
    """Return the volume of slices that are sorted by their number."""
    first = slices[0]
    return replace(
        first,
        name=f"{first.sequence}_t{first.time:0{digits}d}",
        planes=[point.planes[0] for point in slices],
        zs=[point.zs[0] for point in slices],
        ids=[point.ids[0] for point in slices],
        volume=True,
        truth={place: point.truth[0] for place, point in enumerate(slices) if point.truth},
        gold={place: point.gold[0] for place, point in enumerate(slices) if point.gold},
    )


def repeated(points: Sequence[TimePoint]) -> Iterator[Problem]:
    """Yield a problem for each time point, or name of a slice, that is there before."""
    seen: dict[tuple[str, int, int], TimePoint] = {}
    names: dict[str, TimePoint] = {}
    for point in points:
        number = point.zs[0] if not point.volume else -1
        key = (point.sequence, point.time, number)
        if point.time >= 0 and (first := seen.setdefault(key, point)) is not point:
            slice_ = f", slice {number}" if number >= 0 else ""
            what = f"is of sequence {point.sequence}, time {point.time}{slice_}, as {first.where or first.planes[0]} is"
            yield Problem(point.where or point.planes[0], what, "keep one of the two, or number them apart")
        elif (first := names.setdefault(point.ids[0], point)) is not point:
            what = f"has the same name as {first.planes[0]}: {point.ids[0]}"
            yield Problem(point.where or point.planes[0], what, "rename one of the two")
