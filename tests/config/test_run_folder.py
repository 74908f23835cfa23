"""A run folder's configuration is text that anybody may have changed: what is read of it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from visionlab import files as store
from visionlab.config.run_folder import load_config, run_folder
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.training.registry import REGISTRY


@pytest.fixture
def edit(tiny_run: Path, tmp_path: Path) -> Any:
    """Return a function that makes a folder with the run's config.yaml, one piece of its text replaced."""

    def make(old: str = "", new: str = "") -> Path:
        text = (tiny_run / "config.yaml").read_text()
        assert text.count(old) >= 1
        (tmp_path / "config.yaml").write_text(text.replace(old, new, 1) if old else text)
        return tmp_path

    return make


def test_unchanged_it_is_the_configuration_of_the_run(edit: Any, focus_root: Path) -> None:
    cfg = load_config(edit(), REGISTRY)
    assert (cfg.task, cfg.model.name, cfg.data.root) == ("focus", "test_resnet", str(focus_root))
    assert cfg.trainer.max_epochs == 2


@pytest.mark.parametrize(
    "content",
    [
        b"seed: [1",
        b"a: b: c",
        b"\xff\xfe\x00",
        b"\x00\x01\x02",
        b"- a\n- b\n",
        b"3",
        b"seed: 1\nseed: 2\n",
        b"[" * 3000,
    ],
)
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"config.yaml: expected"):
        load_config(tmp_path, REGISTRY)


def test_yaml_cannot_make_objects(edit: Any, tmp_path: Path) -> None:
    made = tmp_path / "made"
    folder = edit("seed: 0", f"seed: !!python/object/apply:os.mkdir ['{made}']")
    with pytest.raises(DataError, match="python/object/apply"):
        load_config(folder, REGISTRY)
    assert not made.exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed: 0", "seed: 0\nsede: 1", "unknown key 'sede'. Did you mean 'seed'?"),
        ("max_epochs: 2", "max_epoch: 2", "unknown key 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'?"),
        ("model:\n", "model: null\nmore:\n", "unknown key 'more'"),
        ("module: regressor", "module: os.system", "module: expected one of regressor"),
        ("visionlab.datasets.focus.FocusDataModule", "os.system", "data._target_: expected a name that begins with"),
        ("visionlab.datasets.focus.FocusDataModule", "visionlab.files.write_text", "data._target_: expected a name"),
        ("visionlab.datasets.focus.FocusDataModule", "visionlab.datasets.focus._printable", "private"),
        ("visionlab.losses.elementwise.l1", "visionlab.files.write_text", "loss._target_: expected a name"),
    ],
)
def test_what_is_wrong_in_the_file_is_refused_and_never_called(
    old: str, new: str, expected: str, edit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*_: object, **__: object) -> None:
        raise AssertionError("called")

    monkeypatch.setattr("os.system", called)
    monkeypatch.setattr(store, "write_text", called)
    folder = edit(old, new)
    with pytest.raises(ConfigError) as caught:
        load_config(folder, REGISTRY)
    assert str(caught.value).startswith(f"{folder / 'config.yaml'}: ")
    assert expected in str(caught.value)


def test_overrides_are_typed(edit: Any) -> None:
    overrides = ["trainer.max_epochs=5", "optimizer.lr=1e-4", "data.include=[a,b]", "callbacks.ema.decay=0.9"]
    cfg = load_config(edit(), REGISTRY, [*overrides, "trainer.devices=auto", "init_from=null"])
    assert (cfg.trainer.max_epochs, cfg.optimizer.lr, list(cfg.data.include)) == (5, 1e-4, ["a", "b"])
    assert (cfg.callbacks.ema.decay, cfg.trainer.devices, cfg.init_from) == (0.9, "auto", None)


def test_numbers_and_words_in_lists_of_names_are_names(edit: Any) -> None:
    folder = edit("exclude: []", "exclude: [101, null, yes, 007, plate1*]")
    assert list(load_config(folder, REGISTRY).data.exclude) == ["101", "null", "yes", "007", "plate1*"]
    folder = edit("exclude: []", "<<: {exclude: [007]}")
    assert list(load_config(folder, REGISTRY).data.exclude) == ["007"]


@pytest.mark.parametrize("content", ["", "# nothing\n", "seed: 3\n"])
def test_a_file_without_the_rest_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"config.yaml: task: expected a value, found none"):
        load_config(tmp_path, REGISTRY)


def test_replaced_values_are_not_checked_as_the_file_has_them(edit: Any, focus_root: Path) -> None:
    folder = edit(str(focus_root), "/gone")
    with pytest.raises(ConfigError, match=r"data.root"):
        load_config(folder, REGISTRY)
    assert load_config(folder, REGISTRY, replace={"data.root": str(focus_root)}).data.root == str(focus_root)


def test_a_run_is_found_from_what_belongs_to_it(tiny_run: Path) -> None:
    inside = ("", "checkpoints", "checkpoints/best.ckpt", "config.yaml")
    assert {run_folder(tiny_run / name) for name in inside} == {tiny_run}


def test_what_is_no_run_is_refused_with_a_hint(tiny_run: Path, focus_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{tiny_run.name}'"):
        run_folder(tiny_run.with_name(f"{tiny_run.name}s"))
    with pytest.raises(UsageError, match=rf"no config.yaml.* It holds runs, such as {tiny_run}"):
        run_folder(tiny_run.parent)
    with pytest.raises(UsageError, match=r"no config.yaml"):
        run_folder(focus_root)
    alone = tmp_path / "best.ckpt"
    alone.touch()
    with pytest.raises(UsageError, match=r"no config.yaml"):
        run_folder(alone)
