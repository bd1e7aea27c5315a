"""`unitrack sync` says what is sent, what remains, why, and how to try again; `unitrack plugins` what there is."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from unitrack.backend import Capabilities, ExportResult, Lowering, Rejection, RetryableError
from unitrack.cli import main
from unitrack.dispatch import dispatcher
from unitrack.events import Metrics, RunStarted
from unitrack.hookspecs import hookimpl
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo

PLUGIN = Path(__file__).read_text()  # this module is the plugin `sly`, too, for the worker processes


class Sly:
    """A tracker in memory that does as its option `mood` says."""

    name = "sly"
    capabilities = Capabilities()

    def create(self, options):
        self.mood = options.get("mood", "good")
        return self

    def open(self, run, acked):
        if self.mood == "down":
            raise RetryableError("connection refused")
        self.capabilities = Capabilities(batch=1) if self.mood == "slow" else Capabilities()
        return {}

    def export(self, records):
        if self.mood == "slow":
            time.sleep(0.4)
        lowered = (Lowering(kind="step", name="loss", detail="1.5 became 1"),)
        bad = [record for record in records if isinstance(record.event, Metrics)] if self.mood == "picky" else []
        rejected = tuple(Rejection(record=record, reason="too many") for record in bad)
        return ExportResult(acked=len(records), rejected=rejected, lowered=lowered)

    def flush(self, timeout):
        pass

    def close(self, status, ended):
        pass


@hookimpl
def unitrack_register_backends():
    return [Sly()]


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """Install this module as a plugin."""
    site = tmp_path / "site"
    (site / "sly-1.0.dist-info").mkdir(parents=True)
    (site / "sly.py").write_text(PLUGIN)
    (site / "sly-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: sly\nVersion: 1.0\n")
    (site / "sly-1.0.dist-info" / "entry_points.txt").write_text("[unitrack]\nsly = sly\n")
    package = str(Path(dispatcher.__file__).parents[2])
    paths = [str(site), package, os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.syspath_prepend(str(site))


def settings(mood="good"):
    Path("unitrack.toml").write_text(f'[backends.sly]\nmood = "{mood}"\n')


def write_run(run_id="one", *, seal=True):
    store = Path(".unitrack").absolute()
    layout.create_store(store)
    writer = JournalWriter(layout.run_dir(store, run_id), WriterInfo(run=run_id), durability="finish")
    writer.append(RunStarted, project="p")
    writer.append(Metrics, {"loss": 1.0}, 1.5)
    if seal:
        writer.seal("finished")
    return writer


def call(*arguments):
    """Run the command line; the result has the exit code as a shell sees it."""
    result = CliRunner().invoke(main, ["sync", *arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_everything_sent_is_exit_0_and_a_table():
    settings()
    write_run()
    result = call()
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == ["one", "sly", "sent", "4", "0", "0"]
    assert "one: step: loss: 1.5 became 1" in result.stderr
    again = call()
    assert (again.exit_code, again.stdout) == (0, "everything is sent\n")


def test_json_is_the_whole_report_and_nothing_else_on_stdout():
    settings()
    write_run()
    found = json.loads(call("--json").stdout)
    assert found["results"]["sly"][0]["state"] == "sent"
    assert found["lowered"]["sly"][0]["detail"] == "1.5 became 1"


def test_what_remains_is_exit_4_with_the_reason_and_the_command():
    settings("down")
    write_run()
    result = call("--patience", "0.1")
    assert result.exit_code == 4
    assert "connection refused" in result.stdout
    assert "unitrack sync one --to sly" in result.stdout


def test_dead_letters_are_exit_4_until_they_are_taken():
    settings("picky")
    write_run()
    result = call()
    assert result.exit_code == 4
    assert "1 events were refused" in result.stdout
    assert "sly.dead.jsonl" in result.stdout
    assert call("--retry-dead").exit_code == 4
    settings()
    assert call("--retry-dead").exit_code == 0
    assert call("--retry-dead").stdout == "everything is sent\n"


def test_status_sends_nothing():
    settings()
    write_run()
    before = json.loads(call("--status", "--json").stdout)
    assert [(one["run"], one["state"], one["sent"], one["pending"]) for one in before] == [("one", "pending", 0, 4)]
    assert before[0]["lag"] >= 0
    call()
    (after,) = json.loads(call("--status", "--json").stdout)
    assert (after["state"], after["sent"], after["pending"], after["lag"]) == ("sent", 4, 0, None)
    assert after["lowered"][0]["name"] == "loss"
    shown = call("--status", "one", "--to", "sly")
    assert "1.5 became 1" in shown.stdout


def test_status_of_many_runs_begins_with_sums_and_shows_what_is_not_sent():
    settings()
    for number in range(30):
        write_run(f"r-{number:02}")
    call()
    for number in range(25):
        write_run(f"s-{number:02}")
    lines = call("--status").stdout.splitlines()
    assert lines[1].split()[:8] == ["sly", "55", "30", "0", "25", "0", "120", "100"]
    assert [line.split()[0] for line in lines[3:23]] == [f"s-{number:02}" for number in range(5, 25)]
    assert lines[23] == "and 5 older ones: --all shows them"
    assert "r-00" in call("--status", "--all").stdout
    assert len(json.loads(call("--status", "--json").stdout)) == 55


def test_a_report_on_many_runs_is_counts_and_what_failed():
    settings()
    for number in range(60):
        write_run(f"r-{number:02}")
    shown = call().stdout
    assert shown == "sly: 60 runs: 60 sent. `unitrack sync --status` shows each\n"


def test_a_terminal_shows_a_moving_line_with_rate_and_lag(installed):
    """On a real pseudo-terminal."""
    settings("slow")
    write_run()
    seen = on_a_terminal("sync")
    assert "sly one" in seen
    assert re.search(r"[\d,]+ sent, [\d,]+ to do, [\d,]+/s, lag ", seen), seen
    assert "one: step: loss: 1.5 became 1" in seen


def on_a_terminal(*arguments):
    import pty
    import subprocess
    import sys

    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "unitrack", *arguments], stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        seen += data
    os.close(ours)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def test_status_tells_a_failure_with_its_reason():
    settings("down")
    write_run()
    call("--patience", "0.1")
    (found,) = json.loads(call("--status", "--json").stdout)
    assert (found["state"], found["error"]) == ("failed", "connection refused")


def test_a_run_that_goes_on_is_sent_so_far_and_says_how_to_follow():
    settings()
    writer = write_run(seal=False)
    result = call("one")
    assert result.exit_code == 0
    assert "live" in result.stdout
    assert "unitrack sync one --follow" in result.stdout
    writer.seal("finished")


def test_follow_ends_with_the_run():
    settings()
    write_run()
    assert call("one", "--follow").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--to", "elsewhere"], 2, "there is no section [backends.elsewhere], only sly"),
        (["missing"], 4, "there is no run missing"),
        (["../x"], 2, "can't be a run id"),
        (["--patience", "-1"], 2, "patience"),
    ],
)
def test_wrong_use_says_what_is_right(arguments, code, words):
    settings()
    write_run()
    result = CliRunner().invoke(main, ["sync", *arguments])
    assert result.exit_code == code
    assert words in result.output


def test_without_a_backend_it_says_how_to_add_one():
    write_run()
    result = CliRunner().invoke(main, ["sync"])
    assert result.exit_code == 2
    assert "[backends.NAME]" in result.output


def test_a_backend_that_is_not_installed_is_exit_4():
    Path("unitrack.toml").write_text("[backends.other]\n")
    write_run()
    result = call()
    assert result.exit_code == 4
    assert "pip install unitrack-other" in result.stdout


def test_plugins_lists_what_is_installed_and_what_it_adds():
    result = CliRunner().invoke(main, ["plugins", "--json"])
    found = json.loads(result.stdout)
    assert "sly" in found["adds"]["backends"]
    assert {"name": "sly", "distribution": "sly", "version": "1.0"}.items() <= next(
        one for one in found["plugins"] if one["name"] == "sly"
    ).items()
    assert "sly" in CliRunner().invoke(main, ["plugins"]).stdout


def test_a_broken_plugin_is_exit_4_and_named(tmp_path):
    (tmp_path / "site" / "sly.py").write_text("raise ValueError('no')")
    import sys

    sys.modules.pop("sly", None)
    result = CliRunner().invoke(main, ["plugins"])
    assert result.exit_code == 4
    assert "plugin 'sly' (sly 1.0) can't be imported: ValueError: no" in result.stdout
