"""Fitting, once training is done, what heads decide by (thresholds, calibration), and keeping it in the checkpoint."""

from __future__ import annotations

from pathlib import Path

from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.heads.head import Head
from visionlab.heads.instances.head import InstanceHead
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.inference.predictor import Predictor
from visionlab.training.checkpoints import AtomicCheckpointIO
from visionlab.training.measurement import FITTED_ON, Rows
from visionlab.training.time_points import fit_on_frames


def fit_heads(checkpoint: Path, predictor: Predictor, data: ImageDataModule, rows: Rows) -> None:
    """Let the heads that fit something do so on the validation split, and write it into their checkpoint.

    Args:
        checkpoint: that ``predictor`` was loaded from.
        predictor: whose heads are changed.
        data: set up.
        rows: of the validation split, see :func:`visionlab.training.measurement.measure_split`.
    """
    heads = [head for head in predictor.heads if head.fits]
    if not heads:
        return
    content = read_checkpoint(checkpoint)
    for head in heads:
        if isinstance(head, InstanceHead):
            fit_on_frames(predictor, data, FITTED_ON, head)
        else:
            found, _ = rows[head.name]
            head.fit(found)
            _say(head, len(found))
        for name, value in head.state_dict().items():
            content["state_dict"][f"model.heads.{head.name}.{name}"] = value.cpu()
    AtomicCheckpointIO().save_checkpoint(content, checkpoint)


def _say(head: Head, count: int) -> None:
    described = head.describe()
    if not described["fitted"]:
        return
    thresholds = described["thresholds"]
    absent = [column for column, value in zip(head.columns, thresholds, strict=True) if value is None]
    LOG.info(
        "%s: thresholds fitted on %d validation images for %d of %d classes",
        *(head.name, count, len(thresholds) - len(absent), len(thresholds)),
    )
    if absent:
        LOG.warning(
            "%s: no validation image has %s: no threshold, so never predicted", head.name, ", ".join(map(str, absent))
        )
