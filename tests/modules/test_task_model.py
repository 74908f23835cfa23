"""The model that puts network, heads and normaliser together."""

from __future__ import annotations

import torch

from visionlab import models
from visionlab.heads.regression.head import RegressionHead
from visionlab.modules.task_model import Normalizer, TaskModel


def test_frozen_backbone_keeps_weights_and_running_statistics() -> None:
    network = models.build("test_resnet", 1, 1, freeze=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(4, 1, 32, 32)).sum().backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.1.weight", "head.1.bias"}


def head() -> RegressionHead:
    return RegressionHead("distance", ["distance"], mean=[3.0], std=[2.0], unit="um", step=2.0)


def test_model_is_rebuilt_from_plain_data() -> None:
    spec = {"name": "test_resnet", "in_channels": 1, "out_channels": 1, "options": {"hidden": [8], "dropout": 0.1}}
    network = models.build("test_resnet", 1, 1, hidden=[8], dropout=0.1)
    model = TaskModel(network, spec, [head()], Normalizer("dataset", [0.4], [0.2])).eval()
    again = TaskModel.from_spec(model.spec())
    again.load_state_dict(model.state_dict())
    image = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert torch.equal(again.eval()(image)["distance"], model(image)["distance"])
    assert torch.equal(again.decode(again(image))["distance"], model.decode(model(image))["distance"])


def test_channels_last_changes_the_layout_only() -> None:
    spec = {"name": "test_resnet", "in_channels": 3, "out_channels": 1, "options": {}}
    model = TaskModel(
        models.build("test_resnet", 3, 1), spec, [head()], Normalizer("dataset", [0.0] * 3, [1.0] * 3)
    ).eval()
    image = torch.rand(2, 3, 32, 32)
    before = model(image)["distance"]
    model.channels_last()
    weight = next(p for p in model.network.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(model(image)["distance"], before, atol=1e-5)
