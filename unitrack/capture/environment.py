"""Capture the software a run ran on: Python, system, installed packages, lock files, chosen variables.

{"python": "3.12.4", "implementation": "CPython", "executable": "python3", "os": "Linux-6.1-x86_64",
 "unitrack": "0.1.0", "packages": {"numpy": "2.1.0"}, "packages_sha256": "<hex>",
 "package_hashes": {"ours": "git:<commit>", "torch": "sha256:<hex>"}, "locks": {"uv.lock": "sha256:<hex>"},
 "variables": {"CUDA_VISIBLE_DEVICES": "0"}}

A package has a hash where its installer left one: of an archive or a commit it was installed from, or of a
conda package. `packages_sha256` is one digest over all packages' lists of files with their hashes (`RECORD`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from unitrack.capture.redact import HIDDEN, is_secret_name, redact

__all__ = ["LOCK_FILES", "VARIABLES", "EnvironmentCollector"]

LOCK_FILES = (
    "unitrack.lock", "uv.lock", "poetry.lock", "pdm.lock", "pixi.lock", "conda-lock.yml", "pipfile.lock", "pylock.toml",
    "requirements.lock", "requirements.txt", "constraints.txt",
)  # fmt: skip
"""Files that pin what is installed, in lower case."""

VARIABLES = re.compile(
    r"CUDA_(VISIBLE_DEVICES|LAUNCH_BLOCKING|DEVICE_ORDER)|CUBLAS_WORKSPACE_CONFIG|NVIDIA_TF32_OVERRIDE|HIP_VISIBLE_DEVICES"
    r"|ROCR_VISIBLE_DEVICES|NCCL_[A-Z0-9_]+|OMP_[A-Z0-9_]+|MKL_[A-Z0-9_]+|OPENBLAS_NUM_THREADS|KMP_[A-Z0-9_]+"
    r"|PYTHONHASHSEED|PYTHONOPTIMIZE|TF_DETERMINISTIC_OPS|TF_ENABLE_ONEDNN_OPTS|XLA_FLAGS|JAX_[A-Z0-9_]+|PYTORCH_[A-Z0-9_]+"
    r"|TORCH_[A-Z0-9_]+|RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|NODE_RANK|MASTER_ADDR|MASTER_PORT"
    r"|SLURM_(JOB_ID|JOB_NAME|JOB_PARTITION|ARRAY_JOB_ID|ARRAY_TASK_ID|PROCID|LOCALID|NODEID|NTASKS|NNODES|CPUS_PER_TASK)"
    r"|CONDA_DEFAULT_ENV|CI|GITHUB_(ACTIONS|REPOSITORY|REF|SHA|RUN_ID|RUN_ATTEMPT|WORKFLOW|JOB|EVENT_NAME)"
    r"|CI_(COMMIT_SHA|COMMIT_REF_NAME|PIPELINE_ID|JOB_ID|PROJECT_PATH)|KUBERNETES_SERVICE_HOST|HOSTNAME|TZ|LANG|LC_ALL"
)
"""The variables that are kept, by whole name: what moves results or says where a job ran. All others stay out."""

_LONGEST = 2000
_DIST_INFO = ".dist-info"
_EGG_INFO = ".egg-info"
_SEPARATORS = re.compile(r"[-_.]+")


class EnvironmentCollector:
    """Reads the interpreter, the folders of packages and the variables; runs no program."""

    name = "environment"

    def __init__(
        self,
        variables: Mapping[str, str] | None = None,
        path: Sequence[str] | None = None,
        folder: Path | None = None,
        prefix: Path | None = None,
    ) -> None:
        self._variables = os.environ if variables is None else variables
        self._path = path
        self._folder = folder
        self._prefix = Path(sys.prefix) if prefix is None else prefix

    def collect(self) -> dict[str, Any]:
        """Return what this interpreter is and has installed."""
        path = sys.path if self._path is None else self._path
        packages = installed_packages(path)
        found = {
            "package_hashes": {**conda_hashes(self._prefix), **package_hashes(path)},
            "locks": lock_files(self._folder or Path.cwd()),
        }
        return {
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": Path(sys.executable or "python").name,
            "os": platform.platform(),
            "unitrack": packages.get("unitrack", "unknown"),
            "packages": packages,
            "packages_sha256": packages_digest(path),
            **{name: value for name, value in found.items() if value},
            "variables": _chosen(self._variables),
        }


def lock_files(folder: Path) -> dict[str, str]:
    """Return the digest of each lock file in the nearest folder, from here to the repository's root, that has one."""
    for at in (folder, *folder.parents):
        names = [name for name in _listing(str(at)) if name.lower() in LOCK_FILES]
        found = {name: f"sha256:{digest}" for name in names if (digest := _sha256(at / name))}
        if found or (at / ".git").exists():
            return found
    return {}


def package_hashes(path: Sequence[str]) -> dict[str, str]:
    """Return what packages were installed from, where the installer wrote it down (PEP 610): archive or commit."""
    found: dict[str, str] = {}
    for name, folder in _dist_infos(path):
        try:
            origin = json.loads((folder / "direct_url.json").read_bytes())
            archive, vcs = origin.get("archive_info") or {}, origin.get("vcs_info") or {}
            digest = (archive.get("hashes") or {}).get("sha256") or str(archive.get("hash", "")).partition("sha256=")[2]
        except (OSError, ValueError, AttributeError):  # most packages have none
            continue
        if digest or vcs.get("commit_id"):
            found.setdefault(name, f"sha256:{digest}" if digest else f"{vcs.get('vcs', 'vcs')}:{vcs['commit_id']}")
    return found


def conda_hashes(prefix: Path) -> dict[str, str]:
    """Return the digests of the packages that conda installed under `prefix`."""
    found: dict[str, str] = {}
    for entry in _listing(str(prefix / "conda-meta")):
        if entry.endswith(".json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                about = json.loads((prefix / "conda-meta" / entry).read_bytes())
                found[_normal(about["name"])] = f"sha256:{about['sha256']}"
    return found


def packages_digest(path: Sequence[str]) -> str:
    """Return one SHA-256 over the names of all packages and the hashes of all their files, as installers list them."""
    records = {name: _sha256(folder / "RECORD") or "" for name, folder in reversed(list(_dist_infos(path)))}
    return hashlib.sha256("\n".join(f"{name} {records[name]}" for name in sorted(records)).encode()).hexdigest()


def _dist_infos(path: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for folder in path:
        for entry in _listing(folder or "."):
            if entry.endswith(_DIST_INFO) and (name := _package(folder, entry)[0]):
                yield _normal(name), Path(folder or ".") / entry


def _normal(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def installed_packages(path: Sequence[str]) -> dict[str, str]:
    """Return normalised name to version of what is installed in the folders of `path`; the first found counts.

    A wheel's folder is named after both, so nothing is read: parsing the metadata of hundreds
    of packages would hold the interpreter lock beside training.
    """
    found: dict[str, str] = {}
    for folder in path:
        for entry in _listing(folder or "."):
            name, version = _package(folder, entry)
            if name and version:
                found.setdefault(_normal(name), version)
    return dict(sorted(found.items()))


def _listing(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # a zip file, or a folder that isn't there
        return []


def _package(folder: str, entry: str) -> tuple[str, str]:
    if entry.endswith(_DIST_INFO):
        name, _, version = entry.removesuffix(_DIST_INFO).rpartition("-")
        return name, version
    if not entry.endswith(_EGG_INFO):
        return "", ""
    try:
        old = metadata.Distribution.at(Path(folder or ".") / entry).metadata
    except (OSError, ValueError):
        return "", ""
    return _field(old, "Name"), _field(old, "Version")


def _field(headers: metadata.PackageMetadata, name: str) -> str:
    values = headers.get_all(name) or [""]
    return str(values[0])


def _chosen(variables: Mapping[str, str]) -> dict[str, str]:
    chosen = {name: value for name, value in variables.items() if VARIABLES.fullmatch(name)}
    return {
        name: HIDDEN if is_secret_name(name) else redact(value)[:_LONGEST] for name, value in sorted(chosen.items())
    }
