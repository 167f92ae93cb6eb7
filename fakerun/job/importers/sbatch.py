"""A batch script of Slurm: its `#SBATCH` options, and the commands that srun or torchrun starts (sbatch(1) and srun(1) of Slurm 25)."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fakerun.job.importers.gpu_names import candidate_gpus, cluster_gpu, unclear_gpu
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.launch_command import Launch
from fakerun.job.importers.launches import Placement, ScriptSetting, jobs_of_script
from fakerun.job.importers.shell import ExpandedWord
from fakerun.job.importers.source import Note, Source
from fakerun.job.launcher import Launcher
from fakerun.units import is_count

_SHORT = {
    "N": "nodes",
    "n": "ntasks",
    "G": "gpus",
    "C": "constraint",
    "J": "job-name",
    "D": "chdir",
    "c": "cpus-per-task",
    "p": "partition",
}
_READ = frozenset(
    {"nodes", "ntasks", "ntasks-per-node", "gres", "gpus", "gpus-per-node", "gpus-per-task", "constraint", "job-name", "chdir"}
)
_FLAGS = frozenset(
    {"exclusive", "requeue", "no-requeue", "overcommit", "hold", "wait", "parsable", "contiguous", "oversubscribe", "spread-job"}
)
_GPUS = re.compile(r"(?:gres/)?(?:gpu:)?(?:(?P<type>[A-Za-z][\w.-]*)(?::|=|$))?(?P<count>[0-9]+)?(\(.*\))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    value: str
    line: int
    spelled: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gpus:
    """What one of the options about GPUs says: how many for `per` (`node`, `task`, `job`), and of which type."""

    count: int
    per: str
    type: str | None
    option: _Option


@dataclass(frozen=True, slots=True, kw_only=True)
class _Allocation:
    """The options of the script, or of srun with those of the script below."""

    source: Source
    options: Mapping[str, _Option] = field(default_factory=dict)

    def number(self, name: str) -> int | None:
        """`--nodes=4`; of `2-4` the larger one."""
        option = self.options.get(name)
        if option is None:
            return None
        last = option.value.rpartition("-")[2] if name == "nodes" else option.value
        if not is_count(last) or int(last) < 1:
            raise self.source.refusal(option.line, f"{option.spelled} {option.value}: not a number above 0; write one")
        return int(last)

    def gpus(self) -> _Gpus | None:
        for name, per in (("gpus-per-node", "node"), ("gres", "node"), ("gpus-per-task", "task"), ("gpus", "job")):
            option = self.options.get(name)
            found = None if option is None else next((each for each in option.value.split(",") if name != "gres" or "gpu" in each), None)
            if option is not None and found is not None and (match := _GPUS.fullmatch(found)) is not None:
                type_ = None if match["type"] in (None, "gpu") else match["type"]
                return _Gpus(count=int(match["count"] or 1), per=per, type=type_, option=option)
        return None

    def nodes(self) -> int | None:
        """The number of nodes, if it is given or follows."""
        nodes, tasks, per_node = self.number("nodes"), self.number("ntasks"), self.number("ntasks-per-node")
        return nodes if nodes or not (tasks and per_node) else -(-tasks // per_node)

    def gpus_per_node(self) -> int | None:
        gpus, nodes = self.gpus(), self.nodes() or 1
        if gpus is None:
            return None
        tasks = self.number("ntasks-per-node") or max(1, (self.number("ntasks") or nodes) // nodes)
        return {"node": gpus.count, "task": gpus.count * tasks, "job": max(1, gpus.count // nodes)}[gpus.per]


def sbatch_jobs(source: Source) -> tuple[ImportedJob, ...]:
    """The jobs of the script: one for each command that starts ranks.

    Raises:
        UsageError: it starts none, or one that cannot be carried over.
    """
    allocation = _Allocation(source=source, options=dict(_directives(source)))
    hardware, notes = _hardware(allocation)
    options = allocation.options
    setting = ScriptSetting(
        place=lambda launch: _placement(allocation, launch),
        name=options["job-name"].value if "job-name" in options else None,
        variables=_variables(allocation),
        gpus_per_node=allocation.gpus_per_node(),
        hardware=hardware,
        directory=options["chdir"].value if "chdir" in options else "",
        notes=(*notes, *_not_carried(allocation)),
    )
    return jobs_of_script(source, source.text, setting)


def _directives(source: Source) -> Iterator[tuple[str, _Option]]:
    """The options before the first command, by their long names; of a repeated one the last counts."""
    for number, line in enumerate(source.text.split("\n"), 1):
        if line.startswith("#SBATCH"):
            try:
                words = shlex.split(line.removeprefix("#SBATCH"), comments=True)
            except ValueError as error:
                raise source.refusal(number, f"the quotes of the #SBATCH line are not closed: {error}") from error
            yield from _options(words, number)
        elif line.strip() and not line.lstrip().startswith("#"):
            return


def _options(words: Sequence[str], line: int) -> Iterator[tuple[str, _Option]]:
    """Options as sbatch and srun take them: `-N 4`, `-N4`, `--nodes=4`, `--nodes 4`. Words that are none are skipped."""
    index = 0
    while index < len(words):
        word, index = words[index], index + 1
        following = words[index] if index < len(words) and not words[index].startswith("-") else None
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        elif word.startswith("-") and len(word) > 1:
            name, equals, value = _SHORT.get(word[1], word[1]), word[2:], word[2:].removeprefix("=")
        else:
            continue
        spelled = word.partition("=")[0] if word.startswith("--") else word[:2]
        if not equals and following is not None and name not in _FLAGS:
            value, index = following, index + 1
        yield name, _Option(value=value, line=line, spelled=spelled)


def _variables(allocation: _Allocation) -> dict[str, str]:
    """What Slurm sets for the script, as far as the options decide it (sbatch(1), "OUTPUT ENVIRONMENT VARIABLES")."""
    nodes, tasks, per_node = allocation.nodes(), allocation.number("ntasks"), allocation.number("ntasks-per-node")
    if tasks is None and nodes is not None:
        tasks = nodes * (per_node or 1)
    gpus = allocation.gpus_per_node()
    numbers = {
        **dict.fromkeys(("SLURM_NNODES", "SLURM_JOB_NUM_NODES"), nodes),
        **dict.fromkeys(("SLURM_NTASKS", "SLURM_NPROCS"), tasks),
        "SLURM_NTASKS_PER_NODE": per_node,
        **dict.fromkeys(("SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE"), gpus),
    }
    texts = {
        name: allocation.options[key].value
        for key, name in (("job-name", "SLURM_JOB_NAME"), ("cpus-per-task", "SLURM_CPUS_PER_TASK"))
        if key in allocation.options
    }
    texts["SLURM_SUBMIT_DIR"] = "."
    return {**{name: str(number) for name, number in numbers.items() if number is not None}, **texts}


def _placement(allocation: _Allocation, launch: Launch) -> Placement:
    """Where srun starts the command; without srun it runs on the first node alone."""
    srun = next((index for index, word in enumerate(launch.before) if word.text.rpartition("/")[2] == "srun"), None)
    if srun is None:
        return Placement()
    given = dict(_options([word.text for word in _known(launch.before[srun + 1 :])], launch.line))
    allocation = replace(allocation, options={**allocation.options, **given})
    nodes, tasks, per_node = allocation.nodes(), allocation.number("ntasks"), allocation.number("ntasks-per-node")
    notes = []
    if nodes is None:
        nodes = 1
        notes.append(Note(line=launch.line, text="the script does not say on how many nodes it runs: written as one"))
    if tasks is not None and tasks % nodes:
        option = allocation.options["ntasks"]
        raise allocation.source.refusal(
            option.line, f"{option.spelled} {tasks}: these do not fill {nodes} nodes evenly; change one of the numbers"
        )
    per_node = tasks // nodes if tasks is not None else per_node or 1
    if launch.by_python:
        return Placement(nnodes=nodes, tasks_per_node=per_node, launcher=Launcher.SLURM, notes=tuple(notes))
    if per_node > 1:
        text = f"srun starts the launcher {per_node} times on each node; one of them is written down"
        notes.append(Note(line=launch.line, text=text))
    return Placement(nnodes=nodes, notes=tuple(notes))


def _known(words: Sequence[ExpandedWord]) -> Iterator[ExpandedWord]:
    return (word for word in words if not word.unknown)


def _hardware(allocation: _Allocation) -> tuple[str | None, tuple[Note, ...]]:
    """The accelerator of the nodes, by the type of their GPUs, else by a constraint."""
    gpus = allocation.gpus()
    if gpus is not None and gpus.type is not None:
        found = cluster_gpu(gpus.type)
        text = unclear_gpu(gpus.type, f"{gpus.option.spelled} {gpus.option.value}")
        return found, () if found else (Note(line=gpus.option.line, text=text),)
    constraint = allocation.options.get("constraint")
    if constraint is None:
        return None, ()
    found = cluster_gpu(constraint.value)
    is_gpu = bool(candidate_gpus(constraint.value))
    text = unclear_gpu(constraint.value, constraint.spelled) if is_gpu else f"not carried over: {constraint.spelled} {constraint.value}"
    return found, () if found else (Note(line=constraint.line, text=text),)


def _not_carried(allocation: _Allocation) -> Iterator[Note]:
    others = {name: option for name, option in allocation.options.items() if name not in _READ}
    if others:
        listed = ", ".join(option.spelled for option in others.values())
        yield Note(line=min(option.line for option in others.values()), text=f"not carried over, because only Slurm needs it: {listed}")
