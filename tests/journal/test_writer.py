"""A journal's writer keeps every event, whole and in order."""

import multiprocessing
import os
import resource
import threading
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrack.errors import UnitrackWarning, UsageError
from unitrack.events import Metrics, Params, Status, WriterStarted
from unitrack.journal import _lock, layout
from unitrack.journal._loss import read_loss
from unitrack.journal.reader import JournalReader, read_journal
from unitrack.journal.seal import verify_journal, verify_run
from unitrack.journal.writer import JournalWriter, WriterInfo


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r1"


def open_writer(run: Path, **settings: object) -> JournalWriter:
    return JournalWriter(run, WriterInfo(run=run.name), **settings)


def refuse(values: object, step: object = None) -> None:
    raise AssertionError(f"not for the slow path: {values!r}, {step!r}")


def test_the_first_event_names_the_writer_and_the_last_seals_the_journal(run: Path) -> None:
    writer = open_writer(run)
    writer.append(Params, {"lr": 0.1})
    assert writer.seal("finished")
    first, params, last = read_journal(writer.path)
    assert isinstance(first, WriterStarted) and first.run == "r1" and first.pid == os.getpid()
    assert isinstance(params, Params) and params.values == {"lr": 0.1}
    assert isinstance(last, Status) and last.status == "finished" and last.events == 3
    assert verify_journal(writer.path).ok


def test_the_fast_path_writes_what_the_slow_path_would(run: Path) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(refuse)
    log({"loss": 0.5, "n": 3}, step=7)
    log({"loss": 0.25})
    writer.seal("finished")
    events = [event for event in read_journal(writer.path) if isinstance(event, Metrics)]
    assert [(event.values, event.step) for event in events] == [({"loss": 0.5, "n": 3}, 7), ({"loss": 0.25}, None)]


@pytest.mark.parametrize(
    ("values", "step"),
    [({"a": float("nan")}, 1), ({"a": float("inf")}, 1), ({"a": "text"}, 1), ({"a": None}, 1), ({None: 1.0}, 1),
     ({"a": 1.0}, 1.5), ({"a": 1.0}, "x"), ({"\ud800": 1.0}, 1), ("loss", 1), ({"a": {"b": 1.0}}, 1)],
)  # fmt: skip
def test_the_fast_path_hands_on_whatever_is_unusual_and_writes_nothing(run: Path, values: object, step: object) -> None:
    writer = open_writer(run)
    handed = []
    writer.metrics_logger(lambda *call: handed.append(call))(values, step)
    assert len(handed) == 1 and writer.seq == 1
    writer.append(Params, {"after": 1})
    writer.seal("finished")
    assert verify_journal(writer.path).ok


def test_64_threads_lose_tear_and_reorder_nothing(run: Path) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(refuse)

    def work(thread: int) -> None:
        for i in range(300):
            log({f"t{thread}": float(i)}, step=i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.seal("finished")
    seen: dict[str, list[float]] = {}
    for event in read_journal(writer.path):
        if isinstance(event, Metrics):
            for name, value in event.values.items():
                seen.setdefault(name, []).append(float(value))
    assert seen == {f"t{n}": [float(i) for i in range(300)] for n in range(64)}
    assert verify_journal(writer.path).ok


def test_a_forked_child_writes_a_journal_of_its_own(run: Path) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(lambda values, step=None: writer.append(Metrics, values, step))
    log({"parent": 1.0})
    child = os.fork()
    if child == 0:
        log({"child": 1.0})
        log({"child": 2.0})
        writer.seal("finished")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    log({"parent": 2.0})
    writer.seal("finished")
    report = verify_run(run)
    assert report.ok and report.sealed and len(report.journals) == 2
    per_journal = [[e.values for e in read_journal(p) if isinstance(e, Metrics)] for p in layout.journals(run)]
    assert per_journal == [[{"parent": 1.0}, {"parent": 2.0}], [{"child": 1.0}, {"child": 2.0}]]
    roles = [next(read_journal(p)).role for p in layout.journals(run)]
    assert roles == ["primary", "worker"]


def _log_in_child(run: Path, log: object) -> None:
    log({"child": 1.0})


def test_a_child_of_multiprocessing_seals_its_journal_as_it_leaves(run: Path) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(lambda values, step=None: writer.append(Metrics, values, step))
    child = multiprocessing.get_context("fork").Process(target=_log_in_child, args=(run, log))
    child.start()
    child.join()
    writer.seal("finished")
    assert verify_run(run).sealed and len(layout.journals(run)) == 2


def test_a_file_size_limit_costs_events_but_no_exception_and_is_told_once(run: Path) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(lambda values, step=None: writer.append(Metrics, values, step))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.warns(UnitrackWarning, match="can't write") as caught:
            for i in range(200):
                log({"loss": float(i)}, i)
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert writer.seal("finished")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = [e.values["loss"] for e in read_journal(writer.path) if isinstance(e, Metrics)]
    # Where one line found no room, a later one may: a time with fewer digits makes it shorter.
    assert kept[:20] == [float(i) for i in range(20)] and kept == sorted(set(kept))
    loss = read_loss(layout.loss_path(writer.path))
    assert loss.lost == 200 - len(kept) + 1 and loss.status == "finished"
    assert verify_journal(writer.path).ok


def test_strict_raises_what_would_be_lost(run: Path) -> None:
    writer = open_writer(run, strict=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(writer.path).st_size + 20, hard))
    try:
        with pytest.raises(OSError, match=r"No space|too large"):
            writer.append(Params, {"lr": 0.1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append(Params, {"lr": 0.1})
    writer.seal("finished")
    assert verify_journal(writer.path).ok


def test_a_store_removed_under_a_run_is_written_again(run: Path) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(refuse)
    log({"loss": 1.0}, 1)
    for path in (writer.path, layout.loss_path(writer.path)):
        path.unlink()
    writer.path.parent.rmdir()
    with pytest.warns(UnitrackWarning, match="was removed while"):
        writer.keep()
    log({"loss": 2.0}, 2)
    writer.seal("finished")
    assert [e.values["loss"] for e in read_journal(writer.path) if isinstance(e, Metrics)] == [1.0, 2.0]
    assert verify_journal(writer.path).ok


def test_an_interrupt_inside_a_write_leaves_order_and_a_free_lock(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    calls = []

    def interrupted(fd: int, data: bytes) -> int:
        calls.append(1)
        if len(calls) == 2:
            real(fd, data)
            raise KeyboardInterrupt
        return real(fd, data)

    writer = open_writer(run)
    monkeypatch.setattr(os, "write", interrupted)
    log = writer.metrics_logger(refuse)
    log({"a": 1.0}, 1)
    with pytest.raises(KeyboardInterrupt):
        log({"a": 2.0}, 2)
    log({"a": 3.0}, 3)
    writer.seal("killed")
    assert [e.step for e in read_journal(writer.path) if isinstance(e, Metrics)] == [1, 2, 3]
    assert verify_journal(writer.path).ok


def test_a_signal_handler_may_log_while_the_same_thread_logs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(run)
    real, nested = os.write, []

    def write(fd: int, data: bytes) -> int:
        if not nested:
            nested.append(1)
            log({"handler": 1.0}, 1)
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    log = writer.metrics_logger(lambda values, step=None: writer.append(Metrics, values, step))
    log({"main": 1.0}, 1)
    writer.seal("finished")
    assert [e.values for e in read_journal(writer.path) if isinstance(e, Metrics)] == [{"main": 1.0}, {"handler": 1.0}]
    assert verify_journal(writer.path).ok


def test_logging_after_the_end_is_wrong_use(run: Path) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(lambda values, step=None: writer.append(Metrics, values, step))
    writer.seal("finished")
    with pytest.raises(UsageError, match="has finished"):
        log({"a": 1.0})


def test_sealing_twice_writes_one_seal(run: Path) -> None:
    writer = open_writer(run)
    assert writer.seal("finished") and writer.seal("failed")
    assert sum(isinstance(e, Status) for e in read_journal(writer.path)) == 1


def test_a_writer_is_alive_as_long_as_it_holds_its_journal(run: Path) -> None:
    writer = open_writer(run)
    host = layout.hostname()
    assert layout.is_alive(writer.path, host, now=0)
    writer.seal("finished")
    assert not layout.is_alive(writer.path, host, now=0)


def test_a_signal_in_the_middle_of_sealing_does_not_hang_or_spoil_the_seal(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(lambda values, step=None: writer.append(Metrics, values, step))
    real, sealed = os.fsync, []

    def interrupted(fd: int) -> None:
        log({"too": 1.0})
        sealed.append(writer.seal("killed", timeout=0.1))
        real(fd)

    monkeypatch.setattr(os, "fsync", interrupted)
    assert writer.seal("finished") and sealed == [False]
    assert verify_journal(writer.path).sealed and verify_journal(writer.path).ok


def test_a_signal_in_the_middle_of_a_flush_does_not_hang(run: Path) -> None:
    writer = open_writer(run)
    with writer._file_lock:  # as `sync` holds it while it waits for the disk
        assert not writer.seal("killed", timeout=0.05)
    assert writer.seal("finished")


def test_the_keeper_takes_the_locks_in_the_order_of_a_seal(run: Path) -> None:
    writer = open_writer(run)
    writer.path.unlink()
    with writer._lock:
        keeper = threading.Thread(target=writer.keep, daemon=True)
        keeper.start()
        keeper.join(0.2)
        assert writer._file_lock.acquire(timeout=5)  # it waits for the first lock without holding the second
        writer._file_lock.release()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitrackWarning)
        keeper.join(10)
    writer.seal("finished")
    assert verify_journal(writer.path).ok


def test_any_event_of_a_signal_handler_is_written_after_the_one_it_interrupted(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(run)
    real, nested = os.write, []

    def write(fd: int, data: bytes) -> int:
        if not nested:
            nested.append(1)
            writer.append(Params, {"handler": 1})
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    writer.append(Params, {"main": 1})
    writer.seal("finished")
    assert [e.values for e in read_journal(writer.path) if isinstance(e, Params)] == [{"main": 1}, {"handler": 1}]


def test_a_disk_that_can_be_neither_written_nor_read_raises_nothing(run: Path) -> None:
    writer = open_writer(run)
    log = writer.metrics_logger(lambda values, step=None: writer.append(Metrics, values, step))
    log({"a": 1.0}, 1)
    fd, whole = writer.fd, os.dup(writer.fd)
    with open("/dev/full", "r+b", buffering=0) as full:
        os.dup2(full.fileno(), fd)
        with pytest.warns(UnitrackWarning, match="No space"):
            log({"a": 2.0}, 2)
        with pytest.warns(UnitrackWarning, match="Input/output error"):
            log({"a": 3.0}, 3)
            writer.append(Params, {"lost": 1})
    os.dup2(whole, fd)
    os.close(whole)
    log({"a": 4.0}, 4)
    assert writer.seal("finished")
    assert [e.step for e in read_journal(writer.path) if isinstance(e, Metrics)] == [1, 4]
    report = verify_journal(writer.path)
    assert report.ok and report.sealed and writer.lost == 3


def test_a_disk_that_fails_for_good_lets_the_run_end(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    writer = open_writer(run)
    with pytest.warns(UnitrackWarning, match="Input/output error"), monkeypatch.context() as broken:
        for name in ("write", "pread", "fstat", "lseek", "fsync"):
            broken.setattr(os, name, fail)
        sealed = writer.seal("finished")
    assert sealed and writer.closed


def test_a_file_system_without_locks_tells_who_is_alive_by_the_heartbeat(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(_lock.fcntl, "flock", unsupported)
    writer = open_writer(run)
    now = writer.path.stat().st_mtime
    assert layout.is_alive(writer.path, layout.hostname(), now=now + 1)
    assert not layout.is_alive(writer.path, layout.hostname(), now=now + layout.HEARTBEAT + 1)
    writer.seal("finished")


def test_a_process_that_can_start_no_thread_still_logs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    writer = open_writer(run)
    writer.append(Params, {"lr": 0.1})
    assert writer.seal("finished") and verify_journal(writer.path).ok


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_byte_prefix_of_a_journal_reads_as_an_event_prefix(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = tmp_path_factory.mktemp("prefix") / "r"
    writer = open_writer(run)
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
    for values in data.draw(
        st.lists(st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False)), max_size=8)
    ):
        writer.append(Metrics, values, 1)
    writer.seal("finished")
    whole, content = list(read_journal(writer.path)), writer.path.read_bytes()
    cut = round(data.draw(st.floats(0, 1)) * len(content))  # the length varies with the clock's digits
    writer.path.write_bytes(content[:cut])
    reader = JournalReader(writer.path)
    events = [event for batch in reader.batches(data.draw(st.integers(1, 400))) for event in batch.events]
    assert events == whole[: len(events)]
    assert len(events) == content[:cut].count(b"\n")
    assert reader.torn == cut - (content.rfind(b"\n", 0, cut) + 1)
