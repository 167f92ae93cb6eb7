"""Recurrent layers of cuDNN: the products with the inputs for all steps at once, those with the states step by step.

Of each layer and direction forward multiplies all inputs with one matrix of weights, and in each step the state with another one; kernels
between the products compute the gates. Backward takes the steps the other way, and multiplies for the gradients of the inputs and of both
matrices for all steps at once. cuDNN computes float32 in TF32 unless it is told not to.

cuDNN also lets layers overlap, and has kernels that keep the weights of the state from step to step: see `RANGE`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation
from fakerun.analysis.time.operations.matrix_products import Product, product_cost
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates
from fakerun.device_memory.kernels.operands import TensorOperand

RANGE = (0.5, 2.0)
"""From how much to how much of the estimate recurrent layers are taken to last: which of its ways cuDNN takes is not known. Assumed."""

OPERATORS = ("_cudnn_rnn", "_cudnn_rnn_backward")


def _layers(weights: Sequence[TensorOperand]) -> Iterator[tuple[TensorOperand, TensorOperand]]:
    """Of each layer and direction the matrices of inputs and of states, `[gates x hidden, size]`.

    Biases have one dimension. A projection `[projected, hidden]` has no more rows than states have columns, and none of its gates.
    """
    matrices = [each for each in weights if len(each.sizes) == 2]
    rows = matrices[0].sizes[0] if matrices else 0
    of_gates = [each for each in matrices if each.sizes[0] == rows]
    yield from zip(of_gates[::2], of_gates[1::2], strict=False)


def _cost(operation: DescribedOperation, rates: Rates, *, is_backward: bool) -> OperationCost:
    inputs = operation.operands.tensors[0]
    weights = next(iter(operation.operands.tensor_lists), ())
    named = operation.operands.named.get("steps")
    steps = max(named if isinstance(named, int) else 1, 1)
    rows = inputs.numel // inputs.sizes[-1]
    batch = max(rows // steps, 1)
    dtype = "tf32" if inputs.dtype == "float32" else inputs.dtype
    seconds, flops, kernels = 0.0, 0, 0
    bases = []
    for of_inputs, of_states in _layers(weights):
        gates, size = of_inputs.sizes
        hidden = of_states.sizes[1]
        step = Product(batch, hidden, gates) if is_backward else Product(batch, gates, hidden)
        at_once = [Product(rows, gates, size)]
        if is_backward:
            at_once = [Product(rows, size, gates), Product(gates, size, rows), Product(gates, hidden, rows)]
        costs = [(product_cost(each, dtype, _bytes(each, inputs), rates), 1) for each in at_once]
        costs.append((product_cost(step, dtype, _bytes(step, inputs), rates), steps))
        gates_s = max(LAUNCH_S, 2 * batch * gates * inputs.element_bytes / rates.memory_bytes_per_s)
        seconds += sum(cost.seconds * count for cost, count in costs) + steps * gates_s
        flops += sum(cost.flops * count for cost, count in costs)
        kernels += len(at_once) + 2 * steps
        bases += [cost.basis for cost, _ in costs]
    return OperationCost(
        kind=OperationKind.MATRIX_PRODUCT,
        seconds=max(seconds, LAUNCH_S),
        basis=max(bases, key=tuple(Basis).index, default=Basis.ROOFLINE),
        kernels=max(kernels, 1),
        flops=flops,
        full_flops=flops,
        moved_bytes=operation.moved_bytes,
    )


def _bytes(product: Product, like: TensorOperand) -> int:
    """What a product reads and writes."""
    rows, columns, depth = product.rows, product.columns, product.depth
    return (rows * depth + depth * columns + rows * columns) * like.element_bytes


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    operator: partial(_cost, is_backward=operator.endswith("backward")) for operator in OPERATORS
}
