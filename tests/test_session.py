"""A session wires runs together and survives what happens to processes and disks."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

import pytest

import unitrack
from unitrack._joining import claim
from unitrack.errors import RunExistsError, RunNotFoundError
from unitrack.events import RunStarted
from unitrack.journal import layout
from unitrack.journal.seal import verify_run
from unitrack.journal.writer import JournalWriter, WriterInfo


def python(code, *, check=True, env=None, **popen):
    """Run `code` in a process of its own, with warnings shown."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=check,
        env={**os.environ, **(env or {})}, timeout=60, **popen,
    )  # fmt: skip


def test_the_id_is_durable_before_init_returns(tmp_path):
    done = python(
        f"import unitrack, os; r = unitrack.init('p', dir={str(tmp_path)!r}); print(r.id, flush=True); os._exit(0)"
    )
    view = unitrack.get_run(done.stdout.strip(), dir=tmp_path)
    assert view.status == "killed" and view.project == "p"


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [("pass", "finished", 0), ("raise ValueError('boom')", "failed", 1), ("raise KeyboardInterrupt", "killed", None),
     ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "killed", -signal.SIGTERM)],
)  # fmt: skip
def test_the_end_of_the_process_ends_the_run(tmp_path, end, status, code):
    done = python(
        f"import unitrack\nunitrack.init('p', dir={str(tmp_path)!r}, id='r').log({{'x': 1.0}})\n{end}", check=False
    )
    view = unitrack.get_run("r", dir=tmp_path)
    assert view.status == status and view.writers[0].sealed and list(view.series("x").values) == [1.0]
    assert code is None or done.returncode == code
    if status == "failed":
        assert view.reason == "ValueError: boom"


def test_a_handler_of_the_users_own_for_sigterm_is_left_alone(tmp_path):
    done = python(f"""
        import os, signal, sys, unitrack
        signal.signal(signal.SIGTERM, lambda *_: (print("mine", flush=True), sys.exit(3)))
        run = unitrack.init("p", dir={str(tmp_path)!r}, id="r")
        os.kill(os.getpid(), signal.SIGTERM)
    """, check=False)  # fmt: skip
    assert done.returncode == 3 and done.stdout == "mine\n"
    assert unitrack.get_run("r", dir=tmp_path).writers[0].sealed


def test_a_requeued_job_continues_its_run(tmp_path):
    code = f"""
        import os, unitrack
        run = unitrack.init("p", dir={str(tmp_path)!r}, config={{"lr": 0.1}} if not os.path.exists({str(tmp_path / "runs")!r}) else None)
        print(dict(run.config))
        run.log({{"x": 1.0}}, step=len(os.listdir(run.path / "journal")))
        if os.environ.get("CUT"): os._exit(1)
    """
    python(code, env={"UNITRACK_RUN_ID": "job-7", "CUT": "1"}, check=False)
    assert unitrack.get_run("job-7", dir=tmp_path).status == "killed"
    second = python(code, env={"UNITRACK_RUN_ID": "job-7"})
    assert "{'lr': 0.1}" in second.stdout
    view = unitrack.get_run("job-7", dir=tmp_path)
    assert view.status == "finished" and len(view.writers) == 2 and len(view.series("x").values) == 2
    assert view.params == {"lr": 0.1} and len(unitrack.runs(dir=tmp_path)) == 1


def test_resume_auto_finds_the_run_that_was_cut_off(tmp_path):
    code = f"""
        import os, sys, unitrack
        run = unitrack.init("p", dir={str(tmp_path)!r}, resume="auto")
        print(run.id, flush=True)
        if os.environ.get("CUT"): os._exit(1)
    """
    first = python(code, env={"CUT": "1"}, check=False).stdout
    second = python(code).stdout
    third = python(code).stdout
    assert first == second != third


def test_never_and_must_are_taken_at_their_word(tmp_path):
    unitrack.init("p", dir=tmp_path, id="r").finish()
    with pytest.raises(RunExistsError, match="choose another id"):
        unitrack.init("p", dir=tmp_path, id="r", resume="never")
    with pytest.raises(RunNotFoundError, match="no run new"):
        unitrack.init("p", dir=tmp_path, id="new", resume="must")
    assert [view.id for view in unitrack.runs(dir=tmp_path)] == ["r"]
    with pytest.raises(ValueError, match="resume is one of"):
        unitrack.init("p", dir=tmp_path, resume="maybe")


def test_two_runs_with_one_id_at_once_are_refused_unless_they_join(tmp_path):
    with unitrack.init("p", dir=tmp_path, id="r") as first:
        first.log({"x": 1.0})
        with pytest.raises(RunExistsError, match=f"written by process {os.getpid()}"):
            unitrack.init("p", dir=tmp_path, id="r")
        with unitrack.init("p", dir=tmp_path, id="r", resume="join") as second:
            second.log({"x": 2.0})
    view = unitrack.get_run("r", dir=tmp_path)
    assert sorted(view.series("x").values) == [1.0, 2.0] and len(view.writers) == 2


def test_of_two_processes_that_begin_one_run_at_once_at_most_one_goes_on(tmp_path):
    code = f"""
        import sys, unitrack
        from unitrack.errors import RunExistsError
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            run = unitrack.init("p", dir={str(tmp_path)!r}, id="r")
        except RunExistsError:
            print("refused", flush=True)
        else:
            print("began", flush=True)
        sys.stdin.readline()  # neither ends before both have said what came of it
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    both = [subprocess.Popen(command, **pipe) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n", "ready\n"]
    for process in both:
        process.stdin.write("go\n")
    assert sorted(process.stdout.readline().strip() for process in both) == ["began", "refused"]
    for process in both:
        process.communicate(timeout=60)
    assert len(layout.journals(tmp_path / "runs" / "r")) == 1


def test_the_earlier_of_two_gives_way_to_a_later_one_that_had_looked_before_it_came(tmp_path):
    run = layout.run_dir(tmp_path, "r")
    earlier, later = (JournalWriter(run, WriterInfo(run="r"), durability="finish") for _ in range(2))
    with ThreadPoolExecutor(1) as pool:
        claimed = pool.submit(claim, run, earlier, "allow")
        with pytest.raises(NotYet):
            claimed.result(timeout=0.2)
        later.append(RunStarted, project="p")
        with pytest.raises(RunExistsError, match="is being written"):
            claimed.result(timeout=10)
    later.seal("finished")
    assert layout.journals(run) == [later.path]


@pytest.mark.parametrize(
    ("rank", "world"),
    [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")],
)
def test_ranks_write_one_run_with_a_journal_each(tmp_path, rank, world):
    code = f"""
        import os, unitrack
        with unitrack.init("p", dir={str(tmp_path)!r}, id="job") as run:
            run.log({{"loss": float(os.environ[{rank!r}])}}, step=1)
    """
    ranks = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, rank: str(n), world: "3"})
        for n in range(3)
    ]
    assert [process.wait(timeout=60) for process in ranks] == [0, 0, 0]
    view = unitrack.get_run("job", dir=tmp_path)
    assert sorted(writer.rank for writer in view.writers) == [0, 1, 2]
    assert sorted(view.series("loss").values) == [0.0, 1.0, 2.0] and view.status == "finished"


def test_ranks_share_the_launchers_job_as_their_id_or_are_told_to_agree(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="pass the same id="):
        unitrack.init("p", dir=tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "abc/1")
    with unitrack.init("p", dir=tmp_path) as run:
        assert run.id == "torch-abc-1"


def _work(run):
    with run:
        run.log({"child": 1.0}, step=os.getpid())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_log_into_the_run_they_were_given(tmp_path, method):
    context = multiprocessing.get_context(method)
    with unitrack.init("p", dir=tmp_path) as run:
        run.log({"parent": 1.0})
        children = [context.Process(target=_work, args=(run,)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        run.log({"parent": 2.0})
    view = unitrack.get_run(run.id, dir=tmp_path)
    assert len(view.writers) == 3 and view.status == "finished" and verify_run(run.path).sealed
    assert list(view.series("child").values) == [1.0, 1.0] and list(view.series("parent").values) == [1.0, 2.0]


def test_a_run_inside_a_run_is_its_child(tmp_path):
    with unitrack.init("p", dir=tmp_path, group="g") as outer:
        with unitrack.init("p", dir=tmp_path) as inner:
            unitrack.log({"x": 1.0})
        unitrack.log({"y": 1.0})
    assert unitrack.get_run(inner.id, dir=tmp_path).parent == outer.id
    assert list(unitrack.get_run(outer.id, dir=tmp_path).metrics) == ["y"]
    with pytest.raises(ValueError, match=r"unitrack\.init\(\) first"):
        unitrack.log({"x": 1.0})


def test_a_second_run_under_a_given_id_is_numbered(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_RUN_ID", "nested-job")
    with unitrack.init("p", dir=tmp_path) as outer, unitrack.init("p", dir=tmp_path) as inner:
        assert (outer.id, inner.id) == ("nested-job", "nested-job-2")
    assert unitrack.get_run(inner.id, dir=tmp_path).parent == outer.id


def test_disabled_leaves_no_trace(tmp_path):
    with unitrack.init("p", dir=tmp_path / "store", mode="disabled", config={"a": 1}) as run:
        run.log({"x": 1.0, "nan": float("nan")}, step=1)
        run.summary["x"] = 1
        run.alert("hello")
        (tmp_path / "file").write_text("x")
        assert run.log_artifact(tmp_path / "file", name="a").startswith("sha256:")
        run.log_artifact(tmp_path, name="folder")
        run.log_file("f", tmp_path / "file")
        run.log_html("h", "<p>" * 100_000)
        with pickle.loads(pickle.dumps(run)) as joined:
            joined.log({"x": 1.0})
    assert not (tmp_path / "store").exists() and run.config.a == 1


def test_mlflow_users_find_their_names(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_DIR", str(tmp_path))
    unitrack.start_run(run_name="first")
    unitrack.log_param("lr", 0.1)
    unitrack.log_params({"epochs": 3})
    unitrack.log_metric("loss", 0.5, step=1)
    unitrack.log_metrics({"a": 1, "b": 2}, step=1)
    with pytest.raises(ValueError, match="nested=True"):
        unitrack.start_run()
    run = unitrack.current()
    unitrack.end_run("FAILED")
    view = unitrack.get_run(run.id)
    assert view.name == "first" and view.params == {"lr": 0.1, "epochs": 3} and view.status == "failed"
    assert set(view.metrics) == {"loss", "a", "b"}


def test_captures_tell_the_surroundings(tmp_path):
    with unitrack.init("p", dir=tmp_path / "s") as run:
        pass
    captures = unitrack.get_run(run.id, dir=tmp_path / "s").captures
    assert captures["environment"]["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert captures["hardware"]


def test_what_is_printed_is_kept_when_asked_for(tmp_path, capsys):
    with unitrack.init("p", dir=tmp_path, console=True) as run:
        print("hello from training")
    lines = [json.loads(line) for line in run._writer.path.read_text().splitlines()]
    assert "hello from training" in "".join(line["text"] for line in lines if line["type"] == "console")
    assert capsys.readouterr().out == "hello from training\n"


def test_secrets_on_the_command_line_do_not_reach_the_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--api-key=sk-secret123456789012345", "https://me:hunter2@host/x"])
    with unitrack.init("p", dir=tmp_path) as run:
        pass
    text = run._writer.path.read_text()
    assert "sk-secret" not in text and "hunter2" not in text


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB that is really full when it is full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_training_survives_a_full_disk_with_one_warning_and_a_count(small_disk):
    with pytest.warns(unitrack.UnitrackWarning, match="No space left") as caught:
        with unitrack.init("p", dir=small_disk / "store", id="r") as run:
            for step in range(20_000):
                run.log({"loss": float(step)}, step=step)
    assert len(caught) == 1
    view = unitrack.get_run("r", dir=small_disk / "store")
    kept = list(view.series("loss").values)
    # Near its end a file system may refuse one line and take the next: what is kept is in order and what was earlier is whole.
    assert kept[:5000] == [float(step) for step in range(5000)] and kept == sorted(set(kept))
    assert sum(writer.lost for writer in view.writers) >= 20_000 - len(kept) and view.status == "finished"


def test_logging_goes_on_when_there_is_room_again(small_disk):
    ballast = small_disk / "ballast"
    with pytest.warns(unitrack.UnitrackWarning, match="No space left"):
        with unitrack.init("p", dir=small_disk / "store", id="r") as run:
            run.log({"loss": 1.0}, step=1)
            try:
                ballast.write_bytes(b"x" * 2_000_000)
            except OSError:
                pass
            for step in range(2, 200):
                run.log({"loss": 2.0}, step=step)
            ballast.unlink()
            for step in range(200, 300):  # a file system may take a moment to give the room back
                run.log({"loss": 3.0}, step=step)
    view = unitrack.get_run("r", dir=small_disk / "store")
    values = list(view.series("loss").values)
    assert values[0] == 1.0 and values[-1] == 3.0 and len(values) < 299
    # What was captured in the background meanwhile may be lost too.
    assert 299 - len(values) <= view.writers[0].lost <= 299 - len(values) + 3
    assert view.writers[0].sealed and verify_run(run.path).ok


def test_a_store_that_cannot_be_written_moves_the_run_to_a_temporary_one(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with (
        pytest.warns(unitrack.UnitrackWarning, match="temporary store"),
        unitrack.init("p", dir=blocked / "store") as run,
    ):
        run.log({"x": 1.0})
    assert list(unitrack.get_run(run.id, dir=run.spec.store).series("x").values) == [1.0]
    shutil.rmtree(run.spec.store)
    with pytest.raises(OSError):
        unitrack.init("p", dir=blocked / "store", strict=True)


def test_a_store_removed_in_mid_run_costs_no_event(tmp_path):
    store = tmp_path / "store"
    with pytest.warns(unitrack.UnitrackWarning, match="was removed while"):
        with unitrack.init("p", dir=store, id="r") as run:
            run.log({"x": 1.0})
            run._services._captures.finish(30)
            shutil.rmtree(store)
            run.log({"x": 2.0})
    assert list(unitrack.get_run("r", dir=store).series("x").values) == [1.0, 2.0]


def test_a_beginning_that_fails_leaves_nothing_that_looks_alive(tmp_path):
    for _ in range(2):
        with pytest.raises(TypeError, match="parameters are given as a dict"):
            unitrack.init("p", dir=tmp_path, id="r", config="lr")
        assert unitrack.get_run("r", dir=tmp_path).status == "failed"
    with pytest.raises(ValueError, match="no open run"):
        unitrack.current()


def _log_once(run):
    run.log({"task": 1.0})
    return run._writer.id


def test_a_pool_that_unpickles_the_run_for_each_task_joins_it_once_a_process(tmp_path):
    with unitrack.init("p", dir=tmp_path) as run:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            writers = pool.map(_log_once, [run] * 5, chunksize=1)
            pool.close()
            pool.join()
    view = unitrack.get_run(run.id, dir=tmp_path)
    assert len(set(writers)) == 1 and len(view.writers) == 2 and list(view.series("task").values) == [1.0] * 5


def test_of_two_writers_the_one_that_has_begun_stays_whatever_the_clocks_say(tmp_path, monkeypatch):
    with unitrack.init("p", dir=tmp_path, id="r"):
        monkeypatch.setattr(layout, "new_writer_id", lambda: "20000101T000000.000000-1-aaaaaa")
        with pytest.raises(RunExistsError, match="is being written"):
            unitrack.init("p", dir=tmp_path, id="r")


@pytest.mark.parametrize("bad", ["../escape", "/abs", "a/b", "", ".hidden", "x" * 129, "a\0b", "..", "ünï"])
def test_an_id_that_could_leave_the_store_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="can't be a run id"):
        unitrack.init("p", dir=tmp_path / "s", id=bad) if bad else unitrack.get_run(bad, dir=tmp_path)
    assert list(Path(tmp_path).rglob("*.jsonl")) == []


class Odd:
    """A type of parameter that only a plugin knows."""


def test_a_plugin_spells_parameters_of_its_types_and_others_keep_their_repr(tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "speller-1.0.dist-info").mkdir(parents=True)
    (site / "speller-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: speller\nVersion: 1.0\n")
    (site / "speller-1.0.dist-info" / "entry_points.txt").write_text("[unitrack]\nspeller = speller\n")
    (site / "speller.py").write_text(
        "import unitrack\n@unitrack.hookimpl\ndef unitrack_to_json(value):\n"
        "    return {'odd': [1, float('inf')]} if type(value).__name__ == 'Odd' else None\n"
    )
    monkeypatch.syspath_prepend(site)
    with unitrack.init("p", dir=tmp_path, id="r", config={"deep": [Odd()], "unknown": object()}):
        pass
    assert unitrack.get_run("r", dir=tmp_path).params == {
        "deep": [{"odd": [1, float("inf")]}],
        "unknown": "<object object>",
    }
