"""The kit on the correct backend and on every broken one: a class each. Run by `test_kit.py`, in a process of its own."""

from __future__ import annotations

import broken
import pytest
import shelf_target

from unitrack.testing import BackendTests

SIX = {fault.__name__ for fault in broken.SIX}
# A worker's process costs a third of a second or more: those are for faults of their own.
PROCESSES = {"test_a_run_is_completed_after_its_worker_is_killed", "test_what_was_flushed_outlives_the_process"}
TESTS = {name for name in dir(BackendTests) if name.startswith("test_")}


def kit(fault):
    """Return a class with the whole kit for the correct backend and the six, else with the test that must fail."""

    @pytest.fixture
    def target(self, tmp_path):
        return shelf_target.Target(tmp_path / "shelf", fault)

    left_out = set() if fault is None else PROCESSES if fault in SIX else TESTS - {broken.CAUGHT_BY[fault]}
    return type(f"Test_{fault or 'correct'}", (BackendTests,), {"target": target, **dict.fromkeys(left_out)})


globals().update({f"Test_{fault or 'correct'}": kit(fault) for fault in (None, *broken.FAULTS)})
