"""The one dispatch mode: host work runs for real, device work is simulated, allocations are reported.

Every operator of the script arrives here, below autograd and autocast. Operators on accelerator tensors run their meta kernels (or
are answered from an earlier run with the same metadata); operators on host tensors run as they would without fakerun, unless
their result is large. Communication, values and copies to the host are answered by handlers that other modules register.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from fakerun.emulate.device.devices import ACCELERATOR, CPP_ACCELERATOR, Devices
from fakerun.emulate.device.executed_operations import NOTHING, ExecutedOperations
from fakerun.emulate.device.foreach import elements_match, is_in_place_foreach
from fakerun.emulate.device.host_policy import HostPolicy
from fakerun.emulate.device.known_values import KnownValues
from fakerun.emulate.device.mutations import MutatedArguments
from fakerun.emulate.device.placeholders import placeholder_tensor
from fakerun.emulate.device.plain_tensors import META, Undispatched, is_plain, plain
from fakerun.emulate.device.signature import ForeignTensorError, Recipe, Signature, recipe_for, unwraps_itself
from fakerun.emulate.device.value_propagation import ValuePropagation
from fakerun.emulate.unsupported.cuda_errors import cuda_error_for
from fakerun.emulate.unsupported.torch_errors import sparse_gap
from fakerun.records.observer import AllocationObserver, ExecutionObserver
from fakerun.torch_private import (
    FAKE_DEVICE_ATTRIBUTE,
    PRIM_DEVICE,
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    HigherOrderOperator,
    OpOverload,
    disable_torch_function,
    forbid_data_access,
    has_kernel_for_key,
    higher_order_rules,
    is_builtin_operator,
    make_subclass,
    overload_name,
    pytree,
    schema_of,
)

if TYPE_CHECKING:
    from fakerun.emulate.device.compiled_code import CompiledCode
    from fakerun.emulate.device.fused_calls import FusedCalls

aten = torch.ops.aten
empty, empty_strided = torch.empty, torch.empty_strided  # not those that answer scripts, which cost more

Handler = Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]

UNHANDLED = object()
"""What a handler returns to have the operator simulated as if it had no handler."""

_ALIASING = {aten._unsafe_view.default, aten._reshape_alias.default, aten.detach.default, aten.alias.default}
"""Operators that return a view although their schema does not say so, or so frequent ones that reading the schema would cost time."""

_FSDP = "fsdp"
"""The namespace of torch's own operators around FSDP2's collectives, whose results, like those of the built-in ones, depend on metadata."""

_CLONE, _TO_COPY = aten.clone.default, aten._to_copy.default
"""Operators that return a copy of their first argument. Not a set: each operator would be hashed, in Python, once more."""


class DeviceMode(FakeTensorMode):
    """Simulates device work in this thread. Owns the handlers and the cache of results."""

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would wrap `__torch_dispatch__` to keep its compiler out, at a cost for each operator; fakerun compiles nothing."""
        return False

    # Not FakeTensorMode's: with it, constructing the mode on a host without CUDA changes how torch.tensor lifts constants.
    avoid_device_init = True

    def __init__(self, devices: Devices, allocations: AllocationObserver, execution: ExecutionObserver, host: HostPolicy) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.cache_enabled = False  # `_recipes` is the cache: torch's own costs more than most kernels, and is asked about what is new
        self.devices = devices
        self.allocations = allocations
        self._executed = ExecutedOperations(execution, devices)
        self.host = host
        self.compiled: CompiledCode | None = None
        """Follows compiled functions, once the script has called one."""
        self.fused: FusedCalls | None = None
        """Follows calls that are kernels of a library, once the script has made one."""
        self.handlers: dict[Any, Handler] = {}
        self.active = True
        self.lock = threading.RLock()
        """Held while an operator is answered: the state of the mode and of torch's fake tensors is not per thread."""
        self.unknown: Handler = lambda func, args, kwargs: UNHANDLED
        self.known = KnownValues()
        self.mutations = MutatedArguments()
        self._recipes: dict[tuple[Any, ...], tuple[Recipe | None, int]] = {}
        """With the number of the operation."""
        self._propagation = ValuePropagation(self.known, self.mutations)
        self._strategies: dict[Any, Callable[..., Any]] = {}
        self._implemented: set[type] = {FakeTensor}
        """Classes of tensors whose operators are simulated here."""
        self._nested = 0
        self._host_reads = 0
        """How many operators had results whose shape depends on values."""
        self._shapes_only = False
        self._template: dict[str, Any] | None = None
        self._undispatched = Undispatched()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Answer one operator."""
        if func is PRIM_DEVICE:
            return self.device_for_cpp(args)
        if kwargs and "device" in kwargs:
            self._show_device(kwargs)
        with self.lock, disable_torch_function():
            answer = self._answer if self.active else self._answer_in_child
            try:
                return answer(func, types, args, dict(kwargs) if kwargs else {})
            except torch.OutOfMemoryError as error:
                # An operator that fails leaves nothing allocated: its results live in the frames that it passed.
                raise error.with_traceback(None) from None

    def _show_device(self, kwargs: Any) -> None:
        """Put the device that Python sees into the arguments: a tensor subclass that unwraps itself is called with the same dictionary."""
        device = kwargs["device"]
        if device is not None and device.type == CPP_ACCELERATOR:
            kwargs["device"] = self.devices.to_python(device)

    def device_for_cpp(self, args: Sequence[Any]) -> torch.device:
        """The device of a simulated tensor as C++ sees it: `meta` inside a meta kernel, else `lazy:N`."""
        tensor = args[0]
        if tensor.fake_mode.in_kernel_invocation:  # of a mode of the script's, maybe
            with self.lock:  # or another thread's
                if tensor.fake_mode.in_kernel_invocation:
                    return META
        return self.devices.to_cpp(tensor.fake_device)

    def handle(self, operator: Any, handler: Handler) -> None:
        """Let `handler` answer `operator`.

        Raises:
            ValueError: It has a handler already: which of the two would answer must not depend on the order of registration.
        """
        if operator in self.handlers:
            raise ValueError(f"{operator} has a handler already")
        self.handlers[operator] = handler

    def handle_kernel(self, operator: Any, handler: Handler) -> None:
        """Let `handler` answer `operator` in place of its kernel: where it answers, the device executes the operator.

        Raises:
            ValueError: as of `handle`.
        """

        def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
            output = handler(func, args, kwargs)
            if output is not UNHANDLED:
                self.executed(func, args, kwargs, output)
            return output

        self.handle(operator, answer)

    @contextmanager
    def entered_in_thread(self) -> Iterator[None]:
        """Simulate the device work of another thread, too."""
        with self.lock:
            self.__enter__()
        try:
            yield
        finally:
            with self.lock:
                self.__exit__(None, None, None)

    @contextmanager
    def unobserved(self) -> Iterator[None]:
        """Until the context ends, simulated operators are not the script's: they take no device memory."""
        self._nested += 1
        try:
            yield
        finally:
            self._nested -= 1

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Within `unobserved`, simulated operators are the script's once more until the context ends."""
        previous, self._nested = self._nested, 0
        try:
            yield
        finally:
            self._nested = previous

    @contextmanager
    def shapes_only(self) -> Iterator[None]:
        """Until the context ends, host operators, too, run for their shapes only, and unobserved."""
        previous, self._shapes_only = self._shapes_only, True
        try:
            with self.unobserved():
                yield
        finally:
            self._shapes_only = previous

    # -- making tensors ------------------------------------------------------------------------------------------------------------

    def wrap(self, meta: torch.Tensor, device: torch.device) -> Any:
        """A simulated tensor on `device` around a meta tensor, aliasing its storage: FakeTensor's constructor, but ten times as fast."""
        if self._template is None:
            pattern = FakeTensor(self, empty(0, device=META), torch.device("cpu"))
            self._template = dict(vars(pattern))
        tensor = make_subclass(FakeTensor, meta, False, dispatch_device=True, device_for_backend_keys=device)
        forbid_data_access(tensor)
        attributes = vars(tensor)
        attributes.update(self._template)
        attributes[FAKE_DEVICE_ATTRIBUTE] = device
        return tensor

    def simulate(self, real: torch.Tensor) -> Any:
        """A simulated copy of a real tensor: same metadata, no data, a storage of its own."""
        if type(real) is FakeTensor:
            return real
        return self.wrap(empty_strided(real.shape, real.stride(), dtype=real.dtype, device=META), real.device)

    # -- answering -----------------------------------------------------------------------------------------------------------------

    def _answer(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        handler = self.handlers.get(func)
        if handler is not None:
            result = handler(func, args, kwargs)
            if result is not UNHANDLED:
                return result
        if type(func) is not OpOverload and isinstance(func, HigherOrderOperator):
            return self.higher_order(func, types, args, kwargs)
        return self.simulate_call(func, types, args, kwargs)

    def _answer_in_child(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """In a forked child (a DataLoader's worker) everything is real. Samples of a simulated data set are placeholders."""
        leaves = pytree.tree_leaves((args, kwargs))
        if not any(type(leaf) is FakeTensor for leaf in leaves):
            return func(*args, **kwargs)
        output = self._answer(func, types, args, kwargs)
        return pytree.tree_map_only(FakeTensor, self._sample, output)

    def _sample(self, tensor: torch.Tensor) -> torch.Tensor:
        small = tensor.numel() * tensor.element_size() <= self.host.THRESHOLD_BYTES
        return placeholder_tensor(tensor) if small else tensor

    def simulate_call(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Simulate an operator without its handler."""
        if not self._implemented.issuperset(types) and any(map(self._unwraps_itself, types)):
            return NotImplemented
        strategy = self._strategies.get(func)
        if strategy is DeviceMode._view and type(args[0]) is FakeTensor and is_plain(args[0]):
            return self._plain_view(func, args, kwargs)  # of all calls a third: nothing is made, executed or changed
        signature = Signature()
        simulated = bool(kwargs) and self._goes_to_accelerator(kwargs)
        try:
            signature.add(args)
            if kwargs:
                signature.add_named(kwargs)
        except ForeignTensorError:
            return NotImplemented
        if not (simulated or signature.simulated or self._shapes_only):
            return self.host.run(self.wrap, func, args, kwargs, signature)
        if strategy is None:
            strategy = self._strategies[func] = self._strategy_for(func)
        if strategy is DeviceMode._decompose:  # its parts are dispatched one by one, and may need real arguments to stay real
            return self._decompose(func, types, args, kwargs, signature)
        given = args, kwargs
        if signature.real:
            args, kwargs = pytree.tree_map_only(torch.Tensor, self.simulate, (args, kwargs))
        output = strategy(self, func, types, args, kwargs, signature)
        if not self._nested:
            self._simulated(func, *given, output, signature)
        return output

    def _simulated(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any, signature: Signature) -> None:
        """Follow what an operator did to values and copied, and report that the device executes it. Real arguments are still real."""
        self._propagation.propagate(func, args, kwargs, output)
        if func is _CLONE or func is _TO_COPY:
            self.copied(args[0], output)
        if self._strategies[func] is not DeviceMode._view:
            self._execute(func, args, kwargs, output, signature)

    def copied(self, source: Any, copy: Any) -> None:
        """Report that the device copied a tensor; nothing if one of the two is on the host."""
        if not self._nested and type(source) is FakeTensor and type(copy) is FakeTensor:
            self.allocations.copied(source, copy)

    def executed(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any, *, host_waits: bool = False) -> None:
        """Report an operator that a handler answered without simulating it, and that the device executes nevertheless.

        With `host_waits` the host then waits for the stream.
        """
        if not self._nested:
            signature = Signature()
            signature.add(args)
            signature.add_named(kwargs)
            signature.host_waits = host_waits
            self._execute(func, args, kwargs, output, signature)

    def executed_kernel(self, name: str, arguments: Sequence[Any], output: Any, **options: Any) -> None:
        """Report a kernel that is not that of an operator of the dispatcher, by a name like theirs (`triton.softmax.default`)."""
        if not self._nested:
            device = next((leaf.fake_device for leaf in pytree.tree_leaves((arguments, output)) if type(leaf) is FakeTensor), None)
            number = self._executed.kernel(name, arguments, output, options)
            self._report(number, device, name, arguments, {}, output, host_waits=False)

    def later_kernel(self, name: str, arguments: Sequence[Any], output: Any, **options: Any) -> Callable[[], None]:
        """What reports such a kernel where it is executed later. It keeps none of the tensors."""
        device = next((leaf.fake_device for leaf in pytree.tree_leaves((arguments, output)) if type(leaf) is FakeTensor), None)
        number = self._executed.kernel(name, arguments, output, options)
        return lambda: self._executed.executed(number, device, host_waits=False)

    def _execute(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any, signature: Signature) -> None:
        """Report that the device executes the operator."""
        if self.fused is not None and self.fused.take():
            return
        number = signature.operation
        if number is None:
            number = self._executed.number(func, args, kwargs, output, signature.key_of(func))
        device = signature.device or kwargs.get("device")
        if self.compiled is None:
            self._executed.executed(number, device, host_waits=signature.host_waits)
        else:
            self._report(number, device, func, args, kwargs, output, host_waits=signature.host_waits)

    def _report(
        self,
        number: int,
        device: torch.device | None,
        func: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        output: Any,
        *,
        host_waits: bool,
    ) -> None:
        """Report that the operation of this number is executed, and whether it is compiled code."""
        compiled = self.compiled if self.compiled is not None and number != NOTHING and self.compiled.is_running() else None
        self._executed.executed(number, device, host_waits=host_waits)
        if compiled is not None:
            compiled.executed(func, args, kwargs, output)

    def _unwraps_itself(self, kind: type) -> bool:
        """Whether tensors of this class implement operators themselves, and come first."""
        if unwraps_itself(kind):
            return True
        self._implemented.add(kind)
        return False

    def _goes_to_accelerator(self, kwargs: dict[str, Any]) -> bool:
        """Whether the result is on an accelerator because of the operator's `device`, which then gets its ordinal."""
        device = kwargs.get("device")
        if device is None or device.type not in (CPP_ACCELERATOR, ACCELERATOR):
            return False
        kwargs["device"] = self.devices.to_python(device)
        kwargs.pop("pin_memory", None)
        return True

    def _strategy_for(self, func: Any) -> Callable[..., Any]:
        """How calls of this operator are answered; depends on the operator alone."""
        if not is_builtin_operator(func) and func.namespace != _FSDP:
            return DeviceMode._run
        if has_kernel_for_key(func.name(), "CompositeImplicitAutograd") and not has_kernel_for_key(func.name(), "CUDA"):
            return DeviceMode._decompose
        if func in _ALIASING or func.is_view:
            takes_one = sum("Tensor" in str(argument.type) for argument in schema_of(func).arguments) == 1
            return DeviceMode._view if takes_one else DeviceMode._run
        tags = func.tags
        if torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags:
            return DeviceMode._run
        if torch.Tag.inplace_view in tags or "out" in overload_name(func).split("_") or func is aten.lift_fresh.default:
            return DeviceMode._run
        return DeviceMode._change_in_place if is_in_place_foreach(func) else DeviceMode._replay

    def higher_order(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """An operator that calls others (random initialisation of DTensors, flex attention): the operators that it calls are simulated."""
        rule = higher_order_rules.get(func)
        if rule is None:
            return self.dispatch(func, types, args, kwargs)
        with self:
            return rule(*args, **kwargs)

    def _view(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any], signature: Signature) -> Any:
        """A view operator."""
        source = args[0]
        if type(source) is FakeTensor and is_plain(source):
            return self._plain_view(func, args, kwargs)
        return self._run(func, types, args, kwargs, signature)

    def _plain_view(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """A view of a plain tensor: running the meta kernel itself is the fastest way to make an alias."""
        source, *rest = args
        with self._undispatched:
            output = func(plain(source), *rest, **kwargs)
        if isinstance(output, (list, tuple)):
            return [self.wrap(part, source.fake_device) for part in output]
        return self.wrap(output, source.fake_device)

    def _decompose(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any], signature: Signature) -> Any:
        """A composite operator that autograd did not decompose (inference mode): its parts are dispatched as operators of their own."""
        cpp = {**kwargs, "device": self.devices.to_cpp(kwargs["device"])} if kwargs.get("device") is not None else kwargs
        with self:
            output = func.decompose(*args, **cpp)
        if output is NotImplemented:
            output = self._run(func, types, args, kwargs, signature)
            if not self._nested:
                self._execute(func, args, kwargs, output, signature)
        return output

    def _change_in_place(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any], signature: Signature) -> Any:
        """An operator that changes lists of tensors in place (an optimizer's) makes no tensors: its kernel could only raise an error."""
        return None if elements_match(args) else self._replay(func, types, args, kwargs, signature)

    def _replay(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any], signature: Signature) -> Any:
        """An operator whose result depends on metadata alone: run it once for each signature."""
        try:
            key = signature.key_of(func)
            known = self._recipes.get(key)
        except TypeError:  # an argument that cannot be hashed
            return self._run(func, types, args, kwargs, signature)
        if known is None:
            output = self._run(func, types, args, kwargs, signature)
            signature.operation = self._executed.number(func, args, kwargs, output, key)
            self._recipes[key] = recipe_for(output, args), signature.operation
            return output
        recipe, signature.operation = known
        if recipe is None or not recipe.fits(args):
            return self._run(func, types, args, kwargs, signature)
        made: list[Any] = []
        output = recipe.make(self.wrap, args, made)
        if made and not self._nested:
            self.allocations.tensors_created(made, derived=signature.simulated)
        return output

    def _run(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: dict[str, Any], signature: Signature) -> Any:
        """Run the operator's meta kernel, as torch's own FakeTensorMode does."""
        host_reads = self._host_reads
        try:
            with self.unobserved():  # what a decomposition allocates inside, one CUDA kernel does not
                output = self.dispatch(func, types, args, kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            output = self.unknown(func, args, kwargs)
            if output is UNHANDLED:
                raise
            self._host_reads += 1
        except Exception as error:
            restated = None if self._nested else cuda_error_for(error, func, args, kwargs)
            if restated is None:
                raise
            raise restated from None
        if self._host_reads != host_reads:  # by the operator, or by one that its kernel calls
            signature.add((output,))  # whose shape does not follow from the arguments
            signature.host_waits = True
        if not self._nested:
            made = [leaf for leaf in pytree.tree_leaves(output) if type(leaf) is FakeTensor]
            if any(tensor.layout is not torch.strided for tensor in made):
                raise sparse_gap(func)
            if made:
                self.allocations.tensors_created(made, derived=signature.simulated)
        return output
