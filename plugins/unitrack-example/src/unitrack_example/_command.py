"""The command `unitrack csv-path`."""

from __future__ import annotations

import click

from unitrack.config import load_settings

__all__ = ["command"]


@click.command("csv-path")
@click.argument("run")
def command(run: str) -> None:
    """Print where the CSV file of RUN is."""
    settings = load_settings()
    section = settings.backends.get("csv")
    folder = settings.root / (section.options.get("folder", "csv-runs") if section else "csv-runs")
    click.echo(str(folder / run / "values.csv"))
