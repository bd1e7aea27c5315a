"""E-mail over SMTP, by the standard library."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Literal

import msgspec

from unitrack.errors import ConfigError, FatalBackendError, RetryableError
from unitrack_notify._options import checked, needed

__all__ = ["EmailFactory"]

_TIMEOUT = 20.0
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"sender": "from"}):
    host: str | None = None
    to: tuple[str, ...] = ()
    sender: str = ""
    port: int | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: str | None = None


class EmailFactory:
    """Makes notifiers that send e-mail."""

    name = "email"

    def open(self, options: Mapping[str, Any]) -> Email:
        """Return the notifier. Raises ConfigError without server, sender or recipients."""
        given = checked(self.name, options, _Options)
        if not given.to or not given.sender:
            raise ConfigError(
                'the notifier email needs from = "name@host" and to = ["name@host"]', key="backends.email"
            )
        if any(not sign.isprintable() for address in (*given.to, given.sender) for sign in address):
            raise ConfigError("the notifier email: an address holds a line break", key="backends.email")
        host = needed(self.name, "host", given.host, "SMTP_HOST")
        password = needed(self.name, "password", given.password, "SMTP_PASSWORD") if given.user else None
        return Email(msgspec.structs.replace(given, host=host, password=password))


class Email:
    """Sends plain text to all recipients in one message."""

    name = "email"

    def __init__(self, options: _Options) -> None:
        self._options = options

    def notify(self, title: str, text: str, level: str) -> None:
        """Send one message."""
        options, message = self._options, EmailMessage()
        message["Subject"] = f"[unitrack {level}] " + "".join(sign if sign.isprintable() else " " for sign in title)
        message["From"], message["To"] = options.sender, ", ".join(options.to)
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=options.sender.rpartition("@")[2])
        message.set_content(text or title)
        try:
            self._send(message)
        except smtplib.SMTPResponseException as error:
            said = (
                error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            what = f"the mail server {options.host} answered {error.smtp_code}: {said}"
            raise (RetryableError if 400 <= error.smtp_code < 500 else FatalBackendError)(what) from None
        except smtplib.SMTPRecipientsRefused as error:
            raise FatalBackendError(
                f"the mail server {options.host} refused all recipients: {', '.join(error.recipients)}"
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise FatalBackendError(f"the mail server {options.host}: {error}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise RetryableError(f"the mail server {options.host} can't be reached: {error}") from None

    def _send(self, message: EmailMessage) -> None:
        options = self._options
        port, context = options.port or _PORTS[options.security], ssl.create_default_context()
        assert options.host is not None
        server: smtplib.SMTP
        if options.security == "tls":
            server = smtplib.SMTP_SSL(options.host, port, timeout=_TIMEOUT, context=context)
        else:
            server = smtplib.SMTP(options.host, port, timeout=_TIMEOUT)
        with server:
            if options.security == "starttls":
                server.starttls(context=context)
            if options.user is not None:
                server.login(options.user, options.password or "")
            server.send_message(message, to_addrs=list(options.to))
