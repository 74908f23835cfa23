"""Channels made of stains that lie in one file each: how they are written, found, read, summed and cached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from visionlab.data.cache import fingerprint
from visionlab.data.channels import ChannelReader, Channels, parse
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
    assert parse(channels.spec) == [(("blue", 1),), (("red", 2), ("yellow", 0.5)), (("red", 1.5),)]


@pytest.mark.parametrize(
    "text",
    ["red/0", "red**yellow", "red/-1", "red/2/2", "red+", "2*red", "", "../../red", "red+red", "gren", "red/2+yelow"],
)
def test_what_is_no_channel_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^data\.channels: .*found "):
        parse([text], FOUR)


def test_channels_need_no_torch() -> None:
    code = "import sys, visionlab.data.channels; print({'torch', 'pandas'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


# Which files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a/b_1_red.png", ("b_1", "red")),
        ("b_green.TIF", ("b", "green")),
        ("b_yellow.png", ("b", "yellow")),  # known, though no channel needs it
        ("b_RED.png", None),
        ("b_red.jpg", None),
        ("_red.png", None),
        ("red.png", None),
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
    (sample / "s_yellow.png").rename(sample / "yellow.png")
    with pytest.raises(DataError, match=r"s_red\.png: 3 of 4 channels found, no s_yellow\.png beside it; add"):
        channels.files(sample / "s_red.png")
    (sample / "yellow.png").rename(sample / "s_yellow.png")
    (sample / "s_yellow.tif").touch()
    with pytest.raises(DataError, match=r"s_yellow\.png: there is s_yellow\.tif as well; keep one"):
        channels.files(sample / "s_red.png")
    with pytest.raises(DataError, match=r"x\.png: expected a name <Id>_red\.png \(or \.tif\).*red, green, blue"):
        channels.files(sample / "x.png")
    with pytest.raises(DataError, match=r"gone: the folder cannot be read"):
        channels.files(sample / "gone" / "s_red.png")


# Reading and summing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "red", "yellow", "term", "wanted"),
    [
        ("uint8", 255, 255, "red/2+yellow/2", 255),  # in uint8: 254
        ("uint8", 200, 201, "red/2+yellow/2", 200),  # 200.5, half to even
        ("uint8", 200, 100, "red+yellow", 255),  # clipped; wrapped it would be 44
        ("uint8", 100, 0, "red/0.1+yellow", 255),
        ("uint16", 65535, 1, "red+yellow", 65535),
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
    found = Channels(["blue/2+red/2", "green"]).read(tmp_path / "x.png")
    assert (found[:, :, 1] == image[:, :, 2]).all()
    assert (found[:, :, 0] == np.rint(image[:, :, :2].mean(axis=2))).all()
    with pytest.raises(DataError, match=r"x\.png: expected 4 channels \(red, green, blue, yellow\) in it, found 3"):
        Channels(FOUR).read(tmp_path / "x.png")
    write_png(tmp_path / "y.png", plane(7))
    assert Channels(["green"]).read(tmp_path / "y.png")[1, 1].tolist() == [7]


def test_gray_saved_as_rgb_is_read_and_colour_is_refused(sample: Path, write_png: Write) -> None:
    write_png(sample / "s_green.png", np.repeat(plane(20)[:, :, None], 3, axis=2))
    assert Channels(FOUR[::-1]).read(sample / "s_red.png")[1, 1].tolist() == [40, 30, 20, 10]
    green = np.zeros((4, 5, 3), np.uint8)
    green[:, :, 1] = 20
    write_png(sample / "s_green.png", green)
    with pytest.raises(DataError, match=r"s_green\.png: expected one grey channel, found 3 that differ; save"):
        Channels(FOUR).read(sample / "s_red.png")


def test_files_of_one_sample_have_one_size_and_depth(sample: Path, write_png: Write) -> None:
    for other, message in (
        (plane(30, (4, 6)), r"s_blue\.png: 4 x 6 pixels, where 4 x 5 were expected as in s_red\.png; export"),
        (plane(30, dtype="uint16"), r"s_blue\.png: uint16 values, where uint8 were expected as in s_red\.png"),
    ):
        write_png(sample / "s_blue.png", other)
        with pytest.raises(DataError, match=message):
            Channels(FOUR).read(sample / "s_green.png")


def test_the_cache_is_of_the_channels_and_follows_every_file(sample: Path) -> None:
    def reader(*spec: str) -> ChannelReader:
        table = pd.DataFrame({f"{name}_path": [f"s_{name}.png"] for name in FOUR})
        return ChannelReader(channels=Channels(spec), root=sample, table=table)

    def key(*spec: str) -> str:
        return fingerprint(["s_red.png"], sample, Preprocess(2, 8, 10, "crop", "uint8"), reader(*spec))

    image, about = reader("red/2+yellow/2", "green").read(
        sample / "s_red.png", 0, Preprocess(2, 8, 10, "crop", "uint8")
    )
    assert image[5, 5].tolist() == [25, 20]
    assert (about["height"], about["width"], about["channels"], about["max"]) == (4, 5, 2, 26)
    before = key(*FOUR)
    assert key(*FOUR) == before not in (key(*FOUR[::-1]), key("red/2", *FOUR[1:]))
    os.utime(sample / "s_yellow.png", ns=(0, 12345))
    assert key(*FOUR) != before
    (sample / "s_green.png").unlink()
    with pytest.raises(DataError, match=r"s_green\.png: expected a readable file"):
        key(*FOUR)
