"""Shows on a terminal what a pull request shows on GitHub: the job's log as it goes on, comment, check run, summary."""

import re
import sys

from rich.console import Console, Group
from rich.markdown import Markdown
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

screen = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

BARS = "▁▂▃▄▅▆▇█"
DETAILS = re.compile(r"<details><summary>(.*?)</summary>.*?</details>", re.DOTALL)
CHART = re.compile(r"```mermaid\n.*?\n    title \"(.*?)\".*?```", re.DOTALL)
DIGEST = re.compile(r"sha256:([0-9a-f]{12})[0-9a-f]{52}")
TOLD = re.compile(
    r"\[\d+/\d+\] |after \d+ pair|PASS |FAIL |UNDECIDED |unitrack: "
    r"|\w+: done: |attestation: |release note: |\w+:\d+ is "
)
COLORS = {"success": "green", "failure": "red", "PASS": "green", "FAIL": "red"}


class JobLog:
    """Takes each line of a job's log: all go into a file, those that tell how it goes on to the screen."""

    def __init__(self, path):
        self.path = path
        path.write_text("")

    def __call__(self, line):
        with self.path.open("a") as file:
            file.write(line + "\n")
        if line.startswith("> "):
            name = re.sub(r"@[0-9a-f]{40}", "", line[2:]).replace(" (stand-in)", ", by a stand-in")
            screen.print(f"  step {name}", style="bold", markup=False)
        elif TOLD.match(line):
            word = line.split(" ", 1)[0]
            style = COLORS.get(word, "dim")
            screen.print(f"    {line}", style=style, markup=False, no_wrap=True, overflow="ellipsis")


def heading(text):
    screen.print()
    screen.rule(f"[bold]{escape(text)}[/bold]", align="left")


def show_comment(comment, number):
    text = "\n".join(line for line in comment["body"].splitlines() if not line.startswith("<!--"))
    title = f"comment by {comment['user']['login']} on pull request #{number}"
    screen.print(_panel(title, _folded(text)))


def show_check(check):
    """Show a check run and its remarks at lines of files."""
    color = COLORS.get(check["conclusion"], "yellow")
    parts = [Text(f"{check['conclusion']}: {check['title']}", style=f"bold {color}")]
    for one in check["annotations"]:
        parts.append(Text(f"\n{one['path']}, line {one['start_line']}: {one['title']}", style="bold"))
        parts.append(Text(_short(one["message"])))
    screen.print(_panel(f"check run {check['name']}", Group(*parts)))


def show_summary(text, path):
    """Show how a job summary begins, and its charts as rows of bars; the rest is as in the comment."""
    charts = [f"- {title}: {_bars(block)}" for block, title in ((found[0], found[1]) for found in CHART.finditer(text))]
    begin = "\n".join(text.splitlines()[:3])
    rest = "*The table and all else is as in the comment; the charts are drawn on the page.*"
    screen.print(_panel("job summary", Markdown("\n\n".join([begin, "\n".join(charts), rest]))))
    screen.print(f"  whole summary: {path}", style="dim", markup=False)


def _bars(chart):
    """Draw the lines of a chart, baseline and candidate, on one scale."""
    lines = [[float(value) for value in found.split(", ")] for found in re.findall(r"^    line \[(.*?)\]", chart, re.M)]
    low = min(min(line) for line in lines)
    span = max(max(line) for line in lines) - low or 1.0
    drawn = ["".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in line) for line in lines]
    return ", ".join(f"{side} `{bars}`" for side, bars in zip(("baseline", "candidate"), drawn, strict=True))


def _folded(text):
    """Show a report as a page does at first: details are one line each."""
    text = re.sub(r"</?sub>", "", DETAILS.sub(r"▸ *\1*", text))
    text = re.sub(r"(▸ .*)\n\n(?=▸ )", r"\1 · ", text)
    return Markdown(_short(text))


def _short(text):
    return DIGEST.sub(r"sha256:\1…", text)


def _panel(title, what):
    return Panel(what, title=escape(title), title_align="left", padding=(0, 2), border_style="dim")
