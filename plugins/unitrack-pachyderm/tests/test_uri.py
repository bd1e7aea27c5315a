"""What a URI of Pachyderm's names, and that no other is touched."""

import pytest

from unitrack_pachyderm import PachydermResolver
from unitrack_pachyderm._uri import parse

COMMIT = "6f9d2b4c1a0e4f7b8c3d5e6f7a8b9c0d"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("pfs://orders@master", ("default", "orders", "master", None, "/")),
        ("pfs://shop/orders@master:/a/b.csv", ("shop", "orders", "master", None, "/a/b.csv")),
        (f"pfs://shop/orders@{COMMIT}", ("shop", "orders", None, COMMIT, "/")),
        (f"pfs://shop/orders@master={COMMIT}:/a", ("shop", "orders", "master", COMMIT, "/a")),
    ],
)
def test_a_uri_names_project_repository_branch_or_commit_and_path(uri, expected):
    found = parse(uri)
    assert (found.project, found.repo, found.branch, found.commit, found.path) == expected


@pytest.mark.parametrize("uri", ["pfs://orders", "pfs://a/b/c@master", "pfs://orders@", "pfs://orders@master:relative"])
def test_a_uri_that_cannot_be_says_how_to_write_it(uri):
    with pytest.raises(ValueError, match="write pfs://project/repo@branch"):
        parse(uri)


def test_other_uris_are_not_pachyderms_and_no_cluster_is_asked():
    def never():
        raise AssertionError

    assert PachydermResolver(never).resolve("s3://bucket/key") is None
    assert PachydermResolver(never).resolve("/pfs/orders") is None
