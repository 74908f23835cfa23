"""Samples of several files, one for each stain: every way to name one, and what is said of incomplete ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from tests import shell
from tests.untrained import STAINS, Means, labels, planes, predictor, write_png, write_run, write_samples
from visionlab.errors import DataError, UsageError

# Each class is one stain, so that a score says which file was read as what.
EYE = [[4.0, 0.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 4.0]]


@pytest.fixture(scope="module")
def four() -> Any:
    return predictor([labels((0, 1, 2, 16))], Means(EYE), STAINS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "test", ["b", "a_1"])


def test_a_sample_can_be_named_in_every_way(four: Any, folder: Path) -> None:
    stack = np.dstack(list(planes(1).values()))
    tifffile.imwrite(folder / "all.tif", stack)
    paths = {stain: folder / f"a_1_{stain}.png" for stain in STAINS}
    expected = four.predict(paths["red"])
    scores = 1 / (1 + np.exp(-4 * stack.mean(axis=(0, 1)) / 255))
    np.testing.assert_allclose(list(expected.values.values()), scores, rtol=1e-5)
    assert expected.path == str(paths["red"])
    mixed = {"yellow": planes(1)["yellow"], **{stain: str(paths[stain]) for stain in STAINS[:3]}}
    for source in (
        *paths.values(),
        str(paths["blue"]),
        folder / "a_1",
        paths,
        planes(1),
        mixed,
        stack,
        folder / "all.tif",
    ):
        assert four.predict(source).values == expected.values
    assert four.predict(planes(1)).path is None
    assert four.predict(paths).path == four.predict(folder / "a_1").path == str(paths["red"])
    assert [one.values for one in four.predict([folder / "a_1", planes(1)])] == [expected.values] * 2


def test_only_the_stains_that_are_needed_are_read(folder: Path) -> None:
    mix = predictor([labels((0, 1))], Means(np.eye(2).tolist()), ["green/2+blue/2", "green"])
    assert mix.channels is not None and mix.channels.names == ("green", "blue")
    (folder / "b_red.png").unlink()
    green, blue = (planes(0)[stain].astype(float) for stain in ("green", "blue"))
    means = np.array([np.rint((green + blue) / 2).mean(), green.mean()]) / 255
    found = mix.predict(folder / "b_yellow.png")
    np.testing.assert_allclose(list(found.values.values()), 1 / (1 + np.exp(-means)), rtol=1e-5)
    assert found.path == str(folder / "b_green.png")
    assert mix.predict(planes(0)).values == found.values
    assert mix.predict(np.dstack([planes(0)["green"], planes(0)["blue"]])).values == found.values


def test_what_is_no_sample_is_refused(four: Any, folder: Path) -> None:
    (folder / "b_yellow.png").unlink()
    write_png(folder / "rgb.png", np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    some = planes(0)
    for source, error, expected in (
        (folder / "b_red.png", DataError, "b_red.png: 3 of 4 channels found, no b_yellow.png"),
        (folder / "b", DataError, "no b_yellow.png"),
        (folder / "c_red.png", DataError, "0 of 4 channels found"),
        (folder / "nowhere.tif", DataError, "nowhere.tif"),
        (folder / "rgb.png", DataError, r"expected 4 channels \(red, green, blue, yellow\) in it, found 3"),
        (
            np.zeros((8, 8, 3), np.uint8),
            DataError,
            r"array: expected H x W x 4 \(red, green, blue, yellow\), found shape",
        ),
        ({key: some[key] for key in STAINS[:3]}, UsageError, "the model needs red, green, blue, yellow: no yellow was"),
        ({**some, "yelow": some["red"]}, UsageError, r"'yelow': expected stains of .* Did you mean 'yellow'"),
        ({**some, "blue": some["blue"][:8]}, DataError, r"array 'blue': 8 x 16 pixels, .* 'red'; expected all stains"),
        (
            {**some, "blue": np.dstack([some["blue"]] * 2)},
            DataError,
            "array 'blue': expected one channel, H x W, found 2",
        ),
        ({**some, "blue": 3}, TypeError, "found int"),
        (3, TypeError, "a mapping of stains or a list of these, found int"),
    ):
        with pytest.raises(error, match=expected):
            four.predict(source)
    plain = predictor([labels((0,))], Means([[1.0]]), channels=1)
    assert plain.channels is None
    with pytest.raises(TypeError, match="found dict"):
        plain.predict(some)


def test_the_shell_predicts_each_sample_once(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", [labels((0, 25), [0.5, 0.5])])
    write_samples(folder, ["b", "a_1", "c"])
    (folder / "c_yellow.png").unlink()
    tifffile.imwrite(folder / "d.tif", np.dstack(list(planes(0).values())))
    write_png(folder / "e.png", np.zeros((8, 8), np.uint8))
    out = tmp_path / "out"
    assert shell.run("predict", run, folder / "b_*.png", folder, "--out", out, "--device", "cpu") == 1
    said = capsys.readouterr()
    assert said.out == f"3 images predicted: {out / 'predictions.csv'}\n"
    assert "error: 2 of 5 files could not be predicted" in said.err
    table = pd.read_csv(out / "predictions.csv")
    assert table["path"].unique().tolist() == [str(folder / name) for name in ("b_red.png", "a_1_red.png", "d.tif")]
    assert table["name"].tolist() == ["Nucleoplasm", "Cytosol"] * 3
    assert table["value"][4:6].tolist() == pytest.approx(table["value"][0:2].tolist(), abs=1e-6), "the same pixels"
    failed = pd.read_csv(out / "failed.csv").set_index("path")["reason"]
    assert set(failed.index) == {str(folder / "c_blue.png"), str(folder / "e.png")}
    assert "3 of 4 channels found, no c_yellow.png" in failed[str(folder / "c_blue.png")]
    assert "expected 4 channels" in failed[str(folder / "e.png")]
