"""The programs of published runs: commits of the repositories that have them, and their runs under fakerun.

Fetches nothing: of a clone it takes the files of a commit.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakerun.launch.run_directory import find_run_directory
from fakerun.records.run import RunRecord

REPOSITORY = Path(__file__).resolve().parents[2]
TORCHTITAN_ON_ZEROS = Path(__file__).with_name("torchtitan_on_zeros.py")
TORCHTITAN_PARTS = ("torchtitan", "train.py", "train_configs")
"""What a run needs; the rest of a commit is documents and tests."""


class Clone:
    """Commits of a git repository, extracted once each."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        self.repository, self.scratch = repository.resolve(), scratch

    def checkout(self, commit: str, parts: Sequence[str]) -> Path:
        """Those of the files and directories that the commit has, in a directory of their own."""
        directory = self.scratch / commit
        if not directory.exists():
            directory.mkdir()
            names = self._git("ls-tree", "--name-only", commit, *parts).decode().split()
            archive = self._git("archive", commit, *names)
            subprocess.run(["tar", "-x", "-C", str(directory)], input=archive, check=True)
        return directory

    def _git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", "-C", str(self.repository), *arguments], check=True, capture_output=True).stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A script of this repository and its arguments."""

    script: Path
    arguments: Sequence[str]


def torchtitan_program(clone: Clone, name: str, run: Mapping[str, Any], options: Sequence[str] = ()) -> Program:
    """Torchtitan as `run` has it: its commit, its config file and changes to that; the config file is written under this name."""
    checkout = clone.checkout(run["commit"], TORCHTITAN_PARTS)
    tables = tomllib.loads((checkout / run["config"]).read_text(encoding="utf-8"))
    for key, value in run.get("changes", {}).items():
        table, _, field = key.partition(".")
        tables.setdefault(table, {})[field] = value
    path = clone.scratch / f"{name}.toml"
    path.write_text("".join(_toml(tables)), encoding="utf-8")
    return Program(script=TORCHTITAN_ON_ZEROS, arguments=[*options, str(checkout), "--job.config_file", str(path)])


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Tables of numbers, texts, switches and lists of texts: all that torchtitan's config files have."""
    for table, values in tables.items():
        yield f"[{table}]\n"
        for name, value in values.items():
            text = str(value).lower() if isinstance(value, bool) else repr(value)
            yield f"{name} = {text}\n"


def simulate(program: Program, directory: Path, options: Sequence[str], steps: int, packages: Sequence[str] = ()) -> RunRecord:
    """The records of a run of the program with these options of fakerun; those of the directory, if a run is there already.

    `packages` are directories from which the program imports, too.

    Raises:
        RuntimeError: a rank failed, or took fewer steps; the message has what the command printed last.
    """
    printed = ""
    if not directory.exists():
        command = [sys.executable, "-m", "fakerun", str(program.script), *options]
        command += ["--steps", str(steps), "--run-dir", str(directory), "-q", "--", *program.arguments]
        paths = [*map(os.path.abspath, packages), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
        printed = done.stdout[-3000:] + done.stderr[-3000:]
    found = find_run_directory(directory)
    run = found.read_run(found.read_job())
    if not run.ranks or any(rank.failure is not None or rank.steps < steps for rank in run.ranks):
        raise RuntimeError(f"{program.script.name} did not take {steps} steps; the run is in {directory}\n{printed}")
    return run
