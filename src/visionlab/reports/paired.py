"""An old run against a new one on the same images: which of them got better, and what changed in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import axis_label, count, decimals, digits, key_metric, metric_label, shorten, with_unit
from visionlab.metrics import METRICS, group_interval
from visionlab.metrics.regression import METRICS as OF_NUMBERS
from visionlab.reports.cell_panes import CellView
from visionlab.reports.cells import Compared
from visionlab.reports.facts import samples_word
from visionlab.reports.kept import Kept
from visionlab.reports.run import Run

Array = npt.NDArray[np.float64]

KINDS = ("instances",)
"""Kinds of heads of which two runs are set side by side image by image."""
MAX_POINTS = 4000


@dataclass(frozen=True)
class Paired:
    """The key score of the same images in two runs.

    Attributes:
        head: its name.
        score: the metric in words.
        unit: of the values, empty for none.
        rising: whether a high value is good.
        samples: what one is called, ``image`` or ``slice``.
        first, second: N values of the old and the new run.
        group: N names.
        caption: the line under the figure.
    """

    head: str
    score: str
    unit: str
    rising: bool
    samples: str
    first: Array
    second: Array
    group: npt.NDArray[Any]
    caption: str

    @classmethod
    def of(cls, old: Run, new: Run, head: str, caption: str) -> Paired:
        """Read the tables of the test split of both runs.

        Raises:
            KeyError: a run has no such table or score.
            ValueError: no image has a finite score in both.
        """
        spec = new.heads[head]
        metric = METRICS[str(spec["kind"])][key_metric(spec)]
        column = f"{head}_{metric.name}"
        tables = [run.predictions["test"][["id", "group", column]] for run in (old, new)]
        both = tables[0].merge(tables[1][["id", column]], on="id", suffixes=("_old", "_new"), validate="one_to_one")
        first, second = (both[f"{column}_{which}"].to_numpy(dtype=float) for which in ("old", "new"))
        good = np.isfinite(first) & np.isfinite(second)
        if not good.any():
            raise ValueError(f"no image has a finite {metric.name} of {head} in both runs")
        return cls(
            head=head,
            score=metric_label(metric.name, short=True, spec=spec),
            unit=str(spec.get("unit") or "") if metric.in_unit else "",
            rising=metric.better == "max",
            samples=samples_word(spec),
            first=first[good],
            second=second[good],
            group=both["group"].astype(str).to_numpy()[good],
            caption=caption,
        )

    @property
    def gain(self) -> Array:
        """By how much each image got better."""
        return (self.second - self.first) * (1 if self.rising else -1)


@styled
def paired_scores(p: Paired, names: tuple[str, str]) -> Figure:
    """Score of each image in the new run against that in the old one, and how the differences are distributed.

    Args:
        p: the scores.
        names: of the old and the new run.
    """
    figure = style.new(10, 4.9)
    axes, beside = figure.subplots(1, 2, width_ratios=[1.1, 1])
    low, high = float(min(p.first.min(), p.second.min())), float(max(p.first.max(), p.second.max()))
    pad = 0.04 * (high - low) or 0.5
    ends = (low - pad, high + pad)
    shown = np.unique(np.linspace(0, len(p.first) - 1, min(len(p.first), MAX_POINTS)).astype(int))
    better = p.gain[shown] > 0
    for where, colour in ((better, BLUE), (~better, ORANGE)):
        axes.scatter(p.first[shown][where], p.second[shown][where], s=16, color=colour, alpha=0.5, linewidths=0)
    axes.plot(ends, ends, color=INK, linewidth=1.2)
    axes.set(xlim=ends, ylim=ends, box_aspect=1)
    short = [shorten(name, 30) for name in names]
    axes.set_xlabel(axis_label(f"{p.score} in {short[0]}", p.unit))
    axes.set_ylabel(axis_label(f"{p.score} in {short[1]}", p.unit))
    reach = float(np.abs(p.gain).max()) or 1.0
    edges = np.linspace(-reach, reach, 32)
    for where, colour, words in ((p.gain > 0, BLUE, "better"), (p.gain < 0, ORANGE, "worse")):
        beside.hist(p.gain[where], bins=edges.tolist(), color=colour, edgecolor="white", linewidth=0.5, label=words)
    beside.axvline(0, color=GREY, linewidth=1.2)
    beside.axvline(float(p.gain.mean()), color=INK, linestyle="--", label="mean")
    beside.set(xlabel=axis_label(f"gain in {p.score}", p.unit), ylabel=f"{p.samples}s")
    beside.legend(loc="upper left")
    beside.grid(axis="x", visible=False)
    figure.suptitle(_verdict(p), x=0.01, ha="left", fontweight="bold", fontsize=13)
    share = 100 * float((p.gain > 0).mean())
    words = f"{count(len(p.gain), p.samples)} in both runs · {digits(share, 0)}% better in {short[1]}"
    return style.finish(figure, " · ".join(filter(None, [words, p.caption])))


def _verdict(p: Paired) -> str:
    """Return what the difference is in words, with its interval over groups: images of one group are alike."""
    gain = float(p.gain.mean())
    low, high = group_interval(OF_NUMBERS["bias"], [np.zeros_like(p.gain), p.gain], p.group)
    places = decimals(gain, 2) if low is None or high is None or high <= low else decimals(high - low, 2)
    size = with_unit(f"{'+' if gain > 0 else ''}{digits(gain, places)}", p.unit)
    start = f"{p.score} of {p.head}: mean gain {size}"
    if low is None or high is None:
        return f"{start} (one group: nothing says how certain that is)"
    sure = "" if low > 0 or high < 0 else ", may be chance"
    return f"{start} [{digits(low, places)}, {digits(high, places)}]{sure}"


def same_slices(old: Mapping[str, Kept], new: Mapping[str, Kept], score: str) -> list[Compared]:
    """Return the slices that both runs kept and that are alike in image and truth.

    Args:
        old, new: of :func:`visionlab.reports.kept.read_kept`.
        score: the metric in words.
    """
    found = []
    for name, one in old.items():
        other = new.get(name)
        if other is None or not (_same(one.image, other.image) and _same(one.true, other.true)):
            continue
        image = one.image.astype(np.float32) / np.float32(255)
        view = CellView(name, image, one.true, pixel=one.pixel if one.pixel > 0 else None)
        gain = other.score - one.score
        change = f" ({'+' if gain >= 0 else ''}{digits(gain, 2)})" if np.isfinite(gain) else ""
        scores = (f"{score} {digits(one.score, 2)}", f"{score} {digits(other.score, 2)}{change}")
        found.append(Compared(view, one.pred, other.pred, scores))
    return found


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def heads_in_both(runs: Sequence[Run]) -> list[str]:
    """Return the heads whose images two runs have scores of."""
    old, new = runs
    return [
        head
        for head, spec in new.heads.items()
        if head in old.heads and old.heads[head].get("kind") == spec.get("kind") and spec.get("kind") in KINDS
    ]
