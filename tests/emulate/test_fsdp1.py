"""FSDP1's flat parameters: sharded across parameter boundaries, and moved between host and device when offloaded."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import CPUOffload, FullOptimStateDictConfig, FullStateDictConfig, FullyShardedDataParallel, StateDictType
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from tests.in_process import Simulate
from tests.trace.seen import watch

PARAMETERS = 16 * 64 + 64 + 64 * 16 + 16
FROM_GPU, FROM_HOST = 0, None


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16))


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(2):
        model(torch.ones(2, 16, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("use_orig_params", [False, True])
@pytest.mark.parametrize("device_id", [FROM_GPU, FROM_HOST])
def test_offloaded_parameters_are_gathered_and_their_gradients_reduced(
    simulate: Simulate, use_orig_params: bool, device_id: int | None
) -> None:
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group("nccl")
    offload = CPUOffload(offload_params=True)
    model = FullyShardedDataParallel(network(), cpu_offload=offload, use_orig_params=use_orig_params, device_id=device_id)
    optimizer = torch.optim.AdamW(model.parameters())
    with watch(simulation) as seen:
        train(model, optimizer)
    assert [(call.op, call.nbytes) for call in seen.collectives] == [
        ("all_gather_into_tensor", PARAMETERS * 4),
        ("reduce_scatter_tensor", PARAMETERS * 4),
    ] * 2
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert {state["exp_avg"].device.type for state in optimizer.state.values()} == {"cpu"}


@pytest.mark.parametrize("wrapped", [set(), {nn.Linear}], ids=["one flat parameter", "nested"])
@pytest.mark.parametrize("rank", range(4))
def test_optimizer_state_is_whole_though_each_rank_has_a_part(simulate: Simulate, rank: int, wrapped: set[type[nn.Module]]) -> None:
    simulate(rank, nproc_per_node=4)
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl")
    model = FullyShardedDataParallel(network(), auto_wrap_policy=ModuleWrapPolicy(wrapped), use_orig_params=True, device_id=rank)
    optimizer = torch.optim.AdamW(model.parameters())
    train(model, optimizer)
    whole = FullStateDictConfig(), FullOptimStateDictConfig()
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.FULL_STATE_DICT, *whole):
        states = FullyShardedDataParallel.optim_state_dict(model, optimizer)["state"]
    assert {name: state["exp_avg"].shape for name, state in states.items()} == {
        "0.weight": (64, 16),
        "0.bias": (64,),
        "2.weight": (16, 64),
        "2.bias": (16,),
    }
    assert {state["step"].item() for state in states.values()} == {2}
