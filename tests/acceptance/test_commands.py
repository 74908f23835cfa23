"""Every command, key, choice and file name of README and DESIGN: help, run folders, what goes on from a run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import visionlab
from tests.acceptance.conftest import TINY, Command

Runs = Callable[[str], Path]

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


@pytest.fixture
def copied(runs: Runs, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return the function that copies a run, for tests that change it."""
    import shutil

    def copy(task: str) -> Path:
        return Path(shutil.copytree(runs(task), tmp_path / "copied"))

    yield copy
