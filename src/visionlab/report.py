"""``python -m visionlab.report RUN [RUN ...]``: the report of a run again, or several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionlab.console import guard
from visionlab.errors import UsageError, UserError, nearest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Run folders, their checkpoints, or folders that contain runs."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File of the comparison; by default comparison.html in the folder that all runs are in."),
    ] = None,
) -> None:
    """Write report.html of one run again, or compare several runs in one HTML file. Prints the path written."""
    found = expand(runs)
    if len(found) == 1 and out is not None:
        raise UsageError(
            f"--out: expected several runs to compare, found one ({found[0]}); its report is {found[0] / 'report.html'}"
        )
    from visionlab.reports import compare, write_report

    try:
        print(write_report(found[0]) if len(found) == 1 else compare(found, out))
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename}: the report cannot be written: {error.strerror}"
        ) from None


def expand(given: list[str]) -> list[Path]:
    """Return the run folders of what was typed, each once, in the order typed.

    Raises:
        UsageError: a path does not exist, or no run is in it.
    """
    found: dict[Path, Path] = {}
    for name in given:
        path = Path(name)
        if not path.exists():
            parent = path.parent
            beside = [str(entry) for entry in parent.iterdir()] if parent.is_dir() else []
            raise UsageError(f"RUN: expected a run folder, found nothing at {path}.{nearest(str(path), beside)}")
        below = _runs(path)
        if not below:
            raise UsageError(
                f"RUN: expected a run folder, or a folder with runs in it, found no config.yaml in or below {path}"
            )
        for run in below:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs(path: Path) -> list[Path]:
    if path.is_file():  # a checkpoint: RUN/checkpoints/best.ckpt
        return [folder for folder in (path.parent, path.parent.parent) if (folder / "config.yaml").is_file()][:1]
    if (path / "config.yaml").is_file():
        return [path]
    # Hydra keeps its own config.yaml in RUN/.hydra, and evaluations on other data lie in RUN/evaluations.
    below = {file.parent for file in path.rglob("config.yaml")}
    hidden = {run for run in below if any(part.startswith(".") for part in run.relative_to(path).parts)}
    return sorted(run for run in below - hidden if below.isdisjoint(run.parents))


def main() -> None:
    """Run the command."""
    with guard():
        app()


if __name__ == "__main__":
    main()
