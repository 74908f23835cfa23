"""Runs that an earlier visionlab made give the numbers that they gave then: predictions, metrics, weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Command
from tests.acceptance.golden_cases import (
    CASES,
    EXPECTED,
    GOLDEN,
    Tolerance,
    differences,
    lay_out,
    resumed,
    tolerance,
)

# Part of make test: every way once or more, and the quickest of the tasks for the slower ones.
QUICK = {
    "predicted": set(CASES),
    "in_python": set(CASES),
    "evaluated": {"protein_atlas"},
    "evaluated_other": {"celegans_nuclei", "depth_mask"},
    "resumed": {"focus", "celegans_membrane"},
    "continued": {"celegans_lineage"},
}


def every_case() -> Iterator[Any]:
    """Yield (case, what it is to give) for all, those that make test leaves out marked."""
    for what in EXPECTED:
        for name in CASES:
            marks = () if name in QUICK[what] else (pytest.mark.acceptance,)
            yield pytest.param(name, what, id=f"{what}-{name}", marks=marks)


@pytest.mark.parametrize(("name", "what"), every_case())
def test_a_run_gives_what_it_gave(name: str, what: str, tmp_path: Path) -> None:
    case = CASES[name]
    root = lay_out(case, tmp_path / "case")
    found = EXPECTED[what](case, root)
    told = differences(found, GOLDEN / name / "expected" / what, root, tolerance())
    assert not told, "\n".join(told[:20])


@pytest.mark.acceptance
@pytest.mark.parametrize("name", ["depth_mask", "protein_atlas"])  # in stages; drawing samples
def test_stopped_once_more_it_ends_in_the_same_weights(name: str, tmp_path: Path, command: Command) -> None:
    """To the last bit on any machine, for both are of this one."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    case = CASES[name]
    root = lay_out(case, tmp_path / "case")
    straight = resumed(case, root).rename(tmp_path / "straight")
    shutil.rmtree(root)
    lay_out(case, root)
    steps = 0

    def stepped(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    hook = register_optimizer_step_post_hook(stepped)
    try:
        ended = command("resume", root / "stopped")
    finally:
        hook.remove()
    assert ended.status == 128 + signal.SIGTERM, ended.err
    assert json.loads((root / "stopped" / "status.json").read_text())["state"] == "interrupted"
    told = differences(resumed(case, root), straight, root, Tolerance(0.0, 0.0, exact=True))
    assert not told, "\n".join(told[:20])


def test_the_files_are_few_and_say_where_they_are_from() -> None:
    files = [path for path in GOLDEN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert len(json.loads((GOLDEN / "made.json").read_text())["commit"]) == 40
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} == set(CASES)
