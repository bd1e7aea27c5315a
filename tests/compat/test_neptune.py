"""`unitrack.compat.neptune` and `neptune_scale`: what scripts rely on, and what is refused."""

import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from logged import files, points

import unitrack
import unitrack.compat.neptune as neptune
from unitrack.compat import UnsupportedError
from unitrack.compat.neptune.types import File
from unitrack.compat.neptune.utils import stringify_unsupported
from unitrack.compat.neptune_scale import Run as ScaleRun
from unitrack.compat.neptune_scale.types import File as ScaleFile
from unitrack.compat.neptune_scale.types import Histogram

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def run():
    with neptune.init_run(project="w/p") as run:
        yield run


def view_of(run):
    return unitrack.get_run(run["sys/id"].fetch())


def test_single_values_are_parameters_nested_by_their_path(run):
    run["parameters"] = stringify_unsupported({"lr": 0.1, "layers": [1, 2], "opt": {"name": "sgd"}, "none": None})
    run["parameters/opt"]["beta"] = 0.9
    run["parameters/lr"].assign(0.2)
    run["when"] = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    run.assign({"a/b": 1})
    assert view_of(run).params == {
        "parameters": {"lr": 0.2, "layers": [1, 2], "opt": {"name": "sgd", "beta": 0.9}, "none": None},
        "when": "2024-01-01T00:00:00+00:00", "a": {"b": 1},
    }  # fmt: skip


def test_series_count_on_by_themselves_and_keep_what_they_are_given(run):
    run["a"].append(1.0)
    run["a"].append(2.0)
    run["a"].append(3.0, step=7.5, timestamp=1700000000.5)
    run["a"].append(4.0)
    run["n"].append({"x": 1, "y": {"z": 2}}, step=3)
    run["old"].log([1, 2])
    run["many"].extend({"l": [1.0, 2.0]}, steps=[5, 6])
    assert points(view_of(run)) == {
        "a": [(0, 1), (1, 2), (7.5, 3), (8.5, 4)], "n/x": [(3, 1)], "n/y/z": [(3, 2)], "old": [(0, 1), (1, 2)],
        "many/l": [(5, 1), (6, 2)],
    }  # fmt: skip
    assert view_of(run).series("a").times[2] == 1700000000.5


def test_a_continued_run_counts_on():
    for value in (1.0, 2.0):
        with neptune.init_run(custom_run_id="again") as run:
            run["a"].append(value)
    with neptune.init_run(with_id="again") as run:
        run["a"].append(3.0)
    assert points(view_of(run)) == {"a": [(0, 1), (1, 2), (2, 3)]}
    with pytest.raises(ValueError, match="no run"):
        neptune.init_run(with_id="unknown")


def test_files_are_artifacts_and_pictures_are_media(run):
    Path("m.pt").write_text("weights")
    run["model/weights"].upload("m.pt")
    run["notes"].upload(File.from_content("hi"))
    run["stream"].upload(File.from_stream(BytesIO(b"x"), extension="dat"))
    run["pickle"] = File.as_pickle({"a": 1})
    run["picture"].upload(File.as_image(np.zeros((2, 2))))
    run["series"].append(File.as_image(np.zeros((2, 2))), step=4)
    run["files"].append(File("m.pt"))
    run["said"].append("hello")
    run["all"].upload_files(["*.pt"])
    view = view_of(run)
    kept = files(view)
    assert set(kept) == {"model/weights.pt", "notes.txt", "stream.dat", "pickle.pkl", "all/m.pt"}
    assert kept["model/weights.pt"] == b"weights"
    assert [(m.name, m.kind, m.step) for m in view.media] == [
        ("picture", "image", None), ("series", "image", 4), ("files", "file", 0), ("said", "text", 0),
    ]  # fmt: skip


def test_data_is_tracked_by_its_digest(run):
    Path("data.csv").write_text("1,2")
    run["train"].track_files("data.csv")
    run["far"].track_files("s3://bucket/data.csv")
    near, far = view_of(run).datasets
    assert near.name == "train" and near.digest.startswith("sha256:") and far.uri == "s3://bucket/data.csv"


def test_system_fields_that_can_be_set_are(run):
    run["sys/name"] = "later"
    run["sys/description"] = "why"
    run["sys/tags"].add(["a", "b"])
    run["sys/group_tags"].add("g")
    run["sys/tags"].remove("b")
    run["sys/failed"] = True
    run.stop()
    view = view_of(run)
    assert (view.name, view.tags, view.tag_values, view.status) == (
        "later",
        ("a", "g"),
        {"description": "why"},
        "failed",
    )


def test_an_exception_fails_the_run():
    with pytest.raises(RuntimeError), neptune.init_run() as run:
        raise RuntimeError("boom")
    assert view_of(run).status == "failed"


def test_debug_mode_takes_all_calls_and_keeps_nothing():
    with neptune.init_run(mode="debug", api_token="not-to-be-kept") as run:
        run["a"].append(1.0)
        run["b"] = 2
    assert unitrack.runs() == []


@pytest.mark.parametrize(
    "use",
    [
        lambda run: run["a"].fetch(),
        lambda run: run["a"].fetch_values(),
        lambda run: run["a"].download(),
        lambda run: run["a"].pop(),
        lambda run: run["a"].add("x"),
        lambda run: run.__delitem__("a"),
        lambda run: run.exists("a"),
        lambda run: run.print_structure(),
        lambda run: run.__setitem__("sys/owner", "me"),
        lambda run: neptune.init_run(mode="read-only"),
        lambda run: neptune.init_model(key="X"),
        lambda run: ScaleRun(run_id="x", fork_run_id="y"),
    ],
)
def test_what_cant_be_done_is_refused(run, use):
    with pytest.raises(UnsupportedError):
        use(run)


def test_what_has_no_effect_is_said(run):
    with pytest.warns(unitrack.UnitrackWarning, match="flush_period"):
        neptune.init_run(flush_period=3).stop()
    with pytest.warns(unitrack.UnitrackWarning, match="the time of the call"):
        run["said"].append("x", timestamp=1.0)


def test_the_later_client_logs_all_its_kinds():
    Path("m.bin").write_text("weights")
    with ScaleRun(run_id="r1", experiment_name="e", project="w/p", mode="offline") as run:
        run.log_configs({"a": {"b": 1}, "c": [1, 2]})
        run.log_metrics({"m": 1.0}, step=2)
        run.log_metrics(
            {"m": float("nan")}, step=1.5, timestamp=datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
        )
        run.add_tags(["a"])
        run.add_tags(["g"], group_tags=True)
        run.log_string_series({"s": "x"}, step=1)
        run.log_histograms({"h": Histogram([0, 1, 2], counts=[3, 4])}, step=2)
        run.assign_files({"model": "m.bin", "bytes": ScaleFile(b"x", mime_type="text/plain")})
        run.log_files({"f": "m.bin"}, step=3)
        assert run.wait_for_submission() and run.get_run_url().startswith("file://")
    view = unitrack.get_run("r1")
    assert (view.name, view.project, view.tags, view.status) == ("e", "w/p", ("a", "g"), "finished")
    assert view.params == {"a": {"b": 1}, "c": [1, 2]}
    assert list(view.series("m").steps) == [2, 1.5] and view.series("m").times[1] == 1704067200
    assert [(m.name, m.kind, m.step) for m in view.media] == [("s", "text", 1), ("h", "histogram", 2), ("f", "file", 3)]
    assert files(view) == {"model": b"weights", "bytes": b"x"}
    again = ScaleRun(run_id="r1", project="w/p")
    again.log_metrics({"m": 2.0}, step=3)
    again.terminate()
    assert len(unitrack.get_run("r1").series("m")) == 3 and unitrack.get_run("r1").status == "killed"
