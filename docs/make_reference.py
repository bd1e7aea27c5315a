"""Write docs/commands.md from the commands' own help. Run by `make docs`; a test compares."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from unitrack.cli import COMMANDS, main

PAGE = Path(__file__).parent / "commands.md"
HEAD = """\
# Commands

Every command that reads takes `--json`. On a terminal there are tables and progress; in a pipe, plain text. Errors
say what, where and what to do; `unitrack --debug COMMAND` adds the traceback. Exit codes: 0 done or pass, 1 fail,
2 wrong use or configuration, 3 undecided, 4 evidence or backend not to be had.

This page is made by `make docs`.
"""


def commands_page() -> str:
    """Return the page: each command's help, groups with their subcommands."""
    parts = [HEAD]
    context = _context(main, "unitrack")
    for name, _ in COMMANDS:
        command = main.get_command(context, name)
        parts += _help(command, f"unitrack {name}", "##")
    return "\n".join(parts)


def _context(command: click.Command, name: str) -> click.Context:
    # The settings of the group, as when a user asks; click would keep a help option that was made without them.
    command._help_option = None
    return click.Context(command, info_name=name, terminal_width=100, **main.context_settings)


def _help(command: click.Command, name: str, level: str) -> list[str]:
    context = _context(command, name)
    parts = [f"{level} {name}\n\n```\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            parts += _help(command.get_command(context, child), f"{name} {child}", f"{level}#")
    return parts


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)
