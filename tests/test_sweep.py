"""Hydra's multirun: a run folder for each combination, and one report that compares them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import shell
from tests.conftest import TINY


@pytest.mark.slow
def test_sweep_and_comparison(focus_root: Path, tmp_path: Path) -> None:
    def command(verb: str, *arguments: str) -> str:
        done = shell.separate(verb, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = command("train", "-m", *TINY, f"data.root={focus_root}", "trainer.max_epochs=1", "loss=l1,mse")
    sweeps = list((tmp_path / "outputs" / "focus" / "multirun").iterdir())
    assert len(sweeps) == 1
    runs = sorted(path for path in sweeps[0].iterdir() if path.is_dir())
    assert [run.name for run in runs] == ["0_test_resnet", "1_test_resnet"]
    assert all((run / "report.html").is_file() for run in runs)
    compared = sweeps[0].resolve() / "comparison.html"
    assert printed.strip().endswith(str(compared))
    first = compared.read_text()
    written = Path(command("report", str(sweeps[0])).strip())
    assert (tmp_path / written).resolve() == compared
    assert compared.read_text() == first, "the sweep ends with what the report command writes"
    page = (tmp_path / written).read_text()
    for run in runs:
        assert run.name in page
    assert "visionlab.losses.elementwise.mse" in page or ">mse<" in page
