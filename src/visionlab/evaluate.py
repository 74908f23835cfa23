"""``python -m visionlab.evaluate RUN [--data DIR] [--split test]``: metrics with intervals, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionlab.console import command
from visionlab.errors import UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="data.KEY=VALUE",
            help="With --data: how that folder is read where it differs, e.g. data.table=list.csv. Always: "
            "trust=[PACKAGE] lets the code of a package run that the run's own classes are of.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Another labelled folder in the layout of the task; all of it is the test set."
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="train, val or test of the run's own data.")] = "test",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --data: where to write; default RUN/evaluations/NAME.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Measure a trained model: metrics with 95% intervals over groups beside the baseline, predictions, report.

    Without --data a split of the run's own data is measured again and the run folder updated.
    """
    if data is None and out is not None:
        raise UsageError("--out: it goes with --data; without, the run folder is updated")
    if data is not None and split != "test":
        raise UsageError("--split: it is of the run's own data; with --data all images are the test set")

    from visionlab.config.overrides import trusted

    trust, settings = trusted(overrides or [])
    if settings and data is None:
        raise UsageError(
            f"'{settings[0]}': settings go with --data; a run's own data are read as they were in training"
        )

    from visionlab.reports import write_report
    from visionlab.training.evaluation import evaluate_other, evaluate_own

    folder = (
        evaluate_own(run, split, device, trust)
        if data is None
        else evaluate_other(run, data, out, device, settings, trust)
    )
    print(write_report(folder))


def main() -> None:
    """Run the command."""
    command(app)


if __name__ == "__main__":
    main()
