"""The cost of matching all ranks: seconds and memory for a job of 16,384 ranks and more than 10 million collective records.

The job is 3D-parallel, pipeline 16 x data 128 x tensor 8. Ranks of a pipeline stage issue the same calls, so they share one schedule, as
when records are read from a run directory. A stage of a step gathers, computes and scatters its layers (FSDP over dp), gathers
and scatters activations (tp), and sends them to the next stage and gradients back (pp). Each variant runs in its own process:

all          every rank
a quarter    a quarter of the data-parallel ranks: memory other than the records should differ little
unshared     `--unshared` ranks, each with its own schedule object, equal to that of its stage
mismatch     every rank, one of which skips a call: the cost of finding the root cause

    python scripts/dev/benchmark_matching.py
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

from fakerun.analysis.matching import matching_findings
from fakerun.call_site import CallSite
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.run import RankRecord
from fakerun.records.schedule import ProcessGroup, RankCalls, Schedule, ScheduledCall, Slot

PP, DP, TP = 16, 128, 8
VARIANTS = ("all", "a quarter", "unshared", "mismatch")

WORLD_SLOT, DP_SLOT, TP_SLOT, PP_SLOT = range(4)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds and memory of matching the ranks of a large job.")
    parser.add_argument("--layers", type=int, default=8, help="of each pipeline stage")
    parser.add_argument("--microbatches", type=int, default=18)
    parser.add_argument("--unshared", type=int, default=512, help="ranks with their own schedule objects")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)  # set in the measured processes
    return parser.parse_args()


def schedule(stage: int, dp: int, layers: int, microbatches: int) -> Schedule:
    """The calls of a rank of a stage in one step."""
    start = _call(CollectiveOp.BROADCAST, 74, 74, WORLD_SLOT, "train.py:40", root_group_rank=0, phase=Phase.OTHER)
    end = _call(CollectiveOp.ALL_REDUCE, 1, 1, WORLD_SLOT, "train.py:60", reduce_op="sum", phase=Phase.OTHER)
    calls = (
        start,
        *(_gather(DP_SLOT, 1_000_000 + layer, dp, "model.py:10", is_async=True) for layer in range(layers)),
        *(call for _ in range(microbatches) for call in _microbatch(stage, layers)),
        *(_scatter(DP_SLOT, 1_000_000 + layer, dp, "train.py:55") for layer in reversed(range(layers))),
        end,
    )
    slots = Slot("world", PP * dp * TP), Slot("dp", dp), Slot("tp", TP), Slot("pp", PP)
    return Schedule(slots, tuple(_placed(call, seq) for seq, call in enumerate(calls)))


def _placed(call: ScheduledCall, seq: int) -> ScheduledCall:
    """The call at this position; FSDP gathers a layer while the previous one computes."""
    return replace(call, seq=seq, waited_before=seq + 2 if call.is_async else None)


def _microbatch(stage: int, layers: int) -> Iterator[ScheduledCall]:
    if stage > 0:
        yield _p2p(CollectiveOp.RECV, PP - 1)
    for _ in range(layers):
        yield _gather(TP_SLOT, 4096, TP, "model.py:20")
        yield _scatter(TP_SLOT, 4096, TP, "model.py:24")
    if stage < PP - 1:
        yield _p2p(CollectiveOp.SEND, 1)
        yield _p2p(CollectiveOp.RECV, 1)
    for _ in range(layers):
        yield _gather(TP_SLOT, 4096, TP, "model.py:24")
        yield _scatter(TP_SLOT, 4096, TP, "model.py:20")
    if stage > 0:
        yield _p2p(CollectiveOp.SEND, PP - 1)


def _gather(slot: int, shard: int, size: int, line: str, **fields: Any) -> ScheduledCall:
    return _call(CollectiveOp.ALL_GATHER_INTO_TENSOR, shard, shard * size, slot, line, **fields)


def _scatter(slot: int, shard: int, size: int, line: str) -> ScheduledCall:
    return _call(CollectiveOp.REDUCE_SCATTER_TENSOR, shard * size, shard, slot, line, reduce_op="sum")


def _p2p(op: CollectiveOp, offset: int) -> ScheduledCall:
    return _call(op, 2_097_152, 2_097_152, PP_SLOT, "pipeline.py:30", peer_offset=offset)


@cache
def _site(line: str) -> CallSite:
    path, _, number = line.rpartition(":")
    return CallSite(path, int(number))


def _call(
    op: CollectiveOp,
    input_size: int,
    output_size: int,
    slot: int,
    line: str,
    *,
    phase: Phase = Phase.FORWARD,
    is_async: bool = False,
    reduce_op: str | None = None,
    root_group_rank: int | None = None,
    peer_offset: int | None = None,
) -> ScheduledCall:
    return ScheduledCall(
        seq=0,
        step=0,
        phase=phase,
        module=None,
        call_site=_site(line),
        op=op,
        dtype="bfloat16",
        input_sizes=() if op is CollectiveOp.RECV else ((input_size,),),
        output_sizes=() if op is CollectiveOp.SEND else ((output_size,),),
        nbytes=2 * max(input_size, output_size),
        reduce_op=reduce_op,
        tag=None,
        input_splits=None,
        output_splits=None,
        is_async=is_async,
        coalesced=None,
        device=0,
        waited=True,
        waited_before=None,
        slot=slot,
        root_group_rank=root_group_rank,
        peer_offset=peer_offset,
    )


def run(dp: int, layers: int, microbatches: int) -> list[RankRecord]:
    """All ranks: pp is the outermost axis, tp the innermost."""
    schedules = [schedule(stage, dp, layers, microbatches) for stage in range(PP)]
    stage_size = dp * TP
    size = PP * stage_size
    world = ProcessGroup("world", "0", tuple(range(size)))
    pp_groups = [ProcessGroup("pp", "1", tuple(range(first, size, stage_size))) for first in range(stage_size)]
    dp_groups = [
        [ProcessGroup("dp", "2", tuple(range(first + tp, first + stage_size, TP))) for tp in range(TP)]
        for first in range(0, size, stage_size)
    ]
    tp_groups = [ProcessGroup("tp", "3", tuple(range(first, first + TP))) for first in range(0, size, TP)]
    ranks = []
    for rank in range(size):
        stage, rank_in_stage = divmod(rank, stage_size)
        groups = world, dp_groups[stage][rank % TP], tp_groups[rank // TP], pp_groups[rank_in_stage]
        ranks.append(RankRecord(rank=rank, steps=1, collectives=RankCalls(rank, schedules[stage], groups)))
    return ranks


def ranks_of(variant: str, args: argparse.Namespace) -> list[RankRecord]:
    """The records to match."""
    sizes = args.layers, args.microbatches
    if variant == "unshared":
        ranks = run(args.unshared // (PP * TP), *sizes)
        return [replace(rank, collectives=_unshared(rank.collectives)) for rank in ranks]
    ranks = run(DP // 4 if variant == "a quarter" else DP, *sizes)
    if variant == "mismatch":
        ranks[77] = replace(ranks[77], collectives=_without(ranks[77].collectives, 100))
    return ranks


def _unshared(calls: Any) -> RankCalls:
    return RankCalls(calls.rank, deepcopy(calls.schedule), calls.groups)


def _without(calls: Any, index: int) -> RankCalls:
    kept = [replace(call, seq=seq) for seq, call in enumerate((*calls.schedule.calls[:index], *calls.schedule.calls[index + 1 :]))]
    return RankCalls(calls.rank, Schedule(calls.schedule.slots, tuple(kept)), calls.groups)


def measure(variant: str, args: argparse.Namespace) -> None:
    """Match once to measure time, and again to measure the memory that Python allocates."""
    ranks = ranks_of(variant, args)
    start, start_cpu = time.perf_counter(), time.process_time()
    findings = matching_findings(ranks)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    tracemalloc.start()
    matching_findings(ranks)
    matching_bytes = tracemalloc.get_traced_memory()[1]
    figures = {
        "ranks": len(ranks),
        "records": sum(len(rank.collectives) for rank in ranks),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "matching_bytes": matching_bytes,
        "process_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "findings": [(finding.code, finding.message) for finding in findings],
    }
    print(json.dumps(figures))


def main() -> None:
    args = parse_args()
    if args.worker:
        measure(args.worker, args)
        return
    print(f"{'':<10} {'ranks':>6} {'records':>11} {'seconds':>8} {'of CPU':>7} {'MiB for matching':>17} {'MiB of process':>15}  findings")
    for variant in VARIANTS:
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", variant]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{variant:<10} {figures['ranks']:>6} {figures['records']:>11,} {figures['seconds']:>8.2f} {figures['cpu_seconds']:>7.2f} "
            f"{figures['matching_bytes'] / 2**20:>17.1f} {figures['process_bytes'] / 2**20:>15.1f}  {len(figures['findings'])}"
        )
        for code, message in figures["findings"]:
            print(f"           {code}: {message}")


if __name__ == "__main__":
    main()
