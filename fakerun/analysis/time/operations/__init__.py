"""What one operation costs on an idle device: tables first, rates of the card else. Each cost says which of them it is.

1. `described_operation` reads an operation: operator, arguments, results, the bytes it must move.
2. `rates` has what the kernels of an accelerator reach.
3. `matrix_products`, `attention`, `convolutions`: what computes. `tensor_lists`: optimizers and what works on lists. `moved_bytes`: all else.
4. `operation_costs` asks them, each distinct operation once.

Costs are those of sustained clocks: `rates` says how products and attention slow down at the power limit of the card.
"""

from fakerun.analysis.time.operations.operation_costs import OperationCosts

__all__ = ["OperationCosts"]
