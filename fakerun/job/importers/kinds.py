"""The kinds of files that jobs are imported from, and which one a file is: by its content, not by its name."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from fakerun.errors import UsageError
from fakerun.job.choice import choice_named
from fakerun.job.importers.accelerate import accelerate_jobs
from fakerun.job.importers.command_lines import command_line_jobs
from fakerun.job.importers.foreign_yaml import YamlPart, documents_of
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.kubeflow import KINDS, kubeflow_jobs
from fakerun.job.importers.sbatch import sbatch_jobs
from fakerun.job.importers.skypilot import skypilot_jobs
from fakerun.job.importers.source import Source


class ImportKind(StrEnum):
    """The kinds."""

    ACCELERATE = "accelerate"
    KUBEFLOW = "kubeflow"
    SKYPILOT = "skypilot"
    SBATCH = "sbatch"
    COMMAND = "command"
    """Command lines of torchrun, TorchX or accelerate, also in a shell script."""


_IMPORTERS: Mapping[ImportKind, Callable[[Source], tuple[ImportedJob, ...]]] = {
    ImportKind.ACCELERATE: accelerate_jobs,
    ImportKind.KUBEFLOW: kubeflow_jobs,
    ImportKind.SKYPILOT: skypilot_jobs,
    ImportKind.SBATCH: sbatch_jobs,
    ImportKind.COMMAND: command_line_jobs,
}

_ACCELERATE_KEYS = frozenset(
    {"distributed_type", "compute_environment", "num_processes", "num_machines", "fsdp_config", "deepspeed_config"}
)
_SKYPILOT_KEYS = frozenset({"run", "num_nodes", "setup", "file_mounts"})
_JOB_FILE_KEYS = frozenset({"jobs", "script", "module", "nproc_per_node", "world_size"})
_YAML_START = re.compile(r"\s*(---|[\w./\"'-]+\s*:(\s|$)|\{)")


def kind_named(name: str) -> ImportKind:
    """The kind of this name.

    Raises:
        UsageError: there is none.
    """
    return choice_named(ImportKind, "kind", name)


def imported_jobs(source: Source, kind: ImportKind | None = None) -> tuple[ImportedJob, ...]:
    """The jobs of a file, at least one; without a kind, of the one that it is.

    Raises:
        UsageError: it is of no kind, or is one and cannot be carried over.
    """
    if not source.text.strip():
        raise source.refusal(1, "the file is empty")
    if "\0" in source.text:
        raise source.refusal(source.text.count("\n", 0, source.text.index("\0")) + 1, "a null byte: this is not a text file")
    return _IMPORTERS[kind or kind_of(source)](source)


def kind_of(source: Source) -> ImportKind:
    """What a file is.

    Raises:
        UsageError: nothing that can be imported.
    """
    if re.search(r"^#SBATCH\s", source.text, re.MULTILINE):
        return ImportKind.SBATCH
    first = next((line for line in source.text.split("\n") if line.strip() and not line.startswith("#")), "")
    if source.text.startswith("#!") or not _YAML_START.match(first):
        return ImportKind.COMMAND
    return _yaml_kind(source, documents_of(source))


def _yaml_kind(source: Source, documents: tuple[YamlPart, ...]) -> ImportKind:
    keys = {key for document in documents for key in document.names()}
    if any(document["kind"].text() in KINDS for document in documents):
        return ImportKind.KUBEFLOW
    if "apiVersion" in keys:
        kinds = ", ".join(document["kind"].text() or "none" for document in documents)
        raise source.refusal(1, f"a Kubernetes manifest of {kinds}; only {' and '.join(sorted(KINDS))} are read")
    if keys & _JOB_FILE_KEYS:
        raise source.refusal(1, "this is a job file of fakerun already: run it with fakerun check, or edit it")
    if keys & _ACCELERATE_KEYS:
        return ImportKind.ACCELERATE
    if keys & _SKYPILOT_KEYS:
        return ImportKind.SKYPILOT
    read = "an accelerate configuration, a Kubeflow TrainJob or PyTorchJob, a SkyPilot task, an sbatch script, or command lines of torchrun"
    raise UsageError(f"{source.name}:1: not recognised as {read}; if it is one, name it: --kind {', '.join(ImportKind)}")
