"""The golden runs: what they are, how one is laid out to work on, and what its commands and predictions give.

Each has a folder in ``golden/``, written once by ``make_golden.py``:

==============  ========================================================================================================
``data``        labelled files that the runs were trained on
``other``       more of them, unseen
``finished``    a run folder; its weights are rounded, so that they are small when packed
``stopped``     another, stopped by SIGTERM within an epoch; most of its weights are set to zero, for the same reason
``expected``    what the commands and Python give for these, see the functions below
==============  ========================================================================================================

In text files ``GOLDEN_ROOT`` stands for the folder that a case is laid out in. Checkpoints are packed by xz.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tests.acceptance.conftest import run_command

GOLDEN = Path(__file__).parent / "golden"
ROOT = "GOLDEN_ROOT"
TEXT = (".json", ".yaml", ".csv", ".txt", ".log")

Array = np.ndarray[Any, Any]

COMMON = (
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "logger.graph=false",
    "callbacks.images.count=1",
)


@dataclass(frozen=True)
class Case:
    """A golden case.

    Attributes:
        name: of its folder.
        task: of its runs.
        finished: settings of the finished run.
        stopped: settings of the run that is stopped.
        step: of the optimizer, after which it is stopped.
        validating: it is stopped in the first validation after that step.
        inputs: what ``predict`` is given, below the case's folder.
        image: pattern of the images of which Python predicts the first; none: it predicts volumes alone.
        predict: further words of ``predict``.
        resume: of ``resume``, with which it ends in the same weights.
        continued: settings of the run that starts from the finished run's weights, besides those of that.
        data: the case whose ``data`` and ``other`` it shares.
        kept: share of the finished run's weights that are kept, the largest, rounded; None: all as the run left them.
    """

    name: str
    task: str
    finished: tuple[str, ...]
    stopped: tuple[str, ...]
    step: int
    validating: bool = False
    inputs: tuple[str, ...] = ("other",)
    image: str = ""
    predict: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    continued: tuple[str, ...] = ()
    data: str = ""
    kept: float | None = 0.4


_SMALL = ("model=timm", "model.name=test_efficientnet")
_LABELS = ("data.classes=[0,25,2,16,7]", "data.image_size=32", "data.batch_size=8")
_MAPS = ("model=atrous_shuffle", "data.image_size=32", "data.batch_size=4")
_OBJECTS = ("data.image_size=32", "data.batch_size=4", "data.samples_per_epoch=24")

CASES = {
    case.name: case
    for case in (
        Case(
            "focus",
            "focus",
            (
                *_SMALL,
                "data.image_size=[20,28]",
                "data.batch_size=4",
                "augment=none",
                # The last stage has the best checkpoint: that of one epoch, after the first has learnt.
                "+stages={first:{epochs:30,lr:3e-3},last:{epochs:1,lr:1e-4}}",
            ),
            (
                *_SMALL,
                "data.image_size=24",
                "data.batch_size=4",
                "model.dropout=0.2",
                "scheduler=plateau",
                "scheduler.patience=0",
                "callbacks.ema.decay=0.9",
                "callbacks.early_stopping.patience=9",
                "trainer.accumulate_grad_batches=2",
                "trainer.max_epochs=4",
            ),
            step=5,
            image="other/images/*.png",
            resume=("data.num_workers=2",),
            continued=("stages.first.epochs=1",),
            kept=None,
        ),
        Case(
            "depth_mask",
            "depth_mask",
            (*_MAPS, "heads.mask.loss={bce:1,dice:0.5}", "optimizer.lr=3e-3", "trainer.max_epochs=12"),
            (
                *_MAPS,
                "balance=uncertainty",
                "+stages={small:{image_size:32,epochs:1,lr:1e-3},large:{image_size:40,batch_size:2,epochs:2,"
                "augment:none,loss:mse}}",
            ),
            step=6,
            inputs=("other/fgbg",),
            image="other/fgbg/*/*/*.jpg",
            continued=("augment=fgbg",),
        ),
        Case(
            "depth_mask_background",
            "depth_mask",
            (*_MAPS, "data.inputs=[image,background]", "augment=fgbg_background", "trainer.max_epochs=8"),
            (
                *_MAPS,
                "data.inputs=[image,background]",
                "augment=fgbg_background",
                "optimizer=sgd",
                "optimizer.lr=0.01",
                "balance=clamp",
                "heads.depth.loss=densedepth",
                "trainer.max_epochs=3",
            ),
            step=5,
            inputs=("other/fgbg",),
            image="other/fgbg/*/*/*.jpg",
            predict=("--with", "background=other/bg", "--depth-format", "tif"),
            data="depth_mask",
        ),
        Case(
            "protein_atlas",
            "protein_atlas",
            (*_SMALL, *_LABELS, "heads.labels.calibration=temperature", "optimizer.lr=3e-3", "trainer.max_epochs=12"),
            (
                *_SMALL,
                *_LABELS,
                "data.channels=[red/2+yellow/2,green,blue]",
                "loss=focal",
                "data.sampling=balanced",
                "data.samples_per_epoch=32",
                "optimizer=adamw",
                "scheduler=cosine",
                "heads.labels.thresholds=f1",
                "trainer.max_epochs=3",
            ),
            step=6,
            inputs=("other/train", "other/test"),
            image="other/train/*_green.png",
            kept=1.0,
            predict=("--submission", "predicted/submission.csv", "--tta", "flips"),
        ),
        Case(
            "celegans_nuclei",
            "celegans_nuclei",
            (
                "model=fpn",
                "model.encoder=tu-test_efficientnet",
                "data.image_size=32",
                "data.batch_size=8",
                "data.samples_per_epoch=64",
                "optimizer.lr=4e-3",
                "trainer.max_epochs=30",
            ),
            (
                "model=atrous_shuffle",
                *_OBJECTS,
                "data.neighbours=1",
                "data.split_by=time",
                "data.blocks=3",
                "data.gap=0",
                "heads.nuclei.separate=boundary",
                "trainer.max_epochs=3",
            ),
            step=8,
            inputs=("inputs",),
            image="inputs/slice.tif",
            predict=("--probabilities",),
        ),
        Case(
            "celegans_membrane",
            "celegans_membrane",
            ("model=atrous_shuffle", *_OBJECTS, "optimizer.lr=3e-3", "trainer.max_epochs=10"),
            ("model=atrous_shuffle", *_OBJECTS, "data.fit=stretch", "loss=lovasz", "trainer.max_epochs=3"),
            step=12,
            validating=True,
        ),
        Case(
            "celegans_lineage",
            "celegans_lineage",
            (
                *_SMALL,
                "data.image_size=32",
                "data.batch_size=4",
                "+stages={first:{epochs:25,lr:3e-3},last:{epochs:1,lr:1e-4}}",
            ),
            (
                *_SMALL,
                "data.image_size=32",
                "data.batch_size=4",
                "data.columns=[A,E,P]",
                "data.normalize=image",
                "optimizer=sgd",
                "optimizer.lr=0.01",
                "scheduler=cyclic",
                "trainer.gradient_clip_val=1",
                "trainer.max_epochs=3",
            ),
            step=5,
            image="other/images/*/*.png",
            continued=("stages.first.epochs=1",),
            kept=1.0,
        ),
    )
}


def machine() -> dict[str, str]:
    """Return what the last bits of floating-point sums depend on."""
    import torch

    found = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        told = dict(re.findall(r"^(vendor_id|cpu family|model|model name)\s*:\s*(.*)$", info.read_text(), re.MULTILINE))
        found = ", ".join(told.values())
    return {"cpu": found, "torch": torch.__version__, "isa": torch.backends.cpu.get_cpu_capability()}


def lay_out(case: Case, root: Path) -> Path:
    """Copy a case into the folder ``root``, which need not exist, where it is whole; return ``root``."""
    sources = {GOLDEN / case.name} | ({GOLDEN / case.data} if case.data else set())
    for source in sources:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            relative = file.relative_to(source)
            if source.name != case.name and relative.parts[0] not in ("data", "other"):
                continue
            target = root / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".xz":
                target.with_suffix("").write_bytes(lzma.decompress(file.read_bytes()))
            elif file.suffix in TEXT and relative.parts[0] in ("finished", "stopped"):
                text = file.read_text(encoding="utf-8").replace(ROOT, str(root))
                target.write_text(text, encoding="utf-8")
            else:
                shutil.copyfile(file, target)
    return root


def run(verb: str, *words: object, root: Path) -> None:
    """Run a command in ``root`` that must end well.

    Raises:
        AssertionError: it did not; what it printed.
    """
    ended = run_command(verb, *words, cwd=root)
    assert ended.status == 0, f"{verb} {' '.join(map(str, words))}\n{ended.err}"
    assert "Traceback" not in ended.err, ended.err


def train(case: Case, root: Path, name: str, settings: Sequence[str]) -> None:
    """Train into ``root``/``name``."""
    places = (f"data.root={root / 'data'}", f"hydra.run.dir={root / name}")
    run("train", f"task={case.task}", *COMMON, *places, *settings, root=root)


# What is expected. Each function does it in a case that is laid out in ``root``, and returns the files to compare.


def predicted(case: Case, root: Path) -> Path:
    """Predict by the command."""
    run("predict", "finished", *case.inputs, "--out", "predicted", *case.predict, root=root)
    return root / "predicted"


def evaluated(case: Case, root: Path) -> Path:
    """Measure validation and test of the run's own data again."""
    for split in ("val", "test"):
        run("evaluate", "finished", "--split", split, root=root)
    return _results(root, "finished", "evaluated")


def evaluated_other(case: Case, root: Path) -> Path:
    """Measure on the unseen files."""
    run("evaluate", "finished", "--data", "other", "--out", "measured", root=root)
    return _results(root, "measured", "evaluated_other")


def resumed(case: Case, root: Path) -> Path:
    """Go on with the stopped run to its end."""
    run("resume", "stopped", *case.resume, root=root)
    return _results(root, "stopped", "resumed", weights=True)


def continued(case: Case, root: Path) -> Path:
    """Train two epochs from the weights of the finished run: nothing depends on how weights are drawn."""
    start = f"init_from={root / 'finished'}"
    epochs = () if "stages" in "".join(case.finished) else ("trainer.max_epochs=2",)
    train(case, root, "trained", (*case.finished, start, *epochs, *case.continued))
    return _results(root, "trained", "continued", weights=True)


def in_python(case: Case, root: Path) -> Path:
    """Predict from Python: files, arrays, mirror images, volumes."""
    import visionlab

    found: dict[str, Any] = {}
    plain = visionlab.load(root / "finished", device="cpu")
    flipped = visionlab.load(root / "finished", device="cpu", tta="flips")
    if case.task in ("celegans_nuclei", "celegans_membrane"):
        path = sorted((root / case.inputs[0]).glob("*.*"))[0]
        for name, volume in {
            "file": plain.predict_volume(path),
            "flips": flipped.predict_volume(path),
            "threshold": plain.predict_volume(path, threshold=0.3),
            "array": plain.predict_volume(np.load(root / "expected" / "array.npy"), (2.0, 0.5, 0.25)),
        }.items():
            found |= {f"{name}/labels/{head}": values for head, values in volume.labels.items()}
            if name in ("file", "flips"):
                found |= {f"{name}/maps/{head}": values for head, values in volume.maps.items()}
            found |= {f"{name}/objects/{key}": values.to_numpy() for key, values in volume.objects.items()}
            about = {"axes": volume.axes, "voxel": volume.voxel, "interval": volume.interval}
            found |= {f"{name}/{key}": np.array(str(value)) for key, value in about.items()}
    samples = {}
    if case.image:
        one = sorted(root.glob(case.image))[0]
        empty = root / "other" / "bg" / f"{one.parent.parent.name}.jpg"
        others = {"background": empty} if case.name == "depth_mask_background" else {}
        samples = {"plain": plain.predict(one, **others), "mirrored": flipped.predict(one, **others)}
        if case.task != "protein_atlas":
            more = {name: _read(path) for name, path in others.items()}
            samples["array"] = plain.predict(_read(one), **more)
            samples["list"] = plain.predict([_read(one)[::-1].copy(), one], **others)[0]
    for name, prediction in samples.items():
        found |= {f"{name}/values/{key}": np.array(value) for key, value in prediction.values.items()}
        found |= {f"{name}/units/{key}": np.array(value) for key, value in prediction.units.items()}
        found |= {f"{name}/maps/{key}": value for key, value in prediction.maps.items()}
        found |= {f"{name}/decided/{key}": np.array(value) for key, value in prediction.decided.items()}
        for key in (*prediction.values, *prediction.maps):
            same = np.asarray(getattr(prediction, key)) == np.asarray({**prediction.values, **prediction.maps}[key])
            assert np.all(same), key
    folder = root / "in_python"
    folder.mkdir()
    _write_arrays(folder / "predictions.npz", found)
    return folder


EXPECTED: dict[str, Callable[[Case, Path], Path]] = {
    "predicted": predicted,
    "in_python": in_python,
    "evaluated": evaluated,
    "evaluated_other": evaluated_other,
    "resumed": resumed,
    "continued": continued,
}


def _read(path: Path) -> Array:
    import imagecodecs

    return np.asarray(imagecodecs.imread(path))


def _results(root: Path, run_name: str, name: str, *, weights: bool = False) -> Path:
    """Gather what a run says of itself in numbers in the folder ``root``/``name``."""
    folder = root / name
    (folder / "predictions").mkdir(parents=True)
    for text in ("metrics.json", "splits.json"):
        shutil.copyfile(root / run_name / text, folder / text)
    for file in (root / run_name / "predictions").glob("*.csv"):
        shutil.copyfile(file, folder / "predictions" / file.name)
    if weights:
        for which in ("best", "last"):
            _write_arrays(folder / f"{which}.npz", traces(root / run_name / "checkpoints" / f"{which}.ckpt"))
    return folder


def _write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write named arrays without pickle; names hold no slash, which would be a folder."""
    plain: dict[str, Any] = {
        key.replace("/", "|"): values.astype(str) if values.dtype == object else values
        for key, values in arrays.items()
    }
    np.savez_compressed(path, **plain)


def traces(checkpoint: Path) -> dict[str, Array]:
    """Return the name of each tensor of weights, its hash and, for machines that round otherwise, five values."""
    import torch

    names, hashes, some = [], [], []
    for name, tensor in torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"].items():
        values = tensor.detach().contiguous().numpy()
        names.append(name)
        hashes.append(hashlib.sha256(values.tobytes()).hexdigest()[:16])
        flat = values.reshape(-1)
        some.append(flat[np.linspace(0, len(flat) - 1, 5).astype(int)].astype(np.float32))
    return {"names": np.array(names), "hashes": np.array(hashes), "some": np.array(some)}


# Comparing.


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may be off.

    Attributes:
        number: relative, and absolute where numbers are below 1.
        pixels: share of the pixels of masks and labels that may differ.
        exact: whether weights are equal to the last bit.
    """

    number: float
    pixels: float
    exact: bool


def tolerance() -> Tolerance:
    """Return that of this machine: the strict one on machines that round as the one did that made the files."""
    alike = json.loads((GOLDEN / "made.json").read_text(encoding="utf-8"))["machine"] == machine()
    return Tolerance(1e-6, 0.0, exact=True) if alike else Tolerance(1e-4, 1e-3, exact=False)


def differences(found: Path, expected: Path, root: Path, allowed: Tolerance) -> list[str]:
    """Return how the files of a folder differ from those expected; none if they don't."""
    names = {str(path.relative_to(folder)) for folder in (found,) for path in numbers(folder)}
    wanted = {str(path.relative_to(expected)) for path in numbers(expected)}
    told = [f"{name}: not expected" for name in sorted(names - wanted)]
    told += [f"{name}: missing" for name in sorted(wanted - names)]
    for name in sorted(names & wanted):
        told += [f"{name}: {text}" for text in _differ(found / name, expected / name, root, allowed)]
    return told


def numbers(folder: Path) -> Iterable[Path]:
    """Yield the files that hold numbers; pictures may look otherwise, and the record for going on holds file times."""
    for path in folder.rglob("*"):
        if path.is_file() and not {"overlay", ".done"} & set(path.parts) and path.name != "population.png":
            yield path


def _differ(found: Path, expected: Path, root: Path, allowed: Tolerance) -> list[str]:
    if found.suffix == ".csv":
        return _differ_in(_table(found, root), _table(expected, root), allowed)
    if found.suffix == ".json":
        texts = (path.read_text(encoding="utf-8").replace(str(root), ROOT) for path in (found, expected))
        one, other = map(json.loads, texts)
        return _differ_in(one, other, allowed)
    if found.suffix == ".npz":
        return _differ_arrays(np.load(found), np.load(expected), allowed)
    if found.suffix == ".tif":
        return _differ_in(about_tiff(found), about_tiff(expected), allowed) + _differ_pixels(
            tifffile.imread(found), tifffile.imread(expected), allowed
        )
    if found.suffix == ".png":
        return _differ_pixels(_read(found), _read(expected), allowed)
    return [] if found.read_bytes() == expected.read_bytes() else ["other content"]


def _table(path: Path, root: Path) -> list[list[Any]]:
    def value(text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    lines = path.read_text(encoding="utf-8").replace(str(root), ROOT).splitlines()
    return [[value(text) for text in line.split(",")] for line in lines]


def _differ_in(found: Any, expected: Any, allowed: Tolerance, where: str = "") -> list[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        told = [f"{where}/{key}: not in both" for key in found.keys() ^ expected.keys()]
        pairs = [(key, found[key], expected[key]) for key in expected if key in found]
    elif isinstance(expected, list) and isinstance(found, list):
        told = [f"{where}: {len(found)} instead of {len(expected)}"] if len(found) != len(expected) else []
        pairs = [(str(n), *both) for n, both in enumerate(zip(found, expected, strict=False))]
    elif _is_number(found) and _is_number(expected):
        # The SSIM of wholly known maps comes from pytorch-msssim since, in single precision.
        near = 1e-4 if "ssim" in where else allowed.number
        close = np.isclose(found, expected, rtol=near, atol=near, equal_nan=True)
        return [] if close else [f"{where}: {found!r} instead of {expected!r}"]
    else:
        return [] if found == expected else [f"{where}: {found!r} instead of {expected!r}"]
    for key, one, other in pairs:
        told += _differ_in(one, other, allowed, f"{where}/{key}")
    return told


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _differ_pixels(found: Array, expected: Array, allowed: Tolerance) -> list[str]:
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return [f"{found.dtype} {found.shape} instead of {expected.dtype} {expected.shape}"]
    if found.dtype.kind == "f":
        close = np.isclose(found, expected, rtol=allowed.number, atol=allowed.number, equal_nan=True)
        return [] if close.all() else [f"{(~close).sum()} values, by up to {np.nanmax(np.abs(found - expected))}"]
    # Depths are rounded to whole counts, which a last bit may decide.
    apart = np.abs(found.astype(np.int64) - expected) > (1 if found.dtype == np.uint16 and found.max() > 999 else 0)
    return [f"{apart.sum()} of {apart.size} pixels"] if apart.mean() > allowed.pixels else []


def _differ_arrays(found: Mapping[str, Array], expected: Mapping[str, Array], allowed: Tolerance) -> list[str]:
    if "hashes" in expected:
        return _differ_weights(found, expected, allowed)
    told = [f"{name}: not in both" for name in set(found) ^ set(expected)]
    for name in sorted(set(found) & set(expected)):
        one, other = found[name], expected[name]
        if one.dtype.kind in "US" or other.dtype.kind in "US":
            bad = [] if np.array_equal(one, other) else [f"{one} instead of {other}"]
        else:
            bad = _differ_pixels(one, other, allowed)
        told += [f"{name}: {text}" for text in bad]
    return told


def _differ_weights(found: Mapping[str, Array], expected: Mapping[str, Array], allowed: Tolerance) -> list[str]:
    if found["names"].tolist() != expected["names"].tolist():
        return [f"other weights: {set(found['names'].tolist()) ^ set(expected['names'].tolist())}"]
    if allowed.exact:
        bad = found["hashes"] != expected["hashes"]
        return [f"{bad.sum()} of {len(bad)} tensors, such as {found['names'][bad][0]}"] if bad.any() else []
    # Steps that are normalised by the gradient go either way where it is zero but for rounding: not each number counts.
    apart = np.linalg.norm(found["some"] - expected["some"]) / np.linalg.norm(expected["some"])
    return [f"weights differ by {apart:.1g} of their norm"] if apart > allowed.number else []


def about_tiff(path: Path) -> dict[str, Any]:
    """Return axes, shape, type and scale of a TIFF file, whether OME, ImageJ or tifffile's own way tell of them.

    ``voxel`` is z, y, x in micrometres and ``interval`` in seconds, None where the file doesn't tell.
    """
    with tifffile.TiffFile(path) as file:
        series, page = file.series[0], file.pages.first
        axes = "".join(axis for axis, length in zip(series.axes, series.shape, strict=True) if length > 1)
        found = {"axes": axes, "shape": list(series.shape), "dtype": str(series.dtype)}
        if file.ome_metadata:
            keys = ("PhysicalSizeZ", "PhysicalSizeY", "PhysicalSizeX", "TimeIncrement")
            told = [re.search(rf'{key}="([^"]*)"', file.ome_metadata) for key in keys]
            *voxel, interval = [float(match[1]) if match else None for match in told]
            return {**found, "voxel": voxel, "interval": interval}
        about = file.imagej_metadata or (file.shaped_metadata or ({},))[0]
        across, down = (float(value) for value in page.get_resolution())
        scaled = about.get("unit") in ("um", "micron", "\\u00B5m", "µm")
        voxel = [about.get("spacing"), 1 / down if scaled else None, 1 / across if scaled else None]
        return {**found, "voxel": voxel, "interval": about.get("finterval")}
