"""Replacements of the APIs of torch that are not emulated."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

from fakerun.emulate.unsupported.gaps import APIS, Gap
from fakerun.patching import Patches
from fakerun.records.observer import FindingSink


class HasFindings(Protocol):
    """The part of the emulation's context that is needed here. The context itself imports the devices, which import the gaps."""

    @property
    def findings(self) -> FindingSink: ...


@contextmanager
def missing_apis(context: HasFindings) -> Iterator[None]:
    """Report or raise the gap where the script calls such an API. APIs that this build of torch lacks stay absent."""
    with Patches() as patches:
        for gap in APIS:
            owner, name = _place(gap.name)
            if hasattr(owner, name):
                patches.set(owner, name, _substitute(gap, context.findings))
        yield


def _place(api: str) -> tuple[Any, str]:
    path, _, name = api.rpartition(".")
    try:
        return importlib.import_module(path), name
    except ModuleNotFoundError:  # the owner is a class
        module, _, owner = path.rpartition(".")
        return getattr(importlib.import_module(module), owner, None), name


def _substitute(gap: Gap, findings: FindingSink) -> Any:
    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise gap.error()

    def answered(*args: Any, **kwargs: Any) -> Any:
        gap.report(findings)
        return gap.answer

    return answered if gap.goes_on else missing
