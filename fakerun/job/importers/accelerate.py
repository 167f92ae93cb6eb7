"""A configuration of Hugging Face accelerate (`accelerate config`, `--config_file`)."""

from math import prod

from fakerun.job.importers.accelerate_settings import AccelerateSettings, accelerate_environment
from fakerun.job.importers.foreign_yaml import YamlPart, documents_of
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.source import Note, Source
from fakerun.job.variable import literal_value
from fakerun.units import is_count

_ON_CUDA = frozenset({"NO", "MULTI_GPU", "FSDP", "DEEPSPEED", "MEGATRON_LM"})
_NOT_READ = {"DEEPSPEED": "DeepSpeed", "MEGATRON_LM": "Megatron-LM"}

_DEFAULTS = {
    "compute_environment": "LOCAL_MACHINE",
    "debug": "false",
    "downcast_bf16": "no",
    "enable_cpu_affinity": "false",
    "machine_rank": "0",
    "main_training_function": "main",
    "rdzv_backend": "static",
    "same_network": "true",
    "tpu_use_cluster": "false",
    "tpu_use_sudo": "false",
    "use_cpu": "false",
}
"""Settings with the value that accelerate gives them anyway: nothing is lost with them."""

_READ = frozenset({"distributed_type", "mixed_precision", "num_processes", "num_machines", "gpu_ids"})
_READ_BELOW = frozenset({"fsdp_config", "parallelism_config", "dynamo_config", "deepspeed_config", "megatron_lm_config", "fp8_config"})
"""Read, or said of as a whole."""


def accelerate_jobs(source: Source) -> tuple[ImportedJob, ...]:
    """The job that a configuration describes; it names no script.

    Raises:
        UsageError: it is not for GPUs of CUDA, or contradicts itself.
    """
    (config, *others) = documents_of(source)
    if others:
        raise source.refusal(others[0].line, "a second document; an accelerate configuration is one")
    kind = config["distributed_type"].text() or "NO"
    if kind.upper() not in _ON_CUDA or config["use_cpu"].is_true():
        what = config["use_cpu"] if config["use_cpu"].is_true() else config["distributed_type"]
        raise source.refusal(
            what.line, f"{what.path}: {what.text()}: only jobs on CUDA devices are simulated; change it to MULTI_GPU or FSDP"
        )
    processes, machines = _count(config["num_processes"]), _count(config["num_machines"])
    if processes % machines:
        line = config["num_processes"].line
        raise source.refusal(
            line, f"num_processes: {processes} processes do not fill {machines} machines evenly; change one of the numbers"
        )
    environment = accelerate_environment(_settings(config, kind.upper()))
    mesh = environment.mesh if prod(size for _, size in environment.mesh) == processes else ()
    notes = [Note(line=_line_of(config, each), text=f"not carried over: {each}") for each in environment.not_carried]
    return (
        ImportedJob(
            name=source.stem,
            line=config.line,
            env=tuple((name, literal_value(value)) for name, value in environment.variables.items()),
            nnodes=machines,
            nproc_per_node=processes // machines,
            mesh=mesh,
            notes=(*notes, *_launch_only(config)),
        ),
    )


def _count(part: YamlPart) -> int:
    text = part.text() or "1"
    if not is_count(text) or int(text) < 1:
        raise part.source.refusal(part.line, f"{part.path}: {text} is not a number above 0; write one")
    return int(text)


def _settings(config: YamlPart, kind: str) -> AccelerateSettings:
    return AccelerateSettings(
        mixed_precision=config["mixed_precision"].text(),
        fsdp=_below(config["fsdp_config"], "fsdp_") if kind == "FSDP" else None,
        parallelism=_below(config["parallelism_config"], "parallelism_config_") if config["parallelism_config"] else None,
        dynamo=_below(config["dynamo_config"], "dynamo_") if config["dynamo_config"] else None,
        gpu_ids=config["gpu_ids"].text(),
        others=(_NOT_READ[kind],) if kind in _NOT_READ else (),
    )


def _below(part: YamlPart, prefix: str) -> dict[str, str]:
    values = {key: part[key] for key in part.names() if part[key]}
    for each in values.values():
        if each.text() is None:
            raise part.source.refusal(each.line, f"{each.path}: must be a single value, not a mapping or a list")
    return {key.removeprefix(prefix): value.text() or "" for key, value in values.items()}


def _line_of(config: YamlPart, what: str) -> int:
    """The line of the key that a remark begins with; of `DeepSpeed`, that of its section."""
    key = what.partition(":")[0].partition(" ")[0]
    places = (config["fsdp_config"][key], config[key], config[f"{key.lower()}_config"], config["distributed_type"])
    return next((place.line for place in places if place), config.line)


def _launch_only(config: YamlPart) -> tuple[Note, ...]:
    """What only a real launch needs; settings that say what is so anyway are left out."""
    notes = []
    for key in config.names():
        part = config[key]
        is_default = key in _DEFAULTS and (part.text() or "").lower() == _DEFAULTS[key].lower()
        is_empty = not part or (not part.names() and part.text() in (None, "", "all"))
        if key in _READ or key in _READ_BELOW or is_default or is_empty:
            continue
        notes.append(Note(line=part.line, text=f"not carried over, because only a real launch needs it: {key}"))
    return tuple(notes)
