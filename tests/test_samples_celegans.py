"""The generated sets of C. elegans: layouts, determinism, truths that fit the images, and embryos that grow."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import tifffile
from scipy import ndimage, stats

from visionlab import samples
from visionlab.errors import UsageError
from visionlab.io.images import read
from visionlab.samples.ellipsoids import Pose, body, labelled, nuclei_of
from visionlab.samples.embryos import Embryo
from visionlab.samples.fluorescence import OFFSET, Grid, Optics, seen
from visionlab.samples.lineage import FIELD, LINEAGES, LineageSet, projected
from visionlab.samples.membranes import WALL, Foam, MembraneSet, matlab
from visionlab.samples.nuclei import Film, NucleiSet, tiff

Size = dict[str, Any]
NUCLEI: Size = {"sequences": 2, "frames": 3, "planes": 12, "width": 48}
MEMBRANE: Size = {"embryos": 2, "planes": 6, "width": 48}
LINEAGE: Size = {"embryos": 3, "frames": 4, "image_size": 48}
SIZES = {"celegans_nuclei": NUCLEI, "celegans_membrane": MEMBRANE, "celegans_lineage": LINEAGE}


def digest(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("celegans")
    return {task: samples.write(task, folder / task, **size) for task, size in SIZES.items()}


@pytest.fixture(scope="module")
def films() -> list[Film]:
    """Two embryos of the default set."""
    return [NucleiSet().film(part) for part in (0, 6)]


# All three ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SIZES)
def test_same_seed_same_bytes(
    task: str, roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_cores", lambda: 1)
    first = digest(roots[task])
    assert digest(samples.write(task, tmp_path / "again", **SIZES[task])) == first
    fewer = "sequences" if task == "celegans_nuclei" else "embryos"
    one = digest(samples.write(task, tmp_path / "one", **{**SIZES[task], fewer: 1}))
    parts = {name for name in one if name.startswith(("01", "embryo_01", "images/"))}
    assert parts and all(one[name] == first[name] for name in parts), "an embryo depends on how many there are"
    other = digest(samples.write(task, tmp_path / "other", seed=1, **{**SIZES[task], fewer: 1}))
    assert set(other) & parts and not any(other.get(name) == one[name] for name in parts if "GT" not in name)


@pytest.mark.parametrize("task", SIZES)
def test_source_says_synthetic(task: str, roots: dict[str, Path]) -> None:
    text = (roots[task] / "SOURCE.md").read_text()
    for part in ("Synthetic", "Seed: 0", "MIT", "nothing in them was photographed"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("task", "size", "message"),
    [
        ("celegans_nuclei", {"sequences": 0}, "sequences of the celegans_nuclei sample: a whole number from 1 to"),
        ("celegans_nuclei", {"planes": 11}, "from 12 to"),
        ("celegans_nuclei", {"seed": -1}, "from 0 to"),
        ("celegans_membrane", {"embryos": 1.5}, "embryos of the celegans_membrane sample"),
        ("celegans_membrane", {"layout": "ctc"}, "matlab or pairs expected, got 'ctc'"),
        ("celegans_lineage", {"image_size": 31}, "from 32 to"),
        ("celegans_lineage", {"bits": 12}, "8 or 16 expected, got 12"),
        ("celegans_lineage", {"frame": 3}, "Did you mean 'frames'"),
    ],
)
def test_usage_errors(task: str, size: Size, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        samples.write(task, tmp_path / "set", **size)
    assert list(tmp_path.iterdir()) == []


# Embryos --------------------------------------------------------------------------------------------------------------


def test_embryos_divide_as_the_worm_does_and_stay_in_their_eggs() -> None:
    embryo = Embryo.random(np.random.default_rng(0), until=130)
    born = {cell.name: cell.born for cell in embryo.cells}
    mothers = {cell.name: embryo.cells[cell.mother].name for cell in embryo.cells if cell.mother >= 0}
    assert mothers["ABa"] == "AB" and mothers["E"] == "EMS" and mothers["D"] == "P3" and mothers["Z2"] == "P4"
    assert born["AB"] == born["P1"] == 0 < born["ABa"] < born["EMS"] < born["MS"] < born["P3"] < born["D"] < born["Z2"]
    times = [20.0, 50.0, 90.0, 130.0]
    for time, moment in zip(times, embryo.moments(times), strict=True):
        cells = [embryo.cells[number] for number in moment.numbers]
        assert moment.numbers == embryo.living(time)
        assert sum(cell.share for cell in cells) == pytest.approx(1), "cells lose volume"
        assert np.square(moment.centres / embryo.half).sum(1).max() < 1
        distance = np.sqrt(np.square(moment.centres[:, None] - moment.centres[None]).sum(2))
        apart = distance / (moment.radii[:, None] + moment.radii[None]) + np.eye(len(cells))
        assert apart.min() > 0.4, "cells sit in each other"
    x = {cell.name[0]: place for cell, place in zip(cells, moment.centres[:, 2], strict=True)}
    assert x["A"] < x["Z"], "the germ line is not behind"


def test_tempo_is_how_fast_embryos_grow() -> None:
    numbers = [len(Embryo.random(np.random.default_rng(1), 90, tempo).living(90)) for tempo in (0.8, 1.0, 1.25)]
    assert numbers[0] < numbers[1] < numbers[2]


# Nuclei ---------------------------------------------------------------------------------------------------------------


def test_nuclei_are_in_the_layout_of_the_challenge(roots: dict[str, Path]) -> None:
    root = roots["celegans_nuclei"]
    files = {"SOURCE.md", "centres.csv", "series/centres.csv", "series/embryo.tif"}
    for name in ("01", "02"):
        files |= {f"{name}_GT/TRA/man_track.txt"}
        for time in range(3):
            files |= {f"{name}/t{time:03d}.tif", f"{name}_ST/SEG/man_seg{time:03d}.tif"}
            files |= {f"{name}_GT/TRA/man_track{time:03d}.tif"}
        gold = sorted(path.name for path in (root / f"{name}_GT" / "SEG").iterdir())
        assert [file[:12] for file in gold] == ["man_seg_000_"] * 2 + ["man_seg_002_"] * 2
        files |= {f"{name}_GT/SEG/{file}" for file in gold}
        for file in gold:
            labels = tifffile.imread(root / f"{name}_ST" / "SEG" / f"man_seg{file[8:11]}.tif")
            plane = tifffile.imread(root / f"{name}_GT" / "SEG" / file)
            assert plane.shape == (36, 48) and plane.any() and np.array_equal(plane, labels[int(file[12:15])])
    assert set(digest(root)) == files
    for file in files:
        if file.endswith(".tif") and "GT/SEG" not in file and "series" not in file:
            volume = tifffile.imread(root / file)
            assert volume.shape == (12, 36, 48) and volume.dtype == np.uint16


def test_labels_tracks_and_centres_have_the_same_ids(roots: dict[str, Path]) -> None:
    root = roots["celegans_nuclei"]
    centres = rows(root / "centres.csv")
    assert list(centres[0]) == ["sequence", "time", "id", "z", "y", "x"]
    for name in ("01", "02"):
        seen_at: dict[int, list[int]] = {}
        for time in range(3):
            labels = tifffile.imread(root / f"{name}_ST" / "SEG" / f"man_seg{time:03d}.tif")
            markers = tifffile.imread(root / f"{name}_GT" / "TRA" / f"man_track{time:03d}.tif")
            known = {int(row["id"]) for row in centres if row["sequence"] == name and int(row["time"]) == time}
            assert set(np.unique(labels)) == set(np.unique(markers)) == known | {0}
            assert np.mean(labels[markers > 0] == markers[markers > 0]) > 0.95
            assert np.count_nonzero(markers) < 0.3 * np.count_nonzero(labels)
            for number in known:
                seen_at.setdefault(number, []).append(time)
        text = (root / f"{name}_GT" / "TRA" / "man_track.txt").read_text()
        tracks = {int(line.split()[0]): [int(part) for part in line.split()[1:]] for line in text.splitlines()}
        assert {k: [times[0], times[-1]] for k, times in seen_at.items()} == {k: t[:2] for k, t in tracks.items()}
        assert any(mother for _, _, mother in tracks.values())
        assert all(tracks[mother][1] < first for first, _, mother in tracks.values() if mother)


def test_voxel_sizes_are_in_the_files(roots: dict[str, Path]) -> None:
    with tifffile.TiffFile(roots["celegans_nuclei"] / "01" / "t000.tif") as file:
        page, told = file.pages.first, (file.shaped_metadata or ({},))[0]
        across, over = page.tags["XResolution"].value
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        assert 1e4 * over / across == pytest.approx(48 / 48)
        assert (told["axes"], told["unit"], told["spacing"]) == ("ZYX", "um", pytest.approx(32.4 / 12))
    with tifffile.TiffFile(roots["celegans_nuclei"] / "series" / "embryo.tif") as file:
        assert file.is_imagej and file.series[0].axes == "TZYX" and file.series[0].shape == (3, 12, 36, 48)
        told = file.imagej_metadata or {}
        assert (told["unit"], told["spacing"]) == ("um", pytest.approx(32.4 / 12))
        assert told["finterval"] == pytest.approx(60 * 74 / 2)


def test_the_series_shows_an_embryo_of_its_own(roots: dict[str, Path]) -> None:
    root = roots["celegans_nuclei"]
    film = NucleiSet(**NUCLEI).film(2)
    series = tifffile.imread(root / "series" / "embryo.tif")
    assert np.array_equal(series[1], film.volume(1))
    assert not np.array_equal(series[1], tifffile.imread(root / "01" / "t001.tif"))
    found = rows(root / "series" / "centres.csv")
    assert {row["sequence"] for row in found} == {"embryo"}
    assert sum(row["time"] == "2" for row in found) == len(film.frames[2])


def test_centres_are_the_labels_centroids(films: list[Film]) -> None:
    worst = 0.0
    for film in films:
        for time in (0, 4, 7):
            labels = labelled(film.frames[time], film.grid)
            expected = [row[2:] for row in film.centres("01") if row[1] == time]
            numbers = [row[0] for row in expected]
            found = np.array(ndimage.center_of_mass(labels > 0, labels, numbers))
            worst = max(worst, float(np.abs(found - np.array([row[1:] for row in expected], float)).max()))
    assert worst < 0.5, f"a label's centre of mass is {worst:.2f} voxels from its centre"


def test_nuclei_multiply_touch_and_leave_the_ends_empty(films: list[Film]) -> None:
    touching = 0
    for film in films:
        numbers = [len(nuclei) for nuclei in film.frames]
        assert numbers[0] in (3, 4) and numbers == sorted(numbers) and 22 <= numbers[-1] <= 40
        labels = labelled(film.frames[-1], film.grid)
        assert not labels[[0, -1]].any() and 0.03 < (labels > 0).mean() < 0.15
        assert not labels[:, [0, -1]].any() and not labels[:, :, [0, -1]].any()
        beside = (labels[:, :, 1:] != labels[:, :, :-1]) & (labels[:, :, 1:] > 0) & (labels[:, :, :-1] > 0)
        touching += len(np.unique(labels[:, :, 1:][beside]))
    assert touching >= 2


def test_edges_of_nuclei_are_where_their_light_is_half(films: list[Film]) -> None:
    """What makes the truth learnable: in the plane nearest to its centre, a nucleus's half level is its outline."""
    overlaps = []
    film = films[0]
    volume, labels = film.volume(5).astype(float), labelled(film.frames[5], film.grid)
    for nucleus, place in zip(
        film.frames[5], film.grid.indices(np.array([n.centre for n in film.frames[5]])), strict=True
    ):
        z, y, x = np.rint(place).astype(int)
        plane = np.s_[z, max(y - 14, 0) : y + 15, max(x - 14, 0) : x + 15]
        inside = labels[plane] == nucleus.number + 1
        if set(np.unique(labels[plane])) <= {0, nucleus.number + 1}:
            level = (np.median(volume[plane][inside]) + np.median(volume[plane][~inside])) / 2
            bright = ndimage.gaussian_filter(volume[plane], 0.7) > level
            overlaps.append((bright & inside).sum() / (bright | inside).sum())
    assert len(overlaps) >= 5 and np.mean(overlaps) > 0.88


def test_volumes_are_those_of_a_microscope(films: list[Film]) -> None:
    film = films[1]
    volume, labels = film.volume(6).astype(float), labelled(film.frames[6], film.grid)
    assert volume.dtype == float and abs(np.median(volume[0]) - OFFSET) < 15
    assert np.percentile(volume, 99.8) > OFFSET + 150
    signal = [volume[z][labels[z] > 0].mean() - OFFSET for z in (4, 13)]
    assert 0.3 < signal[1] / signal[0] < 0.95, "light from the depth is not weakened"
    assert volume[labels > 0].mean() - OFFSET > 8 * (volume[labels == 0].mean() - OFFSET)
    ranges = {round(float(np.percentile(film.volume(time), 99.8))) for time in range(3)}
    assert max(ranges) > 1.1 * min(ranges), "the range is the same at all time points"


def test_blur_grows_with_depth_and_keeps_the_light() -> None:
    grid = Grid((9, 32, 32), (1.0, 0.5, 0.5))
    optics = Optics(lateral=(0.4, 0.9), axial=(0.3, 0.9), haze=0.0)
    peaks, sums = [], []
    for plane in (2, 6):
        light = np.zeros(grid.fine().shape, np.float32)
        light[3 * plane + 1, 16, 16] = 1
        image = seen(light, grid, optics) * np.exp(np.linspace(0, 1, 9) * 9 / 55)[:, None, None]
        peaks.append(image.max())
        sums.append(image.sum())
        assert image[plane, 16, 16] == image.max()
    assert peaks[1] < 0.6 * peaks[0]
    assert sums == pytest.approx([1 / 3, 1 / 3], rel=0.05)  # a third of a plane's thickness


def test_tiff_files_keep_every_value() -> None:
    volume = np.random.default_rng(0).integers(0, 65536, (3, 4, 5)).astype(np.uint16)
    assert np.array_equal(tifffile.imread(io.BytesIO(tiff(volume, (2.0, 0.5, 0.5)))), volume)
    assert tifffile.imread(io.BytesIO(tiff(volume[0], (2.0, 0.5, 0.5)))).shape == (4, 5)


# Membranes ------------------------------------------------------------------------------------------------------------


def test_membranes_are_matlab_volumes_of_two_samplings(roots: dict[str, Path]) -> None:
    root = roots["celegans_membrane"]
    assert set(digest(root)) == {"SOURCE.md", "embryo_01.mat", "embryo_02.mat"}
    for path in root.glob("*.mat"):
        assert path.read_bytes()[:116] == b"MATLAB 5.0 MAT-file, generated by visionlab".ljust(116)
        found = scipy.io.loadmat(path)
        image, walls = found["embryo"], found["membSeg"]
        assert image.shape == (36, 48, 6) and image.dtype == np.uint16
        assert walls.shape == (29, 39, 11) and walls.dtype == np.uint8 and set(np.unique(walls)) == {0, 1}
        # Matched by place, walls are what is bright.
        near = [((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(image.shape, walls.shape, strict=True)]
        matched = walls[np.ix_(*near)] > 0
        signal = image.astype(float) - OFFSET
        assert signal[matched].mean() > 3 * signal[~matched].mean()


def test_default_sizes_of_membranes_are_those_promised() -> None:
    size = MembraneSet()
    assert size.grid.shape == (20, 96, 128) and size.truth_grid.shape == (38, 77, 103)
    extent = [np.multiply(grid.shape, grid.voxel) for grid in (size.grid, size.truth_grid)]
    assert extent[0] == pytest.approx(extent[1])


def test_membranes_as_pairs(tmp_path: Path) -> None:
    root = samples.write("celegans_membrane", tmp_path / "set", layout="pairs", **MEMBRANE)
    table = rows(root / "metadata_pil.csv")
    assert list(table[0]) == ["image", "mask", "group"] and len(table) == 12
    assert {row["group"] for row in table} == {"embryo_01", "embryo_02"}
    files = {row[key] for row in table for key in ("image", "mask")}
    assert set(digest(root)) == files | {"metadata_pil.csv", "SOURCE.md"}
    for row in table:
        image, mask = read(root / row["image"]), read(root / row["mask"])
        assert image.shape == mask.shape == (36, 48, 1) and image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
    assert sum(read(root / row["mask"]).any() for row in table) >= 8


def test_walls_enclose_every_cell() -> None:
    foam = Foam.random(np.random.default_rng(4))
    walls = foam.walls(MembraneSet().truth_grid) <= WALL
    spaces, count = ndimage.label(~walls)
    sizes = np.bincount(spaces.ravel())[1:]
    assert abs(np.count_nonzero(sizes > 30) - 1 - len(foam.moment.numbers)) <= 1, (count, len(foam.moment.numbers))
    centres = MembraneSet().truth_grid.indices(foam.pose.placed(foam.moment.centres))
    own = [spaces[tuple(place)] for place in np.rint(centres).astype(int)]
    assert len(set(own) - {0, spaces[0, 0, 0]}) >= len(own) - 1, "two cells share a space"
    assert spaces[0, 0, 0] > 0 and 0.05 < walls.mean() < 0.3


def test_matlab_files_are_read_back() -> None:
    values = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    assert np.array_equal(scipy.io.loadmat(io.BytesIO(matlab(embryo=values)))["embryo"], values)


def test_a_pose_keeps_distances() -> None:
    pose = Pose.random(np.random.default_rng(0), tilt=0.5, shift=2)
    places = np.random.default_rng(1).normal(0, 5, (7, 3))
    assert np.abs(pose.turn @ pose.turn.T - np.eye(3)).max() < 1e-12
    assert np.square(pose.placed(places) - pose.shift).sum() == pytest.approx(np.square(places).sum())


# Lineages -------------------------------------------------------------------------------------------------------------


def test_lineages_are_images_and_a_table_of_counts(roots: dict[str, Path]) -> None:
    root = roots["celegans_lineage"]
    table = rows(root / "lineage.csv")
    assert list(table[0]) == ["image", "sequence", "time", *"AEMPCDZ"] and len(table) == 12
    assert [row["image"] for row in table[3:5]] == ["images/embryo_01/t003.png", "images/embryo_02/t000.png"]
    assert set(digest(root)) == {"SOURCE.md", "lineage.csv", *(row["image"] for row in table)}
    for row in table:
        image = read(root / row["image"])
        assert image.shape == (48, 48, 1) and image.dtype == np.uint8 and 5 < image.mean() < 80
    light = [read(root / row["image"]).astype(float).mean() - np.median(read(root / row["image"])) for row in table]
    cells = [sum(int(row[lineage]) for lineage in LINEAGES) for row in table]
    assert stats.spearmanr(light, cells).statistic > 0.85, "more cells don't give more light"


def test_counts_grow_as_lineages_do_at_tempi_of_their_own() -> None:
    table = np.array([row[2:] for row in LineageSet().rows()], float)
    time, counts = table[:, 0], dict(zip(LINEAGES, table[:, 1:].T, strict=True))
    series = counts["A"].reshape(60, 16)
    assert (np.diff(series) >= 0).all() and series[:, -1].min() >= 16 and series[:, -1].max() <= 80
    assert set(counts["Z"]) == {0, 2} and set(counts["P"]) == {0, 1} and (counts["P"] + counts["Z"] / 2 == 1).all()
    assert counts["A"].max() > counts["M"].max() > counts["E"].max() and set(counts["D"]) == {0, 1, 2}
    for lineage in LINEAGES:
        guess = np.array([np.median(counts[lineage][time == t]) for t in time])
        spread = np.abs(counts[lineage] - np.median(counts[lineage])).mean()
        assert np.abs(counts[lineage] - guess).mean() > 0.25 * spread, f"time tells {lineage}"


def test_lineages_have_their_own_brightness() -> None:
    """At the first time points P is alone, posterior, and brighter than those of A."""
    embryo = Embryo.random(np.random.default_rng(3), until=30)
    moment = embryo.moments([30.0])[0]
    pose = Pose(np.eye(3), np.zeros(3))
    nuclei = nuclei_of(embryo, moment, pose)
    light = projected(nuclei, body(embryo, pose), 96)
    found: dict[str, list[float]] = {}
    for nucleus in nuclei:
        y, x = np.rint(nucleus.centre[1:] / FIELD * 96 + 47.5).astype(int)
        found.setdefault(nucleus.name[0], []).append(float(light[y, x]))
    assert max(found["P"]) > 1.5 * max(found["A"])


def test_sixteen_bits(roots: dict[str, Path], tmp_path: Path) -> None:
    deep = samples.write("celegans_lineage", tmp_path / "deep", **{**LINEAGE, "embryos": 1, "bits": 16})
    for path in deep.rglob("*.png"):
        image, eight = read(path), read(roots["celegans_lineage"] / path.relative_to(deep))
        assert image.dtype == np.uint16 and len(np.unique(image)) > 100
        assert np.abs(image / 65535 - eight / 255).max() <= 0.5 / 255 + 1e-4
