"""``python -m visionlab.predict RUN INPUT... --out DIR``: predict for images, folders and patterns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionlab.console import command, progress

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
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Images predicted at once.")] = 16,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Predict with a trained model and write predictions.csv: path, name, value, unit.

    Images go through the preprocessing that the model was trained with. Files that cannot be read are listed in
    failed.csv and on the screen; the rest is done, and the exit status is 1.
    """
    from visionlab.inference.files import find_checkpoint, find_images, prepare_output, write_predictions

    # What was typed is checked before torch is imported and the model loaded.
    checkpoint = find_checkpoint(run)
    files = find_images(inputs)
    prepare_output(out)

    from visionlab.inference import load

    predictor = load(checkpoint, device=device)
    results = progress(predictor.predict_files(files, batch_size), len(files), "predicting")
    good, bad = write_predictions(results, out)
    print(f"{good} images predicted: {out / 'predictions.csv'}")
    if bad:
        typer.echo(f"error: {bad} of {len(files)} files could not be predicted; see {out / 'failed.csv'}", err=True)
        raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    command(app)


if __name__ == "__main__":
    main()
