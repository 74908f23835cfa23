"""Networks from images to maps: their weights, sizes, options and what they start from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from visionlab import models
from visionlab.errors import ConfigError, UsageError
from visionlab.models.blocks import double, pad

# (name, options): channels in, weights with 2 channels out. Those of the hand-written ones are published.
NETWORKS: dict[tuple[str, str], tuple[int, int]] = {
    ("atrous_shuffle", "variant=residual"): (3, 893_792),
    ("atrous_shuffle", "variant=plain"): (3, 893_792),
    ("atrous_shuffle", "variant=transposed"): (3, 974_816),
    ("resnet_shuffle", ""): (3, 11_497_744),
    ("shuffle_unet", ""): (3, 2_317_200),
    ("dense_unet", ""): (6, 3_786_872),
    ("unet", "decoders=shared"): (3, 14_328_354),
    ("unet", "decoders=separate"): (3, 17_479_906),
    ("fpn", "decoders=shared"): (3, 13_047_362),
    ("fpn", "decoders=separate"): (3, 14_917_954),
}
EACH = [pytest.param(*key, id=" ".join(key).strip()) for key in NETWORKS]


def make(name: str, text: str = "", **options: Any) -> Any:
    if text:
        key, _, value = text.partition("=")
        options[key] = value
    return models.build(name, 6 if name == "dense_unet" else 3, 2, **options)


def small(name: str = "unet", **options: Any) -> Any:
    """Return a network with a tiny encoder."""
    return models.build(name, options.pop("channels", 3), 2, **{"encoder": "tu-test_resnet", **options})


@pytest.mark.parametrize(("name", "text"), EACH)
def test_numbers_of_weights(name: str, text: str) -> None:
    with torch.device("meta"):
        network = make(name, text)
    assert sum(parameter.numel() for parameter in network.parameters()) == NETWORKS[name, text][1]


def test_published_number_of_weights_of_fpn_with_one_channel() -> None:
    assert sum(parameter.numel() for parameter in models.build("fpn", 1, 1).parameters()) == 13_040_961


@pytest.mark.parametrize(("name", "text"), EACH)
def test_output_has_the_size_of_the_image(name: str, text: str) -> None:
    with torch.device("meta"):
        network = make(name, text)
        for size in ((64, 64), (80, 80), (160, 160), (224, 224), (75, 101), (1, 1), (3, 200)):
            assert network(torch.empty(2, NETWORKS[name, text][0], *size)).shape == (2, 2, *size)


@pytest.mark.parametrize(("name", "text"), EACH)
def test_every_weight_is_trained(name: str, text: str) -> None:
    with torch.device("meta"):
        network = make(name, text)
        network(torch.empty(2, NETWORKS[name, text][0], 64, 64)).sum().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("encoder", ["efficientnet-b0", "timm-efficientnet-b0", "tu-test_efficientnet", "vgg11"])
def test_every_weight_is_trained_with_other_encoders(encoder: str) -> None:
    with torch.device("meta"):
        network = make("unet", encoder=encoder)
        network(torch.empty(2, 3, 64, 64)).sum().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    "key", [key for key in NETWORKS if key[1] not in ("variant=plain", "decoders=shared")], ids=" ".join
)
def test_a_step_of_training_lowers_the_loss(key: tuple[str, str]) -> None:
    torch.manual_seed(0)
    network = make(*key)
    image = torch.rand(2, NETWORKS[key][0], 64, 64)
    target = image[:, :2].flip(3)
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


@pytest.mark.parametrize("name", ["atrous_shuffle", "shuffle_unet", "unet", "fpn"])
def test_sizes_in_between_are_padded_and_cropped(name: str) -> None:
    network = small(name) if name in ("unet", "fpn") else make(name)
    network.eval()
    whole, odd = torch.rand(1, 3, 64, 32), torch.rand(1, 3, 37, 51)
    with torch.no_grad():
        assert torch.equal(network(whole), network.predict(whole))
        bottom, right = -37 % network.stride, -51 % network.stride
        padded = functional.pad(odd, (0, right, 0, bottom), mode="replicate")
        assert torch.equal(network(odd), network.predict(padded)[..., :37, :51])


def test_padding_repeats_the_last_row_and_column() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]])
    expected = [[1.0, 2.0, 2.0, 2.0], [3.0, 4.0, 4.0, 4.0], [5.0, 6.0, 6.0, 6.0], [5.0, 6.0, 6.0, 6.0]]
    assert pad(image, 4)[0, 0].tolist() == expected
    assert pad(image[..., :1, :1], 4).unique().tolist() == [1.0]
    assert pad(image, 1) is image


@pytest.mark.parametrize("kernel", [2, 3])
def test_doubling_starts_with_the_scale_of_its_input(kernel: int) -> None:
    torch.manual_seed(0)
    given = torch.randn(1, 128, 32, 32)
    out = double(128, 128, kernel)(given)
    assert out.shape == (1, 128, 64, 64)
    # He's rule: twice the variance, which the ReLU that follows halves.
    assert out.var().item() == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("name", ["atrous_shuffle", "resnet_shuffle", "shuffle_unet", "unet", "fpn"])
def test_first_outputs_are_small(name: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        assert 0.01 < make(name)(torch.randn(2, 3, 64, 64)).std() < 1.5


def test_residual_adds_the_input_of_each_block() -> None:
    residual, plain = (make("atrous_shuffle", variant=variant).eval() for variant in ("residual", "plain"))
    plain.load_state_dict(residual.state_dict())
    for block in (*residual.blocks, *plain.blocks):
        for parameter in block.body[-1][1].parameters():  # the last norm
            nn.init.zeros_(parameter)
    features = torch.rand(1, 128, 8, 8)
    assert torch.equal(residual.blocks(features), features)
    assert not plain.blocks(features).any()


def test_dense_unet_shares_its_first_layer_and_has_a_branch_for_each_output() -> None:
    network = make("dense_unet").train()
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


@pytest.mark.parametrize(("channels", "outputs", "text"), [(3, 2, r"data\.inputs"), (6, 1, "mask"), (6, 3, "depth")])
def test_dense_unet_says_what_it_needs(channels: int, outputs: int, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"dense_unet.*{text}"):
        models.build("dense_unet", channels, outputs)


@pytest.mark.parametrize("name", ["unet", "fpn"])
def test_separate_decoders_share_nothing_but_the_encoder(name: str) -> None:
    network = small(name, decoders="separate").eval()
    assert len(network.decoders) == len(network.heads) == 2
    first, second = ([*network.decoders[i].parameters(), *network.heads[i].parameters()] for i in (0, 1))
    assert not {id(parameter) for parameter in first} & {id(parameter) for parameter in second}
    starts = [(a, b) for a, b in zip(first, second, strict=True) if a.dim() == 4]
    assert starts
    assert not any(torch.equal(a, b) for a, b in starts)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network(image)
        for parameter in second:
            parameter.add_(0.1)
        after = network(image)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize(("name", "text"), EACH)
def test_saved_network_is_rebuilt_from_its_options(name: str, text: str) -> None:
    if name in ("unet", "fpn"):
        network, again = small(name, decoders=text[9:]), small(name, decoders=text[9:])
    else:
        network, again = make(name, text), make(name, text)
    image = torch.rand(2, NETWORKS[name, text][0], 32, 32)
    with torch.no_grad():
        network(image)  # some running statistics
        again.load_state_dict(network.state_dict())
        assert torch.equal(again.eval()(image), network.eval()(image))


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", "tu-test_convnext"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_networks_are_described_without_memory(encoder: str, channels: int) -> None:
    with torch.device("meta"):
        described = models.build("unet", channels, 2, encoder=encoder).state_dict()
    real = models.build("unet", channels, 2, encoder=encoder).state_dict()
    assert {name: tensor.shape for name, tensor in described.items()} == {n: t.shape for n, t in real.items()}
    assert sum(tensor.numel() for tensor in described.values() if tensor.device.type != "meta") < 50_000


def test_more_channels_than_an_image_has_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"at most 1024 channels in, found 1000000"):
        models.build("unet", 1_000_000, 2)


def test_frozen_encoder_keeps_weights_and_running_statistics() -> None:
    network = small(freeze=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    changed = {
        name.split(".")[0] for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"decoders", "heads"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items() if "encoder" in name)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-test_resnet", "tu-test_convnext"])
def test_local_weights_are_loaded_and_adapted_to_the_channels(tmp_path: Path, encoder: str, suffix: str) -> None:
    import timm
    from safetensors.torch import save_file

    if encoder.startswith("tu-"):
        donor: Any = timm.create_model(encoder[3:])
    else:
        donor = small(encoder=encoder).encoder
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(donor.state_dict(), path)
    else:
        save_file(donor.state_dict(), path)
    network = small(encoder=encoder, channels=1, weights=str(path))
    # From timm the encoder may have its layers under other names, but in the same order.
    held = [tensor for tensor in donor.state_dict().values() if tensor.dim() == 4]
    found = [tensor for tensor in network.encoder.state_dict().values() if tensor.dim() == 4]
    assert torch.allclose(found[0], held[0].sum(1, keepdim=True), atol=1e-6)
    assert len(found) > 5
    assert all(torch.equal(a, b) for a, b in zip(found[1:], held[1:], strict=False))


@pytest.mark.parametrize("what", ["missing", "text", "other"])
@pytest.mark.parametrize("encoder", ["resnet18", "tu-test_resnet", "tu-test_convnext"])
def test_weights_that_do_not_fit_are_named(tmp_path: Path, encoder: str, what: str) -> None:
    import timm

    path = tmp_path / "weights.pth"
    if what == "text":
        path.write_text("not weights")
    elif what == "other":
        torch.save(timm.create_model("test_vit").state_dict(), path)
    with pytest.raises(UsageError, match=r"model\.weights=.*weights\.pth"):
        small(encoder=encoder, weights=str(path))


@pytest.mark.parametrize("encoder", ["resnet18", "tu-test_resnet"])
def test_weights_that_are_pickled_code_are_refused(tmp_path: Path, encoder: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(UsageError, match=r"trap\.pth"):
        small(encoder=encoder, weights=str(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("encoder", ["resnet18", "resnext101_32x4d", "tu-test_resnet"])
def test_pretrained_without_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=rf"model\.pretrained=true.*{encoder}.*model\.weights=FILE"):
        small(encoder=encoder, pretrained=True)


@pytest.mark.parametrize("options", [{}, {"pretrained": True}])
def test_encoder_without_a_pyramid_of_features_is_refused(options: dict[str, bool]) -> None:
    with pytest.raises(ConfigError, match=r"model\.encoder=tu-test_vit: .*model\.name=fpn .*choose another encoder"):
        small("fpn", encoder="tu-test_vit", **options)


@pytest.mark.parametrize(
    ("encoder", "text"),
    [
        ("resnet81", "'resnet18'"),
        ("resnet34d", "'tu-resnet34d'"),
        ("tu-resnt18", "'tu-resnet18'"),
        ("tu-resnet18.a1_in2k", "'a1_in1k'"),
    ],
)
def test_unknown_encoder_is_named_with_the_nearest(encoder: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.encoder: .*Did you mean {text}"):
        models.check_options("unet", {"encoder": encoder})
    with pytest.raises(ConfigError, match=rf"Did you mean {text}"):
        models.build("unet", 3, 2, encoder=encoder)


def test_known_encoders_pass() -> None:
    for encoder in ("resnet18", "mit_b0", "tu-resnet34d", "tu-resnet18.a1_in1k"):
        models.check_options("unet", {"encoder": encoder})
    models.check_options("shuffle_unet", {})


def test_encoders_are_those_of_the_library() -> None:
    import segmentation_models_pytorch as smp

    from visionlab.models.catalog import smp_encoders

    assert smp_encoders() == set(smp.encoders.encoders)


def test_checks_import_neither_torch_nor_the_libraries() -> None:
    code = (
        "import sys; from visionlab import models\n"
        "entries = [models.lookup(name) for name in models.NETWORKS]\n"
        "models.check_options('unet', {'encoder': 'mit_b0'}), models.check_options('fpn', {'encoder': 'tu-resnet18'})\n"
        "print(sorted({entry.kind for entry in entries}), {entry.divisor for entry in entries})\n"
        "print([name for name in ('torch', 'timm', 'segmentation_models_pytorch') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["['dense', 'image'] {1}", "[]"]
