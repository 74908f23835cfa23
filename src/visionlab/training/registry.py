"""What configurations may name: kinds of heads, modules and parts of this package. Imports no torch."""

from __future__ import annotations

from visionlab import datasets
from visionlab.config.checks import Registry
from visionlab.heads import KINDS
from visionlab.modules import MODULES

REGISTRY = Registry(
    kinds=KINDS,
    modules={name: network for name, (_, network) in MODULES.items()},
    places={
        "data": "visionlab.datasets.",
        "make": "visionlab.datasets.",
        "loss": "visionlab.losses.",
        "balance": "visionlab.losses.balance.",
        "optimizer": "visionlab.modules.optimizers.",
        "scheduler": "visionlab.modules.schedulers.",
    },
    supplied={"data": 2, "balance": 1, "optimizer": 1, "scheduler": 1, "model": 2},
    check_data=datasets.check_settings,
)
