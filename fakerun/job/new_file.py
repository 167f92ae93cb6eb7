"""The text of a job file that does not exist yet, with comments: a first one, or one of jobs from another launcher's files."""

import re
from collections.abc import Iterator, Sequence
from math import inf
from textwrap import indent, wrap

import yaml

from fakerun.hardware.catalogue import DEFAULT_HARDWARE
from fakerun.job.check_file import VERSION
from fakerun.job.file_schema import ID
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.launcher import DEFAULT_LAUNCHER
from fakerun.printable import printable

PLACEHOLDER = "train.py"
"""The script of a job that names none."""

_WIDTH = 110
_MOST_IN_A_LINE = 3
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")

_HEAD = f"""\
# yaml-language-server: $schema={ID}
#
"""

_FIRST = """\
# Jobs that fakerun runs without a GPU: `fakerun check` runs all of them,
# `fakerun check train` this one.
version: {version}

jobs:
  train:
    # The training script, from the directory of this file; or a module,
    # `module: package.train`, as with `python -m`. `args` are its arguments.
    script: {script}
    # args: [--lr, 3e-4]
    # env: {{OMP_NUM_THREADS: 1}}

    # What it runs on: nodes, GPUs of each, and which. `mesh` names the axes
    # of the script's device mesh.
    nnodes: 1
    nproc_per_node: 8
    # mesh: {{dp: 4, tp: 2}}
    hardware: {hardware}

    # Optimizer steps to run: the first one creates lazy state, the second one
    # is like all that follow.
    steps: 2
    # Ranks to simulate: `all`, numbers (`0,4-7`), or `auto` to choose those
    # that differ.
    ranks: auto

    # Limits, beside those that every job keeps: it fits, and its ranks agree.
    # budgets:
    #   headroom: 5GiB
    #   communication: {{inter_node: {{calls: 0}}}}
"""


def first_file(script: str) -> str:
    """A job file that runs a script on one node of 8 GPUs."""
    return _HEAD + _FIRST.format(version=VERSION, script=_scalar(script), hardware=DEFAULT_HARDWARE)


def imported_file(jobs: Sequence[ImportedJob], origin: str) -> str:
    """A job file of these jobs, each with its notes as comments. `origin` is what they were imported from.

    Raises:
        ValueError: a job has no script and no module, or no `nproc_per_node`.
    """
    head = "".join(_comment(f"Jobs from {origin}. Lines in comments are lines of that file."))
    return f"{_HEAD}{head}version: {VERSION}\n\njobs:\n" + "\n".join(_job(job) for job in jobs)


def _job(job: ImportedJob) -> str:
    if (job.script is None) == (job.module is None) or job.nproc_per_node is None:
        raise ValueError(f"job {job.name} is not complete")
    notes = "".join(line for note in job.notes for line in _comment(f"Line {note.line}: {note.text}"))
    return indent(f"{_scalar(job.name)}:\n" + indent(notes + "".join(_entries(job)), "  "), "  ")


def _entries(job: ImportedJob) -> Iterator[str]:
    yield _entry("script", job.script) if job.script is not None else _entry("module", job.module)
    if job.args:
        yield _entry("args", list(job.args))
    if job.env:
        yield _entry("env", dict(job.env))
    if job.workdir is not None:
        yield _entry("workdir", job.workdir)
    yield f"nnodes: {job.nnodes}\nnproc_per_node: {job.nproc_per_node}\n"
    if job.mesh:
        yield _entry("mesh", dict(job.mesh))
    if job.hardware is not None:
        yield _entry("hardware", job.hardware)
    if job.launcher != DEFAULT_LAUNCHER:
        yield _entry("launcher", str(job.launcher))


class _Dumper(yaml.SafeDumper):
    """Writes text that is a plain number without quotes: arguments are passed on as they are written."""


def _represented(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if _NUMBER.fullmatch(text):
        return dumper.represent_scalar(f"tag:yaml.org,2002:{'float' if '.' in text else 'int'}", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text)


_Dumper.add_representer(str, _represented)


def _entry(key: str, value: object) -> str:
    if isinstance(value, str):
        return f"{key}: {_scalar(value)}\n"
    is_long = isinstance(value, dict) and len(value) > _MOST_IN_A_LINE
    text = str(yaml.dump(value, Dumper=_Dumper, default_flow_style=not is_long, sort_keys=False, width=_WIDTH, allow_unicode=True))
    return f"{key}:\n{indent(text, '  ')}" if is_long else f"{key}: {indent(text, '  ').lstrip()}"


def _scalar(text: str) -> str:
    """Text as a value in a line that is text."""
    return str(yaml.safe_dump([text], default_flow_style=True, width=inf, allow_unicode=True)).strip().removeprefix("[").removesuffix("]")


def _comment(text: str) -> Iterator[str]:
    """Lines of a comment: nothing of the text can end it."""
    plain = " ".join(printable(text).split())
    for number, line in enumerate(wrap(plain, _WIDTH, break_long_words=False, break_on_hyphens=False)):
        yield f"# {line}\n" if number == 0 else f"#   {line}\n"
