"""Two ranks on the CPU: one run folder, the same weights in both, every validation sample measured once."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests import shell
from tests.conftest import TINY


@pytest.mark.slow
def test_two_ranks_train_one_run(focus_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [*TINY, f"data.root={focus_root}", f"hydra.run.dir={run}", "data.batch_size=4"]
    done = shell.separate("train", *settings, "trainer.devices=2", "trainer.strategy=ddp", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "outputs").exists(), "the second rank makes no folder of its own"
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    from visionlab.reports.run import read_scalars

    writers = {path.name.split(".")[-2] for path in run.glob("events.out.tfevents.*")}
    assert len(writers) == 1, "one process writes"
    assert done.stderr.count("caching") <= 1
    assert done.stderr.count("epoch   1/2") == 1
    # The metric during training, gathered from both ranks, is that of the best checkpoint over the whole split.
    table = pd.read_csv(run / "predictions" / "val.csv")
    error = (table["distance_pred"] - table["distance_true"]).abs().mean()
    assert read_scalars(run)["val/distance/mae"]["value"].min() == pytest.approx(error, rel=1e-3)
