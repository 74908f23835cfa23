"""Predict images, and the planes of stacks as such: everything but objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from visionlab.console import progress
from visionlab.drawing.images import stretch
from visionlab.errors import UsageError
from visionlab.files import IMAGE, write_bytes, write_json
from visionlab.heads.head import Head
from visionlab.inference.base_predictor import BasePredictor
from visionlab.inference.files import group_stains, output_names
from visionlab.inference.labels import LabelTable, Submission
from visionlab.inference.output_folder import MAPS, OVERLAY, PREDICTIONS, refuse_others
from visionlab.inference.prediction import Prediction
from visionlab.inference.series import as_planes
from visionlab.inference.tables import ValueCurves, write_predictions
from visionlab.io import Stains, read_image
from visionlab.io.encoding import eight_bits, png

DepthFormat = Literal["png", "tif"]


def predict_images(
    predictor: BasePredictor,
    found: Sequence[Mapping[str, Path]],
    out: Path,
    competition: Submission | None,
    batch_size: int,
    axes: str | None,
    depth_format: DepthFormat,
) -> int:
    """Predict images and write tables, maps, curves and a submission; return how many failed.

    Args:
        predictor: of anything but objects.
        found: input name -> file, one for each file found.
        out: a folder that is there.
        competition: to submit to.
        batch_size: images predicted at once.
        axes: of files that do not tell, ``TYX`` and the like.
        depth_format: see :class:`MapWriter`.

    Raises:
        UsageError: these images make no submission, or there are results in ``out`` that these would be mixed with.
        UserError: the device has too little memory, or the results cannot be written.
    """
    samples = group_stains(found, predictor.channels)
    samples, moments = (samples, {}) if predictor.channels else as_planes(samples, axes)
    files = [sample[IMAGE] for sample in samples]
    if competition is not None:
        competition.begin(predictor, samples)
    predictor.say_warnings()
    names = dict(zip(map(str, files), output_names(files), strict=True))
    labels, curves = LabelTable(predictor, out), ValueCurves(predictor, moments, out)
    maps = MapWriter(predictor.heads, names, out, depth_format, predictor.stains)
    writers: list[Callable[[Prediction], None]] = [maps, labels, curves]
    if competition is not None:
        writers.append(competition)
    results = progress(predictor.predict_files(samples, batch_size), len(files), "predicting")
    good, bad = write_predictions(results, out, *writers)
    labels.write()
    curves.write()
    print(f"{good} images predicted: {out / PREDICTIONS}")
    if competition is not None:
        print(competition.write())
    return bad


class MapWriter:
    """Writes ``<head>/<name>.png`` (or ``.tif``) for each map, ``overlay/<name>.png`` and ``maps.json``.

    Args:
        heads: of the model.
        names: image file -> name of its outputs.
        out: the folder.
        depth_format: ``png`` or ``tif``, of maps of numbers.
        stains: that are shown of files with an axis of channels.

    Raises:
        UsageError: there are folders of these names in ``out`` that no earlier prediction has made, or maps that these
            would be mixed with.
    """

    def __init__(
        self, heads: Sequence[Head], names: Mapping[str, str], out: Path, depth_format: DepthFormat, stains: Stains = ()
    ) -> None:
        self.names, self.out, self._stains, self._tif = names, out, stains, depth_format == "tif"
        of_heads = {head.name: head.about_files(self._tif) for head in heads}
        about = {name: said for name, said in of_heads.items() if said is not None}
        self.heads = [head for head in heads if head.name in about]
        if not about:
            return
        path = out / MAPS
        if not path.is_file():
            refuse_others(out, [*about, OVERLAY])
        elif json.loads(path.read_text(encoding="utf-8")) != about:
            raise UsageError(
                f"--out {out}: expected another folder, found maps of other units or another format in it "
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
        image = stretch(read_image(str(prediction.path), self._stains))
        image = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
        overlay = drawn.overlay(image, prediction.maps[drawn.name])
        write_bytes(self.out / OVERLAY / f"{name}.png", png(eight_bits(overlay)))
