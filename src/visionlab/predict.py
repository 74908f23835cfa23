"""``python -m visionlab.predict RUN... INPUT... --out DIR``: predict for images, folders and patterns."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionlab.console import command
from visionlab.errors import UsageError
from visionlab.grouped_help import GroupedCommand

if TYPE_CHECKING:
    from visionlab.inference.base_predictor import BasePredictor

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


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


# Options, in the order and under the headings of --help ---------------------------------------------------------------

_VIEWS, _LABELS, _DEPTH = "Mirror images", "Models of labels", "Models of depth"
_STACKS, _OBJECTS = "Volumes, series, videos", "Models of objects (nuclei, cells)"

_RUNS = (
    "RUN: a run folder (its best checkpoint is used) or a .ckpt file; several are merged into one prediction. "
    "INPUT: Images, volumes, series or videos (PNG, JPEG, TIFF, MATLAB, MP4, AVI, MOV, MKV), folders (searched to the "
    "bottom) or quoted patterns such as 'scans/*.tif'. trust=[PACKAGE] lets the code of a package run that the network "
    "is of; without it such a model is refused."
)
_WITH = (
    "A further input of a model that takes several, such as background=DIR: one file for all images, or a folder with "
    "the partner of each."
)
_BATCH = "Images predicted at once; of objects as many as make up a tile."
_TTA = (
    "Predict mirror images of each image as well and merge: 4 (flips), or 8 with the transposes (all; for models of "
    "square images)."
)
_MERGE = "How what is predicted of these is merged; of objects the maps that they are found in.  [default: mean]"
_AXES = "What the pages of files are that do not tell: ZYX, TYX or TZYX.  [default: ZYX]"
_VOXEL = "Micrometres of a voxel in files that do not tell, such as 1.0,0.25,0.25 (of images y,x)."
_THRESHOLD = "Probability from which on a pixel is foreground, in place of that which was fitted."
_PROBABILITIES = "Also write probability/<head>/: the foreground's, float32 0..1."
_GIF = "Also write overlay/*.gif of volumes (through z) and series."
_FORMAT = "Depth as 16-bit PNG (millimetres for metres) or as float TIFF."
_SUBMISSION = "Also write Id,Predicted: for each image the numbers of its labels."
_ORDER = (
    "A table whose column Id says which rows --submission has, in which order; by default sample_submission.csv in a "
    "folder of the inputs or beside it, else all images as they come."
)
_AT_LEAST_ONE = "In --submission, give images without a label the one nearest to its threshold."

Words = Annotated[list[str], typer.Argument(metavar="RUN... INPUT", show_default=False, help=_RUNS)]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for what is written, made if need be.")]
With = Annotated[list[str] | None, typer.Option("--with", metavar="NAME=PATH", help=_WITH)]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help=_BATCH)]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")]
Views = Annotated[Tta | None, typer.Option(rich_help_panel=_VIEWS, help=_TTA)]
Merge = Annotated[TtaMerge | None, typer.Option(rich_help_panel=_VIEWS, help=_MERGE)]
Axes = Annotated[str | None, typer.Option(metavar="AXES", rich_help_panel=_STACKS, help=_AXES)]
Voxel = Annotated[str | None, typer.Option(metavar="Z,Y,X", rich_help_panel=_STACKS, help=_VOXEL)]
Level = Annotated[float | None, typer.Option(metavar="P", min=0, max=1, rich_help_panel=_OBJECTS, help=_THRESHOLD)]
Maps = Annotated[bool, typer.Option("--probabilities", rich_help_panel=_OBJECTS, help=_PROBABILITIES)]
Gif = Annotated[bool, typer.Option("--gif", rich_help_panel=_OBJECTS, help=_GIF)]
Depth = Annotated[DepthFormat, typer.Option(rich_help_panel=_DEPTH, help=_FORMAT)]
File = Annotated[Path | None, typer.Option(metavar="FILE", rich_help_panel=_LABELS, help=_SUBMISSION)]
Order = Annotated[Path | None, typer.Option(metavar="FILE", rich_help_panel=_LABELS, help=_ORDER)]
Fill = Annotated[bool, typer.Option("--at-least-one", rich_help_panel=_LABELS, help=_AT_LEAST_ONE)]


@app.command(cls=GroupedCommand)
def predict(
    words: Words,
    out: Out = Path("predictions"),
    others: With = None,
    batch_size: Batch = 16,
    device: Device = "auto",
    tta: Views = None,
    tta_merge: Merge = None,
    axes: Axes = None,
    voxel_size: Voxel = None,
    threshold: Level = None,
    probabilities: Maps = False,
    gif: Gif = False,
    depth_format: Depth = DepthFormat.png,
    submission: File = None,
    order: Order = None,
    at_least_one: Fill = False,
) -> None:
    """Predict with trained models and write predictions.csv: path, name, value, unit.

    Models of labels also write labels.csv: path, id, labels, numbers. Models of masks and depth also write mask/,
    depth/ and overlay/, in the size of each image. Of a model of several stains, the files <Id>_red.png, ... are one
    image. Images go through the preprocessing that each model was trained with. Files that cannot be read are listed
    in failed.csv and on the screen; the rest is done, and the exit status is 1. Folders that hold predictions are left
    out, unless files in them are named one by one.

    Models of objects take images, volumes (ZYX) and series of either (TYX, TZYX), and write <head>/<name>.tif, labels
    with the shape, axes and voxel size of the file and as few bits as hold their numbers; objects.csv, a row for each
    object; population.csv and .png, objects over time; overlay/. A folder of t000.tif, t001.tif, ... is one series.
    The same command again leaves out the files that are done. In memory there are the image and labels of one time
    point, and what the network needs for a tile (1.2 GB with ResNet-18).

    For other models each plane of a volume, series or video is an image, named a.tif#5; numbers of series are written
    to population.csv and .png too.

    Several models, such as folds, seeds or groups of classes, give the mean of what they have in common (calibrated
    scores, numbers, maps); the threshold of a class, and what objects are found with, is the mean of theirs.
    """
    from visionlab.config.overrides import trusted
    from visionlab.inference.files import find_images, pair, split_runs
    from visionlab.inference.labels import Submission
    from visionlab.inference.output_folder import prepare_output
    from visionlab.inference.series import parse_axes, parse_voxel

    # What was typed is checked before torch is imported and the models loaded.
    if tta_merge and not tta:
        raise UsageError("--tta-merge: it goes with --tta")
    if submission is None and (order is not None or at_least_one):
        raise UsageError(f"{'--order' if order is not None else '--at-least-one'}: it goes with --submission")
    axes, voxel = parse_axes(axes), parse_voxel(voxel_size)
    trust, words = trusted(words)
    checkpoints, inputs = split_runs(words)
    named = _named(others or [])
    found = pair(find_images(inputs, out=out, volumes=True), named)
    competition = None if submission is None else Submission(submission, order, inputs, at_least_one=at_least_one)
    prepare_output(out)

    from visionlab.files import IMAGE
    from visionlab.inference.files import without_labels
    from visionlab.inference.images import predict_images
    from visionlab.inference.objects import Options, predict_objects
    from visionlab.inference.prediction import check_inputs
    from visionlab.inference.predictor import load
    from visionlab.inference.volumes import object_heads

    merge = (tta_merge or TtaMerge.mean).value
    predictor = load(*checkpoints, device=device, tta=tta.value if tta else None, tta_merge=merge, trust=trust)
    check_inputs(predictor.inputs, list(found[0])[1:])
    if object_heads(predictor) and competition is None:
        files = without_labels([sample[IMAGE] for sample in found], inputs)
        views = f"{tta.value}, {merge}" if tta else None
        options = Options(axes, voxel, threshold, probabilities=probabilities, gif=gif, tta=views)
        bad = predict_objects(predictor, checkpoints, files, out, options)
    else:
        _refuse_for_images(predictor, voxel_size=voxel, threshold=threshold, probabilities=probabilities, gif=gif)
        # Folders are searched for volumes and videos only by models that are made for them.
        found = pair(find_images(inputs, out=out), named)
        bad = predict_images(predictor, found, out, competition, batch_size, axes, depth_format.value)
    if bad:
        raise typer.Exit(1)


def _refuse_for_images(predictor: BasePredictor, **options: object) -> None:
    for name, value in options.items():
        if value:
            found = predictor.heads_in_words()
            raise UsageError(f"--{name.replace('_', '-')}: it goes with models of objects, found {found}")


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
