"""Of a hundred credentials in patches, URLs, arguments and variables nothing is left: in no journal, report or tracker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import unitrack
from tests.capture.corpus import CORPUS
from unitrack.capture.redact import redact, redact_tree, redact_words

TRAIN = """
import argparse, json, sys
import unitrack
parser = argparse.ArgumentParser(prefix_chars="-")
arguments, rest = parser.parse_known_args()
words = iter(sys.argv[1:])
named = {}
for word in words:
    name, equals, value = word.lstrip("-+").partition("=")
    named[name] = value if equals else next(words)
with unitrack.init("p", config={**named, "argv": sys.argv[1:]}, console=True) as run:
    for number, url in enumerate(json.load(open(sys.argv[0] + ".json"))):
        run.log_dataset(url, name=f"data-{number}")
        run.log_artifact(url, name=f"artifact-{number}")
        run.config[f"url-{number}"] = url
        print("reading", url)
    run.alert("can't read", url)
    raise SystemExit(f"can't read {url}")
"""


def of(channel):
    return [leak for leak in CORPUS if leak.channel == channel]


@pytest.mark.parametrize("leak", of("patch") + of("url"), ids=lambda leak: f"{leak.channel}: {leak.text[:24]!r}")
def test_a_text_is_kept_without_its_credential(leak):
    assert leak.secret in leak.text and leak.secret not in redact(leak.text)
    added = "\n".join(f"+{line}" for line in leak.text.splitlines())
    assert leak.secret not in redact(f"@@ -1 +1,9 @@\n lr = 0.1\n{added}\n")


@pytest.mark.parametrize("leak", of("argument"), ids=lambda leak: leak.text[:24])
def test_a_command_line_and_parameters_are_kept_without_their_credential(leak):
    assert leak.secret not in " ".join(redact_words(leak.text.split(" ", 1)))
    name, _, value = leak.text.lstrip("-+").replace(" ", "=", 1).partition("=")
    assert leak.secret not in str(redact_tree({"deep": {name: value}}))


def test_the_corpus_has_a_hundred_credentials_and_no_two_alike():
    assert len({leak.secret for leak in CORPUS}) == len(CORPUS) == 100


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train with all of it around: uncommitted in the repository, in URLs, on the command line, in the environment."""
    folder = tmp_path_factory.mktemp("corpus") / "project"
    folder.mkdir()
    identity = ["-c", "user.name=mia", "-c", "user.email=mia@example.org", "-c", "commit.gpgsign=false"]

    def git(*words):
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)

    (folder / "train.py").write_text(TRAIN)
    (folder / "notes.txt").write_text("lr = 0.1\n")
    (folder / "unitrack.toml").write_text(
        '[backends.tensorboard]\nlogdir = "boards"\n[backends.mlflow]\ntracking_uri = "sqlite:///mlflow.db"\n'
    )
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("remote", "add", "origin", of("url")[0].text)
    import json

    (folder / "train.py.json").write_text(json.dumps([leak.text for leak in of("url")]))
    for leak in of("patch"):
        with (folder / "notes.txt").open("a") as file:
            file.write(f"{leak.text}\n")
    with (folder / "train.py").open("a") as file:  # the script itself, too, is kept
        file.writelines(f"# {line}\n" for leak in of("patch") for line in leak.text.splitlines())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UNITRACK_", "GIT_"))}
    env = {**kept, **dict(leak.text.split("=", 1) for leak in of("environment")), "UNITRACK_MODE": "offline"}
    words = [word for leak in of("argument") for word in leak.text.split(" ", 1)]
    command = [sys.executable, "train.py", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1 and "can't read" in done.stderr, done.stderr
    return folder, kept


def leaks(data: bytes) -> list[str]:
    return [leak.text[:40] for leak in CORPUS if leak.secret.encode() in data]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_journal_and_no_object_holds_any(trained):
    folder, _ = trained
    (view,) = unitrack.runs(dir=folder / ".unitrack")
    assert {"git", "environment", "source"} <= set(view.captures) and view.captures["git"]["patch"]["kept"]
    assert {"source/git/changes.patch", "source/source/train.py"} <= {each.name for each in view.artifacts}
    assert len(view.datasets) == len(of("url")) and view.status == "failed" and view.reason
    assert {str(path): found for path in files(folder / ".unitrack") if (found := leaks(path.read_bytes()))} == {}


def test_no_command_and_no_report_shows_any(trained):
    folder, env = trained
    (view,) = unitrack.runs(dir=folder / ".unitrack")
    commands = [["show", view.id], ["show", view.id, "--json"], ["runs"]]
    commands += [["audit", view.id, "--format", name] for name in ("terminal", "markdown", "html", "json")]
    for words in commands:
        command = [sys.executable, "-m", "unitrack", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, env=env, check=False)
        assert done.returncode == 0 and leaks(done.stdout + done.stderr) == [], words


def test_no_tracker_is_sent_any(trained):
    """TensorBoard's files and an MLflow store in SQLite, both by their own clients; their bytes are searched."""
    folder, env = trained
    command = [sys.executable, "-m", "unitrack", "sync"]
    done = subprocess.run(command, cwd=folder, capture_output=True, env=env, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert leaks(done.stdout + done.stderr) == []
    sent = [path for path in files(folder) if path.name != "notes.txt" and not path.name.startswith("train.py")]
    sent = [path for path in sent if ".git" not in path.relative_to(folder).parts]
    assert any("tfevents" in path.name for path in sent) and (folder / "mlflow.db").stat().st_size > 100_000
    assert {str(path): found for path in sent if (found := leaks(path.read_bytes()))} == {}
