"""The dispatcher: one worker process for each backend, watched, restarted and reported."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from unitrack.config import BackendSettings
from unitrack.dispatch.background import start_background, wait_until_sent
from unitrack.dispatch.claim import is_claimed
from unitrack.dispatch.discretion import Discretion
from unitrack.dispatch.environment import worker_command
from unitrack.dispatch.messages import Finished, Job, Lowering, Message, Ready, Result
from unitrack.dispatch.retry import RetryPolicy
from unitrack.journal import layout
from unitrack.journal.cursor import cursor_path
from unitrack.plugins import Plugins

__all__ = ["Dispatch", "Observer", "SyncReport", "start_background", "sync", "wait_until_sent"]

Observer = Callable[[str, Message], None]
"""Called with the backend's name and what its worker said."""

_RESTARTS = 3
_RESTART = RetryPolicy(first=0.5, cap=10.0)
_TIME_TO_START = 60.0
_TIME_TO_LEAVE = 10.0
_MOST_KEPT = 1000
_MOST_SAID = 16_000_000


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where. Without `runs`: every run of the store that isn't done.

    `takeover` asks a process that follows a run to let go of it; `beside` is set beside training, where a run that
    another process sends already needs no worker.

    `patience` is how long (seconds) a tracker may fail before a run is left for later, `stall` how long a
    worker may be silent before it counts as hanging.
    """

    store: Path
    backends: Mapping[str, BackendSettings]
    runs: tuple[str, ...] | None = None
    follow: bool = False
    retry_dead: bool = False
    takeover: bool = False
    beside: bool = False
    patience: float = 60.0
    stall: float = 3600.0
    poll: float = 0.5
    root: Path = Path()


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each run at each backend, and what stopped a backend as a whole."""

    results: dict[str, tuple[Result, ...]]
    errors: dict[str, str]
    lowered: dict[str, tuple[Lowering, ...]]
    followed: bool = False

    @property
    def complete(self) -> bool:
        """Everything there was is sent, or when following, on its way by another process."""
        wrong = ("failed",) if self.followed else ("failed", "busy")
        remains = [one for many in self.results.values() for one in many if one.state in wrong or one.dead]
        return not remains and not self.errors


def sync(
    dispatch: Dispatch, observe: Observer = lambda _backend, _message: None, *, plugins: Plugins | None = None
) -> SyncReport:
    """Run a worker for each backend until all are through; an interrupt lets them finish what is under way.

    `plugins` are told of each run that a backend gave up.
    """
    inbox: queue.Queue[tuple[str, Message | None]] = queue.Queue()
    hands = {name: _Hand(dispatch, name, settings, inbox) for name, settings in dispatch.backends.items()}
    try:
        _attend(hands, inbox, observe)
    finally:
        for hand in hands.values():
            hand.tell_to_stop()
        for hand in hands.values():
            hand.stop()
    report = SyncReport(
        results={name: tuple(hand.results.values()) for name, hand in hands.items()},
        errors={name: hand.error for name, hand in hands.items() if hand.error is not None},
        lowered={name: tuple(hand.lowered) for name, hand in hands.items()},
        followed=dispatch.follow,
    )
    if plugins is not None:
        _tell_plugins(report, plugins)
    return report


def _tell_plugins(report: SyncReport, plugins: Plugins) -> None:
    for backend, results in report.results.items():
        for one in results:
            if one.state == "failed":
                plugins.notify(
                    "unitrack_backend_failed", run_id=one.run, backend=backend, reason=one.reason or "unknown"
                )


def _attend(hands: Mapping[str, _Hand], inbox: queue.Queue[tuple[str, Message | None]], observe: Observer) -> None:
    for hand in hands.values():
        hand.start()
    while any(not hand.over for hand in hands.values()):
        for hand in hands.values():
            hand.watch()
        try:
            name, message = inbox.get(timeout=0.5)
        except queue.Empty:
            continue
        if message is None:
            hands[name].ended()
        else:
            hands[name].hear(message)
            observe(name, message)


class _Hand:
    """The dispatcher's side of one worker."""

    def __init__(
        self,
        dispatch: Dispatch,
        name: str,
        settings: BackendSettings,
        inbox: queue.Queue[tuple[str, Message | None]],
    ) -> None:
        cursor_path(Path(), name)  # a name that can't be a file's is told before anything starts
        self.name, self.over = name, False
        self.results: dict[str, Result] = {}
        self.lowered: list[Lowering] = []
        self.error: str | None = None
        self._settings, self._dispatch, self._inbox = settings, dispatch, inbox
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - the worker's stderr, closed in stop()
        self._ready = self._finished = False
        self._restarts = 0
        self._start_at: float | None = None
        self._deadline = 0.0

    def start(self) -> None:
        self._start_at, self._ready = None, False
        if self._dispatch.beside and self._leave_claimed():
            return
        self._deadline = time.monotonic() + max(self._dispatch.stall, _TIME_TO_START)
        python = self._settings.python
        try:
            self._process = subprocess.Popen(
                worker_command(python),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, cwd=self._dispatch.root,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        except OSError as error:
            self._give_up(f"its Python {python or sys.executable} can't be started: {error}")
            return
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()
        self._send_job(self._process)

    def _leave_claimed(self) -> bool:
        """Leave to others what they send already, as when each rank starts a dispatcher; True if that is all."""
        for run in self._runs_left() or ():
            if is_claimed(layout.run_dir(self._dispatch.store, run), self.name):
                self.results[run] = Result(run=run, state="busy", reason="another process sends it")
        self.over = self._runs_left() == ()
        return self.over

    def _send_job(self, process: subprocess.Popen[bytes]) -> None:
        dispatch = self._dispatch
        job = Job(
            store=str(Path(dispatch.store).absolute()), backend=self.name, type=self._settings.type,
            options=dict(self._settings.options), runs=self._runs_left(), follow=dispatch.follow,
            retry_dead=dispatch.retry_dead, takeover=dispatch.takeover, patience=dispatch.patience, poll=dispatch.poll,
        )  # fmt: skip
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
        except OSError:
            return  # it has died already, which its end will tell

    def _runs_left(self) -> tuple[str, ...] | None:
        runs = self._dispatch.runs
        return None if runs is None else tuple(run for run in runs if run not in self.results)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._inbox.put((self.name, msgspec.json.decode(line, type=Message)))
        process.wait()
        self._inbox.put((self.name, None))

    def hear(self, message: Message) -> None:
        self._deadline = time.monotonic() + self._dispatch.stall
        if isinstance(message, Ready):
            self._ready = True
        elif isinstance(message, Result):
            self._keep(message)
            self._restarts = 0
        elif isinstance(message, Lowering):
            if len(self.lowered) < _MOST_KEPT:
                self.lowered.append(message)
        elif isinstance(message, Finished):
            self._finished, self.error = True, message.error
            self._deadline = time.monotonic() + _TIME_TO_LEAVE

    def _keep(self, result: Result) -> None:
        """Remember what became of a run; one that serves a store for ever remembers the last ones only."""
        self.results.pop(result.run, None)
        self.results[result.run] = result
        if self._dispatch.runs is None and self._dispatch.follow and len(self.results) > _MOST_KEPT:
            del self.results[next(iter(self.results))]

    def watch(self) -> None:
        """Start again what is due, and end what hangs."""
        if self._start_at is not None and time.monotonic() >= self._start_at:
            self.start()
        elif self._process is not None and time.monotonic() > self._deadline:
            self._process.kill()
        if os.fstat(self._said.fileno()).st_size > _MOST_SAID:  # a client that chatters for months must not fill /tmp
            self._said.seek(0)
            self._said.truncate()

    def ended(self) -> None:
        """Take note that the process is gone: through, or to be started again."""
        assert self._process is not None
        code = self._process.returncode
        self._close_pipes()
        if self._finished:
            self.over = True
        elif not self._ready or self._restarts >= _RESTARTS:
            self._give_up(f"its worker ended with code {code}: {self._last_words()}")
        else:
            self._restarts += 1
            self._start_at = time.monotonic() + _RESTART.delay(self._restarts, draw=0.0)

    def _give_up(self, reason: str) -> None:
        self.error, self.over = reason, True

    def _last_words(self) -> str:
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 4000))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        discretion = Discretion(os.environ, self._settings.options)
        return discretion.text(lines[-1]) if lines else "it said nothing"

    def tell_to_stop(self) -> None:
        """End the worker's stdin: it saves its cursor and leaves."""
        if self._process is not None and self._process.stdin is not None:
            _close(self._process.stdin)

    def stop(self) -> None:
        """Wait for the worker to leave; after a while it is killed."""
        process = self._process
        if process is not None:
            try:
                process.wait(_TIME_TO_LEAVE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._listener.join()
            self._close_pipes()
        self._said.close()

    def _close_pipes(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)


def _close(pipe: object) -> None:
    try:
        pipe.close()  # type: ignore[attr-defined]  # a binary file
    except OSError:
        return  # what was still buffered has no reader
