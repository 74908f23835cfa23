"""Whole time points: planes are shown as in training, and their maps come back in the size of the image."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests import untrained
from visionlab import models
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError, UserError
from visionlab.heads.head import Head
from visionlab.heads.mask.head import MaskHead
from visionlab.inference.predictor import Predictor
from visionlab.inference.tiles import predict_frame
from visionlab.inference.tta import Views
from visionlab.modules.task_model import Normalizer

Array = np.ndarray[Any, Any]
NATIVE = Preprocess(1, 32, 32, fit="native", dtype="uint16", scale="percentile")


def values(name: str = "mask") -> MaskHead:
    """Return a head of one map, which the network's channel is."""
    return MaskHead(name, share=0.5, metrics=[], weight=1.0, activation="none")


def make(
    heads: Sequence[Head],
    network: nn.Module,
    preprocess: Preprocess = NATIVE,
    *,
    neighbours: int = 0,
    mode: str = "dataset",
    views: Views | None = None,
) -> Predictor:
    channels = preprocess.channels * (2 * neighbours + 1)
    model, about = untrained.model(heads, network, (), channels, (32, 32))
    model.normalizer = Normalizer(mode, [0.0] * channels, [1.0] * channels)
    about = {**about, "preprocess": preprocess.spec(), "neighbours": neighbours}
    return Predictor(model, about, device="cpu", views=views)


def plain(*weights: float) -> nn.Conv2d:
    """Return a network that adds up its channels with these weights."""
    layer = nn.Conv2d(len(weights), 1, 1, bias=False)
    nn.init.constant_(layer.weight, 0)
    with torch.no_grad():
        layer.weight[0, :, 0, 0] = torch.tensor(weights)
    return layer


def near(outputs: int = 1) -> nn.Conv2d:
    """Return a network that sees 3 pixels far, and not the same in all directions."""
    torch.manual_seed(0)
    layer = nn.Conv2d(1, outputs, 7, padding=3)
    nn.init.constant_(layer.bias, 0.5)  # type: ignore[arg-type]
    return layer


def volume(depth: int = 4, height: int = 20, width: int = 30, channels: int = 1) -> Array:
    """Return planes of which each is brighter than the one before."""
    rng = np.random.default_rng(0)
    bright = np.arange(1, depth + 1).reshape(-1, 1, 1, 1) * 1000
    return (rng.random((depth, height, width, channels)) * bright + 500).astype(np.uint16)


def test_planes_are_scaled_by_what_the_whole_time_point_holds() -> None:
    image = volume()
    found = predict_frame(make([values()], plain(1.0)), image)["mask"]
    low = np.median([np.percentile(plane, 1) for plane in image])
    high = max(np.percentile(plane, 99.8) for plane in image)
    assert found.shape == (4, 1, 20, 30)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], ((image[..., 0] - low) / (high - low)).clip(0, 1), atol=1e-6)
    assert found[0].max() < found[3].max() / 2


def test_each_plane_is_seen_between_its_neighbours_and_the_last_ones_are_repeated() -> None:
    image = volume(depth=3)
    middle = predict_frame(make([values()], plain(1.0)), image)["mask"]
    below, above = (
        predict_frame(make([values()], plain(*weights), neighbours=2), image)["mask"]
        for weights in ((0, 1.0, 0, 0, 0), (0, 0, 0, 0, 1.0))
    )
    assert np.array_equal(below, middle[[0, 0, 1]])
    assert np.array_equal(above, middle[[2, 2, 2]])
    some = predict_frame(make([values()], plain(0, 1.0, 0, 0, 0), neighbours=2), image, planes=[2, 0])["mask"]
    assert np.array_equal(some, below[[2, 0]])


@pytest.mark.parametrize("fit", ["native", "stretch", "pad", "crop"])
@pytest.mark.parametrize("scale", ["dtype", "percentile"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("mode", ["dataset", "image"])
def test_a_single_image_is_predicted_as_ever(fit: Any, scale: Any, dtype: str, mode: str) -> None:
    """Whatever the training set was, and 8-bit images in a 16-bit set."""
    image = (volume(1) // 16).astype(np.uint8)
    one = make([values()], near(), replace(NATIVE, fit=fit, scale=scale, dtype=dtype), mode=mode)
    found = predict_frame(one, image)["mask"]
    assert found.shape == (1, 1, 20, 30)
    assert np.ptp(found) > 0
    np.testing.assert_allclose(found[0, 0], one.predict(image[0]).mask, atol=1e-6)


@pytest.mark.parametrize("scale", ["dtype", "percentile"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("mode", ["dataset", "image"])
def test_tiles_say_what_the_whole_plane_says(scale: Any, dtype: str, mode: str) -> None:
    """Of a plane that is dark on one side, where a tile of its own would be made bright."""
    image = volume(2, 90, 70) / 3000 * np.linspace(0.01, 1, 70)[:, None]
    image = (image * {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]).astype(dtype)
    one = make([values()], near(), replace(NATIVE, scale=scale, dtype=dtype), mode=mode)
    whole, tiled = predict_frame(one, image)["mask"], predict_frame(one, image, tile=40, overlap=16)["mask"]
    assert np.ptp(whole) > 0.1
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("name", ["flips", "all"])
def test_tiles_can_be_seen_in_several_views(name: str) -> None:
    image = volume(1, 90, 70)
    one, turned = (make([values()], near(), views=views) for views in (None, Views(name)))
    whole, tiled = predict_frame(turned, image)["mask"], predict_frame(turned, image, tile=40, overlap=16)["mask"]
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    assert np.abs(predict_frame(one, image)["mask"] - whole).max() > 1e-3


def test_networks_that_see_all_of_an_image_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    image = volume(2, 96, 64)
    for name, options, advice in (
        ("fpn", {"norm": "group"}, "GroupNorm over the whole image.*train with model.norm=batch"),
        ("fpn", {"norm": "batch"}, ""),
        ("unet", {"encoder": "efficientnet-b0"}, "squeeze-and-excitation.*an encoder without, such as resnet18"),
    ):
        one = make([values()], models.build(name, 1, 1, **{"encoder": "tu-test_resnet", **options}))
        one.model.network_spec["name"] = name
        with caplog.at_level(logging.WARNING):
            predict_frame(one, image)
            assert not caplog.messages, "in one piece they are right"
            for _ in range(2):
                predict_frame(one, image, planes=[0], tile=64, overlap=32)
        assert len(caplog.messages) == bool(advice)
        if advice:
            begin = rf"96 x 64 px are predicted in tiles, but the model \({name}\) has .*"
            assert re.match(begin + advice, caplog.messages[0])
        caplog.clear()


def test_wrong_images_and_too_little_memory_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    one = make([values()], near())
    with pytest.raises(DataError, match="expected uint16 values as in the rest of the training set, found float32"):
        predict_frame(one, volume().astype(np.float32))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(one.model, "forward", full)
    with pytest.raises(UserError, match="cpu: too little memory"):
        predict_frame(one, volume(), tile=16, overlap=4)
