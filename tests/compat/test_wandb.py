"""`unitrack.compat.wandb`: what scripts written for W&B rely on, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from logged import files, points

import unitrack
import unitrack.compat.wandb as wandb
from unitrack.compat import UnsupportedError

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def run():
    with wandb.init(project="p") as run:
        yield run


def view_of(run):
    return unitrack.get_run(run.id)


# -- steps ---------------------------------------------------------------------------------------


def test_the_counter_counts_as_wandbs_does(run):
    wandb.log({"a": 1})
    wandb.log({"a": 2}, commit=False)
    wandb.log({"b": 3})
    wandb.log({"a": 4}, step=10)
    wandb.log({"b": 5})
    wandb.log({"a": 6}, step=11, commit=True)
    wandb.log({"a": 7})
    assert points(view_of(run)) == {"a": [(0, 1), (1, 2), (10, 4), (11, 6), (12, 7)], "b": [(1, 3), (10, 5)]}


def test_a_step_that_falls_is_kept_and_the_counter_stays(run):
    run.log({"a": 1}, step=5)
    run.log({"a": 2}, step=3)
    run.log({"a": 3})
    assert points(view_of(run)) == {"a": [(5, 1), (3, 2), (5, 3)]}


def test_what_is_logged_without_commit_is_on_disk_at_once(script):
    script.run(
        """
        import os, signal
        import unitrack.compat.wandb as wandb
        wandb.init(project="p")
        wandb.log({"a": 1}, commit=False)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        fails=True,
    )
    assert points(script.view()) == {"a": [(0, 1)]}


def test_a_continued_run_counts_on():
    for value in (1, 2):
        with wandb.init(project="p", id="again", resume="allow") as run:
            assert run.resumed == (value == 2)
            run.log({"a": value})
    assert points(view_of(run)) == {"a": [(0, 1), (1, 2)]}


# -- values --------------------------------------------------------------------------------------


def test_values_become_metrics_media_and_text(run):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.figure()
    plt.plot([1, 2])
    wandb.log(
        {
            "scalar": np.float32(0.5), "deep": {"a": {"b": 1}}, "small": np.arange(3), "large": np.arange(100),
            "list": [1, 2], "words": "hello", "pictures": [wandb.Image(np.zeros((2, 2))), wandb.Image(np.ones((2, 2, 3)))],
            "plt": wandb.Image(plt), "bare": plt, "hist": wandb.Histogram(np_histogram=([1, 2], [0, 1, 2])),
            "html": wandb.Html("<b>x</b>"), "sound": wandb.Audio(np.zeros(10), sample_rate=8000),
        }
    )  # fmt: skip
    plt.close("all")
    view = view_of(run)
    assert points(view) == {"scalar": [(0, 0.5)], "deep.a.b": [(0, 1.0)]}
    kinds = sorted((media.name, media.kind) for media in view.media)
    assert kinds == [
        ("bare", "figure"), ("hist", "histogram"), ("html", "html"), ("large", "histogram"), ("list", "text"),
        ("pictures", "image"), ("pictures", "image"), ("plt", "image"), ("small", "text"), ("sound", "audio"),
        ("words", "text"),
    ]  # fmt: skip
    assert all(media.step == 0 for media in view.media)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.full((2, 2), 300, dtype=np.int64), 255),
        (np.full((2, 2), -1.0), 0),
        (np.full((2, 2), 100.0), 100),
        (np.full((2, 2), 1.0), 255),
    ],
)
def test_pictures_of_other_ranges_are_scaled_or_clipped(given, expected):
    from io import BytesIO

    import PIL.Image

    from unitrack.media import encode

    encoded = encode(wandb.Image(given).shown)
    picture = np.asarray(PIL.Image.open(BytesIO(encoded.data)))
    assert picture.flat[0] == expected


def test_a_table_keeps_the_pictures_in_its_cells(run):
    table = wandb.Table(columns=["id", "picture"])
    table.add_data(1, wandb.Image(np.zeros((2, 2)), caption="first"))
    table.add_column("score", [0.5])
    run.log({"rows": table})
    shown = {media.name: media for media in view_of(run).media}
    assert set(shown) == {"rows", "rows/picture/0"} and shown["rows/picture/0"].caption == "first"
    import json

    from unitrack.objects import ObjectStore

    data = json.loads(ObjectStore(Path(".unitrack/objects")).get(shown["rows"].digest).read_bytes())
    assert data["columns"] == ["id", "picture", "score"] and data["data"] == [[1, "rows/picture/0", 0.5]]


def test_charts_are_the_tables_behind_them(run):
    table = wandb.Table(columns=["x", "y"], data=[[1, 2]])
    run.log(
        {
            "line": wandb.plot.line(table, "x", "y", title="A line"),
            "matrix": wandb.plot.confusion_matrix(y_true=[0, 1, 1], probs=[[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]),
            "several": wandb.plot.line_series([1, 2], [[3, 4], [5, 6]], keys=["a", "b"], title="S"),
        }
    )
    captions = {media.name: media.caption for media in view_of(run).media}
    assert captions == {"line": "A line", "matrix": None, "several": "S"}
    with pytest.raises(ValueError, match="no column 'z'"):
        wandb.plot.bar(table, "z", "y")
    assert wandb.plot.confusion_matrix(y_true=[0, 1, 1], preds=[0, 1, 0]).table.data == [
        ["Class_1", "Class_1", 1], ["Class_1", "Class_2", 0], ["Class_2", "Class_1", 1], ["Class_2", "Class_2", 1],
    ]  # fmt: skip


def test_none_is_left_out_with_one_warning(run):
    with pytest.warns(unitrack.UnitrackWarning, match="'a' is None"):
        run.log({"a": None, "b": 1})
    run.log({"a": None, "b": 2})
    assert points(view_of(run)) == {"b": [(0, 1), (1, 2)]}


@pytest.mark.parametrize("given", ["loss", [("a", 1)], {1: 2}, {"a": object()}])
def test_wrong_use_of_log_is_a_type_error(run, given):
    with pytest.raises(TypeError):
        run.log(given)


# -- config and summary --------------------------------------------------------------------------


def test_config_changes_only_when_that_is_meant(run):
    wandb.config.lr = 0.1
    wandb.config.update({"lr": 0.1, "n": {"a": 1}})
    with pytest.raises(ValueError, match="allow_val_change"):
        wandb.config.lr = 0.2
    with pytest.raises(wandb.Error):
        wandb.config["lr"] = 0.2
    wandb.config.update({"lr": 0.2}, allow_val_change=True)
    wandb.config.setdefaults({"lr": 5, "batch": 3})
    assert view_of(run).params == {"lr": 0.2, "n": {"a": 1}, "batch": 3} == wandb.config.as_dict()
    assert "lr" in wandb.config and wandb.config.get("none") is None and wandb.config.batch == 3


def test_assigning_the_config_updates_it(run):
    wandb.config = {"lr": 0.1}
    assert view_of(run).params == {"lr": 0.1}
    with pytest.raises(UnsupportedError):
        wandb.run = None


def test_the_config_and_calls_before_init_say_what_is_missing():
    assert wandb.run is None
    for use in (lambda: wandb.config.lr, lambda: wandb.config["lr"], lambda: wandb.log({"a": 1})):
        with pytest.raises(ValueError, match=r"wandb\.init\(\)"):
            use()


def test_the_summary_is_what_was_set_else_the_last_value(run):
    run.log({"loss": 2.0})
    run.log({"loss": 1.0})
    run.summary["best"] = 0.5
    run.summary.update({"note": "x"})
    assert dict(run.summary) == {"loss": 1.0, "best": 0.5, "note": "x"} == view_of(run).summary


# -- definitions ---------------------------------------------------------------------------------


def test_a_glob_defines_each_metric_it_fits_and_an_exact_name_wins(run):
    run.define_metric("epoch")
    run.define_metric("val/*", step_metric="epoch", summary="max")
    run.define_metric("val/loss", summary="best", goal="minimize")
    run.log({"val/acc": 1, "val/loss": 2, "epoch": 0, "train": 1})
    metrics = view_of(run).metrics
    assert (metrics["val/acc"].summary, metrics["val/acc"].step) == ("max", "epoch")
    assert (metrics["val/loss"].summary, metrics["val/loss"].goal, metrics["val/loss"].step) == (
        "min",
        "minimize",
        None,
    )
    assert metrics["train"].step is None and metrics["epoch"].step is None
    with pytest.raises(ValueError, match="nowhere else"):
        run.define_metric("a*b")
    with pytest.warns(unitrack.UnitrackWarning, match="the first, min"):
        run.define_metric("several", summary="min,max")


# -- files and artifacts -------------------------------------------------------------------------


def test_an_artifact_is_a_folder_with_versions_and_aliases():
    for content in ("one", "two"):
        with wandb.init(project="p") as run:
            Path("m.bin").write_text(content)
            artifact = wandb.Artifact("net", type="model", description="d", metadata={"k": 1})
            artifact.add_file("m.bin", name="weights/m.bin")
            artifact.add(wandb.Table(columns=["a"], data=[[1]]), "rows")
            run.log_artifact(artifact, aliases=[content])
    assert artifact.wait().version == "v1" and artifact.aliases == ["latest", "two"]
    with wandb.init(project="p") as reader:
        for reference, expected in [("net", "two"), ("net:latest", "two"), ("net:v0", "one"), ("e/p/net:one", "one")]:
            folder = Path(reader.use_artifact(reference, type="model").download())
            assert (folder / "weights/m.bin").read_text() == expected
        used = reader.use_artifact("net:two")
        assert Path(used.download(root="here")).name == "here" and Path("here/weights/m.bin").read_text() == "two"
        assert Path(used.get_entry("weights/m.bin").download()).read_text() == "two"
        with pytest.raises(ValueError, match="versions of 'net': v0, v1"):
            reader.use_artifact("net:v7")
    (first, *_) = view_of(reader).artifacts
    assert first.use == "input" and set(files(view_of(run))) == {"net/weights/m.bin", "net/rows.table.json"}


def test_an_artifact_that_was_logged_is_closed_and_leaves_no_copies(run):
    Path("m.bin").write_text("x")
    artifact = wandb.Artifact("net", type="model")
    artifact.add_file("m.bin")
    gathered = artifact._gathered
    run.log_artifact(artifact)
    assert not gathered.exists()
    with pytest.raises(ValueError, match="make a new one"):
        artifact.add_file("m.bin")


def test_a_full_disk_costs_the_file_and_not_the_training(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    Path("m.bin").write_text("x")
    artifact = wandb.Artifact("net", type="model")
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.warns(unitrack.UnitrackWarning, match="No space left"):
        artifact.add_file("m.bin")
    run.log_artifact(artifact)
    assert files(view_of(run)) == {}


def test_files_that_are_saved_or_put_into_the_runs_folder_are_kept_as_they_are_in_the_end(run):
    Path("log.txt").write_text("first")
    assert run.save("*.txt") == ["log.txt"]
    Path("log.txt").write_text("first and last")
    (Path(run.dir) / "sub").mkdir()
    (Path(run.dir) / "sub/extra.json").write_text("{}")
    run.finish()
    assert files(view_of(run)) == {"log.txt": b"first and last", "sub/extra.json": b"{}"}


def test_what_is_left_open_is_kept_by_the_end_of_the_process(script):
    script.run(
        """
        import unitrack.compat.wandb as wandb
        run = wandb.init(project="p")
        open(run.dir + "/late.txt", "w").write("x")
        """
    )
    assert script.view().status == "finished" and files(script.view()) == {"late.txt": b"x"}


# -- runs ----------------------------------------------------------------------------------------


def test_init_takes_what_wandbs_variables_say(monkeypatch):
    for name, value in {"PROJECT": "q", "NAME": "n", "RUN_ID": "i1", "TAGS": "a,b", "NOTES": "why"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    with wandb.init(config={"a": 1, "b": 2}, config_exclude_keys=["b"], job_type="eval", entity="team") as run:
        assert run.path == "team/q/i1" and run.url.startswith("file://")
    view = view_of(run)
    assert (view.id, view.name, view.project, view.tags, view.params) == ("i1", "n", "q", ("a", "b"), {"a": 1})
    assert view.tag_values == {"entity": "team", "job_type": "eval", "notes": "why"}


def test_a_second_init_returns_the_open_run_unless_told_otherwise(run):
    with pytest.warns(unitrack.UnitrackWarning, match="is open and is returned"):
        assert wandb.init() is run
    beside = wandb.init(project="p", reinit="create_new")
    assert wandb.run is run and beside.id != run.id
    beside.finish()
    other = wandb.init(project="p", reinit=True)
    assert wandb.run is other and run.finished and view_of(other).parent is None
    wandb.finish(exit_code=3)
    assert (view_of(other).status, view_of(other).reason) == ("failed", "exit code 3") and wandb.run is None


def test_a_folder_and_a_way_to_begin_are_as_given():
    with wandb.init(project="p", dir="logs") as run:
        run.log({"a": 1})
    assert unitrack.get_run(run.id, dir="logs/.unitrack").status == "finished"
    with pytest.raises(ValueError, match="reinit is"):
        wandb.init(reinit="sometimes")


def test_disabled_mode_takes_all_calls_and_keeps_nothing(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with wandb.init(project="p") as run:
        run.log({"a": 1, "b": wandb.Image(np.zeros((2, 2)))})
        run.config.update({"a": 1})
        assert run.disabled
    assert unitrack.runs() == []


def test_names_tags_and_notes_can_change(run):
    run.name = "later"
    run.tags += ("x", "y")
    run.tags = ("y",)
    run.notes = "because"
    view = view_of(run)
    assert (view.name, view.tags, view.tag_values) == ("later", ("y",), {"notes": "because"})


def test_alerts_keep_their_level(run):
    wandb.alert("look", "here", level=wandb.AlertLevel.WARN)
    (alert,) = view_of(run).alerts
    assert (alert.title, alert.text, alert.level) == ("look", "here", "warning")


def test_what_is_left_out_is_said_once(run, recwarn):
    with pytest.warns(unitrack.UnitrackWarning, match="records nothing"):
        wandb.watch(None)
    wandb.watch(None, log="all")
    run.unwatch()
    assert not recwarn.list


@pytest.mark.parametrize(
    "use",
    [
        lambda run: wandb.init(sync_tensorboard=True),
        lambda run: wandb.init(fork_from="x?_step=1"),
        lambda run: wandb.init(config="config.yaml"),
        lambda run: wandb.init(reinit=True, mode="shared"),
        lambda run: wandb.Image(np.zeros((2, 2)), boxes={"a": 1}),
        lambda run: wandb.Video(np.zeros((1, 1, 1, 1))),
        lambda run: wandb.Artifact("a", "b", incremental=True),
        lambda run: wandb.Artifact("a", "b").checkout,
        lambda run: wandb.plot.roc_curve([1], [1]),
        lambda run: run.to_html(),
        lambda run: run.link_artifact,
    ],
)
def test_what_cant_be_kept_is_refused(run, use):
    with pytest.raises(UnsupportedError):
        use(run)


def test_the_key_that_is_passed_is_nowhere(run):
    assert wandb.login(key="not-to-be-kept")
    written = b"".join(path.read_bytes() for path in Path(".unitrack").rglob("*") if path.is_file())
    assert b"not-to-be-kept" not in written and "not-to-be-kept" not in os.environ.values()
