"""FSDP1's optimizer state, gathered for a checkpoint: the state that ranks which are not simulated would report.

A flat parameter is sharded across parameter boundaries, so a rank has state for some of them only, and the ranks tell each other which
(`all_gather_object`). Copies of this rank's answer would not cover the parameter. The shard boundaries follow from its layout.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import (
    FLAT_OPTIMIZER_STATE,
    FLAT_STATE_KEYS,
    FLAT_STATE_OF_ALL,
    FlatStateKey,
    FlatStateTensor,
    flat_parameter_shards,
)

State = Mapping[str, Any]


@contextmanager
def flat_optimizer_state(context: EmulationContext) -> Iterator[None]:
    """Let FSDP1 find complete optimizer states, though only the simulated ranks report their own."""
    states = _States(context.job.ranks)
    with Patches() as patches:
        for name, answer in ((FLAT_STATE_KEYS, states.keys), (FLAT_STATE_OF_ALL, states.of_all_ranks)):
            patches.set(FLAT_OPTIMIZER_STATE, name, answer(getattr(FLAT_OPTIMIZER_STATE, name)))
        yield


class _States:
    """Replaces the two exchanges of FSDP1: which parameters have state, and the metadata of each state."""

    def __init__(self, simulated: Collection[int]) -> None:
        self._simulated = simulated
        self._managed: Mapping[str, Any] = {}
        """What FSDP1 knows of each parameter (its `FSDPParamInfo`), by name."""
        self._example: State = {}
        """The state of any parameter: a rank whose shard of a small flat parameter is empty has none of its own."""

    def keys(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def map_keys(optim_state: Any, group: Any, key_to_param: Any, names_of: Any, managed: Any, merge_keys: bool = False) -> Any:
            keys, own = original(optim_state, group, key_to_param, names_of, managed, merge_keys)
            states, self._managed = optim_state["state"], managed
            self._example = next(iter(states.values()), {})
            if merge_keys and states and self._not_simulated(group):
                elsewhere = (tuple(names_of[each]) for each in key_to_param.values() if each.requires_grad and not each.numel())
                keys = sorted({*keys, *(FlatStateKey(names, names[0] in managed) for names in elsewhere)})
            return keys, own

        return map_keys

    def of_all_ranks(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def gather(fsdp_state: Any, input_states: Mapping[str, State]) -> Any:
            gathered = original(fsdp_state, input_states)
            example = next(filter(None, input_states.values()), self._example)
            for rank in self._not_simulated(fsdp_state.process_group):
                for name, state in input_states.items():
                    has_state = state or not self._elements(name, fsdp_state.rank)  # a shard here without state: no rank has any
                    elements = self._elements(name, rank) if has_state else 0
                    gathered[rank][name] = _state_info(example if elements else {}, elements)
            return gathered

        return gather

    def _elements(self, name: str, rank: int) -> int:
        """How many elements of the parameter lie in the shard of that rank of its group."""
        info = self._managed[name]
        shards = flat_parameter_shards(info.handle, rank)
        return int(shards[info.param_indices[name]].numel_in_shard or 0)

    def _not_simulated(self, group: Any) -> Sequence[int]:
        """The members of the group that are not simulated, by their rank in it."""
        ranks = dist.get_process_group_ranks(group)
        return [i for i, rank in enumerate(ranks) if rank not in self._simulated and i != dist.get_rank(group)]


def _state_info(state: State, elements: int) -> Any:
    """What a rank reports for a state like this one, with this many elements of the parameter."""
    info = FLAT_OPTIMIZER_STATE.StateInfo({}, {}, {})
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            info.non_tensors[name] = value
        elif value.dim() == 0:
            info.scalar_tensors[name] = value.cpu()
        else:
            info.tensors[name] = FlatStateTensor(torch.Size([elements]), value.dtype)
    return info
