"""Reversible changes to attributes of modules and classes: the one way in which fakerun changes torch and the standard library.

A name that its owner does not have is refused: a private name that torch renames would otherwise be set and never be read.
"""

import inspect
import sys
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Self

from fakerun.errors import FakerunError

_ABSENT = object()


class UnknownNameError(FakerunError):
    """Fakerun replaces an attribute that its owner does not have."""


class Patches:
    """Sets attributes and items, and restores all of them in reverse order when closed.

    A class attribute is read from the class's own dictionary, so that an inherited attribute is inherited again afterwards.
    """

    def __init__(self) -> None:
        self._saved: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any, *, since: str | None = None) -> None:
        """Replace `owner.name`, which exists, until the patches are closed.

        Args:
            owner: A module or a class.
            name: An attribute of it.
            value: What it becomes.
            since: The version of torch ("2.13") that introduced the name. On older versions that lack it nothing is set.

        Raises:
            UnknownNameError: `owner` has no such attribute.
        """
        if not _has(owner, name):
            if since is not None and _torch_version() < _parsed(since):
                return
            raise UnknownNameError(
                f"cannot replace {_label(owner)}.{name}: {_label(owner)} has no attribute {name!r} in {_versions()}. "
                "Find its new name and replace that one. For a name that older versions of torch lack, pass since=; "
                "for a name that need not exist, call add()."
            )
        self._assign(owner, name, value)

    def add(self, owner: Any, name: str, value: Any) -> None:
        """Set `owner.name`, which torch or some builds of it lack, until the patches are closed."""
        self._assign(owner, name, value)

    def set_all(self, owner: Any, values: Mapping[str, Any]) -> None:
        """Replace several attributes of one owner, as `set` does."""
        for name, value in values.items():
            self.set(owner, name, value)

    def set_item(self, table: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        """Set `table[key]`, whether or not the key exists, until the patches are closed."""
        self._saved.append((_Table(table), key, table.get(key, _ABSENT)))
        table[key] = value

    def close(self) -> None:
        """Restore everything."""
        while self._saved:
            owner, name, value = self._saved.pop()
            if isinstance(owner, _Table):
                owner.restore(name, value)
            elif value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _assign(self, owner: Any, name: str, value: Any) -> None:
        self._saved.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, value)


class _Table:
    def __init__(self, table: MutableMapping[Any, Any]) -> None:
        self._table = table

    def restore(self, key: Any, value: Any) -> None:
        if value is _ABSENT:
            self._table.pop(key, None)
        else:
            self._table[key] = value


def _has(owner: Any, name: str) -> bool:
    """Whether the attribute exists, also where a descriptor has no value on the class itself."""
    return hasattr(owner, name) or inspect.getattr_static(owner, name, _ABSENT) is not _ABSENT


def _label(owner: Any) -> str:
    """The full name of a module or class."""
    name: str = getattr(owner, "__qualname__", None) or getattr(owner, "__name__", None) or repr(owner)
    return f"{owner.__module__}.{name}" if isinstance(owner, type) else name


def _versions() -> str:
    """The versions that decide which names exist; torch's only where it is loaded."""
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    torch = sys.modules.get("torch")
    return python if torch is None else f"torch {torch.__version__} ({python})"


def _torch_version() -> tuple[int, int]:
    return _parsed(sys.modules["torch"].__version__)


def _parsed(version: str) -> tuple[int, int]:
    """Major and minor number of a version such as `2.13.0+cpu`."""
    major, minor, *_ = version.split(".")
    return int(major), int(minor)
