"""A head of instances: foreground, and what tells touching ones apart. Pure torch; objects are found with NumPy."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch.nn import functional

from visionlab.console import LOG
from visionlab.heads.head import Array, Evaluation, Head, Loss, Split, Types, expect
from visionlab.heads.instances import KIND, Cells, Separate
from visionlab.heads.instances.fit import FitFrame, fit
from visionlab.heads.instances.objects import link_planes, measure
from visionlab.heads.instances.segment import DISTANCE_UNIT, Parameters, otsu_maps, segment, segment_plane
from visionlab.heads.kind import Kind
from visionlab.heads.map_head import MapHead, comparable
from visionlab.metrics.instances import BINS, METRICS, WHILE_TRAINING, at_threshold, best_threshold, pixel_areas
from visionlab.metrics.matching import INSTANCE_COLUMNS, frame_sums

if TYPE_CHECKING:
    import pandas as pd

    from visionlab.data.definition import Frame
    from visionlab.data.module import ImageDataModule

MOST_FITTED = 12
"""Time points of the validation split, evenly spread, that the finding of objects is fitted on."""

# What the baseline makes objects with: less than these pixels of a slice are taken as noise.
_BASELINE = Parameters(min_area=10)


class InstanceHead(MapHead):
    """Nuclei, cells or walls: the probability of the foreground, and perhaps of boundaries or the distance to them.

    Targets are numbers of instances, 0 between them and NaN where unknown. Objects are found in whole time points once
    training is done, with a threshold and other parameters chosen on the validation split; these stay in the checkpoint
    as buffers. Until then the threshold is 0.5.

    Args:
        name, unit, options: see :class:`visionlab.heads.head.Head`.
        share: of the foreground in the training split, 0..1.
        separate: how touching objects are told apart: ``none`` (by their shape), ``boundary`` or ``distance`` (a second
            channel that is learnt, see :func:`boundary` and :func:`distance`).
        cells: ``filled``: the foreground is the objects; ``enclosed``: it is walls, and objects are what they enclose.
        dimensions: 3 where the training data are volumes, else 2.
        activation: ``sigmoid``.
    """

    kind: ClassVar[Kind] = KIND
    fits: ClassVar[bool] = True
    by_time_point: ClassVar[bool] = True
    alike: ClassVar[tuple[str, ...]] = ("kind", "unit", "separate", "cells")
    own_spec: ClassVar[dict[str, Types]] = {"separate": str, "cells": str, "dimensions": int}

    share: torch.Tensor
    parameters_found: torch.Tensor
    fitted: torch.Tensor

    def __init__(
        self,
        name: str,
        *,
        share: float = 0.0,
        separate: Separate,
        cells: Cells,
        dimensions: int,
        unit: str = "",
        **options: Any,
    ) -> None:
        super().__init__(name, self.channel_names(name, {"separate": separate}), unit=unit, **options)
        self.separate, self.cells, self.dimensions = separate, cells, dimensions
        for key, value in (
            ("share", torch.tensor(share, dtype=torch.float32)),
            ("parameters_found", torch.tensor(astuple(Parameters()), dtype=torch.float64)),
            ("fitted", torch.tensor(False)),
        ):
            self.register_buffer(key, value)

    @classmethod
    def channel_names(cls, name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
        return (name,) if options["separate"] == "none" else (name, f"{name}_{options['separate']}")

    @classmethod
    def statistics(cls, name: str, data: ImageDataModule) -> dict[str, Any]:
        shares = data.stored_maps[name].facts["share"].to_numpy()[data.rows["train"]]
        # Slices by themselves, between missing ones, have a number too, but are time points of their own.
        table = data.table
        volumes = "z" in table and bool(((table["z"] >= 0) & (table["frame"] != table["id"])).any())
        return {"share": float(shares.mean()), "dimensions": 3 if volumes else 2}

    @classmethod
    def check_spec(cls, name: str, spec: Mapping[str, Any]) -> None:
        super().check_spec(name, spec)
        expect(spec["dimensions"] in (2, 3), f"heads.{name}.dimensions", "one of 2, 3", spec["dimensions"])

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "columns": [self.name],
            "parameters": asdict(self.post_processing),
            "threshold": self.post_processing.threshold,
            "fitted": bool(self.fitted),
        }

    # Training ---------------------------------------------------------------------------------------------------

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        return (target > 0).to(target.dtype)

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss over the known pixels of raw channels (B, K, H, W) for instances (B, 1, H, W).

        Foreground and boundary are each compared by ``function``; the distance by its cross-entropy, which is smallest
        at the true value and, unlike an absolute difference, still has a slope where a sigmoid is nearly 0 or 1.
        """
        valid = torch.isfinite(target)
        found = self.compared(raw[:, :1], self.normalized(target), valid, function)
        if self.separate == "boundary":
            found = found + self.compared(raw[:, 1:], boundary(target), valid, function)
        elif self.separate == "distance":
            apart = functional.binary_cross_entropy_with_logits(raw[:, 1:], distance(target), reduction="none")
            found = found + (apart * valid).sum() / valid.sum().clamp_min(1)
        return found

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the probabilities, and the distance as a share of its reach: (B, K, H, W), all 0..1."""
        return self.activated(raw)

    def baseline(self, target: torch.Tensor) -> torch.Tensor:
        return self.share.to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return how often each probability was given to foreground and background, B x 200."""
        return histogram_rows(decoded[:, :1], target)

    def measure(self, rows: Array) -> dict[str, float]:
        """Return the metrics of pixels, from :meth:`rows`; those of objects take whole time points."""
        return super().measure(at_threshold(rows, self.post_processing.threshold))

    # Objects ----------------------------------------------------------------------------------------------------

    @property
    def post_processing(self) -> Parameters:
        """Return what objects are found with."""
        return Parameters.from_list(self.parameters_found.tolist())

    def set_parameters(self, parameters: Parameters, *, fitted: bool) -> None:
        """Keep what objects are found with, and whether it was chosen on validation data."""
        self.parameters_found.copy_(torch.tensor(astuple(parameters), dtype=torch.float64))
        self.fitted.fill_(fitted)

    def settings(self, threshold: float | None = None) -> Parameters:
        parameters = self.post_processing
        if threshold is not None:
            LOG.info("%s: threshold %g instead of %g", self.name, threshold, parameters.threshold)
            parameters = replace(parameters, threshold=threshold)
        LOG.info("%s: objects are found with %s", self.name, _in_words(parameters))
        return parameters

    def warnings(self) -> list[str]:
        if bool(self.fitted):
            return []
        return [
            f"{self.name}: what objects are found with was never fitted on validation images, which is done for "
            "best.ckpt when training ends; defaults stand in"
        ]

    def find(self, maps: Array, settings: Parameters) -> Array:
        return segment_plane(maps, settings, separate=self.separate, cells=self.cells)

    def link(self, labels: Array, settings: Parameters) -> Array:
        return link_planes(labels, link=settings.link, min_planes=settings.min_planes)

    def objects(self, labels: Array, image: Array, voxel: tuple[float | None, ...], *, volume: bool) -> pd.DataFrame:
        """Return a row for each object, see :func:`visionlab.heads.instances.objects.measure`."""
        return measure(labels, image, voxel, volume=volume)

    def segment(self, maps: Array, *, volume: bool) -> Array:
        """Return the objects of a time point, Z x H x W int32 (0 between them), of decoded maps Z x K x H x W."""
        return segment(maps, self.post_processing, separate=self.separate, cells=self.cells, volume=volume)

    def fit(self, split: Split) -> None:
        """Choose the threshold and what else objects are found with, on time points that are evenly spread.

        The threshold is that of the largest IoU of pixels; the rest maximises the mean of the F1 of objects and SEG.
        """
        names = split.times
        chosen = {names[k] for k in np.linspace(0, len(names) - 1, min(MOST_FITTED, len(names))).astype(int)}
        histograms: list[Array] = []
        kept: list[FitFrame] = []
        # Maps of many time points may be more than memory holds: they are read back where they are needed.
        with tempfile.TemporaryDirectory() as folder:
            for frame in split.frames(chosen):
                maps = split.maps(frame)
                histograms.append(_histogram(maps[:, 0], frame.truth))
                if frame.instances and self.cells == "filled":
                    path = Path(folder) / f"{len(kept)}.npy"
                    np.save(path, maps)
                    kept.append(FitFrame(np.load(path, mmap_mode="r"), frame.truth, frame.volume))
            threshold = best_threshold(np.stack(histograms))
            found = fit(kept, separate=self.separate, threshold=threshold) if kept else Parameters(threshold=threshold)
            kept.clear()
        self.set_parameters(found, fitted=True)
        LOG.info("%s: fitted on %d validation time points: %s", self.name, len(histograms), _in_words(found))

    def evaluate(self, split: Split) -> Evaluation:
        """Find objects in the time points of a split, as they are on disk, and compare them with the labels.

        Pixels are compared in the slices that are in the split; objects in the whole time point, and stand in the first
        of its rows. The baseline is Otsu's threshold of the smoothed time point, with objects told apart by shape.

        Returns:
            N x ``INSTANCE_COLUMNS`` of the model and of the baseline, and a table of the time points, ``frames``.
        """
        import pandas as pd

        model = np.zeros((len(split.samples), len(INSTANCE_COLUMNS)))
        baseline = np.zeros_like(model)
        table = []
        for frame in split.frames(None):
            maps = split.maps(frame)
            labels = self.segment(maps, volume=frame.volume)
            scores = _add(model, split.samples, frame, maps[:, 0] >= self.post_processing.threshold, labels)
            simple = otsu_maps(frame.image)
            found = segment(simple, _BASELINE, separate="none", cells=self.cells, volume=frame.volume)
            _add(baseline, split.samples, frame, simple[:, 0] >= _BASELINE.threshold, found)
            about = {"frame": frame.id, "group": frame.group, "sequence": frame.sequence, "time": frame.time}
            table.append({**about, "objects_pred": len(np.unique(labels[labels > 0])), **scores})
        return Evaluation(model, baseline, {"frames": pd.DataFrame(table)})

    # Tables -----------------------------------------------------------------------------------------------------

    def table(self, rows: Array) -> dict[str, Array]:
        true, pred = pixel_areas(rows)
        overlaps = {f"{self.name}_{name}": METRICS[name].each(rows) for name in WHILE_TRAINING}
        return {f"{self.name}_area_true": true, f"{self.name}_area_pred": pred, **overlaps}

    def table_while_training(self, rows: Array) -> dict[str, Array]:
        return self.table(at_threshold(rows, self.post_processing.threshold))

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        """Return count and area of the objects of one image, of its decoded maps K x H x W."""
        labels = self.find(decoded, self.post_processing)
        count = len(np.unique(labels[labels > 0]))
        area = float((labels > 0).sum())
        return {
            f"{self.name}_count": (float(count), ""),
            f"{self.name}_area": (area, "px"),
            f"{self.name}_mean_area": (area / count if count else float("nan"), "px"),
        }

    # Several models ---------------------------------------------------------------------------------------------

    @classmethod
    def merge(cls, heads: Sequence[Self]) -> Head:
        """Return the head that finds objects with the mean of what these find them with."""
        joined = cls.from_spec(heads[0].name, heads[0].spec())
        *means, planes = np.mean([head.parameters_found.tolist() for head in heads], axis=0).tolist()
        joined.set_parameters(
            Parameters.from_list([*means, round(planes)]), fitted=all(bool(head.fitted) for head in heads)
        )
        return joined


def _add(rows: Array, place: Mapping[int, int], frame: Frame, mask: Array, labels: Array) -> dict[str, float]:
    """Write the sums of a time point into the rows of its slices; return what its table says of its objects."""
    pixels, _ = frame_sums(frame.truth, mask.astype(np.int32), objects=False)
    for z, row in frame.rows.items():
        rows[place[row], : pixels.shape[1]] = pixels[z]
    if not frame.instances:
        return {}
    _, objects = frame_sums(frame.truth, labels, objects=True)
    first = place[min(frame.rows.values())]
    rows[first, -len(objects) :] = list(objects.values())
    about = {"objects_true": objects["objects_true"], "hits": objects["objects_hit"], "seg_n": objects["seg_n"]}
    return {**about, **{name: METRICS[name](rows[[first]]) for name in ("f1", "seg", "det")}}


def _in_words(parameters: Parameters) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in asdict(parameters).items())


# What is learnt beside the foreground, and counted of it: of each batch, after augmentation, on its device ------------


@torch.no_grad()
def boundary(ids: torch.Tensor, width: int = 2) -> torch.Tensor:
    """Return 1 for the pixels of instances at most ``width`` steps from another instance or the background, else 0.

    Where two instances touch, the boundary is on both sides, ``width`` pixels each; background is never boundary. The
    image's edge and unknown pixels are none, and unknown pixels have 0.

    Args:
        ids: B x 1 x H x W, 0 background, NaN unknown.
        width: at least 1.

    Returns:
        B x 1 x H x W, float32.
    """
    return ((_steps(ids, width + 1) <= width) & (ids > 0)).float()


@torch.no_grad()
def distance(ids: torch.Tensor, reach: int = DISTANCE_UNIT) -> torch.Tensor:
    """Return how deep within its instance each pixel is: steps to the nearest pixel of another one or the background.

    In shares of ``reach``, 1 from there on: 1 / ``reach`` for the outermost pixels of an instance, 0 for background and
    for unknown pixels. The image's edge and unknown pixels are no end of an instance.

    Args:
        ids: B x 1 x H x W, 0 background, NaN unknown.
        reach: at least 1, in pixels.

    Returns:
        B x 1 x H x W, float32.
    """
    return torch.where(ids > 0, _steps(ids, reach) / reach, 0.0)


def _steps(ids: torch.Tensor, most: int) -> torch.Tensor:
    """Return the steps to the nearest known pixel of another id, at most ``most``, float32.

    Steps go alternately to 4 neighbours (the first) and to 8: the octagonal distance of Rosenfeld & Pfaltz 1968,
    "Distance functions on digital pictures", Pattern Recognition 1:33-61. Its circles are octagons, so round objects
    get round maps; steps to 8 neighbours alone would cut diagonals short. Everything is done by pooling: the same ids
    give the same steps on any device.
    """
    own = ids.float()
    own = torch.cat([own, -own], dim=1)
    # The largest id within some steps and, with its sign turned, the smallest. Unknown pixels are the lowest in both:
    # no pool ever takes them, as if they lay beyond the image's edge.
    own = torch.where(own.isnan(), -torch.inf, own)
    seen, steps = own, torch.ones_like(ids, dtype=torch.float32)
    for step in range(1, most):
        across = functional.max_pool2d(seen, (1, 3), 1, (0, 1))
        if step % 2:
            seen = torch.maximum(across, functional.max_pool2d(seen, (3, 1), 1, (1, 0)))
        else:
            seen = functional.max_pool2d(across, (3, 1), 1, (1, 0))
        steps += (seen == own).all(dim=1, keepdim=True)
    return steps


@torch.no_grad()
def histogram_rows(probability: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the histograms of B slices, B x 2 ``BINS`` counts, float64 where the device has it.

    Args:
        probability: of the foreground, B x 1 x H x W; below 0 counts as 0, above 1 as 1.
        ids: B x 1 x H x W, above 0 where there is an instance, 0 background, NaN unknown, which counts for nothing.

    A slice with a known pixel whose probability isn't finite has NaN in all its bins.
    """
    probability, ids, known, measurable = comparable(probability, ids)
    # Compared with the limits themselves: floor(p * BINS) would put 0.29 and a few others one bin too low.
    limits = torch.arange(1, BINS, device=ids.device) / BINS
    place = torch.bucketize(probability.nan_to_num(), limits, right=True) + BINS * (ids == 0)
    # Unknown pixels go to a bin of their own behind the others, which is then left out.
    place = torch.where(known, place, 2 * BINS).flatten(1)
    counts = torch.zeros(len(ids), 2 * BINS + 1, dtype=torch.int32, device=ids.device)
    counts.scatter_add_(1, place, torch.ones_like(counts[:1, :1]).expand(place.shape))
    dtype = torch.float32 if ids.device.type == "mps" else torch.float64
    return torch.where(measurable[:, None], counts[:, :-1].to(dtype), torch.nan)


def _histogram(probability: Array, truth: Array) -> Array:
    """Return how often each probability was given to foreground and to background, 2 * ``BINS``."""
    ids = np.where(truth < 0, np.float32(np.nan), truth.astype(np.float32))
    rows = histogram_rows(torch.from_numpy(probability[:, None]), torch.from_numpy(ids[:, None]))
    return np.asarray(rows.sum(dim=0).numpy())
