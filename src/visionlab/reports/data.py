"""The report of a data set before any training: one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visionlab.files import Problem, write_text
from visionlab.reports import data_facts
from visionlab.reports.html import data_figures, environment
from visionlab.reports.run import Run

_SHOWN = 100


def write_data_report(run: Run, problems: Sequence[Problem], commands: Sequence[tuple[str, str]]) -> Path:
    """Draw the figures of a data set, write ``report.html`` and return its path.

    Args:
        run: with ``path``, ``config`` (``task``), ``info`` (``data``, ``synthetic``, ``heads``), ``splits``, ``card``
            and ``index``; ``plots/examples.png`` is there already.
        problems: what to know of single files; the first hundred are listed.
        commands: pairs, what for and what to type.
    """
    more = len(problems) - _SHOWN
    rest = [Problem(f"and {more} more", "", "all are in problems.csv")] if more > 0 else []
    page = (
        environment()
        .get_template("data.html.j2")
        .render(
            run=run,
            title=f"{run.task} · data",
            problems=[*problems[:_SHOWN], *rest],
            images={"data": data_figures(run)},
            card=data_facts.card(run),
            commands=commands,
        )
    )
    path = run.path / "report.html"
    write_text(path, page)
    return path
