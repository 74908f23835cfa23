"""The console script and what all commands have in common: help, light start, exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from tests import shell
from visionlab import __version__, cli

# Run in a fresh process: whether torch was imported shows only there.
SCRIPT = """
    import contextlib, importlib, io, json, sys
    result = {}
    for verb, *arguments in json.loads(sys.argv[1]):
        out = io.StringIO()
        sys.argv = [f"visionlab {verb}", *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                importlib.import_module(f"visionlab.{verb}").main()
                status = 0
            except SystemExit as end:
                status = end.code or 0
        result[" ".join([verb, *arguments])] = [status, out.getvalue(), "torch" in sys.modules]
    print(json.dumps(result))
"""


def commands(*lines: str) -> dict[str, tuple[int, str, bool]]:
    """Return {line: exit status, output, whether torch had been imported} of commands in a fresh process."""
    given = json.dumps([line.split() for line in lines])
    script = textwrap.dedent(SCRIPT)
    done = subprocess.run([sys.executable, "-c", script, given], capture_output=True, text=True, check=True)
    result: dict[str, tuple[int, str, bool]] = json.loads(done.stdout)
    return result


def test_every_help_is_readable_and_quick() -> None:
    result = commands(*(f"{verb} --help" for verb in cli.VERBS))
    for verb in cli.VERBS:
        status, text, torch = result[f"{verb} --help"]
        assert status == 0, text
        assert not torch, f"{verb} --help imports torch"
        assert f"visionlab.{verb} [" in text or f"visionlab {verb} [" in text, text
        lines = text.splitlines()
        # Hydra writes all choices of a group on one line.
        assert max(len(line) for line in lines if not line.startswith("model: ")) <= 120
        # Options of one kind stand under a heading of their own, so that a long help can be read.
        assert len(lines) < (90 if verb == "predict" else 60)
        assert "Traceback" not in text
        # Boxes cannot be copied, searched or read aloud.
        assert not set("│╭╰") & set(text)
    assert "Images, volumes" in result["predict --help"][1]
    assert "problems.csv" in result["prepare --help"][1]
    assert "KEY=VALUE" in result["resume --help"][1]


def test_what_was_typed_is_checked_before_torch_is_imported() -> None:
    lines = {
        "predict no_such_run .": "no_such_run: expected a run folder or a checkpoint",
        "predict . --batch-size 0 .": "--batch-size",
        "evaluate": "Missing argument",
        "evaluate . --splitt val": "--split",
        "report no_such_run": "no_such_run",
        "resume no_such_run": "no_such_run",
    }
    result = commands(*lines)
    for line, message in lines.items():
        status, text, torch = result[line]
        assert (status, torch) == (2, False), (line, text)
        assert message in text
        assert "Traceback" not in text


def test_the_console_script_is_the_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.run("predict", "no_such_run", ".") == 2
    as_module = capsys.readouterr().err
    assert shell.run("cli", "predict", "no_such_run", ".") == 2
    assert capsys.readouterr().err == as_module
    assert "no_such_run" in as_module


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_of_the_script_lists_the_commands(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.run("cli", *arguments) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in ("train", "resume", "prepare", "evaluate", "predict", "report"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.run("cli", "--version") == 0
    assert capsys.readouterr().out == f"visionlab {__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.run("cli", "predcit") == 2
    assert "unknown command 'predcit'" in (text := capsys.readouterr().err)
    assert "Did you mean 'predict'?" in text
