"""The generated protein atlas set: layout, determinism, labels, and that each class's pattern is where it should be."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.conftest import SHARED
from visionlab import samples
from visionlab.errors import UsageError
from visionlab.io.images import read
from visionlab.samples.cells import HALF, SIDE, Array, Cell, field_of_cells
from visionlab.samples.protein_atlas import COUNTS, ProteinAtlasSet
from visionlab.samples.proteins import PATTERNS
from visionlab.samples.stains import STAINS, photograph, stained

SIZE = {"images": 41, "test_images": 3, "image_size": 64}
IDENTITY = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def digest(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.write("protein_atlas", tmp_path_factory.mktemp("protein_atlas") / "set", **SIZE)


@pytest.fixture(scope="module")
def labels() -> list[list[int]]:
    """The labels of a set of the default size."""
    size = ProteinAtlasSet()
    return [found for number in range(size.images // 40) for _, found, _ in size.round("train", number)]


# The set on disk ------------------------------------------------------------------------------------------------------


def test_layout(small: Path) -> None:
    train, submission = table(small / "train.csv"), table(small / "sample_submission.csv")
    assert train[0] == ["Id", "Target"] and submission[0] == ["Id", "Predicted"]
    for rows, count in (train[1:], 41), (submission[1:], 3):
        names = [name for name, _ in rows]
        assert len(set(names)) == count and names == sorted(names)
        assert all(IDENTITY.fullmatch(name) for name in names)
    files = {f"train/{name}_{stain}.png" for name, _ in train[1:] for stain in STAINS}
    files |= {f"test/{name}_{stain}.png" for name, _ in submission[1:] for stain in STAINS}
    assert set(digest(small)) == files | {"train.csv", "sample_submission.csv", "SOURCE.md"}
    for file in files:
        image = read(small / file)
        assert image.shape == (64, 64, 1) and image.dtype == np.uint8
    targets = [[int(label) for label in target.split(" ")] for _, target in train[1:]]
    assert {label for target in targets for label in target} == set(range(28))
    assert all(len(set(target)) == len(target) for target in targets)
    assert any(target != sorted(target) for target in targets), "real targets are not sorted"
    assert {predicted for _, predicted in submission[1:]} == {"0"}, "a label of test/ is given away"


def test_source_says_synthetic(small: Path) -> None:
    text = (small / "SOURCE.md").read_text()
    for part in ("Synthetic", "Seed: 0", "41 images with labels, 3 without", "64 x 64", "8 bits", "MIT"):
        assert part in text


def test_same_seed_same_bytes_whatever_the_cores(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_cores", lambda: 1)
    assert digest(samples.write("protein_atlas", tmp_path / "again", **SIZE)) == digest(small)
    few = {"images": 2, "test_images": 1, "image_size": 64}
    one, every = digest(samples.write("protein_atlas", tmp_path / "few", **few)), digest(small)
    pictures = [name for name in one if name.endswith(".png")]
    assert len(pictures) == 12
    assert all(one[name] == every[name] for name in pictures), "an image depends on how many there are"
    other = digest(samples.write("protein_atlas", tmp_path / "other", seed=1, **few))
    assert not set(other) & set(pictures) and not set(other.values()) & {every[name] for name in pictures}


def test_sixteen_bits(small: Path, tmp_path: Path) -> None:
    size = {"images": 4, "test_images": 1, "image_size": 64, "bits": 16}
    deep = samples.write("protein_atlas", tmp_path / "deep", **size)
    files = sorted(p.relative_to(deep) for p in deep.rglob("*.png"))
    assert len(files) == 20
    for file in files:
        image = read(deep / file)
        assert image.dtype == np.uint16 and len(np.unique(image)) > 256
        assert np.abs(image / 65535 - read(small / file) / 255).max() <= 0.5 / 255 + 1e-4


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"images": 0}, "images of the protein_atlas sample: a whole number from 1 to"),
        ({"test_images": 0}, "test_images of the protein_atlas sample: a whole number from 1 to"),
        ({"image_size": 47}, "from 48 to"),
        ({"bits": 12}, "8 or 16 expected, got 12"),
        ({"seed": -1}, "from 0 to"),
        ({"image": 3}, "Did you mean 'images'"),
    ],
)
def test_usage_errors(size: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        samples.write("protein_atlas", tmp_path / "set", **size)
    assert list(tmp_path.iterdir()) == []


# Labels ---------------------------------------------------------------------------------------------------------------


def test_labels_are_as_uneven_as_the_real_ones_but_for_a_floor(labels: list[list[int]]) -> None:
    count = Counter(label for found in labels for label in found)
    assert [label for label, _ in count.most_common(4)][:2] == [0, 25]
    assert set(range(28)) == set(count) and min(count.values()) >= len(labels) / 40
    assert count[0] > 8 * min(count.values())
    assert stats.spearmanr([count[k] for k in range(28)], COUNTS).statistic > 0.8
    assert min(count[k] for k in (0, 25, 21, 2, 23, 7)) > 2 * max(count[k] for k in (8, 9, 10, 15, 27))


def test_one_to_four_labels_an_image(labels: list[list[int]]) -> None:
    numbers = Counter(len(found) for found in labels)
    shares = [numbers[k] / len(labels) for k in (1, 2, 3, 4)]
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx([0.49, 0.40, 0.10, 0.01], abs=0.04)
    together = Counter(pair for found in labels for pair in zip(sorted(found), sorted(found)[1:], strict=False))
    assert together.most_common(1)[0][0] == (0, 25), "the commonest pair of the challenge"


@pytest.mark.shared_data
def test_counts_are_those_of_the_real_table() -> None:
    rows = table(SHARED / "protein_atlas" / "train.csv")[1:]
    count = Counter(int(label) for _, target in rows for label in target.split())
    assert tuple(count[k] for k in range(28)) == COUNTS


# Patterns -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """Cells that lie whole in their images, of every kind."""
    found = [c for k in range(6) for c in field_of_cells(np.random.default_rng(k), 160, k % 2 == 0, 2, True)]
    assert {c.kind for c in found} == {"resting", "mitotic", "daughter"}
    return found


PLACES: dict[str, Callable[[Cell], Array]] = {
    "nucleus": lambda c: c.nuclear > -1,
    "deep nucleus": lambda c: c.nuclear > 2.5,
    "nucleoli": lambda c: _from_nucleoli(c) < 1,
    "deep nucleoli": lambda c: _from_nucleoli(c) < -0.5,
    "cytoplasm": lambda c: c.cytoplasm,
    "edge": lambda c: c.inside & (c.depth < 8),
    "membrane": lambda c: c.inside & (c.depth < 4),
    "around the nucleus": lambda c: c.inside & (np.abs(c.nuclear) < 6),
    "pole": lambda c: _away(c.pole) < 12,
    "contact": lambda c: c.touching,
}


def _away(point: Array) -> Array:
    ys, xs = np.mgrid[:SIDE, :SIDE]
    return np.hypot(xs - point[0], ys - point[1])


def _from_nucleoli(cell: Cell) -> Array:
    return np.min([np.full((SIDE, SIDE), 99.0), *(_away(n[:2]) - n[2] for n in cell.nucleoli)], axis=0)


def shown(label: int, cells: list[Cell]) -> list[tuple[Cell, Array]]:
    """Return what is seen of a class in resting cells."""
    rng = np.random.default_rng(label)
    return [(cell, PATTERNS[label](cell, rng)) for cell in cells if cell.kind == "resting"]


def share(label: int, cells: list[Cell], where: str) -> float:
    """Return the part of a class's light that comes from a place in the cells."""
    seen = shown(label, cells)
    return sum(pattern[PLACES[where](cell)].sum() for cell, pattern in seen) / sum(p.sum() for _, p in seen)


@pytest.mark.parametrize(
    ("label", "where", "least"),
    [
        (0, "nucleus", 0.99),
        (1, "nucleus", 0.9),
        (2, "nucleoli", 0.95),
        (3, "nucleoli", 0.95),
        (4, "nucleus", 0.99),
        (5, "deep nucleus", 0.7),
        (6, "cytoplasm", 0.999),
        (7, "around the nucleus", 0.95),
        (7, "pole", 0.7),
        (8, "cytoplasm", 0.9),
        (9, "cytoplasm", 0.9),
        (10, "around the nucleus", 0.65),
        (10, "pole", 0.45),
        (11, "cytoplasm", 0.8),
        (13, "edge", 0.9),
        (15, "cytoplasm", 0.999),
        (18, "pole", 0.95),
        (19, "pole", 0.99),
        (20, "cytoplasm", 0.95),
        (21, "membrane", 0.97),
        (22, "contact", 0.999),
        (23, "cytoplasm", 0.999),
        (24, "pole", 0.95),
        (25, "cytoplasm", 0.999),
        (26, "cytoplasm", 0.95),
    ],
)
def test_a_pattern_is_where_its_class_says(cells: list[Cell], label: int, where: str, least: float) -> None:
    assert share(label, cells, where) >= least


@pytest.mark.parametrize(
    ("label", "where", "most"),
    [
        (0, "deep nucleoli", 0.05),  # the nucleoplasm spares them
        (1, "deep nucleus", 0.1),
        (5, "deep nucleoli", 0.02),
        (21, "nucleus", 0.02),
        (25, "nucleus", 0.1),
        (8, "pole", 0.3),
        (9, "pole", 0.3),
        (15, "nucleus", 0.05),
        (20, "pole", 0.3),
    ],
)
def test_a_pattern_is_not_where_its_class_says_not(cells: list[Cell], label: int, where: str, most: float) -> None:
    assert share(label, cells, where) <= most


def spots(label: int, cells: list[Cell]) -> tuple[float, float]:
    """Return how many separate spots a cell has, and the median spot's area in pixels."""
    import cv2

    numbers, areas = [], []
    for _, pattern in shown(label, cells):
        found, _, table, _ = cv2.connectedComponentsWithStats((pattern > 0.3).astype(np.uint8), connectivity=4)
        numbers.append(found - 1)
        areas += table[1:, cv2.CC_STAT_AREA].tolist()
    return float(np.mean(numbers)), float(np.median(areas))


def test_spots_differ_in_number_and_size(cells: list[Cell]) -> None:
    found = {label: spots(label, cells) for label in (2, 4, 5, 8, 9, 10, 18, 19, 24, 26)}
    number, area = ({label: values[k] for label, values in found.items()} for k in (0, 1))
    assert number[8] > number[9] > max(number[10], number[26]) > number[24]
    assert number[4] > 2 * number[5]
    assert max(number[18], number[19], number[24]) < 3
    assert area[24] > 3 * area[26] and area[2] > 2 * area[5] and area[10] > 3 * area[9]
    assert area[26] > 1.5 * area[8]
    light = {label: sum(pattern.sum() for _, pattern in shown(label, cells)) for label in (18, 19)}
    assert light[18] > 4 * light[19], "a centrosome has no rays"


def test_dividing_cells_alone_show_bridge_and_spindle(cells: list[Cell]) -> None:
    rng = np.random.default_rng(0)
    for cell in cells:
        bridge, spindle = PATTERNS[16](cell, rng), PATTERNS[17](cell, rng)
        assert bridge.any() == (cell.bridge is not None) and spindle.any() == (cell.kind == "mitotic")
        if cell.bridge is not None:
            assert cell.kind == "daughter" and bridge[cell.nucleus].max() == 0
        if cell.kind == "mitotic" and cell.inside[HALF, HALF]:
            assert spindle[cell.inside].sum() > 0.95 * spindle.sum()
    assert sum(cell.bridge is not None for cell in cells) == 6


def test_cells_do_not_overlap() -> None:
    field = field_of_cells(np.random.default_rng(3), 160, True, 1, True)
    covered = np.zeros((160 + SIDE, 160 + SIDE), int)
    for cell in field:
        covered[cell.window] += cell.inside
        assert not (cell.nucleus & ~cell.inside).any()
    assert covered.max() == 1 and sum(cell.touching.any() for cell in field) > 3


# Images ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", range(28))
def test_every_class_is_seen_in_green(label: int) -> None:
    seen = stained(np.random.default_rng(label), 96, [label])
    assert seen["green"].max() > 0.25, "its pattern is lost in the noise"
    assert all(seen[stain].max() > 0.4 for stain in ("red", "blue", "yellow"))


def test_green_of_nucleoplasm_lies_in_blue_and_that_of_the_membrane_does_not() -> None:
    inside: dict[int, list[float]] = {0: [], 21: []}
    for label, found in inside.items():
        for k in range(4):
            image = photograph(np.random.default_rng(k), stained(np.random.default_rng(k), 96, [label]), 8)
            nucleus = image["blue"] > 0.25 * np.percentile(image["blue"], 98)
            bright = image["green"] > 0.5 * np.percentile(image["green"], 98)
            found.append(nucleus[bright].mean())
    assert min(inside[0]) > 0.9 and max(inside[21]) < 0.25


def test_images_are_as_dark_as_the_real_ones(small: Path) -> None:
    """The real ones' means are 20 in red, 11 in green, 14 in blue and 20 in yellow."""
    means = {stain: np.mean([read(p).mean() for p in small.rglob(f"*_{stain}.png")]) for stain in STAINS}
    assert all(8 < mean < 26 for mean in means.values()), means
