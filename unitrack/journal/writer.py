"""Write one journal: a line and a `write(2)` an event, from any thread, across forks and full disks.

`JournalWriter.metrics_logger` is the hot path and the reason for this file's shape.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from unitrack.errors import UnitrackWarning, UsageError
from unitrack.events import SCHEMA_VERSION, FinalStatus, Known, Metrics, Role, Status, WriterStarted
from unitrack.files import sync_directory
from unitrack.journal import _lock, layout
from unitrack.journal._keeper import Keeper
from unitrack.journal._loss import Loss, LossFile
from unitrack.journal.codec import decode_line, encode_into, encode_line
from unitrack.journal.seal import digest_of, last_line

__all__ = ["Durability", "JournalWriter", "LogFunction", "WriterInfo"]

Durability = Literal["background", "always", "finish"]
LogFunction = Callable[..., None]

_OPEN = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_sync = getattr(os, "fdatasync", os.fsync)
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None))

# A fork copies every writer into the child, where each must stop using its parent's file.
_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


class WriterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who a writer is: its run's id, its part in it, and its rank of how many."""

    run: str
    role: Role = "primary"
    rank: int | None = None
    world: int | None = None


class JournalWriter:
    """One process's journal of one run. Thread-safe; a forked child goes on in a journal of its own.

    Opening raises OSError when the file can't be made. After that no call raises because of
    the disk unless `strict`: what can't be written is counted in `lost` and warned of once.
    """

    def __init__(
        self, run: Path, info: WriterInfo, *, durability: Durability = "background", strict: bool = False
    ) -> None:
        self.info = info
        self.fd = -1
        self.seq = 0
        self.lost = 0
        self.closed = False
        self.idle = True  # False while an event is being written: tells a signal handler's call from a thread's
        self._run = run
        self._durability = durability
        self._strict = strict
        self._lock = threading.RLock()
        self._file_lock = threading.Lock()  # keeps the keeper off a file that is being swapped or closed
        self._line = bytearray(4096)
        self._pending: list[Callable[[], None]] = []
        self._unsure = -1  # a file that could be neither written nor read: its end is not known
        self._warned: set[int | None] = set()
        self._open()
        _writers.add(self)

    # -- opening ---------------------------------------------------------------------------------

    def _open(self) -> None:
        from hashlib import sha256  # 3 ms, so not with the module, and not in a signal handler that seals

        self._sha256 = sha256
        self.id = layout.new_writer_id()
        self.path = layout.journal_dir(self._run) / f"{self.id}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, _OPEN, 0o666)
        try:
            _lock.acquire(fd)
            _write_whole(fd, encode_line(self._header()))
            os.fsync(fd)
            sync_directory(self.path.parent)
        except BaseException:
            os.close(fd)
            self.path.unlink(missing_ok=True)
            raise
        self._loss = LossFile(layout.loss_path(self.path))
        self._loss.open()
        self.fd, self.seq, self._synced = fd, 1, 1
        self._keeper = Keeper(self)
        if self.info.role == "worker":
            self._seal_with_process()

    def _seal_with_process(self) -> None:
        # multiprocessing's children leave by os._exit, past atexit; its own finalizers do run.
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(self, self.seal, args=("finished",), exitpriority=0)

    def _header(self) -> WriterStarted:
        now = time.time()
        return WriterStarted(
            seq=1, time=now, schema=SCHEMA_VERSION, run=self.info.run, writer=self.id, host=layout.hostname(),
            pid=os.getpid(), started=now, role=self.info.role, rank=self.info.rank, world=self.info.world,
            boot=layout.boot_id(),
        )  # fmt: skip

    def _after_fork(self) -> None:
        """In a forked child: let go of the parent's journal; the next event opens one of our own."""
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # what the standard library does for its own locks
        self._file_lock = threading.Lock()
        for fd in (self.fd, self._unsure):
            with suppress(OSError):  # the keeper may have been about to swap it
                os.close(fd)
        self._loss.close()
        self.fd, self._unsure, self.idle, self.lost = -1, -1, True, 0
        self._pending.clear()
        self.info = msgspec.structs.replace(self.info, role="worker")

    # -- the hot path ----------------------------------------------------------------------------

    def metrics_logger(self, fallback: LogFunction) -> LogFunction:
        """Return `log(values, step=None)` for the usual call: plain numbers, an int step or none.

        It costs little more than encoding and writing. All else (other number types, non-finite
        values, media, bad input, a closed or forked writer) goes to `fallback` with the same
        arguments, before anything was written. Bound methods are fetched once, here, since each
        look-up costs as much as a twentieth of the whole call.
        """
        if self._durability == "always":
            return fallback
        acquire, release, owned = self._lock.acquire, self._lock.release, self._lock._is_owned  # type: ignore[attr-defined]  # as threading.Condition does
        line, newline = self._line, self._line.append
        clock, write = time.time, os.write

        def log(values: Any, step: Any = None) -> None:
            entered = False
            try:
                total = sum(values.values(), 0.0)  # a TypeError tells what is not a number, for the price of no check
                if -9e18 < total < 9e18 and (step.__class__ is int or step is None):  # not NaN, infinity, huge
                    entered = True
                    acquire()
                    if self.idle:
                        self.idle = False
                        encode_into(Metrics(self.seq + 1, clock(), values, step), line)
                        newline(10)
                        if write(self.fd, line) == len(line):
                            self.seq += 1
                            self.idle = True
                            if self._pending:
                                self._drain()
                            release()
                            return
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    self._pending.append(partial(fallback, dict(values), step))
                    release()
                    return
            except BaseException as error:
                if entered and owned() and self._recover(error):
                    return
                if not isinstance(error, Exception):
                    raise
            fallback(values, step)

        return log

    def _recover(self, error: BaseException) -> bool:
        """Leave an interrupted write with a whole journal and a free lock; True if the event counts as lost."""
        lost = isinstance(error, OSError) and self.fd >= 0
        try:
            if not self.idle and self.fd >= 0:
                self._resync()
            if lost:
                self.lose(error)
        finally:
            self.idle = True
            self._lock.release()
        return lost

    def _drain(self) -> None:
        """Write what signal handlers logged while a write of the same thread was interrupted."""
        while self._pending:
            self._pending.pop(0)()

    # -- all other events ------------------------------------------------------------------------

    def append(self, event: Callable[..., Known | None], /, *args: Any, **fields: Any) -> None:
        """Write the event that `event(seq, time, ...)` makes with the next `seq` and the time of the call, if any.

        In a signal handler that interrupted a write of the same thread, it is written after that.

        Raises UsageError after `seal`; OSError only if `strict`; TypeError when a field can't be encoded.
        """
        with self._lock:
            if self.closed:
                raise UsageError(
                    f"run {self.info.run} has finished in this process: log before finish(), or init() anew"
                )
            if not self.idle:
                self._pending.append(partial(self.append, event, *args, **fields))
                return
            self.idle = False
            try:
                self._make_ready()
                made = event(self.seq + 1, time.time(), *args, **fields)
                if made is None:
                    return
                _write_whole(self.fd, encode_line(made))
                self.seq += 1
                if self._durability == "always":
                    _sync(self.fd)
            except BaseException as error:
                if self.fd >= 0:
                    self._resync()
                if not isinstance(error, OSError):
                    raise
                self.lose(error)
            finally:
                self.idle = True
            if self._pending:
                self._drain()

    def _resync(self) -> None:
        """Cut a half-written line off and take `seq` from the last whole one.

        Where that fails too, the file is put aside, so that nothing is written behind half a line.
        """
        try:
            end, line = last_line(self.fd)
            if end < os.fstat(self.fd).st_size:
                os.ftruncate(self.fd, end)
            self.seq = decode_line(line).seq
        except (OSError, ValueError):
            self.fd, self._unsure = -1, self.fd

    def _make_ready(self) -> None:
        """Open a forked child's journal, or take up a file that was put aside. Raises OSError."""
        if self.fd >= 0:
            return
        if self._unsure < 0:
            self._open()
            return
        self.fd, self._unsure = self._unsure, -1
        self._resync()
        if self.fd < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def lose(self, error: BaseException) -> None:
        """Count an event that could not be kept, and say so once a kind; raise `error` if `strict`."""
        if self._strict:
            raise error
        reason = str(error)
        with self._lock:
            self.lost += 1
            self._note_loss(Loss(lost=self.lost, reason=reason))
        kind = error.errno if isinstance(error, OSError) else None
        kind = errno.ENOSPC if kind in _FULL else kind  # which of them comes first is chance
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(
                f"unitrack can't write {self.path}: {reason}. Training goes on and what was logged before is safe; "
                f"events are lost until this is mended, counted by `unitrack show {self.info.run}`",
                UnitrackWarning,
                stacklevel=4,
            )

    def _note_loss(self, loss: Loss) -> None:
        with suppress(OSError):  # a disk that fails altogether: the count goes into the seal, if there will be one
            self._loss.write(loss)

    # -- keeping ---------------------------------------------------------------------------------

    def keep(self) -> None:
        """Do what must go on beside training: make bytes durable, show life, notice a removed store."""
        with self._file_lock:
            if self.fd < 0 or self.closed:
                return
            try:
                if self._durability == "background" and self._synced != self.seq:
                    self._synced = self.seq
                    _sync(self.fd)
                status = os.fstat(self.fd)
                removed = status.st_nlink == 0
                if not removed and time.time() - status.st_mtime > layout.HEARTBEAT / 4:
                    os.utime(self.path)
            except OSError as error:
                self._warn_kept(error)
                return
        if removed:
            self._keep_removed()

    def _keep_removed(self) -> None:
        with self._lock, self._file_lock:  # in the order of `seal`, which may be waiting for the second
            try:
                if self.fd >= 0 and not self.closed and os.fstat(self.fd).st_nlink == 0:
                    self._restore()
            except OSError as error:
                self._warn_kept(error)

    def _warn_kept(self, error: OSError) -> None:
        if error.errno not in self._warned:
            self._warned.add(error.errno)
            warnings.warn(
                f"unitrack can't keep {self.path} safe: {error}. Training goes on", UnitrackWarning, stacklevel=2
            )

    def _restore(self) -> None:
        """Write the journal again from its open file after the store was removed under it; both locks are held."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, _OPEN, 0o666)
        try:
            _lock.acquire(fd)
            offset = 0
            while chunk := os.pread(self.fd, 1 << 20, offset):
                _write_whole(fd, chunk)
                offset += len(chunk)
        except BaseException:
            os.close(fd)
            self.path.unlink(missing_ok=True)
            raise
        os.close(self.fd)
        self.fd = fd
        self._loss.close()
        self._loss.open()
        warnings.warn(
            f"{self.path} was removed while the run was writing it. Its events were saved again; "
            "artifacts logged before are gone with the store",
            UnitrackWarning,
            stacklevel=2,
        )

    def sync(self) -> None:
        """Make all that was logged durable now. Raises OSError."""
        with self._file_lock:
            if self.fd >= 0:
                self._synced = self.seq
                _sync(self.fd)

    # -- the end ---------------------------------------------------------------------------------

    def seal(self, status: FinalStatus, *, reason: str | None = None, timeout: float = 30.0) -> bool:
        """Write the status event and close; False when another thread held the journal for `timeout` seconds.

        An unsealed journal reads as `killed` once its process is gone, so giving up loses the reason only.
        """
        if not self._lock.acquire(timeout=timeout):
            return False
        try:
            if not self.idle:  # a signal handler inside an interrupted write, or inside a seal
                return False
            if self.closed:
                return True
            self.idle = False
            try:
                return self._seal(status, reason, timeout)
            finally:
                self.idle = True
        finally:
            self._lock.release()

    def _seal(self, status: FinalStatus, reason: str | None, timeout: float) -> bool:
        # A signal handler may have interrupted the very thread that holds this lock, in `sync`.
        if not self._file_lock.acquire(timeout=timeout):
            return False
        try:
            if self.fd >= 0:
                self._keeper.stop()
                self._write_status(status, reason)
        finally:
            for fd in (self.fd, self._unsure):
                with suppress(OSError):
                    os.close(fd)
            self._loss.close()
            self.fd, self._unsure, self.closed = -1, -1, True
            self._file_lock.release()
        return True

    def _write_status(self, status: FinalStatus, reason: str | None) -> None:
        try:
            if os.fstat(self.fd).st_nlink == 0:
                self._restore()
            line = Status(
                seq=self.seq + 1, time=time.time(), status=status, events=self.seq + 1,
                sha256=digest_of(self.fd, self._sha256()), reason=reason, lost=self.lost,
            )  # fmt: skip
            _write_whole(self.fd, encode_line(line))
            self.seq += 1
            os.fsync(self.fd)
        except OSError as error:
            self._resync()
            self.lose(error)
            self._note_loss(Loss(lost=self.lost, reason=str(error), status=status))
        if self.lost:
            self._loss.close()
        else:
            self._loss.remove()


def _write_whole(fd: int, data: bytes) -> None:
    """Write all of `data` or raise OSError; a short write is a full disk."""
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _forget_parents_files() -> None:
    for writer in list(_writers):
        writer._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_files)
