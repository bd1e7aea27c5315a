"""A logdir read back: ours as they were, others as they are, and the counts that TensorBoard's own reader gives."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import msgspec
import numpy
import pytest
from tensorboard.compat.proto import event_pb2, graph_pb2, summary_pb2
from tensorboard.plugins.audio import metadata as audio
from tensorboard.plugins.histogram import metadata as histogram
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.image import metadata as image
from tensorboard.plugins.scalar import metadata as scalar
from tensorboard.plugins.text import metadata as text
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from unitrack import events
from unitrack.content import content_of, differences
from unitrack.errors import ConfigError, FatalBackendError
from unitrack.foreign import Counts
from unitrack.importing import import_runs
from unitrack.journal.reader import JournalReader
from unitrack.objects import ObjectStore
from unitrack.reader import Store
from unitrack_tensorboard import TensorboardReader

_spec = importlib.util.spec_from_file_location("whole_runs", Path(__file__).with_name("test_files.py"))
_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_files)
picture, sound, whole_run = _files.picture, _files.sound, _files.whole_run
Value = summary_pb2.Summary.Value


@pytest.fixture
def objects(tmp_path):
    return ObjectStore(tmp_path / "elsewhere")


def read(logdir, **options):
    return list(TensorboardReader().runs(str(logdir.path), options))


def plain(event):
    """Return an event without its number, which the reader needn't keep; whole numbers are as good as floats."""
    return {**msgspec.to_builtins(event), "seq": 0}


def test_a_run_of_ours_comes_back_as_it_was(runs, logdir, objects, tmp_path):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "a.txt").write_text("a")
    writer = whole_run(runs, folder=tmp_path / "data", parent="mother")
    runs.send()
    (run,) = read(logdir)
    found = [plain(event) for event in run.events(objects)]
    logged = [plain(event) for event in JournalReader(writer.path).read(1 << 30).events]
    told_otherwise = ("writer", "run", "status", "console")
    assert found == [event for event in logged if event["type"] not in told_otherwise]
    assert run.lowered == ()
    info = run.info
    assert (info.id, info.name, info.group, info.parent, info.project) == ("one", "my run", "sweep", "mother", "p")
    assert (info.status, info.tags) == ("finished", ("good",))
    for event in logged:
        if event["type"] in ("artifact", "media") and event.get("digest") and not event.get("uri"):
            assert objects.verify(event["digest"])


def test_the_counts_of_a_run_of_ours_are_those_of_its_journal(runs, logdir):
    whole_run(runs)
    runs.send()
    (run,) = read(logdir)
    assert run.expected() == Counts(params=4, points=67, tags=2, artifacts=2, media=7)


def test_parents_come_before_children(runs, logdir):
    runs.writer("a", parent="b").seal("finished")
    runs.writer("b", parent="c").seal("finished")
    runs.writer("c").seal("finished")
    runs.send()
    assert [run.info.id for run in read(logdir)] == ["c", "b", "a"]


def test_a_file_that_was_removed_is_told(runs, logdir, objects):
    whole_run(runs)
    runs.send()
    logdir.own("artifacts/model/w.pt").unlink()
    (run,) = read(logdir)
    found = [event.name for event in run.events(objects) if isinstance(event, events.Artifact)]
    assert found == ["far"], "a reference has no bytes to miss"
    assert [(one.kind, one.name) for one in run.lowered] == [("file", "model/w.pt")]


# -- files of others, written with TensorBoard's own writer and protobufs ------------------------


class Foreign:
    """An event file as other programs write them."""

    def __init__(self, folder):
        self.writer = EventFileWriter(str(folder))

    def add(self, *values, step=0, time=100.0, **fields):
        made = event_pb2.Event(wall_time=time, step=step, **fields)
        made.summary.value.extend(values)
        self.writer.add_event(made)

    def close(self):
        self.writer.close()


@pytest.fixture
def foreign(logdir):
    made = Foreign(logdir.path / "exp 1" / "train")
    yield made
    made.close()


def only(logdir, objects, foreign):
    foreign.close()
    (run,) = read(logdir)
    return run, list(run.events(objects))


def test_scalars_of_both_generations_are_metrics(foreign, logdir, objects):
    made = scalar.create_summary_metadata("", "")
    foreign.add(Value(tag="old", simple_value=0.5), Value(tag="other", simple_value=1.5), step=3, time=100.5)
    foreign.add(Value(tag="new", tensor=make_tensor_proto(0.25), metadata=made), step=4)
    foreign.add(Value(tag="new", tensor=make_tensor_proto(math.nan)), step=5)
    foreign.add(Value(tag="bare", tensor=make_tensor_proto(7)), step=6)
    run, found = only(logdir, objects, foreign)
    assert [(event.values, event.step, event.time) for event in found] == [
        ({"old": 0.5, "other": 1.5}, 3, 100.5), ({"new": 0.25}, 4, 100.0), ({"new": "NaN"}, 5, 100.0),
        ({"bare": 7.0}, 6, 100.0),
    ]  # fmt: skip
    assert run.expected() == Counts(points=5)


def test_a_run_of_others_has_its_folders_name_and_the_times_of_its_events(foreign, logdir, objects):
    foreign.add(Value(tag="a", simple_value=1.0), time=50.0)
    run, _ = only(logdir, objects, foreign)
    info = run.info
    assert (info.name, info.project, info.started, info.status) == ("exp 1/train", "logdir", 50.0, "finished")
    assert info.id.startswith("exp-1-train-")
    (renamed,) = read(logdir, project="mine")
    assert renamed.info.project == "mine"


def test_hparams_are_params_and_say_how_the_run_ended(foreign, logdir, objects):
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=10.0)
    start.hparams["lr"].number_value = 0.1
    start.hparams["layers"].number_value = 3
    start.hparams["opt"].string_value = "adam"
    start.hparams["flag"].bool_value = True
    end = plugin_data_pb2.SessionEndInfo(status=2, end_time_secs=20.0)
    for tag, data in (
        (hparams.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)),
        (hparams.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)),
    ):
        foreign.add(Value(tag=tag, metadata=hparams.create_summary_metadata(data), tensor=hparams.NULL_TENSOR))
    run, found = only(logdir, objects, foreign)
    assert [event.values for event in found] == [{"lr": 0.1, "layers": 3, "opt": "adam", "flag": True}]
    assert (run.info.started, run.info.ended, run.info.status) == (10.0, 20.0, "failed")
    assert run.expected() == Counts(params=4)


def test_media_of_both_generations_come_with_their_bytes(foreign, logdir, objects):
    old = summary_pb2.Summary.Image(height=3, width=4, encoded_image_string=picture())
    words = [b"4", b"3", picture(), picture("gif")]
    made = image.create_summary_metadata("", "two")
    foreign.add(Value(tag="old", image=old), step=1)
    foreign.add(Value(tag="new", tensor=make_tensor_proto(words), metadata=made), step=2)
    clip = summary_pb2.Summary.Audio(encoded_audio_string=sound(), content_type="audio/wav")
    foreign.add(Value(tag="clip", audio=clip), step=3)
    labelled = audio.create_summary_metadata("", "", audio.Encoding.Value("WAV"))
    foreign.add(Value(tag="clips", tensor=make_tensor_proto([[sound(), b"a"]]), metadata=labelled), step=4)
    run, found = only(logdir, objects, foreign)
    assert [(event.name, event.kind, event.format, event.step) for event in found] == [
        ("old", "image", "png", 1), ("new", "image", "png", 2), ("new", "image", "gif", 2), ("clip", "audio", "wav", 3),
        ("clips", "audio", "wav", 4),
    ]  # fmt: skip
    assert objects.get(found[2].digest).read_bytes() == picture("gif")
    assert found[1].caption == "two"
    assert run.expected() == Counts(media=5)


def test_texts_and_histograms_are_media(foreign, logdir, objects):
    foreign.add(Value(tag="note", tensor=make_tensor_proto("hello"), metadata=text.create_summary_metadata("", "")))
    long = "x" * 100_000
    foreign.add(Value(tag="long", tensor=make_tensor_proto([long]), metadata=text.create_summary_metadata("", "")))
    old = summary_pb2.HistogramProto(min=0.5, max=3.5, num=5, bucket_limit=[0, 1, 2, 4, 9], bucket=[0, 2, 1, 2, 0])
    foreign.add(Value(tag="old", histo=old))
    rows = make_tensor_proto(numpy.array([[0.0, 1.0, 3.0], [1.0, 2.0, 4.0]]))
    foreign.add(Value(tag="new", tensor=rows, metadata=histogram.create_summary_metadata("", "")))
    run, found = only(logdir, objects, foreign)
    assert found[0].inline == "hello"
    assert objects.get(found[1].digest).read_text() == long
    assert (found[2].inline["edges"], found[2].inline["counts"]) == ([0.5, 1.0, 2.0, 3.5], [2.0, 1.0, 2.0])
    assert (found[3].inline["edges"], found[3].inline["counts"]) == ([0.0, 1.0, 2.0], [3.0, 4.0])
    assert run.expected() == Counts(media=4)


def test_what_there_is_no_word_for_is_kept_as_a_file_and_told(foreign, logdir, objects):
    made = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="pr_curves"))
    curve = Value(tag="pr", tensor=make_tensor_proto(numpy.zeros((6, 3))), metadata=made)
    foreign.add(curve)
    graph = graph_pb2.GraphDef(version=1).SerializeToString()
    foreign.writer.add_event(event_pb2.Event(wall_time=1.0, graph_def=graph))
    run, found = only(logdir, objects, foreign)
    assert [(event.name, event.kind, event.metadata["plugin"]) for event in found] == [
        ("pr", "file", "pr_curves"), ("graph", "file", "graphs"),
    ]  # fmt: skip
    assert Value.FromString(objects.get(found[0].digest).read_bytes()) == curve
    assert {one.kind for one in run.lowered} == {"plugin"}
    assert run.expected() == Counts(media=2)


def test_a_torn_or_damaged_file_is_read_up_to_there_and_told(foreign, logdir, objects):
    for step in range(3):
        foreign.add(Value(tag="a", simple_value=1.0), step=step)
    foreign.close()
    (path,) = (logdir.path / "exp 1" / "train").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    run, found = only(logdir, objects, foreign)
    assert [event.step for event in found] == [0, 1]
    assert [one.kind for one in run.lowered] == ["damage"]
    assert run.expected() == Counts(points=2)


def test_a_wrong_source_or_option_is_told(logdir, tmp_path):
    with pytest.raises(FatalBackendError, match="logdir"):
        list(TensorboardReader().runs(str(tmp_path / "nowhere"), {}))
    tmp_path.joinpath("empty").mkdir()
    with pytest.raises(ConfigError, match="project"):
        list(TensorboardReader().runs(str(tmp_path / "empty"), {"projekt": "x"}))
    assert list(TensorboardReader().runs(str(tmp_path / "empty"), {})) == []


def test_a_run_that_went_there_and_back_compares_equal(runs, logdir, tmp_path):
    """Nothing but the console and the command line is lost on the way."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    whole_run(runs, folder=tmp_path / "data")
    runs.send()
    report = import_runs(TensorboardReader(), str(logdir.path), tmp_path / "new")
    assert report.complete
    assert [one.lowered for one in report.runs] == [()]
    before, after = (content_of(Store(store).run("one")) for store in (runs.root, tmp_path / "new"))
    assert differences(before, after) == []
