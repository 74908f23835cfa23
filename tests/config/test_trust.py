"""Classes of somebody's own package: named only where the package is trusted, and trusted only by who types."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from visionlab.config import build
from visionlab.config.checks import check
from visionlab.config.compose import compose, compose_run
from visionlab.config.run_folder import load_config
from visionlab.errors import ConfigError
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
        ("callbacks.extra.mine={_target_:mine.parts.Counter,evry:2}", r"extra\.mine\.evry: .*Did you mean 'every'"),
        ("callbacks.extra.mine={_target_:mine.parts.Counter,every:often}", r"extra\.mine\.every: expected int"),
        ("callbacks.extra.mine={_target_:mine.parts.Conter}", r"no 'Conter' .*Did you mean 'Counter'"),
        ("callbacks.extra.mine={_target_:yours.Counter}", r"trust=\[yours\]"),
        ("callbacks.extra.mine=3", r"callbacks\.extra: expected a mapping"),
        ("callbacks.extra.mine={every:2}", r"callbacks\.extra\.mine\._target_"),
    ],
)
def test_arguments_of_trusted_classes_are_checked_without_importing_them(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_run([override, "trust=[mine]"], REGISTRY)


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
