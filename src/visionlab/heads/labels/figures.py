"""Figures and tables of a head of labels, class by class: how well each is found, and at what price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import count, digits, listed, shorten
from visionlab.heads.figures import Array, Drawing, Figures, HeadTables
from visionlab.metrics import confusion, reliability, wilson
from visionlab.metrics.multilabel import METRICS

Flags = npt.NDArray[np.bool_]

ENOUGH = 20
"""Images that a class must have for a reliability curve of its own, and a bin of scores to be part of one."""
FEW_IMAGES = 10
"""Validation images of a class with fewer of which a threshold is little more than a guess."""
NUMBERED = 14
"""Up to so many classes the numbers are written into the cells of a matrix."""


@dataclass(frozen=True)
class Labels:
    """Labels of N images in K classes, the commonest class first: names, N x K truth, scores and decisions."""

    classes: list[str]
    true: Flags
    scores: Array
    decided: Flags

    @classmethod
    def of(cls, t: HeadTables) -> Labels:
        """Read ``<class>_true``, ``<class>_score`` and ``<class>_pred`` of a table.

        Raises:
            ValueError: no image has finite scores.
        """
        true, scores, decided = t.values("_true", "_score", "_pred")
        good = np.isfinite(scores).all(axis=1)
        if not good.any():
            raise ValueError(f"no image has finite scores of {t.head}")
        order = np.argsort(-true[good].sum(axis=0), kind="stable")
        true, scores, decided = (part[good][:, order] for part in (true, scores, decided))
        return cls([t.columns[i] for i in order], true > 0, scores, decided > 0)

    @property
    def support(self) -> npt.NDArray[np.int64]:
        """Images of each class, K."""
        return self.true.sum(axis=0)

    @property
    def rows(self) -> Array:
        """What metrics are computed from, N x 3K."""
        return np.concatenate([self.true, self.scores, self.decided], axis=1)


@styled
def calibration(t: HeadTables) -> Figure:
    """How often a class is there when its score says so: of all classes pooled, and of the single ones."""
    s = Labels.of(t)
    figure = style.new(7.4, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    upper.plot([0, 1], [0, 1], color=INK, linewidth=1.2, label="calibrated")
    for k in np.flatnonzero(s.support >= ENOUGH):
        mean, share, n = reliability(s.scores[:, k], s.true[:, k])
        upper.plot(mean, np.where(n >= ENOUGH, share, np.nan), color=GREY, alpha=0.5, linewidth=1.1, marker=".")
    mean, share, n = reliability(s.scores.ravel(), s.true.ravel())
    held = n > 0
    low, high = wilson(share[held], n[held])
    ends = np.maximum([share[held] - low, high - share[held]], 0)  # but for rounding it is
    upper.errorbar(mean[held], share[held], ends, color=BLUE, marker="o", label="all, with 95% intervals")
    lower.bar((np.arange(len(n)) + 0.5) / len(n), n, width=0.9 / len(n), color=BLUE)
    lower.set(yscale="log", xlabel="score", ylabel="number")
    upper.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share that has the class")
    title = f"Calibration of {t.head}: a class's scores are off by {digits(METRICS['ece'](s.rows))} on average (ECE)"
    note = f"grey: single classes of {ENOUGH} images or more"
    return style.finish(figure, title, t.caption(len(s.true)), note, legend=upper)


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
        axes.plot([0, 1], [n / len(true)] * 2, color=GREY, linestyle=":")
        axes.plot(np.r_[0, recall], np.r_[precision[0], precision], color=BLUE)
        if decided.any():
            found = (true & decided).sum()
            axes.plot(found / n, found / decided.sum(), "o", color=ORANGE, markeredgecolor="white")
        axes.set_title(f"{shorten(s.classes[k], 18)}\nAP {area:.2f} · {count(n, 'image')}", fontsize=9.5)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.05), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    notes = "orange: at the threshold; dotted: guessing; AP: average precision, the area under the curve"
    title = f"Precision (up) against recall (right) of each class of {t.head}"
    return style.finish(figure, title, t.caption(len(s.true)), notes)


@styled
def taken_for(t: HeadTables) -> Figure | None:
    """Which classes are predicted where another one is missed."""
    s = Labels.of(t)
    k = len(s.classes)
    if k == 1:
        return None
    shares = confusion(s.rows)
    # What was missed with nothing wrong in its place.
    shares = np.concatenate([shares, np.maximum(1 - shares.sum(axis=1, keepdims=True), 0)], axis=1)
    side = max((0.2 if k > NUMBERED else 0.3) * k, 2.2)
    figure = style.new(side + 4.6, side + 3.6)
    axes = figure.subplots()
    axes.patch.set(**style.UNKNOWN, linewidth=0)
    cells = axes.imshow(np.ma.masked_invalid(100 * shares), cmap="Blues", vmin=0, vmax=100)
    names = [shorten(name, 30) for name in s.classes]
    axes.set_xticks(range(k + 1), [*names, "none in its place"], rotation=90, fontsize=9.5)
    axes.set_yticks(range(k), [f"{name}  {n:,}" for name, n in zip(names, s.support, strict=True)], fontsize=9.5)
    axes.grid(visible=False)
    for (i, j), share in np.ndenumerate(shares if k <= NUMBERED else np.zeros((0, 0))):
        if share >= 0.005:
            colour = "white" if share > 0.5 else INK
            axes.text(j, i, f"{100 * share:.0f}", color=colour, ha="center", va="center", fontsize=8.5)
    axes.set(ylabel="images of the class", xlabel="are predicted to have")
    figure.colorbar(cells, ax=axes, shrink=0.6, label="% of the row's images")
    note = "on the diagonal: found; elsewhere: the class was missed and another predicted wrongly"
    return style.finish(figure, f"Where the images of each class of {t.head} went", t.caption(len(s.true)), note)


def caveats(splits: Mapping[str, HeadTables]) -> Iterator[str]:
    """Yield classes of which a head could learn, decide or show nothing, or little."""
    t = next(iter(splits.values()))
    of = f"of {len(t.columns)} classes of {t.head}"
    images = {
        split: dict(zip(part.columns, part.values("_true")[0].sum(axis=0), strict=True))
        for split, part in splits.items()
    }
    thresholds = dict(zip(t.columns, t.spec.get("thresholds") or (), strict=False))
    if undefined := [name for name, value in thresholds.items() if value is None]:
        yield f"No threshold, because no validation image has it, so never predicted: {', '.join(undefined)}."
    train = dict(zip(t.columns, t.spec.get("positives") or (), strict=False))
    if unseen := [name for name, n in train.items() if n == 0]:
        yield f"{len(unseen)} {of} have no training image and cannot be learnt: {listed(unseen)}."
    few = [name for name, n in images.get("val", {}).items() if 0 < n < FEW_IMAGES]
    if few and t.spec.get("fitted"):
        yield (
            f"The thresholds of {len(few)} {of} rest on fewer than {FEW_IMAGES} validation images each: "
            f"{listed(few)}. They may lie far from the best."
        )
    if absent := [name for name, n in images.get("test", {}).items() if n == 0]:
        yield f"{len(absent)} {of} have no test image; how well they are found is unknown: {listed(absent)}."


FIGURES = Figures(
    key="f1_macro",
    baseline=(
        "always predicting every label (scored by its share of the training images; for micro F1 only those frequent "
        "enough to raise it, for Hamming loss and exact match only labels of at least half of the images)"
    ),
    drawings={
        "calibration": Drawing(
            calibration, "Whether scores can be read as probabilities: above the line they are too low.", live=False
        ),
        "precision_recall": Drawing(
            precision_recall_curves,
            "What each class costs: the share of predictions that are right against the share of images found.",
        ),
        "confusion": Drawing(taken_for, "Which classes are taken for which.", live=False),
    },
    pictures={
        "most_wrong": "The images whose scores are most wrong, over all classes.",
        "label_errors": "Labels that the model contradicts most firmly: they may be wrong, or the model is.",
        "gradcam": "Where the network looked for a class that it found (Grad-CAM).",
    },
    caveats=caveats,
)
