"""Neutral values: what training code hands over becomes what JSON holds, and comes back."""

import decimal
import fractions
import json
import math
import pathlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.model import check_step, metric_name, metric_value, number, plain, restore, text

texts = st.text() | st.sampled_from(["NaN", "Infinity", "-Infinity", "\\NaN", "\\\\Infinity", "\\"])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def same(left, right):
    """Compare trees in which NaN is equal to itself and 1 isn't 1.0."""
    return repr(left) == repr(right)


@given(trees)
def test_a_tree_of_plain_values_comes_back_from_json_as_it_was(tree):
    assert same(restore(msgspec.json.decode(msgspec.json.encode(plain(tree)))), tree)


@given(trees)
def test_plain_leaves_what_strict_json_holds(tree):
    json.dumps(plain(tree), allow_nan=False)


@given(trees)
def test_text_that_spells_a_number_stays_text_however_deep(tree):
    assert same(restore(plain(restore(plain(tree)))), tree)


@given(st.sampled_from(["NaN", "Infinity", "-Infinity"]))
def test_no_path_and_no_repr_reads_as_a_number(word):
    class Named:
        def __repr__(self):
            return word

    assert restore(plain(pathlib.PurePosixPath(word))) == word and restore(plain(Named())) == word


@given(st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2), max_leaves=3))
def test_a_value_inside_itself_is_cut_off(inner):
    loop = [inner]
    loop.append({"again": loop})
    assert plain(loop)[1] == {"again": "<cycle>"}


def test_an_object_that_is_no_number_after_all_becomes_its_repr():
    class Symbol:
        def __float__(self):
            raise TypeError("cannot convert a symbol")

        def __repr__(self):
            return "x + 1"

    assert plain(Symbol()) == "x + 1"


@given(st.integers() | st.floats(allow_nan=False) | st.fractions() | st.decimals(allow_nan=False))
def test_every_number_is_a_metric(value):
    kept = metric_value(value)
    back = restore(kept)
    assert type(back) in (int, float) and (math.isinf(back) or math.isclose(back, value, rel_tol=1e-9, abs_tol=1e-300))
    assert not isinstance(kept, int) or -(2**63) <= kept < 2**63


@given(st.text() | st.binary() | st.none() | st.lists(st.integers()) | st.complex_numbers())
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError):
        number(value)


def test_a_number_beyond_floats_is_infinite():
    assert metric_value(fractions.Fraction(-(10**400))) == "-Infinity" == metric_value(decimal.Decimal("-1e400"))


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_finite_step_is_kept(step):
    assert check_step(step) == step


@given(st.text(st.characters(), min_size=1, max_size=1024))
def test_any_text_is_a_name_that_utf_8_holds(name):
    assert metric_name(name).encode().decode() == metric_name(name) and len(metric_name(name)) == len(name)


def test_a_text_that_is_none_is_a_type_error():
    with pytest.raises(TypeError, match="takes a str, not int"):
        text(3)
