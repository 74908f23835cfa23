"""Wrong configurations of every command: status 2, one sentence with key and way out, no torch, nothing written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Command

# A file of conf/ with a mistake in it: name -> text.
FILES = {
    "typo": "task: focus\ntrainer: {max_epoch: 3}\n",
    "type": "task: focus\ntrainer: {max_epochs: ten}\n",
    "choice": "defaults: [{override /model: resnet43}]\n",
    "group": "defaults: [{override /modle: resnet34}]\n",
    "yaml": "task: [\n",
    "interpolation": "task: focus\nseed: ${sed}\n",
    "nothing": "module: regressor\n",
}

# What is typed (of train, unless a row begins with another command), and what the message must hold: the key, then
# what was expected or the nearest right name. Words are regular expressions. RUN is a finished run, CONF a folder of
# FILES.
CASES: dict[str, tuple[str, ...]] = {
    # Misspelt choices, in every group
    "task=focsu": ("task", "'focus'"),
    "model=resnet43": ("model", "'resnet34'", "wide_resnet50_2"),
    "model=convnext_tiny": ("model=timm model.name=convnext_tiny",),
    "make=composite": ("make=composite", "visionlab.prepare"),
    "task=depth_mask make.cutouts=x": ("make.cutouts", "visionlab.prepare"),
    "experiment.name=x": ("experiment.name", "depth_mask_progressive"),
    "loss=l3": ("loss", "'l1'", "huber"),
    "optimizer=adm": ("optimizer", "'adam'"),
    "scheduler=cosin": ("scheduler", "'cosine'"),
    "augment=flip": ("augment", "'flips'"),
    "trainer=gpus": ("trainer", "'gpu'"),
    "callbacks=defaults": ("callbacks", "'default'"),
    "logger=tensorbord": ("logger", "'tensorboard'"),
    "experiment=focus_resnet34": ("experiment", "'focus_resnet34_l"),
    "experiment=null": ("experiment", "focus_wide_resnet50_2"),
    "optimizer=[adam,sgd]": ("optimizer", "adamw"),
    "task=depth_mask balance=clmp": ("balance", "'clamp'", "uncertainty"),
    # Misspelt keys
    "modle=resnet34": ("modle", "'model'"),
    "trainer.max_epoch=3": (r"trainer\.max_epoch\b", r"'trainer\.max_epochs'"),
    "max_epochs=3": ("max_epochs", r"'trainer\.max_epochs'"),
    "lr=0.1": ("'lr'", r"'optimizer\.lr'"),
    "optimizer.momentum=0.9": (r"optimizer\.momentum", "betas"),
    "data.batchsize=4": (r"data\.batchsize", r"batch_size'"),
    "model.pretraind=true": (r"model\.pretraind", r"pretrained'"),
    "loss=huber loss.dleta=2": (r"loss\.dleta", r"delta'"),
    "scheduler=plateau scheduler.patence=2": (r"scheduler\.patence", r"patience'"),
    "callbacks.ema.decy=0.9": (r"callbacks\.ema\.decy", r"decay'"),
    "logger.graphs=true": (r"logger\.graphs", r"graph'"),
    "heads.distance.wieght=2": (r"heads\.distance\.wieght", r"weight'"),
    "hydra.run.dirr=x": (r"hydra\.run\.dirr", r"'hydra\.run\.dir'"),
    "+foo=1": ("'foo'",),
    "+data.rot=x": (r"data\.rot", "root'"),
    "++model.act=relu": (r"model\.act", "dropout"),
    "+trainer.max_epochs=3": (r"trainer\.max_epochs", r"\+"),
    "+heads.depth.kind=regression": (r"heads\.depth",),
    "~trainer.max_epochs": (r"trainer\.max_epochs",),
    "~model": ("'model'", "resnet34"),
    # Hydra's own
    "hydra.mode=fast": (r"hydra\.mode", "MULTIRUN"),
    "hydra.run.dir=${nope}": (r"hydra\.run\.dir", "nope"),
    "hydra.run.dir=weights.pth/x": (r"hydra\.run\.dir", r"weights\.pth/x"),
    "hydra.searchpath=[file:///nowhere] model=mine": (r"hydra\.searchpath", "file:///nowhere"),
    "hydra/launcher=slurm": ("hydra/launcher", "basic"),
    "--run -m": ("Only one of",),
    "--config-name=other": ("--config-name", "experiment="),
    "--experimental-rerun=x.pickle": ("--experimental-rerun",),
    # Not key=value
    "seed": ("'seed'", "key=value"),
    "data.root=/x/a=b": (r"data\.root",),
    "=3": ("=3",),
    "--epochs=3": ("--epochs", r"trainer\.max_epochs=10"),
    "seed=1,2": ("seed", "-m"),
    "seed=${nope}": ("seed", "nope"),
    # Wrong types
    "trainer.max_epochs=ten": (r"trainer\.max_epochs", "int", "'ten'"),
    "trainer.max_epochs=1.5": (r"trainer\.max_epochs", "int", "1.5"),
    "trainer.gradient_clip_val=big": (r"trainer\.gradient_clip_val", "float|number", "'big'"),
    "trainer.devices=two": (r"trainer\.devices", "auto", "'two'"),
    "logger.graph=maybe": (r"logger\.graph", "bool|true", "'maybe'"),
    "callbacks.ema=0.9": (r"callbacks\.ema", "mapping", "0.9"),
    "heads.distance.metrics=mae": (r"heads\.distance\.metrics", "list", "'mae'"),
    "heads.distance.loss=3": (r"heads\.distance\.loss", "loss"),
    "data.batch_size=2.5": (r"data\.batch_size", "int", "2.5"),
    "data.image_size=big": (r"data\.image_size", "int", "'big'"),
    "data.include=a*": (r"data\.include", "list", r"a\*"),
    "data=folder": (r"\bdata\b", "mapping"),
    "model.dropout=half": (r"model\.dropout", "float|number", "'half'"),
    "model.hidden=64": (r"model\.hidden", "list", "64"),
    "optimizer.lr=fast": (r"optimizer\.lr", "float|number", "'fast'"),
    "optimizer.betas=[0.9]": (r"optimizer\.betas", "two|2|list"),
    "scheduler=multistep scheduler.milestones=30": (r"scheduler\.milestones", "list", "30"),
    # Out of range, misspelt values
    "seed=-1": ("seed", "0", "-1"),
    "trainer.precision=16-mix": (r"trainer\.precision", "32-true", "'16-mixed'"),
    "trainer.strategy=dpp": (r"trainer\.strategy", "'ddp'"),
    "trainer.accelerator=gpus": (r"trainer\.accelerator", "'gpu'"),
    "trainer.max_epochs=0": (r"trainer\.max_epochs", "at least 1|from 1|above 0", "0"),
    "trainer.accumulate_grad_batches=0": (r"trainer\.accumulate_grad_batches",),
    "callbacks.ema.decay=1": (r"callbacks\.ema\.decay", "below 1"),
    "callbacks.early_stopping.patience=0": (r"callbacks\.early_stopping\.patience",),
    "optimizer.lr=0": (r"optimizer\.lr", "above 0"),
    "optimizer.lr=nan": (r"optimizer\.lr",),
    "data.batch_size=0": (r"data\.batch_size", "at least 1|from 1|above 0"),
    "data.num_workers=-1": (r"data\.num_workers", "-1"),
    "data.image_size=4": (r"data\.image_size", "8", "4"),
    "data.image_size=[64,64,64]": (r"data\.image_size", r"\[height, width\]|two"),
    "data.fit=crup": (r"data\.fit", "'crop'", "stretch"),
    "data.normalize=datset": (r"data\.normalize", "'dataset'"),
    "data.normalize=[0.5,0]": (r"data\.normalize", "mean, std"),
    "data.fraction=0": (r"data\.fraction", "above 0"),
    "data.val_fraction=0.6 data.test_fraction=0.5": (r"data\.val_fraction", r"data\.test_fraction"),
    "mode=mni": ("mode", "'min'"),
    "module=regresor": ("module", "'regressor'"),
    "heads.distance.kind=regresion": (r"heads\.distance\.kind", "'regression'"),
    "heads.distance.metrics=[mea]": (r"heads\.distance\.metrics", "'mae'", "sign_accuracy"),
    "heads.distance.metrics=[]": (r"heads\.distance\.metrics", "mae"),
    "heads.distance.weight=0": ("heads", "weight", "above 0"),
    "monitor=val/distance/mse": ("monitor", "'val/distance/rmse'", "val/loss"),
    "monitor=val/distence/mae": ("monitor", "'val/distance/mae'"),
    # Names of networks, transforms, classes
    "model.name=resnet99": (r"model\.name", "'resnet50'"),
    "model=timm": (r"model\.name", "convnext_tiny"),
    "model=timm model.name=convnext_tny": (r"model\.name", "'convnext_tiny'"),
    "model=timm model.name=resnet50.a1_in1kk": (r"model\.name", "'a1_in1k'"),
    "augment.image=[{transform:GausianBlur}]": (r"augment\.image\[0\]", "'GaussianBlur'"),
    "augment.joint=[{transform:Rotate,limt:10}]": (r"augment\.joint\[0\]", "limt", "'limit'"),
    "augment.joint=[{transform:Rotate,limit:wide}]": (r"augment\.joint\[0\].limit", "'wide'"),
    "augment.joint=[{transform:Rotate,p:2}]": (r"augment\.joint\[0\].p", "2"),
    "augment.image=[Blur]": (r"augment\.image\[0\]", "transform"),
    "augment.image=[{one_of:[{transform:Blr}],p:1}]": (r"augment\.image\[0\].one_of\[0\]", "'Blur'"),
    "augment.joint=[{one_of:[{transform:Rotate}]}]": (r"augment\.joint\[0\]", "p:"),
    "augment.joint=[{one_of:[],p:0.5}]": (r"augment\.joint\[0\]", "one_of"),
    "loss._target_=os.system": (r"loss\._target_", r"os\.system"),
    "data._target_=os.system": (r"data\._target_", r"os\.system"),
    # Heads, their losses, and how they are balanced
    "heads.distance.loss=l9": (r"heads\.distance\.loss", "'l1'"),
    "heads.distance.loss={l1:1,bce:1}": (r"heads\.distance\.loss\.bce", "0 and 1"),
    "heads.distance.loss=ssim": (r"heads\.distance\.loss", "maps", "huber"),
    "heads.distance.activation=sigmoid": (r"heads\.distance\.activation", "none"),
    "task=depth_mask heads.mask.loss=bec": (r"heads\.mask\.loss", "'bce'"),
    "task=depth_mask heads.mask.loss={bce:1,dise:0.5}": (r"heads\.mask\.loss", "'dice'"),
    "task=depth_mask heads.mask.loss={bce:0}": (r"heads\.mask\.loss\.bce", "above 0"),
    "task=depth_mask heads.mask.loss={}": (r"heads\.mask\.loss",),
    "task=depth_mask heads.mask.loss=[bce,dice]": (r"heads\.mask\.loss", "weight"),
    "task=depth_mask loss=bce": ("loss", "0 and 1", r"heads\.depth\.loss=l1"),
    "task=depth_mask heads.mask.activation=none heads.mask.loss=bce": (r"heads\.mask\.loss", "=sigmoid"),
    "task=depth_mask heads.mask.kind=depth": (r"heads\.mask\.kind", "mask"),
    "task=depth_mask ~heads.mask ~heads.depth": ("heads", "mask, depth"),
    "task=depth_mask ~heads.mask.kind": (r"heads\.mask\.kind",),
    "task=depth_mask heads.depth.metrics=[iou]": (r"heads\.depth\.metrics", "mae", "aligned_delta1"),
    "task=depth_mask balance=clamp balance.by=dept": (r"balance\.by", "'depth'"),
    "task=depth_mask balance=clamp balance.by=mask": (r"balance\.by", r"balance\.raised"),
    "task=depth_mask balance=clamp ~heads.depth": (r"balance\.by", "mask", "'depth'"),
    # Maps: data and networks
    "task=depth_mask model=resnet34": (r"model\.name", "dense"),
    "task=depth_mask module=regressor": ("module", "dense"),
    "task=depth_mask model=dense_unet": (r"data\.inputs", r"\[image,background\]"),
    "task=depth_mask data.inputs=[background]": (r"data\.inputs", "image"),
    "task=depth_mask data.inputs=[image,backgruond]": (r"data\.inputs", "background"),
    "task=depth_mask data.split_by=[foregruond]": (r"data\.split_by", "foreground"),
    "task=depth_mask data.split_by=[foreground]": (r"data\.split_by", "background"),
    "task=depth_mask data.layout=nestd": (r"data\.layout", "'nested'"),
    "task=depth_mask data.depth_scale=mm": (r"data\.depth_scale", "auto", "'mm'"),
    "task=depth_mask data.depth_scale=0": (r"data\.depth_scale", "above 0"),
    "task=depth_mask data.depth_invalid=zero": (r"data\.depth_invalid", "auto", "none"),
    "task=depth_mask data.image_size=16": (r"data\.image_size", "32"),
    # Labels: classes, stains, thresholds, losses
    "task=protein_atlas data.class_group=3/2": (r"data\.class_group", "3/2"),
    "task=protein_atlas data.class_group=1/2,2/2": (r"data\.class_group", "-m"),
    "task=protein_atlas -m data.class_group=1/4,5/4": (r"data\.class_group", "5/4"),
    "task=protein_atlas data.classes=[1,1]": (r"data\.classes", "Nuclear membrane"),
    "task=protein_atlas data.classes=[28]": (r"data\.classes", "27", "28"),
    "task=protein_atlas data.classes=[1] data.class_group=1/2": (r"data\.classes", r"data\.class_group"),
    "task=protein_atlas data.class_names=[a,b,a]": (r"data\.class_names", "'a'"),
    "task=protein_atlas data.class_names=[mean,b]": (r"data\.class_names", "'mean'"),
    "task=protein_atlas data.channels=[rde]": (r"data\.channels", "'red'"),
    "task=protein_atlas data.channels=4": (r"data\.channels", "list", "4"),
    "task=protein_atlas data.channels=[red/2+yellow/0,green]": (r"data\.channels", "yellow/0"),
    "task=protein_atlas data.sampling=random": (r"data\.sampling", "uniform", "balanced"),
    "task=protein_atlas data.samples_per_epoch=0": (r"data\.samples_per_epoch", "at least 1|from 1|above 0"),
    "task=protein_atlas heads.labels.thresholds=best": (r"heads\.labels\.thresholds", "shrunken"),
    "task=protein_atlas heads.labels.thresholds=1.5": (r"heads\.labels\.thresholds", "1.5"),
    "task=protein_atlas heads.labels.calibration=plat": (r"heads\.labels\.calibration", "'platt'"),
    "task=protein_atlas heads.labels.metrics=[f1_makro]": (r"heads\.labels\.metrics", "'f1_macro'"),
    "task=protein_atlas model=unet": (r"model\.name", "image", "'unet'"),
    "task=protein_atlas loss=dice": ("loss", "labels", "bce"),
    "task=protein_atlas loss=l1": ("loss", "bce"),
    "task=protein_atlas loss=bce loss.class_weights=lg": (r"loss\.class_weights", "'log'"),
    "task=protein_atlas loss=bce loss.label_smoothing=1": (r"loss\.label_smoothing", "below 1|less than 1"),
    "task=protein_atlas heads.labels.loss={bce:1,sof_f1:1}": (r"heads\.labels\.loss", "'soft_f1'"),
    "loss=soft_f1": ("loss", "labels", "regression"),
    "heads.distance.thresholds=f1": (r"heads\.distance\.thresholds", "labels"),
    "task=depth_mask ~heads.depth loss=bce loss.class_weights=log": (r"loss\.class_weights", r"heads\.mask"),
    # Embryos
    "task=celegans_nuclei heads.nuclei.separate=distanse": (r"heads\.nuclei\.separate", "'distance'"),
    "task=celegans_nuclei data.split_by=seqence": (r"data\.split_by", "'sequence'"),
    "task=celegans_nuclei data.neighbours=-1": (r"data\.neighbours", "-1"),
    "task=celegans_membrane heads.membrane.cells=enclosd": (r"heads\.membrane\.cells", "'enclosed'"),
    "task=celegans_lineage loss=dice": ("loss", "maps"),
    # Contradictions
    "monitor=val/distance/r2": ("mode", "max", "min"),
    "monitor=val/distance/bias": ("monitor", "bias"),
    "data.folds=5": (r"data\.folds", r"data\.fold\b"),
    "data.folds=5 data.fold=5": (r"data\.fold\b", "0 to 4", "5"),
    "data.folds=5 data.fold=0 data.split_file=x.json": (r"data\.folds", r"data\.split_file"),
    "model.pretrained=true model.weights=w.pth": (r"model\.pretrained", r"model\.weights"),
    "model.freeze=true": (r"model\.freeze", r"model\.pretrained=true"),
    "trainer.precision=16-mixed trainer.accelerator=cpu": (r"trainer\.precision", "bf16-mixed"),
    "scheduler=cosine scheduler.warmup_epochs=50 trainer.max_epochs=50": (
        r"scheduler\.warmup_epochs",
        r"trainer\.max_epochs",
    ),
    "optimizer=sgd optimizer.nesterov=true optimizer.momentum=0": (r"optimizer\.nesterov",),
    "data.image_size=[64,96]": (r"data\.image_size", "square"),
    "experiment=focus_resnet34_l1 experiment.task=depth_mask": ("experiment", "task=depth_mask"),
    "experiment=protein_atlas_densenet121 task=focus": ("experiment", "task=protein_atlas", "task=focus"),
    "-m seed=1,2 trainer.strategy=ddp": ("-m", r"devices"),
    "-m seed=1,2 trainer.devices=2": ("-m", r"devices"),
    "-m model=resnet18,resnet43": ("model", "'resnet34'"),
    "-m optimizer.lr=1e-3,0": (r"optimizer\.lr", "above 0"),
    "-m optimizer.lr=interval(0,1)": (r"optimizer\.lr",),
    # Stages
    "experiment=depth_mask_shuffle_unet stages.small.image_size=16": (r"stages\.small", "image_size", "32"),
    "experiment=depth_mask_shuffle_unet stages.large.augment=fgbgg": (r"stages\.large\.augment", "'fgbg'"),
    "experiment=depth_mask_shuffle_unet stages.large.loss=dice": (r"stages\.large", "loss", "activation=none"),
    "experiment=depth_mask_shuffle_unet stages.mask_20.balance.by=dept": (r"stages\.mask_20", "'depth'"),
    "experiment=depth_mask_shuffle_unet stages.small.epochs=0": (r"stages\.small", "epochs"),
    "experiment=depth_mask_shuffle_unet stages.huge.epochs=2": (r"stages\.huge",),
    "experiment=depth_mask_shuffle_unet lr_find=true": ("lr_find", "stages"),
    "task=depth_mask stages={first:{epochs:1}}": ("stages", r"\+stages=\{first:"),
    "task=depth_mask +stages.first.epochs=1": ("stages", r"\+stages=\{first:"),
    # Paths
    "data.root=imges": (r"data\.root", "'images'", "sample"),
    "data.root=~/x": (r"data\.root",),
    "model.weights=weights.pt": (r"model\.weights", r"'weights\.pth'"),
    "data.split_file=split.json": (r"data\.split_file",),
    "init_from=outputs/none": ("init_from",),
    # Mistakes in files of one's own
    "hydra.searchpath=[file://CONF] task=typo": (r"trainer\.max_epoch\b", r"trainer\.max_epochs'"),
    "hydra.searchpath=[file://CONF] task=type": (r"trainer\.max_epochs", "int"),
    "hydra.searchpath=[file://CONF] task=choice": ("model", "'resnet34'"),
    "hydra.searchpath=[file://CONF] task=group": ("modle",),
    "hydra.searchpath=[file://CONF] task=yaml": (r"yaml\.yaml", "YAML"),
    "hydra.searchpath=[file://CONF] task=interpolation": ("seed", "sed"),
    "hydra.searchpath=[file://CONF] task=nothing": ("expected a value",),
    # Other commands
    "prepare task=depth_mask make=composit": ("make", "'composite'"),
    "prepare data.batchsize=4": (r"data\.batchsize", r"batch_size'"),
    "benchmark benchmark.batch_size=[8]": (r"benchmark\.batch_size\b", r"benchmark\.batch_sizes'"),
    "benchmark benchmark.batch_sizes=[0]": (r"benchmark\.batch_sizes",),
    "benchmark benchmark.models=[small_cn]": (r"benchmark\.models", "'small_cnn'"),
    "benchmark.seconds=3": (r"benchmark\.seconds", r"visionlab\.benchmark"),
    "benchmark=null": ("benchmark", r"visionlab\.benchmark"),
    "resume RUN trainer.max_epoch=5": (r"trainer\.max_epoch\b", r"trainer\.max_epochs'"),
    "resume RUN max_epochs=5": ("max_epochs", r"trainer\.max_epochs'"),
    "resume RUN trainer.max_epochs=five": (r"trainer\.max_epochs", "int", "'five'"),
    "resume RUN optimizer.lr=-1": (r"optimizer\.lr", "above 0"),
    "resume RUN data=3": ("data", "mapping"),
    "resume RUN trainer.max_epochs": ("key=value",),
    "resume RUN seed=1,2": ("seed", "several"),
    "resume RUN +note=1": ("note",),
    "resume RUN ~seed": ("seed",),
    "resume RUN hydra.run.dir=x": (r"hydra\.run\.dir",),
    "resume RUN data.root=/no/such/folder": (r"data\.root",),
    "resume RUN data._target_=os.system": (r"_target_",),
    "resume RUN model=resnet18": ("model", "init_from="),
    "resume RUN model.name=resnet18": (r"model\.name", "init_from="),
    "resume RUN task=depth_mask": ("task",),
    "resume nothing": ("nothing", "run folder"),
    "evaluate": ("RUN",),
    "evaluate RUN --splitt val": ("--split",),
    "evaluate RUN --data images --split val": ("--split",),
    "evaluate RUN --out images": ("--out", "--data"),
    "predict nothing images": ("nothing", "run folder"),
    "predict RUN images --batch-size 0": ("--batch-size",),
    "predict RUN images --outt x": ("--out",),
    "predict RUN images --tta flip": ("--tta", "'flips'"),
    "predict RUN": (),
    "report nothing": ("nothing",),
    "cli predcit": ("predcit", "'predict'"),
}

# What may be found out with torch.
LATER: dict[str, tuple[str, ...]] = {
    "train task=depth_mask data.root=images augment.image=[{transform:Rotate}]": (
        r"augment\.image",
        "Rotate",
        r"augment\.joint",
    ),
    "evaluate RUN --split tset": ("--split", "'test'"),
    "evaluate RUN --data nothing": ("--data", "nothing"),
    "evaluate images": ("images", "run folder"),
}

# All cases of a session run in one interpreter in which torch can't be imported: what is not refused ends there.
DRIVER = """
import contextlib, importlib, io, json, sys, traceback
from pathlib import Path
sys.modules["torch"] = None
before = set(Path().rglob("*"))
for line in sys.stdin:
    verb, *words = json.loads(line)
    sys.argv = [f"visionlab {verb}", *words]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            importlib.import_module(f"visionlab.{verb}").main()
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException:
            status = "a traceback"
            traceback.print_exc()
    heavy = [name for name in ("pytorch_lightning", "timm", "albumentations") if name in sys.modules]
    written = [str(path) for path in Path().rglob("*") if path not in before]
    before.update(map(Path, written))
    print(json.dumps([status, out.getvalue(), err.getvalue(), heavy, written]), flush=True)
"""
COMMANDS = ("prepare", "benchmark", "resume", "evaluate", "predict", "report", "cli")


def is_other(line: str) -> bool:
    """Return whether a row begins with another command than train."""
    return line.split(maxsplit=1)[0] in COMMANDS


# `make test` takes every fifth row; a row takes a sixth of a second.
ROWS = [
    pytest.param(line, id=line, marks=[pytest.mark.acceptance] if number % 5 else [])
    for number, line in enumerate(CASES)
]


def content(folder: Path) -> dict[str, int]:
    """Return path -> time of change of everything in a folder."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands are typed."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "images").mkdir()
    (folder / "weights.pth").touch()
    return folder


@pytest.fixture(scope="module")
def results(
    place: Path,
    runs: Callable[[str], Path],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Run the rows that this session has selected: line -> exit status, output, errors."""
    run = runs("focus")
    conf = tmp_path_factory.mktemp("conf")
    (conf / "task").mkdir()
    for name, text in FILES.items():
        (conf / "task" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    found = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    lines = [spec.params["line"] for spec in found if spec and "line" in spec.params]
    typed = []
    for line in lines:
        words = line.replace("CONF", str(conf)).replace("RUN", str(run)).split()
        typed.append(json.dumps(words if is_other(line) else ["train", *words]))
    before = content(run)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input="\n".join(typed), cwd=place, capture_output=True, text=True, check=True
    )
    assert content(run) == before, "the run was changed"
    return dict(zip(lines, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("line", ROWS)
def test_a_wrong_configuration_is_one_sentence(results: dict[str, Any], line: str) -> None:
    status, output, message, heavy, written = results[line]
    assert status == 2, message
    assert (output, heavy, written) == ("", [], [])
    assert [words for words in CASES[line] if not re.search(words, message)] == [], message
    # The commands that aren't Hydra apps show their usage with it.
    sentence = message[message.index("rror") :] if is_other(line) else message
    assert len(sentence.splitlines()) <= (9 if is_other(line) else 1), message
    assert is_other(line) or message.startswith("error: "), message
    assert not any(word in message for word in ("Traceback", "hydra.cc", "full_key", "HYDRA_FULL_ERROR")), message


@pytest.mark.parametrize("line", LATER)
def test_what_is_found_out_later_is_one_sentence_too(
    line: str, place: Path, runs: Callable[[str], Path], command: Command
) -> None:
    run = runs("focus")
    before = content(run)
    ended = command(*line.replace("RUN", str(run)).split(), cwd=place)
    assert (ended.status, ended.out) == (2, "")
    *log, sentence = ended.err.splitlines()
    assert sentence.startswith("error: ") and len(log) <= 1
    assert [words for words in LATER[line] if not re.search(words, ended.err)] == [], ended.err
    assert content(run) == before
    assert not [path for path in place.rglob("*") if path.suffix in (".yaml", ".json", ".ckpt")]


@pytest.mark.parametrize("arguments", ["trainer.max_epoch=3", "-m model=resnet18,resnet43"])
def test_a_shell_gets_the_same(place: Path, arguments: str) -> None:
    before = content(place)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "visionlab.train", *arguments.split()],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, done.stdout) == (2, "")
    assert len(said) == 1 and said[0].startswith("error: ")
    assert not any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())
    assert content(place) == before
