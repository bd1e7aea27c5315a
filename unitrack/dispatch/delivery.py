"""One run on its way into one backend: open, export, acknowledge, close."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from unitrack.backend import Backend, ExportResult, KeepsReport, Lowering, Record, Rejection
from unitrack.dispatch import messages
from unitrack.dispatch.claim import Claim
from unitrack.dispatch.dead_letter import append_dead, read_dead, replace_dead
from unitrack.dispatch.discretion import Discretion
from unitrack.dispatch.retry import Retrier
from unitrack.dispatch.source import Ending, RunSource, Tail
from unitrack.errors import BackendError, ConfigError, FatalBackendError, RetryableError
from unitrack.journal import layout
from unitrack.journal.cursor import Cursor, Lowered, load_cursor, save_cursor
from unitrack.lowering import report

__all__ = ["Delivery"]

T = TypeVar("T")

_SAVE_EVERY = 0.5
_FLUSH_SECONDS = 60.0
_TRIES = 3
_MOST_DEAD_IN_A_ROW = 20
_MOST_LOWERED = 1000


class Delivery:
    """Send one run. Nobody else sends the same run to the same backend while this holds its claim."""

    def __init__(
        self,
        folder: Path,
        name: str,
        backend: Backend,
        *,
        retrier: Retrier,
        tell: Callable[[messages.Message], None],
        check: Callable[[], None] = lambda: None,
        discretion: Discretion | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.run = folder.name
        self.folder = folder
        self.claim = Claim(folder, name)
        self.behind = False
        """There is more than the last `drain` had time for."""
        self.taken = False
        """Another process had to let go of the run."""
        self.active = clock()
        """When something was last sent."""
        self._name, self._backend, self._retrier = name, backend, retrier
        self._tell, self._check, self._clock = tell, check, clock
        self._discretion = discretion or Discretion({})
        self._opened = self._follow = self._dirty = False
        self._saved = 0.0
        self._dead_in_a_row = 0
        self._cursor = Cursor()
        self._lowered: dict[tuple[str, str], Lowered] = {}

    # -- the claim -------------------------------------------------------------------------------

    def acquire(self) -> bool:
        """Take the run for this process; False while another has it. The claim dies with its process."""
        if not self.claim.take():
            return False
        self._cursor = load_cursor(self.folder, self._name)
        self._lowered = {(one.kind, one.name): one for one in self._cursor.lowered}
        self.source = RunSource(self.folder, self._cursor)
        return True

    def release(self) -> None:
        """Keep how far it went and let others have the run."""
        if self.claim.held:
            self._save()
        self.claim.release()

    # -- the way ---------------------------------------------------------------------------------

    def open(self, *, follow: bool = False) -> bool:
        """Find or make the run in the tracker; False while no writer has named the run.

        With `follow` there is no end to patience while the run goes on. Raises BackendError.
        """
        self._follow = follow
        before = self._cursor.state.get("target")
        if not self._open():
            return False
        if before not in (None, self._cursor.state.get("target")):
            self.source.restart()  # another tracker, which never saw the run: it gets all of it
            self._cursor = msgspec.structs.replace(self._cursor, told=None)
            self._open()
        self._opened = True
        self._save()
        return True

    def _open(self) -> bool:
        info = self.source.info(layout.objects_dir(self.folder.parents[1]), dict(self._cursor.state))
        if info is None:
            return False
        acked = {writer: position.seq for writer, position in self.source.positions.items() if position.seq}
        state = self._discretion.value(dict(self._call(lambda: self._backend.open(info, acked))))
        self._cursor = msgspec.structs.replace(self._cursor, state=state, error=None)
        return True

    def drain(self, seconds: float = math.inf) -> bool:
        """Send what there is now, for `seconds` at most; True if there was any.

        Raises BackendError, JournalError, OSError.
        """
        until = self._clock() + seconds
        self.source.look()
        some = self.behind = False
        for tail in self.source.tails():
            for records in tail.records():
                self.behind = self._clock() >= until
                if self.behind:
                    return some
                some = True
                self._send(tail, records)
        self._keep()
        return some

    def close(self, ending: Ending | None) -> None:
        """Make it durable, tell the tracker the run's end if it has one, and let go of the backend."""
        status, ended = (None, None) if ending is None else (ending.status, ending.time)
        self._report()
        self._call(lambda: self._backend.flush(_FLUSH_SECONDS))
        self._call(lambda: self._backend.close(status, ended))
        self._opened = False
        self._cursor = msgspec.structs.replace(self._cursor, told=status, error=None)
        self._save()

    def _report(self) -> None:
        """Give the tracker the report of what was lowered, if it can keep one and lacks the last."""
        backend = self._backend
        lowered = tuple(self._lowered.values())
        if len(lowered) <= self._cursor.reported or not isinstance(backend, KeepsReport):
            return
        told = [Lowering(kind=one.kind, name=one.name, detail=one.detail) for one in lowered]
        try:
            self._call(lambda: backend.keep_report(report(self.run, self._name, told)), foreign=False)
        except Exception as error:  # what was lowered is in the cursor, too: the run must not wait for its report
            self._note(f"the report of what was lowered could not be kept there: {error!r}")
        else:
            self._cursor = msgspec.structs.replace(self._cursor, reported=len(lowered))

    def abandon(self, error: BaseException | None = None) -> None:
        """Let go of the backend as far as it lets us, and note why the run could not be sent."""
        reason = None if error is None else str(error)
        if self._opened:
            self._opened = False
            try:
                self._backend.close(None, None)
            except Exception as second:
                reason = f"{reason}; then {second!r}" if reason else repr(second)
        if reason is not None:
            self._cursor = msgspec.structs.replace(self._cursor, error=self._discretion.text(reason))

    def trouble(self, reason: str) -> None:
        """Note what stands in the way, for those who ask meanwhile."""
        self._cursor = msgspec.structs.replace(self._cursor, error=self._discretion.text(reason))
        self._save()

    def _note(self, text: str) -> None:
        self._tell(messages.Note(run=self.run, text=text))

    def result(self, state: messages.State, reason: str | None = None) -> messages.Result:
        """Say what became of the run."""
        return messages.Result(
            run=self.run,
            state=state,
            sent=self._cursor.sent,
            dead=self._cursor.dead,
            pending=self.source.pending(),
            reason=reason,
            taken=self.taken,
        )

    # -- exporting -------------------------------------------------------------------------------

    def _send(self, tail: Tail, records: Sequence[Record]) -> None:
        while records:
            self._check()
            result = self._export(records[: max(1, self._backend.capabilities.batch)])
            append_dead(self.folder, self._name, self._discreet(result.rejected))
            self._tell_lowered(result.lowered)
            last = records[result.acked - 1].event
            tail.ack(last.seq)
            records = records[result.acked :]
            self._dirty, self.active = True, self._clock()
            if self._cursor.error is not None:
                self._cursor = msgspec.structs.replace(self._cursor, error=None)
            if self._keep():
                lag = max(0.0, self.active - last.time)
                pending = self.source.pending()
                self._tell(messages.Progress(run=self.run, sent=self._cursor.sent, pending=pending, lag=lag))

    def _export(self, records: Sequence[Record]) -> ExportResult:
        """Export some of the leading records; one that fails again and again alone is rejected."""
        for attempt in range(1, _TRIES + 1):
            try:
                result = self._call(lambda: self._offer(records), foreign=False)
            except BackendError:
                raise
            except Exception as error:
                if len(records) > 1:
                    return self._export(records[: len(records) // 2])
                if attempt == _TRIES:
                    return self._give_up(records[0], error)
            else:
                self._dead_in_a_row = 0
                return result
        raise AssertionError("the last try returns or raises")

    def _offer(self, records: Sequence[Record]) -> ExportResult:
        result = self._backend.export(records)
        if not 0 <= result.acked <= len(records):
            raise FatalBackendError(
                f"backend {self._name} acknowledged {result.acked} of {len(records)} records: this is a bug in it"
            )
        if result.acked == 0:
            raise RetryableError(f"{self._name} took none of {len(records)} records")
        return result

    def _give_up(self, record: Record, error: Exception) -> ExportResult:
        reason = f"{type(error).__name__}: {error}"
        self._dead_in_a_row += 1
        if self._dead_in_a_row > _MOST_DEAD_IN_A_ROW:
            raise FatalBackendError(
                f"{self._name} failed on {_MOST_DEAD_IN_A_ROW} records in a row, the last with {reason}"
            )
        return ExportResult(acked=1, rejected=(Rejection(record=record, reason=reason),))

    def retry_dead(self) -> None:
        """Offer the dead letters again; the ones that are refused again stay."""
        still: list[Rejection] = []
        for letter in read_dead(self.folder, self._name):
            self._check()
            result = self._export([letter.record])
            still += self._discreet(result.rejected)
            self._tell_lowered(result.lowered)
        replace_dead(self.folder, self._name, still)

    def _call(self, function: Callable[[], T], *, foreign: bool = True) -> T:
        """Call the backend under the retry policy; with `foreign` an unknown exception counts as retryable."""

        def call() -> T:
            try:
                return function()
            except BackendError:
                raise
            except (ImportError, ConfigError) as error:
                raise FatalBackendError(f"{type(error).__name__}: {error}") from error
            except Exception as error:
                passing = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
                if foreign or passing:  # a refused connection, a full disk
                    raise RetryableError(f"{type(error).__name__}: {error}") from error
                raise

        return self._retrier.call(call, goes_on=self._goes_on)

    def _goes_on(self) -> bool:
        return self._follow and self.source.ending() is None

    # -- keeping ---------------------------------------------------------------------------------

    def _tell_lowered(self, lowered: Sequence[Lowering]) -> None:
        for one in lowered:
            key = one.kind, one.name
            if key not in self._lowered and len(self._lowered) < _MOST_LOWERED:
                detail = self._discretion.text(one.detail)
                self._lowered[key] = Lowered(kind=one.kind, name=one.name, detail=detail)
                self._tell(messages.Lowering(run=self.run, kind=one.kind, name=one.name, detail=detail))

    def _discreet(self, rejections: Sequence[Rejection]) -> list[Rejection]:
        return [Rejection(record=one.record, reason=self._discretion.text(one.reason)) for one in rejections]

    def _keep(self) -> bool:
        """Save the cursor if it has moved and the last time is a while ago."""
        if not self._dirty or self._clock() - self._saved <= _SAVE_EVERY:
            return False
        self._save()
        return True

    def _save(self) -> None:
        dead = len(read_dead(self.folder, self._name))
        positions = self.source.positions
        self._cursor = msgspec.structs.replace(
            self._cursor,
            writers={**self._cursor.writers, **positions},
            sent=sum(position.seq for position in positions.values()) - dead,
            dead=dead,
            lowered=tuple(self._lowered.values()),
            updated=self._clock(),
        )
        self._saved, self._dirty = self._clock(), False
        save_cursor(self.folder, self._name, self._cursor)
