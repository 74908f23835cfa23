"""A head of yes-or-no labels, any number of them an image. Pure torch; what is fitted after training is NumPy's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from visionlab.console import LOG
from visionlab.data.definition import Target
from visionlab.data.stratify import nested_folds
from visionlab.errors import DataError, UsageError, UserError
from visionlab.heads.head import NUMBER, Array, Evaluation, Head, Loss, Split, Types, expect
from visionlab.heads.kind import Kind
from visionlab.heads.labels import KIND
from visionlab.losses.mixed import terms
from visionlab.metrics.calibration import calibrate, fit_calibration
from visionlab.metrics.multilabel import class_table, counted_classes
from visionlab.metrics.scores import logit
from visionlab.metrics.summary import check_true
from visionlab.metrics.thresholds import fit_thresholds

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule

UNFITTED = 0.5
"""The threshold of every class before any was fitted."""
MAX_CLASSES = 100_000
"""Numbers of classes in a data set stay below; those up to the largest may be listed."""


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

    kind: ClassVar[Kind] = KIND
    fits: ClassVar[bool] = True
    own_spec: ClassVar[dict[str, Types]] = {"ids": list, "thresholds": (str, *NUMBER), "calibration": str}

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
        positives: Sequence[float] = (),
        total: float = 0.0,
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
            ("positives", torch.tensor(positives or [0.0] * len(columns), dtype=torch.float32)),
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
    def statistics(cls, name: str, data: ImageDataModule) -> dict[str, Any]:
        labels = data.values(name, "train")
        if not data.values(name, "val").any():
            raise DataError(
                f"heads.{name}: expected a validation image of at least one class that is learnt, found none of "
                f"{', '.join(data.targets[name])}: neither an epoch nor a threshold could be chosen; learn other "
                "classes, or give other splits (data.val_fraction, data.split_file)"
            )
        return {"ids": data.ids(name), "positives": labels.sum(axis=0).tolist(), "total": len(labels)}

    def spec(self) -> dict[str, Any]:
        own = {"ids": list(self.ids), "thresholds": self.threshold_method, "calibration": self.calibration_method}
        return {**super().spec(), **own}

    @classmethod
    def check_spec(cls, name: str, spec: Mapping[str, Any]) -> None:
        super().check_spec(name, spec)
        key, ids = f"heads.{name}", spec["ids"]
        expect(bool(ids), f"{key}.columns", "at least one class", ids)
        numbers = all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < MAX_CLASSES for item in ids)
        right = numbers and len(set(ids)) == len(ids) == len(spec["columns"])
        expect(right, f"{key}.ids", f"a different number from 0 to {MAX_CLASSES - 1} for each column", ids)

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
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

    def baseline(self, target: torch.Tensor) -> torch.Tensor:
        return (self.positives / self.total.clamp_min(1)).to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the labels and then the scores, not calibrated, B x 2K."""
        return torch.cat([target.to(decoded.dtype), decoded], dim=1)

    # What is fitted after training -------------------------------------------------------------------------------

    def fit(self, split: Split) -> None:
        """Set calibration and thresholds from the rows of the validation split, and say for how many classes.

        Raises:
            UserError: a score is not a finite number.
        """
        if not np.isfinite(split.model).all():
            raise UserError(
                f"heads.{self.name}: a score of the validation split is not a finite number, so no threshold can be "
                "fitted; training diverged: try a lower optimizer.lr or trainer.precision=32-true"
            )
        labels, scores = np.split(split.model, 2, axis=1)
        calibration, thresholds = self._fitted(labels, scores)
        self.calibration.copy_(torch.from_numpy(calibration))
        self.thresholds.copy_(torch.from_numpy(thresholds))
        self.fitted.fill_(True)
        if not self.describe()["fitted"]:
            return
        absent = self._without_threshold()
        LOG.info(
            "%s: thresholds fitted on %d validation images for %d of %d classes",
            *(self.name, len(labels), self.channels - len(absent), self.channels),
        )
        if absent:
            LOG.warning(
                "%s: no validation image has %s: no threshold, so never predicted", self.name, ", ".join(absent)
            )

    def _without_threshold(self) -> list[str]:
        found = zip(self.columns, self._numbers(self.thresholds), strict=True)
        return [column for column, value in found if np.isnan(value)]

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

    def evaluate(self, split: Split) -> Evaluation:
        """Return labels, calibrated scores and decisions (0 or 1), N x 3K, and a table of the classes.

        Of the split that calibration and thresholds were fitted on each fifth of the groups is decided by what the
        others give (nested folds), so that the result doesn't flatter. Of the baseline each metric takes the constant
        decision that suits it best (NaN).
        """
        rows = self.decided_rows(split.model, split.groups if split.fitted_on and bool(self.fitted) else None)
        undecided = np.full((len(split.baseline), self.channels), np.nan)
        baseline = np.concatenate([split.baseline, undecided], axis=1)
        return Evaluation(rows, baseline, {"classes": class_table(rows, self.describe(), split.groups)})

    def decided_rows(self, rows: Array, groups: Sequence[str] | None = None) -> Array:
        """Return labels, calibrated scores and decisions, N x 3K, of labels and scores, N x 2K; nested with groups."""
        labels, scores = np.split(rows, 2, axis=1)
        final = self.calibrated(scores)
        decided = self.decide(final)
        if groups is not None and self.chooses:
            folds = nested_folds(groups, labels)
            for fold in np.unique(folds):
                held = folds == fold
                # One group only: there is nothing else to fit on.
                others = ~held if not held.all() else held
                calibration, thresholds = self._fitted(labels[others], scores[others])
                final[held] = calibrate(scores[held].astype(np.float32), calibration)
                decided[held] = final[held] >= thresholds
        return np.concatenate([labels, final, decided], axis=1)

    def measure(self, rows: Array) -> dict[str, float]:
        """Return each metric of the rows of :meth:`rows` while training, thresholds by nested folds of the samples."""
        if not np.isfinite(rows).all():
            return dict.fromkeys(self.metrics, float("nan"))
        return super().measure(self.decided_rows(rows, [str(number) for number in range(len(rows))]))

    def summarise(self, found: Evaluation, groups: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return {metric: ...}, with ``classes``, how many the metric counts, and ``of``, how many there are."""
        check_true(self.name, found.model[:, : self.channels], groups)
        return {
            name: {**about, "classes": counted_classes(name, found.model), "of": self.channels}
            for name, about in super().summarise(found, groups).items()
        }

    # Tables ------------------------------------------------------------------------------------------------------

    def table(self, rows: Array) -> dict[str, Array]:
        """Return, from evaluated rows, the names of the true and predicted classes, and each class's columns."""
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

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        scores = self.calibrated(decoded[None])[0]
        return {column: (value, "") for column, value in zip(self.columns, scores.tolist(), strict=True)}

    def table_while_training(self, rows: Array) -> dict[str, Array]:
        return self.table(self.decided_rows(rows))

    def decided(self, decoded: Array) -> tuple[str, ...]:
        return self._names(self.decide(self.calibrated(decoded[None]))[0])

    @property
    def class_numbers(self) -> dict[str, int]:
        return dict(zip(self.columns, self.ids, strict=True))

    def nearest_class(self, values: Mapping[str, float]) -> tuple[str, ...]:
        """Return the class with the largest logit(score) - logit(threshold), the first of several, if any has one."""
        scores = np.array([values[column] for column in self.columns])
        margins = logit(scores) - logit(self._numbers(self.thresholds).astype(np.float64))
        return () if np.isnan(margins).all() else (self.columns[int(np.nanargmax(margins))],)

    def warnings(self) -> list[str]:
        found = []
        if self.chooses and not bool(self.fitted):
            stand_in = UNFITTED if isinstance(self.threshold_method, str) else self.threshold_method
            found.append(
                f"{self.name}: thresholds and calibration were never fitted on validation images, which is done for "
                f"best.ckpt when training ends; {stand_in:g} stands in for the thresholds"
            )
        if absent := self._without_threshold():
            found.append(
                f"{self.name}: {len(absent)} of {self.channels} classes have no threshold, as no validation image has "
                f"them, and are never predicted: {', '.join(absent)}"
            )
        return found

    # Several models ---------------------------------------------------------------------------------------------

    def averaged(self, decoded: Array) -> Array:
        """Return the calibrated scores."""
        return self.calibrated(decoded[None])[0]

    def refuse_unlike(self, other: Head, name: str, other_name: str) -> None:
        super().refuse_unlike(other, name, other_name)
        own_names = {number: column for column, number in self.class_numbers.items()}
        for column, number in other.class_numbers.items():
            known, its = own_names.get(number, column), self.class_numbers.get(column, number)
            if (known, its) != (column, number):
                found = f"class {number} is '{known}'" if known != column else f"'{column}' is class {its}"
                raise UsageError(
                    f"{other_name}: in its head {self.name} class {number} is '{column}', but in {name} {found}; "
                    "expected runs of the same data set"
                )

    @classmethod
    def merge(cls, heads: Sequence[Self]) -> Head:
        """Return the head that decides each class by the mean of its thresholds; its scores come calibrated."""
        import pandas as pd

        number = {column: identity for head in heads for column, identity in head.class_numbers.items()}
        columns = list(heads[0].columns)
        if any(head.columns != heads[0].columns for head in heads):
            columns = sorted(number, key=number.__getitem__)
        lacking = [head for head in heads if head.chooses and not bool(head.fitted)]
        spec = {**(lacking or heads)[0].spec(), "columns": columns, "ids": [number[column] for column in columns]}
        joined = cls.from_spec(heads[0].name, spec)
        each = [pd.Series(cls._numbers(head.thresholds.double()), head.columns) for head in heads]
        joined.thresholds.copy_(torch.from_numpy(pd.concat(each, axis=1).mean(axis=1)[columns].to_numpy(copy=True)))
        joined.fitted.fill_(not lacking)
        return joined

    @staticmethod
    def _numbers(buffer: torch.Tensor) -> Array:
        return buffer.detach().cpu().numpy()


TARGET = Target(classes=True)
