"""Slack, by an incoming webhook (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from unitrack_notify._http import checked_url, send
from unitrack_notify._options import checked, needed

__all__ = ["SlackFactory"]

_SIGNS = {"info": ":information_source:", "warning": ":warning:", "error": ":rotating_light:"}
_LONGEST = 2900  # characters; a section takes 3,000
_LONGEST_TITLE = 140  # a header takes 150


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str | None = None


class SlackFactory:
    """Makes notifiers that post into the channel of a webhook."""

    name = "slack"

    def open(self, options: Mapping[str, Any]) -> Slack:
        """Return the notifier. Raises ConfigError without the webhook's address."""
        given = checked(self.name, options, _Options)
        return Slack(checked_url(self.name, needed(self.name, "url", given.url, "SLACK_WEBHOOK_URL")))


class Slack:
    """Posts a message of a header and a text."""

    name = "slack"

    def __init__(self, url: str) -> None:
        self._url = url

    def notify(self, title: str, text: str, level: str) -> None:
        """Post one message; nothing in it is markup or a mention."""
        blocks: list[dict[str, Any]] = [
            {"type": "header", "text": {"type": "plain_text", "text": f"{_SIGNS[level]} {title}"[:_LONGEST_TITLE]}}
        ]
        if text:
            blocks.append({"type": "section", "text": {"type": "plain_text", "text": text[:_LONGEST]}})
        message = {"text": _escaped(title)[:_LONGEST], "blocks": blocks}
        send("Slack", "POST", self._url, json=message)


def _escaped(words: str) -> str:
    """Escape the three signs that begin links and mentions in Slack's text."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
