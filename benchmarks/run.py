"""Measure unitrack and its peers side by side: `python benchmarks/run.py --help`."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _isolate
import _own
import _tables
import psutil
from _tools import TOOLS

_SCENARIOS = ("latency", "busy", "volume", "kill", "own")
_QUICK = 0.02
_LATEST = Path(__file__).parent / "results" / "latest.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, print tables, keep the figures; 1 when something failed."""
    options = _parser().parse_args(arguments)
    scale = _QUICK if options.quick else 1.0
    tools = {name: _about(name) for name in options.tools}
    results: dict[str, Any] = {
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "quick": options.quick, "machine": _machine(options.folder), "tools": tools, "scenarios": {},
    }  # fmt: skip
    for scenario in options.scenarios:
        results["scenarios"][scenario] = _scenario(scenario, tools, options, scale)
        _write(options.json, json.dumps(results, indent=1) + "\n")
        for sheet in _tables.tables({**results, "scenarios": {scenario: results["scenarios"][scenario]}}):
            _tables.show(sheet)
    if options.markdown:
        _write(options.markdown, _tables.as_markdown(results))
    return 1 if _failed(results["scenarios"]) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), metavar="TOOL", help=" ".join(TOOLS))
    parser.add_argument("--scenarios", nargs="+", choices=_SCENARIOS, default=_SCENARIOS, help="all of them by default")
    parser.add_argument("--own", nargs="+", choices=_own.SCENARIOS, default=list(_own.SCENARIOS), help="parts of `own`")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the calls: does it work, not how fast")
    parser.add_argument("--json", type=Path, default=_LATEST, metavar="FILE", help="where to keep the figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown too")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="the disk to measure on")
    return parser


def _scenario(name: str, tools: dict[str, Any], options: argparse.Namespace, scale: float) -> dict[str, Any]:
    if name == "own":
        return {part: _alone(options.folder, f"_own:{part}", scale=scale) for part in options.own}
    return {tool: _one(name, tool, about, options.folder, scale) for tool, about in tools.items()}


def _one(scenario: str, tool: str, about: dict[str, Any], folder: Path, scale: float) -> dict[str, Any]:
    if about["version"] is None:
        return {"missing": f"{TOOLS[tool].distribution} is not installed"}
    if scenario == "volume":
        widths = (("one", 1), ("ten", 10))
        return {key: _alone(folder, "_peers:volume", tool=tool, scale=scale, width=width) for key, width in widths}
    return _alone(folder, f"_peers:{scenario}", tool=tool, scale=scale)


def _alone(folder: Path, function: str, **keywords: Any) -> dict[str, Any]:
    """Call a scenario in a process of its own, in a fresh folder."""
    print(f"# {function} {keywords}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder, ignore_cleanup_errors=True) as fresh:
        return _isolate.call(function, folder=fresh, **keywords)


def _about(tool: str) -> dict[str, Any]:
    entry = TOOLS[tool]
    return {"title": entry.title, "version": _version(tool, entry.distribution)}


def _version(tool: str, distribution: str | None) -> str | None:
    """Return the version, or None when the tool isn't installed."""
    if distribution is None:
        return platform.python_version()
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "source tree" if tool == "unitrack" else None


def _machine(folder: Path) -> dict[str, Any]:
    return {
        "python": platform.python_version(), "system": platform.platform(), "processor": _processor(),
        "cores": os.cpu_count(), "memory GB": round(psutil.virtual_memory().total / 1e9),
        "filesystem": _filesystem(folder), "load at start": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _filesystem(folder: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _failed(scenarios: dict[str, Any]) -> bool:
    """Tell whether a scenario has an error anywhere; a tool that is missing is none."""
    return any(isinstance(value, dict) and _failed(value) or key == "error" for key, value in scenarios.items())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
