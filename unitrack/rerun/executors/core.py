"""unitrack's core as folders that an image without it can import: our own files, and the packages they need.

msgspec is compiled, so its files fit one version of Python, one processor and one C library. The installed copy is
taken where the image's Python is like this one; otherwise pip is asked for the wheel that fits.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from unitrack.errors import EvidenceError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PROBE", "ImagePython", "core_folders", "this_python"]

_PACKAGES = ("unitrack", "msgspec", "pluggy", "tomli")
_COMPILED = "msgspec"
_PIP_SECONDS = 300.0

PROBE = """\
import importlib.util, json, platform, sys
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "tag": sys.implementation.cache_tag,
    "machine": platform.machine(),
    "libc": platform.libc_ver()[0] or "musl",
    "has": [name for name in ("unitrack", "msgspec", "pluggy", "tomli") if importlib.util.find_spec(name)],
}))
"""


class ImagePython(msgspec.Struct, frozen=True, kw_only=True):
    """The Python of an image: its version, what compiled files have to fit, and which of our packages it has."""

    version: str
    tag: str
    machine: str
    libc: str
    has: tuple[str, ...] = ()

    @property
    def lacks(self) -> tuple[str, ...]:
        """Return the packages that have to be brought along."""
        needed = _PACKAGES if self.version == "3.10" else _PACKAGES[:-1]  # tomli is for 3.10 only
        return tuple(name for name in needed if name not in self.has)

    def fits(self, other: ImagePython) -> bool:
        """Tell whether what is compiled for the other can be imported here."""
        return (self.tag, self.machine, self.libc) == (other.tag, other.machine, other.libc)


def this_python() -> ImagePython:
    """Describe the Python that runs this."""
    major, minor = sys.version_info[:2]
    tag, libc = str(sys.implementation.cache_tag), platform.libc_ver()[0] or "musl"
    return ImagePython(version=f"{major}.{minor}", tag=tag, machine=platform.machine(), libc=libc)


def core_folders(python: ImagePython, cache: Path) -> tuple[Path, ...]:
    """Return folders for the image's `sys.path`, one a package it lacks, made in `cache` if they are not there yet.

    Raises EvidenceError if the image's Python is too old or no fitting msgspec can be had.
    """
    if tuple(map(int, python.version.split("."))) < (3, 10):
        raise EvidenceError(f"the image has Python {python.version}, and unitrack needs 3.10 or later: take another")
    return tuple(_folder(name, python, cache) for name in python.lacks)


def _folder(name: str, python: ImagePython, cache: Path) -> Path:
    if name == _COMPILED and not python.fits(this_python()):
        version = metadata.version(name)
        target = cache / f"{name}-{version}-{python.tag}-{python.machine}-{python.libc}"
        return _made(target, lambda scratch: _download(name, version, python, scratch))
    files = _installed(name)
    digest = hashlib.sha256("\n".join(f"{path} {_stamp(source)}" for path, source in files).encode()).hexdigest()
    return _made(cache / f"{name}-{digest[:16]}", lambda scratch: _copy(files, scratch))


def _made(target: Path, fill: object) -> Path:
    """Return a folder that is there whole or not at all, whoever else makes it at the same time."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".making-"))
    try:
        fill(scratch)  # type: ignore[operator]
        scratch.chmod(0o755)
        os.rename(scratch, target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _installed(name: str) -> list[tuple[str, Path]]:
    """Return an installed package's files by their path below `site-packages`; for unitrack its own folder."""
    if name == "unitrack":
        root = Path(__file__).parents[2]
        found = {path.relative_to(root.parent).as_posix(): path for path in root.rglob("*") if path.is_file()}
        return sorted((path, source) for path, source in found.items() if not path.endswith(".pyc"))
    try:
        files = metadata.distribution(name).files or ()
    except metadata.PackageNotFoundError as error:
        raise EvidenceError(f"the image lacks {name} and so does this Python: put unitrack in the image") from error
    listed = {path.as_posix(): Path(str(path.locate())) for path in files if ".." not in path.parts}
    return sorted((path, source) for path, source in listed.items() if not path.endswith(".pyc") and source.is_file())


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _copy(files: Iterable[tuple[str, Path]], folder: Path) -> None:
    for name, source in files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644)


def _download(name: str, version: str, python: ImagePython, folder: Path) -> None:
    """Let pip fetch the wheel for another Python than this one. Raises EvidenceError if it can't."""
    kind = "musllinux_1_2" if python.libc == "musl" else "manylinux_2_17"
    number = python.version.replace(".", "")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--only-binary=:all:", "--target", str(folder), "--implementation", "cp", "--abi", f"cp{number}",
        "--python-version", python.version, "--platform", f"{kind}_{python.machine}",
        *(("--platform", f"manylinux2014_{python.machine}") if kind.startswith("many") else ()), f"{name}=={version}",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PIP_SECONDS, check=False, text=True
        )
        reason = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        here = this_python()
        raise EvidenceError(
            f"the image has Python {python.version} ({python.machine}, {python.libc}), here is {here.version} "
            f"({here.machine}, {here.libc}), and the {name} that fits the image can't be had ({reason}): "
            "install unitrack in the image, or run unitrack with the image's version of Python"
        )
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
