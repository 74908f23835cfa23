"""Find the labelled slices of embryos in one of four layouts, and make the index of them: one row a slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from visionlab.console import LOG
from visionlab.data.blocks import name_blocks
from visionlab.datasets.cell_tracking_challenge import Truth, find_sequences, read_ctc
from visionlab.datasets.matlab_volumes import read_matlab
from visionlab.datasets.paired_slices import IMAGES, LABELS, TABLE, read_slices, read_table
from visionlab.datasets.pairing import some
from visionlab.datasets.time_points import TimePoint, build, repeated, stack
from visionlab.errors import ConfigError, DataError
from visionlab.files import Scan, check_folder

Layout = Literal["auto", "ctc", "pairs", "table", "matlab"]

LAYOUTS = f"""the layouts are
  ctc:    01/t000.tif with 01_ST/SEG/man_seg000.tif or 01_GT/SEG/man_seg_000_012.tif (slice 12 of time point 0)
  pairs:  {IMAGES}/F0_12.png with {LABELS}/L0_12.png, perhaps a list of them in file_ids.csv
  table:  {TABLE}, or data.table=FILE.csv, with the columns image and label, perhaps sequence, time, z, group
  matlab: FILE.mat with the variables embryo and membSeg, in one file or in two"""


@dataclass(frozen=True)
class Sources:
    """Where an index is from.

    Attributes:
        target: what is labelled; its column is ``<target>_path``.
        layout: ``auto`` takes the first that the folder has: table, ctc, pairs, matlab.
        table: a csv file relative to the root, or absolute.
        truth: of the layout ``ctc``, see :func:`visionlab.datasets.cell_tracking_challenge.read_ctc`.
        blocks: parts that a sequence is cut into in time; each is a group.
        single: each slice is a group of its own.
        neighbours: how many slices below and above each are named beside it.
    """

    target: str
    layout: Layout = "auto"
    table: str | None = None
    truth: Truth = "auto"
    blocks: int = 10
    single: bool = False
    neighbours: int = 0


def scan(root: str | Path, sources: Sources) -> tuple[list[TimePoint], Scan]:
    """Index a folder in one of the layouts, collecting what is wrong with files.

    Returns:
        The time points that have labels, sorted by sequence, time and slice; and the index of their slices, in this
        order, with the columns ``id``, ``group``, ``path``, ``<target>_path`` (files, or planes of files, relative to
        ``root``), ``sequence`` (empty: unknown), ``time`` (-1: unknown), ``z`` (-1: no volume), ``frame`` (the time
        point's name) and, with ``neighbours``, ``path-1``, ``path+1``, ... (the slices beside it; the last one again
        where there is none).

    Raises:
        DataError: the folder cannot be read, or holds nothing in that layout.
        ConfigError: the settings contradict each other.
    """
    folder = check_folder(root, f"volumes or slices and labels of their {sources.target}")
    layout, table, sequences = _choose(folder, sources)
    if sources.truth != "auto" and layout != "ctc":
        raise ConfigError(f"data.truth={sources.truth}: is of data.layout=ctc, but {root} has the layout {layout}")
    if layout == "ctc":
        pairs, digits, problems = read_ctc(folder, sequences, sources.truth)
    elif layout == "matlab":
        pairs, digits, problems = read_matlab(folder)
    else:
        pairs, digits, problems = read_table(folder, table) if layout == "table" else read_slices(folder)
    points, wrong = build(pairs, folder, digits)
    again = list(repeated(points))
    points, apart = stack(points)
    points = [point for point in points if point.truth]
    points.sort(key=lambda point: (point.sequence, point.time, point.zs[0], point.name))
    found = index_of(points, sources, digits)
    volumes = any(point.volume for point in points)
    if sources.neighbours and not volumes:
        LOG.warning(
            "data.neighbours=%d: %s has no volumes, so each image is its own neighbour", sources.neighbours, root
        )
    LOG.info(
        "%s: %s layout, %d labelled %s in %d groups",
        *(root, layout, len(found), f"slices of {len(points)} volumes" if volumes else "images"),
        found["group"].nunique(),
    )
    return points, Scan(found, [*problems, *wrong, *again, *apart])


def index_of(points: Sequence[TimePoint], sources: Sources, digits: int = 3) -> pd.DataFrame:
    """Return the index of :func:`scan`."""
    rows = [(point, place) for point in points for place in sorted(point.truth)]
    beside = [step for step in range(-sources.neighbours, sources.neighbours + 1) if step]
    columns: dict[str, list[str] | list[int]] = {
        "id": [point.ids[place] for point, place in rows],
        "group": _groups([point for point, _ in rows], sources.blocks, digits),
        "path": [point.planes[place] for point, place in rows],
        f"{sources.target}_path": [point.truth[place] for point, place in rows],
        "sequence": [point.sequence for point, _ in rows],
        "time": [point.time for point, _ in rows],
        "z": [point.zs[place] for point, place in rows],
        "frame": [point.name for point, _ in rows],
    }
    for step in beside:
        last = [len(point.planes) - 1 for point, _ in rows]
        columns[f"path{step:+d}"] = [
            point.planes[min(max(place + step, 0), end)] for (point, place), end in zip(rows, last, strict=True)
        ]
    if sources.single:
        columns["group"] = columns["id"]
    return pd.DataFrame(
        {name: pd.Series(values, dtype=int if name in ("time", "z") else str) for name, values in columns.items()}
    )


def _groups(points: Sequence[TimePoint], blocks: int, digits: int) -> list[str]:
    """Return the group of each slice's time point: what the data say, else its block of time, else itself."""
    if all(point.group for point in points):
        return [point.group for point in points]
    if all(point.sequence for point in points):
        return name_blocks([point.sequence for point in points], [point.time for point in points], blocks, digits)
    return [point.sequence or point.name for point in points]


def _choose(root: Path, sources: Sources) -> tuple[Layout, str, dict[str, str]]:
    """Return the layout, the table of that layout, and the folders of sequences of the layout ``ctc``."""
    layout, table = sources.layout, sources.table
    if table is not None and layout not in ("auto", "table"):
        raise ConfigError(f"data.table: not used with data.layout={layout}; leave one of them out")
    if table is None and (root / TABLE).is_file():
        table = TABLE
    if table is not None and layout in ("auto", "table"):
        return "table", table, {}
    if layout == "table":
        raise ConfigError(f"data.layout=table: expected data.table=FILE.csv, or {TABLE} in {root}, found neither")
    sequences = find_sequences(root) if layout in ("auto", "ctc") else {}
    if layout == "auto":
        if sequences:
            layout = "ctc"
        elif (root / IMAGES).is_dir():
            layout = "pairs"
        elif any(root.rglob("*.mat")):
            layout = "matlab"
    if layout == "auto" or (layout == "ctc" and not sequences):
        names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
        listed = some(names, 8) if names else "nothing"
        raise DataError(f"{root}: expected volumes or slices with labels, found {listed}; {LAYOUTS}")
    return layout, "", sequences
