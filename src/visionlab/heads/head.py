"""Heads: a named slice of the network's channels, with its loss, its values, its metrics and its files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from visionlab.errors import UsageError
from visionlab.heads.kind import Kind, Metrics
from visionlab.metrics.summary import entry

if TYPE_CHECKING:
    import pandas as pd

    from visionlab.data.definition import Frame
    from visionlab.data.module import ImageDataModule

Loss = Callable[..., torch.Tensor]
Array = np.ndarray[Any, Any]
Types = type | tuple[type, ...]

NUMBER = (int, float)


@dataclass(frozen=True, eq=False)
class Split:
    """A split of the data, and what a model says of it for one head.

    Attributes:
        groups: of the N samples.
        model: N x S rows (:meth:`Head.rows`) of the model's predictions; of heads ``by_time_point`` there are none.
        baseline: the same of the baseline's.
        fitted_on: whether it is the split that :meth:`Head.fit` is given.
        samples: row of the data's table -> number of the sample, 0..N-1.
        times: names of the time points that the samples are of, each once.
        frames: yields these time points, as they are on disk; all, or those named.
        maps: a time point -> decoded maps of its slices, Z x K x H x W.
    """

    groups: Sequence[str]
    model: Array
    baseline: Array
    fitted_on: bool = False
    samples: Mapping[int, int] = field(default_factory=dict)
    times: Sequence[str] = ()
    frames: Callable[[Collection[str] | None], Iterator[Frame]] = lambda only: iter(())
    maps: Callable[[Frame], Array] = lambda frame: np.empty(0)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What metrics and tables are made of.

    Attributes:
        model: N x S' rows of the model's predictions, as decided.
        baseline: the same of the baseline's.
        tables: name -> a table of its own beside that of the samples, e.g. of classes.
    """

    model: Array
    baseline: Array
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


class Head(nn.Module):
    """What all heads have in common.

    Args:
        name: of the head and its target.
        columns: names of its channels; their count is K.
        unit: of the decoded values; empty if they have none.
        metrics: names from the kind's ``metrics``.
        weight: factor of its loss in the sum over heads.
        activation: between the network and the decoded values, one of the kind's ``activations``.
    """

    kind: ClassVar[Kind]
    # Whether something (thresholds) is fitted on the validation split once training is done.
    fits: ClassVar[bool] = False
    # Whether it is evaluated, and predicts, whole time points as they are on disk, not the loader's samples.
    by_time_point: ClassVar[bool] = False
    # What its description holds beside that of every head: key -> type.
    own_spec: ClassVar[dict[str, Types]] = {}
    # What heads of several models that are merged must have in common, the kind first.
    alike: ClassVar[tuple[str, ...]] = ("kind", "unit")
    # Of several heads of maps, that with the largest is drawn over the image; 0: it is never drawn.
    overlay_rank: ClassVar[int] = 0

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        *,
        unit: str,
        metrics: Sequence[str],
        weight: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.name, self.columns, self.unit = name, tuple(columns), unit
        self.metrics, self.weight, self.activation = tuple(metrics), weight, activation

    @property
    def channels(self) -> int:
        return len(self.columns)

    # From data, configuration and checkpoint --------------------------------------------------------------------

    @classmethod
    def columns_of(cls, name: str, data: ImageDataModule, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of its channels, before the data is set up; ``options`` are those of its kind."""
        return tuple(data.targets[name])

    @classmethod
    def statistics(cls, name: str, data: ImageDataModule) -> dict[str, Any]:
        """Return what its constructor is told of the training split: scales, counts, and the like."""
        raise NotImplementedError

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> Self:
        """Return the head for a target, scaled by the training split; ``options`` as in the configuration."""
        return cls(name, cls.columns_of(name, data, options), **cls.statistics(name, data), **options)

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> Self:
        """Rebuild from :meth:`spec`; the buffers come with the weights."""
        return cls(name, spec["columns"], **cls.options_of(spec))

    @classmethod
    def options_of(cls, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return of a :meth:`spec` what the constructor takes beside name and columns."""
        return {key: spec[key] for key in ("unit", "metrics", "weight", "activation", *cls.own_spec)}

    def spec(self) -> dict[str, Any]:
        """Return all but the buffers as plain data, for the checkpoint."""
        return {
            "kind": self.kind.name,
            "columns": list(self.columns),
            "unit": self.unit,
            "metrics": list(self.metrics),
            "weight": self.weight,
            "activation": self.activation,
            **{key: getattr(self, key) for key in self.own_spec},
        }

    @classmethod
    def check_spec(cls, name: str, spec: Mapping[str, Any]) -> None:
        """Check plain data that claims to be a :meth:`spec` of this kind.

        Raises:
            ValueError: naming the key (``heads.<name>.<key>``), what was expected and what found.
        """
        key = f"heads.{name}"
        types: dict[str, Types] = {"columns": list, "unit": str, "metrics": list, "weight": NUMBER, "activation": str}
        for part, wanted in {**types, **cls.own_spec}.items():
            value = spec.get(part)
            right = part in spec and isinstance(value, wanted) and not isinstance(value, bool)
            names = " or ".join(k.__name__ for k in (wanted if isinstance(wanted, tuple) else (wanted,)))
            expect(right, f"{key}.{part}", names, value)
        choices = {option: about.choices for option, about in cls.kind.options.items()}
        for part, known in {"activation": cls.kind.activations, **choices}.items():
            right = not isinstance(spec[part], str) or spec[part] in known
            expect(right, f"{key}.{part}", f"one of {', '.join(known)}", spec[part])
        expect(all(isinstance(c, str) for c in spec["columns"]), f"{key}.columns", "names", spec["columns"])
        right = all(isinstance(metric, str) and metric in cls.kind.metrics for metric in spec["metrics"])
        expect(right, f"{key}.metrics", f"some of {', '.join(cls.kind.metrics)}", spec["metrics"])

    def describe(self) -> dict[str, Any]:
        """Return what ``run.json`` and reports are told of the head."""
        return {key: value for key, value in self.spec().items() if key not in ("weight", "activation")}

    # Training ---------------------------------------------------------------------------------------------------

    def prepare(self, function: Loss) -> None:
        """Tell a loss what it has to know of the training split."""

    def loss(self, raw: torch.Tensor, target: torch.Tensor, function: Loss) -> torch.Tensor:
        """Return the loss of raw channels for targets in the user's units."""
        raise NotImplementedError

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        """Return raw channels in the user's units."""
        raise NotImplementedError

    def baseline(self, target: torch.Tensor) -> torch.Tensor:
        """Return the decoded values of the baseline: always the mean over the training split."""
        raise NotImplementedError

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return one row a sample, B x S, from which the metrics of any set of samples can be computed."""
        raise NotImplementedError

    def measure(self, rows: Array) -> dict[str, float]:
        """Return the metrics that are known while training of the :meth:`rows` of all samples, in the user's units."""
        known = {name: metric for name, metric in self.each_metric().items() if name in self.kind.while_training}
        return {name: metric(rows) for name, metric in known.items()}

    # After training ---------------------------------------------------------------------------------------------

    def fit(self, split: Split) -> None:
        """Fit on the validation split what is fitted once training is done; see ``fits``."""

    def evaluate(self, split: Split) -> Evaluation:
        """Return what metrics and tables of a split are made of."""
        return Evaluation(split.model, split.baseline)

    def summarise(self, found: Evaluation, groups: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return {metric: value, interval, baseline, ...}, see :func:`visionlab.metrics.summary.entry`.

        Raises:
            DataError: a true value is missing.
        """
        return {
            name: entry(metric, found.model, found.baseline, groups, self.unit)
            for name, metric in self.each_metric().items()
        }

    def table(self, rows: Array) -> dict[str, Array]:
        """Return the columns of the predictions' table, N values each, from the evaluated rows of N samples."""
        raise NotImplementedError

    def table_while_training(self, rows: Array) -> dict[str, Array]:
        """Return what is known of :meth:`table` while training, from the :meth:`rows` of N samples."""
        return self.table(rows)

    def each_metric(self) -> Metrics:
        """Return {name: metric} of what it is measured by."""
        return {name: self.kind.metrics[name] for name in self.metrics}

    # Predictions ------------------------------------------------------------------------------------------------

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        """Return {name: value and unit} of one image's decoded values, for a table of predictions."""
        raise NotImplementedError

    def map(self, decoded: Array) -> Array | None:
        """Return the map, H x W, of one image's decoded values, K x H x W; None of heads without."""
        return None

    def decided(self, decoded: Array) -> tuple[str, ...] | None:
        """Return the classes of one image by its decoded values; None of heads that have no classes."""
        return None

    @property
    def class_numbers(self) -> dict[str, int]:
        """Return {class: its number in the data set}; empty of heads that have no classes."""
        return {}

    def nearest_class(self, values: Mapping[str, float]) -> tuple[str, ...]:
        """Return the one class that comes nearest to being decided, by the predicted values of an image, if any."""
        return ()

    @property
    def curves(self) -> tuple[str, ...]:
        """Return the names of those of its values that make curves over the time points of a series."""
        return ()

    def warnings(self) -> list[str]:
        """Return, in words, what somebody who predicts with it should know: what was never fitted, for one."""
        return []

    # Files of maps ----------------------------------------------------------------------------------------------

    def about_files(self, tif: bool) -> dict[str, Any] | None:
        """Return, as plain data, what the values in the files of :meth:`write` mean; None if it writes none.

        Args:
            tif: whether numbers are to be written as float TIFF, not as 16-bit PNG.
        """
        return None

    def write(self, shown: Array, path: Path, tif: bool) -> None:
        """Write the map of one image, see :meth:`map`, to ``path`` with a suffix added."""
        raise NotImplementedError

    def overlay(self, image: Array, shown: Array) -> Array:
        """Return an image, H x W x 3 of 0..1, with a map, H x W, drawn over it; see ``overlay_rank``."""
        raise NotImplementedError

    # Objects of whole time points, of heads ``by_time_point`` -----------------------------------------------------

    def settings(self, threshold: float | None = None) -> Any:
        """Return what objects are found with, and say it; ``threshold`` stands in place of that which was fitted."""
        raise NotImplementedError

    def find(self, maps: Array, settings: Any) -> Array:
        """Return the objects of a plane, H x W int32 (0 between them), of its decoded maps, K x H x W."""
        raise NotImplementedError

    def link(self, labels: Array, settings: Any) -> Array:
        """Return the objects of a volume, Z x H x W, of those of its planes."""
        raise NotImplementedError

    def objects(self, labels: Array, image: Array, voxel: tuple[float | None, ...], *, volume: bool) -> pd.DataFrame:
        """Return a row for each object of a time point, Z x H x W; see the kind's own method for the columns."""
        raise NotImplementedError

    # Several models ---------------------------------------------------------------------------------------------

    def averaged(self, decoded: Array) -> Array:
        """Return what of the decoded values of an image is averaged over models, in the same shape."""
        return decoded

    def refuse_unlike(self, other: Head, name: str, other_name: str) -> None:
        """Refuse a head of the same name, of another model, that does not say the same thing.

        Args:
            other: of another model.
            name, other_name: of this model and of that.

        Raises:
            UsageError: another kind, another unit, ...
        """
        for what in self.alike:
            one, two = getattr(self, what), getattr(other, what, None)
            if one != two:
                raise UsageError(
                    f"{other_name}: its head {self.name} has the {what} '{two}', that of {name} '{one}'; expected runs "
                    "that predict the same quantities"
                )

    @classmethod
    def merge(cls, heads: Sequence[Self]) -> Head:
        """Return the head that stands for these, of several models, which :meth:`refuse_unlike` has nothing against."""
        columns = list(dict.fromkeys(column for head in heads for column in head.columns))
        return cls.from_spec(heads[0].name, {**heads[0].spec(), "columns": columns})


def expect(right: bool, key: str, expected: str, found: Any) -> None:
    """Refuse plain data that is not as it should be.

    Raises:
        ValueError: naming the key.
    """
    if not right:
        raise ValueError(f"{key}: expected {expected}, found {str(found)[:80]}")
