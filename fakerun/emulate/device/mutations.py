"""Which of its arguments an operator mutates."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fakerun.torch_private import FakeTensor, OpOverload, schema_of


class MutatedArguments:
    """The mutated arguments of each operator, read once from its schema."""

    def __init__(self) -> None:
        self._arguments: dict[Any, tuple[tuple[int, str], ...]] = {}

    def of(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
        """The simulated tensors that this call of `func` mutates."""
        arguments = self._arguments.get(func)
        if arguments is None:
            arguments = self._arguments[func] = _mutated_arguments(func)
        for position, name in arguments:
            written = args[position] if position < len(args) else kwargs.get(name)
            for tensor in written if isinstance(written, (list, tuple)) else (written,):
                if type(tensor) is FakeTensor:
                    yield tensor


def _mutated_arguments(func: Any) -> tuple[tuple[int, str], ...]:
    if not isinstance(func, OpOverload) or not schema_of(func).is_mutable:
        return ()
    arguments = enumerate(schema_of(func).arguments)
    return tuple((i, argument.name) for i, argument in arguments if argument.alias_info and argument.alias_info.is_write)
