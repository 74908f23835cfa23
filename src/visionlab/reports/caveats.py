"""What a reader must know before using a run's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

from visionlab.metrics.bootstrap import FEW_GROUPS
from visionlab.reports.facts import STAGE_WORDS, split_metric, state
from visionlab.reports.run import Run
from visionlab.reports.text import count, digits, number


def caveats(run: Run) -> list[str]:
    """Return one sentence or two for each thing to know, the weightiest first."""
    checks = (_generated, _unfinished, _leaks, few_groups, _outside, _undefined, _other_data)
    return [
        text
        for check in checks
        for text in run.attempt(f"check {check.__name__.strip('_')}", partial(_sentences, check, run)) or ()
    ]


def _sentences(check: Callable[[Run], Iterator[str]], run: Run) -> list[str]:
    return list(check(run))


def _generated(run: Run) -> Iterator[str]:
    if run.synthetic:
        yield "The data is a generated sample: the figures show that everything works, and say nothing of real images."


def _unfinished(run: Run) -> Iterator[str]:
    if run.status.get("state") != "finished":
        yield f"The run is not finished ({state(run)['words']}): the numbers are of the best checkpoint so far, if any."


def _undefined(run: Run) -> Iterator[str]:
    keys = [key for key, entry in run.metrics.items() if number(entry.get("value")) is None]
    if keys:
        yield f"Undefined: {', '.join(keys)} (no sample counts, or a prediction is not a finite number)."


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
    for name, seen in (splits["train"].get("targets") or {}).items():
        asked = (splits["test"].get("targets") or {}).get(name, {})
        low, high, lowest, highest = (number(t.get(k)) for t in (seen, asked) for k in ("min", "max"))
        if None in (low, high, lowest, highest):
            continue
        assert low is not None and high is not None and lowest is not None and highest is not None
        slack = 1e-6 * max(math.fabs(high - low), 1e-12)
        if lowest < low - slack or highest > high + slack:
            yield (
                f"Test values of {name} go from {digits(lowest)} to {digits(highest)}, but training only saw "
                f"{digits(low)} to {digits(high)}: beyond that the model guesses."
            )
