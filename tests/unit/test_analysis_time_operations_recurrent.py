"""Recurrent layers of cuDNN: products for all steps at once, and step by step."""

import pytest

from fakerun.analysis.time.costs import OperationCost, OperationKind
from fakerun.analysis.time.operations.operation_costs import OperationCosts
from fakerun.analysis.time.operations.rates import LAUNCH_S
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.device_program import Operation

STEPS, BATCH, INPUTS, HIDDEN = 50, 64, 256, 512
H100 = OperationCosts(hardware_named("h100-80gb"))


def lstm(*, steps: int = STEPS, layers: int = 1, dtype: str = "bfloat16", backward: bool = False, projected: int = 0) -> OperationCost:
    gates = 4 * HIDDEN
    state = projected or HIDDEN
    weights = [
        text
        for layer in range(layers)
        for text in (
            f"{dtype}[{gates},{state if layer else INPUTS}]",
            f"{dtype}[{gates},{state}]",
            f"{dtype}[{gates}] x 2",
            *([f"{dtype}[{state},{HIDDEN}]"] if projected else []),
        )
    ]
    inputs, states = f"{dtype}[{BATCH},{steps},{INPUTS}]", f"{dtype}[{layers},{BATCH},{HIDDEN}]"
    results = f"{inputs}, [{', '.join(weights)}]" if backward else f"{dtype}[{BATCH},{steps},{state}], {states}, {states}"
    name = "aten._cudnn_rnn_backward.default" if backward else "aten._cudnn_rnn.default"
    cost = H100.of(Operation(name, f"{inputs}, [{', '.join(weights)}], steps={steps}", results))
    assert cost is not None
    return cost


def product(rows: int, columns: int, depth: int, dtype: str = "bfloat16") -> OperationCost:
    shown = f"{dtype}[{rows},{depth}], {dtype}[{depth},{columns}]" + (", tf32=True" if dtype == "float32" else "")
    cost = H100.of(Operation("aten.mm.default", shown, f"{dtype}[{rows},{columns}]"))
    assert cost is not None
    return cost


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_layer_multiplies_all_inputs_at_once_and_the_state_in_each_step(dtype: str) -> None:
    at_once = product(STEPS * BATCH, 4 * HIDDEN, INPUTS, dtype)
    step = product(BATCH, 4 * HIDDEN, HIDDEN, dtype)
    found = lstm(dtype=dtype)
    assert found.kind is OperationKind.MATRIX_PRODUCT
    assert found.flops == at_once.flops + STEPS * step.flops
    assert found.seconds == pytest.approx(at_once.seconds + STEPS * (step.seconds + LAUNCH_S))
    assert found.kernels == 1 + 2 * STEPS


def test_backward_computes_twice_as_much_and_takes_the_gradients_of_weights_at_once() -> None:
    forward, backward = lstm(), lstm(backward=True)
    assert backward.flops == 2 * forward.flops
    assert backward.kernels == 3 + 2 * STEPS
    assert forward.seconds < backward.seconds < 2 * forward.seconds


def test_layers_follow_each_other() -> None:
    more = lstm(layers=3)
    assert more.kernels == 3 * lstm().kernels
    assert 2.9 * lstm().seconds < more.seconds < 3.6 * lstm().seconds  # the inputs of later layers are wider


def test_a_projection_makes_the_state_smaller() -> None:
    assert lstm(projected=128).flops == 2 * STEPS * BATCH * 4 * HIDDEN * (INPUTS + 128)


def test_longer_sequences_take_longer() -> None:
    seconds = [lstm(steps=steps).seconds for steps in (1, 10, 100, 1000)]
    assert seconds == sorted(seconds)
    assert seconds[-1] > 500 * LAUNCH_S
