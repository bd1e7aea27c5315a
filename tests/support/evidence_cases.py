"""Pieces of evidence that a stranger may send: archives, folders and verdicts, each hostile in its own way."""

from __future__ import annotations

import json
import os
import pickle
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from github_workbench import BAD, BASE, HEAD, SETTINGS, replaced, sound_verdict

from unitrack.ci import evidence
from unitrack.gate.verdict import encode

GOOD = object()
NAME = "verdict.json"


def zipped(entries: list[tuple[str | zipfile.ZipInfo, bytes]], path: str = "evidence.zip", **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return Path(path)


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    made.compress_type = zipfile.ZIP_DEFLATED
    return made


def folder(**files: bytes) -> Path:
    made = Path("evidence")
    made.mkdir()
    for name, data in files.items():
        (made / name.replace("__", ".")).write_bytes(data)
    return made


def patched(old: bytes, new: bytes) -> Path:
    """A sound zip whose bytes were changed afterwards."""
    path = zipped([(entry(NAME), SOUND())])
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def SOUND() -> bytes:  # noqa: N802 - reads as the constant it is
    return encode(sound_verdict())


def changed(**fields: Any) -> bytes:
    tree = json.loads(SOUND())
    tree.update(fields)
    return json.dumps(tree).encode()


def as_folder(data: bytes) -> Path:
    return folder(verdict__json=data)


# --- the container ---


def symlinked_file() -> Path:
    Path("elsewhere.json").write_bytes(SOUND())
    made = folder()
    (made / NAME).symlink_to(Path("elsewhere.json").resolve())
    return made


def symlinked_folder() -> Path:
    folder(verdict__json=SOUND()).rename("real")
    Path("evidence").symlink_to("real")
    return Path("evidence")


def hard_linked() -> Path:
    Path("elsewhere.json").write_bytes(SOUND())
    made = folder()
    os.link("elsewhere.json", made / NAME)
    return made


def a_pipe() -> Path:
    made = folder()
    os.mkfifo(made / NAME)
    return made


def to_a_device() -> Path:
    made = folder()
    (made / NAME).symlink_to("/dev/zero")
    return made


def a_folder_of_that_name() -> Path:
    made = folder()
    (made / NAME).mkdir()
    return made


def a_bomb() -> Path:
    return zipped([(entry(NAME), b" " * (64 << 20))])


def a_bomb_that_lies() -> Path:
    """A gigabyte that its header calls a kilobyte."""
    path = zipped([(entry(NAME), b" " * (8 << 20))])
    size = (8 << 20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1024).to_bytes(4, "little")))
    return path


def broken_stream() -> Path:
    data = bytearray(zipped([(entry(NAME), SOUND())]).read_bytes())
    at = data.index(NAME.encode()) + len(NAME)
    data[at : at + 20] = b"\xff" * 20
    Path("evidence.zip").write_bytes(data)
    return Path("evidence.zip")


def two_of_a_name() -> Path:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return zipped([(entry(NAME), encode(sound_verdict(BAD))), (entry(NAME), SOUND())])


def two_archives_in_one() -> Path:
    """One reader takes the first, another the last."""
    first = zipped([(entry(NAME), encode(sound_verdict(BAD)))]).read_bytes()
    Path("evidence.zip").write_bytes(first + zipped([(entry(NAME), SOUND())]).read_bytes())
    return Path("evidence.zip")


def an_archive_in_a_comment() -> Path:
    path = zipped([(entry(NAME), SOUND())])
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK\x05\x06" + b"\0" * 18
    return path


def names_that_differ() -> Path:
    """The directory at the end says another name than the entry itself."""
    path = zipped([(entry("verdict.jsoX"), SOUND())])
    data = path.read_bytes()
    at = data.rindex(b"verdict.jsoX")
    path.write_bytes(data[:at] + NAME.encode() + data[at + len(NAME) :])
    return path


def a_pickle() -> Path:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (Path("executed"),)  # type: ignore[return-value]

    return folder(verdict__json=pickle.dumps(Evil()))


def a_pickle_beside() -> Path:
    return folder(verdict__json=SOUND(), model__pkl=pickle.dumps({}))


CONTAINERS: dict[str, Callable[[], Path]] = {
    "nothing at all": lambda: Path("nowhere"),
    "an empty folder": folder,
    "an empty file": lambda: Path("evidence.zip").write_bytes(b"") and Path("x") or Path("evidence.zip"),
    "path traversal": lambda: zipped([("../verdict.json", SOUND())]),
    "deep path traversal": lambda: zipped([("a/../../../../etc/cron.d/verdict.json", SOUND())]),
    "an absolute path": lambda: zipped([("/etc/verdict.json", SOUND())]),
    "a drive letter": lambda: zipped([("C:\\verdict.json", SOUND())]),
    "backslashes": lambda: zipped([("..\\verdict.json", SOUND())]),
    "a folder inside": lambda: zipped([("evidence/verdict.json", SOUND())]),
    "a name cut by a zero": lambda: patched(NAME.encode(), b"verdict\0json"),
    "a file beside": lambda: zipped([(NAME, SOUND()), ("../../.git/hooks/post-checkout", b"#!/bin/sh")]),
    "a file beside in a folder": lambda: folder(verdict__json=SOUND(), setup__py=b"boom"),
    "ten thousand files": lambda: zipped([(f"{n}", b"") for n in range(10_000)] + [(NAME, SOUND())]),
    "another case": lambda: zipped([("Verdict.JSON", SOUND())]),
    "two cases": lambda: zipped([(NAME, encode(sound_verdict(BAD))), ("VERDICT.JSON", SOUND())]),
    "a letter that looks alike": lambda: zipped([("verdi\u0441t.json", SOUND())]),
    "a composed letter": lambda: zipped([("verdict\u0301.json", SOUND())]),
    "an invisible letter": lambda: zipped([("verdict.json\u200b", SOUND())]),
    "text from right to left": lambda: zipped([("\u202enosj.tcidrev", SOUND())]),
    "a name that is a command": lambda: zipped([("\n::set-output name=verdict::pass", SOUND())]),
    "a name that is an old command": lambda: zipped([("##[set-output name=verdict;]pass", SOUND())]),
    "a symbolic link in the zip": lambda: zipped([(entry(NAME, stat.S_IFLNK | 0o777), b"/etc/passwd")]),
    "a device in the zip": lambda: zipped([(entry(NAME, stat.S_IFCHR | 0o666), SOUND())]),
    "a pipe in the zip": lambda: zipped([(entry(NAME, stat.S_IFIFO | 0o666), SOUND())]),
    "a symbolic link": symlinked_file,
    "a linked folder": symlinked_folder,
    "a hard link": hard_linked,
    "a pipe": a_pipe,
    "a device": to_a_device,
    "a folder of that name": a_folder_of_that_name,
    "a device instead of a zip": lambda: Path("/dev/zero"),
    "a bomb": a_bomb,
    "a bomb that lies of its size": a_bomb_that_lies,
    "a bomb of bzip2": lambda: zipped([(NAME, SOUND())], compression=zipfile.ZIP_BZIP2),
    "a bomb of lzma": lambda: zipped([(NAME, SOUND())], compression=zipfile.ZIP_LZMA),
    "too large a file": lambda: as_folder(SOUND() + b" " * evidence.LARGEST),
    "too large a zip": lambda: zipped([(NAME, os.urandom(2 << 20))]),
    "two of a name": two_of_a_name,
    "two archives in one": two_archives_in_one,
    "an archive in a comment": an_archive_in_a_comment,
    "names that differ": names_that_differ,
    "a broken stream": broken_stream,
    "an encrypted entry": lambda: patched(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
    "a broken sum": lambda: patched(zlib.crc32(SOUND()).to_bytes(4, "little"), b"\0\0\0\1"),
    "half a zip": lambda: (
        Path("evidence.zip").write_bytes(zipped([(NAME, SOUND())]).read_bytes()[:-30]) and Path("evidence.zip")
    ),
    "the end of a zip": lambda: (
        Path("evidence.zip").write_bytes(zipped([(NAME, SOUND())]).read_bytes()[-40:]) and Path("evidence.zip")
    ),
    "a tar": lambda: Path("evidence.zip").write_bytes(b"verdict.json" + b"\0" * 1024) and Path("evidence.zip"),
    "a pickle": a_pickle,
    "a pickle beside": a_pickle_beside,
}

# --- what it says ---


def nested(depth: int) -> bytes:
    return b'{"schema": 2, "key": ' + b"[" * depth + b"]" * depth + b"}"


def with_metric(**fields: Any) -> bytes:
    tree = json.loads(SOUND())
    tree["metrics"][0].update(fields)
    return json.dumps(tree).encode()


def forged(values: tuple[float, ...]) -> bytes:
    """The values of a bad candidate under the outcome of a good one."""
    tree = json.loads(SOUND())
    tree["metrics"][0]["candidate"] = list(values)
    return json.dumps(tree).encode()


def easier() -> bytes:
    """A verdict that agrees with itself, by a policy with a wider margin."""
    Path("unitrack.toml").write_text(SETTINGS.replace("0.02", "0.5"))
    import github_workbench

    before = github_workbench.SETTINGS
    github_workbench.SETTINGS = SETTINGS.replace("0.02", "0.5")
    try:
        return encode(sound_verdict(BAD))
    finally:
        github_workbench.SETTINGS = before
        Path("unitrack.toml").write_text(before)


def without_the_bad_metric() -> bytes:
    tree = json.loads(encode(sound_verdict(BAD)))
    del tree["metrics"][0]
    del tree["policy"]["metrics"][0]
    tree.update(outcome="pass", blocks=False)
    return json.dumps(tree).encode()


def waived() -> bytes:
    verdict = sound_verdict(BAD)
    tree = json.loads(encode(verdict))
    tree["metrics"][0]["waived"] = "w1"
    tree["waivers"] = [
        {"id": "w1", "metric": "acc", "scope": HEAD, "reason": "trust me", "who": "octocat", "created": 1.77e9,
         "expires": 1.9e9, "missing": False}
    ]  # fmt: skip
    tree.update(outcome="pass", blocks=False)
    return json.dumps(tree).encode()


CONTENTS: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: b"pass",
    "half of it": lambda: SOUND()[:-200],
    "a byte too many": lambda: SOUND() + b"}",
    "two documents": lambda: SOUND() + SOUND(),
    "another schema": lambda: changed(schema=999),
    "an unknown type": lambda: b'{"outcome": "pass"}',
    "a list": lambda: b"[" + SOUND() + b"]",
    "not UTF-8": lambda: SOUND().decode().encode("utf-16"),
    "a byte order mark": lambda: b"\xef\xbb\xbf" + SOUND(),
    "a lone surrogate": lambda: SOUND().replace(b'"unitrack gate"', b'"\\ud800"'),
    "a key twice": lambda: SOUND().replace(b'"outcome": "pass"', b'"outcome": "fail", "outcome": "pass"'),
    "NaN": lambda: SOUND().replace(b"0.905", b"NaN"),
    "Infinity": lambda: SOUND().replace(b"0.905", b"-Infinity"),
    "a number beyond all": lambda: SOUND().replace(b"0.905", b"1e999999"),
    "a number of a million digits": lambda: SOUND().replace(b"0.905", b"9" * 900_000),
    "a huge seed": lambda: SOUND().replace(b'"seed": 0', b'"seed": ' + b"9" * 5_000),
    "a negative time": lambda: changed(created=-1.0),
    "a time to come": lambda: changed(created=9e9),
    "deep nesting": lambda: nested(100_000),
    "nesting just too deep": lambda: nested(65),
    "another outcome than its values": lambda: forged(BAD),
    "a difference of its own": lambda: with_metric(mean=0.5),
    "an outcome of its own": lambda: json.dumps(
        {**json.loads(encode(sound_verdict(BAD))), "outcome": "pass", "blocks": False}
    ).encode(),
    "a policy of its own": easier,
    "a metric less": without_the_bad_metric,
    "no metric": lambda: changed(metrics=[]),
    "another policy's digest": lambda: changed(policy_sha256="0" * 64),
    "another commit": lambda: encode(sound_verdict(commit="c" * 40)),
    "another repository's commit": lambda: encode(sound_verdict(commit=BASE)),
    "half a commit": lambda: encode(sound_verdict(commit=HEAD[:12])),
    "a commit in capitals": lambda: encode(sound_verdict(commit=HEAD.upper())),
    "a commit with a line of its own": lambda: encode(sound_verdict(commit=HEAD + "\n")),
    "a commit that is a command": lambda: encode(sound_verdict(commit="\n::error::x ##[set-output name=verdict;]pass")),
    "no commit": lambda: encode(sound_verdict(commit="")),
    "itself as the baseline": lambda: encode(
        replaced(sound_verdict(), baseline=replaced(sound_verdict().baseline, commit=HEAD))
    ),
    "a waiver that nobody reviewed": waived,
    "a number and a repository": lambda: changed(number=8, pull_request=8, repository="acme/models", head_sha="c" * 40),
}


ALL = {**CONTAINERS, **{name: (lambda make=make: as_folder(make())) for name, make in CONTENTS.items()}}
MAY_BE_TAKEN = {"a number and a repository"}  # unknown fields are ignored, see below
