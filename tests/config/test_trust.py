"""Classes of somebody's own package: named only where the package is trusted, and trusted only by who types."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import visionlab
from tests import shell
from tests.conftest import TINY
from visionlab.config import build
from visionlab.config.checks import check
from visionlab.config.compose import compose, compose_run
from visionlab.config.run_folder import load_config
from visionlab.errors import ConfigError, UsageError
from visionlab.training.registry import REGISTRY

SOURCE = """
import pytorch_lightning as pl
raise RuntimeError("imported by a check")
class Counter(pl.Callback):
    def __init__(self, every: int = 1): ...
class Open(pl.Callback):
    def __init__(self, every: int = 1, **options): ...
class Loss:
    def __init__(self, *, power: float = 2.0): ...
class Net:
    def __init__(self, in_channels, out_channels, width: int = 8): ...
def optimizer(parameters, lr: float): ...
NAMES = {"distance": ("distance",)}
class Data(pl.LightningDataModule):
    targets = dict(NAMES)
    def __init__(self, seed, augment, **options): ...
"""
COUNTER = "callbacks.extra.mine={_target_:mine.parts.Counter,every:2}"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("from mine.parts import Counter\n")
    (tmp_path / "mine" / "parts.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "override",
    [
        COUNTER,
        "callbacks.extra.mine={_target_:mine.Counter}",
        "callbacks.extra.mine={_target_:mine.parts.Open,anything:1}",
        "logger.extra.mine={_target_:mine.parts.Counter}",
        "heads.distance.loss={_target_:mine.parts.Loss}",
        "loss._target_=mine.parts.Loss",
        "model=net",
        "optimizer=steps",
    ],
)
def test_a_class_is_named_if_its_package_is_trusted(override: str, package: Path) -> None:
    for group, name, text in (
        ("model", "net", "name: mine\n_target_: mine.parts.Net\nwidth: 4\n"),
        ("optimizer", "steps", "_target_: mine.parts.optimizer\nlr: 0.1\n"),
    ):
        (package / group).mkdir()
        (package / group / f"{name}.yaml").write_text(text)
    typed = [f"hydra.searchpath=[file://{package}]", override]
    with pytest.raises(ConfigError, match=r"_target_: expected .*trust=\[mine\] on the command line"):
        compose_run(typed, REGISTRY)
    cfg, _ = compose_run([*typed, "trust=[mine]"], REGISTRY)
    assert list(cfg.trust) == ["mine"]
    assert "mine.parts" not in sys.modules


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("callbacks.extra.mine={_target_:mine.parts.Counter,evry:2}", r"extra\.mine\.evry'.*Did you mean .*every'"),
        ("callbacks.extra.mine={_target_:mine.parts.Counter,every:often}", r"extra\.mine\.every: expected int"),
        ("callbacks.extra.mine={_target_:mine.parts.Conter}", r"no 'Conter' .*Did you mean 'Counter'"),
        ("callbacks.extra.mine={_target_:yours.Counter}", r"trust=\[yours\]"),
        ("callbacks.extra.mine=3", r"callbacks\.extra: expected a mapping"),
        ("callbacks.extra.mine={every:2}", r"callbacks\.extra\.mine\._target_"),
        (
            "data._target_=mine.parts.Data",
            r"data\._target_: .*mine\.parts\.Data\.targets, found dict\(NAMES\)",
        ),
        ("data._target_=absent.parts.Data", r"data\._target_: .*'absent\.parts\.Data'; there is no module"),
    ],
)
def test_arguments_of_trusted_classes_are_checked_without_importing_them(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_run([override, "trust=[mine,absent]"], REGISTRY)


def test_files_cannot_trust(package: Path) -> None:
    (package / "experiment").mkdir()
    (package / "experiment" / "mine.yaml").write_text("# @package _global_\ntrust: [mine]\n")
    with pytest.raises(ConfigError, match=r"trust: only the command line can give it"):
        compose([f"hydra.searchpath=[file://{package}]", "experiment=mine"])


def test_a_run_asks_again(package: Path) -> None:
    cfg, _ = compose_run([COUNTER, "trust=[mine]"], REGISTRY)
    (package / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    with pytest.raises(ConfigError, match=r"trust=\[mine\]"):
        load_config(package, REGISTRY)
    again = load_config(package, REGISTRY, ["trust=[mine]"])
    assert again.callbacks.extra.mine.every == 2
    check(again, REGISTRY)


def test_only_trusted_classes_are_built(package: Path) -> None:
    (package / "mine" / "parts.py").write_text("class Counter:\n    def __init__(self, every=1): self.every = every\n")
    node = {"_target_": "mine.parts.Counter", "every": 3}
    with pytest.raises(ConfigError, match=r"_target_: expected a public class or function of visionlab, found"):
        build(node)
    assert build(node, trust=["mine"]).every == 3
    sys.modules.pop("mine", None), sys.modules.pop("mine.parts", None)


OWN = """
import pytorch_lightning as pl
import torch
from torch import nn

class Counter(pl.Callback):
    batches = 0
    def on_train_batch_end(self, *args):
        Counter.batches += 1

class Net(nn.Module):
    def __init__(self, in_channels, out_channels, width: int = 8):
        super().__init__()
        layers = nn.Conv2d(in_channels, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.layers = nn.Sequential(*layers, nn.Linear(width, out_channels))
    def forward(self, image):
        return self.layers(image)

def rms(parameters, lr: float):
    return torch.optim.RMSprop(parameters, lr=lr)

def decay(optimizer, gamma: float = 0.9):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
"""


def test_own_classes_train_and_predict(focus_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, text in {
        "own.py": OWN,
        "model/own.yaml": "name: own\n_target_: own.Net\nwidth: 4\n",
        "optimizer/rms.yaml": "_target_: own.rms\nlr: 0.01\n",
        "scheduler/decay.yaml": "_target_: own.decay\ngamma: 0.9\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    settings = [text for text in TINY if not text.startswith("model")]
    typed = (
        *(*settings, f"data.root={focus_root}", "trainer.max_epochs=1", f"hydra.searchpath=[file://{tmp_path}]"),
        *("model=own", "optimizer=rms", "scheduler=decay", "callbacks.extra.count={_target_:own.Counter}"),
        "logger.extra.table={_target_:pytorch_lightning.loggers.CSVLogger}",
    )
    monkeypatch.chdir(tmp_path)
    run = visionlab.train(*typed, "trust=[own,pytorch_lightning]")  # type: ignore[operator]
    assert sys.modules["own"].Counter.batches > 0
    assert list(run.glob("lightning_logs/*/metrics.csv"))
    image, best = next(focus_root.rglob("*.png")), run / "checkpoints" / "best.ckpt"
    with pytest.raises(UsageError, match=r"its network is own\.Net.*trust=\[own\]"):
        visionlab.load(run)
    value = visionlab.load(run, trust=["own"]).predict(image).distance
    assert value == visionlab.load(best, trust=["own"]).predict(image).distance
    with pytest.raises(ConfigError, match="_target_"):
        visionlab.modules.Regressor.load_from_checkpoint(best, weights_only=True)
    loaded = visionlab.modules.Regressor.load_from_checkpoint(best, weights_only=True, trust=["own"])
    assert isinstance(loaded.model.network, sys.modules["own"].Net)
    assert shell.run("evaluate", run) == 2
    assert shell.run("evaluate", run, "trust=[own,pytorch_lightning]") == 0
