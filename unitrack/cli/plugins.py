"""`unitrack plugins`: what is installed, what it adds, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from unitrack.cli._output import Console, emit, json_option, styled, table
from unitrack.hookspecs import HookSpecs
from unitrack.plugins import PluginInfo, Plugins, load_plugins

__all__ = ["command"]

_BROKEN = 4
_REGISTER = "unitrack_register_"


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    plugins: tuple[PluginInfo, ...]
    adds: dict[str, tuple[str, ...]]
    """Names by noun: backends, processors, commands ..."""
    problems: tuple[str, ...]


@click.command()
@json_option
def command(*, as_json: bool) -> None:
    """List plugins, what they add by name, and what is wrong with them.

    Exits with 4 if a plugin can't be used.
    """
    found = _look(load_plugins())
    emit(found, as_json=as_json, render=lambda console: _render(found, console))
    if found.problems:
        click.get_current_context().exit(_BROKEN)


def _look(plugins: Plugins) -> _Found:
    nouns = [name.removeprefix(_REGISTER) for name in dir(HookSpecs) if name.startswith(_REGISTER)]
    adds: dict[str, Any] = {noun: plugins.named(noun) for noun in nouns}
    adds["commands"] = plugins.commands()
    return _Found(
        plugins=tuple(plugins.distributions()),
        adds={noun: tuple(sorted(names)) for noun, names in adds.items() if names},
        problems=tuple(map(str, plugins.problems)),
    )


def _render(found: _Found, console: Console) -> None:
    rows = [
        (one.name, one.distribution, one.version, styled("broken", "red") if one.error else styled("ok", "green"))
        for one in found.plugins
    ]
    console.print(table(["plugin", "distribution", "version", "state"], rows))
    for noun, names in found.adds.items():
        console.print(f"{noun.replace('_', ' ')}: {', '.join(names)}")
    for problem in found.problems:
        console.print(problem, style="red")
