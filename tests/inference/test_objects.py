"""``predict`` of objects in images, volumes and series: what is written, and that it is written whole or not at all."""

from __future__ import annotations

import gc
import itertools
import shutil
import weakref
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pandas as pd
import pytest
import scipy.io
import tifffile
from PIL import Image

from tests import known_objects as known
from tests import untrained
from tests.known_objects import CENTRES, VOXEL, Array, files, imagej, plain, table
from visionlab.errors import DataError, UsageError
from visionlab.inference import volumes
from visionlab.inference.objects import LabelWriter
from visionlab.inference.predictor import Ensemble
from visionlab.io import open_volume, read_labels


def ome(path: Path, values: Array, axes: str) -> Path:
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", VOXEL, strict=True)}
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes, "TimeIncrement": 30.0, **sizes})
    return path


def matlab(path: Path, values: Array, axes: str) -> Path:
    scipy.io.savemat(path, {"embryo": values.transpose(1, 2, 0)})
    return path


def video(path: Path, values: Array, axes: str) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 2.0, values.shape[:0:-1], False)
    for image in values:
        writer.write(np.ascontiguousarray(image))
    writer.release()
    return path


def png(path: Path, values: Array, axes: str) -> Path:
    untrained.write_png(path, values)
    return path


def places(rows: pd.DataFrame, axes: str) -> list[list[tuple[float, ...]]]:
    """Return the centres of each time point."""
    kept = list("zyx") if "Z" in axes else ["y", "x"]
    return [sorted(map(tuple, part[kept].to_numpy().tolist())) for _, part in rows.groupby("time")]


# What is written ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "name", "axes"),
    [
        (plain, "a.tif", "YX"),
        (png, "a.png", "YX"),
        (imagej, "a.tif", "ZYX"),
        (plain, "a.tif", "ZYX"),
        (ome, "a.ome.tif", "ZYX"),
        (matlab, "a.mat", "ZYX"),
        (imagej, "a.tif", "TYX"),
        (video, "a.avi", "TYX"),
        (ome, "a.ome.tif", "TZYX"),
        (imagej, "a.tif", "TZYX"),
    ],
)
def test_labels_are_like_their_file_and_objects_where_they_are(
    write: Any, name: str, axes: str, predict: Any, tmp_path: Path
) -> None:
    values = known.series() if "T" in axes else known.series()[0]
    values = values if "Z" in axes else values.max(axis=-3)
    file = write(tmp_path / name, values, axes)
    assert predict(file) == 0
    volume = open_volume(file)
    labels = open_volume(tmp_path / "out" / "nuclei" / f"{Path(name).stem}.tif")
    assert (volume.axes, volume.shape) == (labels.axes, labels.shape) == (axes, values.shape)
    assert volume.interval == labels.interval
    for mine, other in zip(labels.voxel_size, volume.voxel_size, strict=True):
        assert mine == (pytest.approx(other) if other else None)
    assert labels.dtype == "uint8"
    expected = [sorted(centre if "Z" in axes else centre[1:] for centre in frame) for frame in CENTRES]
    expected = expected[: 2 if "T" in axes else 1]
    rows = table(tmp_path / "out")
    assert np.allclose(np.concatenate([np.array(frame) for frame in places(rows, axes)]), np.concatenate(expected))
    size, pixels = ("volume", 105) if "Z" in axes else ("area", 35)
    assert set(rows[f"{size}_px"]) == {pixels}
    if volume.voxel_size[1]:
        assert rows["y_um"].tolist() == pytest.approx((rows["y"] * 0.25).tolist())
    # Each label is the object of its row.
    for _, row in rows.assign(z=rows["z"] if "Z" in axes else 0)[["time", "object", "z", "y", "x"]].iterrows():
        time, number, z, y, x = row.astype(int)
        frame = labels.frame(time)[..., 0]
        assert (frame == number).sum() == pixels
        assert frame[z, y, x] == number
    found = table(tmp_path / "out", "predictions")
    assert found[found["name"] == "nuclei_count"]["value"].tolist() == [len(frame) for frame in expected]
    assert found["path"].iloc[0] == (f"{file}#0" if "T" in axes else str(file))


def test_population_is_in_seconds_and_a_row_a_time_point(predict: Any, tmp_path: Path) -> None:
    assert predict(imagej(tmp_path / "a.tif", known.series(3), "TZYX")) == 0
    rows = table(tmp_path / "out", "population")
    assert rows["series"].tolist() == ["a"] * 3
    assert rows["time_s"].tolist() == [0, 30, 60]
    assert rows["objects"].tolist() == [2, 3, 3]
    assert rows["mean_volume_um3"].tolist() == pytest.approx([105 * 1.5 * 0.25 * 0.5] * 3)
    values = table(tmp_path / "out", "predictions").set_index(["path", "name"])["value"]
    assert values[f"{tmp_path / 'a.tif'}#14", "nuclei_mean_volume"] == pytest.approx(105 * 1.5 * 0.25 * 0.5)
    assert (tmp_path / "out" / "population.png").is_file()


def test_a_single_image_has_an_overlay_and_no_curve(predict: Any, tmp_path: Path) -> None:
    image = known.series()[0].max(axis=0)
    assert predict(png(tmp_path / "a.png", image, "YX")) == 0
    overlay = imagecodecs.png_decode((tmp_path / "out" / "overlay" / "a.png").read_bytes()).astype(int)
    assert overlay.shape == (*image.shape, 3)
    labels = read_labels(tmp_path / "out" / "nuclei" / "a.tif")
    coloured = np.ptp(overlay, axis=2) > 50
    assert coloured.any()
    assert not coloured[labels == 0].any()
    assert not (tmp_path / "out" / "population.png").exists()


def test_maps_and_animations_are_written_if_wanted(predict: Any, tmp_path: Path) -> None:
    series, volume = imagej(tmp_path / "s.tif", known.series(), "TZYX"), tmp_path / "v.tif"
    plain(volume, known.series()[0], "ZYX")
    assert predict(series, volume, "--probabilities", "--gif") == 0
    out = tmp_path / "out"
    maps = open_volume(out / "probability" / "nuclei" / "s.tif")
    assert (maps.axes, maps.shape, maps.dtype) == ("TZYX", known.series().shape, "float32")
    expected = 1 / (1 + np.exp(-10 * (known.series() / 255.0 - 120 / 255)))
    assert np.allclose(maps.frame(1)[..., 0], expected[1], atol=1e-5)
    counts = {name: Image.open(out / "overlay" / f"{name}.gif").n_frames for name in "sv"}  # type: ignore[attr-defined]
    assert counts == {"s": 2, "v": 7}


def test_empty_images_give_no_objects(predict: Any, tmp_path: Path) -> None:
    assert predict(plain(tmp_path / "a.tif", np.full((3, 20, 20), 40, np.uint8), "ZYX")) == 0
    assert len(table(tmp_path / "out")) == 0
    assert table(tmp_path / "out", "population")["objects"].tolist() == [0]
    assert not read_labels(tmp_path / "out" / "nuclei" / "a.tif").any()


@pytest.mark.parametrize(("highest", "dtype"), [(255, "uint8"), (256, "uint16"), (65_536, "uint32")])
def test_labels_have_as_many_bits_as_the_largest_number_needs(highest: int, dtype: str, tmp_path: Path) -> None:
    values = np.zeros((2, 3, 20, 30), np.int32)
    values[1, 2, 5, 5] = highest
    like = open_volume(imagej(tmp_path / "a.tif", values.astype(np.uint8), "TZYX"))
    with LabelWriter(tmp_path / "new" / "b.tif", like, "of a test") as writer:
        for frame in values:
            writer.write(frame)
    assert files(tmp_path / "new") == {"b.tif"}
    found = tifffile.imread(tmp_path / "new" / "b.tif")
    assert found.dtype == dtype
    assert np.array_equal(found, values)


@pytest.mark.parametrize("content", [None, b"no image"])
def test_a_file_that_is_gone_before_it_is_drawn_costs_its_own_animation(
    content: bytes | None,
    predict: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost, kept = (imagej(tmp_path / f"{name}.tif", known.series(), "TZYX") for name in ("lost", "kept"))

    def lose(*_: object) -> None:
        lost.unlink()
        if content is not None:
            lost.write_bytes(content)

    monkeypatch.setattr("visionlab.inference.objects.write_objects", lose)
    assert predict(lost, kept, "--gif") == 0
    assert files(tmp_path / "out" / "overlay") == {"kept.gif"}
    assert f"{lost}: " in caplog.text


# Series of files ----------------------------------------------------------------------------------------------------


def test_a_folder_of_time_points_is_a_series(predict: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for (name, first), time in itertools.product((("01", 0), ("02", 9)), range(2)):
        plain(tmp_path / "data" / f"{name}_t{time}.tif", known.series()[time], "ZYX")
        plain(tmp_path / "data" / name / f"t{first + time:03d}.tif", known.series()[time], "ZYX")
    shutil.copytree(tmp_path / "data" / "01", tmp_path / "data" / "01_GT" / "SEG")
    assert predict(tmp_path / "data", "--gif") == 0
    rows = table(tmp_path / "out", "population")
    expected = {"01": [0, 1], "02": [9, 10], "data/01": [0, 1], "data/02": [0, 1]}
    assert {name: part["time"].tolist() for name, part in rows.groupby("series")} == expected
    assert rows["objects"].tolist() == [2, 3] * 4
    assert "time_s" not in rows
    assert not (tmp_path / "out" / "nuclei" / "01_GT").exists(), "labels are no images"
    pictures = files(tmp_path / "out" / "overlay")
    assert pictures == {"01.gif", "02.gif", "data/01.gif", "data/02.gif"}
    assert Image.open(tmp_path / "out" / "overlay" / "02.gif").n_frames == 2  # type: ignore[attr-defined]
    # Named itself, it is predicted.
    assert predict(tmp_path / "data" / "01_GT", "--gif") == 0


def test_options_tell_what_files_do_not(predict: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = tmp_path / "a.tif"
    tifffile.imwrite(pages, known.series().max(axis=1), photometric="minisblack", metadata=None)
    assert predict(pages, "--axes", "tyx", "--voxel-size", "0.5,0.25") == 0
    labels = open_volume(tmp_path / "out" / "nuclei" / "a.tif")
    assert (labels.axes, labels.voxel_size) == ("TYX", (None, 0.5, 0.25))
    assert table(tmp_path / "out")["y_um"].iloc[0] == 5.0
    assert len(table(tmp_path / "out", "population")) == 2
    shutil.rmtree(tmp_path / "out")
    # A file that tells is taken at its word.
    told = imagej(tmp_path / "b.tif", known.series()[0], "ZYX")
    assert predict(told, "--axes", "TYX", "--voxel-size", "9,9,9") == 0
    assert open_volume(tmp_path / "out" / "nuclei" / "b.tif").axes == "ZYX"
    assert table(tmp_path / "out")["z_um"].iloc[0] == 3.0
    assert "(1.5, 0.25, 0.5 um along z, y, x) are taken at their word" in caplog.text


def test_the_threshold_can_be_chosen_and_is_said(
    predict: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    file = plain(tmp_path / "a.tif", known.series()[0], "ZYX")
    assert predict(file, "--threshold", "0.99") == 0
    assert "nuclei: threshold 0.99 instead of 0.5" in caplog.text
    assert len(table(tmp_path / "out")) == 0
    assert "never fitted" not in caplog.text
    shutil.rmtree(tmp_path / "out")
    assert predict(file, found=known.predictor(fitted=False)) == 0
    assert "nuclei: what objects are found with was never fitted" in caplog.text


# What goes wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--axes", "XYZ"), "--axes XYZ: expected one of YX, ZYX, TYX, TZYX"),
        (("--voxel-size", "1;2;3"), "--voxel-size 1;2;3: expected numbers with commas between them, such as 1.0,0.25"),
        (("--voxel-size", "1,0,3"), "--voxel-size: expected micrometres along z, y and x, such as 1.0,0.25,0.25"),
        (("--voxel-size", "1"), "--voxel-size: expected micrometres"),
        (("--threshold", "1.5"), "--threshold"),
        (("--submission", "s.csv"), "expected a model with one head of labels, found nuclei (instances)"),
        (("--with", "background=data"), "'background': the model takes the image alone"),
    ],
)
def test_wrong_options_end_with_status_2(
    arguments: tuple[str, ...],
    expected: str,
    predict: Any,
    three: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert predict(three, *arguments) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "option", [("--gif",), ("--probabilities",), ("--threshold", "0.5"), ("--voxel-size", "1,1,1")]
)
def test_options_of_objects_are_refused_by_other_models(
    option: tuple[str, ...], predict: Any, three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = untrained.predictor([untrained.numbers("distance")], untrained.Means([[1.0]]), channels=1)
    assert predict(three, *option, found=other) == 2
    assert f"{option[0]}: it goes with models of objects, found distance (regression)" in capsys.readouterr().err


# Several models, mirror images, Python ------------------------------------------------------------------------------


def test_models_are_averaged_before_objects_are_found(predict: Any, tmp_path: Path) -> None:
    high, low = known.predictor(0.6), known.predictor(0.9)
    both = Ensemble([high, low], ["high", "low"])
    volume = np.minimum(known.series()[0], 180)
    single = [one.predict_volume(volume) for one in (high, low)]
    found = both.predict_volume(volume)
    expected = (single[0].maps["nuclei"] + single[1].maps["nuclei"]) / 2
    assert np.allclose(found.maps["nuclei"], expected, atol=1e-6)
    assert np.array_equal(found.labels["nuclei"] > 0, expected >= 0.5)
    assert predict(plain(tmp_path / "a.tif", volume, "ZYX"), found=both) == 0
    assert len(table(tmp_path / "out")) == len(found.objects)


def test_two_heads_are_told_apart(predict: Any, tmp_path: Path) -> None:
    both = Ensemble([known.predictor(), known.predictor(0.9, name="bright")])
    assert predict(imagej(tmp_path / "a.tif", known.series(), "TZYX"), "--gif", found=both) == 0
    assert set(files(tmp_path / "out")) >= {"nuclei/a.tif", "bright/a.tif"}
    rows = table(tmp_path / "out", "population")
    assert {name: part["objects"].tolist() for name, part in rows.groupby("head")} == {
        "bright": [0, 0],
        "nuclei": [2, 3],
    }


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX", "ZYXC"])
def test_python_takes_arrays_and_files(axes: str, tmp_path: Path) -> None:
    values = known.series() if "T" in axes else known.series()[0]
    values = values if "Z" in axes else values.max(axis=-3)
    predictor = known.predictor()
    array = np.repeat(values[..., None], 3, axis=-1) if "C" in axes else values
    found = predictor.predict_volume(array, VOXEL, axes=axes)
    assert found.axes == axes.removesuffix("C")
    assert found.labels["nuclei"].shape == found.maps["nuclei"].shape == values.shape
    assert found.labels["nuclei"].dtype == np.int32
    assert found.voxel == VOXEL
    swapped = predictor.predict_volume(array.astype(array.dtype.newbyteorder(">")), VOXEL, axes=axes)
    assert np.array_equal(swapped.labels["nuclei"], found.labels["nuclei"])
    assert found.objects["x_um"].tolist() == pytest.approx((0.5 * found.objects["x"]).tolist())
    expected = [sorted(c if "Z" in axes else c[1:] for c in frame) for frame in CENTRES][: 2 if "T" in axes else 1]
    assert places(found.objects, axes) == expected
    if "C" not in axes:
        same = predictor.predict_volume(imagej(tmp_path / "a.tif", values, axes))
        assert np.array_equal(same.labels["nuclei"], found.labels["nuclei"])


def test_python_says_what_it_cannot_take() -> None:
    predictor = known.predictor()
    with pytest.raises(DataError, match=r"array: expected ZYX, found shape \(2, 3\)"):
        predictor.predict_volume(np.zeros((2, 3), np.uint8), axes="ZYX")
    with pytest.raises(DataError, match="array: expected uint8, uint16 or float32 as in the files, found int64"):
        predictor.predict_volume(np.zeros((2, 3), np.int64))
    with pytest.raises(UsageError, match=r"voxel_size: expected micrometres .* found 1, 0, 3"):
        predictor.predict_volume(np.zeros((2, 3), np.uint8), (1, 0, 3))
    other = untrained.predictor([untrained.numbers("distance")], untrained.Means([[1.0]]), channels=1)
    with pytest.raises(UsageError, match=r"expected a model with a head of instances, found distance \(regression\)"):
        other.predict_volume(np.zeros((2, 3), np.uint8))
    mixed = Ensemble([known.predictor(), other])
    with pytest.raises(UsageError, match=r"distance \(regression\) for images; predict with the runs of each"):
        mixed.predict_volume(np.zeros((2, 3), np.uint8))


def test_objects_of_one_channel_are_found_in_files_that_have_several(predict: Any, tmp_path: Path) -> None:
    file, values = tmp_path / "a.ome.tif", known.series()
    several = np.stack([255 - values, values], axis=2)
    told: Any = {"axes": "TZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(file, several, ome=True, photometric="minisblack", metadata=told)
    for stain in ("GFP", 1):
        one = known.predictor(stains=(stain,))
        assert places(one.predict_volume(file).objects, "TZYX") == [sorted(frame) for frame in CENTRES]
        found = one.predict(f"{file}#2")
        assert found.nuclei.shape == values.shape[2:]
        assert (found.nuclei >= 0.5).sum() == (values[0, 2] > 120).sum()
    assert predict(file, "--gif", found=one) == 0
    labels = open_volume(tmp_path / "out" / "nuclei" / "a.ome.tif")
    assert (labels.axes, labels.shape) == ("TZYX", values.shape)
    shutil.rmtree(tmp_path / "out")
    assert predict(file) == 1
    assert (
        "holds the channels 0 (DAPI), 1 (GFP), which are no colours" in table(tmp_path / "out", "failed")["reason"][0]
    )
    with pytest.raises(UsageError, match="expected models that see the same channel of a file, found 0; none"):
        Ensemble([known.predictor(stains=(0,)), known.predictor()]).predict_volume(file)


def test_no_more_than_one_time_point_is_held(predict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier: list[Any] = []
    original = volumes.find_objects

    def watched(predictor: Any, image: Array, *arguments: Any, **options: Any) -> Any:
        gc.collect()
        assert all(one() is None for one in earlier)
        found = yield from original(predictor, image, *arguments, **options)
        earlier.extend([weakref.ref(found), weakref.ref(image)])
        return found

    monkeypatch.setattr("visionlab.inference.objects.find_objects", watched)
    assert predict(imagej(tmp_path / "a.tif", known.series(3), "TZYX"), "--probabilities", "--gif") == 0
    assert len(earlier) == 6


def test_parts_of_names_are_unlike(tmp_path: Path, predict: Any) -> None:
    """Files of one name in several folders, and of one stem with several suffixes, overwrite nothing."""
    for folder, suffix in itertools.product(("x", "y"), (".tif", ".png")):
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        (png if suffix == ".png" else plain)(tmp_path / "data" / folder / f"a{suffix}", known.series()[0, 2], "YX")
    assert predict(tmp_path / "data") == 0
    assert files(tmp_path / "out" / "nuclei") == {"x/a_tif.tif", "x/a_png.tif", "y/a_tif.tif", "y/a_png.tif"}
    assert len(table(tmp_path / "out", "population")) == 4
