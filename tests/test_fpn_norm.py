"""The FPN's choice of norm: the published one over the whole image, or one that sees surroundings alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from visionlab import models
from visionlab.config.compose import choice
from visionlab.errors import ConfigError
from visionlab.heads.map_head import MaskHead
from visionlab.models.summary import receptive_field
from visionlab.modules.task_model import Normalizer, TaskModel


def fpn(**options: Any) -> Any:
    """Return a network with a tiny encoder, and running statistics that are not those that it starts with."""
    torch.manual_seed(0)
    network = models.build("fpn", 1, 2, **{"encoder": "tu-test_resnet", **options})
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.rand(4, 1, 64, 64))
    return network.eval()


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_the_published_number_of_weights(norm: str) -> None:
    with torch.device("meta"):
        network = models.build("fpn", 1, 1, norm=norm)
    assert sum(parameter.numel() for parameter in network.parameters()) == 13_040_961


@pytest.mark.parametrize("decoders", ["shared", "separate"])
def test_batch_leaves_nothing_that_depends_on_the_whole_image(decoders: str) -> None:
    modules = [*fpn(norm="batch", decoders=decoders).modules()]
    assert not [module for module in modules if isinstance(module, nn.GroupNorm)]
    assert not [module for module in modules if isinstance(module, nn.Upsample) and module.align_corners]
    assert not [module for module in modules if getattr(module, "upsample", False)]


@pytest.mark.parametrize(("norm", "equal"), [("batch", True), ("group", False)])
def test_batch_says_the_same_of_a_part_as_of_the_whole(norm: str, equal: bool) -> None:
    network = fpn(norm=norm)
    reach = receptive_field(network, 1)
    assert reach is not None
    image = torch.rand(1, 1, 768, 32, generator=torch.Generator().manual_seed(0))
    image[:, :, 600:] *= 3
    inside = slice(reach // 2 + 1, 512 - reach // 2 - 1)
    with torch.no_grad():
        whole, part = network(image)[:, :, 64:576], network(image[:, :, 64:576])
    assert torch.allclose(whole[:, :, inside], part[:, :, inside], atol=1e-6, rtol=0) == equal
    assert whole[:, :, inside].std() > 1e-3


def test_batch_trains_every_weight_and_separate_decoders_start_apart() -> None:
    network = fpn(norm="batch", decoders="separate").train()
    network(torch.rand(2, 1, 64, 64)).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    first, second = (decoder.state_dict() for decoder in network.decoders)
    kernels = [name for name, tensor in first.items() if tensor.dim() == 4]
    assert kernels
    assert not any(torch.equal(first[name], second[name]) for name in kernels)
    size = torch.empty(1, 1, 75, 101)
    assert network.eval()(size).shape == (1, 2, 75, 101)


def test_models_saved_before_there_was_a_choice_are_the_published_one() -> None:
    options = {"encoder": "tu-test_resnet"}
    saved = fpn(norm="group")
    head = {"kind": "mask", "unit": "", "metrics": [], "weight": 1.0, "activation": "sigmoid"}
    spec = {
        "network": {"name": "fpn", "in_channels": 1, "out_channels": 2, "options": options},
        "heads": {name: {**head, "columns": [name]} for name in ("one", "other")},
        "normalize": "dataset",
    }
    again = TaskModel.from_spec(spec).eval()
    heads = [MaskHead(name, share=0.0, metrics=[], weight=1.0, activation="sigmoid") for name in ("one", "other")]
    again.load_state_dict(TaskModel(saved, {}, heads, Normalizer("dataset", [0.0], [1.0])).state_dict())
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(torch.cat([*again(image).values()], dim=1), saved(image))


def test_a_new_model_is_the_local_one_and_only_fpn_has_the_choice() -> None:
    assert choice("model", "model", "fpn")["norm"] == "batch"
    assert "norm" not in choice("model", "model", "unet")
    with pytest.raises(ConfigError, match=r"model\.norm=batch: only fpn has a choice of norms, not model\.name=unet"):
        models.build("unet", 1, 1, encoder="tu-test_resnet", norm="batch")
    with pytest.raises(ConfigError, match=r"model\.norm: expected .*batch.*, found 'bach'"):
        models.build("fpn", 1, 1, norm="bach")
