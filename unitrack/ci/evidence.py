"""Evidence that crosses from an untrusted job to a trusted one: one `verdict.json`, in a folder or a zip.

Whoever opened the pull request may have written every byte of it. So: one file of one name, bounded before it is
read, never unpacked to disk, parsed as JSON under the schema and nothing else. Which pull request and which commit it
is for is the event's and the API's to say; evidence for another commit, or under another policy than the
base branch's, is refused.
"""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.ci.runner import harmless
from unitrack.errors import EvidenceError
from unitrack.files import write_atomic
from unitrack.gate import verdict as verdicts
from unitrack.gate.policy import Policy, policy_digest
from unitrack.gate.waivers import WaiverRecord, covers, public

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unitrack.gate.verdict import Verdict

__all__ = ["LARGEST", "NAME", "Base", "check_subject", "collect", "load"]

NAME = "verdict.json"
LARGEST = 1 << 20
"""Bytes of evidence: GitHub's own cap of a job summary, and far more than a verdict needs."""

_LARGEST_ZIP = LARGEST + (64 << 10)
_DEEPEST = 64
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_CLOCKS = 600.0  # seconds that two machines may be apart
_UNSOUND = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, ArithmeticError, LookupError,
            RuntimeError, ValueError, EOFError, OSError)  # fmt: skip


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What the base branch says: its policy and waivers. `head` is the pull request's; `branch` None for a fork's.

    `production` is the commit of the production model, None where that is not known.
    """

    policy: Policy
    waivers: tuple[WaiverRecord, ...] = ()
    head: str
    branch: str | None = None
    production: str | None = None


def collect(verdict: Verdict, folder: Path) -> Path:
    """Write the evidence of a verdict into a folder of its own and return the file's path.

    Curves are pictures' data and go first when it is too large. Raises EvidenceError if it still is, or if
    the folder holds anything else: what is uploaded is what was judged.
    """
    data = verdicts.encode(verdict)
    if len(data) > LARGEST:
        data = verdicts.encode(_without_curves(verdict))
    if len(data) > LARGEST:
        raise EvidenceError(f"the verdict has {len(data):,} bytes, {LARGEST:,} are the most: judge fewer metrics")
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(name for name in os.listdir(folder) if name != NAME)
    if others:
        raise EvidenceError(f"{folder} holds {others[0]!r} too: name a folder of its own with --output")
    write_atomic(folder / NAME, data)
    return folder / NAME


def load(path: Path) -> Verdict:
    """Read evidence as hostile and return its verdict. Raises EvidenceError."""
    try:
        kind = os.lstat(path).st_mode
        if stat.S_ISDIR(kind):
            data = _of_folder(path)
        elif stat.S_ISREG(kind):
            data = _of_zip(_read(path, _LARGEST_ZIP))
        else:
            raise EvidenceError("it is neither a folder nor a zip file")
        _check_text(data)
        return verdicts.decode(data, source=NAME)
    except EvidenceError as error:
        raise EvidenceError(f"the evidence is refused: {harmless(str(error))}") from error
    except OSError as error:
        raise EvidenceError(f"the evidence is refused: {path} can't be read: {error.strerror}") from error


def check_subject(verdict: Verdict, *, commits: frozenset[str], base: Base, now: float) -> None:
    """Check a verdict against what is known from elsewhere. `now` is epoch seconds. Raises EvidenceError."""
    wrong = next(_wrong_about(verdict, commits, base, now), None)
    if wrong is not None:
        raise EvidenceError(f"the evidence is refused: {harmless(wrong)}")


def _wrong_about(verdict: Verdict, commits: frozenset[str], base: Base, now: float) -> Iterator[str]:
    judged, against = verdict.candidate.commit, verdict.baseline.commit
    if judged not in commits:
        yield f"it judges commit {judged[:40]!r}, the event is about {' or '.join(sorted(commits))}"
    if against in commits:
        yield "it compares the change with itself"
    if base.production is not None and against and not against.startswith(base.production):
        yield f"it compares with {against[:40]!r}, the production model is of {base.production}: gate against that"
    if verdict.policy_sha256 != policy_digest(base.policy):
        yield (
            "it was judged under another policy than the base branch's; run the gate with --policy-ref naming the "
            "base branch, and again after the policy has changed there"
        )
    if verdict.created > now + _CLOCKS:
        yield "it says that it was made in the future"
    for used in verdict.waivers:
        record = next((one for one in base.waivers if one.id == used.id), None)
        if record is None or public(record) != used or used.expires <= now or not _covers(record, verdict, base):
            yield f"waiver {used.id!r:.40} does not hold on the base branch"


def _covers(record: WaiverRecord, verdict: Verdict, base: Base) -> bool:
    commit, model = verdict.candidate.commit, verdict.policy.model
    return any(covers(record, commit=one, branch=base.branch, model=model) for one in (commit, base.head))


def _without_curves(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, curves=())


def _of_folder(folder: Path) -> bytes:
    names = sorted(os.listdir(folder))
    _check_names(names)
    return _read(folder / NAME, LARGEST)


def _read(path: Path, most: int) -> bytes:
    """Read a plain file that nothing else leads to, and no more of it than `most` bytes."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would never end
    handle = os.open(path, flags)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise EvidenceError(f"{path.name} is no plain file")
        data = file.read(most + 1)
    if len(data) > most:
        raise EvidenceError(f"{path.name} has more than {most:,} bytes")
    return data


def _of_zip(data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_names([entry.orig_filename for entry in entries])
            if entries[0].header_offset != 0 or archive.comment:
                raise EvidenceError("it holds more than one zip file: another reader might see another")
            return _member(archive, entries[0])
    except _UNSOUND as error:
        raise EvidenceError(f"it is no sound zip file: {error}") from error


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise EvidenceError(f"{NAME} is no plain file")
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        raise EvidenceError(f"{NAME} is encrypted or packed in a way that is not read here")
    if entry.file_size > LARGEST:
        raise EvidenceError(f"{NAME} has more than {LARGEST:,} bytes")
    with archive.open(entry) as file:
        data = file.read(LARGEST + 1)  # the size in the header is the sender's word
    if len(data) > LARGEST:
        raise EvidenceError(f"{NAME} has more than {LARGEST:,} bytes")
    return data


def _check_names(names: list[str]) -> None:
    if names == [NAME]:
        return
    if not names:
        raise EvidenceError("it is empty")
    other = next((name for name in names if name != NAME), NAME)
    what = f"it holds {other[:100]!r}" if other != NAME else f"it holds {NAME} {len(names)} times"
    raise EvidenceError(f"{what}, and nothing but one {NAME} is read")


def _check_text(data: bytes) -> None:
    """Refuse JSON that two readers could read differently: keys given twice, numbers JSON has not, endless depth."""
    if len(data) > LARGEST:
        raise EvidenceError(f"{NAME} has more than {LARGEST:,} bytes")
    try:
        _check_depth(data)
        json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{NAME} is no JSON: {error}") from error


def _check_depth(data: bytes) -> None:
    depth, inside, escaped = 0, False, False
    for byte in data:
        if inside:
            escaped, inside = (byte == 0x5C and not escaped), not (byte == 0x22 and not escaped)
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            depth += 1
            if depth > _DEEPEST:
                raise EvidenceError(f"{NAME} is nested deeper than {_DEEPEST} levels")
        elif byte in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise EvidenceError(f"{NAME} gives a key twice")
    return made


def _no_constant(word: str) -> None:
    raise EvidenceError(f"{NAME} holds {word}, which is no JSON")
