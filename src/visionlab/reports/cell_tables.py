"""What the figures of a head of instances are drawn from: tables of slices and of whole time points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from visionlab.drawing.text import count, key_metric, metric_label
from visionlab.metrics import at_threshold
from visionlab.metrics.instances import BINS, METRICS
from visionlab.reports.dense import Scores
from visionlab.reports.facts import samples_word
from visionlab.reports.tables import Part

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """What is known of the slices and time points of a split, for one head.

    Attributes:
        head: its name.
        spec: its entry of run.json.
        scores: the overlap of each slice and its group.
        places: N x 2, place in the volume and time point of each slice, NaN where unknown; None where none is known.
        frames: a row a time point: ``sequence``, ``time``, ``objects_true``, ``objects_pred``, ``f1``, ``seg`` and
            ``det``; None where labels don't tell objects apart.
        metrics: of metrics.json; may lack any.
        caption: the line under each figure of time points.
    """

    head: str
    spec: Mapping[str, Any]
    scores: Scores
    places: Array | None
    frames: pd.DataFrame | None
    metrics: Mapping[str, Mapping[str, Any]]
    caption: str

    @classmethod
    def of(cls, part: Part) -> Cells:
        """Read the tables of slices and of time points.

        Raises:
            ValueError: no slice has an overlap.
        """
        values = part.table[f"{part.head}_{key_metric(part.spec)}"].to_numpy(dtype=float)
        group = part.table["group"].astype(str).to_numpy()
        places = np.full((len(values), 2), np.nan)
        for k, name in enumerate(("z", "time")):
            if name in part.table:
                found = part.table[name].to_numpy(dtype=float)
                places[:, k] = np.where(found >= 0, found, np.nan)
        good = np.isfinite(values)
        frames = part.frames
        if frames is not None and ("objects_true" not in frames or frames["objects_true"].isna().all()):
            frames = None
        caption = _caption(part, len(values), samples_word(part.spec), len(set(group)), _without(values, part.spec))
        about = ""
        if frames is not None:
            about = _caption(part, len(frames), frames_word(part.spec), frames["group"].nunique())
        return cls(
            head=part.head,
            spec=part.spec,
            scores=_scores(part.head, part.spec, values, group, caption),
            places=places[good] if np.isfinite(places[good]).any() else None,
            frames=frames,
            metrics=part.metrics,
            caption=about,
        )

    @classmethod
    def of_rows(cls, rows: Array, spec: Mapping[str, Any], data_name: str) -> Cells:
        """Take the rows of the validation while training: histograms of probabilities, or sums, of windows.

        Raises:
            ValueError: no window has an overlap.
        """
        sums = at_threshold(rows, float(spec.get("threshold") or 0.5)) if rows.shape[1] == 2 * BINS else rows
        metric = METRICS[key_metric(spec)]
        values = metric.values(metric.sample_terms(sums))
        head = str(spec["columns"][0])
        parts = [f"val: {count(len(values), 'window')}", _without(values, spec), data_name]
        scores = _scores(head, spec, values, np.full(len(values), "validation"), " · ".join(filter(None, parts)))
        return cls(head, spec, scores, None, None, {}, "")

    @property
    def timed(self) -> pd.DataFrame | None:
        """The time points whose time is known, if they are several of one sequence."""
        if self.frames is None or "time" not in self.frames:
            return None
        known = self.frames[self.frames["time"].to_numpy(dtype=float) >= 0]
        several = len(known) and known.groupby(known["sequence"].astype(str))["time"].nunique().max() > 1
        return known if several else None


def _scores(head: str, spec: Mapping[str, Any], values: Array, group: npt.NDArray[Any], caption: str) -> Scores:
    good = np.isfinite(values)
    if not good.any():
        raise ValueError(f"no slice has a finite {key_metric(spec)} of {head}")
    return Scores(
        head=head,
        score=metric_label(key_metric(spec), short=True, spec=spec),
        unit="",
        rising=True,
        values=values[good],
        group=group[good],
        areas=None,
        aligned=None,
        caption=caption,
    )


def _caption(part: Part, n: int, noun: str, groups: int, left_out: str = "") -> str:
    parts = [f"{part.stage}: {count(n, noun)} of {count(groups, 'group')}", left_out]
    return " · ".join(filter(None, [*parts, "generated sample" if part.synthetic else ""]))


def _without(values: Array, spec: Mapping[str, Any]) -> str:
    n = int((~np.isfinite(values)).sum())
    return f"{n} without foreground in truth and prediction, not drawn" if n else ""


def frames_word(spec: Mapping[str, Any]) -> str:
    """Return what a time point of a head is called: a volume, or an image."""
    return "volume" if spec.get("dimensions") == 3 else "image"
