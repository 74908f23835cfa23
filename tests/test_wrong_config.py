"""Wrong configurations, through the real command: status 2, one message with the way out, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Arguments as in a shell, and what the message must hold: the key, and the nearest right name or the choices.
CASES: dict[str, tuple[str, ...]] = {
    # Misspelt choices, in every group
    "task=focsu": ("task: no choice 'focsu'", "'focus'"),
    "model=resnet43": ("model: no choice", "'resnet34'", "wide_resnet50_2"),
    "model=convnext_tiny": ("model=timm model.name=convnext_tiny",),
    "make=composite": ("make=composite", "visionlab.prepare"),
    "task=depth_mask make.cutouts=x": ("make.cutouts=x", "visionlab.prepare"),
    "experiment.name=x": ("experiment.name=x", "nothing is chosen", "depth_mask_progressive"),
    "loss=l3": ("loss: no choice", "'l1'", "huber"),
    "optimizer=adm": ("optimizer: no choice", "'adam'"),
    "scheduler=cosin": ("scheduler: no choice", "'cosine'"),
    "augment=flip": ("augment: no choice", "'flips'"),
    "trainer=gpus": ("trainer: no choice", "'gpu'"),
    "callbacks=defaults": ("callbacks: no choice", "'default'"),
    "logger=tensorbord": ("logger: no choice", "'tensorboard'"),
    "experiment=focus_resnet34": ("experiment: no choice", "'focus_resnet34_l"),
    "experiment=null": ("experiment: no choice null", "focus_wide_resnet50_2"),
    "optimizer=[adam,sgd]": ("optimizer: no choice", "adamw"),
    # Misspelt keys
    "modle=resnet34": ("unknown key 'modle'", "'model'"),
    "trainer.max_epoch=3": ("unknown key 'trainer.max_epoch'", "'trainer.max_epochs'"),
    "max_epochs=3": ("unknown key 'max_epochs'", "'trainer.max_epochs'"),
    "lr=0.1": ("unknown key 'lr'", "'optimizer.lr'"),
    "optimizer.momentum=0.9": ("unknown key 'optimizer.momentum'", "Keys of optimizer", "betas"),
    "data.batchsize=4": ("unknown key 'data.batchsize'", "'data.batch_size'"),
    "model.pretraind=true": ("unknown key 'model.pretraind'", "'model.pretrained'"),
    "loss=huber loss.dleta=2": ("unknown key 'loss.dleta'", "'loss.delta'"),
    "scheduler=plateau scheduler.patence=2": ("unknown key 'scheduler.patence'", "'scheduler.patience'"),
    "callbacks.ema.decy=0.9": ("unknown key 'callbacks.ema.decy'", "'callbacks.ema.decay'"),
    "logger.graphs=true": ("unknown key 'logger.graphs'", "'logger.graph'"),
    "heads.distance.wieght=2": ("unknown key 'heads.distance.wieght'", "'heads.distance.weight'"),
    "hydra.run.dirr=x": ("unknown key 'hydra.run.dirr'", "'hydra.run.dir'"),
    "hydra.mode=fast": ("hydra.mode: ", "MULTIRUN"),
    "hydra.run.dir=${nope}": ("hydra.run.dir: ", "nope"),
    "hydra.run.dir=weights.pth/x": ("hydra.run.dir: expected a folder", "weights.pth/x"),
    "hydra.searchpath=[file:///nowhere] model=mine": ("hydra.searchpath: expected", "'file:///nowhere'"),
    "hydra/launcher=slurm": ("hydra/launcher: no choice 'slurm'", "basic"),
    "+foo=1": ("unknown key 'foo'",),
    "+data.rot=x": ("data.rot: unknown key", "'root'"),
    "++model.act=relu": ("model.act: unknown key", "dropout"),
    "+trainer.max_epochs=3": ("leave out the '+'",),
    "+heads.depth.kind=regression": ("heads.depth", "conf/task/"),
    "~trainer.max_epochs": ("'trainer.max_epochs' can't be removed",),
    "~model": ("'model' is a choice", "resnet34"),
    # Not key=value
    "seed": ("'seed' is not understood", "key=value"),
    "data.root=/x/a=b": ("not understood", "\"data.root='/x/a=b'\""),
    "=3": ("not understood",),
    "--epochs=3": ("unrecognized arguments: --epochs=3", "trainer.max_epochs=10"),
    "data.root=~/x": ("not understood", "\"data.root='~/x'\""),
    "--run -m": ("Only one of",),
    "--config-name=other": ("--config-name", "experiment="),
    "--experimental-rerun=x.pickle": ("--experimental-rerun", "overrides"),
    "seed=1,2": ("several values", "-m", "seed=[a,b]"),
    # Wrong types
    "trainer.max_epochs=ten": ("trainer.max_epochs: expected int, found 'ten'",),
    "trainer.max_epochs=1.5": ("trainer.max_epochs: expected int, found 1.5",),
    "trainer.gradient_clip_val=big": ("trainer.gradient_clip_val: expected float or null, found 'big'",),
    "trainer.devices=two": ("trainer.devices: expected a number from 1, or auto", "'two'"),
    "logger.graph=maybe": ("logger.graph: expected bool, found 'maybe'",),
    "callbacks.ema=0.9": ("callbacks.ema: expected a mapping, found 0.9",),
    "heads.distance.metrics=mae": ("heads.distance.metrics: expected a list, found 'mae'",),
    "heads.distance.loss=3": ("heads.distance.loss._target_", "'visionlab.losses.'"),
    "data.batch_size=2.5": ("data.batch_size: expected int, found 2.5",),
    "data.image_size=big": ("data.image_size: expected int or a list", "'big'"),
    "data.include=a*": ("data.include: expected a list of str, found 'a*'",),
    "data=folder": ("data: expected a mapping",),
    "model.dropout=half": ("model.dropout: expected float, found 'half'",),
    "model.hidden=64": ("model.hidden: expected a list of int, found 64",),
    "optimizer.lr=fast": ("optimizer.lr: expected float, found 'fast'",),
    "optimizer.betas=[0.9]": ("optimizer.betas: expected two numbers",),
    "scheduler=multistep scheduler.milestones=30": ("scheduler.milestones: expected a list of int, found 30",),
    "seed=${nope}": ("seed: ", "nope"),
    # Values out of range, misspelt values
    "seed=-1": ("seed: expected a number from 0", "-1"),
    "trainer.precision=16-mix": ("trainer.precision: ", "32-true", "'16-mixed'"),
    "trainer.strategy=dpp": ("trainer.strategy: ", "'ddp'"),
    "trainer.accelerator=gpus": ("trainer.accelerator: ", "'gpu'"),
    "trainer.max_epochs=0": ("trainer.max_epochs: expected a number of at least 1, found 0",),
    "trainer.accumulate_grad_batches=0": ("trainer.accumulate_grad_batches",),
    "callbacks.ema.decay=1": ("callbacks.ema.decay: expected a number above 0 and below 1",),
    "callbacks.early_stopping.patience=0": ("callbacks.early_stopping.patience",),
    "optimizer.lr=0": ("optimizer.lr: expected a number above 0, found 0",),
    "optimizer.lr=nan": ("optimizer.lr: expected a number above 0",),
    "data.batch_size=0": ("data.batch_size: expected a number of at least 1, found 0",),
    "data.num_workers=-1": ("data.num_workers",),
    "data.image_size=4": ("data.image_size: expected at least 8 pixels, found 4",),
    "data.image_size=[64,64,64]": ("data.image_size: expected one number or [height, width]",),
    "data.fit=crup": ("data.fit: ", "'crop'", "stretch"),
    "data.normalize=datset": ("data.normalize: ", "'dataset'"),
    "data.normalize=[0.5,0]": ("data.normalize: expected [mean, std]",),
    "data.fraction=0": ("data.fraction: expected a number above 0, at most 1",),
    "data.val_fraction=0.6 data.test_fraction=0.5": ("data.val_fraction and data.test_fraction",),
    "mode=mni": ("mode: ", "'min'"),
    "module=regresor": ("module: ", "'regressor'"),
    "heads.distance.kind=regresion": ("heads.distance.kind: ", "'regression'"),
    "heads.distance.metrics=[mea]": ("heads.distance.metrics: ", "'mae'", "sign_accuracy"),
    "heads.distance.metrics=[]": ("heads.distance.metrics: expected at least one of mae, rmse",),
    "heads.distance.weight=0": ("heads: expected a weight above 0",),
    "monitor=val/distance/mse": ("monitor: ", "'val/distance/rmse'", "val/loss"),
    "monitor=val/distence/mae": ("monitor: ", "'val/distance/mae'"),
    # Names of networks, transforms, targets
    "model.name=resnet99": ("model.name: ", "'resnet50'"),
    "model=timm": ("model.name: expected a value, found none", "model.name=convnext_tiny"),
    "model=timm model.name=convnext_tny": ("model.name: ", "'convnext_tiny'"),
    "model=timm model.name=resnet50.a1_in1kk": ("model.name: ", "'a1_in1k'"),
    "augment.image=[{transform:GausianBlur}]": ("augment.image[0].transform: ", "'GaussianBlur'"),
    "augment.joint=[{transform:Rotate,limt:10}]": ("augment.joint[0].limt: unknown argument", "'limit'"),
    "augment.joint=[{transform:Rotate,limit:wide}]": ("augment.joint[0].limit: expected", "'wide'"),
    "augment.joint=[{transform:Rotate,p:2}]": ("augment.joint[0].p: expected a probability",),
    "augment.image=[Blur]": ("augment.image[0]: expected {transform: NAME",),
    "augment.image=[{one_of:[{transform:Blr}],p:1}]": ("augment.image[0].one_of[0].transform: ", "'Blur'"),
    "augment.joint=[{one_of:[{transform:Rotate}]}]": ("augment.joint[0]: expected {one_of: [...], p: a probability",),
    "augment.joint=[{one_of:[],p:0.5}]": ("augment.joint[0]: expected {one_of: [...]",),
    "augment.joint=[{one_of:[{transform:Rotate}],p:2}]": ("augment.joint[0]: expected {one_of: [...]",),
    "loss._target_=visionlab.losses.elementwise.hubr": ("loss._target_: ", "'huber'"),
    "loss._target_=os.system": ("loss._target_: expected a name that begins with 'visionlab.losses.'",),
    "data._target_=visionlab.datasets.focus.FocusDataModul": ("data._target_: ", "'FocusDataModule'"),
    # Heads, their losses, and how they are balanced
    "heads.distance.loss=l3": ("heads.distance.loss: expected one of ", "'l1'"),
    "heads.distance.loss={l1:1,bce:1}": ("heads.distance.loss.bce: BCELoss needs targets of 0 and 1",),
    "heads.distance.loss=ssim": ("heads.distance.loss.ssim: SSIMLoss compares maps", "huber"),
    "heads.distance.activation=sigmoid": ("heads.distance.activation: expected one of none",),
    "task=depth_mask heads.mask.loss=bec": ("heads.mask.loss: expected one of", "'bce'"),
    "task=depth_mask heads.mask.loss={bce:1,dise:0.5}": ("heads.mask.loss: expected one of", "'dice'"),
    "task=depth_mask heads.mask.loss={bce:0}": ("heads.mask.loss.bce: expected a weight above 0, found 0",),
    "task=depth_mask heads.mask.loss={}": ("heads.mask.loss: expected a loss or several", "found none"),
    "task=depth_mask heads.mask.loss=[bce,dice]": ("heads.mask.loss: expected entries of name, weight and loss",),
    "task=depth_mask loss=bce": ("loss: BCELoss needs targets of 0 and 1", "heads.depth.loss=l1"),
    "task=depth_mask heads.mask.activation=none heads.mask.loss=bce": ("heads.mask.loss.bce: ", "=sigmoid"),
    "task=depth_mask heads.mask.kind=depth": ("heads.mask.kind: expected mask",),
    "task=depth_mask ~heads.mask ~heads.depth": ("heads: expected at least one of mask, depth",),
    "task=depth_mask ~heads.mask.kind": ("'heads.mask.kind' can't be removed",),
    "task=depth_mask heads.depth.metrics=[iou]": ("heads.depth.metrics: expected one of mae", "aligned_delta1"),
    "task=depth_mask balance=clmp": ("balance: no choice", "'clamp'", "uncertainty"),
    "task=depth_mask balance=clamp balance.by=dept": ("balance.by: expected one of mask, depth", "'depth'"),
    "task=depth_mask balance=clamp balance.by=mask": ("balance.by: expected another head than balance.raised",),
    "task=depth_mask balance=clamp ~heads.depth": ("balance.by: expected one of mask; found 'depth'",),
    # Dense data and networks
    "task=depth_mask model=resnet34": ("model.name: expected a network of kind 'dense'",),
    "task=depth_mask module=regressor": ("module: expected dense for heads.mask.kind=mask",),
    "task=depth_mask model=dense_unet": ("data.inputs: expected 2 for model.name=dense_unet", "[image,background]"),
    "task=depth_mask data.inputs=[background]": ("data.inputs: expected image, and perhaps others after it",),
    "task=depth_mask data.inputs=[image,backgruond]": ("data.inputs: expected a list of one of image, background",),
    "task=depth_mask data.inputs=[image,mask]": ("data.inputs: expected a list of one of image, background",),
    "task=depth_mask data.split_by=[foregruond]": ("data.split_by: expected a list of one of background, foreground",),
    "task=depth_mask data.split_by=[foreground]": ("data.split_by: expected [background]",),
    "task=depth_mask data.layout=nestd": ("data.layout: ", "'nested'"),
    "task=depth_mask data.depth_scale=mm": ("data.depth_scale: expected one of auto or float, found 'mm'",),
    "task=depth_mask data.depth_scale=0": ("data.depth_scale: expected a number above 0, found 0",),
    "task=depth_mask data.depth_invalid=zero": ("data.depth_invalid: expected one of auto, none or float",),
    "task=depth_mask data.image_size=16": ("data.image_size: expected at least 32 px for loss (L1MSSSIMLoss)",),
    # Labels: their classes, stains, thresholds and losses
    "task=protein_atlas data.class_group=3/2": ("data.class_group: expected i/n", "2/4", "found '3/2'"),
    "task=protein_atlas data.class_group=1/2,2/2": ("data.class_group: ", "several values", "-m"),
    "task=protein_atlas -m data.class_group=1/4,5/4": ("data.class_group: expected i/n", "found '5/4'"),
    "task=protein_atlas data.classes=[1,1]": (
        "data.classes: expected each class once, found 1 (Nuclear membrane) twice",
    ),
    "task=protein_atlas data.classes=[28]": ("data.classes: expected numbers from 0 to 27, found 28",),
    "task=protein_atlas data.classes=[1] data.class_group=1/2": ("data.classes and data.class_group: ", "found both"),
    "task=protein_atlas data.class_names=[a,b,a]": (
        "data.class_names: expected each name once, found 'a' for 0 and 2",
    ),
    "task=protein_atlas data.class_names=[mean,b]": ("data.class_names: 'mean' is a column of the tables already",),
    "task=protein_atlas data.channels=[rde]": ("data.channels: expected stains of red, green", "'red'"),
    "task=protein_atlas data.channels=4": ("data.channels: expected a list of str, found 4",),
    "task=protein_atlas data.channels=[red/2+yellow/0,green]": ("data.channels: ", "above 0", "'red/2+yellow/0'"),
    "task=protein_atlas data.sampling=random": ("data.sampling: expected one of uniform, sqrt, balanced", "'random'"),
    "task=protein_atlas data.samples_per_epoch=0": (
        "data.samples_per_epoch: expected a number of at least 1, found 0",
    ),
    "task=protein_atlas heads.labels.thresholds=best": (
        "heads.labels.thresholds: expected one of f1, ratio, shrunken",
    ),
    "task=protein_atlas heads.labels.thresholds=1.5": (
        "heads.labels.thresholds: expected a score above 0",
        "found 1.5",
    ),
    "task=protein_atlas heads.labels.thresholds=[0.5]": ("heads.labels.thresholds: ", "or a number", "found [0.5]"),
    "task=protein_atlas heads.labels.calibration=plat": ("heads.labels.calibration: expected one of none", "'platt'"),
    "task=protein_atlas heads.labels.metrics=[f1_makro]": ("heads.labels.metrics: ", "'f1_macro'"),
    "task=protein_atlas model=unet": ("model.name: expected a network of kind 'image'", "'unet' of kind 'dense'"),
    "task=protein_atlas loss=dice": ("loss: DiceLoss compares maps, but heads.labels gives labels", "bce"),
    "task=protein_atlas loss=l1": ("loss: l1 is smallest where", "bce"),
    "task=protein_atlas loss=bce loss.class_weights=lg": ("loss.class_weights: expected one of none, log", "'log'"),
    "task=protein_atlas loss=bce loss.label_smoothing=1": ("loss.label_smoothing: expected a number of at least 0",),
    "task=protein_atlas heads.labels.loss={bce:1,sof_f1:1}": ("heads.labels.loss: expected one of", "'soft_f1'"),
    "loss=soft_f1": ("loss: SoftF1Loss is for labels of whole images", "heads.distance is of kind regression"),
    "heads.distance.thresholds=f1": ("heads.distance.thresholds: only heads of labels have it", "regression"),
    "task=depth_mask ~heads.depth loss=bce loss.class_weights=log": ("loss.class_weights: ", "heads.mask"),
    # Contradictions
    "monitor=val/distance/r2": ("mode: expected max for monitor=val/distance/r2, found min",),
    "monitor=val/distance/bias": ("monitor: 'val/distance/bias' is best near 0",),
    "data.folds=5": ("data.folds and data.fold: expected both or none",),
    "data.folds=5 data.fold=5": ("data.fold: expected 0 to 4", "found 5"),
    "data.folds=5 data.fold=0 data.split_file=x.json": ("data.folds and data.split_file",),
    "model.pretrained=true model.weights=w.pth": ("model.pretrained and model.weights",),
    "model.freeze=true": ("model.freeze: ", "model.pretrained=true"),
    "trainer.precision=16-mixed trainer.accelerator=cpu": ("trainer.precision: 16-mixed needs a GPU", "bf16-mixed"),
    "scheduler=cosine scheduler.warmup_epochs=50 trainer.max_epochs=50": (
        "scheduler.warmup_epochs: expected less than trainer.max_epochs=50",
    ),
    "optimizer=sgd optimizer.nesterov=true optimizer.momentum=0": ("optimizer.nesterov",),
    "data.image_size=[64,96]": ("data.image_size: expected a square", "D4"),
    "experiment=focus_resnet34_l1 experiment.task=depth_mask": ("experiment: ", "task=depth_mask"),
    "experiment=protein_atlas_densenet121 task=focus": ("experiment: ", "is for task=protein_atlas, found task=focus"),
    "-m seed=1,2 trainer.strategy=ddp": ("a sweep (-m) can't train on several devices", "trainer.devices=1"),
    "-m seed=1,2 trainer.devices=2": ("a sweep (-m) can't train on several devices", "devices=2"),
    "-m model=resnet18,resnet43": ("model: no choice", "'resnet34'"),
    "-m optimizer.lr=1e-3,0": ("optimizer.lr: expected a number above 0, found 0",),
    # Paths
    "data.root=imges": ("data.root: expected a folder", "'images'", "sample"),
    "model.weights=weights.pt": ("model.weights: expected a file", "'weights.pth'"),
    "data.split_file=split.json": ("data.split_file: expected a file",),
    "init_from=outputs/none": ("init_from: expected a run folder or checkpoint",),
}

# Whatever passes the checks ends here, rather than being trained.
DRIVER = """
import contextlib, io, json, sys, traceback, types

def accept(*_): sys.exit("accepted")

sys.modules["visionlab.training.runner"] = types.ModuleType("visionlab.training.runner")
sys.modules["visionlab.training.runner"].run = accept
from visionlab import train
for line in sys.stdin:
    sys.argv = ["train.py", *line.split()]
    out, err, status = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            train.main()
        except SystemExit as stop:
            status = stop.code
        except Exception:
            traceback.print_exc()
    heavy = [name for name in ("torch", "pytorch_lightning", "timm", "albumentations") if name in sys.modules]
    print(json.dumps([status, out.getvalue(), err.getvalue(), heavy]), flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "images").mkdir()
    (folder / "weights.pth").touch()
    return folder


@pytest.fixture(scope="module")
def results(place: Path) -> dict[str, list[object]]:
    """All cases in one interpreter, which must never import torch."""
    result = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input="\n".join(CASES),
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(CASES, map(json.loads, result.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("arguments", CASES)
def test_one_message_before_torch(results: dict[str, list[object]], arguments: str) -> None:
    status, output, message, heavy = results[arguments]
    assert isinstance(message, str)
    assert status == 2, message
    assert output == ""
    assert message.startswith("error: ") and message.count("\n") == 1, message
    assert not any(word in message for word in ("Traceback", "hydra.cc", "full_key", "HYDRA_FULL_ERROR")), message
    assert [text for text in CASES[arguments] if text not in message] == [], message
    assert heavy == []


def test_nothing_is_left_behind(results: dict[str, list[object]], place: Path) -> None:
    assert sorted(path.name for path in place.iterdir()) == ["images", "weights.pth"]


@pytest.mark.parametrize("arguments", ["trainer.max_epoch=3", "-m model=resnet18,resnet43"])
def test_from_a_shell(place: Path, arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "visionlab.train", *arguments.split()],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in result.stderr.splitlines() if not line.startswith("import time:")]
    assert result.returncode == 2
    assert len(said) == 1 and said[0].startswith("error: ")
    assert not any(line.split("|")[-1].strip() == "torch" for line in result.stderr.splitlines())
