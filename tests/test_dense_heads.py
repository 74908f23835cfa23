"""Heads of maps and the step that trains them: what is unknown, scales, weights and balances of losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

from tests import dense
from visionlab.config.compose import choice, conf_dir
from visionlab.errors import DataError
from visionlab.heads.depth.head import DepthHead
from visionlab.heads.map_head import MapHead
from visionlab.heads.mask.head import MaskHead
from visionlab.inference.checkpoint import read_checkpoint, rebuild
from visionlab.losses import LOSSES
from visionlab.metrics import METRICS
from visionlab.modules.task_model import Normalizer, TaskModel
from visionlab.training.assembly import make_loss


def mask_head(**changes: Any) -> MaskHead:
    given = {"share": 0.2, "metrics": list(METRICS["mask"]), "weight": 1.0, "activation": "sigmoid"}
    return MaskHead("mask", **{**given, **changes})


def depth_head(**changes: Any) -> DepthHead:
    given = {"low": 2.0, "high": 6.0, "mean": 3.0, "unit": "m", "weight": 1.0, "activation": "none"}
    return DepthHead("depth", **{**given, "metrics": list(METRICS["depth"]), **changes})


def targets(head: MapHead) -> torch.Tensor:
    """Two maps of 40 x 40 with a hole, an edge and, in the second one, most of it unknown."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    maps = np.stack([np.hypot(y - 20, x - cx) / 40 for cx in (12, 25)])[:, None]
    maps = (maps < 0.25).astype(np.float32) if isinstance(head, MaskHead) else (2 + 4 * maps).astype(np.float32)
    maps[0, 0, 5:12, 20:30] = maps[:, :, :, :3] = np.nan
    maps[1, 0, 15:] = np.nan
    maps[rng.random(maps.shape) < 0.05] = np.nan
    return torch.from_numpy(maps)


LOSS_NAMES = [
    name
    for name in sorted(path.stem for path in (conf_dir() / "loss").glob("*.yaml"))
    if not LOSSES[choice("loss", "loss", name)["_target_"]].labels
]
PAIRS = [
    (kind, name)
    for kind in ("mask", "depth")
    for name in LOSS_NAMES
    if kind == "mask" or LOSSES[choice("loss", "loss", name)["_target_"]].takes == "values"
]


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_unknown_pixels_have_no_influence(kind: str, name: str) -> None:
    """Not on the loss, not on any gradient, and neither does what the network says there."""
    head = mask_head() if kind == "mask" else depth_head()
    loss, target = make_loss(choice("loss", "loss", name)), targets(head)
    torch.manual_seed(0)
    raw = torch.randn(target.shape)
    other = torch.where(target.isnan(), torch.randn(target.shape) * 100, raw)
    found = []
    for values in (raw, other):
        values.requires_grad_()
        value = head.loss(values, target, loss)
        value.backward()
        assert values.grad is not None
        assert torch.isfinite(values.grad).all()
        assert not values.grad[target.isnan()].any()
        found.append((value.detach(), values.grad))
    assert found[0][0] > 0
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1][target.isfinite()].any()


@pytest.mark.parametrize("head", [mask_head(), depth_head()], ids=["mask", "depth"])
def test_unknown_pixels_count_for_no_metric(head: MapHead) -> None:
    target = targets(head)
    torch.manual_seed(0)
    raw = torch.randn(target.shape)
    other = torch.where(target.isnan(), 50.0, raw)
    rows, same = (head.rows(head.decode(values), target) for values in (raw, other))
    assert torch.equal(rows, same)
    assert all(np.isfinite(value) for value in head.measure(rows.numpy()).values())
    # A map of which nothing is known changes no metric of the whole set.
    nothing = head.rows(head.decode(raw), torch.full_like(target, torch.nan))
    assert head.measure(torch.cat([rows, nothing]).numpy()) == pytest.approx(head.measure(rows.numpy()), rel=1e-12)


def test_a_batch_of_which_nothing_is_known_changes_nothing() -> None:
    for head in (mask_head(), depth_head()):
        raw = torch.randn(2, 1, 40, 40, requires_grad=True)
        value = head.loss(raw, torch.full((2, 1, 40, 40), torch.nan), make_loss(choice("loss", "loss", "l1_msssim")))
        value.backward()
        assert value == 0
        assert raw.grad is not None and not raw.grad.any()


# Scales -------------------------------------------------------------------------------------------------------------


def test_depth_is_learnt_from_0_to_1_and_given_back_in_its_unit() -> None:
    head = depth_head()
    target = torch.tensor([[[[2.0, 4.0, 6.0, 8.0]]]])
    assert torch.equal(head.normalized(target), torch.tensor([[[[0.0, 0.5, 1.0, 1.5]]]]))
    assert torch.equal(head.decode(head.normalized(target)), target)
    assert head.loss(head.normalized(target), target, make_loss(choice("loss", "loss", "l1"))) == 0
    # One too far by a quarter of the range costs a quarter on that scale, and a metre in metrics.
    raw = head.normalized(target + 1)
    assert head.loss(raw, target, make_loss(choice("loss", "loss", "l1"))) == pytest.approx(0.25)
    assert depth_head(metrics=["mae"]).measure(head.rows(head.decode(raw), target).numpy())["mae"] == pytest.approx(1)


def test_a_sigmoid_keeps_depth_within_the_training_range() -> None:
    head = depth_head(activation="sigmoid")
    decoded = head.decode(torch.tensor([[[[-100.0, 0.0, 100.0]]]]))
    assert torch.allclose(decoded, torch.tensor([[[[2.0, 4.0, 6.0]]]]))
    assert head.loss(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 4.0), make_loss(choice("l", "loss", "l1"))) == 0


def test_a_mask_is_a_probability() -> None:
    raw = torch.tensor([[[[-2.0, 0.0, 0.4, 3.0]]]])
    assert torch.equal(mask_head().decode(raw), torch.sigmoid(raw))
    assert torch.equal(mask_head(activation="none").decode(raw), raw.clamp(0, 1))


def test_each_loss_is_given_what_it_takes() -> None:
    raw, target = torch.tensor([[[[-2.0, 3.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    probability = torch.sigmoid(raw)
    entropy = torch.nn.functional.binary_cross_entropy(probability, target)
    dice = 1 - (2 * probability[..., 1].sum() + 1) / (probability.sum() + 1 + 1)
    absolute = (probability - target).abs().mean()
    parts = {"bce": entropy, "dice": dice, "l1": absolute}
    for name, expected in parts.items():
        assert mask_head().loss(raw, target, make_loss(choice("l", "loss", name))).item() == pytest.approx(
            expected.item(), rel=1e-5
        )
    weighted = make_loss(
        [{"weight": weight, "loss": choice("l", "loss", n)} for n, weight in (("bce", 1), ("dice", 0.5))]
    )
    assert mask_head().loss(raw, target, weighted).item() == pytest.approx((entropy + 0.5 * dice).item(), rel=1e-5)


def test_numbers_have_weighted_sums_of_losses_too() -> None:
    from visionlab.heads.regression.head import RegressionHead

    head = RegressionHead("distance", ["distance"], mean=[1.0], std=[2.0])
    raw, target = torch.tensor([[1.0], [0.0]]), torch.tensor([[5.0], [0.0]])
    # On the standardised scale the targets are 2 and -0.5.
    terms = [{"weight": weight, "loss": choice("l", "loss", name)} for name, weight in (("l1", 3.0), ("mse", 0.5))]
    expected = 3 * (1 + 0.5) / 2 + 0.5 * (1 + 0.25) / 2
    assert head.loss(raw, target, make_loss(terms)).item() == pytest.approx(expected)


def test_the_baseline_says_the_mean_everywhere() -> None:
    for head, value in ((mask_head(), 0.2), (depth_head(), 3.0)):
        assert torch.equal(head.baseline(targets(head)), torch.full((2, 1, 40, 40), value))


def test_one_depth_everywhere_does_not_divide_by_zero(tmp_path: Path) -> None:
    class Flat:
        def map_scale(self, name: str) -> Any:
            from visionlab.data.statistics import MapScale

            return MapScale(3.0, 3.0, 3.0)

    options = {"unit": "m", "metrics": ["mae"], "weight": 1.0, "activation": "none"}
    head = DepthHead.from_data("depth", Flat(), **options)  # type: ignore[arg-type]
    assert torch.isfinite(head.normalized(torch.tensor([3.0, 4.0]))).all()


# The step -----------------------------------------------------------------------------------------------------------


def steps(root: Path, *overrides: str) -> tuple[dict[str, float], Any]:
    """Train for one batch, validate, and return what was logged, and the module."""
    module, data = dense.task_module(root, *overrides)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=root,
    )
    trainer.fit(module, train_dataloaders=data.loader("train", train=True), val_dataloaders=data.loader("val"))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, module


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dense.write_nested(tmp_path_factory.mktemp("data") / "step")


def test_weights_of_heads(root: Path) -> None:
    plain, _ = steps(root, "heads.depth.loss=l1", "heads.mask.loss=bce")
    found, _ = steps(
        root, "heads.depth.loss=l1", "heads.mask.loss=bce", "heads.mask.weight=3", "heads.depth.weight=0.5"
    )
    for part in ("train", "val"):
        for values, mask, depth in ((plain, 1, 1), (found, 3, 0.5)):
            parts = mask * values[f"{part}/mask/loss"] + depth * values[f"{part}/depth/loss"]
            assert values[f"{part}/loss"] == pytest.approx(parts, rel=1e-5)
    # Losses of the heads are shown as they are, without their weights.
    assert found["train/mask/loss"] == pytest.approx(plain["train/mask/loss"], rel=1e-5)
    assert found["train/loss_epoch"] == pytest.approx(found["train/loss"], rel=1e-5)
    assert found["train/mask/loss_epoch"] == pytest.approx(found["train/mask/loss"], rel=1e-5)


def test_clamp_raises_one_loss_in_training_only(root: Path) -> None:
    settings = ("heads.mask.loss=dice", "heads.mask.weight=0.01", "heads.depth.loss=mse", "balance=clamp")
    found, _ = steps(root, *settings, "balance.raised=mask", "balance.by=depth", "balance.factor=4")
    mask, depth = 0.01 * found["train/mask/loss"], found["train/depth/loss"]
    factor = np.clip(depth / max(1e-3, mask), 1, 4)
    assert factor > 1.5
    assert found["train/loss"] == pytest.approx(factor * mask + depth, rel=1e-5)
    expected = 0.01 * found["val/mask/loss"] + found["val/depth/loss"]
    assert found["val/loss"] == pytest.approx(expected, rel=1e-5), "the best epoch is chosen by the plain sum"


def test_uncertainty_learns_its_weights(root: Path) -> None:
    found, module = steps(
        root, "balance=uncertainty", "optimizer=adamw", "optimizer.weight_decay=0.5", "scheduler=none"
    )
    scales = dict(module.balance.log_variances.items())
    assert set(scales) == {"mask", "depth"}
    # Losses are above 1 or below: the weights follow at the pace of the others, the first step with that of Adam.
    for name, scale in scales.items():
        assert abs(scale.item()) == pytest.approx(module.trainer.optimizers[0].param_groups[0]["lr"], rel=1e-3)
        assert scale.item() * (found[f"train/{name}/loss"] - 1) > 0
    decays = [group["weight_decay"] for group in module.trainer.optimizers[0].param_groups]
    assert decays == [0.5, 0.0], "the balance does not decay"
    assert found["val/loss"] == pytest.approx(found["val/mask/loss"] + found["val/depth/loss"], rel=1e-5)


def test_a_learnt_balance_is_stored_and_the_best_checkpoint_predicts(
    two_input_run: Path, depth_mask_root: Path
) -> None:
    import visionlab

    for name in ("best", "last"):
        weights = read_checkpoint(two_input_run / "checkpoints" / f"{name}.ckpt")["state_dict"]
        assert weights["balance.log_variances.mask"] != 0
        assert weights["balance.log_variances.depth"] != 0
        predictor = visionlab.load(two_input_run / "checkpoints" / f"{name}.ckpt", device="cpu")
        assert predictor.inputs == ("image", "background")
        assert not any("balance" in key for key in predictor.model.state_dict())


# The checkpoint -----------------------------------------------------------------------------------------------------


def test_a_model_of_maps_is_rebuilt_from_plain_data() -> None:
    from visionlab import models

    spec: dict[str, Any] = {"name": "shuffle_unet", "in_channels": 3, "out_channels": 2, "options": {}}
    network = models.build("shuffle_unet", 3, 2)
    heads = [mask_head(activation="none"), depth_head(activation="sigmoid")]
    model = TaskModel(network, spec, heads, Normalizer("dataset", [0.4] * 3, [0.2] * 3)).eval()
    again = TaskModel.from_spec(model.spec())
    again.load_state_dict(model.state_dict())
    image = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
    found, expected = (one.eval().decode(one(image)) for one in (again, model))
    assert found["depth"].shape == (2, 1, 32, 40)
    for name in ("mask", "depth"):
        assert torch.equal(found[name], expected[name])
    assert again.spec() == model.spec()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["heads"]["mask"].update(kind="regression", step=None), "heads.mask.activation|heads.mask.metrics"),
        (lambda d: d["heads"]["mask"].update(columns=["a"]), r"heads.mask.columns: expected \['mask'\], one map"),
        (lambda d: d["heads"]["depth"].update(activation="relu"), "heads.depth.activation: expected one of none, sigm"),
        (lambda d: d["heads"]["depth"].update(metrics=["iou"]), "heads.depth.metrics: expected some of mae"),
        (lambda d: d.update(inputs=["image", "background"]), "preprocess.channels: expected as many as the network"),
        (lambda d: d["network"].update(name="resnet18"), "expected one for a network of kind 'image', found mask"),
        (
            # It would become a folder, anywhere.
            lambda d: d.update(heads={**d["heads"], "/tmp/x": {**d["heads"].pop("mask"), "columns": ["/tmp/x"]}}),
            "heads: expected names of letters, digits and _, found /tmp/x",
        ),
    ],
)
def test_descriptions_of_maps_are_checked(change: Any, message: str, dense_run: Path, tmp_path: Path) -> None:
    content = torch.load(dense_run / "checkpoints" / "best.ckpt", weights_only=True)
    change(content["visionlab"])
    path = tmp_path / "changed.ckpt"
    torch.save(content, path)
    with pytest.raises(DataError, match=message):
        rebuild(path, read_checkpoint(path))
