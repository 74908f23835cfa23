"""Composition: precedence, every file of conf/, mistakes in files, building, sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.conftest import chosen
from visionlab import models
from visionlab.config import build
from visionlab.config import compose as config
from visionlab.config.checks import check
from visionlab.errors import ConfigError
from visionlab.training.registry import REGISTRY

FILES = sorted(path for path in config.conf_dir().glob("*/*.yaml") if path.parent.name != "make")
# What a choice needs beside itself.
NEEDS = {"model/timm": ["model.name=convnext_tiny"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_composes_and_passes_the_checks(path: Path) -> None:
    group, name = path.parent.name, path.stem
    cfg, run_dir = config.compose_run([*chosen(group, name), *NEEDS.get(f"{group}/{name}", [])], REGISTRY)
    assert not OmegaConf.missing_keys(cfg)
    assert run_dir.parts[:2] == ("outputs", cfg.task)
    assert run_dir.name.endswith(f"_{cfg.model.name}")
    if group == "experiment":
        assert cfg.experiment.name == name
        if cfg.task == "focus":
            assert cfg.augment == {"joint": [], "image": []}
    if group == "model" and name != "timm":
        assert cfg.model.name == name


def test_precedence_is_command_line_experiment_task_default() -> None:
    assert config.compose([]).augment.joint, "the task's choice stands above the root's"
    experiment = config.compose(["experiment=focus_wide_resnet50_2"])
    assert (experiment.model.name, experiment.data.image_size, experiment.trainer.max_epochs) == (
        "wide_resnet50_2",
        768,
        120,
    )
    assert not experiment.augment.joint, "the experiment's choice stands above the task's"
    both = config.compose(["trainer.max_epochs=3", "model=resnet18", "loss=huber", "experiment=focus_wide_resnet50_2"])
    assert (both.model.name, both.trainer.max_epochs, both.loss.delta) == ("resnet18", 3, 1.0)
    assert both.data.image_size == 768


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that writes an experiment, or what one builds on, and returns what to type for it."""

    def write(text: str, name: str = "mine") -> list[str]:
        (tmp_path / "experiment").mkdir(exist_ok=True)
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
        return [f"hydra.searchpath=[file://{tmp_path}]", f"experiment={name}"]

    return write


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data: {exclude: [101, null, yes, 007, 1e3]}", {"exclude": ["101", "null", "yes", "007", "1e3"]}),
        ("task: protein_atlas\ndata: {class_names: [1, 2, 3], classes: [1]}", {"class_names": ["1", "2", "3"]}),
        ("data: {root: 2024, image_size: [64, 64]}", {"root": "2024", "image_size": [64, 64]}),
        ("data: {<<: {exclude: [007]}, split_by: group}", {"exclude": ["007"], "split_by": "group"}),
    ],
)
def test_numbers_and_words_in_files_are_names_where_names_are_expected(
    text: str, found: dict[str, Any], own: Callable[..., list[str]]
) -> None:
    typed = own(f"defaults: [{{override /task: {'protein_atlas' if 'atlas' in text else 'focus'}}}]\n{text}")
    cfg = config.compose(typed)
    assert {key: cfg.data[key] for key in found} == found
    assert config.compose([*typed, "data.include=[7]"]).data.include == ["7"]
    # As well in a file that another builds on.
    own(f"defaults: [{{override /task: {cfg.task}}}]\n{text}", "base")
    cfg = config.compose(own("defaults: [base]\nseed: 3"))
    assert {key: cfg.data[key] for key in found} == found


@pytest.mark.parametrize("content", ["", "# nothing\n"])
def test_own_files_may_be_empty_and_those_of_names_that_conf_has_are_not_read(
    content: str, own: Callable[..., list[str]], tmp_path: Path
) -> None:
    typed = own("")
    (tmp_path / "experiment" / "mine.yaml").write_text(content)
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "adam.yaml").write_text("lr: {")
    assert config.compose([*typed, "optimizer=adam"]).optimizer == config.compose(["optimizer=adam"]).optimizer


@pytest.mark.parametrize("key", ["trainer.max_epoch", "data.exclud", "heads.distance.wieght", "optimizer.lrr"])
def test_a_misspelt_key_in_a_file_is_refused_with_the_files_name(key: str, own: Callable[..., list[str]]) -> None:
    node = OmegaConf.create()
    OmegaConf.update(node, key, 3)
    with pytest.raises(ConfigError, match=rf"^In .*experiment/mine\.yaml: unknown key '{key}'\. Did you mean"):
        config.compose_run(own(OmegaConf.to_yaml(node)), REGISTRY)
    own(OmegaConf.to_yaml(node), "base")
    with pytest.raises(ConfigError, match=rf"^In .*experiment/base\.yaml: unknown key '{key}'"):
        config.compose_run(own("defaults: [base]\nseed: 3"), REGISTRY)


def test_a_run_folders_configuration_is_checked_as_well() -> None:
    cfg = OmegaConf.create(OmegaConf.to_yaml(config.compose(["experiment=focus_resnet34_l1"])))
    assert isinstance(cfg, DictConfig)
    check(cfg, REGISTRY)
    cfg.optimizer._target_ = "visionlab.samples.write"
    with pytest.raises(ConfigError, match=r"optimizer\._target_: expected a name that begins with 'visionlab\.modules"):
        check(cfg, REGISTRY)


def test_a_network_must_fit_module_and_image_size(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "visionlab.models.image.ImageNetwork"
    monkeypatch.setitem(models.NETWORKS, "net8", models.Entry(target, "image", 8))
    monkeypatch.setitem(models.NETWORKS, "dense", models.Entry(target, "dense"))
    check(config.compose(["model.name=net8", "data.image_size=120"]), REGISTRY)
    with pytest.raises(ConfigError, match=r"data\.image_size: expected sides divisible by 8 .* found 121; .* 128"):
        check(config.compose(["model.name=net8", "data.image_size=121"]), REGISTRY)
    with pytest.raises(ConfigError, match=r"model\.name: expected a network of kind 'image'.*found 'dense' of kind 'd"):
        check(config.compose(["model.name=dense"]), REGISTRY)
    with pytest.raises(ConfigError, match=r"found 'netg8'\. Did you mean 'net8'\?"):
        models.build("netg8", 1, 1)


def test_build_calls_only_what_is_ours() -> None:
    loss = build(OmegaConf.create({"_target_": "visionlab.losses.elementwise.huber", "delta": 0.5}))
    assert type(loss).__name__ == "ElementwiseLoss"
    for target in (
        "os.system",
        "visionlab.losses.elementwise.functional",  # torch's, though visible in our module
        "visionlab.files.Path",
        "visionlab.config._locate",
        "visionlab._private.x",
        "visionlab.absent.x",
        "visionlab.losses.elementwise.absent",
        "visionlab.losses",
        "visionlab.losses.elementwise.l1.__class__",
        "visionlabs.x",
        "",
        None,
        3,
    ):
        with pytest.raises(ConfigError, match="_target_"):
            build({"_target_": target})
    with pytest.raises(ConfigError, match="delta can't be configured"):
        build({"_target_": "visionlab.losses.elementwise.huber", "delta": 1.0}, delta=2.0)


def test_jobs_of_a_sweep() -> None:
    assert config.jobs(["seed=1,2", "model=resnet18,resnet34", "trainer=debug"]) == [
        [f"seed={seed}", f"model={model}", "trainer=debug"] for seed in (1, 2) for model in ("resnet18", "resnet34")
    ]
    assert config.jobs(["seed=range(0,3)"]) == [["seed=0"], ["seed=1"], ["seed=2"]]
    with pytest.raises(ConfigError, match=r"optimizer\.lr=1,2,3; intervals"):
        config.jobs(["optimizer.lr=interval(0,1)"])
