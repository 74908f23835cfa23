"""Data modules and modules with a Lightning trainer of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import visionlab
from visionlab.errors import ConfigError, UsageError

DENSE = ("model=unet", "model.encoder=tu-test_resnet", "data.image_size=32", "data.batch_size=4")
IMAGE = ("model=timm", "model.name=test_resnet", "data.image_size=32", "data.batch_size=8")
TASKS = {
    "focus": IMAGE,
    "depth_mask": DENSE,
    "protein_atlas": IMAGE,
    "celegans_nuclei": DENSE,
    "celegans_membrane": DENSE,
    "celegans_lineage": IMAGE,
}
Roots = Callable[[str], Path]


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return pl.Trainer(default_root_dir=folder, **{**quiet, "max_epochs": 1, "limit_train_batches": 2, **options})


@pytest.mark.parametrize("task", TASKS)
def test_a_plain_trainer_fits_validates_tests_and_predicts(task: str, roots: Roots, tmp_path: Path) -> None:
    data, module = visionlab.compose(f"task={task}", f"data.root={roots(task)}", *TASKS[task])
    # With Lightning's defaults: its rehearsal of validation comes first.
    own = trainer(tmp_path)
    own.fit(module, datamodule=data)
    assert own.global_step == 2
    (validated,) = own.validate(module, datamodule=data, verbose=False)
    assert module.monitor in validated
    (tested,) = own.test(module, datamodule=data, verbose=False)
    # The same names, of another split.
    assert {name.removeprefix("test/") for name in tested} == {name.removeprefix("val/") for name in validated}
    batches: Any = own.predict(module, datamodule=data)
    ids = [name for batch in batches for name in batch["id"]]
    assert ids == data.table["id"].iloc[data.rows["test"]].tolist()
    for head in module.model.each_head():
        assert all(torch.isfinite(batch[head.name]).all() for batch in batches)


@pytest.mark.parametrize(("task", "name"), [("focus", "FocusDataModule"), ("depth_mask", "DepthMaskDataModule")])
def test_a_data_module_made_by_its_class_is_told_what_the_heads_ask(
    task: str, name: str, roots: Roots, tmp_path: Path
) -> None:
    import visionlab.data

    _, module = visionlab.compose(f"task={task}", f"data.root={roots(task)}", *TASKS[task])
    data = getattr(visionlab.data, name)(root=str(roots(task)), image_size=32, batch_size=4, num_workers=0)
    own = trainer(tmp_path)
    own.fit(module, datamodule=data)
    assert own.global_step == 2
    assert set(data.asked) == {head.name for head in module.model.each_head()}


def test_composing_writes_nothing(roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = roots("focus")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "cache"))
    data, module = visionlab.compose("task=focus", f"data.root={root}", *IMAGE)
    assert isinstance(data, pl.LightningDataModule)
    assert isinstance(module, pl.LightningModule)
    assert list(tmp_path.iterdir()) == []


def test_the_trainers_checkpoint_predicts_and_becomes_the_module_again(roots: Roots, tmp_path: Path) -> None:
    from visionlab.modules import MultilabelClassifier

    data, module = visionlab.compose("task=protein_atlas", f"data.root={roots('protein_atlas')}", *IMAGE)
    own = trainer(tmp_path)
    own.fit(module, datamodule=data)
    path = tmp_path / "own.ckpt"
    own.save_checkpoint(path)
    (tested,) = own.test(module, datamodule=data, verbose=False)

    # Thresholds were fitted to the weights that were saved, and travel with them.
    assert own.checkpoint_callback is not None
    for saved in (path, own.checkpoint_callback.best_model_path):  # type: ignore[attr-defined]
        (head,) = visionlab.load(saved).heads
        assert bool(head.fitted) and not head.warnings()
    loaded = MultilabelClassifier.load_from_checkpoint(path, weights_only=True)
    assert loaded.hparams["optimizer"]["lr"] == module.hparams["optimizer"]["lr"]
    (again,) = trainer(tmp_path).test(loaded, datamodule=data, verbose=False)
    assert again == tested


def test_without_validation_nothing_is_fitted_and_that_is_said(roots: Roots, tmp_path: Path) -> None:
    data, module = visionlab.compose("task=protein_atlas", f"data.root={roots('protein_atlas')}", *IMAGE)
    own = trainer(tmp_path, limit_val_batches=0)
    own.fit(module, datamodule=data)
    own.save_checkpoint(tmp_path / "own.ckpt")
    (head,) = visionlab.load(tmp_path / "own.ckpt").heads
    assert "never fitted" in " ".join(head.warnings())


def test_what_objects_are_found_with_is_fitted_at_the_end(roots: Roots, tmp_path: Path) -> None:
    root = roots("celegans_nuclei")
    data, module = visionlab.compose("task=celegans_nuclei", f"data.root={root}", *DENSE)
    own = trainer(tmp_path)
    own.fit(module, datamodule=data)
    own.save_checkpoint(tmp_path / "own.ckpt")
    (head,) = visionlab.load(tmp_path / "own.ckpt").heads
    assert bool(head.fitted) and not head.warnings()
    assert module.model.training, "so that a further fit trains on"


def test_best_checkpoints_of_runs_become_modules(tiny_run: Path, focus_root: Path) -> None:
    from visionlab.modules import Regressor

    best = tiny_run / "checkpoints" / "best.ckpt"
    module = Regressor.load_from_checkpoint(best, weights_only=True)
    image = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    expected = visionlab.load(best).model(image)["distance"]
    assert torch.equal(module.eval()(image), expected)


def test_what_is_of_whole_runs_is_refused() -> None:
    with pytest.raises(ConfigError, match="lr_find"):
        visionlab.compose("task=focus", "lr_find=true")


def test_a_module_without_data_says_what_it_needs(tmp_path: Path) -> None:
    _, module = visionlab.compose("task=focus", *IMAGE)
    loader: Any = torch.utils.data.DataLoader(torch.zeros(2, 1, 32, 32))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="datamodule"):
        trainer(tmp_path).fit(module, train_dataloaders=loader)


@pytest.mark.parametrize("where", ["network", "balance"])
def test_a_checkpoint_calls_nothing_but_networks_and_balances(where: str, tiny_run: Path, tmp_path: Path) -> None:
    from visionlab.modules import Regressor

    written = tmp_path / "written"
    content = torch.load(tiny_run / "checkpoints" / "best.ckpt", weights_only=True)
    if where == "network":
        made = {"_target_": "visionlab.samples.write", "seed": 0}
        content["visionlab"]["network"] |= {"in_channels": "focus", "out_channels": str(written), "options": made}
    else:
        content["hyper_parameters"]["balance"] = {"_target_": "visionlab.files.write_text", "text": "x"}
        content["hyper_parameters"]["heads"] = {str(written): {}}
    path = tmp_path / "hostile.ckpt"
    torch.save(content, path)
    with pytest.raises((ConfigError, UsageError), match=r"not trusted|begins with"):
        Regressor.load_from_checkpoint(path, weights_only=True)
    assert not written.exists()
