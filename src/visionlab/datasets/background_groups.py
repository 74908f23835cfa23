"""Say which images belong together, so that no two of them land in two splits."""

from __future__ import annotations

import re
from collections.abc import Sequence

from visionlab.console import LOG
from visionlab.errors import ConfigError
from visionlab.files import Problem

_DIGITS = "0123456789"


def by_pattern(ids: Sequence[str], paths: Sequence[str], pattern: str) -> tuple[list[str], list[Problem]]:
    """Return the group of each image, what the first parenthesis of ``pattern`` finds in its id; empty if nothing.

    The latter are named in the problems. Raises ``ConfigError`` if ``pattern`` is no regular expression or has no
    parenthesis.
    """
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.group_pattern: expected a regular expression, found '{pattern}' ({error})") from None
    if not found.groups:
        raise ConfigError(
            "data.group_pattern: expected a parenthesis around the part of the name that is the group, e.g."
            f" '^(scene[0-9]+)_', found '{pattern}'"
        )
    groups: list[str] = []
    problems: list[Problem] = []
    shared: dict[str, str] = {}  # one string for all samples of a group saves memory
    for sample, path in zip(ids, paths, strict=True):
        match = found.search(sample)
        group = (match[1] or "") if match else ""
        groups.append(shared.setdefault(group, group))
        if not group:
            what = f"data.group_pattern '{pattern}' finds no group in '{sample}'"
            problems.append(Problem(path, what, "change the pattern so that it fits every image"))
    return groups, problems


def by_number(ids: Sequence[str], per_background: int) -> list[str]:
    """Return the group of each image from the number at the end of its id: ``bg0``, ``bg1``, ...

    ``per_background`` images that follow each other show the same background. If the names before the numbers differ,
    they become part of the group's name. An image without a number is its own group, which is logged.
    """
    if per_background < 1:
        raise ConfigError(f"data.per_background: expected at least 1, found {per_background}")
    prefixes = {prefix for sample in ids if (prefix := sample.rstrip(_DIGITS)) != sample}
    groups: list[str] = []
    shared: dict[str, str] = {}
    own = 0
    for sample in ids:
        prefix = sample.rstrip(_DIGITS)
        if prefix == sample:
            own += 1
            groups.append(sample)
        else:
            group = f"{prefix if len(prefixes) > 1 else ''}bg{int(sample[len(prefix) :]) // per_background}"
            groups.append(shared.setdefault(group, group))
    if own:
        warn_own(own, len(ids))
    if len(shared) == 1 and not own:
        LOG.warning(
            "all %d images are of one group, %s, since data.per_background=%d images are taken to show one background;"
            " set data.per_background to their number (1 if each shows another scene) or data.group_pattern",
            *(len(ids), groups[0], per_background),
        )
    return groups


def warn_own(count: int, total: int) -> None:
    """Log that images are groups of their own."""
    LOG.warning(
        "%d of %d images are each a group of their own, as their names don't tell what belongs together, so"
        " near-duplicates may land in two splits; set data.group_pattern, e.g. '^(scene[0-9]+)_', or give a column"
        " 'group' in data.table",
        *(count, total),
    )
