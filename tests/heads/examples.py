"""A head of every kind, with raw channels and targets for it: what the contract tests go through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from visionlab.data.definition import Frame
from visionlab.heads import KINDS, head_class
from visionlab.heads.head import Array, Head, Split

SIZE = 40
COUNT = 6

# Of each kind what a checkpoint says beside the metrics, all of which there are.
SPECS: dict[str, dict[str, Any]] = {
    "regression": {"columns": ["distance", "tilt"], "unit": "um", "activation": "none", "step": 0.5},
    "mask": {"columns": ["target"], "unit": "", "activation": "sigmoid"},
    "depth": {"columns": ["target"], "unit": "m", "activation": "none"},
    "instances": {
        "columns": ["target", "target_distance"],
        "unit": "",
        "activation": "sigmoid",
        "separate": "distance",
        "cells": "filled",
        "dimensions": 2,
    },
    "multilabel": {
        "columns": ["Nucleus", "Cytosol", "Golgi"],
        "unit": "",
        "activation": "sigmoid",
        "ids": [0, 25, 6],
        "thresholds": "shrunken",
        "calibration": "platt",
    },
}
# Of each kind the buffers, which come with the weights.
BUFFERS: dict[str, dict[str, Any]] = {
    "regression": {"mean": [3.0, -4.0], "std": [2.0, 1.5]},
    "mask": {"share": 0.2},
    "depth": {"low": 2.0, "high": 6.0, "mean": 3.0},
    "instances": {"share": 0.2},
    "multilabel": {"positives": [50.0, 30.0, 8.0], "total": 100.0},
}


def spec(kind: str, **changes: Any) -> dict[str, Any]:
    """Return the plain data of a head."""
    return {"kind": kind, "metrics": list(KINDS[kind].metrics), "weight": 1.0, **SPECS[kind], **changes}


def head(kind: str, **changes: Any) -> Head:
    """Return a head called ``target`` with its buffers filled."""
    found = head_class(kind).from_spec("target", spec(kind, **changes))
    for name, value in BUFFERS[kind].items():
        getattr(found, name).copy_(torch.tensor(value))
    return found


def raw(one: Head, seed: int = 0) -> torch.Tensor:
    """Return raw channels of COUNT samples."""
    shape = (COUNT, one.channels, SIZE, SIZE) if one.kind.dense else (COUNT, one.channels)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def target(kind: str) -> torch.Tensor:
    """Return the targets of COUNT samples in the user's units; of maps a part is unknown."""
    rng = np.random.default_rng(1)
    if kind == "regression":
        return torch.from_numpy(rng.normal([3.0, -4.0], [2.0, 1.5], (COUNT, 2)).astype(np.float32))
    if kind == "multilabel":
        labels = rng.integers(0, 2, (COUNT, 3)).astype(np.float32)
        labels[0], labels[1] = 1, 0
        return torch.from_numpy(labels)
    y, x = np.mgrid[:SIZE, :SIZE]
    ids = np.zeros((COUNT, 1, SIZE, SIZE), np.float32)
    for number, (cy, cx) in enumerate([(10, 10), (10, 26), (28, 18)], start=3):
        ids[:, 0, np.hypot(y - cy, x - cx) < 6.5] = number
    values = {"mask": (ids > 0).astype(np.float32), "depth": (2 + 4 * (y + x) / 80 + 0 * ids).astype(np.float32)}
    found = values.get(kind, ids)
    found[1, 0, 30:] = found[:, :, :, :2] = np.nan
    return torch.from_numpy(found)


def decoded_truth(one: Head) -> torch.Tensor:
    """Return decoded values that are right everywhere."""
    right = target(one.kind.name)
    if one.by_time_point:
        return (right > 0).float().repeat(1, one.channels, 1, 1)
    return right.nan_to_num(1.0)


def split(one: Head, decoded: torch.Tensor, *, fitted_on: bool = False) -> Split:
    """Return what the samples and these predictions of them are to a head."""
    truth = target(one.kind.name)
    groups = [f"g{number}" for number in range(COUNT)]
    if not one.by_time_point:
        model, baseline = (one.rows(values, truth).double().numpy() for values in (decoded, one.baseline(truth)))
        return Split(groups, model, baseline, fitted_on=fitted_on)
    none: Array = np.zeros((0, 0))
    ids = truth.nan_to_num(-1.0).numpy().astype(np.int32)
    image = (100 * (ids > 0)).astype(np.uint8)[..., None]
    frames = [
        Frame(f"f{n}", f"g{n}", "", n, image[n], ids[n], None, {0: n}, None, volume=False, instances=True)
        for n in range(COUNT)
    ]
    return Split(
        groups,
        none,
        none,
        fitted_on=fitted_on,
        samples={n: n for n in range(COUNT)},
        times=[frame.id for frame in frames],
        frames=lambda only: (frame for frame in frames if only is None or frame.id in only),
        maps=lambda frame: decoded[frame.time : frame.time + 1].numpy(),
    )
