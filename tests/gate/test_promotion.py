from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
import verdicts

from unitrack.gate.promotion import Claim, Revision, reason_of, refusals
from unitrack.gate.verdict import Verdict
from unitrack.gate.waivers import make_waiver, public
from unitrack.registry import ModelVersion

NOW = datetime.fromtimestamp(verdicts.CREATED, timezone.utc)
PASSED = verdicts.verdict("pass", [verdicts.metric("acc", "pass")])
WAIVER = make_waiver(
    metric="acc", scope="faster", reason="Fast.", who="Mia", created=NOW, expires=NOW + timedelta(days=7)
)
WAIVED = verdicts.verdict(
    "pass", [verdicts.metric("acc", "fail", waived=WAIVER.id), verdicts.metric("f1", "pass")], waivers=(public(WAIVER),)
)


def version(number: int, **changes: Any) -> ModelVersion:
    given = {
        "name": "digits",
        "version": number,
        "run": "rerun-c-0",
        "commit": "c" * 40,
        "digest": "sha256:aa",
        **changes,
    }
    return ModelVersion(by="Mia", time=NOW, **given)


def claim(verdict: Verdict = PASSED, **changes: Any) -> Claim:
    given: dict[str, Any] = {
        "verdict": verdict, "model": "digits", "alias": "production",
        "merged": Revision(commit="e" * 40, tree="t1"), "candidate": Revision(commit="c" * 40, tree="t1"),
        "baseline": Revision(commit="b" * 40, tree="t0"),
        "policy_sha256": verdict.policy_sha256, "policy_source": "unitrack.toml at main",
        "version": version(4), "version_source": Revision(commit="c" * 40, tree="t1"),
        "holder": version(3, commit="b" * 40), "holder_source": Revision(commit="b" * 40, tree="t0"),
        "now": verdicts.CREATED + 60, **changes,
    }  # fmt: skip
    return Claim(**given)


def test_nothing_speaks_against_what_was_gated_and_merged() -> None:
    assert refusals(claim()) == []
    assert refusals(claim(WAIVED, waivers=(WAIVER,))) == []
    assert refusals(claim(holder=None, holder_source=None)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verdict": verdicts.ordinary("fail")}, "the verdict is fail"),
        ({"verdict": verdicts.ordinary("undecided")}, "the verdict is undecided"),
        ({"verdict": msgspec.structs.replace(PASSED, key="")}, "no key"),
        ({"model": "other"}, "about model 'digits'"),
        ({"candidate": Revision(commit="c" * 40)}, "not in this clone"),
        ({"merged": Revision(commit="e" * 40, tree="t2")}, "has other content"),
        ({"merged": Revision(commit="e" * 40)}, "has other content"),
        ({"policy_sha256": "0" * 64}, "by another policy"),
        ({"version": None}, "register one with --run"),
        ({"version": version(4, digest=None)}, "has no artifact"),
        ({"version": version(4, run="other"), "version_source": None}, "not of the gated commit"),
        ({"version": version(4, run="other"), "version_source": Revision(commit="c" * 40)}, "not of the gated commit"),
        ({"holder": version(5, commit="f" * 40), "holder_source": None}, "gate against what is there now"),
        ({"holder": version(5, commit=None), "holder_source": None}, "gate against what is there now"),
    ],
)
def test_each_doubt_keeps_the_alias_where_it_is(changes: dict[str, Any], words: str) -> None:
    found = refusals(claim(**changes))
    assert any(words in one for one in found), found
    if "verdict" not in changes:
        assert len(found) == 1


def test_two_unknown_contents_are_not_the_same_content() -> None:
    unknown = {"merged": Revision(commit="e" * 40), "candidate": Revision(commit="c" * 40)}
    assert len(refusals(claim(**unknown))) == 1
    found = refusals(claim(version=version(4, run="x"), version_source=Revision(commit="x"), **unknown))
    assert len(found) == 2


def test_a_first_model_is_put_into_production_by_hand() -> None:
    verdict = msgspec.structs.replace(
        verdicts.ordinary("undecided"), baseline=msgspec.structs.replace(PASSED.baseline, commit="", runs=())
    )
    assert "by hand" in refusals(claim(verdict, holder=None))[0]


@pytest.mark.parametrize(
    ("waivers", "later", "words"),
    [
        ((), 0.0, "does not stand beside the policy"),
        ((WAIVER,), 8 * 86400.0, "has expired"),
        ((msgspec.structs.replace(WAIVER, reason="Other."),), 0.0, "does not stand beside the policy"),
        ((msgspec.structs.replace(WAIVER, expires=NOW + timedelta(days=2)),), 0.0, "does not stand beside the policy"),
    ],
)
def test_a_waived_pass_needs_its_waiver_as_it_was(waivers: Any, later: float, words: str) -> None:
    (found,) = refusals(claim(WAIVED, waivers=waivers, now=verdicts.CREATED + later))
    assert words in found


def test_the_history_gets_key_content_waivers_and_reason() -> None:
    assert reason_of(claim(), "") == f"gate {PASSED.key[:16]} passed for tree t1"
    assert reason_of(claim(WAIVED), "Ship it.").endswith(f"for tree t1 with waiver {WAIVER.id}: Ship it.")
