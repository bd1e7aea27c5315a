"""What a tracker can't hold is lowered by policy, names come back, and nothing happens in silence."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.backend import Lowering
from unitrack.errors import ConfigError
from unitrack.lowering import Lowerings, NameMap, RefusedError, choose_policies, report

KINDS = {"name": ("sanitize", "skip", "fail"), "param-length": ("artifact", "fail")}


def clean(name, room):
    return re.sub(r"[^a-z0-9-]", "_", name)[:room]


def test_the_first_policy_of_a_kind_holds_unless_another_is_chosen():
    chosen = choose_policies(KINDS, {"name": "fail"}, section="backends.x.lowering")
    assert chosen == {"name": "fail", "param-length": "artifact"}


@pytest.mark.parametrize(
    ("given", "said"),
    [({"nane": "fail"}, "did you mean 'name'"), ({"name": "artifact"}, "one of sanitize, skip, fail, not 'artifact'")],
)
def test_a_wrong_choice_names_the_section_and_what_there_is(given, said):
    with pytest.raises(ConfigError, match=said) as caught:
        choose_policies(KINDS, given, section="backends.x.lowering")
    assert "[backends.x.lowering]" in str(caught.value)


def test_each_kind_and_name_is_told_once_with_what_was_done():
    lowerings = Lowerings({"name": "skip"})
    for _ in range(3):
        assert lowerings.decide("name", "a@b", trouble="has an @", remedy="is a_b") == "skip"
        assert lowerings.decide("step", "loss", trouble="2.5", remedy="is 2") == "sanitize"
    assert lowerings.all == (
        Lowering(kind="name", name="a@b", detail="has an @: left out"),
        Lowering(kind="step", name="loss", detail="2.5: is 2"),
    )


def test_a_record_is_refused_where_the_policy_says_so():
    with pytest.raises(RefusedError, match="a@b"):
        Lowerings({"name": "fail"}).decide("name", "a@b", trouble="has an @", remedy="")


@given(st.lists(st.text(alphabet="ab@-0é", max_size=30), max_size=30))
def test_no_two_names_share_a_key_and_every_key_leads_back(names):
    mapped = NameMap(clean, longest=20)
    keys = [mapped.key(name) for name in names]
    assert all(clean(key, 20) == key for key in keys)
    assert [mapped.name(key) for key in keys] == names
    assert len(set(keys)) == len(set(names))
    again = NameMap(clean, longest=20, known=mapped.changed)
    assert [again.key(name) for name in names] == keys and again.fresh == {}


def test_a_name_that_stands_where_another_was_lowered_to_gets_a_key_of_its_own():
    mapped = NameMap(clean, longest=40)
    taken = mapped.key("a@b")
    other = mapped.key(taken)
    assert other != taken and mapped.name(other) == taken and mapped.name(taken) == "a@b"


def test_the_report_is_json_that_people_can_read():
    told = json.loads(report("one", "mlflow", [Lowering(kind="name", name="a@b", detail="is a_b")]))
    assert told == {
        "run": "one", "backend": "mlflow", "lowered": [{"kind": "name", "name": "a@b", "detail": "is a_b"}],
    }  # fmt: skip
