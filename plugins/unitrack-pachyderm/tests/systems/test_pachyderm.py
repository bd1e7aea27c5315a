"""Pachyderm's own client against a stub of its server, made of the client's own messages. No cluster runs here."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import grpc
import pytest
from pachyderm_sdk.api import pfs

import unitrack
from unitrack.errors import UnitrackWarning
from unitrack_pachyderm import PachydermResolver
from unitrack_pachyderm._resolver import OpenCommitError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FIRST, SECOND, OPEN = (f"{digit * 12}4{digit * 19}" for digit in "abc")
THEN = datetime(2026, 1, 2, tzinfo=timezone.utc)


class Pachd:
    """Commits and files of one repository in memory; serves the two calls that say what a version is."""

    def __init__(self):
        self.heads = {"master": SECOND, "draft": OPEN}
        self.finished = {FIRST: THEN, SECOND: THEN, OPEN: None}
        self.hashes = {(FIRST, "/"): b"\x01", (SECOND, "/"): b"\x02", (SECOND, "/a.csv"): b"\xaa\xbb"}

    def inspect_commit(self, request, context):
        asked = request.commit
        key = asked.id or self.heads.get(asked.branch.name, "")
        if asked.repo.as_uri() != "shop/orders" or key not in self.finished:
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"commit {asked.repo.as_uri()}@{key or asked.branch.name} not found"
            )
        made_of = [pfs.Commit(repo=pfs.Repo.from_uri("shop/raw"), id=FIRST)] if key == SECOND else []
        commit = pfs.Commit(repo=asked.repo, id=key, branch=pfs.Branch(repo=asked.repo, name="master"))
        info = pfs.CommitInfo(commit=commit, started=THEN, direct_provenance=made_of)
        if self.finished[key]:
            info.finished = self.finished[key]
        return info

    def inspect_file(self, request, context):
        found = self.hashes.get((request.file.commit.id, request.file.path))
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"file {request.file.path} not found")
        return pfs.FileInfo(file=request.file, hash=found, size_bytes=7)

    def handlers(self):
        def unary(call, request):
            return grpc.unary_unary_rpc_method_handler(
                call, request_deserializer=request.FromString, response_serializer=bytes
            )

        calls = {
            "InspectCommit": unary(self.inspect_commit, pfs.InspectCommitRequest),
            "InspectFile": unary(self.inspect_file, pfs.InspectFileRequest),
        }
        return grpc.method_handlers_generic_handler("pfs_v2.API", calls)


@pytest.fixture
def pachd(monkeypatch):
    state = Pachd()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((state.handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        monkeypatch.setenv("PACHD_ADDRESS", f"grpc://127.0.0.1:{port}")
        yield state
        server.stop(None).wait()


def test_a_branch_is_the_commit_at_its_head_with_the_hash_of_its_content(pachd):
    found = PachydermResolver().resolve("pfs://shop/orders@master")
    assert (found.version, found.digest) == (SECOND, "pfs:02")
    assert found.metadata == {
        "repo": "shop/orders", "branch": "master", "path": "/", "finished": THEN.isoformat(), "bytes": 7,
        "made_of": [f"shop/raw@{FIRST}"],
    }  # fmt: skip


def test_a_branch_that_moved_on_is_another_version_and_a_commit_stays_what_it_was(pachd):
    pachd.heads["master"] = FIRST
    assert PachydermResolver().resolve("pfs://shop/orders@master").version == FIRST
    assert PachydermResolver().resolve(f"pfs://shop/orders@{SECOND}").version == SECOND
    assert PachydermResolver().resolve(f"pfs://shop/orders@master={SECOND}").version == SECOND


def test_a_file_has_a_hash_of_its_own(pachd):
    assert PachydermResolver().resolve("pfs://shop/orders@master:/a.csv").digest == "pfs:aabb"


def test_a_commit_that_is_not_finished_has_no_version_yet(pachd):
    with pytest.raises(OpenCommitError, match="is not finished"):
        PachydermResolver().resolve("pfs://shop/orders@draft")


@pytest.mark.parametrize("uri", ["pfs://shop/orders@nowhere", "pfs://orders@master", "pfs://shop/orders@master:/b.csv"])
def test_what_is_not_there_is_an_error_that_says_so(pachd, uri):
    with pytest.raises(grpc.RpcError, match="not found"):
        PachydermResolver().resolve(uri)


def test_a_run_records_the_commit(pachd):
    with unitrack.init("shop") as run:
        run.log_dataset("pfs://shop/orders@master", split="train")
    (dataset,) = unitrack.get_run(run.id).datasets
    assert (dataset.version, dataset.digest, dataset.split) == (SECOND, "pfs:02", "train")


def test_a_cluster_that_is_away_costs_the_version_and_not_the_training(monkeypatch):
    monkeypatch.setenv("PACHD_ADDRESS", "grpc://127.0.0.1:1")
    with (
        unitrack.init("shop") as run,
        pytest.warns(UnitrackWarning, match=r"'pachyderm' failed on pfs://shop/orders@master"),
    ):
        run.log_dataset("pfs://shop/orders@master")
    (dataset,) = unitrack.get_run(run.id).datasets
    assert dataset.version is None
