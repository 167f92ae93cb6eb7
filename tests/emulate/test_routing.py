"""The scenario for choices by unknown values (`--routing`), which all ranks apply consistently."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import HashStore
from torch.distributed._functional_collectives import all_to_all_single, all_to_all_single_autograd

from fakerun.job.routing import Routing
from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate, simulation_of

BALANCED, WORST = Routing


def scores(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda")


CHOICES: dict[str, tuple[Callable[[], torch.Tensor], Any, Any]] = {
    "topk": (lambda: scores(3, 4).topk(2).indices, [[0, 1], [2, 3], [0, 1]], [[0, 1], [0, 1], [0, 1]]),
    "topk of batches": (lambda: scores(2, 1, 4).topk(1).indices, [[[0]], [[1]]], [[[0]], [[0]]]),
    "topk along another dimension": (lambda: scores(4, 2).topk(3, dim=0).indices, [[0, 3], [1, 0], [2, 1]], [[0, 0], [1, 1], [2, 2]]),
    "argmax": (lambda: scores(3, 2).argmax(-1), [0, 1, 0], [0, 0, 0]),
    "argmax that keeps its dimension": (lambda: scores(3, 2).argmax(-1, keepdim=True), [[0], [1], [0]], [[0], [0], [0]]),
    "max": (lambda: scores(3, 2).max(dim=1).indices, [0, 1, 0], [0, 0, 0]),
    "the first of a sort": (lambda: scores(3, 3).sort(descending=True)[1][:, :1], [[0], [1], [2]], [[0], [0], [0]]),
    "argsort": (lambda: scores(2, 3).argsort(dim=-1), [[0, 1, 2], [1, 2, 0]], [[0, 1, 2], [0, 1, 2]]),
    "one draw for each": (lambda: scores(3, 2).softmax(-1).multinomial(1), [[0], [1], [0]], [[0], [0], [0]]),
    "one token": (lambda: scores(4).topk(2).indices, [0, 1], [0, 1]),
    "of a graph": (lambda: nn.Linear(4, 2, device="cuda")(scores(3, 4)).softmax(-1).topk(1)[1], [[0], [1], [0]], [[0], [0], [0]]),
}


def codes(simulation: Simulation) -> list[str]:
    """The codes of findings, without those that any test which is not a training script has."""
    found = [finding.code for finding in simulation.record(None).findings]
    return [code for code in found if code not in ("no-process-group", "no-optimizer-step")]


@pytest.mark.parametrize("routing", Routing)
@pytest.mark.parametrize("name", CHOICES)
def test_choices_follow_the_scenario_and_reading_them_is_noted(simulate: Simulate, name: str, routing: Routing) -> None:
    simulation = simulate(routing=routing)
    choose, *expected = CHOICES[name]
    chosen = choose()
    assert codes(simulation) == []
    assert chosen.tolist() == expected[list(Routing).index(routing)]
    assert codes(simulation) == ["assumed-routing"]


def test_one_choice_out_of_everything_is_not_assumed(simulation: Simulation) -> None:
    chosen = [scores(3, 4).argmax().item()]  # what a check reads, it passes
    assert chosen == [1]
    assert codes(simulation) == ["unknown-value"]


FOLLOWING: dict[str, tuple[Callable[[torch.Tensor], Any], Any]] = {
    "histogram": (lambda chosen: torch.histc(chosen.flatten(), 4, 0, 3).tolist(), [3, 3, 3, 3]),
    "bincount": (lambda chosen: torch.bincount(chosen.flatten(), minlength=4).tolist(), [3, 3, 3, 3]),
    "one-hot": (lambda chosen: nn.functional.one_hot(chosen, 4).sum((0, 1)).tolist(), [3, 3, 3, 3]),
    "scattered map": (lambda chosen: torch.zeros(6, 4, device="cuda").scatter(1, chosen, 1).sum(0).tolist(), [3.0] * 4),
    "tokens of an expert": (lambda chosen: torch.where((chosen == 1).any(-1))[0].tolist(), [0, 2, 4]),
    "permutation": (lambda chosen: (chosen.flatten().argsort(stable=True) // 2).tolist(), [0, 2, 4, 0, 2, 4, 1, 3, 5, 1, 3, 5]),
    "places in a capacity": (lambda chosen: nn.functional.one_hot(chosen[:, 0], 4).cumsum(0)[-1].tolist(), [3, 0, 3, 0]),
    "rows of an expert": (lambda chosen: scores(6, 8)[(chosen == 2).any(-1)].shape[0], 3),
    "unknown rows under a known map": (lambda chosen: scores(6, 2).masked_select(chosen == 2).shape[0], 3),
    "groups, then experts of the groups": (lambda chosen: _within_groups(chosen), [[0, 1], [2, 3], [0, 1], [2, 3], [0, 1], [2, 3]]),
}


def _within_groups(groups: torch.Tensor) -> Any:
    refused = torch.ones(6, 4, dtype=torch.bool, device="cuda").scatter_(1, groups, False)
    return scores(6, 4).masked_fill(refused, float("-inf")).topk(2).indices.tolist()


@pytest.mark.parametrize("name", FOLLOWING)
def test_what_follows_from_choices_is_exact(simulation: Simulation, name: str) -> None:
    follow, expected = FOLLOWING[name]
    assert follow(scores(6, 4).topk(2).indices) == expected
    assert set(codes(simulation)) == {"assumed-routing"}


def test_the_counts_of_many_tokens_and_experts_are_followed(simulation: Simulation) -> None:
    chosen = scores(8192, 128).topk(8).indices
    received = nn.functional.one_hot(chosen, 128).permute(2, 1, 0).sum((-1, -2))
    assert received.tolist() == [8192 * 8 // 128] * 128
    assert codes(simulation) == ["assumed-routing"]


def test_gradients_reach_the_scores(simulation: Simulation) -> None:
    router = nn.Linear(8, 4, device="cuda")
    weights, chosen = router(scores(6, 8)).softmax(-1).topk(2)
    (weights * chosen).sum().backward()
    assert router.weight.grad is not None
    assert router.weight.grad.shape == (4, 8)


# -- all ranks mean the same ---------------------------------------------------------------------------------------------------------


def dispatched(rank: int, routing: Routing, *, tokens: int, experts: int, k: int, ranks: int) -> tuple[list[int], list[int], int]:
    """What a rank sends to each other and receives from each, in tokens, and how many its own experts work on."""
    with simulation_of(rank, nproc_per_node=ranks, routing=routing)[0]:
        dist.init_process_group("nccl", rank=rank, world_size=ranks, store=HashStore())
        group = dist.new_group()
        chosen = scores(tokens, experts).topk(k).indices.flatten()
        counts = torch.histc(chosen, experts, 0, experts - 1)
        with torch.no_grad():
            arriving = all_to_all_single(counts, None, None, group).view(ranks, -1)
        sent = counts.view(ranks, -1).sum(1).to("cpu", non_blocking=True).tolist()
        received = arriving.sum(1).to("cpu").tolist()
        rows = scores(tokens, 16)[chosen.argsort(stable=True) // k]
        arrived = all_to_all_single_autograd(rows, received, sent, group)
        assert arrived.shape == (sum(received), 16)
        assert arriving.sum(0).sum().item() == sum(received)
        dist.destroy_process_group()
    return sent, received, sum(received)


@pytest.mark.parametrize("routing", Routing)
@pytest.mark.parametrize(
    ("tokens", "experts", "k", "ranks"), [(8, 4, 1, 2), (37, 8, 2, 4), (7, 6, 3, 2), (5, 8, 2, 8), (64, 16, 4, 4), (3, 4, 4, 4)]
)
def test_what_a_rank_sends_is_what_its_peer_receives(routing: Routing, tokens: int, experts: int, k: int, ranks: int) -> None:
    shape = {"tokens": tokens, "experts": experts, "k": k, "ranks": ranks}
    dispatches = [dispatched(rank, routing, **shape) for rank in range(ranks)]
    for sender in range(ranks):
        for receiver in range(ranks):
            assert dispatches[sender][0][receiver] == dispatches[receiver][1][sender]
    assert [sum(sent) for sent, _, _ in dispatches] == [tokens * k] * ranks
    assert sum(received for _, _, received in dispatches) == tokens * k * ranks
    assert [sent for sent, _, _ in dispatches] == [_sent_by_formula(routing, **shape)] * ranks


def _sent_by_formula(routing: Routing, *, tokens: int, experts: int, k: int, ranks: int) -> list[int]:
    """Token t's j-th choice is expert (t * k + j) mod E; at worst it is expert j."""
    start = k if routing is BALANCED else 0
    owners = Counter((t * start + j) % experts // (experts // ranks) for t in range(tokens) for j in range(k))
    return [owners[rank] for rank in range(ranks)]
