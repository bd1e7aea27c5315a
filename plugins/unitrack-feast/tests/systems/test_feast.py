"""Feast itself with its local provider: point-in-time joins, services, what production serves, and a gate over it."""

import json
import subprocess
import sys
from datetime import timedelta

import pandas as pd
import pytest

import unitrack
from unitrack.errors import UsageError
from unitrack_feast import SAME, FeastResolver, log_training_set, read_features

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast and what it imports warn on their own account

NOW = pd.Timestamp("2026-01-01", tz="UTC")
TRAIN = """
import os, random, warnings
warnings.simplefilter("ignore")
import pandas as pd, unitrack
from feast import FeatureStore
from unitrack_feast import log_training_set

store = FeatureStore(repo_path=os.environ["TRAINING"])
orders = pd.read_parquet(os.environ["TRAINING"] + "/orders.parquet")
frame = store.get_historical_features(orders, store.get_feature_service(open("service").read().strip())).to_df()
with unitrack.init() as run:
    production = FeatureStore(repo_path=os.environ["PRODUCTION"])
    log_training_set(run, frame, store, open("service").read().strip(), production=production)
    run.log({"score": 0.9})
"""
SETTINGS = f"""
project = "shop"
capture = []

[train]
command = ["python", "train.py"]
seeds = [0, 1]
env = ["TRAINING", "PRODUCTION"]

[gate]
[[gate.metrics]]
name = "score"
goal = "maximize"
margin = 0.5

[[gate.metrics]]
name = "{SAME}"
goal = "maximize"
role = "guardrail"
minimum = 1.0
"""


def make_store(folder, services):
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float32, Int64

    folder.mkdir(exist_ok=True)
    rows = {"shop": [1, 1, 2], "at": [NOW, NOW + timedelta(days=1), NOW], "sales": [1.0, 2.0, 3.0], "visits": [4, 5, 6]}
    pd.DataFrame(rows).to_parquet(folder / "daily.parquet")
    pd.DataFrame({"shop": [1, 2], "event_timestamp": [NOW + timedelta(hours=1), NOW + timedelta(days=3)]}).to_parquet(
        folder / "orders.parquet"
    )
    (folder / "feature_store.yaml").write_text(
        "project: shop\nregistry: registry.db\nprovider: local\nonline_store: {type: sqlite, path: online.db}\n"
        "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
    )
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64)
    source = FileSource(name="daily", path=str(folder / "daily.parquet"), timestamp_field="at")
    view = FeatureView(
        name="daily", entities=[shop], ttl=timedelta(days=10), source=source,
        schema=[Field(name="sales", dtype=Float32), Field(name="visits", dtype=Int64)],
    )  # fmt: skip
    store = FeatureStore(repo_path=str(folder))
    made = [FeatureService(name=name, features=[view[columns]]) for name, columns in services.items()]
    store.apply([shop, source, view, *made])
    return store


def joined(store, service):
    orders = pd.read_parquet(f"{store.repo_path}/orders.parquet")
    return store.get_historical_features(orders, store.get_feature_service(service)).to_df()


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Training's and production's: `same` is served as it was trained, `turned` in another order, `new` not at all."""
    base = tmp_path_factory.mktemp("feast")
    order = ["visits", "sales"]
    training = make_store(base / "training", {"same": order, "turned": order, "new": order})
    return training, make_store(base / "production", {"same": order, "turned": order[::-1]})


def test_a_training_set_is_logged_with_its_features_their_order_and_the_time_they_are_as_of(stores):
    training, _ = stores
    with unitrack.init("shop") as run:
        features = log_training_set(run, joined(training, "same"), training, "same")
    (dataset,) = unitrack.get_run(run.id).datasets
    about = dataset.metadata["feast"]
    assert dataset.version == features.version
    assert [name for name, _ in dataset.columns] == ["shop", "event_timestamp", "visits", "sales"]
    assert [(one["name"], one["type"]) for one in about["features"]] == [("visits", "INT64"), ("sales", "FLOAT")]
    assert about["views"]["daily"]["event_timestamp"] == "at"
    assert about["events"]["first"] == (NOW + timedelta(hours=1)).isoformat()
    assert dataset.rows == 2


def test_the_join_is_as_of_each_event(stores):
    """What the frame holds is what Feast's point-in-time join gives; nothing of the future is in it."""
    frame = joined(stores[0], "same").set_index("shop")
    assert (frame.loc[1, "visits"], frame.loc[2, "visits"]) == (4, 6)


def test_applying_the_same_again_is_no_new_version_and_another_order_is_one(tmp_path):
    store = make_store(tmp_path / "store", {"s": ["visits", "sales"]})
    before = read_features(store, "s").version
    assert read_features(make_store(tmp_path / "store", {"s": ["visits", "sales"]}), "s").version == before
    assert read_features(make_store(tmp_path / "store", {"s": ["sales", "visits"]}), "s").version != before


def test_a_uri_names_a_service_and_a_run_records_its_version(stores):
    training, _ = stores
    uri = f"feast://{training.repo_path}?service=same"
    assert FeastResolver().resolve(uri).version == read_features(training, "same").version
    with unitrack.init("shop") as run:
        run.log_dataset(uri, name="features")
    (dataset,) = unitrack.get_run(run.id).datasets
    assert dataset.version == read_features(training, "same").version


def test_a_frame_that_lacks_a_feature_is_refused(stores):
    training, _ = stores
    with unitrack.init("shop") as run, pytest.raises(UsageError, match="lacks visits"):
        log_training_set(run, joined(training, "same").drop(columns="visits"), training, "same")


@pytest.mark.parametrize(
    ("service", "same", "words"),
    [("same", 1.0, ""), ("turned", 0.0, "another order"), ("new", 0.0, "does not serve new")],
)
def test_a_training_says_whether_production_serves_the_same(stores, service, same, words):
    training, production = stores
    with unitrack.init("shop") as run:
        log_training_set(run, joined(training, service), training, service, production=production)
    view = unitrack.get_run(run.id)
    assert view.summary[SAME] == same
    said = view.captures["feast"]["differences"]
    assert [words in line for line in said] == ([True] if words else [])


def test_the_command_tells_it_of_a_run_that_was_made_earlier(stores):
    training, production = stores
    ended = {}
    for service in ("same", "turned"):
        with unitrack.init("shop") as run:
            log_training_set(run, joined(training, service), training, service)
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "unitrack",
            "feast-check",
            run.id,
            "--repo",
            str(production.repo_path),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ended[service] = (done.returncode, done.stdout)
    assert ended["same"][0] == 0, ended
    assert ended["turned"][0] == 1, ended
    assert "turned: features are served in another order" in ended["turned"][1]


def test_the_gate_refuses_a_model_that_production_would_feed_in_another_order(stores, tmp_path, monkeypatch):
    training, production = stores
    monkeypatch.setenv("TRAINING", str(training.repo_path))
    monkeypatch.setenv("PRODUCTION", str(production.repo_path))

    def commit(service):
        (tmp_path / "service").write_text(service)
        subprocess.run("git add -A && git commit -qm change", shell=True, check=True)

    for name, text in {"train.py": TRAIN, "unitrack.toml": SETTINGS, ".gitignore": ".unitrack/\nout/\n"}.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    commit("same")
    commit("turned")
    command = [
        sys.executable,
        "-m",
        "unitrack",
        "gate",
        "--candidate",
        "HEAD",
        "--baseline",
        "HEAD~1",
        "--output",
        "out",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    decided = {
        one["name"]: one["decision"] for one in json.loads((tmp_path / "out/verdict.json").read_text())["metrics"]
    }
    assert decided == {"score": "pass", SAME: "fail"}
