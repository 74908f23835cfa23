"""What a reader must know before using a run's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from visionlab.data.blocks import LEAKS
from visionlab.drawing.text import count, digits, metric_label, number
from visionlab.metrics.bootstrap import FEW_GROUPS
from visionlab.reports.class_table import label_heads
from visionlab.reports.data_facts import MAP_FACTS
from visionlab.reports.facts import STAGE_WORDS, parameter_words, split_metric, state
from visionlab.reports.run import Run

MAP_SLACK = 0.05
"""Single pixels of a map are nearly always beyond those of other maps."""

FEW_IMAGES = 10
"""Validation images of a class with fewer of which a threshold is little more than a guess."""


def caveats(run: Run) -> list[str]:
    """Return one sentence or two for each thing to know, the weightiest first."""
    first = (leaking_split, _generated, _unfinished, _leaks, few_groups)
    checks = (*first, _outside, _classes, _objects, _undefined, _other_data)
    return [
        text
        for check in checks
        for text in run.attempt(f"check {check.__name__.strip('_')}", partial(_sentences, check, run)) or ()
    ]


def _sentences(check: Callable[[Run], Iterator[str]], run: Run) -> list[str]:
    return list(check(run))


def leaking_split(run: Run) -> Iterator[str]:
    """Yield that the parts of the split aren't independent, where the data said so."""
    if run.leak:
        yield (
            f"{LEAKS}{run.leak}. The test asks for little more than what training has seen: every figure here is too "
            "good, and says nothing of how the model does on another recording."
        )


def _generated(run: Run) -> Iterator[str]:
    if run.synthetic:
        yield "The data is a generated sample: the figures show that everything works, and say nothing of real images."


def _unfinished(run: Run) -> Iterator[str]:
    if run.status.get("state") != "finished":
        yield f"The run is not finished ({state(run)['words']}): the numbers are of the best checkpoint so far, if any."


def _undefined(run: Run) -> Iterator[str]:
    keys = [key for key, entry in run.metrics.items() if number(entry.get("value")) is None]
    keys = [key for key in keys if not _told(run, key)]
    if keys:
        yield f"Undefined: {', '.join(keys)} (no sample counts, or a prediction is not a finite number)."


def _told(run: Run, key: str) -> bool:
    """Return whether :func:`_objects` says why a metric is undefined."""
    _, head, metric = split_metric(key)
    return run.heads.get(head, {}).get("kind") == "instances" and _absent(run, head, metric)


def _other_data(run: Run) -> Iterator[str]:
    other = sorted({str(e["data"]) for e in run.metrics.values() if e.get("data")} - {str(run.info.get("data"))})
    if other and run.info.get("data"):
        yield f"Some metrics are of other data than the run was trained on: {', '.join(other)}."


def few_groups(run: Run) -> Iterator[str]:
    """Yield that the intervals are too narrow, or that there are none, where the groups are too few."""
    groups: dict[str, int] = {}
    for key, entry in run.metrics.items():
        n = number(entry.get("groups"))
        if n is not None:
            stage = split_metric(key)[0]
            groups[stage] = max(groups.get(stage, 0), int(n))
    for stage, n in groups.items():
        if n < 2:
            name = STAGE_WORDS.get(stage, stage)
            yield f"The {name} images are all of one group: there is no interval, and nothing says how others would do."
    few = [f"{n} ({STAGE_WORDS.get(stage, stage)})" for stage, n in groups.items() if 2 <= n < FEW_GROUPS]
    if few:
        yield (
            f"Intervals come from drawing whole groups of images again. From as few groups as {' and '.join(few)} they "
            "are too narrow: they hold the true value less than 95% of the time. "
            f"{FEW_GROUPS} groups or more would do."
        )


def _leaks(run: Run) -> Iterator[str]:
    sets = {split: {str(g) for g in run.splits.get(split) or ()} for split in ("train", "val", "test")}
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(sets[a] & sets[b])
        if both:
            yield f"{count(len(both), 'group')} in both {a} and {b}, such as '{both[0]}': the numbers are too good."


def _outside(run: Run) -> Iterator[str]:
    """Test targets beyond the training range: the network must extrapolate."""
    splits = run.card.get("splits")
    if not isinstance(splits, dict) or not all(isinstance(splits.get(s), dict) for s in ("train", "test")):
        return
    seen, asked = (_ranges(run, splits[split].get("targets") or {}) for split in ("train", "test"))
    for name, (low, high, slack) in seen.items():
        lowest, highest, _ = asked.get(name, (low, high, slack))
        margin = slack * max(math.fabs(high - low), 1e-12)
        if lowest < low - margin or highest > high + margin:
            yield (
                f"Test values of {name} go from {digits(lowest)} to {digits(highest)}, but training only saw "
                f"{digits(low)} to {digits(high)}: beyond that the model guesses."
            )


def _classes(run: Run) -> Iterator[str]:
    """Classes of which a head of labels could learn, decide or show nothing, or little."""
    for head, spec in label_heads(run).items():
        names, of = spec["columns"], f"of {len(spec['columns'])} classes of {head}"
        train = dict(zip(names, spec.get("positives") or (), strict=False))
        if unseen := [name for name, n in train.items() if n == 0]:
            yield f"{len(unseen)} {of} have no training image and cannot be learnt: {listed(unseen)}."
        counts = {
            stage: dict(zip(table["class"].astype(str), table["support"], strict=True))
            for stage, table in run.classes.items()
        }
        few = [name for name, n in counts.get("val", {}).items() if name in names and 0 < n < FEW_IMAGES]
        if few and spec.get("fitted"):
            yield (
                f"The thresholds of {len(few)} {of} rest on fewer than {FEW_IMAGES} validation images each: "
                f"{listed(few)}. They may lie far from the best."
            )
        if absent := [name for name, n in counts.get("test", {}).items() if name in names and n == 0]:
            yield f"{len(absent)} {of} have no test image; how well they are found is unknown: {listed(absent)}."


def _objects(run: Run) -> Iterator[str]:
    """Yield what the numbers of a head of instances are, and how its objects came about."""
    for head, spec in run.heads.items():
        if spec.get("kind") != "instances":
            continue
        if spec.get("dimensions") == 3:
            yield (
                f"2D IoU of {head} counts pixels slice by slice, SEG and DET judge whole 3D objects: they are "
                "different things, and a value of one cannot be set beside a value of the other."
            )
        if spec.get("fitted"):
            yield (
                f"What turns maps into objects of {head} ({parameter_words(spec)}) was fitted on the validation split: "
                "validation figures of objects are optimistic, those of the test split are not."
            )
        else:
            yield f"Nothing of what turns maps into objects of {head} was fitted: a threshold of 0.5 and defaults."
        absent = [name for name in ("f1", "seg", "det", "count_error") if _absent(run, head, name)]
        if "f1" in absent or "seg" in absent:
            yield f"The labels of {head} don't tell objects apart: only pixels are compared, no objects."
        elif absent:
            names = " and ".join(metric_label(name, short=True, spec=spec) for name in absent)
            yield f"Labels of {head} are of single slices, not of whole volumes: {names} cannot be known."


def _absent(run: Run, head: str, metric: str) -> bool:
    """Return whether a metric was asked for, and is undefined in every split."""
    entries = [run.metrics.get(f"{stage}/{head}/{metric}") for stage in STAGE_WORDS]
    return any(entries) and all(number(entry.get("value")) is None for entry in entries if entry)


def listed(names: Sequence[str], limit: int = 6) -> str:
    """Return names divided by commas, the last of many left out."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def _ranges(run: Run, targets: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Return lowest and highest value of each target, and the share of that range that may be exceeded unnoticed."""
    rest = dict(targets)
    ends: dict[str, tuple[Any, Any, float]] = {}
    for head in run.heads:
        given = {fact: rest.pop(f"{head}_{fact}", None) for fact in MAP_FACTS}
        least, most = given["min"], given["max"]
        if least and most:
            ends[head] = (least.get("min"), most.get("max"), MAP_SLACK)
    ends |= {name: (stats.get("min"), stats.get("max"), 1e-6) for name, stats in rest.items()}
    found = {}
    for name, (low, high, slack) in ends.items():
        lowest, highest = number(low), number(high)
        if lowest is not None and highest is not None:
            found[name] = (lowest, highest, slack)
    return found
