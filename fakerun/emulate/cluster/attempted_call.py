"""A communication call before it is issued, and how to reject it with the backend's error."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from fakerun.errors import as_script_error
from fakerun.records.collective import CollectiveOp


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptedCall:
    """A communication call before it is issued. `root` and `peer` are ranks in the group; no peer is -1."""

    op: CollectiveOp
    group: dist.ProcessGroup
    inputs: Sequence[torch.Tensor]
    outputs: Sequence[torch.Tensor]
    reduce_op: str | None
    root: int | None
    peer: int | None
    input_splits: tuple[int, ...] | None
    output_splits: tuple[int, ...] | None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (*self.inputs, *self.outputs)


def raise_if(condition: bool, kind: type[Exception], message: str) -> None:
    """Raise the exception, labelled as the script's own, if the condition holds."""
    if condition:
        raise as_script_error(kind(message))


def invalid_argument(detail: str) -> str:
    """The message of torch for an error that NCCL found in its arguments, without the line in torch's sources and NCCL's version."""
    return (
        "NCCL error in: ProcessGroupNCCL.cpp, invalid argument (run with NCCL_DEBUG=WARN for details)\n"
        f"ncclInvalidArgument: Invalid value for an argument.\nLast error:\n{detail}"
    )
