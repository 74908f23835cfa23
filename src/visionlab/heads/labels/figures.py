"""Figures and tables of a head of labels, class by class: how well each is found, and at what price."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, SOFT, styled
from visionlab.drawing.text import SPLIT_WORDS, count, digits, listed, measure, number, shorten, value
from visionlab.heads.figures import Array, Drawing, Entry, Figures, HeadTables, Spec, Table
from visionlab.metrics import confusion, reliability, wilson
from visionlab.metrics.multilabel import HALF, METRICS

if TYPE_CHECKING:
    import pandas as pd

Flags = npt.NDArray[np.bool_]

ENOUGH = 20
"""Images that a class must have for a reliability curve of its own, and a bin of scores to be part of one."""
FEW_IMAGES = 10
"""Validation images of a class with fewer of which a threshold is little more than a guess."""
NUMBERED = 14
"""Up to so many classes the numbers are written into the cells of a matrix."""
_NAME, _PLACES, _MAX_POINTS = 30, 3, 400
_SHARES = LinearSegmentedColormap.from_list("shares", ["#FFFFFF", "#BFDDF0", "#0072B2", "#00263B"])


@dataclass(frozen=True)
class Labels:
    """Labels of N images in K classes, the commonest class first: names, N x K truth, scores and decisions, K
    thresholds (NaN where undefined), 2 x K ends of the intervals of F1 (NaN where unknown), what is left out."""

    classes: tuple[str, ...]
    true: Flags
    scores: Array
    decided: Flags
    thresholds: Array
    f1_ends: Array
    lost: str

    @classmethod
    def of(cls, t: HeadTables) -> Labels:
        """Read ``<class>_true``, ``<class>_score`` and ``<class>_pred`` of a table, and the intervals of its classes.

        Raises:
            ValueError: no image has finite scores.
        """
        true, scores, decided = t.values("_true", "_score", "_pred")
        good = np.isfinite(scores).all(axis=1)
        if not good.any():
            raise ValueError(f"no image has finite scores of {t.head}")
        ends = np.full((2, len(t.columns)), np.nan)
        if t.classes is not None:
            ends = t.classes.set_index("class").reindex(t.columns)[["f1_low", "f1_high"]].to_numpy(float).T
        order = np.argsort(-true[good].sum(axis=0), kind="stable")
        thresholds = np.array([math.nan if value is None else value for value in t.spec["thresholds"]], dtype=float)
        lost = "" if good.all() else f"{count(int((~good).sum()), 'image')} with scores that are not finite, not drawn"
        return cls(
            classes=tuple(t.columns[i] for i in order),
            true=true[good][:, order] > 0,
            scores=scores[good][:, order],
            decided=decided[good][:, order] > 0,
            thresholds=thresholds[order],
            f1_ends=ends[:, order],
            lost=lost,
        )

    @property
    def support(self) -> npt.NDArray[np.int64]:
        """Images of each class, K."""
        return self.true.sum(axis=0)

    def f1(self, decided: Flags) -> Array:
        """Return F1 of each class, K; NaN for those without images."""
        found, every = (self.true & decided).sum(axis=0), self.support + decided.sum(axis=0)
        return np.where(self.support > 0, 2 * found / np.maximum(every, 1), np.nan)

    def named(self) -> list[str]:
        """Return the classes with their number of images."""
        return [f"{shorten(name, _NAME)}  {n:,}" for name, n in zip(self.classes, self.support, strict=True)]


def _fits(spec: Spec) -> bool:
    return bool(spec.get("fitted")) and isinstance(spec.get("method"), str)


def _mean(values: Array) -> float:
    """Return the mean over classes that have images, NaN if none has."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


@styled
def f1_by_class(t: HeadTables) -> Figure:
    """F1 of each class at its threshold with its interval, beside F1 at 0.5."""
    s = Labels.of(t)
    own, half = s.f1(s.decided), s.f1(s.scores >= HALF)
    figure = style.new(7.6, 1.9 + 0.27 * max(len(s.classes), 2))
    axes = figure.subplots()
    at = np.arange(len(s.classes))
    for values, colour, words, look in (
        (half, ORANGE, "at 0.5", {"marker": "D", "s": 22, "facecolor": "white", "edgecolor": ORANGE}),
        (own, BLUE, "at the fitted threshold" if _fits(t.spec) else "at the threshold", {"s": 55, "color": BLUE}),
    ):
        axes.axvline(_mean(values), color=colour, linestyle=":", linewidth=1.4, zorder=1)
        axes.scatter(values, at, zorder=4, label=f"{words}: macro {digits(_mean(values))}", **look)  # type: ignore[arg-type]
    axes.hlines(at, *s.f1_ends, color=BLUE, alpha=0.4, linewidth=4, zorder=2)
    for y, (n, threshold) in enumerate(zip(s.support, s.thresholds, strict=True)):
        words = "no image, so no F1" if n == 0 else "no threshold: never predicted" if math.isnan(threshold) else ""
        axes.text(0.05, y, words, va="center", fontsize=10, color=SOFT, style="italic")
    axes.set_yticks(at, s.named())
    axes.set(xlim=(-0.02, 1.02), ylim=(len(at) - 0.4, -0.6), xlabel="F1 of the class")
    axes.grid(axis="y", visible=False)
    ends = "bars: 95% intervals" if np.isfinite(s.f1_ends).any() else ""
    title = f"F1 of each class of {t.head}"
    return style.finish(figure, title, t.caption(s.lost, "beside each class: its images", ends), axes)


@styled
def calibration(t: HeadTables) -> Figure:
    """How often a class is there when its score says so: of all classes pooled, and of the single ones."""
    s = Labels.of(t)
    figure = style.new(7.4, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    upper.plot([0, 1], [0, 1], color=INK, linewidth=1.2, label="calibrated")
    words = f"single classes of {ENOUGH} images or more"
    for k in np.flatnonzero(s.support >= ENOUGH) if len(s.classes) > 1 else ():
        mean, share, n = reliability(s.scores[:, k], s.true[:, k])
        shown = np.where(n >= ENOUGH, share, np.nan)
        upper.plot(mean, shown, color=GREY, alpha=0.5, linewidth=1.1, marker="o", markersize=2.5, label=words)
        words = "_"
    mean, share, n = reliability(s.scores.ravel(), s.true.ravel())
    held = n > 0
    low, high = wilson(share[held], n[held])
    ends = np.maximum([share[held] - low, high - share[held]], 0)  # but for rounding it is
    upper.errorbar(mean[held], share[held], ends, color=BLUE, marker="o", elinewidth=1.2, label="all, 95% intervals")
    lower.bar((np.arange(len(n)) + 0.5) / len(n), n, width=0.92 / len(n), color=BLUE, alpha=0.85)
    # From below 1, for one image is something, and counts that are nearly the same shall look so.
    lower.set(yscale="log", ylim=(0.7, 2 * max(n.max(), 1)), xlabel="score", ylabel="number")
    style.plain_log(lower, "y")
    upper.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share that has the class")
    error = METRICS["ece"](np.concatenate([s.true, s.scores, s.decided], axis=1))
    title = f"Calibration of {t.head}: a class's scores are off by {digits(error)} on average (ECE)"
    return style.finish(figure, title, t.caption(s.lost), upper)


def precision_recall(true: Flags, scores: Array) -> tuple[Array, Array, float]:
    """Return recall and precision at each different score, from the highest, and the average precision.

    Args:
        true, scores: N values of one class, of which at least one is true.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    found = np.cumsum(true[order])[last]
    recall, precision = found / found[-1], found / (last + 1)
    return recall, precision, float(np.sum(np.diff(recall, prepend=0) * precision))


@styled
def precision_recall_curves(t: HeadTables) -> Figure:
    """Precision against recall of each class, with the point of its threshold and what guessing would give."""
    s = Labels.of(t)
    known = np.flatnonzero(s.support > 0)
    if not len(known):
        raise ValueError(f"no image has a class of {t.head}")
    figure, grid = style.grid(len(known), 7, 1.75, 1.75, sharex=True, sharey=True)
    for axes, k in zip(grid, known, strict=True):
        n, true, decided = int(s.support[k]), s.true[:, k], s.decided[:, k]
        recall, precision, area = precision_recall(true, s.scores[:, k])
        keep = np.unique(np.linspace(0, len(recall) - 1, _MAX_POINTS).astype(int))
        axes.plot([0, 1], [n / len(true)] * 2, color=GREY, linestyle=":", linewidth=1.5)
        axes.plot(np.r_[0, recall[keep]], np.r_[precision[0], precision[keep]], color=BLUE, linewidth=1.8)
        if decided.any():
            found = (true & decided).sum()
            axes.plot(found / n, found / decided.sum(), "o", color=ORANGE, markersize=7, markeredgecolor="white")
        else:
            words = "no threshold" if math.isnan(s.thresholds[k]) else "none predicted"
            axes.text(0.5, 0.5, words, ha="center", fontsize=10, color=SOFT)
        axes.set_title(f"{shorten(s.classes[k], 18)}\nAP {area:.2f} · {count(n, 'image')}", fontsize=9.5)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.05), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    absent = len(s.classes) - len(known)
    left_out = f"without images, not drawn: {absent}" if absent else ""
    what = "fitted threshold" if _fits(t.spec) else "threshold"
    lines = f"orange: the {what}; dotted: guessing; AP: average precision, the area under the curve"
    title = f"Precision (up) against recall (right) of each class of {t.head}"
    return style.finish(figure, title, t.caption(s.lost, lines, left_out))


@styled
def taken_for(t: HeadTables) -> Figure | None:
    """Which classes are predicted where another one is missed."""
    s = Labels.of(t)
    k = len(s.classes)
    if k == 1:
        return None
    shares = confusion(np.concatenate([s.true, s.scores, s.decided], axis=1))
    # What was missed with nothing wrong in its place.
    shares = np.concatenate([shares, np.maximum(1 - shares.sum(axis=1, keepdims=True), 0)], axis=1)
    side = max((0.2 if k > NUMBERED else 0.3) * k, 2.2)
    figure = style.new(side + 4.6, side + 3.6)
    axes = figure.subplots()
    axes.patch.set(**style.UNKNOWN, linewidth=0)
    cells = axes.imshow(np.ma.masked_invalid(shares), cmap=_SHARES, norm=PowerNorm(0.6, 0, 1))
    size = 9.5 if k > NUMBERED else 11
    names = [shorten(name, _NAME) for name in s.classes]
    axes.set_xticks(range(k + 1), [*names, "none in its place"], rotation=90, fontsize=size)
    axes.set_yticks(range(k), s.named(), fontsize=size)
    axes.grid(visible=False)
    axes.axvline(k - 0.5, color="white", linewidth=4)
    for (i, j), share in np.ndenumerate(shares if k <= NUMBERED else np.zeros((0, 0))):
        if share >= 0.005:
            colour = "white" if share > 0.35 else INK
            axes.text(j, i, f"{100 * share:.0f}", color=colour, ha="center", va="center", fontsize=8.5)
    axes.set(ylabel="images of the class", xlabel="are predicted to have")
    bar = figure.colorbar(cells, ax=axes, shrink=0.6, label="share of the row's images", ticks=[0, 0.1, 0.3, 0.6, 1])
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    bar.outline.set_visible(False)
    note = "on the diagonal: found; elsewhere: the class was missed and another predicted wrongly"
    return style.finish(figure, f"Where the images of each class of {t.head} went", t.caption(s.lost, note))


# Tables and caveats -----------------------------------------------------------------------------------------------


def caveats(head: str, spec: Spec, metrics: Mapping[str, Entry], classes: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yield classes of which a head could learn, decide or show nothing, or little."""
    names, of = [str(name) for name in spec["columns"]], f"of {len(spec['columns'])} classes of {head}"
    train = dict(zip(names, spec.get("positives") or (), strict=False))
    if unseen := [name for name, n in train.items() if n == 0]:
        yield f"{len(unseen)} {of} have no training image and cannot be learnt: {listed(unseen)}."
    counts = {
        split: dict(zip(table["class"].astype(str), table["support"], strict=True)) for split, table in classes.items()
    }
    few = [name for name, n in counts.get("val", {}).items() if name in names and 0 < n < FEW_IMAGES]
    if few and spec.get("fitted"):
        yield (
            f"The thresholds of {len(few)} {of} rest on fewer than {FEW_IMAGES} validation images each: "
            f"{listed(few)}. They may lie far from the best."
        )
    if absent := [name for name, n in counts.get("test", {}).items() if name in names and n == 0]:
        yield f"{len(absent)} {of} have no test image; how well they are found is unknown: {listed(absent)}."


def tables(splits: Mapping[str, HeadTables]) -> list[Table]:
    """Return what the thresholds gain over 0.5, and the table of the classes of each split."""
    found = [table for table in [_gains(splits)] if table is not None]
    for t in splits.values():
        if t.classes is not None and list(t.classes["class"].astype(str)) == t.columns:
            title = f"Classes of {t.head}, {SPLIT_WORDS[t.split]} images"
            rows = [_class(row) for row in t.classes.to_dict("records")]
            first = all(table.headings != _CLASS_HEADINGS for table in found)
            found.append(Table(title, _CLASS_HEADINGS, rows, _CLASS_NOTES, open=first))
    return found


_CLASS_HEADINGS = (
    *("Class", "No.", "Trained on", "Threshold", "Images", "Precision", "Recall", "F1 [95% interval]"),
    *("F1 at 0.5", "AP", "Expected F1"),
)
_CLASS_NOTES = (
    "No.: number of the class in the data set. Trained on: training images that have the class. Images: of this split "
    "that have it; without any, nothing is known of it (–). AP: average precision. Expected F1: what the scores alone "
    "promise at the threshold; far from F1 they are no probabilities.",
)


def _class(row: Mapping[Any, Any]) -> list[str]:
    text = {name: digits(row[name], _PLACES) for name in ("precision", "recall", "f1_half", "ap", "expected_f1")}
    low, high = number(row["f1_low"]), number(row["f1_high"])
    ends = "" if low is None or high is None else f" [{digits(low, _PLACES)}, {digits(high, _PLACES)}]"
    whole = ["–" if number(row[name]) is None else f"{row[name]:,.0f}" for name in ("train", "support")]
    threshold = "undefined" if number(row["threshold"]) is None else digits(row["threshold"], _PLACES)
    start = [str(row["class"]), str(row["id"]), whole[0], threshold, whole[1], text["precision"], text["recall"]]
    return [*start, f"{digits(row['f1'], _PLACES)}{ends}", text["f1_half"], text["ap"], text["expected_f1"]]


def _gains(splits: Mapping[str, HeadTables]) -> Table | None:
    """Return macro F1 at the thresholds and at 0.5, on images that the thresholds were not fitted on."""
    rows, verdict, notes = [], None, []
    for split, t in splits.items():
        own, half, gain = (t.metrics.get(f"f1_macro{end}", {}) for end in ("", "_half", "_gain"))
        if number(own.get("value")) is None:
            continue
        verdict = verdict or _verdict(split, gain)
        counted = f"{own['classes']} of {own['of']}" if own.get("classes") and own.get("of") else "–"
        if counted != "–" and own["classes"] != own["of"]:
            notes = ["Classes without an image in a split have no F1 there and are left out of its means."]
        rows.append(
            [
                _where(split, t.spec, own.get("groups")),
                *(value(own), value(half) if half else "–", measure(gain) if gain else "–", counted),
            ]
        )
    if not rows:
        return None
    spec, head = t.spec, t.head
    absent = [name for name, x in zip(t.columns, spec.get("thresholds") or (), strict=False) if number(x) is None]
    if absent:
        notes.append(f"No threshold, because no validation image has it, so never predicted: {', '.join(absent)}.")
    headings = ("Measured on", "Macro F1 at its thresholds", "at 0.5", "Gain [95% interval]", "Classes that count")
    return Table(f"What the thresholds of {head} gain", headings, rows, notes, verdict)


def _where(split: str, spec: Spec, groups: Any) -> str:
    if not _fits(spec):
        return f"{SPLIT_WORDS[split]} images; the thresholds were given, not fitted"
    if split == "val" and groups == 1:
        return "validation images, all of one group, on which the thresholds were fitted themselves: they flatter"
    if split == "val":
        return "validation images, each fifth of the groups judged by thresholds from the others (nested folds)"
    return f"{SPLIT_WORDS[split]} images, thresholds fitted on validation images"


def _verdict(split: str, gain: Entry) -> tuple[str, str]:
    amount, low, high = (number(gain.get(key)) for key in ("value", "low", "high"))
    if amount is None:
        return "What the thresholds gain over 0.5 was not measured.", "unsure"
    size = f"{'gain' if amount >= 0 else 'lose'} {digits(abs(amount))}"
    words = f"On {SPLIT_WORDS[split]} images the thresholds {size} macro F1 over 0.5 for all classes"
    if low is None or high is None:
        return f"{words}; with one group nothing says how certain that is.", "unsure"
    if low <= 0 <= high:
        return f"{words}, which may be chance: 0 lies inside the interval.", "unsure"
    return f"{words}.", "good" if low > 0 else "bad"


FIGURES = Figures(
    key="f1_macro",
    baseline=(
        "always predicting every label (scored by its share of the training images; for micro F1 only those frequent "
        "enough to raise it, for Hamming loss and exact match only labels of at least half of the images)",
        "the same for every image",
    ),
    drawings={
        "f1": Drawing(f1_by_class, "How well each class is found, and what its threshold gains over 0.5."),
        "calibration": Drawing(
            calibration, "Whether scores can be read as probabilities: above the line they are too low.", live=False
        ),
        "precision_recall": Drawing(
            precision_recall_curves,
            "What each class costs: the share of predictions that are right against the share of images found.",
            wide=True,
        ),
        "confusion": Drawing(taken_for, "Which classes are taken for which.", wide=True, live=False),
    },
    pictures={
        "most_wrong": "The images whose scores are most wrong, over all classes.",
        "label_errors": "Labels that the model contradicts most firmly: they may be wrong, or the model is.",
        "gradcam": "Where the network looked for a class that it found (Grad-CAM).",
    },
    caveats=caveats,
    tables=tables,
)
