"""What the kit's tests stand on: a target, a store to write runs into, and the comparison of the two."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unitrack.backend import Capabilities, Lowering, Record
from unitrack.journal import layout
from unitrack.testing.expected import Told, differences
from unitrack.testing.held import HeldRun, Target
from unitrack.testing.runs import RunBuilder, read_records
from unitrack.testing.sending import Driven, Sent, forget, send, send_in_process

__all__ = ["Bench"]


class Bench:
    """One target, one store."""

    def __init__(self, target: Target, store: Path, *, statuses: bool = True) -> None:
        self.target, self.store = target, store
        self._statuses = statuses

    @property
    def able(self) -> Capabilities:
        """What the backend declares."""
        return self.target.factory.create(self.target.options).capabilities

    def run(self, run_id: str = "one", **fields: Any) -> RunBuilder:
        """Begin a writer of a run."""
        return RunBuilder(self.store, run_id, **fields)

    def records(self, run_id: str = "one") -> list[Record]:
        """Return what the run's journals hold."""
        return read_records(layout.run_dir(self.store, run_id))

    # -- sending ---------------------------------------------------------------------------------

    def send(self, *runs: str, **job: Any) -> Sent:
        """Send runs, `one` unless named, with a worker in this process."""
        return send(self.target.factory, self.target.options, self.store, *(runs or ("one",)), **job)

    def send_in_process(self, run_id: str = "one", *, die: str | None = None) -> Sent:
        """Send a run with a worker's own process, which dies at a moment if one is given."""
        return send_in_process(self.target.factory, self.target.options, self.store, run_id, die=die)

    def drive(self, run_id: str = "one", **fields: Any) -> Driven:
        """Open a new backend for a run, to be driven call by call."""
        backend = fields.pop("backend", None) or self.target.factory.create(self.target.options)
        return Driven(backend, layout.run_dir(self.store, run_id), **fields)

    def forget(self) -> None:
        """Lose every cursor."""
        forget(self.store)

    # -- comparing -------------------------------------------------------------------------------

    def held(self, run_id: str = "one") -> HeldRun:
        """Return the only run that stands for `run_id`."""
        found = self.target.held(run_id)
        assert len(found) == 1, f"{len(found)} runs of the tracker stand for run {run_id!r}; there must be one"
        return found[0]

    def differences(
        self,
        run_id: str = "one",
        *,
        lowered: Iterable[Lowering] = (),
        dead: Iterable[Record] = (),
        records: Iterable[Record] | None = None,
    ) -> list[str]:
        """Return what differs from the journal, or from `records` of it, and was not reported."""
        told = Told(lowered, dead)
        logged = self.records(run_id) if records is None else records
        objects = RunBuilder.objects_of(self.store)
        return differences(logged, self.held(run_id), told, self.able, objects)

    def check(self, sent: Sent | Driven, run_id: str = "one", *, status: str | None = "finished") -> HeldRun:
        """Fail with all that differs and was not reported; return what is held. `status` is how the run ended."""
        if isinstance(sent, Sent):
            failed = [f"{one.run} is {one.state}: {one.reason}" for one in sent.results if one.state == "failed"]
            assert not failed, failed
            dead = [letter.record for letter in sent.dead]
        else:
            dead = [rejection.record for rejection in sent.rejected]
        problems = self.differences(run_id, lowered=sent.lowered, dead=dead)
        assert not problems, "\n".join(["what is held differs from the journal:", *problems])
        assert not dead, f"records were refused: {sent}"
        held = self.held(run_id)
        self.check_status(held, status)
        return held

    def check_status(self, held: HeldRun, status: str | None) -> None:
        """Fail if the tracker says another end than the run's; `killed` may be `failed` where there is no such word."""
        right = {status, "failed"} if status == "killed" else {status}
        wanted = right if self._statuses else {None}
        assert held.status in wanted, f"the status is {held.status!r}, not {status!r}"
