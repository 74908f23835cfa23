"""What a reader must know before using a run's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from visionlab.drawing.text import SPLIT_WORDS, count, digits, number
from visionlab.metrics.bootstrap import FEW_GROUPS
from visionlab.reports.data import MAP_FACTS
from visionlab.reports.facts import split_metric, state
from visionlab.reports.run import LEAKS, Run

MAP_SLACK = 0.05
"""Single pixels of a map are nearly always beyond those of other maps."""


def caveats(run: Run) -> list[str]:
    """Return one sentence or two for each thing to know, the weightiest first."""
    found: list[str] = []
    for check in (
        leaking_split,
        _generated,
        _unfinished,
        _leaks,
        few_groups,
        _outside,
        _kinds,
        _undefined,
        _other_data,
    ):
        found += run.attempt(f"check {check.__name__.strip('_')}", partial(_listed, check, run)) or []
    return found


def _listed(check: Any, run: Run) -> list[str]:
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


def _leaks(run: Run) -> Iterator[str]:
    sets = {split: {str(g) for g in run.splits.get(split) or ()} for split in ("train", "val", "test")}
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(sets[a] & sets[b])
        if both:
            yield f"{count(len(both), 'group')} in both {a} and {b}, such as '{both[0]}': the numbers are too good."


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
            name = SPLIT_WORDS.get(stage, stage)
            yield f"The {name} images are all of one group: there is no interval, and nothing says how others would do."
    few = [f"{n} ({SPLIT_WORDS.get(stage, stage)})" for stage, n in groups.items() if 2 <= n < FEW_GROUPS]
    if few:
        yield (
            f"Intervals come from drawing whole groups of images again. From as few groups as {' and '.join(few)} they "
            "are too narrow: they hold the true value less than 95% of the time. "
            f"{FEW_GROUPS} groups or more would do."
        )


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


def _kinds(run: Run) -> Iterator[str]:
    """What is to be known of each kind of head."""
    for head, spec in run.heads.items():
        parts = {key: split_metric(key) for key in run.metrics}
        of = {f"{s}/{metric}": run.metrics[key] for key, (s, where, metric) in parts.items() if where == head}
        yield from run.figures(head).caveats(head, spec, of, run.classes)


def _undefined(run: Run) -> Iterator[str]:
    undefined = [key for key, entry in run.metrics.items() if number(entry.get("value")) is None]
    told = {
        f"{split}/{head}/{name}" for split in SPLIT_WORDS for head in run.heads for name in run.figures(head).explained
    }
    if keys := [key for key in undefined if key not in told]:
        yield f"Undefined: {', '.join(keys)} (no sample counts, or a prediction is not a finite number)."


def _other_data(run: Run) -> Iterator[str]:
    other = sorted({str(e["data"]) for e in run.metrics.values() if e.get("data")} - {str(run.info.get("data"))})
    if other and run.info.get("data"):
        yield f"Some metrics are of other data than the run was trained on: {', '.join(other)}."
