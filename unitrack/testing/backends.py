"""The conformance kit: inherit `BackendTests`, say where runs go, and the behaviour of a backend is checked.

    class TestMyTracker(BackendTests):
        @pytest.fixture
        def target(self, tmp_path):
            return MyTarget(tmp_path)

Every check holds for every backend: where a tracker can't hold a thing, the check is that its absence is reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from unitrack.testing._arrival import Arrival
from unitrack.testing._honesty import Honesty
from unitrack.testing._identity import Identity
from unitrack.testing._replays import Replays
from unitrack.testing.bench import Bench
from unitrack.testing.held import Target

__all__ = ["BackendTests"]


class BackendTests(Identity, Arrival, Replays, Honesty):
    """What every backend must do. The class that inherits it has a fixture `target` of a fresh, empty place.

    The plugin must be installed: some of the checks run workers' processes, which find it by its entry point.
    """

    holds_status: ClassVar[bool] = True
    """False if the tracker has no such thing as the end of a run: then `HeldRun.status` is always None."""

    @pytest.fixture
    def target(self, tmp_path: Path) -> Target:
        """Return a fresh, empty place in the tracker. To be overridden."""
        raise NotImplementedError("a class that inherits BackendTests has a fixture `target`: see unitrack.testing")

    @pytest.fixture
    def bench(self, target: Target, tmp_path: Path) -> Bench:
        """Return the target with a store to write runs into."""
        return Bench(target, tmp_path / "store", statuses=self.holds_status)
