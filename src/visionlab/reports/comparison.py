"""Several runs side by side, in one HTML file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from visionlab.drawing.text import BETTER, measure, number
from visionlab.reports import facts
from visionlab.reports.curves import monitored, overlaid_curves
from visionlab.reports.page import Picture, Table, drawn, ready, render
from visionlab.reports.run import Run, read_run


def compare(run_dirs: Sequence[Path | str], out: Path | str | None = None) -> Path:
    """Write the comparison of runs: metrics, settings that differ, curves; return its path.

    Args:
        run_dirs: at least one run folder.
        out: the file; by default ``comparison.html`` in the folder that all runs are in.

    Raises:
        DataError: one of them is not a run folder.
    """
    paths = [Path(path).resolve() for path in run_dirs]
    parent = Path(os.path.commonpath([path.parent for path in paths]))
    runs = {str(path.relative_to(parent)): read_run(path) for path in paths}
    page = Run(parent, {})  # keeps what of this page can't be made, and why
    settings = page.attempt("settings", lambda: differing_settings([run.config for run in runs.values()]))
    one_loss = not any("loss" in key.split(".") for key, _ in settings or ())
    # Runs that can't be compared have no best one.
    grounds = page.attempt("splits", lambda: list(_grounds(runs)))
    if grounds is None:
        grounds = ["Whether the runs are of the same data could not be read."]
    parts: dict[str, Callable[[], Any]] = {
        "results": partial(_results, runs, marked=not grounds),
        "caveats": lambda: list(_caveats(page, runs)),
        "pairs": lambda: [] if grounds else _shared(runs),
        "curves": partial(_curves, runs, one_loss),
    }
    return render(
        Path(out) if out is not None else parent / "comparison.html",
        "comparison",
        title="Comparison of " + ", ".join(dict.fromkeys(run.task for run in runs.values())) + " runs",
        runs=list(runs),
        settings=Table("Settings that differ", ("Setting", *runs), [[key, *values] for key, values in settings or ()]),
        synthetic=any(run.synthetic for run in runs.values()),
        one_loss=one_loss,
        grounds=[f"{ground} Their numbers cannot be compared." for ground in grounds],
        **{name: page.attempt(name, make) for name, make in parts.items()},
        missing=page.missing,
    )


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return each key (``optimizer.lr``) whose value is not the same in all, with the values; ``–`` where absent."""
    table = pd.concat([pd.json_normalize(dict(config)).astype(str) for config in configs]).fillna("–")
    return [(str(key), table[key].tolist()) for key in table if table[key].nunique() > 1]


def _results(runs: Mapping[str, Run], *, marked: bool) -> Table:
    """Return what the test gave, run beside run."""
    rows = [["model", *(run.model for run in runs.values())], ["state", *(facts.state(run) for run in runs.values())]]
    names = dict.fromkeys(key for run in runs.values() for key in run.metrics if key.startswith("test/"))
    for name in names:
        entries = [run.metrics.get(name, {}) for run in runs.values()]
        better = facts.better(entries)
        best = _best([number(entry.get("value")) for entry in entries], better) if marked else set()
        cells = [("★ " if i in best else "") + (measure(entry) if entry else "–") for i, entry in enumerate(entries)]
        rows.append([", ".join(filter(None, [name.removeprefix("test/"), BETTER.get(better)])), *cells])
    note = "On the test split, with 95% intervals over groups; ★: the best. Where intervals overlap widely the "
    return Table("Results", ("Run", *runs), rows, [f"{note}difference may be chance."])


def _best(values: Sequence[float | None], better: str) -> set[int]:
    """Return the places of the best of several values; none where nothing says which are better."""
    rank = {"min": lambda v: v, "max": lambda v: -v, "zero": abs}.get(better)
    ranks = {i: rank(value) for i, value in enumerate(values) if value is not None and rank is not None}
    return {i for i, value in ranks.items() if value == min(ranks.values())} if len(ranks) > 1 else set()


def _grounds(runs: Mapping[str, Run]) -> Iterator[str]:
    """Yield why the runs' numbers cannot be compared."""
    if len({run.task for run in runs.values()}) > 1:
        yield "The runs are of different tasks."
    if len({run.data for run in runs.values()}) > 1:
        yield "The runs are of different data."
    if len({tuple(sorted(run.splits["test"])) for run in runs.values() if run.splits.get("test")}) > 1:
        yield "The runs were tested on different groups."
    for name in dict.fromkeys(name for run in runs.values() for name in run.heads):
        if len({tuple(run.heads[name]["columns"]) for run in runs.values() if name in run.heads}) > 1:
            yield f"The runs have learnt different columns of {name}, such as other classes."


def _caveats(page: Run, runs: Mapping[str, Run]) -> Iterator[str]:
    checks = (facts.leaking_split, facts.shared_groups, facts.few_groups)
    yield from facts.gathered(page, {f"{c.__name__} of {run}": c(runs[run]) for c in checks for run in runs})
    if any(run.synthetic for run in runs.values()):
        yield "The data is a generated sample: the figures say nothing of real images."
    if len(runs) > 2:
        yield "The best of many runs on the test split looks better than it is: choose by validation, then test once."


def _shared(runs: Mapping[str, Run]) -> list[Picture]:
    """Return the pictures that show the same samples in every run."""
    names = dict.fromkeys(name for run in runs.values() for head in run.heads for name in run.figures(head).shared)
    return [image for name in names for words, run in runs.items() for image in ready(run, name, f"{words}.")]


def _curves(runs: Mapping[str, Run], one_loss: bool) -> list[Picture]:
    # Values of different losses say nothing about each other.
    tags = ["train/loss_epoch", "val/loss"] if one_loss else []
    tags += [monitored(run)[0] for run in runs.values() if one_loss or not monitored(run)[0].endswith("loss")]
    tags += [f"val/{key}" for run in runs.values() for key in run.key_metrics()]
    units = {tag: next(filter(None, (run.unit(tag) for run in runs.values())), "") for tag in tags}
    caption = " · ".join(dict.fromkeys(run.data for run in runs.values()))
    figure = overlaid_curves({name: run.curves for name, run in runs.items()}, units, caption)
    return [] if figure is None else [drawn(figure, "The runs while they trained.", wide=True)]
