"""The generated sets: one contract for all of them, then what is true of each."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
import tifffile
from PIL import Image
from scipy import ndimage, stats

from tests.shell import run
from visionlab import samples
from visionlab.errors import DataError, UsageError

Size = dict[str, Any]
SIZES: dict[str, Size] = {
    "focus": {"fields": 6, "heights": 5, "image_size": 48},
    "depth_mask": {"backgrounds": 6, "per_background": 3, "image_size": 48},
    "protein_atlas": {"images": 81, "test_images": 3, "image_size": 64},
    "celegans_nuclei": {"sequences": 4, "frames": 3, "planes": 12, "width": 64},
    "celegans_membrane": {"embryos": 4, "planes": 8, "width": 64},
    "celegans_lineage": {"embryos": 5, "frames": 4, "image_size": 48},
    "cutouts": {"backgrounds": 2, "cutouts": 5, "image_size": 48},
}
PICTURES = (".png", ".jpg", ".tif", ".mat")


def digest(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def rows(path: Path) -> list[dict[str, str]]:
    return pd.read_csv(path, dtype=str).to_dict("records")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every set, tiny."""
    assert set(SIZES) == set(samples.SETS)
    folder = tmp_path_factory.mktemp("made")
    return {task: samples.write(task, folder / task, **size) for task, size in SIZES.items()}


@pytest.mark.parametrize("task", SIZES)
def test_same_bytes(task: str, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of cores and of parts, and none but these with another seed."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    first, started = digest(made[task]), time.monotonic()
    assert digest(samples.write(task, tmp_path / "again", **SIZES[task])) == first
    assert time.monotonic() - started < 30
    fewer = {**SIZES[task], next(iter(SIZES[task])): 1}
    one = digest(samples.write(task, tmp_path / "one", **fewer))
    parts = [name for name in one if name.endswith(PICTURES) and not name.startswith(("test/", "cutouts/", "series/"))]
    assert parts and all(first[name] == one[name] for name in parts), "a part depends on how many there are"
    other = digest(samples.write(task, tmp_path / "other", seed=1, **fewer))
    assert not [name for name in parts if other.get(name) == one[name]], "another seed gives the same pictures"
    text = (made[task] / "SOURCE.md").read_text()
    sizes = [f"{name} {value}" for name, value in SIZES[task].items()]
    assert all(part in text for part in ("Synthetic", "nothing in them was photographed", "Seed: 0", "MIT", *sizes))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "one", "other"], "a folder was left behind"


@pytest.mark.parametrize("task", [task for task in SIZES if task != "cutouts"])
def test_prepare_reads_it_without_complaint(task: str, made: dict[str, Path], tmp_path: Path) -> None:
    folders = [f"data.root={made[task]}", f"data.cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'out'}"]
    assert run("prepare", f"task={task}", *folders, "data.image_size=48") == 0
    index = pd.read_csv(tmp_path / "out" / "data_index.csv", keep_default_na=False)
    assert {"train", "val", "test"} <= set(index["split"])
    assert not len(pd.read_csv(tmp_path / "out" / "problems.csv"))


@pytest.mark.parametrize(
    ("task", "size", "message"),
    [
        ("focsu", {}, "Did you mean 'focus'"),
        ("focus", {"feilds": 3}, "feilds of the focus sample: .*Did you mean 'fields'"),
        ("focus", {"fields": 2.5}, r"fields of the focus sample: .*found 2\.5"),
        ("celegans_nuclei", {"planes": 11}, "planes of .* greater than or equal to 12, found 11"),
        ("celegans_lineage", {"frames": True}, "frames of .* integer, found True"),
        ("focus", {"seed": -1}, "seed of .*found -1"),
    ],
)
def test_wrong_sizes_are_refused(task: str, size: Size, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        samples.write(task, tmp_path / "set", **size)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept_and_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "full" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    for root in (kept.parent, kept):
        with pytest.raises(DataError, match="expected a new or empty folder"):
            samples.write("focus", root, fields=1)
    assert kept.read_text() == "mine"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("visionlab.samples.focus.save", full)
    with pytest.raises(DataError, match="No space left"):
        samples.write("focus", tmp_path / "set", fields=2)
    assert list(tmp_path.iterdir()) == [kept.parent]


def test_focus_is_told_by_blur_not_by_brightness_or_contrast(tmp_path: Path) -> None:
    root = samples.write("focus", tmp_path / "set", fields=12, image_size=64)
    paths = sorted((root / "images").iterdir())
    names, truth = [p.stem.rsplit("_", 2) for p in paths], np.array([float(p.stem.rsplit("_", 1)[1]) for p in paths])
    assert {"field000", "field001", "plate1_field002"} <= {name for name, _, _ in names}
    assert sorted(set(truth)) == [2.0 * k for k in range(-8, 9)]
    focal = {(name, round(float(height) - float(distance), 2)) for name, height, distance in names}
    assert len(focal) == len({height for _, height in focal}) == 12, "absolute heights betray the distance"
    images = [read(path).astype(float) for path in paths]
    for values in ([image.mean() for image in images], [image.std() for image in images]):
        assert abs(stats.spearmanr(values, truth).statistic) < 0.2
        assert abs(stats.spearmanr(values, np.abs(truth)).statistic) < 0.2
    sharp = [np.abs(np.diff(image, axis=0)).mean() / image.std() for image in images]
    assert stats.spearmanr(sharp, np.abs(truth)).statistic < -0.7, "blur doesn't grow with the distance"


def test_depth_and_masks_are_where_the_figures_stand(made: dict[str, Path]) -> None:
    root = made["depth_mask"]
    stems = [path.relative_to(root / "fgbg").with_suffix("") for path in sorted((root / "fgbg").rglob("*.jpg"))]
    assert [str(stem) for stem in stems[:4]] == ["bg_001/001/001", "bg_001/001/002", "bg_001/002/001", "bg_002/003/001"]
    for stem in stems:
        image, mask = read(root / "fgbg" / f"{stem}.jpg"), read(root / "fgbgmask" / f"{stem}.png")
        depth, figure = read(root / "dense" / f"{stem}.png"), mask > 0
        assert image.shape == (48, 48, 3) and mask.shape == depth.shape == (48, 48) and set(np.unique(mask)) == {0, 255}
        assert depth.dtype.itemsize == 2 and 300 < depth.min() < depth.max() < 9500, "not metres in millimetres"
        assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any(), "a figure is cut by the edge"
        others = [read(path) for path in (root / "dense" / stem.parts[0]).rglob("*.png")]
        room = np.max(others, axis=0)
        alone = figure & (np.sum([other < room for other in others], axis=0) == 1)
        assert (depth[alone] < room[alone]).all(), "a figure is not in front of its room"
        floor = np.median(room[np.flatnonzero(figure.any(1))[-1]])
        assert abs(np.median(depth[figure]) / floor - 1) < 0.15, "a figure's depth is not that of the floor at its feet"
        change = np.abs(image.astype(int) - read(root / "bg" / f"{stem.parts[0]}.jpg")).mean(2)
        assert np.median(change[figure]) > 20
        assert np.percentile(change[~ndimage.binary_dilation(figure, iterations=3)], 80) < 8


def test_nuclei_are_in_the_layout_of_the_challenge(made: dict[str, Path]) -> None:
    root = made["celegans_nuclei"]
    for name in ("01", "02", "03", "04"):
        numbers = []
        for time_point in range(3):
            labels = tifffile.imread(root / f"{name}_ST" / "SEG" / f"man_seg{time_point:03d}.tif")
            volume = tifffile.imread(root / name / f"t{time_point:03d}.tif")
            assert volume.shape == labels.shape == (12, 48, 64) and volume.dtype == labels.dtype == np.uint16
            assert not labels[[0, -1]].any() and volume[labels > 0].mean() > volume[labels == 0].mean() + 30
            numbers.append(len(np.unique(labels)) - 1)
        assert numbers[0] in (3, 4) and numbers == sorted(numbers) and 20 <= numbers[-1] <= 45
        gold = sorted((root / f"{name}_GT" / "SEG").iterdir())
        assert [path.name[:12] for path in gold] == ["man_seg_000_"] * 2 + ["man_seg_002_"] * 2
        assert np.array_equal(tifffile.imread(gold[-1]), labels[int(gold[-1].stem[-3:])])
    with tifffile.TiffFile(root / "01" / "t000.tif") as file:
        told, (across, over) = (file.shaped_metadata or ({},))[0], file.pages.first.tags["XResolution"].value
        assert 1e4 * over / across == pytest.approx(48 / 64)
        assert (told["axes"], told["unit"], told["spacing"]) == ("ZYX", "um", pytest.approx(2.7))
    with tifffile.TiffFile(root / "series" / "embryo.tif") as file:
        told = file.imagej_metadata or {}
        assert file.series[0].axes == "TZYX" and file.series[0].shape == (3, 12, 48, 64)
        assert (told["unit"], told["spacing"], told["finterval"]) == ("um", pytest.approx(2.7), pytest.approx(2220))


def test_walls_are_bright_and_enclose_the_cells(made: dict[str, Path], tmp_path: Path) -> None:
    root = made["celegans_membrane"]
    for path in sorted(root.glob("*.mat")):
        assert path.read_bytes()[:116] == b"MATLAB 5.0 MAT-file, generated by visionlab".ljust(116)
        image, truth = (scipy.io.loadmat(path)[name] for name in ("embryo", "membSeg"))
        assert (image.shape, image.dtype) == ((48, 64, 8), np.uint16)
        assert truth.shape == (38, 52, 15) and set(np.unique(truth)) == {0, 1}
        # Both are of the same field, at another sampling.
        near = [((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(image.shape, truth.shape, strict=True)]
        wall = truth[np.ix_(*near)] > 0
        assert image[wall].mean() - 100 > 2 * (image[~wall].mean() - 100)
    fine = scipy.io.loadmat(samples.write("celegans_membrane", tmp_path / "fine", embryos=1) / "embryo_01.mat")
    spaces, _ = ndimage.label(fine["membSeg"] == 0)
    assert 7 <= np.count_nonzero(np.bincount(spaces.ravel())[1:] > 30) - 1 <= 45, "walls leak"


def test_lineage_counts_grow_and_brightness_does_not_tell_them(tmp_path: Path) -> None:
    root = samples.write("celegans_lineage", tmp_path / "set", embryos=12, frames=8)
    table = pd.read_csv(root / "lineage.csv")
    assert list(table) == ["image", "sequence", "time", *"AEMPCDZ"]
    assert table["image"][9] == "images/embryo_02/t001.png" and set(digest(root)) > set(table["image"])
    assert set(table["Z"]) <= {0, 2} and set(table["P"]) == {0, 1} and table["A"].max() > table["M"].max() > 2
    assert all((np.diff(part["A"]) >= 0).all() for _, part in table.groupby("sequence"))
    same_time = table.groupby("time")["A"]
    assert (same_time.std() / same_time.mean()).mean() > 0.1, "the time point tells the count"
    images = [read(root / path).astype(float) for path in table["image"]]
    for feature in (np.mean, np.std, np.median, lambda image: np.percentile(image, 99)):
        assert abs(stats.spearmanr([feature(image) for image in images], table["A"]).statistic) < 0.5
    edges = [np.abs(ndimage.laplace(ndimage.gaussian_filter(i, 1))).sum() / i.std() for i in images]
    assert stats.spearmanr(edges, table["A"]).statistic > 0.6, "more cells have no more outline"
