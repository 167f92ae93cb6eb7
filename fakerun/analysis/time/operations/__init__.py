"""What one operation costs on an idle device: tables first, rates of the card else. Each cost says which of them it is.

1. `described_operation` reads an operation: operator, arguments, results, the bytes it must move.
2. `rates` has what the kernels of an accelerator reach.
3. `matrix_products`, `attention` and `convolutions` compute; `tensor_lists` has optimizers and all else that works on lists; `indexing`,
   `softmax` and `host_copies` have rules of their own; `moved_bytes` is everything else, with the `limits` that were measured.
4. `async_tensor_parallel` puts products beside their collectives where `torch.compile` would, and `fusion` makes one operation of each run
   that it would fuse.
5. `operation_costs` asks them, each distinct operation once, at the clock that `operations_of_step` leaves: how much of a step computes.

Costs are those of sustained clocks: `rates` says how products and attention slow down at the power limit of the card.
"""

from fakerun.analysis.time.operations.operation_costs import OperationCosts

__all__ = ["OperationCosts"]
