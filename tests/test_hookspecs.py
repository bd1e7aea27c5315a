"""Every hook works when a plugin has it, and its docstring is the manual."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from unitrack.hookspecs import DatasetVersion, HealthResult, HookSpecs, hookimpl
from unitrack.plugins import Plugins

HOOKS = sorted(name for name in vars(HookSpecs) if name.startswith("unitrack_"))
REGISTER = "unitrack_register_"
NOTIFY = {
    "unitrack_run_started": {"run_id": "one", "folder": Path("runs/one")},
    "unitrack_run_finished": {"run_id": "one", "folder": Path("runs/one"), "status": "finished"},
    "unitrack_backend_failed": {"run_id": "one", "backend": "mlflow", "reason": "down"},
    "unitrack_verdict_reached": {"verdict": Path("verdict.json"), "outcome": "pass"},
}


class Thing:
    """Stands for anything a plugin registers."""

    name = "thing"

    def collect(self):
        return {"answer": 42}

    def __call__(self, event):
        return event

    def create(self, options):
        return None

    def resolve(self, uri):
        return DatasetVersion(uri=uri, version="v1") if uri.startswith("thing://") else None

    def check(self):
        return HealthResult(ok=True, message="fine")

    def notify(self, title, text, level):
        pass


def plugin_with(hook, function):
    function.__name__ = hook
    return SimpleNamespace(**{hook: hookimpl(function)})


@pytest.mark.parametrize("hook", HOOKS)
def test_its_docstring_says_what_where_what_an_exception_does_and_shows_an_example(hook):
    doc = inspect.getdoc(getattr(HookSpecs, hook))
    summary, _, rest = doc.partition("\n\n")
    assert re.match(r"(Return|Take note) .*[.:]", summary)
    assert re.search(r"Called (in|by) .*(process|worker)", rest, re.DOTALL)
    assert "exception" in rest
    assert re.search(r"Example: `[^`]+`", rest)


@pytest.mark.parametrize("hook", HOOKS)
def test_its_signature_is_typed(hook):
    signature = inspect.signature(getattr(HookSpecs, hook))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(
        parameter.annotation is not inspect.Parameter.empty
        for name, parameter in signature.parameters.items()
        if name != "self"
    )


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook.startswith(REGISTER)])
def test_what_it_registers_is_handed_over_by_name(hook):
    thing = Thing()

    def implementation():
        yield thing

    plugins = Plugins()
    plugins.register(plugin_with(hook, implementation), "mine")
    assert plugins.problems == []
    assert plugins.named(hook.removeprefix(REGISTER)) == {"thing": thing}


@pytest.mark.parametrize("hook", sorted(NOTIFY))
def test_what_it_notifies_of_arrives_whole(hook):
    told = []
    parameters = ", ".join(NOTIFY[hook])
    scope = {"told": told}
    exec(f"def implementation({parameters}): told.append(dict({', '.join(f'{p}={p}' for p in NOTIFY[hook])}))", scope)
    plugins = Plugins()
    plugins.register(plugin_with(hook, scope["implementation"]), "mine")
    plugins.notify(hook, **NOTIFY[hook])
    assert told == [NOTIFY[hook]]


def test_to_json_takes_the_first_answer():
    plugins = Plugins()
    plugins.register(plugin_with("unitrack_to_json", lambda value: None), "passes")
    plugins.register(plugin_with("unitrack_to_json", lambda value: {"z": abs(value)}), "knows")
    assert plugins.to_json(3 + 4j) == {"z": 5.0}


def test_add_commands_adds_commands():
    command = click.Command("hello")
    plugins = Plugins()
    plugins.register(plugin_with("unitrack_add_commands", lambda: {"hello": command}), "mine")
    assert plugins.commands() == {"hello": command}


def test_every_hook_is_tried_here():
    tried = {hook for hook in HOOKS if hook.startswith(REGISTER)} | set(NOTIFY)
    assert {*tried, "unitrack_to_json", "unitrack_add_commands"} == set(HOOKS)
