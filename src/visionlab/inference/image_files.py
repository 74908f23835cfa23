"""Predict images, and the planes of stacks as such: everything but objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from visionlab.console import progress
from visionlab.files import IMAGE
from visionlab.inference.base import BasePredictor
from visionlab.inference.files import output_names, say_failed, write_predictions
from visionlab.inference.labels import LabelTable, say_warnings
from visionlab.inference.maps import MapWriter
from visionlab.inference.population import Curves
from visionlab.inference.prediction import Prediction
from visionlab.inference.series import as_planes
from visionlab.inference.stained import group
from visionlab.inference.submission import Submission


def predict_images(
    predictor: BasePredictor[Any],
    found: Sequence[Mapping[str, Path]],
    out: Path,
    competition: Submission | None,
    batch_size: int,
    axes: str | None,
    depth_format: Literal["png", "tif"],
) -> int:
    """Predict images and write tables, maps, curves and a submission; return how many failed.

    Args:
        predictor: of anything but objects.
        found: input name -> file, one for each file found.
        out: a folder that is there.
        competition: to submit to.
        batch_size: images predicted at once.
        axes: of files that do not tell, ``TYX`` and the like.
        depth_format: see :class:`visionlab.inference.maps.MapWriter`.

    Raises:
        UsageError: these images make no submission, or there are results in ``out`` that these would be mixed with.
        UserError: the device has too little memory, or the results cannot be written.
    """
    samples = group(found, predictor.channels)
    samples, moments = (samples, {}) if predictor.channels else as_planes(samples, axes)
    files = [sample[IMAGE] for sample in samples]
    if competition is not None:
        competition.begin(predictor, samples)
    say_warnings(predictor)
    names = dict(zip(map(str, files), output_names(files), strict=True))
    labels, curves = LabelTable(predictor, out), Curves(predictor, moments, out)
    writers: list[Callable[[Prediction], None]] = [MapWriter(predictor.heads, names, out, depth_format), labels, curves]
    if competition is not None:
        writers.append(competition)
    results = progress(predictor.predict_files(samples, batch_size), len(files), "predicting")
    good, bad = write_predictions(results, out, *writers)
    labels.write()
    curves.write()
    print(f"{good} images predicted: {out / 'predictions.csv'}")
    say_failed(bad, len(files), out)
    if competition is not None:
        print(competition.write())
    return bad
