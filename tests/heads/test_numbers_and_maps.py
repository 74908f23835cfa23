"""Heads of numbers, masks and depth: scales, losses, and metrics by hand and by other implementations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytorch_msssim
import torch

from visionlab.config.compose import choice
from visionlab.heads import KINDS
from visionlab.heads.depth.head import DepthHead, depth_rows
from visionlab.heads.mask.head import MaskHead, mask_rows
from visionlab.heads.regression.head import RegressionHead
from visionlab.losses import SSIMLoss
from visionlab.metrics.dense import DEPTH, DEPTH_COLUMNS, MASK, MASK_COLUMNS, shares
from visionlab.modules.task_module import make_loss

NAN, INF = math.nan, math.inf
Rows = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def rows_of(kind: str) -> Rows:
    if kind == "mask":
        return mask_rows
    return lambda pred, target: depth_rows(pred, target, data_range=4.0, floor=1e-3)


def values(kind: str, pred: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    return measured(kind, rows_of(kind)(pred, target).numpy())


METRICS = {"mask": MASK, "depth": DEPTH}


def measured(kind: str, rows: np.ndarray) -> dict[str, float]:
    return {name: metric(rows) for name, metric in METRICS[kind].items()}


def image(*lines: list[float]) -> torch.Tensor:
    return torch.tensor([[lines]])


def example(kind: str, count: int = 6, size: tuple[int, int] = (30, 41)) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and targets with unknown pixels, the last image all unknown, and blobs as masks."""
    rng = torch.Generator().manual_seed(1)
    noise = torch.rand(2, count, 1, *size, generator=rng)
    smooth = torch.nn.functional.avg_pool2d(noise.flatten(0, 1), 9, 1, 4).unflatten(0, (2, count))
    pred, target = ((smooth - 0.5) * 8).sigmoid()
    target = (target > 0.5).float() if kind == "mask" else 4 * target
    target[torch.rand(target.shape, generator=rng) < 0.05] = NAN
    target[-1] = NAN
    return (pred if kind == "mask" else 5 * pred), target


def test_masks_by_hand() -> None:
    target = image([1.0, 1, 0, 0], [1, 1, 0, 0], [1, 1, NAN, 0])
    pred = image([0.9, 0.2, 0.8, 0], [0.5, 0.7, 0, 0], [1, 1, 1, 0.4])
    rows = mask_rows(pred, target)
    assert rows.dtype == torch.float64
    row = dict(zip(MASK_COLUMNS, rows[0].tolist(), strict=True))
    # A probability of 0.5 is foreground. The tolerance is 1 pixel.
    assert (row["known"], row["tp"], row["fp"], row["fn"]) == (11, 5, 1, 1)
    assert row["absolute"] == pytest.approx(0.1 + 0.8 + 0.8 + 0.5 + 0.3 + 0.4)
    # True: the second pixel of the first two lines; beside the unknown one is no boundary.
    # Predicted: the first of line 1 and the second of line 2, beside background; the third of line 1, alone.
    assert (row["true_edge"], row["pred_edge"]) == (2, 3)
    assert (row["true_edge_met"], row["pred_edge_met"]) == (2, 3)
    found = values("mask", pred, target)
    assert found == pytest.approx({"iou": 5 / 7, "dice": 10 / 12, "mae": 2.9 / 11, "boundary_f1": 1.0})
    true, predicted = shares(rows.numpy())
    assert (true.tolist(), predicted.tolist()) == ([6 / 11], [6 / 11])


@pytest.mark.parametrize("size", [(11, 11), (12, 40), (80, 80), (161, 161), (175, 301)])
def test_similarity_is_that_of_pytorch_msssim_where_all_is_known(size: tuple[int, int]) -> None:
    pred, target = (maps[:3] for maps in example("depth", 4, size))
    target = target.nan_to_num(nan=1.0)
    gap = target.clone()
    gap[1, 0, 3, 4] = NAN
    usual = pytorch_msssim.ssim(pred, target, data_range=4.0, size_average=False)
    ours = SSIMLoss(data_range=4.0).similarity(pred, target, None)[:, 0]
    found = rows_of("depth")(pred, target)[:, DEPTH_COLUMNS.index("ssim")].float()
    assert torch.equal(found, usual)
    assert (found - ours).abs().max() < 1e-6, "both are one figure, whichever gives it"
    with_gap = rows_of("depth")(pred, gap)[:, DEPTH_COLUMNS.index("ssim")].float()
    assert torch.equal(with_gap[[0, 2]], usual[[0, 2]])
    filled = torch.where(gap.isnan(), 0.0, pred), gap.nan_to_num(nan=0.0)
    gaps = SSIMLoss(data_range=4.0).similarity(*filled, ~gap.isnan())[:, 0]
    assert with_gap[1].item() == pytest.approx(gaps[1].item(), abs=1e-7)
    assert with_gap[1] != usual[1]


def brute_boundary_f1(pred: np.ndarray, true: np.ndarray, tolerance: float) -> float:
    def edge(mask: np.ndarray) -> np.ndarray:
        around = np.pad(mask, 1, mode="edge")
        inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
        return np.argwhere(mask & ~inner)

    a, b = edge(pred), edge(true)
    distance = np.hypot(*(a[:, np.newaxis, axis] - b[np.newaxis, :, axis] for axis in (0, 1)))
    precision, recall = (distance.min(axis=1) <= tolerance).mean(), (distance.min(axis=0) <= tolerance).mean()
    return float(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("size", [(30, 41), (300, 40), (30, 550)])
def test_boundaries_are_compared_as_by_all_distances(size: tuple[int, int]) -> None:
    pred, target = example("mask", 3, size)
    target = target.nan_to_num(nan=0.0)
    target[-1, 0, 5:25, 7:30] = 1  # it was all unknown
    found = MASK["boundary_f1"].each(mask_rows(pred, target).numpy())
    tolerance = max(1.0, 0.0075 * math.hypot(*size))
    expected = [
        brute_boundary_f1(p, t, tolerance)
        for p, t in zip((pred[:, 0] >= 0.5).numpy(), (target[:, 0] == 1).numpy(), strict=True)
    ]
    assert 0 < min(expected) < 0.9
    assert found == pytest.approx(expected, rel=1e-12)


def numpy_depth(pred: np.ndarray, true: np.ndarray, floor: float) -> dict[str, float]:
    """The metrics of one image, written the plain way."""
    p, t = pred[~np.isnan(true)].astype(float), true[~np.isnan(true)].astype(float)
    found = {"mae": np.abs(p - t).mean(), "rmse": np.sqrt(((p - t) ** 2).mean())}
    p, t = p[t > 0], t[t > 0]
    found["abs_rel"] = (np.abs(p - t) / t).mean()
    p = np.maximum(p, floor)
    found["log10"] = np.abs(np.log10(p) - np.log10(t)).mean()
    for k in (1, 2, 3):
        found[f"delta{k}"] = (np.maximum(p / t, t / p) < 1.25**k).mean()
    middle = (len(t) - 1) // 2
    p = p * np.sort(t)[middle] / np.sort(p)[middle]
    found |= {"aligned_mae": np.abs(p - t).mean(), "aligned_rmse": np.sqrt(((p - t) ** 2).mean())}
    return found | {
        "aligned_abs_rel": (np.abs(p - t) / t).mean(),
        "aligned_delta1": (p / t < 1.25)[p > 0.8 * t].sum() / len(t),
    }


def test_depth_is_that_of_plain_numpy() -> None:
    pred, target = example("depth", 4)
    pred, target = pred - 1, target - 0.5  # some true and predicted depths are not positive
    rows = rows_of("depth")(pred, target).numpy()
    assert (pred < 0).any() and (target < 0).any()
    for i in range(3):
        for name, value in numpy_depth(pred[i].numpy(), target[i].numpy(), 1e-3).items():
            assert DEPTH[name].each(rows)[i] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("unknown", [NAN, 1.0])
def test_similarity_is_never_in_half_precision(unknown: float) -> None:
    pred, target = example("depth")
    target = torch.where(target.isnan(), unknown, target)
    expected = rows_of("depth")(pred, target)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rows_of("depth")(pred, target), expected)


def dot(size: tuple[int, int], row: int, column: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, *size)
    mask[..., row, column] = 1
    return mask


def test_the_whole_set_is_not_the_mean_of_images() -> None:
    target, pred = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    target[0, 0, :4], pred[0, 0, :4] = 1, 1  # 32 of 32 pixels
    target[1, 0, 0, :4], pred[1, 0, 0, :1] = 1, 1  # 1 of 4
    rows = mask_rows(pred, target).numpy()
    assert MASK["iou"].each(rows).tolist() == [1, 0.25]
    assert MASK["iou"](rows) == 33 / 36
    # Boundaries are of each image (Csurka et al. 2013).
    single = MASK["boundary_f1"].each(rows)
    assert MASK["boundary_f1"](rows) == single.mean()

    depth_target, depth_pred = torch.ones(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    depth_target[1, 0, 1:] = NAN
    depth_pred[1] = 3
    rows = rows_of("depth")(depth_pred, depth_target).numpy()
    assert DEPTH["rmse"].each(rows).tolist() == [0, 2]
    assert DEPTH["rmse"](rows) == pytest.approx(math.sqrt(8 * 4 / 72))  # 8 of 72 known pixels
    assert DEPTH["ssim"](rows) == pytest.approx(DEPTH["ssim"].each(rows).mean())


@pytest.mark.parametrize("kind", ["mask", "depth"])
@pytest.mark.parametrize("anything", [NAN, INF, -INF, 1e30, -7.0])
def test_predictions_where_nothing_is_known_have_no_influence(kind: str, anything: float) -> None:
    pred, target = example(kind)
    expected = rows_of(kind)(pred, target)
    changed = torch.where(target.isnan(), anything, pred)
    assert torch.equal(rows_of(kind)(changed, target), expected)


# Extremes -----------------------------------------------------------------------------------------------------------

BEST = {
    "mask": {"iou": 1, "dice": 1, "mae": 0, "boundary_f1": 1},
    "depth": {"delta1": 1, "delta2": 1, "delta3": 1, "ssim": 1, "aligned_delta1": 1}
    | dict.fromkeys(("mae", "rmse", "abs_rel", "log10", "aligned_mae", "aligned_rmse", "aligned_abs_rel"), 0),
}


def test_no_foreground() -> None:
    empty, dotted = torch.zeros(1, 1, 20, 20), dot((20, 20), 3, 3)
    nothing = values("mask", empty, empty)
    assert nothing["mae"] == 0
    assert all(math.isnan(nothing[name]) for name in ("iou", "dice", "boundary_f1"))
    for pair in ((dotted, empty), (empty, dotted)):
        wrong = values("mask", *pair)
        assert (wrong["iou"], wrong["dice"], wrong["boundary_f1"]) == (0, 0, 0)
    # In a set, an empty image that was seen to be empty changes nothing but the mean error.
    both = values("mask", torch.cat([dotted, empty]), torch.cat([dotted, empty]))
    assert both == {"iou": 1, "dice": 1, "mae": 0, "boundary_f1": 1}


@pytest.mark.parametrize("kind", ["mask", "depth"])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_prediction_that_is_not_finite_makes_its_image_undefined_only(kind: str, bad: float) -> None:
    pred, target = example(kind)
    expected = rows_of(kind)(pred, target)
    pred[2, 0, 4, 4], target[2, 0, 4, 4] = bad, 1
    rows = rows_of(kind)(pred, target)
    assert rows[2].isnan().all()
    kept = [0, 1, 3, 4, 5]
    assert torch.equal(rows[kept], expected[kept])
    for metric in METRICS[kind].values():
        assert math.isnan(metric(rows.numpy()))
        assert np.isnan(metric.each(rows.numpy())).tolist() == [False, False, True, False, False, True]


@pytest.mark.parametrize("kind", ["mask", "depth"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (7, 30)])
def test_small_maps(kind: str, size: tuple[int, int]) -> None:
    target = torch.ones(1, 1, *size)
    found = values(kind, target, target)
    expected = {**BEST[kind], **({"boundary_f1": NAN} if kind == "mask" else {})}
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["mask", "depth"])
def test_a_gpu_gives_the_same(kind: str) -> None:
    pred, target = example(kind)
    rows = rows_of(kind)(pred.cuda(), target.cuda())
    assert rows.cpu().numpy() == pytest.approx(rows_of(kind)(pred, target).numpy(), rel=1e-5, abs=1e-5)


# Scales and losses --------------------------------------------------------------------------------------------------


def mask_head(**changes: Any) -> MaskHead:
    given = {"share": 0.2, "metrics": list(KINDS["mask"].metrics), "weight": 1.0, "activation": "sigmoid"}
    return MaskHead("mask", **{**given, **changes})


def depth_head(**changes: Any) -> DepthHead:
    given = {"low": 2.0, "high": 6.0, "mean": 3.0, "unit": "m", "weight": 1.0, "activation": "none"}
    return DepthHead("depth", **{**given, "metrics": list(KINDS["depth"].metrics), **changes})


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


def test_one_depth_everywhere_does_not_divide_by_zero() -> None:
    class Flat:
        def map_scale(self, name: str) -> Any:
            from visionlab.data.describe import MapScale

            return MapScale(3.0, 3.0, 3.0)

    options = {"unit": "m", "metrics": ["mae"], "weight": 1.0, "activation": "none"}
    head = DepthHead.from_data("depth", Flat(), **options)  # type: ignore[arg-type]
    assert torch.isfinite(head.normalized(torch.tensor([3.0, 4.0]))).all()


def number_head(**changes: Any) -> RegressionHead:
    return RegressionHead(
        "distance", ["distance"], **{"mean": [3.0], "std": [2.0], "unit": "um", "step": 2.0, **changes}
    )


def test_head_learns_standardised_and_answers_in_units() -> None:
    target = torch.tensor([[5.0], [1.0]])
    raw = torch.tensor([[1.0], [0.0]])
    assert number_head().loss(raw, target, torch.nn.functional.l1_loss) == pytest.approx((0 + 1) / 2)
    assert torch.equal(number_head().decode(raw), torch.tensor([[5.0], [3.0]]))


def test_counts_are_never_below_zero_and_still_find_back() -> None:
    raw, target = torch.tensor([[-5.0], [1.0]], requires_grad=True), torch.tensor([[0.0], [5.0]])
    counts = number_head(activation="nonnegative")
    assert counts.decode(raw).tolist() == [[0.0], [5.0]]
    counts.loss(raw, target, torch.nn.functional.l1_loss).backward()
    assert raw.grad is not None
    assert raw.grad[0] < 0
