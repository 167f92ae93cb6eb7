"""Pipelines whose stages infer their shapes from each other, all ranks simulated: each stage receives what the previous one sends."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from tests.commands import fakerun
from tests.compatibility.cases.model_parallel import (
    IN_A_LOOP,
    IN_A_ROW,
    IN_A_V,
    OTHER_VOTES,
    pipeline_messages,
    pipeline_messages_from_2_15,
    stage_owners,
)
from tests.oracles.programs import installed_torch

PROGRAM = "tests/programs/pipeline_by_schedule.py"
PIPELINE, REPLICAS, STEPS = 4, 2, 2

ONE_WAY, BOTH_WAYS = {("recv",), ("send",)}, {("recv",), ("send",), ("recv", "send")}
"""What is issued as one: torch batches objects, and messages where neighbours exchange two, which would wait for each other otherwise."""

Call = Mapping[str, Any]


@pytest.mark.skipif(installed_torch() < (2, 13), reason=OTHER_VOTES)
@pytest.mark.parametrize("schedule", IN_A_ROW + IN_A_LOOP + IN_A_V)
def test_a_pipeline_of_replicas_fits_together(schedule: str) -> None:
    owners = stage_owners(schedule, PIPELINE)
    stages = [[index for index, owner in enumerate(owners) if owner == place] for place in range(PIPELINE)]
    words = ("--world-size", str(PIPELINE * REPLICAS), "--ranks", "all", "--steps", str(STEPS + 1), "--format", "json")
    result = fakerun(PROGRAM, *words, "--", schedule, *(",".join(map(str, each)) for each in stages))
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert not [finding for finding in report["findings"] if finding["severity"] == "error"]
    calls = [rank["collectives"] for rank in report["ranks"]]
    for rank, made in enumerate(calls):
        place = rank // REPLICAS
        assert Counter(call["op"] for call in made) == _operations(schedule, place, len(stages[place]))
    assert all(_ways(made) == (BOTH_WAYS if schedule == "Schedule1F1B" else ONE_WAY) for made in calls)
    sent, received = _messages("send", calls), _messages("recv", calls)
    assert sent == received
    assert set(sent) == _neighbours(owners)


SMALL = ("--dim", "64", "--heads", "4", "--vocab", "64", "--seq-len", "32", "--layers", "8")


@pytest.mark.parametrize(
    ("program", "words", "chunks"),
    [
        ("megatron_shaped.py", ("--kv-heads", "4", "--ffn", "96"), 1),
        ("megatron_gpt.py", ("--tp", "1", "--recompute", "full"), 2),
    ],
)
def test_chunks_of_published_programs_are_passed_through_in_turn(program: str, words: tuple[str, ...], chunks: int) -> None:
    """Each micro-batch goes through all stages once for each chunk, and from the last to the first one in between; its gradient back."""
    micro_batches = 2 * PIPELINE
    options = ("--world-size", str(PIPELINE), "--ranks", "all", "--steps", "1", "--format", "json")
    arguments = (*SMALL, *words, "--pp", str(PIPELINE), "--vp", str(chunks), "--micro-batches", str(micro_batches))
    result = fakerun(f"scripts/dev/published/{program}", *options, "--", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert not [finding for finding in report["findings"] if finding["severity"] == "error"]
    sent = _messages("send", [rank["collectives"] for rank in report["ranks"]])
    hops = dict.fromkeys(pairwise(range(PIPELINE)), chunks) | ({(PIPELINE - 1, 0): chunks - 1} if chunks > 1 else {})
    both_ways = hops | {(after, before): times for (before, after), times in hops.items()}
    assert {pair: len(found) for pair, found in sent.items()} == {pair: micro_batches * times for pair, times in both_ways.items()}


def _operations(schedule: str, place: int, stages: int) -> dict[str, int]:
    """Of the pipeline, and of FSDP: each stage is gathered once a step, and to learn its shapes; its gradients are reduced once a step."""
    counts = pipeline_messages_from_2_15 if installed_torch() >= (2, 15) else pipeline_messages
    fsdp = {"all_gather_into_tensor": stages * (STEPS + 1), "reduce_scatter_tensor": stages * STEPS}
    return {**counts(schedule, "inferred", PIPELINE, place), **fsdp}


def _messages(op: str, calls: Sequence[Sequence[Call]]) -> dict[tuple[int, int], list[tuple[str, list[list[int]]]]]:
    """By sender and receiver: what goes from the one to the other, in order."""
    found = defaultdict(list)
    for rank, made in enumerate(calls):
        for call in made:
            if call["op"] == op:
                pair = (rank, call["peer"]) if op == "send" else (call["peer"], rank)
                found[pair].append((call["dtype"], call["input_sizes"] or call["output_sizes"]))
    return dict(found)


def _ways(made: Sequence[Call]) -> set[tuple[str, ...]]:
    """Which operations were issued as one."""
    batches = defaultdict(set)
    for call in made:
        if call["coalesced"] is not None:
            batches[call["coalesced"]].add(call["op"])
    return {tuple(sorted(ops)) for ops in batches.values()}


def _neighbours(owners: Sequence[int]) -> set[tuple[int, int]]:
    """The pairs of ranks that have a stage and the next one, either way, in each replica."""
    hops = [(one, other) for one, other in pairwise(owners) if one != other]
    both_ways = {*hops, *((other, one) for one, other in hops)}
    return {(one * REPLICAS + i, other * REPLICAS + i) for one, other in both_ways for i in range(REPLICAS)}
