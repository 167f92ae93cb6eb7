"""Which functions read a followed number or text unseen: C reads it as the number that it is and calls none of its methods, and so do
modules of Python's that hand it to C. What they answer is plain, though it depends on the rank.

Of Python's own those that compute are named, of other packages all that are no Python are taken to. torch's are not among them: sizes,
values and devices are observed where torch is called (`uses.py`).
"""

import functools
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from fakerun.emulate.rank_tracking.tables import MAX_CLASSES, is_followed
from fakerun.emulate.rank_tracking.text import RankText
from fakerun.emulate.rank_tracking.tracker import active, note

_COMPUTING_MODULES = frozenset(
    {
        *("array", "ast", "base64", "binascii", "calendar", "cmath", "colorsys", "configparser", "csv", "ctypes", "datetime", "decimal"),
        *("fnmatch", "fractions", "glob", "hashlib", "hmac", "marshal", "pickle", "random", "re", "shlex", "sre", "statistics", "string"),
        *("struct", "textwrap", "unicodedata", "uuid", "zlib", "blake2", "md5", "sha1", "sha2", "sha256", "sha3", "sha512"),
    }
)
"""Modules of the standard library whose functions compute another value of a number or a text. C parts have an underscore before."""

_COMPUTING_IN_PYTHON = _COMPUTING_MODULES | {"numpy"}

_COMPUTING_FUNCTIONS: frozenset[Any] = frozenset({hash, bytes, bytearray, complex, getattr, hasattr, memoryview, deque})

_OF_CLASSES = _COMPUTING_IN_PYTHON | {f"_{name}" for name in _COMPUTING_MODULES} | {"operator", "itertools"}

_OF_OPERATOR = frozenset({"contains", "getitem", "setitem", "delitem", "index", "itemgetter", "repeat", "count"})
"""Of `operator` and `itertools`; the others call the methods of numbers, or pass them on."""

_METHODS_THAT_LOOK_UP: dict[Any, frozenset[str]] = {
    **dict.fromkeys((set, frozenset), frozenset({"__contains__", "add", "discard", "remove", "update", "union"})),
    **dict.fromkeys((list, tuple), frozenset({"__contains__", "__getitem__", "__delitem__", "insert"})),
    dict: frozenset({"__contains__", "__getitem__"}),
    MappingProxyType: frozenset({"get", "__getitem__", "__contains__"}),
    OrderedDict: frozenset({"get", "pop", "__getitem__", "__contains__", "move_to_end"}),
    deque: frozenset({"rotate", "insert", "__getitem__", "__contains__"}),
}
_METHODS_OF_TEXT = frozenset(
    {"startswith", "endswith", "find", "rfind", "index", "rindex", "count", "replace", "removeprefix", "removesuffix", "split", "partition"}
)
_DISPATCHER = "_ArrayFunctionDispatcher"
"""What numpy's functions are that other arrays may override."""


def observed(function: Any) -> Any:
    """The function, or one that reports followed arguments first if it reads them unseen."""
    kind = type(function)
    if kind is FunctionType or kind is MethodType:
        module = getattr(function, "__module__", None)
        if not isinstance(module, str) or module.partition(".")[0] not in _COMPUTING_IN_PYTHON:
            return function
    elif not _reads(function, kind):
        return function
    return functools.partial(_reporting, function)


def _reporting(function: Callable[..., Any], /, *args: Any, **more: Any) -> Any:
    if active.tracker is not None:
        texts = numbers = False
        for value in (*args, *more.values()):
            if function is hash and type(value) is tuple:
                continue  # of an object with several fields, to look it up
            for part in value if type(value) in (list, tuple) and len(value) <= MAX_CLASSES else (value,):
                if is_followed(part):
                    texts, numbers = texts or type(part) is RankText, numbers or type(part) is not RankText
        if texts or numbers:
            note("argument" if numbers else "text")
    return function(*args, **more)


def _reads(function: Any, kind: type) -> bool:
    """Whether a callable that is no Python function computes with what it is given."""
    if kind is BuiltinFunctionType:
        owner = function.__self__
        if isinstance(owner, ModuleType) or owner is None:
            return function in _COMPUTING_FUNCTIONS or _computes(function.__module__ or "", function.__name__)
        return _is_computing_method(owner if isinstance(owner, type) else type(owner), function.__name__)
    if issubclass(kind, type):
        if kind.__module__.partition(".")[0] == "pydantic":
            return True
        if issubclass(function, BaseException):
            return False
        module = str(function.__module__)  # of some a property
        is_native = not function.__flags__ & _OF_PYTHON or module.partition(".")[0] in _OF_CLASSES
        return is_native and ((kind is type and function in _COMPUTING_FUNCTIONS) or _computes(module, function.__name__))
    if kind.__name__ == "method-wrapper":
        return function.__name__ in _METHODS_THAT_LOOK_UP.get(type(function.__self__), ())  # of a method like `__contains__`
    return kind.__name__ == _DISPATCHER


_OF_PYTHON = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: types that are made while a program runs."""


def _is_computing_method(kind: type, name: str) -> bool:
    """Whether a native method of a class, or of one that it is derived from, computes with what it is given."""
    kind = next((each for each in kind.__mro__ if name in vars(each)), kind)
    names = _METHODS_OF_TEXT if kind in (str, bytes) else _METHODS_THAT_LOOK_UP.get(kind)
    return _computes(kind.__module__, name) if names is None else name in names


def _computes(module: str, name: str) -> bool:
    top = module.partition(".")[0]
    if top in ("torch", "fakerun", "builtins", "numpy") or name.startswith("__"):
        return top == "numpy"
    if top.removeprefix("_") in ("operator", "itertools"):
        return name in _OF_OPERATOR
    return top not in sys.stdlib_module_names or top.removeprefix("_") in _COMPUTING_MODULES
