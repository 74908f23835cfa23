"""Figures of a head of labels, class by class: how well each is found, and at what price."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, SOFT, styled
from visionlab.drawing.text import count, digits, shorten
from visionlab.metrics.calibration import BINS, reliability, wilson
from visionlab.metrics.multilabel import HALF, METRICS
from visionlab.reports.tables import Part, table_caption

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ENOUGH = 20
"""Images that a class must have for a reliability curve of its own, and a bin of scores to be part of one."""


@dataclass(frozen=True)
class Labelled:
    """The labels of N images in K classes, the commonest class first: what the figures of a head of labels draw.

    Attributes:
        head: its name.
        stage: ``test``, ``val``.
        classes: K names.
        true: N x K.
        scores: N x K, 0 to 1.
        decided: N x K.
        thresholds: K, NaN where undefined.
        f1_ends: 2 x K, the 95% interval of each class's F1; NaN where unknown.
        fitted: whether the thresholds were chosen on validation scores.
        caption: the line under each figure.
    """

    head: str
    stage: str
    classes: tuple[str, ...]
    true: Flags
    scores: Array
    decided: Flags
    thresholds: Array
    f1_ends: Array
    fitted: bool
    caption: str

    @classmethod
    def of(cls, part: Part) -> Labelled:
        """Read ``<class>_true``, ``<class>_score`` and ``<class>_pred`` of a table, and the intervals of its classes.

        Raises:
            ValueError: no image has finite scores.
        """
        names = [str(name) for name in part.spec["columns"]]
        true, scores, decided = (
            part.table[[f"{name}_{what}" for name in names]].to_numpy(dtype=float) for what in ("true", "score", "pred")
        )
        groups = part.table["group"].nunique()
        ends = np.full((2, len(names)), np.nan)
        if part.classes is not None:
            table = part.classes.set_index("class").reindex(names)
            ends = table[["f1_low", "f1_high"]].to_numpy(dtype=float).T
        bad = int((~np.isfinite(scores).all(axis=1)).sum())
        left_out = f"{count(bad, 'image')} with scores that are not finite, not drawn" if bad else ""
        caption = table_caption(part.stage, len(true), groups, left_out, part.synthetic)
        return cls._sorted(part.head, part.stage, part.spec, true, scores, decided, ends, caption)

    @classmethod
    def of_rows(cls, rows: Array, spec: Mapping[str, Any], data_name: str) -> Labelled:
        """Take the labels and scores of N x 2K rows while training, when nothing is decided but at 0.5.

        Raises:
            ValueError: no image has finite scores.
        """
        true, scores = np.split(rows, 2, axis=1)
        spec = {**spec, "thresholds": [HALF] * scores.shape[1], "fitted": False}
        caption = f"val: {count(len(rows), 'image')} · {data_name}"
        ends = np.full((2, scores.shape[1]), np.nan)
        return cls._sorted(str(spec.get("name") or "labels"), "val", spec, true, scores, scores >= HALF, ends, caption)

    @classmethod
    def _sorted(
        cls,
        head: str,
        stage: str,
        spec: Mapping[str, Any],
        true: Array,
        scores: Array,
        decided: npt.NDArray[Any],
        ends: Array,
        caption: str,
    ) -> Labelled:
        good = np.isfinite(scores).all(axis=1)
        if not good.any():
            raise ValueError(f"no image has finite scores of {head}")
        order = np.argsort(-true[good].sum(axis=0), kind="stable")
        thresholds = np.array([np.nan if value is None else value for value in spec["thresholds"]], dtype=float)
        return cls(
            head=head,
            stage=stage,
            classes=tuple(str(spec["columns"][i]) for i in order),
            true=true[good][:, order] > 0,
            scores=scores[good][:, order],
            decided=decided[good][:, order] > 0,
            thresholds=thresholds[order],
            f1_ends=ends[:, order],
            fitted=bool(spec.get("fitted")),
            caption=caption,
        )

    @property
    def support(self) -> npt.NDArray[np.int64]:
        """Images of each class, K."""
        return self.true.sum(axis=0)

    @property
    def pairs(self) -> int | None:
        """Of classes, how many; None for a single class, of which there is nothing to say beside another."""
        return math.comb(len(self.classes), 2) or None

    def f1(self, decided: Flags) -> Array:
        """Return F1 of each class, K; NaN for those without images."""
        found, all_ = (self.true & decided).sum(axis=0), self.support + decided.sum(axis=0)
        return np.where(self.support > 0, 2 * found / np.maximum(all_, 1), np.nan)


@styled
def f1_by_class(s: Labelled) -> Figure:
    """F1 of each class at its threshold with its interval, beside F1 at 0.5."""
    fitted, half = s.f1(s.decided), s.f1(s.scores >= HALF)
    figure = style.new(7.6, 1.9 + 0.27 * max(len(s.classes), 2))
    axes = figure.subplots()
    at = np.arange(len(s.classes))
    differ = s.fitted or not np.allclose(fitted, half, equal_nan=True)
    if differ:
        axes.hlines(at, np.fmin(fitted, half), np.fmax(fitted, half), color="#C6CBD2", linewidth=1.2, zorder=1)
        words = f"at 0.5: macro {digits(_mean(half))}"
        axes.scatter(half, at, marker="D", s=22, facecolor="white", edgecolor=ORANGE, zorder=5, label=words)
        axes.axvline(_mean(half), color=ORANGE, linestyle=":", linewidth=1.4, zorder=1)
    own = "at the fitted threshold" if s.fitted else "at the threshold" if differ else "at 0.5"
    axes.hlines(at, *s.f1_ends, color=BLUE, alpha=0.4, linewidth=4, zorder=2)
    axes.scatter(fitted, at, s=60, color=BLUE, zorder=4, label=f"{own}: macro {digits(_mean(fitted))}")
    axes.axvline(_mean(fitted), color=BLUE, linestyle=":", linewidth=1.4, zorder=1)
    for y, (n, threshold) in enumerate(zip(s.support, s.thresholds, strict=True)):
        words = "no image, so no F1" if n == 0 else "no threshold: never predicted" if math.isnan(threshold) else ""
        over = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        if words:
            reach = np.nanmax([fitted[y], half[y], 0])
            axes.text(
                reach + 0.03 if reach < 0.5 else 0.03,
                y,
                words,
                va="center",
                fontsize=10,
                color=SOFT,
                style="italic",
                bbox=over,
            )
        axes.text(1.02, y, f"{n:,}", va="center", fontsize=11, transform=axes.get_yaxis_transform())
    axes.text(1.02, -1, "images", va="center", fontsize=10, color=SOFT, transform=axes.get_yaxis_transform())
    axes.set_yticks(at, [shorten(name, 30) for name in s.classes])
    axes.set(xlim=(-0.02, 1.02), ylim=(len(at) - 0.4, -0.6), xlabel="F1 of the class")
    counted = int((s.support > 0).sum())
    of_all = f"; {counted} of {len(at)} have images" if counted < len(at) else ""
    style.head(figure, axes, f"F1 of each class of {s.head}{of_all}")
    axes.grid(axis="y", visible=False)
    ends = " · bars are 95% intervals" if np.isfinite(s.f1_ends).any() else ""
    return style.finish(figure, f"{s.caption}{ends}")


def _mean(values: Array) -> float:
    """Return the mean over classes that have images, NaN if none has."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


@styled
def calibration_curves(s: Labelled) -> Figure:
    """How often a class is there when its score says so: of all classes pooled, and of the single ones."""
    figure = style.new(7.4, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    upper.plot([0, 1], [0, 1], color=INK, linewidth=1.2, label="calibrated")
    own = [k for k in range(len(s.classes)) if s.support[k] >= ENOUGH]
    for k in own if len(s.classes) > 1 else ():
        mean, share, n = reliability(s.scores[:, k], s.true[:, k])
        words = f"single classes of {ENOUGH} images or more" if k == own[0] else "_"
        look: dict[str, Any] = {"color": GREY, "alpha": 0.5, "linewidth": 1.1, "marker": "o", "markersize": 2.5}
        upper.plot(mean, np.where(n >= ENOUGH, share, np.nan), label=words, **look)
    mean, share, n = reliability(s.scores.ravel(), s.true.ravel())
    kept = n > 0
    low, high = wilson(share[kept], n[kept])
    ends = np.maximum([share[kept] - low, high - share[kept]], 0)  # but for rounding it is
    words = "all classes, with 95% intervals"
    upper.errorbar(mean[kept], share[kept], ends, color=BLUE, marker="o", elinewidth=1.2, label=words)
    lower.bar((np.arange(BINS) + 0.5) / BINS, n, width=0.92 / BINS, color=BLUE, alpha=0.85)
    # From below 1, for one image is something, and counts that are nearly the same shall look so.
    lower.set(yscale="log", ylim=(0.7, 2 * max(n.max(), 1)))
    style.plain_log(lower, "y")
    upper.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share that has the class")
    lower.set(xlabel="score", ylabel="number")
    lower.grid(axis="x", visible=False)
    error = METRICS["ece"](np.concatenate([s.true, s.scores, s.decided], axis=1))
    style.legend_above(upper, f"Calibration: a class's scores are off by {digits(error)} on average (ECE)")
    return style.finish(figure, s.caption)
