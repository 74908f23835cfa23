"""How the commands that Hydra runs start and end: exit status, messages, folders, sweeps; the call from Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import visionlab
from visionlab.errors import ConfigError

SCRIPT = """
import sys
from visionlab.config.hydra_app import hydra_app
from visionlab.training.registry import REGISTRY
from visionlab.errors import DataError
def task(cfg, run_dir, command):
    print(cfg.seed, run_dir.is_dir(), command)
    if cfg.seed == 1: raise DataError("broken image")
    if cfg.seed == 2: raise RuntimeError("a bug")
    if cfg.seed == 3: raise KeyboardInterrupt
    if cfg.seed == 4: cfg.trainer.nothing
hydra_app(task, REGISTRY)
"""


def run(
    arguments: list[str], cwd: Path, script: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the real command, or a script, with its arguments."""
    program = ["-c", script] if script else ["-m", "visionlab.train"]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_gets_its_folder_and_its_own_command(tmp_path: Path) -> None:
    result = run(["hydra.run.dir=out put", "data.include=['a b']"], tmp_path, SCRIPT)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "0 True python -m visionlab.train 'data.include=['\"'\"'a b'\"'\"']'\n"
    assert [path.name for path in (tmp_path / "out put").iterdir()] == ["train.log"]


@pytest.mark.parametrize(
    ("seed", "status", "message", "traceback"),
    [
        (1, 1, "error: broken image", False),
        (2, 1, "RuntimeError: a bug", True),
        (3, 130, "interrupted", False),
        (4, 1, "Key 'nothing' is not in struct", True),
    ],
)
def test_users_mistakes_are_one_message_and_bugs_keep_their_traceback(
    tmp_path: Path, seed: int, status: int, message: str, traceback: bool
) -> None:
    result = run([f"seed={seed}"], tmp_path, SCRIPT)
    assert result.returncode == status
    assert message in result.stderr
    assert ("Traceback" in result.stderr) is traceback
    assert traceback or len(result.stderr.splitlines()) == 1


def test_a_sweep_goes_on_after_a_failed_job_and_says_so_at_the_end(tmp_path: Path) -> None:
    result = run(["-m", "seed=0,1,5", "hydra.sweep.dir=sweep"], tmp_path, SCRIPT)
    assert result.returncode == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["0", "1", "5"]
    assert "job 2 of 3: seed=1" in result.stderr
    assert result.stderr.endswith("error: 1 of 3 jobs failed:\n  seed=1: broken image\n")
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == [
        f"{number}_resnet34" for number in range(3)
    ]


def test_lightning_may_start_the_command_again_for_each_rank(tmp_path: Path) -> None:
    extra = ['hydra.run.dir="outputs/a b/run"', "hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null"]
    result = run(["seed=5", *extra], tmp_path, SCRIPT)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "5 True python -m visionlab.train seed=5\n"
    assert [path.name for path in (tmp_path / "outputs/a b/run").iterdir()] == ["train_ddp_process_1.log"]


def test_the_module_can_be_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def fake(cfg: Any, run_dir: Path, command: str, **_: Any) -> Path:
        calls.append((cfg.model.name, command))
        return run_dir

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("visionlab.training.runner.run", fake)
    monkeypatch.setattr("visionlab.reports.write_report", lambda folder: folder / "report.html")
    first, second = visionlab.train("model=resnet18"), visionlab.train("model=resnet18")
    assert first.is_dir() and second.is_dir() and first != second
    assert first.parent == Path("outputs/focus")
    assert calls == [("resnet18", "python -m visionlab.train model=resnet18")] * 2
    with pytest.raises(ConfigError, match="'resnet34'"):
        visionlab.train("model=resnet43")


def test_m_may_stand_anywhere(tmp_path: Path) -> None:
    result = run(["task=focus", "-m", "seed=5,6", "hydra.sweep.dir=sweep"], tmp_path, SCRIPT)
    assert result.returncode == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["5", "6"]
