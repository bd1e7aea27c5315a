from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from unitrack import schemas
from unitrack.errors import EvidenceError
from unitrack.gate.decide import MetricEvidence, decide, overall
from unitrack.gate.lineage import Lineage
from unitrack.gate.policy import MetricPolicy, Policy, policy_digest
from unitrack.gate.verdict import (
    SeedRun,
    Subject,
    Verdict,
    decode,
    encode,
    exit_code,
    read_verdict,
    verdict_path,
    write_verdict,
)

NAN = float("nan")


def verdict(candidate: list[float | None], baseline: list[float | None]) -> Verdict:
    rule = MetricPolicy(name="acc", goal="maximize", margin=0.01)
    policy = Policy(model="m", metrics=(rule,))
    seeds = tuple(range(len(candidate)))
    evidence = MetricEvidence(rule=rule, seeds=seeds, candidate=tuple(candidate), baseline=tuple(baseline))
    decisions = decide(policy, [evidence])
    runs = [tuple(SeedRun(seed=seed, run=f"{side}{seed}", job="j") for seed in seeds) for side in "cb"]
    return Verdict(
        outcome=overall(decisions),
        summary="Judged.",
        created=1.25,
        unitrack="0.1.0",
        policy=policy,
        policy_sha256=policy_digest(policy),
        policy_source="unitrack.toml",
        candidate=Subject(commit="c" * 40, reference="HEAD", runs=runs[0]),
        baseline=Subject(commit="b" * 40, reference="m@production", runs=runs[1]),
        seeds=seeds,
        metrics=decisions,
        lineage=Lineage(likely_cause="Nothing."),
        reproduce="unitrack gate",
    )


EVIDENCE: list[tuple[list[float | None], list[float | None], int]] = [
    ([0.9, 0.9], [0.9, 0.9], 0),
    ([0.9, NAN], [0.9, 0.9], 1),
    ([0.9, None], [0.9, 0.9], 1),
    ([0.9], [0.8], 3),
    ([0.9, 0.9], [None, None], 4),
    ([0.9, 0.9], [NAN, 0.9], 4),
]


@pytest.mark.parametrize(("candidate", "baseline", "code"), EVIDENCE)
def test_a_verdict_comes_back_as_it_was_and_knows_its_exit_code(
    candidate: list[float | None], baseline: list[float | None], code: int
) -> None:
    made = verdict(candidate, baseline)
    text = encode(made)
    assert decode(text) == made
    assert encode(decode(text)) == text == encode(verdict(candidate, baseline))
    assert exit_code(made) == code
    assert b"NaN" not in text.replace(b'"NaN"', b"")
    jsonschema.Draft202012Validator(schemas.load("verdict")).validate(json.loads(text))


def test_the_schema_in_the_tree_is_the_generated_one() -> None:
    assert json.loads(schemas.generate("verdict")) == schemas.load("verdict")


def broken(change: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**json.loads(encode(verdict([0.9], [0.9]))), **change})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        broken({"outcome": "maybe"}),
        broken({"schema": 99}),
        broken({"metrics": [{}]}),
        broken({"created": "yesterday"}),
        broken({"seeds": ["a"]}),
        b" " * ((16 << 20) + 1),
        b"[" * 100_000,
    ],
)
def test_what_is_no_verdict_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(EvidenceError, match=r"^from-a-fork\.json: "):
        decode(data, source="from-a-fork.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcome": "fail"}, "it says fail, its metrics don't"),
        ({"policy_sha256": "0" * 64}, "another SHA-256"),
        ({"metrics": []}, "not those of its policy"),
        ({"seeds": [0, 1, 2]}, "other seeds"),
        ({"seeds": []}, "seeds are not there"),
    ],
)
def test_a_verdict_that_contradicts_itself_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(EvidenceError, match=words):
        decode(broken(change))


def test_fields_of_later_versions_are_passed_over() -> None:
    assert decode(broken({"signature": "x"})) == verdict([0.9], [0.9])


def test_verdict_and_report_stand_beside_each_other_in_the_store(tmp_path: Path) -> None:
    path = verdict_path(tmp_path, "key")
    report = write_verdict(path, verdict([0.9], [0.9]), "# Report\n")
    assert path == tmp_path / "gate/key/verdict.json"
    assert report.read_text() == "# Report\n"
    assert read_verdict(path) == verdict([0.9], [0.9])


def test_a_missing_verdict_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="run `unitrack gate` first"):
        read_verdict(tmp_path / "verdict.json")
