"""``--help`` whose options stand in groups: those of typer's ``rich_help_panel``, in plain text."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class GroupedCommand(TyperCommand):
    """A command whose options are listed under the headings of their ``rich_help_panel``, in the order of the first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each group of options."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if param.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(param, "rich_help_panel", None) or default, []).append(record)
        # Padded, for the texts of all groups to stand below each other.
        width = max(len(name) for records in groups.values() for name, _ in records)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl([(name.ljust(width), text) for name, text in records])
