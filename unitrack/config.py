"""The settings: where they come from, what they are, and what is wrong with them.

Read from `unitrack.toml`, or `[tool.unitrack]` of `pyproject.toml`, in the current folder or
its nearest ancestor that has one. `UNITRACK_*` variables win over the file (`UNITRACK_MODE`,
nested keys with a double underscore: `UNITRACK_BACKENDS__MLFLOW__TRACKING_URI`; lists with
commas or as JSON; an empty variable counts as unset), arguments win over both.
An unknown key, a value of the wrong type or an unknown variable is a ConfigError that names
the place and the key that was probably meant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from unitrack import _settings_file
from unitrack._settings_file import Key, Origin
from unitrack._settings_layers import Layers, dotted, from_text, near, variables
from unitrack._settings_secrets import is_secret, redacted, refuse_credentials
from unitrack._settings_sections import (
    AuditSettings,
    BackendSettings,
    CheckSettings,
    ContainerSettings,
    CrispStep,
    DriftRule,
    EvaluateSettings,
    ExampleMetric,
    GateSettings,
    Goal,
    MetricRule,
    Name,
    NotNegative,
    RequiredFact,
    Role,
    RunSummary,
    TrainSettings,
)
from unitrack.errors import ConfigError

__all__ = [
    "RUN_VARIABLES",
    "AuditSettings",
    "BackendSettings",
    "CheckSettings",
    "ContainerSettings",
    "CrispStep",
    "DriftRule",
    "EvaluateSettings",
    "ExampleMetric",
    "GateSettings",
    "Goal",
    "MetricRule",
    "RequiredFact",
    "Role",
    "RunSummary",
    "Settings",
    "TrainSettings",
    "is_secret",
    "load_settings",
    "redacted",
]

RUN_VARIABLES = (
    "UNITRACK_EVALUATE_DATA",
    "UNITRACK_EVALUATE_MODEL",
    "UNITRACK_EVALUATE_PREDICTIONS",
    "UNITRACK_EVALUATE_RUN",
    "UNITRACK_GROUP",
    "UNITRACK_IMAGE",
    "UNITRACK_NAME",
    "UNITRACK_PARENT",
    "UNITRACK_RESUME",
    "UNITRACK_RUN_ID",
    "UNITRACK_SEED",
    "UNITRACK_TAGS",
)
"""Variables that describe one run instead of the project; `init()` and the commands of `[evaluate]` read them."""


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys a user may set."""

    project: Name = "default"
    """What runs belong to; the name of the project's folder unless given."""

    dir: Path | None = None
    """The store, relative to the file that says so; `.unitrack` unless given."""

    mode: Literal["online", "offline", "disabled"] = "online"
    """`online` sends runs to backends while they train, `offline` later, `disabled` keeps nothing."""

    dispatch: Literal["auto", "external"] = "auto"
    """`auto` starts a dispatcher beside training, `external` leaves it to one that serves the whole store."""

    patience: NotNegative = 900.0
    """Seconds after a run's end in which a dispatcher goes on trying a tracker that is down."""

    durability: Literal["background", "always", "finish"] = "background"
    """When lines reach the disk: twice a second or so, before `log()` returns, or at the end."""

    strict: bool = False
    """Raise in training what would be a warning."""

    console: bool = False
    """Keep what the process prints to stdout and stderr."""

    capture: tuple[Name, ...] = ("git", "environment", "hardware", "container", "source", "seeds")
    """Names of the collectors to run when a run starts."""

    system_metrics: NotNegative = 15.0
    """Seconds between two samples of the machine's load; 0 for none."""

    processors: tuple[Name, ...] = ()
    """Names of the processors that see each event before it is written, in this order."""

    backends: Mapping[str, BackendSettings] = {}
    """The trackers to send runs to, by name."""

    registry: Name = "local"
    """The model registry: `local` is the store's own, any other a plugin's."""

    registries: Mapping[str, Mapping[str, Any]] = {}
    """Options of registries, by name; each plugin checks its own."""

    train: TrainSettings | None = None
    """How to run the training again."""

    gate: GateSettings | None = None
    """The policy that candidates are judged by."""

    evaluate: EvaluateSettings | None = None
    """How candidates are measured by others than themselves."""

    audit: AuditSettings | None = None
    """What an audit can't read from runs."""

    check: CheckSettings | None = None
    """How the model in production is watched."""


class Settings(_Keys, frozen=True, kw_only=True):
    """All settings of a project, checked. `sources` tells for each dotted key where its value is from."""

    root: Path = Path()
    """The folder of the file the settings are from; without one, the current folder."""

    file: Path | None = None
    """The file the settings are from."""

    sources: Mapping[str, str] = {}
    """Dotted key to `default`, `argument`, a variable's name or `file:line`."""

    @property
    def store(self) -> Path:
        """Return the absolute path of the store.

        Without the key `dir` it is `.unitrack` beside the settings file, or else in the nearest
        folder from here upwards that has one, or else here.
        """
        if self.dir is not None:
            return self.dir
        root = Path(os.path.abspath(self.root))
        folders = (root, *root.parents) if self.file is None else ()
        return next((at / ".unitrack" for at in folders if (at / ".unitrack").is_dir()), root / ".unitrack")


def load_settings(
    start: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Load the settings that hold in the folder `start` (the current one).

    `overrides` are arguments: dotted or nested keys, None for not given. Relative paths are
    taken from the folder of the file that holds them, otherwise from `start`. Raises ConfigError.
    """
    here = Path(os.path.abspath(start or Path()))
    found = _settings_file.find(here)
    root = here if found is None else found.path.parent
    layers = Layers()
    if found is not None:
        refuse_credentials(found)
        layers.put((), found.tree, found.origin)
    _add_environment(layers, os.environ if env is None else env)
    _add_arguments(layers, overrides or {})
    _resolve_paths(layers, root=root, here=here)
    values = {"project": root.name or "default", **layers.tree}
    backends = _backends(layers, values.pop("backends", {}))
    keys = layers.struct(_Keys, values)
    _check(layers, keys)
    return Settings(
        **{**{name: getattr(keys, name) for name in keys.__struct_fields__}, "backends": backends},
        root=root,
        file=None if found is None else found.path,
        sources={**_sources(keys, layers.sources()), **_rule_sources(layers)},
    )


def _sources(keys: _Keys, given: Mapping[str, str]) -> dict[str, str]:
    """Return the label of every key: the one given, or `default`."""
    defaults = dict.fromkeys(_leaves(keys), "default")
    if any(key.startswith("backends.") for key in given):
        del defaults["backends"]
    return {**defaults, **given}


def _rule_sources(layers: Layers) -> dict[str, str]:
    """Return the label of each key of the rules, which are no keys of their own."""
    gate: Any = layers.tree.get("gate")
    rules = gate.get("metrics", ()) if isinstance(gate, dict) else ()
    keys = [("gate", "metrics", n) for n in range(len(rules))]
    inside = [(*key, name) for key, rule in zip(keys, rules, strict=True) for name in rule]
    return {dotted(key): layers.origin(key).label for key in (*keys, *inside)}


def _leaves(struct: msgspec.Struct, prefix: str = "") -> Iterator[str]:
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _add_environment(layers: Layers, env: Mapping[str, str]) -> None:
    own = [name for name, text in env.items() if text and name.startswith("UNITRACK_")]
    own = [name for name in own if name not in RUN_VARIABLES and not name.startswith("UNITRACK_TESTS_")]
    known = {_variable(key): (key, kind) for key, kind in variables(_Keys)} if own else {}
    for name in sorted(own):
        key, kind = known.get(name) or _option(name, layers.tree.get("backends"), known)
        layers.put(key, from_text(env[name], kind), lambda _, name=name: Origin(label=name))  # type: ignore[misc]


def _variable(key: Key) -> str:
    return "UNITRACK_" + "__".join(map(str, key)).upper()


def _option(name: str, sections: Any, known: Iterable[str]) -> tuple[Key, Any]:
    """Return the key that `UNITRACK_BACKENDS__NAME__OPTION` sets, spelled as in the file if it is there."""
    prefix, *parts = name.removeprefix("UNITRACK_").split("__")
    if prefix != "BACKENDS" or len(parts) < 2 or not all(parts):
        hint = near(name, [*known, *RUN_VARIABLES])
        raise ConfigError(f"the environment variable {name} means nothing to unitrack{hint}", key=name)
    key: Key = ("backends",)
    for part in parts:
        spelled = {re.sub(r"\W", "_", str(known)).upper(): known for known in sections or ()}
        key = (*key, spelled.get(part, part.lower()))
        sections = sections.get(key[-1]) if isinstance(sections, dict) else None
        sections = sections if isinstance(sections, dict) else None
    return key, str if len(key) == 3 and key[-1] in ("type", "python") else Any


def _add_arguments(layers: Layers, overrides: Mapping[str, Any]) -> None:
    for name, value in overrides.items():
        if value is not None:
            layers.put(tuple(name.split(".")), value, lambda _: Origin(label="argument"))


def _resolve_paths(layers: Layers, *, root: Path, here: Path) -> None:
    """Make paths absolute, without following links: a virtual environment's python is one."""
    backends = layers.tree.get("backends")
    sections = backends.items() if isinstance(backends, dict) else ()
    holders = [
        (layers.tree, ("dir",)),
        *((section, ("backends", name, "python")) for name, section in sections),
    ]
    for holder, key in holders:
        value = holder.get(key[-1]) if isinstance(holder, dict) else None
        if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
            continue
        base = here if layers.origin(key).file is None else root
        path = os.path.abspath(base / Path(value).expanduser())
        if key == ("dir",):
            holder["dir"] = Path(path)
        elif os.path.basename(value) != value:
            holder["python"] = path


def _backends(layers: Layers, sections: Any) -> dict[str, BackendSettings]:
    if not isinstance(sections, Mapping):
        raise layers.error(("backends",), f"must be a table of sections, not {sections!r:.80}")
    return {name: _backend(layers, name, section) for name, section in sections.items()}


def _backend(layers: Layers, name: str, section: Any) -> BackendSettings:
    if not isinstance(section, Mapping):
        raise layers.error(("backends", name), f"must be a section [backends.{name}], not {section!r:.80}")
    own = {"type": name, **{key: section[key] for key in ("type", "python") if key in section}}
    options = {key: value for key, value in section.items() if key not in ("type", "python")}
    return layers.struct(BackendSettings, {**own, "options": options}, ("backends", name))


def _check(layers: Layers, keys: _Keys) -> None:
    """Raise ConfigError for values that are right alone and wrong together."""
    rules = keys.gate.metrics if keys.gate else ()
    names = [(rule.name, rule.summary) for rule in rules]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise layers.error(
                ("gate", "metrics", position, "name"), f"{name[0]!r} has a rule already; keep one of the two"
            )
    if keys.gate and keys.gate.max_cost is not None and keys.gate.price_per_hour is None:
        raise layers.error(("gate", "max_cost"), "needs price_per_hour beside it: what an hour of one job costs")
    features = [rule.feature for rule in keys.check.drift] if keys.check else []
    for position, feature in enumerate(features):
        if feature in features[:position]:
            raise layers.error(("check", "drift", position, "feature"), f"{feature!r} has a rule already; keep one")
    seeds = keys.train.seeds if keys.train else ()
    if len(set(seeds)) < len(seeds):
        raise layers.error(("train", "seeds"), "must not hold a seed twice: the same run twice is no new evidence")
