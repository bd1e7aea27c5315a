"""`unitrack copy RUN --to tensorboard` reads back what it wrote, and finds what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner

from unitrack.cli import main
from unitrack.events import Metrics, Params, RunStarted
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo


def test_a_run_is_copied_and_compared():
    store = Path(".unitrack").absolute()
    layout.create_store(store)
    writer = JournalWriter(layout.run_dir(store, "one"), WriterInfo(run="one"), durability="finish")
    writer.append(RunStarted, project="p")
    writer.append(Params, {"lr": 0.1})
    writer.append(Metrics, {"loss": 0.1}, 1.5)
    writer.seal("finished")
    Path("unitrack.toml").write_text('[backends.tensorboard]\nlogdir = "logs"\n')
    result = CliRunner().invoke(main, ["copy", "one", "--to", "tensorboard"])
    assert (result.exit_code, "1 runs at tensorboard: 1 equal" in result.output) == (0, True), result.output
    shutil.rmtree("logs/one")
    result = CliRunner().invoke(main, ["copy", "one", "--to", "tensorboard"])
    assert (result.exit_code, "the tracker has no such run" in result.output) == (4, True), result.output
