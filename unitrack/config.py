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
from typing import Annotated, Any, Literal, Union

import msgspec

from unitrack import _settings_file
from unitrack._settings_file import Key, Origin
from unitrack._settings_layers import Layers, dotted, from_text, near, variables
from unitrack._settings_secrets import is_secret, redacted, refuse_credentials
from unitrack.errors import ConfigError

__all__ = [
    "RUN_VARIABLES",
    "AuditSettings",
    "BackendSettings",
    "ContainerSettings",
    "EvaluateSettings",
    "ExampleMetric",
    "GateSettings",
    "Goal",
    "MetricRule",
    "RequiredFact",
    "Role",
    "Settings",
    "TrainSettings",
    "is_secret",
    "load_settings",
    "redacted",
]

Goal = Literal["maximize", "minimize"]
Role = Literal["target", "guardrail", "budget", "report"]
RunSummary = Literal["last", "min", "max", "best", "mean", "first"]
ExampleMetric = Literal[
    "accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall", "log_loss", "brier", "mae", "mse", "rmse",
    "r2", "roc_auc", "average_precision",
]  # fmt: skip

RequiredFact = Literal[
    "code.clean", "code.commit", "data.snapshot", "data.timestamp", "data.version", "deployment.inputs",
    "deployment.versions", "ensemble.parts", "environment.image", "environment.lock", "environment.packages",
    "features.deterministic", "features.order", "hardware", "model", "params", "predictions", "seeds",
    "training.determinism", "training.order",
]  # fmt: skip

CrispStep = Literal[
    "business_understanding", "data_understanding", "data_preparation", "modeling", "evaluation", "deployment",
]  # fmt: skip

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0)]

RUN_VARIABLES = (
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


class BackendSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A section `[backends.NAME]`: one tracker that runs are sent to."""

    type: str
    """The backend's registered name; NAME of the section unless given."""

    options: Mapping[str, Any] = {}
    """All other keys of the section, handed to the plugin, which checks them."""

    python: str | None = None
    """Interpreter of the environment in which the backend's worker runs; None: this one."""


class ContainerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[train.container]`: the image jobs run in, and what they may use and reach."""

    image: _Name
    """The image by its digest: `name@sha256:...`."""

    engine: Literal["auto", "podman", "docker"] = "auto"
    """The command that runs containers; `auto` takes podman, or else docker."""

    network: Literal["none", "bridge", "host"] = "none"
    """What network jobs have. With any but `none` a result may depend on more than its inputs."""

    memory: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]*[kmg]$")] = "8g"
    """Memory of one job, swap included; one that needs more is ended and no evidence."""

    cpus: _Positive = 1.0
    """How many processors one job may keep busy."""

    pids: Annotated[int, msgspec.Meta(ge=1)] = 512
    """How many processes and threads one job may have at a time."""

    scratch: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]*[kmg]$")] = "1g"
    """Size of `/tmp`, which is in memory and, with the checkout, all a job may write to besides its run."""

    gpus: _Name | None = None
    """GPUs to pass through: `all`, or a device's index or UUID."""


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[train]`: how to run the training again."""

    command: Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1)]
    """Program and arguments, no shell; `{seed}` stands for the seed of the job."""

    seeds: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)] = (0, 1, 2, 3, 4)
    """Seeds in the order in which they are used."""

    inputs: tuple[_Name, ...] = ()
    """Files and folders the training reads, relative to the project; their digests are pinned."""

    timeout: _Positive = 3600.0
    """Seconds after which one job is ended."""

    env: tuple[_Name, ...] = ()
    """Names of the environment variables that jobs may see besides unitrack's own."""

    jobs: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many jobs run at a time; unless given as many containers as fit into this machine, else one."""

    executor: _Name | None = None
    """`process`, `container` or a plugin's; unless given `container` if there is a section for it, else `process`."""

    container: ContainerSettings | None = None
    """The image jobs run in."""


class MetricRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table `[[gate.metrics]]`: what the gate asks of one metric."""

    name: _Name
    """The metric's name as it was logged."""

    goal: Goal
    """`maximize` or `minimize`: which way is better."""

    role: Role = "target"
    """`target` comes first, `guardrail` must not get worse, `budget` is a limit, `report` is shown only."""

    margin: Union[_NotNegative, Literal["auto"], None] = None
    """How much worse is still acceptable, in the metric's unit; `auto` takes it from the noise that is known."""

    relative_margin: _NotNegative | None = None
    """How much worse is still acceptable, as a fraction of the baseline's mean."""

    minimum: float | None = None
    """The least the candidate may come to, whatever the baseline does."""

    maximum: float | None = None
    """The most the candidate may come to, whatever the baseline does; a budget is mostly this."""

    missing: Literal["fail", "undecided"] = "fail"
    """What comes of it when the candidate does not log the metric."""

    nan: Literal["fail", "undecided"] = "fail"
    """What comes of it when the candidate logs NaN or infinity."""

    new: Literal["undecided", "report", "fail"] = "undecided"
    """What comes of it when the candidate alone logs the metric; `report` lets the other metrics decide."""

    slices: tuple[_Name, ...] = ()
    """Columns of the logged predictions: the metric is shown for each of their values, too."""

    smallest_slice: Annotated[int, msgspec.Meta(ge=1)] = 200
    """How many examples a slice needs; smaller ones have no figures."""

    smallest_positives: Annotated[int, msgspec.Meta(ge=1)] = 30
    """How many positive examples a slice needs for a metric that is about them."""

    slices_gate: bool = False
    """Whether a slice that is worse fails the metric; otherwise slices are reported."""

    summary: RunSummary = "last"
    """Which value of a run's series counts; `best` follows the goal."""

    examples: ExampleMetric | None = None
    """Which metric of the logged predictions this is: then both sides are compared example by example, too."""

    predictions: _Name = "predictions"
    """The name under which those predictions were logged."""


class GateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[gate]`: the policy that candidates are judged by."""

    model: _Name | None = None
    """The registered model whose production version is the baseline."""

    seeds: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many seeds to use at most; None: all of `train.seeds`."""

    metrics: tuple[MetricRule, ...] = ()
    """The rules, one a metric."""

    baseline: Literal["rerun", "recorded"] = "rerun"
    """`rerun` trains the baseline again beside the candidate, `recorded` takes the runs it was registered with."""

    missing_baseline: Literal["block", "neutral"] = "block"
    """Whether a candidate is kept out while no production version exists; either way nothing passes."""

    broken_baseline: Literal["block", "neutral", "recorded"] = "block"
    """What a baseline that no longer trains does; `recorded` goes on with the runs it was registered with."""

    undecided: Literal["neutral", "block"] = "neutral"
    """Whether a candidate is kept out that is neither shown to be good enough nor to be worse."""

    history: Annotated[int, msgspec.Meta(ge=0, le=40)] = 20
    """How many degrees of freedom the noise of earlier gates may count for; 0 leaves it out."""

    require: tuple[RequiredFact, ...] = ()
    """Facts that the candidate's runs must have recorded; without one of them the gate fails."""

    max_minutes: _Positive | None = None
    """Minutes on the clock that one gate may train; when they are used up, what is open stays undecided."""

    max_cost: _Positive | None = None
    """Money that the trainings of one gate may cost, counted with `price_per_hour`; then likewise."""

    price_per_hour: _Positive | None = None
    """What an hour of one job costs, in the currency of `max_cost`."""


class EvaluateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[evaluate]`: how others than the candidate measure it, and what tells of a change of measuring."""

    command: tuple[_Name, ...] = ()
    """Program and arguments, run in a clean checkout of the base; without one, training's own metrics count."""

    model: _Name | None = None
    """The name of the model artifact that the command finds at `UNITRACK_EVALUATE_MODEL`."""

    predictions: _Name | None = None
    """The name of the logged predictions that it finds at `UNITRACK_EVALUATE_PREDICTIONS`."""

    inputs: tuple[_Name, ...] = ()
    """Files and folders the command reads that git doesn't keep, such as the test data; pinned by digest."""

    timeout: _Positive = 3600.0
    """Seconds after which one evaluation is ended."""

    env: tuple[_Name, ...] = ()
    """Names of the environment variables it may see besides unitrack's own."""

    files: tuple[_Name, ...] = ("**/*eval*.py", "**/*metric*.py", "**/*scor*.py")
    """Patterns of the files that measure: a candidate that changes one is flagged."""

    data: tuple[_Name, ...] = ("**/test*.csv", "**/test*.parquet", "**/holdout*", "**/test_data/**")
    """Patterns of test data kept in git: a candidate that changes one is flagged."""


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[audit]`: what an audit can't read from runs."""

    notes: Mapping[CrispStep, str] = {}
    """What the owner has to say of the steps of CRISP-DM."""


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys a user may set."""

    project: _Name = "default"
    """What runs belong to; the name of the project's folder unless given."""

    dir: Path | None = None
    """The store, relative to the file that says so; `.unitrack` unless given."""

    mode: Literal["online", "offline", "disabled"] = "online"
    """`online` sends runs to backends while they train, `offline` later, `disabled` keeps nothing."""

    dispatch: Literal["auto", "external"] = "auto"
    """`auto` starts a dispatcher beside training, `external` leaves it to one that serves the whole store."""

    patience: _NotNegative = 900.0
    """Seconds after a run's end in which a dispatcher goes on trying a tracker that is down."""

    durability: Literal["background", "always", "finish"] = "background"
    """When lines reach the disk: twice a second or so, before `log()` returns, or at the end."""

    strict: bool = False
    """Raise in training what would be a warning."""

    console: bool = False
    """Keep what the process prints to stdout and stderr."""

    capture: tuple[_Name, ...] = ("git", "environment", "hardware", "container", "source", "seeds")
    """Names of the collectors to run when a run starts."""

    system_metrics: _NotNegative = 15.0
    """Seconds between two samples of the machine's load; 0 for none."""

    processors: tuple[_Name, ...] = ()
    """Names of the processors that see each event before it is written, in this order."""

    backends: Mapping[str, BackendSettings] = {}
    """The trackers to send runs to, by name."""

    registry: _Name = "local"
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
    seeds = keys.train.seeds if keys.train else ()
    if len(set(seeds)) < len(seeds):
        raise layers.error(("train", "seeds"), "must not hold a seed twice: the same run twice is no new evidence")
