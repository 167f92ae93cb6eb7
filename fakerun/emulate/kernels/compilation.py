"""`torch.compile` returns the same types as on a GPU, but the compiled code runs eagerly. The report says so."""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from fakerun.emulate.autograd_clock import EngineClock
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.compiled_code import CompiledCode
from fakerun.emulate.unsupported.gaps import COMPILED_GRAPHS, FUSED_COMMUNICATION
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import COMPILED_FROM, DYNAMO, ENABLE_COMPILED_AUTOGRAD, OptimizedModule, compile_calls, overlaps_communication


class Compilation:
    """Replaces the compiler. `running` is the depth of nested compiled functions that are running."""

    def __init__(self, context: EmulationContext) -> None:
        self._findings = context.findings
        self._mode, self._devices = context.mode, context.devices
        self._code = CompiledCode(context.compiled_code, EngineClock(), context.streams, context.mode.mutations)
        self._is_overlap_reported = False
        self.running = 0
        self.replacements: dict[Any, Callable[..., Any]] = {}
        """What functions run as when they are compiled, where that changes memory."""

    def compile(self, model: Any = None, **options: Any) -> Any:
        """`torch.compile`, also as a decorator with options."""
        if model is None:
            return functools.partial(self.compile, **options)
        if options.get("disable"):
            return model
        if _called_by_torch():  # some of torch's functions (flex_attention) always compile a part of themselves
            return self.replacements.get(model, model)
        self._note(options)
        if isinstance(model, torch.nn.Module):
            return OptimizedModule(model, _Context(self))
        return self.eager(model)

    def compile_in_place(self, module: Any, **options: Any) -> None:
        """`module.compile()`."""
        if options.get("disable"):
            return
        self._note(options)
        compile_calls(module, self.eager)

    def eager(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, marked as compiled."""
        replacement = self.replacements.get(function, function)

        @functools.wraps(function)
        def compiled(*args: Any, **kwargs: Any) -> Any:
            self._mode.compiled = self._code
            if not self.running:
                self._asks_for_overlap(None)
            self._code.begin(self._devices.current)
            self.running += 1
            try:
                return replacement(*args, **kwargs)
            finally:
                self.running -= 1
                self._code.end()

        vars(compiled)[COMPILED_FROM] = function
        return compiled

    def _note(self, options: Mapping[str, Any]) -> None:
        """Report that the script compiles, and what these arguments of `torch.compile` ask for that is not simulated."""
        self._asks_for_overlap(options.get("options"))
        if _captures_graphs(**options):
            COMPILED_GRAPHS.report(self._findings, "The memory pool of torch.compile's CUDA graphs")
        self._findings.note(
            FindingCode.COMPILED_EAGERLY,
            "the script calls torch.compile, but the model ran eagerly. Memory is an upper bound: compiled code saves fewer activations.",
        )

    def _asks_for_overlap(self, options: Mapping[str, Any] | None) -> None:
        """Report that async tensor parallelism runs without its overlap, if these options or the settings that hold now ask for it."""
        if not self._is_overlap_reported and overlaps_communication(options):
            self._is_overlap_reported = True
            FUSED_COMMUNICATION.report(self._findings, "Async tensor parallelism (micro-pipeline TP) of torch.compile")


class _Context:
    """The part of the compiler that a compiled module keeps."""

    def __init__(self, compilation: Compilation) -> None:
        self._compilation = compilation

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self._compilation.eager(function)

    def __deepcopy__(self, memo: Any) -> "_Context":
        return self

    def __reduce__(self) -> Any:
        return nullcontext, ()


def _captures_graphs(*, backend: Any = "inductor", mode: str | None = None, options: Any = None, **others: Any) -> bool:
    """Whether compiled code is captured in CUDA graphs (`list_mode_options`, torch/_inductor/__init__.py, 2.11 to 2.14)."""
    if backend == "cudagraphs":
        return True
    return backend == "inductor" and (mode in ("reduce-overhead", "max-autotune") or bool((options or {}).get("triton.cudagraphs")))


def _called_by_torch() -> bool:
    name = sys._getframe(2).f_globals.get("__name__", "")
    return str(name).startswith("torch.")


@contextmanager
def eager_compile(context: EmulationContext) -> Iterator[None]:
    """Replace the compiler until the context ends."""
    compilation = context.part(Compilation)
    with Patches() as patches:
        patches.set(torch, "compile", compilation.compile)
        patches.set(torch.nn.Module, "compile", lambda self, *args, **options: compilation.compile_in_place(self, **options))
        patches.set(torch.compiler, "reset", lambda: None)
        patches.set(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
        # The compiler's own entries load its code generator, which looks for the CUDA of a build that has it.
        patches.set(DYNAMO, "reset", lambda: None)
        patches.set(DYNAMO, "optimize", lambda *args, **options: compilation.compile)
        patches.set(*ENABLE_COMPILED_AUTOGRAD, lambda *args, **options: nullcontext())
        yield
