"""`unitrack report`: write a verdict for people and tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unitrack.cli._output import console_for, note
from unitrack.cli._verdicts import show_verdict
from unitrack.errors import PluginError, UsageError
from unitrack.files import write_atomic
from unitrack.gate.verdict import Verdict, read_verdict
from unitrack.plugins import load_plugins

if TYPE_CHECKING:
    from unitrack.hookspecs import ReportFormat

__all__ = ["command"]


@click.command(name="report")
@click.argument("verdict", metavar="VERDICT", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format",
    "name",
    default="terminal",
    show_default=True,
    metavar="NAME",
    help="terminal, markdown, summary, html, junit, sarif, json, or a plugin's own.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
def command(*, verdict: Path, name: str, output: Path | None) -> None:
    """Write a verdict in another format.

    VERDICT is a verdict.json of `unitrack gate`. The report is made from it alone, so it is the same on every
    machine. Ends with 0 whatever the verdict says.
    """
    read = read_verdict(verdict)
    if name == "terminal" and output is None:
        show_verdict(console_for(sys.stdout), read)
        return
    made = _render(_format(name), read)
    if output is None:
        click.echo(made, nl=False)
        return
    _write(output, made)
    note(f"report: {output}")


def _format(name: str) -> ReportFormat:
    plugins = load_plugins()
    formats: dict[str, ReportFormat] = plugins.named("report_formats")
    if name in formats:
        return formats[name]
    reasons = "".join(f" {problem}." for problem in plugins.problems)
    raise UsageError(f"--format {name}: there is no such format; there are {', '.join(sorted(formats))}.{reasons}")


def _render(chosen: ReportFormat, verdict: Verdict) -> bytes:
    try:
        made = chosen.render(verdict)
    except Exception as error:  # foreign code
        raise PluginError(f"format {chosen.name!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, (str, bytes)):
        raise PluginError(f"format {chosen.name!r} returned {type(made).__name__}, a report is str or bytes")
    return made.encode() if isinstance(made, str) else made


def _write(output: Path, data: bytes) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(output, data)
    except OSError as error:
        raise UsageError(f"--output {output}: can't be written: {error.strerror}") from error
