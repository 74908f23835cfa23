"""Voxel sizes in micrometres and intervals in seconds, from and to what OME, ImageJ and plain TIFF files say."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import tifffile

from visionlab.io.volume import UNKNOWN_VOXEL, VoxelSize

_LENGTHS = {
    "pm": Fraction(1, 10**6),
    "å": Fraction(1, 10**4),
    "nm": Fraction(1, 10**3),
    **dict.fromkeys(("µm", "um", "micron", "microns", "micrometer", "micrometre"), Fraction(1)),
    "mm": Fraction(10**3),
    "cm": Fraction(10**4),
    "m": Fraction(10**6),
}
_TIMES = {
    **dict.fromkeys(("µs", "us"), Fraction(1, 10**6)),
    "ms": Fraction(1, 10**3),
    **dict.fromkeys(("s", "sec", "second", "seconds"), Fraction(1)),
    **dict.fromkeys(("min", "minute", "minutes"), Fraction(60)),
    **dict.fromkeys(("h", "hour", "hours"), Fraction(3600)),
    "d": Fraction(86400),
}
_RESOLUTION_UNITS = {2: Fraction(25400), 3: Fraction(10**4)}  # inch and centimetre, TIFF 6.0
_MOST_RATIONAL = 2**32 - 1
# Micrometres from which on the resolution of a plain TIFF is taken as one of printing (600 dpi is 42) and not used.
_PRINTED = 20.0


def ome_scale(pixels: Mapping[str, str]) -> tuple[VoxelSize, float | None]:
    """Return voxel size and interval of the attributes of OME's pixels."""
    z, y, x = (
        _scaled(pixels.get(f"PhysicalSize{axis}"), _LENGTHS.get(_plain(pixels.get(f"PhysicalSize{axis}Unit", "µm"))))
        for axis in "ZYX"
    )
    unit = _TIMES.get(_plain(pixels.get("TimeIncrementUnit", "s")))
    return (z, y, x), _scaled(pixels.get("TimeIncrement"), unit)


def tiff_scale(page: tifffile.TiffPage, said: Mapping[str, Any], *, imagej: bool) -> tuple[VoxelSize, float | None]:
    """Return voxel size and interval of an ImageJ or plain TIFF file.

    Args:
        page: with the resolution: pixels a unit.
        said: its description: ``unit`` of all, ``spacing`` in z, and ``yunit`` and ``zunit`` where they differ.
        imagej: the resolution is in the description's unit whatever the tag says, as ImageJ writes it.
    """
    unit = said.get("unit")
    tagged = None if imagej else _RESOLUTION_UNITS.get(int(page.tags.valueof("ResolutionUnit", default=2)))
    sides = []
    for tag, name in (("YResolution", said.get("yunit", unit)), ("XResolution", unit)):
        side = _inverse(page.tags.valueof(tag), tagged or _LENGTHS.get(_plain(name)))
        printed = not imagej and unit is None and side is not None and side >= _PRINTED
        sides.append(None if printed else side)
    # ImageJ notes the direction of a stack in the sign.
    spacing = said.get("spacing")
    depth = abs(spacing) if isinstance(spacing, int | float) else None
    voxel_size = (_scaled(depth, _LENGTHS.get(_plain(said.get("zunit", unit)))), sides[0], sides[1])
    interval = _scaled(said.get("finterval"), _TIMES.get(_plain(said.get("tunit", "s"))))
    return voxel_size if any(voxel_size) else UNKNOWN_VOXEL, interval


def _plain(unit: object) -> str:
    """Return a unit's name in one of its spellings."""
    if not isinstance(unit, str):
        return ""
    text = re.sub(r"\\u00[bB]5|\u03bc|\ufffd(?=m$)", "µ", unit.strip())
    return text if text == "m" else text.lower()


def _scaled(value: object, factor: Fraction | None) -> float | None:
    """Return a number in another unit, exactly rounded; None if it or the unit (pixel, for instance) is no size."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    if factor is None or isinstance(value, bool) or not math.isfinite(number) or number <= 0:
        return None
    return _float(Fraction(repr(number)) * factor)


def _inverse(rational: object, factor: Fraction | None) -> float | None:
    """Return ``factor`` over a rational, exactly rounded."""
    if factor is None or not isinstance(rational, tuple) or len(rational) != 2:
        return None
    numerator, denominator = (int(part) for part in rational)
    return _float(Fraction(denominator, numerator) * factor) if min(numerator, denominator) > 0 else None


def _float(value: Fraction) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number > 0 else None


Resolution = tuple[tuple[int, int], tuple[int, int]]


def tiff_resolution(voxel_size: VoxelSize, *, imagej: bool) -> tuple[Resolution | None, str]:
    """Return the tags of a file with such voxels: pixels a unit in x and y, and the unit.

    That is a micrometre for ImageJ, which its description says, else a centimetre.
    """
    _, y, x = voxel_size
    scale = 1 if imagej else 10**4
    sides = [_rational(Fraction(scale) / Fraction(side)) if side else None for side in (x, y)]
    if sides[0] is None or sides[1] is None:
        return None, "NONE"
    return (sides[0], sides[1]), "NONE" if imagej else "CENTIMETER"


def _rational(value: Fraction) -> tuple[int, int] | None:
    """Return the nearest numerator and denominator of 32 bits each."""
    if value > 1:
        inverse = _rational(1 / value)
        return inverse and (inverse[1], inverse[0])
    near = value.limit_denominator(_MOST_RATIONAL)
    return (near.numerator, near.denominator) if near > 0 else None
