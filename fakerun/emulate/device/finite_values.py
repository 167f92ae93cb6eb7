"""Unknown values are assumed to be finite.

`torch.isfinite` of an unknown value would return the placeholder False, and a script that skips a step when its loss or gradients are not
finite would skip every step. The answer is True, as in nearly every step of real training; the report says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.torch_functions import TorchFunctions
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import FakeTensor


class FiniteValues:
    """Handlers of `isfinite`, and of `all` of its result.

    They run unchanged, with the memory and communication that they take (a DTensor may have to gather); only the answer becomes
    known. An answer too large to be kept is remembered as a whole, for `all`.
    """

    def __init__(self, context: EmulationContext) -> None:
        self._known = context.mode.known
        self._findings = context.findings
        self._answers = WeakIdKeyDictionary()

    def register(self, functions: TorchFunctions) -> None:
        """Answer these functions."""
        for owner in (torch, torch.Tensor):
            functions.handle(owner, "isfinite", self._is_finite)
            functions.handle(owner, "all", self._all)

    def _is_finite(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        answer = func(*args, **kwargs)
        if any(self._known.of(part) is None for part in _simulated_parts(args[0] if args else kwargs["input"])):
            self._findings.note(
                FindingCode.ASSUMED_FINITE,
                "the script calls torch.isfinite on values that are unknown in a dry run. They were assumed to be finite.",
                hint="The branch for values that are not finite was not run, and with real data ranks may take different branches.",
            )
            self._make_true(answer)
        return answer

    def _all(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        answer = func(*args, **kwargs)
        if args and isinstance(args[0], torch.Tensor) and args[0] in self._answers:
            self._make_true(answer)
        return answer

    def _make_true(self, answer: torch.Tensor) -> None:
        self._answers[answer] = True
        for part in _simulated_parts(answer):
            self._known.remember_fill(part, True)


def finite_values(context: EmulationContext) -> None:
    """Assume that unknown values are finite."""
    FiniteValues(context).register(context.functions)


def _simulated_parts(tensor: Any) -> Iterator[torch.Tensor]:
    """The simulated tensors inside a tensor: itself, or what a wrapper (DTensor) wraps."""
    if type(tensor) is FakeTensor:
        yield tensor
    elif hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            yield from _simulated_parts(getattr(tensor, name))
