"""Runs the steps of `action.yml` as GitHub's runner does: their shell scripts, with what `${{ }}` stands for, and files for outputs.

Only what the action uses is understood: `inputs`, `github` and `steps` looked up by name, and conditions joined by `&&`. A program in the
place of `gh` keeps the comments of one pull request in a file.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.commands import REPOSITORY

EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")

GH = """#!{python}
import json, re, sys
from pathlib import Path
_, command, *words = sys.argv
assert command == "api", sys.argv
store = Path({store!r})
comments = json.loads(store.read_text()) if store.exists() else []
options = dict(zip(words[1::2], words[2::2])) if words[0] != "--paginate" else {{}}
if words[0] == "--paginate":
    _, path, _, query = words
    assert path == "repos/someone/project/issues/7/comments", path
    marker = re.search(r'startswith\\("(.*)"\\)', query)[1]
    print("\\n".join(str(each["id"]) for each in comments if each["body"].startswith(marker)))
else:
    _, method, path, _, given = words
    body = Path(given.removeprefix("body=@")).read_text()
    if method == "POST":
        assert path == "repos/someone/project/issues/7/comments", path
        comments.append({{"id": 100 + len(comments), "body": body}})
    else:
        (changed,) = (each for each in comments if path == f"repos/someone/project/issues/comments/{{each['id']}}")
        changed["body"] = body
    store.write_text(json.dumps(comments))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRun:
    """What a run of the action left: the log of its steps, the exit code of the first that failed, the summary, and its outputs."""

    log: str
    exit_code: int
    summary: str
    outputs: dict[str, str]


@dataclass(slots=True, kw_only=True)
class Runner:
    """A runner whose temporary files and programs are in `directory`, and which knows one pull request."""

    directory: Path
    github: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.github |= {"repository": "someone/project", "token": "secret", "event": {"pull_request": {"number": 7}}}
        programs = self.directory / "bin"
        programs.mkdir(parents=True)
        self._program("gh", GH.format(python=sys.executable, store=str(self.directory / "comments.json")))
        self._program("fakerun", f'#!/bin/sh\nexec {sys.executable} -m fakerun "$@"\n')

    def _program(self, name: str, text: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    @property
    def comments(self) -> list[str]:
        """The bodies of the comments on the pull request."""
        store = self.directory / "comments.json"
        return [each["body"] for each in json.loads(store.read_text())] if store.exists() else []

    def run(self, workspace: Path, **given: str) -> ActionRun:
        """Run the action in a workspace, with these inputs; the installation is left out."""
        action = yaml.safe_load((REPOSITORY / "action.yml").read_text())
        known: dict[str, Any] = {
            "github": self.github,
            "inputs": {name: self._text(each.get("default", ""), {"github": self.github}) for name, each in action["inputs"].items()},
            "steps": {},
        }
        known["inputs"] |= {name.replace("_", "-"): value for name, value in given.items()}
        log, code, summary = "", 0, self.directory / "summary.md"
        summary.write_text("")
        for step in action["runs"]["steps"]:
            if step["name"] == "Install fakerun" or code or not self._holds(step.get("if", "true"), known):
                continue
            output = self.directory / "output"
            output.write_text("")
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", self._text(step["run"], known)],
                cwd=workspace / self._text(step.get("working-directory", "."), known),
                env={
                    **os.environ,
                    "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
                    "PYTHONPATH": str(REPOSITORY),
                    "GITHUB_ACTIONS": "true",
                    "GITHUB_ACTION_PATH": str(REPOSITORY),
                    "GITHUB_WORKSPACE": str(workspace),
                    "GITHUB_STEP_SUMMARY": str(summary),
                    "GITHUB_OUTPUT": str(output),
                    "RUNNER_TEMP": str(self.directory),
                    **{name: self._text(value, known) for name, value in step.get("env", {}).items()},
                },
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            log += done.stdout + done.stderr
            code = done.returncode
            if "id" in step:
                known["steps"][step["id"]] = {"outputs": dict(line.split("=", 1) for line in output.read_text().splitlines())}
        outputs = {name: self._text(each["value"], known) for name, each in action["outputs"].items()}
        return ActionRun(log=log, exit_code=code, summary=summary.read_text(), outputs=outputs)

    def _text(self, text: str, known: dict[str, Any]) -> str:
        return EXPRESSION.sub(lambda match: str(_looked_up(match[1], known)), text)

    def _holds(self, condition: str, known: dict[str, Any]) -> bool:
        expression = EXPRESSION.fullmatch(condition)
        return all(_is_true(part.strip(), known) for part in (expression[1] if expression else condition).split("&&"))


def _is_true(part: str, known: dict[str, Any]) -> bool:
    left, equals, right = part.partition(" == ")
    value = _looked_up(left, known)
    return value == right.strip("'") if equals else bool(value)


def _looked_up(name: str, known: dict[str, Any]) -> Any:
    """A value by its dotted name; what is not there is empty."""
    if name == "true":
        return True
    value: Any = known
    for part in name.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value
