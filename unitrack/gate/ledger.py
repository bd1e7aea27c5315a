"""How often each evaluation data set has judged: a test set wears out, for each verdict tells something about it.

`<store>/gate/ledger.jsonl` gets a line for each verdict and data set, written under a lock. A line that a crash cut off
counts nothing and spoils none after it. An equal verdict counts once, whoever asks for it again.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Annotated

import msgspec

from unitrack.errors import EvidenceError, RegistryError
from unitrack.gate.verdict import TestSetUse
from unitrack.registry.lock import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FIRST_WARNING", "Entry", "ledger_path", "optimism", "rank", "read", "use", "warning"]

FIRST_WARNING = 8
"""The number of verdicts at which the first warning is due; the next ones at 16, 32, 64 ..."""

_CHANCE = 0.01
_USUAL_SIZE = 10_000  # examples, for the figure of a warning where the size is not known
_PATIENCE = 30.0  # seconds


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict that used a data set. `time` is epoch seconds."""

    time: float
    digest: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


def ledger_path(store: Path) -> Path:
    """Return where a store keeps its ledger."""
    return store / "gate" / "ledger.jsonl"


def use(
    store: Path, digest: str, key: str, *, now: float, examples: int | None = None, timeout: float = _PATIENCE
) -> TestSetUse:
    """Write down that the verdict `key` used the data `digest`, and return the how manieth it is.

    `now` is epoch seconds, `examples` the number of rows if it is known, `timeout` how many seconds to wait for others.
    Raises EvidenceError if the ledger can't be read or written.
    """
    entry = Entry(time=now, digest=digest, key=key)
    path = ledger_path(store)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_suffix(".lock"), timeout=timeout, doing="another verdict's entry"):
            count = rank(read(path), digest, key)
            if count is None:
                _append(path, entry)
                count = rank(read(path), digest, key)
    except OSError as error:
        raise EvidenceError(f"{path}: the ledger of test data can't be kept: {error.strerror}") from error
    except RegistryError as error:
        raise EvidenceError(f"the ledger of test data can't be kept: {error}") from error
    if count is None:
        raise EvidenceError(f"{path}: an entry was written and is not there: is another program changing the file?")
    return TestSetUse(digest=digest, verdicts=count, warning=warning(count, examples))


def read(path: Path) -> list[Entry]:
    """Return the entries that are whole, in the order of the file; none if there is no file. Raises OSError."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [entry for line in lines if (entry := _entry(line)) is not None]


def _entry(line: bytes) -> Entry | None:
    try:
        return msgspec.json.decode(line, type=Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # cut off by a crash
        return None


def rank(entries: Iterable[Entry], digest: str, key: str) -> int | None:
    """Return the how manieth verdict on this data `key` is, counted from 1; None if it is none of them.

    The place of its first entry counts, so that an equal verdict says the same for ever.
    """
    keys = dict.fromkeys(entry.key for entry in entries if entry.digest == digest)
    return list(keys).index(key) + 1 if key in keys else None


def warning(verdicts: int, examples: int | None = None) -> str | None:
    """Return what to say at 8, 16, 32 ... verdicts, None in between."""
    if verdicts < FIRST_WARNING or verdicts & (verdicts - 1):
        return None
    size = examples or _USUAL_SIZE
    return (
        f"this test data has judged {verdicts} times, and each verdict tells a little of it: in the worst case, a "
        f"model chosen by these verdicts looks up to {optimism(verdicts, size):.2g} too accurate on {size:,} examples "
        f"({1 - _CHANCE:.0%} confidence); collect fresh test data"
    )


def optimism(verdicts: int, examples: int, *, chance: float = _CHANCE) -> float:
    """Return by how much a mean in [0, 1] over `examples` may be too high after so many yes-or-no answers.

    The bound of Renggli et al. (2019, ease.ml/ci) for adaptive use: whoever sees k answers ends at one of 2^k
    models, so Hoeffding's bound has to hold for all of them at once, except with probability `chance`.
    """
    return min(1.0, math.sqrt((verdicts * math.log(2) - math.log(chance)) / (2 * examples)))


def _append(path: Path, entry: Entry) -> None:
    """Add a line, behind a line break if a crash left the last line without one."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        size = os.fstat(handle).st_size
        if size:
            os.lseek(handle, size - 1, os.SEEK_SET)
        torn = size > 0 and os.read(handle, 1) != b"\n"
        line = (b"\n" if torn else b"") + msgspec.json.encode(entry) + b"\n"
        while line:
            line = line[os.write(handle, line) :]
        os.fsync(handle)
    finally:
        os.close(handle)
