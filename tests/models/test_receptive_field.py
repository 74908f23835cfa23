"""How much of the image an output depends on, and the table of a network's parts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from visionlab import models
from visionlab.models.blocks import DenseNetwork
from visionlab.models.receptive_field import parameters, receptive_field, summarise


def conv(kernel: int = 3, *, inputs: int = 2, **options: Any) -> nn.Conv2d:
    dilation = options.get("dilation", 1)
    return nn.Conv2d(inputs, 2, kernel, padding=dilation * (kernel // 2), **options)


class Calls(nn.Module):
    """A network written as one function."""

    def __init__(self, function: Callable[..., torch.Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.function(image, *self.layers)


def gate(image: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    wide, narrow = layer(image).chunk(2, dim=1)
    return torch.cat([image[:, :1], wide * narrow.sigmoid()], dim=1)


def channels_last(image: torch.Tensor, norm: nn.Module, linear: nn.Module) -> torch.Tensor:
    return functional.gelu(linear(norm(image.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


def merged(image: torch.Tensor, *layers: nn.Module) -> torch.Tensor:
    return torch.stack([layer(image) for layer in layers]).sum(dim=0)


def in_place(image: torch.Tensor, first: nn.Module, second: nn.Module) -> torch.Tensor:
    found = second(image)
    found += first(image)
    return found.mul_(2).relu_()


def doubled(mode: str, **options: bool) -> Callable[..., torch.Tensor]:
    def function(image: torch.Tensor, first: nn.Module, second: nn.Module) -> torch.Tensor:
        return second(functional.interpolate(first(image), scale_factor=2, mode=mode, **options))

    return function


NETWORKS: dict[str, tuple[nn.Module, int]] = {
    "1x1": (conv(1), 1),
    "3x3": (conv(), 3),
    "dilated": (conv(5, dilation=3), 13),
    "strided": (nn.Sequential(conv(stride=2), conv()), 7),
    "norms and dropout": (nn.Sequential(conv(), nn.BatchNorm2d(2), nn.GELU(), nn.GroupNorm(1, 2), nn.Dropout(0.5)), 3),
    "max-pool": (nn.Sequential(nn.MaxPool2d(3, 2, 1), conv()), 7),
    "average-pool": (nn.Sequential(nn.AvgPool2d(2), conv()), 6),
    "depthwise": (nn.Sequential(nn.Conv2d(2, 2, 5, padding=2, groups=2), conv(1)), 5),
    # Two pixels of the output lie in one of half the size, so five of them are in three of those, each of three pixels.
    "pixel shuffle": (
        nn.Sequential(conv(stride=2), nn.Conv2d(2, 8, 1), nn.PixelShuffle(2), conv(), conv()),
        7,
    ),
    "transposed 3": (nn.Sequential(conv(1, stride=2), nn.ConvTranspose2d(2, 2, 3, 2, 1, output_padding=1)), 3),
    "transposed 2": (nn.Sequential(conv(1, stride=2), nn.ConvTranspose2d(2, 2, 2, 2)), 1),
    "transposed 4, dilated": (nn.ConvTranspose2d(2, 2, 4, padding=3, dilation=2), 7),
    "nearest": (Calls(doubled("nearest"), conv(stride=2), conv()), 5),
    "bilinear": (Calls(doubled("bilinear"), conv(stride=2), conv(1)), 5),
    "bilinear, corners": (Calls(doubled("bilinear", align_corners=True), conv(stride=2), conv(1)), 5),
    "gate": (Calls(gate, conv()), 3),
    "channels last": (nn.Sequential(conv(), Calls(channels_last, nn.LayerNorm(2), nn.Linear(2, 3))), 3),
    "sum of branches": (Calls(merged, conv(), conv(7), conv(1)), 7),
    "in place": (Calls(in_place, conv(), conv(7)), 7),
    "padded within": (nn.Sequential(nn.ReplicationPad2d(2), nn.Conv2d(2, 2, 5)), 5),
    "padded with a value": (nn.Sequential(nn.ConstantPad2d(2, 1.0), nn.Conv2d(2, 2, 5)), 5),
    "wider than the first strip": (nn.Sequential(conv(dilation=400), conv(dilation=300)), 1401),
    "nothing": (nn.Identity(), 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_receptive_fields_of_single_operations(name: str) -> None:
    network, expected = NETWORKS[name]
    assert receptive_field(network, 2) == expected


UNBOUNDED: dict[str, nn.Module] = {
    "squeeze and excitation": Calls(lambda image: image * image.mean((2, 3), keepdim=True).sigmoid()),
    "pooled": Calls(lambda image: image + nn.AdaptiveAvgPool2d(1)(image)),
    "attention": Calls(lambda image: image.flatten(2).softmax(-1).reshape(image.shape)),
    "rows turned round": Calls(lambda image: image + image.flip(2)),
    "wider than any image": nn.Sequential(*(conv(dilation=dilation) for dilation in (512, 1024, 2048))),
    "one size only": Calls(lambda image: image + torch.zeros(1, 2, 224, 224)),
    "classifier": nn.Sequential(conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)),
    "dependent weights": Calls(lambda image: functional.conv2d(image, image[:1, :, :3, :3], padding=1)),
}


@pytest.mark.parametrize("name", UNBOUNDED)
def test_none_where_there_is_no_bound_or_none_is_known(name: str) -> None:
    assert receptive_field(UNBOUNDED[name], 2) is None


def by_gradient(network: DenseNetwork, channels: int, height: int) -> int:
    """Return the same, from which pixels a change of each output of one period can come, with all weights positive."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.Identity())
    for parameter in network.parameters():
        fill = 1 / parameter[0].numel() if parameter.dim() > 1 else 1.0
        parameter.data.fill_(fill)
    image = torch.ones(1, channels, height, network.stride, requires_grad=True)
    output = network(image)
    most = 0
    for row in range(height // 2, height // 2 + network.stride):
        (gradient,) = torch.autograd.grad(output[0, :, row].sum(), image, retain_graph=True)
        seen = gradient.sum((0, 1, 3)).nonzero()
        assert 0 < seen.min() < seen.max() < height - 1
        most = max(most, int(seen.max() - seen.min() + 1))
    return most


@pytest.mark.parametrize(
    ("name", "channels", "options", "expected"),
    [
        ("atrous_shuffle", 3, {"variant": "residual"}, 83),
        ("atrous_shuffle", 3, {"variant": "plain"}, 83),
        ("atrous_shuffle", 3, {"variant": "transposed"}, 125),
        ("resnet_shuffle", 3, {}, 129),
        ("shuffle_unet", 3, {}, 207),
        ("dense_unet", 6, {}, 62),
        ("unet", 3, {"encoder": "tu-test_resnet", "decoders": "separate"}, 295),
        ("fpn", 3, {"encoder": "tu-test_resnet"}, 359),
    ],
)
def test_receptive_fields_agree_with_gradients(
    monkeypatch: pytest.MonkeyPatch, name: str, channels: int, options: dict[str, str], expected: int
) -> None:
    network: Any = models.build(name, channels, 2, **options)
    assert receptive_field(network, channels) == expected
    # The largest of a window hides the others' gradients.
    monkeypatch.setattr(functional, "max_pool2d", functional.avg_pool2d)
    assert by_gradient(network, channels, (2 * expected // 64 + 2) * 64) == expected


@pytest.mark.parametrize(("variant", "expected"), [("residual", 79), ("plain", 79), ("transposed", 119)])
def test_published_receptive_fields_are_those_of_the_features_before_they_are_enlarged(
    variant: str, expected: int
) -> None:
    network: Any = models.build("atrous_shuffle", 3, 2, variant=variant)
    assert receptive_field(nn.Sequential(network.stem, network.blocks), 3) == expected


@pytest.mark.parametrize(
    ("encoder", "expected"), [("resnet18", 563), ("resnet152", 1579), ("efficientnet-b0", None), ("mit_b0", None)]
)
def test_receptive_fields_of_encoders(encoder: str, expected: int | None) -> None:
    with torch.device("meta"):
        network = models.build("unet", 3, 1, encoder=encoder)
    assert receptive_field(network, 3) == expected


def test_nothing_is_changed_by_measuring() -> None:
    network: Any = models.build("unet", 3, 2, encoder="tu-test_resnet").train()
    network.encoder.eval()
    modes = [module.training for module in network.modules()]
    kept = copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    receptive_field(network, 3)
    summarise(network, 3, (33, 40))
    receptive_field(Calls(lambda image: image.flatten(2).softmax(-1)), 3)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(torch.ones(2).add(1), torch.full((2,), 2.0))


def test_summary_shows_each_part() -> None:
    network = models.build("atrous_shuffle", 3, 2)
    assert parameters(network) == 893_792
    title, header, *lines = summarise(network, 3, (75, 101)).splitlines()
    assert title == "AtrousShuffle, 3 x 75 x 101 in, 893,792 weights are trained"
    assert header.split() == ["part", "output", "weights", "receptive", "field"]
    table = {line.split("  ")[0]: line.split("  ")[1:] for line in lines if not line.startswith(" ")}
    cells = {name: [cell.strip() for cell in row if cell.strip()] for name, row in table.items()}
    assert cells == {
        "stem": ["128 x 38 x 51", "93,472", "7"],
        "blocks": ["128 x 38 x 51", "290,112", "79"],
        "upsample": ["128 x 76 x 102", "66,560", "79"],
        "head": ["2 x 76 x 102", "443,648", "83"],
        "all": ["2 x 75 x 101", "893,792", "83"],
    }
    assert lines[7].split() == ["2", "128", "x", "38", "x", "51", "96,704", "79"]


def test_summary_of_separate_decoders_and_a_frozen_encoder() -> None:
    network = models.build("unet", 3, 2, encoder="tu-test_resnet", decoders="separate", freeze=True)
    text = summarise(network, 3, (64, 64))
    trained = parameters(network) - parameters(network.encoder)  # type: ignore[arg-type]
    assert f"{trained:,} weights are trained" in text
    assert [line.split()[0] for line in text.splitlines()[2:] if line[0] != " "] == [
        *("encoder", "decoders.0", "decoders.1", "heads.0", "heads.1", "all")
    ]
