"""Reversible changes to attributes of modules and classes: the one way in which the emulation changes torch."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

_ABSENT = object()


class Patches:
    """Sets attributes and puts every one of them back, in reverse order, when closed.

    A class attribute is read from the class's own dictionary, so that an inherited one is uncovered again rather than pinned.
    """

    def __init__(self) -> None:
        self._saved: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set `owner.name` until the patches are closed."""
        self._saved.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, value)

    def set_all(self, owner: Any, values: Mapping[str, Any]) -> None:
        """Set several attributes of one owner."""
        for name, value in values.items():
            self.set(owner, name, value)

    def set_item(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Set `table[key]` until the patches are closed."""
        self._saved.append((_Table(table), key, table.get(key, _ABSENT)))
        table[key] = value

    def close(self) -> None:
        """Put everything back."""
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


class _Table:
    def __init__(self, table: dict[Any, Any]) -> None:
        self._table = table

    def restore(self, key: Any, value: Any) -> None:
        if value is _ABSENT:
            del self._table[key]
        else:
            self._table[key] = value
