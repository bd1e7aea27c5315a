"""What a model said of each example: logged from columns of any kind, kept without pickle, read as a stranger's."""

import gzip
import json
import math
import time

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unitrack
from unitrack.errors import UnitrackError, UsageError
from unitrack.media import predictions
from unitrack.media.predictions import collect, pack, unpack


class Tensor:
    """Behaves as a tensor of torch does here: off its graph and its device before its numbers are had."""

    def __init__(self, values, ready=False):
        self._values, self._ready = values, ready

    def detach(self):
        return Tensor(self._values)

    def cpu(self):
        return Tensor(self._values, ready=True)

    def tolist(self):
        assert self._ready, "a tensor on its device can't be read"
        return self._values


@pytest.fixture
def run(tmp_path):
    with unitrack.init("p", dir=tmp_path, mode="offline") as run:
        yield run


def read(run, name="predictions"):
    return unitrack.get_run(run.id, dir=run.spec.store).predictions(name)


@pytest.mark.parametrize(
    "column",
    [list, tuple, np.array, pd.Series, pl.Series, Tensor, lambda cells: pd.Series(cells, index=[9, 8, 7]), pd.Index],
)
def test_columns_of_every_kind_are_taken_as_they_are(run, column):
    run.log_predictions(
        column([3, 1, 2]), column([1, 0, 1]), column([1, 1, 0]), column([0.9, 0.6, 0.1]),
        slices={"age": column(["old", "young", "old"])}, split="test",
    )  # fmt: skip
    found = read(run)
    assert (found.ids, found.y_true, found.y_pred, found.scores) == ([3, 1, 2], [1, 0, 1], [1, 1, 0], [0.9, 0.6, 0.1])
    assert (found.classes, found.slices, found.split) == ([0, 1], {"age": ["old", "young", "old"]}, "test")
    assert len(found) == 3


@pytest.mark.parametrize("rows", [np.array, pd.DataFrame, lambda rows: pl.DataFrame(rows, orient="row"), list, Tensor])
def test_scores_of_several_classes_are_rows(run, rows):
    table = [[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]
    run.log_predictions(["a", "b"], ["x", "z"], scores=rows(table), classes=["x", "y", "z"])
    assert read(run).scores == table
    assert read(run).classes == ["x", "y", "z"]


def test_missing_words_of_a_slice_are_in_no_group(run):
    groups = pd.Series(["a", None, math.nan, pd.NA, "b"], dtype=object)
    run.log_predictions(range(5), [0.5] * 5, [1.0] * 5, slices={"group": groups, "size": [1, 2.5, True, None, "x"]})
    assert read(run).slices == {"group": ["a", None, None, None, "b"], "size": ["1", "2.5", "True", None, "x"]}


def test_predictions_travel_as_an_ordinary_artifact(run):
    digest = run.log_predictions(
        [1, 2], [0, 1], [0, 0], name="test/predictions", split="test", slices={"a": ["x", "y"]}
    )
    (artifact,) = unitrack.get_run(run.id, dir=run.spec.store).artifacts
    assert (artifact.name, artifact.kind, artifact.digest) == ("test/predictions.json.gz", "predictions", digest)
    assert artifact.metadata == {"rows": 2, "columns": ["y_pred"], "slices": ["a"], "split": "test"}
    path = run.use_artifact(f"{run.id}/test/predictions.json.gz")
    tree = json.loads(gzip.decompress(path.read_bytes()))
    assert tree["format"] == "unitrack-predictions"
    assert tree["y_pred"] == [0, 0]


def test_the_latest_of_a_name_counts_and_another_name_is_told(run):
    unitrack.log_predictions([1], [0], [0])
    unitrack.log_predictions([1], [0], [1])
    assert read(run).y_pred == [1]
    with pytest.raises(UsageError, match=r"has no predictions 'val'; it has 'predictions\.json\.gz'"):
        read(run, "val")


def test_a_run_that_keeps_nothing_checks_all_the_same(tmp_path):
    with unitrack.init("p", dir=tmp_path, mode="disabled") as run:
        assert run.log_predictions([1], [0], [0]).startswith("sha256:")
        with pytest.raises(UsageError, match="stands for two examples"):
            run.log_predictions([1, 1], [0, 0], [0, 0])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"ids": [], "y_true": [], "y_pred": []}, UsageError, "no examples"),
        ({"ids": [1], "y_true": [1]}, UsageError, "give y_pred, scores or both"),
        ({"ids": [1, 2], "y_true": [1], "y_pred": [1, 2]}, UsageError, "y_true has 1 rows for 2 ids"),
        ({"ids": [1], "y_true": [1], "y_pred": [1], "slices": {"a": ["x", "y"]}}, UsageError, "slice 'a' has 2 rows"),
        ({"ids": [1, 2, 1], "y_true": [1] * 3, "y_pred": [1] * 3}, UsageError, "the id 1 stands for two examples"),
        ({"ids": [1, "1"], "y_true": [1] * 2, "y_pred": [1] * 2}, UsageError, "all int or all str, not int, str"),
        ({"ids": [0.5], "y_true": [1], "y_pred": [1]}, UsageError, "all int or all str, not float"),
        ({"ids": [True], "y_true": [1], "y_pred": [1]}, UsageError, "all int or all str, not bool"),
        ({"ids": [2**63], "y_true": [1], "y_pred": [1]}, UsageError, "ids: row 0"),
        ({"ids": "ab", "y_true": [1], "y_pred": [1]}, TypeError, "ids must be a column of values, not str"),
        ({"ids": 7, "y_true": [1], "y_pred": [1]}, TypeError, "ids must be a column of values, not int"),
        ({"ids": [1], "y_true": [None], "y_pred": [1]}, TypeError, "y_true: row 0 holds NoneType"),
        ({"ids": [1, 2], "y_true": [1, "a"], "y_pred": [1, 1]}, UsageError, "y_true mixes texts and numbers"),
        ({"ids": [1], "y_true": ["1"], "y_pred": [1]}, UsageError, "log both in the same terms"),
        ({"ids": [1, 2], "y_true": [1, 2], "y_pred": [1, math.nan]}, UsageError, "y_pred: row 1 is nan"),
        ({"ids": [1], "y_true": [1], "scores": [math.inf]}, UsageError, "scores: row 0 is inf"),
        ({"ids": [1], "y_true": [1], "scores": [[math.inf, 0]]}, UsageError, "scores: row 0 is inf"),
        ({"ids": [1], "y_true": [1], "scores": ["high"]}, TypeError, "scores: row 0 holds the text 'high'"),
        ({"ids": [1], "y_true": [7], "scores": [0.5]}, UsageError, r"y_true holds 7, not among the classes \[0, 1\]"),
        ({"ids": [1], "y_true": ["a"], "scores": [0.5]}, UsageError, r"give classes=\[...\]"),
        ({"ids": [1], "y_true": ["a"], "scores": [0.5], "classes": ["a"]}, UsageError, "at least two labels"),
        ({"ids": [1], "y_true": [1], "scores": [0.5], "classes": [0, 1, 2]}, UsageError, "two classes apart, not 3"),
        ({"ids": [1], "y_true": [1], "scores": [[0.5, 0.5]], "classes": [0, 1, 2]}, UsageError, "rows of 2 numbers for 3"),
        ({"ids": [1, 2], "y_true": [1, 1], "scores": [[0.5, 0.5], 0.5]}, UsageError, "rows of 0, 2 numbers"),
        ({"ids": [1], "y_true": [1], "y_pred": [1], "slices": ["age"]}, TypeError, "slices are a dict of columns, not list"),
        ({"ids": [1], "y_true": [1], "y_pred": [1], "slices": {3: ["x"]}}, TypeError, "named by a text, not 3"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_are_refused_by_name_and_row(run, arguments, error, words):
    with pytest.raises(error, match=words):
        run.log_predictions(**arguments)
    assert unitrack.get_run(run.id, dir=run.spec.store).artifacts == ()


def good():
    return msgspec.to_builtins(collect([1, 2, 3], [0, 1, 1], [0, 1, 0], [0.1, 0.9, 0.4], slices={"a": ["x", "y", "x"]}))


@pytest.mark.parametrize(
    "change",
    [
        {"ids": [1, 1, 2]}, {"ids": [1, 2]}, {"ids": [1, 2, None]}, {"ids": [1, 2, 3.5]}, {"ids": [1, 2, 10**30]},
        {"ids": [1, 2, "3"]}, {"ids": {"1": 2}}, {"y_true": [0, 1]}, {"y_true": [0, 1, None]}, {"y_true": [0, 1, 5]},
        {"y_pred": None, "scores": None}, {"scores": [0.1, 0.2, "x"]}, {"scores": [[0.1], [0.2], [0.3]]},
        {"classes": None}, {"classes": [0, 0]}, {"slices": {"a": ["x"]}}, {"slices": {"a": [1, 2, 3]}},
        {"format": "pickle"}, {"version": 2}, {"extra": 1}, {"ids": [], "y_true": [], "y_pred": [], "scores": []},
    ],
)  # fmt: skip
def test_a_forged_file_is_refused(change):
    data = gzip.compress(json.dumps({**good(), **change}).encode())
    with pytest.raises(UnitrackError, match="^there: no predictions: "):
        unpack(data, source="there")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"\x80\x04N.", gzip.compress(b""), gzip.compress(b"[" * 100_000), gzip.compress(b"NaN"),
        gzip.compress(json.dumps(good()).encode())[:-9], gzip.compress(b'{"scores": [1e999]}'), gzip.compress(b"\xff"),
    ],
    ids=range(9),  # bytes would name the tests, and gzip writes the time into them
)  # fmt: skip
def test_what_is_no_such_file_is_refused(data):
    with pytest.raises(UnitrackError, match="no predictions"):
        unpack(data, source="there")


def test_a_file_that_swells_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(predictions, "LARGEST", 1 << 20)
    bomb = gzip.compress(b" " * (8 << 20))
    assert len(bomb) < 20_000
    with pytest.raises(UnitrackError, match="more than 1,048,576 bytes"):
        unpack(bomb, source="there")
    with pytest.raises(UsageError, match="200,000 predictions take"):
        pack(collect(range(200_000), [0] * 200_000, [0] * 200_000))


def test_bytes_that_changed_on_the_disk_are_not_read(run):
    digest = run.log_predictions([1, 2], [0, 1], [0, 0])
    path = run._objects.get(digest)
    path.chmod(0o644)
    path.write_bytes(pack(collect([1, 2], [0, 1], [0, 1])))
    with pytest.raises(UnitrackError, match="is damaged"):
        read(run)


@given(
    st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)), min_size=1, max_size=20),
    st.booleans(),
)
def test_what_is_written_comes_back_and_equal_predictions_are_equal_bytes(rows, words):
    ids = [f"{index}-{word}" for index, (_, word) in enumerate(rows)] if words else range(len(rows))
    numbers = [number for number, _ in rows]
    written = collect(ids, numbers, numbers[::-1], slices={"s": [word for _, word in rows]})
    data = pack(written)
    assert unpack(data, source="here") == written
    assert pack(unpack(data, source="here")) == data


@pytest.mark.timing
def test_a_hundred_thousand_rows_are_written_and_read_in_well_under_a_second(run):
    draw = np.random.default_rng(0)
    truth, scores = draw.integers(0, 2, 100_000), draw.random(100_000)
    start = time.process_time()
    run.log_predictions(np.arange(100_000), truth, scores > 0.5, scores, slices={"half": truth})
    written = time.process_time()
    read(run)
    assert written - start < 0.6
    assert time.process_time() - written < 0.4
