"""Capture the machine: processor, cores, memory, GPUs.

    {"machine": "x86_64", "cpu": "AMD EPYC 7763", "cpu_flags": "avx avx2 fma ...", "cores": 128, "usable_cores": 16,
     "memory": 270582939648, "memory_limit": 68719476736, "gpus": ["NVIDIA A100-SXM4-80GB"],
     "gpu_memory": [85899345920], "gpu_driver": "550.54", "cuda": "12.4"}

Memory is in bytes. `cuda` is the newest version the driver serves; the one that training used is in the capture
`seeds`, where the framework tells it. AMD's GPUs are named by the kernel's
driver. The limits are those of the process's affinity and control group.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["HardwareCollector"]

_SECONDS = 5.0
_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
_CPU_NAMES = ("model name", "hardware", "cpu model", "cpu")  # x86, 32-bit ARM, MIPS, POWER
_MEBIBYTE = 1 << 20
_FLAGS = re.compile(r"^(?:flags|Features|features)\s*:\s*(.+)$", re.MULTILINE)  # x86, ARM, s390
_CUDA = re.compile(r"CUDA(?: UMD)? Version\s*:\s*([0-9.]+)")


class HardwareCollector:
    """Reads what the system tells of itself; `root` stands in for `/` in tests."""

    name = "hardware"

    def __init__(self, root: Path = Path("/"), *, seconds: float = _SECONDS) -> None:
        self._root = root
        self._seconds = seconds

    def collect(self) -> dict[str, Any]:
        """Return what is known of the machine."""
        facts: dict[str, Any] = {
            "machine": platform.machine() or None,
            "cpu": _cpu_model(self._root, self._seconds),
            "cpu_flags": _cpu_flags(self._root),
            "cores": os.cpu_count(),
            "usable_cores": _usable_cores(self._root),
            "memory": _memory(),
            "memory_limit": _number(_read(self._root / "sys/fs/cgroup/memory.max")),
            **(_gpus(self._seconds) or _amd_gpus(self._root)),
        }
        return {name: value for name, value in facts.items() if value is not None}


def _cpu_model(root: Path, seconds: float) -> str | None:
    fields: dict[str, str] = {}
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    named = next((fields[key] for key in _CPU_NAMES if fields.get(key)), "")
    named = named or _output(("sysctl", "-n", "machdep.cpu.brand_string"), seconds) or platform.processor()
    return " ".join(named.split()) or None


def _cpu_flags(root: Path) -> str | None:
    """Return the processor's abilities, sorted; they decide which kernels of a library run, and so the last digits."""
    found = _FLAGS.search(_read(root / "proc/cpuinfo"))
    return " ".join(sorted(found[1].split())) if found else None


def _usable_cores(root: Path) -> float | None:
    """Return how many cores the process may use: its affinity, or its share (`quota period`) if that is less."""
    affinity = getattr(os, "sched_getaffinity", None)
    usable = float(len(affinity(0))) if affinity else float(os.cpu_count() or 0)
    quota, _, period = _read(root / "sys/fs/cgroup/cpu.max").strip().partition(" ")
    if (share := _number(quota)) and (length := _number(period)):
        usable = min(usable, round(share / length, 2))
    return (int(usable) if usable.is_integer() else usable) or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gpus(seconds: float) -> dict[str, Any]:
    rows = [line.split(",") for line in _output(("nvidia-smi", *_QUERY), seconds).splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) == 3]
    if not cells:
        return {}
    sizes = [_number(memory) for _, memory, _ in cells]
    return {
        "gpus": [name for name, _, _ in cells],
        "gpu_memory": [None if size is None else size * _MEBIBYTE for size in sizes],
        "gpu_driver": cells[0][2],
        "cuda": _cuda(seconds),
    }


def _cuda(seconds: float) -> str | None:
    found = _CUDA.search(_output(("nvidia-smi", "-q", "-d", "COMPUTE"), seconds))
    return found[1] if found else None


def _amd_gpus(root: Path) -> dict[str, Any]:
    """Return the GPUs that the kernel's amdgpu driver has made itself known for."""
    cards = sorted((root / "sys/class/drm").glob("card[0-9]*/device/product_name"))
    names = [name for card in cards if (name := _read(card).strip())]
    driver = _read(root / "sys/module/amdgpu/version").strip()
    return {"gpus": names, "gpu_driver": driver or None} if names else {}


def _output(command: tuple[str, ...], seconds: float) -> str:
    """Return what a program prints, or nothing if it isn't there, fails or takes too long."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() else None
