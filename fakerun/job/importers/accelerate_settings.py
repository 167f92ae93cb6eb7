"""accelerate's settings, as its config file and the options of `accelerate launch` have them -> the environment variables of its ranks.

From `accelerate/commands/launch.py` and `accelerate/utils/launch.py` (`prepare_multi_gpu_env`) of accelerate 1.15: what the launcher
passes to the ranks it passes in these variables. A setting that is not given has the launcher's default.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ACCELERATE_FLAGS = frozenset(
    {
        *("quiet", "cpu", "multi_gpu", "tpu", "enable_cpu_affinity", "dynamo_use_fullgraph", "dynamo_use_dynamic"),
        *("dynamo_use_regional_compilation", "use_deepspeed", "use_fsdp", "use_parallelism_config", "use_megatron_lm", "same_network"),
        *("module", "no_python", "tpu_cluster", "no_tpu_cluster", "tpu_use_sudo", "downcast_bf16", "fp8_use_autocast_during_eval", "debug"),
    }
)
"""Options of `accelerate launch` that take no value."""

_FSDP_DEFAULTS = {
    "version": "1",
    "sharding_strategy": "FULL_SHARD",
    "reshard_after_forward": "true",
    "offload_params": "false",
    "min_num_params": "100000000",
    "auto_wrap_policy": None,
    "transformer_layer_cls_to_wrap": None,
    "backward_prefetch": None,
    "state_dict_type": None,
    "forward_prefetch": "false",
    "use_orig_params": "true",
    "cpu_ram_efficient_loading": "true",
    "sync_module_states": "true",
    "activation_checkpointing": "false",
    "activation_checkpointing_offload": "false",
    "ignored_modules": None,
}
"""What the launcher passes of each setting `fsdp_<name>` that is not given; None: nothing."""

_FSDP_VARIABLES = {"transformer_layer_cls_to_wrap": "FSDP_TRANSFORMER_CLS_TO_WRAP"}
_FSDP_AS_WRITTEN = frozenset(
    {"auto_wrap_policy", "transformer_layer_cls_to_wrap", "backward_prefetch", "state_dict_type", "sharding_strategy"}
)

_PARALLELISM_DEFAULTS = {
    "dp_replicate_size": "1",
    "dp_shard_size": "1",
    "tp_size": "1",
    "cp_size": "1",
    "cp_backend": "torch",
    "sp_size": "1",
    "sp_backend": "deepspeed",
}

_AXES = ("dp_replicate", "dp_shard", "cp", "sp", "tp")
"""Of accelerate's device mesh, outermost first (`accelerate/parallelism_config.py`)."""

_DYNAMO = {"backend": "ACCELERATE_DYNAMO_BACKEND", "mode": "ACCELERATE_DYNAMO_MODE"}
_DYNAMO_FLAGS = {
    "use_fullgraph": "ACCELERATE_DYNAMO_USE_FULLGRAPH",
    "use_dynamic": "ACCELERATE_DYNAMO_USE_DYNAMIC",
    "use_regional_compilation": "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccelerateSettings:
    """What decides the variables. The mappings have the names without their prefix: `version` of `fsdp_version`."""

    mixed_precision: str | None = None
    fsdp: Mapping[str, str] | None = None
    parallelism: Mapping[str, str] | None = None
    dynamo: Mapping[str, str] | None = None
    gpu_ids: str | None = None
    others: tuple[str, ...] = ()
    """Ways to train that are not carried over: `DeepSpeed`, `Megatron-LM`, `fp8`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccelerateEnvironment:
    """The variables, and what cannot be said with them."""

    variables: Mapping[str, str]
    mesh: tuple[tuple[str, int], ...]
    not_carried: tuple[str, ...]


def accelerate_environment(settings: AccelerateSettings) -> AccelerateEnvironment:
    """What the launcher passes to the ranks. The mesh has the axes above 1, and is empty without a parallelism config."""
    variables: dict[str, str] = {}
    not_carried = []
    if settings.mixed_precision == "fp8":
        not_carried.append("mixed_precision fp8: its libraries are not emulated")
    elif settings.mixed_precision is not None:
        variables["ACCELERATE_MIXED_PRECISION"] = settings.mixed_precision.lower()
    if settings.fsdp is not None:
        variables |= {"ACCELERATE_USE_FSDP": "true", **_fsdp_variables(settings.fsdp)}
        unknown = sorted(settings.fsdp.keys() - _FSDP_DEFAULTS.keys())
        not_carried.extend(f"fsdp_{name}: no variable of accelerate has it" for name in unknown)
    if settings.parallelism is not None:
        known = _PARALLELISM_DEFAULTS | {name: value for name, value in settings.parallelism.items() if value}
        variables["ACCELERATE_USE_PARALLELISM_CONFIG"] = "true"
        variables |= {f"PARALLELISM_CONFIG_{name.upper()}": value for name, value in known.items()}
    if settings.dynamo is not None:
        variables |= {
            variable: settings.dynamo[name].upper() if name == "backend" else settings.dynamo[name]
            for name, variable in _DYNAMO.items()
            if name in settings.dynamo
        }
        variables |= {variable: settings.dynamo[name].capitalize() for name, variable in _DYNAMO_FLAGS.items() if name in settings.dynamo}
    if settings.gpu_ids not in (None, "all"):
        variables["CUDA_VISIBLE_DEVICES"] = str(settings.gpu_ids)
    not_carried.extend(f"{name}: it is not read" for name in settings.others)
    return AccelerateEnvironment(variables=variables, mesh=_mesh(settings.parallelism or {}), not_carried=tuple(not_carried))


def _fsdp_variables(given: Mapping[str, str]) -> dict[str, str]:
    variables = {}
    for name, default in _FSDP_DEFAULTS.items():
        value = given.get(name, default)
        if value is not None:
            variable = _FSDP_VARIABLES.get(name, f"FSDP_{name.upper()}")
            variables[variable] = value if name in _FSDP_AS_WRITTEN else value.lower()
    return variables


def _mesh(parallelism: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    sizes = [(axis, parallelism.get(f"{axis}_size", "1")) for axis in _AXES]
    return tuple((axis, int(size)) for axis, size in sizes if size.isascii() and size.isdecimal() and int(size) > 1)


def settings_of_options(options: Mapping[str, str | None]) -> tuple[AccelerateSettings, tuple[str, ...]]:
    """The settings that options of `accelerate launch` are (a flag's value is None), and the names of those that are not among them."""
    fsdp = {name.removeprefix("fsdp_"): value or "true" for name, value in options.items() if name.startswith("fsdp_")}
    parallelism = _without_prefix(options, "parallelism_config_")
    dynamo = _without_prefix(options, "dynamo_")
    uses_fsdp = "use_fsdp" in options
    others = [title for flag, title in (("use_deepspeed", "DeepSpeed"), ("use_megatron_lm", "Megatron-LM")) if flag in options]
    settings = AccelerateSettings(
        mixed_precision=options.get("mixed_precision"),
        fsdp=fsdp if uses_fsdp else None,
        parallelism=parallelism if "use_parallelism_config" in options else None,
        dynamo=dynamo or None,
        gpu_ids=options.get("gpu_ids"),
        others=tuple(others),
    )
    prefixes = (*(["fsdp_"] if uses_fsdp else []), "dynamo_", *(["parallelism_config_"] if settings.parallelism is not None else []))
    read = {"mixed_precision", "gpu_ids", "use_fsdp", "use_parallelism_config", "use_deepspeed", "use_megatron_lm", "multi_gpu"}
    return settings, tuple(name for name in options if name not in read and not name.startswith(prefixes))


def _without_prefix(options: Mapping[str, str | None], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value or "true" for name, value in options.items() if name.startswith(prefix)}
