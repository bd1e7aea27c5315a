"""Start a dispatcher beside training and ask how far it is. Imported by training: light, and nothing raises."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

from unitrack.dispatch.source import is_done
from unitrack.dispatch.status import last_words
from unitrack.errors import UnitrackWarning
from unitrack.journal import layout
from unitrack.journal.cursor import load_cursor
from unitrack.processes import python_command

__all__ = ["start_background", "tell_last_words", "wait_until_sent"]


class _Detached(subprocess.Popen[bytes]):
    """A process that outlives us on purpose: no warning when its handle is dropped."""

    def __del__(self) -> None:
        pass


def start_background(store: Path, run_id: str) -> bool:
    """Start `unitrack sync RUN --follow` in a session of its own; False, with a warning, if that fails.

    It survives this process and ends when everything is sent. Its output is in `<run>/sync/dispatcher.log`.
    """
    folder = layout.sync_dir(layout.run_dir(store, run_id))
    try:
        command = python_command("unitrack", "sync", run_id, "--follow", "--beside")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "dispatcher.log").open("ab") as log:
            _Detached(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "UNITRACK_DIR": str(store)},
            )  # fmt: skip
    except (OSError, ValueError) as error:
        warnings.warn(
            f"unitrack can't start a dispatcher ({error}): run {run_id} is in the journal and is sent by "
            f"`unitrack sync {run_id}`",
            UnitrackWarning,
            stacklevel=2,
        )
        return False
    return True


def wait_until_sent(run: Path, backends: Iterable[str], timeout: float) -> list[str]:
    """Wait until the backends have all of a run and know its end; return those that don't after `timeout` seconds."""
    until = time.monotonic() + timeout
    waiting = list(backends)
    while waiting := [name for name in waiting if not is_done(run, load_cursor(run, name))]:
        if time.monotonic() >= until:
            break
        time.sleep(0.05)
    return waiting


def tell_last_words(run: Path, backends: Iterable[str], *, waited: bool) -> None:
    """Say on stderr, in one line a backend, what was lowered and what is pending; nothing if all is well."""
    for name in backends:
        try:
            line = last_words(run, name, waited=waited)
        except OSError:
            continue  # the journal itself is gone, which training was told when it happened
        if line is not None:
            sys.stderr.write(f"unitrack: {line}\n")
