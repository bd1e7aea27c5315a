from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import msgspec
import pytest
import verdicts
from hypothesis import given, settings
from hypothesis import strategies as st
from verdicts import HOSTILE

from unitrack.report import junit, sarif

TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))

SARIF = json.loads((Path(__file__).parent / "official" / "sarif-schema-2.1.0.json").read_text())
# What the schema leaves to a format that is seldom checked: a relative reference of unreserved and escaped characters.
URI = re.compile(r"(?:[\w.~/-]|%[0-9A-F]{2})+", re.ASCII)


def read(verdict: object) -> dict:
    tree = json.loads(sarif.render(verdict))
    jsonschema.Draft7Validator(SARIF).validate(tree)
    for one in tree["runs"][0]["results"]:
        for place in (*one["locations"], *one.get("relatedLocations", ())):
            assert URI.fullmatch(place["physicalLocation"]["artifactLocation"]["uri"])
    return tree["runs"][0]


def test_the_schema_refuses_what_is_no_sarif() -> None:
    tree = json.loads(sarif.render(verdicts.ordinary("fail")))
    for name, wrong in (("level", "fatal"), ("message", {}), ("locations", [{"uri": "x"}])):
        broken = json.loads(json.dumps(tree))
        broken["runs"][0]["results"][0][name] = wrong
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft7Validator(SARIF).validate(broken)


def test_each_failed_metric_and_slice_is_a_result_with_the_changed_files() -> None:
    run = read(verdicts.ordinary("fail"))
    assert [one["ruleId"] for one in run["results"]] == ["metric-failed", "slice-failed"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "unitrack.toml"
    assert [each["physicalLocation"]["artifactLocation"]["uri"] for each in run["results"][0]["relatedLocations"]] == [
        "src/train.py",
        "src/loader.py",
    ]
    for one in run["results"]:
        assert run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"]


def test_a_pass_has_no_result_and_a_waived_metric_is_a_suppressed_one() -> None:
    assert read(verdicts.ordinary("pass"))["results"] == []
    flag, waived = read(verdicts.waived())["results"]
    assert flag["ruleId"] == "judge-changed"
    assert waived["suppressions"][0]["justification"].startswith("A smaller model")


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_sarif_holds_any_text_and_no_path_leaves_the_repository(text: str) -> None:
    for one in read(verdicts.hostile(text))["results"]:
        assert not re.search(r"(?<!\\)\[", one["message"]["text"])
        for place in one.get("relatedLocations", ()):
            uri = place["physicalLocation"]["artifactLocation"]["uri"]
            assert not uri.startswith(("/", "../"))


@pytest.mark.parametrize("file", ["/etc/passwd", "../../x", "a/../../x", ""])
def test_a_path_out_of_the_repository_is_left_out(file: str) -> None:
    made = verdicts.ordinary("fail")
    made = msgspec.structs.replace(made, lineage=msgspec.structs.replace(made.lineage, files=(file,)))
    assert "relatedLocations" not in read(made)["results"][0]


def cases(verdict: object) -> list[ET.Element]:
    root = ET.fromstring(junit.render(verdict))
    assert root.tag == "testsuites"
    found = list(root.iter("testcase"))
    for holder, within in [(root, found), *((suite, list(suite)) for suite in root)]:
        assert int(holder.get("tests", "")) == len(within)
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(holder.get(attribute, "")) == sum(case.find(tag) is not None for case in within)
    assert all(suite.tag == "testsuite" and suite.get("name") for suite in root)
    assert all(set(case.attrib) == {"classname", "name", "time"} and len(case) <= 1 for case in found)
    return found


def test_each_metric_and_slice_is_a_test_case() -> None:
    made = cases(verdicts.ordinary("fail"))
    assert len(made) == 4 + 8 + 1
    failure = made[0].find("failure")
    assert failure is not None
    assert "unitrack gate --candidate" in (failure.text or "")


def test_undecided_is_an_error_if_it_blocks_and_skipped_if_not() -> None:
    made = verdicts.ordinary("undecided")
    assert cases(made)[0].find("error") is not None
    assert cases(msgspec.structs.replace(made, blocks=False))[0].find("skipped") is not None


def test_a_waived_metric_is_skipped() -> None:
    assert cases(verdicts.waived())[0].find("skipped") is not None


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_any_text_is_legal_xml_and_changes_no_structure(text: str) -> None:
    plain, made = cases(verdicts.hostile("text")), cases(verdicts.hostile(text))
    assert [[child.tag for child in case] for case in made] == [[child.tag for child in case] for case in plain]
