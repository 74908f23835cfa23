"""Figures of a head of masks."""

from __future__ import annotations

from visionlab.heads.figures import Drawing, Figures, score_histogram, scores_by_group

FIGURES = Figures(
    key="iou",
    baseline="always predicting the mean of the training masks at every pixel",
    drawings={
        "scores": Drawing(score_histogram, "How well the masks of single images overlap with the true ones."),
        "by_group": Drawing(scores_by_group, "Each group's images; the interval comes from these differences."),
    },
)
