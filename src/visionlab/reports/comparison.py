"""Several runs side by side, in one HTML file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionlab.drawing.text import BETTER, key_metric, metric_label, number
from visionlab.files import write_text
from visionlab.reports import facts
from visionlab.reports.caveats import few_groups, leaking_split
from visionlab.reports.html import environment, png
from visionlab.reports.losses import loss_words
from visionlab.reports.run import Run, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 6
"""More metrics than that don't stand beside each other in one table."""


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
    out = Path(out) if out is not None else parent / "comparison.html"

    entries = {name: _test_entries(run) for name, run in runs.items()}
    losses = {name: loss_words(run.config) for name, run in runs.items()}
    metrics = list(dict.fromkeys(metric for table in entries.values() for metric in table))
    caveats = list(_caveats(runs))
    specs = {head: spec for run in runs.values() for head, spec in run.heads.items()}
    main = metrics if len(metrics) <= MAX_COLUMNS else _main(metrics, runs)
    comparable = not any(_grounds(runs))
    best_is = {metric: _better(metric, entries) for metric in metrics}
    best = {metric: _best(metric, best_is[metric], entries) if comparable else [] for metric in metrics}
    page = (
        environment()
        .get_template("comparison.html.j2")
        .render(
            title="Comparison of " + ", ".join(dict.fromkeys(run.task for run in runs.values())) + " runs",
            runs=[
                {
                    "name": name,
                    "model": run.model,
                    "loss": losses[name],
                    "state": facts.state(run)["words"],
                    "entries": entries[name],
                }
                for name, run in runs.items()
            ],
            main=main,
            labels=_labels(main, specs),
            heads=_by_head(metrics, specs) if main != metrics else {},
            best=best,
            best_is=best_is,
            comparable=comparable,
            settings=differing_settings([run.config for run in runs.values()]),
            caveats=caveats,
            synthetic=any(run.synthetic for run in runs.values()),
            images={
                "bars": _bars(main, entries, best, _titles(losses), _caption(runs), specs),
                "pairs": _pairs(runs),
                "curves": _curves(runs, _titles(losses), main),
            },
            one_loss=len(set(losses.values())) == 1,
        )
    )
    write_text(out, page)
    return out


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


Specs = Mapping[str, Mapping[str, Any]]
"""Head -> its entry of run.json."""


def _labels(metrics: Sequence[str], specs: Specs) -> dict[str, str]:
    """Return each metric's short name, without its head where all are of one."""
    one = len({metric.rpartition("/")[0] for metric in metrics}) == 1
    return {
        metric: metric_label(metric.rpartition("/")[2] if one else metric, short=True, spec=_spec(metric, specs))
        for metric in metrics
    }


def _spec(metric: str, specs: Specs) -> Mapping[str, Any] | None:
    return specs.get(metric.partition("/")[0])


def _main(metrics: Sequence[str], runs: Mapping[str, Run]) -> list[str]:
    """Return the key metric of each head, those of all its columns together."""
    keys = {f"{head}/{key_metric(spec)}" for run in runs.values() for head, spec in run.heads.items()}
    return [metric for metric in metrics if metric in keys]


def _by_head(metrics: Sequence[str], specs: Specs) -> dict[str, list[tuple[str, str]]]:
    """Return the metrics of each head with their names: ``column: MAE``."""
    heads: dict[str, list[tuple[str, str]]] = {}
    for metric in metrics:
        head, _, rest = metric.partition("/")
        heads.setdefault(head, []).append((metric, metric_label(rest, short=True, spec=specs.get(head))))
    return heads


def _titles(losses: Mapping[str, str]) -> dict[str, str]:
    """Return what runs are called in figures: with their loss, where losses differ."""
    if len(set(losses.values())) == 1:
        return {name: name for name in losses}
    return {name: f"{name} · {loss}" for name, loss in losses.items()}


def _test_entries(run: Run) -> dict[str, dict[str, Any]]:
    return {key.removeprefix("test/"): entry for key, entry in run.metrics.items() if key.startswith("test/")}


def _better(metric: str, entries: Mapping[str, Mapping[str, dict[str, Any]]]) -> str:
    return next((str(table[metric].get("better")) for table in entries.values() if metric in table), "")


def _best(metric: str, better: str, entries: Mapping[str, Mapping[str, dict[str, Any]]]) -> list[str]:
    values = {name: number(table.get(metric, {}).get("value")) for name, table in entries.items()}
    known = {name: value for name, value in values.items() if value is not None}
    if len(known) < 2 or better not in BETTER:
        return []
    rank = {"min": lambda v: v, "max": lambda v: -v, "zero": abs}[better]
    top = min(rank(value) for value in known.values())
    return [name for name, value in known.items() if rank(value) == top]


def _grounds(runs: Mapping[str, Run]) -> Iterator[str]:
    """Yield why the runs' numbers cannot be compared."""
    if len({run.task for run in runs.values()}) > 1:
        yield "The runs are of different tasks."
    if len({facts.data_name(run) for run in runs.values()}) > 1:
        yield "The runs are of different data."
    tests = {tuple(sorted(map(str, run.splits["test"]))) for run in runs.values() if run.splits.get("test")}
    if len(tests) > 1:
        yield "The runs were tested on different groups."
    for name in dict.fromkeys(name for run in runs.values() for name in run.heads):
        if len({tuple(run.heads[name]["columns"]) for run in runs.values() if name in run.heads}) > 1:
            yield f"The runs have learnt different columns of {name}, such as other classes."


def _caveats(runs: Mapping[str, Run]) -> Iterator[str]:
    yield from dict.fromkeys(text for run in runs.values() for text in leaking_split(run))
    for ground in _grounds(runs):
        yield f"{ground} Their numbers cannot be compared, and no best one is marked."
    if any(run.synthetic for run in runs.values()):
        yield "The data is a generated sample: the figures say nothing of real images."
    yield from dict.fromkeys(text for run in runs.values() for text in run.attempt("groups", partial(_few, run)) or ())
    unfinished = [name for name, run in runs.items() if run.status.get("state") != "finished"]
    if unfinished:
        yield f"Not finished: {', '.join(unfinished)}."
    if len(runs) > 2:
        yield "The best of many runs on the test split looks better than it is: choose by validation, then test once."


def _few(run: Run) -> list[str]:
    return list(few_groups(run))


def _bars(
    metrics: Sequence[str],
    entries: Mapping[str, Mapping[str, dict[str, Any]]],
    best: Mapping[str, list[str]],
    titles: Mapping[str, str],
    caption: str,
    specs: Specs,
) -> list[dict[str, str]]:
    from visionlab.reports.figures import metric_bars

    drawn = []
    for metric in metrics:
        table = {titles[name]: entry[metric] for name, entry in entries.items() if metric in entry}
        if any(number(entry.get("value")) is not None for entry in table.values()):
            spec = _spec(metric, specs)
            words = f"{metric_label(metric, spec=spec)} of each run on the test split."
            drawn.append(png(metric_bars(table, metric, [titles[name] for name in best[metric]], caption, spec), words))
    return drawn


def _pairs(runs: Mapping[str, Run]) -> list[dict[str, str]]:
    """Return figures of two runs on the same test images: the first is taken for the old one."""
    if len(runs) != 2 or any(_grounds(runs)):
        return []
    from visionlab.reports.paired import heads_in_both

    drawn = []
    for head in heads_in_both(list(runs.values())):
        for draw, words in (
            (_scores_figure, f"Each test image of {head} in both runs: better above the line, worse below it."),
            (_slices_figure, f"The same slices in both runs: truth, both predictions of {head}, and what changed."),
        ):
            new = list(runs.values())[1]
            figure = new.attempt(f"both runs' {head}", partial(draw, runs, head))
            if figure is not None:
                drawn.append({**png(figure, words), "width": "page"})
    return drawn


def _scores_figure(runs: Mapping[str, Run], head: str) -> Figure:
    from visionlab.reports.paired import Paired, paired_scores

    old, new = runs.values()
    first, second = runs
    return paired_scores(Paired.of(old, new, head, _caption(runs)), (first, second))


def _slices_figure(runs: Mapping[str, Run], head: str) -> Figure | None:
    from visionlab.reports.cells import cell_comparison
    from visionlab.reports.kept import read_kept
    from visionlab.reports.paired import same_slices

    paths = [run.path / "predictions" / f"test_{head}_slices.npz" for run in runs.values()]
    if not all(path.is_file() for path in paths):
        return None
    old, new = map(read_kept, paths)
    spec = list(runs.values())[1].heads[head]
    rows = same_slices(old, new, metric_label(key_metric(spec), short=True, spec=spec))
    first, second = runs
    return cell_comparison(rows, (first, second), _caption(runs)) if rows else None


def _curves(runs: Mapping[str, Run], titles: Mapping[str, str], metrics: Sequence[str]) -> list[dict[str, str]]:
    from visionlab.reports.figures import overlaid_curves

    # Values of different losses say nothing about each other.
    losses = ["train/loss_epoch", "val/loss"] if list(titles) == list(titles.values()) else []
    monitors = [str(run.config["monitor"]) for run in runs.values() if run.config.get("monitor")]
    keys = [f"val/{key}" for key in _main(metrics, runs)]
    tags = [tag for tag in dict.fromkeys([*losses, *monitors, *keys]) if losses or not tag.endswith("loss")]
    curves = {titles[name]: run.curves for name, run in runs.items()}
    if not any(tag in table for table in curves.values() for tag in tags):
        return []
    units = {tag: facts.tag_unit(run, tag) for run in runs.values() for tag in tags}
    figure = overlaid_curves(curves, tags, units, _caption(runs))
    words = "Losses and monitored metrics" if losses else "Metrics"
    return [png(figure, f"{words} of the runs while they trained.")]


def _caption(runs: Mapping[str, Run]) -> str:
    return " · ".join(dict.fromkeys(facts.data_name(run) for run in runs.values()))
