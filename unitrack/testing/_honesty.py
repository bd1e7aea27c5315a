"""Checks of the kit: errors are raised, secrets kept, nothing heavy imported, nothing lost in silence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from unitrack.backend import KeepsReport
from unitrack.errors import ConfigError
from unitrack.journal import layout
from unitrack.testing._replays import log_everything
from unitrack.testing.bench import Bench

__all__ = ["Honesty"]

_SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-conformance-bPxRfiCYEXAMPLEKEY",
    "CONFORMANCE_API_TOKEN": "token-that-must-not-be-seen-0123456789abcdef",
    "CONFORMANCE_PASSWORD": "password-that-must-not-be-seen",
}
_LOOKS_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL")
_OWN = {"unitrack", "msgspec", "pluggy", "jsonschema", "requests", "click", "rich", "tomli", "_distutils_hack"}

_IMPORTS = """
import json, sys
from importlib.metadata import entry_points
from unitrack.plugins import Plugins
plugins = Plugins()
plugins.discover_built_in()
before = set(sys.modules)
name, own, options = json.loads(sys.stdin.read())
plugins.discover([entry for entry in entry_points(group="unitrack") if entry.module.partition(".")[0] == own])
plugins.backend(name).create(options).capabilities
print(json.dumps(sorted({module.partition(".")[0] for module in set(sys.modules) - before})))
"""


class Honesty:
    """A backend that hides its trouble is worse than one that fails."""

    def test_what_can_not_be_sent_is_raised_or_refused(self, bench: Bench) -> None:
        """An artifact whose bytes are gone leaves a dead letter, an error or a lowering; all else arrives."""
        with bench.run() as run:
            run.log({"loss": 1.0}, 0).lost_artifact("gone.bin").log({"loss": 0.5}, 1).artifact("here.bin", b"bytes")
        sent = bench.send()
        reported = [letter.reason for letter in sent.dead]
        reported += [one.detail for one in sent.lowered if one.name in ("gone.bin", "artifact")]
        reported += [one.reason or "" for one in sent.results if one.state == "failed"]
        assert any(reported), f"nobody was told that an artifact's bytes are nowhere: {sent}"
        assert len(sent.dead) <= 1, "one bad record must not take others with it"
        if sent.state != "failed":
            problems = bench.differences(lowered=sent.lowered, dead=[letter.record for letter in sent.dead])
            assert not problems, problems

    def test_whatever_differs_is_reported_by_kind_and_name(self, bench: Bench) -> None:
        """Each report says what kind of loss, of which thing, and what became of it; a replay reports the same."""
        log_everything(bench.run()).finish()
        first = bench.send()
        bench.check(first)
        for one in first.lowered:
            assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one.kind), f"a kind is a short word: {one}"
            assert one.detail, f"a lowering says what became of it: {one}"
        bench.forget()
        again = bench.send()
        assert {(one.kind, one.name) for one in again.lowered} == {(one.kind, one.name) for one in first.lowered}

    def test_the_report_of_what_was_lowered_is_with_the_run(self, bench: Bench) -> None:
        """One document in the tracker, all of it, however often it was sent; a backend that keeps none has it told."""
        run = log_everything(bench.run())
        bench.send()
        run.later_event("phonogram").finish()
        sent = bench.send()
        told = {(one.kind, one.name) for one in sent.lowered}
        assert {"hologram", "phonogram"} <= {name for _, name in told}
        if isinstance(bench.target.factory.create(bench.target.options), KeepsReport):
            reports = [one for data in bench.held().files.values() if (one := _reported(data)) is not None]
            assert reports == [told], "HeldRun.files has the report once, with all that was told"

    def test_events_of_later_versions_are_told_and_harm_nothing(self, bench: Bench) -> None:
        """Their type is named; what is around them arrives."""
        with bench.run() as run:
            run.log({"loss": 1.0}, 0).later_event("hologram", depth=3, values={"loss": "x"}).log({"loss": 0.5}, 1)
        bench.check(bench.send())

    def test_wrong_options_are_named(self, bench: Bench) -> None:
        """`create` knows its options, so that a misspelt one does not quietly mean the default."""
        with pytest.raises(ConfigError, match="no_such_option"):
            bench.target.factory.create({**bench.target.options, "no_such_option": 1})

    def test_secrets_stay_in_the_environment(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither the state, nor what is told, nor what is left beside the journal or in the tracker holds one."""
        for name, value in {**_SECRETS, **getattr(bench.target, "secrets", {})}.items():
            monkeypatch.setenv(name, value)
        with bench.run() as run:
            log_everything(run).lost_artifact("gone.bin")
        sent = bench.send()
        texts = dict(_texts(bench))
        texts["what the worker said"] = sent.spoken
        driven = bench.drive()
        texts["the backend"] = f"{driven.backend!r} {driven.state}"
        driven.close(None)
        for place, text in texts.items():
            found = [name for name, value in _secrets().items() if value in text]
            assert not found, f"{place} holds the value of {found}"

    def test_the_client_is_not_imported_before_open(self, bench: Bench) -> None:
        """Training, commands and the dispatcher import the plugin; none of them may pay for its client."""
        target = bench.target
        own = type(target.factory).__module__.partition(".")[0]
        asked = json.dumps([target.factory.name, own, dict(target.options)])
        done = subprocess.run(
            [sys.executable, "-c", _IMPORTS], input=asked, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"the plugin can't be loaded by its entry point: {done.stderr}"
        loaded = set(json.loads(done.stdout.splitlines()[-1]))
        heavy = getattr(target, "client_modules", None)
        foreign = loaded & set(heavy) if heavy is not None else loaded - {own, *_OWN, *sys.stdlib_module_names}
        assert not foreign, f"the plugin imports {sorted(foreign)} before it is opened"


def _reported(data: bytes) -> set[tuple[str, str]] | None:
    """Return what a file reports as lowered, None if it is no report."""
    try:
        report = json.loads(data)
        return {(one["kind"], one["name"]) for one in report["lowered"]}
    except (ValueError, TypeError, KeyError):
        return None


def _secrets() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if _LOOKS_SECRET.search(name) and len(value) >= 8}


def _texts(bench: Bench) -> Iterator[tuple[str, str]]:
    """Yield what is kept beside the journal, and in the tracker as far as it is read back."""
    for path in layout.sync_dir(layout.run_dir(bench.store, "one")).rglob("*"):
        if path.is_file():
            yield str(path), path.read_text(errors="replace")
    held = bench.held()
    yield "the tracker's run", f"{held.params} {held.metrics} {held.tags}"
    for name, data in held.files.items():
        yield f"the tracker's file {name}", data.decode(errors="replace")
