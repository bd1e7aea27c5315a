"""A broken plugin is named with its distribution and version, and costs nobody else anything."""

from __future__ import annotations

import sys
from importlib import metadata
from types import SimpleNamespace

import click
import pluggy
import pytest

from unitrack.errors import PluginError
from unitrack.hookspecs import hookimpl
from unitrack.plugins import BUILT_IN, PluginInfo, Plugins, load_plugins


def named(name):
    return SimpleNamespace(name=name)


def plugin(**hooks):
    made = SimpleNamespace()
    for hook, function in hooks.items():
        function.__name__ = hook
        setattr(made, hook, hookimpl(function))
    return made


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install distributions made here, found as pip's are found."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, code, version="1.0"):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(f"[unitrack]\n{name} = {name}_module\n")
        (tmp_path / f"{name}_module.py").write_text(code)
        sys.modules.pop(f"{name}_module", None)

    return install


GOOD = """
from types import SimpleNamespace
from unitrack.hookspecs import hookimpl

@hookimpl
def unitrack_register_backends():
    return [SimpleNamespace(name="good")]
"""


def load(*names):
    return load_plugins(
        entry_points=[entry for entry in metadata.entry_points(group="unitrack") if entry.name in names]
    )


def test_installed_plugins_are_found_with_their_distribution_version_and_hooks(install):
    install("alpha", GOOD, "2.5")
    plugins = load("alpha")
    assert plugins.distributions()[-1] == PluginInfo(
        name="alpha", distribution="alpha", version="2.5", hooks=("unitrack_register_backends",)
    )
    assert set(plugins.backends()) == {"good"}
    assert plugins.problems == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import a_module_that_is_not_there", "can't be imported: ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", "can't be imported: SystemExit"),
        ("this is no python", "can't be imported: SyntaxError"),
        ("x = 1", "has no hook: mark its functions with @unitrack.hookimpl"),
        (GOOD.replace("backends():", "backend():"), "unknown hook 'unitrack_register_backend': did you mean 'unitrack_register_backends'"),
        (GOOD.replace("backends():", "backends(surprise):"), "can't be registered"),
    ],
)  # fmt: skip
def test_one_that_cannot_be_used_is_named_and_the_rest_goes_on(install, code, reason):
    install("broken", code, "0.3")
    install("fine", GOOD)
    plugins = load("broken", "fine")
    (problem,) = plugins.problems
    assert "plugin 'broken' (broken 0.3)" in str(problem)
    assert reason in str(problem)
    assert set(plugins.backends()) == {"good"}
    errors = {info.name: info.error for info in plugins.distributions()}
    assert reason in errors["broken"]
    assert errors["fine"] is None


def test_a_hook_that_raises_or_whose_answer_does_is_left_out():
    def raises():
        raise KeyError("oh")

    def raises_later():
        yield named("half")
        raise ValueError("later")

    plugins = Plugins()
    plugins.register(plugin(unitrack_register_collectors=raises), "first")
    plugins.register(plugin(unitrack_register_collectors=raises_later), "second")
    plugins.register(plugin(unitrack_register_collectors=lambda: [named("good")]), "third")
    assert [one.name for one in plugins.collectors()] == ["good"]
    assert [str(one).split(" in ")[0] for one in plugins.problems] == [
        f"plugin '{name}' (unitrack {plugins.distributions()[0].version}) failed" for name in ("first", "second")
    ]
    assert "KeyError: 'oh'" in str(plugins.problems[0])


def test_what_has_no_name_or_is_no_list_is_told():
    plugins = Plugins()
    plugins.register(plugin(unitrack_register_backends=lambda: [object()]), "nameless")
    plugins.register(plugin(unitrack_register_backends=lambda: 3), "listless")
    assert plugins.backends() == {}
    first, second = map(str, plugins.problems)
    assert ("listless" in first) != ("listless" in second)
    assert "without a name" in first + second


def test_a_name_claimed_twice_is_nobodys_and_both_distributions_are_named(install):
    install("one", GOOD)
    install("two", GOOD, "2.0")
    plugins = load("one", "two")
    assert plugins.backends() == {}
    with pytest.raises(PluginError, match="claimed by plugin 'one' \\(one 1.0\\) and plugin 'two' \\(two 2.0\\)"):
        plugins.backend("good")


def test_a_command_claimed_twice_is_nobodys():
    plugins = Plugins()
    for name in ("one", "two"):
        plugins.register(plugin(unitrack_add_commands=lambda: {"same": click.Command("same")}), name)
    plugins.register(plugin(unitrack_add_commands=lambda: 3), "wrong")
    assert plugins.commands() == {}
    assert "claimed by" in str(plugins.problems[-1])


def test_two_plugins_of_one_name_are_told_apart():
    plugins = Plugins()
    plugins.register(plugin(unitrack_register_backends=lambda: [named("a")]), "same")
    plugins.register(plugin(unitrack_register_backends=lambda: [named("b")]), "same")
    assert set(plugins.backends()) == {"a"}
    assert "has the name of" in str(plugins.problems[0])


def test_one_object_registered_twice_is_told_and_stays_usable():
    one = plugin(unitrack_register_backends=lambda: [named("a")])
    plugins = Plugins()
    plugins.register(one, "first")
    plugins.register(one, "second")
    assert set(plugins.backends()) == {"a"}
    assert "registered already" in str(plugins.problems[0])


def test_a_notification_reaches_everyone_in_spite_of_one_that_raises():
    told = []

    def raises(run_id):
        raise RuntimeError(run_id)

    def note(run_id):
        told.append(run_id)

    plugins = Plugins()
    plugins.register(plugin(unitrack_run_started=raises), "first")
    plugins.register(plugin(unitrack_run_started=note), "second")
    plugins.notify("unitrack_run_started", run_id="one", folder=None)
    assert told == ["one"]


def test_an_unknown_backend_names_the_nearest_and_what_to_install():
    plugins = Plugins()
    plugins.register(plugin(unitrack_register_backends=lambda: [named("mlflow")]), "mine")
    with pytest.raises(PluginError, match=r"did you mean 'mlflow'\?.*pip install unitrack-mlfow"):
        plugins.backend("mlfow")


def test_with_strict_the_first_problem_is_raised(install):
    install("broken", "raise ValueError('no')")
    entries = [entry for entry in metadata.entry_points(group="unitrack") if entry.name == "broken"]
    with pytest.raises(PluginError, match="ValueError: no"):
        load_plugins(SimpleNamespace(strict=True), entry_points=entries)


def test_an_old_pluggy_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(pluggy, "__version__", "1.6.0")
    with pytest.raises(PluginError, match="pip install -U pluggy"):
        load_plugins(entry_points=[])


def test_the_built_in_parts_come_through_the_same_door():
    plugins = load_plugins(entry_points=[])
    assert plugins.problems == []
    assert [info.name for info in plugins.distributions()] == list(BUILT_IN)
    assert {"git", "environment", "hardware"} <= {one.name for one in plugins.collectors()}


def test_what_is_installed_here_is_sound():
    assert load_plugins().problems == []
