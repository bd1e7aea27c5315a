"""The object store: what goes in comes back, whatever crashes, changes or lies."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack.errors import UnitrackError, UsageError
from unitrack.objects import ObjectStore, reading
from unitrack.objects.tree import escape, unescape


@pytest.fixture
def store(tmp_path):
    return ObjectStore(tmp_path / "objects", durable=False)


def _digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _manifest(store, **fields):
    body = {"version": 1, "files": [], "folders": [], "skipped": [], **fields}
    return store.put_bytes(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).digest


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_kept_read_only_under_its_sha256(tmp_path, durable):
    store = ObjectStore(tmp_path / "deep" / "objects", durable=durable)
    (tmp_path / "f").write_bytes(b"hello")
    stored = store.put_file(tmp_path / "f")
    path = store.get(stored.digest)
    assert (stored.digest, stored.size, stored.new) == (_digest(b"hello"), 5, True)
    assert path == store.root / stored.digest[7:9] / stored.digest[7:] and path.read_bytes() == b"hello"
    assert path.stat().st_mode & 0o222 == 0 and _files(store.root) == [path]


def test_the_same_bytes_are_stored_once_from_a_file_a_link_and_memory(store, tmp_path):
    (tmp_path / "f").write_bytes(b"same")
    (tmp_path / "link").symlink_to("f")
    first = store.put_file(tmp_path / "f")
    before = store.get(first.digest).stat()
    assert not store.put_file(tmp_path / "link").new and not store.put_bytes(b"same").new
    after = store.get(first.digest).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(_files(store.root)) == 1


def test_an_object_cut_short_by_a_crash_is_replaced(store):
    stored = store.put_bytes(b"whole")
    path = store.get(stored.digest)
    path.chmod(0o644)
    path.write_bytes(b"who")
    assert not store.verify(stored.digest)
    assert store.put_bytes(b"whole").new and store.verify(stored.digest)


def test_an_empty_file_is_an_object(store, tmp_path):
    (tmp_path / "empty").touch()
    assert store.put_file(tmp_path / "empty").digest == store.put_bytes(b"").digest == _digest(b"")


@pytest.mark.parametrize(
    ("make", "reason"),
    [(lambda path: None, "No such file"), (Path.mkdir, "is a folder"), (os.mkfifo, "is a fifo")],
)
def test_what_is_no_file_is_wrong_use_and_never_waited_for(store, tmp_path, make, reason):
    make(tmp_path / "it")
    with pytest.raises(UsageError, match=reason):
        store.put_file(tmp_path / "it")
    assert not _files(store.root)


def test_a_file_that_changes_while_it_is_read_is_read_once_more(store, tmp_path, monkeypatch):
    source = tmp_path / "f"
    source.write_bytes(b"old")
    _changing(monkeypatch, source, times=1)
    stored = store.put_file(source)
    assert stored.digest == _digest(source.read_bytes()) and len(_files(store.root)) == 1


def test_a_file_that_keeps_changing_is_wrong_use_and_skipped_in_a_folder(store, tmp_path, monkeypatch):
    source = tmp_path / "in" / "f"
    source.parent.mkdir()
    source.write_bytes(b"old")
    _changing(monkeypatch, source, times=100)
    with pytest.raises(UsageError, match="changed while it was being read"):
        store.put_file(source)
    tree = store.put_tree(source.parent)
    assert not tree.files and tree.skipped[0][0] == "f" and "changed" in tree.skipped[0][1]


def _changing(monkeypatch, source, times):
    left = [times]
    real = reading._read

    def read(path, *rest):
        count = real(path, *rest)
        if not count and left[0] and path == source:
            left[0] -= 1
            with source.open("ab") as file:
                file.write(b"more")
        return count

    monkeypatch.setattr(reading, "_read", read)


def test_progress_tells_the_bytes_done(store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big").write_bytes(bytes(3 << 20))
    (tmp_path / "in" / "small").write_bytes(b"x")
    told = []
    store.put_file(tmp_path / "in" / "big", progress=told.append)
    assert told == [part << 18 for part in range(1, 13)]
    told.clear()
    store.put_tree(tmp_path / "in", progress=told.append)
    assert told == sorted(told) and told[-1] == (3 << 20) + 1


def test_a_big_file_takes_a_bounded_amount_of_memory(store, tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    stored = store.put_file(tmp_path / "big")
    store.checkout(stored.digest, tmp_path / "back")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


# -- crashes and company -------------------------------------------------------------------------


def test_a_killed_writer_leaves_scratch_files_that_a_later_put_removes(tmp_path):
    root = tmp_path / "objects"
    code = (
        "import os, sys; from pathlib import Path; from unitrack.objects import ObjectStore\n"
        "ObjectStore(Path(sys.argv[1])).put_file(sys.argv[2], progress=lambda done: os.kill(os.getpid(), 9))"
    )
    (tmp_path / "f").write_bytes(b"data")
    subprocess.run([sys.executable, "-c", code, str(root), str(tmp_path / "f")], check=False)
    [left] = _files(root)
    assert left.name.endswith(".tmp")
    os.utime(left, (0, 0))
    stored = ObjectStore(root).put_file(tmp_path / "f")
    assert _files(root) == [ObjectStore(root).get(stored.digest)]


def test_clean_spares_a_live_writer_and_young_files(store, tmp_path):
    (tmp_path / "f").write_bytes(b"data")
    seen = []

    def meanwhile(done):
        [scratch] = _files(store.root)
        os.utime(scratch, (0, 0))
        seen.append(ObjectStore(store.root).clean(older_than=0))

    store.put_file(tmp_path / "f", progress=meanwhile)
    assert seen == [()]
    abandoned = store.root / ".abandoned.tmp"
    abandoned.touch()
    assert store.clean() == () and store.clean(older_than=-1) == (abandoned,) and not abandoned.exists()


def test_a_full_disk_is_an_oserror_and_leaves_nothing(store, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(b"data")

    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unitrack.objects.store._write", full)
    for put in (lambda: store.put_file(tmp_path / "in" / "f"), lambda: store.put_tree(tmp_path / "in")):
        with pytest.raises(OSError, match="No space"):
            put()
    assert _files(store.root) == []


def test_threads_that_put_the_same_at_once_agree(store, tmp_path):
    (tmp_path / "f").write_bytes(os.urandom(3 << 20))
    results = []
    threads = [threading.Thread(target=lambda: results.append(store.put_file(tmp_path / "f"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and len({result.digest for result in results}) == 1
    assert len(_files(store.root)) == 1 and store.verify(results[0].digest)


def test_processes_that_put_the_same_at_once_agree(tmp_path):
    root = tmp_path / "objects"
    (tmp_path / "f").write_bytes(os.urandom(1 << 20))
    code = "import sys; from pathlib import Path; from unitrack.objects import ObjectStore\n"
    code += "for _ in range(20): print(ObjectStore(Path(sys.argv[1]), durable=False).put_file(sys.argv[2]).digest)"
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "f")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {line for process in running for line in process.communicate()[0].splitlines()}
    assert all(process.returncode == 0 for process in running) and len(printed) == 1
    assert len(_files(root)) == 1 and ObjectStore(root).verify(printed.pop())


def test_verify_finds_a_changed_and_a_missing_object(store):
    digest = store.put_bytes(b"data").digest
    assert store.verify(digest)
    store.get(digest).chmod(0o644)
    store.get(digest).write_bytes(b"Data")
    assert not store.verify(digest) and not store.verify(_digest(b"absent"))


@pytest.mark.parametrize(
    "digest", ["", "abc", "sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32, None]
)
def test_what_is_no_digest_is_wrong_use(store, tmp_path, digest):
    for call in (store.get, store.verify, lambda word: store.checkout(word, tmp_path / "out")):
        with pytest.raises(UsageError, match="is no digest"):
            call(digest)


def test_a_missing_object_is_named(store):
    with pytest.raises(UsageError, match="holds no object sha256:"):
        store.get(_digest(b"absent"))


# -- folders -------------------------------------------------------------------------------------


def test_a_folder_is_a_canonical_manifest_that_is_an_object_itself(store, tmp_path):
    folder = tmp_path / "in"
    (folder / "b" / "empty").mkdir(parents=True)
    (folder / "b" / "2.txt").write_text("two")
    (folder / "a.txt").write_text("one")
    tree = store.put_tree(folder)
    assert json.loads(store.get(tree.digest).read_bytes()) == {
        "version": 1,
        "files": [
            {"path": "a.txt", "digest": _digest(b"one"), "size": 3},
            {"path": "b/2.txt", "digest": _digest(b"two"), "size": 3},
        ],
        "folders": ["b/empty"],
        "skipped": [],
    }
    assert tree.size == 6 and [entry.path for entry in tree.files] == ["a.txt", "b/2.txt"]
    assert store.put_tree(folder).digest == tree.digest and store.manifest(tree.digest).files == tree.files


def test_links_are_followed_unless_they_loop_and_the_odd_is_told(store, tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_text("far")
    (folder / "file").symlink_to(tmp_path / "outside" / "f")
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "sub" / "up").symlink_to("..")
    (folder / "root").symlink_to("/")
    (folder / "gone").symlink_to("nowhere")
    (folder / "self").symlink_to("self")
    os.mkfifo(folder / "pipe")
    (folder / "device").symlink_to("/dev/null")
    tree = store.put_tree(folder)
    reasons = dict(tree.skipped)
    assert [entry.path for entry in tree.files] == ["file", "folder/f"]
    assert "symbolic links" in reasons.pop("self")
    assert reasons == {
        "device": "device", "gone": "dangling link", "pipe": "fifo", "root": "loop", "sub/up": "loop",
    }  # fmt: skip


def test_two_folders_that_link_to_each_other_end(store, tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / "in" / one).mkdir(parents=True)
        (tmp_path / "in" / one / "to").symlink_to(f"../{other}")
    assert {path for path, reason in store.put_tree(tmp_path / "in").skipped} == {"a/to/to", "b/to/to"}


def test_a_socket_is_told(store, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")  # a socket's path has 108 bytes at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert store.put_tree(tmp_path / "in").skipped == (("s", "socket"),)


def test_unreadable_files_and_folders_are_told(store, tmp_path, monkeypatch):
    (tmp_path / "in" / "closed").mkdir(parents=True)
    (tmp_path / "in" / "secret").write_text("x")
    _forbid(monkeypatch, "open", "secret")
    _forbid(monkeypatch, "scandir", "closed")
    assert store.put_tree(tmp_path / "in").skipped == (
        ("closed", "Permission denied"), ("secret", "Permission denied"),
    )  # fmt: skip


def _forbid(monkeypatch, call, name):
    real = getattr(os, call)

    def refuse(path, *args, **kwargs):
        if os.fspath(path).endswith(name):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, call, refuse)


def test_a_folder_that_is_not_there_is_wrong_use(store, tmp_path):
    (tmp_path / "f").touch()
    for path in (tmp_path / "nowhere", tmp_path / "f"):
        with pytest.raises(UsageError, match="can't store"):
            store.put_tree(path)


def test_the_store_and_what_is_excluded_are_left_out(store, tmp_path):
    (tmp_path / "f").touch()
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "f").touch()
    tree = store.put_tree(tmp_path, exclude=[tmp_path / "private", tmp_path / "nowhere"])
    assert [entry.path for entry in tree.files] == ["f"] and tree.folders == () == tree.skipped


def test_digest_tells_what_a_put_would_and_stores_nothing(store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("x")
    file, tree = store.digest(tmp_path / "in" / "f"), store.digest(tmp_path / "in")
    assert not store.root.exists()
    stored = store.put_file(tmp_path / "in" / "f")
    assert (file.digest, file.size) == (stored.digest, stored.size) and tree == store.put_tree(tmp_path / "in")


@given(name=st.text())
def test_every_name_is_escaped_to_utf8_and_back(name):
    name = os.fsdecode(name.encode("utf-8", "ignore") + b"\xff\\udcff\\x5c" + name.encode("utf-8", "ignore"))
    assert unescape(escape(name)) == name
    escape(name).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that aren't UTF-8")
def test_names_that_are_not_utf8_survive_the_round_trip(store, tmp_path):
    names = [b"\xff\xfe", b"\\udcff\\udcfe", "ü\\x5c\n".encode()]
    (tmp_path / "in").mkdir()
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_text(str(number))
    tree = store.put_tree(tmp_path / "in")
    assert tree.files[1].path != tree.files[2].path and not tree.skipped
    out = store.checkout(tree.digest, tmp_path / "out")
    assert sorted(os.listdir(os.fsencode(out))) == sorted(names)


# -- the way back --------------------------------------------------------------------------------

_names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)
_trees = st.recursive(st.binary(max_size=50), lambda inner: st.dictionaries(_names, inner, max_size=4), max_leaves=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(_names, _trees, max_size=4))
def test_any_folder_comes_back_as_it_was(tmp_path_factory, tree):
    base = tmp_path_factory.mktemp("round")
    store = ObjectStore(base / "objects", durable=False)
    _build(base / "in", tree)
    stored = store.put_tree(base / "in")
    store.checkout(stored.digest, base / "out" / "here", tree=True)
    assert _read(base / "out" / "here") == tree
    assert store.put_tree(base / "out" / "here").digest == stored.digest
    assert [path.name for path in (base / "out").iterdir()] == ["here"]


def _build(path, tree):
    path.mkdir()
    for name, value in tree.items():
        if isinstance(value, bytes):
            (path / name).write_bytes(value)
        else:
            _build(path / name, value)


def _read(path):
    return {item.name: _read(item) if item.is_dir() else item.read_bytes() for item in path.iterdir()}


def test_a_file_comes_back_as_a_copy_that_may_be_changed(store, tmp_path):
    digest = store.put_bytes(b"data").digest
    out = store.checkout(digest, tmp_path / "new" / "out")
    out.write_bytes(b"changed")
    assert store.verify(digest) and out.stat().st_nlink == 1


def test_a_destination_that_holds_it_already_is_left_alone_and_any_other_refused(store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("x")
    tree, file = store.put_tree(tmp_path / "in").digest, store.put_bytes(b"x").digest
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "empty", tmp_path / "in"):
        assert (store.checkout(tree, target) / "f").read_text() == "x"
    store.checkout(file, tmp_path / "in" / "f")
    (tmp_path / "in" / "f").write_text("y")
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "alias").symlink_to("empty")
    for digest, name in ((tree, "in"), (file, "in/f"), (file, "in"), (tree, "in/f"), (file, "link"), (tree, "alias")):
        with pytest.raises(UsageError, match="remove it or name another"):
            store.checkout(digest, tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()


def test_a_damaged_object_restores_nothing(store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("good")
    (tmp_path / "in" / "e").write_text("fine")
    tree = store.put_tree(tmp_path / "in")
    path = store.get(tree.files[1].digest)
    path.chmod(0o644)
    path.write_text("evil")
    for digest, kind in ((tree.digest, True), (tree.files[1].digest, False)):
        with pytest.raises(UnitrackError, match="is damaged"):
            store.checkout(digest, tmp_path / "out", tree=kind)
    path.unlink()
    with pytest.raises(UsageError, match="holds no object"):
        store.checkout(tree.digest, tmp_path / "out")
    assert not [item for item in tmp_path.iterdir() if item.name.endswith(".tmp") or item.name == "out"]


@pytest.mark.parametrize(
    "path",
    ["/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "", ".", "..", "a\0b", "\\x5c\0", "..\\x5c/../x"],
)
def test_a_manifest_that_leads_out_of_its_folder_is_refused(store, tmp_path, path):
    digest = store.put_bytes(b"x").digest
    for fields in ({"files": [{"path": path, "digest": digest, "size": 1}]}, {"folders": [path]}):
        with pytest.raises(UsageError):
            store.checkout(_manifest(store, **fields), tmp_path / "out", tree=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "files",
    [
        [("a", 1), ("a", 1)],
        [("a", 1), ("a/b", 1)],
        [("a" * 300, 1)],
        [("a", 2)],
        [("a", -1)],
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(store, tmp_path, files):
    digest = store.put_bytes(b"x").digest
    entries = [{"path": path, "digest": digest, "size": size} for path, size in files]
    with pytest.raises(UsageError, match="manifest"):
        store.checkout(_manifest(store, files=entries), tmp_path / "out", tree=True)
    assert [item.name for item in tmp_path.iterdir()] == ["objects"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}x",
        b"[]",
        b'{"version":2}',
        b'{"files":[{"path":"a"}]}',
        b'{"new":1}',
        b"\xff",
        b'{"folders":["\\ud800"]}',
    ],
)
def test_what_is_no_manifest_is_wrong_use(store, tmp_path, data):
    with pytest.raises(UsageError):
        store.checkout(store.put_bytes(data).digest, tmp_path / "out", tree=True)


def test_a_file_that_looks_like_a_manifest_can_be_restored_as_a_file(store, tmp_path):
    (tmp_path / "in").mkdir()
    tree = store.put_tree(tmp_path / "in")
    assert store.checkout(tree.digest, tmp_path / "folder").is_dir()
    assert store.checkout(tree.digest, tmp_path / "file", tree=False).is_file()
    data = store.put_bytes(b'{"files":[], "version":1}')
    assert store.checkout(data.digest, tmp_path / "json").is_file()
