"""Figures of a head of depth maps."""

from __future__ import annotations

from visionlab.heads.figures import Drawing, Figures, score_histogram, scores_by_group

FIGURES = Figures(
    key="mae",
    baseline="always predicting the mean depth of the training images at every pixel",
    drawings={
        "scores": Drawing(score_histogram, "How large the errors of single images are."),
        "by_group": Drawing(scores_by_group, "Each group's images; the interval comes from these differences."),
    },
)
