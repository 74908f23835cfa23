"""Counts of cells from one image: the table, its columns, the splits in time, and a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests import shell
from tests.conftest import TINY
from visionlab.config.compose import compose
from visionlab.datasets.lineage import CElegansLineageDataModule
from visionlab.errors import ConfigError, DataError
from visionlab.heads.regression.head import RegressionHead
from visionlab.losses.elementwise import l1
from visionlab.training import assembly

COLUMNS = CElegansLineageDataModule.targets["counts"]
SETTINGS = [text for text in TINY if text != "task=focus"]

Write = Callable[[Path, object], None]


def make(root: Path, write_png: Write, embryos: int = 6, times: int = 5, header: str = "") -> Path:
    """Write embryos whose images are the brighter the more cells they have, and a table of the seven counts."""
    rng = np.random.default_rng(0)
    lines = [header or f"image,sequence,time,{','.join(COLUMNS)}"]
    for embryo in range(1, embryos + 1):
        for time in range(times):
            image = rng.integers(0, 20, (24, 24)) + 10 * time
            write_png(root / f"{embryo:02}" / f"t{time}.png", image.astype(np.uint8))
            counts = [2**time, time, time, 2, time // 2, 0, min(time, 2)]
            lines.append(f"{embryo:02}/t{time}.png,{embryo:02},{time},{','.join(map(str, counts))}")
    (root / "lineage.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def root(tmp_path: Path, write_png: Write) -> Path:
    return make(tmp_path / "embryos", write_png)


def module(root: Path, *overrides: str) -> CElegansLineageDataModule:
    data = assembly.make_data(compose([*SETTINGS, "task=celegans_lineage", f"data.root={root}", *overrides]))
    assert isinstance(data, CElegansLineageDataModule)
    return data


def test_columns_are_those_of_the_table(tmp_path: Path, write_png: Write) -> None:
    root = make(tmp_path / "set", write_png, header="image,sequence,time,AB,MS,E,C,D,P4,all")
    assert module(root).targets == {"counts": ("AB", "MS", "E", "C", "D", "P4", "all")}
    assert module(root, "data.columns=[E,AB]").targets == {"counts": ("E", "AB")}
    # The class's own stay those of the generated set.
    assert CElegansLineageDataModule.targets == {"counts": COLUMNS}
    with pytest.raises(ConfigError, match=r"data\.columns: expected each column once, found E, AB, E"):
        module(root, "data.columns=[E,AB,E]")


@pytest.mark.parametrize("name", ["", "mean", "A_path"])
def test_columns_that_no_count_can_have(name: str, tmp_path: Path, write_png: Write) -> None:
    root = make(tmp_path / "set", write_png, header=f"image,sequence,time,{name},E,M,P,C,D,Z")
    with pytest.raises(DataError, match=f"expected another name of a column of counts than '{name}'"):
        module(root).setup()


# Splits ---------------------------------------------------------------------------------------------------------


def assigned(data: CElegansLineageDataModule) -> pd.DataFrame:
    """Return the index with its splits, without reading any image."""
    table = data.choose(data.index(data.locate()), data.locate())
    table["split"] = data.assign(table, data.make_splits(table))
    data.table = table
    return table


def test_groups_are_those_of_the_table_or_the_sequences(root: Path) -> None:
    table = assigned(module(root))
    assert (table["group"] == table["sequence"]).all()
    assert (table.groupby("sequence")["split"].nunique() == 1).all()
    assert set(table["split"]) == {"train", "val", "test"}
    lines = (root / "lineage.csv").read_text().splitlines()
    dishes = [f"{line},dish{int(line[:2]) % 2}" for line in lines[1:]]
    (root / "lineage.csv").write_text("\n".join([f"{lines[0]},group", *dishes]))
    assert set(module(root).index(root)["group"]) == {"dish0", "dish1"}


def test_one_sequence_is_cut_in_time(tmp_path: Path, write_png: Write) -> None:
    root = make(tmp_path / "one", write_png, embryos=1, times=20)
    text = (root / "lineage.csv").read_text()
    (root / "lineage.csv").write_text(text.replace("sequence,", "").replace(".png,01,", ".png,"))
    data = module(root)
    table = assigned(data)
    assert set(table["sequence"]) == {"lineage"}
    assert table["group"].nunique() == 10
    assert (table[table["split"] != ""].groupby("group")["split"].nunique() == 1).all()
    times = {split: set(rows["time"]) for split, rows in table.groupby("split")}
    for split in ("train", "val"):
        for other in {"train", "val", "test"} - {split}:
            assert min(abs(a - b) for a in times[split] for b in times[other]) > 1
    assert len(times["test"]) == 4
    assert any("time points near another split are left out" in remark for remark in data.remarks())


def test_counts_are_never_negative_but_too_low_ones_are_learnt_from() -> None:
    head = RegressionHead(
        "counts", ["A", "E"], mean=[10.0, 1.0], std=[5.0, 2.0], unit="cells", activation="nonnegative"
    )
    raw = torch.tensor([[-3.0, 0.5]], requires_grad=True)
    assert head.decode(raw).tolist() == [[0.0, 2.0]]
    head.loss(raw, torch.tensor([[0.0, 2.0]]), l1()).backward()
    assert raw.grad is not None and raw.grad[0, 0] < 0


def test_run(root: Path, tmp_path: Path) -> None:
    from visionlab.train import run as train

    folder = tmp_path / "run"
    settings = [*SETTINGS, "task=celegans_lineage", f"data.root={root}", "callbacks.images.every_n_epochs=9"]
    train(compose([*settings, "optimizer.lr=1e-2", "trainer.max_epochs=1"]), folder, "a test")
    table = pd.read_csv(folder / "predictions" / "test.csv", dtype={"sequence": str})
    assert list(table.columns[:6]) == ["id", "group", "split", "path", "sequence", "time"]
    predicted, true = (table[[f"{name}_{what}" for name in COLUMNS]].to_numpy() for what in ("pred", "true"))
    assert (predicted >= 0).all() and (predicted % 1 != 0).any(), "counts are neither negative nor rounded"
    metrics = json.loads((folder / "metrics.json").read_text())
    errors = np.abs(predicted - true).mean(axis=0)
    for place, name in enumerate(COLUMNS):
        assert metrics[f"test/counts/{name}/mae"]["value"] == pytest.approx(errors[place], rel=1e-5)
    assert metrics["test/counts/mae"]["value"] == pytest.approx(errors.mean(), rel=1e-5)
    card = json.loads((folder / "data_card.json").read_text())
    assert any("always the same number in training" in note and "P, D" in note for note in card["notes"])
    out = tmp_path / "out"
    assert shell.run("predict", folder, root / "01", "--out", out) == 0
    found = pd.read_csv(out / "predictions.csv")
    assert set(found["name"]) == set(COLUMNS) and (found["value"] >= 0).all() and (found["unit"] == "cells").all()
