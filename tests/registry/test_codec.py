"""A model's file: one spelling, and no trust in what it holds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack import schemas
from unitrack.errors import RegistryError
from unitrack.registry import changes, codec
from unitrack.registry.changes import Stamp
from unitrack.registry.state import ModelFile

PATH = Path("store/registry/digits.json")
STAMP = Stamp(by="Ada", time=datetime(2026, 3, 1, 12, tzinfo=timezone.utc), reason="it is better")


def model(**metrics: Any) -> ModelFile:
    made = changes.new_model("digits")
    for _ in range(2):
        made = changes.register(
            made,
            STAMP,
            run="run-1",
            artifact="model",
            digest="sha256:ab",
            commit="c0ffee",
            metrics=metrics or {"loss": 0.25, "accuracy": 0.5, "f1": "NaN"},
            description="first\nsecond line",
        )
    made = changes.set_alias(made, "zebra", 1, STAMP)
    made = changes.set_alias(made, "champion", 2, STAMP)
    return changes.set_stage(changes.set_stage(made, 1, "staging", STAMP), 1, "production", STAMP)


def tree() -> dict[str, Any]:
    return json.loads(codec.encode(model()))


def read(value: Any) -> ModelFile:
    return codec.decode(json.dumps(value).encode(), PATH)


def test_what_is_written_reads_back_equal() -> None:
    assert codec.decode(codec.encode(model()), PATH) == model()


@given(st.dictionaries(st.text("ab/@é", min_size=1), st.floats(allow_nan=False, allow_infinity=False) | st.booleans()))
def test_any_metrics_read_back_equal(metrics: dict[str, float]) -> None:
    assert codec.decode(codec.encode(model(**metrics)), PATH) == model(**metrics)


def test_the_file_is_made_for_line_by_line_merges() -> None:
    text = codec.encode(model()).decode()
    assert text.endswith("}\n")
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
    assert list(tree()) == ["schema", "name", "aliases", "versions", "history"]
    assert list(tree()["aliases"]) == ["champion", "zebra"]
    assert list(tree()["versions"][0]["metrics"]) == ["accuracy", "f1", "loss"]


def test_a_new_version_adds_lines_and_changes_none_but_commas() -> None:
    before = codec.encode(model()).decode().splitlines()
    more = changes.register(
        model(), STAMP, run="run-3", artifact=None, digest=None, commit=None, metrics={}, description=""
    )
    after = [line.rstrip(",") for line in codec.encode(more).decode().splitlines()]
    rest = iter(after)
    assert all(line.rstrip(",") in rest for line in before)


def test_the_published_schema_is_made_from_the_types() -> None:
    published = Path(__file__).parents[2] / "schemas" / "model.schema.json"
    assert published.read_bytes() == schemas.generate("model")


def test_a_file_saved_by_an_editor_with_byte_order_mark_and_crlf_reads() -> None:
    data = b"\xef\xbb\xbf" + codec.encode(model()).replace(b"\n", b"\r\n")
    assert codec.decode(data, PATH) == model()


@pytest.mark.parametrize("style", ["merge", "diff3"])
def test_conflict_markers_get_their_own_message(style: str) -> None:
    ours, theirs = b'    "champion": 2,\n', b'    "champion": 1,\n'
    base = b"||||||| 1234567\n" + ours if style == "diff3" else b""
    conflict = b"<<<<<<< HEAD\n" + ours + base + b"=======\n" + theirs + b">>>>>>> other\n"
    with pytest.raises(RegistryError) as caught:
        codec.decode(codec.encode(model()).replace(ours, conflict), PATH)
    assert f"{PATH}:5: git left conflict markers" in str(caught.value)
    assert f"git checkout --ours or --theirs -- {PATH}" in str(caught.value)


def test_text_that_looks_like_a_marker_inside_a_value_is_no_conflict() -> None:
    made = changes.set_alias(model(), "new", 1, Stamp(by="Ada", time=STAMP.time, reason="<<<<<<< HEAD"))
    assert codec.decode(codec.encode(made), PATH) == made


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"null", "at \\$: None is not of type 'object'"),
        (b'{"schema": 1}', "required property"),
        (b'{"schema": 7}', "written by a newer unitrack .schema 7.: upgrade"),
        (b'{"name": "digits", "name": "other"}', "'name' stands twice"),
        (b'{"name": NaN}', "NaN is no JSON number"),
        (b'{"name": 1' + b"0" * 5000 + b"}", "not"),
    ],
)
def test_bytes_that_are_no_model_are_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(RegistryError, match=message) as caught:
        codec.decode(data, PATH)
    assert str(PATH) in str(caught.value)


def test_a_file_of_absurd_size_is_not_parsed() -> None:
    with pytest.raises(RegistryError, match="more than a registry file can have"):
        codec.decode(b" " * (codec.LARGEST_FILE + 1), PATH)


def _set(*keys: Any) -> Callable[[dict[str, Any]], None]:
    *path, last, value = keys

    def edit(value_tree: Any) -> None:
        for key in path:
            value_tree = value_tree[key]
        value_tree[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("colour", "red"), r"at \$: Additional properties"),
        (_set("versions", 0, "note", "x"), r"at \$.versions\[0\]: Additional properties"),
        (_set("versions", 0, "run", 5), r"at \$.versions\[0\].run: 5 is not of type 'string'"),
        (_set("versions", 0, "run", "a\x1b[2Jb"), r"at \$.versions\[0\].run"),
        (_set("versions", 0, "stage", "gold"), r"at \$.versions\[0\].stage"),
        (_set("versions", 0, "time", "yesterday"), "Invalid RFC3339"),
        (_set("versions", 0, "time", "2026-03-01T12:00:00"), "timezone"),
        (_set("versions", 0, "version", 3), "versions must be 1, 2, 3"),
        (_set("versions", 1, "version", 1), "versions must be 1, 2, 3"),
        (_set("versions", 0, "version", 10**30), "digits.json"),
        (_set("versions", []), "history tells of 2 versions, but it holds 0"),
        (_set("history", []), "history tells of 0 versions, but it holds 2"),
        (_set("versions", 1, "stage", "production"), "two versions are in production"),
        (_set("versions", 0, "stage", "retired"), "history ends with the stages"),
        (_set("aliases", "champion", 1), "history ends with the aliases"),
        (_set("aliases", "champion", 9), "history ends with the aliases"),
        (_set("aliases", "latest", 1), "'latest' is always the highest version"),
        (_set("aliases", "v2", 1), "looks like a version"),
        (_set("aliases", "Production", 1), "write the stage as 'production'"),
        (_set("aliases", "a b", 1), r"at \$.aliases"),
        (_set("name", "other"), "holds the model 'other'"),
        (_set("name", "../digits"), r"at \$.name"),
        (_set("history", 0, "version", 9), "history tells of"),
    ],
)
def test_a_file_edited_into_nonsense_is_refused_with_the_place(
    edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    value = tree()
    edit(value)
    with pytest.raises(RegistryError, match=message) as caught:
        read(value)
    assert str(PATH) in str(caught.value)
    assert "\x1b" not in str(caught.value)


@given(st.binary(max_size=40), st.integers(0, 2000))
def test_no_bytes_make_it_fail_otherwise(junk: bytes, where: int) -> None:
    data = codec.encode(model())
    with contextlib.suppress(RegistryError):
        codec.decode(data[:where] + junk + data[where + len(junk) :], PATH)
