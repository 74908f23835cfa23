"""``benchmark``: loading and training are measured apart; memory that does not suffice is noted."""

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
from visionlab.errors import UsageError
from visionlab.training import assembly, throughput
from visionlab.training.registry import REGISTRY

QUICK = ("data.image_size=32", "trainer.accelerator=cpu", "benchmark.seconds=0.001")
DENSE = ("task=depth_mask", "model=dense_unet", "data.inputs=[image,background]", "augment=fgbg_background")


def test_several_networks_and_a_batch_too_large_for_the_memory(
    atlas_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = throughput._training

    def small_device(module: Any, batch: Any, *others: Any) -> Any:
        if len(batch["id"]) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(module, batch, *others)

    monkeypatch.setattr(throughput, "_training", small_device)
    chosen = ("benchmark.models=[resnet10t,resnet18]", "benchmark.batch_sizes=[4,2]", f"data.root={atlas_root}")
    words = ("task=protein_atlas", *QUICK, *chosen, f"hydra.run.dir={tmp_path}")
    assert shell.run("benchmark", *words) == 0
    table = pd.read_csv(tmp_path / "throughput.csv", keep_default_na=False, na_values={"ms": ""})
    assert tuple(table) == throughput.COLUMNS
    loading = [(f"loading, {kind}", size, "") for size in (2, 4) for kind in ("cached", "uncached")]
    steps = [("training step", size, name) for name in ("resnet10t", "resnet18") for size in (2, 4)]
    assert list(zip(table["what"], table["batch_size"], table["model"], strict=True)) == [*loading, *steps]
    assert table["note"].tolist() == [""] * 4 + ["", "out of memory"] * 2
    assert (table["note"] == "").tolist() == table["ms"].notna().tolist()
    good = table[table["note"] == ""].astype({"images_per_second": float, "repeats": float})
    np.testing.assert_allclose(good["images_per_second"], 1000 * good["batch_size"] / good["ms"])
    assert (good["repeats"] >= 3).all()
    parts = good[good["model"] != ""][["forward_ms", "backward_ms", "optimizer_ms"]].astype(float)
    assert (parts > 0).all().all()
    facts = json.loads((tmp_path / "throughput.json").read_text())
    assert facts["models"] == {"resnet10t": 4_937_068, "resnet18": 11_194_012}
    assert (facts["device"], facts["threads"]) == ("CPU", torch.get_num_threads())
    said, page = capsys.readouterr().out, (tmp_path / "report.html").read_text()
    for text in ("out of memory", "images 4 x 32 x 32", "resnet10t (4,937,068 weights)"):
        assert text in said and text in page
    # What was measured is kept.
    with pytest.raises(UsageError, match="expected a new folder"):
        throughput.benchmark(OmegaConf.create(), tmp_path, "")


def test_maps_with_a_loading_process_in_half_precision(depth_mask_root: Path, tmp_path: Path) -> None:
    chosen = ("model=shuffle_unet", "benchmark.batch_sizes=[2]", "data.num_workers=1", "trainer.precision=bf16-mixed")
    words = ("task=depth_mask", *QUICK, *chosen, f"data.root={depth_mask_root}", f"hydra.run.dir={tmp_path}")
    assert shell.run("benchmark", *words) == 0
    assert (pd.read_csv(tmp_path / "throughput.csv")["images_per_second"] > 0).all()
    conditions = json.loads((tmp_path / "throughput.json").read_text())["conditions"]
    for text in ("1 loading process ", "images 3 x 32 x 32", "bf16-mixed"):
        assert text in conditions


@pytest.mark.parametrize("settings", [("task=protein_atlas",), DENSE], ids=["stains", "maps"])
def test_decoding_each_time_gives_what_the_cache_holds(settings: tuple[str, ...], roots: Any) -> None:
    root = roots(settings[0].removeprefix("task="))
    data = assembly.make_data(compose_run([*settings, "data.image_size=32", f"data.root={root}"], REGISTRY)[0])
    data.setup()
    images, maps = throughput._decoding(data)
    pairs = [*zip(images, data.images, strict=True), *((maps[name], one) for name, one in data.stored_maps.items())]
    assert len(pairs) == (4 if settings is DENSE else 1)
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
        (RuntimeError("a bug"), None),
    ],
)
def test_only_what_a_batch_size_explains_is_noted(
    error: Exception, note: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(throughput, "_training", fail)
    measured: tuple[Any, ...] = (torch.nn.Linear(1, 1), {}, torch.device("cpu"), "32-true", 0.0)
    if note is None:
        with pytest.raises(RuntimeError, match="a bug"):
            throughput._step(*measured)
    else:
        assert throughput._step(*measured) == {"note": note}


def test_medians_are_of_what_follows_the_warm_up() -> None:
    values = iter([100.0, 50.0, 1.0, 3.0, 2.0, 9.0])
    parts, row = throughput._median(lambda: next(values), 0.0, 4)
    assert (parts, row) == (2.0, {"ms": 2000.0, "images_per_second": 2.0, "repeats": 3})
