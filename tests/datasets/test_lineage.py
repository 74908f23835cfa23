"""Counts of cells from one image: the table, the splits, the head that gives no negative counts, and a whole run."""

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
from visionlab.config.checks import check
from visionlab.config.compose import compose
from visionlab.datasets import lineage
from visionlab.datasets.lineage import CElegansLineageDataModule
from visionlab.errors import ConfigError, DataError
from visionlab.heads.regression.head import RegressionHead
from visionlab.training import assembly
from visionlab.training.registry import REGISTRY

COLUMNS = CElegansLineageDataModule.targets["counts"]
HEADER = f"image,sequence,time,{','.join(COLUMNS)}"
SETTINGS = [text for text in TINY if text != "task=focus"]

Write = Callable[[Path, object], None]


def make(root: Path, write_png: Write, embryos: int = 6, times: int = 5) -> Path:
    """Write embryos whose images are the brighter the more cells they have, and a table of the seven counts."""
    rng = np.random.default_rng(0)
    lines = [HEADER]
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


def rewrite(root: Path, change: Callable[[list[str]], list[str]], name: str = "lineage.csv") -> None:
    path = root / name
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


# The table ------------------------------------------------------------------------------------------------------


def test_groups_of_the_table_come_first(root: Path) -> None:
    def grouped(lines: list[str]) -> list[str]:
        return [f"{lines[0]},group", *(f"{line},dish{int(line[:2]) % 2}" for line in lines[1:])]

    rewrite(root, grouped)
    table = lineage.scan(root, "lineage.csv", COLUMNS).usable(root)
    assert set(table["group"]) == {"dish0", "dish1"}
    assert set(table["sequence"]) == {"01", "02", "03", "04", "05", "06"}


# Which columns are counts ---------------------------------------------------------------------------------------


def module(root: Path, *overrides: str) -> CElegansLineageDataModule:
    cfg = compose([*SETTINGS, "task=celegans_lineage", f"data.root={root}", *overrides])
    data = assembly.make_data(cfg)
    assert isinstance(data, CElegansLineageDataModule)
    return data


def test_columns_are_those_of_the_table(root: Path) -> None:
    assert module(root).targets == {"counts": COLUMNS}
    rewrite(root, lambda lines: [lines[0].replace("A,E,M,P,C,D,Z", "AB,MS,E,C,D,P4,all"), *lines[1:]])
    data = module(root)
    assert data.targets == {"counts": ("AB", "MS", "E", "C", "D", "P4", "all")}
    data.setup()
    assert data.values("counts", "train").shape == (len(data.rows["train"]), 7)
    assert module(root, "data.columns=[E,AB]").targets == {"counts": ("E", "AB")}
    # The class's own stay those of the generated set.
    assert CElegansLineageDataModule.targets == {"counts": COLUMNS}


@pytest.mark.parametrize(
    ("columns", "message"), [("[]", "data.columns: .* found none"), ("[A,E,A]", "each column once, found 'A' twice")]
)
def test_columns_that_cannot_be_chosen(root: Path, columns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        module(root, f"data.columns={columns}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", r"a column of the header has no name \(image, sequence, time, , E, .*programs write"),
        ("mean", "the column 'mean' has a name that is used for something else; rename it"),
        ("A_path", "the column 'A_path' has a name"),
    ],
)
def test_columns_that_no_count_can_have(root: Path, name: str, message: str) -> None:
    rewrite(root, lambda lines: [lines[0].replace(",A,", f",{name},"), *lines[1:]])
    with pytest.raises(DataError, match=message):
        module(root).setup()


# Splits ---------------------------------------------------------------------------------------------------------


def assigned(data: CElegansLineageDataModule) -> pd.DataFrame:
    """Return the index with its splits, without reading any image."""
    table = data.choose(data.index(data.locate()), data.locate())
    table["split"] = data.assign(table, data.make_splits(table))
    return table


def test_sequences_are_dealt_as_wholes(root: Path) -> None:
    table = assigned(module(root))
    assert (table["group"] == table["sequence"]).all()
    assert (table.groupby("sequence")["split"].nunique() == 1).all()
    assert set(table["split"]) == {"train", "val", "test"}


def test_one_sequence_is_cut_in_time(tmp_path: Path, write_png: Write) -> None:
    root = make(tmp_path / "one", write_png, embryos=1, times=20)
    rewrite(root, lambda lines: [line.replace("01,", "", 1) if i else line for i, line in enumerate(lines)])
    rewrite(root, lambda lines: [lines[0].replace("sequence,", ""), *lines[1:]])
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
    assert any("time points near another split are left out" in remark for remark in data_remarks(data, table))


def data_remarks(data: CElegansLineageDataModule, table: pd.DataFrame) -> list[str]:
    data.table = table
    return data.remarks()


def test_one_of_two_sequences_is_the_test(root: Path) -> None:
    table = assigned(module(root, "data.include=[01,02]", "data.folds=2", "data.fold=1", "data.gap=0"))
    assert set(table.loc[table["sequence"] == "02", "split"]) == {"test"}
    other = table[table["sequence"] == "01"].sort_values("time")
    assert other["split"].tolist() == ["train"] * 4 + ["val"]


# The head -------------------------------------------------------------------------------------------------------


def head(activation: str) -> RegressionHead:
    return RegressionHead("counts", ["A", "E"], mean=[10.0, 1.0], std=[5.0, 2.0], unit="cells", activation=activation)


def test_counts_are_never_negative_and_not_rounded() -> None:
    raw = torch.tensor([[-3.0, 0.5], [0.25, -0.75]])
    assert head("none").decode(raw).tolist() == [[-5.0, 2.0], [11.25, -0.5]]
    assert head("nonnegative").decode(raw).tolist() == [[0.0, 2.0], [11.25, 0.0]]
    assert RegressionHead.from_spec("counts", head("nonnegative").spec()).activation == "nonnegative"


def test_too_low_a_count_is_still_learnt_from() -> None:
    from visionlab.losses.elementwise import l1

    raw = torch.tensor([[-3.0, 0.0]], requires_grad=True)
    head("nonnegative").loss(raw, torch.tensor([[0.0, 1.0]]), l1()).backward()
    assert raw.grad is not None
    assert raw.grad[0, 0] < 0


def test_activations_of_numbers_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"heads\.counts\.activation: expected one of none, nonnegative"):
        check(compose(["task=celegans_lineage", "heads.counts.activation=relu"]), REGISTRY)


def test_run(root: Path, tmp_path: Path) -> None:
    from visionlab.train import run as train

    folder = tmp_path / "run"
    settings = [*SETTINGS, "task=celegans_lineage", f"data.root={root}", "callbacks.images.every_n_epochs=9"]
    train(compose([*settings, "optimizer.lr=1e-2", "trainer.max_epochs=1"]), folder, "a test")
    table = pd.read_csv(folder / "predictions" / "test.csv", dtype={"sequence": str})
    assert list(table.columns[:6]) == ["id", "group", "split", "path", "sequence", "time"]
    assert (table["id"] == table["sequence"] + "/t" + table["time"].astype(str)).all()
    predicted = table[[f"{name}_pred" for name in COLUMNS]].to_numpy()
    true = table[[f"{name}_true" for name in COLUMNS]].to_numpy()
    assert (predicted >= 0).all()
    assert (predicted % 1 != 0).any()
    metrics = json.loads((folder / "metrics.json").read_text())
    errors = np.abs(predicted - true).mean(axis=0)
    for place, name in enumerate(COLUMNS):
        assert metrics[f"test/counts/{name}/mae"]["value"] == pytest.approx(errors[place], rel=1e-5)
        assert metrics[f"test/counts/{name}/mae"]["unit"] == "cells"
    assert metrics["test/counts/mae"]["value"] == pytest.approx(errors.mean(), rel=1e-5)
    splits = json.loads((folder / "splits.json").read_text())
    assert sum(len(splits[split]) for split in ("train", "val", "test")) == 6
    plots = {path.stem for path in (folder / "plots").iterdir()}
    assert {f"test_counts_{name}" for name in ("over_time", "scatter", "errors", "by_group")} <= plots
    assert not any(name.startswith("test_A") for name in plots)
    card = json.loads((folder / "data_card.json").read_text())
    assert any("always the same number in training" in note and "P, D" in note for note in card["notes"])

    out = tmp_path / "out"
    assert shell.run("predict", folder, root / "01", "--out", out) == 0
    found = pd.read_csv(out / "predictions.csv")
    assert set(found["name"]) == set(COLUMNS)
    assert (found["value"] >= 0).all()
    assert (found["unit"] == "cells").all()
