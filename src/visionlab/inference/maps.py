"""Predicted maps as files: masks, depth, overlays."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import imagecodecs
import numpy as np
import tifffile

from visionlab.console import LOG
from visionlab.drawing.images import stretch
from visionlab.errors import UsageError
from visionlab.files import write_bytes, write_json
from visionlab.heads.head import Head
from visionlab.heads.map_head import THRESHOLD, DepthHead, MaskHead
from visionlab.inference.prediction import Prediction
from visionlab.io.planes import read_image

Array = np.ndarray[Any, Any]

_ABOUT = "maps.json"
# The foreground in overlays: vermillion of Okabe & Ito 2008, seen apart from nearly everything.
_TINT = np.array([213, 94, 0], np.float32) / 255


class MapWriter:
    """Writes ``<head>/<name>.png`` (or ``.tif``) for each map and ``overlay/<name>.png``.

    Masks are 0 and 255, cut at a probability of 0.5. Depth is float32 TIFF in the head's unit, or 16-bit PNG in whole
    numbers of the step that ``maps.json`` names (a millimetre where the unit is m; 0 is never written: it means
    unknown).

    Args:
        heads: of the model.
        names: image file -> name of its outputs.
        out: the folder.
        depth_format: ``png`` or ``tif``.

    Raises:
        UsageError: there are folders of these names in ``out`` that no earlier prediction has made.
    """

    def __init__(
        self, heads: Sequence[Head], names: Mapping[str, str], out: Path, depth_format: Literal["png", "tif"]
    ) -> None:
        self.heads = [head for head in heads if isinstance(head, MaskHead | DepthHead)]
        self.names, self.out, self.depth_format = names, out, depth_format
        self.steps = {head.name: _step(head) for head in self.heads if isinstance(head, DepthHead)}
        self._clipped: set[str] = set()
        if self.heads:
            # They may be the labels of a data set.
            others = [name for name in (*(head.name for head in self.heads), "overlay") if (out / name).exists()]
            if others and not (out / _ABOUT).is_file():
                raise UsageError(
                    f"--out {out}: found '{others[0]}' there, not from an earlier prediction; give another folder"
                )
            self._begin({head.name: self._about(head) for head in self.heads})

    def _begin(self, about: dict[str, Any]) -> None:
        path = self.out / _ABOUT
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != about:
            raise UsageError(
                f"--out {self.out}: expected another folder, found maps of other units or another format in it "
                f"({path.name}), with which these would be mixed up"
            )
        write_json(path, about)

    def __call__(self, prediction: Prediction) -> None:
        """Write the maps of one image; nothing where there are none."""
        if not prediction.maps:
            return
        name = self.names[str(prediction.path)]
        for head in self.heads:
            values = prediction.maps[head.name]
            if isinstance(head, MaskHead):
                self._png(head.name, name, np.where(values >= THRESHOLD, np.uint8(255), np.uint8(0)))
            elif self.depth_format == "png":
                self._png(head.name, name, self._counts(head.name, values))
            else:
                self._tif(head, name, values)
        overlay = self._overlay(read_image(str(prediction.path)), prediction.maps)
        self._png("overlay", name, np.rint(overlay * 255).astype(np.uint8))

    def _about(self, head: Head) -> dict[str, Any]:
        if isinstance(head, MaskHead):
            return {"values": "255 foreground, 0 background", "threshold": THRESHOLD}
        if self.depth_format == "tif":
            return {"values": "distance", "unit": head.unit}
        step = self.steps[head.name]
        return {"values": f"distance in steps of {step:g} {head.unit}".rstrip(), "step": step, "unit": head.unit}

    def _counts(self, head: str, values: Array) -> Array:
        counts = np.rint(values / self.steps[head])
        if counts.max() > 65535 and head not in self._clipped:
            self._clipped.add(head)
            most = 65535 * self.steps[head]
            LOG.warning("%s: values beyond %g cannot be held by 16 bits: cut off; use --depth-format tif", head, most)
        return np.clip(counts, 1, 65535).astype(np.uint16)

    def _overlay(self, image: Array, maps: Mapping[str, Array]) -> Array:
        """Return the image with the foreground tinted and outlined, or beside depth in colour if there is no mask."""
        shown = stretch(image)
        shown = np.repeat(shown[:, :, None], 3, axis=2) if shown.ndim == 2 else shown
        for head in self.heads:
            if isinstance(head, MaskHead):
                inside = maps[head.name] >= THRESHOLD
                edge = inside & ~_eroded(inside)
                shown = np.where(inside[:, :, None], 0.55 * shown + 0.45 * _TINT, shown)
                return np.where(edge[:, :, None], _TINT, shown)
        from matplotlib import colormaps

        depth = maps[self.heads[0].name]
        low, high = np.percentile(depth, [1, 99])
        coloured = colormaps["viridis_r"]((depth - low) / max(float(high - low), 1e-12))[:, :, :3]
        return 0.4 * shown + 0.6 * coloured

    def _png(self, folder: str, name: str, values: Array) -> None:
        write_bytes(self.out / folder / f"{name}.png", bytes(imagecodecs.png_encode(values)))

    def _tif(self, head: Head, name: str, values: Array) -> None:
        # Bytes, as text would have to be ASCII, which µm is not.
        about = f"{head.name} in {head.unit or 'no unit'}".encode()
        content = io.BytesIO()
        tifffile.imwrite(content, values.astype(np.float32), compression="zlib", description=about)
        write_bytes(self.out / head.name / f"{name}.tif", content.getvalue())


def _step(head: DepthHead) -> float:
    """Return what one count of a 16-bit PNG stands for: a millimetre for metres, else a power of ten that suffices."""
    if head.unit == "m":
        return 0.001
    return float(10.0 ** math.ceil(math.log10(max(1.5 * float(head.high), 1e-30) / 65535)))


def _eroded(mask: Array) -> Array:
    width = max(1, round(min(mask.shape) / 200))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel, borderValue=1)) > 0
