"""W&B's registry by unitrack's rules: W&B's own client against a double of its server."""

from __future__ import annotations

import threading

import pytest
import wandb
from wandb_double import KEY, Double

from tests.support.registry_contract import Clock, RegistryContract, live, model_name, opened
from unitrack import events
from unitrack.errors import ConfigError, RegistryError
from unitrack.registry import LocalRegistry
from unitrack.registry.mirror import mirror
from unitrack.registry.using import obtain
from unitrack_wandb import WandbRegistryFactory
from unitrack_wandb._registry_shelf import Pen, Shelf
from unitrack_wandb._registry_state import chain

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pydantic.PydanticDeprecatedSince20")

FACTORY = "unitrack_wandb:WandbRegistryFactory"


@pytest.fixture(scope="module")
def server():
    made = Double()
    yield made
    made.stop()
    assert made.unknown == []


@pytest.fixture
def double(server, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    return server


@pytest.fixture
def options(double):
    return {"timeout": 5}


@pytest.fixture
def there(options):
    return opened(FACTORY, options)


@pytest.fixture
def name(request):
    return model_name(request)


def place(name):
    return f"works-org/wandb-registry-model/{name}"


class TestWandb(RegistryContract):
    factory, section, versions = FACTORY, "wandb", 60

    def progress(self, there, name):
        """Count what stands for versions and what is linked: one kill is while these are made, one while those are."""
        made = sum(one["name"] == f"version.{name}" for one in there.double.artifacts)
        return (made + len(there.double.versions(place(name)))) // 2

    @pytest.fixture
    def there(self, options, double):
        made = opened(FACTORY, options)
        made.double = double
        return made


def test_wandbs_own_users_see_versions_aliases_and_who_is_in_production(double, there, name):
    before = set(double.runs)
    live(there, name)
    aliases = double.aliases(place(name))
    assert aliases == {"champion": 2, "production": 1, "latest": 2}
    api = wandb.Api(overrides={"base_url": double.url, "entity": "team"})
    found = api.artifact(f"wandb-registry-model/{name}:production")
    assert found.metadata["unitrack"]["run"] == "run-2"
    first = api.artifact(f"wandb-registry-model/{name}:v0")
    assert first.description == "the first,\nin two lines: äöü"
    last = api.artifact(f"unitrack-registry/history.{name}:applied")
    assert last.description.splitlines()[-1] == "version 2 retired -> production, by Ada: too slow"
    assert {double.runs[run]["state"] for run in double.runs.keys() - before} == {"finished"}


def test_what_others_did_in_wandb_is_history_too(double, there, name):
    """Somebody links a version, moves aliases and takes a version out without unitrack."""
    live(there, name)
    api = wandb.Api(overrides={"base_url": double.url, "entity": "team"})
    other = logged(api, name)
    other.link(f"wandb-registry-model/{name}", aliases=["production", "theirs"])
    first = api.artifact(f"wandb-registry-model/{name}:v0")
    first.aliases.append("champion")
    first.save()
    api.artifact(f"wandb-registry-model/{name}:v1").unlink()
    for _ in range(2):  # what was seen is kept by the next change
        assert there.get(f"{name}@production").version == 4
        assert there.get(f"{name}:4").run == f"by-{name}"
        assert there.get(f"{name}@champion").version == 1
        assert there.get(f"{name}@theirs").version == 4
        assert there.get(f"{name}:2").stage == "retired"
        seen = [(change.action, change.version, change.reason) for change in there.history(name) if change.by == "W&B"]
        assert seen == [
            ("register", 4, ""), ("alias", 1, "moved in W&B"), ("alias", 4, "moved in W&B"),
            ("stage", 2, "moved in W&B"), ("stage", 4, "moved in W&B"),
        ]  # fmt: skip
        there.set_alias(name, "seen", 1, reason="to keep it")
    assert there.rollback(name, reason="not ours").version == 2
    assert double.aliases(place(name))["production"] == 4, "linked again, which W&B numbers anew"


def logged(api, name):
    """Log a model as somebody would who doesn't know unitrack."""
    run = wandb.init(
        id=f"by-{name}", project="p", entity="team", reinit="create_new", settings=wandb.Settings(silent=True)
    )
    made = wandb.Artifact(f"{name}-theirs", type="model")
    made.add_reference("s3://elsewhere/net.pt", checksum=False)
    run.log_artifact(made).wait(timeout=30)
    run.finish()
    return api.artifact(f"team/p/{name}-theirs:v0")


def test_a_version_that_was_taken_out_says_so_and_comes_back_when_it_is_wanted(double, there, name):
    for _ in range(2):
        there.register(name, run="run-1")
    api = wandb.Api(overrides={"base_url": double.url, "entity": "team"})
    api.artifact(f"wandb-registry-model/{name}:v0").unlink()
    assert there.get(f"{name}:1").stage == "retired"
    assert there.history(name)[-1].reason == "taken out of the collection in W&B"
    there.set_alias(name, "other", 2, reason="why not")
    assert [one["index"] for one in double.versions(place(name))] == [1]
    there.set_stage(name, 1, "staging", reason="needed after all")
    assert double.aliases(place(name)) == {"other": 1, "staging": 2, "latest": 2}
    assert [record.stage for record in there.state(name).versions] == ["staging", None]


def test_a_model_made_by_others_can_be_promoted(double, there, name):
    api = wandb.Api(overrides={"base_url": double.url, "entity": "team"})
    logged(api, name).link(f"wandb-registry-model/{name}", aliases=["production"])
    assert there.get(f"{name}@production").version == 1
    assert there.register(name, run="run-2").version == 2
    assert [change.action for change in there.history(name)] == ["register", "stage", "register"]


def test_two_who_change_a_model_at_once_both_do(double, options, name):
    """Each reads the same state; W&B numbers what they write, and the second does it again."""
    opened(FACTORY, options).register(name, run="run-0")
    gate, failed = threading.Barrier(3), []

    def register(who):
        there, waited = opened(FACTORY, options), []
        real = there._write

        def write(*arguments):
            if not waited:
                waited.append(gate.wait(30))
            return real(*arguments)

        there._write = write
        try:
            there.register(name, run=f"run-{who}", by=who)
            there.set_alias(name, f"of-{who}", 1, reason="mine")
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=register, args=(who,)) for who in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    there = opened(FACTORY, options)
    assert sorted(version.run for version in there.versions(name)) == ["run-0", "run-a", "run-b", "run-c"]
    assert sorted(change.by for change in there.history(name)) == ["Ada", "Ada", "Ada", "Ada", "a", "b", "c"]
    assert {"of-a": 0, "of-b": 0, "of-c": 0}.items() <= double.aliases(place(name)).items()
    ours = [member["index"] for member in double.versions(f"team/unitrack-registry/history.{name}")]
    assert len(ours) == 7, "what lost the race is taken away again"


def test_what_a_slow_writer_does_late_is_put_right(double, options, name):
    slow, quick, late = opened(FACTORY, options), opened(FACTORY, options), []
    for number in (1, 2):
        quick.register(name, run=f"run-{number}")
    real = slow._move_aliases

    def move(entry, members):
        if not late:
            late.append(quick.set_alias(name, "best", 2, reason="newer"))
        real(entry, members)

    slow._move_aliases = move
    slow.set_alias(name, "best", 1, reason="older")
    assert double.aliases(place(name)) == {"best": 1, "latest": 1}
    assert slow._head(name).applied
    assert [change.by for change in slow.history(name)] == ["Ada"] * 4


def test_who_reads_while_another_changes_a_model_takes_nobody_for_wandb(double, options, name):
    reader, writer = opened(FACTORY, options), opened(FACTORY, options)
    writer.register(name, run="run-1")
    real, once = reader._shelf.members, []

    def members(of):
        if not once:
            once.append(writer.set_alias(name, "best", 1, reason="while you look"))
        return real(of)

    reader._shelf.members = members
    assert [(change.action, change.by) for change in reader.history(name)] == [("register", "Ada"), ("alias", "Ada")]


@pytest.mark.parametrize(
    ("parents", "counts"),
    [
        ({}, []),
        ({0: None, 1: 0, 2: 1}, [0, 1, 2]),
        ({0: None, 1: None, 2: 0}, [0, 2]),  # 1 came second
        ({0: None, 1: 0, 2: 0, 3: 0, 4: 1, 5: 4, 6: 4}, [0, 1, 4, 5]),
        ({3: 2, 4: 3, 5: 3, 7: 4}, [3, 4, 7]),  # the oldest were deleted
        ({0: None, 4: 3, 5: 4}, [0, 4, 5]),  # those between were
        ({0: None, 1: 0, 3: 1}, [0, 1, 3]),  # 2 was the head once: somebody went back
    ],
)
def test_of_two_entries_made_from_the_same_the_first_counts(parents, counts):
    assert chain(parents) == counts


def test_what_was_deleted_of_an_old_history_is_not_missed(double, there, name):
    live(there, name)
    before, history = there.state(name), f"team/unitrack-registry/history.{name}"
    for one in double.versions(history):
        if one["index"] in (0, 1, 5, 6):
            del double.memberships[history][one["id"]]
    assert opened(FACTORY, {"timeout": 5}).state(name) == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "call", "count"),
    [
        (Pen, "log", 1), (Pen, "log", 4), (Shelf, "link", 1), (Shelf, "link", 3), (Shelf, "add_aliases", 2),
        (Shelf, "add_aliases", 4),
    ],
)  # fmt: skip
def test_a_death_at_any_step_leaves_a_beginning_of_the_history(
    there, tmp_path, name, monkeypatch, kind, call, when, count
):
    here = LocalRegistry(tmp_path / "registry", clock=Clock(), identity=lambda: "Ada")
    live(here, name)
    real, calls = getattr(kind, call), []

    def dying(*arguments, **named):
        calls.append(call)
        last = len(calls) >= count
        answer = real(*arguments, **named) if when == "after" or not last else None
        if last:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kind, call, dying)
        mirror(here, there, name)
    if name in there.models():
        whole = here.history(name)
        assert there.history(name) == whole[: len(there.history(name))]
    mirror(here, there, name)
    assert there.state(name) == here.state(name)


# -- faults --------------------------------------------------------------------------------------


def test_a_damaged_history_is_an_error_that_names_it(double, there, name):
    there.register(name, run="run-1")
    (entry,) = [one for one in double.artifacts if one["name"] == f"history.{name}"]
    path = f"/files/{entry['id']}/{name}.json"
    digest = double.entries(entry)[f"{name}.json"]["digest"]
    whole = double.files[path]
    double.replaced[digest] = b'{"schema": 1}'
    try:
        with pytest.raises(RegistryError, match=rf"history\.{name}:v0/{name}\.json is damaged: .*Delete team/"):
            opened(FACTORY, {"timeout": 5}).get(name)
    finally:
        del double.replaced[digest]
    assert opened(FACTORY, {"timeout": 5}).get(name).run == "run-1"
    assert double.files[path] == whole


def test_an_alias_that_wandb_refuses_is_told_and_made_up_for_later(double, there, name):
    """An administrator may protect aliases: the change is in the history, and carried out when it may be."""
    there.register(name, run="run-1")
    there.set_stage(name, 1, "staging", reason="tried")
    double.fail(403, 1, where="AddAliases")
    with pytest.raises(RegistryError, match="403"):
        there.set_stage(name, 1, "production", reason="good")
    assert there.get(f"{name}@production").version == 1
    assert "production" not in double.aliases(place(name))
    there.set_alias(name, "champion", 1, reason="best")
    assert double.aliases(place(name)) == {"latest": 0, "production": 0, "champion": 0}


def test_a_server_that_is_not_there_is_an_error_in_a_few_seconds(double):
    there = WandbRegistryFactory().open({"base_url": "http://127.0.0.1:9", "timeout": 1})
    with pytest.raises(RegistryError, match=r"W&B at http://127\.0\.0\.1:9"):
        there.get("digits@production")


def test_a_key_that_is_refused_says_what_to_do(double, there):
    double.fail(403, 1)
    with pytest.raises(RegistryError, match="wandb login"):
        there.get("digits@production")


def test_a_wrong_option_is_named():
    with pytest.raises(ConfigError, match=r"\[registries.wandb\] .*`uri`; the options are: registry"):
        WandbRegistryFactory().open({"uri": "x"})


def test_names_and_aliases_that_wandb_cannot_hold_are_refused_before_anything_is_made(there, name):
    with pytest.raises(RegistryError, match="up to 120 characters"):
        there.register("x" * 121, run="run-1")
    there.register(name, run="run-1")
    with pytest.raises(RegistryError, match="up to 128 characters"):
        there.set_alias(name, "a" * 129, 1, reason="why not")
    assert len(there.history(name)) == 1


# -- files ---------------------------------------------------------------------------------------


def sent(double, runs, run_id="one", data=b"weights", **job):
    writer = runs.writer(run_id)
    digest = runs.put(data)
    writer.append(events.Artifact, name="net.pt", kind="model", digest=digest, size=len(data))
    writer.seal("finished")
    (result,) = runs.send(double, runs=(run_id,), **job)
    assert (result.state, result.dead) == ("sent", 0)
    return digest


def test_a_model_that_the_backend_linked_is_downloaded_and_verified(double, there, runs, name, tmp_path):
    digest = sent(double, runs, f"run-of-{name}", options={"link": {"net.pt": f"wandb-registry-model/{name}"}})
    there.set_stage(name, 1, "staging", reason="tried")
    there.set_stage(name, 1, "production", reason="good")
    store = tmp_path / "elsewhere"
    store.mkdir()
    found = obtain(there, f"{name}@production", store)
    assert (found.version.run, found.version.digest, found.tree, found.size) == (f"run-of-{name}", digest, False, 7)
    (kept,) = (path for path in (store / "objects").rglob("*") if path.is_file())
    assert kept.read_bytes() == b"weights"
    assert [path.name for path in store.iterdir()] == ["objects"], "no scratch folder is left"


def test_a_registered_run_that_was_sent_is_linked_with_its_files_once(double, there, runs, name, tmp_path):
    run = f"run-of-{name}"
    digest = sent(double, runs, run)
    for _ in range(2):  # W&B links a version once: the second has none of its own
        there.register(name, run=run, artifact="net.pt", digest=digest)
    (first, second) = [double.artifact(one["id"]) for one in double.versions(place(name))]
    assert (first["place"].split("/")[1], second["name"]) == ("p", f"version.{name}")
    (tmp_path / "elsewhere").mkdir()
    assert obtain(there, f"{name}:1", tmp_path / "elsewhere").size == 7


def test_a_run_that_sent_what_another_had_sent_before_has_its_files(double, there, runs, name, tmp_path):
    """W&B takes the same content for the same version, and shows it with the first run alone."""
    for run in ("first", "second"):
        digest = sent(double, runs, f"{run}-of-{name}", data=name.encode())
    there.register(name, run=f"second-of-{name}", artifact="net.pt", digest=digest)
    (tmp_path / "elsewhere").mkdir()
    assert obtain(there, f"{name}:1", tmp_path / "elsewhere").digest == digest


def test_files_that_somebody_changed_are_refused(double, there, runs, name, tmp_path):
    run = f"run-of-{name}"
    digest = sent(double, runs, run, data=b"weights of this test")
    there.register(name, run=run, artifact="net.pt", digest=digest)
    artifact = double.artifact(double.versions(place(name))[0]["id"])
    inside = double.entries(artifact)["net.pt"]["digest"]
    double.replaced[inside] = b"poisons of this test"
    store = tmp_path / "elsewhere"
    store.mkdir()
    with pytest.raises(RegistryError):
        obtain(there, f"{name}:1", store)
    assert list(store.iterdir()) == []
