"""`unitrack import` and `unitrack copy` say what came, what is missing and what to do; the exit code tells which."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from unitrack.backend import Capabilities, ExportResult, Lowering
from unitrack.cli import main
from unitrack.content import content_of, differences
from unitrack.dispatch import dispatcher
from unitrack.errors import ConfigError, FatalBackendError
from unitrack.events import Metrics, Params, RunStarted, Status, WriterStarted
from unitrack.foreign import Counts, ForeignInfo
from unitrack.hookspecs import hookimpl
from unitrack.journal import layout
from unitrack.journal.codec import decode_line, encode_line
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.reader import Store

PLUGIN = Path(__file__).read_text()  # this module is the plugin `box`, too, for the worker processes


class Box:
    """A tracker that is a folder of files, one a run: backend and reader in one."""

    name = "box"
    capabilities = Capabilities()

    # -- the backend

    def create(self, options):
        self.folder = Path(options["folder"])
        self.mood = options.get("mood", "good")
        return self

    def open(self, run, acked):
        self.folder.mkdir(exist_ok=True)
        self.path = self.folder / f"{run.id}.jsonl"
        if not acked:
            head = {
                "id": run.id,
                "project": run.project,
                "name": run.name,
                "parent": run.parent,
                "started": run.started,
            }
            self.path.write_text(json.dumps(head) + "\n")
        with (self.folder / "order").open("a") as order:
            order.write(f"{run.id}\n")
        return {}

    def export(self, records):
        lowered = ()
        with self.path.open("ab") as file:
            for record in records:
                event = record.event
                if isinstance(event, Metrics) and self.mood != "good":
                    event.step = int(event.step)
                    lowered = (Lowering(kind="step", name="*", detail="rounded"),)
                    if self.mood == "lossy" and event.step == 3:
                        continue
                if not isinstance(event, (WriterStarted, RunStarted, Status)):
                    file.write(encode_line(event))
        return ExportResult(acked=len(records), lowered=lowered)

    def flush(self, timeout):
        pass

    def close(self, status, ended):
        with self.path.open("a") as file:
            file.write(json.dumps({"status": status, "ended": ended}) + "\n")

    # -- the reader

    def runs(self, source, options):
        if set(options) - {"only"}:
            raise ConfigError(f"box knows no option {sorted(options)[0]!r}")
        if not Path(source).is_dir():
            raise FatalBackendError(f"there is no box {source}")
        for path in sorted(Path(source).glob("*.jsonl")):
            if options.get("only", path.stem) == path.stem:
                yield BoxRun(path)

    def source_of(self, options, *, project, run):
        return options["folder"], {"only": run}


class BoxRun:
    lowered = ()

    def __init__(self, path):
        head, *self.lines, tail = path.read_bytes().splitlines()
        head, tail = json.loads(head), json.loads(tail)
        self.info = ForeignInfo(origin=str(path), **head, **tail)

    def events(self, objects):
        return map(decode_line, self.lines)

    def expected(self):
        kinds = [json.loads(line) for line in self.lines]
        points = sum(len(each["values"]) for each in kinds if each["type"] == "metrics")
        params = sum(len(each["values"]) for each in kinds if each["type"] == "params")
        return Counts(points=points, params=params, artifacts=sum(each["type"] == "artifact" for each in kinds))


@hookimpl
def unitrack_register_backends():
    return [Box()]


@hookimpl
def unitrack_register_readers():
    return [Box()]


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """Install this module as a plugin."""
    site = tmp_path / "site"
    (site / "box-1.0.dist-info").mkdir(parents=True)
    (site / "box.py").write_text(PLUGIN)
    (site / "box-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: box\nVersion: 1.0\n")
    (site / "box-1.0.dist-info" / "entry_points.txt").write_text("[unitrack]\nbox = box\n")
    package = str(Path(dispatcher.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), package, os.environ.get("PYTHONPATH")])))
    monkeypatch.syspath_prepend(str(site))
    settings()


def settings(mood="good"):
    Path("unitrack.toml").write_text(f'[backends.box]\nmood = "{mood}"\nfolder = "tracker"\n')


def write_run(run_id="one", *, seal=True, parent=None):
    store = Path(".unitrack").absolute()
    layout.create_store(store)
    writer = JournalWriter(layout.run_dir(store, run_id), WriterInfo(run=run_id), durability="finish")
    writer.append(RunStarted, project="p", parent=parent)
    writer.append(Params, {"lr": 0.1})
    for step in range(5):
        writer.append(Metrics, {"loss": 1.0 / (step + 1)}, step + 0.5)
    if seal:
        writer.seal("finished")
    return writer


def call(*arguments):
    result = CliRunner().invoke(main, arguments, catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def filled_box(*ids):
    for each in ids or ("one", "two"):
        write_run(each)
    assert call("sync").exit_code == 0


# -- import --------------------------------------------------------------------------------------


def test_without_arguments_the_readers_are_listed():
    result = call("import")
    assert result.exit_code == 0
    assert re.search(r"^box +A tracker that is a folder of files", result.stdout, re.MULTILINE)


def test_runs_are_imported_counted_and_the_second_time_skipped():
    filled_box()
    result = call("import", "box", "tracker", "--dir", "other")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == ["one", "imported", "1", "5", "0", "0", "0", "0"]
    assert "2 runs imported and checked, 0 skipped (there already), 0 mismatched, 0 failed: 10 points" in result.stdout
    again = call("import", "box", "tracker", "--dir", "other", "--json")
    assert [each["state"] for each in json.loads(again.stdout)["runs"]] == ["skipped", "skipped"]
    one, other = (content_of(Store(Path(store)).run("one")) for store in (".unitrack", "other"))
    assert differences(one, other) == []


def test_options_reach_the_reader_and_a_wrong_one_is_wrong_use():
    filled_box()
    result = call("import", "box", "tracker", "-o", "only=two", "--dir", "other", "--project", "mine")
    assert (result.exit_code, Store(Path("other")).ids()) == (0, ["two"])
    assert Store(Path("other")).run("two").project == "mine"
    assert call("import", "box", "tracker", "-o", "bad=1", "--dir", "other").exit_code == 2
    assert call("import", "box", "tracker", "-o", "bad", "--dir", "other").exit_code == 2
    assert call("import", "box").exit_code == 2


def test_an_unknown_reader_names_those_there_are():
    result = CliRunner().invoke(main, ["import", "bix", "x"], standalone_mode=True)
    assert result.exit_code == 4
    assert "did you mean 'box'" in result.stderr


def test_a_source_that_isnt_there_and_a_taken_id_exit_with_4():
    filled_box()
    result = call("import", "box", "nowhere")
    assert (result.exit_code, "there is no box nowhere" in result.stdout) == (4, True)
    result = call("import", "box", "tracker")
    assert result.exit_code == 4
    assert "--id-prefix" in result.stdout
    assert call("import", "box", "tracker", "--id-prefix", "b-").exit_code == 0
    assert Store(Path(".unitrack")).ids() == ["b-one", "b-two", "one", "two"]


def test_a_dry_run_writes_nothing():
    filled_box()
    result = call("import", "box", "tracker", "--dry-run", "--dir", "other")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split()[:2] == ["one", "import"]
    assert not Path("other").exists()


# -- copy ----------------------------------------------------------------------------------------


def test_a_run_is_copied_with_its_parents_first_and_read_back_equal():
    write_run("zz-root")
    write_run("mid", parent="zz-root")
    write_run("kid", parent="mid")
    write_run("unasked")
    result = call("copy", "kid", "--to", "box")
    assert result.exit_code == 0
    assert Path("tracker/order").read_text().split() == ["zz-root", "mid", "kid"]
    assert "3 runs at box: 3 equal" in result.stdout
    again = call("copy", "kid", "--to", "box", "--json")
    assert [each["state"] for each in json.loads(again.stdout)["runs"]] == ["equal"] * 3


def test_what_the_backend_told_is_no_difference_but_what_it_lost_in_silence_is():
    settings("rounds")
    write_run("fine")
    result = call("copy", "fine", "--to", "box")
    assert result.exit_code == 0
    assert "fine: lowered: step: *: rounded" in result.stdout
    settings("lossy")
    write_run("torn")
    result = call("copy", "torn", "--to", "box")
    assert result.exit_code == 4
    assert "torn: logged and read back: metric 'loss' has 5 points and 4" in result.stdout
    assert "1 runs at box: 1 different" in result.stdout
    assert call("copy", "torn", "--to", "box", "--no-check").exit_code == 0


def test_runs_come_from_another_tracker_first():
    filled_box()
    result = call("copy", "--from", "box:tracker", "--to", "box", "--dir", "other", "-o", "only=one")
    assert result.exit_code == 0, result.output
    assert "1 runs imported and checked" in result.stdout
    assert "1 runs at box: 1 equal" in result.stdout


def test_a_run_that_goes_on_is_sent_and_not_compared():
    writer = write_run("live", seal=False)
    result = call("copy", "live", "--to", "box")
    assert (result.exit_code, "it still runs" in result.stdout) == (0, True)
    writer.seal("finished")


def test_wrong_use_is_told():
    write_run()
    assert call("copy", "one", "--to", "nowhere").exit_code == 2
    assert call("copy", "--to", "box").exit_code == 2
    assert call("copy", "--to", "box", "--from", "box").exit_code == 2
