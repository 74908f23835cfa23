"""The report of a run: one HTML file with everything in it, made from the run folder alone.

Texts in a run folder may come from anyone: the templates escape all of them, and the page's own security policy
forbids scripts and requests.
"""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import yaml

from visionlab.drawing import text
from visionlab.files import write_text
from visionlab.reports import class_table, data_facts, facts
from visionlab.reports.caveats import caveats
from visionlab.reports.run import SPLITS, Run, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMS = {b"\x89PNG\r\n\x1a\n": "png", b"GIF8": "gif"}
"""How the files of pictures begin -> what they are."""
MAX_ANIMATION = 3_000_000
"""Bytes of an animation up to which a report holds it."""


def write_report(run_dir: Path | str) -> Path:
    """Draw ``plots/*.png`` of a run folder, write its ``report.html`` and return that path.

    Reads nothing but the run folder. What is missing or unreadable is named in the report with the reason.

    Raises:
        DataError: not a run folder (no config.yaml).
    """
    run = read_run(Path(run_dir))
    images = {"results": _result_figures(run), "training": _training_figures(run), "data": data_figures(run)}
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            title=f"{run.task} · {run.model}",
            state=facts.state(run),
            key_results=facts.key_results(run),
            metrics=facts.metric_table(run),
            gains=run.attempt("what thresholds gain", lambda: class_table.gains(run)) or [],
            classes=run.attempt("tables of classes", lambda: class_table.class_tables(run)) or [],
            images=images,
            card=run.attempt("data_card.json", lambda: data_facts.card(run)),
            commands=_commands(run),
            made=facts.made(run),
            versions=facts.versions(run),
            config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
            caveats=caveats(run),
            leak=run.leak,
        )
    )
    path = run.path / "report.html"
    write_text(path, page)
    return path


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


def picture(path: Path, words: str, width: str) -> dict[str, str]:
    """Return what the template needs of a PNG or GIF: ``src`` (a data URI), ``alt`` and ``width``: half, middle, page.

    Raises:
        ValueError: neither of them, or an animation that is too large for a page.
    """
    content = path.read_bytes()
    form = next((form for start, form in FORMS.items() if content.startswith(start)), "")
    if not form:
        raise ValueError(f"{path.name} is neither a PNG nor a GIF file")
    if form == "gif" and len(content) > MAX_ANIMATION:
        raise ValueError(f"{path.name} has {len(content) / 1e6:.1f} MB, too much for this page: open the file itself")
    return {"src": _data_uri(content, form), "alt": words, "width": width}


def png(figure: Figure, words: str) -> dict[str, str]:
    """Return the same of a figure that is not kept as a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return {"src": _data_uri(content.getvalue()), "alt": words, "width": "half"}


def _data_uri(content: bytes, form: str = "png") -> str:
    return f"data:image/{form};base64,{base64.b64encode(content).decode('ascii')}"


def _draw(run: Run, name: str, words: str, make: Callable[[], Figure], width: str = "half") -> list[dict[str, str]]:
    """Draw ``plots/<name>.png``; an empty list, and the reason in ``run.missing``, if that cannot be done."""
    from visionlab.drawing.style import save

    path = run.path / "plots" / f"{name}.png"
    shown = run.attempt(f"figure {name}", lambda: picture(save(make(), path), words, width))
    return [shown] if shown else []


def _ready(run: Run, name: str, words: str) -> list[dict[str, str]]:
    """Take ``plots/<name>.png``, or .gif, which only training or evaluation can draw because it needs the images."""
    moving = run.path / "plots" / f"{name}.gif"
    path = moving if moving.is_file() else moving.with_suffix(".png")
    if not path.is_file():
        run.missing[f"plots/{name}.png"] = "drawn from the images at the end of training or evaluation, not from tables"
        return []
    shown = run.attempt(f"plots/{path.name}", lambda: picture(path, words, "middle" if path == moving else "page"))
    return [shown] if shown else []


def _result_figures(run: Run) -> list[dict[str, str]]:
    from visionlab.reports.figures import FIGURES, Part

    stage = next((split for split in SPLITS if split in run.predictions), "")
    drawn: list[dict[str, str]] = []
    pictures: dict[str, str] = {}
    for head, spec in run.heads.items():
        kind = str(spec.get("kind"))
        if kind not in FIGURES:
            run.missing[f"figures of {head}"] = f"there are none for heads of kind '{kind}'"
            continue
        pictures |= FIGURES[kind].pictures
        for name, place in FIGURES[kind].parts(head, spec["columns"]).items() if stage else ():
            where = f"{stage}/{place}/"
            entries = {key.removeprefix(where): entry for key, entry in run.metrics.items() if key.startswith(where)}
            table, details = run.predictions[stage], (run.classes.get(stage), run.frames.get(stage))
            part = Part(table, head, name, spec, stage, entries, run.synthetic, *details)
            shown = run.attempt(f"figures of {name}", partial(FIGURES[kind].read, part))
            for drawing in FIGURES[kind].of(shown) if shown is not None else ():
                file = f"{stage}_{_file_name(name)}_{drawing.key}"
                drawn += _draw(run, file, drawing.words, partial(drawing.draw, shown), drawing.width)
    return drawn + [ready for name, words in pictures.items() for ready in _ready(run, name, words)]


def _file_name(column: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in column)


def _training_figures(run: Run) -> list[dict[str, str]]:
    from visionlab.reports.figures import learning_rate_finder, training_curves

    caption = facts.data_name(run)
    drawn: list[dict[str, str]] = []
    if run.curves:
        monitor, mode = str(run.config.get("monitor") or "val/loss"), str(run.config.get("mode") or "min")
        words = "Losses, metrics and learning rate; the star is the checkpoint that was kept."
        unit = facts.tag_unit(run, monitor)
        also = {tag: facts.tag_unit(run, tag) for tag in facts.key_tags(run)}
        drawn += _draw(run, "training", words, lambda: training_curves(run.curves, monitor, mode, unit, caption, also))
    table = run.lr_find
    if table is not None:
        drawn += _draw(
            run,
            "lr_find",
            "Learning-rate search before training; the rate where the loss falls fastest was taken.",
            lambda: learning_rate_finder(table, float(run.config["optimizer"]["lr"]), caption),
        )
    if (run.path / "plots" / "weights.png").is_file():
        drawn += _ready(run, "weights", "Distribution of the weights of each layer.")
    return drawn


def data_figures(run: Run) -> list[dict[str, str]]:
    """Return the figures of what the data are: distributions of the targets, examples."""
    from visionlab.reports.outputs import MANY

    drawn: list[dict[str, str]] = []
    described = data_facts.described(run) if run.index is not None else {}
    for head, spec in run.heads.items():
        columns = [column for column in spec["columns"] if column in described]
        if len(columns) > MANY:
            panels = partial(_panels_figure, run, head, {column: described.pop(column).unit for column in columns})
            words = f"Distribution of {head} in each split."
            drawn += _draw(run, f"targets_{_file_name(head)}", words, panels, "page")
    for column, about in described.items():
        words = f"Distribution of {about.words} in each split."
        drawn += _draw(run, f"targets_{_file_name(column)}", words, partial(_target_figure, run, column, about))
    for head, spec in class_table.label_heads(run).items():
        words = f"Images of each class of {head} in each split."
        drawn += _draw(run, f"targets_{_file_name(head)}", words, partial(_counts_figure, run, head))
        if run.index is not None and len(spec["columns"]) > 1:
            words = f"Which classes of {head} occur together, in all splits."
            together = partial(_together_figure, run, head, spec["columns"])
            drawn += _draw(run, f"targets_{_file_name(head)}_together", words, together, "middle")
    return drawn + _ready(run, "examples", "Examples of each split.")


def _target_figure(run: Run, column: str, about: data_facts.Described) -> Figure:
    from visionlab.reports.data_figures import target_histogram

    return target_histogram(data_facts.targets(run, column), about.words, about.unit, about.step, facts.data_name(run))


def _panels_figure(run: Run, head: str, units: Mapping[str, str]) -> Figure:
    from visionlab.reports.target_panels import target_panels

    values = {column: data_facts.targets(run, column) for column in units}
    return target_panels(values, head, next(iter(units.values())), facts.data_name(run))


def _counts_figure(run: Run, head: str) -> Figure:
    from visionlab.reports.data_figures import label_counts

    return label_counts(run.card["labels"][head], head, facts.data_name(run))


def _together_figure(run: Run, head: str, columns: Sequence[str]) -> Figure:
    from visionlab.reports.label_matrices import occurring_together

    return occurring_together(data_facts.labels(run, columns), columns, head, facts.data_name(run))


def _commands(run: Run) -> list[tuple[str, str]]:
    """Return what to type for what."""
    path = run.path.resolve()
    folder = shlex.quote(str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path))
    commands = [("Make it again", str(run.info["command"]))] if run.info.get("command") else []
    resume = run.status.get("resume")
    if run.status.get("state") != "finished":
        commands.append(("Go on where it stopped", str(resume or f"python -m visionlab.resume {folder}")))
    # An evaluation has no checkpoints of its own.
    model = shlex.quote(str(run.info.get("evaluation_of"))) if run.info.get("evaluation_of") else folder
    inputs = (run.config.get("data") or {}).get("inputs", [])[1:]
    others = "".join(f" --with {name}={name.upper()}S" for name in inputs)
    return [
        *commands,
        ("Predict new images", f"python -m visionlab.predict {model} IMAGES{others} --out predictions"),
        ("Write this report again", f"python -m visionlab.report {folder}"),
    ]
