"""Notifiers of unitrack: `[backends.slack]`, `[backends.email]`, `[backends.webhook]`, `[backends.github-issue]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_notify._email import EmailFactory
from unitrack_notify._github import GithubIssueFactory
from unitrack_notify._slack import SlackFactory
from unitrack_notify._webhook import WebhookFactory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.hookspecs import NotifierFactory

__all__ = ["EmailFactory", "GithubIssueFactory", "SlackFactory", "WebhookFactory", "unitrack_register_notifiers"]


@hookimpl
def unitrack_register_notifiers() -> Iterable[NotifierFactory]:
    """Offer the four."""
    return [SlackFactory(), EmailFactory(), WebhookFactory(), GithubIssueFactory()]
