"""Any service that takes JSON: title, text and level, signed if there is a secret."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from unitrack_notify._http import checked_url, send
from unitrack_notify._options import checked, needed

__all__ = ["WebhookFactory"]


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str | None = None
    secret: str | None = None


class WebhookFactory:
    """Makes notifiers that post JSON."""

    name = "webhook"

    def open(self, options: Mapping[str, Any]) -> Webhook:
        """Return the notifier. Raises ConfigError without an address."""
        given = checked(self.name, options, _Options)
        return Webhook(checked_url(self.name, needed(self.name, "url", given.url, "ALERT_WEBHOOK_URL")), given.secret)


class Webhook:
    """Posts `{"title", "text", "level"}`."""

    name = "webhook"

    def __init__(self, url: str, secret: str | None) -> None:
        self._url, self._secret = url, secret

    def notify(self, title: str, text: str, level: str) -> None:
        """Post one message; `X-Signature-256` is its HMAC-SHA256 if there is a secret, as GitHub's webhooks sign."""
        body = json.dumps({"title": title, "text": text, "level": level}).encode()
        headers = {"Content-Type": "application/json"}
        if self._secret is not None:
            headers["X-Signature-256"] = f"sha256={hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()}"
        send("the webhook", "POST", self._url, data=body, headers=headers)
