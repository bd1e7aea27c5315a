"""Offline files of both clients, written through their own classes and read back with them."""

from __future__ import annotations

import json
import math

import pytest

from unitrack import events
from unitrack.dispatch.dead_letter import read_dead
from unitrack.objects import ObjectStore


def write(runs, *steps, name="loss", **fields):
    writer = runs.writer(**fields)
    for number, step in enumerate(steps):
        writer.append(events.Metrics, {name: float(number)}, step)
    writer.seal("finished")
    return writer


def test_a_run_is_written_whole_under_its_own_id(offline, runs):
    writer = runs.writer(name="first", group="g", parent="zero", tags=["a", "b"])
    writer.append(events.Params, {"lr": 0.5, "layers": 3, "amp": True, "opt": {"name": "adam"}})
    writer.append(events.Metrics, {"train/loss": 1.0, "n": 2}, 1)
    writer.append(events.Metrics, {"train/loss": 0.5}, 1.25)
    writer.append(events.Summary, {"best": 0.5})
    writer.append(events.Tags, add=["c"], remove=["a"], values={"team": "x"})
    writer.seal("finished")
    (result,) = runs.send(offline.options)
    assert (result.state, result.dead) == ("sent", 0)
    held = offline.held()
    about = {name: held.fields[f"unitrack/{name}"] for name in ("run_id", "project", "group", "parent", "name")}
    assert about == {"run_id": "one", "project": "p", "group": "g", "parent": "zero", "name": "first"}
    assert held.fields["params/lr"] == 0.5
    assert held.fields["params/layers"] == 3
    assert held.fields["params/amp"] is True
    assert held.fields["params/opt/name"] == "adam"
    assert held.metric("train/loss") == [(1, 1.0), (1.25, 0.5)]
    assert held.metric("n") == [(1, 2.0)]
    assert held.fields["summary/best"] == 0.5
    assert held.fields["tags/team"] == "x"
    assert held.tags == {"b", "c"}
    assert held.group_tags == {"g"}
    assert held.fields["unitrack/status"] == "finished"
    assert held.fields["sys/failed"] is False
    assert runs.lowered == []


def test_the_name_and_the_times_are_the_journals(scale, runs):
    writer = write(runs, 1, 2, name="loss")
    assert runs.send(scale.options)[0].state == "sent"
    held = scale.held()
    assert held.created == 1
    assert (held.metadata.project, held.metadata.run_id) == ("unitrack/p", "one")
    started = json.loads(writer.path.read_text().splitlines()[0])["started"]
    assert held.creation_time == pytest.approx(started, abs=1e-5)
    assert held.fields["unitrack/started"] == pytest.approx(started, abs=1e-5)
    stamps = [json.loads(line)["time"] for line in writer.path.read_text().splitlines() if '"metrics"' in line]
    assert held.times["metrics/loss"] == pytest.approx(stamps, abs=1e-5)


def test_repeated_lower_and_missing_steps_are_kept(offline, runs):
    write(runs, 5, 6, 3, 6, None, 7.5, -1)
    assert runs.send(offline.options)[0].state == "sent"
    held = offline.held()
    assert held.metric("loss") == [(5, 0.0), (6, 1.0), (7, 4.0), (7.5, 5.0)]
    assert held.series["late/value/metrics/loss"] == [(0, 2.0), (1, 3.0), (2, 6.0)]
    assert held.series["late/step/metrics/loss"] == [(0, 3.0), (1, 6.0), (2, -1.0)]
    assert sorted(runs.lowered) == [("no-step", "loss"), ("step", "loss")]


@pytest.mark.parametrize(
    ("policy", "points", "dead"), [("skip", [(5, 0.0), (6, 2.0)], 0), ("fail", [(5, 0.0), (6, 2.0)], 1)]
)
def test_other_policies_for_steps_leave_out_or_refuse(offline, runs, policy, points, dead):
    write(runs, 5, 5, 6)
    (result,) = runs.send({**offline.options, "lowering": {"step": policy}})
    assert (result.state, result.dead) == ("sent", dead)
    held = offline.held()
    assert held.metric("loss") == points
    assert not any(path.startswith("late/") for path in held.series)


def test_what_is_not_finite_is_text_in_a_series_beside(offline, runs):
    writer = runs.writer()
    for step, value in enumerate([1.0, "NaN", 2.0, "-Infinity"]):
        writer.append(events.Metrics, {"loss": value}, step)
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    assert held.metric("loss") == [(0, 1.0), (2, 2.0)]
    assert held.series["nonfinite/metrics/loss"] == [(1, "NaN"), (3, "-Infinity")]
    assert runs.lowered == [("non-finite", "loss")]


def test_names_that_collide_are_told_apart_and_can_be_had_back(offline, runs):
    writer = runs.writer()
    names = ["loss", "loss/train", "acc/top1", "acc", "a//b", " c ", "x" * 2000, "mAP@50 (é)"]
    writer.append(events.Metrics, {name: float(at) for at, name in enumerate(names)}, 1)
    writer.append(events.Metrics, {name: float(at) for at, name in enumerate(names)}, 2)
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    back = {
        (about := json.loads(text))["path"]: about["name"]
        for path, text in held.fields.items()
        if path.startswith("unitrack/names/")
    }
    found = {back.get(path, path).removeprefix("metrics/"): points for path, points in held.series.items()}
    assert found == {name: [(1, float(at)), (2, float(at))] for at, name in enumerate(names)}
    assert {name for kind, name in runs.lowered if kind == "name"} == {
        name for name in names if name not in ("loss", "acc/top1", "mAP@50 (é)")
    }
    paths = [*held.series, *held.fields, *held.files]
    assert not [one for one in paths for other in paths if other.startswith(f"{one}/")]


def test_a_param_that_changes_its_type_keeps_both_values(offline, runs):
    writer = runs.writer()
    for value in (1, "one", None, [1, 2], {}):
        writer.append(events.Params, {"lr": value})
    writer.append(events.Params, {"lr": 2})
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    (renamed,) = [json.loads(text) for path, text in held.fields.items() if path.startswith("unitrack/names/")]
    assert held.fields["params/lr"] == 2
    assert (renamed["name"], renamed["type"]) == ("params/lr", "str")
    assert held.fields[renamed["path"]] == "{}"
    assert {kind for kind, _ in runs.lowered} == {"name", "param-type"}


def test_integers_beyond_the_clients_bits_are_told(offline, runs):
    writer = runs.writer()
    writer.append(events.Params, {"small": 2**31 - 1, "big": 2**40, "huge": 2**70})
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    assert held.fields["params/small"] == 2**31 - 1
    assert held.fields["params/big"] == 2**40
    assert held.fields["params/huge"] == str(2**70)
    told = [name for kind, name in runs.lowered if kind == "int-range"]
    assert told == (["huge"] if offline.client == "neptune-scale" else ["big", "huge"])


def test_long_texts_are_files_with_a_beginning(offline, runs):
    text = "ä" * 40_000
    writer = runs.writer()
    writer.append(events.Params, {"prompt": text})
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    short = held.fields["params/prompt"]
    assert short.startswith("äää")
    assert held.files[short.rpartition("whole: ")[2].rstrip(")")].decode() == text
    assert runs.lowered == [("text-length", "prompt")]


def test_console_and_text_media_are_text_series(offline, runs):
    writer = runs.writer()
    for number in range(3):
        writer.append(events.Console, stream="stdout", text=f"line {number}\n")
    writer.append(events.Console, stream="stderr", text="y" * 2500)
    writer.append(events.Media, name="sample", kind="text", format="txt", step=4, inline="hello", caption="said")
    writer.append(events.Alert, title="hot", text="98 C", level="warning")
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    assert held.series["console/stdout"] == [(0, "line 0\n"), (1, "line 1\n"), (2, "line 2\n")]
    assert "".join(text for _, text in held.series["console/stderr"]) == "y" * 2500
    assert held.series["media/sample"] == [(4, "hello")]
    assert json.loads(held.series["unitrack/about/media/sample"][0][1])["caption"] == "said"
    assert held.series["alerts/warning"] == [(0, "hot: 98 C")]
    assert runs.lowered == []


def test_artifacts_trees_and_images_are_files(offline, runs, tmp_path):
    store = ObjectStore(runs.root / "objects")
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a")
    (folder / "sub" / "b.bin").write_bytes(b"b")
    tree = store.put_tree(folder)
    writer = runs.writer()
    writer.append(events.Artifact, name="weights.pt", kind="model", digest=runs.put(b"w1"), size=2)
    writer.append(events.Artifact, name="weights.pt", kind="model", digest=runs.put(b"w2"), size=2)
    writer.append(events.Artifact, name="model", kind="model", digest=tree.digest, tree=True)
    writer.append(events.Artifact, name="data", kind="dataset", uri="s3://b/k", use="input")
    writer.append(events.Media, name="img", kind="image", format="png", step=1, digest=runs.put(b"png1"), size=4)
    writer.append(events.Media, name="img", kind="image", format="png", step=2, digest=runs.put(b"png2"), size=4)
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    assert held.files["artifacts/weights.pt"] == b"w2"
    assert held.files["artifacts/model/a.bin"] == b"a"
    assert held.files["artifacts/model/sub/b.bin"] == b"b"
    assert json.loads(held.fields["unitrack/artifacts/weights.pt"])["kind"] == "model"
    assert json.loads(held.fields["unitrack/inputs/data"])["uri"] == "s3://b/k"
    if offline.client == "neptune-scale":
        assert held.series["media/img"] == [(1, b"png1"), (2, b"png2")]
    else:
        shown = {path: data for path, data in held.files.items() if path.startswith("media/img/step-")}
        assert sorted(shown.values()) == [b"png1", b"png2"]
    assert runs.lowered == [("artifact-version", "weights.pt")]


def test_histograms_are_histograms_where_the_client_has_them(offline, runs):
    whole = {"edges": [0.0, 1.0, 2.0], "counts": [3, 4], "nan": 0, "inf": 0}
    rest = {**whole, "nan": 2}
    writer = runs.writer()
    writer.append(events.Media, name="h", kind="histogram", format="json", step=1, inline=whole)
    writer.append(events.Media, name="r", kind="histogram", format="json", step=1, inline=rest)
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    if offline.client == "neptune-scale":
        assert held.series["media/h"] == [(1, ([0.0, 1.0, 2.0], [3, 4]))]
        assert json.loads(held.series["media/r"][0][1]) == rest
        assert runs.lowered == [("histogram", "r")]
    else:
        shown = [json.loads(data) for path, data in sorted(held.files.items()) if path.startswith("media/")]
        assert shown == [whole, rest]
        assert runs.lowered == [("histogram", "h"), ("histogram", "r")]


def test_datasets_captures_and_definitions_are_json(offline, runs):
    writer = runs.writer(argv=["train.py", "--lr", "1"])
    writer.append(events.DatasetUsed, name="mnist", uri="s3://m", digest="sha256:ab", split="train", rows=10)
    writer.append(events.Capture, name="git", values={"commit": "abc", "dirty": False})
    writer.append(events.MetricDefinition, name="loss", goal="minimize")
    writer.append(events.System, {"cpu": 50.0})
    writer.seal("finished")
    runs.send(offline.options)
    held = offline.held()
    assert json.loads(held.fields["datasets/mnist (train)"])["digest"] == "sha256:ab"
    assert json.loads(held.fields["unitrack/captures/git"]) == {"commit": "abc", "dirty": False}
    assert json.loads(held.fields["unitrack/definitions/loss"]) == {"goal": "minimize"}
    assert json.loads(held.fields["unitrack/argv"]) == ["train.py", "--lr", "1"]
    assert len(held.series["system/cpu"]) == 1


@pytest.mark.parametrize(("status", "failed"), [("finished", False), ("failed", True), ("killed", True)])
def test_the_end_is_told(offline, runs, status, failed):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    writer.seal(status)
    runs.send(offline.options)
    held = offline.held()
    assert (held.fields["unitrack/status"], held.fields["sys/failed"]) == (status, failed)
    assert math.isfinite(held.fields["unitrack/ended"])


def test_sending_again_adds_nothing(offline, runs):
    write(runs, 1, 2, 2, tags=["t"])
    runs.send(offline.options)
    before = vars(offline.held())
    runs.forget()
    assert runs.send(offline.options)[0].state == "sent"
    after = vars(offline.held())
    assert runs.lowered == [("step", "loss")]
    assert after["series"] == before["series"]
    assert after["created"] == before["created"]
    assert len(offline.places()) == 1


def test_a_resumed_run_goes_on_in_its_files(offline, runs):
    write(runs, 1, 2)
    runs.send(offline.options)
    write(runs, 2, 3, resumed=["x"])
    runs.send(offline.options)
    held = offline.held()
    assert held.metric("loss") == [(1, 0.0), (2, 1.0), (3, 1.0)]
    assert held.series["late/value/metrics/loss"] == [(0, 0.0)]
    assert held.fields["unitrack/status"] == "finished"


def test_one_process_serves_several_runs(offline, runs):
    for number in range(3):
        writer = runs.writer(f"run-{number}")
        writer.append(events.Metrics, {"loss": float(number)}, 1)
        writer.seal("finished")
    assert [result.state for result in runs.send(offline.options)] == ["sent"] * 3
    assert [offline.held(f"run-{number}").metric("loss") for number in range(3)] == [[(1, float(n))] for n in range(3)]


def test_an_artifact_that_is_gone_is_a_dead_letter_and_sent_once_it_is_back(offline, runs):
    digest = runs.put(b"late")
    path = runs.root / "objects" / digest[7:9] / digest[7:]
    path.unlink()
    writer = runs.writer()
    writer.append(events.Artifact, name="a", kind="file", digest=digest)
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    writer.seal("finished")
    (result,) = runs.send(offline.options)
    assert (result.state, result.dead) == ("sent", 1)
    assert len(read_dead(runs.folder(), "neptune")) == 1
    assert offline.held().metric("loss") == [(1, 1.0)]
    runs.put(b"late")
    (result,) = runs.send(offline.options, retry_dead=True, runs=["one"])
    assert (result.state, result.dead) == ("sent", 0)
    held = offline.held()
    assert held.files["artifacts/a"] == b"late"
    assert held.metric("loss") == [(1, 1.0)]


def test_another_folder_gets_the_whole_run(offline, runs, tmp_path):
    write(runs, 1, 2)
    runs.send(offline.options)
    write(runs, 3, resumed=["x"])
    offline.folder = tmp_path / "elsewhere"
    runs.send({**offline.options, "dir": str(offline.folder)})
    assert offline.held().metric("loss") == [(1, 0.0), (2, 1.0), (3, 0.0)]


def test_a_damaged_position_is_told_with_the_remedy(offline, runs):
    write(runs, 1)
    runs.send(offline.options)
    (position,) = offline.folder.rglob("unitrack.json")
    position.write_bytes(b"{")
    runs.forget()
    (result,) = runs.send(offline.options)
    assert result.state == "failed"
    assert "remove it" in result.reason
    position.unlink()
    assert runs.send(offline.options)[0].state == "sent"
    assert offline.held().metric("loss") == [(1, 0.0)]


def test_a_position_older_than_the_cursor_is_not_trusted(offline, runs):
    """A power cut may take the newest position and leave the cursor."""
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 0.0}, 0)
    runs.send(offline.options)
    (position,) = offline.folder.rglob("unitrack.json")
    older = position.read_bytes()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    runs.send(offline.options)
    position.write_bytes(older)
    writer.append(events.Metrics, {"loss": 2.0}, 2)
    writer.seal("finished")
    assert runs.send(offline.options)[0].state == "sent"
    assert offline.held().metric("loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
