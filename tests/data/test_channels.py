"""Channels made of stains that lie in one file each: how they are written, found, read, summed and cached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from visionlab.data.cache import fingerprint
from visionlab.data.channel_reader import ChannelReader, stain_files
from visionlab.data.channels import Channels, parse, read_plane
from visionlab.data.preprocess import Preprocess
from visionlab.errors import ConfigError, DataError

Write = Callable[[Path, object], None]

FOUR = ["red", "green", "blue", "yellow"]
VALUES = {"red": 10, "green": 20, "blue": 30, "yellow": 40}


def plane(value: int, shape: tuple[int, int] = (4, 5), dtype: str = "uint8") -> np.ndarray[Any, Any]:
    image = np.full(shape, value, dtype)
    image[0, 0] += 1
    return image


@pytest.fixture
def sample(tmp_path: Path, write_png: Write) -> Path:
    """A folder with one sample, s, of four stains."""
    for name, value in VALUES.items():
        write_png(tmp_path / f"s_{name}.png", plane(value))
    return tmp_path


# How they are written -----------------------------------------------------------------------------------------------


def test_a_channel_is_a_stain_or_a_sum_of_them() -> None:
    channels = Channels(["blue", "red / 2 + yellow/.5", "red/1.5"])
    assert channels.spec == ["blue", "red/2+yellow/.5", "red/1.5"]
    assert channels.names == ("blue", "red", "yellow")
    assert len(channels) == 3
    assert parse(channels.spec) == [(("blue", 1),), (("red", 2), ("yellow", 0.5)), (("red", 1.5),)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], "at least one channel, found none"),
        (["red/0"], r"numbers above 0 behind '/', found 'red/0'"),
        (["red/0.00"], "numbers above 0"),
        (["red/" + "9" * 400], "numbers above 0"),
        (["red**yellow"], r"red/2\+yellow/2.*found 'red\*\*yellow'"),
        (["red/-1"], "found 'red/-1'"),
        (["red/2/2"], "found 'red/2/2'"),
        (["red+"], r"found 'red\+'"),
        (["2*red"], "found"),
        ([""], "found ''"),
        (["../../red"], "found"),
        (["red+red"], "each stain once"),
        (["green", "gren"], r"expected stains of red, green, blue, yellow, found 'gren'\. Did you mean 'green'\?"),
        (["red/2+yelow/2"], r"found 'yelow'\. Did you mean 'yellow'\?"),
    ],
)
def test_what_is_no_channel_is_refused(spec: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.channels: .*{message}"):
        parse(spec, FOUR)


def test_a_checkpoint_may_name_other_stains_but_no_other_folder() -> None:
    assert Channels(["DAPI", "actin"]).names == ("DAPI", "actin")
    with pytest.raises(ConfigError):
        Channels(["/etc/passwd"])


def test_neither_channels_nor_labels_need_torch() -> None:
    modules = "visionlab.data.channels, visionlab.datasets.classes"
    code = f"import sys, {modules}; print({{'torch', 'pandas'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


# Which files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a/b_1_red.png", ("b_1", "red")),
        ("b_green.TIF", ("b", "green")),
        ("b_blue.Tiff", ("b", "blue")),
        ("b_yellow.png", ("b", "yellow")),  # known, though no channel needs it
        ("b_RED.png", None),
        ("b_red.jpg", None),
        ("_red.png", None),
        ("red.png", None),
        ("b_red", None),
        ("b_purple.png", None),
    ],
)
def test_names_are_split_into_sample_and_stain(path: str, parts: tuple[str, str] | None) -> None:
    assert Channels(["red", "green", "blue"]).split(path) == parts


def test_any_file_of_a_sample_finds_the_needed_ones(sample: Path) -> None:
    (sample / "s_green.png").rename(sample / "s_green.TIF")
    (sample / ".s_green.png").touch()
    channels = Channels(["green", "red/2+blue/2"])
    wanted = {"green": sample / "s_green.TIF", "red": sample / "s_red.png", "blue": sample / "s_blue.png"}
    assert channels.files(sample / "s_yellow.png") == wanted
    assert list(channels.files(str(sample / "s_red.png"))) == ["green", "red", "blue"]


def test_files_that_are_missing_or_there_twice_are_named(sample: Path) -> None:
    channels = Channels(FOUR)
    (sample / "s_yellow.png").unlink()
    with pytest.raises(DataError, match=r"s_red\.png: 3 of 4 channels found, no s_yellow\.png beside it; add"):
        channels.files(sample / "s_red.png")
    # Written within the same tick of the folder's clock, it is seen.
    before = sample.stat()
    tifffile.imwrite(sample / "s_yellow.tif", plane(1))
    os.utime(sample, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert channels.files(sample / "s_red.png")["yellow"] == sample / "s_yellow.tif"
    (sample / "s_yellow.tiff").touch()
    with pytest.raises(DataError, match=r"s_yellow\.tif: there is s_yellow\.tiff as well; keep one"):
        channels.files(sample / "s_red.png")
    for name in ("red", "blue"):
        (sample / f"s_{name}.png").unlink()
    with pytest.raises(DataError, match=r"2 of 4 channels found, no s_red\.png nor those of blue"):
        channels.files(sample / "s_green.png")
    with pytest.raises(DataError, match=r"x\.png: expected a name <Id>_red\.png \(or \.tif\).*red, green, blue"):
        channels.files(sample / "x.png")
    with pytest.raises(DataError, match=r"gone: the folder cannot be read"):
        channels.files(sample / "gone" / "s_red.png")


def test_a_folder_at_rest_is_listed_once_for_all_its_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / f"{number}_red.png").touch()
    os.utime(tmp_path, (1e9, 1e9))
    listed = []
    real = os.scandir

    def scandir(path: str) -> Any:
        listed.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    channels = Channels(["red"])
    assert all(channels.files(tmp_path / f"{number}_red.png") for number in range(30))
    assert len(listed) == 1


# Reading and summing ------------------------------------------------------------------------------------------------


def test_channels_come_in_the_order_asked_for(sample: Path) -> None:
    image = Channels(["blue", "green", "blue"]).read(sample / "s_red.png")
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    assert image[1, 1].tolist() == [30, 20, 30]


@pytest.mark.parametrize(
    ("dtype", "red", "yellow", "term", "wanted"),
    [
        ("uint8", 255, 255, "red/2+yellow/2", 255),  # in uint8: 254
        ("uint8", 200, 201, "red/2+yellow/2", 200),  # 200.5, half to even
        ("uint8", 201, 202, "red/2+yellow/2", 202),  # 201.5
        ("uint8", 200, 100, "red+yellow", 255),  # clipped; wrapped it would be 44
        ("uint8", 100, 0, "red/0.1+yellow", 255),
        ("uint8", 1, 1, "red/3+yellow/3", 1),
        ("uint16", 65535, 65535, "red/2+yellow/2", 65535),
        ("uint16", 65535, 1, "red+yellow", 65535),
        ("float32", 200.5, 300, "red+yellow", 500.5),
        ("float32", 2**24, 1, "red/3+yellow/3", 5592405.5),  # 5592405.67; summed in float32: 5592406
        ("float32", -1, 0, "red/2+yellow", -0.5),
    ],
)
def test_mixes_neither_wrap_nor_lose_their_halves(
    dtype: str, red: float, yellow: float, term: str, wanted: float
) -> None:
    planes = np.zeros((2, 3, 2), dtype)
    planes[:, :, 0], planes[:, :, 1] = red, yellow
    mixed = Channels([term, "yellow"]).compose(planes)
    assert mixed.dtype == dtype
    assert (mixed[:, :, 0] == wanted).all()
    assert (mixed[:, :, 1] == planes[:, :, 1]).all()


def test_a_file_may_hold_all_stains(tmp_path: Path, write_png: Write) -> None:
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    write_png(tmp_path / "x.png", image)
    channels = Channels(["blue/2+red/2", "green"])
    assert channels.names == ("blue", "red", "green")
    found = channels.read(tmp_path / "x.png")
    assert (found[:, :, 1] == image[:, :, 2]).all()
    assert (found[:, :, 0] == np.rint(image[:, :, :2].mean(axis=2))).all()
    with pytest.raises(
        DataError, match=r"x\.png: expected 4 channels \(red, green, blue, yellow\) in it, found 3; give"
    ):
        Channels(FOUR).read(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"expected 3 channels \(blue, red, green\), found 2"):
        channels.compose(image[:, :, :2])


def test_one_stain_is_read_from_a_file_of_any_name(tmp_path: Path, write_png: Write) -> None:
    write_png(tmp_path / "x.png", plane(7))
    assert Channels(["green"]).read(tmp_path / "x.png")[1, 1].tolist() == [7]


def test_gray_saved_as_rgb_is_read_and_colour_is_refused(sample: Path, write_png: Write) -> None:
    write_png(sample / "s_green.png", np.repeat(plane(20)[:, :, None], 3, axis=2))
    assert Channels(FOUR).read(sample / "s_red.png")[1, 1].tolist() == [10, 20, 30, 40]
    green = np.zeros((4, 5, 3), np.uint8)
    green[:, :, 1] = 20
    write_png(sample / "s_green.png", green)
    with pytest.raises(DataError, match=r"s_green\.png: expected one grey channel, found 3 that differ; save"):
        Channels(FOUR).read(sample / "s_red.png")
    tifffile.imwrite(sample / "stack.tif", np.zeros((4, 5, 4), np.uint8), photometric="rgb")
    with pytest.raises(DataError, match="expected one grey channel, found 4;"):
        read_plane(sample / "stack.tif")


def test_files_of_one_sample_have_one_size_and_depth(sample: Path, write_png: Write) -> None:
    write_png(sample / "s_blue.png", plane(30, (4, 6)))
    with pytest.raises(
        DataError, match=r"s_blue\.png: 4 x 6 pixels, where 4 x 5 were expected as in s_red\.png; export"
    ):
        Channels(FOUR).read(sample / "s_green.png")
    write_png(sample / "s_blue.png", plane(30, dtype="uint16"))
    with pytest.raises(DataError, match=r"s_blue\.png: uint16 values, where uint8 were expected as in s_red\.png"):
        Channels(FOUR).read(sample / "s_green.png")


# What the cache asks ------------------------------------------------------------------------------------------------


def reader(root: Path, spec: list[str]) -> ChannelReader:
    channels = Channels(spec)
    return ChannelReader(channels, root, [tuple(f"s_{name}.png" for name in channels.names)])


def test_the_cache_sees_the_channels(sample: Path) -> None:
    spec = ["red/2+yellow/2", "green"]
    found = reader(sample, spec)
    head = found.header(sample / "s_red.png")
    assert (head.height, head.width, head.dtype) == (4, 5, "uint8")
    preprocess = Preprocess(2, 8, 10, "crop", "uint8")
    image, about = found.read(sample / "s_red.png", 0, preprocess)
    assert image.shape == (8, 10, 2)
    assert image[5, 5].tolist() == [25, 20]
    assert set(about) == set(ChannelReader.facts)
    assert (about["height"], about["width"], about["channels"], about["max"]) == (4, 5, 2, 26)
    assert about["hash"] != reader(sample, ["red", "green"]).read(sample / "s_red.png", 0, preprocess)[1]["hash"]


def test_the_cache_is_told_when_any_file_changes(sample: Path) -> None:
    preprocess = Preprocess(4, 4, 5, "crop", "uint8")

    def key(channels: list[str]) -> str:
        return fingerprint(["s_red.png"], sample, preprocess, reader(sample, channels))

    before = key(FOUR)
    assert key(FOUR) == before
    assert key(FOUR[::-1]) != before
    assert key(["red/2", *FOUR[1:]]) != before
    os.utime(sample / "s_yellow.png", ns=(0, 12345))
    assert key(FOUR) != before
    (sample / "s_green.png").unlink()
    with pytest.raises(DataError, match=r"s_green\.png: expected a readable file"):
        key(FOUR)


def test_an_error_names_the_broken_one_of_four_files(sample: Path) -> None:
    (sample / "s_blue.png").write_bytes((sample / "s_blue.png").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"s_blue\.png: "):
        reader(sample, FOUR).read(sample / "s_red.png", 0, Preprocess(4, 4, 5, "crop", "uint8"))


def test_the_index_gives_the_files_in_the_order_of_use() -> None:
    import pandas as pd

    table = pd.DataFrame({"red_path": ["r0", "r1"], "green_path": ["g0", "g1"], "id": ["0", "1"]})
    assert stain_files(table, Channels(["green", "red"])) == [("g0", "r0"), ("g1", "r1")]
