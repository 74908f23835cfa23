"""The labels decided for each image, as labels.csv and as the submission to a competition.

Importing this does not import torch.
"""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionlab.console import LOG
from visionlab.errors import DataError, UsageError
from visionlab.files import IMAGE, listed
from visionlab.inference.files import sample_id
from visionlab.inference.output_folder import prepare_output, printable, refuse_others, write_table

if TYPE_CHECKING:
    from visionlab.heads.head import Head
    from visionlab.inference.base_predictor import BasePredictor
    from visionlab.inference.prediction import Prediction

SAMPLE = "sample_submission.csv"
_LABELS = ("path", "id", "labels", "numbers")


class LabelTable:
    """``<head>.csv`` for each head of labels (``labels.csv``): path, id, names of the classes, and their numbers.

    Args:
        predictor: whose predictions come.
        out: the folder.

    Raises:
        UsageError: there is a file of this name in ``out`` that no earlier prediction has made.
    """

    def __init__(self, predictor: BasePredictor, out: Path) -> None:
        self.channels, self.out = predictor.channels, out
        self.heads = label_heads(predictor)
        self._rows: dict[str, list[tuple[str, ...]]] = {head.name: [] for head in self.heads}
        for head in self.heads:
            path = out / f"{head.name}.csv"
            if not (path.is_file() and path.read_bytes().startswith(f"{','.join(_LABELS)}\n".encode())):
                refuse_others(out, [path.name])

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
            write_table(self.out / f"{name}.csv", [_LABELS, *rows])


def label_heads(predictor: BasePredictor) -> list[Head]:
    """Return the heads that decide classes."""
    return [head for head in predictor.heads if head.class_numbers]


def numbers(head: Head, names: Sequence[str]) -> str:
    """Return the numbers of classes in the data set, ascending: ``0 16``."""
    return " ".join(map(str, sorted(head.class_numbers[name] for name in names)))


# A competition -------------------------------------------------------------------------------------------------------


class Submission:
    """``Id,Predicted``: for each Id the numbers of its classes, ascending, divided by spaces.

    Args:
        path: of the file.
        order: a file with a column ``Id``, whose rows are wanted; None: ``sample_submission.csv`` in a folder of the
            inputs or beside it, else all inputs in their order.
        inputs: as the user named them.
        at_least_one: give a row without a class the one that comes nearest to its threshold, by
            logit(score) - logit(threshold), among those that have one.

    Raises:
        UsageError: the file cannot be written, or ``order`` is not there.
        DataError: ``order`` has no column ``Id``, no row, or an Id twice.
    """

    def __init__(self, path: Path, order: Path | None, inputs: Sequence[str], *, at_least_one: bool) -> None:
        self.path, self.at_least_one = path, at_least_one
        if order is not None and not order.is_file():
            raise UsageError(f"--order {order}: expected a file such as {SAMPLE}, found none")
        order = order or _find_order(inputs)
        if path.is_dir() or (order is not None and path.resolve() == order.resolve()):
            found = "a folder" if path.is_dir() else "the file that gives the order"
            raise UsageError(f"--submission {path}: expected the name of a new file, found {found}")
        self.ids = _read_order(order) if order is not None else None
        prepare_output(path.parent, "--submission")
        self._rows: dict[str, str] = {}
        self._filled: set[str] = set()

    def begin(self, predictor: BasePredictor, samples: Sequence[Mapping[str, Path]]) -> None:
        """Check that what is to be predicted makes a submission, before it takes its time.

        Raises:
            UsageError: the model has no head of labels, or several.
            DataError: an Id is there twice, or one that is wanted is missing.
        """
        heads = label_heads(predictor)
        if len(heads) != 1:
            found = predictor.heads_in_words()
            raise UsageError(f"--submission: expected a model with one head of labels, found {found}")
        self.head, self.channels = heads[0], predictor.channels
        if absent := absent_classes(self.head, predictor.tasks):
            LOG.warning(
                "--submission: %d classes of the data set are of none of the runs and never predicted: %s",
                *(len(absent), ", ".join(absent)),
            )
        paths: dict[str, Path] = {}
        for sample in samples:
            name = sample_id(sample[IMAGE], self.channels)
            if name in paths:
                raise DataError(f"--submission: expected each Id once, found {name} in {paths[name]}, {sample[IMAGE]}")
            paths[name] = sample[IMAGE]
        if self.ids is None:
            self.ids = list(paths)
        self._refuse_missing(paths, "among the inputs")

    def __call__(self, prediction: Prediction) -> None:
        """Add an image."""
        name, names = sample_id(str(prediction.path), self.channels), prediction.decided[self.head.name]
        if not names and self.at_least_one:
            names = self.head.nearest_class(prediction.values)
            self._filled.update([name] if names else [])
        self._rows[name] = numbers(self.head, names)

    def write(self) -> str:
        """Write the file, whole or not at all, and return what to say of it.

        Raises:
            UserError: an Id that is wanted has not been predicted, or the file cannot be written.
        """
        wanted = self.ids or []
        self._refuse_missing(self._rows, "predicted")
        rows = [(name, self._rows[name]) for name in wanted]
        write_table(self.path, [("Id", "Predicted"), *rows])
        said = [f"{len(rows)} rows", f"{sum(not row for _, row in rows)} without a label"]
        if filled := sum(name in self._filled for name in wanted):
            said.append(f"{filled} images given the class nearest to its threshold")
        if extra := len(self._rows) - len(rows):
            said.append(f"{extra} predicted images left out, whose Ids are not wanted")
        return f"submission: {self.path} ({'; '.join(said)})"

    def _refuse_missing(self, there: Mapping[str, Any], where: str) -> None:
        wanted = self.ids or []
        if missing := [name for name in wanted if name not in there]:
            raise DataError(
                f"--submission {self.path}: not written: {len(missing)} of the {len(wanted)} Ids wanted are not "
                f"{where}:\n{listed(missing)}"
            )


def absent_classes(head: Head, tasks: Sequence[str]) -> list[str]:
    """Return the classes of the data set that a head lacks: by name, or where the names are the user's, by number."""
    from omegaconf import OmegaConf

    from visionlab.config import signature
    from visionlab.config.compose import conf_dir

    own = head.class_numbers
    for path in (conf_dir() / "task").glob("*.yaml"):
        if path.stem in tasks:
            target = OmegaConf.select(OmegaConf.load(path), "data._target_")
            known = dict(enumerate((signature.literal(target, "targets") or {}).get(head.name, ())))
            if all(known.get(number) == column for column, number in own.items()):
                return [name for number, name in known.items() if number not in own.values()]
    return [f"class {number}" for number in range(max(own.values())) if number not in own.values()]


def _find_order(inputs: Sequence[str]) -> Path | None:
    for text in inputs:
        path = Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - links keep the folder that they are in
        while path.is_file() or (glob.has_magic(str(path)) and not path.exists()):
            path = path.parent
        for folder in (path, path.parent):
            if (folder / SAMPLE).is_file():
                LOG.info("--submission: the Ids and their order are those of %s", folder / SAMPLE)
                return folder / SAMPLE
    return None


def _read_order(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a table with a column Id, found: {error}") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if "Id" not in header:
        raise DataError(f"{path}: expected a comma-separated table with a column Id, found '{','.join(header)[:80]}'")
    place = header.index("Id")
    ids = [row[place].strip() if len(row) > place else "" for _, row in rows[1:]]
    seen: set[str] = set()
    for (line, _), name in zip(rows[1:], ids, strict=True):
        if not name or name in seen:
            raise DataError(f"{path} line {line}: expected each Id once, found {f'{name} again' if name else 'none'}")
        seen.add(name)
    if not ids:
        raise DataError(f"{path}: expected the Ids of a submission, found a table without rows")
    return ids
