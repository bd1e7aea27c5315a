"""An imported run is there whole or not at all, holds what its source said, and is imported once."""

from __future__ import annotations

import hashlib
import math
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import msgspec
import pytest
from foreign import FakeReader, FakeRun, info_of, many_points, small_run

from unitrack.backend import FatalBackendError, Lowering, RetryableError
from unitrack.content import content_of, differences
from unitrack.errors import ConfigError
from unitrack.events import Artifact, Capture, Media, Metrics, Status, Tags, WriterStarted
from unitrack.foreign import Counts
from unitrack.importing import counts_of, import_runs, plan_import
from unitrack.journal import layout
from unitrack.journal.reader import read_journal
from unitrack.journal.seal import verify_run
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.reader import Store
from unitrack.schemas import load


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def imported(store, *runs, **options):
    return import_runs(FakeReader(*runs), "there", store, **options)


def states(report):
    return [each.state for each in report.runs]


def events_of(store, run_id="one"):
    (journal,) = layout.journals(layout.run_dir(store, run_id))
    return list(read_journal(journal))


def test_a_run_comes_whole_with_its_own_times_and_an_honest_writer(store):
    report = imported(store, small_run(parent="mother", group="g", name="first", argv=("train.py",)))
    assert report.complete
    assert states(report) == ["imported"]
    run = Store(store).run("one")
    assert (run.name, run.group, run.parent, run.project, run.status) == ("first", "g", "mother", "digits", "finished")
    assert (run.started, run.ended, run.argv) == (1000.25, 1010.5, ("train.py",))
    assert run.params == {"lr": 0.1, "model": {"layers": [1, 2]}}
    steps = list(run.series("loss"))
    assert steps[0] == (1.0, 1001.0, 1.0)
    assert steps[1][:2] == (2.5, 1002.0)
    assert math.isnan(steps[1][2])
    assert set(run.tags) == {"new", "good"}
    first, last = events_of(store)[0], events_of(store)[-1]
    assert isinstance(first, WriterStarted)
    assert (first.host, first.pid, first.role, first.started) == (layout.hostname(), os.getpid(), "primary", 1000.25)
    assert isinstance(last, Status)
    assert last.time == 1010.5


def test_the_journal_is_valid_sealed_and_fits_the_schema(store):
    imported(store, small_run())
    report = verify_run(layout.run_dir(store, "one"))
    assert report.ok
    assert report.sealed
    schema = jsonschema.Draft202012Validator(load("event"))
    (journal,) = layout.journals(layout.run_dir(store, "one"))
    for line in journal.read_bytes().splitlines():
        schema.validate(msgspec.json.decode(line))


def test_where_it_is_from_is_a_capture_before_the_seal_without_credentials(store):
    import_runs(FakeReader(small_run()), "https://me:secret@host/x", store)
    capture = events_of(store)[-2]
    assert isinstance(capture, Capture)
    assert capture.name == "import"
    values = capture.values
    assert (values["reader"], values["source"], values["origin"]) == ("fake", "https://host/x", "fake:one")
    assert values["counts"] == {"params": 2, "points": 3, "tags": 3, "artifacts": 0, "media": 0}
    assert values["complete"] is True


def test_twice_is_once(store):
    imported(store, small_run("one"), small_run("two"))
    before = {path: path.read_bytes() for path in store.rglob("*.jsonl")}
    run = small_run("one")
    report = imported(store, run, small_run("two"), small_run("three"))
    assert states(report) == ["skipped", "skipped", "imported"]
    assert report.complete
    assert run.asked == 0, "what is there isn't read again"
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_run_that_somebody_went_on_with_stays_theirs(store):
    imported(store, small_run(status=None, ended=None))
    writer = JournalWriter(layout.run_dir(store, "one"), WriterInfo(run="one"))
    writer.append(Metrics, {"loss": 0.1}, 9)
    writer.seal("finished")
    assert states(imported(store, small_run())) == ["skipped"]
    assert len(Store(store).run("one").writers) == 2


def test_a_run_that_still_goes_on_is_killed_for_now_and_written_anew_next_time(store):
    imported(store, small_run(status=None, ended=None))
    run = Store(store).run("one")
    assert run.status == "killed"
    assert "still ran" in run.reason
    assert run.ended == 1003.0, "the last sign of life"
    report = imported(store, small_run())
    assert states(report) == ["imported"]
    assert Store(store).run("one").status == "finished"
    assert states(imported(store, small_run())) == ["skipped"]


def test_an_id_that_is_another_runs_is_refused_with_a_way_out(store):
    writer = JournalWriter(layout.run_dir(store, "one"), WriterInfo(run="one"))
    writer.seal("finished")
    report = imported(store, small_run("one"), small_run("two"))
    assert states(report) == ["failed", "imported"]
    assert not report.complete
    assert "--id-prefix" in report.runs[0].reason
    again = imported(
        store, small_run("one"), small_run("kid", parent="one"), small_run("two", parent="gone"), id_prefix="ml-"
    )
    assert [each.run for each in again.runs] == ["ml-one", "ml-kid", "ml-two"]
    assert Store(store).run("ml-kid").parent == "ml-one"
    assert Store(store).run("ml-two").parent == "gone", "a parent that isn't imported keeps its id"


def test_two_foreign_runs_of_one_id_are_not_mixed(store):
    report = imported(store, small_run("one"), small_run("one", origin="fake:other"))
    assert states(report) == ["imported", "failed"]


def test_an_id_that_cant_be_a_folder_fails_alone(store):
    report = imported(store, small_run("../up"), small_run("two"))
    assert states(report) == ["failed", "imported"]


def test_all_runs_go_into_the_project_that_was_asked_for(store):
    imported(store, small_run(), project="mine")
    assert Store(store).run("one").project == "mine"


def test_a_source_that_says_more_than_came_is_told_and_asked_again_next_time(store):
    run = small_run()
    run.wanted = Counts(params=2, points=4, tags=3, artifacts=1)
    report = imported(store, run)
    assert states(report) == ["mismatched"]
    assert not report.complete
    assert report.runs[0].reason == "the source says otherwise: 3 points of 4, 0 artifacts of 1 were read"
    assert states(imported(store, run)) == ["mismatched"], "it isn't skipped as if all were well"
    assert states(imported(store, small_run())) == ["imported"]


def test_a_source_that_fails_for_a_while_is_asked_again_from_the_start(store):
    run = small_run()
    run.trouble = [RetryableError("busy", after=0.0)]
    told = []
    report = import_runs(FakeReader(run), "there", store, progress=told.append)
    assert states(report) == ["imported"]
    assert run.asked == 2
    assert any(each.waiting == "busy" for each in told)
    assert counts_of(Store(store).run("one")).points == 3, "what the first attempt wrote is gone"


def test_one_run_that_fails_costs_no_other_and_leaves_nothing(store):
    bad = small_run("bad")
    bad.trouble = [ValueError("odd bytes")]
    report = imported(store, bad, small_run("two"))
    assert states(report) == ["failed", "imported"]
    assert report.runs[0].reason == "ValueError: odd bytes"
    assert Store(store).ids() == ["two"]
    assert list((store / ".importing").iterdir()) == []


def test_a_source_that_is_gone_ends_the_import_soon(store):
    runs = [small_run(f"r{number}") for number in range(9)]
    for run in runs:
        run.trouble = [FatalBackendError("gone")]
    report = imported(store, *runs)
    assert len(report.runs) == 3
    assert "gone" in report.error
    assert not report.complete


def test_a_source_that_breaks_off_is_an_error_and_keeps_what_came(store):
    class Breaking(FakeReader):
        def runs(self, source, options):
            yield small_run()
            raise FatalBackendError("no more pages")

    report = import_runs(Breaking(), "there", store)
    assert (states(report), report.error) == (["imported"], "no more pages")


def test_a_wrong_option_is_an_error_at_once(store):
    class Picky(FakeReader):
        def runs(self, source, options):
            raise ConfigError("no such option")

    with pytest.raises(ConfigError):
        import_runs(Picky(), "there", store, {"x": "y"})


def test_files_come_into_the_store_and_lowering_is_told(store):
    def made(objects):
        stored = objects.put_bytes(b"weights")
        yield Artifact(seq=0, time=1001.0, name="w.pt", kind="model", digest=stored.digest, size=stored.size)
        yield Media(seq=0, time=1001.0, name="t", kind="text", format="txt", inline="hi")

    lowered = (Lowering(kind="fork", name="one", detail="told"),)
    run = FakeRun(info_of(), made, Counts(artifacts=1, media=1), lowered=lowered)
    report = imported(store, run)
    assert report.complete
    assert report.runs[0].lowered == lowered
    digest = hashlib.sha256(b"weights").hexdigest()
    assert (layout.objects_dir(store) / digest[:2] / digest).read_bytes() == b"weights"


def test_a_dry_run_says_what_would_become_of_each_and_writes_nothing(store):
    imported(store, small_run("one"), small_run("half", status=None))
    before = sorted(store.rglob("*"))
    reader = FakeReader(
        small_run("one"), small_run("half"), small_run("one", origin="other"), small_run("new"), small_run("a/b")
    )
    plans = list(plan_import(reader, "there", store))
    assert [each.action for each in plans] == ["skip", "replace", "refuse", "import", "refuse"]
    assert plans[3].expected.points == 3
    assert sorted(store.rglob("*")) == before


def test_imported_from_a_journal_it_compares_equal(store, tmp_path):
    """Reading a store as if it were foreign and importing it changes nothing but the writers."""
    imported(store, small_run())
    view = Store(store).run("one")
    kept = [event for _, event in view.events() if isinstance(event, (Metrics, Tags)) or hasattr(event, "values")]
    kept = [event for event in kept if not isinstance(event, Capture)]
    again = FakeRun(info_of("one", tags=("new",)), kept, counts_of(view))
    imported(tmp_path / "other", again)
    assert differences(content_of(view), content_of(Store(tmp_path / "other").run("one"))) == []


KILLED = """
    import os, signal, sys
    sys.path[:0] = [{support!r}]
    from pathlib import Path
    from foreign import FakeReader, FakeRun, info_of, many_points, small_run
    from unitrack.importing import import_runs

    def deadly(objects):
        for number, event in enumerate(many_points(60000)(objects)):
            if number == 50000:
                os.kill(os.getpid(), signal.SIGKILL)
            yield event

    runs = [small_run("one"), FakeRun(info_of("two"), deadly), small_run("three")]
    import_runs(FakeReader(*runs), "there", Path({store!r}))
"""


def test_a_killed_import_leaves_whole_runs_only_and_goes_on_where_it_was(store):
    support = str(Path(__file__).parent / "support")
    code = textwrap.dedent(KILLED.format(support=support, store=str(store)))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert Store(store).ids() == ["one"]
    (lock,) = (store / ".importing").glob("*.lock")
    assert lock.with_suffix("").is_dir(), "what was under way lies in a folder of its own"
    os.utime(lock, (0, 0))
    whole = FakeRun(info_of("two"), many_points(60000), Counts(points=60000))
    report = imported(store, small_run("one"), whole, small_run("three"))
    assert states(report) == ["skipped", "imported", "imported"]
    assert report.complete
    assert list((store / ".importing").iterdir()) == [], "what the killed one left is gone"
    assert all(verify_run(layout.run_dir(store, each)).ok for each in Store(store).ids())


def test_an_import_leaves_the_scratch_of_another_that_runs_alone(store):
    seen = []

    def meanwhile(objects):
        (lock,) = (store / ".importing").glob("*.lock")
        os.utime(lock, (0, 0))
        seen.append(states(imported(store, small_run("other"))))
        assert lock.exists()
        yield from many_points(3)(objects)

    report = imported(store, FakeRun(info_of("one"), meanwhile, Counts(points=3)))
    assert (seen, states(report)) == ([["imported"]], ["imported"])


def test_a_long_run_needs_no_more_memory_than_a_short_one(store):
    imported(store, FakeRun(info_of("short"), many_points(20_000), Counts(points=20_000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = imported(store, FakeRun(info_of("long"), many_points(400_000), Counts(points=400_000)))
    assert report.complete
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, (
        "in KB: 400,000 points take 20 MB and more"
    )
