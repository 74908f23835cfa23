"""The LightningModules: one step for all tasks, built from plain settings and from the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn
from torchmetrics import CatMetric

from visionlab.config import build
from visionlab.config.signature import is_ours
from visionlab.data.definition import Target
from visionlab.data.module import ImageDataModule
from visionlab.errors import ConfigError, UsageError, UserError
from visionlab.heads import KINDS, load
from visionlab.heads.head import Head, Split
from visionlab.losses.mixed import WeightedSum
from visionlab.modules.schedulers import Plan, Schedule
from visionlab.modules.task_model import ORIGIN, TaskModel, build_model, describe_data
from visionlab.seeds import derive

Batch = Mapping[str, Any]
Part = Literal["train", "val", "test"]

# What of a run's configuration makes its module.
SETTINGS = (
    *("task", "module", "seed", "heads", "model", "loss", "balance", "optimizer", "scheduler", "monitor", "mode"),
    *("channels_last", "compile"),
)


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
    """Train and apply a :class:`TaskModel`.

    The model depends on the data (channels, scales of the targets), so it is built when a trainer has set these up, or
    from the checkpoint by ``load_from_checkpoint``. :func:`visionlab.compose` returns a module with its data.

    Args:
        settings: plain data, see ``SETTINGS``; the part of the configuration of that name. None: only to predict, from
            a checkpoint that holds none.
        model: what is trained, if it is built already.
        stage: which of a run's stages this is; None: of no run, so that what heads fit (thresholds) is fitted at each
            validation of ``fit``, before the trainer saves, and what is fitted on whole time points at its end.
        trust: packages whose classes the settings may name. No checkpoint says so: it is given anew.
    """

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        model: TaskModel | None = None,
        stage: Stage | None = None,
        trust: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.trust = tuple(trust)
        self.settings = {key: settings[key] for key in SETTINGS if key in settings} if settings else {}
        self.monitor = str(self.settings.get("monitor", "val/loss"))
        # A checkpoint brings its own weights. Under this name Lightning hands them to the argument when it loads them.
        model_settings = {key: value for key, value in self.settings.get("model", {}).items() if key not in ORIGIN}
        settings = {**self.settings, "model": model_settings}
        self.save_hyperparameters(settings)
        self.fits_heads = stage is None
        # Reads and predicts the whole time points that a head is fitted on; :func:`visionlab.compose` sets it.
        self.time_points: Callable[[TaskModule, Head, ImageDataModule], Split] | None = None
        self.stage = stage or Stage(0, 1, 0)
        self.description: dict[str, Any] = {}
        self.losses: dict[str, Callable[..., torch.Tensor]] = {}
        self.plateau: Any = None
        # Set by Lightning's learning-rate finder only.
        self.learning_rate: float | None = None
        if model is not None:
            self._take(model)

    # Building ---------------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Build the model for the trainer's data module, unless there is one already; called by Lightning."""
        if self._trainer is None:
            return
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageDataModule):
            new = not self.built
            self.build(data)
            if new and self.settings["compile"]:
                # In place, so that the names of the weights stay as they are.
                self.model.network.compile()
        elif not self.built:
            raise UsageError(
                f"{type(self).__name__}: expected a data module to build the network for, found none; give one, as "
                "trainer.fit(module, datamodule=data), or load the module from a checkpoint"
            )

    def targets(self) -> dict[str, Target]:
        """Return what each head asks of the data."""
        return {str(name): load(KINDS[head["kind"]].target) for name, head in self.settings.get("heads", {}).items()}

    @property
    def built(self) -> bool:
        """Whether the model is there."""
        return "model" in self._modules

    def build(self, data: ImageDataModule) -> None:
        """Build what is not there yet for data that are set up: the model, and the losses.

        Raises:
            UserError: the network does not take images of this size or number of channels, or it has no weights.
        """
        if not self.built:
            torch.manual_seed(self.settings["seed"])
            self._take(build_model(self.settings, data, trust=self.trust))
        if not self.settings:
            return
        self.description = {"task": self.settings["task"], "module": self.settings["module"], **describe_data(data)}
        if self.settings["channels_last"]:
            self.model.channels_last()
        if self.settings["model"].get("freeze") is not None:
            # Stages may differ in it.
            self.model.network.set_frozen(self.settings["model"]["freeze"])  # type: ignore[operator]
        for head in self.model.each_head():
            loss = make_loss(self.settings["heads"][head.name]["loss"] or self.settings["loss"], self.trust)
            head.prepare(loss)
            self.losses[head.name] = loss
        if "balance" not in self._modules:
            self._make_balance()

    def _make_balance(self) -> None:
        names = list(self.settings["heads"])
        self.balance = _part("losses.balance", self.settings["balance"], names, trust=self.trust)

    def _take(self, model: TaskModel) -> None:
        self.model = model
        # Sums over the epoch so far: count, loss times count, each head's loss times count; on the device, so that no
        # step waits for them.
        self._train_sum = torch.zeros(2 + len(model.each_head()))
        # Whole-split metrics: rows of samples are collected over batches and ranks and measured once.
        self.collected = nn.ModuleDict({head.name: CatMetric(nan_strategy="disable") for head in model.each_head()})

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the network's raw channels of all heads, (B, K) or (B, K, H, W), for images (B, C, H, W)."""
        return torch.cat(list(self.model(image).values()), dim=1)

    # The step ---------------------------------------------------------------------------------------------------

    def each_loss(self, batch: Batch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return {head: its loss, without the head's weight} and {head: raw channels} of a batch."""
        raw = self.model(batch["image"])
        heads = self.model.each_head()
        return {
            head.name: head.loss(raw[head.name], batch["target"][head.name], self.losses[head.name]) for head in heads
        }, raw

    def weighted(self, losses: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return {head: its loss times the head's weight}: what is balanced to the loss that is minimised."""
        return {head.name: head.weight * losses[head.name] for head in self.model.each_head()}

    def _log_losses(self, part: Part, total: torch.Tensor, losses: Mapping[str, torch.Tensor], count: int) -> None:
        self.log(f"{part}/loss", total, prog_bar=True, batch_size=count, sync_dist=part != "train")
        if len(losses) > 1:
            for name, loss in losses.items():
                self.log(f"{part}/{name}/loss", loss, batch_size=count, sync_dist=part != "train")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout and the like then don't depend on what was drawn before: a resumed run draws the same.
        torch.manual_seed(derive(self.settings["seed"], "step", self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        losses, _ = self.each_loss(batch)
        total: torch.Tensor = self.balance(self.weighted(losses))
        count = len(batch["id"])
        parts = torch.stack([total, *losses.values()]).detach().float() * count
        self._train_sum = self._train_sum.to(parts.device) + torch.cat([torch.full_like(parts[:1], count), parts])
        self._log_losses("train", total, losses, count)
        self._log_rate()
        return total

    def _log_rate(self) -> None:
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
        return self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Return ``id`` and, by head, the decoded values in the user's units: (B, K), or maps (B, K, H, W)."""
        return {"id": batch["id"], **self.model.decode(self.model(batch["image"]))}

    def _evaluate(self, part: Part, batch: Batch) -> dict[str, torch.Tensor]:
        """Log the losses of a batch, collect what its metrics need, and return the decoded values by head."""
        losses, raw = self.each_loss(batch)
        total = torch.stack(list(self.weighted(losses).values())).sum()
        self._log_losses(part, total, losses, len(batch["id"]))
        decoded = self.model.decode(raw)
        for head in self.model.each_head():
            rows = head.rows(decoded[head.name], batch["target"][head.name])
            cast(CatMetric, self.collected[head.name]).update(rows)
        # For the pictures in TensorBoard.
        return decoded

    def on_validation_epoch_end(self) -> None:
        if self._fitting:
            self._log_train_loss()
            # Once an epoch as well: short epochs may have fewer steps than trainer.log_every_n_steps.
            self._log_rate()
            if self.stage.count > 1:
                self.log("stage", float(self.stage.number))
        self.validated = self._measure("val")
        if self._fitting and self.fits_heads:
            for head in self.model.each_head():
                if head.fits and not head.by_time_point:
                    rows = self.validated[head.name]
                    head.fit(Split([""] * len(rows), rows, rows, fitted_on=True))

    @property
    def _fitting(self) -> bool:
        """Whether this validation is one of a training, not of ``trainer.validate`` or Lightning's rehearsal."""
        return self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking

    def on_test_epoch_end(self) -> None:
        self._measure("test")

    def _measure(self, part: Part) -> dict[str, np.ndarray[Any, Any]]:
        """Log the metrics of the split just passed, and forget it; return {head: rows of its samples}, N x S each."""
        collected = {}
        for head in self.model.each_head():
            metric = cast(CatMetric, self.collected[head.name])
            rows = metric.compute()
            metric.reset()
            collected[head.name] = rows.reshape(-1, rows.shape[-1]).cpu().double().numpy()
            for key, value in head.measure(collected[head.name]).items():
                # Every rank has the same gathered values.
                name = f"{part}/{head.name}/{key}"
                self.log(name, value, prog_bar=name == self.monitor)
        return collected

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

    def on_train_end(self) -> None:
        data, training = getattr(self.trainer, "datamodule", None), self.model.training
        for head in self.model.each_head():
            wanted = self.fits_heads and head.fits and head.by_time_point
            if wanted and self.time_points is not None and data is not None:
                head.fit(self.time_points(self, head, data))
        self.model.train(training)

    # Optimizer and schedule -------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        parameters: Any = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        balancing = list(self.balance.parameters())
        if balancing:
            # Decay would pull the weights of the heads' losses towards 1.
            parameters = [{"params": parameters}, {"params": balancing, "weight_decay": 0.0}]
        # Lightning cannot clip what a fused optimizer unscales itself.
        scaled = self.trainer.precision == "16-mixed" and self.trainer.gradient_clip_val is not None
        fused = self.device.type == "cuda" and not scaled
        optimizer = self.make_optimizer(parameters, fused)
        if self.learning_rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate
            return optimizer
        node = self.settings["scheduler"]
        plan = (self._plan(),) if is_ours(node["_target_"]) else ()
        schedule: Any = _part("modules.schedulers", node, optimizer, *plan, trust=self.trust)
        if schedule is None:
            return optimizer
        if not isinstance(schedule, Schedule):
            schedule = Schedule(schedule, "epoch")
        if schedule.interval == "validation":
            # Kept from Lightning, which leaves out the step at the end of the epoch in which a run was resumed.
            self.plateau = schedule.scheduler
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule.scheduler, "interval": schedule.interval},
        }

    def make_optimizer(self, parameters: Any, fused: bool) -> torch.optim.Optimizer:
        """Return the optimizer of parameters or groups of them; ``fused``: one GPU kernel updates all."""
        node = self.settings["optimizer"]
        ours = (fused,) if is_ours(node["_target_"]) else ()
        optimizer: torch.optim.Optimizer = _part("modules.optimizers", node, parameters, *ours, trust=self.trust)
        return optimizer

    def _plan(self) -> Plan:
        """Return how many steps this stage has.

        Lightning's own estimate would set up the loaders early and drop their state when a run is resumed.
        """
        trainer: Any = self.trainer
        epochs = (trainer.max_epochs or 0) - self.stage.first_epoch
        if isinstance(data := getattr(trainer, "datamodule", None), ImageDataModule):
            loader = data.loader("train", train=True, world=trainer.world_size)
            limit = trainer.limit_train_batches
            batches = int(len(loader) * limit) if isinstance(limit, float) else min(len(loader), limit)
            steps = max(1, -(-batches // trainer.accumulate_grad_batches))
        else:
            steps = max(1, int(trainer.estimated_stepping_batches) // max(1, epochs))
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            epochs = -(-trainer.max_steps // steps)
        total = steps * epochs if trainer.max_steps < 0 else min(steps * epochs, trainer.max_steps)
        return Plan(steps, total, epochs, self.settings["mode"])

    def on_validation_end(self) -> None:
        if self.plateau is not None and self._fitting:
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
        self._progress = checkpoint.get("progress")
        if not self.built:
            self.description = dict(checkpoint["visionlab"])
            self._take(TaskModel.from_spec(checkpoint["visionlab"], self.trust))
            if self.settings:
                self._make_balance()

    def on_train_start(self) -> None:
        for head in self.model.each_head():
            if head.fits and self.fits_heads:
                # What a checkpoint brought was fitted to other weights.
                head.get_buffer("fitted").fill_(False)
        # The optimizer, and with it the schedule, exist only now.
        progress = self.__dict__.pop("_progress", None)
        if progress is not None:
            self._train_sum = torch.tensor(progress["train_sum"])
            if self.plateau is not None and progress["plateau"] is not None:
                self.plateau.load_state_dict(progress["plateau"])


class Regressor(TaskModule):
    """One or several numbers an image, e.g. the distance from focus; see :class:`TaskModule`."""


class MultilabelClassifier(TaskModule):
    """Labels of images, any number of them each; see :class:`TaskModule`."""


class DensePredictor(TaskModule):
    """Maps of images: masks, depth, objects; see :class:`TaskModule`."""


def make_loss(node: Any, trust: Sequence[str] = ()) -> Callable[..., torch.Tensor]:
    """Return the loss of a head: of a mapping with ``_target_``, or the weighted sum of a list of such."""
    if isinstance(node, list):
        return WeightedSum([(term["weight"], _part("losses", term["loss"], trust=trust)) for term in node])
    loss: Callable[..., torch.Tensor] = _part("losses", node, trust=trust)
    return loss


def _part(place: str, node: Mapping[str, Any], *args: Any, trust: Sequence[str]) -> Any:
    """Build a part of the module: one of ours from its place, or of a trusted package.

    The settings may come from a checkpoint, which must not call other functions of this package.
    """
    target = str(node.get("_target_"))
    if not target.startswith(f"visionlab.{place}.") and target.partition(".")[0] not in trust:
        raise ConfigError(f"_target_: expected a name that begins with 'visionlab.{place}.', found '{target}'")
    return build(node, *args, trust=trust)
