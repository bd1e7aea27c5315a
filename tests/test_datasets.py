"""Data is named by digest, version, columns in order, rows and split; what stays as it is is not read again."""

from __future__ import annotations

import os
import sqlite3
import sys
from types import SimpleNamespace

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

import unitrack
from unitrack.errors import UsageError
from unitrack.objects import ObjectStore, cache, hashing
from unitrack.objects.reading import digest_file


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_CAPTURE", "environment")
    with unitrack.init("p", dir=tmp_path / "s") as run:
        yield run


def used(run):
    return unitrack.get_run(run.id, dir=run.spec.store).datasets[-1]


def age(*paths):
    """Make files look at rest: those written a moment ago are not remembered."""
    for path in paths:
        os.utime(path, (1_600_000_000, 1_600_000_000))


@pytest.fixture
def settled(monkeypatch):
    """Let a file count as at rest at once; the time of change can't be set back."""
    monkeypatch.setattr(cache, "_SETTLED", -1)


@pytest.fixture
def reads(monkeypatch):
    """Return the paths of files that are read to be hashed."""
    seen = []

    def counted(path, *rest, **named):
        seen.append(os.path.basename(path))
        return digest_file(path, *rest, **named)

    monkeypatch.setattr(hashing, "digest_file", counted)
    return seen


# -- what is known of data -----------------------------------------------------------------------


def test_a_csv_file_has_columns_in_order_size_and_time(run, tmp_path):
    (tmp_path / "train.csv").write_text('b,a,"c, d"\n1,2,3\n')
    age(tmp_path / "train.csv")
    digest = run.log_dataset(tmp_path / "train.csv", split="train")
    found = used(run)
    assert found.columns == [["b", "text"], ["a", "text"], ["c, d", "text"]] and found.split == "train"
    assert found.digest == digest == ObjectStore(tmp_path / "o").put_file(tmp_path / "train.csv").digest
    assert found.metadata == {"size": 17, "files": 1, "modified": "2020-09-13T12:26:40+00:00"}


def test_parquet_and_arrow_files_and_folders_have_types_and_rows(run, tmp_path):
    table = pyarrow.table({"x": [1, 2, 3], "a": ["p", "q", None]})
    columns = [["x", "int64"], ["a", "string"]]
    (tmp_path / "parts").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "parts" / "1.parquet")
    pyarrow.parquet.write_table(table, tmp_path / "parts" / "2.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "t.feather")
    with pyarrow.ipc.new_stream(tmp_path / "t.arrow", table.schema) as stream:
        stream.write_table(table)
    for name, rows in (("parts/1.parquet", 3), ("parts", 6), ("t.feather", 3), ("t.arrow", 3)):
        run.log_dataset(tmp_path / name)
        assert (used(run).rows, used(run).columns) == (rows, columns), name
    pyarrow.parquet.write_table(table.select(["a", "x"]), tmp_path / "parts" / "3.parquet")
    run.log_dataset(tmp_path / "parts")
    assert used(run).columns is None and used(run).digest


def test_a_file_that_is_not_what_its_name_says_has_a_digest_and_no_shape(run, tmp_path):
    for name in ("x.parquet", "x.arrow", "x.npy", "x.csv"):
        (tmp_path / name).write_bytes(b"\x00\xff" * 100)
        assert run.log_dataset(tmp_path / name) and used(run).rows is None


def test_numpy_files_have_rows_and_file_uris_are_paths(run, tmp_path):
    np.save(tmp_path / "a b.npy", np.zeros((7, 2)))
    digest = run.log_dataset(f"file://{tmp_path}/a%20b.npy")
    assert used(run).rows == 7 and digest == run.log_dataset(tmp_path / "a b.npy")


def test_an_arrow_table_has_one_digest_however_it_is_chunked_and_another_for_any_change(run):
    table = pyarrow.table({"x": [1, 2, None, 4], "w": ["a", "b", "c", None], "n": [[1], [], None, [2, 3]]})
    same = [
        table,
        pyarrow.concat_tables([table.slice(0, 1), table.slice(1)]),
        pyarrow.concat_tables([table, table]).slice(4),
        table.to_batches()[0],
        table.set_column(1, "w", table["w"].dictionary_encode().cast(pyarrow.string())),
    ]
    assert len({run.log_dataset(each) for each in same}) == 1
    assert used(run).rows == 4 and used(run).columns[:2] == [["x", "int64"], ["w", "string"]]
    others = [
        table.select(["w", "x", "n"]),
        table.rename_columns(["x", "v", "n"]),
        table.set_column(0, "x", table["x"].cast(pyarrow.int32())),
        table.set_column(0, "x", pyarrow.array([1, 2, 3, 4])),
        table.set_column(0, "x", pyarrow.array([1, None, 2, 4])),
        table.set_column(2, "n", pyarrow.array([[1], [], None, [3, 2]])),
        table.slice(0, 3),
        table.take([1, 0, 2, 3]),
    ]
    assert len({run.log_dataset(each) for each in [table, *others]}) == 1 + len(others)


def test_frames_keep_their_columns_in_order(run):
    for package in (pandas, polars):
        one, other = package.DataFrame({"b": [1], "a": [2.0]}), package.DataFrame({"a": [2.0], "b": [1]})
        assert run.log_dataset(one) != run.log_dataset(other)
        assert [name for name, _ in used(run).columns] == ["a", "b"]


def test_the_columns_of_an_array_are_named_by_whom_made_it(run):
    run.log_dataset(np.zeros((3, 2)), columns=["width", "height"])
    assert used(run).columns == [["width", "float64"], ["height", "float64"]] and used(run).rows == 3
    run.log_dataset(np.zeros(2, dtype=[("x", "f4"), ("y", "i8")]))
    assert used(run).columns == [["x", "float32"], ["y", "int64"]]
    with pytest.raises(ValueError, match="names 1 columns, and the data has 2"):
        run.log_dataset(np.zeros((3, 2)), columns=["width"])
    with pytest.raises(TypeError, match="columns are names"):
        run.log_dataset(np.zeros((3, 2)), columns=[1, 2])


def test_a_hugging_face_dataset_is_known_by_its_fingerprint(run, monkeypatch):
    """By duck type, on the attributes that `datasets.Dataset` documents: the package is no requirement of ours."""
    kind = type("Dataset", (), {"__module__": "datasets.arrow_dataset"})
    data = kind()
    data._fingerprint, data.num_rows, data.split = "3f2a", 42, "train"
    data.features = {"text": SimpleNamespace(dtype="string"), "label": SimpleNamespace(dtype=None)}
    data.info = SimpleNamespace(builder_name="imdb", config_name="plain_text", version="1.0.0")
    assert run.log_dataset(data) is None
    found = used(run)
    assert (found.name, found.version, found.rows) == ("imdb", "fingerprint:3f2a", 42)
    assert found.columns == [["text", "string"], ["label", "SimpleNamespace"]] and found.metadata["version"] == "1.0.0"
    splits = type("DatasetDict", (dict,), {"__module__": "datasets.dataset_dict"})({"train": data})
    with pytest.raises(TypeError, match="log each of its splits"):
        run.log_dataset(splits)


def test_credentials_in_a_uri_stay_out(run):
    run.log_dataset("s3://key:hunter2@bucket/data?X-Amz-Signature=abcdef&part=1")
    assert used(run).uri == "s3://***@bucket/data?X-Amz-Signature=***&part=1"


# -- versions ------------------------------------------------------------------------------------


@pytest.fixture
def resolver(tmp_path, monkeypatch):
    """Install a plugin that knows the versions of what lies below `vault`, as an installed one."""
    site = tmp_path / "site"
    (site / "vault-1.0.dist-info").mkdir(parents=True)
    (site / "vault_plugin.py").write_text(
        "from unitrack.hookspecs import DatasetVersion, hookimpl\n"
        "class Vault:\n"
        "    name = 'vault'\n"
        "    def resolve(self, uri):\n"
        "        if 'broken' in uri:\n"
        "            raise OSError('no vault at https://mia:hunter2@vault')\n"
        "        if 'vault' not in uri:\n"
        "            return None\n"
        "        return DatasetVersion(uri=uri, version='r7', digest='md5:aa', metadata={'as_of': '2026-01-01'})\n"
        "@hookimpl\n"
        "def unitrack_register_dataset_resolvers():\n"
        "    return [Vault()]\n"
    )
    (site / "vault-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vault\nVersion: 1.0\n")
    (site / "vault-1.0.dist-info" / "entry_points.txt").write_text("[unitrack]\nvault = vault_plugin\n")
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("vault_plugin", None)


def test_a_resolver_names_the_version_and_our_digest_of_the_bytes_stays(resolver, run, tmp_path):
    (tmp_path / "vault.csv").write_text("a\n1\n")
    digest = run.log_dataset(tmp_path / "vault.csv")
    found = used(run)
    assert (found.version, found.digest) == ("r7", digest) and digest.startswith("sha256:")
    assert {"as_of": "2026-01-01", "resolver": "vault", "version_digest": "md5:aa"}.items() <= found.metadata.items()
    run.log_dataset(tmp_path / "vault.csv", version="mine")
    assert used(run).version == "mine"


def test_data_that_nobody_has_fetched_is_named_by_the_system_that_keeps_it(resolver, run, tmp_path):
    assert run.log_dataset(tmp_path / "vault" / "far.parquet") == "md5:aa"
    assert (used(run).name, used(run).version) == ("far.parquet", "r7")
    with pytest.raises(UsageError, match="No such file"):
        run.log_dataset(tmp_path / "nowhere.csv")
    assert run.log_dataset("s3://vault/x") == "md5:aa"


def test_a_resolver_that_fails_is_told_without_its_secrets_and_passed_over(resolver, run):
    with pytest.warns(unitrack.UnitrackWarning, match=r"resolver 'vault' failed on s3://broken/x.*\*\*\*@vault"):
        run.log_dataset("s3://broken/x")
    assert used(run).version is None


# -- snapshots -----------------------------------------------------------------------------------


def test_kept_data_can_be_had_again(run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("a\n1\n")
    digest = run.log_dataset(tmp_path / "in", name="toy", split="train", keep=True)
    assert used(run).metadata["kept"] == digest
    assert (run.use_artifact(f"{run.id}/data/toy-train") / "a.csv").read_text() == "a\n1\n"
    array = np.arange(6).reshape(3, 2)
    run.log_dataset(array, name="numbers", keep=True)
    assert np.array_equal(np.load(run.use_artifact(f"{run.id}/data/numbers.npy")), array)
    frames = {"pandas": pandas.DataFrame({"x": [1]}), "polars": polars.DataFrame({"x": [1]})}
    for name, frame in {**frames, "arrow": pyarrow.table({"x": [1]})}.items():
        run.log_dataset(frame, name=name, keep=True)
        kept = run.use_artifact(f"{run.id}/data/{name}.parquet")
        assert pyarrow.parquet.read_table(kept).to_pydict() == {"x": [1]}
    with pytest.raises(TypeError, match="keep=True takes a path"):
        run.log_dataset("s3://b/k", keep=True)


# -- hashing -------------------------------------------------------------------------------------


def test_unchanged_files_are_not_read_again_and_changed_ones_are(run, tmp_path, settled, reads):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / name).write_text(name)
    first = run.log_dataset(tmp_path / "in")
    assert sorted(reads) == ["a", "b", "c"]
    reads.clear()
    assert run.log_dataset(tmp_path / "in") == first and reads == []
    before = (tmp_path / "in" / "b").stat()
    (tmp_path / "in" / "b").write_text("B")
    os.utime(tmp_path / "in" / "b", ns=(before.st_atime_ns, before.st_mtime_ns))  # the time of change tells
    assert run.log_dataset(tmp_path / "in") != first and reads == ["b"]


def test_a_file_that_was_written_a_moment_ago_is_not_remembered(run, tmp_path, reads):
    (tmp_path / "a").write_text("x")
    for _ in range(2):
        run.log_dataset(tmp_path / "a")
    assert reads == ["a", "a"]


@pytest.mark.parametrize("damage", ["garbage", "folder", "locked"])
def test_a_cache_that_can_not_be_used_costs_nothing_but_time(run, tmp_path, settled, damage, monkeypatch):
    monkeypatch.setattr(cache, "_SECONDS", 0.05)
    file = run.spec.store / "digests.sqlite3"
    (tmp_path / "a").write_text("x")
    lock = None
    if damage == "garbage":
        file.write_bytes(b"no database" * 100)
    elif damage == "folder":
        file.mkdir()
    else:
        run.log_dataset(tmp_path / "a")
        lock = sqlite3.connect(file)
        lock.execute("BEGIN EXCLUSIVE")
        (tmp_path / "a").write_text("y")
    assert run.log_dataset(tmp_path / "a") == ObjectStore(tmp_path / "o").put_file(tmp_path / "a").digest
    if lock is not None:
        lock.close()


def test_whoever_verifies_reads_the_bytes_whatever_is_remembered(run, tmp_path, settled):
    (tmp_path / "a").write_text("x")
    run.log_dataset(tmp_path / "a")
    with sqlite3.connect(run.spec.store / "digests.sqlite3") as database:
        database.execute("UPDATE digests SET digest = 'sha256:" + "0" * 64 + "'")
    database.close()
    objects = ObjectStore(run.spec.store / "objects")
    assert objects.digest(tmp_path / "a", cached=True).digest.endswith("0" * 64)
    assert objects.digest(tmp_path / "a").digest == objects.put_file(tmp_path / "a").digest


def test_files_are_hashed_side_by_side_in_threads_and_progress_adds_up(tmp_path, monkeypatch):
    import threading

    for number in range(8):
        (tmp_path / f"{number}").write_bytes(os.urandom(3 << 20))
    monkeypatch.setattr(hashing, "_cores", lambda: 2)
    both = threading.Barrier(2, timeout=30)
    real, first = digest_file, []

    def meets(path, *rest, **named):
        if len(first) < 2:
            first.append(path)
            both.wait()  # goes on only when another is here at the same time
        return real(path, *rest, **named)

    monkeypatch.setattr(hashing, "digest_file", meets)
    told = []
    found = hashing.digest_path(tmp_path, progress=lambda done, whole: told.append((done, whole)))
    assert told[-1] == (8 * 3 << 20, 8 * 3 << 20) and told == sorted(told) and len(told) == 96
    assert [entry.digest for entry in found.files] == [real(tmp_path / f"{n}")[0] for n in range(8)]


def test_the_digest_of_a_folder_with_trouble_says_what_is_left_out(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    found = hashing.digest_path(tmp_path)
    assert [entry.path for entry in found.files] == ["a"]
    assert found.skipped == (("dangling", "dangling link"), ("pipe", "fifo"))


def test_the_store_inside_of_the_data_is_no_part_of_it(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("x")
    with unitrack.init("p", dir=tmp_path / "s") as run:
        first = run.log_dataset(tmp_path)
        run.log({"x": 1})
        assert run.log_dataset(tmp_path) == first


def test_a_person_who_waits_is_told(run, tmp_path, monkeypatch, capsys):
    from unitrack import _run_datasets

    (tmp_path / "a").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(_run_datasets, "_PATIENCE", 0.0)
    monkeypatch.setattr(_run_datasets, "_EVERY", 0.0)
    run.log_dataset(tmp_path / "a")
    said = capsys.readouterr().err
    assert "hashing data: 0.0 of 0.0 GB" in said and said.endswith("\r\033[K")


def test_disabled_runs_describe_data_and_keep_nothing(tmp_path):
    with unitrack.init("p", dir=tmp_path / "s", mode="disabled") as run:
        assert run.log_dataset(np.zeros((2, 2)), keep=True).startswith("sha256:")
    assert not (tmp_path / "s" / "objects").exists()
