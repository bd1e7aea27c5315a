"""Ids can be computed from a pathspec, and no two pathspecs share one."""

import pytest
from verdicts import HOSTILE, hostile, ordinary

from unitrack.model import check_run_id
from unitrack_metaflow import flow_run_id, task_run_id, verdict_parts


def test_a_flow_and_its_tasks_have_ids_that_tell_where_they_are_from():
    assert flow_run_id("Train/7/fit/3") == flow_run_id("Train/7") == "metaflow-Train-7"
    assert task_run_id("Train/7/fit/3") == "metaflow-Train-7-fit-3"
    assert task_run_id("Train/7/fit/3", 2) == "metaflow-Train-7-fit-3-retry2"


@pytest.mark.parametrize("pathspec", ["Train/argo-x.y:z/fit/3", "Träin/7/fit/3", f"{'T' * 150}/7/fit/3"])
def test_names_that_an_id_cannot_hold_are_cut_and_told_apart(pathspec):
    first, second = task_run_id(pathspec), task_run_id(pathspec.replace("fit", "fat"))
    assert check_run_id(first) == first
    assert first != second


def test_a_step_or_a_run_is_no_task():
    with pytest.raises(ValueError, match="Flow/run/step/task"):
        task_run_id("Train/7")


def test_a_verdict_on_a_card_shows_each_metric_and_why():
    verdict = ordinary("fail")
    title, headers, rows, notes = verdict_parts(verdict)
    assert title.startswith("## Gate: fail")
    assert [row[0].replace("\\", "") for row in rows] == [one.name for one in verdict.metrics]
    assert [row[headers.index("decision")] for row in rows] == [one.decision for one in verdict.metrics]
    assert len(notes) == len(verdict.metrics)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_a_verdict_are_dead_on_a_card(text):
    title, _, rows, notes = verdict_parts(hostile(text))
    shown = " ".join([title, *notes, *(row[0] for row in rows)])
    assert "<script" not in shown.lower()
    assert "<img" not in shown.lower()
    assert "](" not in shown  # a link or picture; brackets are escaped
