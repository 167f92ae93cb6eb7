"""The JSON Schema of job files, for editors, in the form that SchemaStore takes: draft 7, with a description of every key.

It describes what `yaml_job` and `check_file` accept, as far as a schema can: whether a script exists and a mesh fits its world, only they
check. `fakerun schema > docs/schema/fakerun.schema.json` publishes it.
"""

import json
from typing import Any, TypeAlias

from fakerun.hardware.catalogue import DEFAULT_HARDWARE, accelerator_names
from fakerun.hardware.request import BASE
from fakerun.job.baseline import QUANTITIES
from fakerun.job.check_file import VERSION
from fakerun.job.launcher import DEFAULT_LAUNCHER, Launcher
from fakerun.job.matrix import EXCLUDE
from fakerun.job.out_of_memory import DEFAULT_OUT_OF_MEMORY, OutOfMemory
from fakerun.job.request import DEFAULT_SAMPLES, DEFAULT_STEPS
from fakerun.job.routing import DEFAULT_ROUTING, Routing
from fakerun.job.torch_behaviour import TorchBehaviour
from fakerun.records.collective import CollectiveOp
from fakerun.records.finding_code import FindingCode

Schema: TypeAlias = dict[str, Any]

ID = "https://json.schemastore.org/fakerun.json"

_COUNT: Schema = {"type": "integer", "minimum": 1}
_NUMBER_FROM_0: Schema = {"type": "integer", "minimum": 0}
_TEXT: Schema = {"type": "string", "minLength": 1}
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}


def job_file_schema() -> str:
    """The schema as text."""
    several = {
        "type": "object",
        "description": "Several jobs, which `fakerun check` runs.",
        "properties": {
            "version": {"const": VERSION, "description": "The version of this format."},
            "defaults": {
                "$ref": "#/definitions/job",
                "description": "What each job has that it does not give itself. env, budgets and matrix are merged key by key.",
            },
            "jobs": {
                "type": "object",
                "description": "The jobs by name.",
                "minProperties": 1,
                "propertyNames": {"pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"},
                "additionalProperties": {"$ref": "#/definitions/job"},
            },
        },
        "required": ["version", "jobs"],
        "additionalProperties": False,
    }
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": ID,
        "title": "fakerun job file",
        "description": "Distributed PyTorch jobs that fakerun runs without a GPU, and what they must hold to pass.",
        "type": "object",
        "if": {"anyOf": [{"required": [key]} for key in ("version", "jobs", "defaults")]},
        "then": {"$ref": "#/definitions/several"},
        "else": {"$ref": "#/definitions/single"},
        "definitions": {"several": several, "job": _job(with_matrix=True), "single": _job(with_matrix=False)},
    }
    return json.dumps(schema, indent=2) + "\n"


def _job(*, with_matrix: bool) -> Schema:
    properties = {**_PROGRAM, **_TOPOLOGY, **_SIMULATION, **_GATE}
    if with_matrix:
        shared = {key: {"$ref": f"#/definitions/single/properties/{key}"} for key in properties}
        properties = {**shared, "matrix": _matrix(shared)}
    return {"type": "object", "description": "A job.", "properties": properties, "additionalProperties": False}


def _matrix(properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": "Lists of values of keys; there is a job for each combination, named as in train[mesh=2x4,hardware=h200].",
        "properties": {
            EXCLUDE: {"type": "array", "items": {"type": "object", "minProperties": 1}, "description": "Combinations that are left out."},
            **{key: {"type": "array", "minItems": 1, "items": value} for key, value in properties.items()},
        },
        "minProperties": 1,
        "patternProperties": {"^env\\..": {"type": "array", "minItems": 1, "items": _SCALAR}},
        "additionalProperties": False,
    }


_PROGRAM: Schema = {
    "script": {**_TEXT, "description": "The training script. A relative path starts at the directory of this file."},
    "module": {**_TEXT, "description": "A module to run as python -m does, instead of a script."},
    "args": {"type": "array", "items": _SCALAR, "description": "The arguments of the script, passed on as written."},
    "env": {
        "type": "object",
        "additionalProperties": _SCALAR,
        "description": "Environment variables of the ranks. ${rank}, ${local_rank}, ${node_rank} and ${world_size} stand for the rank's.",
    },
    "workdir": {**_TEXT, "description": "The directory in which the ranks start. A relative path starts at the directory of this file."},
}
_TOPOLOGY: Schema = {
    "world_size": {**_COUNT, "description": "The number of ranks, placed on nodes of up to 8."},
    "nnodes": {**_COUNT, "description": "The number of nodes."},
    "nproc_per_node": {**_COUNT, "description": "The number of ranks on each node."},
    "mesh": {
        "type": ["string", "integer", "object"],
        "additionalProperties": _COUNT,
        "examples": ["2x4", "dp=2,tp=4", {"dp": 2, "tp": 4}],
        "description": "The device mesh. Its size alone gives the number of ranks.",
    },
    "hardware": {
        "anyOf": [
            {"enum": list(accelerator_names())},
            {"type": "string", "pattern": ",", "description": "With figures of your own: h100-80gb,memory=94GiB."},
            {
                "type": "object",
                "properties": {BASE: {"enum": list(accelerator_names())}},
                "required": [BASE],
                "additionalProperties": _SCALAR,
            },
        ],
        "default": DEFAULT_HARDWARE,
        "description": "The accelerator, or a mapping with a base and the figures that replace its own.",
    },
}
_SIMULATION: Schema = {
    "launcher": {"enum": list(Launcher), "default": DEFAULT_LAUNCHER, "description": "Whose environment variables the ranks find."},
    "steps": {
        "anyOf": [_COUNT, {"const": "all"}],
        "default": DEFAULT_STEPS,
        "description": "Optimizer steps after which the script is stopped. all: it runs to its end.",
    },
    "rank": {**_NUMBER_FROM_0, "description": "The rank to simulate."},
    "ranks": {
        "anyOf": [
            {"enum": ["all", "auto"]},
            _TEXT,
            _NUMBER_FROM_0,
            {"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 1},
        ],
        "description": "The ranks to simulate: all, auto for a few that represent all of them, or numbers and ranges.",
    },
    "samples": {
        **_NUMBER_FROM_0,
        "default": DEFAULT_SAMPLES,
        "description": "With ranks auto, how many to simulate at random, to test what is assumed of the others.",
    },
    "seed": {**_NUMBER_FROM_0, "description": "Chooses the random ranks of ranks auto; by default the job does."},
    "routing": {"enum": list(Routing), "default": DEFAULT_ROUTING, "description": "How choices among unknown scores fall."},
    "alloc_conf": {**_TEXT, "description": "Settings of the caching allocator, as in PYTORCH_ALLOC_CONF."},
    "oom": {
        "enum": list(OutOfMemory),
        "default": DEFAULT_OUT_OF_MEMORY,
        "description": "What becomes of an allocation that a device has no memory for.",
    },
    "torch_behaviour": {
        "enum": [*TorchBehaviour, *map(float, TorchBehaviour)],
        "description": "An older torch to behave as, where it is known to need another amount of memory.",
    },
    "interconnect": {
        **_TEXT,
        "examples": ["ib-ndr-8x", "aws-p5,nic_latency=80us"],
        "description": "The network between nodes. By default that of the accelerator's usual node.",
    },
    "tokens_per_step": {**_COUNT, "description": "Tokens of a step of all ranks. By default as many as the model is given."},
    "calibrate": {
        "anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}],
        "description": "Files with what was measured, which the step time is estimated with. A relative path starts at this file.",
    },
    "error_on_collective": {
        "anyOf": [{"type": ["boolean", "string"]}, {"type": "array", "items": {"enum": list(CollectiveOp)}}],
        "default": False,
        "description": "Operations that are an error in the report: true for all of them, or a list.",
    },
    "timeout": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds after which a rank is stopped. By default never."},
}
_AMOUNT: Schema = {"type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*([KMGT]iB|[MGT]B)\\s*$"}
_MEMORY: Schema = {"anyOf": [_AMOUNT, {"type": "string", "pattern": "^\\s*[0-9]{1,3}(\\.[0-9]+)?\\s*%\\s*$"}]}
_BYTES: Schema = {**_AMOUNT, "description": "Bytes of messages, as nccl-tests counts them."}
_CALLS: Schema = {**_NUMBER_FROM_0, "description": "Calls."}
_VOLUME: Schema = {"bytes": _BYTES, "bus_bytes": {**_AMOUNT, "description": "Bytes on the links of the rank."}, "calls": _CALLS}


def _memory(description: str) -> Schema:
    limits = {"type": "object", "minProperties": 1, "additionalProperties": _MEMORY}
    return {
        "anyOf": [*_MEMORY["anyOf"], limits],
        "examples": ["72GiB", "90%", {"all": "72GiB", "0,4-7": "60GiB", "pp=0": "60GiB", "cuda:0": "8GiB"}],
        "description": f"{description} One limit for every device, or limits of ranks, of places in the mesh, and of devices.",
    }


_BUDGETS: Schema = {
    "type": "object",
    "description": "What a run of the job must keep.",
    "properties": {
        "peak_allocated": _memory("The most that tensors may take of a device."),
        "peak_reserved": _memory("The most that the caching allocator may hold of a device."),
        "device_total": _memory("The most that may be in use of a device, with what is held outside the allocator."),
        "headroom": _memory("The least that must be left of a device."),
        "communication": {
            "type": "object",
            "properties": {
                **_VOLUME,
                "inter_node": {
                    "type": "object",
                    "properties": {"bytes": {**_AMOUNT, "description": "Bytes that leave the node."}, "calls": _CALLS},
                    "additionalProperties": False,
                    "description": "The part that leaves the node.",
                },
            },
            "additionalProperties": {"type": "object", "properties": _VOLUME, "additionalProperties": False},
            "description": "The most that a rank may communicate in a step: in all, and by operation or axis of the mesh.",
        },
        "step_time": {
            "type": "string",
            "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*(s|ms|us|ns)\\s*$",
            "examples": ["2.9s", "900ms"],
            "description": "The most that a step may take, as it is estimated.",
        },
        "no_collectives_in": {
            "type": "array",
            "items": _TEXT,
            "examples": [["backward", "layers.*.attention"]],
            "description": "Phases and modules in which no collective may be issued.",
        },
        "no_unawaited_async": {
            "type": "boolean",
            "default": False,
            "description": "Whether every asynchronous collective must be waited for.",
        },
        "ranks_agree": {"type": "boolean", "default": True, "description": "Whether the collectives of all ranks must match."},
        "fits": {"type": "boolean", "default": True, "description": "Whether the job must fit, with all that may be held outside."},
        "findings": {
            "type": "object",
            "properties": {
                "forbid": {
                    "type": "array",
                    "items": {"enum": list(FindingCode)},
                    "description": "Codes of findings that fail the job, whatever their severity.",
                },
                "allow": {"type": "array", "items": {"enum": list(FindingCode)}, "description": "Codes that do not count, as in ignore."},
            },
            "additionalProperties": False,
            "description": "Codes of findings that fail the job, and those that do not count.",
        },
    },
    "additionalProperties": False,
}
_GATE: Schema = {
    "budgets": _BUDGETS,
    "strict": {"type": "boolean", "default": False, "description": "Whether warnings fail the job as errors do."},
    "ignore": {
        "anyOf": [_TEXT, {"type": "array", "items": {"enum": list(FindingCode)}}],
        "description": "Codes of findings that do not count.",
    },
    "baseline": {
        "anyOf": [
            _TEXT,
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "path": _TEXT,
                    "tolerances": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            quantity: {**_TEXT, "description": "exact, a share such as 2%, or an amount of memory such as 64MiB."}
                            for quantity in QUANTITIES
                        },
                    },
                },
            },
        ],
        "description": "The file of the known schedule and memory. By default .fakerun/baselines/JOB.yaml beside this file.",
    },
}
