"""Running a command of the project, inside the test's process or in one of its own."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch


def run(verb: str, *arguments: object) -> int:
    """Run ``python -m visionlab.<verb> <arguments>`` without starting another process; return the exit status."""
    module = importlib.import_module(f"visionlab.{verb}")
    with patch.object(sys, "argv", [f"visionlab {verb}", *map(str, arguments)]):
        try:
            module.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def separate(
    verb: str, *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own, for what threads, ranks, imports or the end of the process have a part in."""
    return subprocess.run(
        [sys.executable, "-m", f"visionlab.{verb}", *map(str, arguments)],
        env={**os.environ, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
