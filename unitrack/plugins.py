"""Find plugins, call each one alone, and name the one that fails.

Built-in parts and third-party ones come through the same door: `Plugins.register`. Nothing a
plugin does leaves this module as its own exception; it is kept in `Plugins.problems` with the
plugin's distribution and version.
"""

from __future__ import annotations

import difflib
import importlib
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import pluggy

from unitrack.alerts import NotifierBackendFactory
from unitrack.errors import PluginError
from unitrack.hookspecs import HookSpecs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from unitrack.backend import BackendFactory
    from unitrack.config import Settings
    from unitrack.hookspecs import Collector, DatasetResolver, HealthCheck, Processor

__all__ = ["BUILT_IN", "GROUP", "Found", "PluginInfo", "Plugins", "load_plugins"]

GROUP = "unitrack"
BUILT_IN: Mapping[str, str] = {
    "capture": "unitrack.capture.hooks",
    "report": "unitrack.report.formats",
    "rerun": "unitrack.rerun.hooks",
}
"""Name and module of the parts that come with unitrack."""

_OLDEST_PLUGGY = (1, 7)
T = TypeVar("T")


class PluginInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a plugin: where it is from, the hooks it has, and why it isn't used if it isn't."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...] = ()
    error: str | None = None

    @property
    def source(self) -> str:
        """Name the plugin as messages do."""
        return f"plugin {self.name!r} ({self.distribution} {self.version})"


class Found(msgspec.Struct, frozen=True):
    """One object a plugin handed over."""

    plugin: PluginInfo
    value: Any


class Plugins:
    """The plugins of one process. Use `load_plugins` to find those that are installed."""

    def __init__(self) -> None:
        self.problems: list[PluginError] = []
        self._infos: dict[str, PluginInfo] = {}
        # A manager each: pluggy ends a call at the first exception, here nobody ends another's.
        self._managers: dict[str, pluggy.PluginManager] = {}

    # -- coming in -------------------------------------------------------------------------------

    def discover(self, entry_points: Iterable[metadata.EntryPoint] | None = None) -> None:
        """Register every entry point of group `unitrack`; one that fails costs the others nothing."""
        found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        for entry in sorted(found, key=lambda entry: entry.name):
            info = _info_of(entry)
            loaded, plugin = self._guarded(info, "can't be imported", entry.load)
            if loaded:
                self._add(plugin, info)

    def discover_built_in(self, modules: Mapping[str, str] = BUILT_IN) -> None:
        """Register the built-in parts, which higher layers hold: by name, so that nothing here imports them."""
        for name, module in modules.items():
            info = PluginInfo(name=name, distribution="unitrack", version=_version())
            loaded, plugin = self._guarded(info, "can't be imported", partial(importlib.import_module, module))
            if loaded:
                self._add(plugin, info)

    def register(self, plugin: object, name: str) -> None:
        """Take a plugin object that is at hand: a built-in part, or one a test made."""
        self._add(plugin, PluginInfo(name=name, distribution="unitrack", version=_version()))

    def _add(self, plugin: object, info: PluginInfo) -> None:
        if info.name in self._infos:
            self._refuse(info, f"has the name of {self._infos[info.name].source}: uninstall one of them")
            return
        self._infos[info.name] = info
        self._guarded(info, "can't be registered", partial(self._register, plugin, info))

    def _register(self, plugin: object, info: PluginInfo) -> None:
        if any(manager.is_registered(plugin) for manager in self._managers.values()):
            raise PluginError("is registered already under another name")
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(HookSpecs)
        manager.register(plugin, name=info.name)
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(_unknown_hook(plugin, manager) or str(error)) from None
        callers = manager.get_hookcallers(plugin) or []
        if not callers:
            raise PluginError("has no hook: mark its functions with @unitrack.hookimpl")
        self._managers[info.name] = manager
        hooks = tuple(sorted(caller.name for caller in callers))
        self._infos[info.name] = msgspec.structs.replace(info, hooks=hooks)

    # -- calling ---------------------------------------------------------------------------------

    def collect(self, hook: str, **arguments: Any) -> list[Found]:
        """Call `hook` in each plugin alone and return what they hand over, in order of registration.

        A plugin that raises, in the call or while its answer is iterated, is left out and named
        in `problems`.
        """
        found = []
        for info, answer in self._answers(hook, arguments):
            values: list[Any]
            whole, values = self._guarded(info, f"failed in {hook}", partial(list, answer))
            if whole:
                found += [Found(info, value) for value in values]
        return found

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell every plugin; what they answer is ignored."""
        for _ in self._answers(hook, arguments):
            pass

    def to_json(self, value: object) -> Any:
        """Return the first plugin's JSON-safe form of `value`, or None when no plugin knows its type."""
        return next((answer for _, answer in self._answers("unitrack_to_json", {"value": value})), None)

    def _answers(self, hook: str, arguments: Mapping[str, Any]) -> Iterator[tuple[PluginInfo, Any]]:
        for name, manager in self._managers.items():
            info = self._infos[name]
            if hook not in info.hooks:
                continue
            call = getattr(manager.hook, hook)
            done, answer = self._guarded(info, f"failed in {hook}", partial(call, **arguments))
            if done:
                answers = [answer] if _first_result(call) else answer
                yield from ((info, one) for one in answers if one is not None)

    # -- what they hand over ---------------------------------------------------------------------

    def named(self, noun: str) -> dict[str, Any]:
        """Return what `unitrack_register_<noun>` yields, by each object's `name`.

        A name two plugins claim is nobody's: it is left out and told in `problems`.
        """
        return {name: found.value for name, found in self._unique(noun).items()}

    def _unique(self, noun: str) -> dict[str, Found]:
        hook = f"unitrack_register_{noun}"
        claims: dict[str, list[Found]] = {}
        for found in self.collect(hook):
            name = getattr(found.value, "name", None)
            if isinstance(name, str) and name:
                claims.setdefault(name, []).append(found)
            else:
                self._refuse(found.plugin, f"gave an object without a name to {hook}: {found.value!r:.80}")
        return self._settle(noun, claims)

    def _settle(self, noun: str, claims: Mapping[str, list[Found]]) -> dict[str, Found]:
        for name, founds in claims.items():
            if len(founds) > 1:
                sources = " and ".join(found.plugin.source for found in founds)
                self._note(f"{name!r} among the {noun} is claimed by {sources}: uninstall all but one of them")
        return {name: founds[0] for name, founds in claims.items() if len(founds) == 1}

    def backends(self) -> dict[str, BackendFactory]:
        """Return the factories of backends by name, those of notifiers among them."""
        notifiers = self.named("notifiers").items()
        return {**{name: NotifierBackendFactory(factory) for name, factory in notifiers}, **self.named("backends")}

    def backend(self, name: str) -> BackendFactory:
        """Return the factory `name`. Raises PluginError that says why there is none and what to install."""
        factories = self.backends()
        if name in factories:
            return factories[name]
        near = difflib.get_close_matches(name, factories, n=1)
        known = ", ".join(sorted(factories)) or "none"
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        message = (
            f"no backend {name!r} can be used in this Python, found: {known}{meant}. Install its plugin, usually "
            f"`pip install unitrack-{name}`, or name an environment that has it with `python` in its section"
        )
        raise PluginError(". ".join([*map(str, self.problems), message]))

    def collectors(self) -> list[Collector]:
        """Return the collectors of facts."""
        return list(self.named("collectors").values())

    def processors(self) -> list[Processor]:
        """Return the processors of events."""
        return list(self.named("processors").values())

    def dataset_resolvers(self) -> list[DatasetResolver]:
        """Return those who know versions of data, in the order in which they are asked."""
        return list(self.named("dataset_resolvers").values())

    def health_checks(self) -> list[HealthCheck]:
        """Return the health checks."""
        return list(self.named("health_checks").values())

    def commands(self) -> dict[str, Any]:
        """Return the click commands plugins add, by name; one name claimed twice is nobody's."""
        hook = "unitrack_add_commands"
        claims: dict[str, list[Found]] = {}
        for info, commands in self._answers(hook, {}):
            added: dict[str, Any]
            whole, added = self._guarded(info, f"failed in {hook}", partial(dict, commands))
            for name, command in added.items() if whole else ():
                claims.setdefault(name, []).append(Found(info, command))
        return {name: found.value for name, found in self._settle("commands", claims).items()}

    # -- what is known ---------------------------------------------------------------------------

    def distributions(self) -> list[PluginInfo]:
        """Return every plugin that was found; the ones that can't be used say why."""
        return list(self._infos.values())

    def _guarded(self, info: PluginInfo, what: str, call: Callable[[], T]) -> tuple[bool, T]:
        try:
            return True, call()
        except PluginError as error:
            self._refuse(info, str(error))
        except (Exception, SystemExit) as error:  # foreign code: named and kept, never passed on
            self._refuse(info, f"{what}: {type(error).__name__}: {error}")
        return False, cast("T", None)

    def _refuse(self, info: PluginInfo, reason: str) -> None:
        known = self._infos.setdefault(info.name, info)
        self._infos[info.name] = msgspec.structs.replace(known, error=known.error or reason)
        self._note(f"{info.source} {reason}")

    def _note(self, text: str) -> None:
        if text not in map(str, self.problems):  # each time a hook is called, it may fail the same way
            self.problems.append(PluginError(text))


def load_plugins(
    settings: Settings | None = None, *, entry_points: Iterable[metadata.EntryPoint] | None = None
) -> Plugins:
    """Find and register the built-in parts and what is installed.

    With the setting `strict` the first plugin that can't be used raises PluginError, and so does
    a pluggy older than 1.7.
    """
    version = tuple(int(part) for part in pluggy.__version__.split(".")[:2])
    if version < _OLDEST_PLUGGY:
        raise PluginError(f"unitrack needs pluggy 1.7 or later, found {pluggy.__version__}: pip install -U pluggy")
    plugins = Plugins()
    plugins.discover_built_in()
    plugins.discover(entry_points)
    if settings is not None and settings.strict and plugins.problems:
        raise plugins.problems[0]
    return plugins


def _info_of(entry: metadata.EntryPoint) -> PluginInfo:
    dist = entry.dist
    if dist is None:
        return PluginInfo(name=entry.name, distribution=entry.value, version="of unknown version")
    return PluginInfo(name=entry.name, distribution=dist.name, version=dist.version)


def _version() -> str:
    try:
        return metadata.version("unitrack")
    except metadata.PackageNotFoundError:  # run from a checkout that isn't installed
        return "(not installed)"


def _unknown_hook(plugin: object, manager: pluggy.PluginManager) -> str | None:
    """Say which hook of `plugin` doesn't exist, and which one its author may have meant."""
    known = [name for name in dir(HookSpecs) if name.startswith("unitrack_")]
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None or options.get("optionalhook") or (options.get("specname") or name) in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        return f"has an unknown hook {name!r}" + (f": did you mean {near[0]!r}?" if near else "")
    return None


def _first_result(call: pluggy.HookCaller) -> bool:
    return bool(call.spec and call.spec.opts.get("firstresult"))
