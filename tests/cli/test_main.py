"""The command line as a whole: commands by name, errors, exit codes."""

from __future__ import annotations

import importlib.util
import keyword
import os
import subprocess
import sys
import types
import warnings

import click
import pytest
from click.testing import CliRunner

import unitrack
from unitrack.cli import COMMANDS, main
from unitrack.errors import BackendError, ConfigError, EvidenceError, RunNotFoundError, UnitrackWarning, UsageError

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture
def run(monkeypatch):
    """Run `unitrack runs` with a body of the test's own."""

    def run(body, *args, before=()):
        @click.command()
        @click.option("--count", type=int)
        def command(count):
            return body()

        monkeypatch.setitem(sys.modules, "unitrack.cli.runs", types.SimpleNamespace(command=command))
        return CliRunner().invoke(main, [*before, "runs", *args])

    return run


def raising(error):
    def body():
        raise error

    return body


def test_help_lists_every_command_without_importing_one():
    code = (
        "import sys; from unitrack.cli import main; main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    shown, _, modules = done.stdout.rpartition("[")
    for name, help_line in COMMANDS:
        assert f"  {name} " in shown
        assert help_line in shown
        assert f"'unitrack.cli.{name}'" not in modules
    assert "'rich'" not in modules


@pytest.mark.parametrize("name", [name for name, _ in COMMANDS])
def test_every_command_listed_has_its_module(name):
    module = f"{name}_" if keyword.iskeyword(name) else name
    assert importlib.util.find_spec(f"unitrack.cli.{module}") is not None


def test_the_version_is_told():
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("unitrack ")


def test_a_command_that_returns_ends_with_0(run):
    assert run(lambda: click.echo("done")).exit_code == 0


def test_a_command_may_end_with_a_code_of_its_own(run):
    assert run(lambda: click.get_current_context().exit(3)).exit_code == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no", file="unitrack.toml", line=3), 2),
        (UsageError("no"), 2),
        (RunNotFoundError("no"), 4),
        (EvidenceError("no"), 4),
        (BackendError("no"), 4),
    ],
)
def test_an_error_is_one_line_on_stderr_and_its_class_gives_the_exit_code(run, error, code):
    result = run(raising(error))
    assert result.exit_code == code
    assert result.stderr == f"unitrack: error: {error}\n"
    assert result.stdout == ""


def test_an_error_with_a_hint_is_followed_by_it(run):
    error = UsageError("no")
    error.hint = "try that"
    assert run(raising(error)).stderr == "unitrack: error: no\nunitrack: hint: try that\n"


def test_what_nobody_expected_is_called_a_bug_in_one_line(run):
    result = run(raising(KeyError("loss\nval")))
    assert result.exit_code == 4
    assert "this is a bug in unitrack or in a plugin (KeyError: 'loss\\nval')" in result.stderr
    assert "unitrack --debug" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("error", [UsageError("no"), KeyError("no")])
def test_debug_shows_the_traceback_as_well(run, error):
    result = run(raising(error), before=["--debug"])
    assert "Traceback" in result.stderr
    assert "unitrack: error:" in result.stderr
    assert "unitrack --debug" not in result.stderr


def test_an_interrupt_ends_with_130(run):
    result = run(raising(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert "unitrack: error: interrupted" in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_use_ends_with_2_and_says_where_help_is(run):
    result = run(lambda: None, "--count", "x")
    assert result.exit_code == 2
    assert "unitrack: error: Invalid value for '--count'" in result.stderr
    assert "runs --help" in result.stderr


def test_an_unknown_command_ends_with_2_and_names_the_nearest():
    result = CliRunner().invoke(main, ["rnus"])
    assert result.exit_code == 2
    assert "there is no command 'rnus' - did you mean 'runs'?" in result.stderr


def test_no_command_at_all_is_wrong_use_and_shows_the_help():
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_a_warning_of_unitrack_is_one_line_without_its_source(run):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run(lambda: warnings.warn("careful", UnitrackWarning, stacklevel=1))
    assert result.stderr == "unitrack: warning: careful\n"


def test_a_plugins_command_is_found_by_its_name(monkeypatch):
    @click.command()
    def hello():
        click.echo("hello")

    plugins = types.SimpleNamespace(commands=lambda: {"hello": hello}, problems=[])
    monkeypatch.setattr("unitrack.plugins.load_plugins", lambda: plugins)
    result = CliRunner().invoke(main, ["hello"])
    assert (result.exit_code, result.stdout) == (0, "hello\n")


def test_a_missing_command_is_told_with_the_plugins_that_failed(monkeypatch):
    plugins = types.SimpleNamespace(commands=dict, problems=["plugin 'x' can't be imported"])
    monkeypatch.setattr("unitrack.plugins.load_plugins", lambda: plugins)
    result = CliRunner().invoke(main, ["hello"])
    assert result.exit_code == 2
    assert "unitrack: warning: plugin 'x' can't be imported" in result.stderr


def test_embedded_in_a_program_errors_and_results_come_through(run):
    with pytest.raises(UsageError):
        run(raising(UsageError("no")))
        main(["runs"], standalone_mode=False)


PIPE = """
import sys, types, click
@click.command()
def command():
    {body}
sys.modules["unitrack.cli.runs"] = types.SimpleNamespace(command=command)
from unitrack.cli import main
main(["runs"])
"""


def in_broken_pipe(body):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        call = [sys.executable, "-c", PIPE.format(body=body)]
        return subprocess.run(call, env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)


@pytest.mark.parametrize("body", ["click.echo('x')", "print('x')", "[print(i) for i in range(100000)]"])
def test_a_reader_that_goes_away_ends_the_command_quietly(body):
    done = in_broken_pipe(body)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_pipe_that_breaks_is_told():
    call = [sys.executable, "-c", PIPE.format(body="raise BrokenPipeError(32, 'gone')")]
    done = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "a pipe other than stdout broke" in done.stderr


def test_python_m_unitrack_is_unitrack():
    call = [sys.executable, "-m", "unitrack", "--version"]
    done = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unitrack ")


@pytest.mark.parametrize(
    "words",
    [("runs",), ("show", "one"), ("compare", "one", "two"), ("query", "select id from runs"), ("verify",)],
    ids=lambda words: words[0],
)
def test_every_command_that_reads_takes_another_store(words, tmp_path):
    for run_id in ("one", "two"):
        unitrack.init("p", id=run_id, dir=tmp_path / "elsewhere", mode="offline").finish()
    done = CliRunner().invoke(main, [*words, "--dir", str(tmp_path / "elsewhere"), "--json"])
    assert done.exit_code == 0 and "one" in done.stdout
    assert "one" not in CliRunner().invoke(main, [*words, "--json"]).stdout
