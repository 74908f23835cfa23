"""The LightningModule under every task: the single step, the metrics and the optimizers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
Stage = Literal["train", "val"]


class TaskModule(pl.LightningModule):
    """Train a :class:`TaskModel`. Tasks subclass it with the ``kind`` of network they take.

    Args:
        model: what is trained.
        losses: head name -> function of (raw channels, target), see the heads' ``loss``.
        make_optimizer: (parameters, fused) -> optimizer.
        make_schedule: (optimizer, plan) -> schedule of its learning rate, or None for a constant one.
        plan: how long training will be.
        monitor: metric that schedules on plateaus follow, e.g. ``val/distance/mae``.
        seed: of the run; what a step draws (dropout) depends on it, the rank and the step's number only.
        description: plain data stored in the checkpoint beside the model's own: preprocessing, data, task.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        model: TaskModel,
        *,
        losses: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]],
        make_optimizer: Callable[..., torch.optim.Optimizer],
        make_schedule: Callable[..., Schedule | None],
        plan: Plan,
        monitor: str,
        seed: int,
        description: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = dict(losses)
        self.make_optimizer, self.make_schedule = make_optimizer, make_schedule
        self.plan, self.monitor, self.seed, self.description = plan, monitor, seed, description
        # Set by Lightning's learning-rate finder only.
        self.learning_rate: float | None = None
        self.plateau: Any = None
        # Sum of loss times count, and of count, over the epoch so far; on the device, so that no step waits for it.
        self._train_sum = torch.zeros(2)
        # Whole-split metrics: values are collected over batches and ranks and measured once.
        self.collected = nn.ModuleDict(
            {
                f"{head.name}_{what}": CatMetric(nan_strategy="disable")
                for head in model.each_head()
                for what in ("true", "pred")
            }
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the network's raw channels of all heads, for the graph in TensorBoard."""
        return torch.cat(list(self.model(image).values()), dim=1)

    # The step ---------------------------------------------------------------------------------------------------

    def _step(self, batch: Batch, stage: Stage) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        raw = self.model(batch["image"])
        total = torch.zeros((), device=self.device)
        heads = self.model.each_head()
        for head in heads:
            loss = head.loss(raw[head.name], batch["target"][head.name], self.losses[head.name])
            if len(heads) > 1:
                self.log(f"{stage}/{head.name}/loss", loss, batch_size=len(batch["id"]), sync_dist=stage == "val")
            total = total + head.weight * loss
        return total, raw

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout and the like then don't depend on what was drawn before: a resumed run draws the same.
        torch.manual_seed(derive(self.seed, "step", self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss, _ = self._step(batch, "train")
        count = len(batch["id"])
        sums = torch.stack([loss.detach().float() * count, torch.full_like(loss, count, dtype=torch.float32)])
        self._train_sum = self._train_sum.to(sums.device) + sums
        self.log("train/loss", loss, prog_bar=True, batch_size=count)
        self._log_rate()
        return loss

    def _log_rate(self) -> None:
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss, raw = self._step(batch, "val")
        self.log("val/loss", loss, prog_bar=True, batch_size=len(batch["id"]), sync_dist=True)
        for name, values in self.model.decode(raw).items():
            self._metric(name, "pred").update(values)
            self._metric(name, "true").update(batch["target"][name])

    def on_validation_epoch_end(self) -> None:
        self._log_train_loss()
        # Once an epoch as well: short epochs may have fewer steps than trainer.log_every_n_steps.
        self._log_rate()
        self.validated = self._gather()
        for head in self.model.each_head():
            true, pred = self.validated[head.name]
            for name, value in head.measure(true, pred).items():
                # Every rank has the same gathered values.
                self.log(f"val/{head.name}/{name}", value, prog_bar=f"val/{head.name}/{name}" == self.monitor)

    def _metric(self, head: str, what: str) -> CatMetric:
        return cast(CatMetric, self.collected[f"{head}_{what}"])

    def _log_train_loss(self) -> None:
        """Log the mean training loss of the epoch that this validation ends."""
        total = self.trainer.strategy.reduce(self._train_sum.to(self.device), reduce_op="sum")
        self._train_sum = torch.zeros(2)
        mean = float(total[0] / total[1])
        if not math.isfinite(mean):
            raise UserError(
                f"the training loss became {mean} in epoch {self.current_epoch + 1}: training diverged; try a lower "
                "optimizer.lr, trainer.gradient_clip_val=1, or trainer.precision=32-true"
            )
        self.log("train/loss_epoch", mean)

    def _gather(self) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Return {head: (true, predicted)}, N x K each, of the validation just done, and forget the values."""
        result = {}
        for head in self.model.each_head():
            both = []
            for what in ("true", "pred"):
                metric = self._metric(head.name, what)
                both.append(metric.compute().reshape(-1, head.channels).cpu().double().numpy())
                metric.reset()
            result[head.name] = (both[0], both[1])
        return result

    # Optimizer and schedule -------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
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
