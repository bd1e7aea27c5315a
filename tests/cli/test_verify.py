"""`unitrack verify`: whole runs pass, damage is found, and what is left can be had."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from unitrack.cli import main
from unitrack.events import Artifact, Media, Metrics, RunStarted
from unitrack.journal import layout
from unitrack.journal.codec import decode_line
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.objects import ObjectStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_DIR", str(tmp_path))
    return tmp_path


def log_run(store, run="r", *, seal=True):
    writer = JournalWriter(store / "runs" / run, WriterInfo(run=run))
    writer.append(RunStarted, project="p")
    for step in range(3):
        writer.append(Metrics, {"loss": 1.0}, step)
    if seal:
        writer.seal("finished")
    return writer


def ask(*args):
    return CliRunner().invoke(main, ["verify", *args])


def checked(*args):
    result = ask("--json", *args)
    return result.exit_code, json.loads(result.stdout)


def damage(writer):
    lines = writer.path.read_bytes().splitlines(keepends=True)
    lines[2] = b"noise\n"
    writer.path.write_bytes(b"".join(lines))


def test_whole_runs_pass(store):
    log_run(store, "a")
    log_run(store, "b")
    code, found = checked()
    assert (code, [(run["run"], run["ok"], run["sealed"], run["events"]) for run in found]) == (
        0, [("a", True, True, 6), ("b", True, True, 6)],
    )  # fmt: skip
    result = ask("a")
    assert result.exit_code == 0
    assert "1 runs checked, none damaged" in result.stdout


def test_an_unfinished_run_is_whole_as_far_as_it_goes(store):
    writer = log_run(store, seal=False)
    with writer.path.open("ab") as file:
        file.write(b'{"type":"met')
    code, (found,) = checked()
    assert (code, found["ok"], found["sealed"], found["torn"], found["status"]) == (0, True, False, 12, "running")
    writer.seal("finished")


def test_damage_ends_with_4_and_names_file_and_line(store):
    writer = log_run(store)
    damage(writer)
    code, (found,) = checked("r")
    assert (code, found["ok"]) == (4, False)
    assert found["problems"][0].startswith(f"{writer.path.name}: line 3 is no event")
    result = ask()
    assert result.exit_code == 4
    assert "1 runs checked, 1 damaged" in result.stdout


def test_a_flipped_bit_breaks_the_seal(store):
    writer = log_run(store)
    writer.path.write_bytes(writer.path.read_bytes().replace(b'"loss":1.0', b'"loss":1.5', 1))
    code, (found,) = checked()
    assert (code, "SHA-256" in found["problems"][0]) == (4, True)


def test_salvage_counts_what_can_be_read_and_writes_it(store, tmp_path):
    damage(log_run(store))
    output = tmp_path / "out.jsonl"
    code, (found,) = checked("r", "--salvage", "--output", str(output))
    assert (code, found["readable"]) == (4, {"metrics": 2, "writer": 1, "run": 1, "status": 1})
    assert [decode_line(line).seq for line in output.read_bytes().splitlines()] == [1, 2, 4, 5, 6]
    again = ask("r", "--output", str(output))
    assert again.exit_code == 2
    assert "exists" in again.stderr


def test_the_output_takes_one_run(store, tmp_path):
    log_run(store, "a")
    log_run(store, "b")
    result = ask("--output", str(tmp_path / "x"))
    assert result.exit_code == 2
    assert not (tmp_path / "x").exists()


def test_objects_that_are_missing_or_damaged_are_found(store, tmp_path):
    objects = ObjectStore(layout.objects_dir(store))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.txt").write_text("in a folder")
    whole, bad = objects.put_bytes(b"whole"), objects.put_bytes(b"bad")
    tree = objects.put_tree(tmp_path / "folder")
    writer = log_run(store, seal=False)
    writer.append(Artifact, name="whole", kind="model", digest=whole.digest)
    writer.append(Artifact, name="elsewhere", kind="model", digest="sha256:" + "e" * 64, uri="s3://bucket/x")
    writer.append(Artifact, name="folder", kind="data", digest=tree.digest, tree=True)
    writer.append(Media, name="plot", kind="image", format="png", digest=bad.digest)
    writer.seal("finished")
    assert checked()[0] == 0
    for digest in (bad.digest, tree.files[0].digest):
        path = objects.get(digest)
        path.chmod(0o600)
        path.write_bytes(b"changed")
    objects.get(whole.digest).unlink()
    code, (found,) = checked()
    assert (code, found["objects"]) == (4, 4)
    problems = "\n".join(found["problems"])
    assert "artifact 'whole': its object sha256:" in problems
    assert "is not in the store" in problems
    assert "artifact 'folder': its object" in problems
    assert "media 'plot': its object" in problems
    assert "elsewhere" not in problems


def test_a_digest_that_is_none_is_a_problem_not_a_crash(store):
    writer = log_run(store, seal=False)
    writer.append(Artifact, name="odd", kind="model", digest="md5:1")
    writer.seal("finished")
    code, (found,) = checked()
    assert (code, len(found["problems"])) == (4, 1)
