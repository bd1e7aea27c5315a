"""A worker sends each event of each run once, whatever happens."""

from __future__ import annotations

import os

import msgspec
import pytest

from unitrack.backend import ExportResult, FatalBackendError, Lowering, Rejection, RetryableError
from unitrack.dispatch.dead_letter import read_dead
from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Stopped, Worker
from unitrack.events import Metrics, Params
from unitrack.journal import layout
from unitrack.journal._lock import try_acquire
from unitrack.journal.cursor import cursor_path, load_cursor


@pytest.fixture
def work(runs, backend):
    """Run a worker to its end; returns what it told, by kind."""

    def work(*, then=None, most_waits=200, **job):
        told, waits = [], []

        def wait(seconds):
            if seconds:
                waits.append(seconds)
                clock[0] += seconds
            if len(waits) > most_waits:
                raise Stopped
            if seconds and then is not None:
                then(len(waits))

        clock = [1e9]
        fields = {"store": str(runs.root), "backend": "memory", "type": "memory", **job}
        worker = Worker(Job(**fields), backend, told.append, wait, lambda: clock[0])
        worker._retrier._clock = lambda: clock[0]
        try:
            worker.run()
        except Stopped:
            told.append("stopped")
        work.waits = waits
        return {name: [one for one in told if type(one).__name__ == name] for name in ("Result", "Lowering", "Waiting")}

    return work


def events(backend, run="one"):
    return [event for sent in backend.runs[run].values() for event in sent]


def test_a_finished_run_is_sent_once_in_order_and_closed_with_its_end(runs, backend, work):
    writer = runs.finished("one", steps=25)
    results = work()["Result"]
    assert [key for call in backend.calls for key in call] == [(writer.id, seq) for seq in range(1, 30)]
    assert all(len(call) <= 10 for call in backend.calls)
    assert [(one.run, one.state, one.sent, one.pending) for one in results] == [("one", "sent", 29, 0)]
    (closed,) = backend.closed
    assert closed[:2] == ("one", "finished")
    assert closed[2] == pytest.approx(events(backend)[-1].time)


def test_a_run_that_was_sent_is_not_opened_again(runs, backend, work):
    runs.finished("one")
    work()
    work()
    work(runs=("one",))
    assert len(backend.opened) == 1


def test_what_was_acknowledged_is_told_to_open_and_never_offered_again(runs, backend, work):
    writer = runs.writer("one")
    writer.append(Metrics, {"loss": 1.0}, 1)
    assert work()["Result"][0].state == "live"
    assert backend.closed == [("one", None, None)]
    writer.append(Metrics, {"loss": 2.0}, 2)
    writer.seal("failed")
    work()
    assert backend.opened[1][1] == {writer.id: 3}
    assert backend.calls == [[(writer.id, 1), (writer.id, 2), (writer.id, 3)], [(writer.id, 4), (writer.id, 5)]]
    assert backend.closed[1][1] == "failed"


def test_a_killed_writer_makes_a_killed_run_that_ended_with_its_last_event(runs, backend, work):
    writer = runs.writer("one")
    writer.append(Metrics, {"loss": 1.0}, 1)
    runs.die(writer)
    work()
    assert backend.closed == [("one", "killed", events(backend)[-1].time)]


def test_a_torn_last_line_is_left_out(runs, backend, work):
    writer = runs.writer("one")
    with writer.path.open("ab") as file:
        file.write(b'{"type":"metrics","seq":3')
    runs.die(writer)
    assert work()["Result"][0].state == "sent"
    assert len(events(backend)) == 2


def test_follow_sends_what_comes_until_the_run_ends(runs, backend, work):
    writer = runs.writer("one")

    def then(count):
        writer.append(Metrics, {"loss": 1.0}, count) if count < 5 else writer.seal("finished")

    results = work(runs=("one",), follow=True, then=then)["Result"]
    assert [one.state for one in results] == ["sent"]
    assert sum(isinstance(event, Metrics) for event in events(backend)) == 4
    assert backend.closed[0][1] == "finished"
    assert len(backend.opened) == 1


def test_follow_sees_writers_that_come_later(runs, backend, work):
    first, others = runs.writer("one", rank=0), []

    def then(count):
        if count == 1:
            others.append(runs.writer("one", rank=1))
            first.seal("finished")
        if count == 3:
            others[0].seal("failed")

    assert work(runs=("one",), follow=True, then=then)["Result"][0].state == "sent"
    assert {key[0] for key in backend.runs["one"]} == {first.id, others[0].id}
    assert backend.closed[0][1] == "failed", "one failed rank makes a failed run"


def test_the_end_of_a_forked_helper_does_not_end_the_run(runs, backend, work):
    first = runs.writer("one")
    runs.writer("one", role="worker").seal("killed")
    work(runs=("one",), follow=True, then=lambda count: first.seal("finished") if count == 3 else None)
    assert [closed[1] for closed in backend.closed] == ["finished"]


def test_ranks_are_sent_in_their_order(runs, backend, work):
    second = runs.finished("one", rank=1)
    first = runs.finished("one", rank=0)
    work()
    assert [call[0][0] for call in backend.calls] == [first.id, second.id]


def test_a_resumed_run_tells_all_its_parts_and_the_last_end(runs, backend, work):
    runs.die(runs.writer("one"))
    runs.finished("one")
    work()
    assert backend.closed[0][1] == "finished"
    assert len({key[0] for key in backend.runs["one"]}) == 2


def test_a_tracker_that_is_down_is_asked_again_with_the_same_records(runs, backend, work):
    runs.finished("one", steps=2)
    failures = iter([RetryableError("down"), RetryableError("still down", after=7.0)])

    def trouble(records):
        for error in failures:
            raise error

    backend.trouble = trouble
    told = work()
    assert told["Result"][0].state == "sent"
    assert backend.calls[0] == backend.calls[1] == backend.calls[2]
    assert [one.reason for one in told["Waiting"]] == ["down", "still down"]
    assert told["Waiting"][1].seconds >= 7.0


def test_when_patience_ends_the_rest_waits_with_the_reason_and_the_next_worker_goes_on(runs, backend, work):
    runs.finished("one", steps=30)

    def trouble(records):
        if len(backend.calls) > 2:
            raise RetryableError("no route to host")

    backend.trouble = trouble
    (result,) = work(patience=20.0)["Result"]
    assert (result.state, result.sent, result.pending, result.reason) == ("failed", 20, 14, "no route to host")
    assert sum(work.waits) <= 20.0
    assert load_cursor(runs.folder("one"), "memory").error == "no route to host"
    backend.trouble = lambda records: None
    assert work()["Result"][0].state == "sent"
    assert all(len(sent) == 1 for sent in backend.runs["one"].values())
    assert load_cursor(runs.folder("one"), "memory").error is None


def test_while_a_run_goes_on_there_is_no_end_to_patience(runs, backend, work):
    writer = runs.writer("one")

    def trouble(records):
        if len(work.seen) < 40:
            work.seen.append(1)
            raise RetryableError("down for the night")

    work.seen = []
    backend.trouble = trouble
    told = work(runs=("one",), follow=True, patience=5.0, then=lambda count: count == 50 and writer.seal("finished"))
    assert len(told["Waiting"]) == 40
    assert told["Result"][0].state == "sent"


def test_after_the_tracker_was_given_up_other_runs_get_one_attempt_each(runs, backend, work):
    for name in ("one", "two", "three", "four", "five"):
        runs.finished(name)
    asked = []

    def refuse(run, acked):
        asked.append(run.id)
        raise RetryableError("down")

    backend.open = refuse
    with pytest.raises(RetryableError, match="down"):
        work(patience=5.0)
    assert len(asked) == asked.count(asked[0]) + 2, "three runs in a row end the worker"
    assert asked.count(asked[0]) > 2


def test_a_fatal_error_of_one_run_leaves_the_others_alone(runs, backend, work):
    for name in ("a", "b", "c"):
        runs.finished(name)

    def trouble(records):
        if backend.run.id == "b":
            raise FatalBackendError("not yours")

    backend.trouble = trouble
    assert [(one.run, one.state) for one in work()["Result"]] == [("a", "sent"), ("b", "failed"), ("c", "sent")]


def test_a_poison_record_is_found_alone_and_kept_with_its_reason(runs, backend, work):
    writer = runs.finished("one", steps=30)

    def trouble(records):
        if any(record.event.seq == 17 for record in records):
            raise KeyError("17")

    backend.trouble = trouble
    (result,) = work()["Result"]
    assert (result.state, result.dead, result.sent) == ("sent", 1, 33)
    (letter,) = read_dead(runs.folder("one"), "memory")
    assert (letter.record.key, letter.reason) == ((writer.id, 17), "KeyError: '17'")
    assert {key[1] for key in backend.runs["one"]} == set(range(1, 35)) - {17}
    assert all(len(sent) == 1 for sent in backend.runs["one"].values())


def test_a_backend_that_fails_on_everything_is_stopped_before_it_buries_the_run(runs, backend, work):
    runs.finished("one", steps=100)
    backend.trouble = lambda records: (_ for _ in ()).throw(TypeError("broken"))
    (result,) = work()["Result"]
    assert result.state == "failed"
    assert "20 records in a row" in result.reason
    assert result.dead == 20


def test_rejected_records_go_to_the_dead_letters_and_can_be_offered_again(runs, backend, work):
    runs.finished("one")

    def answer(records):
        rejected = [Rejection(record=r, reason="too long") for r in records if isinstance(r.event, Params)]
        return ExportResult(acked=len(records), rejected=tuple(rejected))

    good = backend.answer
    backend.answer = answer
    assert work()["Result"][0].dead == 1
    backend.answer, before = good, len(backend.calls)
    assert work(runs=("one",), retry_dead=True)["Result"][0].dead == 0
    assert len(backend.calls[before]) == 1
    assert read_dead(runs.folder("one"), "memory") == []


def test_each_lowering_is_told_once_even_over_restarts(runs, backend, work):
    runs.finished("one", steps=30)
    lowered = Lowering(kind="step", name="loss", detail="1.5 became 1")
    backend.answer = lambda records: ExportResult(acked=len(records), lowered=(lowered, lowered))
    told = work()["Lowering"]
    cursor_path(runs.folder("one"), "memory")
    runs.finished("one", steps=30)
    assert [(one.kind, one.name, one.detail) for one in told + work()["Lowering"]] == [("step", "loss", "1.5 became 1")]
    assert load_cursor(runs.folder("one"), "memory").lowered[0].detail == "1.5 became 1"


def test_partial_acknowledgements_are_honoured(runs, backend, work):
    runs.finished("one", steps=10)
    backend.answer = lambda records: ExportResult(acked=min(3, len(records)))
    work()
    assert [len(sent) for sent in backend.runs["one"].values()] == [1] * 14


def test_a_backend_that_acknowledges_more_than_it_was_given_is_told_so(runs, backend, work):
    runs.finished("one")
    backend.answer = lambda records: ExportResult(acked=len(records) + 1)
    (result,) = work()["Result"]
    assert result.state == "failed"
    assert "bug" in result.reason


def test_another_target_gets_the_whole_run(runs, backend, work):
    writer = runs.writer("one")
    work()
    backend.target = "elsewhere"
    backend.runs.clear()
    writer.seal("finished")
    work()
    assert [key[1] for key in backend.runs["one"]] == [1, 2, 3]
    assert backend.opened[-1][1] == {}


def test_a_run_that_another_process_sends_is_left_to_it_when_following(runs, backend, work):
    runs.finished("one")
    lock = cursor_path(runs.folder("one"), "memory").with_suffix(".lock")
    lock.parent.mkdir()
    handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    assert try_acquire(handle)
    assert work(runs=("one",), follow=True)["Result"][0].state == "busy"
    assert work(runs=("one",), patience=3.0)["Result"][0].state == "busy"
    assert sum(work.waits) >= 3.0
    assert (
        work(runs=("one",), patience=30.0, then=lambda count: count == 5 and os.close(handle))["Result"][0].state
        == "sent"
    )


def test_a_process_that_died_before_it_named_its_run_leaves_nothing_to_send(runs, backend, work):
    writer = runs.finished("one")
    writer.path.write_bytes(writer.path.read_bytes().split(b"\n")[0] + b"\n")
    assert work(runs=("one",))["Result"][0].state == "sent"
    assert backend.opened == []


def test_a_bad_line_fails_its_run_with_file_and_line_and_no_other(runs, backend, work):
    writer = runs.finished("a")
    runs.finished("b")
    lines = writer.path.read_bytes().splitlines(keepends=True)
    writer.path.write_bytes(b"".join([*lines[:3], b"not json\n", *lines[4:]]))
    first, second = work()["Result"]
    assert (first.state, second.state) == ("failed", "sent")
    assert f"{writer.id}.jsonl:4" in first.reason


def test_a_journal_that_was_cut_or_replaced_is_read_anew(runs, backend, work):
    writer = runs.finished("one", steps=20)
    work()
    path = cursor_path(runs.folder("one"), "memory")
    cursor = msgspec.json.decode(path.read_bytes())
    cursor["writers"][writer.id] = {"offset": 10**9, "seq": 5}
    path.write_bytes(msgspec.json.encode(cursor))
    work()
    assert backend.calls[-1][-1] == (writer.id, 24)
    assert all(len(sent) == 2 for sent in backend.runs["one"].values())


def test_a_backend_whose_client_is_missing_fails_at_once(runs, backend, work):
    runs.finished("one")
    backend.open = lambda run, acked: (_ for _ in ()).throw(ImportError("No module named 'tracker'"))
    (result,) = work()["Result"]
    assert "No module named 'tracker'" in result.reason
    assert work.waits == []


def test_a_stopped_worker_keeps_how_far_it_came(runs, backend, work):
    runs.finished("one", steps=50)

    def trouble(records):
        if len(backend.calls) == 4:
            raise RetryableError("down")

    backend.trouble = trouble
    work(most_waits=0)
    assert load_cursor(runs.folder("one"), "memory").sent == 30
    work()
    assert all(len(sent) == 1 for sent in backend.runs["one"].values())


def test_a_store_that_is_followed_gets_its_new_runs(runs, backend, work):
    runs.finished("one")

    def then(count):
        if count == 2:
            runs.finished("two")

    results = work(follow=True, then=then, most_waits=8)["Result"]
    assert [one.run for one in results] == ["one", "two"]


def test_memory_does_not_grow_with_the_journal(runs, backend, work):
    writer = runs.writer("one")
    for step in range(20_000):
        writer.append(Metrics, {"a fairly long name of a metric": step / 3}, step)
    writer.seal("finished")
    sizes = []
    backend.answer = lambda records: (sizes.append(len(records)), ExportResult(acked=len(records)))[1]
    backend.capabilities = msgspec.structs.replace(backend.capabilities, batch=10**9)
    work()
    assert max(sizes) < 4_000
    assert layout.journals(runs.folder("one"))
