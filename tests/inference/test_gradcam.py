"""Grad-CAM on networks whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from visionlab import models
from visionlab.errors import UsageError
from visionlab.heads.labels.head import MultilabelHead
from visionlab.inference.gradcam import grad_cam
from visionlab.modules.task_model import Normalizer, TaskModel

SQUARE = (slice(4, 9), slice(6, 11))


class Detector(nn.Module):
    """One channel is above 0 where the surroundings are bright, the other where they are dark.

    The scores are the mean of the first channel, minus that mean, and the mean of both.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bright = nn.Conv2d(1, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.scores = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.bright.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1).expand(2, 1, 3, 3) / 9)
            assert self.bright.bias is not None
            self.bright.bias.copy_(torch.tensor([-0.5, 0.5]))
            self.scores.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 1.0]]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.scores(self.relu(self.bright(image)).mean(dim=(2, 3)))
        return found


def task_model(network: nn.Module, name: str, channels: int, classes: int) -> TaskModel:
    names = [f"class {k}" for k in range(classes)]
    head = MultilabelHead("labels", names, ids=range(classes), positives=[1] * classes, total=2)
    spec = {"name": name, "in_channels": channels, "out_channels": classes, "options": {}}
    return TaskModel(network, spec, [head], Normalizer("dataset", [0.0] * channels, [1.0] * channels))


@pytest.fixture
def detector() -> TaskModel:
    return task_model(Detector(), "detector", 1, 3)


@pytest.fixture
def resnet() -> TaskModel:
    torch.manual_seed(0)
    return task_model(models.build("test_resnet", 3, 4, freeze=True), "test_resnet", 3, 4)


def images() -> torch.Tensor:
    """A bright square, none, and one elsewhere."""
    batch = torch.zeros(3, 1, 16, 20)
    batch[0, 0][SQUARE] = 1
    batch[2, 0, 10:15, 1:6] = 0.9
    return batch


def test_the_map_is_high_on_what_counts_and_nowhere_else(detector: TaskModel) -> None:
    found = grad_cam(detector, images(), "labels", 0)
    assert found.shape == (3, 16, 20)
    assert found.dtype == np.float32
    inside = np.zeros((16, 20), bool)
    inside[SQUARE] = True
    assert (found[0][~inside] == 0).all()
    assert (found[0][5:8, 7:10] == 1).all()  # where the whole surroundings are bright
    assert (found[1] == 0).all()  # no square: nothing, and no division by 0
    assert found[2].max() == 1  # each image on its own scale
    assert (found[2][11:14, 2:5] == 1).all()


def test_a_map_of_a_deep_network_is_that_of_its_last_block(resnet: TaskModel) -> None:
    batch = torch.rand(2, 3, 64, 96)
    resnet.eval()
    network: Any = resnet.network
    backbone = network.backbone
    features = backbone.forward_features(batch).detach().requires_grad_()
    raw = network.head(backbone.forward_head(features))
    (slopes,) = torch.autograd.grad(raw[:, 2].sum(), features)
    by_hand = (slopes.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).clamp_min(0).detach()
    found = grad_cam(resnet, batch, "labels", 2)
    assert found.shape == (2, 64, 96)
    assert found.min() >= 0
    assert features.shape[2:] == (2, 3)
    for one, small in zip(found, by_hand, strict=True):
        large = nn.functional.interpolate(small[None, None], size=(64, 96), mode="bilinear")[0, 0]
        np.testing.assert_allclose(one, large / large.max().clamp_min(1e-12), atol=1e-5)


def test_the_model_stays_as_it_was(resnet: TaskModel) -> None:
    resnet.train()
    network: Any = resnet.network
    weight = network.head[-1].weight
    weight.grad = torch.full_like(weight, 7.0)
    before = {name: value.clone() for name, value in resnet.state_dict().items()}
    modes = [module.training for module in resnet.modules()]
    assert True in modes and False in modes  # the frozen trunk is in a mode of its own
    needs = [parameter.requires_grad for parameter in resnet.parameters()]
    batch = torch.rand(2, 3, 64, 64)
    given = batch.clone()
    grad_cam(resnet, batch, "labels", 0)
    assert [module.training for module in resnet.modules()] == modes
    assert [parameter.requires_grad for parameter in resnet.parameters()] == needs
    assert all(torch.equal(value, before[name]) for name, value in resnet.state_dict().items())
    assert all((p.grad is None) != (p is weight) for p in resnet.parameters())
    assert (weight.grad == 7).all()
    assert not any(module._forward_hooks for module in resnet.modules())
    assert torch.equal(batch, given)
    assert not batch.requires_grad


def test_networks_without_a_map_are_named(resnet: TaskModel) -> None:
    tokens = task_model(models.build("test_vit", 3, 2), "test_vit", 3, 2)
    with pytest.raises(UsageError, match="test_vit ends in tokens"):
        grad_cam(tokens, torch.rand(1, 3, 160, 160), "labels", 0)
    flat = task_model(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), "flat", 1, 2)
    with pytest.raises(UsageError, match="flat has none for images of 8 x 8"):
        grad_cam(flat, torch.rand(1, 1, 8, 8), "labels", 0)


def test_mistakes_are_named(resnet: TaskModel) -> None:
    batch = torch.rand(1, 3, 64, 64)
    with pytest.raises(UsageError, match=r"head 'label': expected one of labels. Did you mean 'labels'\?"):
        grad_cam(resnet, batch, "label", 0)
    with pytest.raises(UsageError, match="column 4: expected 0 to 3"):
        grad_cam(resnet, batch, "labels", 4)
