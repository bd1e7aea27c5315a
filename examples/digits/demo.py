"""Run the main job from end to end: train, register, and gate a good and a bad candidate.

    python demo.py [FOLDER]

Makes a git repository of its own with the digits example, trains the production model, and
lets two changes face the gate. Needs no account and no server; takes about a minute.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
GOOD = (
    'parser.add_argument("--hidden", type=int, default=64)',
    'parser.add_argument("--hidden", type=int, default=96)',
)
BAD = ("digits.data / 16.0", "digits.data / 160.0")
GATE_FAILED = 1


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def unitrack(*arguments, folder, expect=0):
    """Run a unitrack command as a user would, and show it."""
    print(f"$ unitrack {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "unitrack", *arguments], cwd=folder, check=False)
    if done.returncode != expect:
        sys.exit(f"the demo expected exit code {expect} and got {done.returncode}")


def git(*arguments, folder):
    who = {"GIT_AUTHOR_NAME": "demo", "GIT_AUTHOR_EMAIL": "demo@example.com"}
    who |= {"GIT_COMMITTER_NAME": "demo", "GIT_COMMITTER_EMAIL": "demo@example.com"}
    subprocess.run(["git", *arguments], cwd=folder, check=True, env={**os.environ, **who}, stdout=subprocess.DEVNULL)


def make_repository(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("train.py", "unitrack.toml"):
        shutil.copy(HERE / name, folder)
    git("init", "--quiet", "--initial-branch", "main", folder=folder)
    git("add", ".", folder=folder)
    git("commit", "--quiet", "--message", "Train digits", folder=folder)


def branch(name, change, folder):
    """Commit one change of train.py on a branch of its own."""
    git("checkout", "--quiet", "-b", name, "main", folder=folder)
    path = folder / "train.py"
    text = path.read_text()
    assert change[0] in text, f"train.py no longer has {change[0]!r}"
    path.write_text(text.replace(*change))
    git("commit", "--quiet", "--all", "--message", name, folder=folder)


def newest_run(folder):
    listed = subprocess.run(
        [sys.executable, "-m", "unitrack", "runs", "--json", "--limit", "1"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return json.loads(listed.stdout)[0]["id"]


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo").resolve()
    make_repository(folder)

    say("1. Train the production model; every log() call is one line of a local journal")
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True)
    run = newest_run(folder)
    unitrack("show", run, folder=folder)

    say("2. Give it a version and make it the production model")
    unitrack("models", "register", "digits", "--run", run, folder=folder)
    for stage in ("staging", "production"):
        unitrack("models", "stage", "digits", "1", stage, "--reason", "the first model", folder=folder)
    git("add", ".unitrack/registry", folder=folder)
    git("commit", "--quiet", "--message", "Register digits:1", folder=folder)

    say("3. A good candidate: a wider network. Both commits are trained again, with the same seeds")
    branch("wider-network", GOOD, folder)
    unitrack("gate", "--candidate", "wider-network", "--report", ".unitrack/good.md", folder=folder)

    say("4. A bad candidate: somebody changed the scale of the images. The gate must say no")
    branch("wrong-scale", BAD, folder)
    unitrack("gate", "--candidate", "wrong-scale", "--report", ".unitrack/bad.md", folder=folder, expect=GATE_FAILED)

    say("Done: the good candidate passed, the bad one failed. What there is to look at:")
    store = folder / ".unitrack"
    print(f"  repository    {folder}")
    print(f"  journals      {store}/runs/*/journal/*.jsonl   (cat, jq, `unitrack query`)")
    print(f"  registry      {store}/registry/digits.json")
    for path in sorted(store.glob("gate/*/verdict.json")):
        print(f"  verdict       {path}")
    print(f"  reports       {store}/good.md  {store}/bad.md")
    print(f"  try           cd {folder} && {Path(sys.executable).with_name('unitrack')} runs")


if __name__ == "__main__":
    main()
