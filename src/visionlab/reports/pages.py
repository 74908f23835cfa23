"""HTML pages with everything in them: templates, and pictures as data URIs.

Texts in a run folder may come from anyone: the templates escape all of them, and the page's own security policy
forbids scripts and requests.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from visionlab.drawing import text
from visionlab.reports.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = dict[str, str]
"""What the template needs of a picture: ``src`` (a data URI), ``alt`` and ``width``: half or page."""

FORMS = {b"\x89PNG\r\n\x1a\n": "png", b"GIF8": "gif"}
"""How the files of pictures begin -> what they are."""
MAX_ANIMATION = 3_000_000
"""Bytes of an animation up to which a report holds it."""


def environment() -> jinja2.Environment:
    """Return the templates' environment; everything is escaped, and an unknown name is an error."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "digits": text.digits,
        "interval": text.interval,
        "measure": text.measure,
        "value": text.value,
        "unit": text.unit_text,
    }
    env.globals["better"] = text.BETTER
    return env


def picture(content: bytes, name: str, words: str, *, wide: bool = False) -> Picture:
    """Return a PNG or GIF for the template.

    Raises:
        ValueError: neither of them, or an animation that is too large for a page.
    """
    form = next((form for start, form in FORMS.items() if content.startswith(start)), "")
    if not form:
        raise ValueError(f"{name} is neither a PNG nor a GIF file")
    if form == "gif" and len(content) > MAX_ANIMATION:
        raise ValueError(f"{name} has {len(content) / 1e6:.1f} MB, too much for this page: open the file itself")
    src = f"data:image/{form};base64,{base64.b64encode(content).decode('ascii')}"
    return {"src": src, "alt": words, "width": "page" if wide else "half"}


def drawn(figure: Figure, words: str, *, wide: bool = False) -> Picture:
    """Return the same of a figure that is not kept as a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return picture(content.getvalue(), words, words, wide=wide)


def draw(run: Run, name: str, words: str, make: Callable[[], Figure | None], *, wide: bool = False) -> list[Picture]:
    """Draw ``plots/<name>.png``; an empty list if there is nothing to draw, or else the reason in ``run.missing``."""
    from visionlab.drawing.style import save

    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)

    def written() -> Picture | None:
        figure = make()
        if figure is None:
            return None
        path = save(figure, run.path / "plots" / f"{safe}.png")
        return picture(path.read_bytes(), path.name, words, wide=wide or figure.get_figwidth() > 9)

    shown = run.attempt(f"figure {name}", written)
    return [shown] if shown else []


def ready(run: Run, name: str, words: str) -> list[Picture]:
    """Take ``plots/<name>.png``, or .gif, which only training or evaluation can draw because it needs the images."""
    moving = run.path / "plots" / f"{name}.gif"
    path = moving if moving.is_file() else moving.with_suffix(".png")
    if not path.is_file():
        run.missing[f"plots/{name}.png"] = "drawn from the images at the end of training or evaluation, not from tables"
        return []
    shown = run.attempt(f"plots/{path.name}", lambda: picture(path.read_bytes(), path.name, words, wide=path != moving))
    return [shown] if shown else []
