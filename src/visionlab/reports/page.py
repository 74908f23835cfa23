"""HTML files with everything in them: templates, and pictures as data URIs.

Texts in a run folder may come from anyone: the templates escape all of them, and the page's own security policy
forbids scripts and requests.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from visionlab.drawing import text
from visionlab.drawing.style import save
from visionlab.files import write_text
from visionlab.reports.run import Run

Picture = dict[str, Any]
"""What the template needs of a picture: ``src`` (a data URI), ``alt`` and whether it is ``wide``."""

MAX_ANIMATION = 3_000_000
"""Bytes of an animation up to which a report holds it."""


@dataclass(frozen=True)
class Table:
    """A table of a page: title, headings, rows of texts, notes under it."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def render(path: Path, template: str, **content: Any) -> Path:
    """Write a page and return its path; everything is escaped, and what isn't known is empty."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"interval": text.interval, "value": text.value, "unit": text.unit_text}
    write_text(path, environment.get_template(f"{template}.html.j2").render(**content))
    return path


def picture(content: bytes, words: str, *, wide: bool = False) -> Picture:
    """Return a PNG or GIF for the template.

    Raises:
        ValueError: neither of them, or an animation that is too large for a page.
    """
    form = {b"\x89PNG": "png", b"GIF8": "gif"}[content[:4]]
    if form == "gif" and len(content) > MAX_ANIMATION:
        raise ValueError(f"{len(content) / 1e6:.1f} MB are too much for this page: open the file itself")
    src = f"data:image/{form};base64,{base64.b64encode(content).decode('ascii')}"
    return {"src": src, "alt": words, "wide": wide}


def drawn(figure: Figure, words: str, *, wide: bool = False) -> Picture:
    """Return the same of a figure that is not kept as a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return picture(content.getvalue(), words, wide=wide)


def draw(run: Run, name: str, words: str, make: Callable[[], Figure | None]) -> list[Picture]:
    """Draw ``plots/<name>.png``; an empty list if there is nothing to draw, or else the reason in ``run.missing``."""
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
    figure = run.attempt(f"figure {name}", make)
    if figure is None:
        return []
    path = save(figure, run.path / "plots" / f"{safe}.png")
    return [picture(path.read_bytes(), words, wide=figure.get_figwidth() > 9)]


def ready(run: Run, name: str, words: str) -> list[Picture]:
    """Take ``plots/<name>.png``, or .gif, which only training or evaluation can draw because it needs the images."""
    path = next((path for end in ("gif", "png") if (path := run.path / "plots" / f"{name}.{end}").is_file()), None)
    if path is None:
        run.missing[f"plots/{name}.png"] = "drawn from the images at the end of training or evaluation, not from tables"
        return []
    shown = run.attempt(f"plots/{path.name}", lambda: picture(path.read_bytes(), words, wide=path.suffix == ".png"))
    return [shown] if shown else []
