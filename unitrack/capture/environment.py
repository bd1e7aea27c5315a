"""Capture the software a run ran on: Python, system, installed packages, chosen variables.

{"python": "3.12.4", "implementation": "CPython", "executable": "python3", "os": "Linux-6.1-x86_64",
 "unitrack": "0.1.0", "packages": {"numpy": "2.1.0"}, "variables": {"CUDA_VISIBLE_DEVICES": "0"}}
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from unitrack.capture.redact import HIDDEN, is_secret_name, redact

__all__ = ["VARIABLES", "EnvironmentCollector"]

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

    def __init__(self, variables: Mapping[str, str] | None = None, path: Sequence[str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables
        self._path = path

    def collect(self) -> dict[str, Any]:
        """Return what this interpreter is and has installed."""
        packages = installed_packages(sys.path if self._path is None else self._path)
        return {
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": Path(sys.executable or "python").name,
            "os": platform.platform(),
            "unitrack": packages.get("unitrack", "unknown"),
            "packages": packages,
            "variables": _chosen(self._variables),
        }


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
                found.setdefault(_SEPARATORS.sub("-", name).lower(), version)
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
