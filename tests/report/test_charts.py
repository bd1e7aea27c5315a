"""Charts of a job's summary, read by Mermaid's own parser in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import verdicts
from hypothesis import example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Error, sync_playwright
from verdicts import HOSTILE

from unitrack.report import summary
from unitrack.report._mermaid import chart

CHROMIUM = "/usr/bin/chromium"
PARSER = Path(__file__).parent / "official" / "mermaid-xychart.js"
READ = """text => {
    const said = [];
    for (const name of ["setOrientation", "setDiagramTitle", "setXAxisTitle", "setXAxisBand", "setXAxisRangeData",
                        "setYAxisTitle", "setYAxisRangeData", "setLineData", "setBarData", "setAccTitle",
                        "setAccDescription"])
        xychart.yy[name] = (...given) => { said.push([name, ...given]); };
    xychart.parse(text.replace(/^---\\n[^]*?\\n---\\n/, ""));  // Mermaid takes settings away before it reads a chart
    return said;
}"""


@pytest.fixture(scope="module")
def read():
    """Return what Mermaid's parser understands of a chart."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(path=PARSER)

        def parsed(text: str) -> dict[str, list[Any]]:
            found: dict[str, list[Any]] = {}
            for name, *given_ in page.evaluate(READ, text):
                found.setdefault(name, []).append(given_)
            return found

        yield parsed
        browser.close()


def charts(report: str) -> list[str]:
    return re.findall(r"^```mermaid\n(.*?)\n```$", report, re.DOTALL | re.MULTILINE)


def points(line: list[Any]) -> list[float]:
    return [point["value"] for point in line[1]]


@pytest.mark.parametrize("outcome", ["pass", "fail", "undecided"])
def test_mermaid_reads_each_chart_with_the_numbers_that_were_meant(read, outcome: str) -> None:
    made = verdicts.ordinary(outcome)
    drawn = charts(summary.render(made))
    assert len(drawn) == 4
    found = read(drawn[0])
    assert found["setDiagramTitle"] == [["val/accuracy by seed"]]
    assert [each["text"] for each in found["setXAxisBand"][0][0]] == ["0", "1", "2", "3", "4"]
    target = next(one for one in made.metrics if one.name == "val/accuracy")
    baseline, candidate = map(points, found["setLineData"])
    assert baseline == pytest.approx(target.baseline, rel=1e-5)
    assert candidate == pytest.approx(target.candidate, rel=1e-5)
    [[low, high]] = found["setYAxisRangeData"]
    assert low < min(baseline + candidate) < max(baseline + candidate) < high


def test_steps_at_equal_distances_are_an_axis_and_others_are_named(read) -> None:
    made = verdicts.ordinary("fail")
    found = read(charts(summary.render(made))[1])
    assert found["setXAxisRangeData"] == [[10, 200]]
    odd = [msgspec.structs.replace(each, steps=tuple(step**2 for step in each.steps)) for each in made.curves]
    found = read(charts(summary.render(msgspec.structs.replace(made, curves=tuple(odd))))[1])
    names = [each["text"] for each in found["setXAxisBand"][0][0]]
    assert names[0] == "100"
    assert names[-1] == "40000"
    assert len(set(names)) == len(points(found["setLineData"][0])) == 10


def test_each_chart_of_the_largest_verdict_is_read(read) -> None:
    drawn = charts(summary.render(verdicts.huge()))
    assert len(drawn) == 9
    for each in drawn:
        assert read(each)["setLineData"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_one_title_and_nothing_else(read, text: str) -> None:
    drawn = charts(summary.render(verdicts.hostile(text)))
    assert drawn
    for each in drawn:
        found = read(each)
        assert len({"setXAxisBand", "setXAxisRangeData"} & set(found)) == 1
        titles = {"setDiagramTitle", "setXAxisTitle", "setYAxisTitle", "setYAxisRangeData", "setLineData"}
        assert set(found) - {"setXAxisBand", "setXAxisRangeData"} == titles
        assert all(len(found[name]) == 1 for name in found if name != "setLineData")
        assert len(found["setLineData"]) == 2


FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


@settings(max_examples=80)
@given(st.text(max_size=30), st.lists(FINITE, min_size=1, max_size=6))
@example("tiny", [1e-300, -2e-15])
@example("huge", [1e300, -1e300])
@example("zero", [0.0, -0.0])
def test_any_name_and_any_finite_number_is_a_chart_that_mermaid_reads(read, name: str, values: list[float]) -> None:
    made = chart(name, x="seed", at=[str(n) for n in range(len(values))], y=name, lines=[values])
    assert made is not None
    [drawn] = charts(made)
    [line] = read(drawn)["setLineData"]
    assert points(line) == pytest.approx(values, rel=1e-5, abs=1e-30)


def test_the_parser_refuses_what_is_no_chart(read) -> None:
    for wrong in (
        "xychart-beta\n  line [1e-5]",
        'xychart-beta\n  title "a" b',
        "xychart-beta\n  line [nan]",
        "graph TD",
    ):
        with pytest.raises(Error, match=r"Parse error|Lexical error"):
            read(wrong)
