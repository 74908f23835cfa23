"""What predicting keeps to, whatever kind of head predicts and whatever it is given."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import visionlab
from tests import shell, untrained
from tests.heads import examples
from visionlab.errors import DataError, UsageError
from visionlab.heads import KINDS
from visionlab.inference import Ensemble, Prediction, Predictor
from visionlab.inference.tiles import predict_frame
from visionlab.inference.tta import Views

Array = np.ndarray[Any, Any]
SIZE = (16, 16)
every_kind = pytest.mark.parametrize("kind", KINDS)
every_map = pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.dense])


def network(kind: str, seed: int, *, alike: bool = False) -> nn.Module:
    """Return a network of gray images; one that says the same of an image and its mirror images if ``alike``."""
    torch.manual_seed(seed)
    outputs = examples.head(kind).channels
    if KINDS[kind].dense:
        return nn.Conv2d(1, outputs, 1) if alike else nn.Conv2d(1, outputs, 5, padding=2)
    if alike:
        return untrained.Means(torch.randn(outputs, 1).tolist())
    return nn.Sequential(nn.Flatten(), nn.Linear(SIZE[0] * SIZE[1], outputs))


def predictor(kind: str, seed: int = 0, *, alike: bool = False, views: Views | None = None) -> Predictor:
    return untrained.predictor([examples.head(kind)], network(kind, seed, alike=alike), channels=1, views=views)


def image(seed: int = 0, height: int = 16, width: int = 16) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def same(one: Prediction, other: Prediction, tolerance: float = 0.0) -> None:
    """Check that two predictions are alike in all but the path."""
    assert one.units == other.units
    assert list(one.values) == list(other.values)
    np.testing.assert_allclose(list(one.values.values()), list(other.values.values()), atol=tolerance, rtol=tolerance)
    assert list(one.maps) == list(other.maps)
    for name, values in one.maps.items():
        assert values.dtype == other.maps[name].dtype == np.float32
        np.testing.assert_allclose(values, other.maps[name], atol=tolerance)


@every_kind
def test_a_prediction_has_named_values_maps_and_classes(kind: str) -> None:
    found = predictor(kind).predict(image(0, 40, 30))
    head = examples.head(kind)
    assert found.values and set(found.units) == {*found.values, *found.maps}
    for name, value in found.values.items():
        assert getattr(found, name) == value
    assert set(found.maps) == ({"target"} if head.kind.dense else set())
    assert all(values.shape == (40, 30) for values in found.maps.values())
    assert set(found.decided) == ({"target"} if head.class_numbers else set())
    assert set(found.decided.get("target", ())) <= set(head.class_numbers)
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        same(found, other)
    with pytest.raises(AttributeError, match=f"no predicted value 'nothing'; there are: .*{list(found.values)[-1]}"):
        _ = found.nothing
    with pytest.raises(AttributeError):
        found.path = "x"  # type: ignore[misc]


@every_kind
def test_files_arrays_and_lists_say_the_same(kind: str, tmp_path: Path) -> None:
    one, pixels = predictor(kind), image()
    path = tmp_path / "a.png"
    untrained.write_png(path, pixels)
    expected = one.predict(path)
    assert (expected.path, one.predict(pixels).path) == (str(path), None)
    for source in (str(path), pixels, pixels[:, :, None], np.asfortranarray(pixels)):
        same(one.predict(source), expected)
    several = one.predict([path, pixels, image(1, 20, 30)])
    same(several[0], expected)
    same(several[1], expected)
    same(several[2], one.predict(image(1, 20, 30)))
    assert one.predict([]) == []
    # 16 bits are the same light, in whichever order their bytes are.
    deep = pixels.astype(np.uint16) * np.uint16(257)
    same(one.predict(deep), expected, 1e-5)
    same(one.predict(deep.astype(">u2")), one.predict(deep))


@every_kind
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_files_of_any_size_keep_their_order_and_bad_ones_cost_no_others(
    kind: str, batch_size: int, tmp_path: Path
) -> None:
    one = predictor(kind)
    paths = [tmp_path / f"{number * 7 % 10}.png" for number in range(10)]
    for number, path in enumerate(paths):
        untrained.write_png(path, image(number, 16 + number % 3, 16))
    paths[4].write_bytes(paths[4].read_bytes()[:50])
    results = list(one.predict_files(({"image": path} for path in paths), batch_size))
    assert [path for path, _ in results] == paths
    for path, found in results:
        if path == paths[4]:
            assert isinstance(found, DataError) and str(path) in str(found)
        else:
            assert isinstance(found, Prediction) and found.path == str(path)
            same(found, one.predict(path), 1e-5)


@every_kind
def test_several_models_give_the_mean(kind: str) -> None:
    one, other, pixels = predictor(kind, 0), predictor(kind, 1), image(0, 30, 20)
    same(Ensemble([one]).predict(pixels), one.predict(pixels))
    found = Ensemble([one, other]).predict(pixels)
    alone = [member.predict(pixels) for member in (one, other)]
    for name, values in found.maps.items():
        np.testing.assert_allclose(values, np.mean([each.maps[name] for each in alone], axis=0), atol=1e-5)
    if not found.maps:
        for name, value in found.values.items():
            assert value == pytest.approx(np.mean([each.values[name] for each in alone]), rel=1e-5)
    assert np.ptp([list(each.values.values())[-1] for each in alone]) > 0, "the models differ"


@every_kind
@pytest.mark.parametrize("merge", ["mean", "max"])
@pytest.mark.parametrize("name", ["flips", "all"])
def test_views_change_nothing_for_a_network_that_sees_no_difference(kind: str, name: str, merge: str) -> None:
    plain, turned = (predictor(kind, alike=True, views=views) for views in (None, Views(name, merge)))
    for pixels in (image(), image(1, 10, 16), image(2, 30, 14)):
        same(turned.predict(pixels), plain.predict(pixels), 1e-5)
    lopsided = [predictor(kind, views=views).predict(image()) for views in (None, Views(name, merge))]
    assert any(lopsided[0].values[key] != lopsided[1].values[key] for key in lopsided[0].values) or any(
        (lopsided[0].maps[key] != lopsided[1].maps[key]).any() for key in lopsided[0].maps
    )


@every_map
def test_a_time_point_of_one_plane_is_an_image_and_its_tiles_are_the_whole(kind: str) -> None:
    one, pixels = predictor(kind), image(0, 16, 16)
    (planes,) = list(one.planes(pixels[None, :, :, None]))
    np.testing.assert_allclose(planes["target"][0], one.predict(pixels).target, atol=1e-6)
    volume = pixels[None, :, :, None]
    whole, tiled = predict_frame(one, volume), predict_frame(one, volume, tile=12, overlap=8)
    np.testing.assert_allclose(tiled["target"], whole["target"], atol=1e-5)
    mean = next(Ensemble([one, predictor(kind, 1)]).planes(pixels[None, :, :, None]))["target"]
    other = next(predictor(kind, 1).planes(pixels[None, :, :, None]))["target"]
    np.testing.assert_allclose(mean, (planes["target"] + other) / 2, atol=1e-6)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of every kind that was never trained, as far as predicting knows of runs."""
    folder = tmp_path_factory.mktemp("runs")
    maps = {True: "shuffle_unet", False: "test_resnet"}
    return {
        name: untrained.write_run(folder / name, [examples.head(name)], (), channels=1, network=maps[kind.dense])
        for name, kind in KINDS.items()
    }


@every_kind
def test_the_command_writes_what_python_predicts(kind: str, runs: dict[str, Path], tmp_path: Path) -> None:
    names = {"a.png": image(0, 32, 32), "deep/b.png": image(1, 20, 40)}
    for name, pixels in names.items():
        untrained.write_png(tmp_path / "in" / name, pixels)
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG")
    out, one = tmp_path / "out", visionlab.load(runs[kind], device="cpu")
    assert shell.run("predict", runs[kind], tmp_path / "in", "--out", out, "--device", "cpu") == 1
    table = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    assert list(table) == ["path", "name", "value", "unit"]
    assert set(table["path"]) == {str(tmp_path / "in" / name) for name in names}
    failed = pd.read_csv(out / "failed.csv")
    assert failed["path"].tolist() == [str(tmp_path / "in" / "bad.png")]
    for path, rows in table.groupby("path"):
        found = one.predict_volume(path) if one.heads[0].by_time_point else one.predict(path)
        if isinstance(found, Prediction):
            expected = pytest.approx(dict(found.values), abs=1e-4, rel=1e-4)
            assert dict(zip(rows["name"], rows["value"].astype(float), strict=True)) == expected
            assert dict(zip(rows["name"], rows["unit"], strict=True)) == {k: found.units[k] for k in found.values}
        else:
            assert float(rows.set_index("name")["value"]["target_count"]) == len(found.objects)


@every_kind
def test_a_checkpoint_that_was_cut_or_changed_is_refused(
    kind: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (runs[kind] / "checkpoints" / "best.ckpt").read_bytes()
    untrained.write_png(tmp_path / "a.png", image())
    for number, content in enumerate(damaged(whole)):
        path = tmp_path / f"{number}.ckpt"
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{number}.ckpt"):
            visionlab.load(path, device="cpu")
    assert shell.run("predict", path, tmp_path / "a.png", "--out", tmp_path / "out") == 1
    assert "Traceback" not in capsys.readouterr().err


def damaged(whole: bytes) -> Iterator[bytes]:
    yield whole[: len(whole) // 2]
    yield whole[:-1]
    yield b""
    yield whole[:100] + bytes([whole[100] ^ 255]) + whole[101 : len(whole) * 9 // 10]


def test_objects_need_a_head_that_finds_them() -> None:
    with pytest.raises(UsageError, match=r"expected a model with a head of instances, found target \(regression\)"):
        predictor("regression").predict_volume(image())
