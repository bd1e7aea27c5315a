"""A run keeps what training code hands over, and says at once what it can't."""

import copy
import dataclasses
import decimal
import fractions
import math
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

import unitrack
from unitrack.errors import UsageError
from unitrack.journal.seal import verify_run


@pytest.fixture
def run(tmp_path):
    with unitrack.init("p", dir=tmp_path / "store", mode="offline") as run:
        yield run


def view_of(run):
    run.finish()
    assert verify_run(run.path).ok
    return unitrack.get_run(run.id, dir=run.spec.store)


def values_of(run, name):
    return list(view_of(run).series(name).values)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0.1, 0.1), (3, 3.0), (True, 1.0), (np.float32(0.5), 0.5), (np.int64(7), 7.0), (np.bool_(True), 1.0),
        (np.array(2.5), 2.5), (np.array([2.5]), 2.5), (decimal.Decimal("1.25"), 1.25), (fractions.Fraction(1, 4), 0.25),
        (2**63, float(2**63)), (-(10**400), -math.inf), (math.inf, math.inf), (np.float16("-inf"), -math.inf),
    ],
)  # fmt: skip
def test_every_kind_of_number_is_a_metric(run, value, read):
    run.log({"x": value}, step=1)
    assert values_of(run, "x") == [read]


@pytest.mark.parametrize("nan", [math.nan, np.float32("nan"), decimal.Decimal("nan")])
def test_nan_stays_nan(run, nan):
    run.log({"x": nan, "y": 1.0}, step=1)
    (value,) = values_of(run, "x")
    assert math.isnan(value)


@pytest.mark.parametrize(
    "values",
    [
        {"x": None},
        {"x": [1, 2]},
        {"x": np.arange(3)},
        {"x": object()},
        {"x": 1j},
        {None: 1.0},
        {(1, 2): 1.0},
        "loss",
        3,
        None,
        ["x"],
    ],
)
@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_what_is_no_number_or_name_is_a_type_error_in_every_mode_and_logs_nothing(tmp_path, values, mode):
    with unitrack.init("p", dir=tmp_path, mode=mode) as run:
        mixed = {"good": 1.0, **values} if isinstance(values, dict) else values
        with pytest.raises(TypeError):
            run.log(mixed, step=1)
    if mode == "offline":
        assert not view_of(run).metrics


def test_the_message_of_a_wrong_call_says_how_to_write_it(run):
    with pytest.raises(TypeError, match=r"run\.log\(\{'loss': 0\.1\}\)"):
        run.log("loss")


@pytest.mark.parametrize("step", [math.nan, math.inf, "3", [1], object()])
def test_a_step_that_is_no_finite_number_is_refused(run, step):
    with pytest.raises((TypeError, ValueError), match="step"):
        run.log({"x": 1.0}, step=step)


def test_steps_repeat_go_back_are_fractional_or_missing(run):
    for step in (5, 5, 3, 2.5, None, np.int32(9)):
        run.log({"x": 1.0}, step=step)
    steps = list(view_of(run).series("x").steps)
    assert steps[:4] == [5.0, 5.0, 3.0, 2.5] and math.isnan(steps[4]) and steps[5] == 9.0


def test_nested_dicts_are_flattened_and_a_cycle_is_a_value_error(run):
    run.log({"val": {"top": {"1": 0.5}}, 7: 1.0})
    cycle = {}
    cycle["again"] = cycle
    with pytest.raises(UsageError, match="contains itself"):
        run.log(cycle)
    assert set(view_of(run).metrics) == {"val/top/1", "7"}


@pytest.mark.parametrize(
    "name", ["mAP@50", "loss[delta=1]", "../../etc/passwd", "ä 🎉", "a\nb", "a/b//c", "con", "x" * 1024]
)
def test_any_text_is_a_metric_name(run, name):
    run.log({name: 1.0})
    assert list(view_of(run).metrics) == [name]


def test_names_and_texts_with_lone_surrogates_are_kept_with_a_substitute(run):
    run.log({"a\ud800": 1.0})
    run.config["note\udfff"] = "x\ud800"
    view = view_of(run)
    assert list(view.metrics) == ["a?"] and view.params == {"note?": "x?"}


@pytest.mark.parametrize(
    ("name", "read"), [("", ""), ("x" * 10_000_000, None), (7, "7"), (2.5, "2.5"), (b"loss", "bG9zcw==")]
)
@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_name_is_the_same_however_it_is_written(run, name, read, value):
    run.log({name: value})
    assert list(view_of(run).metrics) == [name if read is None else read]


def test_a_hundred_thousand_metrics_in_one_call_are_one_event(run):
    run.log({f"m{i}": float(i) for i in range(100_000)}, step=1)
    assert run._writer.seq <= 6  # writer, run, up to three captures, this
    assert len(view_of(run).metrics) == 100_000


def test_params_come_back_as_nested_as_they_went_in(run):
    @dataclasses.dataclass
    class Model:
        width: int
        name: str

    endless = [1]
    endless.append(endless)
    run.config.update({
        "model": Model(3, "NaN"), "betas": (0.9, 0.999), "path": Path("a/b"), "nan": math.nan, "huge": 10**30,
        "text": "x" * 10_000_000, "fn": math.sqrt, "me": endless, "array": np.arange(3), "thing": object(),
    })  # fmt: skip
    params = view_of(run).params
    assert params["model"] == {"width": 3, "name": "NaN"} and params["betas"] == [0.9, 0.999]
    assert params["path"] == "a/b" and math.isnan(params["nan"]) and params["huge"] == 10**30
    assert len(params["text"]) == 10_000_000 and params["me"] == [1, "<cycle>"] and params["array"] == [0, 1, 2]
    assert params["thing"] == "<object object>"  # no memory address: equal runs have equal params


def test_config_reads_like_a_dict_and_like_attributes(run):
    run.config.update(lr=0.1)
    run.config.epochs = 3
    assert run.config.lr == run.config["lr"] == 0.1 and dict(run.config) == {"lr": 0.1, "epochs": 3}
    with pytest.raises(AttributeError, match="no 'width'"):
        _ = run.config.width


def test_summary_values_by_hand_win_over_derived_ones(run):
    run.define_metric("loss", goal="minimize", summary="min")
    for value in (3.0, 1.0, 2.0):
        run.log({"loss": value, "other": value})
    run.summary["other"] = 99
    summary = view_of(run).summary
    assert summary["loss"] == 1.0 and summary["other"] == 99


def test_a_wrong_goal_names_the_right_ones(run):
    with pytest.raises(ValueError, match="maximize, minimize"):
        run.define_metric("loss", goal="down")


def test_tags_are_added_removed_and_carry_text(tmp_path):
    with unitrack.init("p", dir=tmp_path, tags=["a"]) as run:
        run.set_tags("b", ["c", "d"], owner="mia")
        run.remove_tags("a", "d")
    assert set(view_of(run).tags) >= {"b", "c"} and not {"a", "d"} & set(view_of(run).tags)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../b", "", "a\\b", "a\0b", "."])
def test_an_artifact_name_that_leads_out_is_refused(run, tmp_path, name):
    source = tmp_path / "f"
    source.write_text("x")
    with pytest.raises(ValueError, match="artifact's name|there is no"):
        run.log_artifact(source, name=name or " /")


def test_artifacts_are_stored_once_under_their_digest(run, tmp_path):
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").write_bytes(b"same")
    first, second = run.log_artifact(tmp_path / "a"), run.log_artifact(tmp_path / "b")
    assert first == second == "sha256:0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5"
    assert len([path for path in (run.spec.store / "objects").rglob("*") if path.is_file()]) == 1


def test_a_folder_with_links_and_a_socket_is_kept_as_far_as_it_can_be(run, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "real.txt").write_text("real")
    (folder / "link.txt").symlink_to(folder / "real.txt")
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    (folder / "loop").symlink_to(folder)
    with pytest.warns(unitrack.UnitrackWarning, match="kept without"):
        digest = run.log_artifact(folder, name="folder")
    target = run.use_artifact(f"{run.id}/folder", destination=tmp_path / "out")
    assert digest and (target / "link.txt").read_text() == "real" and not (target / "dangling").exists()


def test_references_keep_uri_and_digest_and_no_bytes(run):
    run.log_artifact("s3://bucket/data.parquet", digest="sha256:" + "0" * 64)
    (artifact,) = view_of(run).artifacts
    assert artifact.uri == "s3://bucket/data.parquet" and artifact.name == "data.parquet"


def test_a_missing_file_is_named(run):
    with pytest.raises(ValueError, match="no file or folder 'nowhere'"):
        run.log_artifact("nowhere")


def test_media_are_recognised_inside_log(run):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import pandas as pd
    from PIL import Image

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    run.log(
        {"image": Image.new("RGB", (4, 4)), "figure": figure, "table": pd.DataFrame({"a": [1]}), "text": "hello",
         "own": unitrack.Image(np.zeros((4, 4, 3), "uint8"), caption="black"), "loss": 1.0}, step=2,
    )  # fmt: skip
    plt.close(figure)
    run.log_histogram("weights", np.arange(100.0), step=2)
    view = view_of(run)
    kinds = {media.name: media.kind for media in view.media}
    assert kinds == {
        "image": "image",
        "figure": "figure",
        "table": "table",
        "text": "text",
        "own": "image",
        "weights": "histogram",
    }
    assert list(view.metrics) == ["loss"] and all(media.step == 2 for media in view.media)


def test_a_disk_error_while_storing_an_artifact_is_one_warning(run, tmp_path, monkeypatch):
    (tmp_path / "f").write_text("x")
    monkeypatch.setattr(type(run._objects), "put_file", _no_space)
    with pytest.warns(unitrack.UnitrackWarning, match="No space"):
        assert run.log_artifact(tmp_path / "f") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.log_artifact(tmp_path / "f") is None
    assert run.lost == 2


def _no_space(*_):
    raise OSError(28, "No space left on device")


def test_an_exception_fails_the_run_and_an_interrupt_kills_it(tmp_path):
    for error, status in (
        (ValueError("boom"), "failed"),
        (KeyboardInterrupt(), "killed"),
        (SystemExit(0), "finished"),
        (SystemExit(2), "failed"),
    ):
        with pytest.raises(type(error)), unitrack.init("p", dir=tmp_path) as run:
            raise error
        view = unitrack.get_run(run.id, dir=tmp_path)
        assert view.status == status
    assert run.status == "failed"


def test_logging_after_finish_is_wrong_use(run):
    run.finish()
    run.finish()
    with pytest.raises(ValueError, match="has finished"):
        run.log({"x": 1.0})


def test_a_copy_of_the_config_is_a_plain_dict(run):
    run.config.update(lr=0.1, layers=[1, 2])
    copied = copy.deepcopy(run.config)
    assert (
        type(copied) is dict and copied == {"lr": 0.1, "layers": [1, 2]} and copied["layers"] is not run.config.layers
    )
    assert pickle.loads(pickle.dumps(run.config)) == copied and type(copy.copy(run.config)) is dict
    assert len(view_of(run).writers) == 1


def test_bad_media_in_a_call_keep_the_good_ones_out_too(run):
    with pytest.raises(TypeError):
        run.log({"good": "text", "bad": unitrack.Image(object())})
    assert not view_of(run).media


@pytest.mark.parametrize(
    "call",
    [
        lambda run, path: run.log_dataset(path, version=3), lambda run, path: run.log_dataset(path, split=1),
        lambda run, path: run.log_dataset(path, digest=1), lambda run, path: run.log_dataset(path, name=7),
        lambda run, path: run.log_artifact("s3://b/k", digest=5), lambda run, path: run.log_artifact(path, kind=3),
        lambda run, path: run.log_artifact(path, aliases=[1]), lambda run, path: run.alert(1),
        lambda run, path: run.log_text("a", "b", step=1) or run.capture(3, {}),
    ],
)  # fmt: skip
def test_a_text_that_is_none_is_a_type_error_and_does_not_spoil_the_journal(run, tmp_path, call):
    (tmp_path / "f").write_text("x")
    with pytest.raises(TypeError, match="str"):
        call(run, tmp_path / "f")
    view_of(run)


def test_finish_in_a_signal_handler_inside_a_write_is_made_up_for(run, monkeypatch):
    run._services._captures.finish(30)
    real, inside = os.write, []

    def write(fd, data):
        if not inside:
            inside.append(1)
            with pytest.warns(unitrack.UnitrackWarning, match="call finish"):
                run.finish("killed")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    run.log({"x": 1.0})
    assert run.status == "running"
    run.finish("failed")
    view = unitrack.get_run(run.id, dir=run.spec.store)
    assert view.status == "failed" and view.writers[0].sealed


def test_numbers_keep_the_time_they_come_with(run):
    run.log_at(1700000000.123456, {"a": 1, "deep": {"b": float("nan")}}, step=2.5)
    run.log({"a": 2})
    series = view_of(run).series("a")
    assert (series.times[0], series.steps[0], list(series.values)) == (1700000000.123456, 2.5, [1, 2])
    assert series.times[1] > 1.7e9 and list(view_of(run).series("deep/b").times) == [1700000000.123456]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), "now", None])
def test_a_time_that_is_none_is_an_error_and_nothing_is_logged(run, time):
    with pytest.raises((TypeError, ValueError)):
        run.log_at(time, {"a": 1})
    assert not view_of(run).metrics


def test_a_run_can_be_given_another_name(run):
    run.rename("first")
    run.rename("second")
    assert run.name == "second" and view_of(run).name == "second" and view_of(run).project == run.project
