"""The attestation of a gate: an in-toto Statement that binds a model's bytes to the verdict that let them pass.

The statement is not signed here; `actions/attest`, cosign or any DSSE signer takes it as it is. Pure.
See the in-toto attestation framework, Statement v1.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

import jsonschema
import msgspec

from unitrack import schemas
from unitrack.errors import EvidenceError
from unitrack.gate import verdict as verdicts
from unitrack.gate.decision import MetricDecision, Outcome
from unitrack.gate.verdict import Flag, SeedRun, Subject, TestSetUse, Verdict, Waiver, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from unitrack.registry import ModelVersion

__all__ = [
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Attested",
    "GatePredicate",
    "Statement",
    "StatementSubject",
    "VerdictReference",
    "decode",
    "encode",
    "make_statement",
    "verify_attestation",
]

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:unitrack:attestation:model-gate:v1"

_LARGEST = 16 << 20  # bytes; what GitHub takes for a predicate
_Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_NAMES = {"type_": "_type", "predicate_type": "predicateType"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class StatementSubject(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that are attested: an artifact's name and its digests by algorithm."""

    name: str
    digest: dict[str, str]


class Attested(msgspec.Struct, frozen=True, kw_only=True):
    """A commit, the id of its content, and the runs that were made from it."""

    commit: str
    tree: str | None = None
    model: str | None = None
    runs: tuple[SeedRun, ...] = ()


class VerdictReference(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict: its key, the SHA-256 of `verdict.json`, how it ended and when (epoch seconds)."""

    key: str
    sha256: _Hex
    outcome: Outcome
    created: float
    unitrack: str


class GatePredicate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a gate compared, by which rules, and what it found.

    `image` is the digest of the container image jobs ran in, `lock_sha256` that of `unitrack.lock`, `data` the
    versions of the data that the candidate's runs named.
    """

    model_version: str
    candidate: Attested
    baseline: Attested
    mode: Literal["rerun", "recorded"]
    seeds: tuple[int, ...]
    place: str
    image: str | None = None
    lock_sha256: str | None = None
    data: dict[str, str] = {}
    test_set: TestSetUse | None = None
    evaluated_by: str | None = None
    policy_sha256: _Hex
    policy_source: str
    metrics: tuple[MetricDecision, ...]
    verdict: VerdictReference
    attempt: int = 1
    flags: tuple[Flag, ...] = ()
    waivers: tuple[Waiver, ...] = ()


class Statement(
    msgspec.Struct, frozen=True, kw_only=True, rename={"type_": "_type", "predicate_type": "predicateType"}
):
    """An in-toto Statement v1 about a model."""

    type_: Literal["https://in-toto.io/Statement/v1"]
    subject: Annotated[tuple[StatementSubject, ...], msgspec.Meta(min_length=1)]
    predicate_type: Literal["urn:unitrack:attestation:model-gate:v1"]
    predicate: GatePredicate


def make_statement(
    verdict: Verdict,
    version: ModelVersion,
    *,
    candidate_tree: str,
    baseline_tree: str | None,
    data: Mapping[str, str] | None = None,
    lock_sha256: str | None = None,
) -> Statement:
    """State that a version's bytes passed the gate. Raises EvidenceError for a version without an artifact."""
    algorithm, _, value = (version.digest or "").partition(":")
    if not value:
        raise EvidenceError(f"{version.reference} has no artifact: there are no bytes to attest")
    image = _DIGEST.search(verdict.place) if "image " in verdict.place else None
    return Statement(
        type_=STATEMENT_TYPE,
        predicate_type=PREDICATE_TYPE,
        subject=(StatementSubject(name=version.artifact or version.reference, digest={algorithm: value}),),
        predicate=GatePredicate(
            model_version=version.reference,
            candidate=_attested(verdict.candidate, candidate_tree),
            baseline=_attested(verdict.baseline, baseline_tree),
            mode=verdict.mode,
            seeds=verdict.seeds,
            place=verdict.place,
            image=None if image is None else image[0],
            lock_sha256=lock_sha256,
            data=dict(sorted((data or {}).items())),
            test_set=verdict.test_set,
            evaluated_by=verdict.evaluated_by,
            policy_sha256=verdict.policy_sha256,
            policy_source=verdict.policy_source,
            metrics=verdict.metrics,
            verdict=_reference(verdict, verdicts.encode(verdict)),
            attempt=verdict.attempt,
            flags=verdict.flags,
            waivers=verdict.waivers,
        ),
    )


def _attested(subject: Subject, tree: str | None) -> Attested:
    return Attested(commit=subject.commit, tree=tree, model=subject.model, runs=subject.runs)


def _reference(verdict: Verdict, data: bytes) -> VerdictReference:
    return VerdictReference(
        key=verdict.key,
        sha256=hashlib.sha256(data).hexdigest(),
        outcome=verdict.outcome,
        created=verdict.created,
        unitrack=verdict.unitrack,
    )


def encode(statement: Statement) -> bytes:
    """Return the statement as JSON text: equal statements, equal bytes."""
    return msgspec.json.format(msgspec.json.encode(statement), indent=2) + b"\n"


def decode(data: bytes, *, source: str = "attestation.json") -> Statement:
    """Check a statement against its schema and return it. Raises EvidenceError naming `source`."""
    if len(data) > _LARGEST:
        raise EvidenceError(f"{source}: {len(data):,} bytes are too many for an attestation")
    try:
        tree = msgspec.json.decode(data)
        jsonschema.Draft202012Validator(schemas.load("attestation")).validate(tree)
        return msgspec.convert(tree, Statement)
    except jsonschema.ValidationError as error:
        raise EvidenceError(f"{source}: no attestation: {error.json_path}: {error.message[:300]}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"{source}: no attestation: {error}") from error


def verify_attestation(
    data: bytes,
    *,
    digest: str,
    tree: str,
    policy_sha256: str | None = None,
    verdict: bytes | None = None,
    source: str = "attestation.json",
) -> Statement:
    """Return the statement in `data` if it says that the bytes `digest` from the content `tree` passed the gate.

    `digest` is `sha256:<hex>`, `tree` git's id of the candidate's content; with `policy_sha256` it has to be by
    that policy, with the bytes of a `verdict` about that one. Who signed it is not checked. Raises EvidenceError
    with all that does not fit.
    """
    statement = decode(data, source=source)
    wrong = [*_about_subject(statement, digest, tree, policy_sha256), *_about_result(statement.predicate)]
    if verdict is not None and not wrong:
        wrong += _about_verdict(statement, verdict)
    if wrong:
        raise EvidenceError(f"{source} does not hold: {'; '.join(wrong)}")
    return statement


def _about_subject(statement: Statement, digest: str, tree: str, policy_sha256: str | None) -> Iterator[str]:
    predicate = statement.predicate
    attested = [f"{algorithm}:{value}" for one in statement.subject for algorithm, value in one.digest.items()]
    if digest not in attested:
        yield f"it is about {', '.join(attested)[:200]}, not about {digest}"
    if predicate.candidate.tree != tree:
        yield f"it is about the content {(predicate.candidate.tree or 'unknown')[:12]}, not about {tree[:12]}"
    if policy_sha256 is not None and predicate.policy_sha256 != policy_sha256:
        yield f"it is by the policy {predicate.policy_sha256[:12]}, not by {policy_sha256[:12]}"


def _about_result(predicate: GatePredicate) -> Iterator[str]:
    from unitrack.gate.waivers import contradiction

    if predicate.verdict.outcome != "pass":
        yield f"its verdict is {predicate.verdict.outcome}"
    if not any(one.role != "report" for one in predicate.metrics):
        yield "no metric of it could have failed"
    elif outcome_of(predicate.metrics) != predicate.verdict.outcome:
        yield "its metrics do not come to its verdict"
    wrong = contradiction(predicate.metrics, predicate.waivers)
    if wrong is not None:
        yield wrong


def _about_verdict(statement: Statement, data: bytes) -> Iterator[str]:
    if hashlib.sha256(data).hexdigest() != statement.predicate.verdict.sha256:
        yield "it is about another verdict"
        return
    read = verdicts.decode(data)
    told = statement.predicate
    pairs = (
        (told.metrics, read.metrics), (told.waivers, read.waivers), (told.verdict, _reference(read, data)),
        (told.policy_sha256, read.policy_sha256), (told.seeds, read.seeds), (told.candidate.runs, read.candidate.runs),
        (told.candidate.commit, read.candidate.commit), (told.baseline.commit, read.baseline.commit),
    )  # fmt: skip
    if any(one != other for one, other in pairs):
        yield "it says something else than its verdict"
