"""The wheel works on its own, away from the checkout: commands, configuration, templates, type marker."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHT = "import sys, visionlab; print(visionlab.__file__); sys.exit('torch' in sys.modules)"


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Run a command in ``cwd``, with ``path`` before everything else on ``sys.path``, and return its output."""
    # The editable install puts the checkout's src on sys.path too, but after PYTHONPATH.
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_what_is_not_python(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    kept = [*source.rglob("*.py"), *source.rglob("*.html.j2"), source / "visionlab" / "py.typed"]
    expected = {path.relative_to(source).as_posix() for path in kept}
    expected |= {f"visionlab/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert expected <= names
    # Nothing but the package and its metadata: no tests, no outputs, no caches.
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"visionlab"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_installed_package_is_light_and_brings_its_configuration(wheel: Path, tmp_path: Path) -> None:
    site = wheel.parent / "site"
    options = ("--quiet", "--no-deps", "--no-index", "--target", site)
    run(sys.executable, "-m", "pip", "install", *options, wheel, cwd=tmp_path)
    printed = run(sys.executable, "-c", LIGHT, cwd=tmp_path, path=site)
    assert Path(printed.strip()).is_relative_to(site)
    job = ("--cfg", "job", "task=focus")
    settings = run(sys.executable, "-m", "visionlab.train", *job, cwd=tmp_path, path=site)
    assert "_target_: visionlab.datasets.focus.FocusDataModule" in settings
    # The console script takes the same words.
    assert run(site / "bin" / "visionlab", "train", *job, cwd=tmp_path, path=site) == settings
    assert not list(tmp_path.iterdir()), "showing the settings writes nothing"
