"""The rescue: neptune-exporter's files read into events, counted apart, hostile files refused."""

from __future__ import annotations

import math
import tracemalloc
from decimal import Decimal

import pyarrow as pa
import pytest
from exporter_files import SCHEMA, Export, row, safe
from hypothesis import given
from hypothesis import strategies as st

from unitrack import events
from unitrack.errors import ConfigError, FatalBackendError, UnitrackError
from unitrack.foreign import Counts, ForeignRun, Reader
from unitrack.importing import import_runs
from unitrack.model import restore
from unitrack.objects import ObjectStore
from unitrack.reader import RunView
from unitrack_neptune import NeptuneParquetReader
from unitrack_neptune._parquet_events import step_of

CREATED = 1_700_000_000_123
SYSTEM = [
    row("sys/custom_run_id", "string", "one"),
    row("sys/id", "string", "P-1"),
    row("sys/name", "string", "exp"),
    row("sys/owner", "string", "ann"),
    row("sys/creation_time", "datetime", CREATED),
    row("sys/modification_time", "datetime", CREATED + 60_000),
    row("sys/failed", "bool", False),
    row("sys/tags", "string_set", ["a", "b"]),
    row("sys/group_tags", "string_set", ["g2", "g1"]),
]


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path / "exports")


@pytest.fixture
def objects(tmp_path):
    return ObjectStore(tmp_path / "objects")


def read(export, **options):
    return list(NeptuneParquetReader().runs(str(export.root), options))


def read_one(export):
    (run,) = read(export)
    return run


def total(found):
    """Count what events hold, as `expected` counts what the files hold."""

    def leaves(tree):
        return sum(leaves(value) if isinstance(value, dict) and value else 1 for value in tree.values())

    return Counts(
        params=sum(leaves(event.values) for event in found if isinstance(event, events.Params)),
        points=sum(len(event.values) for event in found if isinstance(event, events.Metrics)),
        artifacts=sum(isinstance(event, events.Artifact) for event in found),
        media=sum(isinstance(event, events.Media) for event in found),
    )


def points(found):
    return [
        (name, event.step, restore(value))
        for event in found
        if isinstance(event, events.Metrics)
        for name, value in event.values.items()
    ]


def test_reader_and_runs_keep_the_contract(export):
    export.part("one", 0, SYSTEM)
    assert isinstance(NeptuneParquetReader(), Reader)
    assert isinstance(read_one(export), ForeignRun)


def test_a_run_is_read_without_loss(export, objects):
    hello, shown = export.file("one/notes.txt", b"hello"), export.file("one/img/0.png", b"png")
    histogram = {"type": "COUNTING", "edges": [0.0, 1.0, 2.0], "values": [3.0, 4.0]}
    density = {"type": "DENSITY", "edges": [0.0, 0.5], "values": [2.0]}
    rows = [
        *SYSTEM,
        row("cfg/lr", "float", 0.1), row("cfg/n", "int", 2**62), row("cfg/amp", "bool", True), row("word", "string", "NaN"),
        row("cfg/when", "datetime", CREATED), row("cfg/set", "string_set", ["x", "y"]), row("cfg/absent", "int", None),
        row("loss", "float_series", 1.5, "0.1", CREATED), row("acc", "float_series", 0.5, "0.1", CREATED),
        row("loss", "float_series", None, "0.2", CREATED + 1), row("loss", "float_series", 1.0, "3", CREATED + 2),
        row("log", "string_series", "line", "7", CREATED), row("h", "histogram_series", histogram, "1", CREATED),
        row("h", "histogram_series", density, "2", CREATED), row("files/notes", "file", hello),
        row("img", "file_series", shown, "0.5", CREATED),
    ]  # fmt: skip
    export.part("one", 0, rows)
    run = read_one(export)
    found = list(run.events(objects))
    (params,) = [event for event in found if isinstance(event, events.Params)]
    assert restore(params.values) == {
        "cfg": {"lr": 0.1, "n": 2**62, "amp": True, "when": "2023-11-14T22:13:20.123000+00:00", "set": ["x", "y"]},
        "word": "NaN",
    }
    assert [(name, step) for name, step, _ in points(found)] == [
        ("loss", 0.1),
        ("acc", 0.1),
        ("loss", 0.2),
        ("loss", 3),
    ]
    values = [value for _, _, value in points(found)]
    assert values[:2] == [1.5, 0.5]
    assert math.isnan(values[2])
    assert [event.time for event in found if isinstance(event, events.Metrics)] == [
        CREATED / 1000,
        (CREATED + 1) / 1000,
        (CREATED + 2) / 1000,
    ]
    text, counting, dense, image = [event for event in found if isinstance(event, events.Media)]
    assert (text.kind, text.name, text.step, text.inline) == ("text", "log", 7, "line")
    assert (counting.kind, counting.step) == ("histogram", 1)
    assert (counting.inline, counting.metadata) == ({"edges": [0.0, 1.0, 2.0], "counts": [3, 4]}, {"type": "COUNTING"})
    assert (dense.inline, dense.metadata) == ({"edges": [0.0, 0.5], "counts": [2.0]}, {"type": "DENSITY"})
    assert (image.kind, image.format, image.step) == ("image", "png", 0.5)
    assert objects.get(image.digest).read_bytes() == b"png"
    (artifact,) = [event for event in found if isinstance(event, events.Artifact)]
    assert (artifact.name, objects.get(artifact.digest).read_bytes()) == ("files/notes", b"hello")
    assert type(points(found)[3][1]) is int
    assert [(one.kind, one.name) for one in run.lowered] == [("group", "sys/group_tags"), ("datetime", "cfg/when")]
    assert run.expected() == Counts(params=6, points=4, tags=2, artifacts=1, media=4)
    assert total(found) == Counts(params=6, points=4, artifacts=1, media=4)


def test_who_a_run_is_comes_from_neptunes_own_attributes(export, objects):
    export.part("one", 0, SYSTEM)
    run = read_one(export)
    info = run.info
    assert (info.id, info.project, info.name, info.group) == ("one", "w/p", "exp", "g1")
    assert (info.started, info.ended) == (CREATED / 1000, (CREATED + 60_000) / 1000)
    assert (info.status, info.parent, sorted(info.tags)) == ("finished", None, ["a", "b"])
    assert info.origin == "neptune:w/p/one"
    (capture,) = run.events(objects)
    assert capture.values["sys/owner"] == "ann"
    assert capture.values["sys/group_tags"] == ["g1", "g2"]


def test_a_failed_run_is_failed(export):
    export.part("one", 0, [row("sys/failed", "bool", True)])
    assert read_one(export).info.status == "failed"


def test_a_run_without_a_creation_time_begins_with_its_first_point(export):
    export.part("one", 0, [row("loss", "float_series", 1.0, "1", 5000), row("loss", "float_series", 1.0, "0", 4000)])
    assert read_one(export).info.started == 4.0


def test_forks_come_after_their_parents_and_keep_the_step(export, objects):
    export.part(
        "a-child",
        0,
        [
            row("sys/custom_run_id", "string", "a-child"),
            row("sys/forking/parent", "string", "b-parent"),
            row("sys/forking/step", "float", 2.5),
        ],
    )
    export.part(
        "b-parent",
        0,
        [
            row("sys/custom_run_id", "string", "b-parent"),
            row("sys/forking/parent", "string", "P-9"),
            row("sys/forking/step", "float", 7.0),
        ],
    )
    export.part("c-root", 0, [row("sys/custom_run_id", "string", "c-root"), row("sys/id", "string", "P-9")])
    root, parent, child = read(export)
    assert [run.info.id for run in (root, parent, child)] == ["c-root", "b-parent", "a-child"]
    assert (child.info.parent, parent.info.parent, root.info.parent) == ("b-parent", "c-root", None)
    forks = [event.values for event in child.events(objects) if event.name == "neptune-fork"]
    assert forks == [{"parent": "b-parent", "step": 2.5}]


def test_forks_that_go_in_a_circle_are_read_once(export):
    for here, there in (("a", "b"), ("b", "a")):
        export.part(here, 0, [row("sys/custom_run_id", "string", here), row("sys/forking/parent", "string", there)])
    assert sorted(run.info.id for run in read(export)) == ["a", "b"]


def test_runs_in_many_parts_are_read_in_order(export, objects):
    for number in range(12):
        export.part(
            "one",
            number,
            [row("loss", "float_series", float(at), at, CREATED + at) for at in range(number * 5, number * 5 + 5)],
        )
    run = read_one(export)
    found = list(run.events(objects))
    assert points(found) == [("loss", at, float(at)) for at in range(60)]
    assert run.expected().points == 60


def test_ids_that_cannot_be_ours_or_are_taken_get_a_digest(tmp_path):
    for project in ("w/p", "w/q"):
        export = Export(tmp_path / "exports", project)
        for name in ("same", "with/slash é", ".."):
            export.part(name, 0, [row("n", "int", 1)])
    ids = [run.info.id for run in read(export)]
    assert len(set(ids)) == len(ids) == 6
    assert ids.count("same") == 1
    assert [run.info.id for run in read(export)] == ids
    assert {run.info.project for run in read(export, project="w/q")} == {"w/q"}


def test_folders_and_missing_files_are_told_apart(export, objects):
    export.file("one/set/a.txt", b"a")
    export.file("one/set/sub/b.txt", b"b")
    rows = [
        row("set", "file_set", {"path": "one/set"}),
        row("gone", "file", {"path": "one/gone.bin"}),
        row("never", "file", None),
        row("shots", "file_series", {"path": "one/s/1.png"}, "1"),
    ]
    export.part("one", 0, rows)
    run = read_one(export)
    tree, gone, shot = [event for event in run.events(objects) if not isinstance(event, events.Capture)]
    assert tree.tree
    assert [entry.path for entry in objects.manifest(tree.digest).files] == ["a.txt", "sub/b.txt"]
    assert (gone.digest, gone.uri) == (None, "neptune-export:one/gone.bin")
    assert shot.metadata == {"missing": "one/s/1.png"}
    assert sorted(one.name for one in run.lowered) == ["gone", "shots"]
    assert run.expected() == Counts(artifacts=2, media=1)


def test_an_export_is_found_by_its_data_folder_or_with_the_files_elsewhere(export, objects, tmp_path):
    value = export.file("one/a.txt", b"a")
    export.part("one", 0, [row("a", "file", value)])
    moved = tmp_path / "cold"
    (run,) = NeptuneParquetReader().runs(str(export.data), {})
    assert any(isinstance(event, events.Artifact) and event.digest for event in run.events(objects))
    export.files.rename(moved)
    (run,) = NeptuneParquetReader().runs(str(export.data), {"files": str(moved)})
    assert any(isinstance(event, events.Artifact) and event.digest for event in run.events(objects))


def test_long_texts_are_objects(export, objects):
    export.part("one", 0, [row("log", "string_series", "x" * 20_000, "1", CREATED)])
    (text,) = [event for event in read_one(export).events(objects) if isinstance(event, events.Media)]
    assert text.inline is None
    assert objects.get(text.digest).read_text() == "x" * 20_000


def test_an_attribute_of_an_unknown_type_is_told(export, objects):
    export.part("one", 0, [row("n", "int", 1), {**row("q", "int", 1), "attribute_type": "quaternion"}])
    run = read_one(export)
    list(run.events(objects))
    assert [(one.kind, one.name) for one in run.lowered] == [("type", "q")]


# -- steps -----------------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=10**15))
def test_a_step_of_up_to_fifteen_digits_comes_back_exactly(micros):
    step = step_of(micros)
    assert Decimal(repr(step)) * 1_000_000 == micros
    assert isinstance(step, int) == (micros % 1_000_000 == 0)


def test_a_step_no_float_can_hold_is_told(export, objects):
    export.part(
        "one",
        0,
        [
            row("loss", "float_series", 1.0, "123456789012.345678", CREATED),
            row("loss", "float_series", 1.0, "999999999999", CREATED),
        ],
    )
    run = read_one(export)
    found = list(run.events(objects))
    assert [step for _, step, _ in points(found)] == [123456789012.345678, 999999999999]
    assert [(one.kind, one.name) for one in run.lowered] == [("step-digits", "loss")]


# -- hostile and broken files ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "a/../../../b", "..\\b", ""])
@pytest.mark.parametrize("kind", ["file", "file_series"])
def test_a_file_outside_the_export_is_refused(export, objects, path, kind):
    export.part("one", 0, [row("f", kind, {"path": path}, "1")])
    with pytest.raises(UnitrackError, match="outside the export"):
        list(read_one(export).events(objects))


def test_a_link_that_leads_out_of_the_export_is_refused(export, objects, tmp_path):
    (tmp_path / "secret").write_text("s")
    export.file("one/a", b"")
    (export.files / safe("w/p") / "one" / "b").symlink_to(tmp_path / "secret")
    export.part("one", 0, [row("f", "file", {"path": "one/b"})])
    with pytest.raises(UnitrackError, match="leads out"):
        list(read_one(export).events(objects))


def test_a_part_that_is_cut_off_is_refused_and_the_others_are_read(export, objects):
    export.part("good", 0, [row("n", "int", 1)])
    path = export.part("torn", 0, [row("loss", "float_series", 1.0, at) for at in range(3000)])
    path.write_bytes(path.read_bytes()[:-200])
    good, torn = read(export)
    assert good.info.id == "good"
    assert torn.info.id.startswith("torn-")
    for ask in (lambda: list(torn.events(objects)), torn.expected):
        with pytest.raises(UnitrackError, match="cut off or no parquet"):
            ask()


def test_garbage_in_the_middle_of_a_part_is_refused(export, objects):
    path = export.part("one", 0, [row(f"p{at}", "string", f"{at}" * 50) for at in range(3000)])
    data = bytearray(path.read_bytes())
    data[1000:3000] = b"\xff" * 2000
    path.write_bytes(data)
    with pytest.raises(UnitrackError):
        list(read_one(export).events(objects))


def test_a_run_that_lacks_a_part_is_refused(export):
    export.part("one", 1, [row("n", "int", 1)])
    export.part("one", 2, [row("n", "int", 1)])
    with pytest.raises(UnitrackError, match=r"the parts \[1, 2\] only"):
        read_one(export).expected()


@pytest.mark.parametrize(
    ("column", "kind"),
    [("step", pa.float64()), ("run_id", pa.int64()), ("file_value", pa.string()), ("timestamp", pa.timestamp("ns"))],
)
def test_a_table_of_another_schema_is_refused(export, column, kind):
    fields = [(field.name, kind if field.name == column else field.type) for field in SCHEMA]
    path = export.part("one", 0, [row("n", "int", 1)])
    table = pa.Table.from_arrays([pa.nulls(1, kind) for _, kind in fields], schema=pa.schema(fields))
    pa.parquet.write_table(table, path)
    with pytest.raises(UnitrackError, match=column):
        read_one(export).expected()


def test_a_table_without_a_column_is_refused(export):
    path = export.part("one", 0, [row("n", "int", 1)])
    pa.parquet.write_table(pa.parquet.read_table(path).drop_columns(["float_value"]), path)
    with pytest.raises(UnitrackError, match="no column 'float_value'"):
        read_one(export).expected()


def test_a_part_with_rows_of_another_run_is_refused(export, objects):
    export.part("one", 0, [row("n", "int", 1), {**row("n", "int", 1), "run_id": "two"}])
    with pytest.raises(UnitrackError, match="two"):
        list(read_one(export).events(objects))


def test_a_path_inside_a_field_is_refused(export, objects):
    export.part("one", 0, [row("a", "int", 1), row("a/b", "int", 1)])
    with pytest.raises(UnitrackError, match="lies in a field"):
        list(read_one(export).events(objects))


@pytest.mark.parametrize("source", ["nowhere", "."])
def test_a_folder_without_an_export_is_told(tmp_path, source):
    with pytest.raises(FatalBackendError):
        list(NeptuneParquetReader().runs(str(tmp_path / source), {}))


def test_an_unknown_option_is_told(export):
    with pytest.raises(ConfigError, match="files, project"):
        list(NeptuneParquetReader().runs(str(export.root), {"fiels": "x"}))


# -- size ------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_a_runs_length(export, objects):
    for number in range(4):
        export.part(
            "one",
            number,
            [
                row(f"m{at % 4}", "float_series", 1.0, at // 4, CREATED)
                for at in range(number * 20_000, number * 20_000 + 20_000)
            ],
        )
    run = read_one(export)
    _ = run.info
    tracemalloc.start()
    count = sum(len(event.values) for event in run.events(objects) if isinstance(event, events.Metrics))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == run.expected().points == 80_000
    assert peak < 20e6


# -- the command -----------------------------------------------------------------------------------


def test_an_import_is_counted_and_a_damaged_run_costs_no_other(export, tmp_path):
    """Through unitrack's own import: the counts of the store are those of the files."""
    value = export.file("b/x.bin", b"x")
    for name in ("a", "b", "c"):
        rows = [
            *SYSTEM[1:],
            row("sys/custom_run_id", "string", name),
            row("cfg/lr", "float", 0.1),
            row("f", "file", value),
        ]
        rows += [row("loss", "float_series", at / 3, Decimal(at) / 4, CREATED + at) for at in range(2500)]
        rows += [row("log", "string_series", f"{at}", at, CREATED + at) for at in range(5)]
        path = export.part(name, 0, rows)
        if name == "a":
            path.write_bytes(path.read_bytes()[:-50])
    store = tmp_path / "store"
    report = import_runs(NeptuneParquetReader(), str(export.root), store)
    assert [one.state for one in report.runs] == ["failed", "imported", "imported"]
    assert "cut off" in report.runs[0].reason
    assert report.runs[1].counts == Counts(params=1, points=2500, tags=2, artifacts=1, media=5)
    assert report.error is None
    rows = RunView(store / "runs" / "b").history()[:3]
    assert [(point["step"], point["loss"]) for point in rows] == [(0, 0.0), (0.25, 1 / 3), (0.5, 2 / 3)]
    again = import_runs(NeptuneParquetReader(), str(export.root), store)
    assert [one.state for one in again.runs] == ["failed", "skipped", "skipped"]
