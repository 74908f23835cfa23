"""The labels decided for each image: their table, and what a user should know of them.

Importing this does not import torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionlab.console import LOG
from visionlab.errors import UsageError, UserError
from visionlab.files import write_text
from visionlab.inference.files import printable
from visionlab.inference.stained import sample_id

if TYPE_CHECKING:
    from visionlab.heads.head import Head
    from visionlab.inference.base import BasePredictor
    from visionlab.inference.prediction import Prediction

_HEADER = ("path", "id", "labels", "numbers")


class LabelTable:
    """``<head>.csv`` for each head of labels (``labels.csv``): path, id, names of the classes, and their numbers.

    Args:
        predictor: whose predictions come.
        out: the folder.

    Raises:
        UsageError: there is a file of this name in ``out`` that no earlier prediction has made.
    """

    def __init__(self, predictor: BasePredictor[Any], out: Path) -> None:
        self.channels, self.out = predictor.channels, out
        self.heads = label_heads(predictor)
        self._rows: dict[str, list[tuple[str, ...]]] = {head.name: [] for head in self.heads}
        for head in self.heads:
            path = out / f"{head.name}.csv"
            # It may be the labels of a data set.
            if path.is_file() and not path.read_bytes().startswith(f"{','.join(_HEADER)}\n".encode()):
                raise UsageError(
                    f"--out {out}: found '{path.name}' there, not from an earlier prediction; give another folder"
                )

    def __call__(self, prediction: Prediction) -> None:
        """Add an image."""
        path = str(prediction.path)
        for head in self.heads:
            names = prediction.decided[head.name]
            row = (path, sample_id(path, self.channels), "; ".join(names), numbers(head, names))
            self._rows[head.name].append(tuple(map(printable, row)))

    def write(self) -> None:
        """Write the files."""
        for name, rows in self._rows.items():
            write_table(self.out / f"{name}.csv", [_HEADER, *rows])


def label_heads(predictor: BasePredictor[Any]) -> list[Head]:
    """Return the heads that decide classes."""
    return [head for head in predictor.heads if head.class_numbers]


def say_warnings(predictor: BasePredictor[Any]) -> None:
    """Warn of what a user should know of the heads: what was never fitted, and classes without a threshold."""
    for head in predictor.heads:
        for text in head.warnings():
            LOG.warning("%s", text)


def numbers(head: Head, names: Sequence[str]) -> str:
    """Return the numbers of classes in the data set, ascending: ``0 16``."""
    return " ".join(map(str, sorted(head.class_numbers[name] for name in names)))


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a table, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    try:
        write_text(path, text.getvalue())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
