"""Which files are found and belong to one series, and planes of stacks as images of models of single values or maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from tests import known_objects as known
from tests import untrained
from tests.known_objects import Array
from visionlab.errors import DataError, UsageError
from visionlab.inference.files import find_images, without_labels
from visionlab.inference.series import (
    TimePoint,
    arrange,
    as_planes,
    parse_axes,
    parse_voxel,
)
from visionlab.io import read_image


def stack(path: Path, values: Array, **about: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, photometric="minisblack", metadata=about or None)
    return path


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


# Which files --------------------------------------------------------------------------------------------------------


def test_folders_are_searched_for_volumes_only_if_the_model_takes_them(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.mat", "c/d.MP4", "e.txt")
    assert [path.name for path in find_images([str(tmp_path)])] == ["a.png"]
    assert [path.name for path in find_images([str(tmp_path)], volumes=True)] == ["a.png", "b.mat", "d.MP4"]
    # A file that is named is taken, and so is a variable of one.
    named = [str(tmp_path / "b.mat"), str(tmp_path / "b.mat" / "embryo")]
    assert find_images(named) == [Path(text) for text in named]
    with pytest.raises(UsageError, match=r"expected images \(\.png, .*\) in this folder, found none"):
        find_images([str(tmp_path / "c")])


def test_labels_of_the_challenge_are_no_images(tmp_path: Path) -> None:
    files = touch(tmp_path, "01/t000.tif", "01_GT/SEG/man_seg000.tif", "01_ST/SEG/a.tif", "x_GT/a.tif")
    assert without_labels(files, [str(tmp_path)]) == [files[0], files[3]]
    assert without_labels(files[1:2], [str(tmp_path / "01_GT")]) == [files[1]]
    assert without_labels(files[1:2], [str(tmp_path / "01_GT" / "SEG" / "*.tif")]) == [files[1]]
    with pytest.raises(UsageError, match=r"expected images, found labels only, such as .*man_seg000"):
        without_labels(files[1:3], [str(tmp_path)])


def series(folder: Path, *names: str) -> dict[str, tuple[str, int | None]]:
    files = [folder / name for name in names]
    return {name: (item.series, item.time) for name, item in zip(names, arrange(files), strict=True)}


def test_files_named_by_their_time_point_are_a_series(tmp_path: Path) -> None:
    assert series(tmp_path / "01", "t000.tif", "t010.tif", "t002.tif") == {
        "t000.tif": ("01", 0),
        "t010.tif": ("01", 10),
        "t002.tif": ("01", 2),
    }
    assert series(tmp_path, "01/t1.tif", "01/t2.tif", "02/T1.tif", "02/T2.tif", "03.tif") == {
        "01/t1.tif": ("01", 1),
        "01/t2.tif": ("01", 2),
        "02/T1.tif": ("02", 1),
        "02/T2.tif": ("02", 2),
        "03.tif": ("03", None),
    }
    named = series(
        tmp_path / "d", "a_t1.png", "a_t2.png", "b-time_7.ome.tif", "b-time_8.ome.tif", "frame1.png", "frame2.png"
    )
    assert [series for series, _ in named.values()] == ["d/a", "d/a", "d/b", "d/b", "d", "d"]


def test_other_files_are_by_themselves(tmp_path: Path) -> None:
    for names in (
        ("cat1.png", "cat2.png"),
        ("190_18.png", "190_19.png"),
        ("t1.tif", "t01.tif"),
        ("t1.tif", "t2.png"),
        ("t1.tif", "x/t2.tif"),
        ("f_t1_x.tif", "f_t2_x.tif"),
    ):
        assert all(time is None for _, time in series(tmp_path, *names).values()), names


def test_names_of_series_are_unlike(tmp_path: Path) -> None:
    found = series(tmp_path, "01.tif", "01/t1.tif", "01/t2.tif")
    assert found == {"01.tif": ("01", None), "01/t1.tif": ("01_series", 1), "01/t2.tif": ("01_series", 2)}
    item = arrange([tmp_path / "t1.avi", tmp_path / "t2.avi"])[0]
    assert item.holding(1) == item
    assert (item.holding(5).series, item.holding(5).time) == ("t1", None), "a series by itself"


# What files do not tell ---------------------------------------------------------------------------------------------


def test_axes_and_voxels_are_read_from_text() -> None:
    assert parse_axes("tzyx") == "TZYX"
    assert parse_axes(None) is None
    assert parse_voxel("1, .5,2") == (1.0, 0.5, 2.0)
    assert parse_voxel("0.25,0.5") == (None, 0.25, 0.5)
    for text in ("", "1", "1,2,3,4", "a,b,c", "1,-1,2", "nan,1,1", "inf,1,1"):
        with pytest.raises(UsageError, match=r"--voxel-size.* such as 1\.0,0\.25,0\.25"):
            parse_voxel(text)


# Planes as images ---------------------------------------------------------------------------------------------------


def test_planes_of_stacks_are_images(tmp_path: Path) -> None:
    values = np.arange(3 * 8 * 9, dtype=np.uint8).reshape(3, 8, 9)
    image, pages = stack(tmp_path / "i.tif", values[0]), stack(tmp_path / "p.tif", values)
    (broken,) = touch(tmp_path, "b.tif")
    other = tmp_path / "background.png"
    given = [{"image": path, "background": other} for path in (image, pages, broken)]
    samples, moments = as_planes(given, "TYX")
    names = [image, *(Path(f"{pages}#{number}") for number in range(3)), broken]
    assert [sample["image"] for sample in samples] == names
    assert {sample["background"] for sample in samples} == {other}
    assert moments == {f"{pages}#{number}": TimePoint("p", number) for number in range(3)}
    assert np.array_equal(read_image(f"{pages}#2")[..., 0], values[2])
    assert np.array_equal(read_image(image)[..., 0], values[0])
    # Slices of a volume are no time points.
    assert as_planes(given, "ZYX")[1] == {}


def numbers() -> Any:
    """A predictor of the mean of an image, times 255 and times -255."""
    network = untrained.Means([[255.0], [-255.0]])
    return untrained.predictor([untrained.numbers("bright", "dark", unit="um")], network, channels=1)


def test_numbers_of_series_are_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = known.write_run(tmp_path / "run"), tmp_path / "out"
    values = np.arange(12, dtype=np.uint8)[:, None, None].repeat(16, 1).repeat(16, 2)
    movie = tmp_path / "movie.tif"
    tifffile.imwrite(movie, values[:3], imagej=True, metadata={"axes": "TYX", "finterval": 60.0})
    for time in (2, 10):
        untrained.write_png(tmp_path / "02" / f"t{time}.png", values[time])
    untrained.write_png(tmp_path / "single.png", values[5])
    arguments = (run, movie, tmp_path / "02", tmp_path / "single.png", "--out", out)
    assert known.predict(monkeypatch, numbers(), *arguments) == 0
    table = pd.read_csv(out / "predictions.csv")
    found = table[table["name"] == "bright"].set_index("path")["value"]
    assert found.index.tolist() == [
        *(f"{movie}#{number}" for number in range(3)),
        *(str(tmp_path / "02" / f"t{time}.png") for time in (10, 2)),
        str(tmp_path / "single.png"),
    ]
    assert found.tolist() == pytest.approx([0, 1, 2, 10, 2, 5])
    curves = pd.read_csv(out / "population.csv")
    assert curves.columns.tolist() == ["series", "time", "time_s", "bright", "dark"]
    assert curves["series"].tolist() == ["movie"] * 3 + ["02"] * 2
    assert curves["time"].tolist() == [0, 1, 2, 2, 10]
    assert curves["time_s"].tolist()[:3] == [0, 60, 120]
    assert curves["dark"].tolist() == pytest.approx([0, -1, -2, -2, -10])
    assert (out / "population.png").is_file()


def test_maps_of_planes_are_files_of_their_own(tmp_path: Path) -> None:
    from tests import shell
    from visionlab.heads.mask.head import MaskHead

    head = MaskHead("mask", share=0.1, metrics=[], weight=1.0, activation="sigmoid")
    run = untrained.write_run(tmp_path / "run", [head], (), network="shuffle_unet", channels=1)
    file = stack(tmp_path / "a.tif", known.series()[0])
    assert shell.run("predict", run, file, "--out", tmp_path / "out", "--device", "cpu") == 0
    expected = {f"a_{number:04d}.png" for number in range(7)}
    for folder in ("mask", "overlay"):
        assert {path.name for path in (tmp_path / "out" / folder).iterdir()} == expected


def test_three_time_points_are_not_taken_for_the_colours_of_an_image(tmp_path: Path) -> None:
    path = tmp_path / "tyx.tif"
    values = np.random.default_rng(0).integers(0, 1000, (3, 20, 24)).astype(np.uint16)
    # tifffile writes three planes as red, green and blue unless it is told otherwise.
    tifffile.imwrite(path, values, metadata={"axes": "TYX"})
    samples, _ = as_planes([{"image": path}])
    assert [sample["image"].name for sample in samples] == ["tyx.tif#0"]
    with pytest.raises(DataError, match="has axes TYX"):
        read_image(samples[0]["image"])
