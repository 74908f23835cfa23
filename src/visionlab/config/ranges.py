"""The values that numbers and names of the configuration may have, whichever task or choice they come with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from visionlab.config.annotations import show
from visionlab.config.schema import ACCELERATORS, FITS, MODES, PRECISIONS, STRATEGIES
from visionlab.errors import ConfigError, nearest

Rule = tuple[str, Callable[[float], bool]]

AT_LEAST_0: Rule = ("a number of at least 0", lambda value: 0 <= value < math.inf)
AT_LEAST_1: Rule = ("a number of at least 1", lambda value: 1 <= value < math.inf)
ABOVE_0: Rule = ("a number above 0", lambda value: 0 < value < math.inf)
BELOW_1: Rule = ("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
BETWEEN: Rule = ("a number above 0 and below 1", lambda value: 0 < value < 1)
SHARE: Rule = ("a number above 0, at most 1", lambda value: 0 < value <= 1)

RANGES: dict[str, Rule] = {
    "seed": ("a number from 0 to 4294967295", lambda value: 0 <= value < 2**32),
    "data.channels": AT_LEAST_1,
    "data.image_size": ("at least 8 pixels", lambda value: value >= 8),
    "data.batch_size": AT_LEAST_1,
    "data.num_workers": AT_LEAST_0,
    "data.samples_per_epoch": AT_LEAST_1,
    "data.val_fraction": BETWEEN,
    "data.test_fraction": BELOW_1,
    "data.folds": ("at least 2", lambda value: value >= 2),
    "data.fraction": SHARE,
    "data.per_background": AT_LEAST_1,
    "data.mask_threshold": AT_LEAST_1,
    "data.blocks": ("a number of at least 2", lambda value: value >= 2),
    "data.gap": AT_LEAST_0,
    "data.neighbours": ("a number from 0 to 32", lambda value: 0 <= value <= 32),
    "data.empty": BELOW_1,
    "data.voxel_size": ABOVE_0,
    "data.depth_scale": ABOVE_0,
    "model.hidden": AT_LEAST_1,
    "model.dropout": BELOW_1,
    "loss.delta": ABOVE_0,
    "loss.alpha": ("a number of 0 to 1", lambda value: 0 <= value <= 1),
    "loss.gamma": AT_LEAST_0,
    "loss.pos_weight": ABOVE_0,
    "loss.label_smoothing": BELOW_1,
    "loss.clip": BELOW_1,
    "loss.gamma_positive": AT_LEAST_0,
    "loss.gamma_negative": AT_LEAST_0,
    "loss.smooth": ABOVE_0,
    "loss.data_range": ABOVE_0,
    "balance.factor": AT_LEAST_1,
    "optimizer.lr": ABOVE_0,
    "optimizer.betas": BELOW_1,
    "optimizer.eps": ABOVE_0,
    "optimizer.weight_decay": AT_LEAST_0,
    "optimizer.momentum": BELOW_1,
    "scheduler.factor": BETWEEN,
    "scheduler.patience": AT_LEAST_0,
    "scheduler.min_lr": AT_LEAST_0,
    "scheduler.step_size": AT_LEAST_1,
    "scheduler.gamma": SHARE,
    "scheduler.milestones": AT_LEAST_1,
    "scheduler.warmup_epochs": AT_LEAST_0,
    "scheduler.max_lr": ABOVE_0,
    "scheduler.base_lr": ABOVE_0,
    "scheduler.pct_start": BETWEEN,
    "scheduler.div_factor": AT_LEAST_1,
    "scheduler.final_div_factor": AT_LEAST_1,
    "scheduler.step_size_epochs": ABOVE_0,
    "trainer.max_epochs": AT_LEAST_1,
    "trainer.accumulate_grad_batches": AT_LEAST_1,
    "trainer.gradient_clip_val": ABOVE_0,
    "trainer.limit_train_batches": AT_LEAST_1,
    "trainer.limit_val_batches": AT_LEAST_1,
    "trainer.log_every_n_steps": AT_LEAST_1,
    "callbacks.early_stopping.patience": AT_LEAST_1,
    "callbacks.early_stopping.min_delta": AT_LEAST_0,
    "callbacks.ema.decay": BETWEEN,
    "callbacks.checkpoint.every_n_steps": AT_LEAST_1,
    "callbacks.checkpoint.every_minutes": ABOVE_0,
    "callbacks.images.count": AT_LEAST_0,
    "callbacks.images.every_n_epochs": AT_LEAST_1,
    "benchmark.batch_sizes": AT_LEAST_1,
    "benchmark.seconds": ABOVE_0,
}

CHOICES: dict[str, tuple[str, ...]] = {
    "mode": MODES,
    "data.fit": FITS,
    "trainer.accelerator": ACCELERATORS,
    "trainer.strategy": STRATEGIES,
    "trainer.precision": PRECISIONS,
}


def check_ranges(plain: Mapping[str, Any], name: str = "") -> None:
    """Check every number and name of a plain configuration whose key is listed above; null is left to the types.

    Args:
        plain: the configuration, or ``{"loss": ...}`` for a loss that stands elsewhere.
        name: of the place where it stands, for the message.

    Raises:
        ConfigError: a value is out of range or not among the choices.
    """
    for key, choices in CHOICES.items():
        check_choice(key, select(plain, key, choices[0]), choices)
    for key, (expected, holds) in RANGES.items():
        value = select(plain, key)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and not holds(number):
                place = f"{name}{key.removeprefix('loss')}" if name else key
                raise ConfigError(f"{place}: expected {expected}, found {show(value)}")


def check_choice(key: str, value: Any, choices: tuple[str, ...] | list[str]) -> None:
    """Check that ``value`` is one of ``choices``.

    Raises:
        ConfigError: it isn't; the message has the nearest.
    """
    if value not in choices:
        raise ConfigError(
            f"{key}: expected one of {', '.join(choices)}; found {show(value)}.{nearest(str(value), choices)}"
        )


def select(plain: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """Return the value of a dotted key, or ``default``."""
    node: Any = plain
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node
