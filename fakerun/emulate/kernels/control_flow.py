"""Control flow operators (`torch.cond`, `while_loop`, `scan`), run as the equivalent Python.

torch would compile the branches, and fakerun compiles nothing; there is also no rule for a condition whose value is unknown. Run as
Python, autograd needs no special case, and an unknown condition is answered with a placeholder and a finding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import CONTROL_FLOW, pytree


@contextmanager
def python_control_flow(_: EmulationContext) -> Iterator[None]:
    """Replace the three until the context ends."""
    answers = {"cond": _cond, "while_loop": _while_loop, "scan": _scan}
    with Patches() as patches:
        for name, places in CONTROL_FLOW.items():
            for place in places:
                patches.set(place, name, answers[name])
        yield


def _cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()) -> Any:
    return true_fn(*operands) if bool(pred) else false_fn(*operands)


def _while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Sequence[Any]) -> Any:
    carried = tuple(carried_inputs)
    while bool(cond_fn(*carried)):
        made = body_fn(*carried)
        carried = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    return carried


def _scan(combine_fn: Callable[..., Any], init: Any, xs: Any, *, dim: int = 0, reverse: bool = False) -> tuple[Any, Any]:
    leaves, tree = pytree.tree_flatten(xs)
    if not leaves:
        return init, []
    carry, collected = init, []
    length = leaves[0].shape[dim]
    for index in reversed(range(length)) if reverse else range(length):
        carry, made = combine_fn(carry, pytree.tree_unflatten([leaf.select(dim, index) for leaf in leaves], tree))
        collected.append(made)
    if reverse:
        collected.reverse()
    return carry, pytree.tree_map(lambda *parts: _along(torch.stack(parts), dim), *collected)


def _along(stacked: torch.Tensor, dim: int) -> torch.Tensor:
    """The results of the steps lie where the steps' operands lay, if they have that dimension."""
    return stacked.movedim(0, dim) if dim < stacked.ndim else stacked
