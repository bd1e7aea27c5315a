"""The verdict: the one result of a gate, as a file that anyone can read, check and reproduce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import jsonschema
import msgspec
from msgspec.structs import replace

from unitrack import schemas
from unitrack.errors import EvidenceError
from unitrack.files import write_atomic
from unitrack.gate.decide import overall
from unitrack.gate.decision import MetricDecision, Outcome, Value
from unitrack.gate.lineage import Lineage
from unitrack.gate.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    "blocks_of",
    "decode",
    "encode",
    "exit_code",
    "outcome_of",
    "read_verdict",
    "summary_of",
    "verdict_path",
    "write_verdict",
]

SCHEMA_VERSION: Final = 2

Tier = Literal["bit_equal", "within_1e-6", "statistically_equal", "not_reproduced"]
"""How well training reproduces: what two trainings of one commit and seed had in common."""

_BEYOND_MORE_SEEDS = {"baseline_missing", "baseline_not_finite", "new_metric", "unlike_hardware", "examples"}
_LARGEST = 16 << 20  # bytes; a verdict may come from a stranger's pull request


class SeedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The run that gave a side's values for a seed, and the key of the job that made it.

    `evaluation` is the run of the trusted evaluation whose metrics counted instead of its own.
    """

    seed: int
    run: str
    job: str
    evaluation: str | None = None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was judged: a commit, how it was named (`HEAD`, `digits@production`), and its runs.

    A baseline that does not exist yet has an empty commit and no runs, one that no longer trains lacks runs.
    """

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
    """Lets one metric fail for a reason, up to a moment. `scope` is a commit or branch; times are epoch seconds.

    `missing` says that it holds even if the metric is missing or not finite.
    """

    id: str
    metric: str
    scope: str
    reason: str
    who: str
    created: float
    expires: float
    missing: bool = False


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
    `attempt` counts the attempts at the same question with other seeds; each leaves less error to pass with.
    `place` tells where both sides were trained: software and machine, or an image. `evaluated_by` is the commit
    whose `[evaluate]` measured both sides; without one the metrics are self-reported.
    """

    schema: Literal[2] = SCHEMA_VERSION
    key: str = ""
    blocks: bool = True
    mode: Literal["rerun", "recorded"] = "rerun"
    attempt: Annotated[int, msgspec.Meta(ge=1)] = 1
    place: str = ""
    evaluated_by: str | None = None
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


def outcome_of(decisions: Sequence[MetricDecision], requirements: Sequence[Requirement] = ()) -> Outcome:
    """Join decisions and demanded facts: a fact that lacks fails, a waived metric lets through."""
    if any(not one.satisfied for one in requirements):
        return "fail"
    return overall([one if one.waived is None else replace(one, decision="pass") for one in decisions])


def blocks_of(outcome: Outcome, policy: Policy, *, baseline: Subject, seeds: Sequence[int]) -> bool:
    """Tell whether an outcome keeps the candidate out, by what the policy says of what is open."""
    if outcome != "undecided":
        return outcome == "fail"
    if not baseline.commit:
        return policy.missing_baseline == "block"
    if len(baseline.runs) < len(seeds):
        return policy.broken_baseline != "neutral"
    return policy.undecided == "block"


def summary_of(
    outcome: Outcome,
    decisions: Sequence[MetricDecision],
    requirements: Sequence[Requirement] = (),
    *,
    missing: bool = False,
    stopped: str | None = None,
) -> str:
    """Say the outcome in one or two sentences; `stopped` is why it was reached early."""
    gating = [one for one in decisions if one.role != "report"]
    waived = [one.name for one in gating if one.waived is not None]
    lacking = [one.name for one in requirements if not one.satisfied]
    deciding = [one.name for one in gating if one.decision == outcome and one.waived is None]
    parts = []
    if missing:
        parts.append("There is no baseline yet: nothing was compared.")
    if lacking:
        parts.append(f"What the policy requires is not recorded: {', '.join(lacking)}.")
    if outcome == "pass":
        others = " other" if waived else ""
        parts.append(f"No{others} metric of {len(gating)} lost more than its margin allows.")
    elif deciding:
        verb = "failed" if outcome == "fail" else "are undecided"
        parts.append(f"{len(deciding)} of {len(gating)} metrics {verb}: {', '.join(deciding)}.")
    if waived:
        parts.append(f"{', '.join(waived)} failed and {'is' if len(waived) == 1 else 'are'} waived.")
    if stopped:
        parts.append(f"It ended early: {stopped}. The next start goes on from there.")
    return " ".join(parts)


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
    from unitrack.gate.checking import contradiction_in  # which reads verdicts, too

    contradiction = contradiction_in(verdict)
    if contradiction is not None:
        raise EvidenceError(f"{source}: contradicts itself: {contradiction}")
    return verdict


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
