"""Media are encoded by what they look like, without importing the packages they come from."""

import io
import json
import math
import subprocess
import sys
import wave
from datetime import datetime, timezone
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from unitrack.errors import UsageError
from unitrack.media import (
    Audio,
    Figure,
    File,
    Histogram,
    Html,
    Image,
    Table,
    Text,
    Video,
    encode,
    histograms,
    recognises,
)
from unitrack.model import restore

mpl.use("agg")
from matplotlib.figure import Figure as MplFigure


def pixels(encoded):
    return np.asarray(Pillow.open(io.BytesIO(encoded.data)))


def table(encoded):
    content = json.loads(encoded.data)
    return content["columns"], content["data"]


# -- recognition ---------------------------------------------------------------------------------


def test_values_that_say_what_they_are_are_recognised():
    frame = {"a": [1]}
    shown = [
        (Pillow.new("RGB", (1, 1)), "image"), (MplFigure(), "figure"), (go.Figure(), "figure"),
        (pd.DataFrame(frame), "table"), (pl.DataFrame(frame), "table"), (Histogram([1.0]), "histogram"),
    ]  # fmt: skip
    assert all(recognises(value) and encode(value).kind == kind for value, kind in shown)
    assert not any(map(recognises, (1, 1.0, "text", None, [1], {"a": 1}, np.zeros(3), np.float32(1), pd.Series([1]))))


def test_subclasses_are_recognised_and_namesakes_are_not(tmp_path):
    class Frame(pd.DataFrame):
        pass

    class DataFrame:
        pass

    Pillow.new("L", (1, 1)).save(tmp_path / "f.png")
    assert recognises(Frame()) and not recognises(DataFrame())
    with Pillow.open(tmp_path / "f.png") as image:
        assert type(image) is not Pillow.Image and recognises(image)


def test_no_package_is_imported_to_encode_what_needs_none():
    code = (
        "import sys; from unitrack.media import *; from unitrack import media\n"
        "for x in (Text('x'), Html('<p>'), Table([{'a': 1}]), Histogram([1, 2]), Audio([0.1], sample_rate=8)): media.encode(x)\n"
        "media.recognises(object())\n"
        "sys.exit(' '.join({'numpy', 'PIL', 'matplotlib', 'plotly', 'pandas', 'polars', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "\n")  # sys.exit("") prints an empty line


@pytest.mark.parametrize("value", [None, 1, object(), [1, 2], np.zeros((2, 2)), b"x"])
def test_a_value_that_does_not_say_what_it_is_needs_a_wrapper(value):
    with pytest.raises(TypeError, match="doesn't tell how to show it"):
        encode(value)


def test_kinds_and_captions_are_checked():
    assert encode("x", kind="text", caption="new").caption == "new"
    assert (
        encode(Text("x", caption="own")).caption == "own" and encode(Text("x", "own"), caption="new").caption == "new"
    )
    with pytest.raises(TypeError, match="a Table can't be logged as image"):
        encode(Table([]), kind="image")
    with pytest.raises(ValueError, match="use one of image"):
        encode("x", kind="hologram")
    with pytest.raises(TypeError, match="caption is a str"):
        encode("x", caption=3)


# -- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4), (1, 1), (64, 65, 3)])
def test_an_array_becomes_a_png_that_pillow_reads_back(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for given_array in (array, np.asfortranarray(array), array[::-1][::-1]):
        encoded = encode(Image(given_array))
        assert np.array_equal(pixels(encoded), array.reshape(shape if shape[2:] != (1,) else shape[:2]))
    assert encoded.format == "png" and (encoded.metadata["width"], encoded.metadata["height"]) == (shape[1], shape[0])


def test_floats_are_taken_as_zero_to_one_and_bools_as_black_and_white():
    for kind in ("float16", "float32", "float64"):
        assert pixels(encode(np.array([[0, 0.5, 1]], kind), kind="image")).tolist() == [[0, 128, 255]]
    assert pixels(encode(np.array([[False, True]]), kind="image")).tolist() == [[0, 255]]


def test_an_overshoot_is_clipped_and_nan_is_black_and_both_are_told():
    encoded = encode(Image(np.array([[-0.05, 1.05, math.nan, math.inf, 1.0]])))
    assert pixels(encoded).tolist() == [[0, 255, 0, 0, 255]]
    assert encoded.metadata["clipped"] == [-0.05, 1.05] and encoded.metadata["non_finite"] == 2


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((3, 8, 8)), ValueError, "channels come last"),
        (np.zeros((2, 8, 8, 3)), ValueError, "one by one"),
        (np.zeros(8), ValueError, r"\(H, W\)"),
        (np.zeros((0, 8)), ValueError, "needs pixels"),
        (np.full((2, 2), 255.0), ValueError, "from 255 to 255: scale them"),
        (np.full((2, 2), -1.0), ValueError, "scale them"),
        (np.zeros((2, 2), "int64"), TypeError, "not int64"),
        (np.zeros((2, 2), "complex64"), TypeError, "not complex64"),
        ([[1, 2]], TypeError, "not list"),
        (7, TypeError, "not int"),
    ],
)
def test_what_is_no_image_is_told_what_would_be(array, error, message):
    with pytest.raises(error, match=message):
        encode(array, kind="image")


def test_a_tensor_is_taken_off_its_device_and_graph():
    class Tensor:
        __module__ = "torch"

        def __init__(self, array, dtype):
            self.array, self.dtype, self.shape = array, dtype, array.shape

        def detach(self):
            return self

        cpu = detach

        def float(self):
            return Tensor(self.array, "torch.float32")

        def numpy(self):
            if self.dtype == "torch.bfloat16":
                raise TypeError("Got unsupported ScalarType BFloat16")
            return self.array

    tensor = Tensor(np.array([[0.0, 1.0]], "float32"), "torch.bfloat16")
    assert pixels(encode(tensor, kind="image")).tolist() == [[0, 255]]
    assert encode(tensor, kind="histogram").inline["counts"][0] == 1


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "F", "I", "I;16"]
)
def test_a_pil_image_of_any_mode_becomes_a_png(mode):
    encoded = encode(Pillow.new(mode, (3, 2)))
    assert Pillow.open(io.BytesIO(encoded.data)).size == (3, 2) and encoded.metadata == {"width": 3, "height": 2}


def test_encoded_bytes_are_told_apart_by_their_beginning():
    for form in ("png", "jpeg", "gif", "webp", "bmp", "tiff"):
        buffer = io.BytesIO()
        Pillow.new("RGB", (2, 2)).save(buffer, form)
        assert encode(Image(buffer.getvalue())).format == {"jpeg": "jpg"}.get(form, form)
    with pytest.raises(ValueError, match="format of these bytes"):
        encode(Image(b"nothing"))


def test_a_path_is_handed_on_and_its_ending_is_the_format(tmp_path):
    for name, form in (("a.PNG", "png"), ("a.jpeg", "jpg"), ("a", "bin")):
        (tmp_path / name).write_bytes(b"x")
        for path in (tmp_path / name, str(tmp_path / name)):
            encoded = encode(path, kind="image")
            assert (encoded.path, encoded.format, encoded.data) == (tmp_path / name, form, None)


@pytest.mark.parametrize("kind", ["image", "figure", "audio", "video", "file"])
def test_a_path_that_leads_to_no_file_is_wrong_use(tmp_path, kind):
    with pytest.raises(UsageError, match=f"there is no {kind} at"):
        encode(tmp_path / "gone.x", kind=kind)
    with pytest.raises(UsageError, match="is no file"):
        encode(tmp_path, kind=kind)
    with pytest.raises(UsageError, match="there is no"):
        encode("a\0b", kind=kind)


# -- figures -------------------------------------------------------------------------------------


def test_a_matplotlib_figure_is_drawn_and_left_open():
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    assert encode(figure).data.startswith(b"\x89PNG") and encode(Image(figure)).kind == "image"
    assert plt.fignum_exists(figure.number)
    plt.close(figure)


def test_a_plotly_figure_is_kept_as_its_json():
    encoded = encode(go.Figure(go.Scatter(y=[1, math.nan])))
    assert encoded.format == "plotly.json" and json.loads(encoded.data)["data"][0]["type"] == "scatter"


def test_what_is_no_figure_is_told_what_would_be():
    with pytest.raises(TypeError, match="a figure is .* not list"):
        encode([1], kind="figure")


# -- tables --------------------------------------------------------------------------------------

_TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize("package", [pd, pl])
def test_a_frame_becomes_columns_and_rows(package):
    frame = package.DataFrame({"x": [1, 2], "y": [0.5, math.inf], "when": [_TIME, None], "s": ["a", None]})
    columns, data = table(encode(frame))
    assert columns == ["x", "y", "when", "s"]
    assert data == [[1, 0.5, "2026-01-02T03:04:05+00:00", "a"], [2, "Infinity", None, data[1][3]]]
    assert encode(frame).metadata == {"rows": 2, "columns": 4}


def test_a_pandas_index_that_says_something_is_a_column():
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "b"], name="x"))
    assert table(encode(frame)) == (["x", "x"], [["a", 1], ["b", 2]])
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]))
    assert table(encode(frame)) == (["a/1", "a/2"], [[1, 2], [3, 4]])
    assert table(encode(pd.DataFrame({"n": pd.array([1, None], "Int64")})))[1] == [[1], [None]]


def test_dicts_and_rows_become_a_table():
    assert table(encode([{"a": 1, "b": 2}, {"b": 3, "c": 4}], kind="table")) == (
        ["a", "b", "c"],
        [[1, 2, None], [None, 3, 4]],
    )
    assert table(encode(Table(columns=["a", 1], rows=((i, math.nan) for i in range(2))))) == (
        ["a", "1"],
        [[0, "NaN"], [1, "NaN"]],
    )
    assert table(encode([], kind="table")) == ([], []) == table(encode(Table(columns=[], rows=[])))
    assert table(encode(pd.DataFrame())) == ([], [])


def test_cells_of_any_type_are_spelled_as_parameters_are():
    row = [2**70, "NaN", "\udcff", b"xy", Path("a/b"), np.float32(0.5), np.int8(3), {"a": (1,)}, True, object()]
    _, [cells] = table(encode(Table(columns=list("abcdefghij"), rows=[row])))
    assert (
        cells[0] == 2**70
        and restore(cells[1]) == "NaN"
        and cells[3:9] == ["<2 bytes>", "a/b", 0.5, 3, {"a": [1]}, True]
    )


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (Table(), TypeError, "a table is"),
        (Table({"a": [1]}), TypeError, "not dict"),
        (Table([1, 2]), TypeError, "not list"),
        (Table([{}], columns=["a"], rows=[]), TypeError, "not both"),
        (Table(columns=["a"]), TypeError, "columns=True, rows=False"),
        (Table(columns=["a"], rows=[[1], [1, 2]]), ValueError, "row 1 .* has 2 cells for 1 columns"),
        (Table(columns=["a"], rows=["x"]), TypeError, "row 0"),
        (Table(columns=["a"], rows=[1]), TypeError, "row 0"),
        (Table(columns="a", rows=[[1]]), TypeError, "a table is"),
    ],
)
def test_what_is_no_table_is_told_what_would_be(made, error, message):
    with pytest.raises(error, match=message):
        encode(made)


# -- text and HTML -------------------------------------------------------------------------------


def test_short_text_stands_inline_and_long_text_does_not(tmp_path):
    assert encode("ü" * 8192).inline == "ü" * 8192
    long = encode("ü" * 8193)
    assert (long.inline, long.data, long.format) == (None, ("ü" * 8193).encode(), "txt")
    assert encode("a\udcffb").inline == "a?b" and encode("").inline == ""
    (tmp_path / "notes.md").write_text("x")
    assert encode(Text(tmp_path / "notes.md")).format == "md"


def test_html_is_its_text_or_a_path(tmp_path):
    (tmp_path / "page.html").write_text("<p>")
    assert encode(Html("<p>a.html</p>")).data == b"<p>a.html</p>"
    for path in (tmp_path / "page.html", str(tmp_path / "page.html")):
        assert encode(path, kind="html").path == tmp_path / "page.html"
    for kind in ("text", "html"):
        with pytest.raises(TypeError, match="not int"):
            encode(3, kind=kind)


# -- sound, film, files --------------------------------------------------------------------------


def heard(encoded):
    with wave.open(io.BytesIO(encoded.data)) as file:
        kind = {2: "<i2", 4: "<i4"}[file.getsampwidth()]
        frames = np.frombuffer(file.readframes(file.getnframes()), kind).reshape(-1, file.getnchannels())
        return file.getframerate(), frames.tolist()


@pytest.mark.parametrize(
    "samples", [[0.0, 1.0, -1.0], np.array([0.0, 1.0, -1.0]), np.array([0.0, 1.0, -1.0], "float32")]
)
def test_float_samples_become_wav(samples):
    for encoded in (encode(Audio(samples, sample_rate=8000)), encode((samples, 8000), kind="audio")):
        assert heard(encoded) == (8000, [[0], [32767], [-32767]]) and encoded.format == "wav"
    assert encoded.metadata == {"sample_rate": 8000, "channels": 1, "seconds": 3 / 8000}


@pytest.mark.parametrize("kind", ["int16", "int32", ">i2"])
def test_whole_samples_and_channels_are_kept(kind):
    samples = np.array([[1, 2], [3, -4]], kind)
    assert heard(encode(Audio(samples, sample_rate=44100))) == (44100, [[1, 2], [3, -4]])


@pytest.mark.parametrize("samples", [[2.0, math.nan, -math.inf], np.array([2.0, math.nan, -math.inf])])
def test_samples_out_of_range_are_clipped_and_nan_is_silence_and_that_is_told(samples):
    encoded = encode(Audio(samples, sample_rate=1))
    assert heard(encoded)[1] == [[32767], [0], [-32767]] and encoded.metadata["clipped"] is True
    assert heard(encode(Audio([], sample_rate=1))) == (1, [])


@pytest.mark.parametrize(
    ("audio", "error", "message"),
    [
        (Audio([0.1]), ValueError, "sample_rate="),
        (Audio([0.1], sample_rate=0), ValueError, "sample_rate="),
        (Audio([0.1], sample_rate=0.5), ValueError, "sample_rate="),
        (Audio(["x"], sample_rate=1), TypeError, "sample is not a number"),
        (Audio(np.zeros((2, 1000)), sample_rate=1), ValueError, "try .T"),
        (Audio(np.zeros((2, 2, 2)), sample_rate=1), ValueError, "frames, channels"),
        (Audio(np.zeros(2, "uint8"), sample_rate=1), TypeError, "not uint8"),
        (Audio(3, sample_rate=1), TypeError, "not int"),
        (Audio(b"nothing"), ValueError, r"Audio\(\.\.\., format="),
    ],
)
def test_what_is_no_sound_is_told_what_would_be(audio, error, message):
    with pytest.raises(error, match=message):
        encode(audio)


def test_encoded_sound_and_film_are_kept_as_they_are(tmp_path):
    assert encode(Audio(b"RIFF....WAVE")).format == "wav" and encode(Audio(b"x", format=".MP3")).format == "mp3"
    assert encode(Video(b"x", format="mp4")).data == b"x"
    (tmp_path / "v.webm").touch()
    assert encode(tmp_path / "v.webm", kind="video").format == "webm"
    with pytest.raises(ValueError, match="format="):
        encode(Video(b"x"))
    with pytest.raises(TypeError, match="not ndarray: encode it"):
        encode(Video(np.zeros((2, 2, 2, 3))))


def test_a_file_is_given_by_its_path(tmp_path):
    (tmp_path / "a.tar").touch()
    assert encode(File(tmp_path / "a.tar")).metadata == {"file": "a.tar"}
    with pytest.raises(TypeError, match="not bytes"):
        encode(File(b"x"))
    with pytest.raises(TypeError, match="a figure is"):
        encode(Figure(b"x"))


# -- histograms ----------------------------------------------------------------------------------

_floats = st.lists(st.floats(width=64), max_size=30)


@given(values=_floats, bins=st.integers(1, 9))
def test_each_number_is_counted_once_with_numpy_or_without(values, bins):
    plain = histograms.count(values, bins)
    finite = [value for value in values if math.isfinite(value)]
    assert sum(plain["counts"]) == len(finite) and plain["nan"] + plain["inf"] == len(values) - len(finite)
    assert len(plain["edges"]) == len(plain["counts"]) + 1 == (bins + 1 if finite else 2)
    assert all(low < high for low, high in zip(plain["edges"], plain["edges"][1:], strict=False))
    assert not finite or plain["edges"][0] <= min(finite) <= max(finite) <= plain["edges"][-1]
    assert histograms.count(np.array(values, "float64"), bins) == plain
    json.dumps(plain, allow_nan=False)


def test_without_any_number_there_is_one_empty_bin():
    for nothing in ([], np.array([]), [[], []]):
        assert encode(Histogram(nothing)).inline == {"edges": [0.0, 1.0], "counts": [0], "nan": 0, "inf": 0}
    assert encode(Histogram([math.nan, -math.inf])).inline["inf"] == 1


@pytest.mark.parametrize(
    "values", [[[1, 2], [3, 4]], np.array([[1, 2], [3, 4]], "int8"), np.array([1, 2, 3, 4], "float16"), {1, 2, 3, 4},
               [np.array([1, 2]), np.float32(3), np.array(4)], pd.Series([1, 2, 3, 4])]
)  # fmt: skip
def test_numbers_are_found_however_nested(values):
    inline = encode(Histogram(values, bins=3)).inline
    assert inline["counts"] == [1, 1, 2] and inline["edges"] == [1.0, 2.0, 3.0, 4.0]


def test_what_is_no_number_is_told():
    for values in ("abc", [1, "x"], np.array(["x"]), np.array([1j]), object()):
        with pytest.raises(TypeError):
            encode(Histogram(values))
    for bins in (0, -1, 1.5, True, 10**6):
        with pytest.raises(ValueError, match="bins"):
            Histogram([1], bins)


def test_counts_made_elsewhere_are_checked():
    made = Histogram.from_counts(np.array([0, 1, 2.5]), [3, 0.5], caption="c")
    assert encode(made).inline == {"edges": [0.0, 1.0, 2.5], "counts": [3, 0.5], "nan": 0, "inf": 0}
    assert encode(made).caption == "c"
    for edges, counts in (
        ([0], []),
        ([0, 1], [1, 2]),
        ([1, 0], [1]),
        ([0, math.inf], [1]),
        ([0, 1], [-1]),
        ([0, 1], [math.nan]),
    ):
        with pytest.raises(ValueError, match="histogram"):
            Histogram.from_counts(edges, counts)
