"""A processor and a health check."""

from __future__ import annotations

import re
import tempfile

import msgspec

from unitrack.events import Console, Event
from unitrack.hookspecs import HealthResult

__all__ = ["FolderIsWritable", "HideEmails"]

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")


class HideEmails:
    """Replaces addresses in what the process prints, before it is written to the journal."""

    name = "hide-emails"

    def __call__(self, event: Event) -> Event | None:
        """Return the event without addresses. Pure: no I/O, no clock."""
        if isinstance(event, Console):
            return msgspec.structs.replace(event, text=_EMAIL.sub("<email>", event.text))
        return event


class FolderIsWritable:
    """Asks whether a file can be made here."""

    name = "csv-folder"

    def check(self) -> HealthResult:
        """Make a scratch file in the current folder."""
        try:
            with tempfile.NamedTemporaryFile(dir="."):
                return HealthResult(ok=True, message="CSV files can be written here")
        except OSError as error:
            return HealthResult(ok=False, message=f"can't write here ({error}): set `folder` in [backends.csv]")
