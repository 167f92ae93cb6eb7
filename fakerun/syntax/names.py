"""What names of the program stand for, found without running anything of it."""

import ast
import builtins
import inspect
import sys
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Any

_ABSENT = object()
_UNHELD = 3
"""The references to the dictionary that `f_locals` makes: the frame's, ours, and that of the call which counts."""


class Names:
    """The names of a function that runs (`frame`), or of a module or a function that does not."""

    def __init__(self, namespace: dict[str, Any], frame: FrameType | None = None) -> None:
        self._namespace = namespace
        self._frame = frame

    @classmethod
    def of(cls, frame: FrameType) -> "Names":
        return cls(frame.f_globals, frame)

    @classmethod
    def in_function(cls, function: FunctionType) -> "Names":
        return cls(function.__globals__)

    def value(self, node: ast.expr) -> Any:
        """The value of a name, or of attributes of one; None if it is not found. Properties are not called."""
        match node:
            case ast.Name(id=name):
                found = _ABSENT if self._frame is None else _local(self._frame, name)
                return self._namespace.get(name, vars(builtins).get(name)) if found is _ABSENT else found
            case ast.Attribute(value=owner, attr=name):
                of = self.value(owner)
                if of is None:
                    return None
                found = vars(of).get(name, _ABSENT) if isinstance(of, ModuleType) else inspect.getattr_static(of, name, _ABSENT)
                return None if found is _ABSENT else found
        return None

    def function(self, node: ast.expr) -> tuple[FunctionType, int] | None:
        """The Python function that an expression calls, and how many arguments the call adds before those that are written."""
        found = self.value(node)
        bound = isinstance(node, ast.Attribute) and not isinstance(self.value(node.value), (ModuleType, type))
        if isinstance(found, MethodType):
            found, bound = found.__func__, True
        if isinstance(found, (staticmethod, classmethod)):
            found, bound = found.__func__, isinstance(found, classmethod)
        found = inspect.unwrap(found) if isinstance(found, FunctionType) else found
        return (found, int(bound)) if isinstance(found, FunctionType) else None


def _local(frame: FrameType, name: str) -> Any:
    """A local variable of a frame.

    Before Python 3.13 a frame keeps the dictionary that it makes of its variables, and all that is in it: a tensor that the program
    deletes would stay. It is emptied, unless the program holds it (`locals()`).
    """
    variables = frame.f_locals
    value = variables.get(name, _ABSENT)
    if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED and sys.getrefcount(variables) <= _UNHELD:
        variables.clear()
    return value
