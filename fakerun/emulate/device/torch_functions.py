"""Functions and methods of torch that are answered in Python, wherever they are called.

They are replaced where scripts find them. A torch-function mode would see the same calls, but torch switches such modes off while it runs
any function that one of them passed on: during all of `Tensor.backward`, with the hooks and recomputations in it, and in every dispatch
mode, tensor subclass and custom operator of the script.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.overrides import handle_torch_function, has_torch_function

from fakerun.patching import Patches
from fakerun.torch_private import (
    DEVICE_CONSTRUCTORS,
    FUNCTIONS_WITHOUT_SHAPE,
    scripted_builtins,
)

FunctionHandler = Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]
"""Given torch's own function and the arguments of the call."""


class TorchFunctions:
    """The handlers of one simulation, by the class or module and the name of the function."""

    def __init__(self) -> None:
        self.active = True
        self._handlers: dict[tuple[Any, str], FunctionHandler] = {}

    def handle(self, owner: Any, name: str, handler: FunctionHandler) -> None:
        """Let `handler` answer `owner.name`.

        Raises:
            ValueError: It has a handler already: which of the two would answer must not depend on the order of registration.
        """
        if (owner, name) in self._handlers:
            raise ValueError(f"{name} of {owner} has a handler already")
        self._handlers[owner, name] = handler

    def observe(self, owner: Any, name: str, observer: Callable[[Sequence[Any], Mapping[str, Any]], None]) -> None:
        """Tell `observer` the arguments of each call of `owner.name` first."""
        handler = self._handlers.get((owner, name), _unchanged)

        def observed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
            observer(args, kwargs)
            return handler(func, args, kwargs)

        self._handlers[owner, name] = observed

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put the functions into their places until the context ends, also in the tables in which torch looks functions up."""
        of_device_contexts = set(getattr(*DEVICE_CONSTRUCTORS)())
        without_shape = list(getattr(*FUNCTIONS_WITHOUT_SHAPE))
        builtins = scripted_builtins()
        with Patches() as patches:
            for (owner, name), handler in self._handlers.items():
                original = getattr(owner, name)
                function = self._function(original, handler)
                patches.set(owner, name, function)
                if original in of_device_contexts:
                    of_device_contexts.add(function)
                if original in without_shape:
                    without_shape.append(function)
                if id(original) in builtins:
                    patches.set_item(builtins, id(function), builtins[id(original)])
            patches.set(*DEVICE_CONSTRUCTORS, lambda: of_device_contexts)
            patches.set(*FUNCTIONS_WITHOUT_SHAPE, without_shape)
            yield

    def _function(self, original: Any, handler: FunctionHandler) -> Callable[..., Any]:
        """What the script finds in the place of `original`: modes and classes that override it see it first, as they would see that."""

        @functools.wraps(original)
        def function(*args: Any, **kwargs: Any) -> Any:
            values = (*args, *kwargs.values()) if kwargs else args
            if has_torch_function(values):
                return handle_torch_function(function, values, *args, **kwargs)
            return handler(original, args, kwargs) if self.active else original(*args, **kwargs)

        return function


def _unchanged(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return func(*args, **kwargs)
