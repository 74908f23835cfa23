"""``benchmark``: loading and training are measured apart, for every task; memory that does not suffice is noted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from tests import shell
from visionlab.config.compose import compose_run
from visionlab.errors import ConfigError, UsageError
from visionlab.reports.throughput import text_table, throughput_figure
from visionlab.training import assembly
from visionlab.training import throughput as benchmarking
from visionlab.training.registry import REGISTRY
from visionlab.training.throughput import COLUMNS

QUICK = (
    "model=timm",
    "model.name=test_resnet",
    "data.image_size=32",
    "trainer.accelerator=cpu",
    "benchmark.batch_sizes=[4,2]",
    "benchmark.seconds=0.001",
)
DENSE = ("task=depth_mask", "model=dense_unet", "data.inputs=[image,background]", "augment=fgbg_background")


def test_table_picture_and_page(focus_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    settings = ("task=focus", *QUICK, f"data.root={focus_root}", f"hydra.run.dir={out}")
    assert shell.run("benchmark", *settings) == 0
    said = capsys.readouterr().out
    assert "images 1 x 32 x 32" in said
    assert "CPU" in said
    table = pd.read_csv(out / "throughput.csv")
    assert tuple(table) == COLUMNS
    measured = list(zip(table["what"], table["batch_size"], strict=True))
    loading = [(f"loading, {kind}", size) for size in (2, 4) for kind in ("cached", "uncached")]
    assert measured == [*loading, ("training step", 2), ("training step", 4)]
    np.testing.assert_allclose(table["images_per_second"], 1000 * table["batch_size"] / table["ms"])
    step = table[table["what"] == "training step"]
    np.testing.assert_allclose(step[["forward_ms", "backward_ms", "optimizer_ms"]].sum(axis=1), step["ms"])
    assert (table["repeats"] >= 3).all()
    facts = json.loads((out / "throughput.json").read_text())
    assert (facts["device"], facts["threads"], facts["data"]) == ("CPU", torch.get_num_threads(), str(focus_root))
    (weights,) = facts["models"].values()
    assert f"training step, test_resnet ({weights:,} weights)" in said
    page = (out / "report.html").read_text()
    for text in ("test_resnet", "loading, uncached", f"data.root={focus_root}", "data:image/png;base64,"):
        assert text in page
    assert (out / "throughput.png").read_bytes().startswith(b"\x89PNG")
    # What was measured is kept.
    with pytest.raises(UsageError, match="expected a new folder"):
        benchmarking.benchmark(OmegaConf.create(), out, "")
    pd.testing.assert_frame_equal(pd.read_csv(out / "throughput.csv"), table)


def test_a_batch_too_large_for_the_memory_is_noted_and_the_rest_is_measured(
    atlas_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = benchmarking._training

    def small_device(module: Any, batch: Any, *others: Any) -> Any:
        if len(batch["id"]) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return train(module, batch, *others)

    monkeypatch.setattr(benchmarking, "_training", small_device)
    settings = ("data.image_size=32", f"data.root={atlas_root}", "trainer.accelerator=cpu", "data.sampling=sqrt")
    chosen = ("benchmark.models=[resnet10t,resnet18]", "benchmark.batch_sizes=[2,4]", "benchmark.seconds=0.001")
    assert shell.run("benchmark", "task=protein_atlas", *settings, *chosen, f"hydra.run.dir={tmp_path}") == 0
    step = pd.read_csv(tmp_path / "throughput.csv", keep_default_na=False).query("what == 'training step'")
    assert step["model"].tolist() == ["resnet10t"] * 2 + ["resnet18"] * 2
    assert step["weights"].astype(float).tolist() == [4_937_068.0] * 2 + [11_194_012.0] * 2
    assert step["note"].tolist() == ["", "out of memory"] * 2
    assert (step["ms"] != "").tolist() == [True, False] * 2
    assert "out of memory" in capsys.readouterr().out
    assert "out of memory" in (tmp_path / "report.html").read_text()


def test_maps_with_a_loading_process_in_half_precision(depth_mask_root: Path, tmp_path: Path) -> None:
    settings = ("task=depth_mask", "model=shuffle_unet", "data.image_size=32", f"data.root={depth_mask_root}")
    chosen = ("benchmark.batch_sizes=[2]", "benchmark.seconds=0.001", "data.num_workers=1")
    device = ("trainer.accelerator=cpu", "trainer.precision=bf16-mixed")
    assert shell.run("benchmark", *settings, *chosen, *device, f"hydra.run.dir={tmp_path}") == 0
    assert (pd.read_csv(tmp_path / "throughput.csv")["images_per_second"] > 0).all()
    conditions = json.loads((tmp_path / "throughput.json").read_text())["conditions"]
    for text in ("1 loading process ", "images 3 x 32 x 32", "bf16-mixed"):
        assert text in conditions


@pytest.mark.parametrize("task", ["focus", "depth_mask", "protein_atlas"])
def test_decoding_each_time_gives_what_the_cache_holds(task: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue({"protein_atlas": "atlas_root"}.get(task, f"{task}_root"))
    settings = DENSE if task == "depth_mask" else (f"task={task}",)
    data = assembly.make_data(compose_run([*settings, "data.image_size=32", f"data.root={root}"], REGISTRY)[0])
    data.setup()
    images, maps = benchmarking._decoding(data)
    pairs = [
        *zip(images, data.images, strict=True),
        *((maps[name], stored) for name, stored in data.stored_maps.items()),
    ]
    assert len(pairs) == (4 if task == "depth_mask" else 1)
    for decoding, stored in pairs:
        assert type(decoding.cache) is not type(stored.cache)
        for place in {0, 1, len(stored.cache) - 1}:
            np.testing.assert_array_equal(decoding.cache[place], stored.cache[place])


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), "out of memory"),
        (ValueError("Expected more than 1 value per channel when training"), "too few values for batch normalisation"),
        (RuntimeError("a bug"), ""),
    ],
)
def test_only_what_a_batch_size_explains_is_noted(error: Exception, note: str) -> None:
    assert benchmarking._why(error) == note


def test_medians_are_of_what_follows_the_warm_up() -> None:
    values = iter([100.0, 50.0, 1.0, 3.0, 2.0, 9.0])
    assert benchmarking._median(lambda: next(values), 0.0) == (2.0, 3)


def test_the_text_table_has_a_row_for_each_thing_measured(tmp_path: Path) -> None:
    step = {"what": "training step", "model": "a", "weights": 1e6}
    rows = [
        {"what": "loading, cached", "model": "", "batch_size": 8, "images_per_second": 1234.4, "note": ""},
        {"what": "loading, cached", "model": "", "batch_size": 16, "images_per_second": 1500.0, "note": ""},
        {**step, "batch_size": 8, "images_per_second": 3.14159, "note": ""},
        {**step, "batch_size": 16, "note": "out of memory"},
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(tmp_path / "throughput.csv", index=False)
    (tmp_path / "throughput.json").write_text('{"conditions": "CPU"}')
    assert text_table(tmp_path).splitlines() == [
        "CPU",
        "",
        "images/s, by batch size                   8             16",
        "loading, cached                       1,234          1,500",
        "training step, a (1,000,000 weights)   3.14  out of memory",
    ]


def test_the_figure_shows_networks_by_size_where_there_are_several() -> None:
    def table(*models: str) -> pd.DataFrame:
        rows = [
            {"what": "training step", "model": model, "weights": 10**i, "batch_size": size, "ms": 5.0, "note": ""}
            | {"images_per_second": 100.0 / (i + 1)}
            for i, model in enumerate(models)
            for size in (2, 4)
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS)).fillna({"model": ""})

    (only,) = throughput_figure(table("a"), "").axes
    assert [line.get_label() for line in only.get_lines()] == ["step, a"]
    left, right = throughput_figure(table("a", "b", "c"), "somewhere").axes
    assert len(left.get_lines()) == 3
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in right.get_lines()] == [  # type: ignore[index]
        (1, 100.0),
        (10, 50.0),
        (100, pytest.approx(33.33, abs=0.01)),
    ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("benchmark.models=[small_cn]", r"benchmark\.models: expected one of .*Did you mean 'small_cnn'"),
        (
            "benchmark.models=[resnet18,unet]",
            r"benchmark\.models: unet: model\.name: expected a network of kind 'image'",
        ),
        ("benchmark.models=[timm]", r"benchmark\.models: timm: model\.name: expected a value"),
        ("benchmark.batch_sizes=[]", r"benchmark\.batch_sizes: expected a list of int .* at least 1, found \[\]"),
        ("benchmark.batch_sizes=[8,0]", r"benchmark\.batch_sizes: expected a list of int of at least 1"),
        ("benchmark.seconds=0", r"benchmark\.seconds: expected float above 0"),
        ("benchmark.second=1", r"unknown key 'benchmark\.second'\. Did you mean 'benchmark\.seconds'"),
        ("benchmark=null", r"'benchmark=null': expected one of its keys"),
    ],
)
def test_mistakes_name_their_key(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_run(["task=focus", setting], REGISTRY, root="benchmark")


def test_only_the_networks_that_are_measured_must_fit_the_data() -> None:
    settings = ["task=focus", "model=unet"]
    with pytest.raises(ConfigError, match="expected a network of kind 'image'"):
        compose_run(settings, REGISTRY, root="benchmark")
    compose_run([*settings, "benchmark.models=[resnet18]"], REGISTRY, root="benchmark")
