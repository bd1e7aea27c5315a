"""An MLflow server on a PostgreSQL cluster that lives and dies with this module."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from unitrack import events

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account


def _binaries():
    """Return the folder of PostgreSQL's programs; Debian keeps them out of PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def postgres_uri():
    """Start a private cluster as an unprivileged user, which PostgreSQL insists on."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's programs are not installed: apt-get install postgresql")
    as_root = os.geteuid() == 0
    prefix = ["runuser", "-u", "postgres", "--"] if as_root else []
    folder = Path(tempfile.mkdtemp(prefix="unitrack-pg-"))  # short, for the socket's path; pytest's is for root alone
    if as_root:
        shutil.chown(folder, "postgres")
    port = _free_port()
    run = [*prefix, str(binaries / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8"]
    subprocess.run(run, check=True, capture_output=True, cwd=folder)
    command = [
        *prefix, str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder),
        "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
    ]  # fmt: skip
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _create_database(port)
        yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/mlflow"
    finally:
        stop = [*prefix, str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-m", "immediate", "-w", "stop"]
        subprocess.run(stop, check=False, capture_output=True, cwd=folder)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _create_database(port):
    import time

    import psycopg2

    until = time.monotonic() + 60
    while True:
        try:
            connection = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres")
            break
        except psycopg2.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE mlflow")


@pytest.fixture(scope="module")
def server_uri(postgres_uri, tmp_path_factory, start_server):
    """Take the place of the server on SQLite for what this module tests."""
    with start_server(tmp_path_factory.mktemp("server"), postgres_uri) as uri:
        yield uri


def rows(postgres_uri, query):
    import psycopg2

    with contextlib.closing(psycopg2.connect(postgres_uri.replace("+psycopg2", ""))) as connection:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()


def test_a_run_arrives_once_however_often_it_is_sent(tracker_on_server, runs, postgres_uri):
    writer = runs.writer(name="my run", parent="mother")
    writer.append(events.Params, {"lr": 0.1, "long": "x" * 7000})
    for step in range(1500):
        writer.append(events.Metrics, {"loss": 1 / (step + 1), "mAP@50": 0.5}, step)
    for value in ("NaN", "Infinity", "-Infinity"):
        writer.append(events.Metrics, {"odd": value}, 2**62)
    writer.append(events.Tags, values={"näme": "wört \N{SNOWMAN}"})
    writer.append(events.DatasetUsed, name="d", digest="sha256:" + "c" * 64, split="train")
    writer.append(events.Artifact, name="net/w.pt", kind="model", digest=runs.put(b"weights"), size=7)
    writer.seal("failed")
    for _ in range(2):
        (result,) = runs.send(tracker_on_server, runs=["one"], patience=30.0, options={"register": {"net/w.pt": "pg"}})
        assert (result.state, result.dead) == ("sent", 0)
        runs.forget()
    run = tracker_on_server.run("one")
    assert run.info.status == "FAILED"
    assert [(step, value) for step, _, value in tracker_on_server.history("loss", "one")] == [
        (step, 1 / (step + 1)) for step in range(1500)
    ]
    odd = sorted(str(value) for _, _, value in tracker_on_server.history("odd", "one"))
    assert odd == sorted([str(-sys.float_info.max), str(sys.float_info.max), "nan"])
    assert run.data.tags["näme"] == "wört \N{SNOWMAN}"
    assert [one.dataset.digest for one in run.inputs.dataset_inputs] == ["c" * 36]
    assert rows(postgres_uri, "SELECT count(*) FROM metrics") == [(3003,)]
    assert rows(postgres_uri, "SELECT count(*) FROM runs") == [(2,)], "the run and the parent that stands in"
    assert rows(postgres_uri, "SELECT count(*) FROM logged_models") == [(1,)]
    assert rows(postgres_uri, "SELECT count(*) FROM model_versions") == [(1,)]
