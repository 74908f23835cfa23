"""Running a command of the project inside the test's process."""

from __future__ import annotations

import importlib
import sys
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
