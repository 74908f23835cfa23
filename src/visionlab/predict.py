"""``python -m visionlab.predict RUN... INPUT... --out DIR``: predict for images, folders and patterns."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionlab.console import command, progress
from visionlab.errors import UsageError

if TYPE_CHECKING:
    from visionlab.inference.prediction import Prediction


class DepthFormat(StrEnum):
    """How depth maps are written."""

    png = "png"
    tif = "tif"


class Tta(StrEnum):
    """Views of each image that are predicted."""

    flips = "flips"
    all = "all"


class TtaMerge(StrEnum):
    """How the predictions of these views become one."""

    mean = "mean"
    max = "max"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def predict(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... INPUT",
            show_default=False,
            help="RUN: a run folder (its best checkpoint is used) or a .ckpt file; several are merged into one "
            "prediction. INPUT: Images, folders (searched to the bottom) or quoted patterns such as 'scans/*.tif'.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for predictions.csv, made if need be.")] = Path(
        "predictions"
    ),
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=PATH",
            help="A further input of a model that takes several, such as background=DIR: one file for all images, or "
            "a folder with the partner of each.",
        ),
    ] = None,
    tta: Annotated[
        Tta | None,
        typer.Option(
            help="Predict mirror images of each image as well and merge: 4 (flips), or 8 with the transposes (all; for "
            "models of square images)."
        ),
    ] = None,
    tta_merge: Annotated[
        TtaMerge | None, typer.Option(help="How the predictions of --tta are merged.  [default: mean]")
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write Id,Predicted: for each image the numbers of its labels."),
    ] = None,
    order: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A table whose column Id says which rows --submission has, in which order; by default "
            "sample_submission.csv in a folder of the inputs or beside it, else all images as they come.",
        ),
    ] = None,
    at_least_one: Annotated[
        bool,
        typer.Option(
            "--at-least-one", help="In --submission, give images without a label the one nearest to its threshold."
        ),
    ] = False,
    depth_format: Annotated[
        DepthFormat, typer.Option(help="Depth as 16-bit PNG (millimetres for metres) or as float TIFF.")
    ] = DepthFormat.png,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Images predicted at once.")] = 16,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Predict with trained models and write predictions.csv: path, name, value, unit.

    Models of labels also write labels.csv: path, id, labels, numbers. Models of masks and depth also write mask/,
    depth/ and overlay/, in the size of each image. Of a model of several stains, the files <Id>_red.png, ... are one
    image. Images go through the preprocessing that each model was trained with. Files that cannot be read are listed
    in failed.csv and on the screen; the rest is done, and the exit status is 1.

    Several models, such as folds, seeds or groups of classes, give the mean of what they have in common (calibrated
    scores, numbers, maps); the threshold of a class is the mean of theirs.
    """
    from visionlab.inference.files import find_images, output_names, pair, prepare_output, split_runs, write_predictions
    from visionlab.inference.submission import Submission

    # What was typed is checked before torch is imported and the models loaded.
    if tta_merge and not tta:
        raise UsageError("--tta-merge: it goes with --tta")
    if submission is None and (order is not None or at_least_one):
        raise UsageError(f"{'--order' if order is not None else '--at-least-one'}: it goes with --submission")
    checkpoints, inputs = split_runs(words)
    found = pair(find_images(inputs), _named(others or []))
    competition = None if submission is None else Submission(submission, order, inputs, at_least_one=at_least_one)
    prepare_output(out)

    from visionlab.data.files import IMAGE
    from visionlab.inference import load
    from visionlab.inference.base import check_inputs
    from visionlab.inference.labels import LabelTable, say_thresholds
    from visionlab.inference.maps import MapWriter
    from visionlab.inference.stained import group

    merge = (tta_merge or TtaMerge.mean).value
    predictor = load(*checkpoints, device=device, tta=tta.value if tta else None, tta_merge=merge)
    check_inputs(predictor.inputs, list(found[0])[1:])
    samples = group(found, predictor.channels)
    files = [sample[IMAGE] for sample in samples]
    if competition is not None:
        competition.begin(predictor, samples)
    say_thresholds(predictor)
    names = dict(zip(map(str, files), output_names(files), strict=True))
    labels = LabelTable(predictor, out)
    writers: list[Callable[[Prediction], None]] = [MapWriter(predictor.heads, names, out, depth_format.value), labels]
    if competition is not None:
        writers.append(competition)
    results = progress(predictor.predict_files(samples, batch_size), len(files), "predicting")
    good, bad = write_predictions(results, out, *writers)
    labels.write()
    print(f"{good} images predicted: {out / 'predictions.csv'}")
    if bad:
        typer.echo(f"error: {bad} of {len(files)} files could not be predicted; see {out / 'failed.csv'}", err=True)
    if competition is not None:
        print(competition.write())
    if bad:
        raise typer.Exit(1)


def _named(others: list[str]) -> dict[str, Path]:
    found = {}
    for text in others:
        name, given, path = text.partition("=")
        if not (name and given and path):
            raise UsageError(f"--with {text}: expected NAME=PATH, such as background=DIR")
        found[name] = Path(path).expanduser()
    return found


def main() -> None:
    """Run the command."""
    command(app)


if __name__ == "__main__":
    main()
