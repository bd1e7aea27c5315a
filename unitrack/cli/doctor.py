"""`unitrack doctor`: show what is set up, and say what is wrong and how to mend it."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from unitrack.cli import installed_version
from unitrack.cli._output import Console, emit, json_option, size, styled, table
from unitrack.config import BackendSettings, Settings, load_settings, redacted
from unitrack.errors import PluginError
from unitrack.hookspecs import HealthCheck, HealthResult
from unitrack.plugins import Plugins, load_plugins

__all__ = ["command"]

_LEAST_FREE = 100_000_000
_PATIENCE = 10.0
_BROKEN = 4


class _Setting(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    value: Any
    source: str


class _StoreState(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    exists: bool
    writable: bool
    free: int | None
    """Bytes free for the user where the store is."""


class _Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    ok: bool
    message: str


class _Findings(msgspec.Struct, frozen=True, kw_only=True):
    healthy: bool
    unitrack: str
    python: str
    interpreter: str
    file: str | None
    settings: tuple[_Setting, ...]
    store: _StoreState
    plugins: tuple[Any, ...]
    checks: tuple[_Check, ...]
    problems: tuple[str, ...]


@click.command()
@json_option
def command(*, as_json: bool) -> None:
    """Show every setting and where it is from, the store and the plugins, and what is wrong with them.

    Exits with 0 if all is well, 2 if the settings are wrong, 4 if something else is.
    """
    findings = _examine(load_settings(), load_plugins())
    emit(findings, as_json=as_json, render=lambda console: _render(findings, console))
    if not findings.healthy:
        click.get_current_context().exit(_BROKEN)


def _examine(settings: Settings, plugins: Plugins) -> _Findings:
    store = _store_state(settings.store)
    checks = tuple(_ask(check.name, check) for check in plugins.health_checks())
    problems = (
        *_store_problems(store),
        *_backend_problems(settings, plugins),
        *_processor_problems(settings, plugins),
        *(f"{check.name}: {check.message}" for check in checks if not check.ok),
    )
    problems = (*problems, *map(str, plugins.problems))  # last: the questions before may have added to them
    return _Findings(
        healthy=not problems,
        unitrack=installed_version(),
        python=platform.python_version(),
        interpreter=sys.executable,
        file=None if settings.file is None else str(settings.file),
        settings=tuple(_settings(settings)),
        store=store,
        plugins=tuple(plugins.distributions()),
        checks=checks,
        problems=tuple(dict.fromkeys(problems)),
    )


def _settings(settings: Settings) -> Iterator[_Setting]:
    for key, value in _leaves(settings):
        if key not in ("root", "file") and not key.startswith("sources."):
            source = settings.sources.get(key, "default")
            yield _Setting(key=key, value=_shown(key, value), source=source)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, BackendSettings):
        value = {"type": value.type, "python": value.python, **value.options}
    elif isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if not isinstance(value, Mapping) or (not value and key):
        yield key, value
        return
    for name, item in value.items():
        yield from _leaves(item, f"{key}.{name}" if key else name)


def _shown(key: str, value: Any) -> Any:
    tree = msgspec.to_builtins(value, enc_hook=str)
    return redacted(key.rpartition(".")[2], tree)


def _store_state(path: Path) -> _StoreState:
    standing = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        free = shutil.disk_usage(standing).free
    except OSError:
        free = None
    return _StoreState(path=str(path), exists=path.is_dir(), writable=_is_writable(standing), free=free)


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _store_problems(store: _StoreState) -> Iterator[str]:
    if not store.writable:
        yield (
            f"nothing can be written to the store {store.path}: "
            "change its owner or mode, or set `dir` or UNITRACK_DIR to another folder"
        )
    if store.free is not None and store.free < _LEAST_FREE:
        yield (
            f"only {size(store.free)} are free where the store {store.path} is: "
            "make room, or set `dir` or UNITRACK_DIR to another disk"
        )


def _backend_problems(settings: Settings, plugins: Plugins) -> Iterator[str]:
    for name, backend in settings.backends.items():
        if backend.python is not None:
            if shutil.which(backend.python) is None:
                yield (
                    f"backends.{name}.python is {backend.python}, which is no program that can be run: "
                    "create that environment or correct the path"
                )
            continue
        try:
            plugins.backend(backend.type)
        except PluginError as error:
            yield f"backends.{name}: {error}"


def _processor_problems(settings: Settings, plugins: Plugins) -> Iterator[str]:
    known = [processor.name for processor in plugins.processors()] if settings.processors else []
    for name in settings.processors:
        if name not in known:
            found = ", ".join(sorted(known)) or "none"
            yield (
                f"processors names {name!r}, which no plugin offers (found: {found}): install its plugin or take it out"
            )


def _ask(name: str, check: HealthCheck) -> _Check:
    """Call a plugin's check alone; one that fails or hangs is a failed check."""
    answers: list[_Check] = []
    thread = threading.Thread(target=lambda: answers.append(_answer(name, check.check)), daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    late = _Check(name=name, ok=False, message=f"no answer within {_PATIENCE:.0f} s; ask its plugin's maintainers")
    return answers[0] if answers else late


def _answer(name: str, call: Callable[[], HealthResult]) -> _Check:
    try:
        result = call()
        return _Check(name=name, ok=bool(result.ok), message=str(result.message))
    except Exception as error:
        return _Check(name=name, ok=False, message=f"the check itself failed: {type(error).__name__}: {error}")


def _render(findings: _Findings, console: Console) -> None:
    console.print(f"unitrack {findings.unitrack}, Python {findings.python} ({findings.interpreter})")
    console.print(f"settings: {findings.file or 'no file in this folder or above it'}")
    rows = [(each.key, _toml(each.value), each.source) for each in findings.settings]
    console.print(table(["setting", "value", "source"], rows))
    store = findings.store
    state = f"{'exists' if store.exists else 'not there yet'}, {'writable' if store.writable else 'not writable'}"
    console.print(f"store: {store.path} ({state}, {size(store.free)} free)")
    if findings.plugins:
        found = [(each.name, each.distribution, each.version, each.error or "ok") for each in findings.plugins]
        console.print(table(["plugin", "distribution", "version", "state"], found))
    if findings.checks:
        answers = [(each.name, _verdict(ok=each.ok), each.message) for each in findings.checks]
        console.print(table(["check", "result", "message"], answers))
    for problem in findings.problems:
        console.print(f"problem: {problem}", style="red")
    if findings.healthy:
        console.print("nothing is wrong", style="green")


def _toml(value: Any) -> str:
    return "-" if value is None else msgspec.json.encode(value).decode()


def _verdict(*, ok: bool) -> object:
    return styled("ok", "green") if ok else styled("failed", "red")
