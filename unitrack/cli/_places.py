"""Where the settings stand in the repository: the lines that annotations point at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unitrack import _settings_file
from unitrack.ci import publication, runner
from unitrack.ci.publication import Places
from unitrack.errors import ConfigError

if TYPE_CHECKING:
    from unitrack.config import Settings

__all__ = ["broken_settings", "in_repository", "places_of"]


def places_of(settings: Settings) -> Places:
    try:
        found = _settings_file.find(settings.root.resolve())
    except ConfigError as error:
        return Places(file=in_repository(Path(error.file or "unitrack.toml")), gate=error.line or 1)
    if found is None:
        return Places()
    rules = found.tree.get("gate", {}).get("metrics", ())
    lines = {
        rule["name"]: found.lines.get(("gate", "metrics", at, "name"), found.lines.get(("gate", "metrics", at), 1))
        for at, rule in enumerate(rules)
        if isinstance(rule, dict) and isinstance(rule.get("name"), str)
    }
    return Places(file=in_repository(found.path), gate=found.lines.get(("gate",), 1), metrics=lines)


def in_repository(path: Path) -> str:
    """Return a path as the repository has it: below the nearest folder with `.git`, or else just its name."""
    path = path.resolve()
    root = next((folder for folder in path.parents if (folder / ".git").exists()), path.parent)
    return path.relative_to(root).as_posix()


def broken_settings(error: ConfigError) -> None:
    """Show a fault of the settings at its line, where the runner puts it on the page, and in the job's summary."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        file = in_repository(Path(error.file)) if error.file else "unitrack.toml"
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            runner.write_summary(summary, publication.without_verdict(str(error), places=Places(file=file)).report)
        one = runner.Annotation(
            level="failure", path=file, line=error.line or 1, title="unitrack: settings", message=str(error)
        )
        click.echo(runner.annotate([one])[0])
