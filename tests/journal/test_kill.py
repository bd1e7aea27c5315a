"""SIGKILL at any moment costs no event whose log() returned, and doubles none."""

import mmap
import os
import random
import signal
import struct
import time
from pathlib import Path

import pytest

from unitrack.events import Metrics
from unitrack.journal import layout
from unitrack.journal.reader import read_journal
from unitrack.journal.writer import JournalWriter, WriterInfo

if not hasattr(os, "fork"):
    pytest.skip("SIGKILL and fork are POSIX", allow_module_level=True)


def _train(run: Path, returned: mmap.mmap, slot: int) -> None:
    """Log for ever; after each call that returned, say so in shared memory."""
    writer = JournalWriter(run, WriterInfo(run=run.name, rank=slot))
    log = writer.metrics_logger(lambda values, step=None: writer.append(Metrics, values, step))
    step = 0
    while True:
        log({"loss": step * 0.5, "step": float(step)}, step)
        step += 1
        returned[slot * 8 : slot * 8 + 8] = struct.pack("q", step)


def _kill_after(run: Path, processes: int, delay: float) -> list[int]:
    """Start training in `processes`, kill all after `delay` seconds, return how many calls returned in each."""
    returned = mmap.mmap(-1, processes * 8)
    children = []
    for slot in range(processes):
        child = os.fork()
        if child == 0:
            try:
                _train(run, returned, slot)
            finally:
                os._exit(1)
        children.append(child)
    while not all(struct.unpack_from("q", returned, slot * 8)[0] for slot in range(processes)):
        time.sleep(0.0005)  # until every one has begun
    time.sleep(delay)
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return [struct.unpack_from("q", returned, slot * 8)[0] for slot in range(processes)]


@pytest.mark.parametrize(("processes", "kills"), [(1, 400), (3, 100)])
def test_sigkill_at_random_moments_loses_no_returned_event_and_doubles_none(
    tmp_path: Path, processes: int, kills: int
) -> None:
    moments = random.Random(7)
    for number in range(kills):
        run = tmp_path / f"run-{number}"
        returned = _kill_after(run, processes, moments.uniform(0, 0.004))
        journals = layout.journals(run)
        assert len(journals) == processes
        for journal in journals:
            events = list(read_journal(journal))
            steps = [event.step for event in events if isinstance(event, Metrics)]
            told = returned[events[0].rank]
            # The last call may have written its event and died before it could say so.
            assert steps == list(range(len(steps))) and told <= len(steps) <= told + 1
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
