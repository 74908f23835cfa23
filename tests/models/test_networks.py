"""What holds for every network: weights, sizes, channels, training, state, and what its options may be."""

from __future__ import annotations

import copy
import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from visionlab import models
from visionlab.config.compose import choice, conf_dir
from visionlab.errors import ConfigError
from visionlab.models.receptive_field import parameters

TINY = {"encoder": "tu-test_resnet"}
# (name, options, channels in, channels out) -> weights. Those of the hand-written networks are published.
WEIGHTS: dict[str, tuple[str, dict[str, Any], int, int, int]] = {
    "atrous_shuffle": ("atrous_shuffle", {}, 3, 2, 893_792),
    "atrous_shuffle plain": ("atrous_shuffle", {"variant": "plain"}, 3, 2, 893_792),
    "atrous_shuffle transposed": ("atrous_shuffle", {"variant": "transposed"}, 3, 2, 974_816),
    "resnet_shuffle": ("resnet_shuffle", {}, 3, 2, 11_497_744),
    "shuffle_unet": ("shuffle_unet", {}, 3, 2, 2_317_200),
    "dense_unet": ("dense_unet", {}, 6, 2, 3_786_872),
    "unet": ("unet", {}, 3, 2, 14_328_354),
    "unet separate": ("unet", {"decoders": "separate"}, 3, 2, 17_479_906),
    "fpn": ("fpn", {}, 1, 1, 13_040_961),
    "fpn batch": ("fpn", {"norm": "batch"}, 1, 1, 13_040_961),
    "fpn separate": ("fpn", {"decoders": "separate"}, 3, 2, 14_917_954),
    "small_cnn": ("small_cnn", {}, 3, 28, 193_246),
    "inception_resnet_v2_flat": ("inception_resnet_v2_flat", {}, 3, 28, 58_715_452),
    "inception_resnet_v2": ("inception_resnet_v2", {}, 4, 28, 54_349_788),
    "densenet121": ("densenet121", {"pool": "avg"}, 4, 28, 6_985_692),
    "densenet121 avgmax": ("densenet121", {"pool": "avgmax"}, 4, 28, 7_014_364),
    "resnet10t": ("resnet10t", {}, 4, 28, 4_937_068),
    "resnet34": ("resnet34", {}, 1, 1, 21_278_913),
    "wide_resnet50_2": ("wide_resnet50_2", {}, 1, 1, 66_830_017),
}
# Small enough to be run; of every class and form.
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "atrous_shuffle": ("atrous_shuffle", {}),
    "atrous_shuffle transposed": ("atrous_shuffle", {"variant": "transposed"}),
    "resnet_shuffle": ("resnet_shuffle", {}),
    "shuffle_unet": ("shuffle_unet", {}),
    "dense_unet": ("dense_unet", {}),
    "unet": ("unet", TINY),
    "unet separate": ("unet", {**TINY, "decoders": "separate"}),
    "fpn": ("fpn", TINY),
    "fpn batch separate": ("fpn", {**TINY, "norm": "batch", "decoders": "separate"}),
    "small_cnn": ("small_cnn", {}),
    "test_resnet": ("test_resnet", {"pool": "avgmax", "hidden": [16], "dropout": 0.2}),
}
# Hashes of the names and shapes of the hand-written networks' weights: checkpoints hold them.
STATES = {
    "atrous_shuffle": "4c84f26d304b5a0a",
    "atrous_shuffle transposed": "230a1076efe36e20",
    "resnet_shuffle": "e20e2f544606b67e",
    "shuffle_unet": "29642bf462ff560a",
    "dense_unet": "c50a7479880fab8e",
    "small_cnn": "cbcde613b182126d",
}


def channels(name: str) -> int:
    return 6 if name == "dense_unet" else 3


def small(key: str, **options: Any) -> Any:
    name, own = SMALL[key]
    return models.build(name, channels(name), 2, **{**own, **options})


def dense(name: str) -> bool:
    return models.lookup(name).kind == "dense"


@cache
def described(key: str) -> nn.Module:
    """Return a network without memory."""
    name, options, n_in, n_out, _ = WEIGHTS[key]
    with torch.device("meta"):
        return models.build(name, n_in, n_out, **options)


def test_numbers_of_weights_as_published_with_statistics() -> None:
    """They were counted in Keras: with the running statistics, and without the factors that its trunk doesn't have."""
    small, large = described("small_cnn"), described("inception_resnet_v2_flat")

    def statistics(network: nn.Module) -> int:
        return sum(value.numel() for name, value in network.named_buffers() if "running" in name)

    assert parameters(small) + statistics(small) == 193_948
    factors = statistics(large.get_submodule("backbone")) // 2
    assert parameters(large) - factors == 58_685_180
    assert parameters(large) - factors + statistics(large) == 58_748_796


@pytest.mark.parametrize("key", WEIGHTS)
def test_output_has_the_size_of_the_image_or_none(key: str) -> None:
    network, (name, _, n_in, n_out, _) = described(key), WEIGHTS[key]
    sizes = [(64, 64), (80, 80), (224, 224), (75, 101), (1, 1), (3, 200)] if dense(name) else [(96, 96), (299, 200)]
    if name == "small_cnn":
        sizes += [(1, 200), (32, 32), (93, 94), (192, 192)]
    for size in sizes:
        output = network(torch.empty(2, n_in, *size, device="meta"))
        assert output.shape == ((2, n_out, *size) if dense(name) else (2, n_out))


@pytest.mark.parametrize("key", SMALL)
@pytest.mark.parametrize("n_in", [1, 3, 4])
def test_any_number_of_channels(key: str, n_in: int) -> None:
    name, options = SMALL[key]
    given = 2 * n_in if name == "dense_unet" else n_in
    with torch.device("meta"):
        network = models.build(name, given, 2, **options)
        assert network(torch.empty(2, given, 96, 96)).shape == ((2, 2, 96, 96) if dense(name) else (2, 2))
    assert network.kind == models.lookup(name).kind and network.divisor == models.lookup(name).divisor


@pytest.mark.parametrize("key", SMALL)
def test_training_changes_every_weight_and_lowers_the_loss(key: str) -> None:
    torch.manual_seed(0)
    network = small(key).train()
    side = 32 if dense(SMALL[key][0]) else 96
    image = torch.rand(4, channels(SMALL[key][0]), side, side)
    target = image[:, :2].flip(3) if dense(SMALL[key][0]) else image.flatten(1)[:, :2] * 3
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same dropout
        return functional.mse_loss(network(image), target)

    before = loss()
    before.backward()
    kept = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer.step()
    assert [name for name, parameter in network.named_parameters() if torch.equal(parameter, kept[name])] == []
    with torch.no_grad():
        assert loss() < before < 10


@pytest.mark.parametrize("encoder", ["efficientnet-b0", "timm-efficientnet-b0", "tu-test_efficientnet", "vgg11"])
def test_every_weight_is_trained_with_other_encoders(encoder: str) -> None:
    with torch.device("meta"):
        network = models.build("unet", 3, 2, encoder=encoder)
        network(torch.empty(2, 3, 64, 64)).sum().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("key", SMALL)
def test_a_saved_network_is_rebuilt_from_its_options(key: str) -> None:
    network, again = small(key), small(key)
    image = torch.rand(2, channels(SMALL[key][0]), 32, 32)
    with torch.no_grad():
        network(image)  # some running statistics
        again.load_state_dict(network.state_dict())
        output = network.eval()(image)
        assert torch.equal(again.eval()(image), output)
        assert torch.equal(copy.deepcopy(network)(image), output)


@pytest.mark.parametrize("key", STATES)
def test_names_of_weights_stay(key: str) -> None:
    with torch.device("meta"):
        lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in small(key).state_dict().items()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == STATES[key]


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", "tu-test_convnext"])
@pytest.mark.parametrize("n_in", [1, 3, 5])
def test_networks_are_described_without_memory(encoder: str, n_in: int) -> None:
    with torch.device("meta"):
        described = models.build("unet", n_in, 2, encoder=encoder).state_dict()
    real = models.build("unet", n_in, 2, encoder=encoder).state_dict()
    assert {name: tensor.shape for name, tensor in described.items()} == {n: t.shape for n, t in real.items()}
    assert sum(tensor.numel() for tensor in described.values() if tensor.device.type != "meta") < 50_000


# Padding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [key for key in SMALL if dense(SMALL[key][0])])
def test_sizes_in_between_are_padded_by_their_border_and_cropped(key: str) -> None:
    network, n_in = small(key).eval(), channels(SMALL[key][0])
    whole, odd = torch.rand(1, n_in, 64, 32), torch.rand(1, n_in, 37, 51)
    with torch.no_grad():
        assert torch.equal(network(whole), network.predict(whole))
        padded = functional.pad(odd, (0, -51 % network.stride, 0, -37 % network.stride), mode="replicate")
        assert torch.equal(network(odd), network.predict(padded)[..., :37, :51])


def test_small_images_of_small_cnn_are_filled_up_by_their_border() -> None:
    network, image = models.build("small_cnn", 1, 3).eval(), torch.rand(1, 1, 40, 94)
    with torch.no_grad():
        large = functional.pad(image, (0, 0, 27, 27), mode="replicate")
        assert torch.equal(network(image), network(large))


@pytest.mark.parametrize("path", sorted((conf_dir() / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_choice_builds_its_network_and_downloads_nothing_unasked(path: Path) -> None:
    options = choice("model", "model", path.stem)
    assert not options.get("pretrained") and options.get("weights") is None and not options.get("freeze")
    name = options.pop("name")
    name = "resnet18" if name == "???" else name
    with torch.device("meta"):
        models.build(name, channels(name), 2, **options)
    assert options.get("norm") == ("batch" if name == "fpn" else None), "new ones of FPN see surroundings alone"


# Options -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"hiden": [3]}, r"model\.hiden: unknown key\. Did you mean 'hidden'\? Keys of .*dropout"),
        ("shuffle_unet", {"encoder": "resnet18"}, r"model\.encoder: unknown key\. Keys of .*: none"),
        ("resnet18", {"hidden": [0]}, r"hidden: expected .+ at least 1, found \[0\]"),
        ("resnet18", {"dropout": 1.0}, r"dropout: expected .+ below 1, found 1\.0"),
        ("resnet18", {"pool": "avgmx"}, r"pool: expected one of avg, max, avgmax, found 'avgmx'"),
        ("resnet18", {"freeze": 1}, r"freeze: expected bool, found 1"),
        ("atrous_shuffle", {"variant": "plan"}, r"variant: expected one of residual, plain, transposed, found 'plan'"),
        ("unet", {"encoder": 3}, r"encoder: expected str, found 3"),
        ("unet", {"encoder": "resnet81"}, r"model\.encoder: .*Did you mean 'resnet18'"),
        ("unet", {"encoder": "resnet34d"}, r"model\.encoder: .*Did you mean 'tu-resnet34d'"),
        ("unet", {"encoder": "tu-resnt18"}, r"model\.encoder: .*Did you mean 'tu-resnet18'"),
        ("unet", {"encoder": "tu-resnet18.a1_in2k"}, r"model\.encoder: .*Did you mean 'a1_in1k'"),
        ("unet", {**TINY, "norm": "batch"}, r"model\.norm=batch: only fpn has a choice of norms, not model\.name=unet"),
        ("fpn", {"norm": "bach"}, r"norm: expected one of group, batch, found 'bach'"),
        ("fpn", {"encoder": "tu-test_vit"}, r"model\.encoder=tu-test_vit: .*model\.name=fpn .*choose another encoder"),
        ("resnet43", {}, r"model\.name: .*found 'resnet43'\. Did you mean 'resnet34'\?"),
        ("resnet50.a1_in2k", {}, r"model\.name: .*Did you mean 'a1_in1k'\?"),
        ("test_vit", {"pool": "avgmax"}, r"model\.pool: timm's test_vit cannot pool by avgmax .*model\.pool=avg"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        models.build(name, 3, 2, **options)


@pytest.mark.parametrize(("n_in", "n_out", "text"), [(3, 2, r"data\.inputs"), (6, 1, "mask"), (6, 3, "depth")])
def test_dense_unet_says_what_it_needs(n_in: int, n_out: int, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"dense_unet.*{text}"):
        models.build("dense_unet", n_in, n_out)


def test_more_channels_than_an_image_has_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"at most 1024 channels in, found 1000000"):
        models.build("unet", 1_000_000, 2)


def test_the_lists_are_those_of_the_libraries_and_need_no_torch() -> None:
    import segmentation_models_pytorch as smp

    from visionlab.models.catalog import smp_encoders

    assert smp_encoders() == set(smp.encoders.encoders)
    for encoder in ("resnet18", "mit_b0", "tu-resnet34d", "tu-resnet18.a1_in1k"):
        models.check_options("unet", {"encoder": encoder})
    assert {"resnet18", "small_cnn", "inception_resnet_v2_flat"} <= set(models.of_kind("image"))
    assert "small_cnn" not in models.of_kind("dense")
    code = (
        "import sys; from visionlab import models\n"
        "models.lookup('resnet34'), models.lookup('unet'), models.check_options('fpn', {'encoder': 'tu-resnet18'})\n"
        "print([name for name in ('torch', 'timm', 'segmentation_models_pytorch') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# What is special to one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["atrous_shuffle", "resnet_shuffle", "shuffle_unet", "unet", "fpn"])
def test_first_outputs_are_small(name: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        assert 0.01 < models.build(name, 3, 2)(torch.randn(2, 3, 64, 64)).std() < 1.5


@pytest.mark.parametrize("key", ["atrous_shuffle transposed", "dense_unet"])
def test_doubling_starts_with_the_scale_of_its_input(key: str) -> None:
    torch.manual_seed(0)
    for layer in small(key).modules():
        if isinstance(layer, nn.ConvTranspose2d):
            out = layer(torch.randn(1, layer.in_channels, 32, 32))
            assert out.shape[2:] == (64, 64)
            # He's rule: twice the variance, which the ReLU that follows halves.
            assert out.var().item() == pytest.approx(2, rel=0.15)


def test_residual_adds_the_input_of_each_block() -> None:
    residual, plain = (models.build("atrous_shuffle", 3, 2, variant=v).eval() for v in ("residual", "plain"))
    plain.load_state_dict(residual.state_dict())
    features = torch.rand(1, 128, 8, 8)
    for network, expected in ((residual, features), (plain, torch.zeros_like(features))):
        blocks: Any = network.blocks
        for block in blocks:
            for parameter in block.body[-1][1].parameters():  # the last norm
                nn.init.zeros_(parameter)
        assert torch.equal(blocks(features), expected)


def test_dense_unet_shares_its_first_layer_and_has_a_branch_for_each_output() -> None:
    network = small("dense_unet").train()
    seen: list[torch.Tensor] = []
    network.first.register_forward_hook(lambda module, given, output: seen.append(output))
    half = torch.rand(2, 3, 16, 16)
    output = network(torch.cat([half, half], dim=1))
    fx, fy = seen[0].chunk(2)
    assert torch.equal(fx, fy)
    for channel, others in ((0, {"c4", "down", "up", "depth"}), (1, {"mask"})):
        network.zero_grad()
        output[:, channel].square().sum().backward(retain_graph=True)
        named = [(name.split(".")[0], parameter.grad) for name, parameter in network.named_parameters()]
        assert {name for name, gradient in named if gradient is None or not gradient.any()} == others


@pytest.mark.parametrize("key", ["unet separate", "fpn batch separate"])
def test_separate_decoders_share_nothing_but_the_encoder(key: str) -> None:
    network = small(key).eval()
    first, second = ([*network.decoders[i].parameters(), *network.heads[i].parameters()] for i in (0, 1))
    assert not {id(parameter) for parameter in first} & {id(parameter) for parameter in second}
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True) if a.dim() == 4)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network(image)
        for parameter in second:
            parameter.add_(0.1)
        after = network(image)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])


def test_small_cnn_is_built_as_published() -> None:
    network: Any = models.build("small_cnn", 3, 5).eval()
    assert [branch[0].kernel_size[0] for branch in network.parallel[0].branches] == [3, 5, 7, 1]
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.25] * 5 + [0.5, 0.1]
    linear = [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert linear == [(2048, 28), (28, 5)], "the layer before the output is 28 wide for any number of labels"
    with torch.no_grad():
        features = network.parallel(network.stem(torch.rand(1, 3, 192, 192)))
        deep = network.deep[:-1](features)
        assert deep.shape == (1, 128, 4, 4) and torch.equal(network.deep(features), deep), "192 px need no pooling"


def test_flat_head_at_its_own_size_resizes_nothing() -> None:
    network: Any = described("inception_resnet_v2_flat")
    assert network.backbone(torch.empty(2, 3, 299, 299, device="meta")).shape == (2, 1536, 8, 8)
    features = torch.rand(2, 16, 8, 8)
    assert torch.equal(network.resize(features), features)
    assert [type(layer).__name__ for layer in network.head] == (
        ["BatchNorm2d", "Conv2d", "ReLU", "Flatten", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    )
    assert [layer.p for layer in network.head if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    assert network.head[5].in_features == 8192


def test_pooling_by_average_and_maximum() -> None:
    image, vectors = torch.rand(2, 4, 64, 64), {}
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


@pytest.mark.parametrize(("norm", "equal"), [("batch", True), ("group", False)])
def test_fpn_with_batch_norm_says_the_same_of_a_part_as_of_the_whole(norm: str, equal: bool) -> None:
    torch.manual_seed(0)
    network = models.build("fpn", 1, 2, norm=norm, **TINY)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.rand(4, 1, 64, 64))
    network.eval()
    image = torch.rand(1, 1, 768, 32, generator=torch.Generator().manual_seed(0))
    image[:, :, 600:] *= 3
    inside = slice(359 // 2 + 1, 512 - 359 // 2 - 1)  # its receptive field
    with torch.no_grad():
        whole, part = network(image)[:, :, 64:576], network(image[:, :, 64:576])
    assert torch.allclose(whole[:, :, inside], part[:, :, inside], atol=1e-6, rtol=0) == equal
    assert whole[:, :, inside].std() > 1e-3
    assert any(isinstance(module, nn.GroupNorm) for module in network.modules()) is not equal


def test_without_a_choice_of_norm_fpn_is_the_published_one() -> None:
    """As models of version 0.1.0 were saved, before there was a choice."""
    assert any(isinstance(module, nn.GroupNorm) for module in models.build("fpn", 1, 1, **TINY).modules())
