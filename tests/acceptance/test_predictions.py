"""What is predicted: numbers, maps, labels and objects, from Python and by the command; data that are pasted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest

import visionlab
from tests.acceptance.conftest import TINY, Command

Runs = Callable[[str], Path]
Array = np.ndarray[Any, Any]


def png(path: Path, image: Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))
    return path


# Results in Python ----------------------------------------------------------------------------------------------------


def test_numbers_of_an_image(runs: Runs, roots: Callable[[str], Path], command: Command, tmp_path: Path) -> None:
    files = sorted((roots("focus") / "images").iterdir())[:3]
    predictor = visionlab.load(runs("focus"))
    one = predictor.predict(str(files[0]))
    assert one.units == {"distance": "um"} and one.values == {"distance": one.distance}
    pixels = imagecodecs.png_decode(files[0].read_bytes())
    assert predictor.predict(pixels).distance == pytest.approx(one.distance, abs=1e-5)
    assert [found.distance for found in predictor.predict(files)] == pytest.approx(
        [predictor.predict(file).distance for file in files], abs=1e-5
    )
    assert visionlab.load(runs("focus") / "checkpoints" / "best.ckpt").predict(files[0]).distance == one.distance
    ended = command("predict", runs("focus"), *files, "--out", tmp_path / "out", "--batch-size", 2)
    assert ended.status == 0 and str(tmp_path / "out" / "predictions.csv") in ended.out
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(table) == ["path", "name", "value", "unit"]
    assert table["value"].tolist() == pytest.approx([predictor.predict(file).distance for file in files], abs=1e-5)


def test_other_shapes_are_cropped_in_their_middle(runs: Runs) -> None:
    predictor = visionlab.load(runs("focus"))
    image = np.random.default_rng(0).integers(0, 256, (32, 48), dtype=np.uint8)
    assert predictor.predict(image).distance == predictor.predict(image[:, 8:40]).distance
    assert predictor.predict(image.T).distance == predictor.predict(image.T[8:40]).distance
    assert predictor.predict(image[:, 7:39]).distance != predictor.predict(image[:, 8:40]).distance


def test_test_time_augmentation_is_the_mean_of_the_views(runs: Runs) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    flips = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    views = {"flips": flips, "all": [*flips, *(view.T for view in flips)]}
    plain = visionlab.load(runs("focus"))
    for name, of_name in views.items():
        each = [plain.predict(np.ascontiguousarray(view)).distance for view in of_name]
        assert visionlab.load(runs("focus"), tta=name).predict(image).distance == pytest.approx(np.mean(each), abs=1e-4)
        largest = visionlab.load(runs("focus"), tta=name, tta_merge="max").predict(image).distance
        assert largest == pytest.approx(max(each), abs=1e-4)


def test_several_models_give_the_mean(
    runs: Runs, command: Command, roots: Callable[[str], Path], tmp_path: Path
) -> None:
    checkpoints = [runs("focus") / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    file = min((roots("focus") / "images").iterdir())
    merged = visionlab.load(*checkpoints).predict(file).distance
    assert merged == pytest.approx(np.mean([visionlab.load(c).predict(file).distance for c in checkpoints]), abs=1e-5)
    assert command("predict", *checkpoints, file, "--out", tmp_path).status == 0
    assert pd.read_csv(tmp_path / "predictions.csv")["value"].tolist() == pytest.approx([merged], abs=1e-5)


@pytest.mark.acceptance
def test_maps_have_the_size_of_the_image(runs: Runs, command: Command, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 37, 3), dtype=np.uint8)
    found = visionlab.load(runs("depth_mask")).predict(png(tmp_path / "in" / "photo.png", image))
    assert found.mask.shape == found.depth.shape == (50, 37)
    assert found.mask.dtype == found.depth.dtype == np.float32
    assert found.mask.min() >= 0 and found.mask.max() <= 1
    out = tmp_path / "out"
    assert command("predict", runs("depth_mask"), tmp_path / "in", "--out", out).status == 0
    mask = imagecodecs.png_decode((out / "mask" / "photo.png").read_bytes())
    depth = imagecodecs.png_decode((out / "depth" / "photo.png").read_bytes())
    assert mask.shape == depth.shape == (50, 37) and set(np.unique(mask)) <= {0, 255} and depth.dtype == np.uint16
    assert (mask > 0).sum() == (found.mask >= 0.5).sum()
    # 0 says that a depth is unknown, so none is rounded to it.
    np.testing.assert_allclose(depth / 1000, found.depth.clip(0.001), atol=6e-4)
    assert (out / "overlay").is_dir() and (out / "maps.json").is_file()
    words = ("--out", tmp_path / "float", "--depth-format", "tif")
    assert command("predict", runs("depth_mask"), tmp_path / "in", *words).status == 0
    assert (tmp_path / "float" / "depth" / "photo.tif").is_file()
    mixed = command("predict", runs("depth_mask"), tmp_path / "in", "--out", tmp_path / "float")
    assert mixed.status == 2 and "maps of other units or another format" in mixed.err


@pytest.mark.acceptance
def test_a_background_is_a_second_input(command: Command, tmp_path: Path, roots: Callable[[str], Path]) -> None:
    words = (*TINY["depth_mask"], "data.inputs=[image,background]", "augment=fgbg_background", "trainer.max_epochs=1")
    losses = ("heads.mask.loss={bce:1,dice:0.5}", "heads.mask.weight=2", "balance=uncertainty")
    run, root = tmp_path / "run", roots("depth_mask")
    ended = command("train", *words, *losses, f"data.root={root}", f"hydra.run.dir={run}")
    assert ended.status == 0, ended.err
    background = min((root / "bg").iterdir())
    image = min((root / "fgbg" / background.stem).rglob("*.*"))
    one = visionlab.load(run).predict(image, background=background)
    out = tmp_path / "out"
    assert command("predict", run, image, "--out", out, "--with", f"background={root / 'bg'}").status == 0
    mask = imagecodecs.imread((out / "mask" / f"{image.stem}.png").read_bytes())
    assert (np.asarray(mask) > 0).sum() == (one.mask >= 0.5).sum()
    assert command("predict", run, image, "--out", tmp_path / "none").status != 0


@pytest.mark.acceptance
def test_labels_and_a_submission(runs: Runs, command: Command, tmp_path: Path, roots: Callable[[str], Path]) -> None:
    run, out, file = runs("protein_atlas"), tmp_path / "out", tmp_path / "submission.csv"
    test = roots("protein_atlas") / "test"
    assert command("predict", run, test, "--out", out, "--submission", file, "--at-least-one").status == 0
    wanted = pd.read_csv(roots("protein_atlas") / "sample_submission.csv")["Id"].tolist()
    rows = [line.split(",") for line in file.read_bytes().decode().split("\n")]
    assert rows[0] == ["Id", "Predicted"] and rows[-1] == [""]
    assert [row[0] for row in rows[1:-1]] == wanted
    for _, numbers in rows[1:-1]:
        assert re.fullmatch(r"\d+( \d+)*", numbers)
        assert sorted(set(map(int, numbers.split()))) == [int(text) for text in numbers.split()]
    labels = pd.read_csv(out / "labels.csv", keep_default_na=False)
    assert sorted(labels["id"]) == sorted(wanted)
    found = visionlab.load(run).predict(test / wanted[0])
    assert found.labels == tuple(text for text in found.labels if text in found.values)
    assert found.values["Cytosol"] == found.Cytosol
    given = labels.set_index("id").loc[wanted[0], "labels"]
    assert all(label in given for label in found.labels)
    scores = pd.read_csv(out / "predictions.csv")
    assert len(scores) == 28 * len(wanted)
    # Thresholds are fitted on validation: of each class, or none where no image has it.
    thresholds = json.loads((run / "run.json").read_text())["heads"]["labels"]["thresholds"]
    assert len(thresholds) == 28


@pytest.mark.acceptance
def test_groups_of_classes_are_joined(command: Command, tmp_path: Path, roots: Callable[[str], Path]) -> None:
    root = roots("protein_atlas")
    for half in (1, 2):
        words = (*TINY["protein_atlas"], f"data.root={root}", f"data.class_group={half}/2", "trainer.max_epochs=1")
        assert command("train", *words, f"hydra.run.dir={tmp_path / str(half)}").status == 0
    out = tmp_path / "out"
    ended = command("predict", tmp_path / "1", tmp_path / "2", root / "test", "--out", out, "--tta", "flips")
    assert ended.status == 0, ended.err
    assert pd.read_csv(out / "predictions.csv")["name"].nunique() == 28


# Volumes --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def volume(roots: Callable[[str], Path]) -> Array:
    """A time point of the generated nuclei, Z x H x W."""
    import tifffile

    return np.asarray(tifffile.imread(min((roots("celegans_nuclei") / "01").glob("*.tif"))))


def tiff(path: Path, values: Array) -> Path:
    import tifffile

    scale = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 1.5}
    tifffile.imwrite(
        path, values, ome=True, photometric="minisblack", metadata={"axes": "TZYX"[-values.ndim :], **scale}
    )
    return path


def matlab(path: Path, values: Array) -> Path:
    import scipy.io

    scipy.io.savemat(path, {"embryo": values.transpose(1, 2, 0)})
    return path


def video(path: Path, values: Array) -> Path:
    import cv2

    frames = (values // max(1, int(values.max()) // 255)).clip(0, 255).astype(np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 2.0, frames.shape[:0:-1], False)
    for frame in frames:
        writer.write(np.ascontiguousarray(frame))
    writer.release()
    return path


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("write", "name", "axes"), [(tiff, "a.ome.tif", "ZYX"), (matlab, "a.mat", "ZYX")], ids=["ome", "matlab"]
)
def test_objects_of_a_volume(
    write: Callable[[Path, Array], Path],
    name: str,
    axes: str,
    runs: Runs,
    command: Command,
    tmp_path: Path,
    volume: Array,
) -> None:
    import tifffile

    file, out = write(tmp_path / name, volume), tmp_path / "out"
    words = (runs("celegans_nuclei"), file, "--out", out, "--gif", "--probabilities", "--threshold", 0.2)
    ended = command("predict", *words)
    assert ended.status == 0, ended.err
    (labels,) = (out / "nuclei").iterdir()
    with tifffile.TiffFile(labels) as tif:
        assert (tif.series[0].axes, tif.series[0].shape) == (axes, volume.shape)
        found = tif.asarray()
        if name.endswith("ome.tif"):
            assert all(text in str(tif.ome_metadata) for text in ("0.25", "0.5", "1.5")), "voxel size"
    table = pd.read_csv(out / "objects.csv")
    assert {"file", "time", "object", "z", "y", "x", "volume_px", "planes"} <= set(table)
    counted = {number: int((found == number).sum()) for number in np.unique(found) if number}
    assert dict(zip(table["object"], table["volume_px"], strict=True)) == counted
    for number, *centre in table[["object", "z", "y", "x"]].to_numpy():
        np.testing.assert_allclose(np.argwhere(found == number).mean(axis=0), centre, atol=0.01)
    assert list((out / "overlay").glob("*.gif")) and list((out / "probability" / "nuclei").iterdir())
    assert (out / "population.csv").is_file() and (out / "predictions.csv").is_file()
    python = visionlab.load(runs("celegans_nuclei")).predict_volume(file)
    assert python.labels["nuclei"].shape == python.maps["nuclei"].shape == volume.shape
    again = command("predict", *words)
    assert again.status == 0 and len(list((out / "nuclei").iterdir())) == 1, "what is done is left out"


@pytest.mark.acceptance
def test_numbers_over_time_of_a_video(runs: Runs, command: Command, tmp_path: Path, volume: Array) -> None:
    file, out = video(tmp_path / "a.avi", volume), tmp_path / "out"
    assert command("predict", runs("celegans_lineage"), file, "--out", out).status == 0
    table = pd.read_csv(out / "predictions.csv")
    assert set(table["path"]) == {f"{file}#{number}" for number in range(len(volume))}
    assert (table["value"] >= 0).all() and set(table["unit"]) == {"cells"}
    assert (out / "population.csv").is_file() and (out / "population.png").is_file()


# Making data ----------------------------------------------------------------------------------------------------------


def test_cutouts_are_pasted_with_exact_masks(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        png(tmp_path / "backgrounds" / f"{name}.png", rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    cutout = np.zeros((20, 16, 4), np.uint8)
    cutout[3:17, 3:13] = (200, 60, 20, 255)
    png(tmp_path / "cutouts" / "box.png", cutout)
    root = tmp_path / "composed"
    sources = (f"make.backgrounds={tmp_path / 'backgrounds'}", f"make.cutouts={tmp_path / 'cutouts'}")
    words = ("task=depth_mask", "make=composite", *sources, "make.per_pair=2", f"data.root={root}", "~heads.depth")
    more = ("data.image_size=32", f"hydra.run.dir={tmp_path / 'prepare'}")
    ended = command("prepare", *words, *more)
    assert ended.status == 0, ended.err
    images = {path.relative_to(root / "fgbg").with_suffix("") for path in (root / "fgbg").rglob("*.*")}
    masks = {path.relative_to(root / "fgbgmask").with_suffix("") for path in (root / "fgbgmask").rglob("*.png")}
    assert images == masks and len(images) >= 6
    assert len(list((root / "bg").iterdir())) == 3
    for path in (root / "fgbgmask").rglob("*.png"):
        mask = imagecodecs.png_decode(path.read_bytes())
        assert mask.shape[:2] == (40, 48) and set(np.unique(mask)) == {0, 255}
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "a box stays a box"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    assert command("prepare", *words, "data.image_size=32", f"hydra.run.dir={tmp_path / 'again'}").status == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.png")} == before, "what is made is not made again"
