"""A page with every text printable: messages, names of files, of groups and of jobs come from outside."""

from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, cast

from fakerun.printable import printable
from fakerun.report.page.blocks import Page


def printable_page(page: Page) -> Page:
    """The page without control characters."""
    return cast("Page", _printable(page))


def _printable(part: Any) -> Any:
    if isinstance(part, str) and not isinstance(part, Enum):
        return printable(part)
    if isinstance(part, tuple):
        return part if _is_plain(part) else tuple(map(_printable, part))
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{each.name: _printable(getattr(part, each.name)) for each in fields(part)})
    return part


def _is_plain(part: tuple[Any, ...]) -> bool:
    """Of the cells of a row, of which a listing has some hundred thousand."""
    return all(type(each) is str for each in part) and "".join(part).isprintable()
