from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import jsonschema
import msgspec
import pytest
import verdicts

from unitrack import schemas
from unitrack.errors import EvidenceError
from unitrack.gate.attestation import decode, encode, make_statement, verify_attestation
from unitrack.gate.decide import MetricEvidence, decide
from unitrack.gate.verdict import Verdict
from unitrack.gate.verdict import decode as decode_verdict
from unitrack.gate.verdict import encode as encode_verdict
from unitrack.registry import ModelVersion


def judged() -> Verdict:
    """A verdict whose figures come of its values, as reading one demands."""
    bare = verdicts.verdict("pass", [verdicts.metric("acc", "pass", margin=0.02), verdicts.metric("loss", "reported")])
    evidence = [
        MetricEvidence(rule=rule, seeds=bare.seeds, candidate=one.candidate, baseline=one.baseline)  # type: ignore[arg-type]
        for rule, one in zip(bare.policy.metrics, bare.metrics, strict=True)
    ]
    decisions = decide(bare.policy, evidence, pairs_max=5)
    made = msgspec.structs.replace(bare, metrics=decisions, requirements=())
    return decode_verdict(encode_verdict(made))


VERDICT = judged()
DIGEST, TREE = "sha256:" + "a" * 64, "b" * 40
VERSION = ModelVersion(
    name="digits", version=4, run="r", artifact="model", digest=DIGEST, by="Mia",
    time=datetime(2026, 5, 1, tzinfo=timezone.utc),
)  # fmt: skip


def made(verdict: Any = VERDICT, **changes: Any) -> bytes:
    given = {"candidate_tree": TREE, "baseline_tree": None, "data": {"b": "2", "a": "1"}, **changes}
    return encode(make_statement(verdict, VERSION, **given))


def verify(data: bytes, **changes: Any) -> Any:
    return verify_attestation(data, **{"digest": DIGEST, "tree": TREE, **changes})


def test_a_statement_is_in_totos_and_comes_back_as_it_was() -> None:
    text = made()
    tree = json.loads(text)
    assert tree["_type"] == "https://in-toto.io/Statement/v1"
    assert tree["subject"] == [{"name": "model", "digest": {"sha256": "a" * 64}}]
    assert list(tree["predicate"]["data"]) == ["a", "b"]
    jsonschema.Draft202012Validator(schemas.load("attestation")).validate(tree)
    assert encode(decode(text)) == text == made()
    assert json.loads(schemas.generate("attestation")) == schemas.load("attestation")


def test_what_was_attested_can_be_verified() -> None:
    read = verify(made(), policy_sha256=VERDICT.policy_sha256, verdict=encode_verdict(VERDICT))
    assert read.predicate.model_version == "digits:4"
    assert [one.candidate for one in read.predicate.metrics] == [one.candidate for one in VERDICT.metrics]


def test_the_image_is_that_of_the_containers() -> None:
    image = "sha256:" + "c" * 64
    in_container = msgspec.structs.replace(VERDICT, place=f"container: image {image} on x86_64")
    assert decode(made(in_container)).predicate.image == image
    as_process = msgspec.structs.replace(VERDICT, place=f"process: packages {image}")
    assert decode(made(as_process)).predicate.image is None


def test_a_version_without_bytes_cannot_be_attested() -> None:
    bare = msgspec.structs.replace(VERSION, digest=None)
    with pytest.raises(EvidenceError, match="no bytes to attest"):
        make_statement(VERDICT, bare, candidate_tree=TREE, baseline_tree=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": "sha256:" + "b" * 64}, "not about sha256:bbb"),
        ({"digest": "a" * 64}, "not about aaa"),
        ({"digest": ""}, "not about"),
        ({"tree": "c" * 40}, "about the content bbbbbbbbbbbb"),
        ({"tree": ""}, "about the content"),
        ({"policy_sha256": "0" * 64}, "by the policy"),
        ({"verdict": b"{}"}, "about another verdict"),
        ({"verdict": encode_verdict(verdicts.ordinary("pass"))}, "about another verdict"),
    ],
)
def test_it_holds_for_nothing_else(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EvidenceError, match=r"attestation\.json does not hold: ") as caught:
        verify(made(), **changes)
    assert words in str(caught.value)


def forged(change: Callable[[Any], object]) -> bytes:
    tree = json.loads(made())
    change(tree)
    return msgspec.json.encode(tree)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("_type"), "_type"),
        (lambda t: t.update(_type="https://in-toto.io/Statement/v0.1"), "_type"),
        (lambda t: t.pop("predicateType"), "predicateType"),
        (lambda t: t.update(predicateType="https://slsa.dev/provenance/v1"), "predicateType"),
        (lambda t: t.update(subject=[]), "subject"),
        (lambda t: t["predicate"].update(policySha256="x"), "policySha256"),
        (lambda t: t["predicate"]["verdict"].update(outcome="fail"), "its verdict is fail"),
        (lambda t: t["predicate"]["metrics"][0].update(decision="fail"), "do not come to its verdict"),
        (lambda t: t["predicate"]["metrics"][0].update(decision="fail", waived="w-1"), "no waiver of it"),
        (lambda t: t["predicate"].update(metrics=[]), "could have failed"),
        (lambda t: t["predicate"]["metrics"][0].update(candidate=[1.0] * 5), "something else than its verdict"),
        (lambda t: t["predicate"]["candidate"].update(commit="0" * 40), "something else than its verdict"),
    ],
)
def test_a_forged_statement_is_refused(change: Callable[[Any], object], words: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        verify(forged(change), verdict=encode_verdict(VERDICT))
    assert words in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000, b" " * (17 << 20)])
def test_what_is_no_statement_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(EvidenceError, match=r"^from-a-fork\.json: "):
        verify(data, source="from-a-fork.json")
