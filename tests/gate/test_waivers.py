from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from unitrack import schemas
from unitrack.errors import ConfigError, UsageError
from unitrack.gate.decision import MetricDecision
from unitrack.gate.waivers import (
    LACKING,
    WaiverRecord,
    apply,
    contradiction,
    decode,
    encode,
    make_waiver,
    parse_expiry,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
COMMIT = "c" * 40


def waiver(**changes: Any) -> WaiverRecord:
    given = {
        "metric": "acc", "scope": "faster", "reason": "Twice as fast.", "who": "Mia", "created": NOW,
        "expires": NOW + timedelta(days=14), **changes,
    }  # fmt: skip
    return make_waiver(**given)


def metric(name: str = "acc", decision: str = "fail", cause: str = "beyond_margin") -> MetricDecision:
    return MetricDecision(
        name=name, goal="maximize", role="target", decision=decision, cause=cause, reason="It is worse.",
        candidate=(0.8,), baseline=(0.9,), differences=(-0.1,),
    )  # type: ignore[arg-type]  # fmt: skip


def waived(
    decisions: list[MetricDecision], waivers: list[WaiverRecord], *, days: float = 1, **where: str | None
) -> tuple[list[str | None], tuple[str, ...]]:
    given: dict[str, Any] = {"commit": COMMIT, "branch": "faster", "model": "digits", **where}
    made = apply(decisions, waivers, now=(NOW + timedelta(days=days)).timestamp(), **given)
    assert contradiction(made.decisions, made.used) is None
    return [one.waived for one in made.decisions], made.warnings


def test_a_waiver_lets_its_failed_metric_through_and_is_told() -> None:
    one = waiver()
    made = apply(
        [metric(), metric("f1"), metric("auc", "pass", "equal")],
        [one],
        commit=COMMIT,
        branch="faster",
        now=NOW.timestamp() + 60,
    )
    assert [each.waived for each in made.decisions] == [one.id, None, None]
    assert [each.decision for each in made.decisions] == ["fail", "fail", "pass"]
    (used,) = made.used
    assert (used.id, used.who, used.reason, used.expires) == (one.id, "Mia", one.reason, one.expires.timestamp())
    assert made.warnings == (
        f"acc failed and is let through by waiver {one.id} of Mia until 2026-05-15 12:00 UTC: Twice as fast.",
    )


@pytest.mark.parametrize("decision", ["pass", "undecided", "reported"])
def test_only_failed_metrics_are_waived(decision: str) -> None:
    assert waived([metric(decision=decision)], [waiver()]) == ([None], ())


@pytest.mark.parametrize("cause", sorted(LACKING))
def test_missing_evidence_is_waived_only_by_a_waiver_that_says_so(cause: str) -> None:
    ids, warnings = waived([metric(cause=cause)], [waiver()])
    assert ids == [None]
    assert "no value to compare" in warnings[0]
    other = waiver(missing=True)
    assert waived([metric(cause=cause)], [other])[0] == [other.id]


@pytest.mark.parametrize(("days", "words"), [(14, "it expired on 2026-05-15"), (400, "it expired"), (-1, "to come")])
def test_outside_of_its_time_a_waiver_waives_nothing(days: float, words: str) -> None:
    ids, warnings = waived([metric()], [waiver()], days=days)
    assert ids == [None]
    assert words in warnings[0]


def test_a_clock_that_is_a_minute_behind_keeps_no_waiver_out() -> None:
    assert waived([metric()], [waiver()], days=-1 / 1440)[0] != [None]


@pytest.mark.parametrize(
    ("changes", "where", "holds"),
    [
        ({}, {}, True),
        ({}, {"branch": "other"}, False),
        ({}, {"branch": None}, False),
        ({"scope": COMMIT}, {"branch": None}, True),
        ({"scope": "d" * 40}, {}, False),
        ({"scope": "d" * 40}, {"branch": "d" * 40}, False),
        ({"scope": COMMIT[:12]}, {"branch": "other"}, False),
        ({"model": "digits"}, {}, True),
        ({"model": "other"}, {}, False),
        ({"model": "digits"}, {"model": None}, False),
        ({"metric": "Acc"}, {}, False),
    ],
)
def test_a_waiver_holds_in_its_scope_only(changes: dict[str, Any], where: dict[str, Any], holds: bool) -> None:
    one = waiver(**changes)
    assert waived([metric()], [one], **where)[0] == [one.id if holds else None]


def test_of_several_the_longest_is_used_whatever_their_order() -> None:
    short, long = waiver(), waiver(expires=NOW + timedelta(days=20))
    for order in ([short, long], [long, short]):
        assert waived([metric()], order)[0] == [long.id]


def test_a_waiver_of_a_metric_without_a_rule_is_told() -> None:
    one = waiver(metric="acuracy")
    assert waived([metric()], [one]) == (
        [None],
        (f"waiver {one.id} is for acuracy, which no rule of the policy is about",),
    )


def test_a_file_comes_back_as_it_was_and_keeps_to_its_schema() -> None:
    waivers = (waiver(), waiver(metric="Größe", scope=COMMIT, model="m", missing=True))
    text = encode(waivers)
    assert decode(text) == waivers
    assert encode(decode(text)) == text
    assert b'"expires": "2026-05-15T12:00:00Z"' in text
    assert decode(encode(())) == ()
    assert json.loads(schemas.generate("waivers")) == schemas.load("waivers")


def broken(**changes: Any) -> bytes:
    tree = json.loads(encode([waiver()]))
    tree["waivers"][0].update(changes)
    return msgspec.json.encode(tree)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no waivers"),
        (b"[]", "no waivers"),
        (b"\xff", "no waivers"),
        (b"[" * 100_000, "no waivers"),
        (b" " * (1 << 21), "too many"),
        (b"<<<<<<< HEAD\n", "no waivers"),
        (b'{"schema": 2}', "no waivers"),
        (broken(extra=1), "extra"),
        (broken(reason=" "), "reason"),
        (broken(reason="x" * 1001), "too long"),
        (broken(who="Mia\n"), "line break"),
        (broken(metric="a\u0000b"), "metric"),
        (broken(id="1"), "id"),
        (broken(expires="2026-02-30T00:00:00Z"), "expires"),
        (broken(expires="2026-05-15T12:00:00"), "expires"),
        (broken(expires="2026-04-30T12:00:00Z"), "not after"),
        (broken(expires="2026-08-01T12:00:00Z"), "longer than 90 days"),
        (encode([waiver(), waiver()]), "another one has its id"),
    ],
)
def test_a_file_that_no_review_should_let_in_is_refused_whole(data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^waivers\.json: ") as caught:
        decode(data, source="waivers.json")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"metric": ""}, "metric"),
        ({"expires": NOW}, "not after"),
        ({"expires": NOW + timedelta(days=91)}, "longer than 90 days"),
    ],
)
def test_what_no_gate_would_take_is_not_made(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        waiver(**changes)


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("36h", NOW + timedelta(hours=36)),
        ("14d", NOW + timedelta(days=14)),
        ("2w", NOW + timedelta(days=14)),
        ("2026-05-31", datetime(2026, 6, 1, tzinfo=timezone.utc)),
        ("2026-05-31T10:00:00+02:00", datetime(2026, 5, 31, 8, tzinfo=timezone.utc)),
    ],
)
def test_an_expiry_is_a_span_a_day_or_a_moment(words: str, moment: datetime) -> None:
    assert parse_expiry(words, now=NOW) == moment


@pytest.mark.parametrize("words", ["", "never", "14", "-3d", "99999d", "2026-13-01", "2026-05-31T10:00:00", "d" * 9999])
def test_what_is_no_expiry_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match="no expiry") as caught:
        parse_expiry(words, now=NOW)
    assert len(str(caught.value)) < 250


def test_a_verdict_cannot_claim_a_waiver_it_does_not_show() -> None:
    one = waiver()
    made = apply([metric()], [one], commit=COMMIT, branch="faster", now=NOW.timestamp())
    assert "no waiver of it" in str(contradiction(made.decisions, ()))
    assert "waives nothing" in str(contradiction([metric()], made.used))
    for changes in ({"decision": "undecided"}, {"cause": "candidate_missing"}):
        forged = [msgspec.structs.replace(made.decisions[0], **changes)]
        assert "can't let it through" in str(contradiction(forged, made.used))
    other = [msgspec.structs.replace(made.decisions[0], name="f1")]
    assert "no waiver of it" in str(contradiction(other, made.used))
