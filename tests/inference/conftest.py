"""What tests of the command on objects share: a run whose model is known, and files whose objects are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import known_objects as known


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return known.write_run(tmp_path / "run")


@pytest.fixture
def predict(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on files into ``out``; return the exit status."""

    def call(*arguments: object, found: Any = None) -> int:
        return known.predict(monkeypatch, found or known.predictor(), run, *arguments, "--out", tmp_path / "out")

    return call


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for time, name in enumerate("abc"):
        known.imagej(tmp_path / "data" / f"{name}.tif", known.series()[min(time, 1)], "ZYX")
    return tmp_path / "data"
