"""What commands print: JSON, plain text in a pipe, tables on a terminal."""

from __future__ import annotations

import array
import io
import json
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from unitrack.cli._output import ago, console_for, duration, emit, iso, json_option, size, styled, table, text_of


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(item, stream):
    console_for(stream, now=1000.0).print(item)
    return stream.getvalue()


def emitted(data, *args):
    @click.command()
    @json_option
    def command(as_json):
        emit(data, as_json=as_json, render=lambda console: console.print("text"))

    return CliRunner().invoke(command, args, catch_exceptions=False).stdout


ROWS = [("a\tb", 1.23456789, None), (styled("long name", "red"), 2, True)]


def test_in_a_pipe_a_table_is_aligned_text_of_one_line_a_row():
    assert printed(table(["run", "loss", "ok"], ROWS, right=["loss"]), io.StringIO()) == (
        "run           loss  ok\n"
        "a\\tb       1.23457  -\n"
        "long name        2  yes\n"
    )  # fmt: skip


def test_on_a_terminal_styles_show_and_the_same_text_is_there(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = printed(table(["run", "loss", "ok"], ROWS), Terminal())
    assert "\x1b[31mlong name" in shown
    assert "a\\tb" in shown


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_no_text_of_a_run_breaks_a_row_or_reaches_the_terminal_as_a_control(rows):
    shown = printed(table(["a", "b"], rows), io.StringIO())
    assert shown.count("\n") == len(rows) + 1
    assert all(line.isprintable() for line in shown.split("\n"))


def test_markup_in_a_text_is_only_text():
    assert "[red]x[/red]" in printed("[red]x[/red]", Terminal())


def test_a_row_of_another_length_than_the_columns_is_refused():
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        table(["a", "b"], [("x",)])


@dataclass
class Point:
    x: float


class Struct(msgspec.Struct):
    path: Path
    point: Point


def test_json_keeps_non_finite_numbers_as_words_and_takes_what_commands_have():
    data = [
        Struct(path=Path("a"), point=Point(float("-inf"))),
        {1: array.array("d", [1.5, float("nan")]), "t": (True, "NaN")},
    ]
    assert json.loads(emitted(data, "--json")) == [
        {"path": "a", "point": {"x": "-Infinity"}},
        {"1": [1.5, "NaN"], "t": [True, "NaN"]},
    ]


def test_without_json_the_rendered_text_is_printed():
    assert emitted({}) == "text\n"


def test_a_time_is_an_age_for_a_person_and_iso_for_a_pipe():
    assert console_for(Terminal(), now=1000.0).when(870.0) == "2 min ago"
    assert console_for(io.StringIO(), now=1000.0).when(870.0) == "1970-01-01T00:14:30Z"
    assert iso(None) == "-"
    assert ago(999.5, now=1000.0) == "just now"
    assert ago(2000.0, now=1000.0) == "1970-01-01T00:33:20Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.25, "250 ms"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (200000, "2 d"), (None, "-")],
)
def test_a_time_span_is_told_in_its_largest_unit(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (3e15, "3000.0 TB")]
)
def test_bytes_are_told_in_thousands(amount, text):
    assert size(amount) == text


def test_a_cell_without_a_value_is_a_dash():
    assert [text_of(value) for value in (None, False, 0.1 + 0.2, "x")] == ["-", "no", "0.3", "x"]
