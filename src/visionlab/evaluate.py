"""``python -m visionlab.evaluate RUN [--data DIR] [--split test]``: metrics with intervals, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionlab.console import command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        Path | None, typer.Option(help="Another labelled folder in the layout of the task; all of it is the test set.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test of the run's own data.")] = "test",
    out: Annotated[Path | None, typer.Option(help="With --data: where to write; default RUN/evaluations/NAME.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Measure a trained model: metrics with 95% intervals over groups beside the baseline, predictions, report.

    Without --data a split of the run's own data is measured again and the run folder updated.
    """
    from visionlab.evaluation import evaluate_other, evaluate_own

    if data is None:
        folder = evaluate_own(run, split, device)
    else:
        folder = evaluate_other(run, data, out, device)
    print(folder / "report.html")


def main() -> None:
    """Run the command."""
    command(app)


if __name__ == "__main__":
    main()
