"""Start the process of captures beside training and take what it finds. Imported by training: light, nothing raises.

Training pays for one thread, which sleeps in the read of a pipe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Union

import msgspec

from unitrack.capture.messages import Captured, Ended, Found, Job, Message, Sampled
from unitrack.errors import UnitrackWarning, UsageError
from unitrack.processes import python_command

__all__ = ["Captures", "Keep", "start_captures"]

Keep = Callable[[Union[Captured, Sampled]], object]

_CHUNK = 1 << 16
_TIME_TO_LEAVE = 0.5  # seconds for an interpreter to end that has said its last

# A fork copies the pipes into the child: kept open there, they would hide from the process that training is gone.
_open: weakref.WeakSet[Captures] = weakref.WeakSet()


class _Process(subprocess.Popen[bytes]):
    """A process whose thread sees to its end: no warning when the handle is dropped, in a forked child say."""

    def __del__(self) -> None:
        pass


def start_captures(job: Job, keep: Keep) -> Captures | None:
    """Start the process of captures; None, with a warning, if that can't be done.

    A thread calls `keep` with what each collector found, as soon as it has, and with samples of the load.
    """
    try:
        command = python_command("unitrack.capture", msgspec.json.encode(job).decode())
        return Captures(job.run, command, keep)
    except (OSError, ValueError, RuntimeError) as error:  # the last two: a NUL in a path, and an interpreter that ends
        _warn(f"unitrack can't start a process to capture the surroundings of run {job.run}: {error}")
        return None


class Captures:
    """The process of captures of one run, and the thread that takes what it says. A forked child has no part in it."""

    def __init__(self, run: str, command: list[str], keep: Keep) -> None:
        self._run, self._keep = run, keep
        self._pid = os.getpid()
        self._hooks: frozenset[str] | None = None
        self._told = threading.Event()  # the hooks are known, or won't be
        self._over = threading.Event()
        self._late = False
        # A session of its own: Ctrl-C is meant for training, and its group can be killed with all it started.
        self._process = _Process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        _open.add(self)
        self._thread = threading.Thread(target=self._work, name="unitrack-captures", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had
            self._stop()
            self._reap()
            raise

    def finish(self, timeout: float) -> None:
        """Wait until all is captured; after `timeout` seconds stop the process, with a warning."""
        if os.getpid() != self._pid or threading.current_thread() is self._thread:
            return
        if not self._over.wait(timeout):
            self._late = True
            self._stop()
            _warn(
                f"run {self._run} ends without all of its captures: after {timeout:g} s a plugin, or a collector of "
                "the setting `capture`, was still at work in the process beside training"
            )
        with suppress(OSError, ValueError):  # the thread was quicker
            if self._process.stdin is not None:
                self._process.stdin.close()  # the end for a sampler
        self._thread.join(_TIME_TO_LEAVE)

    def may_have(self, hook: str, timeout: float) -> bool:
        """Tell whether some plugin has `hook`, or may have it since the process died before it could tell.

        Plugins that don't load within `timeout` seconds have none: they would not load here either.
        """
        if os.getpid() == self._pid:
            self._told.wait(timeout)
        if self._hooks is not None:
            return hook in self._hooks
        return self._over.is_set() and not self._late

    def _work(self) -> None:
        ended: Ended | None = None
        try:
            for message in self._messages():
                if isinstance(message, (Captured, Sampled)):
                    self._keep(message)
                elif isinstance(message, Found):
                    self._hooks = frozenset(message.hooks)
                    self._told.set()
                else:
                    ended = message
                    self._hooks = self._hooks or frozenset()
                    self._over.set()
        except UsageError:  # the run has ended meanwhile
            self._stop()
        except Exception as error:  # nothing beside training may disturb it
            self._stop()
            _warn(f"unitrack could not keep what was captured of run {self._run}: {error!r}")
        else:
            self._tell(ended)
        self._reap()

    def _messages(self) -> Iterator[Message]:
        """Yield what the process says until it is gone. Other lines come from what starts with its interpreter."""
        assert self._process.stdout is not None
        decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
        rest = b""
        while chunk := self._process.stdout.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                with suppress(msgspec.DecodeError):
                    yield decoder.decode(line)

    def _tell(self, ended: Ended | None) -> None:
        """Warn of what went wrong over there."""
        if ended is None and not self._late:
            code = self._process.wait()
            _warn(
                f"the process that captures the surroundings of run {self._run} ended with code {code} before it "
                "was done. Training goes on and what was captured before is kept"
            )
        elif ended is not None and ended.problems:
            _warn(f"{'. '.join(ended.problems)}. Training goes on without; `unitrack plugins` shows all plugins")

    def _stop(self) -> None:
        if self._process.poll() is None:
            with suppress(OSError):  # it was quicker
                os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        self._over.set()
        self._told.set()
        self._close()
        self._process.wait()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # in a forked child the parent's thread may have been about to do it
                    pipe.close()


def _warn(message: str) -> None:
    with suppress(UnitrackWarning):  # where warnings are errors
        warnings.warn(message, UnitrackWarning, stacklevel=3)


def _forget_parents_pipes() -> None:
    for captures in list(_open):
        captures._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_pipes)
