"""The head of instances: what it learns, how it is described, what it finds objects with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visionlab.errors import UsageError
from visionlab.heads.instances.head import InstanceHead
from visionlab.heads.instances.segment import Parameters
from visionlab.inference.predictor import merge
from visionlab.losses.elementwise import BCELoss
from visionlab.losses.mixed import BCEDiceLoss
from visionlab.losses.overlap import DiceLoss, LovaszLoss
from visionlab.metrics.matching import INSTANCE_COLUMNS


def head(separate: str = "none", cells: str = "filled", share: float = 0.2) -> InstanceHead:
    return InstanceHead(
        "nuclei",
        share=share,
        separate=separate,  # type: ignore[arg-type]
        cells=cells,  # type: ignore[arg-type]
        dimensions=2,
        metrics=["iou", "dice", "f1", "seg"],
        weight=1.0,
        activation="sigmoid",
    )


@pytest.fixture
def ids() -> torch.Tensor:
    """Two instances that touch, and a column that is unknown; 1 x 1 x 16 x 16."""
    target = torch.zeros(1, 1, 16, 16)
    target[..., 3:9, 2:7] = 4
    target[..., 3:9, 7:12] = 9
    target[..., 15] = float("nan")
    return target


def perfect(ids: torch.Tensor) -> torch.Tensor:
    return torch.where(ids > 0, 12.0, -12.0)


@pytest.mark.parametrize("loss", [DiceLoss(), BCELoss(), BCEDiceLoss(), LovaszLoss()], ids=lambda x: type(x).__name__)
def test_foreground_is_learnt_whatever_the_numbers_of_instances(loss: torch.nn.Module, ids: torch.Tensor) -> None:
    good = head().loss(perfect(ids), ids, loss)
    assert float(good) < 0.05
    assert float(head().loss(-perfect(ids), ids, loss)) > float(good) + 0.5
    renumbered = torch.where(ids > 0, 13.0, ids)
    assert torch.equal(head().loss(perfect(ids), renumbered, loss), good)


@pytest.mark.parametrize("separate", ["boundary", "distance"])
def test_what_separates_is_learnt_beside_the_foreground(separate: str, ids: torch.Tensor) -> None:
    raw = torch.cat([perfect(ids), torch.ones_like(ids)], dim=1).requires_grad_()
    one = head(separate).loss(raw, ids, BCELoss())
    merged = torch.where(ids > 0, 4.0, ids)
    # Where two instances touch there is a boundary only as long as they are two.
    assert not torch.equal(one, head(separate).loss(raw, merged, BCELoss()))
    one.backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    assert float(raw.grad[:, 1].abs().sum()) > 0
    assert not raw.grad[..., 15].any()


def test_while_training_pixels_are_measured_at_the_threshold(ids: torch.Tensor) -> None:
    one = head()
    decoded = torch.where(ids > 0, 0.4, 0.1)
    rows = one.rows(decoded, ids).numpy()
    assert one.measure(rows) == {"iou": 0.0, "dice": 0.0}
    one.set_parameters(Parameters(threshold=0.3), fitted=True)
    assert one.measure(rows) == {"iou": 1.0, "dice": 1.0}


def test_the_table_of_slices_has_areas_and_overlaps() -> None:
    rows = np.zeros((2, len(INSTANCE_COLUMNS)))
    rows[0, :4] = [100, 6, 2, 4]
    rows[1, :4] = [100, 0, 0, 0]
    table = head().table(rows)
    assert table["nuclei_area_true"].tolist() == [10, 0]
    assert table["nuclei_area_pred"].tolist() == [8, 0]
    assert table["nuclei_iou"][0] == pytest.approx(0.5)
    assert np.isnan(table["nuclei_iou"][1])


def test_values_of_an_image_are_counted_objects() -> None:
    maps = np.zeros((32, 32), np.float32)
    maps[2:9, 2:9] = 0.9
    maps[20:27, 20:27] = 0.8
    values = head().values(maps[None])
    assert values["nuclei_count"] == (2.0, "")
    assert values["nuclei_area"] == (98.0, "px")
    assert values["nuclei_mean_area"] == (49.0, "px")
    assert head().values(np.zeros((1, 32, 32), np.float32))["nuclei_count"] == (0.0, "")


def test_several_models_find_objects_with_the_mean_of_their_parameters() -> None:
    heads = [head(), head()]
    heads[0].set_parameters(Parameters(threshold=0.4, min_planes=1), fitted=True)
    heads[1].set_parameters(Parameters(threshold=0.6, min_planes=4), fitted=True)
    (merged,) = merge([[heads[0]], [heads[1]]], ["a", "b"])
    assert isinstance(merged.head, InstanceHead)
    assert merged.head.post_processing.threshold == pytest.approx(0.5)
    assert merged.head.post_processing.min_planes == 2
    assert bool(merged.head.fitted)
    total: dict[str, np.ndarray] = {}
    merged.add(0, {"nuclei": np.full((1, 4, 5), 0.2, np.float32)}, total)
    merged.add(1, {"nuclei": np.full((1, 4, 5), 0.6, np.float32)}, total)
    assert np.allclose(merged.mean(total), 0.4)
    assert merged.mean(total).shape == (1, 4, 5)


def test_models_whose_maps_mean_other_things_are_not_merged() -> None:
    with pytest.raises(UsageError, match="has the separate 'distance'"):
        merge([[head()], [head("distance")]], ["a", "b"])
