"""Predicting from Python: what goes in, what comes out, and that it is what training did to its images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import visionlab
from tests.conftest import train
from visionlab.errors import DataError, UsageError
from visionlab.inference import Predictor

Write = Callable[[Path, object], None]


@pytest.fixture(scope="module")
def predictor(tiny_run: Path) -> Predictor:
    loaded: Predictor = visionlab.load(tiny_run, device="cpu")
    return loaded


@pytest.fixture(scope="module")
def file(focus_root: Path) -> Path:
    return min((focus_root / "images").iterdir())


@pytest.fixture(scope="module")
def image(file: Path) -> Any:
    """The pixels of ``file``: 32 x 32, uint8."""
    return imagecodecs.png_decode(file.read_bytes())


def test_depth_and_colour_that_add_nothing_change_nothing(predictor: Predictor, image: Any, tmp_path: Path) -> None:
    expected = predictor.predict(image).distance
    deep = image.astype(np.uint16) * np.uint16(257)
    colour = np.repeat(image[:, :, None], 3, axis=2)
    opaque = np.dstack([image, np.full_like(image, 255)])
    for other in (deep, colour, opaque, np.dstack([colour, opaque[:, :, 1]]), np.repeat(deep[:, :, None], 3, axis=2)):
        assert predictor.predict(other).distance == pytest.approx(expected, abs=1e-5)
        path = tmp_path / "copy.png"
        path.write_bytes(imagecodecs.png_encode(other))
        assert predictor.predict(path).distance == pytest.approx(expected, abs=1e-5)
    for other in (image, deep):
        path = tmp_path / "copy.tif"
        tifffile.imwrite(path, other)
        assert predictor.predict(path).distance == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((8, 8)), "expected uint8, uint16 or float32 as in the files, found float64"),
        (np.zeros((8, 8), bool), "found bool"),
        (np.zeros((8, 8), np.int64), "found int64"),
        (np.zeros((8, 8), object), "found object"),
        (np.array(["a"]), "found shape"),
        (np.zeros((8, 8), np.float32), "expected uint8 values as in the rest of the training set, found float32"),
        (np.full((8, 8), np.nan, np.float32), "expected finite values, found NaN"),
        (np.full((8, 8), np.inf, np.float32), "expected finite values"),
        (np.zeros((1, 1, 8, 8), np.uint8), "expected H x W or H x W x C, found shape (1, 1, 8, 8)"),
        (np.zeros(8, np.uint8), "found shape (8,)"),
        (np.zeros((0, 8), np.uint8), "found shape (0, 8"),
        (np.zeros((8, 8, 5), np.uint8), "5 channels found, 1 wanted"),
        (np.arange(128, dtype=np.uint8).reshape(8, 8, 2), "the last (alpha) varies"),
        (np.zeros((1, 2_000_000), np.uint8), "too many to hold"),
    ],
)
def test_what_is_no_such_image_is_refused(array: Any, expected: str, predictor: Predictor) -> None:
    with pytest.raises(DataError) as caught:
        predictor.predict(array)
    assert str(caught.value).startswith("array: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("source", [None, 3, b"bytes", torch.zeros(8, 8), [3]])
def test_other_things_are_refused_by_their_type(source: Any, predictor: Predictor) -> None:
    with pytest.raises(TypeError, match="expected an image's path, a NumPy array or a list of these, found"):
        predictor.predict(source)


def test_averaged_weights_are_those_that_predict(focus_root: Path, tmp_path: Path, image: Any) -> None:
    run = train(tmp_path / "ema", f"data.root={focus_root}", "callbacks.ema.decay=0.9")
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    average, current = last["state_dict"], last["current_model_state"]
    name = "model.network.head.1.weight"
    assert not torch.equal(average[name], current[name])
    loaded = visionlab.load(run / "checkpoints" / "last.ckpt", device="cpu")
    assert torch.equal(loaded.model.network.head[1].weight, average[name])
    best = visionlab.load(run, device="cpu")
    table = pd.read_csv(run / "predictions" / "test.csv")
    found = best.predict(focus_root / table["path"][0]).distance
    assert found == pytest.approx(table["distance_pred"][0], abs=1e-5)
    assert np.isfinite(best.predict(image).distance)


@pytest.mark.parametrize("name", ["cdua", "cuda:99", "meta", "hpu", "", "cpu:cpu"])
def test_an_unknown_device_is_refused(name: str, tiny_run: Path) -> None:
    with pytest.raises(UsageError, match=f"device '{name}': expected one that is there: auto, cpu"):
        visionlab.load(tiny_run, device=name)
