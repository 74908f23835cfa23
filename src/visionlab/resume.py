"""``python -m visionlab.resume RUN [key=value ...]``: go on in the same run folder, exactly where it stopped."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Annotated

import typer

from visionlab.console import LOG, command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

# What may change without changing the result; anything else is allowed but said.
_HARMLESS = (
    "data.num_workers",
    "data.cache_dir",
    "data.root",
    "trust=",
    "trainer.log_every_n_steps",
    "logger.",
    "callbacks.images",
)
# What the checkpoint holds the state of, or what it was made with: a change would be ignored or spoil the rest.
_FIXED = (
    "optimizer.",
    "scheduler.",
    "data.",
    "model.",
    "heads.",
    "balance.",
    "stages.",
    "seed=",
    "monitor=",
    "mode=",
    "lr_find=",
    "init_from=",
)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Settings to change, e.g. trainer.max_epochs=50 data.num_workers=4. trust=[PACKAGE] lets the code of "
            "a package run that the run's own classes are of.",
        ),
    ] = None,
) -> None:
    """Go on with a run that was interrupted, killed or is to train longer.

    The weights become what they would have been without the interruption, bit for bit on a CPU, also with another
    number of workers.
    """
    from visionlab.config.run_folder import load_config, no_longer_needed, run_folder
    from visionlab.errors import UsageError
    from visionlab.files import read_json
    from visionlab.training.registry import REGISTRY

    folder = run_folder(run)
    changes = overrides or []
    cfg = load_config(folder, REGISTRY, changes, replace=no_longer_needed(folder))
    status = read_json(folder / "status.json") if (folder / "status.json").is_file() else {}
    longer = any(text.startswith("trainer.max_epochs=") for text in changes)
    done = status.get("epoch")
    if status.get("state") == "finished" and cfg.stages:
        raise UsageError(
            f"{folder}: this run is finished after {done} epochs in {len(cfg.stages)} stages; to train longer start a "
            f"new run from its weights with init_from={folder}"
        )
    if status.get("state") == "finished" and not (longer and cfg.trainer.max_epochs > int(str(done))):
        raise UsageError(
            f"{folder}: this run is finished after {done} epochs; to train it longer give trainer.max_epochs=N with N "
            f"above {done}"
        )
    for text in changes:
        if (
            text.startswith(_FIXED)
            and not text.startswith(_HARMLESS)
            and (folder / "checkpoints" / "last.ckpt").is_file()
        ):
            raise UsageError(
                f"'{text}': this part of a begun run is in its checkpoint and cannot change; "
                f"start a new run from its weights with init_from={folder}"
            )
        if not text.startswith(_HARMLESS):
            LOG.info("resuming with %s: the result differs from that of an uninterrupted run", text)

    from visionlab.train import run as train

    # What is printed goes on in the log of the run, too.
    LOG.addHandler(logging.FileHandler(folder / "train.log"))
    info = folder / "run.json"
    again = (
        str(read_json(info).get("command"))
        if info.is_file()
        else f"python -m visionlab.resume {shlex.quote(str(folder))}"
    )
    keys = tuple(f"{text.partition('=')[0]}=" for text in changes)
    again = shlex.join([*(part for part in shlex.split(again) if not part.startswith(keys)), *changes])
    train(cfg, folder, again, resume=True)


def main() -> None:
    """Run the command."""
    command(app)


if __name__ == "__main__":
    main()
