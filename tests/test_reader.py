"""Runs read back: merged writers, statuses, prefixes, damage, losses, tables."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import START, journal, metrics, open_writer

from unitrack.errors import RunNotFoundError, UnitrackError, UsageError
from unitrack.events import (
    Alert,
    Artifact,
    Capture,
    DatasetUsed,
    Media,
    MetricDefinition,
    Metrics,
    Params,
    RunStarted,
    Summary,
    System,
    Tags,
)
from unitrack.journal import layout
from unitrack.journal._loss import Loss, LossFile
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.reader import Store, get_run, runs

# -- one run ------------------------------------------------------------------------------------------


def test_a_run_reads_back_as_it_was_logged(tmp_path):
    writer = JournalWriter(tmp_path / "runs" / "r", WriterInfo(run="r"))
    writer.append(RunStarted, project="p", name="n", group="g", parent="q", tags=["a"], argv=["train.py"])
    writer.append(Params, {"lr": 0.1, "model": {"layers": 3}})
    writer.append(Metrics, {"loss": 1.0, "acc": 0.5}, 0)
    writer.append(Metrics, {"loss": 0.5}, 2.5)
    writer.append(Metrics, {"loss": 0.25})
    writer.append(Artifact, name="m", kind="model", digest="sha256:" + "0" * 64, metadata={"best": "NaN"})
    writer.append(DatasetUsed, name="d", rows=3)
    writer.append(Media, name="h", kind="histogram", format="json", inline={"max": "Infinity"})
    writer.append(Capture, name="git", values={"commit": "abc"})
    writer.append(Alert, title="look")
    writer.seal("finished")
    view = get_run("r", dir=tmp_path)
    assert (view.id, view.project, view.name, view.group, view.parent) == ("r", "p", "n", "g", "q")
    assert (view.status, view.reason, view.tags, view.argv) == ("finished", None, ("a",), ("train.py",))
    assert view.params == {"lr": 0.1, "model": {"layers": 3}}
    assert view.summary == {"loss": 0.25, "acc": 0.5}
    assert view.started <= view.ended
    loss = view.series("loss")
    assert (list(loss.values), list(loss.steps[:2]), math.isnan(loss.steps[2])) == ([1.0, 0.5, 0.25], [0, 2.5], True)
    assert list(loss.times) == sorted(loss.times)
    assert (view.metrics["loss"].count, view.metrics["loss"].min, view.metrics["loss"].mean) == (3, 0.25, 1.75 / 3)
    assert math.isnan(view.artifacts[0].metadata["best"])
    assert view.media[0].inline == {"max": math.inf}
    assert (view.datasets[0].rows, view.captures["git"]["commit"], view.alerts[0].title) == (3, "abc", "look")
    assert (len(view.writers), view.writers[0].events, view.writers[0].sealed, view.lost) == (1, 12, True, 0)
    assert (view.problems, view.path) == ((), tmp_path / "runs" / "r")
    assert [event.seq for _, event in view.events()] == list(range(1, 13))


def test_non_finite_numbers_come_back_as_floats(tmp_path):
    values = {"loss": "NaN", "up": "Infinity", "down": "-Infinity", "flag": True, "big": 2**60}
    journal(tmp_path, "w", [
        (START, Params, {"values": {"a": ["Infinity"], "text": "\\NaN"}}),
        (START, Metrics, {"values": values}),
        (START, Metrics, {"values": {"loss": 2.0}}),
        (START, Summary, {"values": {"score": "NaN"}}),
    ])  # fmt: skip
    view = get_run("r", dir=tmp_path)
    assert view.params == {"a": [math.inf], "text": "NaN"}
    assert math.isnan(view.summary["score"])
    assert (view.series("up").values[0], view.series("down").values[0]) == (math.inf, -math.inf)
    assert (view.series("flag").values[0], view.series("big").values[0]) == (1.0, 2.0**60)
    assert (view.metrics["loss"].min, view.metrics["loss"].max, view.metrics["loss"].last) == (2.0, 2.0, 2.0)
    assert math.isnan(view.metrics["loss"].first)
    assert math.isnan(view.metrics["loss"].mean)


def test_a_later_param_replaces_an_earlier_one_key_by_key(tmp_path):
    journal(tmp_path, "w", [
        (START, Params, {"values": {"o": {"lr": 1, "kind": "sgd"}, "x": {"y": 1}}}),
        (START, Params, {"values": {"o": {"lr": 2}, "x": 3}}),
    ])  # fmt: skip
    assert get_run("r", dir=tmp_path).params == {"o": {"lr": 2, "kind": "sgd"}, "x": 3}


def test_tags_are_added_and_removed_in_order(tmp_path):
    journal(tmp_path, "w", [
        (START, RunStarted, {"project": "p", "tags": ["a", "b"]}),
        (START, Tags, {"add": ["c"], "remove": ["a"], "values": {"k": "v", "gone": "x"}}),
        (START, Tags, {"add": ["a"], "remove": ["gone"]}),
    ])  # fmt: skip
    view = get_run("r", dir=tmp_path)
    assert (view.tags, view.tag_values) == (("b", "c", "a"), {"k": "v"})


def test_a_definition_decides_what_the_summary_says_and_a_summary_event_wins(tmp_path):
    journal(tmp_path, "w", [
        (START, MetricDefinition, {"name": "acc", "goal": "maximize"}),
        (START, MetricDefinition, {"name": "loss", "goal": "minimize", "summary": "min"}),
        (START, MetricDefinition, {"name": "quiet", "summary": "none"}),
        (START, MetricDefinition, {"name": "mean", "summary": "mean"}),
        (START, MetricDefinition, {"name": "first", "summary": "first"}),
        (START, MetricDefinition, {"name": "max", "summary": "max"}),
        metrics(START, acc=1, loss=1, quiet=1, mean=1, first=1, max=9, own=1),
        metrics(START, acc=0, loss=5, quiet=2, mean=3, first=2, max=2, own=2),
        (START, Summary, {"values": {"own": 7}}),
        metrics(START, own=3),
    ])  # fmt: skip
    view = get_run("r", dir=tmp_path)
    assert view.summary == {"acc": 0, "loss": 1, "mean": 2, "first": 1, "max": 9, "own": 7}
    assert (view.best("acc"), view.best("loss"), view.best("own")) == (1, 1, None)
    assert view.metrics["acc"].goal == "maximize"


def test_a_metric_that_is_not_there_is_named_with_its_nearest(tmp_path):
    journal(tmp_path, "w", [metrics(START, loss=1)])
    with pytest.raises(UsageError, match=r"no metric 'los'; it has 'loss'"):
        get_run("r", dir=tmp_path).series("los")


def test_system_numbers_stand_apart_from_metrics(tmp_path):
    journal(tmp_path, "w", [metrics(START, loss=1), (START, System, {"values": {"cpu": 50}})])
    view = get_run("r", dir=tmp_path)
    assert (list(view.metrics), list(view.system)) == (["loss"], ["cpu"])
    assert list(view.system_series("cpu").values) == [50]
    with pytest.raises(UsageError, match="no metric"):
        view.series("cpu")


def test_a_run_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RunNotFoundError, match="no run 'nope'"):
        get_run("nope", dir=tmp_path)
    with pytest.raises(UsageError, match="can't be a run id"):
        get_run("../x", dir=tmp_path)


def test_the_configured_store_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_DIR", str(tmp_path / "s"))
    journal(tmp_path / "s", "w", [])
    assert (get_run("r").id, [view.id for view in runs()]) == ("r", ["r"])


# -- several writers ----------------------------------------------------------------------------------


def merged_by_hand(journals):
    """Merge (writer, [(time, name, value)]) the slow and obvious way."""
    rows = []
    for writer, points in sorted(journals.items()):
        clock = 0.0
        for place, (time, _, value) in enumerate(points):
            clock = max(clock, time)
            rows.append((clock, writer, place, value))
    return [value for *_, value in sorted(rows)]


points = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10**6)), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(points, min_size=1, max_size=4))
def test_any_writers_merge_by_time_and_each_keeps_its_own_order(tmp_path_factory, parts):
    store = tmp_path_factory.mktemp("store")
    known = {}
    for place, part in enumerate(parts):
        rows = [(START + time, "loss", value) for time, value in part]
        known[f"w{place}"] = rows
        journal(store, f"w{place}", [metrics(time, loss=value, **{f"only{place}": 1}) for time, _, value in rows])
    expected = merged_by_hand(known)
    view = get_run("r", dir=store)
    if not expected:
        assert view.metrics == {}
        return
    assert list(view.series("loss").values) == expected
    assert [row["loss"] for row in view.history()] == expected
    assert list(view.series("loss").values) == expected
    other = get_run("r", dir=store)
    assert len(other.history()) == len(expected)
    assert list(other.series("loss").values) == expected
    assert other.metrics["loss"].count == len(expected)
    assert (other.metrics["loss"].min, other.metrics["loss"].max) == (min(expected), max(expected))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([0, 1, 2, 3, 4, 5]))
def test_however_two_writers_take_turns_the_merged_view_is_the_same(tmp_path_factory, order):
    """What is said at given times counts, not which of the processes said it."""
    store = tmp_path_factory.mktemp("store")
    said = [
        (START + 1, Params, {"values": {"a": 1, "n": {"x": 1}}}),
        (START + 2, Params, {"values": {"a": 2, "n": {"y": 2}}}),
        (START + 3, Tags, {"add": ["t"]}),
        (START + 4, Tags, {"remove": ["t"], "add": ["u"]}),
        (START + 5, Summary, {"values": {"s": 1}}),
        (START + 6, Summary, {"values": {"s": 2}}),
    ]
    first = set(order[:3])
    journal(store, "w0", [event for place, event in enumerate(said) if place in first])
    journal(store, "w1", [event for place, event in enumerate(said) if place not in first])
    view = get_run("r", dir=store)
    assert (view.params, view.tags, view.summary) == ({"a": 2, "n": {"x": 1, "y": 2}}, ("u",), {"s": 2})


def test_a_copied_journal_does_not_count_twice(tmp_path):
    path = journal(tmp_path, "w", [metrics(START, loss=1)])
    (path.parent / "w (copy).jsonl").write_bytes(path.read_bytes())
    view = get_run("r", dir=tmp_path)
    assert (len(view.series("loss")), view.metrics["loss"].count, len(view.writers)) == (1, 1, 1)
    assert any("copy" in problem for problem in view.problems)


def test_an_event_that_stands_twice_counts_once(tmp_path):
    path = journal(tmp_path, "w", [metrics(START, loss=1), metrics(START, loss=2)], status=None)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, *lines[1:]]))
    view = get_run("r", dir=tmp_path)
    assert (list(view.series("loss").values), view.metrics["loss"].count) == ([1, 2], 2)
    assert len(view.history()) == 2
    assert any("2 repeated events" in problem for problem in view.problems)


def test_captures_of_the_first_rank_stand_for_the_run(tmp_path):
    journal(tmp_path, "a", [(START, Capture, {"name": "hardware", "values": {"gpu": 0}})], rank=0)
    later = (START + 9, Capture, {"name": "hardware", "values": {"gpu": 1, "extra": 1}})
    journal(tmp_path, "b", [later], rank=1)
    assert get_run("r", dir=tmp_path).captures == {"hardware": {"gpu": 0, "extra": 1}}


# -- status -------------------------------------------------------------------------------------------


def test_a_writer_at_work_makes_the_run_running(tmp_path):
    writer = open_writer(tmp_path)
    view = get_run("r", dir=tmp_path)
    assert (view.status, view.ended, view.writers[0].sealed) == ("running", None, False)
    writer.seal("failed", reason="ValueError: no")
    view = get_run("r", dir=tmp_path)
    assert (view.status, view.reason) == ("failed", "ValueError: no")


def test_a_writer_that_died_without_a_seal_was_killed(tmp_path):
    script = f"""
import os, pathlib
from unitrack.events import *
from unitrack.journal.writer import *
w = JournalWriter(pathlib.Path({str(tmp_path)!r}) / "runs/r", WriterInfo(run="r"))
w.append(RunStarted, project="p")
w.append(Metrics, {{"loss": 1.0}})
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    view = get_run("r", dir=tmp_path)
    assert (view.status, list(view.series("loss").values), view.problems) == ("killed", [1.0], ())
    assert view.ended >= view.started


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (["finished", "finished"], "finished"),
        (["finished", "killed"], "killed"),
        (["killed", "failed", "finished"], "failed"),
    ],
)
def test_the_worst_end_of_a_rank_is_the_runs(tmp_path, ends, expected):
    for rank, status in enumerate(ends):
        journal(tmp_path, f"w{rank}", [], status=status, rank=rank)
    assert get_run("r", dir=tmp_path).status == expected


def test_the_latest_writer_of_a_rank_decides(tmp_path):
    journal(tmp_path, "a", [], status="failed", start=START)
    journal(tmp_path, "b", [], status="finished", start=START + 5)
    assert get_run("r", dir=tmp_path).status == "finished"


def test_workers_never_decide(tmp_path):
    journal(tmp_path, "a", [], status="finished")
    journal(tmp_path, "b", [], status=None, role="worker", rank=3)
    journal(tmp_path, "c", [], status="failed", role="worker", start=START + 9)
    view = get_run("r", dir=tmp_path)
    assert view.status == "finished"
    assert sorted(writer.status for writer in view.writers) == ["failed", "finished", "killed"]


def test_a_writer_on_another_host_is_alive_while_its_journal_moves(tmp_path):
    path = journal(tmp_path, "w", [], status=None)
    lines = path.read_bytes().replace(layout.hostname().encode(), b"elsewhere")
    path.write_bytes(lines)
    assert get_run("r", dir=tmp_path).status == "running"
    os.utime(path, (START, START))
    assert get_run("r", dir=tmp_path).status == "killed"


def test_a_loss_file_tells_the_end_and_the_losses_of_a_journal_that_could_not_be_sealed(tmp_path):
    path = journal(tmp_path, "w", [metrics(START, loss=1)], status=None)
    loss = LossFile(layout.loss_path(path))
    loss.open()
    loss.write(Loss(lost=7, reason="No space left on device", status="finished"))
    loss.close()
    view = get_run("r", dir=tmp_path)
    assert (view.status, view.lost, view.writers[0].lost, view.writers[0].sealed) == ("finished", 7, 7, False)
    assert view.problems == ("w: 7 events could not be written: No space left on device",)


# -- tables -------------------------------------------------------------------------------------------


def rare_metrics(tmp_path):
    return journal(tmp_path, "w", [
        metrics(START, 0, loss=1.0), metrics(START + 1, 1, loss="NaN", acc=0.5), metrics(START + 2, acc=0.75),
    ])  # fmt: skip


def test_history_has_a_row_for_each_logging_call(tmp_path):
    rare_metrics(tmp_path)
    first, second, third = get_run("r", dir=tmp_path).history()
    assert first == {"step": 0, "time": START, "loss": 1.0}
    assert (second["step"], second["acc"], math.isnan(second["loss"])) == (1, 0.5, True)
    assert third == {"step": None, "time": START + 2, "acc": 0.75}


def test_pandas_and_arrow_show_the_same_table(tmp_path):
    rare_metrics(tmp_path)
    view = get_run("r", dir=tmp_path)
    frame, table = view.to_pandas(), view.to_arrow()
    assert list(frame.columns) == table.column_names == ["step", "time", "loss", "acc"]
    assert frame["acc"].tolist()[1:] == [0.5, 0.75]
    assert math.isnan(frame["acc"][0])
    assert table["acc"].to_pylist() == [None, 0.5, 0.75]
    assert table["step"].to_pylist() == [0, 1, None]
    assert math.isnan(table["loss"].to_pylist()[1])
    assert table["loss"].to_pylist()[2] is None


def test_a_run_without_metrics_is_an_empty_table(tmp_path):
    journal(tmp_path, "w", [])
    view = get_run("r", dir=tmp_path)
    assert (view.history(), len(view.to_pandas()), len(view.to_arrow())) == ([], 0, 0)


@pytest.mark.parametrize(("module", "call"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, module, call):
    rare_metrics(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnitrackError, match=r"pip install .unitrack\[(pandas|arrow)\]"):
        getattr(get_run("r", dir=tmp_path), call)()


def test_a_journal_longer_than_a_chunk_reads_whole(tmp_path):
    """Names come and go, alone and together, over several chunks of a megabyte."""
    count = 30_000
    path = journal(tmp_path, "w", [
        metrics(START + i, i, **({"a": i, "b": -i} if i % 3 else {"b": -i} if i % 2 else {"c": i})) for i in range(count)
    ])  # fmt: skip
    assert path.stat().st_size > 2 << 20
    view = get_run("r", dir=tmp_path)
    assert list(view.series("b").values) == [-i for i in range(count) if i % 3 or i % 2]
    assert list(view.series("a").steps) == [i for i in range(count) if i % 3]
    assert list(view.series("c").values) == [i for i in range(count) if i % 6 == 0]
    assert view.metrics["b"].count == len(view.series("b"))


def test_every_series_is_the_same_read_alone_or_with_all(tmp_path):
    for place, part in enumerate([range(4), range(6), range(3)]):
        journal(tmp_path, f"w{place}", [metrics(START + i, x=i, **({"y": i} if i % 2 else {})) for i in part])
    alone = {name: list(get_run("r", dir=tmp_path).series(name)) for name in "xy"}
    view = get_run("r", dir=tmp_path)
    view.history()
    assert str({name: list(view.series(name)) for name in "xy"}) == str(alone)


# -- the store ----------------------------------------------------------------------------------------


def test_an_id_may_be_shortened_while_it_is_clear(tmp_path):
    for run in ("abc", "abd", "x"):
        journal(tmp_path, "w", [], run=run)
    store = Store(tmp_path)
    assert (store.resolve("x"), store.resolve("abc")) == ("x", "abc")
    with pytest.raises(UsageError, match="2 runs begin with 'ab': abc, abd"):
        store.resolve("ab")
    with pytest.raises(RunNotFoundError):
        store.resolve("q")


def listed_store(tmp_path):
    for place, (run, status) in enumerate([("a", "finished"), ("b", "failed"), ("c", "finished")]):
        fields = {"project": "p" if run != "c" else "q", "tags": ["x", run], "group": "g" if run == "a" else None}
        journal(tmp_path, "w", [(START, RunStarted, fields), metrics(START, loss=place)],
                run=run, status=status, start=START + place)  # fmt: skip
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "cba"),
        ({"project": "p"}, "ba"),
        ({"project": ["p", "q"], "limit": 2}, "cb"),
        ({"status": "finished"}, "ca"),
        ({"tags": "x"}, "cba"),
        ({"tags": ["x", "b"]}, "b"),
        ({"group": "g"}, "a"),
        ({"since": START + 1}, "cb"),
        ({"where": lambda view: view.summary["loss"] < 1}, "a"),
        ({"name": "none"}, ""),
        ({"limit": 0}, ""),
    ],
)
def test_runs_are_found_by_what_is_asked_newest_first(tmp_path, asked, found):
    assert "".join(view.id for view in runs(dir=listed_store(tmp_path), **asked)) == found


def test_a_store_that_is_not_there_has_no_runs(tmp_path):
    assert runs(dir=tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
