"""Numbers that must not move: weights, MS-SSIM, thresholds, splits, and the figures of objects against loops."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import pytorch_msssim
import tifffile
import torch

import visionlab
from tests.acceptance.conftest import PLAN, Command

Array = np.ndarray[Any, Any]

# Networks ------------------------------------------------------------------------------------------------------------

# name, options, channels in and out -> weights that are trained. Published, or stated in README.
WEIGHTS: list[tuple[str, dict[str, Any], int, int, int]] = [
    ("atrous_shuffle", {}, 3, 2, 893_792),
    ("atrous_shuffle", {"variant": "plain"}, 3, 2, 893_792),
    ("atrous_shuffle", {"variant": "transposed"}, 3, 2, 974_816),
    ("resnet_shuffle", {}, 3, 2, 11_497_744),
    ("shuffle_unet", {}, 3, 2, 2_317_200),
    ("dense_unet", {}, 6, 2, 3_786_872),
    ("unet", {}, 3, 2, 14_328_354),
    ("fpn", {}, 3, 2, 13_047_362),
    ("fpn", {}, 1, 1, 13_040_961),
    ("small_cnn", {}, 3, 28, 193_246),
    ("small_cnn", {}, 4, 28, 193_320),
    ("densenet121", {}, 4, 28, 6_985_692),
    ("resnet10t", {}, 4, 28, 4_937_068),
    ("inception_resnet_v2", {}, 4, 28, 54_349_788),
    ("inception_resnet_v2_flat", {}, 4, 28, 58_715_740),
    ("resnet34", {}, 1, 1, 21_278_913),
    ("wide_resnet50_2", {}, 1, 1, 66_830_017),
]


@pytest.mark.parametrize(("name", "options", "inputs", "outputs", "weights"), WEIGHTS)
def test_numbers_of_weights(name: str, options: dict[str, Any], inputs: int, outputs: int, weights: int) -> None:
    with torch.device("meta"):
        network = visionlab.models.build(name, inputs, outputs, **options)
    assert sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad) == weights


@pytest.mark.parametrize("name", ["atrous_shuffle", "resnet_shuffle", "shuffle_unet", "dense_unet", "unet", "fpn"])
def test_maps_have_the_size_of_the_image(name: str) -> None:
    channels = 6 if name == "dense_unet" else 3
    with torch.device("meta"):
        network = visionlab.models.build(name, channels, 2)
        for size in ((64, 64), (75, 101), (1, 1)):
            assert network(torch.empty(2, channels, *size)).shape == (2, 2, *size)


# Losses --------------------------------------------------------------------------------------------------------------


def pictures(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two alike images, B x C x H x W in 0..1, float64."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(*shape[:2], 5, 6, generator=generator, dtype=torch.float64)
    target = torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1)
    noise = torch.rand(shape, generator=generator, dtype=torch.float64)
    return 0.7 * target + 0.1 + 0.15 * noise, target


@pytest.mark.parametrize("size", [(161, 161), (192, 224), (175, 301)])
def test_ssim_and_msssim_are_the_usual_ones(size: tuple[int, int]) -> None:
    one, other = pictures(2, 2, *size)
    for scale in (1.0, 255.0):
        a, b = one * scale, other * scale
        for dtype in (torch.float32, torch.float64):
            ms = visionlab.losses.MSSSIMLoss(data_range=scale)(a.to(dtype), b.to(dtype)).item()
            assert ms == pytest.approx(1 - pytorch_msssim.ms_ssim(a, b, data_range=scale).item(), abs=1e-6)
            single = visionlab.losses.SSIMLoss(data_range=scale)(a.to(dtype), b.to(dtype)).item()
            assert single == pytest.approx(1 - pytorch_msssim.ssim(a, b, data_range=scale).item(), abs=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (32, 100), (47, 61), (160, 160)])
@pytest.mark.parametrize("kind", ["alike", "equal", "negated", "constant"])
def test_msssim_of_small_images_has_finite_gradients(size: tuple[int, int], kind: str) -> None:
    target = pictures(1, 1, *size)[1].float()
    start = {
        "alike": pictures(1, 1, *size)[0].float(),
        "equal": target.clone(),
        "negated": 1 - target,
        "constant": torch.full_like(target, 0.5),
    }[kind].requires_grad_()
    loss = visionlab.losses.MSSSIMLoss()(start, target)
    (gradient,) = torch.autograd.grad(loss, start)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    assert 0 <= loss.item() <= 2
    assert (gradient.abs().max() > 0) or kind == "equal"
    assert visionlab.losses.L1MSSSIMLoss(alpha=0.84)(start, target).item() == pytest.approx(
        0.16 * (start - target).abs().mean().item() + 0.84 * loss.item(), abs=1e-6
    )


def test_msssim_below_32_pixels_is_refused() -> None:
    with pytest.raises(Exception, match="32"):
        visionlab.losses.MSSSIMLoss()(torch.rand(1, 1, 31, 64), torch.rand(1, 1, 31, 64))


# Thresholds ----------------------------------------------------------------------------------------------------------


def f_beta(predicted: Array, positive: Array, beta: float) -> float:
    return float((1 + beta**2) * (predicted & positive).sum() / (beta**2 * positive.sum() + predicted.sum()))


@pytest.mark.parametrize("beta", [1.0, 0.5, 2.0])
def test_thresholds_equal_trying_every_cut(beta: float) -> None:
    undefined = 0
    for number in range(150):
        rng = np.random.default_rng(number)
        n, kind = int(rng.integers(1, 60)), (np.float32, np.float64)[number % 2]
        # Among them ties, constants, neighbours, one sample, none or only positives.
        scores = (
            rng.random((n, 3)),
            rng.integers(0, 4, (n, 3)) / 3,
            np.full((n, 3), 0.3),
            rng.normal(size=(n, 3)) * 10.0 ** rng.integers(-30, 30),
            0.5 + rng.integers(0, 3, (n, 3)) * (2.0**-24 if kind == np.float32 else 2.0**-53),
        )[number // 2 % 5].astype(kind)
        labels = rng.random((n, 3)) < rng.choice([0, 0.05, 0.3, 1])
        thresholds, best = visionlab.metrics.f1_thresholds(scores, labels, beta)
        for score, positive, threshold, value in zip(scores.T, labels.T, thresholds, best, strict=True):
            if not positive.any():
                assert np.isnan(threshold) and np.isnan(value)
                undefined += 1
                continue
            expected = max(f_beta(score >= cut, positive, beta) for cut in np.unique(score))
            assert value == pytest.approx(expected, abs=1e-12)
            assert f_beta(score >= threshold, positive, beta) == pytest.approx(expected, abs=1e-12)
    assert undefined > 20


@pytest.mark.acceptance
def test_thresholds_are_at_least_5_times_as_fast_as_a_loop_of_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_curve

    rng = np.random.default_rng(0)
    labels = rng.random((20_000, 28)) < 0.05
    scores = (rng.random(labels.shape) + 0.3 * labels).astype(np.float32)

    def loop() -> None:
        for score, label in zip(scores.T, labels.T, strict=True):
            precision, recall, _ = precision_recall_curve(label, score)
            (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()

    def seconds(call: Callable[[], Any]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    ours = min(seconds(lambda: visionlab.metrics.f1_thresholds(scores, labels)) for _ in range(5))
    assert min(seconds(loop) for _ in range(3)) > 5 * ours


# Splits --------------------------------------------------------------------------------------------------------------

STAINS = ("red", "green", "blue", "yellow")


def png(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))


def noise(seed: int, shape: tuple[int, ...] = (8, 8)) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 images of 60 groups with labels of which some are rare, in the layout of the protein atlas."""
    root, rng, rows = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0), ["Id,Target,antibody"]
    for number in range(150):
        own = [k for k, chance in enumerate((0.5, 0.3, 0.2, 0.1, 0.05)) if rng.random() < chance] or [0]
        rows.append(f"s{number:03d},{' '.join(map(str, own))},g{rng.integers(0, 60):02d}")
        for place, stain in enumerate(STAINS):
            png(root / "train" / f"s{number:03d}_{stain}.png", noise(4 * number + place))
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    return root


def splits_of(command: Command, out: Path, *words: str) -> dict[str, list[str]]:
    """Run ``prepare``; return the groups of each split."""
    ended = command("prepare", *words, f"hydra.run.dir={out}")
    assert ended.status == 0, ended.err
    found: dict[str, list[str]] = json.loads((out / "splits.json").read_text())
    parts = [found[name] for name in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)), "no group in two splits"
    index = pd.read_csv(out / "data_index.csv", dtype={"group": str})
    assert index.groupby("group")["split"].nunique().max() == 1
    return found


@pytest.mark.parametrize("grouped", [False, True], ids=["images", "groups"])
def test_every_class_is_in_every_split_within_one_of_even(
    grouped: bool, labelled: Path, command: Command, tmp_path: Path
) -> None:
    words = ["task=protein_atlas", "data.image_size=8", f"data.root={labelled}", "data.val_fraction=0.2"]
    words += ["data.group_column=antibody"] if grouped else []
    table = pd.read_csv(labelled / "train.csv", dtype=str)
    group = table["antibody"] if grouped else table["Id"]
    has = {k: table["Target"].str.split().map(lambda own, k=k: str(k) in own) for k in range(5)}
    found = splits_of(command, tmp_path / "out", *words, "data.test_fraction=0.2")
    for own in (pd.Series(True, index=table.index), *has.values()):
        for split, share in (("test", 0.2), ("val", 0.2), ("train", 0.6)):
            assert abs((own & group.isin(found[split])).sum() - share * own.sum()) <= 1.2, split


@pytest.mark.acceptance
def test_folds_test_every_group_once_and_share_classes_evenly(labelled: Path, command: Command, tmp_path: Path) -> None:
    words = ("task=protein_atlas", "data.image_size=8", f"data.root={labelled}", "data.group_column=antibody")
    table = pd.read_csv(labelled / "train.csv", dtype=str)
    tested = []
    for fold in range(3):
        found = splits_of(command, tmp_path / str(fold), *words, "data.folds=3", f"data.fold={fold}")
        tested += found["test"]
        for k in range(5):
            own = table["Target"].str.split().map(lambda text, k=k: str(k) in text)
            assert abs((own & table["antibody"].isin(found["test"])).sum() - own.sum() / 3) <= 1.2
    assert sorted(tested) == sorted(set(table["antibody"]))


@pytest.mark.acceptance
def test_groups_of_focus_stay_together(command: Command, tmp_path: Path) -> None:
    for number in range(40):
        png(tmp_path / "data" / f"well{number // 4}_{number}.00_{number % 4}.00.png", noise(number))
    words = ("task=focus", "data.image_size=8", f"data.root={tmp_path / 'data'}")
    found = splits_of(command, tmp_path / "out", *words)
    assert sorted(itertools.chain(*(found[s] for s in ("train", "val", "test")))) == [f"well{n}" for n in range(10)]
    assert [len(found[s]) for s in ("train", "val", "test")] == [6, 2, 2]
    assert splits_of(command, tmp_path / "again", *words)["test"] == found["test"]
    seeds = {tuple(splits_of(command, tmp_path / f"s{seed}", *words, f"seed={seed}")["test"]) for seed in range(1, 5)}
    assert len(seeds) > 1
    tenth = splits_of(command, tmp_path / "tenth", *words, "data.fraction=0.5")
    assert tenth["test"] == found["test"] and len(tenth["train"]) == 3
    # A file of splits in which a group stands twice, and equal images in two splits, are refused.
    both = {"train": ["well0", "well1"], "val": ["well1"], "test": ["well2"]}
    (tmp_path / "both.json").write_text(json.dumps(both))
    ended = command("prepare", *words, f"data.split_file={tmp_path / 'both.json'}", f"hydra.run.dir={tmp_path / 'no'}")
    assert ended.status in (1, 2) and "well1" in ended.err and "Traceback" not in ended.err
    group = {split: found[split][0] for split in ("train", "test")}
    source = next((tmp_path / "data").glob(f"{group['train']}_*"))
    (tmp_path / "data" / f"{group['test']}_99.00_0.00.png").write_bytes(source.read_bytes())
    ended = command("prepare", *words, f"hydra.run.dir={tmp_path / 'copies'}")
    assert ended.status == 1 and source.name in ended.err


# Objects -------------------------------------------------------------------------------------------------------------

SHAPE = (7, 48, 64)


def boxes(seed: int, odd: bool) -> tuple[Array, Array]:
    """Return a volume of bright boxes on a dark ground and their labels, Z x H x W.

    ``odd``: what no network can know is among them, a box of two objects, one without a label, and one that is dark.
    """
    rng = np.random.default_rng(seed)
    bright, labels = np.zeros(SHAPE, bool), np.zeros(SHAPE, np.uint16)
    for place, (y, x) in enumerate(itertools.product((4, 19, 34), (4, 20, 36, 52))):
        z, dy, dx = rng.integers(1, 4), rng.integers(0, 4), rng.integers(0, 3)
        box = np.s_[z : z + 3, y + dy : y + dy + 8, x + dx : x + dx + 8]
        bright[box] = place != 5 or not odd
        labels[box] = place + 1 if place != 6 or not odd else 0
        if place == 7 and odd:
            labels[z : z + 3, y + dy : y + dy + 8, x + dx + 4 : x + dx + 8] = 20
    image = np.where(bright, 600, 120) + rng.integers(0, 40, SHAPE)
    return image.astype(np.uint16), labels


def write_embryos(root: Path, sequences: int, *, odd: bool) -> Path:
    """Write sequences of three time points in the layout of the Cell Tracking Challenge."""
    for sequence, t in itertools.product(range(1, sequences + 1), range(3)):
        image, labels = boxes(100 * odd + 10 * sequence + t, odd)
        for path, values in (
            (root / f"{sequence:02d}" / f"t{t:03d}.tif", image),
            (root / f"{sequence:02d}_ST" / "SEG" / f"man_seg{t:03d}.tif", labels),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "ZYX"})
    return root


@pytest.fixture(scope="module")
def embryos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embryos(tmp_path_factory.mktemp("embryos"), 4, odd=False)


@pytest.fixture(scope="module")
def learnt(embryos: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt what is bright."""
    run = tmp_path_factory.mktemp("learnt") / "run"
    words = ("task=celegans_nuclei", *PLAN, "model=atrous_shuffle", "data.batch_size=8", "heads.nuclei.separate=none")
    more = ("trainer.max_epochs=4", "optimizer.lr=5e-3", "data.empty=0", f"data.root={embryos}")
    ended = command("train", *words, *more, f"hydra.run.dir={run}")
    assert ended.status == 0, ended.err
    return run


def places(labels: Array) -> dict[int, set[tuple[int, ...]]]:
    return {int(n): set(map(tuple, np.argwhere(labels == n).tolist())) for n in np.unique(labels) if n}


def most_pairs(pairs: dict[int, list[int]]) -> int:
    """Return the most pairs of which no two share a member."""
    partner: dict[int, int] = {}

    def place(left: int, seen: set[int]) -> bool:
        for right in pairs[left]:
            if right not in seen:
                seen.add(right)
                if right not in partner or place(partner[right], seen):
                    partner[right] = left
                    return True
        return False

    return sum(place(left, set()) for left in pairs)


def reference(true: Array, pred: Array) -> dict[str, float]:
    """Return the counts of a time point by the texts of the Cell Tracking Challenge, in loops over sets of voxels."""
    references, computed = places(true), places(pred)
    matches: dict[int, list[int]] = {s: [] for s in computed}
    seg, missed = 0.0, 0
    for r, region in references.items():
        matched = [s for s, other in computed.items() if len(region & other) > 0.5 * len(region)]
        missed += not matched
        for s in matched:
            matches[s].append(r)
            seg += len(region & computed[s]) / len(region | computed[s])
    splits = sum(len(found) - 1 for found in matches.values() if len(found) > 1)
    false = sum(not found for found in matches.values())
    half = {
        r: [s for s, other in computed.items() if len(region & other) / len(region | other) >= 0.5]
        for r, region in references.items()
    }
    sums = {"true": len(references), "pred": len(computed), "hits": most_pairs(half), "seg": seg}
    return {**sums, "cost": 5 * splits + 10 * missed + false, "off": abs(len(references) - len(computed))}


@pytest.mark.acceptance
def test_figures_of_objects_are_those_of_the_definitions(learnt: Path, command: Command, tmp_path: Path) -> None:
    odd = write_embryos(tmp_path / "odd", 1, odd=True)
    ended = command("evaluate", learnt, "--data", odd, "--out", tmp_path / "evaluation", "data.empty=0")
    assert ended.status == 0, ended.err
    ended = command("predict", learnt, odd / "01", "--out", tmp_path / "out")
    assert ended.status == 0, ended.err
    sums: dict[str, list[float]] = {}
    pixels = np.zeros(3)
    for truth in sorted((odd / "01_ST" / "SEG").iterdir()):
        true = tifffile.imread(truth)
        pred = tifffile.imread(tmp_path / "out" / "nuclei" / f"t{truth.stem[-3:]}.tif")
        for name, value in reference(true, pred).items():
            sums.setdefault(name, []).append(value)
        pixels += [((true > 0) & (pred > 0)).sum(), (true > 0).sum(), (pred > 0).sum()]
    total = {name: sum(values) for name, values in sums.items()}
    assert total["hits"] >= 0.5 * total["true"]
    assert total["cost"] >= 5 + 10 + 1 and 0 < total["seg"] < total["hits"], "all kinds of faults are among them"
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    found = {name.split("/")[-1]: entry["value"] for name, entry in metrics.items()}
    assert found == pytest.approx(
        {
            "iou": pixels[0] / (pixels[1] + pixels[2] - pixels[0]),
            "dice": 2 * pixels[0] / (pixels[1] + pixels[2]),
            "precision": total["hits"] / total["pred"],
            "recall": total["hits"] / total["true"],
            "f1": 2 * total["hits"] / (total["pred"] + total["true"]),
            "seg": total["seg"] / total["true"],
            "det": 1 - min(total["cost"], 10 * total["true"]) / (10 * total["true"]),
            "count_error": np.mean(sums["off"]),
        },
        abs=1e-5,
    )


@pytest.mark.acceptance
def test_centres_are_where_the_objects_are(learnt: Path, embryos: Path, command: Command, tmp_path: Path) -> None:
    assert command("predict", learnt, embryos / "01" / "t000.tif", "--out", tmp_path).status == 0
    true = tifffile.imread(embryos / "01_ST" / "SEG" / "man_seg000.tif")
    found = pd.read_csv(tmp_path / "objects.csv")[["z", "y", "x"]].to_numpy()
    expected = [np.mean(sorted(region), axis=0) for region in places(true).values()]
    assert len(found) == len(expected) == 12
    for centre in expected:
        assert np.abs(found - centre).max(axis=1).min() <= 1.5


def test_splits_that_leak_are_marked(embryos: Path, command: Command, tmp_path: Path) -> None:
    words = ("task=celegans_nuclei", "data.image_size=32", f"data.root={embryos}", "data.empty=0")
    ended = command("prepare", *words, "data.split_by=random_slices", f"hydra.run.dir={tmp_path / 'leaks'}")
    assert ended.status == 0
    for text in (ended.err, (tmp_path / "leaks" / "report.html").read_text()):
        assert "leak" in text.lower()
    kept = splits_of(command, tmp_path / "kept", *words)
    sequences = [{name.split("/")[0] for name in kept[split]} for split in ("train", "val", "test")]
    assert sum(map(len, sequences)) == 4, "whole sequences"


@pytest.mark.acceptance
def test_a_slice_of_4096_pixels_takes_at_most_1_5_gib(embryos: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("task=celegans_nuclei", *PLAN, "model=fpn", "data.batch_size=2", "trainer.max_epochs=1")
    more = ("trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "data.empty=0", f"data.root={embryos}")
    ended = command("train", *words, *more, f"hydra.run.dir={run}")
    assert ended.status == 0, ended.err
    image = np.random.default_rng(0).integers(100, 700, (4096, 4096)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "large.tif", image, photometric="minisblack")
    code = """
import resource, sys, visionlab
predictor = visionlab.load(sys.argv[1], device="cpu")
predictor.predict_volume(sys.argv[3])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
predictor.predict_volume(sys.argv[2])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)
"""
    small = embryos / "01" / "t000.tif"
    words_ = [sys.executable, "-c", code, str(run), str(tmp_path / "large.tif"), str(small)]
    done = subprocess.run(words_, capture_output=True, text=True, check=True, timeout=280)
    assert float(done.stdout.split()[-1]) < 1.5
