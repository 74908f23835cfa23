"""From a network's maps to objects: each slice by itself, then linked through z.

Plain NumPy, SciPy and scikit-image. A plane takes up to 35 bytes a pixel beside its maps (600 MB for 4096 x 4096), 50
where one object covers it all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from visionlab.errors import ConfigError
from visionlab.heads.instances import Cells, Separate
from visionlab.heads.instances.objects import link_planes

Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Heights = npt.NDArray[np.float32]
Maps = npt.NDArray[np.float32]

EIGHT = np.ones((3, 3), dtype=bool)
"""Neighbours by side and by corner. Foreground is joined by sides only, so that corners join the background."""

SIDES = (
    ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
)
"""The two pairs of windows that lay each pixel of a plane beside its right and its lower neighbour."""

DISTANCE_UNIT = 8
"""Pixels that a predicted distance of 1 stands for, as of the targets that networks learn."""

_STRIP = 1 << 20  # pixels of a strip
_DEEP = 16.0  # pixels: a gap in a wall that is twice as wide is none; the depth beyond tells nothing
_TRUST = 0.75  # how far a predicted boundary lowers the height: to nothing would lose objects that are all boundary
_SMALL_HOLE = 0.1  # of the area around it


Share = Annotated[float, Field(ge=0, le=1)]
AtLeastZero = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=ConfigDict(allow_inf_nan=False))
class Parameters:
    """How objects are made out of maps. Fitted on validation data, kept in the checkpoint as a list.

    Attributes:
        threshold: from which probability on a pixel is foreground (with enclosed cells: wall), 0 to 1.
        prominence: how far a part must stand out to be an object of its own: by how many pixels its inner radius (as it
            appears by what separates, see :func:`segment_plane`) exceeds half the neck that joins it to a larger one;
            with enclosed cells, half the gap in their wall.
        min_area: objects of a slice with fewer pixels are dropped, 0 keeps all.
        link: of a volume. Cross-sections in neighbouring slices are one object if they overlap by at least this share
            of the largest cross-section on either side of them, whichever is smaller; 0 to 1.
        min_planes: of a volume. Objects that are in fewer slices are dropped, 1 keeps all.
    """

    threshold: Share = 0.5
    prominence: AtLeastZero = 1.0
    min_area: AtLeastZero = 0.0
    link: Share = 0.5
    min_planes: Annotated[int, Field(ge=1)] = 1

    @classmethod
    def from_list(cls, values: Sequence[float]) -> Self:
        """Return the parameters whose values are these, in the order of the fields.

        Raises:
            ConfigError: one is out of its bounds, as in a checkpoint that was changed.
        """
        try:
            return cls(*values)  # type: ignore[arg-type]  # pydantic refuses a count that isn't whole
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = fields(cls)[int(first["loc"][0])].name
            raise ConfigError(f"post-processing: {name}: {first['msg']}, found {first['input']}") from error


def segment(maps: Maps, parameters: Parameters, *, separate: Separate, cells: Cells, volume: bool) -> Labels:
    """Return the objects of a frame, Z x H x W ids, 0 background. Of a volume 1..n without gaps, else in each plane.

    Args:
        maps: Z x K x H x W, see :func:`segment_plane`.
        parameters: as they are fitted.
        separate: what the second of the maps is, or ``none``.
        cells: whether objects are the foreground or what it encloses.
        volume: whether planes are slices of a volume, whose objects are linked through z. Otherwise each is an image of
            its own.
    """
    labels = np.stack([segment_plane(plane, parameters, separate=separate, cells=cells) for plane in maps])
    return link_planes(labels, link=parameters.link, min_planes=parameters.min_planes) if volume else labels


def segment_plane(maps: Maps, parameters: Parameters, *, separate: Separate, cells: Cells) -> Labels:
    """Return the objects of one plane.

    **Filled** objects are the connected parts (by sides) of the foreground. A part is divided at its necks, where a
    height has several peaks that stand out. The height is how deep a pixel lies within its object:

    - ``none``: the distance to the edge of the foreground;
    - ``boundary``: that distance, down to a quarter of it where the maps say boundary rather than inside;
    - ``distance``: the harmonic mean of that distance and the predicted one, so that both must be large.

    Both are mixed because neither is sure: a predicted map is noisy, a shape ambiguous. Mean of F1 (IoU 0.5) and SEG
    with perfect maps, of 3183 nuclei (dsb2018) and of 1100 cross-sections of crowded ones (BBBC050): ``none`` 0.948 and
    0.886, ``boundary`` 0.981 and 0.919, ``distance`` 0.991 and 0.941. With maps of a small U-Net of 1258 unseen nuclei
    of dsb2018: 0.817, 0.820, 0.819, and 0.815 at best with the predicted distance alone. With maps of one that was
    trained for less: 0.805, 0.805, 0.796, and 0.225 with the parts where boundaries are improbable as seeds.

    Holes are filled where one object alone surrounds them; a gap between touching objects stays background, and so does
    a hole that holds another object.

    **Enclosed** objects are the spaces between walls, divided at necks too, so that small gaps in a wall don't join two
    cells; each reaches to the middle of its walls (a watershed on the wall's probability). A space that touches the
    image's edge is the outside, one no deeper than ``prominence`` a flaw of the wall: neither is an object.

    Args:
        maps: K x H x W probabilities 0 to 1: K = 1: foreground (or walls); K = 2: foreground, boundary or distance.
            NaN is background.
        parameters: all but ``link`` and ``min_planes``.
        separate: what the second map is; with ``none`` it may be missing.
        cells: filled or enclosed.

    Returns:
        H x W ids 1..n without gaps, 0 background.
    """
    if cells == "enclosed":
        return _enclosed(maps[0], parameters)
    return drop_small(_filled(maps, parameters, separate), parameters.min_area)


def drop_small(labels: Labels, min_area: float) -> Labels:
    """Return a plane's labels without those of fewer pixels, numbered 1..n."""
    kept = np.bincount(labels.ravel()) >= max(1, min_area)
    kept[0] = False
    return (np.cumsum(kept) * kept).astype(np.int32)[labels]


def _filled(maps: Maps, parameters: Parameters, separate: Separate) -> Labels:
    """Return objects, numbered with gaps."""
    foreground = maps[0] >= parameters.threshold
    if not foreground.any():
        return np.zeros(foreground.shape, np.int32)
    parts: Labels = ndimage.label(foreground)[0]
    holes = _holes(foreground)
    every = np.arange(parts.max() + 1) > 0
    labels = _divided(parts, every, maps, parameters.prominence, separate)
    owners = _owners(holes, parts)
    small = (owners > 0) & (np.bincount(holes.ravel()) <= _SMALL_HOLE * np.bincount(parts.ravel())[owners])
    small[0] = False
    if small.any():
        # Holes dent the distance to the edge, so that they may split a nucleus: then it is fewer objects without them.
        # The gap between three that touch is a small hole too, and filling it doesn't make them fewer. Large holes are
        # never filled beforehand: a ring of objects would become one disc.
        solid = np.where(small[holes], owners[holes], parts)
        pierced = np.isin(np.arange(len(every)), owners[small])
        whole = _divided(solid, pierced, maps, parameters.prominence, separate)
        simpler = pierced & (_objects(whole, solid, len(every)) < _objects(labels, parts, len(every)))
        labels = np.where(simpler[solid], whole + labels.max(), labels)
    _fill(labels, holes)
    return labels


def _objects(labels: Labels, parts: Labels, n_parts: int) -> npt.NDArray[np.intp]:
    """Return how many labels there are in each part."""
    part_of = np.zeros(int(labels.max()) + 1, np.int32)
    part_of[labels] = parts
    return np.bincount(part_of[1:], minlength=n_parts)


def _divided(parts: Labels, chosen: Mask, maps: Maps, prominence: float, separate: Separate) -> Labels:
    """Return the objects that the chosen parts (a flag for each number) consist of, 1..n."""
    labels = np.zeros_like(parts)
    n = 0
    for rows, of in _strips(parts, chosen):
        mask = of[parts[rows]]
        across = np.flatnonzero(mask.any(axis=0))
        columns = slice(int(across[0]), int(across[-1]) + 1)
        mask = mask[:, columns]
        found = basins(_height(maps[:, rows, columns], mask, separate), mask, prominence)[0]
        labels[rows, columns][mask] = found[mask] + n
        n += int(found.max())
    return labels


def _height(maps: Maps, mask: Mask, separate: Separate) -> Heights:
    """Return how deep within its object each pixel of a mask seems to be, in pixels."""
    depth = inner_distance(mask)
    if separate == "boundary":
        interior = np.nan_to_num(maps[0] * (1 - maps[1]))
        return np.asarray(depth * (1 - _TRUST + _TRUST * interior), np.float32)
    if separate == "distance":
        predicted = DISTANCE_UNIT * np.nan_to_num(maps[1])
        return np.asarray(2 * depth * predicted / np.maximum(depth + predicted, 1), np.float32)
    return depth


def _strips(parts: Labels, chosen: Mask) -> Iterator[tuple[slice, Mask]]:
    """Yield rows of a plane and which of the chosen parts to divide in them: whole parts, each once.

    What separates works on whole windows at 60 bytes a pixel: on strips it needs memory only for what it works on.
    """
    height, width = parts.shape
    first, last = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
    for y in range(height):
        last[parts[y]] = y
        first[parts[height - 1 - y]] = height - 1 - y
    strip = np.where(chosen, first // max(1, _STRIP // width), -1)
    for number in np.unique(strip[chosen]):
        of = strip == number
        yield slice(int(first[of].min()), int(last[of].max()) + 1), of


def _holes(foreground: Mask) -> Labels:
    """Return the parts of the background (joined by corners too) that don't reach the plane's edge, numbered."""
    holes: Labels
    holes, n = ndimage.label(~foreground, structure=EIGHT)
    inside = np.ones(n + 1, bool)
    inside[0] = False
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        inside[edge] = False
    return (np.cumsum(inside) * inside).astype(np.int32)[holes]


def _owners(holes: Labels, labels: Labels) -> npt.NDArray[np.int32]:
    """Return by number of a hole the one label that surrounds it, 0 where there are several."""
    n = int(holes.max())
    low, high = np.full(n + 1, np.iinfo(np.int32).max, np.int32), np.zeros(n + 1, np.int32)
    for one, other in SIDES:
        for inner, outer in ((one, other), (other, one)):
            rim = (holes[inner] > 0) & (holes[outer] == 0)
            np.minimum.at(low, holes[inner][rim], labels[outer][rim])
            np.maximum.at(high, holes[inner][rim], labels[outer][rim])
    return np.where(low == high, low, 0).astype(np.int32)


def _fill(labels: Labels, holes: Labels) -> None:
    """Give each hole to the one object around it, else to the background."""
    if holes.any():
        inside = holes > 0
        labels[inside] = _owners(holes, labels)[holes[inside]]


def _enclosed(walls: Maps, parameters: Parameters) -> Labels:
    space = walls < parameters.threshold
    if space.all() or not space.any():
        return np.zeros(walls.shape, np.int32)
    # Without a border of its own: where the plane ends there is no wall.
    depth = np.minimum(ndimage.distance_transform_edt(space), _DEEP).astype(np.float32)
    cells, depths = basins(depth, space, parameters.prominence)
    flaw = depths <= parameters.prominence
    flaw |= np.bincount(cells.ravel()) < parameters.min_area
    cells = np.where(flaw[cells], np.int32(0), cells)
    outside = np.zeros(len(depths), bool)
    for edge in (cells[0], cells[-1], cells[:, 0], cells[:, -1]):
        outside[edge] = True
    near = ndimage.binary_dilation(cells == 0)  # the spaces are divided already: only what borders on walls grows
    grown = watershed(np.nan_to_num(walls, nan=1.0), np.where(near, cells, 0), mask=near).astype(np.int32, copy=False)
    cells = np.where(near, grown, cells)
    return drop_small(np.where(outside[cells], np.int32(0), cells), parameters.min_area)


def otsu_maps(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the pixels that are brighter than Otsu's threshold of the whole frame, as maps for ``segment``.

    Otsu 1979, "A threshold selection method from gray-level histograms", IEEE Trans. Systems, Man, and Cybernetics. One
    threshold for all slices: one of its own would find objects in slices that have none. Each slice is smoothed first,
    by a Gaussian of one pixel, as anybody would who writes this by hand: noise has no objects.

    Args:
        image: Z x H x W x C of any scale; channels are averaged.

    Returns:
        Z x 1 x H x W of 0 and 1, to be segmented with ``separate="none"``; all 0 for a constant image.
    """
    grey = image[..., 0] if image.shape[-1] == 1 else image.mean(axis=-1, dtype=np.float32)
    smooth = ndimage.gaussian_filter(grey.astype(np.float32), (0, 1, 1))
    return (smooth > threshold_otsu(smooth))[:, None].astype(np.float32)


# Basins --------------------------------------------------------------------------------------------------------------


def inner_distance(mask: Mask) -> Heights:
    """Return the distance in pixels of each pixel of a mask to the nearest one outside; beyond the edge is outside."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.asarray(distance, dtype=np.float32)


def basins(height: Heights, mask: Mask, prominence: float) -> tuple[Labels, Heights]:
    """Divide a mask among the peaks of a height that stand out by at least ``prominence``.

    That is the watershed of the height's h-maxima with h = prominence, in another order: first the watershed of all
    maxima, then of two neighbouring basins the lower one joins the higher if its peak is less than h above the highest
    saddle between them. Every connected part of the mask keeps its highest peak. (Najman and Schmitt 1996, "Geodesic
    saliency of watershed contours and hierarchical segmentation", IEEE TPAMI 18: h is the dynamics of a peak.)

    Args:
        height: H x W, finite in the mask.
        mask: H x W.
        prominence: in the height's unit, from 0; 0 keeps all maxima.

    Returns:
        H x W labels, 1..n without gaps, 0 outside the mask; the n + 1 peaks (of background 0).
    """
    seeds, n = _maxima(height, mask)
    if n == 0:
        return seeds, np.zeros(1, np.float32)
    # What a wide plateau surrounds needs no flooding.
    inner = ndimage.binary_erosion(seeds)
    labels = watershed(-height, np.where(inner, 0, seeds), mask=mask & ~inner).astype(np.int32, copy=False)
    labels[inner] = seeds[inner]
    peaks = np.zeros(n + 1, np.float32)
    np.maximum.at(peaks, seeds[seeds > 0], height[seeds > 0])
    # Kept by number of the peak, so that the result doesn't hang on how equal peaks are sorted.
    kept = _joined(peaks, *_saddles(height, labels), prominence)
    roots, number = np.unique(kept[1:], return_inverse=True)
    renumbered = np.concatenate([[0], number + 1]).astype(np.int32)
    return renumbered[labels], np.concatenate([peaks[:1], peaks[roots]])


def _maxima(height: Heights, mask: Mask) -> tuple[Labels, int]:
    """Return the local maxima, plateaus as one, numbered; one a plateau also where its pixels join by corners."""
    flat = np.where(mask, height, -np.inf).astype(np.float32)
    seeds, _ = ndimage.label((flat == ndimage.maximum_filter(flat, size=3)) & mask, structure=EIGHT)
    # Not across the corner where two parts of the mask touch.
    at = np.flatnonzero(seeds)
    pairs = ndimage.label(mask)[0].ravel()[at].astype(np.int64) << 32 | seeds.ravel()[at]
    numbers, inverse = np.unique(pairs, return_inverse=True)
    seeds.ravel()[at] = inverse + 1
    return seeds, len(numbers)


def _saddles(height: Heights, labels: Labels) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Heights]:
    """Return each pair of neighbouring basins once, the highest saddle between them, highest saddles first."""
    first, second, level = [], [], []
    for one, other in SIDES:
        a, b = labels[one], labels[other]
        apart = (a != b) & (a > 0) & (b > 0)
        first.append(np.minimum(a[apart], b[apart]))
        second.append(np.maximum(a[apart], b[apart]))
        level.append(np.minimum(height[one][apart], height[other][apart]))
    a, b, saddle = np.concatenate(first), np.concatenate(second), np.concatenate(level)
    order = np.lexsort((b, a, -saddle))
    a, b, saddle = a[order], b[order], saddle[order]
    _, once = np.unique(a.astype(np.int64) << 32 | b, return_index=True)
    once.sort()
    return a[once], b[once], saddle[once]


def _joined(
    peaks: Heights, first: npt.NDArray[Any], second: npt.NDArray[Any], saddles: Heights, prominence: float
) -> npt.NDArray[np.int64]:
    """Return for each basin the one whose peak it belongs to."""
    parent, height = list(range(len(peaks))), peaks.tolist()

    def root(of: int) -> int:
        while parent[of] != of:
            parent[of] = parent[parent[of]]
            of = parent[of]
        return of

    for a, b, saddle in zip(first.tolist(), second.tolist(), saddles.tolist(), strict=True):
        low, high = sorted((root(a), root(b)), key=lambda basin: (height[basin], -basin))
        if low != high and height[low] - saddle < prominence:
            parent[low] = high
    return np.array([root(basin) for basin in range(len(peaks))])
