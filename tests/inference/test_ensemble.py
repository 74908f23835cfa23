"""Several models as one prediction: what is averaged, what is joined, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests import shell
from tests.untrained import (
    NAMES,
    NAN,
    STAINS,
    Means,
    labels,
    numbers,
    planes,
    predictor,
    write_run,
    write_samples,
)
from visionlab.errors import UsageError
from visionlab.heads.depth.head import DepthHead
from visionlab.heads.head import Head
from visionlab.heads.labels.head import MultilabelHead
from visionlab.heads.mask.head import MaskHead
from visionlab.inference import Ensemble


class Planes(nn.Module):
    """Maps of half the size, which are the image's first channels."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, : self.count, ::2, ::2]


def mask() -> MaskHead:
    return MaskHead("mask", share=0.5, metrics=[], weight=1.0, activation="none")


def depth(high: float = 1.0) -> DepthHead:
    return DepthHead("depth", low=0.0, high=high, mean=1.0, unit="m", metrics=[], weight=1.0, activation="none")


def constant(*logits: float) -> nn.Module:
    """Return a network of these raw values, whatever the image."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(logits)))
    network[2].weight.data = torch.zeros(len(logits), 4)
    network[2].bias.data = torch.tensor(logits)
    return network


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


# What comes out -----------------------------------------------------------------------------------------------------


def test_classes_are_averaged_where_they_overlap_and_joined_where_not() -> None:
    first, second = labels((25, 0), [0.4, 0.5]), labels((2, 25, 16), [0.1, 0.7, NAN])
    second.calibration.copy_(torch.tensor([[1.0, 0.0], [0.5, 1.0], [1.0, 0.0]]))
    merged = Ensemble(
        [predictor([first], constant(1.0, -1.0), STAINS), predictor([second], constant(-2.0, 2.0, 3.0), STAINS)]
    )
    (head,) = merged.heads
    assert isinstance(head, MultilabelHead)
    assert head.ids == (0, 2, 16, 25)
    assert head.columns == tuple(NAMES[number] for number in head.ids)
    found = merged.predict(planes(0))
    expected = [sigmoid(-1), sigmoid(-2), sigmoid(3), (sigmoid(1) + sigmoid(0.5 * 2 + 1)) / 2]
    assert list(found.values) == list(head.columns)
    assert list(found.values.values()) == pytest.approx(expected, rel=1e-6)
    # The mean of the thresholds that there are; the class without any is not predicted, whatever its score.
    np.testing.assert_allclose(head.thresholds.numpy(), [0.5, 0.1, np.nan, 0.55], rtol=1e-6)
    assert found.labels == found.decided["labels"] == ("Nucleoli", "Cytosol")
    assert found.units == dict.fromkeys(head.columns, "")
    assert bool(head.fitted)
    third = Ensemble([*merged.members, predictor([labels((0,))], constant(0.0), STAINS)])
    assert not bool(third.heads[0].fitted), "one that was not fitted makes the whole so"


def test_members_see_images_as_they_were_trained() -> None:
    """Other sizes, stains and networks; numbers of other columns; each is asked as if it were alone."""
    torch.manual_seed(0)
    corner = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
    members = [
        predictor([labels((0, 1))], Means([[3.0, 0, 0, 0], [0, 3.0, 0, 0]]), STAINS, size=(16, 16)),
        predictor([labels((1, 2))], Means([[1.0], [-1.0]]), ["green"], size=(4, 8)),
        predictor([labels((0, 2))], corner, ["red/2+yellow/2", "blue", "green"], size=(6, 6)),
    ]
    merged = Ensemble(members)
    assert merged.channels is not None
    assert merged.channels.names == STAINS
    for number in range(3):
        alone = [member.predict(planes(number)).values for member in members]
        found = merged.predict(np.dstack(list(planes(number).values()))).values
        for column in (NAMES[0], NAMES[1], NAMES[2]):
            expected = np.mean([values[column] for values in alone if column in values])
            assert found[column] == pytest.approx(expected, rel=1e-6)
    sums = Ensemble(
        [
            predictor([numbers("x", "y")], constant(1.0, 2.0), channels=4),
            predictor([numbers("z", "x")], constant(5.0, 4.0), channels=4, size=(4, 4)),
        ]
    )
    total = sums.predict(np.zeros((9, 9, 4), np.uint8))
    assert total.values == {"x": 2.5, "y": 2.0, "z": 5.0}
    assert total.units == dict.fromkeys("xyz", "um")


def test_maps_are_averaged_in_the_size_of_the_image() -> None:
    image = np.zeros((20, 30, 4), np.uint8)
    image[:10, :, 0], image[:, :15, 1] = 255, 102
    members = [
        predictor([mask(), depth(2.0)], Planes(2), channels=4, size=(8, 12)),
        predictor([depth(8.0)], Planes(1), channels=4, size=(40, 60)),
        predictor([numbers("x")], constant(3.0), channels=4),
    ]
    merged = Ensemble(members)
    assert [head.name for head in merged.heads] == ["mask", "depth", "distance"]
    alone = [member.predict(image) for member in members]
    found = merged.predict(image)
    assert found.mask.shape == found.depth.shape == (20, 30)
    assert np.array_equal(found.mask, alone[0].mask)
    np.testing.assert_allclose(found.depth, (alone[0].depth + alone[1].depth) / 2, rtol=1e-6)
    assert found.depth_median == pytest.approx(np.median(found.depth))
    assert found.x == 3.0
    assert found.units["depth"] == "m"
    # 16-bit files of depth have steps for the larger range.
    assert float(merged.heads[1].high) == 8.0  # type: ignore[arg-type]


# What does not fit --------------------------------------------------------------------------------------------------


def renamed() -> MultilabelHead:
    return MultilabelHead("labels", ["Nucleoplasm", "Cell"], ids=[0, 25], positives=[1.0, 1.0], total=2.0)


def shifted() -> MultilabelHead:
    return MultilabelHead("labels", ["Cytosol"], ids=[11], positives=[1.0], total=2.0)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (numbers("x"), numbers("x", unit="mm"), r"B: its head distance has the unit 'mm', that of A 'um'"),
        (numbers("x", name="labels"), labels((0,)), "B: its head labels has the kind 'multilabel', that of A 'regres"),
        (labels((25, 0)), renamed(), "B: in its head labels class 25 is 'Cell', but in A class 25 is 'Cytosol'"),
        (labels((25, 0)), shifted(), "B: in its head labels class 11 is 'Cytosol', but in A 'Cytosol' is class 25"),
        (numbers("x"), numbers("x", name="other"), "'x' is predicted by the head distance of one run and by other of"),
    ],
)
def test_what_does_not_fit_together_is_refused(one: Head, other: Head, expected: str) -> None:
    members = [predictor([head], constant(*[0.0] * head.channels), channels=4) for head in (one, other)]
    with pytest.raises(UsageError, match=expected):
        Ensemble(members, ["A", "B"])
    # Also where a run that goes with both stands between them.
    between = predictor([numbers("between", name="between")], constant(0.0), channels=4)
    with pytest.raises(UsageError, match=expected):
        Ensemble([members[0], between, members[1]], ["A", "between", "B"])


def test_images_of_one_file_and_of_several_do_not_mix() -> None:
    stained, plain = (predictor([labels((0,))], constant(0.0), stains, channels=4) for stains in (STAINS, ()))
    with pytest.raises(UsageError, match="B: takes each image from one file, A from one file for each stain"):
        Ensemble([stained, plain], ["A", "B"])


# In the shell -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "low": write_run(folder / "low", [labels((0, 1, 2), [0.4, 0.5, NAN])], seed=1),
        "high": write_run(folder / "high", [labels((16, 25, 0), [0.5, 0.4, 0.6])], ["green", "blue"], seed=2),
        "focus": write_run(folder / "focus", [numbers("distance")], (), channels=1, seed=3),
        "maps": write_run(folder / "maps", [mask()], (), channels=1, network="shuffle_unet", seed=4),
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("{low}", "{high}"), "Missing argument INPUT: expected images, a folder or a pattern after {high}"),
        (("{low}", "{low}/checkpoints", "{data}"), "{low}/checkpoints/best.ckpt: given twice; expected different runs"),
        (("{low}", "{begun}", "{data}"), "{begun}: expected checkpoints/best.ckpt or checkpoints/last.ckpt in a run"),
        (("{low}", "{sweep}", "{data}"), "found neither. It holds runs, such as {sweep}/0"),
        (("{low}", "{data}x", "{data}"), "{data}x: expected an image, a folder or a pattern, found nothing there"),
        (
            ("{low}", "{focus}", "{data}"),
            "{focus}/checkpoints/best.ckpt: takes each image from one file, {low}/checkpo",
        ),
        (("{data}", "{low}"), "{data}: expected checkpoints/best.ckpt"),
    ],
)
def test_wrong_runs_are_named(
    words: tuple[str, ...],
    expected: str,
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {**runs, "data": write_samples(tmp_path / "data", ["a"]), "begun": tmp_path / "begun"}
    places["sweep"] = tmp_path / "sweep"
    for path in (places["begun"] / "config.yaml", places["begun"] / "run.json", places["sweep"] / "multirun.yaml"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (places["sweep"] / "0" / "checkpoints").mkdir(parents=True)
    arguments = [word.format(**places) for word in words]
    assert shell.run("predict", *arguments, "--out", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert expected.format(**places) in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
