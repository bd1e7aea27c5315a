"""Samples of data files, also of hostile ones: what is read, and what is said of what can't be."""

from __future__ import annotations

import csv
import decimal
import math
import sys

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unitrack.errors import EvidenceError, UsageError
from unitrack.monitor.reading import MOST_COLUMNS, read_sample
from unitrack.monitor.samples import kind_of_type


def read(path, most=1000, **more):
    return read_sample(path, most=most, **more)


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_files_columns_are_numbers_or_categories_and_gaps_are_missing(tmp_path):
    path = write(
        tmp_path / "a.csv", 'n,flag,word,none\n1,true,red,\n2.5,False,"a, b",NA\n,true,red,null\nnan,,,\ninf,true,x\n'
    )
    found = read(path)
    assert [(one.name, one.kind, one.type, one.missing) for one in found.columns] == [
        ("n", "number", "number", 3), ("flag", "category", "bool", 1), ("word", "category", "text", 1),
        ("none", "empty", "", 5),
    ]  # fmt: skip
    assert found.columns[0].numbers.tolist() == [1, 2.5]
    assert found.columns[2].counts == {"red": 2, "a, b": 1, "x": 1}
    assert (found.rows, found.total) == (5, 5)


def test_a_byte_order_mark_and_tabs_are_understood(tmp_path):
    assert read(write(tmp_path / "a.csv", "\ufeffn,m\n1,2\n")).columns[0].name == "n"
    assert [one.name for one in read(write(tmp_path / "a.tsv", "n\tm\n1\t2\n")).columns] == ["n", "m"]


def test_one_cell_that_is_no_number_makes_a_column_of_categories(tmp_path):
    assert read(write(tmp_path / "a.csv", "n\n1\n2\nabc\n")).columns[0].kind == "category"
    assert read(write(tmp_path / "b.csv", "n\n1_0\n2\n")).columns[0].kind == "category"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no columns"),
        ("a,b\n", "no rows"),
        ("a,a\n1,2\n", "two columns are named 'a'"),
        ("a,b\n1,2,3\n", ":2: 3 cells under 2 columns"),
        (b"a\n\xff\xfe\n", "no CSV file in UTF-8"),
        ("a\n" + "x" * (1 << 21) + "\n", "field larger than field limit"),
        (",".join(f"c{at}" for at in range(MOST_COLUMNS + 1)) + "\n1\n", "no table of features"),
    ],
)
def test_a_csv_file_that_is_none_is_refused_by_name(tmp_path, text, words):
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(EvidenceError, match=words) as told:
        read(path)
    assert str(path) in str(told.value)
    assert csv.field_size_limit() == 131072  # as it was: it is the process's


@pytest.mark.parametrize("name", ["a.parquet", "a.npy"])
@pytest.mark.parametrize("text", [b"", b"PAR1", b"\x93NUMPY\x01\x00", b"\x80\x04\x95 pickled" * 9])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, name, text):
    with pytest.raises(EvidenceError, match=name):
        read(write(tmp_path / name, text))


def test_what_is_no_table_at_all_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match=r"use \.csv"):
        read(write(tmp_path / "a.xlsx", "x"))
    with pytest.raises(EvidenceError, match="No such file"):
        read(tmp_path / "gone.csv")


def test_long_texts_are_told_apart_by_their_beginning_and_odd_ones_are_kept_whole(tmp_path):
    found = read(write(tmp_path / "a.csv", 'w\n"' + "x" * 5000 + '"\n"a\nb"\n\u202e\n'))
    assert sorted(map(len, found.columns[0].counts)) == [1, 3, 200]


def test_a_sample_has_every_row_alike_and_is_the_same_each_time(tmp_path):
    path = write(tmp_path / "a.csv", "n\n" + "\n".join(map(str, range(20_000))))
    found = read(path, most=2000)
    values = found.columns[0].numbers
    assert (found.rows, found.total, len(set(values.tolist()))) == (2000, 20_000, 2000)
    assert abs(values.mean() - 10_000) < 4 * 20_000 / math.sqrt(12 * 2000)
    assert np.array_equal(values, read(path, most=2000).columns[0].numbers)


def test_a_parquet_files_columns_have_their_kinds(tmp_path):
    table = pa.table(
        {
            "int": pa.array([1, None, 3], pa.int32()), "float": [1.5, math.nan, math.inf],
            "decimal": [decimal.Decimal("1.25"), None, None], "bool": [True, False, None],
            "word": pa.array(["a", "b", "a"]).dictionary_encode(), "text": ["x", None, "x"],
            "when": pa.array([0, 1, None], pa.timestamp("us")), "list": [[1], [2], None], "null": pa.nulls(3), "bytes": [b"a", b"b", None],
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert {one.name: (one.kind, one.missing) for one in found.columns} == {
        "int": ("number", 1), "float": ("number", 2), "decimal": ("number", 2), "bool": ("category", 1),
        "word": ("category", 0), "text": ("category", 1), "when": ("time", 1), "list": ("nested", 1),
        "null": ("empty", 3), "bytes": ("nested", 1),
    }  # fmt: skip
    assert found.column("word").counts == {"a": 2, "b": 1}
    assert found.column("int").numbers.tolist() == [1, 3]


def test_a_parquet_file_of_many_row_groups_is_sampled_evenly(tmp_path):
    pq.write_table(pa.table({"n": np.arange(100_000)}), tmp_path / "a.parquet", row_group_size=9000)
    found = read(tmp_path / "a.parquet", most=3000)
    values = found.columns[0].numbers
    assert (found.rows, found.total, len(np.unique(values))) == (3000, 100_000, 3000)
    assert abs(values.mean() - 50_000) < 4 * 100_000 / math.sqrt(12 * 3000)


def test_what_pandas_writes_is_read(tmp_path):
    frame = pandas.DataFrame({"n": [1.0, None], "c": pandas.Categorical(["a", "b"]), "s": ["x", "y"]})
    frame.to_parquet(tmp_path / "a.parquet")
    assert [(one.name, one.kind) for one in read(tmp_path / "a.parquet").columns] == [
        ("n", "number"), ("c", "category"), ("s", "category"),
    ]  # fmt: skip


def test_an_array_takes_the_names_that_were_logged(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(3, 2))
    assert [one.name for one in read(tmp_path / "a.npy", names=["x", "y"]).columns] == ["x", "y"]
    assert [one.name for one in read(tmp_path / "a.npy").columns] == ["0", "1"]
    with pytest.raises(EvidenceError, match="3 names were logged"):
        read(tmp_path / "a.npy", names=["x", "y", "z"])
    np.save(tmp_path / "b.npy", np.arange(3.0))
    with pytest.raises(EvidenceError, match="two dimensions"):
        read(tmp_path / "b.npy")


def test_without_pyarrow_a_parquet_file_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"unitrack\[arrow\]"):
        read(write(tmp_path / "a.parquet", b""))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("number", "int64; UInt8; float32; Float64; double; halffloat; decimal128(5, 2); Decimal; number"),
        (
            "category",
            "bool; boolean; object; str; string; large_string; dictionary<values=string>; category; Enum; Utf8",
        ),
        (
            "time",
            "datetime64[ns]; date32[day]; timestamp[us]; Datetime; time64[us]; duration[ns]; timedelta64[ns]; Date",
        ),
        (
            "nested",
            "list<item: int64>; List(Int64); struct<a: int64>; map<string, int64>; binary; large_list<item: int8>",
        ),
        (None, ""),
    ],
)
def test_kinds_are_known_by_the_names_of_numpy_pandas_polars_and_arrow(kind, names):
    assert {kind_of_type(name) for name in names.split("; ")} == {kind}
