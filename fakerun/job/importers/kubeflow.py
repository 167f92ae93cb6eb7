"""A TrainJob of Kubeflow Trainer v2 or a PyTorchJob of its Training Operator v1, among the documents of a manifest.

What the operators set for the command is from their sources: kubeflow/trainer `pkg/runtime/framework/plugins/torch/torch.go`,
kubeflow/training-operator `pkg/controller.v1/pytorch/envvar.go`.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fakerun.job.importers.foreign_yaml import YamlPart, documents_of
from fakerun.job.importers.gpu_names import labelled_gpu, unclear_gpu
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.launches import Placement, ScriptSetting, jobs_of_script, named_apart
from fakerun.job.importers.shell import is_secret
from fakerun.job.importers.source import Note, Source
from fakerun.job.torchrun_options import COUNTED_ON_THE_MACHINE
from fakerun.job.variable import literal_value
from fakerun.units import is_count

KINDS = frozenset({"TrainJob", "PyTorchJob"})

_RUNTIMES = frozenset({"TrainingRuntime", "ClusterTrainingRuntime"})
_GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
_GPU_LABELS = frozenset({"nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "node.kubernetes.io/instance-type"})
_CONTAINER_READ = frozenset({"name", "command", "args", "env", "resources", "workingDir"})
_UNKNOWN = "the number of ranks of a node is counted there (auto), and the file does not give its GPUs"
_REFERENCE = re.compile(r"\$\((\w+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Container:
    """What a container runs, from a container of a pod or from the trainer of a TrainJob."""

    part: YamlPart
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: YamlPart
    resources: YamlPart

    @property
    def gpus(self) -> int | None:
        for section in ("limits", "requests"):
            for name in _GPU_RESOURCES:
                if count := self.resources[section][name]:
                    return _number(count)
        return None

    def comparable(self) -> tuple[object, ...]:
        env = tuple((each["name"].text(), each["value"].text()) for each in self.env.items())
        return self.command, self.args, env, self.gpus


def kubeflow_jobs(source: Source) -> tuple[ImportedJob, ...]:
    """The jobs of a manifest.

    Raises:
        UsageError: it has none, or one that cannot be carried over.
    """
    documents = documents_of(source)
    found = [document for document in documents if document["kind"].text() in KINDS]
    if not found:
        kinds = ", ".join(document["kind"].text() or "none" for document in documents) or "none"
        raise source.refusal(1, f"no {' or '.join(sorted(KINDS))} among its documents ({kinds}); those are read")
    jobs = [job for each in found for job in (_train_job(each, documents) if each["kind"].text() == "TrainJob" else _pytorch_job(each))]
    others = [f"{each['kind'].text()} (line {each.line})" for each in documents if each["kind"].text() not in KINDS | _RUNTIMES]
    if others:
        note = Note(line=found[0].line, text=f"not carried over: other documents of the file, {', '.join(others)}")
        jobs = [replace(job, notes=(*job.notes, note)) for job in jobs]
    return named_apart(jobs)


def _number(part: YamlPart) -> int:
    text = part.text() or ""
    if not is_count(text) or int(text) < 1:
        raise part.source.refusal(
            part.line, f"{part.path}: {text!r} is not a number above 0; write one (in a template, fill in its variables first)"
        )
    return int(text)


def _container(part: YamlPart, resources: YamlPart) -> _Container:
    return _Container(part=part, command=part["command"].texts(), args=part["args"].texts(), env=part["env"], resources=resources)


def _train_job(job: YamlPart, documents: Sequence[YamlPart]) -> tuple[ImportedJob, ...]:
    trainer, reference = job["spec"]["trainer"], job["spec"]["runtimeRef"]["name"]
    runtime = next(
        (each for each in documents if each["kind"].text() in _RUNTIMES and each["metadata"]["name"].text() == reference.text()), None
    )
    own = _container(trainer, trainer["resourcesPerNode"])
    inherited = None if runtime is None else _runtime_container(runtime)
    if not own.command and not own.args and inherited is not None:
        own = replace(own, command=inherited.command, args=inherited.args)
    policy = None if runtime is None else runtime["spec"]["mlPolicy"]
    nodes = trainer["numNodes"] or (policy["numNodes"] if policy is not None else trainer["numNodes"])
    nproc = trainer["numProcPerNode"] or (policy["torch"]["numProcPerNode"] if policy is not None else trainer["numProcPerNode"])
    gpus = own.gpus or (inherited.gpus if inherited is not None else None)
    pods = [each for override in ("runtimePatches", "podTemplateOverrides", "podSpecOverrides") for each in _below(job["spec"][override])]
    if not own.command and not own.args and runtime is None and reference:
        why = f"the command is that of the runtime {reference.text()}, which is not in the file"
    else:
        why = "the command is the image's own"
    read = frozenset({"numNodes", "numProcPerNode", "resourcesPerNode"})
    notes = (*_unread(trainer, read | _CONTAINER_READ), *_unread(job["spec"], frozenset({"trainer", "runtimeRef"})))
    return _jobs(job, own, nnodes=_number(nodes) if nodes else 1, nproc=nproc, gpus=gpus, pods=pods, why_no_command=why, notes=notes)


def _runtime_container(runtime: YamlPart) -> _Container | None:
    """The container `node` of a runtime, which trains."""
    for replicated in runtime["spec"]["template"]["spec"]["replicatedJobs"].items():
        for container in replicated["template"]["spec"]["template"]["spec"]["containers"].items():
            if container["name"].text() in ("node", "trainer"):
                return _container(container, container["resources"])
    return None


def _pytorch_job(job: YamlPart) -> tuple[ImportedJob, ...]:
    specs = job["spec"]["pytorchReplicaSpecs"]
    replicas = [specs[role] for role in specs.names() if specs[role]]
    if not replicas:
        raise job.source.refusal(job.line, "spec.pytorchReplicaSpecs: has no replicas; a PyTorchJob has Master, Worker, or both")
    containers = [_pod_container(each["template"]["spec"]) for each in replicas]
    for other, replica in zip(containers[1:], replicas[1:], strict=True):
        if other.comparable() != containers[0].comparable():
            where = f"{replicas[0].path.rpartition('.')[2]} (line {containers[0].part.line}) and {replica.path.rpartition('.')[2]}"
            raise job.source.refusal(
                other.part.line, f"{where} differ in command, args, env or GPUs; make them alike in a copy: all ranks run one program"
            )
    nnodes = sum(_number(each["replicas"]) if each["replicas"] else 1 for each in replicas)
    pod = replicas[0]["template"]["spec"]
    notes = (
        *_unread(containers[0].part, _CONTAINER_READ),
        *_unread(pod, frozenset({"containers", "nodeSelector", "affinity"})),
        *_unread(job["spec"], frozenset({"pytorchReplicaSpecs", "nprocPerNode"})),
    )
    return _jobs(
        job,
        containers[0],
        nnodes=nnodes,
        nproc=job["spec"]["nprocPerNode"],
        gpus=containers[0].gpus,
        pods=[pod],
        why_no_command="the command is the image's own",
        notes=notes,
    )


def _pod_container(pod: YamlPart) -> _Container:
    containers = list(pod["containers"].items())
    if not containers:
        raise pod.source.refusal(pod.line, f"{pod.path}.containers: has no container; the one called pytorch trains")
    chosen = next((each for each in containers if each["name"].text() == "pytorch"), containers[0])
    if len(containers) > 1 and chosen["name"].text() != "pytorch":
        raise pod.source.refusal(
            chosen.line, f"{pod.path}.containers: none of {len(containers)} is called pytorch; name the one so that trains"
        )
    return _container(chosen, chosen["resources"])


def _jobs(
    job: YamlPart,
    container: _Container,
    *,
    nnodes: int,
    nproc: YamlPart,
    gpus: int | None,
    pods: Sequence[YamlPart],
    why_no_command: str,
    notes: Sequence[Note],
) -> tuple[ImportedJob, ...]:
    """The job, or several if a shell script of the container starts ranks several times."""
    source = job.source
    variables, env_notes = _environment(container.env)
    counted = nproc.text() in (None, *COUNTED_ON_THE_MACHINE)
    hardware, hardware_notes = _hardware(pods)
    name = job["metadata"]["name"].text() or (job["metadata"]["generateName"].text() or source.stem).strip("-")
    setting = ScriptSetting(
        place=lambda _launch: Placement(nnodes=nnodes, is_told=True),
        name=name,
        variables={key: value for key, value, _ in variables},
        exported={key: line for key, _, line in variables},
        nproc_per_node=None if counted else _number(nproc),
        nproc_counted=f"numProcPerNode {nproc.text() or 'auto'}" if counted else None,
        gpus_per_node=gpus,
        hardware=hardware,
        directory=container.part["workingDir"].text() or "",
        notes=(*notes, *env_notes, *hardware_notes),
    )
    words = [_substituted(word, variables) for word in (*container.command, *container.args)]
    line = (container.part["command"] or container.part["args"] or container.part).line
    setting = replace(setting, notes=(*setting.notes, *_left_over(words, line)))
    if container.command or _starts_ranks(words):
        return jobs_of_script(source, shlex.join(words), setting, first_line=line)
    return (_without_script(job, setting, words, variables, nnodes, Note(line=line, text=f"no script is named: {why_no_command}")),)


def _substituted(word: str, variables: Sequence[tuple[str, str, int]]) -> str:
    """The word with `$(NAME)` replaced, as Kubernetes does; what may be a secret stays."""
    values = {name: value for name, value, _ in variables if not is_secret(name)}
    return _REFERENCE.sub(lambda found: values.get(found[1], found[0]), word)


def _left_over(words: Sequence[str], line: int) -> Iterator[Note]:
    for reference in dict.fromkeys(found[0] for word in words for found in _REFERENCE.finditer(word)):
        yield Note(line=line, text=f"the command contains {reference}, which is not known here: write the value")


def _without_script(
    job: YamlPart,
    setting: ScriptSetting,
    args: Sequence[str],
    variables: Sequence[tuple[str, str, int]],
    nnodes: int,
    note: Note,
) -> ImportedJob:
    """The job of a container that runs the command of its image, or of its runtime."""
    secrets = [
        Note(line=line, text=f"not carried over: {name}, which may be a secret; set it in the environment")
        for name, _, line in variables
        if is_secret(name)
    ]
    nproc = setting.nproc_per_node or setting.gpus_per_node
    return ImportedJob(
        name=setting.name or job.source.stem,
        line=job.line,
        args=tuple(args),
        env=tuple((name, literal_value(value)) for name, value, _ in variables if not is_secret(name)),
        workdir=setting.directory or None,
        nnodes=nnodes,
        nproc_per_node=nproc,
        nproc_unknown=None if nproc else _UNKNOWN,
        hardware=setting.hardware,
        notes=(*setting.notes, *secrets, note),
    )


def _starts_ranks(words: Sequence[str]) -> bool:
    """Whether `args` alone are a command: the image's own then runs it."""
    return bool(words) and re.fullmatch(r"(.*/)?(torchrun|accelerate|python[0-9.]*|bash|sh)", words[0]) is not None


def _environment(env: YamlPart) -> tuple[list[tuple[str, str, int]], list[Note]]:
    """Names, values and lines; what is taken from elsewhere in the cluster is noted."""
    variables, notes = [], []
    for each in env.items():
        name, value = each["name"].text(), each["value"]
        if name and (value or value.text() is not None or not each["valueFrom"]):
            variables.append((name, value.text() or "", each.line))
        elif name:
            notes.append(Note(line=each.line, text=f"not carried over: {name}, whose value is taken from the cluster (valueFrom)"))
    return variables, notes


def _hardware(pods: Sequence[YamlPart]) -> tuple[str | None, tuple[Note, ...]]:
    """The accelerator that the labels of the nodes say; a note if they name one that is not known, or several."""
    labels = dict.fromkeys((part.text() or "", part.line, key) for pod in pods for key, part in _labels(pod))
    found = dict.fromkeys(gpu for text, _, _ in labels if (gpu := labelled_gpu(text)) is not None)
    if len(found) == 1:
        return next(iter(found)), ()
    return None, tuple(Note(line=line, text=unclear_gpu(text, key, found)) for text, line, key in labels)


def _labels(pod: YamlPart) -> Iterator[tuple[str, YamlPart]]:
    """Labels of GPUs that a node must have, by `nodeSelector` or node affinity."""
    selector = pod["nodeSelector"]
    yield from ((key, selector[key]) for key in selector.names() if key in _GPU_LABELS)
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    for term in required["nodeSelectorTerms"].items():
        for expression in term["matchExpressions"].items():
            key = expression["key"].text() or ""
            if key in _GPU_LABELS and expression["operator"].text() == "In":
                yield from ((key, value) for value in expression["values"].items())


def _below(part: YamlPart, depth: int = 12) -> Iterator[YamlPart]:
    """Every mapping with labels of nodes in a patch of the pods, whatever the version of the API calls the way to it."""
    if part["nodeSelector"] or part["affinity"]:
        yield part
    elif depth:
        for each in (*part.items(), *(part[name] for name in part.names())):
            yield from _below(each, depth - 1)


def _unread(part: YamlPart, read: frozenset[str]) -> Iterator[Note]:
    """One note of all keys that are not read."""
    keys = [key for key in part.names() if key not in read]
    if keys:
        yield Note(line=part[keys[0]].line, text=f"not carried over, because only the cluster needs it: {', '.join(keys)}")
