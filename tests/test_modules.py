"""Networks, heads and the model that puts them together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from visionlab import models
from visionlab.errors import UsageError
from visionlab.heads.regression.head import RegressionHead
from visionlab.modules.task_model import Normalizer, TaskModel

# Weights with 1 channel in and 1 out, as published for the first two of the focus experiments.
PUBLISHED = {"resnet34": 21_278_913, "wide_resnet50_2": 66_830_017}


@pytest.mark.parametrize(("name", "weights"), PUBLISHED.items())
def test_published_numbers_of_weights(name: str, weights: int) -> None:
    with torch.device("meta"):
        network = models.build(name, 1, 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == weights


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_any_timm_backbone_takes_any_number_of_channels(name: str, channels: int) -> None:
    # test_vit's patches fix its image size.
    network = models.build(name, channels, 3).eval()
    assert network(torch.zeros(2, channels, 160, 160)).shape == (2, 3)


def test_hidden_layers_and_dropout() -> None:
    network = models.build("test_resnet", 1, 2, hidden=[32, 16], dropout=0.5)
    linear = [layer for layer in network.head if isinstance(layer, torch.nn.Linear)]  # type: ignore[union-attr]
    assert [layer.out_features for layer in linear] == [32, 16, 2]
    image = torch.rand(4, 1, 32, 32)
    assert not torch.equal(network.train()(image), network(image))
    assert torch.equal(network.eval()(image), network(image))


def test_frozen_backbone_keeps_weights_and_running_statistics() -> None:
    network = models.build("test_resnet", 1, 1, freeze=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(4, 1, 32, 32)).sum().backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.1.weight", "head.1.bias"}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_local_weights_are_loaded_and_adapted_to_the_channels(tmp_path: Path, suffix: str) -> None:
    import timm
    from safetensors.torch import save_file

    donor: Any = timm.create_model("test_resnet", num_classes=1000)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(donor.state_dict(), path)
    else:
        save_file(donor.state_dict(), path)
    network: Any = models.build("test_resnet", 1, 1, weights=str(path))
    assert torch.equal(network.backbone.layer1[0].conv1.weight, donor.layer1[0].conv1.weight)
    grey = donor.conv1[0].weight.sum(1, keepdim=True)
    assert torch.allclose(network.backbone.conv1[0].weight, grey, atol=1e-6)


def test_weights_that_are_pickled_code_are_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(UsageError, match=r"trap\.pth"):
        models.build("test_resnet", 1, 1, weights=str(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("what", ["missing", "text", "other"])
def test_weights_that_do_not_fit_are_named(tmp_path: Path, what: str) -> None:
    import timm

    path = tmp_path / "weights.pth"
    if what == "text":
        path.write_text("not weights")
    elif what == "other":
        torch.save(timm.create_model("test_vit").state_dict(), path)
    with pytest.raises(UsageError, match=r"model\.weights=.*weights\.pth"):
        models.build("test_resnet", 1, 1, weights=str(path))


def test_pretrained_without_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"model\.pretrained=true.*model\.weights=FILE"):
        models.build("resnet18", 1, 1, pretrained=True)


def head(**changes: Any) -> RegressionHead:
    return RegressionHead(
        "distance", ["distance"], **{"mean": [3.0], "std": [2.0], "unit": "um", "step": 2.0, **changes}
    )


def test_model_is_rebuilt_from_plain_data() -> None:
    spec = {"name": "test_resnet", "in_channels": 1, "out_channels": 1, "options": {"hidden": [8], "dropout": 0.1}}
    network = models.build("test_resnet", 1, 1, hidden=[8], dropout=0.1)
    model = TaskModel(network, spec, [head()], Normalizer("dataset", [0.4], [0.2])).eval()
    again = TaskModel.from_spec(model.spec())
    again.load_state_dict(model.state_dict())
    image = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert torch.equal(again.eval()(image)["distance"], model(image)["distance"])
    assert torch.equal(again.decode(again(image))["distance"], model.decode(model(image))["distance"])


def test_bytes_and_their_fractions_are_the_same_image() -> None:
    image = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    normalizer = Normalizer("dataset", [0.4], [0.2])
    assert torch.allclose(normalizer(image), normalizer(image.float() / 255), atol=1e-6)


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
