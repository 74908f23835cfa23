"""Several runs side by side, in one HTML file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import BETTER, axis_label, measure, number, shorten
from visionlab.heads.figures import Table
from visionlab.reports import facts
from visionlab.reports.curves import monitored, overlaid_curves
from visionlab.reports.page import Picture, drawn, picture, render
from visionlab.reports.run import Run, read_run

Entries = Mapping[str, Mapping[str, Any]]
"""Run -> its entry of metrics.json for a metric."""


def compare(run_dirs: Sequence[Path | str], out: Path | str | None = None) -> Path:
    """Write the comparison of runs: metrics, settings that differ, bars, curves; return its path.

    Args:
        run_dirs: at least one run folder.
        out: the file; by default ``comparison.html`` in the folder that all runs are in.

    Raises:
        DataError: one of them is not a run folder.
    """
    paths = [Path(path).resolve() for path in run_dirs]
    parent = Path(os.path.commonpath([path.parent for path in paths]))
    runs = {str(path.relative_to(parent)): read_run(path) for path in paths}
    settings = differing_settings([run.config for run in runs.values()])
    one_loss = not any("loss" in key.split(".") for key, _ in settings)
    keys = dict.fromkeys(name for run in runs.values() for name in run.key_metrics())
    # Runs that can't be compared have no best one.
    grounds = list(_grounds(runs))
    tables = [_results(runs, keys, marked=not grounds), _all_metrics(runs, marked=not grounds)]
    bars = [drawn(metric_bars(runs, name), f"{_label(name, runs)} of each run on the test split.") for name in keys]
    return render(
        Path(out) if out is not None else parent / "comparison.html",
        "comparison",
        title="Comparison of " + ", ".join(dict.fromkeys(run.task for run in runs.values())) + " runs",
        runs=list(runs),
        tables=tables,
        settings=Table("Settings that differ", ("Setting", *runs), [[key, *values] for key, values in settings]),
        caveats=[*_caveats(runs), *(f"{ground} Their numbers cannot be compared." for ground in grounds)],
        synthetic=any(run.synthetic for run in runs.values()),
        one_loss=one_loss,
        images={"bars": bars, "pairs": [] if grounds else _shared(runs), "curves": _curves(runs, one_loss)},
    )


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return each key (``optimizer.lr``) whose value is not the same in all, with the values; ``–`` where absent."""
    flat = [dict(_flatten(config)) for config in configs]
    keys = list(dict.fromkeys(key for table in flat for key in table))
    rows = [(key, [str(table.get(key, "–")) for table in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flatten(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _label(metric: str, runs: Mapping[str, Run], *, short: bool = False) -> str:
    """Return the name of ``head/metric`` as the first run that has the head calls it."""
    owner = next(run for run in runs.values() if metric.partition("/")[0] in run.heads)
    return owner.label(metric, short=short)


def _entries(runs: Mapping[str, Run], metric: str) -> Entries:
    """Return the entries of the runs whose test gave a value."""
    found = {name: run.metrics.get(f"test/{metric}", {}) for name, run in runs.items()}
    return {name: entry for name, entry in found.items() if number(entry.get("value")) is not None}


def _best(entries: Entries) -> list[str]:
    """Return the names of the best of several runs."""
    better = next((str(entry.get("better")) for entry in entries.values()), "")
    rank = {"min": lambda v: v, "max": lambda v: -v, "zero": abs}.get(better)
    if len(entries) < 2 or rank is None:
        return []
    ranks = {name: rank(entry["value"]) for name, entry in entries.items()}
    return [name for name, value in ranks.items() if value == min(ranks.values())]


def _cells(runs: Mapping[str, Run], metric: str, *, marked: bool) -> list[str]:
    """Return a metric of each run, with a star at the best."""
    entries = _entries(runs, metric)
    best = _best(entries) if marked else []
    return [("★ " if name in best else "") + (measure(entries[name]) if name in entries else "–") for name in runs]


def _results(runs: Mapping[str, Run], keys: Mapping[str, Any], *, marked: bool) -> Table:
    cells = [_cells(runs, metric, marked=marked) for metric in keys]
    rows = [
        [name, run.model, facts.state(run), *values] for (name, run), *values in zip(runs.items(), *cells, strict=True)
    ]
    note = "On the test split, with 95% intervals over groups; ★: the best. Where intervals overlap widely the "
    headings = ("Run", "Model", "State", *(_label(metric, runs, short=True) for metric in keys))
    return Table("Results", headings, rows, [f"{note}difference may be chance."])


def _all_metrics(runs: Mapping[str, Run], *, marked: bool) -> Table:
    names = dict.fromkeys(key for run in runs.values() for key in run.metrics if key.startswith("test/"))
    rows = []
    for metric in (name.removeprefix("test/") for name in names):
        better = next((str(entry.get("better")) for entry in _entries(runs, metric).values()), "")
        rows.append([f"{metric}, {BETTER.get(better, '')}", *_cells(runs, metric, marked=marked)])
    return Table("All metrics", ("Metric", *runs), rows)


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


def _caveats(runs: Mapping[str, Run]) -> Iterator[str]:
    yield from dict.fromkeys(text for run in runs.values() for text in facts.leaking_split(run))
    if any(run.synthetic for run in runs.values()):
        yield "The data is a generated sample: the figures say nothing of real images."
    yield from dict.fromkeys(text for run in runs.values() for text in facts.few_groups(run))
    if len(runs) > 2:
        yield "The best of many runs on the test split looks better than it is: choose by validation, then test once."


def _shared(runs: Mapping[str, Run]) -> list[Picture]:
    """Return the pictures that show the same samples in every run."""
    names = dict.fromkeys(name for run in runs.values() for head in run.heads for name in run.figures(head).shared)
    paths = [(run, content.path / "plots" / f"{name}.png") for name in names for run, content in runs.items()]
    return [picture(path.read_bytes(), f"{run}.", wide=True) for run, path in paths if path.is_file()]


@styled
def metric_bars(runs: Mapping[str, Run], metric: str) -> Figure:
    """One metric of several runs: bars with intervals, and each run's baseline as a tick."""
    entries, label = _entries(runs, metric), _label(metric, runs)
    figure = style.new(7, 1.9 + 0.55 * len(entries))
    axes = figure.subplots()
    for y, entry in enumerate(entries.values()):
        low, high, simple = (number(entry.get(key)) for key in ("low", "high", "baseline"))
        axes.barh(y, entry["value"], height=0.58, color=BLUE, alpha=0.6)
        if low is not None and high is not None:
            # Percentile intervals need not hold the value: draw the line itself, not errors to either side.
            axes.plot([low, high], [y, y], color=INK, linewidth=2, label="" if y else "95% interval")
        if simple is not None:
            axes.plot([simple, simple], [y - 0.36, y + 0.36], color=ORANGE, linewidth=3, label="" if y else "baseline")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(entries)), [f"{shorten(name)}\n{measure(entry)}" for name, entry in entries.items()])
    axes.set(xlabel=axis_label(label, next((entry.get("unit") for entry in entries.values()), "")))
    axes.invert_yaxis()
    return style.finish(figure, f"{label}, test split", *_data(runs), legend=axes)


def _curves(runs: Mapping[str, Run], one_loss: bool) -> list[Picture]:
    # Values of different losses say nothing about each other.
    tags = ["train/loss_epoch", "val/loss"] if one_loss else []
    tags += [monitored(run)[0] for run in runs.values() if one_loss or not monitored(run)[0].endswith("loss")]
    tags += [f"val/{key}" for run in runs.values() for key in run.key_metrics()]
    units = {tag: next(filter(None, (run.unit(tag) for run in runs.values())), "") for tag in tags}
    figure = overlaid_curves({name: run.curves for name, run in runs.items()}, units, " · ".join(_data(runs)))
    return [] if figure is None else [drawn(figure, "The runs while they trained.", wide=True)]


def _data(runs: Mapping[str, Run]) -> list[str]:
    return list(dict.fromkeys(run.data for run in runs.values()))
