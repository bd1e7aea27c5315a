"""A tracker of another system, for tests: runs that are read from a JSON file, or made of events."""

from __future__ import annotations

import msgspec

from unitrack.events import Metrics, Params, Tags
from unitrack.foreign import Counts, ForeignInfo

__all__ = ["FakeReader", "FakeRun", "info_of", "many_points"]


def info_of(run_id="one", **fields):
    origin = fields.pop("origin", f"fake:{run_id}")
    return ForeignInfo(id=run_id, origin=origin, project="digits", started=1000.25, **{"ended": 1010.5, **fields})


class FakeRun:
    """A run that holds `events`; `expected` is what its source says, `trouble` what it raises on the way."""

    def __init__(self, info, events=(), expected=None, *, lowered=(), trouble=None):
        self.info, self.made, self.wanted, self.lowered, self.trouble = info, events, expected, lowered, trouble
        self.asked = 0

    def events(self, objects):
        self.asked += 1
        made = self.made(objects) if callable(self.made) else self.made
        for event in made:
            yield msgspec.structs.replace(event)
        if self.trouble:
            raise self.trouble.pop(0)

    def expected(self):
        return self.wanted or Counts()


class FakeReader:
    """Reads what it was given."""

    name = "fake"

    def __init__(self, *runs):
        self.given = list(runs)

    def runs(self, source, options):
        yield from self.given


def small_run(run_id="one", **fields):
    events = [
        Params(seq=0, time=1000.5, values={"lr": 0.1, "model": {"layers": [1, 2]}}),
        Metrics(seq=0, time=1001.0, values={"loss": 1.0, "acc": 0.5}, step=1),
        Metrics(seq=0, time=1002.0, values={"loss": float("nan")}, step=2.5),
        Tags(seq=0, time=1003.0, add=["good"], values={"owner": "mia"}),
    ]
    return FakeRun(info_of(run_id, tags=("new",), **fields), events, Counts(params=2, points=3, tags=3))


def many_points(count):
    return lambda _objects: (
        Metrics(seq=0, time=1000.0 + step, values={"loss": float(step)}, step=step) for step in range(count)
    )
