"""An independent recorder of communication: runs a training script under the real torchrun and writes down every call that a rank issues.

torchrun --nproc-per-node 4 tests/oracles/recorder.py OUT_DIR train.py [script args]

It imports nothing of fakerun and observes another level. Every communication of `torch.distributed`, whatever starts it (Python, DTensor's
functional collectives, autograd, DDP's reducer in C++), ends in one operator of the dispatcher's `c10d` namespace; a functional collective,
too, shows there once, as the operator that it calls. This module puts a kernel of its own in front of each of those operators, for all
threads and under whatever modes are active: it writes one line and calls on.

OUT_DIR/rank_N.jsonl holds one call per line, in order, each written at once, so it is there whatever becomes of the script. The fields:

op             torch's name of the call, without underscores, overloads and "coalesced"
group_ranks    global ranks of the group, in group order
dtype          of what is sent, or of what is received where nothing is sent; null for a barrier
input_sizes    of the tensors that this rank hands in; for calls in place (all_reduce, broadcast, reduce) of the tensors worked on
output_sizes   of the tensors that this rank gets back; for calls in place the same tensors again
reduce_op      in lower case, or null
root, peer     global rank, or null

OUT_DIR/rank_N.state.json holds what the optimizer held after its last step: for parameters, gradients, optimizer_state and step_counts, the
bytes of each storage behind them.
"""

import json
import os
import runpy
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_post_hook

OPERATORS = {
    "allreduce_": "all_reduce",
    "allreduce_coalesced_": "all_reduce",
    "allgather_": "all_gather",
    "allgather_coalesced_": "all_gather",
    "_allgather_base_": "all_gather_into_tensor",
    "allgather_into_tensor_coalesced_": "all_gather_into_tensor",
    "reduce_": "reduce",
    "reduce_scatter_": "reduce_scatter",
    "_reduce_scatter_base_": "reduce_scatter_tensor",
    "reduce_scatter_tensor_coalesced_": "reduce_scatter_tensor",
    "broadcast_": "broadcast",
    "scatter_": "scatter",
    "gather_": "gather",
    "gather_into_tensor_": "gather",  # from torch 2.15
    "alltoall_": "all_to_all",
    "alltoall_base_": "all_to_all_single",
    "send": "send",
    "recv_": "recv",
    "recv_any_source_": "recv",
    "barrier": "barrier",
    "monitored_barrier_": "barrier",
}
"""Every communicating operator of the c10d namespace, in all versions of torch, and what the record calls it."""

INPUTS = ("input", "input_list", "input_tensor", "input_tensors", "inputs")
OUTPUTS = ("output", "output_lists", "output_tensor", "output_tensors", "outputs")
IN_PLACE = ("tensors",)
"""Names that the operators' schemas give to tensors. (`tensor` belongs to barriers and only tells the device.)"""

SEEN_GROUPS: dict[int, dist.ProcessGroup] = {}
"""Kept until the process ends: destroying a group waits for gloo's threads, and these may wait for Python's lock, to release tensors that
have passed through Python here (torch 2.13: a hang, or "Resource deadlock avoided")."""

Arguments = dict[str, Any]
Call = dict[str, Any]


def tensors_in(value: object) -> list[torch.Tensor]:
    """The tensors in an argument that is a tensor, a list of tensors, or a list of lists of them."""
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_in(item)]
    return [value] if isinstance(value, torch.Tensor) else []


def describe(op: str, arguments: Arguments) -> Call:
    """One line of the record, from the arguments of the c10d operator."""

    def tensors(*names: str) -> list[torch.Tensor]:
        return [tensor for name in names for tensor in tensors_in(arguments.get(name))]

    # A sender's tensors only leave and a receiver's only arrive; in every other call with `tensors` they do both.
    inputs = tensors(*INPUTS, *(() if op == "recv" else IN_PLACE))
    outputs = tensors(*OUTPUTS, *(() if op == "send" else IN_PLACE))
    group = dist.ProcessGroup.unbox(arguments["process_group"])
    SEEN_GROUPS[id(group)] = group
    ranks = dist.get_process_group_ranks(group)

    def global_rank(name: str) -> int | None:
        return ranks[arguments[name]] if name in arguments else None

    return {
        "op": op,
        "group_ranks": ranks,
        "dtype": next((str(tensor.dtype).removeprefix("torch.") for tensor in inputs + outputs), None),
        "input_sizes": [list(tensor.shape) for tensor in inputs],
        "output_sizes": [list(tensor.shape) for tensor in outputs],
        "reduce_op": dist.ReduceOp.RedOpType(arguments["reduce_op"].op()).name.lower() if "reduce_op" in arguments else None,
        "root": global_rank("root_rank"),
        "peer": global_rank("dst" if op == "send" else "src"),
    }


def observed(operator: Any, op: str, write: Callable[[Call], None]) -> Callable[..., object]:
    """A kernel for `operator` that writes the call and then does what would have been done."""
    names = [argument.name for argument in operator._schema.arguments]
    below = torch._C._dispatch_keyset_full_after(torch._C.DispatchKey.BackendSelect)

    def kernel(keyset: torch._C.DispatchKeySet, *args: object) -> object:
        write(describe(op, dict(zip(names, args, strict=False))))
        return operator.redispatch(keyset & below, *args)

    return kernel


def observe(write: Callable[[Call], None]) -> torch.library.Library:
    """Hand every communication of this process to `write`, until the returned library is dropped.

    BackendSelect is a dispatch key that is part of every call in every thread, below autograd and all modes, and that c10d leaves free.
    """
    library = torch.library.Library("c10d", "IMPL")
    for name in filter(partial(hasattr, torch.ops.c10d), OPERATORS):
        operator, op = getattr(torch.ops.c10d, name).default, OPERATORS[name]
        library.impl(name, observed(operator, op, write), "BackendSelect", with_keyset=True)
    return library


def storage_bytes(tensors: Iterable[torch.Tensor]) -> list[int]:
    """The size of every storage behind `tensors`, of a DTensor behind its local tensor; a storage that several share counts once."""
    local = (tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors)
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in local}
    return [storage.nbytes() for storage in storages.values()]


def describe_state(optimizer: torch.optim.Optimizer) -> dict[str, list[int]]:
    """What the optimizer holds. The counts of steps are apart, as they are not where the rest is."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    values = [item for parameter in parameters for item in optimizer.state[parameter].items() if item[1] is not None]
    return {
        "parameters": storage_bytes(parameters),
        "gradients": storage_bytes(parameter.grad for parameter in parameters if parameter.grad is not None),
        "optimizer_state": storage_bytes(value for name, value in values if name != "step"),
        "step_counts": storage_bytes(value for name, value in values if name == "step"),
    }


def line_writer(stream: TextIO) -> Callable[[Call], None]:
    def write(call: Call) -> None:
        stream.write(json.dumps(call) + "\n")
        stream.flush()

    return write


def record_script(calls: Path, script: str, args: Sequence[str], *, with_state: bool) -> None:
    """Run `script` as Python's main program, and write its calls; with what its optimizer holds beside them."""
    state = calls.with_suffix(".state.json")

    def write_state(optimizer: torch.optim.Optimizer, *_: object) -> None:
        state.write_text(json.dumps(describe_state(optimizer)))

    if with_state:
        register_optimizer_step_post_hook(write_state)
    sys.argv = [script, *args]
    sys.path[0] = str(Path(script).parent.resolve())
    with calls.open("w") as stream:
        library = observe(line_writer(stream))
        runpy.run_path(script, run_name="__main__")
        del library


def main() -> None:
    directory, script, *args = sys.argv[1:]
    calls = Path(directory, f"rank_{os.environ['RANK']}.jsonl")
    calls.parent.mkdir(parents=True, exist_ok=True)
    record_script(calls, script, args, with_state=True)


if __name__ == "__main__":
    main()
