"""The formats that come with unitrack, handed over by the hook that third-party ones use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import msgspec

from unitrack.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.gate.verdict import Verdict
    from unitrack.hookspecs import ReportFormat

__all__ = ["BuiltIn", "unitrack_register_report_formats"]


class BuiltIn(msgspec.Struct, frozen=True, kw_only=True):
    """A format whose module has a `render`, imported when it is called: training loads plugins, too."""

    name: str
    suffix: str
    module: str

    def render(self, verdict: Verdict) -> str | bytes:
        """Return the report."""
        made: str | bytes = importlib.import_module(self.module).render(verdict)
        return made


@hookimpl
def unitrack_register_report_formats() -> Iterable[ReportFormat]:
    """Return the built-in formats."""
    return [
        BuiltIn(name="markdown", suffix=".md", module="unitrack.report.markdown"),
        BuiltIn(name="summary", suffix=".summary.md", module="unitrack.report.summary"),
        BuiltIn(name="html", suffix=".html", module="unitrack.report.html"),
        BuiltIn(name="junit", suffix=".junit.xml", module="unitrack.report.junit"),
        BuiltIn(name="sarif", suffix=".sarif", module="unitrack.report.sarif"),
        BuiltIn(name="json", suffix=".json", module="unitrack.report.json"),
        BuiltIn(name="terminal", suffix=".txt", module="unitrack.report.terminal"),
    ]
