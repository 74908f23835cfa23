"""Figures of a head of depth maps."""

from __future__ import annotations

from matplotlib.figure import Figure

from visionlab.heads.figures import Drawing, Figures, HeadTables, Scores, score_histogram, scores_by_group


def scores(t: HeadTables) -> Figure:
    return score_histogram(Scores.of(t, FIGURES), t.head, "image")


def by_group(t: HeadTables) -> Figure | None:
    return scores_by_group(Scores.of(t, FIGURES), t.head)


FIGURES = Figures(
    key="mae",
    baseline=("always predicting the mean depth of the training images at every pixel", "the same for every image"),
    drawings={
        "scores": Drawing(scores, "How large the errors of single images are."),
        "by_group": Drawing(by_group, "Each group's images; the interval comes from these differences."),
    },
)
