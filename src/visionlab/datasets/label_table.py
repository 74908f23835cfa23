"""Tables of labels (``Id,Target``: numbers of classes divided by spaces), and which of the classes are learnt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.errors import ConfigError, DataError, nearest
from visionlab.files import Problem, csv_lines

ID, TARGET = "Id", "Target"

_PART = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'", ",": "quotes around whole rows"}
# Columns of an index beside those of the classes; `labels_true` and `labels_pred` of predictions are all together.
_TAKEN = (
    *("id", "group", "path", "set", "split", "labels"),
    *("height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash"),
)


@dataclass
class LabelTable:
    """What a table of labels holds, without the rows that have a problem.

    Attributes:
        name: the table as it was named; its rows' ``set``.
        ids: of N samples.
        groups: N names; the sample itself where no column says more.
        labels: N x K of 0 and 1, K being all classes of the data set.
        rows: how many there are, with those that have a problem.
        problems: what is wrong with these.
    """

    name: str
    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: npt.NDArray[np.int8] = field(default_factory=lambda: np.zeros((0, 0), np.int8))
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)


def choose_classes(names: Sequence[str], classes: Sequence[int] | None, group: str | None) -> list[int]:
    """Return the numbers of the classes that are learnt, in their order.

    Args:
        names: of all classes of the data set, by number.
        classes: numbers, kept in this order; None: all.
        group: ``i/n``: part i, counted from 1, of the classes cut by number into n parts as equal as can be.

    Raises:
        ConfigError: the names or choices are no such, or there is both ``classes`` and ``group``.
    """
    _check_names(names)
    last = len(names) - 1
    if group is not None:
        if classes is not None:
            raise ConfigError("data.classes and data.class_group: expected one of them, found both")
        match = _PART.fullmatch(group)
        part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= part <= parts <= len(names):
            raise ConfigError(
                f"data.class_group: expected i/n, the part i of 1 to n of n parts of the {len(names)} classes, e.g. "
                f"2/4; found '{group}'"
            )
        return [int(number) for number in np.array_split(np.arange(len(names)), parts)[part - 1]]
    if classes is None:
        return list(range(len(names)))
    if not classes:
        raise ConfigError(f"data.classes: expected numbers from 0 to {last}, found none; leave it null for all")
    for number in classes:
        if not 0 <= number <= last:
            raise ConfigError(f"data.classes: expected numbers from 0 to {last}, found {number}")
        if list(classes).count(number) > 1:
            raise ConfigError(f"data.classes: expected each class once, found {number} ({names[number]}) twice")
    return list(classes)


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise ConfigError("data.class_names: expected the names of the classes by number, found none")
    for number, name in enumerate(names):
        if not name.strip() or name != name.strip() or ";" in name:
            raise ConfigError(f"data.class_names: expected a name without ';' or spaces around it, found '{name}'")
        if name in _TAKEN or name.endswith("_path"):
            raise ConfigError(f"data.class_names: '{name}' is a column of the tables already; name class {number} else")
        if (first := names.index(name)) < number:
            raise ConfigError(f"data.class_names: expected each name once, found '{name}' for {first} and {number}")


def read_labels(
    path: Path, beside: Path, *, key: str, name: str, classes: int, group_column: str | None, seen: dict[str, str]
) -> LabelTable:
    """Read a comma-separated table with the columns Id and Target; others may stand beside them.

    Args:
        path: of the table.
        beside: folder whose tables are suggested if there is none.
        key: of the configuration, for messages.
        name: of the table in the result.
        classes: how many there are; labels are 0 to ``classes - 1``. None at all is a Target, too.
        group_column: whose values are the groups, if any.
        seen: Id -> where it stands, of all tables read before; added to.

    Raises:
        DataError: the table cannot be read, has other columns, or no row.
    """
    lines = csv_lines(path, beside, key)
    header = [cell.strip() for cell in next(lines, (0, []))[1]]
    needed = [ID, TARGET, *([] if group_column is None else [group_column])]
    _check_header(path, header, needed, group_column)
    places = [header.index(column) for column in needed]
    known = {str(number): number for number in range(classes)}
    found = LabelTable(name)
    sets: list[list[int]] = []
    for line, cells in lines:
        where = f"{path.name} line {line}"
        found.rows += 1
        if len(cells) != len(header):
            what = f"{len(cells)} cells where the header has {len(header)}"
            found.problems.append(Problem(where, what, "mend the row; what holds a comma needs quotes"))
            continue
        sample, target, *group = (cells[place].strip() for place in places)
        labels = [known.get(text, -1) for text in target.split()]
        wrong = _wrong(sample, target, labels, classes, seen)
        if not wrong and group == [""]:
            wrong = (f"the cell '{group_column}' is empty", "fill it: its values say what belongs together")
        seen.setdefault(sample, where)
        if wrong:
            found.problems.append(Problem(where, *wrong))
            continue
        found.ids.append(sample)
        found.groups.append(group[0] if group else sample)
        sets.append(labels)
    if not found.rows:
        raise DataError(f"{path}: expected a row for each sample below the header, found none")
    found.labels = np.zeros((len(sets), classes), np.int8)
    rows = np.repeat(np.arange(len(sets)), [len(labels) for labels in sets])
    found.labels[rows, [label for labels in sets for label in labels]] = 1
    return found


def _wrong(sample: str, target: str, labels: list[int], classes: int, seen: dict[str, str]) -> tuple[str, str] | None:
    """Return what is wrong with a row, and what to do."""
    if not sample:
        return f"the cell '{ID}' is empty", "fill it or remove the row"
    if sample in seen:
        return f"the {ID} '{sample}' stands in {seen[sample]} as well", "keep one of the two rows"
    if -1 in labels:
        text = target.split()[labels.index(-1)]
        advice = f"expected numbers from 0 to {classes - 1} divided by spaces: mend {TARGET}"
        return f"there is no label '{text}'", advice
    if len(set(labels)) < len(labels):
        return f"the {TARGET} '{target}' names a label twice", "keep one"
    return None


def _check_header(path: Path, header: list[str], needed: list[str], group_column: str | None) -> None:
    listed = ", ".join(header) or "nothing"
    for column in needed:
        if header.count(column) > 1:
            raise DataError(f"{path}: the column '{column}' stands twice in the header ({listed}); keep one")
    missing = [column for column in needed if column not in header]
    if not missing:
        return
    for separator, text in _SEPARATORS.items():
        if any(separator in cell for cell in header[:1]):
            raise DataError(
                f"{path}: expected a table whose cells are divided by commas, found {text}; save it as CSV with commas"
            )
    purpose = ", which data.group_column names" if missing == [group_column] else ""
    raise DataError(
        f"{path}: expected a header with the column{'s' * (len(missing) > 1)} {' and '.join(missing)}{purpose}, found "
        f"{listed}.{nearest(missing[0], header)}"
    )
