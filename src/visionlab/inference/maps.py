"""Predicted maps as files: masks, depth, overlays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from visionlab.drawing.images import stretch
from visionlab.errors import UsageError
from visionlab.files import write_bytes, write_json
from visionlab.heads.head import Head
from visionlab.inference.prediction import Prediction
from visionlab.io import read_image
from visionlab.io.encoding import eight_bits, png

_ABOUT = "maps.json"


class MapWriter:
    """Writes ``<head>/<name>.png`` (or ``.tif``) for each map, ``overlay/<name>.png`` and ``maps.json``.

    Args:
        heads: of the model.
        names: image file -> name of its outputs.
        out: the folder.
        depth_format: ``png`` or ``tif``, of maps of numbers.

    Raises:
        UsageError: there are folders of these names in ``out`` that no earlier prediction has made.
    """

    def __init__(
        self, heads: Sequence[Head], names: Mapping[str, str], out: Path, depth_format: Literal["png", "tif"]
    ) -> None:
        self.names, self.out, self._tif = names, out, depth_format == "tif"
        about = {head.name: head.about_files(self._tif) for head in heads}
        self.heads = [head for head in heads if about[head.name] is not None]
        if self.heads:
            # They may be the labels of a data set.
            others = [name for name in (*(head.name for head in self.heads), "overlay") if (out / name).exists()]
            if others and not (out / _ABOUT).is_file():
                raise UsageError(
                    f"--out {out}: found '{others[0]}' there, not from an earlier prediction; give another folder"
                )
            self._begin({head.name: about[head.name] for head in self.heads})

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
            head.write(prediction.maps[head.name], self.out / head.name / name, self._tif)
        drawn = max(self.heads, key=lambda head: head.overlay_rank)
        image = stretch(read_image(str(prediction.path)))
        image = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
        overlay = drawn.overlay(image, prediction.maps[drawn.name])
        write_bytes(self.out / "overlay" / f"{name}.png", png(eight_bits(overlay)))
