"""Runs come back from MLflow: those unitrack sent as they were logged, those of others as MLflow has them."""

from __future__ import annotations

import json
import math
import string

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from unitrack import events
from unitrack.backend import Lowering
from unitrack.content import content_of, differences
from unitrack.errors import ConfigError, FatalBackendError
from unitrack.importing import import_runs
from unitrack.journal import layout
from unitrack.journal.codec import encode_line
from unitrack.journal.cursor import load_cursor
from unitrack.journal.seal import verify_run
from unitrack.model import plain
from unitrack.objects import ObjectStore
from unitrack.reader import Store
from unitrack_mlflow import MlflowReader
from unitrack_mlflow._history import seconds
from unitrack_mlflow._text import typed
from unitrack_mlflow._undo import Names, nested, undo

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account


@pytest.fixture
def back(tmp_path):
    """Import from a tracker into a fresh store each time."""
    count = iter(range(1000))

    def imported(tracker, **options):
        store = tmp_path / f"back{next(count)}"
        chosen = {"experiment": tracker.experiment, **options}
        report = import_runs(MlflowReader(), tracker.uri, store, chosen)
        assert report.complete, report
        for run_id in Store(store).ids():
            assert verify_run(layout.run_dir(store, run_id)).ok
        made = Store(store)
        made.told = [each for run in report.runs for each in run.lowered]
        return made

    return imported


def unexplained(runs, store, run_id="one"):
    """Return how the run that came back differs from the one that was logged, but for what was told."""
    told = load_cursor(runs.folder(run_id), "mlflow").lowered
    lowered = [Lowering(kind=each.kind, name=each.name, detail=each.detail) for each in told]
    return differences(content_of(Store(runs.root).run(run_id)), content_of(store.run(run_id)), [*lowered, *store.told])


def tree(runs, files, **manifest):
    """Keep a folder as an object and return its digest."""
    entries = [{"digest": runs.put(data), "path": path, "size": len(data)} for path, data in sorted(files.items())]
    whole = {"files": entries, "folders": [], "skipped": [], "version": 1, **manifest}
    return runs.put(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode())


ODD_TEXT = ["1", "1.0", "True", "None", "nan", "NaN", "inf", "[1, 2]", "{}", "007", "1e5", "", "-", "a b", "-0", "1_0"]


def everything(runs, run_id="one", **fields):
    writer = runs.writer(run_id, name="my run", group="sweep", tags=["new"], argv=["train.py", "--lr", "1"], **fields)
    odd = {f"t{number}": plain(text) for number, text in enumerate(ODD_TEXT)}
    values = {"int": 3, "float": 0.1, "none": None, "yes": True, "nan": "NaN", "inf": "-Infinity", "list": [1, ["NaN"]]}
    writer.append(events.Params, {"deep": {"er": {**values, "empty": {}}}, **odd, "a@b": 1, "long": "x" * 7000})
    writer.append(events.Params, {"deep": {"er": {"int": 4}}, "long list": list(range(3000))})
    for step in range(60):
        writer.append(events.Metrics, {"loss": 1 / (step + 1), "mAP@50": step / 30}, step)
    writer.append(events.Metrics, {"loss": 5, "back": 1.0, "summary/x": 1.0, "system/y": 2}, 3)
    writer.append(events.Metrics, {"odd": "NaN", "big": "Infinity", "small": "-Infinity"}, 1)
    writer.append(events.Metrics, {"stepless": 1.5})
    writer.append(events.Metrics, {"half": 1.5}, 2.5)
    writer.append(events.MetricDefinition, name="loss", goal="minimize", summary="min", step="epoch")
    writer.append(events.Summary, {"best": 0.9, "note": "fine", "nested": {"n": 7, "t": "1"}, "list": [1, 2]})
    writer.append(
        events.Tags, add=["good", "a:b(c)"], remove=["new"], values={"owner": "me", "flag": "true", "mlflow.x": "y"}
    )
    weights = runs.put(b"weights")
    writer.append(
        events.Artifact, name="model/w.pt", kind="model", digest=weights, size=7, aliases=["best"], metadata={"f": 1.5}
    )
    plain_tree, odd_tree = tree(runs, {"a.txt": b"a", "d/b.txt": b"b"}), tree(runs, {"a#.txt": b"a"}, folders=["empty"])
    writer.append(events.Artifact, name="folder", kind="dataset", digest=plain_tree, size=2, tree=True)
    writer.append(events.Artifact, name="odd#folder", kind="dataset", digest=odd_tree, size=1, tree=True)
    writer.append(events.Artifact, name="far", kind="artifact", uri="s3://b/far", digest="sha256:" + "d" * 64)
    writer.append(
        events.Artifact, name="used", kind="model", digest=weights, size=7, use="input", metadata={"origin": "z/used"}
    )
    image = runs.put(b"png bytes")
    writer.append(
        events.Media, name="plot#1", kind="image", format="png", step=3, digest=image, size=9, caption="a plot"
    )
    writer.append(events.Media, name="plot#1", kind="figure", format="png", step=4, digest=image, size=9)
    writer.append(events.Media, name="deep/note", kind="text", format="txt", inline="hello")
    writer.append(
        events.Media,
        name="h",
        kind="histogram",
        format="json",
        step=1.5,
        inline={"edges": [0, 1], "counts": [3], "nan": 0, "inf": 0},
    )
    writer.append(
        events.Media,
        name="table",
        kind="table",
        format="json",
        digest=runs.put(b'{"columns":[]}'),
        size=14,
        metadata={"rows": 0},
    )
    writer.append(
        events.DatasetUsed,
        name="train",
        uri="s3://b/t",
        digest="sha256:" + "c" * 64,
        split="train",
        rows=10,
        columns=[["x", "float"]],
        metadata={"k": 1},
    )
    writer.append(events.DatasetUsed, name="test", version="v3")
    writer.append(events.DatasetUsed, name="bare")
    writer.append(events.Capture, name="git", values={"commit": "abc123", "branch": "main", "dirty": False})
    writer.append(events.Capture, name="git", values={"branch": "next", "tag": "v1"})
    writer.append(events.System, {"cpu": 40.0, "gpu@0": 1.0})
    writer.append(events.Alert, title="look", text="closely", level="warning")
    writer.append(events.Console, stream="stdout", text="printed")
    return writer


def test_a_run_that_went_to_mlflow_and_back_is_equal_but_for_what_was_told(tracker, runs, back):
    everything(runs).seal("failed")
    runs.send(tracker)
    store = back(tracker)
    assert unexplained(runs, store) == []
    assert {kind for kind, _ in runs.lowered} >= {"name", "step", "non-finite", "param-changed", "dataset-digest"}
    view = store.run("one")
    assert view.argv == ("train.py", "--lr", "1")
    assert view.params["deep"]["er"] == {
        "int": 4, "float": 0.1, "none": None, "yes": True, "nan": pytest.approx(math.nan, nan_ok=True), "inf": -math.inf,
        "list": [1, [pytest.approx(math.nan, nan_ok=True)]], "empty": {},
    }  # fmt: skip
    assert [view.params[f"t{number}"] for number in range(len(ODD_TEXT))] == ODD_TEXT
    assert list(view.series("big").values) == [math.inf], "MLflow's largest number is what infinity became"
    objects = ObjectStore(layout.objects_dir(store.root))
    outputs = {each.name: each for each in view.artifacts if each.use == "output" and each.uri is None}
    assert all(objects.verify(each.digest) for each in outputs.values())
    assert [entry.path for entry in objects.manifest(outputs["odd#folder"].digest).files] == ["a#.txt"]


def test_a_difference_that_nobody_told_is_found(sqlite_tracker, runs, back):
    """The comparison of the test above can fail."""
    everything(runs).seal("failed")
    runs.send(sqlite_tracker)
    run = sqlite_tracker.run("one").info.run_id
    sqlite_tracker.client.log_metric(run, "loss", 9.0, step=99)
    sqlite_tracker.client.delete_tag(run, "owner")
    found = unexplained(runs, back(sqlite_tracker))
    assert [each.split(" ")[:2] for each in found] == [["tag", "'owner'"], ["metric", "'loss'"]]


def test_a_run_of_several_ranks_and_writers_comes_back_as_one(sqlite_tracker, runs, back):
    for rank in (0, 1):
        writer = runs.writer(rank=rank)
        writer.append(events.Params, {"lr": 0.1})
        for step in range(5):
            writer.append(events.Metrics, {"loss": rank + step / 10}, step)
        writer.append(events.System, {"cpu": 10.0 * rank})
        writer.append(events.Capture, name="hardware", values={"gpu": f"gpu{rank}"})
        writer.seal("finished")
    runs.send(sqlite_tracker)
    assert unexplained(runs, back(sqlite_tracker)) == []


def test_parents_come_first_and_keep_their_ids(sqlite_tracker, runs, back):
    runs.writer("kid", parent="mother").seal("finished")
    runs.send(sqlite_tracker)
    runs.writer("mother", parent="granny").seal("killed")
    runs.send(sqlite_tracker)
    order = [run.info.id for run in MlflowReader().runs(sqlite_tracker.uri, {"experiment": sqlite_tracker.experiment})]
    assert order == ["granny", "mother", "kid"], "granny stands in for itself"
    store = back(sqlite_tracker)
    assert (store.run("kid").parent, store.run("mother").parent) == ("mother", "granny")
    assert store.run("mother").status == "killed"


def test_a_run_that_still_goes_on_is_read_as_far_as_it_goes(sqlite_tracker, runs, back):
    writer = everything(runs)
    runs.send(sqlite_tracker)
    assert back(sqlite_tracker).run("one").status == "killed"
    writer.append(events.Metrics, {"loss": 0.0}, 100)
    writer.seal("finished")
    runs.send(sqlite_tracker)
    assert unexplained(runs, back(sqlite_tracker)) == []


# -- runs of others ------------------------------------------------------------------------------


def test_a_run_of_somebody_else_is_as_mlflow_has_it(tracker, back, tmp_path):
    client = tracker.client
    experiment = client.create_experiment(tracker.experiment)
    parent = client.create_run(experiment, run_name="outer").info.run_id
    made = client.create_run(
        experiment,
        start_time=1_700_000_000_123,
        tags={"mlflow.parentRunId": parent, "a.b": "true"},
        run_name="calm-fox-1",
    )
    run = made.info.run_id
    for key, value in {"lr": 0.1, "opt/name": "adam", "layers": [1, 2], "ver": "1.10", "d": {"x": 1}}.items():
        client.log_param(run, key, value)
    for step in range(10):
        client.log_metric(run, "summary/loss", step / 2, timestamp=1_700_000_000_500 + step, step=step)
    client.log_metric(run, "nan", math.nan, timestamp=5, step=0)
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a.txt").write_text("a")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}")
    client.log_artifacts(run, str(tmp_path / "plots"), "plots")
    client.log_artifacts(run, str(tmp_path / "model"), "model")
    client.log_text(run, "hello", "notes.txt")
    client.set_terminated(run, "FAILED", end_time=1_700_000_009_000)
    client.set_terminated(parent)
    view = back(tracker).run(run)
    assert (view.id, view.name, view.project, view.parent) == (run, "calm-fox-1", tracker.experiment, parent)
    assert (view.status, view.started, view.ended) == ("failed", 1_700_000_000.123, 1_700_000_009.0)
    assert view.params == {"lr": 0.1, "opt/name": "adam", "layers": [1, 2], "ver": "1.10", "d": "{'x': 1}"}
    assert list(view.series("summary/loss")) == [
        (step, pytest.approx(1_700_000_000.5 + step / 1000), step / 2) for step in range(10)
    ]
    assert math.isnan(view.series("nan").values[0])
    assert view.tag_values["a.b"] == "true"
    assert {each.name: (each.kind, each.tree) for each in view.artifacts} == {
        "plots": ("artifact", True), "model": ("model", True), "notes.txt": ("artifact", False),
    }  # fmt: skip


def test_a_model_that_mlflow_keeps_beside_the_run_comes_along(sqlite_tracker, back, tmp_path):
    client = sqlite_tracker.client
    from mlflow.entities import LoggedModelOutput

    experiment = client.create_experiment(sqlite_tracker.experiment, artifact_location=str(tmp_path / "artifacts"))
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, name="net", source_run_id=run)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights").write_bytes(b"w")
    client.log_model_artifacts(model.model_id, str(tmp_path / "net"))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
    store = back(sqlite_tracker)
    (artifact,) = store.run(run).artifacts
    assert (artifact.name, artifact.kind, artifact.tree) == ("net", "model", True)
    assert [each.path for each in ObjectStore(layout.objects_dir(store.root)).manifest(artifact.digest).files] == [
        "weights"
    ]


def test_what_was_logged_past_unitrack_into_its_run_comes_along(sqlite_tracker, runs, back):
    everything(runs).seal("finished")
    runs.send(sqlite_tracker)
    run = sqlite_tracker.run("one").info.run_id
    sqlite_tracker.client.log_text(run, "later", "model/added.txt")
    sqlite_tracker.client.set_tag(run, "reviewed", "yes")
    view = back(sqlite_tracker).run("one")
    assert "model/added.txt" in {each.name for each in view.artifacts}
    assert view.tag_values["reviewed"] == "yes"


def test_a_file_that_is_gone_is_told_and_the_rest_comes(sqlite_tracker, runs, tmp_path):
    everything(runs).seal("finished")
    runs.send(sqlite_tracker)
    tags = sqlite_tracker.client
    run = sqlite_tracker.run("one").info.run_id
    tags.set_tag(run, "unitrack.artifact.gone.bin", json.dumps({"kind": "model", "digest": "sha256:" + "e" * 64}))
    report = import_runs(MlflowReader(), sqlite_tracker.uri, tmp_path / "x", {"experiment": sqlite_tracker.experiment})
    assert report.complete
    assert ("artifact", "gone.bin") in {(each.kind, each.name) for each in report.runs[0].lowered}
    assert verify_run(layout.run_dir(tmp_path / "x", "one")).ok


# -- choosing ------------------------------------------------------------------------------------


def test_runs_are_chosen_by_either_id_and_by_experiment(sqlite_tracker, runs):
    for run_id in ("one", "two", "three"):
        runs.writer(run_id).seal("finished")
    runs.send(sqlite_tracker)
    native = sqlite_tracker.run("two").info.run_id

    def ids(**options):
        return sorted(run.info.id for run in MlflowReader().runs(sqlite_tracker.uri, options))

    assert ids(experiment=sqlite_tracker.experiment) == ["one", "three", "two"]
    assert ids(experiment=sqlite_tracker.experiment, run=f"one, {native}") == ["one", "two"]
    assert set(ids()) >= {"one", "two", "three"}
    with pytest.raises(FatalBackendError, match="has no run 'four'"):
        ids(run="four")
    with pytest.raises(FatalBackendError, match="has no run"):
        ids(run="0" * 32)
    with pytest.raises(FatalBackendError, match="no experiment 'nowhere'"):
        ids(experiment="nowhere")
    with pytest.raises(ConfigError, match="its options are: experiment, run"):
        ids(experiments="x")


def test_a_run_of_one_mlflow_is_copied_to_another_and_found_there_by_its_id(sqlite_tracker, runs, back):
    client = sqlite_tracker.client
    old = client.create_run(client.create_experiment(f"{sqlite_tracker.experiment} old")).info.run_id
    client.log_metric(old, "loss", 1.0, step=3)
    client.set_terminated(old)
    import_runs(MlflowReader(), sqlite_tracker.uri, runs.root, {"run": old})
    assert runs.send(sqlite_tracker)[0].state == "sent"
    source, options = MlflowReader().source_of(sqlite_tracker.options, project="any", run=old)
    (run,) = MlflowReader().runs(source, options)
    assert run.info.id == old
    assert not run.info.origin.endswith(old), "the copy, not the original"
    assert unexplained(runs, back(sqlite_tracker, run=old), old) == []


def test_credentials_in_the_uri_are_kept_nowhere(sqlite_tracker, runs):
    runs.writer().seal("finished")
    runs.send(sqlite_tracker)
    uri = sqlite_tracker.uri.replace("sqlite:///", "sqlite+pysqlite:///")
    (run,) = MlflowReader().runs(uri, {"experiment": sqlite_tracker.experiment})
    assert "@" not in run.info.origin
    from unitrack_mlflow._reader import _without_credentials

    assert _without_credentials("postgresql://me:secret@db/x") == "postgresql://db/x"


# -- the pure parts ------------------------------------------------------------------------------


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.integers() | st.text())))
def test_a_value_is_read_from_its_text(value):
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    found = typed(text)
    assert type(found) is type(value)
    assert found == value or (found != found and value != value)


@given(st.text(max_size=20) | st.sampled_from(ODD_TEXT))
def test_what_is_read_from_a_text_gives_the_same_text(text):
    value = typed(text)
    again = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
    assert again == text


@given(st.integers(0, 2**43))
def test_a_time_comes_to_the_same_millisecond_when_it_is_sent_back(stamp):
    assert int(seconds(stamp) * 1000) == stamp
    assert abs(seconds(stamp) - stamp / 1000) < 1e-6 * max(1, stamp / 1e9)


def test_names_nest_unless_one_is_in_the_way_of_another():
    assert nested({"a/b": 1, "a/c/d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert nested({"a": 1, "a/b": 2, "/x": 3}) == {"a": 1, "a/b": 2, "/x": 3}


def test_tags_that_unitrack_didnt_make_are_no_news_to_it():
    undone = undo(
        {}, {"unitrack.run_id": "one", "unitrack.new.thing": "x", "unitrack.git.commit": "a"}, lambda _path: None
    )
    assert (undone.ours, undone.values, undone.words) == ("one", {}, [])
    assert Names({}).media("media/x/0123abcd.png") is None, "a folder of this name in somebody else's run is a folder"


# -- any run -------------------------------------------------------------------------------------

WORDS = st.text(string.ascii_letters + string.digits + "_-. @#(é", min_size=1, max_size=12)
NAMES = st.lists(WORDS, min_size=1, max_size=2).map("/".join)
LARGEST = 1.7e308  # what is larger than that comes back as infinity, which MLflow keeps as the largest number
FLOATS = st.floats().filter(lambda value: not LARGEST < abs(value) < math.inf)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), FLOATS, st.text(max_size=8), st.sampled_from(ODD_TEXT)
)
NUMBERS = st.one_of(st.integers(-1000, 1000), st.floats(width=32), st.sampled_from(["NaN", "Infinity"]))
STEPS = st.none() | st.integers(-5, 50) | st.sampled_from([0.5, 2.25])


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example takes a second: too slow to shrink
)  # fmt: skip
@given(
    params=st.dictionaries(NAMES, LEAVES | st.lists(LEAVES, max_size=3), max_size=6),
    points=st.lists(st.tuples(st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=3), STEPS), max_size=12),
    words=st.lists(WORDS, max_size=3, unique=True),
    texts=st.dictionaries(NAMES, st.text(max_size=8) | st.just("true"), max_size=3),
    summary=st.dictionaries(WORDS, LEAVES, max_size=3),
)
def test_any_run_comes_back(sqlite_tracker, runs, tmp_path_factory, params, points, words, texts, summary):
    folder = tmp_path_factory.mktemp("any")
    runs, tracker = type(runs)(folder / "store"), type(sqlite_tracker)(sqlite_tracker.uri, folder.name)
    writer = runs.writer()
    writer.append(events.Params, plain(params))
    start = 1_700_000_000.0
    for number, (values, step) in enumerate(points):
        spelled = {name: plain(value) if isinstance(value, float) else value for name, value in values.items()}
        writer.append(lambda seq, _time, *rest, at=start + number / 100: events.Metrics(seq, at, *rest), spelled, step)
    writer.append(events.Tags, add=[word for word in words if word not in texts], values=texts)
    writer.append(events.Summary, plain(summary))
    writer.seal("finished")
    assert all(encode_line(event) for _, event in Store(runs.root).run("one").events())
    (result,) = runs.send(tracker)
    assert (result.state, result.dead) == ("sent", 0)
    report = import_runs(MlflowReader(), tracker.uri, folder / "back", {"experiment": tracker.experiment})
    assert report.complete, report
    store = Store(folder / "back")
    store.told = report.runs[0].lowered
    assert unexplained(runs, store) == []
