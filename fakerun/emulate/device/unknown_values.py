"""Answers operators that read unknown values.

Most values on the simulated accelerator are unknown. Where the script reads one, it gets a placeholder (float 1.0, int 1, bool False), and
a finding has the line: control flow that depends on the value may differ on real hardware. Where the script checks one (an assertion, a
condition of which a branch only raises), the check passes: on most data it does, and there is nothing to simulate after a failure.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.assumed_choices import ROUTING_FINDINGS
from fakerun.emulate.device.host_waits import HostWaits
from fakerun.emulate.device.known_values import NOTHING, PEERS, ROUTING, UNWRITTEN
from fakerun.emulate.device.mode import UNHANDLED
from fakerun.emulate.device.placeholders import Checks, placeholder_tensor, placeholder_value
from fakerun.emulate.unsupported.gaps import UNKNOWN_SHAPE
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import FakeTensor, operator_name, pytree

aten = torch.ops.aten

_LARGEST_ELEMENTS = 2**26
"""Above this size no operator is computed on placeholders: that would take too much host memory."""

_HOST = torch.device("cpu")

_UNVERIFIED = (
    "What depends on it is unverified: the branch for the placeholder was taken, others were not run, "
    "and with real data ranks may take different branches."
)
"""The hint of findings about a read value: what the script does with it (a comparison in Python) cannot be observed."""

_NOT_COMPUTED = "which a dry run does not compute"
_SKIP_CHECK = "Skip what depends on the value in a dry run, for example behind an environment variable that the job sets."


class UnknownValues:
    """Handlers for operators that read values: `.item()`, copies to the host, results whose shape depends on data."""

    def __init__(self, context: EmulationContext) -> None:
        self._mode = context.mode
        self._routing = context.job.routing
        self._findings = context.findings
        self._host_waits = context.part(HostWaits)
        self._execution = context.execution
        self._reads = context.reads
        self._checks = Checks()
        self._pinned = context.pinned
        self._silenced = 0
        self.wrote_placeholders = False
        """Whether a host tensor was filled with placeholders, which may have been copied anywhere since."""

    def register(self) -> None:
        """Answer the operators that read values."""
        mode = self._mode
        mode.unknown = self._answer
        mode.handle(aten._local_scalar_dense.default, self._scalar)
        mode.handle(aten._to_copy.default, self._copy)
        mode.handle(aten.copy_.default, self._copy_into)
        mode.handle(aten.equal.default, self._equal)
        mode.handle(aten._is_all_true.default, self._is_valid)

    def _scalar(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if type(args[0]) is not FakeTensor:
            return UNHANDLED
        self._host_waits.read(args[0])
        known, dtype = self._mode.known.of(args[0]), args[0].dtype
        if known is None:
            return self._checked("the value of a device tensor", dtype, placeholder_value(dtype))
        return self._known_checked(dtype, known.item(), self._mode.known.assumed(args[0]))

    def _equal(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Whether two tensors are equal. Tensors of different shapes are not, whatever they hold."""
        if args[0].shape != args[1].shape:
            return func(*map(placeholder_tensor, args))
        equal = self._answer(func, args, kwargs)
        if equal is not UNHANDLED:
            self._mode.executed(func, args, kwargs, equal, host_waits=True)
        return equal

    def _known_checked(self, dtype: torch.dtype, value: Any, assumed: int) -> Any:
        """A value that is known. If it is that of assumed peers, it is not certain enough to fail a check of the script."""
        if assumed & PEERS and not self._silenced and self._checks.passing_value(dtype, value) not in (None, value):
            return self._checked("a value that depends on ranks that are not simulated", dtype, value)
        self._note_assumed(assumed)
        return value

    def _checked(self, what: str, dtype: torch.dtype, placeholder: Any) -> Any:
        """The value with which a check of the script passes, or the placeholder, and a finding about it."""
        value = None if self._silenced else self._checks.passing_value(dtype, placeholder)
        if value is None:
            self._note(what)
            return placeholder
        self._reads.placeholder_read(what, reason=_NOT_COMPUTED, way_round=_SKIP_CHECK)
        self._findings.note(
            FindingCode.ASSUMED_CHECK,
            f"the script checks {what}, {_NOT_COMPUTED}. The check was assumed to pass.",
            hint="On a GPU the check may fail. What the script does then was not run.",
        )
        return value

    def _is_valid(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Called by torch to check arguments (of distributions): unknown values are assumed to be valid."""
        if type(args[0]) is not FakeTensor:
            return UNHANDLED
        known = self._mode.known.of(args[0])
        self._mode.executed(func, args, kwargs, None, host_waits=True)
        return torch.tensor(True if known is None else bool(known.all()), device=_HOST)

    def _copy(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """`.to()`: to the host, a small tensor becomes a real one; from the host, its values stay known."""
        source, device = args[0], kwargs.get("device")
        if device is None or device.type == source.device.type:
            return UNHANDLED
        if device.type == "cpu" and type(source) is FakeTensor:
            return self._copy_to_host(func, source, dict(kwargs))
        if type(source) is FakeTensor or source.device.type != "cpu":
            return UNHANDLED
        copy = self._mode.simulate_call(func, (), args, dict(kwargs))
        if type(copy) is FakeTensor:
            if not kwargs.get("non_blocking"):
                self._execution.host_waited(copy.device.index)
            self._mode.known.remember(copy, source)
        return copy

    def _copy_to_host(self, func: Any, source: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
        known, dtype = self._mode.known.of(source), kwargs.get("dtype") or source.dtype
        if known is None and source.numel() * dtype.itemsize > self._mode.host.THRESHOLD_BYTES:
            received: torch.Tensor = self._mode.simulate_call(func, (), (source,), kwargs)
        else:
            received = placeholder_tensor(source, dtype) if known is None else known.to(dtype, copy=True)
            self._mode.executed(func, (source,), kwargs, received)
        if self._read(source, host_waits=not kwargs.get("non_blocking")) is None and type(received) is not FakeTensor:
            self._note("the values of a device tensor")
            self.wrote_placeholders = True
        if kwargs.get("non_blocking"):
            self._pinned.add(received)  # as ATen/native/TensorConversions.cpp does, so that the copy need not wait (2.13)
        return received

    def _copy_into(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """`a.copy_(b)` between any two devices. A host tensor that receives unknown values is filled with placeholders."""
        target, source = args[0], args[1]
        if type(target) is FakeTensor:
            if target.shape != source.shape:
                return UNHANDLED
            self._mode.executed(func, args, kwargs, target, host_waits=self._waits_for_copy(source, target, args, kwargs))
            self._mode.copied(source, target)
            values = self._mode.known.of(source)
            if values is not None:
                self._mode.known.remember(target, values, assumed=self._mode.known.assumed(source))
            elif self._mode.known:
                self._mode.known.forget(target)
            return target
        if type(source) is not FakeTensor:
            return UNHANDLED
        self._mode.executed(func, args, kwargs, target)
        values = self._read(source, host_waits=self._waits_for_copy(source, target, args, kwargs))
        if values is not None:
            return target.copy_(values)
        return self.fill(target, "the values of a device tensor")

    def _waits_for_copy(self, source: torch.Tensor, target: torch.Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether `copy_` returns when the copy is done: one from or to the host, unless the script says otherwise.

        A copy to host memory that is not pinned is done all the same (`cudaMemcpyAsync`; CUDA's "API synchronization behavior").
        """
        if source.device.type == target.device.type:
            return False
        is_blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        return is_blocking or (target.device.type == "cpu" and target not in self._pinned)

    def fill(self, target: torch.Tensor, what: str) -> torch.Tensor:
        """Fill a host tensor with placeholders for `what`, which is unknown, and add a finding."""
        self._note(what)
        self.wrote_placeholders = True
        return target.fill_(placeholder_value(target.dtype))

    def _answer(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The operator's result for placeholders, computed on the host. Who asks reports the operator, and that the host waits for it."""
        fakes = [leaf for leaf in pytree.tree_leaves((args, dict(kwargs))) if type(leaf) is FakeTensor]
        if not fakes:
            return UNHANDLED
        if sum(fake.numel() for fake in fakes) > _LARGEST_ELEMENTS:
            raise UNKNOWN_SHAPE.error(
                f"torch.ops.{func}", "it depends on the values of a large device tensor, which a dry run does not compute"
            )
        self._host_waits.wait()
        exact = self._all_known(fakes)
        assumed = self._mode.known.assumed_of_any(fakes) if exact else NOTHING
        real_args, real_kwargs = pytree.tree_map_only(FakeTensor, self._known_or_placeholder, (list(args), dict(kwargs)))
        output = func(*real_args, **real_kwargs)
        if isinstance(output, bool):
            checked = f"the result of {operator_name(func)}"
            return self._known_checked(torch.bool, output, assumed) if exact else self._checked(checked, torch.bool, output)
        self._note_shape_dependence(func, args[1:2] if func is aten.masked_select.default else fakes)
        device = fakes[0].device
        return pytree.tree_map_only(torch.Tensor, lambda tensor: self._placed(tensor, device, exact, assumed), output)

    def _all_known(self, tensors: Sequence[torch.Tensor]) -> bool:
        return all(self._mode.known.of(tensor) is not None for tensor in tensors)

    def _note_shape_dependence(self, func: Any, tensors: Sequence[torch.Tensor]) -> None:
        """Add a finding if the shape of a result depends on unknown or assumed values of these tensors."""
        if self._all_known(tensors):
            self._note_assumed(self._mode.known.assumed_of_any(tensors))
        else:
            self._note(f"the values that {operator_name(func)} depends on")

    def _known_or_placeholder(self, tensor: torch.Tensor) -> torch.Tensor:
        known = self._mode.known.of(tensor)
        return placeholder_tensor(tensor) if known is None else known

    def _placed(self, values: torch.Tensor, device: torch.device, exact: bool, assumed: int) -> Any:
        placed = self._mode.wrap(torch.empty_strided(values.shape, values.stride(), dtype=values.dtype, device="meta"), device)
        if exact:
            self._mode.known.remember(placed, values, assumed=assumed)
        return placed

    def to_print(self, tensor: torch.Tensor) -> torch.Tensor:
        """A host tensor with the values of `tensor`, or placeholders, for printing. It takes little memory, however large it is."""
        known = self._read(tensor)
        if known is not None:
            return known
        self._note("the values of a device tensor", hint="A real run prints other values.", printed=True)
        return torch.full((), placeholder_value(tensor.dtype), dtype=tensor.dtype, device=_HOST).expand(tensor.shape)

    def _read(self, tensor: torch.Tensor, *, host_waits: bool = True) -> torch.Tensor | None:
        """The values of a tensor that the script reads, if they are known or assumed."""
        if host_waits:
            self._host_waits.read(tensor)
        else:
            self._host_waits.wait()
        known = self._mode.known.of(tensor)
        if known is not None:
            self._note_assumed(self._mode.known.assumed(tensor))
        return known

    @contextmanager
    def without_findings(self) -> Iterator[None]:
        """Reads until the context ends add no findings."""
        self._silenced += 1
        try:
            yield
        finally:
            self._silenced -= 1

    def _note(self, what: str, *, hint: str = _UNVERIFIED, printed: bool = False) -> None:
        if self._silenced:
            return
        if not printed:
            self._reads.placeholder_read(what, reason=_NOT_COMPUTED, way_round=_SKIP_CHECK)
        self._findings.note(
            FindingCode.UNKNOWN_VALUE,
            f"the script reads {what}, {_NOT_COMPUTED}. It gets a placeholder (float 1.0, int 1, bool False).",
            hint=hint,
        )

    def _note_assumed(self, assumed: int) -> None:
        if assumed & ROUTING and not self._silenced:
            message, hint = ROUTING_FINDINGS[self._routing]
            self._reads.placeholder_read(
                "a value that follows from choices among unknown scores", reason="which --routing decides", way_round=_SKIP_CHECK
            )
            self._findings.note(FindingCode.ASSUMED_ROUTING, message, hint=hint)
        if assumed & UNWRITTEN and not self._silenced:
            self._reads.placeholder_read(
                "memory that was never written", reason="which holds anything", way_round="Make it with torch.zeros instead of torch.empty."
            )
            self._findings.note(
                FindingCode.UNWRITTEN_MEMORY,
                "the script reads device memory that torch.empty made and that was never written. It was assumed to be 0.",
                hint="On a GPU it is 0 only if no tensor has used it before: make it with torch.zeros.",
            )
        if assumed & PEERS:
            self.report_assumed_peers()

    def report_assumed_peers(self) -> None:
        """Add a finding: the script reads values that other ranks are assumed to contribute."""
        if self._silenced:
            return
        self._reads.placeholder_read(
            "values that depend on ranks that are not simulated",
            reason="which were assumed to contribute what this rank does",
            way_round="Simulate these ranks too (--ranks all, or a list).",
        )
        self._findings.note(
            FindingCode.PEERS_ASSUMED,
            "the script reads values that depend on ranks that are not simulated. They were assumed to contribute what this rank does.",
            hint="What depends on the values is unverified. Simulate these ranks too (--ranks all, or a list) to make them exact.",
        )


def unknown_values(context: EmulationContext) -> None:
    """Answer operators that read unknown values."""
    context.part(UnknownValues).register()
