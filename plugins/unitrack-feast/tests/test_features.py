"""What a version of features holds, and what tells two apart."""

import copy

import pytest

from unitrack_feast import FeastResolver, differences
from unitrack_feast._features import of_specs
from unitrack_feast._resolver import parse

SERVICE = {
    "name": "churn",
    "features": [
        {
            "feature_view_name": "daily",
            "feature_columns": [{"name": "visits", "value_type": "INT64"}, {"name": "sales", "value_type": "FLOAT"}],
            "batch_source": {"meta": {"created_timestamp": "2026-01-01T00:00:00Z"}},
        }
    ],
}
VIEWS = {
    "daily": {
        "name": "daily", "entities": ["shop"], "ttl": "86400s",
        "features": [{"name": "sales", "value_type": "FLOAT"}, {"name": "visits", "value_type": "INT64"}],
        "batch_source": {"timestamp_field": "at", "file_options": {"uri": "a.parquet"}, "meta": {"x": 1}},
    }
}  # fmt: skip


def features(change=lambda service, views: None):
    service, views = copy.deepcopy(SERVICE), copy.deepcopy(VIEWS)
    change(service, views)
    return of_specs(service, views)


def columns(service):
    return service["features"][0]["feature_columns"]


@pytest.mark.parametrize(
    "change",
    [
        lambda service, views: service["features"][0]["batch_source"]["meta"].update(created_timestamp="2027"),
        lambda service, views: views["daily"].update(version="v2", tags={"team": "a"}, description="words", owner="me"),
        lambda service, views: views["daily"]["batch_source"]["meta"].update(x=2),
    ],
)
def test_what_moves_no_value_moves_no_version(change):
    assert features(change) == features()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda service, views: columns(service).reverse(),
            "features are served in another order: daily:sales, daily:visits",
        ),
        (lambda service, views: columns(service).pop(), "daily:sales is not served"),
        (
            lambda service, views: columns(service).append({"name": "age", "value_type": "INT64"}),
            "daily:age is served and was not trained on",
        ),
        (
            lambda service, views: columns(service)[1].update(value_type="DOUBLE"),
            "daily:sales is DOUBLE, and was FLOAT",
        ),
        (lambda service, views: views["daily"].update(entities=["shop", "day"]), "view daily is joined on shop, day"),
        (lambda service, views: views["daily"].update(ttl="3600s"), "view daily serves values of 3600s, and of 86400s"),
        (lambda service, views: views["daily"].update(mode="python"), "view daily has another definition"),
    ],
)
def test_each_change_of_what_is_served_moves_the_version_and_is_named(change, words):
    served = features(change)
    assert served.version != features().version
    (said,) = differences(features(), served)
    assert said.startswith(words)


def test_another_source_is_another_version_that_serves_the_same():
    moved = features(
        lambda service, views: views["daily"]["batch_source"]["file_options"].update(uri="s3://b/a.parquet")
    )
    assert moved.version != features().version
    assert differences(features(), moved) == ()


def test_a_view_says_its_timestamp_entities_and_age_limit():
    view = features().views["daily"]
    assert (view.event_timestamp, view.entities, view.ttl) == ("at", ("shop",), "86400s")


def test_other_uris_are_not_feasts_and_one_without_a_service_is_told_how():
    assert FeastResolver().resolve("s3://bucket/key") is None
    assert parse("feast:///repo/f?service=s") == ("/repo/f", "s")
    with pytest.raises(ValueError, match="service=NAME"):
        parse("feast://repo")
