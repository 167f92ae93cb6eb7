"""`torch.compile` returns what it is given: the program runs eagerly, and the report says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.patching import Patches
from fakerun.records.observer import FindingSink


@contextmanager
def eager_compile(findings: FindingSink) -> Iterator[None]:
    """Replace the compiler for as long as the context lasts."""

    def note() -> None:
        findings.note(
            "compiled-eagerly",
            "torch.compile was asked for; the program was run eagerly. Memory is an upper estimate: compiled code saves fewer activations.",
        )

    def compile_function(model: Any = None, **options: Any) -> Any:
        note()
        return (lambda decorated: decorated) if model is None else model

    with Patches() as patches:
        patches.set(torch, "compile", compile_function)
        patches.set(torch.nn.Module, "compile", lambda self, *args, **kwargs: note())
        yield
