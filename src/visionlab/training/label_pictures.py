"""Which images with labels are looked at, and what stands beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from visionlab.data.module import ImageDataModule
from visionlab.data.stored import joined
from visionlab.drawing.images import stretch, stretch_words
from visionlab.drawing.stains import WORDS
from visionlab.drawing.style import INK, SOFT
from visionlab.inference import Predictor
from visionlab.inference.gradcam import grad_cam
from visionlab.metrics.multilabel import HALF
from visionlab.reports.doubts import loss, suspects, uncertainty
from visionlab.reports.labelled import ABSENT, LINES, MARKS, Line, Tagged, line, looked_at, tagged_images

Array = np.ndarray[Any, Any]
View = Callable[[int], Array]
"""Row of the index -> the image for looking at, see :func:`visionlab.training.sample_pictures.view`."""

COUNT = 12
"""Of images in a figure, and of classes whose maps are shown."""


def label_examples(data: ImageDataModule, target: str, chosen: Sequence[tuple[str, int, int]], view: View) -> Any:
    """Return a figure of samples with their labels.

    Args:
        data: set up.
        target: of labels.
        chosen: split, place in it and row of the index of each.
        view: how images are looked at.
    """
    sections: dict[str, list[Tagged]] = {}
    for split, place, row in chosen:
        given = data.values(target, split)[place] > 0
        lines = [(name, INK) for name, has in zip(data.targets[target], given, strict=True) if has]
        image = Tagged(pixels(data, row, view), str(data.table["id"].iloc[row]), lines or [("no label", SOFT)])
        sections.setdefault(split, []).append(image)
    return tagged_images(sections, f"Images of each split with their {target}", _caption(data, data.name))


def pixels(data: ImageDataModule, row: int, view: View) -> Array:
    """Return an image as it is drawn, H x W or H x W x 3, 0 to 1."""
    return view(row) if data.channel_names else stretch(view(row))


def _caption(data: ImageDataModule, words: str) -> str:
    return f"{words} · {WORDS if data.channel_names else stretch_words(data.channels)}"


class LabelPictures:
    """Pictures of a split's images by what the first head of labels says of them.

    Args:
        predictor: with fitted thresholds.
        data: set up.
        table: ``predictions/<split>.csv``.
        split: its name.
        view: how images are looked at.
    """

    def __init__(
        self, predictor: Predictor, data: ImageDataModule, table: pd.DataFrame, split: str, view: View
    ) -> None:
        self.predictor, self.data, self.split, self.view = predictor, data, split, view
        self.head = predictor.heads[0]
        true, scores, decided = (
            table[[f"{name}_{what}" for name in self.head.columns]].to_numpy(float)
            for what in ("true", "score", "pred")
        )
        good = np.isfinite(scores).all(axis=1)
        self.rows, self.ids = data.rows[split][good], table["id"].to_numpy(str)[good]
        self.true, self.scores, self.decided = true[good] > 0, scores[good], decided[good] > 0
        found = self.head.describe()["thresholds"]
        self.thresholds = np.array([np.nan if value is None else value for value in found], dtype=float)
        self.suspects = suspects(self.true, self.scores, self.decided)

    def suspects_table(self) -> str:
        """Return ``predictions/<split>_suspects.csv``: labels that may be wrong, the most suspect first."""
        rows = [(self.ids[s.row], self.head.columns[s.column], int(s.given), s.score) for s in self.suspects]
        return pd.DataFrame(rows, columns=["id", "class", "given", "score"]).to_csv(index=False, float_format="%.7g")

    def draws(self) -> dict[str, Callable[[], Any]]:
        """Return the pictures that there is something for, by name, each drawn when called."""
        found: dict[str, Callable[[], Any]] = {}
        if len(self.rows):
            found |= {"most_wrong": self.most_wrong, "most_uncertain": self.most_uncertain}
        if self.suspects:
            found["label_errors"] = self.label_errors
        if (self.true & self.decided).any():
            found["gradcam"] = self.gradcam
        return found

    def most_wrong(self) -> Any:
        """Return the images with the largest loss."""
        losses = loss(self.true, self.scores)
        images = [
            self._tagged(row, self._lines(row, np.abs(self.scores[row] - self.true[row])))
            for row in np.argsort(-losses, kind="stable")[:COUNT]
        ]
        words = "the largest binary cross-entropy over all classes; classes from the most wrong one"
        return self._figure(images, "Most wrong", words)

    def most_uncertain(self) -> Any:
        """Return the images with the scores nearest to the thresholds."""
        doubts = uncertainty(self.scores, self.thresholds)
        images = []
        for row in np.argsort(-doubts.sum(axis=1), kind="stable")[:COUNT]:
            nearest = np.argsort(-doubts[row], kind="stable")[:LINES]
            beside = {k: f"{self.scores[row, k]:.2f}|{self.thresholds[k]:.2f}" for k in nearest if doubts[row, k] > 0}
            images.append(self._tagged(row, [self._line(row, k, text) for k, text in beside.items()]))
        words = "scores that lie near their thresholds, over all classes (beside each class: score|threshold)"
        return self._figure(images, "Most uncertain", words)

    def label_errors(self) -> Any:
        """Return the images with the most suspect labels, each image once."""
        chosen: dict[int, list[int]] = {}
        for suspect in self.suspects:
            if suspect.row in chosen or len(chosen) < COUNT:
                chosen.setdefault(suspect.row, []).append(suspect.column)
        images = []
        for row, columns in chosen.items():
            lines: list[Line] = []
            for k in columns:
                text, colour = self._line(row, k)
                lines.append((f"{text} ?", colour))
            rest = np.where(np.isin(np.arange(len(self.true[row])), columns), -1, self.scores[row])
            images.append(self._tagged(row, lines + self._lines(row, rest, without=columns)))
        words = f"marked with ?: labels that the scores contradict; all are in {self.split}_suspects.csv"
        return self._figure(images, "Labels that may be wrong", words)

    def gradcam(self) -> Any:
        """Return the surest right image of each class beside where the network looked for the class."""
        right = np.where(self.true & self.decided, self.scores, -1)
        best = right.argmax(axis=0)
        sure = right[best, np.arange(right.shape[1])]
        cases = []
        for k in np.argsort(-sure, kind="stable")[:COUNT]:
            if sure[k] < 0:
                break
            row = int(self.rows[best[k]])
            sample = torch.from_numpy(
                joined([stored.image(row, *self.data.window(row)) for stored in self.data.images])
            )
            heat = grad_cam(self.predictor.model, sample[None], self.head.name, int(k))[0]
            image = pixels(self.data, row, self.view)
            nothing = "" if heat.any() else " (nothing)"
            cases.append((f"{self.head.columns[k]} {sure[k]:.2f}{nothing}", image, heat))
        words = (
            f"{self.split}: {self.data.name} · of each class the surest right image, beside what speaks for it, if any"
        )
        title = f"Where the network looked for {self.head.name} that it found"
        return looked_at(cases, title, _caption(self.data, words))

    def _line(self, row: int, column: int, words: str = "") -> Line:
        name = self.head.columns[column]
        words = words or f"{self.scores[row, column]:.2f}"
        return line(name, bool(self.true[row, column]), bool(self.decided[row, column]), words)

    def _lines(self, row: int, rank: Array, without: Sequence[int] = ()) -> list[Line]:
        """Return the lines of the classes of an image that are given, predicted or score high, highest rank first."""
        named = self.true[row] | self.decided[row] | (self.scores[row] >= HALF)
        return [self._line(row, int(k)) for k in np.argsort(-rank, kind="stable") if named[k] and k not in without]

    def _tagged(self, row: int, lines: list[Line]) -> Tagged:
        image = pixels(self.data, int(self.rows[row]), self.view)
        return Tagged(image, str(self.ids[row]), lines or [("no label", SOFT)])

    def _figure(self, images: list[Tagged], title: str, words: str) -> Any:
        caption = _caption(self.data, f"{self.split}: {self.data.name} · {words}")
        legend = MARKS | {"neither": ABSENT}
        return tagged_images({"": images}, f"{title}: {self.head.name}", caption, legend)
