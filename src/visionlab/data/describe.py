"""What a data set holds: the check of every file, statistics of the training split, the index and the data card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.data.cache import Cache, CachedColumn
from visionlab.data.preprocess import ImageReader, Preprocess, Reader, image_facts
from visionlab.errors import DataError
from visionlab.files import Problem, in_parallel, problem_of
from visionlab.io import dtype_range, split_plane, stored_file, to_channels

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule


# Statistics -----------------------------------------------------------------------------------------------------------


def image_statistics(cache: Cache, rows: Sequence[int] | np.ndarray[Any, Any]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel over all pixels of these cached images.

    8- and 16-bit values count as fractions of their range (0..1), float values as they are.
    """
    total = np.zeros(cache.preprocess.channels)
    squares = np.zeros(cache.preprocess.channels)
    pixels = 0
    scale = dtype_range(np.dtype(cache.preprocess.dtype))
    for row in progress(rows, len(rows), "measuring intensities"):
        values = cache[int(row)].astype(np.float64) / scale
        total += values.sum(axis=(0, 1))
        squares += np.square(values).sum(axis=(0, 1))
        pixels += values.shape[0] * values.shape[1]
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    # Black channels have no deviation; dividing by one leaves them at zero.
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def image_span(images: Sequence[CachedColumn], rows: Sequence[int] | np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the lowest and highest value of these rows of all inputs, integers as fractions of their range."""
    facts = pd.concat([stored.cache.facts.iloc[np.unique(stored.places[rows])] for stored in images])
    full = facts["dtype"].map(dtype_range)
    return float((facts["min"] / full).min()), float((facts["max"] / full).max())


@dataclass(frozen=True)
class MapScale:
    """Range and mean of maps, in the user's unit: ``low`` and ``high`` are the 0.1st and 99.9th percentiles."""

    low: float
    high: float
    mean: float


def map_statistics(stored: CachedColumn, rows: Sequence[int] | np.ndarray[Any, Any]) -> MapScale:
    """Return range and mean over the known pixels of these rows; the percentiles from up to 2,000 pixels a map.

    Raises:
        DataError: no pixel is known.
    """
    total, count, parts = 0.0, 0, []
    for row in progress(rows, len(rows), "measuring maps"):
        values = stored.cache[int(stored.places[row])].astype(np.float32).ravel()
        values = values[np.isfinite(values)]
        total += float(values.sum(dtype=np.float64))
        count += len(values)
        # An odd step, so that it doesn't meet the same few columns of an image of even width again and again.
        parts.append(values[:: max(1, len(values) // 2000) | 1])
    if not count:
        raise DataError("the maps of the training split have no known pixel: nothing can be learnt from them")
    low, high = np.percentile(np.concatenate(parts), [0.1, 99.9])
    scale = stored.scale
    return MapScale(float(low) * scale, float(high) * scale, total / count * scale)


# Check ----------------------------------------------------------------------------------------------------------------


def check_files(data: ImageDataModule) -> tuple[list[Problem], int]:
    """Read every file of the chosen groups on all cores; return what is wrong, by path, and the number of samples.

    Files are read as for training; inputs that the network doesn't see and maps that no head learns are left out, and
    so is what belongs to images that cannot be read.

    Errors: names that cannot be used; files that cannot be read (truncated, damaged, NaN, several pages, ...), don't
    fit their image, or cannot become what the network takes; float beside integer images, which have no common scale;
    and the same pixels in two groups: a leak, wherever the groups end up. Warnings: constant images, the same pixels
    twice in a group, and the same mask in two groups.
    """
    root = data.locate()
    found = data.scan(root)
    table = found.table
    if not found.problems and len(table):
        data.indexed = table.copy()  # set-up needs not read and announce all of it again
    if len(table):
        table = data.choose(table, root)
    columns = ["path", *(f"{stain}_path" for stain in data.stains if f"{stain}_path" in table)]
    samples = list(table[columns].itertuples(index=False, name=None))
    results = list(_read_all(data, data.image_reader(table), samples, "images"))
    good = [row for row, result in enumerate(results) if isinstance(result, dict)]
    facts = pd.DataFrame([results[row] for row in good], columns=list(ImageReader.facts))
    checked = pd.concat([table.iloc[good][["group", "path"]].reset_index(drop=True), facts], axis=1)
    problems = [*found.problems, *_constant(checked), *_other_kind(checked), *_duplicates(checked)]
    sizes = list(zip(facts["height"].tolist(), facts["width"].tolist(), strict=True))
    for name in (*data.inputs[1:], *data.learnt):
        if f"{name}_path" in table:
            pairs = list(dict.fromkeys(zip(table[f"{name}_path"].iloc[good], sizes, strict=True)))
            like = [(size, size) for _, size in pairs]
            reader = data.reader(name, like) if name in data.maps else ImageReader(like)
            read = list(_read_all(data, reader, [(path,) for path, _ in pairs], f"files of {name}"))
            results += read
            told = {path: facts for (path, _), facts in zip(pairs, read, strict=True) if isinstance(facts, dict)}
            if telling := data.asked[name].telling if name in data.asked else "":
                hashes = {path: facts["hash"] for path, facts in told.items() if 0 < facts[telling] < 1}
                maps = table.iloc[good][["group", f"{name}_path"]].set_axis(["group", "path"], axis=1)
                problems += _same_maps(maps, name, hashes)
    problems += dict.fromkeys(result for result in results if isinstance(result, Problem))
    return sorted(problems, key=lambda problem: (problem.path, problem.what)), len(table) + len(found.problems)


def _read_all(
    data: ImageDataModule, reader: Reader, samples: Sequence[tuple[str, ...]], what: str
) -> Iterator[dict[str, Any] | Problem]:
    """Yield the facts of each sample, or the problem of the one of its files that cannot be used."""
    preprocess = Preprocess(1, data.height, data.width, data.fit, "float32")

    def attempt(item: tuple[int, tuple[str, ...]]) -> dict[str, Any] | Problem:
        number, files = item
        path = data.root / files[0]
        try:
            if not isinstance(reader, ImageReader):
                return reader.read(path, number, preprocess)[1]
            image = reader.pixels(path, number, data.file_stains)
            to_channels(image, data.channels, path)
            return image_facts(image)
        except DataError as error:
            guilty = next((file for file in files if str(error).startswith(f"{data.root / file}: ")), files[0])
            return problem_of(error, guilty, data.root / guilty)

    return progress(in_parallel(attempt, enumerate(samples)), len(samples), f"checking {what}")


def _constant(checked: pd.DataFrame) -> Iterator[Problem]:
    for path, value in checked.loc[checked["min"] == checked["max"], ["path", "min"]].itertuples(index=False):
        yield Problem(path, f"all values are {value:g}", "remove it unless an empty image is meant", "warning")


def _other_kind(checked: pd.DataFrame) -> Iterator[Problem]:
    floats = checked["dtype"] == "float32"
    if floats.any() and not floats.all():
        rare = bool(floats.mean() < 0.5)
        for path in checked.loc[floats == rare, "path"]:
            what = f"holds {'floating point' if rare else 'whole'} numbers, unlike most files"
            yield Problem(path, what, "there is no common scale: convert it")


def _duplicates(checked: pd.DataFrame) -> Iterator[Problem]:
    # Constant images are equal without being copies; they have a warning of their own.
    varied = checked[checked["min"] != checked["max"]]
    for _, rows in varied[varied.duplicated("hash", keep=False)].groupby("hash", sort=False):
        (first, group), *rest = rows[["path", "group"]].itertuples(index=False)
        for path, other in rest:
            same = f"has the same pixels as {first}"
            if other == group:
                yield Problem(path, same, "remove one unless the image was taken twice", "warning")
            else:
                yield Problem(
                    path,
                    f"{same}, but is of group '{other}' where that is of '{group}'",
                    "remove one or give both the same group: a copy in two splits makes the test worthless",
                )


def _same_maps(maps: pd.DataFrame, name: str, hashes: dict[str, str]) -> Iterator[Problem]:
    """Warn, once, of maps that are in two groups: images of one scene have the same, though their pixels differ."""
    maps = maps.assign(hash=maps["path"].map(hashes)).dropna().drop_duplicates(["group", "hash"])
    shared = maps[maps.duplicated("hash", keep=False)]
    if len(shared):
        equal = shared.loc[shared["hash"] == shared["hash"].iloc[0], ["path", "group"]]
        (first, its), (path, group) = equal.to_numpy()[:2]
        what = f"is the same as {first}, but of group '{group}' where that is of '{its}'"
        what = f"is of the groups '{its}' and '{group}'" if path == first else what
        found = shared["hash"].nunique()
        what += f" ({found} {name}s are of several groups)" if found > 1 else ""
        yield Problem(path, what, "if both show one scene, give them one group", "warning")


# Index and data card --------------------------------------------------------------------------------------------------


def index_table(data: ImageDataModule) -> pd.DataFrame:
    """Return every indexed sample with its split, what its file holds, and its targets."""
    columns = [column for columns in data.targets.values() for column in columns]
    parts = [data.table[["id", "group", "split", "path"]], data.facts[list(ImageReader.facts)], data.table[columns]]
    table = pd.concat([part.reset_index(drop=True) for part in parts], axis=1)
    for name, stored in data.stored_maps.items():
        facts = stored.facts
        for fact, factor in data.asked[name].facts.items():
            table[f"{name}_{fact}"] = facts[fact] * (stored.scale if factor else 1)
    return table


def card(data: ImageDataModule) -> dict[str, Any]:
    """Return the data card as plain data: counts, sizes, depths; of each split its groups, intensities, targets.

    Labels are counted: ``labels`` is {target: {class: {split: images}}}.
    """
    table = index_table(data)
    shapes = (table["height"].astype(str) + "x" + table["width"].astype(str)).value_counts()
    splits = [split for split, rows in data.rows.items() if len(rows)]
    labels = [target for target in data.targets if target in data.asked and data.asked[target].classes]
    ranges = [column for target, columns in data.targets.items() if target not in labels for column in columns]
    ranges += [f"{name}_{fact}" for name in data.stored_maps for fact in data.asked[name].ranges]
    return {
        "name": data.name,
        "root": str(data.root),
        "synthetic": data.synthetic,
        "n": len(table),
        "groups": int(table["group"].nunique()),
        "bytes": sum(path.stat().st_size for path in _files(data)),
        "dtypes": {str(name): int(count) for name, count in table["dtype"].value_counts().items()},
        "shapes": {str(name): int(count) for name, count in shapes.head(12).items()},
        "preprocess": data.preprocess.sentence(),
        "notes": _notes(data, table),
        "splits": {split: _split(table.iloc[data.rows[split]], ranges) for split in splits},
        "labels": {
            target: {
                column: {split: int(data.values(target, split)[:, place].sum()) for split in splits}
                for place, column in enumerate(data.targets[target])
            }
            for target in labels
        },
    }


def _files(data: ImageDataModule) -> set[Path]:
    """Return every file of the data set that is used, once."""
    stains = [stain for stain in data.stains if f"{stain}_path" in data.table]
    columns = ["path", *(f"{name}_path" for name in (*data.inputs[1:], *data.stored_maps, *stains))]
    return {stored_file(split_plane(data.root / path)[0]) for column in columns for path in data.table[column].unique()}


def _notes(data: ImageDataModule, table: pd.DataFrame) -> list[str]:
    """Return, in words, what a reader of the results should know about the data."""
    found = [f"split: {data.splits.source}"]
    if data.synthetic:
        found.append("the images are generated (synthetic): figures say nothing about real ones")
    unused = table.loc[table["split"] == "", "group"]
    if len(unused):
        found.append(f"{len(unused)} images of {unused.nunique()} groups are in no split")
    if table["dtype"].nunique() > 1:
        found.append("files of 8 and 16 bits are mixed: 8-bit values were multiplied by 257")
    return found + data.remarks()


def _split(rows: pd.DataFrame, ranges: Sequence[str]) -> dict[str, Any]:
    return {
        "samples": len(rows),
        "groups": sorted(rows["group"].unique().tolist()),
        "images": {
            "min": float(rows["min"].min()),
            "max": float(rows["max"].max()),
            "mean": float(rows["mean"].mean()),
            # Of all pixels together: within the images and between them, each image counting alike.
            "std": float(np.sqrt((rows["std"] ** 2).mean() + rows["mean"].var(ddof=0))),
        },
        "targets": {
            column: {
                **{name: float(value) for name, value in rows[column].agg(["min", "max", "mean"]).items()},
                "std": float(rows[column].std(ddof=0)),
            }
            for column in ranges
        },
    }
