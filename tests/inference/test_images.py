"""Predicting masks and depth: maps in each image's own size, as files and in Python, from one input or two."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile

import visionlab
from tests import dense, shell
from tests.dense import Array, png
from visionlab.errors import DataError, UsageError
from visionlab.heads.depth.head import DepthHead
from visionlab.inference.files import output_names, pair
from visionlab.inference.images import MapWriter
from visionlab.inference.prediction import Prediction
from visionlab.inference.tables import write_predictions


@pytest.fixture(scope="module")
def predictor(dense_run: Path) -> Any:
    return visionlab.load(dense_run, device="cpu")


@pytest.fixture(scope="module")
def two(two_input_run: Path) -> Any:
    return visionlab.load(two_input_run, device="cpu")


def picture(height: int, width: int, number: int = 0) -> Array:
    """A photograph-like image: smooth, with an edge."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(6 * x + number + k) * np.cos(5 * y + k) + (np.hypot(x - 0.4, y - 0.3) < 0.2) for k in range(3)]
    return (90 + 40 * np.stack(waves, axis=2)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of many sizes and kinds in nested folders."""
    folder = tmp_path_factory.mktemp("images")
    png(folder / "small.png", picture(37, 53))
    (folder / "photo.jpg").write_bytes(imagecodecs.jpeg8_encode(picture(300, 200)))
    png(folder / "deep" / "er" / "sixteen.png", picture(64, 64).astype(np.uint16) * np.uint16(257))
    png(folder / "deep" / "grey.png", picture(41, 90)[:, :, 0])
    png(folder / "deep" / "strip.png", picture(4, 150))
    png(folder / "one" / "same.png", picture(32, 32, 1))
    (folder / "one" / "same.jpg").write_bytes(imagecodecs.jpeg8_encode(picture(40, 30, 2)))
    png(folder / "two" / "same.png", picture(33, 31, 3))
    return folder


SIZES = {
    "small": (37, 53),
    "photo": (300, 200),
    "deep/er/sixteen": (64, 64),
    "deep/grey": (41, 90),
    "deep/strip": (4, 150),
    "one/same_png": (32, 32),
    "one/same_jpg": (40, 30),
    "two/same": (33, 31),
}


def named(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def out(images: Path, dense_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert shell.run("predict", dense_run, images, "--out", folder, "--device", "cpu", "--batch-size", 3) == 0
    return folder


# Files --------------------------------------------------------------------------------------------------------------


def test_maps_have_the_size_and_the_name_of_their_image(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["depth", "maps.json", "mask", "overlay", "predictions.csv"]
    for kind, dtype, shape in (("mask", "uint8", ()), ("depth", "uint16", ()), ("overlay", "uint8", (3,))):
        found = named(out / kind)
        assert set(found) == set(SIZES)
        for name, path in found.items():
            values = imagecodecs.png_decode(path.read_bytes())
            assert path.suffix == ".png"
            assert values.dtype == dtype
            assert values.shape == (*SIZES[name], *shape)
    about = json.loads((out / "maps.json").read_text())
    assert about["depth"] == {"values": "distance in steps of 0.001 m", "step": 0.001, "unit": "m"}
    assert about["mask"]["threshold"] == 0.5


def test_what_the_run_tested_is_what_is_predicted(predictor: Any, dense_run: Path, depth_mask_root: Path) -> None:
    """Images of the size that they were measured in give the maps that were measured."""
    data = dense.data_module(depth_mask_root, f"data.split_file={dense_run / 'splits.json'}")
    table = pd.read_csv(dense_run / "predictions" / "test.csv")
    for place, row in enumerate(data.rows["test"]):
        found = predictor.predict(data.images[0].image(row, 0.5, 0.5))
        true = data.stored_maps["depth"].map(row, 0.5, 0.5)
        assert found.mask_share == pytest.approx(table["mask_area_pred"][place], abs=0.002)
        assert np.abs(found.depth - true).mean() == pytest.approx(table["depth_mae"][place], rel=1e-4)


# Names --------------------------------------------------------------------------------------------------------------


def test_output_names_are_short_and_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(*paths: str) -> list[str]:
        return output_names([tmp_path / path for path in paths])

    assert names("a/x.png") == ["x"]
    assert names("a/x.png", "a/y.png") == ["x", "y"]
    assert names("a/x.png", "b/x.png") == ["a/x", "b/x"]
    assert names("a/x.png", "x.png") == ["a/x", "x"]
    assert names("x.png", "x.jpg", "y.png") == ["x_png", "x_jpg", "y"]
    found = names("x.png", "x.jpg", "x_png.png", "x_png.tif")
    assert len(set(found)) == 4
    assert names("x.y.png", "x.z.png") == ["x.y", "x.z"]
    # Links keep the names that the user sees.
    png(tmp_path / "store" / "17.png", picture(8, 8))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "first.png").symlink_to(tmp_path / "store" / "17.png")
    monkeypatch.chdir(tmp_path)
    assert output_names([Path("set/first.png"), Path("set/../set/b.png")]) == ["first", "b"]


# Two inputs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two rooms, the rooms alone, and one image of another size."""
    folder = tmp_path_factory.mktemp("pairs")
    for room in ("room1", "room2"):
        png(folder / "bg" / f"{room}.png", picture(40, 50, int(room[-1]) * 10))
        for name in ("a", "b"):
            png(folder / "images" / room / f"{name}.png", picture(40, 50, ord(name)))
    return folder


def test_backgrounds_are_found_by_folder_and_by_name(pairs: Path, tmp_path: Path) -> None:
    files = sorted((pairs / "images").rglob("*.png"))
    found = pair(files, {"background": pairs / "bg"})
    assert [sample["background"].name for sample in found] == ["room1.png", "room1.png", "room2.png", "room2.png"]
    assert [sample["image"] for sample in found] == files
    one = pairs / "bg" / "room1.png"
    assert {sample["background"] for sample in pair(files, {"background": one})} == {one}
    # A partner of the same name in the same folders comes first.
    for file in files:
        png(tmp_path / "same" / file.relative_to(pairs / "images"), picture(8, 8))
    found = pair(files, {"background": tmp_path / "same"})
    assert [sample["background"].relative_to(tmp_path / "same") for sample in found] == [
        file.relative_to(pairs / "images") for file in files
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match=r"room1/a\.png: expected its background in .*none, as room1/a or named like"):
        pair(files, {"background": tmp_path / "none"})
    with pytest.raises(UsageError, match=r"--with background=.*nowhere: expected a file or a folder, found nothing"):
        pair(files, {"background": tmp_path / "nowhere"})
    shutil.copy(one, tmp_path / "none" / "a.png")
    shutil.copy(one, tmp_path / "none" / "a.tif")
    with pytest.raises(UsageError, match=r"expected one background in .*none, found .*a\.png and .*a\.tif"):
        pair(files[:1], {"background": tmp_path / "none"})


def test_a_missing_input_is_asked_for(
    two: Any, two_input_run: Path, dense_run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for run, others, expected in (
        (two_input_run, [], "give the background as well, in Python as background=PATH, in the shell as --with backgr"),
        (two_input_run, ["--with", f"backgruond={pairs / 'bg'}"], "'backgruond': the model takes image and background"),
        (dense_run, ["--with", f"background={pairs / 'bg'}"], "'background': the model takes the image alone"),
        (two_input_run, ["--with", "background"], "--with background: expected NAME=PATH"),
        (two_input_run, ["--with", "background="], "expected NAME=PATH"),
    ):
        assert shell.run("predict", run, pairs / "images", "--out", out, *others) == 2
        said = capsys.readouterr()
        assert expected in said.err
        assert "Traceback" not in said.err
        assert not out.exists() or not list(out.iterdir())
    image = pairs / "images" / "room1" / "a.png"
    with pytest.raises(UsageError, match="give the background as well"):
        two.predict(image)
    with pytest.raises(UsageError, match=r"'backgruond'.*Did you mean 'background'"):
        two.predict(image, backgruond=image)
    with pytest.raises(UsageError, match="background: expected one or 2, one an image; found 1"):
        two.predict([image, image], background=[image])


def test_a_background_of_another_picture_is_named(
    two: Any, two_input_run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pairs, tmp_path / "pairs")
    wrong = tmp_path / "pairs" / "bg" / "room2.png"
    png(wrong, picture(40, 80))
    images, out = tmp_path / "pairs" / "images", tmp_path / "out"
    status = shell.run("predict", two_input_run, images, "--with", f"background={wrong.parent}", "--out", out)
    assert status == 1
    assert f"error: 2 of 4 files could not be predicted; see {out / 'failed.csv'}" in capsys.readouterr().err
    failed = pd.read_csv(out / "failed.csv")
    assert failed["path"].tolist() == [str(images / "room2" / f"{name}.png") for name in "ab"]
    assert (
        failed["reason"].tolist()
        == [f"{wrong}: 40 x 80 pixels, but its image has 40 x 50; expected the same picture"] * 2
    )
    assert set(named(out / "mask")) == set(named(out / "depth")) == {"room1/a", "room1/b"}
    assert set(pd.read_csv(out / "predictions.csv")["path"]) == {str(images / "room1" / f"{n}.png") for n in "ab"}
    with pytest.raises(DataError, match=r"room2\.png: 40 x 80 pixels, but its image has 40 x 50"):
        two.predict(images / "room2" / "a.png", background=wrong)
    # The same picture at another scale is the same picture.
    png(wrong, picture(80, 100, 20))
    assert two.predict(images / "room2" / "a.png", background=wrong).depth.shape == (40, 50)


# What goes wrong ----------------------------------------------------------------------------------------------------


def test_an_interruption_leaves_whole_files_only(dense_run: Path, predictor: Any, images: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("old")
    path = images / "small.png"
    writer = MapWriter(predictor.heads, {str(path): "small"}, tmp_path, "tif")

    def results() -> Any:
        yield path, predictor.predict(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(results(), tmp_path, writer)
    assert (tmp_path / "predictions.csv").read_text() == "old"
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"predictions.csv", "maps.json", "mask/small.png", "depth/small.tif", "overlay/small.png"}


def test_folders_of_labels_are_not_written_over(
    dense_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--out`` of a data set whose masks are in ``mask/`` would replace them."""
    png(tmp_path / "images" / "a.png", picture(32, 32))
    png(tmp_path / "mask" / "a.png", np.zeros((32, 32), np.uint8))
    before = (tmp_path / "mask" / "a.png").read_bytes()
    assert shell.run("predict", dense_run, tmp_path / "images", "--out", tmp_path) == 2
    said = capsys.readouterr().err
    assert f"error: --out {tmp_path}: found 'mask' there, not from an earlier prediction; give another folder" in said
    assert (tmp_path / "mask" / "a.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "mask"]
    # Those of an earlier prediction are replaced.
    for _ in range(2):
        assert shell.run("predict", dense_run, tmp_path / "images", "--out", tmp_path / "out") == 0


# Depth alone, other units -------------------------------------------------------------------------------------------


def depth_writer(out: Path, unit: str, high: float, kind: Any) -> MapWriter:
    head = DepthHead("depth", low=0.0, high=high, mean=high / 2, unit=unit, metrics=[], weight=1.0, activation="none")
    return MapWriter([head], {"a.png": "a", str(out.parent / "a.png"): "a"}, out, kind)


@pytest.mark.parametrize(
    ("unit", "high", "step"), [("m", 6.0, 0.001), ("", 1.0, 1e-4), ("µm", 500.0, 0.1), ("cm", 4e5, 10.0)]
)
def test_sixteen_bits_hold_depth_of_any_unit(unit: str, high: float, step: float, tmp_path: Path) -> None:
    png(tmp_path / "a.png", picture(20, 30))
    depth = np.linspace(-0.1 * high, 1.2 * high, 600, dtype=np.float32).reshape(20, 30)
    prediction = Prediction({}, {}, str(tmp_path / "a.png"), {"depth": depth})
    for kind in ("png", "tif"):
        depth_writer(tmp_path / kind, unit, high, kind)(prediction)
    about = json.loads((tmp_path / "png" / "maps.json").read_text())["depth"]
    assert about["step"] == pytest.approx(step)
    assert about["unit"] == unit
    counts = imagecodecs.png_decode((tmp_path / "png" / "depth" / "a.png").read_bytes())
    np.testing.assert_allclose(counts * step, np.maximum(depth, step), atol=0.51 * step)
    assert counts.min() == 1, "0 would mean unknown"
    assert np.array_equal(tifffile.imread(tmp_path / "tif" / "depth" / "a.tif"), depth)
    # Without a mask the overlay shows the depth in colours.
    assert imagecodecs.png_decode((tmp_path / "png" / "overlay" / "a.png").read_bytes()).shape == (20, 30, 3)


def test_what_sixteen_bits_cannot_hold_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    png(tmp_path / "a.png", picture(8, 8))
    writer = depth_writer(tmp_path / "out", "m", 6.0, "png")
    for _ in range(2):
        writer(Prediction({}, {}, str(tmp_path / "a.png"), {"depth": np.full((8, 8), 70, np.float32)}))
    assert caplog.text.count("depth: values beyond 65.535 cannot be held by 16 bits") == 1
    assert imagecodecs.png_decode((tmp_path / "out" / "depth" / "a.png").read_bytes()).max() == 65535
