"""Pictures of images with their labels: the most wrong, labels that may be wrong, where the network looked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from visionlab.drawing.gallery import Item, Panel, gallery
from visionlab.drawing.images import grey
from visionlab.drawing.text import shorten
from visionlab.files import write_text
from visionlab.heads.figures import Spec
from visionlab.heads.pictures import Measured, Parts, Sample
from visionlab.metrics.multilabel import HALF

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

COUNT = 12
"""Of images in a figure, and of classes whose maps are shown."""
LINES = 7
"""Under an image."""
CELL = 2.5
"""Width of an image in inches: names of classes are long."""
MARKS = "✓ given and predicted, + predicted only, − given only, · neither"
_LEAST = 1e-6
"""Scores nearer to 0 or 1 count as that far away, so that one sure error is no infinite loss."""


def _line(name: str, given: bool, decided: bool, score: float) -> str:
    mark = ("✓" if decided else "−") if given else ("+" if decided else "·")
    return f"{mark} {score:.2f} {shorten(name, 24)}"


def _cut(lines: Sequence[str]) -> list[str]:
    more = len(lines) - LINES
    return list(lines) if more <= 0 else [*lines[: LINES - 1], f"and {more + 1} more"]


def show(head: str, spec: Spec, samples: Sequence[Sample]) -> Parts:
    """Return the names of the labels; where there are scores, those of the labels given and the highest."""
    names, lines = [str(name) for name in spec["columns"]], []
    for sample in samples:
        given, scores = sample.true[head] > 0, sample.pred.get(head)
        if scores is None:
            lines.append(_cut([name for name, has in zip(names, given, strict=True) if has] or ["no label"]))
            continue
        ranked = np.argsort(-(scores + given), kind="stable")[: max(3, int(given.sum()))]
        lines.append(_cut([_line(names[k], bool(given[k]), bool(scores[k] >= HALF), scores[k]) for k in ranked]))
    note = MARKS if any(sample.pred for sample in samples) else ""
    return Parts([()] * len(samples), lines, note=note, cell=CELL)


def suspects(true: Flags, scores: Array, decided: Flags) -> list[tuple[int, int]]:
    """Return row and column of the labels that may be wrong, those that the scores contradict most firmly first.

    Suspect are labels that aren't predicted as they are given, if the score is nearer to the mean of the images with
    the other label. They are ranked by how far the score is from the label, times the distance of the two means: a
    class that the network hardly tells apart says little. (After confident learning, Northcutt et al. 2021, "Confident
    Learning: Estimating Uncertainty in Dataset Labels", JAIR 70:1373-1411, which judges by the means of a class, too.)

    Args:
        true, scores, decided: N x K, the scores finite, 0 to 1.
    """
    with_it, without = (np.ma.array(scores, mask=masked).mean(axis=0).filled(0.0) for masked in (~true, true))
    distance = np.where(true.all(axis=0) | ~true.any(axis=0), 0.0, with_it - without)
    border = (with_it + without) / 2
    firm = np.where(true, scores < border, scores > border) & (true != decided) & (distance > 0)
    weight = np.where(firm, np.abs(true - scores) * distance, 0.0)
    # Of equal ones those of the first class come first.
    ranked = np.argsort(-weight.T, axis=None, kind="stable")[: int(firm.sum())]
    return [(int(k % len(true)), int(k // len(true))) for k in ranked]


def pictures(m: Measured) -> dict[str, Callable[[], Figure]]:
    """Return the pictures of a split's images by what the first head of labels says of them.

    ``predictions/<split>_suspects.csv`` is written: labels that may be wrong, the most suspect first.
    """
    head = next(name for name, spec in m.specs.items() if spec["kind"] == "multilabel")
    of_split = _Images(m, head)
    rows = [
        (of_split.ids[row], of_split.names[k], int(of_split.true[row, k]), of_split.scores[row, k])
        for row, k in of_split.suspects
    ]
    table = pd.DataFrame(rows, columns=["id", "class", "given", "score"]).to_csv(index=False, float_format="%.7g")
    write_text(m.folder / "predictions" / f"{m.split}_suspects.csv", table)
    found: dict[str, Callable[[], Figure]] = {"most_wrong": of_split.most_wrong} if len(of_split.ids) else {}
    if of_split.suspects:
        found["label_errors"] = of_split.label_errors
    if (of_split.true & of_split.decided).any():
        found["gradcam"] = of_split.gradcam
    return found


class _Images:
    """The images of a split that have finite scores, with N x K truth, scores and decisions."""

    def __init__(self, m: Measured, head: str) -> None:
        self.m, self.head, self.names = m, head, [str(name) for name in m.specs[head]["columns"]]
        true, scores, decided = m.tables(head).values("_true", "_score", "_pred")
        good = np.isfinite(scores).all(axis=1)
        self.places, self.ids = np.flatnonzero(good), m.table["id"].to_numpy(str)[good]
        self.true, self.scores, self.decided = true[good] > 0, scores[good], decided[good] > 0
        self.suspects = suspects(self.true, self.scores, self.decided)

    def most_wrong(self) -> Figure:
        """The images with the largest binary cross-entropy, summed over the classes."""
        p = np.clip(self.scores, _LEAST, 1 - _LEAST)
        losses = -np.log(np.where(self.true, p, 1 - p)).sum(axis=1)
        ranked = np.argsort(-np.abs(self.scores - self.true), axis=1, kind="stable")
        lines = {int(row): self._lines(row, ranked[row]) for row in np.argsort(-losses, kind="stable")[:COUNT]}
        words = "the largest binary cross-entropy over all classes; classes from the most wrong one"
        return self._draw("Most wrong", lines, words)

    def label_errors(self) -> Figure:
        """The images with the most suspect labels, each image once."""
        chosen: dict[int, list[int]] = {}
        for row, column in self.suspects:
            if row in chosen or len(chosen) < COUNT:
                chosen.setdefault(row, []).append(column)
        lines = {}
        for row, columns in chosen.items():
            rest = [k for k in np.argsort(-self.scores[row], kind="stable") if k not in columns]
            lines[row] = [f"{self._line(row, k)} ?" for k in columns] + self._lines(row, rest)
        words = f"marked with ?: labels that the scores contradict; all are in {self.m.split}_suspects.csv"
        return self._draw("Labels that may be wrong", lines, words)

    def gradcam(self) -> Figure:
        """The surest right image of each class beside where the network looked for the class.

        Raises:
            UserError: the network has no feature map.
        """
        right = np.where(self.true & self.decided, self.scores, -1)
        best, sure = right.argmax(axis=0), right.max(axis=0)
        items = []
        for k in [int(k) for k in np.argsort(-sure, kind="stable")[:COUNT] if sure[k] >= 0]:
            place = int(self.places[best[k]])
            image, heat = self.m.sample(place).image, self.m.attention(place, self.head, k)
            panels = [Panel(image, "image"), Panel(heated(image, heat), "Grad-CAM" if heat.any() else "nothing")]
            items.append(Item(f"{self.names[k]} {sure[k]:.2f}", panels))
        words = "of each class the surest right image, beside what speaks for it, if any"
        return gallery({"": items}, f"Where the network looked for {self.head} that it found", self.m.caption, words)

    def _line(self, row: int, column: int) -> str:
        given, decided = bool(self.true[row, column]), bool(self.decided[row, column])
        return _line(self.names[column], given, decided, self.scores[row, column])

    def _lines(self, row: int, ranked: Sequence[int]) -> list[str]:
        """Return the lines of the classes of an image that are given, predicted or score high."""
        named = self.true[row] | self.decided[row] | (self.scores[row] >= HALF)
        return [self._line(row, int(k)) for k in ranked if named[k]]

    def _draw(self, title: str, lines: Mapping[int, Sequence[str]], words: str) -> Figure:
        items = [
            Item(str(self.ids[row]), [Panel(self.m.sample(int(self.places[row])).image)], _cut(said) or ["no label"])
            for row, said in lines.items()
        ]
        return gallery({"": items}, f"{title}: {self.head}", self.m.caption, words, MARKS, cell=CELL)


def heated(image: npt.NDArray[np.float32], heat: Array) -> npt.NDArray[np.float32]:
    """Return H x W x 3: the image in grey, where ``heat`` (H x W, 0 to 1) is high under bright colours."""
    opaque = 0.75 * heat[..., None]
    shown = (1 - opaque) * 0.8 * grey(image)[..., None] + opaque * matplotlib.colormaps["inferno"](heat)[..., :3]
    return np.asarray(shown, dtype=np.float32)
