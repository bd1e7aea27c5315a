"""`unitrack backends`: which are configured, whether their workers start, and environments for them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from unitrack.cli._output import Console, emit, json_option, note, styled, table
from unitrack.config import BackendSettings, Settings, load_settings, redacted
from unitrack.dispatch.environment import EnvironmentPlan, check_worker, make_environment, plan_environment
from unitrack.errors import ConfigError
from unitrack.files import write_atomic

__all__ = ["command"]

_REMAINS = 4


class _Backend(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    type: str
    plugin: str | None
    python: str | None
    """None: the one that runs this."""
    problem: str | None
    options: Mapping[str, object]


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """List the configured backends, and whether their workers start.

    The trackers themselves are not asked. Exits with 4 if a worker can't start.
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_settings()
    found = [_look(name, backend, settings) for name, backend in settings.backends.items()]
    emit(found, as_json=as_json, render=lambda console: _render(found, console))
    if any(one.problem is not None for one in found):
        context.exit(_REMAINS)


def _look(name: str, backend: BackendSettings, settings: Settings) -> _Backend:
    check = check_worker(backend, root=settings.root)
    return _Backend(
        name=name, type=backend.type, plugin=check.plugin, python=backend.python, problem=check.problem,
        options=redacted(name, backend.options),
    )  # fmt: skip


def _render(found: list[_Backend], console: Console) -> None:
    if not found:
        console.print("no backend is configured: add a section [backends.NAME] to unitrack.toml")
        return
    rows = [
        (one.name, one.type, one.plugin, one.python or "this one",
         styled("starts", "green") if one.problem is None else styled("can't start", "red"))
        for one in found
    ]  # fmt: skip
    console.print(table(["backend", "type", "plugin", "python", "worker"], rows))
    for one in found:
        if one.problem is not None:
            console.print(f"{one.name}: {one.problem}", style="red")


@command.command()
@click.argument("name")
@click.option("--path", type=click.Path(path_type=Path), help="The folder to make. Default: .unitrack-envs/NAME.")
@click.option("--python", metavar="PY", help="The Python to make it with. Default: this one.")
@click.option("--with", "extra", metavar="REQUIREMENT", multiple=True, help="Install this as well, again for more.")
@click.option("--write", is_flag=True, help="Put the line into unitrack.toml instead of printing it.")
@click.option("--dry-run", is_flag=True, help="Only print what would be run.")
def setup(
    *, name: str, path: Path | None, python: str | None, extra: tuple[str, ...], write: bool, dry_run: bool
) -> None:
    """Make an environment for the worker of the backend NAME.

    It gets this unitrack and the backend's plugin with its client, from where these are installed here, else from
    the package index. Training needs neither then. An environment that is there is brought up to date.
    """
    settings = load_settings()
    backend = settings.backends.get(name, BackendSettings(type=name))
    folder = path if path is not None else settings.root / ".unitrack-envs" / name
    plan = plan_environment(backend.type, folder.absolute(), python=python, extra=extra)
    if dry_run:
        for each in plan.commands:
            click.echo(shlex.join(each))
        return
    make_environment(plan, note)
    _check(name, backend, plan, settings)
    line = f'python = "{_shown(plan.python, settings.root)}"'
    if write:
        _write(settings, name, line)
    else:
        note(f"put this line into unitrack.toml, in [backends.{name}]:")
        click.echo(line)


def _check(name: str, backend: BackendSettings, plan: EnvironmentPlan, settings: Settings) -> None:
    """Start the worker there. Options a section lacks so far are no fault of the environment's."""
    here = msgspec.structs.replace(backend, python=str(plan.python))
    check = check_worker(here, root=settings.root)
    if check.problem is not None and name in settings.backends:
        raise click.ClickException(f"the environment is made, but its worker can't start: {check.problem}")
    note(f"its worker starts, with {check.plugin}" if check.plugin else f"its worker says: {check.problem}")


def _shown(python: Path, root: Path) -> str:
    """Return the path as the settings file takes it: from its folder where it lies in there."""
    try:
        return python.relative_to(root.absolute()).as_posix()
    except ValueError:
        return python.as_posix()


def _write(settings: Settings, name: str, line: str) -> None:
    """Put the line into the section [backends.NAME], in place of an earlier one; all else stays as it is."""
    file = settings.file
    if file is None or file.name != "unitrack.toml":
        raise ConfigError(f"there is no unitrack.toml to write to: add the section [backends.{name}] with {line}")
    text = file.read_text(encoding="utf-8")
    file_line = re.compile(rf"(?m)^[ \t]*\[[ \t]*backends[ \t]*\.[ \t]*[\"']?{re.escape(name)}[\"']?[ \t]*\][^\n]*\n?")
    found = file_line.search(text)
    if found is None:
        changed = f"{text.rstrip()}\n\n[backends.{name}]\n{line}\n".lstrip()
    else:
        end = re.compile(r"(?m)^[ \t]*\[").search(text, found.end())
        body = text[found.end() : end.start() if end else len(text)]
        body, count = re.subn(r"(?m)^[ \t]*python[ \t]*=[^\n]*$", lambda _: line, body, count=1)
        head = text[: found.end()].rstrip("\n") + "\n"
        changed = head + (body if count else f"{line}\n{body}") + (text[end.start() :] if end else "")
    write_atomic(file, changed.encode())
    note(f"{file}: [backends.{name}] {line}")
