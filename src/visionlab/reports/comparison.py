"""Several runs side by side, in one HTML file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import BETTER, axis_label, count, decimals, digits, measure, number, shorten, with_unit
from visionlab.files import write_text
from visionlab.metrics import group_interval
from visionlab.metrics.regression import METRICS
from visionlab.reports import facts
from visionlab.reports.caveats import few_groups, leaking_split
from visionlab.reports.curves import overlaid_curves
from visionlab.reports.pages import Picture, drawn, environment
from visionlab.reports.run import Run, read_run

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
    one_loss = len(set(losses.values())) == 1
    titles = {name: name if one_loss else f"{name} · {loss}" for name, loss in losses.items()}
    metrics = list(dict.fromkeys(metric for table in entries.values() for metric in table))
    keys = {name for run in runs.values() for name in run.key_metrics()}
    main = metrics if len(metrics) <= MAX_COLUMNS else [metric for metric in metrics if metric in keys]
    comparable = not any(_grounds(runs))
    best_is = {m: next((str(e[m].get("better")) for e in entries.values() if m in e), "") for m in metrics}
    best = {metric: _best(metric, best_is[metric], entries) if comparable else [] for metric in metrics}
    heads: dict[str, list[tuple[str, str]]] = {}
    for metric in metrics if main != metrics else ():
        owner = next(run for run, table in zip(runs.values(), entries.values(), strict=True) if metric in table)
        head = metric.partition("/")[0]
        heads.setdefault(head, []).append((metric, owner.label(metric, short=True).removeprefix(f"{head}: ")))
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
            labels={metric: _label(metric, runs, short=True) for metric in main},
            heads=heads,
            best=best,
            best_is=best_is,
            comparable=comparable,
            settings=differing_settings([run.config for run in runs.values()]),
            caveats=list(_caveats(runs)),
            synthetic=any(run.synthetic for run in runs.values()),
            gains=list(_gains(runs)) if comparable else [],
            images={
                "bars": _bars(main, runs, entries, best, titles),
                "pairs": _beside(runs) if comparable else [],
                "curves": _curves(runs, titles, one_loss),
            },
            one_loss=one_loss,
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


def loss_words(config: Mapping[str, Any]) -> str:
    """Return the loss of a run's config.yaml: ``L1Loss``, or ``mask: BCE + 0.5 Dice, depth: L1MSSSIM``.

    Its options stand in brackets, losses of later stages behind.
    """
    words = _loss(config.get("loss"))
    heads = _mappings(config.get("heads"))
    if any(head.get("loss") is not None for head in heads.values()):
        words = ", ".join(f"{n}: {words if h.get('loss') is None else _loss(h['loss'])}" for n, h in heads.items())
    stages = [(name, stage["loss"]) for name, stage in _mappings(config.get("stages")).items() if stage.get("loss")]
    return "; ".join([words, *(f"stage {name}: {_loss(loss)}" for name, loss in stages)])


def _loss(loss: Any) -> str:
    if isinstance(loss, Mapping) and "_target_" in loss:
        options = ", ".join(f"{key}={value}" for key, value in loss.items() if key != "_target_")
        return str(loss["_target_"]).rpartition(".")[2].removesuffix("Loss") + (f" ({options})" if options else "")
    if isinstance(loss, Mapping) and loss:
        loss = [{"loss": name, "weight": weight} for name, weight in loss.items()]
    if isinstance(loss, list) and all(isinstance(item, Mapping) for item in loss):
        terms = [(_loss(item.get("loss") or item.get("name")), item.get("weight", 1)) for item in loss]
        return " + ".join(name if weight == 1 else f"{weight} {name}" for name, weight in terms)
    return str(loss or "–")


def _mappings(table: Any) -> dict[str, Mapping[str, Any]]:
    found = table.items() if isinstance(table, Mapping) else ()
    return {str(name): content for name, content in found if isinstance(content, Mapping)}


def _label(metric: str, runs: Mapping[str, Run], *, short: bool = False) -> str:
    """Return the name of ``head/metric`` as the first run that has the head calls it."""
    owner = next((run for run in runs.values() if metric.partition("/")[0] in run.heads), None)
    return metric if owner is None else owner.label(metric, short=short)


def _test_entries(run: Run) -> dict[str, dict[str, Any]]:
    return {key.removeprefix("test/"): entry for key, entry in run.metrics.items() if key.startswith("test/")}


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
    if len({run.data for run in runs.values()}) > 1:
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
    few = [run.attempt("groups", partial(_few, run)) or () for run in runs.values()]
    yield from dict.fromkeys(text for texts in few for text in texts)
    unfinished = [name for name, run in runs.items() if run.status.get("state") != "finished"]
    if unfinished:
        yield f"Not finished: {', '.join(unfinished)}."
    if len(runs) > 2:
        yield "The best of many runs on the test split looks better than it is: choose by validation, then test once."


def _few(run: Run) -> list[str]:
    return list(few_groups(run))


# Two runs on the same images --------------------------------------------------------------------------------------


def _gains(runs: Mapping[str, Run]) -> Iterator[str]:
    """Yield by how much the second of two runs is better on the same test images, with its interval over groups.

    More is seen this way than from two intervals that overlap: what makes an image hard is in both runs.
    """
    if len(runs) != 2:
        return
    old, new = runs.values()
    for name in new.key_metrics():
        words = new.attempt(f"both runs' {name}", partial(_gain, old, new, name, list(runs)))
        if words:
            yield words


def _gain(old: Run, new: Run, name: str, names: Sequence[str]) -> str:
    head, _, key = name.partition("/")
    spec, column = new.heads[head], f"{head}_{key}"
    metric = new.metric(head, key)
    if head not in old.heads or not all(column in run.predictions["test"] for run in (old, new)):
        return ""
    tables = [run.predictions["test"][["id", "group", column]] for run in (old, new)]
    both = tables[0].merge(tables[1][["id", column]], on="id", suffixes=("_old", "_new"), validate="one_to_one")
    sign = 1 if metric.better == "max" else -1
    gains = sign * (both[f"{column}_new"] - both[f"{column}_old"]).to_numpy(float)
    good = np.isfinite(gains)
    gains, gain = gains[good], float(gains[good].mean())
    groups = both["group"].astype(str).to_numpy()[good]
    low, high = group_interval(METRICS["bias"], [np.zeros_like(gains), gains], groups)
    unit = str(spec.get("unit") or "") if metric.in_unit else ""
    wide = 0.0 if low is None or high is None else high - low
    places = decimals(wide if wide > 1e-6 * abs(gain) else gain, 2)
    size = with_unit(f"{'+' if gain > 0 else ''}{digits(gain, places)}", unit)
    sample = new.figures(head).sample(spec)
    share = digits(100 * float((gains > 0).mean()), 0)
    words = f"{new.label(name, short=True)} of {names[1]} against {names[0]}: mean gain {size}"
    if low is None or high is None:
        words += " (one group: nothing says how certain that is)"
    else:
        chance = "" if low > 0 or high < 0 else ", which may be chance"
        words += f" [{digits(low, places)}, {digits(high, places)}]{chance}"
    return f"{words}; {share}% of {count(len(gains), sample)} in both runs are better."


def _beside(runs: Mapping[str, Run]) -> list[Picture]:
    """Return pictures of the same samples as two runs predicted them: the first is taken for the old one."""
    if len(runs) != 2:
        return []
    old, new = runs.values()
    shown = []
    for head in [head for head in new.heads if head in old.heads]:
        make = partial(new.figures(head).beside, old.path, new.path, head, list(runs), new.data)
        figure = new.attempt(f"both runs' {head}", make)
        if figure is not None:
            shown.append(drawn(figure, f"The same samples of {head} in both runs, and what changed.", wide=True))
    return shown


# Figures ----------------------------------------------------------------------------------------------------------


def _bars(
    metrics: Sequence[str],
    runs: Mapping[str, Run],
    entries: Mapping[str, Mapping[str, dict[str, Any]]],
    best: Mapping[str, list[str]],
    titles: Mapping[str, str],
) -> list[Picture]:
    shown = []
    for metric in metrics:
        table = {titles[name]: entry[metric] for name, entry in entries.items() if metric in entry}
        table = {name: entry for name, entry in table.items() if number(entry.get("value")) is not None}
        if table:
            label = _label(metric, runs)
            owner = next((run for run in runs.values() if metric.partition("/")[0] in run.heads), None)
            baseline = owner.figures(metric.partition("/")[0]).baseline[1] if owner else "the baseline"
            figure = metric_bars(table, label, [titles[name] for name in best[metric]], baseline, _caption(runs))
            shown.append(drawn(figure, f"{label} of each run on the test split."))
    return shown


@styled
def metric_bars(
    entries: Mapping[str, Mapping[str, Any]], label: str, best: Sequence[str], baseline: str, caption: str
) -> Figure:
    """One metric of several runs: bars with intervals, and each run's baseline as a tick.

    Args:
        entries: run name -> its entry of metrics.json, which has a value.
        label: of the metric.
        best: the runs that are drawn as best; none where the runs cannot be compared.
        baseline: what it is.
        caption: the line under the figure.
    """
    figure = style.new(7, 1.9 + 0.55 * len(entries))
    axes = figure.subplots()
    for y, (name, entry) in enumerate(entries.items()):
        low, high, simple = (number(entry.get(key)) for key in ("low", "high", "baseline"))
        axes.barh(y, float(entry["value"]), height=0.58, color=BLUE if name in best else "#9DB8CC")
        if low is not None and high is not None:
            # Percentile intervals need not hold the value: draw the line itself, not errors to either side.
            axes.plot([low, high], [y, y], color=INK, linewidth=2, solid_capstyle="butt")
        if simple is not None:
            axes.plot([simple, simple], [y - 0.36, y + 0.36], color=ORANGE, linewidth=3)
    axes.plot([], [], color=INK, label="95% interval")
    axes.plot([], [], color=ORANGE, linewidth=3, label=f"baseline: {baseline}")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(entries)), [f"{shorten(name)}\n{measure(entry)}" for name, entry in entries.items()])
    axes.set(ylim=(len(entries) - 0.4, -0.6), xlabel=axis_label(label, next(iter(entries.values())).get("unit")))
    axes.grid(axis="y", visible=False)
    return style.finish(figure, f"{label[0].upper()}{label[1:]}, test split", caption, axes)


def _curves(runs: Mapping[str, Run], titles: Mapping[str, str], one_loss: bool) -> list[Picture]:
    # Values of different losses say nothing about each other.
    losses = ["train/loss_epoch", "val/loss"] if one_loss else []
    monitors = [str(run.config["monitor"]) for run in runs.values() if run.config.get("monitor")]
    keys = [f"val/{key}" for run in runs.values() for key in run.key_metrics()]
    tags = [tag for tag in dict.fromkeys([*losses, *monitors, *keys]) if one_loss or not tag.endswith("loss")]
    units = {tag: next(filter(None, (facts.tag_unit(run, tag) for run in runs.values())), "") for tag in tags}
    figure = overlaid_curves({titles[name]: run.curves for name, run in runs.items()}, units, _caption(runs))
    words = "Losses and metrics" if one_loss else "Metrics"
    return [] if figure is None else [drawn(figure, f"{words} of the runs while they trained.", wide=True)]


def _caption(runs: Mapping[str, Run]) -> str:
    return " · ".join(dict.fromkeys(run.data for run in runs.values()))
