"""`unitrack lock`: pin what trainings depend on and their commit doesn't say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from unitrack.cli._output import Console, emit, json_option, note, styled, table
from unitrack.cli._training import further_inputs, versions_of
from unitrack.config import Settings, load_settings
from unitrack.errors import ConfigError, UsageError
from unitrack.files import write_atomic
from unitrack.plugins import load_plugins
from unitrack.rerun.executors.engine import find_engine
from unitrack.rerun.git import find_repository
from unitrack.rerun.inputs import pin_inputs
from unitrack.rerun.lock import LOCK_FILE, Drift, Lock, drift, encode, observe, read_lock

__all__ = ["command"]

_SHOWN = 19  # characters of a digest: sha256: and twelve


@click.command(name="lock")
@click.option("--check", is_flag=True, help="Write nothing; end with 1 if the lock is out of date.")
@click.option("--upgrade", is_flag=True, help="Ask the registry again what the image's tag stands for.")
@json_option
def command(*, check: bool, upgrade: bool, as_json: bool) -> None:
    """Pin what trainings depend on in unitrack.lock, beside the settings.

    That is: the image of [train.container] by digest, inputs outside of git by content and version, files that pin
    packages, and the commands. Commit it. An image that is pinned stays until its name in the settings changes, or
    `--upgrade` is given. `rerun` and `gate` refuse to train while the lock is out of date.
    """
    settings = load_settings()
    known = read_lock(settings.root)
    if check and known is None:
        raise UsageError(f"there is no {settings.root / LOCK_FILE}: make it with `unitrack lock`")
    now = _observe(settings, None if upgrade else known, look=not check)
    found = drift(known or Lock(), now)
    if not check and (known is None or found):
        _write(settings.root / LOCK_FILE, encode(now))
    if as_json:
        emit(found if check else now, as_json=True, render=lambda _: None)
    else:
        _show(settings.root / LOCK_FILE, found, check=check, new=known is None)
    if check and found:
        click.get_current_context().exit(1)


def _observe(settings: Settings, known: Lock | None, *, look: bool) -> Lock:
    """Return the lock as it should be; without `look` no registry is asked."""
    if settings.train is None:
        raise ConfigError("there is no section [train]: nothing to lock", key="train")
    container = settings.train.container
    names = (*settings.train.inputs, *further_inputs(settings))
    resolve = versions_of(load_plugins(settings))
    inputs = pin_inputs(find_repository(settings.root), settings.root.resolve(), names, resolve)

    def pin(tagged: str) -> str:
        note(f"lock: asking for {tagged}")
        return find_engine("auto" if container is None else container.engine).pin(tagged)

    return observe(settings, inputs=inputs.pinned, pin=pin if look else None, known=known)


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error


def _show(path: Path, found: Sequence[Drift], *, check: bool, new: bool) -> None:
    def render(console: Console) -> None:
        if not found:
            console.print(f"{path} is up to date")
            return
        columns = ("what", "pinned" if new else "locked", "now")
        rows = [(one.what, styled(_short(one.locked), "dim"), _short(one.now)) for one in found]
        console.print(table(columns, rows) if not new else table(("what", "pinned"), [(a, c) for a, _, c in rows]))
        words = "is out of date: run `unitrack lock` and commit it, or put things back"
        console.print(f"{path} {words}" if check else f"wrote {path}: commit it")

    emit(None, as_json=False, render=render)


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    words = [word[: word.find("sha256:") + _SHOWN] if "sha256:" in word else word for word in value.split(" ")]
    return " ".join(words)
