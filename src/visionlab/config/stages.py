"""Trainings in stages: one run through several resolutions, losses or rates, the weights carried over."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

# Key of a stage -> key of the configuration that it takes the place of.
_PLACES = {
    "image_size": "data.image_size",
    "batch_size": "data.batch_size",
    "epochs": "trainer.max_epochs",
    "lr": "optimizer.lr",
    "freeze": "model.freeze",
    "loss": "loss",
    "scheduler": "scheduler",
    "balance": "balance",
}


def each_stage(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return {name: the configuration of that stage}, in order; a run without stages is one, called ``""``."""
    if not cfg.stages:
        return {"": cfg}
    return {str(name): _stage(cfg, stage) for name, stage in cfg.stages.items()}


def total_epochs(cfg: DictConfig) -> int:
    """Return the epochs of all stages together."""
    return sum(int(stage.trainer.max_epochs) for stage in each_stage(cfg).values())


def stage_in_words(cfg: DictConfig) -> str:
    """Return what a stage is like, in words."""
    size = cfg.data.image_size
    side = " x ".join(map(str, [size, size] if isinstance(size, int) else size))
    epochs = int(cfg.trainer.max_epochs)
    return f"{side} px, batches of {cfg.data.batch_size}, {epochs} epoch{'' if epochs == 1 else 's'}"


def _stage(cfg: DictConfig, stage: Any) -> DictConfig:
    own = cfg.copy()
    for key, place in _PLACES.items():
        if stage[key] is not None:
            OmegaConf.update(own, place, stage[key], merge=False, force_add=True)
    if stage.augment is not None:
        for part in own.augment:
            own.augment[part] = stage.augment.get(part, [])
    return own
