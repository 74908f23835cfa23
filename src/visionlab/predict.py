"""``python -m visionlab.predict RUN INPUT... --out DIR``: predict for images, folders and patterns."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from visionlab.console import command, progress
from visionlab.errors import UsageError


class DepthFormat(StrEnum):
    """How depth maps are written."""

    png = "png"
    tif = "tif"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def predict(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder (its best checkpoint is used) or a .ckpt file.")
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT", help="Images, folders (searched to the bottom) or quoted patterns such as 'scans/*.tif'."
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
    depth_format: Annotated[
        DepthFormat, typer.Option(help="Depth as 16-bit PNG (millimetres for metres) or as float TIFF.")
    ] = DepthFormat.png,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Images predicted at once.")] = 16,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Predict with a trained model and write predictions.csv: path, name, value, unit.

    Models of masks and depth also write mask/, depth/ and overlay/, in the size of each image.
    Images go through the preprocessing that the model was trained with. Files that cannot be read are listed in
    failed.csv and on the screen; the rest is done, and the exit status is 1.
    """
    from visionlab.inference.files import (
        find_checkpoint,
        find_images,
        output_names,
        pair,
        prepare_output,
        write_predictions,
    )

    # What was typed is checked before torch is imported and the model loaded.
    checkpoint = find_checkpoint(run)
    files = find_images(inputs)
    samples = pair(files, _named(others or []))
    prepare_output(out)

    from visionlab.inference import load
    from visionlab.inference.maps import MapWriter
    from visionlab.inference.predictor import check_inputs

    predictor = load(checkpoint, device=device)
    check_inputs(predictor.inputs, list(samples[0])[1:])
    names = dict(zip(map(str, files), output_names(files), strict=True))
    writer = MapWriter(predictor.heads, names, out, depth_format.value)
    results = progress(predictor.predict_files(samples, batch_size), len(files), "predicting")
    good, bad = write_predictions(results, out, writer)
    print(f"{good} images predicted: {out / 'predictions.csv'}")
    if bad:
        typer.echo(f"error: {bad} of {len(files)} files could not be predicted; see {out / 'failed.csv'}", err=True)
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
