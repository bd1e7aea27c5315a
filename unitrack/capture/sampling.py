"""Sample the machine's load until stdin ends: a program of the standard library alone, run by its path.

    python -I -S sampling.py SECONDS PID FOLDER

The process of captures becomes it when its work is done, which leaves an interpreter of a few megabytes
beside training instead of one with all plugins. It writes one line of JSON a sample. Figures that this
system doesn't tell are left out; all but the GPUs' and the disk's need Linux.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["Sampler", "main"]

_GPU = ("index", "utilization.gpu", "memory.used", "temperature.gpu", "power.draw")
_GPU_SECONDS = 5.0
_SECTOR = 512  # bytes, whatever the disk's own
_WHOLE_DISK = re.compile(r"(?:sd[a-z]+|vd[a-z]+|xvd[a-z]+|hd[a-z]+|nvme\d+n\d+|mmcblk\d+)")
_MEBIBYTE = 1 << 20

Counters = dict[str, float]


class Sampler:
    """Reads counters and tells what became of them since the last time. `root` stands in for `/` in tests."""

    def __init__(self, pid: int, folder: str, root: Path = Path("/")) -> None:
        self._pid, self._folder, self._root = pid, folder, root
        self._smi = shutil.which("nvidia-smi")
        self._before = self._counters()
        self._at = time.monotonic()

    def sample(self, now: float | None = None) -> dict[str, float]:
        """Return the figures since the last sample: shares in percent, sizes in bytes, rates a second."""
        now = time.monotonic() if now is None else now
        seconds, counters = max(now - self._at, 1e-6), self._counters()
        moved = {name: value - self._before[name] for name, value in counters.items() if name in self._before}
        self._before, self._at = counters, now
        figures = dict(_rates(moved, seconds))
        for part in (self._memory, self._disk, self._gpus):
            with suppress(OSError, ValueError, IndexError, KeyError):
                figures.update(part())
        return {name: round(value, 3) for name, value in figures.items()}

    def _counters(self) -> Counters:
        found: Counters = {}
        for part in (self._processor, self._process, self._disks, self._network):
            with suppress(OSError, ValueError, IndexError):
                found.update(part())
        return found

    def _read(self, name: str) -> str:
        return (self._root / "proc" / name).read_text("utf-8", "replace")

    def _processor(self) -> Counters:
        ticks = [int(word) for word in self._read("stat").split("\n", 1)[0].split()[1:9]]
        return {"ticks": sum(ticks), "idle": ticks[3] + ticks[4]}

    def _process(self) -> Counters:
        fields = self._read(f"{self._pid}/stat").rpartition(")")[2].split()
        return {"own": int(fields[11]) + int(fields[12])}

    def _disks(self) -> Counters:
        rows = [line.split() for line in self._read("diskstats").splitlines()]
        whole = [row for row in rows if len(row) > 9 and _WHOLE_DISK.fullmatch(row[2])]
        return {name: sum(int(row[at]) for row in whole) * _SECTOR for name, at in (("read", 5), ("written", 9))}

    def _network(self) -> Counters:
        rows = [line.replace(":", " ").split() for line in self._read("net/dev").splitlines()[2:]]
        outside = [row for row in rows if row and row[0] != "lo"]
        return {name: sum(int(row[at]) for row in outside) for name, at in (("received", 1), ("sent", 9))}

    def _memory(self) -> Counters:
        lines = (line.split() for line in self._read("meminfo").splitlines())
        sizes = {words[0]: int(words[1]) * 1024 for words in lines if len(words) > 1}
        used = sizes["MemTotal:"] - sizes["MemAvailable:"]
        found: Counters = {"memory/used": used, "memory/percent": 100 * used / sizes["MemTotal:"]}
        with suppress(OSError, ValueError, IndexError):
            found["memory/process"] = int(self._read(f"{self._pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return found

    def _disk(self) -> Counters:
        usage = shutil.disk_usage(self._folder)
        return {"disk/percent": 100 * usage.used / usage.total, "disk/free": usage.free}

    def _gpus(self) -> Counters:
        if self._smi is None:
            return {}
        command = [self._smi, f"--query-gpu={','.join(_GPU)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GPU_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            self._smi = None  # it would cost as much the next time
            return {}
        return dict(_gpu_figures(done.stdout.decode("utf-8", "replace")))


def _rates(moved: Counters, seconds: float) -> Iterator[tuple[str, float]]:
    if moved.get("ticks"):
        yield "cpu/percent", 100 * (1 - moved["idle"] / moved["ticks"])
    if "own" in moved:
        yield "cpu/process_percent", 100 * moved["own"] / os.sysconf("SC_CLK_TCK") / seconds
    for counter, name in (
        ("read", "disk/read_per_s"), ("written", "disk/written_per_s"),
        ("received", "network/received_per_s"), ("sent", "network/sent_per_s"),
    ):  # fmt: skip
        if counter in moved:
            yield name, max(0.0, moved[counter]) / seconds


def _gpu_figures(printed: str) -> Iterator[tuple[str, float]]:
    for line in printed.splitlines():
        index, *cells = [cell.strip() for cell in line.split(",")]
        names = ("percent", "memory", "celsius", "watts")
        for name, cell in zip(names, cells, strict=False):
            with suppress(ValueError):  # "[N/A]"
                yield f"gpu/{int(index)}/{name}", float(cell) * (_MEBIBYTE if name == "memory" else 1)


def main(arguments: list[str]) -> int:
    """Print a sample every so many seconds; 0 when stdin has ended."""
    seconds, pid, folder = float(arguments[0]), int(arguments[1]), arguments[2]
    sampler = Sampler(pid, folder)
    while True:
        ready, _, _ = select.select([0], [], [], seconds)
        if ready and not os.read(0, 1024):
            return 0
        line = json.dumps({"type": "sampled", "values": sampler.sample()}) + "\n"
        try:
            os.write(1, line.encode())
        except OSError:  # training is gone
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
