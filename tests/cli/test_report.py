from __future__ import annotations

from pathlib import Path

import pytest
import verdicts
from click.testing import CliRunner

from unitrack.cli import report
from unitrack.errors import EvidenceError, PluginError, UsageError
from unitrack.plugins import Plugins


class Mine:
    name, suffix = "mine", ".mine"

    def render(self, verdict):
        return f"{verdict.outcome}!\n"


class Broken:
    name, suffix = "broken", ".x"

    def render(self, verdict):
        raise RuntimeError("no paper")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Run the command over a verdict that was read; reading has tests of its own."""
    monkeypatch.setattr(report, "read_verdict", lambda path: verdicts.ordinary("fail"))

    def run(*arguments: str):
        return CliRunner().invoke(report.command, ["verdict.json", *arguments], catch_exceptions=True)

    return run


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("terminal", "FAIL  "),
        ("markdown", "## ❌ Gate failed"),
        ("summary", "xychart-beta"),
        ("html", "<!doctype html>"),
        ("junit", "<testsuites"),
        ("sarif", '"2.1.0"'),
        ("json", '"outcome": "fail"'),
    ],
)
def test_it_writes_every_format_to_stdout_or_a_file(run, tmp_path: Path, name: str, part: str) -> None:
    printed = run("--format", name)
    assert printed.exit_code == 0
    assert part in printed.stdout
    file = tmp_path / "new" / "report"
    assert run("--format", name, "--output", str(file)).exit_code == 0
    assert part in file.read_text(encoding="utf-8")


def test_a_plugins_format_is_used_and_one_that_fails_is_named(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plugins, "named", lambda self, noun: {"mine": Mine(), "broken": Broken()})
    assert run("--format", "mine").stdout == "fail!\n"
    error = run("--format", "broken").exception
    assert isinstance(error, PluginError)
    assert str(error) == "format 'broken' failed: RuntimeError: no paper"


def test_an_unknown_format_says_which_there_are(run) -> None:
    error = run("--format", "pdf").exception
    assert isinstance(error, UsageError)
    assert "html, json, junit, markdown, sarif, summary, terminal" in str(error)


def test_what_is_no_verdict_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "verdict.json"
    file.write_text("{}")
    assert isinstance(CliRunner().invoke(report.command, [str(file)]).exception, EvidenceError)
