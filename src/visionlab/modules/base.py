"""The LightningModule under every task: the single step, the metrics and the optimizers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torchmetrics import CatMetric

from visionlab.errors import UserError
from visionlab.modules.schedulers import Plan, Schedule
from visionlab.modules.task_model import TaskModel
from visionlab.seeds import derive

Batch = Mapping[str, Any]
Part = Literal["train", "val"]


@dataclass(frozen=True)
class Stage:
    """One part of a training with its own resolution, loss or rates.

    Attributes:
        number: from 0.
        count: of stages in the run.
        first_epoch: epochs of the run before it.
    """

    number: int
    count: int
    first_epoch: int


class TaskModule(pl.LightningModule):
    """Train a :class:`TaskModel`. Tasks subclass it with the ``kind`` of network they take.

    Args:
        model: what is trained.
        losses: head name -> loss, see the heads' ``loss``.
        balance: {head: weighted loss} -> what is minimised in training; validation takes the plain sum.
        make_optimizer: (parameters, fused) -> optimizer.
        make_schedule: (optimizer, plan) -> schedule of its learning rate, or None for a constant one.
        plan: how long training will be.
        monitor: metric that schedules on plateaus follow, e.g. ``val/distance/mae``.
        seed: of the run; what a step draws (dropout) depends on it, the rank and the step's number only.
        description: plain data stored in the checkpoint beside the model's own: preprocessing, data, task.
        stage: which of the run's stages this is.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        model: TaskModel,
        *,
        losses: Mapping[str, Callable[..., torch.Tensor]],
        balance: nn.Module,
        make_optimizer: Callable[..., torch.optim.Optimizer],
        make_schedule: Callable[..., Schedule | None],
        plan: Plan,
        monitor: str,
        seed: int,
        description: dict[str, Any],
        stage: Stage | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = dict(losses)
        self.balance = balance
        self.stage = stage or Stage(0, 1, 0)
        self.make_optimizer, self.make_schedule = make_optimizer, make_schedule
        self.plan, self.monitor, self.seed, self.description = plan, monitor, seed, description
        # Set by Lightning's learning-rate finder only.
        self.learning_rate: float | None = None
        self.plateau: Any = None
        # Sums over the epoch so far: count, loss times count, each head's loss times count; on the device, so that no
        # step waits for them.
        self._train_sum = torch.zeros(2 + len(model.each_head()))
        # Whole-split metrics: rows of samples are collected over batches and ranks and measured once.
        self.collected = nn.ModuleDict({head.name: CatMetric(nan_strategy="disable") for head in model.each_head()})

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the network's raw channels of all heads, for the graph in TensorBoard."""
        return torch.cat(list(self.model(image).values()), dim=1)

    # The step ---------------------------------------------------------------------------------------------------

    def _losses(self, batch: Batch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return {head: its loss} and {head: raw channels} of a batch."""
        raw = self.model(batch["image"])
        heads = self.model.each_head()
        return {
            head.name: head.loss(raw[head.name], batch["target"][head.name], self.losses[head.name]) for head in heads
        }, raw

    def _log_losses(self, part: Part, total: torch.Tensor, losses: Mapping[str, torch.Tensor], count: int) -> None:
        self.log(f"{part}/loss", total, prog_bar=True, batch_size=count, sync_dist=part == "val")
        if len(losses) > 1:
            for name, loss in losses.items():
                self.log(f"{part}/{name}/loss", loss, batch_size=count, sync_dist=part == "val")

    def _weighted(self, losses: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {head.name: head.weight * losses[head.name] for head in self.model.each_head()}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout and the like then don't depend on what was drawn before: a resumed run draws the same.
        torch.manual_seed(derive(self.seed, "step", self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        losses, _ = self._losses(batch)
        total: torch.Tensor = self.balance(self._weighted(losses))
        count = len(batch["id"])
        parts = torch.stack([total, *losses.values()]).detach().float() * count
        self._train_sum = self._train_sum.to(parts.device) + torch.cat([torch.full_like(parts[:1], count), parts])
        self._log_losses("train", total, losses, count)
        self._log_rate()
        return total

    def _log_rate(self) -> None:
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
        losses, raw = self._losses(batch)
        self._log_losses("val", torch.stack(list(self._weighted(losses).values())).sum(), losses, len(batch["id"]))
        decoded = self.model.decode(raw)
        for head in self.model.each_head():
            self._collector(head.name).update(head.rows(decoded[head.name], batch["target"][head.name]))
        # For the pictures in TensorBoard.
        return decoded

    def on_validation_epoch_end(self) -> None:
        self._log_train_loss()
        # Once an epoch as well: short epochs may have fewer steps than trainer.log_every_n_steps.
        self._log_rate()
        if self.stage.count > 1:
            self.log("stage", float(self.stage.number))
        self.validated = self._gather()
        for head in self.model.each_head():
            for name, value in head.measure(self.validated[head.name]).items():
                # Every rank has the same gathered values.
                self.log(f"val/{head.name}/{name}", value, prog_bar=f"val/{head.name}/{name}" == self.monitor)

    def _collector(self, head: str) -> CatMetric:
        return cast(CatMetric, self.collected[head])

    def _log_train_loss(self) -> None:
        """Log the mean training loss of the epoch that this validation ends."""
        sums = self.trainer.strategy.reduce(self._train_sum.to(self.device), reduce_op="sum")
        self._train_sum = torch.zeros_like(self._train_sum)
        mean, *of_heads = (sums[1:] / sums[0]).tolist()
        if not math.isfinite(mean):
            raise UserError(
                f"the training loss became {mean} in epoch {self.current_epoch + 1}: training diverged; try a lower "
                "optimizer.lr, trainer.gradient_clip_val=1, or trainer.precision=32-true"
            )
        self.log("train/loss_epoch", mean)
        if len(of_heads) > 1:
            for head, value in zip(self.model.each_head(), of_heads, strict=True):
                self.log(f"train/{head.name}/loss_epoch", value)

    def _gather(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return {head: rows of the samples}, N x S each, of the validation just done, and forget them."""
        result = {}
        for head in self.model.each_head():
            metric = self._collector(head.name)
            rows = metric.compute()
            result[head.name] = rows.reshape(-1, rows.shape[-1]).cpu().double().numpy()
            metric.reset()
        return result

    # Optimizer and schedule -------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        parameters: Any = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        balancing = list(self.balance.parameters())
        if balancing:
            # Decay would pull the weights of the heads' losses towards 1.
            parameters = [{"params": parameters}, {"params": balancing, "weight_decay": 0.0}]
        # Lightning cannot clip what a fused optimizer unscales itself.
        scaled = self.trainer.precision == "16-mixed" and self.trainer.gradient_clip_val is not None
        optimizer = self.make_optimizer(parameters, self.device.type == "cuda" and not scaled)
        if self.learning_rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate
            return optimizer
        schedule = self.make_schedule(optimizer, self.plan)
        if schedule is None:
            return optimizer
        if schedule.interval == "validation":
            # Kept from Lightning, which leaves out the step at the end of the epoch in which a run was resumed.
            self.plateau = schedule.scheduler
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule.scheduler, "interval": schedule.interval},
        }

    def on_validation_end(self) -> None:
        if self.plateau is not None and not self.trainer.sanity_checking:
            self.plateau.step(float(self.trainer.callback_metrics[self.monitor]))

    # The checkpoint ---------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["visionlab"] = {**self.description, **self.model.spec()}
        checkpoint["progress"] = {
            "train_sum": self._train_sum.tolist(),
            "plateau": self.plateau.state_dict() if self.plateau is not None else None,
            "stage": self.stage.number,
            "first_epoch": self.stage.first_epoch,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._progress = checkpoint["progress"]

    def on_train_start(self) -> None:
        # The optimizer, and with it the schedule, exist only now.
        progress = self.__dict__.pop("_progress", None)
        if progress is not None:
            self._train_sum = torch.tensor(progress["train_sum"])
            if self.plateau is not None and progress["plateau"] is not None:
                self.plateau.load_state_dict(progress["plateau"])
