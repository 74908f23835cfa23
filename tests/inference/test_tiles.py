"""Large images predicted in tiles: how they are cut, that nothing changes by it, and how much memory it takes."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from visionlab import models
from visionlab.inference.tiles import fits, predict_tiled, sees_all, spans
from visionlab.models.blocks import DenseNetwork

Array = np.ndarray[Any, Any]


class Small(DenseNetwork):
    """Sees up to 15 pixels far, by way of features of a quarter of the size."""

    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(2, 8, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(self.down(image), scale_factor=4)


def network() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def image(height: int, width: int) -> Array:
    return np.random.default_rng(0).random((2, height, width), np.float32)


def runner(model: nn.Module, seen: list[tuple[int, ...]] | None = None) -> Callable[[torch.Tensor], Any]:
    """Return a function that gives two maps of a network's three channels, and notes the shapes that it is given."""

    def run(tile: torch.Tensor) -> dict[str, torch.Tensor]:
        if seen is not None:
            seen.append(tuple(tile.shape))
        with torch.inference_mode():
            found = model(tile)
        return {"one": found[:, :1], "two": found[:, 1:]}

    return run


@pytest.mark.parametrize("length", [1, 31, 32, 100, 128, 129, 161, 500, 1000, 1023])
@pytest.mark.parametrize(("divisor", "tile", "overlap"), [(1, 100, 31), (32, 128, 32), (32, 150, 70), (8, 128, 104)])
def test_tiles_cover_an_axis_and_their_weights_sum_to_one(length: int, divisor: int, tile: int, overlap: int) -> None:
    found = spans(length, divisor, tile, overlap)
    end = -(-length // divisor) * divisor
    total = np.zeros(end)
    for span in found:
        assert span.start % divisor == 0
        assert span.stop - span.start == len(span.weights) == found[0].stop
        assert 0 <= span.weights.min() <= span.weights.max() <= 1
        total[span.start : span.stop] += span.weights
    assert found[0].stop <= max(tile, divisor)
    assert np.abs(total - 1).max() < 1e-6
    assert found[-1].stop == end
    assert all(one.stop - other.start >= overlap for one, other in itertools.pairwise(found))
    assert (len(found) == 1) == (end <= tile // divisor * divisor) == fits(length, 1, divisor, tile)


@pytest.mark.parametrize(("height", "width"), [(203, 150), (64, 131), (130, 10)])
def test_tiles_say_what_the_whole_image_says(height: int, width: int) -> None:
    model, seen = network(), list[tuple[int, ...]]()
    given = image(height, width)
    found = predict_tiled(runner(model, seen), given, divisor=4, tile=64, overlap=40)
    assert len(seen) > 1
    assert max(side for shape in seen for side in shape[2:]) <= 64
    with torch.no_grad():
        whole = model(torch.from_numpy(given)[None])[0].numpy()
    np.testing.assert_allclose(np.concatenate([found["one"], found["two"]]), whole, atol=2e-6)


def test_networks_that_see_too_far_have_no_seams() -> None:
    """Each tile says something else: what is blended changes no faster than the ramp."""
    numbers = itertools.count()

    def run(tile: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"number": torch.full_like(tile, next(numbers) % 2)}

    found = predict_tiled(run, np.zeros((1, 10, 1000), np.float32), divisor=2, tile=300, overlap=128)["number"]
    assert np.ptp(found) == 1
    assert np.abs(np.diff(found)).max() <= 1 / 60


def test_memory_is_that_of_a_tile() -> None:
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("the peak of the memory can be read on Linux alone")

    def memory(key: str) -> float:
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(key))

    layer = nn.Conv2d(1, 32, 3, padding=1)  # 128 bytes a pixel, 384 MiB of the whole image

    def run(tile: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            return {"sum": layer(tile).sum(dim=1, keepdim=True)}

    given = np.ones((1, 1536, 2048), np.float32)
    predict_tiled(run, given[:, :512, :512], divisor=1)
    # What earlier tests have freed would else be used again, and nothing be seen.
    ctypes.CDLL(None).malloc_trim(0)
    before = memory("VmRSS")
    reset.write_text("5")  # the peak is counted from here on
    found = predict_tiled(run, given, divisor=1, tile=512, overlap=64)
    most = memory("VmHWM") - before
    assert 0 < most < found["sum"].nbytes / 2**20 + 100


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("fpn", {"encoder": "tu-test_resnet", "norm": "group"}, "GroupNorm"),
        ("fpn", {"encoder": "tu-test_resnet", "norm": "batch"}, ""),
        ("unet", {"encoder": "efficientnet-b0"}, "squeeze-and-excitation"),
        ("unet", {"encoder": "mit_b0"}, "attention"),
        ("shuffle_unet", {}, ""),
    ],
)
def test_networks_that_see_all_of_an_image_are_known(name: str, options: dict[str, Any], reason: str) -> None:
    with torch.device("meta"):
        model = models.build(name, 3, 1, **options)
    found = sees_all(model, 3)
    assert reason in found
    assert bool(found) == bool(reason)


def test_norms_of_each_image_are_known() -> None:
    layers = (nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4))
    assert sees_all(nn.Sequential(*layers), 1) == "InstanceNorm2d"
    assert sees_all(nn.Sequential(layers[0], nn.InstanceNorm2d(4, track_running_stats=True)), 1) == ""
