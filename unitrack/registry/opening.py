"""Opening the registry that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from unitrack.errors import PluginError
from unitrack.journal.layout import registry_dir
from unitrack.registry.base import Registry
from unitrack.registry.local import LocalRegistry

if TYPE_CHECKING:
    from unitrack.config import Settings
    from unitrack.plugins import Plugins

__all__ = ["LOCAL", "open_registry"]

LOCAL = "local"


def open_registry(
    settings: Settings, name: str | None = None, *, plugins: Callable[[], Plugins] | None = None
) -> Registry:
    """Return the registry `name`, the one of the settings for None.

    `plugins` gives the plugins when they are loaded already. Raises PluginError for a name that nobody offers,
    ConfigError for a wrong option.
    """
    name = name or settings.registry
    if name == LOCAL:
        return local_registry(settings.store)
    found = _load(plugins)
    factories = found.named("registries")
    if name not in factories:
        known = ", ".join((LOCAL, *sorted(factories)))
        message = (
            f"no registry {name!r} can be used in this Python, found: {known}. Install its plugin, usually "
            f"`pip install unitrack-{name}`"
        )
        raise PluginError(". ".join([*map(str, found.problems), message]))
    registry: Registry = factories[name].open(settings.registries.get(name, {}))
    return registry


def local_registry(store: Path) -> LocalRegistry:
    """Return the registry of a store."""
    return LocalRegistry(registry_dir(store))


def _load(plugins: Callable[[], Plugins] | None) -> Plugins:
    if plugins is not None:
        return plugins()
    from unitrack.plugins import load_plugins

    return load_plugins()
