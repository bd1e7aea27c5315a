from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unitrack.errors import EvidenceError
from unitrack.gate.ledger import ledger_path, optimism, rank, read, use, warning
from unitrack.registry.lock import exclusive

USE = """
import sys
from pathlib import Path
from unitrack.gate.ledger import use
store, start, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print("up", flush=True)
for number in range(start, start + count):
    use(store, "sha256:a", f"key{number}", now=1.0)
"""


def writer(store: Path, start: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", USE, str(store), str(start), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_each_verdict_of_a_data_set_counts_once_and_keeps_its_place(tmp_path: Path) -> None:
    counts = [use(tmp_path, "sha256:a", key, now=1.5).verdicts for key in ("k1", "k2", "k1", "k3", "k2")]
    assert counts == [1, 2, 1, 3, 2]
    assert use(tmp_path, "sha256:b", "k1", now=1.5).verdicts == 1
    assert len(read(ledger_path(tmp_path))) == 4
    assert read(ledger_path(tmp_path))[0].time == 1.5


def test_warnings_come_at_powers_of_two_and_say_what_they_mean(tmp_path: Path) -> None:
    uses = [use(tmp_path, "d", f"k{number}", now=0.0, examples=1000) for number in range(1, 33)]
    assert [one.verdicts for one in uses if one.warning] == [8, 16, 32]
    assert "looks up to 0.071 too accurate on 1,000 examples" in str(uses[7].warning)
    assert "collect fresh test data" in str(uses[7].warning)
    assert "10,000 examples" in str(warning(64))


def test_the_bound_holds_for_all_models_that_the_answers_can_lead_to() -> None:
    for verdicts, examples in ((8, 1000), (32, 10_000), (128, 50_000)):
        error = optimism(verdicts, examples)
        assert 2**verdicts * math.exp(-2 * examples * error**2) == pytest.approx(0.01)
    assert optimism(1000, 10) == 1.0


@pytest.mark.parametrize("tail", [b'{"time": 1.0, "dig', b"\xff\xfe\x00", b"[]", b"{}", b"[" * 100_000])
def test_a_line_cut_off_by_a_crash_counts_nothing_and_spoils_nothing(tmp_path: Path, tail: bytes) -> None:
    use(tmp_path, "d", "k1", now=0.0)
    with ledger_path(tmp_path).open("ab") as file:
        file.write(tail)
    assert use(tmp_path, "d", "k2", now=0.0).verdicts == 2
    assert [entry.key for entry in read(ledger_path(tmp_path))] == ["k1", "k2"]


def test_writers_at_once_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    writers = [writer(tmp_path, start, 40) for start in (0, 20)]
    for each in writers:
        with each:
            assert each.wait(60) == 0
    entries = read(ledger_path(tmp_path))
    assert len(entries) == len({entry.key for entry in entries}) == 60
    assert sorted(rank(entries, "sha256:a", f"key{number}") or 0 for number in range(60)) == list(range(1, 61))


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_writers_killed_at_any_moment_leave_a_ledger_that_goes_on(tmp_path: Path) -> None:
    chance = random.Random(1)
    for round_ in range(8):
        with writer(tmp_path, 1000 * round_, 1000) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "up\n"
            end = time.monotonic() + chance.uniform(0.0, 0.05)
            while time.monotonic() < end:
                os.sched_yield()
            victim.send_signal(signal.SIGKILL)
        before = len({entry.key for entry in read(ledger_path(tmp_path))})
        assert use(tmp_path, "sha256:a", f"after{round_}", now=0.0).verdicts == before + 1


def test_a_ledger_that_cannot_be_kept_is_an_error_that_says_so(tmp_path: Path) -> None:
    use(tmp_path, "d", "k1", now=0.0)
    with (
        exclusive(ledger_path(tmp_path).with_suffix(".lock"), timeout=1),
        pytest.raises(EvidenceError, match="another verdict's entry is under way"),
    ):
        use(tmp_path, "d", "k2", now=0.0, timeout=0.05)
    (tmp_path / "file").write_text("")
    with pytest.raises(EvidenceError, match="can't be kept"):
        use(tmp_path / "file", "d", "k", now=0.0)
