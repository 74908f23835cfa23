"""A head of yes-or-no labels, any number of them an image. Pure torch; what is fitted after training is NumPy's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from visionlab.data.dealing import nested_folds
from visionlab.errors import DataError, UserError
from visionlab.heads.head import Array, Head, Loss
from visionlab.losses.mixed import terms
from visionlab.metrics.calibration import calibrate, fit_calibration
from visionlab.metrics.multilabel import class_table
from visionlab.metrics.thresholds import fit_thresholds

if TYPE_CHECKING:
    import pandas as pd

    from visionlab.data.module import ImageDataModule

UNFITTED = 0.5
"""The threshold of every class before any was fitted."""


class MultilabelHead(Head):
    """The probability of each class, and from which probability on an image has it.

    The probabilities are calibrated and the thresholds chosen once training is done, on the validation split
    (:meth:`fit`), and stay in the checkpoint as buffers. A class without a positive validation image has no threshold
    (NaN): nothing is known of where it lies, and the class is never predicted.

    Args:
        name, columns, unit, metrics, weight, activation: see :class:`Head`; the columns are the classes.
        ids: number of each class in the data set.
        positives: training images of each class.
        total: training images.
        thresholds: how they are chosen: ``f1``, ``ratio``, ``shrunken`` (:mod:`visionlab.metrics.thresholds`), or one
            number for all.
        calibration: ``none``, ``temperature`` or ``platt``, of each class (:mod:`visionlab.metrics.calibration`).
    """

    kind: ClassVar[str] = "multilabel"
    fits: ClassVar[bool] = True

    positives: torch.Tensor
    total: torch.Tensor
    thresholds: torch.Tensor
    calibration: torch.Tensor
    fitted: torch.Tensor

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        *,
        ids: Sequence[int],
        positives: Sequence[float],
        total: float,
        thresholds: str | float = "shrunken",
        calibration: str = "none",
        unit: str = "",
        metrics: Sequence[str] = ("f1_macro",),
        weight: float = 1.0,
        activation: str = "sigmoid",
    ) -> None:
        super().__init__(name, columns, unit=unit, metrics=metrics, weight=weight, activation=activation)
        self.ids = tuple(ids)
        self.threshold_method, self.calibration_method = thresholds, calibration
        start = UNFITTED if isinstance(thresholds, str) else float(thresholds)
        for key, value in (
            ("positives", torch.tensor(positives, dtype=torch.float32)),
            ("total", torch.tensor(total, dtype=torch.float32)),
            ("thresholds", torch.full((len(columns),), start)),
            ("calibration", torch.tensor([[1.0, 0.0]]).repeat(len(columns), 1)),
            ("fitted", torch.tensor(False)),
        ):
            self.register_buffer(key, value)

    @property
    def chooses(self) -> bool:
        """Whether :meth:`fit` has anything to choose: thresholds, a calibration, or both."""
        return isinstance(self.threshold_method, str) or self.calibration_method != "none"

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> MultilabelHead:
        labels = data.values(name, "train")
        if not data.values(name, "val").any():
            raise DataError(
                f"heads.{name}: expected a validation image of at least one class that is learnt, found none of "
                f"{', '.join(data.targets[name])}: neither an epoch nor a threshold could be chosen; learn other "
                "classes, or give other splits (data.val_fraction, data.split_file)"
            )
        return cls(
            name,
            data.targets[name],
            ids=data.ids(name),
            positives=labels.sum(axis=0).tolist(),
            total=len(labels),
            **options,
        )

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> MultilabelHead:
        return cls(
            name,
            spec["columns"],
            positives=[0.0] * len(spec["columns"]),
            total=0.0,
            **{key: spec[key] for key in ("ids", "thresholds", "calibration", "unit", "metrics", "weight")},
            activation=spec["activation"],
        )

    def spec(self) -> dict[str, Any]:
        own = {"ids": list(self.ids), "thresholds": self.threshold_method, "calibration": self.calibration_method}
        return {**super().spec(), **own}

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "ids": list(self.ids),
            "thresholds": [None if np.isnan(value) else float(value) for value in self._numbers(self.thresholds)],
            # A given number is none, though a calibration may be fitted to it.
            "fitted": bool(self.fitted) and isinstance(self.threshold_method, str),
            "method": self.threshold_method,
            "calibration": self._numbers(self.calibration).tolist(),
            "positives": self._numbers(self.positives).astype(int).tolist(),
            "total": int(self.total),
        }

    def prepare(self, function: Loss) -> None:
        """Tell the losses the counts of the training split, from which class weights are made."""
        for _, term in terms(function):
            term.set_counts(self.positives, int(self.total))

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss of logits (B, K) for labels (B, K) of 0 and 1; the function is given what it ``takes``."""
        labels = target.to(raw.dtype)
        parts = [
            weight * term(raw if term.takes == "logits" else torch.sigmoid(raw), labels)
            for weight, term in terms(function)
        ]
        return torch.stack(parts).sum()

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the scores as the network gives them, 0..1, B x K; :meth:`calibrated` is what users get."""
        return torch.sigmoid(raw)

    def mean_like(self, target: torch.Tensor) -> torch.Tensor:
        return (self.positives / self.total.clamp_min(1)).to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the labels and then the scores, not calibrated, B x 2K."""
        return torch.cat([target.to(decoded.dtype), decoded], dim=1)

    # What is fitted after training -------------------------------------------------------------------------------

    def fit(self, rows: Array) -> None:
        """Set calibration and thresholds from the rows of the validation split, N x 2K.

        Raises:
            UserError: a score is not a finite number.
        """
        if not np.isfinite(rows).all():
            raise UserError(
                f"heads.{self.name}: a score of the validation split is not a finite number, so no threshold can be "
                "fitted; training diverged: try a lower optimizer.lr or trainer.precision=32-true"
            )
        labels, scores = np.split(rows, 2, axis=1)
        calibration, thresholds = self._fitted(labels, scores)
        self.calibration.copy_(torch.from_numpy(calibration))
        self.thresholds.copy_(torch.from_numpy(thresholds))
        self.fitted.fill_(True)

    def _fitted(self, labels: Array, scores: Array) -> tuple[Array, Array]:
        """Return K x 2 parameters of the calibration and K thresholds on the calibrated scale."""
        scores = scores.astype(np.float32)
        # As they are kept: what is decided with them later is then what they were chosen for.
        calibration = fit_calibration(self.calibration_method, scores, labels).astype(np.float32)
        ratios = self._numbers(self.positives) / max(float(self.total), 1.0)
        thresholds = fit_thresholds(self.threshold_method, calibrate(scores, calibration), labels, ratios)
        return calibration, thresholds.astype(np.float32)

    def calibrated(self, scores: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the scores that users get, N x K, for those of :meth:`decode`."""
        return calibrate(np.asarray(scores, np.float32), self._numbers(self.calibration))

    def decide(self, scores: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return which classes images have, N x K, by their calibrated scores; never one whose threshold is NaN."""
        decided: npt.NDArray[np.bool_] = np.asarray(scores, np.float32) >= self._numbers(self.thresholds)
        return decided

    def judge(self, rows: Array, groups: Sequence[str] | None = None) -> Array:
        """Return labels, calibrated scores and decisions (0 or 1), N x 3K, for rows of :meth:`rows`.

        Args:
            rows: N x 2K.
            groups: of the validation split, which calibration and thresholds were fitted on: then each fifth of the
                groups is judged by what the others give (nested folds), so that the result doesn't flatter.
        """
        labels, scores = np.split(rows, 2, axis=1)
        if groups is None or not (bool(self.fitted) and self.chooses):
            final = self.calibrated(scores)
            return np.concatenate([labels, final, self.decide(final)], axis=1)
        return self._nested(labels, scores, nested_folds(groups, labels))

    def _nested(self, labels: Array, scores: Array, folds: Array) -> Array:
        final, decided = np.zeros(scores.shape, np.float32), np.zeros(scores.shape, bool)
        for fold in np.unique(folds):
            held = folds == fold
            # One group only: there is nothing else to fit on.
            others = ~held if not held.all() else held
            calibration, thresholds = self._fitted(labels[others], scores[others])
            final[held] = calibrate(scores[held].astype(np.float32), calibration)
            decided[held] = final[held] >= thresholds
        return np.concatenate([labels, final, decided], axis=1)

    def judge_baseline(self, rows: Array) -> Array:
        """Return the baseline's rows, N x 3K; each metric takes the constant decision that suits it best (NaN)."""
        return np.concatenate([rows, np.full((len(rows), self.channels), np.nan)], axis=1)

    def measure(self, rows: Array) -> dict[str, float]:
        """Return each metric of the rows of :meth:`rows` while training, thresholds by nested folds of the samples."""
        if not np.isfinite(rows).all():
            return dict.fromkeys(self.metrics, float("nan"))
        labels, scores = np.split(rows, 2, axis=1)
        if self.chooses:
            return super().measure(self._nested(labels, scores, nested_folds(np.arange(len(rows)).astype(str), labels)))
        return super().measure(self.judge(rows))

    # Tables ------------------------------------------------------------------------------------------------------

    def table(self, rows: Array) -> dict[str, Array]:
        """Return, from rows of :meth:`judge`, the names of the true and predicted classes, and each class's columns."""
        labels, scores, decided = np.split(rows, 3, axis=1)
        found: dict[str, Array] = {
            f"{self.name}_true": self._joined(labels),
            f"{self.name}_pred": self._joined(decided),
        }
        for k, column in enumerate(self.columns):
            found[f"{column}_true"], found[f"{column}_pred"] = labels[:, k].astype(int), decided[:, k].astype(int)
            found[f"{column}_score"] = scores[:, k]
        return found

    def _joined(self, chosen: Array) -> Array:
        return np.array(["; ".join(self._names(row)) for row in chosen], dtype=object)

    def _names(self, chosen: Array) -> tuple[str, ...]:
        return tuple(column for column, has in zip(self.columns, chosen, strict=True) if has)

    def details(self, rows: Array, groups: Sequence[str]) -> pd.DataFrame:
        return class_table(rows, self.describe(), groups)

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        scores = self.calibrated(decoded[None])[0]
        return {column: (value, "") for column, value in zip(self.columns, scores.tolist(), strict=True)}

    def labels(self, decoded: Array) -> tuple[str, ...]:
        """Return the classes of one image, by its K scores of :meth:`decode`."""
        return self._names(self.decide(self.calibrated(decoded[None]))[0])

    @staticmethod
    def _numbers(buffer: torch.Tensor) -> Array:
        return buffer.detach().cpu().numpy()
