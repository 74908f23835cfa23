"""Two ranks on the CPU: one run folder, one process that writes, every validation sample measured once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.acceptance.conftest import TINY, Command


@pytest.mark.acceptance
def test_two_ranks_train_one_run(command: Command, roots: Callable[[str], Path], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    words = (*TINY["focus"], f"data.root={roots('focus')}", f"hydra.run.dir={run}", "data.batch_size=4")
    done = command("train", *words, "trainer.devices=2", "trainer.strategy=ddp", process=True, cwd=tmp_path)
    assert done.status == 0, done.err
    assert not (tmp_path / "outputs").exists(), "the second rank makes no folder of its own"
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert len({path.name.split(".")[-2] for path in run.glob("events.out.tfevents.*")}) == 1, "one process writes"
    assert done.err.count("caching") <= 1
    assert done.err.count("epoch   1/2") == 1
    # The metric during training, gathered from both ranks, is that of the best checkpoint over the whole split.
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    table = pd.read_csv(run / "predictions" / "val.csv")
    error = (table["distance_pred"] - table["distance_true"]).abs().mean()
    assert min(event.value for event in events.Scalars("val/distance/mae")) == pytest.approx(error, rel=1e-3)
