"""The verdict: the one result of a gate, as a file that anyone can read, check and reproduce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import jsonschema
import msgspec

from unitrack import schemas
from unitrack.errors import EvidenceError
from unitrack.files import write_atomic
from unitrack.gate.decide import overall
from unitrack.gate.decision import MetricDecision, Outcome, Value
from unitrack.gate.lineage import Lineage
from unitrack.gate.policy import Policy, policy_digest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "SCHEMA_VERSION",
    "Cost",
    "Curve",
    "Flag",
    "Requirement",
    "SeedRun",
    "Subject",
    "TestSetUse",
    "Tier",
    "Verdict",
    "Waiver",
    "decode",
    "encode",
    "exit_code",
    "read_verdict",
    "verdict_path",
    "write_verdict",
]

SCHEMA_VERSION: Final = 2

Tier = Literal["bit_equal", "within_1e-6", "statistically_equal", "not_reproduced"]
"""How well training reproduces: what two trainings of one commit and seed had in common."""

_BEYOND_MORE_SEEDS = {"baseline_missing", "baseline_not_finite", "unlike_hardware"}
_LARGEST = 16 << 20  # bytes; a verdict may come from a stranger's pull request


class SeedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The run that gave a side's values for a seed, and the key of the job that made it."""

    seed: int
    run: str
    job: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was judged: a commit, how it was named (`HEAD`, `digits@production`), and its runs."""

    commit: str
    reference: str
    model: str | None = None
    runs: tuple[SeedRun, ...]


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One metric's series of one run, thinned for a picture: steps and values of equal length."""

    metric: str
    side: Literal["candidate", "baseline"]
    seed: int
    steps: tuple[float, ...]
    values: tuple[Value, ...]


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A change of what judges instead of what is judged: a reader should look at it first."""

    kind: Literal["policy", "evaluation", "test_data"]
    text: str


class Waiver(msgspec.Struct, frozen=True, kw_only=True):
    """Lets one metric fail for a reason, up to a moment. `scope` is a commit or branch; times are epoch seconds."""

    id: str
    metric: str
    scope: str
    reason: str
    who: str
    created: float
    expires: float


class TestSetUse(msgspec.Struct, frozen=True, kw_only=True):
    """How many verdicts have used the evaluation data of this digest; each wears it out a little."""

    digest: str
    verdicts: int
    warning: str | None = None


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about the candidate's runs that the policy demands, such as `data.version`, and where it was found."""

    name: str
    satisfied: bool
    evidence: str


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence cost: seconds of training, jobs trained for it and jobs whose results were known."""

    seconds: float
    trained: int
    cached: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's outcome with all its evidence. `created` is epoch seconds, given by the caller.

    `key` is the SHA-256 over all it depends on. `seeds` are those that were trained, `seeds_planned` how many
    the policy allows. `mode` tells whether the baseline was trained again or its recorded runs were used.
    `blocks` says whether this outcome keeps the candidate out: an undecided one does if the policy says so.
    """

    schema: Literal[2] = SCHEMA_VERSION
    key: str = ""
    blocks: bool = True
    mode: Literal["rerun", "recorded"] = "rerun"
    seeds_planned: int | None = None
    tier: Tier | None = None
    flags: tuple[Flag, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    test_set: TestSetUse | None = None
    cost: Cost | None = None
    curves: tuple[Curve, ...] = ()
    outcome: Outcome
    summary: str
    created: float
    unitrack: str
    policy: Policy
    policy_sha256: str
    policy_source: str
    candidate: Subject
    baseline: Subject
    seeds: tuple[int, ...]
    metrics: tuple[MetricDecision, ...]
    lineage: Lineage
    warnings: tuple[str, ...] = ()
    reproduce: str


def exit_code(verdict: Verdict) -> int:
    """Return what `unitrack gate` ends with: 0 pass, 1 fail, 3 undecided, 4 if more seeds would not help."""
    if verdict.outcome != "undecided":
        return 0 if verdict.outcome == "pass" else 1
    open_ = [one for one in verdict.metrics if one.decision == "undecided"]
    return 4 if any(one.cause in _BEYOND_MORE_SEEDS for one in open_) else 3


def encode(verdict: Verdict) -> bytes:
    """Return the verdict as JSON text: equal verdicts, equal bytes."""
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n"


def decode(data: bytes, *, source: str = "verdict.json") -> Verdict:
    """Check a verdict against its schema and return it. Raises EvidenceError naming `source`."""
    if len(data) > _LARGEST:
        raise EvidenceError(f"{source}: {len(data):,} bytes are too many for a verdict")
    try:
        tree = msgspec.json.decode(data)
        jsonschema.Draft202012Validator(schemas.load("verdict")).validate(tree)
        verdict = msgspec.convert(tree, Verdict)
    except jsonschema.ValidationError as error:
        raise EvidenceError(f"{source}: no verdict: {error.json_path}: {error.message[:300]}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"{source}: no verdict: {error}") from error
    contradiction = _contradiction(verdict)
    if contradiction is not None:
        raise EvidenceError(f"{source}: contradicts itself: {contradiction}")
    return verdict


def _contradiction(verdict: Verdict) -> str | None:
    """Say where a verdict's parts don't fit together; that they do proves nothing about its numbers."""
    if policy_digest(verdict.policy) != verdict.policy_sha256:
        return "its policy has another SHA-256 than it says"
    named = [(rule.name, rule.role) for rule in verdict.policy.metrics]
    if [(one.name, one.role) for one in verdict.metrics] != named:
        return "its metrics are not those of its policy"
    if not any(rule.gates for rule in verdict.policy.metrics) or overall(verdict.metrics) != verdict.outcome:
        return f"it says {verdict.outcome}, its metrics don't"
    if any({len(one.candidate), len(one.baseline)} != {len(verdict.seeds)} for one in verdict.metrics):
        return "its metrics have other seeds than it says"
    return None


def read_verdict(path: Path) -> Verdict:
    """Read and check `verdict.json`. Raises EvidenceError if it is missing or not a verdict."""
    try:
        return decode(path.read_bytes(), source=str(path))
    except OSError as error:
        raise EvidenceError(f"{path}: can't be read: {error.strerror}; run `unitrack gate` first") from error


def verdict_path(store: Path, key: str) -> Path:
    """Return where the store keeps the verdict of a gate."""
    return store / "gate" / key / "verdict.json"


def write_verdict(path: Path, verdict: Verdict, report: str) -> Path:
    """Write the verdict and, beside it, `report.md`; return the report's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode(verdict))
    beside = path.with_name("report.md")
    write_atomic(beside, report.encode())
    return beside
