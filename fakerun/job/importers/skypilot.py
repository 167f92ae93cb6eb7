"""A task of SkyPilot (docs.skypilot.co, "SkyPilot YAML"): its resources, its variables, and the commands of `run`."""

from collections.abc import Sequence

import yaml

from fakerun.job.importers.foreign_yaml import YamlPart, documents_of
from fakerun.job.importers.gpu_names import skypilot_gpu, unclear_gpu
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.launches import Placement, ScriptSetting, jobs_of_script, named_apart
from fakerun.job.importers.source import Note, Source
from fakerun.units import is_count

_READ = frozenset({"name", "num_nodes", "resources", "envs", "secrets", "run", "workdir"})
_CHOICES = ("any_of", "ordered")


def skypilot_jobs(source: Source) -> tuple[ImportedJob, ...]:
    """The jobs of a task, or of the tasks of a pipeline.

    Raises:
        UsageError: no task starts ranks, or one cannot be carried over.
    """
    tasks = [document for document in documents_of(source) if document["run"]]
    if not tasks:
        raise source.refusal(1, "no task has run, the commands that start the ranks; add it")
    return named_apart(job for task in tasks for job in _jobs_of(task))


def _jobs_of(task: YamlPart) -> tuple[ImportedJob, ...]:
    source, run = task.source, task["run"]
    text = run.text()
    if text is None:
        raise source.refusal(run.line, "run: must be text, the commands that each node runs")
    nnodes = _count(task["num_nodes"]) if task["num_nodes"] else 1
    gpu, gpus, gpu_notes = _accelerators(task["resources"])
    variables, env_notes = _variables(task)
    lines = {name: task["envs"][name].line for name in variables}
    known = {"SKYPILOT_NUM_NODES": str(nnodes), **({"SKYPILOT_NUM_GPUS_PER_NODE": str(gpus)} if gpus else {}), **variables}
    setting = ScriptSetting(
        place=lambda _launch: Placement(nnodes=nnodes),
        name=task["name"].text(),
        variables=known,
        exported=lines,
        gpus_per_node=gpus,
        hardware=gpu,
        directory=task["workdir"].text() or "",
        notes=(*gpu_notes, *env_notes, *_others(task)),
    )
    return jobs_of_script(source, text, setting, first_line=_first_line(run))


def _first_line(run: YamlPart) -> int:
    """The line of the first command: that behind the `|` of a block."""
    is_block = isinstance(run.node, yaml.ScalarNode) and run.node.style in ("|", ">")
    return run.line + 1 if is_block else run.line


def _count(part: YamlPart) -> int:
    text = part.text() or ""
    if not is_count(text) or int(text) < 1:
        raise part.source.refusal(part.line, f"{part.path}: {text!r} is not a number above 0; write one")
    return int(text)


def _accelerators(resources: YamlPart) -> tuple[str | None, int | None, tuple[Note, ...]]:
    """The accelerator, how many a node has, and notes. Where SkyPilot may choose, only what all choices agree in."""
    parts = [resources["accelerators"]] if resources["accelerators"] else []
    parts += [choice["accelerators"] for key in _CHOICES for choice in resources[key].items() if choice["accelerators"]]
    named = [(name, count, part) for part in parts for name, count in _named(part)]
    if not named:
        return None, None, ()
    gpus, counts = {skypilot_gpu(name) for name, _, _ in named}, {count for _, count, _ in named}
    line, path = named[0][2].line, named[0][2].path
    gpu = next(iter(gpus)) if len(gpus) == 1 else None
    count = next(iter(counts)) if len(counts) == 1 else None
    notes = []
    if gpu is None:
        written = " or ".join(dict.fromkeys(name for name, _, _ in named))
        notes.append(Note(line=line, text=unclear_gpu(written, path, sorted(filter(None, gpus)))))
    if count is None:
        notes.append(Note(line=line, text=f"{path}: SkyPilot may choose nodes with {', '.join(map(str, sorted(counts)))} GPUs"))
    return gpu, count, tuple(notes)


def _named(part: YamlPart) -> Sequence[tuple[str, int]]:
    """`H100:8`, `H100`, `{H100: 8}`, `[H100:8, A100:8]`, `{H100:8, A100:8}` (a set)."""
    if part.is_list:
        return [each for item in part.items() for each in _named(item)]
    if part.is_mapping:
        return [(name, _count(part[name])) if part[name] else _name_and_count(part, name) for name in part.names()]
    return [_name_and_count(part, part.text() or "")]


def _name_and_count(part: YamlPart, text: str) -> tuple[str, int]:
    name, colon, count = text.partition(":")
    if colon and (not is_count(count) or int(count) < 1):
        raise part.source.refusal(part.line, f"{part.path}: {text!r}: {count!r} is not a number of GPUs; write NAME:NUMBER, as in H100:8")
    return name, int(count) if colon else 1


def _variables(task: YamlPart) -> tuple[dict[str, str], list[Note]]:
    variables, notes = {}, []
    for name in task["envs"].names():
        part = task["envs"][name]
        if part.text() is None:
            notes.append(Note(line=part.line, text=f"not carried over: {name}, whose value is given when the task is launched"))
        else:
            variables[name] = part.text() or ""
    if task["secrets"]:
        notes.append(Note(line=task["secrets"].line, text=f"not carried over: the secrets {', '.join(task['secrets'].names())}"))
    return variables, notes


def _others(task: YamlPart) -> Sequence[Note]:
    notes = []
    keys = [key for key in task.names() if key not in _READ and task[key]]
    if task["workdir"].is_mapping:
        keys.append("workdir")
    keys += [f"resources.{key}" for key in task["resources"].names() if key not in ("accelerators", *_CHOICES)]
    if keys:
        notes.append(
            Note(line=task[keys[0].partition(".")[0]].line, text=f"not carried over, because only the cloud needs it: {', '.join(keys)}")
        )
    return notes
