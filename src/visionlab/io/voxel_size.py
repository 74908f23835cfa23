"""Voxel sizes in micrometres and intervals in seconds, from what OME, ImageJ and plain TIFF files say."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from visionlab.io.volume import Voxel

_LENGTHS = {
    "pm": Fraction(1, 10**6),
    "å": Fraction(1, 10**4),
    "nm": Fraction(1, 10**3),
    "µm": Fraction(1),
    "um": Fraction(1),
    "micron": Fraction(1),
    "microns": Fraction(1),
    "micrometer": Fraction(1),
    "micrometre": Fraction(1),
    "mm": Fraction(10**3),
    "cm": Fraction(10**4),
    "m": Fraction(10**6),
}
_TIMES = {
    "µs": Fraction(1, 10**6),
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 10**3),
    "s": Fraction(1),
    "sec": Fraction(1),
    "second": Fraction(1),
    "seconds": Fraction(1),
    "min": Fraction(60),
    "minute": Fraction(60),
    "minutes": Fraction(60),
    "h": Fraction(3600),
    "hour": Fraction(3600),
    "hours": Fraction(3600),
    "d": Fraction(86400),
}
_RESOLUTION_UNITS = {2: Fraction(25400), 3: Fraction(10**4)}  # inch and centimetre, TIFF 6.0

PRINTED = 20.0
"""Micrometres from which on the resolution of a plain TIFF is taken as one of printing (600 dpi is 42) and not used."""


def micrometres(value: object, unit: object = "µm") -> float | None:
    """Return a length in micrometres; None if it or its unit (pixel, for instance) is no size."""
    return _scaled(value, _LENGTHS.get(_plain(unit)))


def seconds(value: object, unit: object = "s") -> float | None:
    """Return a time in seconds; None if it or its unit is none."""
    return _scaled(value, _TIMES.get(_plain(unit)))


def tiff_voxel(said: Mapping[str, Any], resolution: tuple[Any, Any], resolution_unit: int, *, imagej: bool) -> Voxel:
    """Return the voxel size of an ImageJ or plain TIFF file.

    Args:
        said: its description: ``unit`` of all, ``spacing`` in z, and ``yunit`` and ``zunit`` where they differ.
        resolution: its tags for y and x, pixels a unit, as numerator and denominator; None if there are none.
        resolution_unit: its tag: 1 none, 2 inch, 3 centimetre.
        imagej: the resolution is in the description's unit whatever the tag says, as ImageJ writes it.
    """
    unit = said.get("unit")
    units = (said.get("yunit", unit), unit)
    sides: list[float | None] = []
    for rational, name in zip(resolution, units, strict=True):
        factor = _LENGTHS.get(_plain(name)) if imagej or resolution_unit not in _RESOLUTION_UNITS else None
        if factor is None and not imagej:
            factor = _RESOLUTION_UNITS.get(resolution_unit)
        side = _inverse(rational, factor)
        printed = not imagej and unit is None and side is not None and side >= PRINTED
        sides.append(None if printed else side)
    # ImageJ notes the direction of a stack in the sign.
    spacing = said.get("spacing")
    depth = micrometres(abs(spacing) if isinstance(spacing, int | float) else None, said.get("zunit", unit))
    return depth, sides[0], sides[1]


def _plain(unit: object) -> str:
    if not isinstance(unit, str):
        return ""
    text = re.sub(r"\\u00[bB]5|\u03bc|\ufffd(?=m$)", "µ", unit.strip())
    return text if text == "m" else text.lower()


def _scaled(value: object, factor: Fraction | None) -> float | None:
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
