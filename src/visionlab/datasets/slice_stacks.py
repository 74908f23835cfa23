"""Images that are slices of one volume, each in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from visionlab.console import LOG
from visionlab.datasets.time_points import Point
from visionlab.files import Problem


def stack(points: Sequence[Point]) -> tuple[list[Point], list[Problem]]:
    """Join images that are slices of one time point into volumes, all or none, and return what is wrong with groups.

    They are volumes if in every time point of a sequence the numbers of the slices follow each other without a gap and
    the slices are of one size; else each image stands for itself.
    """
    groups: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        if point.time < 0 or point.zs == [-1]:
            return list(points), []
        groups.setdefault((point.sequence, point.time), []).append(point)
    problems: list[Problem] = []
    stacks = [sorted(slices, key=lambda point: point.zs[0]) for slices in groups.values()]
    for first, *others in stacks:
        for point in others:
            if point.group != first.group:
                what = f"is of group '{point.group}', but {first.where}, another slice of the time, of '{first.group}'"
                problems.append(Problem(point.where, what, "give all slices of a time point one group"))
    reason = next(filter(None, map(_apart, stacks)), "")
    if reason or max(map(len, stacks), default=1) == 1:
        if reason:
            LOG.info("the images are not taken as slices of volumes: %s", reason)
        return list(points), problems
    digits = max(3, *(len(str(point.time)) for point in points))
    return [_joined(slices, digits) for slices in stacks], problems


def _apart(slices: Sequence[Point]) -> str:
    """Return why slices, sorted by number, are no volume; empty if they are."""
    numbers = [point.zs[0] for point in slices]
    where = f"of time {slices[0].time} in sequence {slices[0].sequence}"
    if len({point.size for point in slices}) > 1:
        return f"those {where} have several sizes"
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[-1] - numbers[0] + 1 - len(numbers)} between the first and last {where} are missing"
    return ""


def repeated(points: Sequence[Point]) -> Iterator[Problem]:
    """Yield a problem for each time point, or name of a slice, that is there before."""
    seen: dict[tuple[str, int, int], Point] = {}
    names: dict[str, Point] = {}
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


def _joined(slices: Sequence[Point], digits: int) -> Point:
    """Return the volume of slices that are sorted by their number."""
    first = slices[0]
    return Point(
        f"{first.sequence}_t{first.time:0{digits}d}",
        first.sequence,
        first.time,
        first.group,
        [point.planes[0] for point in slices],
        [point.zs[0] for point in slices],
        [point.ids[0] for point in slices],
        first.size,
        True,
        first.voxel,
        {place: point.truth[0] for place, point in enumerate(slices) if point.truth},
        {place: point.gold[0] for place, point in enumerate(slices) if point.gold},
        first.where,
    )
