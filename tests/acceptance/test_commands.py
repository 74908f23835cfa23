"""Every command and name that README and DESIGN promise: help, choices, run folders, results, files of predictions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import yaml

import visionlab
from tests.acceptance.conftest import TINY, Command

Runs = Callable[[str], Path]
Array = np.ndarray[Any, Any]

VERBS = ("train", "resume", "prepare", "evaluate", "predict", "report", "benchmark")
# Choices that can be typed, by group.
CHOICES = {
    "experiment": "focus_resnet34_l1 focus_resnet34_l2 focus_wide_resnet50_2 depth_mask_shuffle_unet "
    "depth_mask_progressive protein_atlas_inception_resnet_v2 protein_atlas_resnet10t protein_atlas_small_cnn "
    "protein_atlas_densenet121 celegans_nuclei_fpn celegans_membrane_fpn",
    "task": "focus depth_mask protein_atlas celegans_nuclei celegans_membrane celegans_lineage",
    "model": "resnet18 resnet34 resnet50 wide_resnet50_2 densenet121 inception_resnet_v2 inception_resnet_v2_flat "
    "resnet10t small_cnn unet fpn shuffle_unet resnet_shuffle atrous_shuffle dense_unet",
    "loss": "l1 mse huber ssim msssim gradient l1_msssim zhao densedepth bce focal dice lovasz bce_dice asymmetric "
    "soft_f1 lovasz_labels",
    "balance": "none clamp uncertainty",
    "optimizer": "adam adamw sgd",
    "scheduler": "plateau cosine onecycle cyclic step multistep none",
    "augment": "none flips focus depth_mask fgbg fgbg_background protein_atlas_crops celegans_nuclei "
    "celegans_membrane celegans_lineage",
    "trainer": "default gpu ddp debug",
}
# Keys of README, as --cfg job prints them; those with a value are printed where they are set.
KEYS = {
    "focus": "seed data.root data.image_size data.fit data.channels data.normalize data.val_fraction "
    "data.test_fraction data.folds data.fold data.fraction data.samples_per_epoch data.include data.exclude "
    "data.split_file data.cache_dir data.batch_size data.num_workers trainer.max_epochs trainer.precision "
    "trainer.accumulate_grad_batches trainer.gradient_clip_val optimizer.lr model.name model.pretrained model.weights "
    "model.hidden model.dropout init_from lr_find summary compile callbacks.early_stopping.patience "
    "callbacks.ema.decay callbacks.checkpoint.every_minutes logger.histograms monitor mode heads.distance.metrics",
    "depth_mask": "data.table data.per_background data.group_pattern data.split_by data.mask_threshold "
    "data.depth_scale data.depth_invalid data.inputs data.layout heads.mask.loss=bce heads.mask.weight=2 "
    "heads.mask.activation=sigmoid heads.depth.unit heads.depth.weight=2",
    "protein_atlas": "data.table data.images data.extra data.group_column data.class_names data.classes "
    "data.class_group data.sampling heads.labels.thresholds heads.labels.calibration",
    "celegans_nuclei": "data.layout data.truth data.split_by data.blocks data.gap data.voxel_size data.empty "
    "data.neighbours heads.nuclei.separate",
    "celegans_membrane": "heads.membrane.cells",
    "celegans_lineage": "data.columns data.table",
}
FILES = (
    "report.html metrics.json predictions/test.csv predictions/val.csv checkpoints/best.ckpt checkpoints/last.ckpt "
    "config.yaml splits.json data_index.csv data_card.json train.log run.json status.json"
)
# Of each task: files of its own, and the names of its metrics below `test/`.
OBJECTS = "precision recall f1 seg det count_error"
RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "focus": ("", {"distance": "mae rmse bias r2 sign_accuracy"}),
    "depth_mask": (
        "",
        {
            "mask": "iou dice mae boundary_f1",
            "depth": "mae rmse abs_rel log10 delta1 delta2 delta3 ssim aligned_mae aligned_rmse aligned_abs_rel "
            "aligned_delta1",
        },
    ),
    "protein_atlas": (
        "predictions/test_classes.csv predictions/test_suspects.csv",
        {
            "labels": "f1_macro f1_macro_half f1_macro_gain f1_micro precision_macro recall_macro map auroc hamming "
            "exact_match ece"
        },
    ),
    "celegans_nuclei": ("predictions/test_frames.csv", {"nuclei": f"iou dice {OBJECTS}"}),
    "celegans_membrane": ("predictions/test_frames.csv", {"membrane": "iou dice"}),
    "celegans_lineage": ("", {"counts": "mae bias r2 A/mae A/bias A/r2 Z/mae"}),
}
# The others take as long to train again.
SOME = [pytest.param(t, marks=[] if t == "focus" else [pytest.mark.acceptance]) for t in RUNS]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def png(path: Path, image: Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))
    return path


# What is answered without torch ---------------------------------------------------------------------------------------

LIGHT = """
import contextlib, importlib, io, json, sys
import visionlab
sys.modules["torch"] = None
for verb, *words in json.loads(sys.argv[1]):
    out, status = io.StringIO(), 0
    sys.argv = [f"visionlab {verb}", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            importlib.import_module(f"visionlab.{verb}").main()
        except SystemExit as end:
            status = end.code or 0
    print(json.dumps([status, out.getvalue()]))
heavy = ("pytorch_lightning", "timm", "albumentations")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def without_torch(*lines: list[str]) -> list[Any]:
    """Run commands in an interpreter that can't import torch; return exit status and output of each."""
    done = subprocess.run([sys.executable, "-c", LIGHT, json.dumps(lines)], capture_output=True, text=True, check=True)
    *results, heavy = map(json.loads, done.stdout.splitlines())
    assert heavy == []
    return results


def test_help_of_every_command() -> None:
    results = without_torch(*([verb, "--help"] for verb in VERBS))
    for verb, (status, text) in zip(VERBS, results, strict=True):
        assert status == 0, text
        assert re.search(rf"visionlab[. ]{verb} \[", text), text
        assert len(text.splitlines()) < 90
        assert not set("│╭╰") & set(text), "boxes can't be copied, searched or read aloud"
    training, predicting = results[0][1], results[VERBS.index("predict")][1]
    assert all(task in training for task in RUNS)
    options = "--out --with --batch-size --device --tta --tta-merge --axes --voxel-size --threshold --probabilities "
    for option in (options + "--gif --depth-format --submission --order --at-least-one").split():
        assert option in predicting
    assert all(option in results[VERBS.index("evaluate")][1] for option in ("--data", "--split", "--out", "--device"))


@pytest.mark.parametrize("task", KEYS)
def test_settings_are_printed_and_have_every_key(task: str) -> None:
    keys = KEYS[task].split()
    ((status, text),) = without_torch(["train", f"task={task}", *(key for key in keys if "=" in key), "--cfg", "job"])
    assert status == 0, text
    settings = yaml.safe_load(text)
    for key in (key.partition("=")[0] for key in keys):
        at = settings
        for part in key.split("."):
            # A callback that is off has no keys until one is set.
            if at is None:
                break
            assert part in at, key
            at = at[part]


@pytest.mark.acceptance
@pytest.mark.parametrize("group", CHOICES)
def test_every_choice_composes(group: str) -> None:
    names = CHOICES[group].split()
    task = {"loss": "depth_mask", "balance": "depth_mask"}.get(group)
    before = [f"task={task}"] if task else []
    results = without_torch(*(["train", *before, f"{group}={name}", "--cfg", "job"] for name in names))
    for name, (status, text) in zip(names, results, strict=True):
        assert status == 0, text
        settings = yaml.safe_load(text)
        if group in ("experiment", "task", "model"):
            found = settings[group] if group == "task" else settings[group]["name"]
            assert found == name
    ((status, said),) = without_torch(["train", *before, f"{group}=nothing_of_this_name"])
    assert status == 2
    assert [name for name in names if name not in said] == [], "every choice is named"


def test_commands_of_the_script(command: Command) -> None:
    listed = command("cli", "--help")
    assert listed.status == 0
    assert all(verb in listed.out for verb in VERBS)
    assert command("cli", "--version").out == f"visionlab {visionlab.__version__}\n"
    assert command("cli", "predict", "nothing", ".") == command("predict", "nothing", ".")
    script = Path(sys.executable).with_name("visionlab")
    if script.is_file():
        done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("visionlab ")


# Run folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SOME)
def test_a_run_folder_holds_what_is_promised(task: str, runs: Runs) -> None:
    run = runs(task)
    more, names = RUNS[task]
    assert [name for name in f"{FILES} {more}".split() if not (run / name).is_file()] == []
    assert list(run.glob("events.out.tfevents.*")) and list((run / "plots").iterdir())
    assert not list(run.rglob("*.part"))
    metrics = read(run / "metrics.json")
    for head, of_head in names.items():
        for name in of_head.split():
            entry = metrics[f"test/{head}/{name}"]
            assert {"value", "low", "high", "baseline", "n", "groups", "better", "unit", "data"} <= set(entry)
            if name != "A/r2":
                assert entry["value"] is not None, name
            if entry["low"] is not None:
                assert entry["low"] <= entry["value"] <= entry["high"]
    assert {key.split("/")[0] for key in metrics} == {"val", "test"}
    assert {key.split("/")[1] for key in metrics} == set(names)
    status, about = read(run / "status.json"), read(run / "run.json")
    assert status["state"] == "finished"
    assert {"command", "task", "model", "synthetic", "versions", "parameters", "heads", "seconds", "seed"} <= set(about)
    assert f"python -m visionlab.train task={task} " in about["command"]
    splits, index = read(run / "splits.json"), pd.read_csv(run / "data_index.csv", dtype={"group": str})
    assert {"id", "group", "split", "path"} <= set(index)
    for split in ("train", "val", "test"):
        assert set(index[index["split"] == split]["group"]) == set(splits[split])
    test = pd.read_csv(run / "predictions" / "test.csv", dtype={"group": str})
    assert set(test["group"]) <= set(splits["test"])
    assert yaml.safe_load((run / "config.yaml").read_text())["task"] == task


@pytest.mark.parametrize("task", SOME)
def test_a_report_is_one_file_that_needs_no_internet(task: str, runs: Runs) -> None:
    page = (runs(task) / "report.html").read_text()
    sources = re.findall(r"""(?:src|href|action)\s*=\s*["']([^"']{0,30})""", page) + re.findall(
        r"url\(([^)]{0,30})", page
    )
    assert [text for text in sources if not text.startswith(("data:", "#"))] == []
    assert not re.search(r"@import|<iframe|<object", page)
    assert "data:image/png;base64," in page
    assert f"python -m visionlab.predict {runs(task)}" in page
    if task.startswith("celegans") and task != "celegans_lineage":
        assert "data:image/gif;base64," in page
    assert ("Grad-CAM" in page) == (task == "protein_atlas")


def test_tensorboard_shows_curves_images_and_hyperparameters(runs: Runs) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(runs("focus")), size_guidance={"scalars": 0, "images": 0})
    reader.Reload()
    tags = reader.Tags()
    assert {"train/loss_epoch", "val/loss", "val/distance/mae", "lr", "epoch"} <= set(tags["scalars"])
    assert len(reader.Scalars("val/distance/mae")) == 2, "one an epoch"
    assert any(tag.startswith("val/distance/images") for tag in tags["images"])
    assert any(name.startswith("_hparams_") for name in reader.summary_metadata)
    metrics = read(runs("focus") / "metrics.json")
    assert reader.Scalars("test/distance/mae")[-1].value == pytest.approx(metrics["test/distance/mae"]["value"])


def test_metrics_are_those_of_the_predictions(runs: Runs) -> None:
    run = runs("focus")
    table, index, metrics = pd.read_csv(run / "predictions/test.csv"), pd.read_csv(run / "data_index.csv"), {}
    metrics = read(run / "metrics.json")
    error = table["distance_pred"] - table["distance_true"]
    mae = metrics["test/distance/mae"]
    assert (mae["n"], mae["groups"], mae["unit"]) == (len(table), table["group"].nunique(), "um")
    assert mae["value"] == pytest.approx(error.abs().mean(), rel=1e-5)
    assert metrics["test/distance/rmse"]["value"] == pytest.approx((error**2).mean() ** 0.5, rel=1e-5)
    assert metrics["test/distance/bias"]["value"] == pytest.approx(error.mean(), rel=1e-4, abs=1e-5)
    mean = index[index["split"] == "train"]["distance"].mean()
    assert mae["baseline"] == pytest.approx((table["distance_true"] - mean).abs().mean(), rel=1e-4)


def test_a_checkpoint_holds_plain_data(runs: Runs) -> None:
    import torch

    best = torch.load(runs("focus") / "checkpoints" / "best.ckpt", weights_only=True)
    about = best["visionlab"]
    json.dumps(about)
    assert about["task"] == "focus" and about["network"]["name"] == "test_resnet"
    assert {"preprocess", "heads", "inputs", "data", "normalize"} <= set(about)


# Going on from a run --------------------------------------------------------------------------------------------------


def test_report_and_evaluate_again(runs: Runs, command: Command, tmp_path: Path, copied: Callable[[str], Path]) -> None:
    run = copied("focus")
    before = read(run / "metrics.json")
    (run / "report.html").unlink()
    assert command("report", run).out.strip() == str(run / "report.html")
    (run / "metrics.json").unlink()
    assert command("evaluate", run, "--split", "test").status == 0
    after = read(run / "metrics.json")
    assert set(after) == {name for name in before if name.startswith("test/")}
    for name, entry in after.items():
        assert entry["value"] == pytest.approx(before[name]["value"], abs=1e-6)
    others = visionlab.samples.write("focus", tmp_path / "others", seed=7, fields=3, heights=5, image_size=32)
    assert command("evaluate", run, "--data", others).status == 0
    found = run / "evaluations" / "others"
    assert read(found / "metrics.json")["test/distance/mae"]["n"] == 15
    assert (found / "report.html").is_file()
    assert command("predict", run, others, "--out", tmp_path / "out").status == 0
    predicted = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("path")["value"]
    measured = pd.read_csv(found / "predictions" / "test.csv")
    expected = predicted.reindex([str(others / path) for path in measured["path"]])
    np.testing.assert_allclose(measured["distance_pred"], expected, atol=1e-5)


@pytest.mark.acceptance
def test_runs_are_compared(runs: Runs, command: Command, tmp_path: Path, copied: Callable[[str], Path]) -> None:
    page = tmp_path / "both.html"
    ended = command("report", runs("focus"), copied("focus"), "--out", page)
    assert (ended.status, ended.out.strip()) == (0, str(page))
    text = page.read_text()
    assert "test/distance/mae" in text or "mae" in text
    assert "data:image/png;base64," in text
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", text)


@pytest.mark.acceptance
def test_a_sweep_goes_on_after_a_failed_job_and_ends_with_a_comparison(
    command: Command, tmp_path: Path, roots: Callable[[str], Path]
) -> None:
    words = (*TINY["focus"], f"data.root={roots('focus')}", "trainer.max_epochs=1", "data.include=[nothing],[f*],[*]")
    ended = command("train", "-m", *words, process=True, cwd=tmp_path)
    assert ended.status == 1
    assert "1 of 3 jobs failed" in ended.err and "Traceback" not in ended.err
    (sweep,) = (tmp_path / "outputs" / "focus" / "multirun").iterdir()
    done = sorted(path.parent.name for path in sweep.glob("*/report.html"))
    assert done == ["1_test_resnet", "2_test_resnet"]
    page = (sweep / "comparison.html").read_text()
    assert all(name in page for name in (*done, "data.include"))


def test_a_folder_by_default_and_the_call_from_python(
    roots: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs
) -> None:
    monkeypatch.chdir(tmp_path)
    start = f"init_from={runs('focus')}"
    run = visionlab.train(*TINY["focus"], f"data.root={roots('focus')}", "trainer.max_epochs=1", start)
    assert run.parts[:2] == ("outputs", "focus") and run.name.endswith("_test_resnet")
    assert (run / "report.html").is_file()


@pytest.mark.acceptance
def test_prepare_checks_splits_and_reports(command: Command, tmp_path: Path, roots: Callable[[str], Path]) -> None:
    out = tmp_path / "out"
    words = ("task=focus", "data.image_size=32", f"data.root={roots('focus')}", "data.folds=3", "data.fold=1")
    assert command("prepare", *words, f"hydra.run.dir={out}").status == 0
    for name in ("problems.csv", "splits.json", "data_index.csv", "data_card.json", "report.html", "prepare.log"):
        assert (out / name).is_file(), name
    assert (out / "problems.csv").read_text() == "path,severity,what,advice\n"
    # Training takes the splits over.
    run = ("train", *TINY["focus"], f"data.root={roots('focus')}", f"data.split_file={out / 'splits.json'}")
    assert command(*run, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}").status == 0
    prepared, used = read(out / "splits.json"), read(tmp_path / "run" / "splits.json")
    assert all(sorted(prepared[split]) == sorted(used[split]) for split in ("train", "val", "test"))


@pytest.mark.acceptance
def test_benchmark_measures_loading_and_step(command: Command, tmp_path: Path, roots: Callable[[str], Path]) -> None:
    words = ("task=focus", "model=timm", "model.name=test_resnet", "data.image_size=32", "trainer.accelerator=cpu")
    quick = ("benchmark.batch_sizes=[4,2]", "benchmark.seconds=0.001", f"data.root={roots('focus')}")
    assert command("benchmark", *words, *quick, f"hydra.run.dir={tmp_path}").status == 0
    for name in ("throughput.csv", "throughput.json", "throughput.png", "report.html"):
        assert (tmp_path / name).is_file(), name
    table = pd.read_csv(tmp_path / "throughput.csv")
    np.testing.assert_allclose(table["images_per_second"], 1000 * table["batch_size"] / table["ms"])
    assert set(table["batch_size"]) == {2, 4}


@pytest.mark.acceptance
def test_settings_of_training_that_need_a_run(command: Command, tmp_path: Path, roots: Callable[[str], Path]) -> None:
    base = ("train", *TINY["focus"], f"data.root={roots('focus')}", "trainer.max_epochs=1")
    summary = command(*base, "summary=true", f"hydra.run.dir={tmp_path / 'summary'}")
    assert summary.status == 0 and "receptive field" in summary.out + summary.err
    assert not (tmp_path / "summary" / "checkpoints").exists()
    found = command(*base, "lr_find=true", f"hydra.run.dir={tmp_path / 'find'}")
    assert found.status == 0, found.err
    quick = ("data.root=sample", "trainer=debug", "trainer.accelerator=cpu")
    assert command(*base, *quick, f"hydra.run.dir={tmp_path / 'debug'}").status == 0
    assert read(tmp_path / "debug" / "run.json")["synthetic"], "generated data are marked"
    assert "synthetic" in (tmp_path / "debug" / "report.html").read_text()


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
    thresholds = read(run / "run.json")["heads"]["labels"]["thresholds"]
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


# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(runs: Runs, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return the function that copies a run, for tests that change it."""
    import shutil

    def copy(task: str) -> Path:
        return Path(shutil.copytree(runs(task), tmp_path / "copied"))

    yield copy
