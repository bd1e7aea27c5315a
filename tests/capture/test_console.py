"""What is printed is kept, and printing goes on as if nobody listened."""

import io
import logging
import os
import signal
import sys
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.capture.console import _LONGEST_LINE, _MOST_WAITING, ConsoleCapture, _Lines
from unitrack.errors import UnitrackWarning


class Streams:
    """Stand-ins for the process's streams, and what was kept of them."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        self.kept = {"stdout": [], "stderr": []}
        self.out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", line_buffering=True)
        self.err = io.StringIO()
        self.capture = ConsoleCapture(self.keep, seconds=60)

    def start(self):
        # Not in a fixture: pytest sets its own streams between setup and call.
        self._monkeypatch.setattr(sys, "stdout", self.out)
        self._monkeypatch.setattr(sys, "stderr", self.err)
        self.capture.start()

    def keep(self, stream, text):
        self.kept[stream] += text.split("\n")


@pytest.fixture
def streams(monkeypatch):
    streams = Streams(monkeypatch)
    yield streams
    streams.capture.stop()


def test_lines_of_both_streams_are_kept_and_still_printed(streams):
    streams.start()
    print("one", 2, sep="-")
    print("oops", file=sys.stderr)
    print("unfinished", end="")
    sys.stdout.writelines(["!", "\n", "\n", "end"])
    streams.capture.stop()
    print("after")
    assert streams.kept == {"stdout": ["one-2", "unfinished!", "", "end"], "stderr": ["oops"]}
    assert streams.out.buffer.getvalue() == b"one-2\nunfinished!\n\nendafter\n" and streams.err.getvalue() == "oops\n"


def test_the_streams_stay_the_objects_they_are(streams):
    streams.start()
    assert sys.stdout is streams.out and sys.stdout.encoding == "latin-1" and not sys.stdout.isatty()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    streams.capture.stop()
    assert "write" not in vars(streams.out) and "write" not in vars(streams.err)


def test_a_logging_handler_made_before_is_heard(streams):
    handler = logging.StreamHandler(streams.err)
    streams.start()
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "logged", None, None))
    streams.capture.stop()
    assert streams.kept["stderr"] == ["logged"]


def test_a_progress_bar_is_kept_in_its_last_state(streams):
    streams.start()
    for percent in range(0, 101, 20):
        sys.stderr.write(f"\r{percent}%")
        streams.capture._drain(last=False)
    sys.stderr.write("\nwindows\r\n")
    for percent in range(3):
        sys.stderr.write(f"{percent}\r")
        streams.capture._drain(last=False)
    streams.capture.stop()
    assert streams.kept["stderr"] == ["100%", "windows", "2"]


def test_credentials_are_hidden_even_in_a_key_printed_over_two_batches(streams):
    streams.start()
    print("WANDB_API_KEY=hunter2\n-----BEGIN PRIVATE KEY-----\nMIIE")
    streams.capture._drain(last=False)
    print("abcd\n-----END PRIVATE KEY-----\nafter")
    streams.capture.stop()
    assert streams.kept["stdout"] == ["WANDB_API_KEY=***", "***", "-----END PRIVATE KEY-----", "after"]


def test_a_key_that_never_ends_does_not_end_the_capture():
    lines = _Lines(os.getpid())
    lines.add("-----BEGIN PRIVATE KEY-----\n" + "x\n" * 1000)
    assert 700 < len(lines.take(last=True)) < 900


def test_batches_are_handed_over_while_the_program_runs(monkeypatch):
    stream, heard = io.StringIO(), threading.Event()
    monkeypatch.setattr(sys, "stdout", stream)
    capture = ConsoleCapture(lambda name, text: heard.set(), seconds=0.01)
    capture.start()
    try:
        print("now")
        assert heard.wait(10)
    finally:
        capture.stop()


def test_a_keeper_that_fails_is_one_warning_and_never_the_printers_problem(streams, monkeypatch):
    def fail(stream, text):
        raise OSError("disk full")

    streams.capture._keep = fail
    streams.start()
    print("one")
    with pytest.warns(UnitrackWarning, match="disk full"):
        streams.capture._drain(last=False)
    print("two")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        streams.capture._drain(last=False)
        streams.capture._warned = False
        print("three")
        streams.capture.stop()
    assert streams.out.buffer.getvalue() == b"one\ntwo\nthree\n"


def test_a_streams_own_errors_reach_the_printer_as_ever(streams):
    streams.start()
    with pytest.raises(TypeError):
        sys.stdout.write(b"bytes")
    with pytest.raises(UnicodeEncodeError):
        sys.stdout.write("\u20ac")
    streams.out.close()
    with pytest.raises(ValueError, match="closed"):
        print("late")
    streams.capture.stop()
    assert streams.kept["stdout"] == []


def test_two_captures_may_end_in_any_order(streams, monkeypatch):
    other = Streams(monkeypatch)
    streams.start()
    other.capture.start()
    print("both")
    streams.capture.stop()
    print("second")
    other.capture.stop()
    print("none")
    assert (streams.kept["stdout"], other.kept["stdout"]) == (["both"], ["both", "second"])
    assert streams.out.buffer.getvalue() == b"both\nsecond\nnone\n"


def test_one_stream_under_both_names_is_kept_once_and_none_is_left_alone(monkeypatch):
    streams = Streams(monkeypatch)
    streams.out = streams.err
    streams.start()
    streams.start()
    print("once")
    streams.capture.stop()
    assert streams.kept == {"stdout": ["once"], "stderr": []}
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    silent = Streams(monkeypatch).capture
    silent.start()
    silent.stop()


def test_a_stream_that_cannot_be_tapped_prints_as_before(monkeypatch):
    class Slotted:
        __slots__ = ("seen",)

        def write(self, text):
            self.seen = text

    stream = Slotted()
    monkeypatch.setattr(sys, "stdout", stream)
    capture = Streams(monkeypatch).capture
    capture.start()
    sys.stdout.write("x")
    capture.stop()
    assert stream.seen == "x"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_prints_and_keeps_nothing(streams):
    streams.start()
    print("parent")
    child = os.fork()
    if child == 0:
        print("child")
        streams.capture.stop()
        os._exit(0 if not streams.kept["stdout"] and b"child" in streams.out.buffer.getvalue() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    streams.capture.stop()
    assert streams.kept["stdout"] == ["parent"]


def test_a_print_in_a_signal_handler_does_not_hang(streams):
    streams.start()
    before = signal.signal(signal.SIGUSR1, lambda *_: print("handler"))
    try:
        for _ in range(100):
            print("main")
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    streams.capture.stop()
    assert sorted(set(streams.kept["stdout"])) == ["handler", "main"] and len(streams.kept["stdout"]) == 200


def test_threads_lose_nothing(streams):
    streams.start()
    threads = [
        threading.Thread(target=lambda number=number: [sys.stderr.write(f"{number}\n") for _ in range(500)])
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for _ in range(20):
        streams.capture._drain(last=False)
    for thread in threads:
        thread.join()
    streams.capture.stop()
    assert sorted(streams.kept["stderr"]) == sorted(str(number) for number in range(4) for _ in range(500))


def test_a_flood_and_an_endless_line_cost_lines_not_memory():
    lines = _Lines(os.getpid())
    for _ in range(3 * _MOST_WAITING // 1_000_000 + 3):
        lines.add("x" * 1_000_000)
    kept = lines.take(last=False)
    assert "left out" in kept[-1] and len(lines._rest) <= _LONGEST_LINE
    lines.add("\n")
    assert len(lines.take(last=True)[0]) <= _LONGEST_LINE + 3


@given(st.lists(st.text("ab\n", max_size=6), max_size=12))
def test_lines_do_not_depend_on_how_they_were_written_or_when_they_were_taken(parts):
    lines, taken = _Lines(os.getpid()), []
    for part in parts:
        lines.add(part)
        taken += lines.take(last=False)
    taken += lines.take(last=True)
    assert taken == "".join(parts).removesuffix("\n").split("\n") * bool("".join(parts))
