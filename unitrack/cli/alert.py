"""`unitrack alert`: a message to the notifiers of the settings."""

from __future__ import annotations

import click

from unitrack.alerts import Message
from unitrack.cli._alerts import tell
from unitrack.cli._output import Console, emit, json_option, styled, table
from unitrack.config import load_settings
from unitrack.errors import UsageError
from unitrack.events import Level
from unitrack.model import text as plain_text
from unitrack.plugins import load_plugins

__all__ = ["command"]

_FAILED = 4


@click.command()
@click.argument("title")
@click.argument("text", default="")
@click.option(
    "--level", type=click.Choice(("info", "warning", "error")), default="info", show_default=True, help="How bad it is."
)
@json_option
def command(*, title: str, text: str, level: Level, as_json: bool) -> None:
    """Tell people something: TITLE and TEXT, through every notifier among the backends.

    To try notifiers, or from scripts. An equal message is carried once an hour. Ends with 4 if one could not be told.
    """
    settings = load_settings()
    message = Message(title=plain_text(title), text=plain_text(text), level=level, about=f"project {settings.project}")
    told = tell(settings, load_plugins(settings), message)
    if not told:
        raise UsageError(
            "no notifier is configured: add a section such as [backends.slack] to unitrack.toml; "
            "`pip install unitrack-notify` brings slack, email, webhook and github-issue"
        )

    def render(console: Console) -> None:
        rows = ((one.notifier, styled(one.outcome, "red" if one.outcome == "failed" else "")) for one in told)
        console.print(table(("notifier", "outcome"), rows))

    emit(told, as_json=as_json, render=render)
    if any(one.outcome == "failed" for one in told):
        click.get_current_context().exit(_FAILED)
