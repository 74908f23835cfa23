"""Files from anywhere: nothing in them runs, damage is never read as pixels, and pixels keep what they were."""

from __future__ import annotations

import copy
import io
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import scipy.io
import tifffile
import torch
from PIL import Image

import visionlab
from tests.acceptance.conftest import TINY, Command

Runs = Callable[[str], Path]
Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
FULL = pytest.mark.acceptance


def some(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the rows of a table, of which `make test` takes every fourth."""
    return [pytest.param(*row, marks=FULL if number % 4 else ()) for number, row in enumerate(rows)]


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


# Checkpoints ----------------------------------------------------------------------------------------------------------


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return the function that sets an entry, ``a/b/c``, of a checkpoint; without a value it removes it."""

    def change(content: dict[str, Any]) -> None:
        *way, last = key.split("/")
        for part in way:
            content = content[part]
        if value is None:
            del content[last]
        else:
            content[last] = value

    return change


# What is changed in a checkpoint, and what the refusal must name.
DESCRIPTIONS = [
    (put("visionlab", 3), "format"),
    (put("visionlab/format", 99), "format"),
    (put("visionlab/network/name", "os.system"), r"os\.system"),
    (put("visionlab/network/name", "resnet43"), "resnet43"),
    (put("visionlab/network/name", "resnet18"), ""),
    (put("visionlab/network/options", {"pretrained": True}), "options"),
    (put("visionlab/network/options", {"weights": "/etc/passwd"}), "options"),
    (put("visionlab/network/options", {"hidden": [10**9, 10**9]}), ""),
    (put("visionlab/network/in_channels", 10**7), ""),
    (put("visionlab/network/in_channels", -1), "in_channels"),
    (put("visionlab/network/out_channels", 10**9), "out_channels"),
    (put("visionlab/heads", {}), "heads"),
    (put("visionlab/heads/distance/kind", "os.system"), "kind"),
    (put("visionlab/heads/distance/columns", ["a", "b"]), "columns"),
    (put("visionlab/heads/distance/unit", 3), "unit"),
    (put("visionlab/inputs", ["image", "background"]), "inputs|expected as many"),
    (put("visionlab/normalize", "batch"), "normalize"),
    (put("visionlab/preprocess/fit", "fill"), "fit"),
    (put("visionlab/preprocess/dtype", "object"), "dtype"),
    (put("visionlab/preprocess/height", 10**9), "preprocess|height"),
    (put("visionlab/preprocess/height", None), "height"),
    (put("state_dict", {}), ""),
    (put("state_dict", None), ""),
    (put("state_dict", [1]), ""),
    (put("state_dict/model.more", torch.zeros(2)), "more"),
    (put("state_dict/model.more", 3), ""),
    # Much made of little: a million megabytes by a stride of 0.
    (put("state_dict/model.more", torch.zeros(1).expand(10**12)), ""),
]


@pytest.fixture(scope="module")
def original(runs: Runs) -> Path:
    return runs("focus") / "checkpoints" / "best.ckpt"


@pytest.fixture
def refused(command: Command, roots: Callable[[str], Path], tmp_path: Path) -> Callable[[Path], str]:
    """Return the function that predicts with a checkpoint, which must be refused; it returns the sentence."""

    def check(path: Path) -> str:
        ended = command("predict", path, min((roots("focus") / "images").iterdir()), "--out", tmp_path / "out")
        assert ended.status in (1, 2) and "Traceback" not in ended.err, ended.err
        sentence = ended.err.strip().splitlines()[-1]
        assert sentence.startswith("error: ") and str(path) in sentence
        assert not (tmp_path / "out" / "predictions.csv").exists()
        return sentence

    return check


@pytest.mark.parametrize(("change", "named"), some(DESCRIPTIONS))
def test_a_description_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], None], named: str, original: Path, refused: Callable[[Path], str], tmp_path: Path
) -> None:
    content = copy.deepcopy(torch.load(original, weights_only=True))
    change(content)
    torch.save(content, tmp_path / "changed.ckpt")
    assert re.search(named, refused(tmp_path / "changed.ckpt"))


def test_what_a_checkpoint_has_pickled_is_not_run(
    original: Path, refused: Callable[[Path], str], command: Command, roots: Callable[[str], Path], tmp_path: Path
) -> None:
    made, path = tmp_path / "made", tmp_path / "pickled.ckpt"
    for where in ("visionlab", "state_dict", "more"):
        content = torch.load(original, weights_only=True)
        content[where] = Payload(made)
        torch.save(content, path)
        refused(path)
        with pytest.raises(Exception, match=str(path)):
            visionlab.load(path)
        assert not made.exists()
    words = (*TINY["focus"], f"data.root={roots('focus')}", f"hydra.run.dir={tmp_path / 'run'}")
    for key in ("init_from", "model.weights"):
        ended = command("train", *words, f"{key}={path}")
        assert ended.status in (1, 2) and "Traceback" not in ended.err
        assert not made.exists() and not (tmp_path / "run" / "checkpoints").exists()
    for protocol in (0, 2, 5):
        path.write_bytes(pickle.dumps(Payload(made), protocol=protocol))
        refused(path)
        assert not made.exists()
    torch.save({"visionlab": {}, "state_dict": torch.nn.Linear(2, 2)}, path)
    refused(path)
    # The payload does what it is feared for.
    torch.save({"visionlab": Payload(made)}, path)
    torch.load(path, weights_only=False)
    assert made.exists()


@pytest.mark.acceptance
def test_damaged_and_other_files_are_refused(original: Path, refused: Callable[[Path], str], tmp_path: Path) -> None:
    data, path = original.read_bytes(), tmp_path / "other.ckpt"
    for part in (0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(data[: int(len(data) * part)])
        refused(path)
    for content in (b"text", bytes(1000), b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        refused(path)
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in source.infolist():
            archive.writestr(entry.filename, source.read(entry))
    refused(path)  # compressed, a small file could fill the memory
    # The beginning holds the description, the end the archive's table; the middle is weights, any bytes of which are.
    for place in [*range(0, 3000, 250), *range(len(data) - 3000, len(data), 250)]:
        changed = np.frombuffer(data, np.uint8).copy()
        changed[place : place + 40] ^= 0xA5
        path.write_bytes(changed.tobytes())
        try:
            visionlab.load(path, device="cpu")
        except Exception as error:
            assert str(path) in str(error)


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("visionlab/heads/labels/ids", [0, 1]), "ids"),
        (put("visionlab/heads/labels/ids", [*range(27), 10**18]), "ids"),
        (put("visionlab/heads/labels/thresholds", "best"), "thresholds"),
        (put("visionlab/heads/labels/calibration", "os.system"), "calibration"),
        (put("state_dict/model.heads.labels.thresholds", torch.full((28,), torch.inf)), "thresholds"),
        (put("state_dict/model.heads.labels.calibration", torch.full((28, 2), torch.nan)), "calibration"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Any]], None], named: str, runs: Runs, refused: Callable[[Path], str], tmp_path: Path
) -> None:
    content = torch.load(runs("protein_atlas") / "checkpoints" / "best.ckpt", weights_only=True)
    change(content)
    torch.save(content, tmp_path / "changed.ckpt")
    assert named in refused(tmp_path / "changed.ckpt")


def test_a_run_without_a_best_checkpoint_uses_the_last(
    runs: Runs, command: Command, roots: Callable[[str], Path], tmp_path: Path
) -> None:
    run, image = tmp_path / "run", min((roots("focus") / "images").iterdir())
    shutil.copytree(runs("focus"), run, ignore=shutil.ignore_patterns("plots", "events*"))
    (run / "checkpoints" / "best.ckpt").unlink()
    ended = command("predict", run, image, "--out", tmp_path / "out")
    assert ended.status == 0 and "last.ckpt" in ended.err
    (run / "checkpoints" / "last.ckpt").unlink()
    ended = command("predict", run, image, "--out", tmp_path / "none")
    assert ended.status == 2 and ended.err.startswith("error: ") and str(run) in ended.err
    ended = command("predict", run.with_name("rum"), image, "--out", tmp_path / "none")
    assert ended.status == 2 and "'run'" in ended.err


# Run folders ----------------------------------------------------------------------------------------------------------

CONFIG = [
    (r"_target_: visionlab\S*FocusDataModule", "_target_: os.system"),
    (r"_target_: visionlab\S*FocusDataModule", "_target_: visionlab.samples.write"),
    (r"_target_: visionlab\.losses\S*", "_target_: builtins.eval"),
    (r"_target_: visionlab\.losses\S*", "_target_: visionlab.console.os.system"),
    (r"_target_: visionlab\.\S*adam", "_target_: os.system"),
    ("seed: 0", 'seed: ${eval:\'__import__("os").system("x")\'}'),
    ("seed: 0", "seed: ${hydra:runtime.cwd}"),
    ("seed: 0", "seed: !!python/object/apply:os.system ['x']"),
    ("seed: 0", "seed: !!python/name:os.system"),
    ("module: regressor", "module: os.system"),
    ("kind: regression", "kind: os.system"),
]


@pytest.mark.parametrize(("old", "new"), some(CONFIG))
def test_what_is_written_into_a_runs_configuration_is_not_run(
    old: str, new: str, runs: Runs, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    run = tmp_path / "run"
    shutil.copytree(runs("focus"), run, ignore=shutil.ignore_patterns("plots", "events*"))
    text = (run / "config.yaml").read_text()
    assert re.search(old, text)
    (run / "config.yaml").write_text(re.sub(old, lambda _: new, text, count=1))
    monkeypatch.setattr(os, "system", called.append)
    for verb, words in (("evaluate", ()), ("resume", ("trainer.max_epochs=3",))):
        ended = command(verb, run, *words)
        assert ended.status in (1, 2) and "Traceback" not in ended.err, ended.err
        assert ended.err.startswith("error: ") and "config.yaml" in ended.err
        assert not called


# Damaged images -------------------------------------------------------------------------------------------------------


def smooth(shape: tuple[int, ...]) -> Array:
    """Return 8-bit values that are not alike anywhere."""
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def tiff(image: Array, **options: Any) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, image, **{"photometric": "minisblack", **options})
    return data.getvalue()


def png(image: Array) -> bytes:
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))


def jpeg(image: Array) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "jpeg")
    return data.getvalue()


def matlab(volume: Array) -> bytes:
    data = io.BytesIO()
    scipy.io.savemat(data, {"embryo": volume.transpose(1, 2, 0)}, do_compression=True)
    return data.getvalue()


# Suffix -> bytes of a sound file.
IMAGES: dict[str, Callable[[], bytes]] = {
    "png": lambda: png(smooth((32, 32))),
    "jpg": lambda: jpeg(smooth((32, 32))),
    "raw.tif": lambda: tiff(smooth((32, 32))),
    "strips.tif": lambda: tiff(smooth((32, 32)), compression="lzw", rowsperstrip=8),
    "tiles.tif": lambda: tiff(smooth((32, 32)), compression="zlib", tile=(16, 16)),
    "ome.tif": lambda: tiff(smooth((32, 32)), ome=True, compression="zlib"),
    "big.tif": lambda: tiff(smooth((32, 32)), bigtiff=True, byteorder=">"),
}
VOLUMES: dict[str, Callable[[], bytes]] = {
    "pages.tif": lambda: tiff(smooth((4, 48, 64)), metadata=None),
    "imagej.tif": lambda: tiff(smooth((4, 48, 64)), imagej=True, metadata={"axes": "ZYX"}),
    "ome.tif": lambda: tiff(smooth((4, 48, 64)), ome=True, compression="zlib", metadata={"axes": "ZYX"}),
    "lzw.tif": lambda: tiff(smooth((4, 48, 64)), compression="lzw", rowsperstrip=5),
    "mat": lambda: matlab(smooth((4, 48, 64))),
}


def cuts(data: bytes) -> list[int]:
    """Return lengths at which a file is cut off."""
    return sorted(
        {9, 40, *(int(len(data) * part) for part in (0.1, 0.3, 0.5, 0.7, 0.9)), len(data) - 13, len(data) - 1}
    )


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def names(table: Path) -> set[str]:
    return {Path(str(path)).name for path in pd.read_csv(table)["path"]}


def values(out: Path) -> dict[str, float]:
    """Return name -> first predicted number of each file."""
    table = pd.read_csv(out / "predictions.csv")
    return {Path(path).name: float(value) for path, value in zip(table["path"], table["value"], strict=True)}


@pytest.mark.parametrize(
    ("task", "sound"),
    [("focus", IMAGES), pytest.param("celegans_nuclei", VOLUMES, marks=FULL)],
    ids=["images", "volumes"],
)
def test_truncated_files_are_never_predicted(
    task: str, sound: dict[str, Callable[[], bytes]], runs: Runs, command: Command, tmp_path: Path
) -> None:
    whole = {f"whole.{suffix}": make() for suffix, make in sound.items()}
    ended = command("predict", runs(task), write(tmp_path / "whole", whole), "--out", tmp_path / "all")
    assert ended.status == 0, ended.err
    cut = {f"cut{at}.{name[6:]}": data[:at] for name, data in whole.items() for at in cuts(data)}
    ended = command("predict", runs(task), write(tmp_path / "cut", cut), "--out", tmp_path / "none")
    assert ended.status == 1 and "Traceback" not in ended.err
    failed = names(tmp_path / "none" / "failed.csv")
    # The end of a TIFF file may be a description or padding: the pixels are all there without it.
    found, right = values(tmp_path / "none"), values(tmp_path / "all")
    assert failed | set(found) == set(cut) and len(failed) > 0.9 * len(cut)
    for name, value in found.items():
        source = f"whole.{name.partition('.')[2]}"
        assert name.endswith(".tif") and value == pytest.approx(right[source], abs=1e-5)
        pixels = [tifffile.imread(path) for path in (tmp_path / "cut" / name, tmp_path / "whole" / source)]
        np.testing.assert_array_equal(pixels[0], pixels[1])


def test_truncated_and_other_files_are_named_by_prepare(command: Command, tmp_path: Path) -> None:
    """Each with what to do; of a good file in between nothing is said."""
    files = {}
    for number, (suffix, make) in enumerate(IMAGES.items()):
        data = make()
        # Focus takes no JPEG, and the end of an OME-TIFF file is its description.
        for at in cuts(data)[:6:2] if suffix != "jpg" else ():
            files[f"group{number}_{at}.00_1.0.{suffix.rpartition('.')[2]}"] = data[:at]
    files |= {
        "empty_1_2.png": b"",
        "text_1_2.png": b"text",
        "lfs_1_2.tif": b"version https://git-lfs.github.com/spec/v1\n",
    }
    good = {f"good{n}_{n}_2.png": IMAGES["png"]() for n in range(8)}
    root, out = write(tmp_path / "data", files | good), tmp_path / "out"
    words = ("task=focus", "data.image_size=32", f"data.root={root}", f"hydra.run.dir={out}")
    ended = command("prepare", *words)
    assert ended.status == 1 and "Traceback" not in ended.err
    problems = pd.read_csv(out / "problems.csv")
    assert {Path(path).name for path in problems["path"]} == set(files)
    assert problems["advice"].notna().all() and set(problems["severity"]) == {"error"}
    assert not (out / "splits.json").exists()
    ended = command("train", *TINY["focus"], f"data.root={root}", f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.status == 1 and "Traceback" not in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suffix", ["png", pytest.param("tiles.tif", marks=FULL), pytest.param("ome.tif", marks=FULL)])
def test_a_flipped_byte_is_refused_or_changes_nothing(
    suffix: str, runs: Runs, command: Command, tmp_path: Path
) -> None:
    data = IMAGES[suffix]()
    # PNG has a checksum of every part; of TIFF the pixels have one.
    places = list(range(8, len(data), 7))
    if suffix.endswith("tif"):
        with tifffile.TiffFile(io.BytesIO(data)) as tif:
            page = tif.pages.first
            ranges = zip(page.dataoffsets, page.databytecounts, strict=True)
            places = [at for start, count in ranges for at in range(start, start + count, 7)]
    files = {}
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 0xFF
        files[f"{place}.{suffix}"] = bytes(flipped)
    command("predict", runs("focus"), write(tmp_path / "flipped", files), "--out", tmp_path / "out")
    right = visionlab.load(runs("focus")).predict(write(tmp_path, {f"whole.{suffix}": data}) / f"whole.{suffix}")
    found, failed = values(tmp_path / "out"), names(tmp_path / "out" / "failed.csv")
    assert list(found.values()) == pytest.approx([right.distance] * len(found), abs=1e-6)
    assert failed | set(found) == set(files)
    assert len(failed) > len(files) / 2


@pytest.mark.acceptance
@pytest.mark.parametrize("suffix", ["pages.tif", "ome.tif", "mat"])
def test_a_flipped_byte_of_a_volume_is_no_traceback(suffix: str, runs: Runs, command: Command, tmp_path: Path) -> None:
    data = VOLUMES[suffix]()
    files = {}
    for place in range(4, len(data), max(7, len(data) // 60)):
        flipped = bytearray(data)
        flipped[place] ^= 0xFF
        files[f"{place}.{suffix}"] = bytes(flipped)
    words = (write(tmp_path / "flipped", files), "--out", tmp_path / "out")
    ended = command("predict", runs("celegans_nuclei"), *words)
    assert ended.status in (0, 1) and "Traceback" not in ended.err
    if suffix == "mat":
        assert len(names(tmp_path / "out" / "failed.csv")) > 0.8 * len(files)


@pytest.mark.acceptance
def test_a_damaged_depth_map_is_named(command: Command, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(6):
        stem = f"bg{number}/fg/0"
        scene = {
            "fgbg": smooth((32, 32, 3)),
            "fgbgmask": np.kron([[0, 255], [255, 0]], np.ones((16, 16))).astype(np.uint8),
        }
        for folder, image in {**scene, "bg": smooth((32, 32, 3))}.items():
            path = root / folder / (f"{stem}.png" if folder != "bg" else f"bg{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image))
        (root / "dense" / stem).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / "dense" / f"{stem}.npy", RNG.random((32, 32), dtype=np.float32) + 1)
    words = ("task=depth_mask", "data.image_size=32", f"data.root={root}")
    assert command("prepare", *words, f"hydra.run.dir={tmp_path / 'good'}").status == 0
    cut, hostile = root / "dense/bg1/fg/0.npy", root / "dense/bg2/fg/0.npy"
    cut.write_bytes(cut.read_bytes()[:-5])
    np.save(hostile, np.array([Payload(tmp_path / "made")], dtype=object), allow_pickle=True)
    ended = command("prepare", *words, f"hydra.run.dir={tmp_path / 'bad'}")
    assert ended.status == 1 and "Traceback" not in ended.err
    problems = pd.read_csv(tmp_path / "bad" / "problems.csv")
    assert set(problems[problems["severity"] == "error"]["path"]) == {"dense/bg1/fg/0.npy", "dense/bg2/fg/0.npy"}
    assert not (tmp_path / "made").exists()


# What is kept ---------------------------------------------------------------------------------------------------------


def test_16_bits_stay_16(runs: Runs, command: Command, tmp_path: Path) -> None:
    high = smooth((32, 32)).astype(np.uint16) * 256
    low = high + smooth((32, 32))
    predictor = visionlab.load(runs("focus"))
    by_array = [predictor.predict(image).distance for image in (high, low)]
    assert abs(by_array[0] - by_array[1]) > 1e-4, "the lower 8 bits count"
    files = {"a.png": png(low), "a.tif": tiff(low), "b.tif": tiff(low, byteorder=">")}
    command("predict", runs("focus"), write(tmp_path / "in", files), "--out", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    np.testing.assert_allclose(table["value"], [by_array[1]] * 3, atol=1e-5)
    # An image of 8 bits and the same one in 16 are one image.
    same = predictor.predict((high // 256 * 257).astype(np.uint16)).distance
    assert same == pytest.approx(predictor.predict((high // 256).astype(np.uint8)).distance, abs=1e-4)


@pytest.mark.acceptance
def test_a_set_of_16_bits_is_learnt_from_all_of_them(command: Command, tmp_path: Path) -> None:
    """All the information is in the lower 8 bits: without them every image would be black."""
    files = {}
    for number in range(24):
        image = (smooth((32, 32)) // 8 + 8 * (number % 4)).astype(np.uint16)
        files[f"g{number // 4}_{number % 4}_{number % 4}.png"] = png(image)
    root, run = write(tmp_path / "data", files), tmp_path / "run"
    ended = command("train", *TINY["focus"], f"data.root={root}", f"hydra.run.dir={run}", "trainer.max_epochs=1")
    assert ended.status == 0, ended.err
    index = pd.read_csv(run / "data_index.csv")
    assert set(index["dtype"]) == {"uint16"} and 0 < index["max"].max() < 256
    predictor = visionlab.load(run)
    dark, bright = (predictor.predict(np.full((32, 32), value, np.uint16)).distance for value in (10, 50))
    assert abs(dark - bright) > 1e-3


@pytest.mark.acceptance
@pytest.mark.parametrize("form", ["ome", "imagej"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX"])
def test_labels_keep_axes_and_voxel_size(axes: str, form: str, runs: Runs, command: Command, tmp_path: Path) -> None:
    values = smooth(tuple({"T": 2, "Z": 3, "Y": 48, "X": 64}[axis] for axis in axes))
    options: dict[str, Any] = {"ome": True, "metadata": {"axes": axes}}
    if form == "ome":
        sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 1.5, "TimeIncrement": 30.0}
        options["metadata"] |= sizes
    else:
        told = {"axes": axes, "spacing": 1.5, "unit": "um", "finterval": 30.0}
        options = {"imagej": True, "resolution": (1 / 0.5, 1 / 0.25), "metadata": told}
    file = tmp_path / "a.tif"
    file.write_bytes(tiff(values, **options))
    out = tmp_path / "out"
    ended = command("predict", runs("celegans_nuclei"), file, "--out", out, "--threshold", 0.3)
    assert ended.status == 0, ended.err
    with tifffile.TiffFile(out / "nuclei" / "a.tif") as tif, tifffile.TiffFile(file) as source:
        assert (tif.series[0].axes, tif.series[0].shape) == (source.series[0].axes, values.shape)
        assert tif.series[0].dtype in (np.uint8, np.uint16)
        assert (tif.is_ome, tif.is_imagej) == (source.is_ome, source.is_imagej)
        if form == "ome":
            said = [
                re.findall(r'((?:PhysicalSize|TimeIncrement)\w*)="([0-9.]+)"', t.ome_metadata or "")
                for t in (tif, source)
            ]
            assert {k: float(v) for k, v in said[0]} == {k: float(v) for k, v in said[1]}
        else:
            mine, theirs = tif.imagej_metadata or {}, source.imagej_metadata or {}
            assert [mine.get(name) for name in ("spacing", "finterval")] == [1.5, 30.0]
            assert mine["unit"] in (theirs["unit"], "micron")
            for name in ("XResolution", "YResolution"):
                one, other = (t.pages.first.tags[name].value for t in (tif, source))
                assert one[0] / one[1] == pytest.approx(other[0] / other[1])
    objects = pd.read_csv(out / "objects.csv")
    assert objects["y_um"].tolist() == pytest.approx((objects["y"] * 0.25).tolist())
