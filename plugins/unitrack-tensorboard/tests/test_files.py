"""What TensorBoard's own reader finds after a run was sent, once, again, in parts or in spite of kills."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.plugins.hparams import plugin_data_pb2

from unitrack import events


def picture(form="png", colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, format=form)
    return buffer.getvalue()


def sound():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(b"\0\1" * 80)
    return buffer.getvalue()


def whole_run(runs, run_id="one", folder=None, **fields):
    """Write a run that has everything."""
    put = lambda data: runs.objects.put_bytes(data).digest  # noqa: E731 - short for what follows
    writer = runs.writer(run_id, name="my run", group="sweep", tags=["new"], **fields)
    writer.append(events.Params, {"lr": 0.1, "model": {"layers": [1, 2], "bias": True}, "name": "a|b"})
    for step in range(30):
        writer.append(events.Metrics, {"loss": 1 / (step + 1), "mAP@50 (val)": step / 30}, step)
    for value in ("NaN", "Infinity", "-Infinity"):
        writer.append(events.Metrics, {"odd": value}, 1)
    writer.append(events.Metrics, {"half": 1.0}, 2.5)
    writer.append(events.Metrics, {"stepless": 7.0})
    writer.append(events.Metrics, {"far": 8.0}, 2**70)
    writer.append(events.Metrics, {"big": 2**53 + 1}, 1)
    writer.append(events.Params, {"lr": 0.2})
    writer.append(events.Summary, {"best": 0.9, "note": "fine"})
    writer.append(events.Tags, add=["good"], remove=["new"], values={"owner": "me"})
    writer.append(events.Artifact, name="model/w.pt", kind="model", digest=put(b"weights"), size=7)
    writer.append(events.Artifact, name="far", kind="data", uri="s3://b/far", digest="sha256:" + "d" * 64)
    if folder is not None:
        tree = runs.objects.put_tree(folder)
        writer.append(events.Artifact, name="folder", kind="dataset", digest=tree.digest, size=tree.size, tree=True)
    writer.append(events.Media, name="plot", kind="image", format="png", step=3, digest=put(picture()), caption="red")
    writer.append(events.Media, name="other", kind="image", format="webp", step=3, digest=put(picture("webp")))
    writer.append(events.Media, name="beep", kind="audio", format="wav", step=1, digest=put(sound()))
    writer.append(events.Media, name="clip", kind="video", format="mp4", step=1, digest=put(b"not really"))
    bins = {"edges": [0.0, 1.0, 2.0], "counts": [3, 4], "nan": 1, "inf": 0}
    writer.append(events.Media, name="weights", kind="histogram", format="json", step=5, inline=bins)
    writer.append(events.Media, name="note", kind="text", format="txt", step=1, inline="**hello**")
    table = json.dumps({"columns": ["a", "b"], "data": [[1, "x|y"]]}).encode()
    writer.append(events.Media, name="rows", kind="table", format="json", step=1, digest=put(table))
    writer.append(events.DatasetUsed, name="train", uri="s3://b/t", digest="sha256:" + "c" * 64, split="train")
    writer.append(events.Capture, name="git", values={"commit": "abc123", "dirty": False})
    writer.append(events.System, {"cpu": 40.0})
    writer.append(events.MetricDefinition, name="loss", goal="minimize")
    writer.append(events.Alert, title="look", text="out")
    writer.append(events.Console, stream="stdout", text="hi")
    writer.seal("finished")
    return writer


def session(logdir, tag):
    content = logdir.open().SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    return getattr(plugin_data_pb2.HParamsPluginData.FromString(content), tag)


def check_numbers(logdir):
    assert logdir.series("loss") == [(step, 1 / (step + 1)) for step in range(30)]  # 64 bits, not 32
    assert len(logdir.series("mAP@50 (val)")) == 30
    assert [str(value) for _, value in logdir.series("odd")] == ["nan", "inf", "-inf"]
    assert logdir.series("half") == [(2, 1.0)]
    assert logdir.series("far") == [(2**63 - 1, 8.0)]
    assert logdir.series("summary/best")[0][1] == 0.9
    assert logdir.series("system/cpu")[0][1] == 40.0


def check_media(logdir):
    ((step, (width, height, data)),) = logdir.series("plot")
    assert (step, width, height, data) == (3, b"4", b"3", picture())
    ((_, shown),) = logdir.series("other")
    assert shown[2].startswith(b"\x89PNG")
    assert [path.read_bytes() for path in logdir.own("media/other").iterdir()] == [picture("webp")]
    assert logdir.series("beep")[0][1].tolist() == [sound()]
    assert [path.read_bytes() for path in logdir.own("media/clip").iterdir()] == [b"not really"]
    assert logdir.series("weights")[0][1].tolist() == [[0.0, 1.0, 3.0], [1.0, 2.0, 4.0]]
    assert logdir.series("note") == [(1, b"**hello**")]
    assert logdir.series("rows")[0][1] == b"| a | b |\n| --- | --- |\n| 1 | x\\|y |"


def check_whole_run(logdir):
    check_numbers(logdir)
    check_media(logdir)
    start, end = session(logdir, "session_start_info"), session(logdir, "session_end_info")
    assert {name: value.WhichOneof("kind") for name, value in start.hparams.items()} == {
        "lr": "number_value", "model/layers": "string_value", "model/bias": "bool_value", "name": "string_value",
    }  # fmt: skip
    assert start.hparams["lr"].number_value == 0.2
    assert end.status == 1
    assert logdir.own("artifacts/model/w.pt").read_bytes() == b"weights"
    assert [text for _, text in logdir.series("unitrack/status")] == [b"finished"]
    assert {f"unitrack/{name}" for name in ("alerts", "params", "tags", "datasets", "captures/git")} <= (
        logdir.tags("text")
    )
    told = logdir.document("run.json")
    assert (told["status"], told["tags"], told["group"]) == ("finished", {"good": "", "owner": "me"}, "sweep")


def test_a_run_arrives_with_everything(runs, logdir):
    whole_run(runs)
    (result,) = runs.send()
    assert (result.state, result.dead, result.pending) == ("sent", 0, 0)
    check_whole_run(logdir)
    assert {kind for kind, _ in runs.lowered} == {"event", "histogram", "media", "order", "precision", "step"}


def test_what_is_sent_twice_is_there_once(runs, logdir):
    whole_run(runs)
    runs.send()
    before = logdir.event_file().read_bytes()
    runs.forget()
    assert runs.send()[0].state == "sent"
    assert logdir.event_file().read_bytes() == before
    check_whole_run(logdir)


def test_what_stands_behind_the_position_is_cut_off(runs, logdir):
    """A worker was killed in the middle of a write, or before it could say how far it came."""
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    runs.send()
    with logdir.event_file().open("ab") as file:
        file.write(b"torn")
    writer.append(events.Metrics, {"loss": 2.0}, 2)
    runs.send()
    assert logdir.series("loss") == [(1, 1.0), (2, 2.0)]


def test_a_worker_killed_at_every_write_leaves_exactly_one_of_everything(runs, logdir, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    whole_run(runs, folder=tmp_path / "data")
    driver = Path(__file__).with_name("kill_driver.py")
    command = [sys.executable, str(driver), str(runs.root), str(logdir.path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 20
    check_whole_run(logdir)
    assert logdir.own("artifacts/folder/a.txt").read_text() == "a"
    assert [path.name for path in logdir.own("").iterdir() if path.name.startswith(".")] == []


def test_a_logdir_that_was_removed_gets_the_whole_run_again(runs, logdir):
    import shutil

    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    runs.send()
    shutil.rmtree(logdir.path)
    writer.append(events.Metrics, {"loss": 2.0}, 2)
    runs.send()
    assert logdir.series("loss") == [(1, 1.0), (2, 2.0)]


def test_an_older_copy_of_the_logdir_gets_the_whole_run_again(runs, logdir, tmp_path):
    import shutil

    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    runs.send()
    shutil.copytree(logdir.path, tmp_path / "copy")
    writer.append(events.Metrics, {"loss": 2.0}, 2)
    runs.send()
    shutil.rmtree(logdir.path)
    shutil.copytree(tmp_path / "copy", logdir.path)
    writer.append(events.Metrics, {"loss": 3.0}, 3)
    runs.send()
    assert logdir.series("loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_run_that_goes_on_has_no_end_until_it_ends(runs, logdir):
    runs.writer().seal("failed")
    runs.send()
    assert session(logdir, "session_end_info").status == 2
    writer = runs.writer(resumed=["before"])
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    runs.send()
    assert "unitrack/status" not in logdir.tags("text")
    assert logdir.document("run.json")["status"] is None
    writer.seal("finished")
    runs.send()
    assert [text for _, text in logdir.series("unitrack/status")] == [b"finished"]


def test_times_are_the_journals(runs, logdir):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    writer.seal("finished")
    runs.send()
    (line,) = [line for line in writer.path.read_text().splitlines() if '"metrics"' in line]
    assert logdir.times("loss") == [json.loads(line)["time"]]


def test_an_object_that_is_missing_is_a_dead_letter_and_arrives_when_it_is_there(runs, logdir):
    digest = f"sha256:{hashlib.sha256(b'late').hexdigest()}"
    writer = runs.writer()
    writer.append(events.Artifact, name="late.bin", kind="data", digest=digest, size=4)
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    writer.seal("finished")
    assert runs.send()[0].dead == 1
    runs.objects.put_bytes(b"late")
    assert runs.send(runs=["one"], retry_dead=True)[0].dead == 0
    assert logdir.own("artifacts/late.bin").read_bytes() == b"late"
    assert logdir.series("loss") == [(1, 1.0)]
    assert len(logdir.series("unitrack/artifacts")) == 1


def test_every_version_of_an_artifact_is_kept(runs, logdir):
    writer = runs.writer()
    digests = [runs.objects.put_bytes(data).digest for data in (b"first", b"second")]
    for digest in digests:
        writer.append(events.Artifact, name="m/w.pt", kind="model", digest=digest, size=5)
    writer.append(events.Artifact, name="m", kind="model", digest=digests[0], size=5)
    writer.seal("finished")
    assert runs.send()[0].dead == 0
    assert logdir.own("artifacts/m/w.pt").read_bytes() == b"second"
    assert logdir.own(f"versions/{digests[0][7:23]}/w.pt").read_bytes() == b"first"
    assert logdir.own(f"versions/{digests[0][7:23]}/m").read_bytes() == b"first"
    assert ("artifact-path", "m") in runs.lowered


def test_files_are_shared_with_the_store_and_not_copied(runs, logdir):
    writer = runs.writer()
    digest = runs.objects.put_bytes(b"weights").digest
    writer.append(events.Artifact, name="w.pt", kind="model", digest=digest, size=7)
    writer.seal("finished")
    runs.send()
    assert logdir.own("artifacts/w.pt").samefile(runs.objects.get(digest))


def test_names_come_back_whatever_they_are(runs, logdir):
    writer = runs.writer()
    names = ["", "unitrack/x", "system/cpu", "a b|c", "é", "x" * 2000, "both"]
    for name in names:
        writer.append(events.Metrics, {name: 1.0}, 1)
    writer.append(events.Media, name="both", kind="text", format="txt", step=1, inline="t")
    writer.seal("finished")
    runs.send()
    changed = {row["name"]: tag for tag, row in logdir.document("names.json")["changed"].items()}
    assert set(changed) == {"", "unitrack/x", "system/cpu", "both"}
    for name in names[:-1]:
        assert logdir.series(changed.get(name, name)) == [(1, 1.0)]
    assert logdir.series("both") == [(1, 1.0)]
    assert logdir.series(changed["both"]) == [(1, b"t")]


@pytest.mark.parametrize(("kind", "dead"), [("skip", 0), ("fail", 1)])
def test_a_step_that_is_no_integer_is_left_out_or_refused_if_so_wished(runs, logdir, kind, dead):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    writer.append(events.Metrics, {"loss": 2.0}, 1.5)
    writer.seal("finished")
    assert runs.send(options={"lowering": {"step": kind}})[0].dead == dead
    assert logdir.series("loss") == [(1, 1.0)]


def test_the_report_is_kept_with_the_run(runs, logdir):
    from unitrack.backend import RunInfo
    from unitrack_tensorboard import TensorboardFactory

    backend = TensorboardFactory().create({"logdir": str(logdir.path)})
    info = RunInfo(
        id="one", project="p", name=None, group=None, parent=None, tags=(), started=1.0,
        folder=runs.folder(), objects=runs.objects.root,
    )  # fmt: skip
    backend.open(info, {})
    backend.keep_report(b'{"lowered": []}')
    backend.close("finished", 2.0)
    assert logdir.document("lowered.json") == {"lowered": []}


def test_ranks_share_the_tags_of_metrics(runs, logdir):
    """All ranks write into the same tags, each into its own system tags."""
    for rank in (0, 1):
        writer = runs.writer(rank=rank)
        writer.append(events.Metrics, {"loss": float(rank)}, 1)
        writer.append(events.System, {"cpu": float(rank)})
        writer.seal("finished")
    runs.send()
    assert sorted(value for _, value in logdir.series("loss")) == [0.0, 1.0]
    assert logdir.series("system/rank1/cpu")[0][1] == 1.0
