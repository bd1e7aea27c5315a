"""The command line: `unitrack COMMAND`.

Each command is a module of this package with a click command named `command`, listed in
`COMMANDS` with its one line of help, and imported when it is called. Exit codes of every
command: 0 done or pass, 1 fail, 2 wrong use or configuration, 3 undecided, 4 evidence or
backend not to be had, 130 interrupted. A command ends with another code than 0 by
`click.get_current_context().exit(code)` or by raising a `UnitrackError`.
"""

from __future__ import annotations

import functools
import importlib
import keyword
import os
import select
import sys
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from unitrack.errors import UnitrackError, UnitrackWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["COMMANDS", "installed_version", "main"]

COMMANDS: tuple[tuple[str, str], ...] = (
    ("init", "Write unitrack.toml and create the store."),
    ("runs", "List runs."),
    ("show", "Show one run."),
    ("compare", "Put runs side by side."),
    ("query", "Ask the store in SQL."),
    ("audit", "Check which of a run's sources can be named again."),
    ("verify", "Check journals and objects against their seals."),
    ("sync", "Send runs to backends."),
    ("backends", "List backends, and make environments for their workers."),
    ("import", "Take the runs of a tracker into the store."),
    ("copy", "Send runs to a backend and compare what arrived."),
    ("models", "List, register and promote models."),
    ("lock", "Pin image, inputs, dependencies and commands in unitrack.lock."),
    ("rerun", "Run the training command again under pinned inputs."),
    ("gate", "Judge a candidate against the baseline."),
    ("waive", "Let a failed metric through, for a reason and a time."),
    ("check", "Watch the model in production on fresh data."),
    ("promote", "Let a model version take an alias, with a verdict that passed it."),
    ("report", "Write a verdict as Markdown, HTML, JUnit, SARIF and more."),
    ("ci", "Report a verdict to GitHub or GitLab."),
    ("alert", "Tell people something through the notifiers."),
    ("plugins", "List plugins and what they add."),
    ("doctor", "Check settings, store and plugins."),
)

_INTERRUPTED = 130
_READER_GONE = 141
_BUG = 4


class _Main(click.Group):
    """A group that knows its commands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _ in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.list_commands(ctx):
            module = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
            command: click.Command = importlib.import_module(f"unitrack.cli.{module}").command
            return command
        return _plugin_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        command = self.get_command(ctx, args[0])
        if command is None:
            raise _no_such_command(args[0], ctx)
        return args[0], command, args[1:]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, where a reader that went away is still handled
        except BrokenPipeError as error:
            if not _reader_gone():  # click would take any broken pipe for stdout's and keep quiet
                raise RuntimeError("a pipe other than stdout broke") from error
            _drop_stdout()
            raise click.exceptions.Exit(_READER_GONE) from None
        return result

    def main(  # click types it with overloads
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run a command and exit, or with `standalone_mode=False` return and raise what it does."""
        call = functools.partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return call()
        with _short_warnings():
            sys.exit(_exit_code(call, debug="--debug" in (sys.argv if args is None else args)))


def _exit_code(call: Callable[[], Any], *, debug: bool) -> int:
    """Run `call`, tell the user what went wrong, and return the code to exit with."""
    try:
        code = call()
    except click.Abort as error:
        return _aborted(error)
    except click.ClickException as error:
        _complain(error)
        return error.exit_code
    except Exception as error:
        if debug:
            traceback.print_exception(type(error), error, error.__traceback__)
        return _failed(error, debug=debug)
    return code if type(code) is int else 0


def _print_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:  # noqa: FBT001 (click's)
    if asked and not ctx.resilient_parsing:
        click.echo(f"unitrack {installed_version()}")
        ctx.exit()


@click.group(
    cls=_Main,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Plugins may add commands: `unitrack plugins` lists them.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version",
)
def main(*, debug: bool) -> None:
    """Track experiments in a local journal; send them to any tracker, query, rerun and gate them."""


def installed_version() -> str:
    """Return the version of the installed distribution."""
    from importlib import metadata

    try:
        return metadata.version("unitrack")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _plugin_command(name: str) -> click.Command | None:
    from unitrack.plugins import load_plugins

    plugins = load_plugins()
    command: click.Command | None = plugins.commands().get(name)
    if command is None:  # it may be one of theirs that can't be had
        for problem in plugins.problems:
            _tell("warning", str(problem))
    return command


def _no_such_command(name: str, ctx: click.Context) -> click.UsageError:
    import difflib

    close = difflib.get_close_matches(name, [known for known, _ in COMMANDS], n=1)
    meant = f" - did you mean {close[0]!r}?" if close else ""
    return click.UsageError(f"there is no command {name!r}{meant}", ctx)


def _failed(error: Exception, *, debug: bool) -> int:
    if isinstance(error, UnitrackError):
        _tell("error", str(error))
        _tell("hint", getattr(error, "hint", None))
        return error.exit_code
    text = " ".join(f"{type(error).__name__}: {error}".split())
    _tell("error", f"this is a bug in unitrack or in a plugin ({text})")
    _tell("hint", None if debug else "run `unitrack --debug ...` again for the traceback, and report it")
    return _BUG


def _tell(kind: str, message: str | None) -> None:
    if message:
        click.echo(f"unitrack: {kind}: {message}", err=True)


def _reader_gone() -> bool:
    """Tell whether nobody reads stdout any more (`| head`), which is no error."""
    if not hasattr(select, "poll"):  # Windows can't tell
        return True
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _complain(error: click.ClickException) -> None:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
        click.echo(error.format_message(), err=True)
        return
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(context.get_usage(), err=True)
    _tell("error", error.format_message())
    if context is not None:
        _tell("hint", f"`{context.command_path} --help` lists what is possible")


def _aborted(error: click.Abort) -> int:
    if isinstance(error.__cause__, EOFError):
        _tell("error", "a question needs an answer, and stdin is closed")
        return 2
    _tell("error", "interrupted")
    return _INTERRUPTED


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Show unitrack's warnings as one line without the source that raised them."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
            if issubclass(category, UnitrackWarning):
                _tell("warning", str(message))
            else:
                shown(message, category, *rest, **named)

        warnings.showwarning = show
        yield
