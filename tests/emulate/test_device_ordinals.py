"""`torch.device(1)`: a number is the accelerator's ordinal, however and wherever the type is called; everything else is torch's."""

import copy
import functools
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from fakerun.rank.simulation import Simulation


class Place(IntEnum):
    SECOND = 1


class Counter(TorchFunctionMode):
    """Counts the calls of torch's functions."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.device(1),
        lambda: torch.device(Place.SECOND),
        lambda: torch.device(device=1),
        lambda: torch.device(np.int64(1)),  # type: ignore[call-overload]
        lambda: torch.device(device=np.int32(1)),  # type: ignore[call-overload]
        lambda: torch.device("cuda", 1),
        lambda: torch.device(type="cuda", index=1),
        lambda: torch.device(device="cuda:1"),
        lambda: functools.partial(torch.device, 1)(),
        lambda: next(iter(map(torch.device, [1]))),
        lambda: getattr(torch, "dev" + "ice")(*(1,)),
        lambda: type(torch.device("cpu"))(1),
        lambda: ThreadPoolExecutor(1).submit(torch.device, 1).result(),
        lambda: copy.deepcopy(torch.device(1)),
        lambda: pickle.loads(pickle.dumps(torch.device(1))),
    ],
)
def test_an_ordinal_is_that_of_the_accelerator(make: Callable[[], Any], shared_simulation: Simulation) -> None:
    made = make()

    assert type(made) is torch.device
    assert (made.type, made.index) == ("cuda", 1)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((-1,), RuntimeError, "index must not be negative"),
        (("nonsense",), RuntimeError, "Expected one of cpu, cuda"),
        (("cuda:0", 1), RuntimeError, "must not include an index"),
        ((), TypeError, "invalid combination of arguments"),
        ((None,), TypeError, "invalid combination of arguments"),
        ((1.5,), TypeError, "invalid combination of arguments"),
    ],
)
def test_what_torch_refuses_is_refused_by_torch(
    arguments: tuple[Any, ...], error: type[Exception], says: str, shared_simulation: Simulation
) -> None:
    with pytest.raises(error, match=says):
        torch.device(*arguments)


@pytest.mark.parametrize(
    "move",
    [
        lambda ordinal: torch.ones(2).to(ordinal),
        lambda ordinal: torch.ones(2).to(device=ordinal),
        lambda ordinal: torch.ones(2).cuda(ordinal),
        lambda ordinal: torch.ones(2, device=ordinal),
        lambda ordinal: torch.tensor([1.0], device=ordinal),
        lambda ordinal: torch.nn.Linear(2, 2).to(ordinal).weight,
        lambda ordinal: torch.nn.Linear(2, 2).to(device=ordinal).weight,
    ],
)
def test_an_integer_of_numpy_is_an_ordinal(move: Callable[[Any], torch.Tensor], shared_simulation: Simulation) -> None:
    assert move(np.int64(1)).device == torch.device("cuda", 1)


def test_no_function_mode_is_there_that_the_script_did_not_enter(shared_simulation: Simulation) -> None:
    with Counter() as counter:
        torch.ones(2).add(1)

    assert counter.calls == 2
    assert torch._C._len_torch_function_stack() == 0
