"""What a report says of a run, as plain data for the templates: results in words, tables, what to know before use."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from visionlab.drawing.text import BETTER, SPLIT_WORDS, count, digits, listed, measure, number, with_unit
from visionlab.heads.figures import Figures
from visionlab.metrics.bootstrap import FEW_GROUPS
from visionlab.reports.page import Table
from visionlab.reports.run import LEAKS, SPLITS, Run

SLACK = 0.05
"""Of the training range: nearly always some value lies a little beyond those of other images."""


def state(run: Run) -> str:
    """Return the run's state in words: ``finished``, ``interrupted after 3 full epochs``."""
    key = str(run.status.get("state") or "unknown")
    epoch = number(run.status.get("epoch"))
    return key if key == "finished" or epoch is None else f"{key} after {count(int(epoch), 'full epoch')}"


def key_results(run: Run) -> list[dict[str, Any]]:
    """Return the headline of each head: its key metric (over all columns) on the best split, against the baseline."""
    results = []
    for name in run.key_metrics():
        head, _, metric = name.partition("/")
        entries = {split: run.metrics.get(f"{split}/{name}", {}) for split in SPLITS}
        split = next((split for split, entry in entries.items() if number(entry.get("value")) is not None), None)
        if split is None:
            continue
        entry, figures, spec = entries[split], run.figures(head), run.heads[head]
        over = f"over {count(entry['n'], figures.sample(spec))} of {count(entry['groups'], 'group')}"
        words = f"{SPLIT_WORDS[split].capitalize()} result of {head}: {figures.label(metric, spec)} {over}"
        words += " that training did not see" + (", but whose neighbours it did" if run.leak else "")
        if entry.get("classes") != entry.get("of"):
            words += f"; {entry['classes']} of {entry['of']} classes count"
        sentence, key = verdict(entry, figures, figures.label(metric, spec, short=True))
        results.append({"words": words, "entry": entry, "verdict": sentence, "key": key})
    return results


def verdict(entry: dict[str, Any], kind: Figures, metric: str) -> tuple[str, str]:
    """Compare a metric with its baseline: in words, and as ``good``, ``unsure`` or ``bad``.

    Args:
        entry: of metrics.json; where ``better`` isn't ``max``, the value is an error.
        kind: of the head, which says what the baseline is.
        metric: its short name.
    """
    value, low, high, baseline = (number(entry.get(key)) for key in ("value", "low", "high", "baseline"))
    if value is None or baseline is None:
        return "There is no baseline to compare with.", "unsure"
    rising = entry.get("better") == "max"
    words = kind.baseline
    always = f"{words[0].upper()}{words[1:]} would give {with_unit(digits(baseline), entry.get('unit'))}"
    if (value <= baseline) if rising else (value >= baseline):
        return f"{always}: the model is no better than that.", "bad"
    if high is None or low is None:
        return f"{always}; with one group nothing says how certain the difference is.", "unsure"
    if (low <= baseline) if rising else (high >= baseline):
        return f"{always}, which lies inside the interval: the gain may be chance.", "unsure"
    if rising or value <= baseline / 1e6:
        return f"{always}: the model's {metric} is {'higher' if rising else 'lower'}.", "good"
    return f"{always}: the model's error is {baseline / value:.2g} times lower.", "good"


def better(entries: Iterable[Mapping[str, Any]]) -> str:
    """Return which values of a metric are better, as its entries of several splits or runs say; empty: none does."""
    return next((str(entry["better"]) for entry in entries if entry.get("better")), "")


def metric_tables(run: Run) -> list[Table]:
    """Return the metrics of each head, with interval and baseline for each split."""
    stages = [split for split in SPLITS if any(key.startswith(f"{split}/") for key in run.metrics)]
    columns = [text for stage in stages for text in (f"{SPLIT_WORDS[stage].capitalize()} [95% interval]", "Baseline")]
    found = []
    for head, spec in run.heads.items():
        figures, rows = run.figures(head), []
        for name in dict.fromkeys(key.partition("/")[2] for key in run.metrics if key.split("/")[1] == head):
            entries = [run.metrics.get(f"{stage}/{name}", {}) for stage in stages]
            cells = [
                text for e in entries for text in (measure(e), with_unit(digits(e.get("baseline")), e.get("unit")))
            ]
            rows.append([figures.label(name.removeprefix(f"{head}/"), spec), *cells, BETTER.get(better(entries), "")])
        note = f"Baseline: the same for {figures.baseline}."
        found.append(Table(head, ["Metric", *columns, "Reading"], rows, [note]))
    return [table for table in found if table.rows]


def made(run: Run) -> list[tuple[str, str]]:
    """Return how the run was made: name and value."""
    info = run.info
    parameters, seconds = number(info.get("parameters")), number(info.get("seconds"))
    rows = [
        ("Task", run.task),
        ("Model", run.model + (f", {parameters:,.0f} parameters" if parameters is not None else "")),
        ("Receptive field", with_unit(digits(info.get("receptive_field"), 0), "pixels")),
        ("Seed", info.get("seed")),
        ("Device", info.get("device")),
        ("Started", info.get("started")),
        ("Finished", info.get("finished")),
        ("Took", timedelta(seconds=round(seconds)) if seconds is not None else None),
        ("Steps", run.status.get("step")),
        *(info.get("versions") or {}).items(),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def commands(run: Run) -> list[tuple[str, str]]:
    """Return what to type for what."""
    path = run.path.resolve()
    folder = shlex.quote(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
    found = [("Make it again", str(run.info["command"]))] if run.info.get("command") else []
    if run.status.get("state") != "finished":
        resume = run.status.get("resume") or f"python -m visionlab.resume {folder}"
        found.append(("Go on where it stopped", str(resume)))
    # An evaluation has no checkpoints of its own.
    model = shlex.quote(str(run.info["evaluation_of"])) if run.info.get("evaluation_of") else folder
    others = "".join(f" --with {name}={name.upper()}S" for name in run.config["data"].get("inputs", [])[1:])
    return [
        *found,
        ("Predict new images", f"python -m visionlab.predict {model} IMAGES{others} --out predictions"),
        ("Write this report again", f"python -m visionlab.report {folder}"),
    ]


# What to know before using the numbers ----------------------------------------------------------------------------


def caveats(run: Run) -> list[str]:
    """Return one sentence or two for each thing to know, the weightiest first."""
    checks = (leaking_split, shared_groups, _generated, _unfinished, few_groups, _beyond_training, _undefined)
    sources = {f"check {check.__name__.strip('_')}": check(run) for check in checks}
    sources |= {f"caveats of {head}": _of_head(run, head) for head in run.heads if run.predicted}
    return gathered(run, sources)


def gathered(page: Run, sources: Mapping[str, Iterator[str]]) -> list[str]:
    """Return what several checks yield, each text once; a check that can't read its file costs a page only itself."""
    parts = [page.attempt(name, partial(list[str], texts)) for name, texts in sources.items()]
    return list(dict.fromkeys(text for part in parts for text in part or ()))


def _of_head(run: Run, head: str) -> Iterator[str]:
    yield from run.figures(head).caveats({split: run.of_head(head, split) for split in run.predicted})


def _generated(run: Run) -> Iterator[str]:
    if run.synthetic:
        yield "The data is a generated sample: the figures show that everything works, and say nothing of real images."


def _unfinished(run: Run) -> Iterator[str]:
    if run.status.get("state") != "finished":
        yield f"The run is not finished ({state(run)}): the numbers are of the best checkpoint so far, if any."


def leaking_split(run: Run) -> Iterator[str]:
    """Yield that the parts of the split aren't independent, where the data said so."""
    if run.leak:
        yield (
            f"{LEAKS}{run.leak}. The test asks for little more than what training has seen: every figure here is too "
            "good, and says nothing of how the model does on another recording."
        )


def shared_groups(run: Run) -> Iterator[str]:
    """Yield that groups are in two splits."""
    for a, b in itertools.combinations(SPLITS, 2):
        if both := sorted({str(group) for group in run.splits.get(a, ())} & set(map(str, run.splits.get(b, ())))):
            where = f"both the {SPLIT_WORDS[a]} and the {SPLIT_WORDS[b]} split"
            yield f"{LEAKS}{count(len(both), 'group')} in {where}: {listed(both)}. Figures of these are too good."


def few_groups(run: Run) -> Iterator[str]:
    """Yield that the intervals are too narrow, or that there are none, where the groups are too few."""
    groups: dict[str, int] = {}
    for key, entry in run.metrics.items():
        stage = key.partition("/")[0]
        words = SPLIT_WORDS.get(stage, stage)
        # A metric that counts only some of the samples may have fewer groups than the split.
        groups[words] = max(groups.get(words, 0), int(number(entry.get("groups")) or 0))
    for words in [words for words, n in groups.items() if n == 1]:
        yield f"The {words} images are all of one group: there is no interval, and nothing says how others would do."
    few = [f"{n} ({words})" for words, n in groups.items() if 1 < n < FEW_GROUPS]
    if few:
        yield (
            f"Intervals come from drawing whole groups of images again. From as few groups as {' and '.join(few)} they "
            f"are too narrow: they hold the true value less than 95% of the time. {FEW_GROUPS} groups or more would do."
        )


def _beyond_training(run: Run) -> Iterator[str]:
    """Yield that the targets of the test go beyond those of training: there the network must extrapolate."""
    parts = run.card.get("splits", {})
    train, test = (parts.get(split, {}).get("targets", {}) for split in ("train", "test"))
    for head, spec in run.heads.items():
        ends = {head: (f"{head}_min", f"{head}_max")} | {name: (name, name) for name in spec["columns"] if name in test}
        for name, (least, most) in ends.items():
            if not {least, most} <= train.keys() & test.keys():
                continue
            (low, high), (lowest, highest) = ((part[least]["min"], part[most]["max"]) for part in (train, test))
            if max(low - lowest, highest - high) > SLACK * (high - low):
                yield (
                    f"Test values of {name} go from {digits(lowest)} to {digits(highest)}, but training only saw "
                    f"{digits(low)} to {digits(high)}: beyond that the model guesses."
                )


def _undefined(run: Run) -> Iterator[str]:
    if names := [key for key, entry in run.metrics.items() if number(entry.get("value")) is None]:
        yield f"Undefined: {listed(names)} (no sample counts, or a prediction is not a finite number)."
