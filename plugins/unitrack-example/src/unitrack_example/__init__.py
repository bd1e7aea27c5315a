"""A unitrack plugin to copy: one module with hooks, which hand over objects made elsewhere.

Nothing heavy is imported here: unitrack imports this module in training, in workers and in
commands, and each uses only a part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_example._backend import CsvFactory
from unitrack_example._extras import FolderIsWritable, HideEmails

if TYPE_CHECKING:
    import click

    from unitrack.backend import BackendFactory
    from unitrack.hookspecs import HealthCheck, Processor

__all__ = [
    "unitrack_add_commands",
    "unitrack_register_backends",
    "unitrack_register_health_checks",
    "unitrack_register_processors",
]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `csv`: `[backends.csv]` with `folder = "..."`."""
    return [CsvFactory()]


@hookimpl
def unitrack_register_processors() -> Iterable[Processor]:
    """Offer the processor `hide-emails`: `processors = ["hide-emails"]`."""
    return [HideEmails()]


@hookimpl
def unitrack_register_health_checks() -> Iterable[HealthCheck]:
    """Have `unitrack doctor` try the folder."""
    return [FolderIsWritable()]


@hookimpl
def unitrack_add_commands() -> Mapping[str, click.Command]:
    """Add `unitrack csv-path`."""
    from unitrack_example._command import command

    return {"csv-path": command}
