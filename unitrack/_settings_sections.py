"""The sections of `unitrack.toml`: what each key means, and what it may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

import msgspec

__all__ = [
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
    "Name",
    "NotNegative",
    "RequiredFact",
    "Role",
    "RunSummary",
    "TrainSettings",
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

Name = Annotated[str, msgspec.Meta(min_length=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


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

    image: Name
    """The image by its digest, `name@sha256:...`, or by a tag that `unitrack.lock` pins."""

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

    gpus: Name | None = None
    """GPUs to pass through: `all`, or a device's index or UUID."""


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[train]`: how to run the training again."""

    command: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    """Program and arguments, no shell; `{seed}` stands for the seed of the job."""

    seeds: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)] = (0, 1, 2, 3, 4)
    """Seeds in the order in which they are used."""

    inputs: tuple[Name, ...] = ()
    """Files and folders the training reads, relative to the project; their digests are pinned."""

    timeout: _Positive = 3600.0
    """Seconds after which one job is ended."""

    env: tuple[Name, ...] = ()
    """Names of the environment variables that jobs may see besides unitrack's own."""

    jobs: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many jobs run at a time; unless given as many containers as fit into this machine, else one."""

    executor: Name | None = None
    """`process`, `container` or a plugin's; unless given `container` if there is a section for it, else `process`."""

    container: ContainerSettings | None = None
    """The image jobs run in."""


class MetricRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table `[[gate.metrics]]`: what the gate asks of one metric."""

    name: Name
    """The metric's name as it was logged."""

    goal: Goal
    """`maximize` or `minimize`: which way is better."""

    role: Role = "target"
    """`target` comes first, `guardrail` must not get worse, `budget` is a limit, `report` is shown only."""

    margin: Union[NotNegative, Literal["auto"], None] = None
    """How much worse is still acceptable, in the metric's unit; `auto` takes it from the noise that is known."""

    relative_margin: NotNegative | None = None
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

    slices: tuple[Name, ...] = ()
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

    predictions: Name = "predictions"
    """The name under which those predictions were logged."""


class GateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[gate]`: the policy that candidates are judged by."""

    model: Name | None = None
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

    command: tuple[Name, ...] = ()
    """Program and arguments, run in a clean checkout of the base; without one, training's own metrics count."""

    model: Name | None = None
    """The name of the model artifact that the command finds at `UNITRACK_EVALUATE_MODEL`."""

    predictions: Name | None = None
    """The name of the logged predictions that it finds at `UNITRACK_EVALUATE_PREDICTIONS`."""

    inputs: tuple[Name, ...] = ()
    """Files and folders the command reads that git doesn't keep, such as the test data; pinned by digest."""

    timeout: _Positive = 3600.0
    """Seconds after which one evaluation is ended."""

    env: tuple[Name, ...] = ()
    """Names of the environment variables it may see besides unitrack's own."""

    files: tuple[Name, ...] = ("**/*eval*.py", "**/*metric*.py", "**/*scor*.py")
    """Patterns of the files that measure: a candidate that changes one is flagged."""

    data: tuple[Name, ...] = ("**/test*.csv", "**/test*.parquet", "**/holdout*", "**/test_data/**")
    """Patterns of test data kept in git: a candidate that changes one is flagged."""


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[audit]`: what an audit can't read from runs."""

    notes: Mapping[CrispStep, str] = {}
    """What the owner has to say of the steps of CRISP-DM."""


class DriftRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table `[[check.drift]]`: how one feature is tested, where it differs from the section's own keys."""

    feature: Name
    """The column's name."""

    test: Literal["auto", "ks", "wasserstein", "chi2", "jensen_shannon"] = "auto"
    """`auto` takes `ks` for numbers and `jensen_shannon` for categories."""

    threshold: _Positive | None = None
    """The size from which a difference is drift, in the test's own unit."""

    missing: _Positive | None = None
    """By how much the share of missing values may differ."""

    role: Literal["guardrail", "report"] = "guardrail"
    """`report` shows its drift, and lets the others decide."""


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[check]`: how the model in production is watched."""

    command: tuple[Name, ...] = ()
    """Program and arguments that measure the model on fresh data; without one only drift is tested."""

    model: Name | None = None
    """The version to watch, such as `digits@production`, which is that of `gate.model` unless given."""

    reference: Name | None = None
    """The data it was trained on, a file; unless given what its run logged."""

    fresh: Name | None = None
    """The fresh data, a file; unless given what the command logs."""

    inputs: tuple[Name, ...] = ()
    """Other files and folders the command reads that git doesn't keep; pinned by digest."""

    timeout: _Positive = 3600.0
    """Seconds after which the command is ended."""

    env: tuple[Name, ...] = ()
    """Names of the environment variables it may see besides unitrack's own."""

    ignore: tuple[Name, ...] = ()
    """Columns that are no features: ids, times, the label."""

    level: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.01
    """The false discovery rate over all tests of drift."""

    threshold: _Positive = 0.1
    """The size from which a difference of a feature's values is drift."""

    missing: _Positive = 0.05
    """By how much the share of missing values may differ."""

    unseen: _Positive = 0.01
    """The share of rows that may be in categories which the reference lacks."""

    rows: Annotated[int, msgspec.Meta(ge=100)] = 100_000
    """How many rows of each side are read at most, drawn with a fixed seed."""

    drift: tuple[DriftRule, ...] = ()
    """Rules of single features."""
