"""Each format of each kind of verdict is the golden one; rewrite them with UPDATE_GOLDEN=1 and read the difference."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
import verdicts

from unitrack.gate.verdict import Verdict, encode
from unitrack.plugins import load_plugins
from unitrack.report.formats import unitrack_register_report_formats

GOLDEN = Path(__file__).parent / "golden"
FORMATS = {each.name: each for each in unitrack_register_report_formats()}
CASES = {
    **{outcome: lambda outcome=outcome: verdicts.ordinary(outcome) for outcome in ("pass", "fail", "undecided")},
    "waived": verdicts.waived,
    "missing": verdicts.missing,
    "first": verdicts.first,
    "hostile": verdicts.hostile,
}


def rendered(name: str, verdict: Verdict) -> str:
    made = FORMATS[name].render(verdict)
    return made if isinstance(made, str) else made.decode()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "json"])
def test_the_report_is_the_golden_one(case: str, name: str) -> None:
    path, report = GOLDEN / f"{case}{FORMATS[name].suffix}", rendered(name, CASES[case]())
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_bytes(report.encode())
    assert report == path.read_bytes().decode()


@pytest.mark.parametrize("name", FORMATS)
def test_the_report_is_made_from_the_file_alone(name: str) -> None:
    made = verdicts.ordinary("fail")
    assert rendered(name, msgspec.json.decode(encode(made), type=Verdict)) == rendered(name, made)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "json"])
def test_a_fail_names_what_a_reviewer_needs(name: str) -> None:
    report = rendered(name, verdicts.ordinary("fail")).replace("&gt;", ">")
    for part in (
        "val/accuracy",
        "-0.05",
        "-0.05143 to -0.04857",
        "0.02",
        "0, 1, 2, 3, 4",
        "optimizer.lr 0.01",
        "unitrack gate --candidate cccc",
    ):
        assert part in report.replace("\\_", "_"), part


def test_the_built_in_formats_come_through_the_hook() -> None:
    assert set(load_plugins(entry_points=[]).named("report_formats")) == set(FORMATS)
