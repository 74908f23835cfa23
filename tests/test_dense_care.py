"""Maps that nobody learns, files that several images share, predictions that would be mixed, settings of evaluate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import dense, shell
from visionlab.data.transforms import Augment
from visionlab.errors import ConfigError, DataError


def test_maps_that_no_head_learns_are_left_alone(depth_mask_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(depth_mask_root, root)
    broken = next((root / "dense").rglob("*.png"))
    broken.write_bytes(b"no image")
    data = dense.data_module(root, "~heads.depth")
    assert list(data.stored_maps) == ["mask"]
    assert set(next(iter(data.loader("val")))["target"]) == {"mask"}
    prepared = tmp_path / "prepared"
    settings = ("task=depth_mask", f"data.root={root}", "data.image_size=32", f"hydra.run.dir={prepared}")
    assert shell.run("prepare", *settings, "~heads.depth") == 0
    with pytest.raises(DataError, match=broken.name):
        dense.data_module(root)


def test_a_background_shared_by_images_of_two_shapes_is_named(tmp_path: Path) -> None:
    rows = ["image,mask,depth,background,group"]
    for number in range(6):
        size = (32, 48) if number == 5 else (32, 32)
        image, mask, depth = dense.scene(number, size)
        for name, content in (("image", image), ("mask", mask), ("depth", depth)):
            dense.png(tmp_path / name / f"{number}.png", content)
        # The third room is seen by two images of different shapes.
        rows.append(f"image/{number}.png,mask/{number}.png,depth/{number}.png,room{number // 2}.png,g{number // 2}")
    for room in range(3):
        dense.png(tmp_path / f"room{room}.png", dense.scene(10 + room)[0])
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"room2\.png: belongs to images of different shapes, .*4\.png and .*5\.png"):
        dense.data_module(tmp_path, "data.table=list.csv", "data.inputs=[image,background]")


def test_maps_of_two_formats_are_not_mixed(
    dense_run: Path, depth_mask_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((depth_mask_root / "fgbg").rglob("*.jpg"))
    out = tmp_path / "out"
    assert shell.run("predict", dense_run, image, "--out", out) == 0
    before = (out / "maps.json").read_text()
    assert json.loads(before)["depth"]["step"] == 0.001
    assert shell.run("predict", dense_run, image, "--out", out) == 0, "the same again is no harm"
    assert shell.run("predict", dense_run, image, "--out", out, "--depth-format", "tif") == 2
    assert "another folder" in capsys.readouterr().err
    assert (out / "maps.json").read_text() == before
    assert not list(out.rglob("*.tif"))


def test_conversions_are_no_augmentation() -> None:
    augment = Augment([], [{"transform": "ToFloat", "max_value": 255.0}])
    with pytest.raises(ConfigError, match="values of the same type"):
        augment([np.zeros((8, 8, 3), np.uint8)], [], 0)


def test_evaluate_reads_another_folder_as_it_is_told(
    dense_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Depth in tenths of a millimetre: ten times too deep unless told."""
    found = {}
    for name, scale, setting in (("mm", 1, []), ("tenths", 10, ["data.depth_scale=0.0001"])):
        root = tmp_path / name
        for number in range(4):
            image, mask, depth = dense.scene(100 + number)
            dense.png(root / "images" / f"{number}.png", image)
            dense.png(root / "masks" / f"{number}.png", mask)
            dense.png(root / "depth" / f"{number}.png", depth * scale)
        out = tmp_path / f"{name}_out"
        arguments = (*setting, "data.per_background=2", "--data", root, "--out", out)
        assert shell.run("evaluate", dense_run, *arguments) == 0
        found[name] = json.loads((out / "metrics.json").read_text())["test/depth/mae"]
    assert found["tenths"]["value"] == pytest.approx(found["mm"]["value"], rel=1e-5)
    assert found["mm"]["groups"] == 2
    capsys.readouterr()
    for wrong in ("data.image_size=64", "optimizer.lr=1", "data.root=x"):
        assert shell.run("evaluate", dense_run, wrong, "--data", tmp_path / "mm", "--out", tmp_path / "new") == 2
        assert wrong in capsys.readouterr().err
    assert shell.run("evaluate", dense_run, "data.depth_scale=0.0001") == 2
    assert "--data" in capsys.readouterr().err
