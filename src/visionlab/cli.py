"""The console script ``visionlab VERB ...``: the same commands as ``python -m visionlab.VERB ...``."""

from __future__ import annotations

import importlib
import sys

from visionlab.errors import nearest
from visionlab.version import __version__

VERBS = {
    "train": "train, test and report; -m sweeps",
    "resume": "go on with an interrupted run, exactly where it stopped",
    "prepare": "check, index, split and cache a data set",
    "benchmark": "images a second by batch size and network, loading and step apart",
    "evaluate": "metrics with intervals on a split or another labelled folder",
    "predict": "images, folders, patterns -> csv",
    "report": "the report again, or several runs side by side",
}


def main() -> None:
    """Run the command named by the first argument; exit status 2 if there is no such command."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        print("usage: visionlab COMMAND ...\n")
        print("\n".join(f"  {name:<10} {what}" for name, what in VERBS.items()))
        print("\n`visionlab COMMAND --help` says more.")
    elif verb == "--version":
        print(f"visionlab {__version__}")
    elif verb in VERBS:
        sys.argv = [f"visionlab {verb}", *sys.argv[2:]]
        importlib.import_module(f"visionlab.{verb}").main()
    else:
        print(f"error: unknown command '{verb}'; there are: {', '.join(VERBS)}.{nearest(verb, VERBS)}", file=sys.stderr)
        sys.exit(2)
