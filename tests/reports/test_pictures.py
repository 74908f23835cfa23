"""Pictures of single samples: contract tests over all kinds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.reports.tables import SPECS, check_readable, spec, tables
from visionlab.heads import KINDS
from visionlab.heads.labels.pictures import heated, suspects
from visionlab.heads.pictures import Measured, Sample, grid, order, pictures_of

RNG = np.random.default_rng(1)
SIZE = (24, 36)


def sample(kind: str, name: str = "a/b/c", *, predicted: bool = True) -> Sample:
    columns = SPECS[kind]["columns"]
    if kind in ("regression", "multilabel"):
        true, pred = np.ones(len(columns)), np.full(len(columns), 0.25)
    else:
        true = np.zeros(SIZE)
        true[4:10, 5:15], true[14:20, 20:30], true[:, -3:] = 1, 2, np.nan
        pred = np.nan_to_num(true > 0).astype(np.float32)[None]
    inputs = {"image": RNG.random((*SIZE, 3)).astype(np.float32)}
    return Sample(name, inputs, {"head": true}, {"head": pred} if predicted else {}, {"head": "IoU 0.93"}, 0.5)


def measured(kind: str, folder: Path, n: int = 8) -> Measured:
    t = tables(kind, n)
    return Measured(
        caption="test: generated sample",
        split="test",
        folder=folder,
        heads={"head": None},
        specs={"head": t.spec},
        table=t.table,
        frames=None,
        place={},
        sample=lambda place: sample(kind, str(place)),
        times=lambda wanted: iter(()),
        maps=lambda frame, head: np.empty(0),
        attention=lambda place, head, k: np.full(SIZE, k / 3, np.float32),
    )


@pytest.mark.parametrize("predicted", [False, True])
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_shows_its_samples(kind: str, predicted: bool, tmp_path: Path) -> None:
    samples = [sample(kind, f"sample_{i}", predicted=predicted) for i in range(3)]
    figure = grid({"train": samples[:2], "test": samples[2:]}, {"head": spec(kind)}, "Samples", "from somewhere")
    check_readable(figure, tmp_path / "one.png")
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["train", "test"]
    assert sum("sample_" in axes.get_title(loc="left") for axes in figure.axes) == 3


def test_numbers_and_labels_stand_under_images() -> None:
    figure = grid({"": [sample("regression")]}, {"head": spec("regression")}, "")
    assert figure.axes[0].get_xlabel() == "1.00 → 0.250 µm"
    figure = grid({"": [sample("multilabel")]}, {"head": spec("multilabel")}, "")
    assert figure.axes[0].get_xlabel().split("\n")[0] == "− 0.25 Nucleoplasm"


def test_maps_stand_beside_images_on_one_scale_with_unknown_pixels_left_out() -> None:
    figure = grid({"": [sample("depth"), sample("depth")]}, {"head": spec("depth")}, "")
    titles = [axes.get_title(loc="left").split("\n")[-1] for axes in figure.axes if axes.images]
    assert titles[:4] == ["image", "target", "prediction", "difference"]
    shown = [axes.images[0] for axes in figure.axes if axes.images]
    assert shown[1].get_clim() == shown[2].get_clim() == shown[5].get_clim() == (0.0, 2.0)
    assert np.ma.is_masked(shown[1].get_array())
    mask = grid({"": [sample("mask")]}, {"head": spec("mask")}, "").axes[3].images[0].get_array()
    assert mask is not None
    assert (mask[:, -3:, 3] == 0).all() and (mask[:, :-3, 3] == 1).all()


@pytest.mark.parametrize("kind", ["regression", "mask", "depth"])
def test_best_and_worst_are_those_of_the_table(kind: str, tmp_path: Path) -> None:
    m = measured(kind, tmp_path)
    ranked = order(m)
    column = "head_iou" if kind == "mask" else "head_mae" if kind == "depth" else "depth_pred"
    values = m.table[column]
    if kind == "regression":
        values = (values - m.table["depth_true"]).abs()
    assert ranked.tolist() == values.sort_values(ascending=kind != "mask").index.tolist()
    figure = pictures_of(kind).pictures(m)["best_worst"]()
    check_readable(figure, tmp_path / "one.png")
    names = [axes.get_title(loc="left").split("\n")[0] for axes in figure.axes if axes.get_title(loc="left")]
    shown = [int(name) for name in names if name.isdigit()]
    half = len(shown) // 2
    assert shown == [*ranked[:half], *ranked[::-1][:half]]
    m.table.loc[ranked[0], column] = np.nan  # no prediction of numbers is worse; a score of maps may be undefined
    assert (order(m)[-1] == ranked[0]) == (kind == "regression")
    assert order(m)[0] != ranked[0]


def test_pictures_of_labels(tmp_path: Path) -> None:
    m = measured("multilabel", tmp_path, 30)
    m.table.loc[4, ["Nucleoplasm_true", "Nucleoplasm_score", "Nucleoplasm_pred"]] = [0, 0.99, 1]
    drawn = pictures_of("multilabel").pictures(m)
    assert set(drawn) == {"most_wrong", "label_errors", "gradcam"}
    for name, draw in drawn.items():
        check_readable(draw(), tmp_path / f"{name}.png")
    found = pd.read_csv(tmp_path / "predictions" / "test_suspects.csv", dtype={"id": str})
    assert found.iloc[0].to_dict() == {"id": "004", "class": "Nucleoplasm", "given": 0, "score": 0.99}
    first = drawn["label_errors"]().axes[0]
    assert (first.get_title(loc="left"), first.get_xlabel().split("\n")[0]) == ("004", "+ 0.99 Nucleoplasm ?")
    assert drawn["most_wrong"]().axes[0].get_title(loc="left") == "004"
    nothing = dataclasses.replace(m, table=m.table.assign(**{f"{c}_score": np.nan for c in m.specs["head"]["columns"]}))
    assert pictures_of("multilabel").pictures(nothing) == {}


def test_suspects_are_contradicted_firmly() -> None:
    true = np.array([[1], [1], [1], [0], [0], [0]], bool)
    scores = np.array([[0.9], [0.8], [0.1], [0.2], [0.1], [0.95]])
    assert suspects(true, scores, scores >= 0.5) == [(5, 0), (2, 0)]
    assert suspects(true, scores, true) == suspects(~true, scores, scores >= 0.5) == []
    assert suspects(np.ones((3, 1), bool), np.zeros((3, 1)), np.zeros((3, 1), bool)) == []


def test_where_nothing_speaks_for_a_class_the_image_stays_grey() -> None:
    image = RNG.random((4, 4, 3)).astype(np.float32)
    assert np.ptp(heated(image, np.zeros((4, 4))), axis=2).max() == pytest.approx(0, abs=1e-6)
    assert np.ptp(heated(image, np.full((4, 4), 0.6)), axis=2).min() > 0.1


def test_a_volume_leaves_outlines_slices_and_an_animation(nuclei_run: Path) -> None:
    with Image.open(nuclei_run / "plots" / "volume.gif") as moving:
        assert getattr(moving, "n_frames", 1) == 12
    assert {"best_worst.png", "slices.png"} <= {path.name for path in (nuclei_run / "plots").iterdir()}


@pytest.mark.parametrize(
    ("depths", "labelled", "moves", "shown"),
    [
        ({"a": 3, "b": 1, "c": 3}, "abc", "c", ["c z 0", "c z 1", "c z 2"]),
        ({"a": 3, "b": 3, "c": 3}, "ac", "c", ["c z 0", "c z 1", "c z 2"]),
        ({"a": 1, "b": 3, "c": 1}, "ac", "", ["a z 0", "c z 0"]),
        ({"a": 1, "b": 3}, "", "", []),
    ],
)
def test_a_volume_with_labels_is_shown_else_images(
    depths: dict[str, int], labelled: str, moves: str, shown: list[str], tmp_path: Path
) -> None:
    """A set of volumes may hold slices by themselves, and time points without labels."""
    rows = [(name, z) for name, depth in depths.items() for z in range(depth)]
    table = pd.DataFrame({"frame": [name for name, _ in rows], "z": [z for _, z in rows], "head_iou": 0.5})
    table["id"] = [name if depths[name] == 1 else f"{name}_{z}" for name, z in rows]
    table["head_area_true"] = [40.0 if name in labelled else 0.0 for name, _ in rows]
    frames = {}
    for name, depth in depths.items():
        truth = np.zeros((depth, *SIZE), np.int32) if name in labelled else np.full((depth, *SIZE), -1, np.int32)
        truth[:, 4:9, 4:12] += 1
        of = {z: rows.index((name, z)) for z in range(depth)}
        image = RNG.random((depth, *SIZE, 1)).astype(np.float32)
        frames[name] = SimpleNamespace(id=name, image=image, truth=truth, rows=of, voxel=None, volume=True)
    head = SimpleNamespace(
        segment=lambda maps, volume: (maps[:, 0] >= 0.5).astype(np.int32),
        post_processing=SimpleNamespace(threshold=0.5),
    )
    m = dataclasses.replace(
        measured("instances", tmp_path),
        table=table,
        heads={"head": head},
        place={k: k for k in range(len(rows))},
        times=lambda wanted: (frame for name, frame in frames.items() if name in wanted),
        maps=lambda frame, head: np.clip(frame.truth, 0, 1)[:, None].astype(np.float32),
    )
    drawn = pictures_of("instances").pictures(m)
    assert (tmp_path / "plots" / "volume.gif").is_file() == bool(moves)
    assert ("slices" in drawn) == bool(shown)
    if shown:
        titles = [axes.get_title(loc="left").split("\n")[0] for axes in drawn["slices"]().axes]
        assert [title for title in titles if " z " in title] == shown
