"""Calculon and torch's own estimators on rows of step_time_rows.yaml, beside fakerun's sum: a table on standard output.

    git clone https://github.com/calculon-ai/calculon
    python scripts/dev/step_time_peers.py --runs runs --calculon calculon

The run directories are those of step_time.py. Calculon (Apache-2.0; it needs pandas and psutil) takes no program: it is given the
model, SwiGLU as a hidden layer of one and a half times the width, attention of full heads, no vocabulary, and sharded optimizer states for
FSDP, on its own A100 and H100 with memory without limit, since it does not shard parameters. Torch's RuntimeEstimator has no GPU to ask
here: its formula (torch/utils/_runtime_estimation.py) is applied to the recorded operations, with the card's peaks; it has no
communication. The estimate of inductor for that (torch/_inductor/comm_analysis.py) is called as it is.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dev.step_time import ROWS, Priced, Row, recorded, step_of

from fakerun.analysis.time.operations import OperationCosts
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.request import parse_hardware
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.device_program import Opcode
from fakerun.records.run import RankRecord

MACS_SHARE = 0.75
"""Of the peak; with half of the FLOPs, as torch 2.13 has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What Calculon is told of a row: the model, the mesh, the batch of a data-parallel rank, what is recomputed."""

    dim: int
    ffn: float
    heads: int
    layers: int
    seq_len: int
    micro_batch: int
    micro_batches: int = 1
    tp: int = 1
    pp: int = 1
    recompute: str = "none"


LLAMA_8B: Mapping[str, Any] = {"dim": 4096, "ffn": 1.5 * 14336, "heads": 32, "layers": 32}
LLAMA_70B: Mapping[str, Any] = {"dim": 8192, "ffn": 1.5 * 28672, "heads": 64, "layers": 80}
LLAMA_405B: Mapping[str, Any] = {"dim": 16384, "ffn": 1.5 * 53248, "heads": 128, "layers": 126}
MPT_7B: Mapping[str, Any] = {"dim": 4096, "ffn": 16384, "heads": 32, "layers": 32}
MPT_30B: Mapping[str, Any] = {"dim": 7168, "ffn": 28672, "heads": 56, "layers": 48}

SETTINGS: Mapping[str, Setting] = {
    "tt-8b-fsdp8": Setting(**LLAMA_8B, seq_len=8192, micro_batch=2, recompute="attn_only"),
    "tt-8b-fsdp128": Setting(**LLAMA_8B, seq_len=8192, micro_batch=2, recompute="attn_only"),
    "tt-8b-fsdp8-b1": Setting(**LLAMA_8B, seq_len=8192, micro_batch=1, recompute="attn_only"),
    "tt-405b-fsdp16-tp8": Setting(**LLAMA_405B, seq_len=8192, micro_batch=2, tp=8, recompute="full"),
    "tt-8b-a100-op": Setting(**LLAMA_8B, seq_len=8192, micro_batch=1, recompute="attn_only"),
    "tt-70b-a100-full": Setting(**LLAMA_70B, seq_len=8192, micro_batch=1, recompute="full"),
    "mpt-7b-a100_80gb-8-s2048": Setting(**MPT_7B, seq_len=2048, micro_batch=6, micro_batches=2),
    "mpt-7b-h100_80gb-128-s2048": Setting(**MPT_7B, seq_len=2048, micro_batch=6),
    "mpt-30b-h100_80gb-256-s2048": Setting(**MPT_30B, seq_len=2048, micro_batch=8, recompute="full"),
}
"""Rows whose cards Calculon knows. Selective checkpointing is what is nearest there: attention alone is recomputed."""


def calculon_seconds(clone: Path, row: Row, setting: Setting) -> float | str:
    """The step that Calculon has for a row; why not, if it refuses."""
    sys.path.insert(0, str(clone))
    calculon = importlib.import_module("calculon")
    llm = importlib.import_module("calculon.llm.llm").Llm
    system_name = "a100_80g" if row.hardware.startswith("a100") else "h100_80g_nvl8"
    figures = calculon.read_json_file(str(clone / "systems" / f"{system_name}.json"))
    figures["mem1"]["GiB"] = 10_000
    system = importlib.import_module("calculon.system").System(figures)
    dp = row.world_size // (setting.tp * setting.pp)
    application = llm.Application(
        {
            "hidden": setting.dim,
            "feedforward": int(setting.ffn),
            "seq_size": setting.seq_len,
            "attn_heads": setting.heads,
            "attn_size": setting.dim // setting.heads,
            "num_blocks": setting.layers,
        }
    )
    inside = 8 // setting.tp >= dp
    execution = llm.Execution.from_json(
        {
            "num_procs": row.world_size,
            "tensor_par": setting.tp,
            "pipeline_par": setting.pp,
            "data_par": dp,
            "tensor_par_net": 0,
            "pipeline_par_net": 1,
            "data_par_net": 0 if inside else 1,
            "batch_size": dp * setting.micro_batch * setting.micro_batches,
            "microbatch_size": setting.micro_batch,
            "datatype": "float16",
            "fused_activation": False,
            "attention_type": "multihead",
            "activation_recompute": setting.recompute,
            "pipeline_interleaving": 1,
            "optimizer_sharding": dp > 1,
            "tensor_par_comm_type": "rs_ag" if setting.tp > 1 else "ar",
            "tensor_par_overlap": "none",
            "seq_par_ag_redo": False,
            "data_par_overlap": dp > 1,
            "weight_offload": False,
            "activations_offload": False,
            "optimizer_offload": False,
            "training": True,
        }
    )
    model = llm(application, logging.getLogger("calculon"))
    try:
        model.compile(system, execution)
        model.run(system)
    except llm.Error as error:
        return str(error)
    return float(model.get_total_time())


def last_step(record: RankRecord) -> Iterator[int]:
    """Numbers of the operations of the last completed step, as they were issued."""
    program = record.program
    ends = program.step_ends
    for number in program.order[ends[-2] if len(ends) > 1 else 0 : ends[-1]]:
        instruction = program.instructions[number]
        if instruction.opcode is Opcode.EXECUTE:
            yield instruction.operand


def torch_seconds(record: RankRecord, hardware: Accelerator) -> float:
    """The sum of RuntimeEstimator's roofline over the operations of the last step."""
    costs = OperationCosts(hardware)
    total = 0.0
    for number in last_step(record):
        cost = costs.of(record.program.operations[number])
        if cost is not None:
            computing = cost.full_flops / 2 / (MACS_SHARE * (hardware.bfloat16_flops or 1.0))
            total += max(computing, cost.moved_bytes / (hardware.memory_bytes_per_s or 1.0))
    return total


def inductor_seconds(record: RankRecord, hardware: Accelerator) -> float:
    """The sum of inductor's estimates of the collectives of the last step."""
    analysis = importlib.import_module("torch._inductor.comm_analysis")
    kinds = {
        CollectiveOp.ALL_REDUCE: analysis.NCCL_COLL.ALL_REDUCE,
        CollectiveOp.ALL_GATHER_INTO_TENSOR: analysis.NCCL_COLL.ALL_GATHER,
        CollectiveOp.REDUCE_SCATTER_TENSOR: analysis.NCCL_COLL.REDUCE_SCATTER,
        CollectiveOp.ALL_TO_ALL_SINGLE: analysis.NCCL_COLL.ALL_TO_ALL,
    }
    generations = {8: analysis.NVIDIA_GPU_TYPE.AMPERE, 9: analysis.NVIDIA_GPU_TYPE.HOPPER, 10: analysis.NVIDIA_GPU_TYPE.BLACKWELL}
    generation = generations[hardware.compute_capability[0]]
    calls: Sequence[CollectiveRecord] = [each for each in record.collectives if each.step == record.steps - 1 and each.device is not None]
    with patch.object(analysis, "get_gpu_type", lambda: generation):
        milliseconds = [
            analysis.estimate_nccl_collective_runtime_impl(call.nbytes, len(call.group_ranks), kinds[call.op])
            for call in calls
            if call.op in kinds
        ]
    return float(sum(milliseconds)) / 1000


def line(row: Row, runs: Path, calculon: Path | None) -> list[str] | None:
    """The row's line of the table; None if its run is not there."""
    run = recorded(runs / row.id)
    if run is None:
        return None
    hardware, record = parse_hardware(row.hardware), run.ranks[0]
    step = Priced(row=row, step=step_of(row, run)).step
    published = row.published_s

    def cell(seconds: float | str) -> str:
        return seconds if isinstance(seconds, str) else f"{seconds:.3f} ({100 * (seconds / published - 1):+.0f} %)"

    communication = sum(each.seconds for each in step.slowest.communication)
    setting = SETTINGS.get(row.id)
    return [
        row.id,
        f"{published:.3f}",
        cell(step.seconds),
        "-" if calculon is None or setting is None else cell(calculon_seconds(calculon, row, setting)),
        cell(torch_seconds(record, hardware)),
        f"{communication:.3f}",
        f"{inductor_seconds(record, hardware):.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Other estimators on rows with a published step time.")
    parser.add_argument("--runs", type=Path, required=True, help="the run directories of step_time.py")
    parser.add_argument("--calculon", type=Path, help="a checkout of Calculon")
    args = parser.parse_args()
    rows = [Row(**row) for row in yaml.safe_load(ROWS.read_text(encoding="utf-8"))["rows"]]
    lines = [line(row, args.runs, args.calculon) for row in rows if row.id in SETTINGS]
    headers = ("row", "published", "fakerun, the sum", "Calculon", "RuntimeEstimator's formula", "communication, fakerun", "of inductor")
    print(tabulate([each for each in lines if each is not None], headers, tablefmt="pipe"))


if __name__ == "__main__":
    main()
