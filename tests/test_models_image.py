"""Networks from images to labels: their weights, sizes, pooling, and trunks that are frozen and let go again."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from visionlab import models
from visionlab.config.checks import check
from visionlab.config.compose import compose
from visionlab.errors import ConfigError, UsageError
from visionlab.models import flat_head
from visionlab.models.summary import parameters, summarise

# (name, channels in, pool): weights with 28 labels out. That of small_cnn is published, the others are those that the
# files in conf/model/ state.
WEIGHTS = {
    ("small_cnn", 3, ""): 193_246,
    ("inception_resnet_v2_flat", 3, ""): 58_715_452,
    ("inception_resnet_v2", 4, "avg"): 54_349_788,
    ("densenet121", 4, "avg"): 6_985_692,
    ("densenet121", 4, "avgmax"): 7_014_364,
    ("resnet10t", 4, "avg"): 4_937_068,
}


@cache
def described(name: str, channels: int, **options: Any) -> nn.Module:
    """Return a network for 28 labels without memory."""
    with torch.device("meta"):
        return models.build(name, channels, 28, **options)


@pytest.fixture
def small_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a tiny backbone into the network that otherwise has 54 million weights there."""
    monkeypatch.setattr(flat_head, "_BACKBONE", "test_resnet")


def make(name: str, **options: Any) -> Any:
    encoder = {"encoder": "tu-test_resnet"} if name == "unet" else {}
    return models.build(name, options.pop("channels", 3), 2, **encoder, **options)


@pytest.mark.parametrize(("name", "channels", "pool"), WEIGHTS)
def test_numbers_of_weights(name: str, channels: int, pool: str) -> None:
    options: dict[str, Any] = {"pool": pool} if pool else {}
    network = described(name, channels, **options)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert trained == parameters(network) == WEIGHTS[name, channels, pool]


def test_published_numbers_of_weights() -> None:
    """They were counted in Keras: with the running statistics, and without the factors that its trunk doesn't have."""
    small, large = described("small_cnn", 3), described("inception_resnet_v2_flat", 3)

    def statistics(network: nn.Module) -> int:
        return sum(value.numel() for name, value in network.named_buffers() if "running" in name)

    assert parameters(small) + statistics(small) == 193_948
    factors = statistics(large.get_submodule("backbone")) // 2
    assert factors == 30_272
    assert parameters(large) - factors == 58_685_180
    assert parameters(large) - factors + statistics(large) == 58_748_796


# The small network ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 32, 93, 94, 128, 192, 300])
def test_small_cnn_takes_images_of_any_size(side: int) -> None:
    assert described("small_cnn", 3)(torch.empty(2, 3, side, 200, device="meta")).shape == (2, 28)


def test_small_cnn_at_its_own_size_pools_nothing() -> None:
    network = models.build("small_cnn", 3, 28).eval()
    features = torch.rand(1, 64, 46, 46)
    deep: Any = network.deep
    with torch.no_grad():
        assert network.parallel(network.stem(torch.rand(1, 3, 192, 192))).shape == features.shape  # type: ignore[operator]
        before = deep[:-1](features)
        assert before.shape == (1, 128, 4, 4)
        assert torch.equal(deep(features), before)


def test_small_images_are_filled_up_by_their_border() -> None:
    network = models.build("small_cnn", 1, 3).eval()
    image = torch.rand(1, 1, 40, 94)
    with torch.no_grad():
        large = nn.functional.pad(image, (0, 0, 27, 27), mode="replicate")
        assert torch.equal(network(image), network(large))


def test_small_cnn_is_built_as_published() -> None:
    network = models.build("small_cnn", 3, 5)
    parallel: Any = network.parallel
    assert [branch[0].kernel_size[0] for branch in parallel[0].branches] == [3, 5, 7, 1]
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.25] * 5 + [0.5, 0.1]
    linear = [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert linear == [(2048, 28), (28, 5)], "the layer before the output is 28 wide for any number of labels"
    stem: Any = network.stem
    assert [type(layer).__name__ for layer in stem[:4]] == ["BatchNorm2d", "Conv2d", "ReLU", "BatchNorm2d"]


@pytest.mark.parametrize("name", ["small_cnn", "inception_resnet_v2_flat"])
@pytest.mark.usefixtures("small_trunk")
def test_a_step_of_training_changes_every_weight_and_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    network, image = make(name).train(), torch.rand(8, 3, 96, 96)
    label = (torch.arange(8) % 2).float()
    image[label > 0] += 1
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    values = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(network(image), torch.stack([label, 1 - label], 1))
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < values[0]


# The flattened head --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [75, 512])
def test_flat_head_takes_images_of_other_sizes(side: int) -> None:
    network = described("inception_resnet_v2_flat", 3)
    assert network(torch.empty(2, 3, side, side, device="meta")).shape == (2, 28)


def test_flat_head_at_its_own_size_resizes_nothing() -> None:
    network: Any = described("inception_resnet_v2_flat", 3)
    assert network.backbone(torch.empty(2, 3, 299, 299, device="meta")).shape == (2, 1536, 8, 8)
    features = torch.rand(2, 16, 8, 8)
    assert torch.equal(network.resize(features), features)
    kinds = [type(layer).__name__ for layer in network.head]
    assert kinds == [*("BatchNorm2d", "Conv2d", "ReLU", "Flatten", "Dropout"), *("Linear", "ReLU", "Dropout", "Linear")]
    assert [layer.p for layer in network.head if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    assert network.head[5].in_features == 8192


# Pooling -------------------------------------------------------------------------------------------------------------


def test_pooling_by_average_and_maximum() -> None:
    image, vectors = torch.rand(2, 4, 64, 64), {}
    torch.manual_seed(0)
    start = models.build("test_resnet", 4, 5).eval()
    for pool in ("avg", "max", "avgmax"):
        network: Any = models.build("test_resnet", 4, 5, pool=pool).eval()
        network.backbone.load_state_dict(start.get_submodule("backbone").state_dict())
        with torch.no_grad():
            vectors[pool] = network.backbone(image)
            assert network(image).shape == (2, 5)
        features = network.backbone.forward_features(image)
    assert torch.allclose(vectors["avg"], features.mean((2, 3)), atol=1e-6)
    assert torch.equal(vectors["max"], features.amax((2, 3)))
    assert torch.allclose(vectors["avgmax"], torch.cat([vectors["avg"], vectors["max"]], 1), atol=1e-6)


def test_what_is_rebuilt_from_its_options_pools_alike() -> None:
    options = {"pool": "avgmax", "hidden": [16], "dropout": 0.2}
    network, again = (models.build("test_resnet", 4, 5, **options).eval() for _ in range(2))
    again.load_state_dict(network.state_dict())
    image = torch.rand(2, 4, 32, 32)
    assert torch.equal(again(image), network(image))


@pytest.mark.parametrize("start", ["none", "file", "pretrained"])
def test_pooling_that_the_backbone_does_not_have_is_refused(start: str, tmp_path: Path) -> None:
    import timm

    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "weights.pth")
    options: dict[str, dict[str, Any]] = {
        "none": {},
        "file": {"weights": str(tmp_path / "weights.pth")},
        "pretrained": {"pretrained": True},
    }
    with pytest.raises(
        ConfigError, match=r"model\.pool: timm's test_vit cannot pool by avgmax \(Only .*model\.pool=avg"
    ):
        models.build("test_vit", 3, 2, pool="avgmax", **options[start])


def test_other_mistakes_are_not_taken_for_the_pooling(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_text("not weights")
    with pytest.raises(UsageError, match=r"model\.weights=.*weights\.pth"):
        models.build("test_resnet", 3, 2, pool="avgmax", weights=str(tmp_path / "weights.pth"))
    with pytest.raises(ConfigError, match=r"model\.pool: expected one of avg, max, avgmax, found 'avgmx'.*'avgmax'"):
        models.build("test_resnet", 3, 2, pool="avgmx")


# Weights from a file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["test_resnet", "inception_resnet_v2_flat"])
@pytest.mark.usefixtures("small_trunk")
def test_weights_of_three_channels_start_a_network_of_four(tmp_path: Path, name: str, suffix: str) -> None:
    import timm
    from safetensors.torch import save_file

    donor: Any = timm.create_model("test_resnet")
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(donor.state_dict(), path)
    else:
        save_file(donor.state_dict(), path)
    found = make(name, channels=4, weights=str(path)).backbone.state_dict()
    held = donor.state_dict()
    first = "conv1.0.weight"
    # The fourth channel starts as the first; all are scaled so that an image of equal channels gives what it gave.
    assert torch.allclose(found[first][:, :3], 0.75 * held[first], atol=1e-7)
    assert torch.allclose(found[first][:, 3], 0.75 * held[first][:, 0], atol=1e-7)
    others = [key for key in found if key != first]
    assert len(others) > 20
    assert all(torch.equal(found[key], held[key]) for key in others)


@pytest.mark.usefixtures("small_trunk")
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    import timm

    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"model\.weights=.*other\.pth: expected weights of test_resnet"):
        make("inception_resnet_v2_flat", weights=str(tmp_path / "other.pth"))


# Freezing ------------------------------------------------------------------------------------------------------------

FREEZABLE = {"test_resnet": "backbone", "inception_resnet_v2_flat": "backbone", "unet": "encoder"}


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
@pytest.mark.parametrize("name", FREEZABLE)
@pytest.mark.usefixtures("small_trunk")
def test_trunk_is_frozen_and_let_go_again(name: str, start: bool) -> None:
    network = make(name, freeze=start).train()
    whole = {child for child, part in network.named_children() if any(True for _ in part.parameters())}
    trunk = FREEZABLE[name]
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


# In the configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["inception_resnet_v2", "inception_resnet_v2_flat", "densenet121", "resnet10t"])
def test_choices_name_their_network_and_download_nothing_unasked(choice: str) -> None:
    cfg = compose([f"model={choice}"])
    check(cfg)
    assert cfg.model.name == choice
    assert not cfg.model.pretrained
    assert cfg.model.weights is None


def test_networks_of_images_are_listed() -> None:
    assert {"resnet18", "small_cnn", "inception_resnet_v2_flat"} <= set(models.of_kind("image"))
    assert "small_cnn" not in models.of_kind("dense")


@pytest.mark.parametrize("name", ["small_cnn", "inception_resnet_v2_flat"])
@pytest.mark.usefixtures("small_trunk")
def test_summary_of_them(name: str) -> None:
    network = make(name)
    lines = summarise(network, 3, (192, 192)).splitlines()
    assert lines[0].endswith(f"3 x 192 x 192 in, {parameters(network):,} weights are trained")
    assert lines[-1].split()[:3] == ["all", "2", f"{parameters(network):,}"]
    if name == "small_cnn":
        assert [line.split()[0] for line in lines[2:] if line[0] != " "] == ["stem", "parallel", "deep", "head", "all"]
