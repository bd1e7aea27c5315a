"""One job of a workflow on a machine of its own: `action_runner` says what is real of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from action_expressions import evaluate, interpolate, is_true, text_of
from action_standins import STANDINS, StandinError
from as_action import AS_ACTION

if TYPE_CHECKING:
    from action_runner import ActionRunner, WorkflowRun

__all__ = ["Event", "JobRun", "Machine", "RunnerError", "StepRun", "condition_of", "inputs_of", "never", "read_pairs"]

_STEP_SECONDS = 300
_SUMMARY_BYTES = 1 << 20
_COMMAND = re.compile(r"^::(?P<name>[a-z-]+)(?: (?P<properties>.*?))?::(?P<data>.*)$")
_SHOWN = ("error", "warning", "notice")
_STATUS = re.compile(r"\b(success|failure|always|cancelled)\(\)")
_STEP_KEYS = {"name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory", "continue-on-error"}
_SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"], None: ["bash", "-e"]}
_PASSED = ("LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "PIP_NO_INDEX", "PIP_FIND_LINKS")


@dataclass(kw_only=True)
class Event:
    """What started a workflow; `stranger` says that the token may only read."""

    name: str
    payload: dict[str, Any]
    sha: str
    ref: str
    head_ref: str = ""
    base_ref: str = ""
    stranger: bool = False


@dataclass(kw_only=True)
class StepRun:
    conclusion: str
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""


@dataclass(kw_only=True)
class JobRun:
    """`steps` are those of the job itself by id; `ran` are all that ran, those of our actions too, in order."""

    conclusion: str = "success"
    steps: dict[str, StepRun] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    log: str = ""
    summary: str = ""
    annotations: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    workspace: Path = Path()


class RunnerError(Exception):
    """A workflow that this runner does not understand."""


class Machine:
    """One job on a machine of its own."""

    def __init__(
        self,
        runner: ActionRunner,
        run: WorkflowRun,
        name: str,
        job: dict[str, Any],
        contexts: dict[str, Any],
        permissions: Any,
    ) -> None:
        self.runner, self._name, self._job, self._contexts = runner, name, job, contexts
        self.run_id, self.event = run.id, run.event
        self.folder = runner.folder / f"run-{run.id}" / re.sub(r"\W+", "-", name)
        self.done = JobRun(workspace=self.folder / "work")
        for each in ("work", "temp", "home", "files"):
            (self.folder / each).mkdir(parents=True)
        token = runner.hub.token(permissions=_granted(permissions, stranger=run.event.stranger))
        self._masks = [token]
        self._contexts["github"].update(token=token, workspace=str(self.done.workspace), job=name)
        self._contexts["runner"] = {"temp": str(self.folder / "temp"), "os": "Linux"}
        self._environ = {**self._first_environ(), **_texts(job.get("env", {}), self._contexts, {})}
        self._files = 0

    def _first_environ(self) -> dict[str, str]:
        github, event = self._contexts["github"], self.event
        (self.folder / "event.json").write_text(json.dumps(event.payload))
        named = {key.upper(): text_of(value) for key, value in github.items() if key not in ("event", "token")}
        return {
            **{name: os.environ[name] for name in _PASSED if name in os.environ},
            **{name: value for name, value in os.environ.items() if name.startswith("GIT_CONFIG")},
            **AS_ACTION,
            **self.runner.variables,
            **{f"GITHUB_{key}": value for key, value in named.items()},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.folder / "home"),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
            "RUNNER_TEMP": self._contexts["runner"]["temp"],
            "RUNNER_OS": "Linux",
        }

    def run(self) -> JobRun:
        failed, steps = self._steps(self._job["steps"], self._contexts, self._environ, self.done.workspace, "")
        self.done.steps = steps
        self.done.conclusion = "failure" if failed else "success"
        contexts = {**self._contexts, "steps": _step_context(steps)}
        self.done.outputs = _texts(self._job.get("outputs", {}), contexts, {})
        return self.done

    def _steps(
        self, steps: list[dict[str, Any]], contexts: dict[str, Any], environ: dict[str, str], at: Path, within: str
    ) -> tuple[bool, dict[str, StepRun]]:
        """Run the steps of a job or of one of our actions; return whether one failed, and those with an id."""
        done: dict[str, StepRun] = {}
        failed = False
        for number, step in enumerate(steps):
            if unknown := set(step) - _STEP_KEYS:
                raise RunnerError(f"a step has {sorted(unknown)}, which is not understood")
            state = failed
            functions = {
                "success": lambda: not state, "failure": lambda: state, "always": lambda: True, "cancelled": never,  # noqa: B023
            }  # fmt: skip
            here = {**contexts, "steps": _step_context(done), "env": environ}
            name = within + str(step.get("id") or step.get("uses") or step.get("name") or number)
            if not is_true(evaluate(condition_of(step.get("if")), here, functions)):
                result = StepRun(conclusion="skipped")
            else:
                self.done.ran.append(name)
                result = self._step(step, here, functions, environ, at, name)
            if "id" in step:
                done[step["id"]] = result
            tolerated = is_true(evaluate(text_of(step.get("continue-on-error", False)), here, functions))
            failed = failed or (result.conclusion == "failure" and not tolerated)
        return failed, done

    def _step(
        self,
        step: dict[str, Any],
        contexts: dict[str, Any],
        functions: dict[str, Any],
        environ: dict[str, str],
        at: Path,
        name: str,
    ) -> StepRun:
        added = _texts(step.get("env", {}), contexts, functions)
        if "run" in step:
            if self.runner.prepared and step.get("id") == "install" and "actions/install.sh" in step["run"]:
                return StepRun(conclusion="success", outputs={"python": sys.executable})
            folder = at / interpolate(step.get("working-directory", ""), contexts, functions)
            script = interpolate(step["run"], contexts, functions)
            return self._script(script, step.get("shell"), {**environ, **added}, folder, name, environ)
        given = _texts(step.get("with", {}), contexts, functions)
        action = self.runner.action(step["uses"], self)
        if action is not None:
            return self._composite(action, given, contexts, functions, {**environ, **added}, at, name)
        return self._standin(step["uses"], given, name)

    def _standin(self, uses: str, given: dict[str, str], name: str) -> StepRun:
        found = re.fullmatch(r"([\w/-]+)@[0-9a-f]{40}", uses)
        if found is None or found[1] not in STANDINS:
            raise RunnerError(f"uses: {uses} is not pinned by a full SHA, or has no stand-in")
        self._log(f"> {name} (stand-in)")
        try:
            outputs = STANDINS[found[1]](self, given)
        except StandinError as error:
            self._log(f"Error: {error}")
            return StepRun(conclusion="failure")
        return StepRun(conclusion="success", outputs=outputs or {})

    def _composite(
        self,
        action: Path,
        given: dict[str, str],
        contexts: dict[str, Any],
        functions: dict[str, Any],
        environ: dict[str, str],
        at: Path,
        name: str,
    ) -> StepRun:
        tree = yaml.safe_load((action / "action.yml").read_text(encoding="utf-8"))
        if tree["runs"]["using"] != "composite":
            raise RunnerError(f"{action} is no composite action")
        github = {**contexts["github"], "action_path": str(action)}
        outer = {"github": github, "runner": contexts["runner"]}
        inner = {**outer, "inputs": inputs_of(tree.get("inputs", {}), given, outer, functions, name)}
        failed, steps = self._steps(tree["runs"]["steps"], inner, environ, at, f"{name}/")
        outputs = {
            key: interpolate(value["value"], {**inner, "steps": _step_context(steps)}, functions)
            for key, value in tree.get("outputs", {}).items()
        }
        return StepRun(conclusion="failure" if failed else "success", outputs=outputs)

    def _script(
        self, script: str, shell: str | None, environ: dict[str, str], folder: Path, name: str, kept: dict[str, str]
    ) -> StepRun:
        self._files += 1
        files = {
            key: self.folder / "files" / f"{key}-{self._files}" for key in ("OUTPUT", "ENV", "PATH", "STEP_SUMMARY")
        }
        for path in files.values():
            path.touch()
        source = self.folder / "files" / f"script-{self._files}.sh"
        source.write_text(script)
        self._log(f"> {name}")
        code, text = self._run(
            [*_SHELLS[shell], str(source)], {**environ, **{f"GITHUB_{k}": str(v) for k, v in files.items()}}, folder
        )
        outputs = read_pairs(files["OUTPUT"].read_text())
        kept.update(read_pairs(files["ENV"].read_text()))
        added = files["PATH"].read_text().split("\n")
        kept["PATH"] = os.pathsep.join([*reversed([one for one in added if one]), kept["PATH"]])
        summary = files["STEP_SUMMARY"].read_bytes()
        if len(summary) <= _SUMMARY_BYTES:  # a longer one is refused whole
            self.done.summary += self._masked(summary.decode())
        return StepRun(conclusion="success" if code == 0 else "failure", outputs=outputs, log=text)

    def _run(self, command: list[str], environ: dict[str, str], folder: Path) -> tuple[int, str]:
        stopped, lines = "", []
        with subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for raw in process.stdout:
                line = raw.rstrip("\n")
                stopped = self._obey(line, stopped)
                lines.append(self._masked(line))
                self._log(line)
            return process.wait(_STEP_SECONDS), "\n".join(lines)

    def _obey(self, line: str, stopped: str) -> str:
        """Carry out a workflow command; return the word that ends a pause in which none is carried out."""
        if stopped:
            return "" if line == f"::{stopped}::" else stopped
        found = _COMMAND.match(line)
        if found is None:
            return ""
        properties = dict(part.split("=", 1) for part in (found["properties"] or "").split(",") if part)
        data = _unescaped(found["data"])
        if found["name"] == "stop-commands":
            return data
        if found["name"] == "add-mask":
            self._masks.append(data)
        elif found["name"] in _SHOWN:
            self.done.annotations.append((found["name"], {k: _unescaped(v) for k, v in properties.items()}, data))
        elif found["name"] not in ("group", "endgroup", "debug"):
            raise RunnerError(f"the workflow command {found['name']} is obsolete or unknown")
        return ""

    def _masked(self, text: str) -> str:
        for secret in self._masks:
            text = text.replace(secret, "***")
        return text

    def _log(self, line: str) -> None:
        self.done.log += self._masked(line) + "\n"
        self.runner.show(self._masked(line))


def read_pairs(text: str) -> dict[str, str]:
    """Read `name=value` and `name<<DELIMITER` as the runner does."""
    found: dict[str, str] = {}
    lines: Iterator[str] = iter(text.splitlines())
    for line in lines:
        name, sign, rest = re.match(r"(.*?)(=|<<|$)(.*)", line).groups()  # type: ignore[union-attr]
        if sign == "=":
            found[name] = rest
        elif sign == "<<":
            value = []
            for inner in lines:
                if inner == rest:
                    break
                value.append(inner)
            else:
                raise RunnerError(f"the output {name} has no end")
            found[name] = "\n".join(value)
        elif line.strip():
            raise RunnerError(f"{line!r} is no output")
    return found


def inputs_of(
    declared: Mapping[str, Any],
    given: Mapping[str, Any],
    contexts: dict[str, Any],
    functions: dict[str, Any],
    name: str,
) -> dict[str, Any]:
    unknown = set(given) - set(declared)
    if unknown:
        raise RunnerError(f"{name} has no inputs {sorted(unknown)}")
    made = {}
    for key, one in declared.items():
        if one.get("required") and key not in given:
            raise RunnerError(f"{name} needs the input {key}")
        value = given.get(key, one.get("default", ""))
        made[key] = interpolate(value, contexts, functions) if isinstance(value, str) else value
    return made


def _granted(asked: Any, *, stranger: bool) -> dict[str, str]:
    """Return what a token may do; a stranger's pull request gets no more than to read."""
    if not isinstance(asked, dict):
        raise RunnerError(f"permissions: {asked!r}: name them one by one")
    return {key: "read" if stranger else level for key, level in asked.items()}


def _texts(values: Mapping[str, Any], contexts: Mapping[str, Any], functions: dict[str, Any]) -> dict[str, str]:
    return {key: interpolate(text_of(value), contexts, functions) for key, value in values.items()}


def condition_of(text: Any) -> str:
    """Return a step's condition; without a function of the state it also asks for success()."""
    if text is None:
        return "success()"
    inner = re.sub(r"^\$\{\{(.*)\}\}$", r"\1", str(text).strip(), flags=re.DOTALL)
    return inner if _STATUS.search(inner) else f"success() && ({inner})"


def _step_context(steps: Mapping[str, StepRun]) -> dict[str, Any]:
    return {name: {"outputs": one.outputs, "conclusion": one.conclusion} for name, one in steps.items()}


def _unescaped(text: str) -> str:
    for code, sign in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def never() -> bool:
    return False
