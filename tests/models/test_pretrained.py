"""Weights that networks start from, and trunks that are frozen and let go again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from visionlab import models
from visionlab.errors import ConfigError, UsageError
from visionlab.models import image

# name, options -> the part that is trained beforehand
TRUNKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "test_resnet": ("test_resnet", {}, "backbone"),
    "flat": ("inception_resnet_v2_flat", {}, "backbone"),
    "unet": ("unet", {"encoder": "tu-test_resnet"}, "encoder"),
    "fpn": ("fpn", {"encoder": "tu-test_convnext"}, "encoder"),
    "unet smp": ("unet", {"encoder": "mobilenet_v2"}, "encoder"),
}


@pytest.fixture(autouse=True)
def _small_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a tiny backbone into the network that otherwise has 54 million weights there."""
    monkeypatch.setattr(image, "_FLAT_BACKBONE", "test_resnet")


def make(key: str, channels: int = 3, **options: Any) -> Any:
    name, own, _ = TRUNKS[key]
    return models.build(name, channels, 2, **{**own, **options})


def published(key: str) -> nn.Module:
    """Return what the published weights of a network's trunk would be, random here."""
    encoder = TRUNKS[key][1].get("encoder", "tu-test_resnet")
    trunk: nn.Module = (
        timm.create_model(encoder[3:]) if encoder.startswith("tu-") else make(key).get_submodule("encoder")
    )
    return trunk


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("key", TRUNKS)
def test_weights_from_a_file_are_adapted_to_the_channels(tmp_path: Path, key: str, suffix: str) -> None:
    held, path = published(key).state_dict(), tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(held, path)
    else:
        save_file(held, path)
    kernels = [tensor for tensor in held.values() if tensor.dim() == 4]
    for channels in (1, 3, 4):
        found_all = make(key, channels, weights=str(path)).get_submodule(TRUNKS[key][2]).state_dict()
        # From timm a pyramid may have its layers under other names, but in the same order.
        found = [tensor for tensor in found_all.values() if tensor.dim() == 4]
        first = {
            1: kernels[0].sum(1, keepdim=True),
            3: kernels[0],
            # The fourth starts as the first; scaled so that an image of equal channels gives what it gave.
            4: 0.75 * torch.cat([kernels[0], kernels[0][:, :1]], dim=1),
        }[channels]
        assert torch.allclose(found[0], first, atol=1e-6)
        assert len(found) > 5
        assert all(torch.equal(a, b) for a, b in zip(found[1:], kernels[1:], strict=False))


@pytest.mark.parametrize("what", ["missing", "text", "other", "code"])
@pytest.mark.parametrize("key", TRUNKS)
def test_weights_that_do_not_fit_are_refused_and_named(tmp_path: Path, key: str, what: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "weights.pth"
    if what == "text":
        path.write_text("not weights")
    elif what == "other":
        torch.save(timm.create_model("test_vit").state_dict(), path)
    elif what == "code":
        torch.save({"conv1.weight": Trap()}, path)
    with pytest.raises(UsageError, match=r"model\.weights=.*weights\.pth: expected .*weights"):
        make(key, weights=str(path))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("key", TRUNKS)
def test_pretrained_without_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"model\.pretrained=true.*could not be fetched.*model\.weights=FILE"):
        make(key, pretrained=True)


@pytest.mark.parametrize("start", ["none", "file", "pretrained"])
def test_the_pooling_and_the_encoder_are_named_where_the_fault_is_theirs(start: str, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "weights.pth")
    starts: dict[str, dict[str, Any]] = {
        "none": {},
        "file": {"weights": str(tmp_path / "weights.pth")},
        "pretrained": {"pretrained": True},
    }
    options = starts[start]
    with pytest.raises(ConfigError, match=r"model\.pool: timm's test_vit cannot pool by avgmax"):
        models.build("test_vit", 3, 2, pool="avgmax", **options)
    with pytest.raises(ConfigError, match=r"model\.encoder=tu-test_vit: .*model\.name=fpn .*choose another encoder"):
        models.build("fpn", 3, 2, encoder="tu-test_vit", **options)
    (tmp_path / "weights.pth").write_text("not weights")
    with pytest.raises(UsageError, match=r"model\.weights=.*weights\.pth"):
        models.build("test_resnet", 3, 2, pool="avgmax", weights=str(tmp_path / "weights.pth"))


def learnt(network: nn.Module) -> set[str]:
    """Train for a step and return the children of which anything has changed."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    network.zero_grad()
    network(torch.rand(4, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    now = network.state_dict()
    return {name.split(".")[0] for name in now if not torch.equal(now[name], before[name])}


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("key", TRUNKS)
def test_a_trunk_is_frozen_and_let_go_again(key: str, start: bool) -> None:
    network, trunk = make(key, freeze=start).train(), TRUNKS[key][2]
    whole = {child for child, part in network.named_children() if any(True for _ in part.parameters())}
    for frozen in (start, True, True, False, False, True):
        network.set_frozen(frozen)
        assert learnt(network) == (whole - {trunk} if frozen else whole)
        assert network.get_submodule(trunk).training is not frozen
    network.eval().set_frozen(False)
    assert not any(module.training for module in network.modules()), "a network in use stays in use"


def test_what_a_trunk_never_trains_stays_so() -> None:
    network = make("test_resnet")
    network.backbone.conv1[0].weight.requires_grad_(False)
    network.set_frozen(True)
    network.set_frozen(False)
    still = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert still == ["backbone.conv1.0.weight"]
