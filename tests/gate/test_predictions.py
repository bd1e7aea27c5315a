"""Predictions that runs logged, paired and compared: equal evidence gives figures, anything else a finding."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unitrack
from unitrack.errors import EvidenceError
from unitrack.gate.decide import decide
from unitrack.gate.evidence import gather, value_of
from unitrack.gate.policy import MetricPolicy, Policy
from unitrack.gate.predictions import Examples, Measured
from unitrack.journal import layout
from unitrack.objects import ObjectStore
from unitrack.reader import RunView

SIZE = 600
COUNTRIES = ["fr" if at % 3 else "de" for at in range(SIZE)]
TRUTH = [at * 7 % 2 for at in range(SIZE)]


def rule(**changes: Any) -> MetricPolicy:
    fields = {"name": "acc", "goal": "maximize", "margin": 0.02, "examples": "accuracy", "slices": ("country",)}
    return MetricPolicy(**{**fields, **changes})


def columns(wrong: Callable[[int], bool] = lambda at: at % 10 == 0, **changes: Any) -> dict[str, Any]:
    """Return what a model logs that errs where `wrong` says so."""
    return {
        "ids": [f"row-{at:04}" for at in range(SIZE)],
        "y_true": TRUTH,
        "y_pred": [1 - truth if wrong(at) else truth for at, truth in enumerate(TRUTH)],
        "slices": {"country": COUNTRIES},
        **changes,
    }


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., RunView]:
    def logged(**given: Any) -> RunView:
        with unitrack.init("p", dir=tmp_path, mode="offline") as run:
            if given:
                run.log_predictions(**given)
        return unitrack.get_run(run.id, dir=tmp_path)

    return logged


def measure(candidate: RunView, baseline: RunView, **changes: Any) -> Measured:
    return Examples().measure(rule(**changes), [candidate], [baseline])


def test_both_sides_are_compared_as_a_whole_and_by_slice(log: Callable[..., RunView]) -> None:
    worse = log(**columns(lambda at: at % 10 == 0 or (COUNTRIES[at] == "de" and at % 4 == 1)))
    found = measure(worse, log(**columns()))
    assert found.baseline == (0.9,)
    assert found.examples is not None
    assert (found.examples.test, found.examples.n) == ("mcnemar", SIZE)
    assert found.examples.mean == pytest.approx(found.candidate[0] - 0.9)  # type: ignore[operator]
    by_name = {one.value: one for one in found.slices}
    assert list(by_name) == ["de", "fr"]
    assert (by_name["de"].size, by_name["fr"].size) == (200, 400)
    assert (by_name["fr"].mean, by_name["fr"].p_fail) == (0.0, 1.0)
    assert by_name["de"].mean is not None
    assert by_name["de"].mean < -0.1
    assert by_name["de"].p_fail is not None
    assert by_name["de"].p_fail < 1e-6


def test_the_order_of_rows_changes_nothing(log: Callable[..., RunView]) -> None:
    given = columns(lambda at: at % 7 == 0)
    back = {name: cells[::-1] for name, cells in given.items() if name != "slices"}
    mixed = log(**back, slices={"country": COUNTRIES[::-1]})
    base = log(**columns())
    assert measure(mixed, base) == measure(log(**given), base)


def test_the_value_of_a_metric_of_examples_is_that_of_the_predictions_whatever_the_run_says(tmp_path: Path) -> None:
    with unitrack.init("p", dir=tmp_path, mode="offline") as run:
        run.log({"acc": 0.999})
        run.log_predictions(**columns())
    view = unitrack.get_run(run.id, dir=tmp_path)
    assert value_of(view, rule()) == 0.9
    assert value_of(view, rule(examples=None, slices=())) == 0.999


def test_labels_may_be_texts_and_classes_in_any_order_but_two(log: Callable[..., RunView]) -> None:
    names = np.array(["cat", "dog", "eel"])
    truth = names[np.arange(SIZE) % 3]
    draw = np.random.default_rng(0)
    scores = draw.dirichlet(np.ones(3), SIZE)
    ids = list(range(SIZE))
    one = log(ids=ids, y_true=truth, scores=scores, classes=["cat", "dog", "eel"])
    two = log(ids=ids, y_true=truth, scores=scores[:, [2, 0, 1]], classes=["eel", "cat", "dog"])
    found = measure(one, two, examples="log_loss", goal="minimize", slices=())
    assert found.unfit is None
    assert found.examples is not None
    assert found.examples.mean == 0
    binary = [log(ids=ids, y_true=TRUTH, y_pred=TRUTH, scores=TRUTH, classes=order) for order in ([0, 1], [1, 0])]
    other = measure(*binary, examples="f1", slices=()).unfit
    assert other is not None
    assert "the candidate's classes are [0, 1], the baseline's [1, 0]" in other.reason


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (columns(ids=[f"new-{at}" for at in range(SIZE)]), "600 are missing from the candidate's ('row-0000', ...)"),
        ({n: c[:500] for n, c in columns(slices={}).items() if c}, "100 are missing from the candidate's"),
        (columns(y_true=[1 - TRUTH[0], *TRUTH[1:]]), "the true label of 1 examples was changed by the candidate"),
        (columns(slices={}), "the candidate logged no slice column 'country'"),
        (columns(slices={"country": ["fr", *COUNTRIES[1:]]}), "the slice 'country' of 1 examples was changed"),
        (columns(split="train"), "the candidate's split is 'train', the baseline's None"),
        (columns(ids=list(range(SIZE))), "600 are the candidate's alone"),
    ],
)
@pytest.mark.parametrize("missing", ["fail", "undecided"])
def test_examples_that_differ_are_no_comparison_and_never_pass(
    log: Callable[..., RunView], candidate: dict[str, Any], words: str, missing: str
) -> None:
    mine = rule(missing=missing)
    views = {0: log(**candidate)}, {0: log(**columns())}
    policy = Policy(model=None, metrics=(mine,))
    (found,) = decide(policy, gather(policy, (0,), *views), pairs_max=3)
    assert (found.decision, found.cause) == (missing, "examples")
    assert words in found.reason
    assert found.examples is None
    assert found.slices == ()


def object_of(view: RunView) -> Path:
    (artifact,) = view.artifacts
    return ObjectStore(layout.objects_dir(view.path.parent.parent)).get(artifact.digest)


def kinder(data: bytes) -> bytes:
    """Every answer is right, in a file that is sound."""
    tree = json.loads(gzip.decompress(data))
    tree["y_pred"] = tree["y_true"]
    return gzip.compress(json.dumps(tree).encode())


@pytest.mark.parametrize("change", [kinder, lambda data: data[:-20], lambda data: b"", lambda data: b"not gzip"])
@pytest.mark.parametrize("side", ["candidate", "baseline"])
def test_predictions_that_were_changed_in_the_store_never_pass(
    log: Callable[..., RunView], change: Callable[[bytes], bytes], side: str
) -> None:
    views = {"candidate": log(**columns(lambda at: at % 3 == 0)), "baseline": log(**columns())}
    path = object_of(views[side])
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))
    mine = rule()
    policy = Policy(model=None, metrics=(mine,))
    try:
        (found,) = decide(policy, gather(policy, (0,), {0: views["candidate"]}, {0: views["baseline"]}), pairs_max=3)
    except EvidenceError as error:
        assert "predictions" in str(error)  # noqa: PT017 - either end is a closed one
    else:
        assert found.decision in ("fail", "undecided")
        assert "predictions" in found.reason
