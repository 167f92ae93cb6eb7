"""The places where torch runs Python code on the script's behalf: each calls `check` there, with a tensor on `device`.

What a place does is as short as can be, for the same program runs on the simulated device and on the host.
"""

import copy
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import Function
from torch.autograd.graph import register_multi_grad_hook, saved_tensors_hooks
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional
from torch.nn.utils import parametrize, stateless
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, checkpoint_sequential, create_selective_checkpoint_contexts
from torch.utils.data import DataLoader, Dataset

Check = Callable[[torch.Tensor], None]
Place = Callable[[Check, str], Any]

PLACES: dict[str, Place] = {}
"""By name; on the host they run without a simulation."""

DISTRIBUTED: dict[str, Place] = {}
"""Those that need a process group."""


def place(function: Place) -> Place:
    """Declare a place."""
    PLACES[function.__name__] = function
    return function


def distributed(function: Place) -> Place:
    """Declare a place that needs a process group."""
    DISTRIBUTED[function.__name__] = function
    return function


def leaf(device: str) -> torch.Tensor:
    return torch.ones(4, 4, device=device, requires_grad=True)


def returning(check: Check, result: Any = None) -> Callable[..., Any]:
    """A callback that checks the first tensor it finds in its arguments."""

    def callback(*args: Any, **kwargs: Any) -> Any:
        check(next(value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)))
        return result

    return callback


class Checked(nn.Linear):
    """A layer that checks in forward."""

    def __init__(self, check: Check, device: str) -> None:
        super().__init__(4, 4, device=device)
        self.check = check

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        return super().forward(x)


def function_of(check: Check) -> Any:
    """An autograd function that checks in both directions."""

    class Doubled(Function):
        @staticmethod
        def forward(x: torch.Tensor) -> torch.Tensor:
            check(x)
            return x * 2

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            check(output)
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            check(ctx.saved_tensors[0])
            check(gradient)
            return gradient * 2

        @staticmethod
        def vmap(info: Any, in_dims: Any, x: torch.Tensor) -> Any:
            check(x)
            return x * 2, in_dims[0]

        @staticmethod
        def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
            check(tangent)
            return tangent * 2

    return Doubled


# -- backward -------------------------------------------------------------------------------------------------------------------------


@place
def tensor_hook(check: Check, device: str) -> None:
    x = leaf(device)
    x.register_hook(check)
    (product := x * 2).register_hook(check)
    product.sum().backward()


@place
def post_accumulate_grad_hook(check: Check, device: str) -> None:
    x = leaf(device)
    x.register_post_accumulate_grad_hook(check)
    x.sum().backward()


@place
def node_hooks(check: Check, device: str) -> None:
    y = leaf(device) * 2
    assert y.grad_fn is not None
    y.grad_fn.register_prehook(returning(check))
    y.grad_fn.register_hook(returning(check))
    y.sum().backward()


@place
def multi_grad_hook(check: Check, device: str) -> None:
    x = leaf(device)
    register_multi_grad_hook((x,), returning(check))
    x.sum().backward()


@place
def module_backward_hooks(check: Check, device: str) -> None:
    layer = nn.Linear(4, 4, device=device)
    layer.register_full_backward_pre_hook(returning(check))
    layer.register_full_backward_hook(returning(check))
    layer(leaf(device)).sum().backward()


@place
def autograd_function(check: Check, device: str) -> None:
    function_of(check).apply(leaf(device)).sum().backward()


@place
def saved_tensors(check: Check, device: str) -> None:
    def both(x: torch.Tensor) -> torch.Tensor:
        check(x)
        return x

    with saved_tensors_hooks(both, both):
        y = leaf(device).exp()
    y.sum().backward()


@place
def saved_on_the_host(check: Check, device: str) -> None:
    with torch.autograd.graph.save_on_cpu():
        y = function_of(check).apply(leaf(device)).exp()
    y.sum().backward()


@place
def recomputation(check: Check, device: str) -> None:
    checkpoint(lambda x: returning(check, x * 2)(x), leaf(device), use_reentrant=False, determinism_check="default").sum().backward()


@place
def reentrant_recomputation(check: Check, device: str) -> None:
    checkpoint(lambda x: returning(check, x * 2)(x), leaf(device), use_reentrant=True).sum().backward()


@place
def nested_recomputation(check: Check, device: str) -> None:
    layers = nn.Sequential(*(Checked(check, device) for _ in range(2)))

    def inner(x: torch.Tensor) -> Any:
        return checkpoint(layers, x, use_reentrant=False)

    checkpoint(inner, leaf(device), use_reentrant=False).sum().backward()
    checkpoint_sequential(layers, 2, leaf(device), use_reentrant=False).sum().backward()


@place
def selective_recomputation(check: Check, device: str) -> None:
    def policy(ctx: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        if args and isinstance(args[0], torch.Tensor):  # not those that make the tensors of the check itself
            check(args[0])
        return CheckpointPolicy.MUST_SAVE if operator is torch.ops.aten.mm.default else CheckpointPolicy.PREFER_RECOMPUTE

    def layer(x: torch.Tensor) -> torch.Tensor:
        check(x)
        return (x @ x).to(x.device, x.dtype).exp()

    contexts = lambda: create_selective_checkpoint_contexts(policy)  # noqa: E731
    checkpoint(layer, leaf(device), use_reentrant=False, context_fn=contexts).sum().backward()


@place
def autograd_grad(check: Check, device: str) -> None:
    x = leaf(device)
    (product := x * 2).register_hook(check)
    torch.autograd.grad(product.sum(), x)


@place
def autograd_backward(check: Check, device: str) -> None:
    (product := leaf(device) * 2).register_hook(check)
    torch.autograd.backward([product], [torch.ones_like(product)])


@place
def batched_gradients(check: Check, device: str) -> None:
    x = leaf(device)
    (product := x * 2).register_hook(check)
    torch.autograd.grad(product, x, torch.ones(3, 4, 4, device=device), is_grads_batched=True)


@place
def double_backward(check: Check, device: str) -> None:
    x = leaf(device)
    (gradient,) = torch.autograd.grad(x.exp().sum(), x, create_graph=True)
    gradient.register_hook(check)
    (gradient * 2).sum().backward()


@place
def backward_in_backward(check: Check, device: str) -> None:
    def hook(gradient: torch.Tensor) -> None:
        with torch.enable_grad():
            inner = leaf(device) * 2
            inner.register_hook(check)
            inner.sum().backward()
        check(gradient)

    (product := leaf(device) * 2).register_hook(hook)
    product.sum().backward()


@place
def callback_after_backward(check: Check, device: str) -> None:
    x = leaf(device)
    x.register_hook(lambda gradient: torch.autograd.Variable._execution_engine.queue_callback(lambda: check(gradient)))  # type: ignore[attr-defined]
    x.sum().backward()


@place
def engine_of_another_thread(check: Check, device: str) -> None:
    """The engine moves reentrant backward to a thread of its own where it is nested deeper than 60."""

    def nested(x: torch.Tensor, depth: int) -> Any:
        return checkpoint(nested, x, depth - 1, use_reentrant=True) if depth else returning(check, x * 2)(x)

    nested(leaf(device), 62).sum().backward()


# -- modules and optimizers -------------------------------------------------------------------------------------------------------------


@place
def module_forward_hooks(check: Check, device: str) -> None:
    layer = Checked(check, device)
    layer.register_forward_pre_hook(lambda module, given: check(given[0]))
    layer.register_forward_hook(lambda module, given, output: check(output))
    layer.register_forward_pre_hook(lambda module, args, kwargs: check(args[0]), with_kwargs=True)
    layer(leaf(device))


@place
def hooks_of_all_modules(check: Check, device: str) -> None:
    handles = [
        nn.modules.module.register_module_forward_pre_hook(lambda module, given: check(given[0])),
        nn.modules.module.register_module_forward_hook(lambda module, given, output: check(output)),
        nn.modules.module.register_module_full_backward_hook(returning(check)),
    ]
    nn.Linear(4, 4, device=device)(leaf(device)).sum().backward()
    for handle in handles:
        handle.remove()


@place
def parametrization(check: Check, device: str) -> None:
    class Symmetric(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            check(x)
            return x.triu() + x.triu(1).transpose(-1, -2)

    layer = nn.Linear(4, 4, device=device)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    layer(leaf(device)).sum().backward()


@place
def functional_modules(check: Check, device: str) -> None:
    layer = Checked(check, device)
    with torch.no_grad():
        torch.func.functional_call(layer, dict(layer.named_parameters()), (leaf(device),))
        with pytest.warns(FutureWarning):
            stateless.functional_call(layer, dict(layer.named_parameters()), (leaf(device),))


@place
def state_dict_hooks(check: Check, device: str) -> None:
    layer = nn.Linear(4, 4, device=device)
    layer.register_state_dict_post_hook(lambda module, state, prefix, metadata: check(state["weight"]))
    layer.register_load_state_dict_pre_hook(lambda module, state, *rest: check(state["weight"]))
    layer.register_load_state_dict_post_hook(lambda module, keys: check(module.weight.detach()))
    layer.load_state_dict(layer.state_dict())


@place
def applied_to_modules(check: Check, device: str) -> None:
    def initialise(module: Any) -> None:
        check(module.weight.detach())

    nn.Linear(4, 4, device=device).apply(initialise)
    nn.Linear(4, 4, device=device)._apply(lambda tensor: returning(check, tensor)(tensor.detach()))


@place
def optimizer_hooks(check: Check, device: str) -> None:
    x = leaf(device)
    optimizer = torch.optim.AdamW([x])
    optimizer.register_step_pre_hook(lambda optimizer, *rest: check(x.detach()))
    optimizer.register_step_post_hook(lambda optimizer, *rest: check(x.detach()))
    optimizer.register_state_dict_post_hook(lambda optimizer, state: check(state["state"][0]["exp_avg"]))
    handles = [
        register_optimizer_step_pre_hook(lambda optimizer, *rest: check(x.detach())),
        register_optimizer_step_post_hook(lambda optimizer, *rest: check(x.detach())),
    ]
    x.sum().backward()
    optimizer.step()
    optimizer.state_dict()
    for handle in handles:
        handle.remove()


@place
def optimizer_closure(check: Check, device: str) -> None:
    x = leaf(device)

    def closure() -> Any:
        check(x.detach())
        x.grad = None
        (loss := x.sum()).backward()
        return loss

    torch.optim.SGD([x]).step(closure)


@place
def averaged_model(check: Check, device: str) -> None:
    def average(averaged: torch.Tensor, current: torch.Tensor, count: Any) -> torch.Tensor:
        check(current)
        return averaged

    layer = nn.Linear(4, 4, device=device)
    ema = torch.optim.swa_utils.AveragedModel(layer, avg_fn=average)
    for _ in range(2):
        ema.update_parameters(layer)


# -- functional transforms --------------------------------------------------------------------------------------------------------------


@place
def functional_transforms(check: Check, device: str) -> None:
    x = leaf(device).detach()
    scalar, same = (lambda x: returning(check, x.exp().sum())(x)), (lambda x: returning(check, x * 2)(x))
    torch.func.grad(scalar)(x)
    torch.func.vmap(same)(x)
    torch.func.jvp(same, (x,), (x,))
    torch.func.vjp(same, x)[1](x)
    torch.func.hessian(scalar)(x)
    torch.func.vmap(torch.func.grad(scalar))(x)


@place
def transforms_of_functions(check: Check, device: str) -> None:
    x, function = leaf(device).detach(), function_of(check)
    torch.func.grad(lambda x: function.apply(x).sum())(x)
    torch.func.vmap(function.apply)(x)
    torch.func.jvp(function.apply, (x,), (x,))


@place
def functional_autograd(check: Check, device: str) -> None:
    x = leaf(device).detach()
    torch.autograd.functional.jacobian(lambda x: returning(check, x * 2)(x.detach()), x)
    torch.autograd.functional.vhp(lambda x: returning(check, x.exp().sum())(x.detach()), x, x)


# -- modes and subclasses ---------------------------------------------------------------------------------------------------------------


@place
def function_mode(check: Check, device: str) -> None:
    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (torch.Tensor.add, torch.Tensor.to, torch.empty_like):
                check(args[0])
            return func(*args, **(kwargs or {}))

    x = leaf(device).detach()
    with Mode():
        x.add(1)
        x.to(torch.float16)
        torch.empty_like(x)


@place
def dispatch_mode(check: Check, device: str) -> None:
    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            check(result.detach())
            return result

    with Mode():
        torch.zeros(4, 4, device=device).add(1)
        leaf(device).exp().sum().backward()
    with torch.inference_mode(), Mode():
        x = torch.zeros(4, 4, device=device)
        assert x.to(x.device) is x
        assert x.to(x.device, x.dtype) is x


@place
def wrapper_subclass(check: Check, device: str) -> None:
    x = Wrapper(leaf(device).detach(), check)
    torch.zeros_like(x * 2).to(device, torch.float16)
    assert x.to(x.device) is x


class Wrapper(torch.Tensor):
    """A tensor that holds another one, as quantised tensors do."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor, check: Check) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=inner.device)  # type: ignore[attr-defined]

    def __init__(self, inner: torch.Tensor, check: Check) -> None:
        self.held, self.check = inner, check

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        self = args[0]
        self.check(self.held)
        asked = (kwargs or {}).get("device", self.device)
        assert asked is None or asked == self.device, asked
        inner = pytree.tree_map_only(Wrapper, lambda wrapper: wrapper.held, (args, kwargs or {}))
        return Wrapper(func(*inner[0], **inner[1]), self.check)


@place
def function_subclass(check: Check, device: str) -> None:
    class Checking(Wrapper):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
            assert func in (torch.Tensor.to, torch.zeros_like, torch.Tensor.add)
            check(args[0].held)
            return super().__torch_function__(func, types, args, kwargs or {})

    x = Checking(leaf(device).detach(), check)
    torch.zeros_like(x).add(1).to(device, torch.float16)


# -- operators in Python ------------------------------------------------------------------------------------------------------------------


@place
def custom_operator(check: Check, device: str) -> None:
    with torch.library._scoped_library("place", "FRAGMENT"):

        @torch.library.custom_op("place::double", mutates_args=())
        def double(x: torch.Tensor) -> torch.Tensor:
            check(x)
            return x * 2

        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            check(gradient)
            return gradient * 2

        double.register_fake(returning_empty(check))
        double.register_autograd(backward, setup_context=lambda ctx, inputs, output: check(output))
        double(leaf(device)).sum().backward()


def returning_empty(check: Check) -> Callable[[torch.Tensor], torch.Tensor]:
    def shape(x: torch.Tensor) -> torch.Tensor:
        check(x)
        return torch.empty_like(x)

    return shape


@place
def composite_operator(check: Check, device: str) -> None:
    with torch.library._scoped_library("composite", "DEF") as library:
        library.define("double(Tensor x) -> Tensor")
        library.impl("double", lambda x: returning(check, x * 2)(x), "CompositeImplicitAutograd")
        torch.ops.composite.double(leaf(device)).sum().backward()


@place
def control_flow(check: Check, device: str) -> Any:
    x = leaf(device).detach()
    if device == "cpu":  # it would be compiled
        return check(x)
    return torch.cond(torch.ones((), device=device) > 0, lambda x: returning(check, x * 2)(x), lambda x: returning(check, x * 3)(x), (x,))


@place
def loss_with_callback(check: Check, device: str) -> None:
    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        check(a)
        return (a - b).abs().sum(-1)

    x = leaf(device).detach()
    functional.triplet_margin_with_distance_loss(x, x, x, distance_function=distance)


# -- everything else ----------------------------------------------------------------------------------------------------------------------


class Samples(Dataset[torch.Tensor]):
    """Samples on the device."""

    def __init__(self, check: Check, device: str) -> None:
        self.check, self.device = check, device

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        sample = torch.ones(4, 4, device=self.device)
        self.check(sample)
        return sample


@place
def loader(check: Check, device: str) -> None:
    def collate(samples: list[torch.Tensor]) -> torch.Tensor:
        check(samples[0])
        return torch.stack(samples)

    list(DataLoader(Samples(check, device), batch_size=2, collate_fn=collate))


@place
def futures(check: Check, device: str) -> None:
    future: torch.futures.Future[Any] = torch.futures.Future()
    chained = future.then(lambda done: returning(check, done.value())(done.value()))
    future.add_done_callback(lambda done: check(done.value()))
    future.set_result(torch.ones(4, 4, device=device))
    torch.futures.collect_all([chained]).then(lambda done: check(done.value()[0].value())).wait()


@place
def trees(check: Check, device: str) -> None:
    pytree.tree_map(check, {"a": [torch.ones(4, 4, device=device)]})
    pytree.tree_map_only(torch.Tensor, check, (torch.ones(4, 4, device=device), 1))


@place
def threads(check: Check, device: str) -> None:
    thread = threading.Thread(target=lambda: check(torch.ones(4, 4, device=device)))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: check(torch.ones(4, 4, device=device))).result()


@place
def copies_and_files(check: Check, device: str) -> None:
    class Copied:
        def __deepcopy__(self, memo: Any) -> Any:
            check(torch.ones(4, 4, device=device))

    copy.deepcopy([Copied(), torch.ones(4, device=device)])
    torch.save(torch.ones(4, 4), file := io.BytesIO())
    file.seek(0)
    torch.load(file, map_location=lambda storage, location: returning(check, storage)(torch.ones(4, 4, device=device)))


@place
def interpreted_graph(check: Check, device: str) -> None:
    class Checking(torch.fx.Interpreter):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            check(args[0].detach())
            return super().call_function(target, args, kwargs)

    Checking(torch.fx.symbolic_trace(lambda x: torch.add(x, 1))).run(leaf(device))


@place
def compiled(check: Check, device: str) -> Any:
    if device == "cpu":  # it would need a compiler
        return check(torch.ones(4, 4))
    return torch.compile(lambda x: returning(check, x * 2)(x.detach()))(leaf(device)).sum().backward()


@place
def captured_graph(check: Check, device: str) -> Any:
    x = torch.ones(4, 4, device=device)
    if device == "cpu":
        return check(x)
    with torch.cuda.stream(torch.cuda.Stream()), torch.cuda.graph(torch.cuda.CUDAGraph()):
        check(x)
    return None


@place
def generators_and_finalizers(check: Check, device: str) -> None:
    class Held:
        def __del__(self) -> None:
            check(torch.ones(4, 4, device=device))

    def layers() -> Iterator[Any]:
        held = Held()
        yield held

    for _ in layers():
        pass


# -- with a process group -----------------------------------------------------------------------------------------------------------------


@distributed
def future_of_work(check: Check, device: str) -> None:
    x = leaf(device).detach()
    work: Any = dist.all_reduce(x, async_op=True)
    work.get_future().then(lambda done: check(done.value()[0])).wait()


@distributed
def ddp_communication_hook(check: Check, device: str) -> None:
    model = nn.parallel.DistributedDataParallel(Checked(check, device))

    def hook(state: Any, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
        check(bucket.buffer())
        work: Any = dist.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda done: returning(check, done.value()[0])(done.value()[0]))

    model.register_comm_hook(None, hook)
    model(leaf(device)).sum().backward()


@distributed
def fsdp_hooks(check: Check, device: str) -> None:
    layers: Any = nn.Sequential(Checked(check, device), nn.Linear(4, 4, device=device), nn.GELU())
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=True)
    for layer in layers[:2]:
        layer.register_forward_pre_hook(lambda module, given: check(given[0]))
        layer.register_full_backward_hook(returning(check))
        fully_shard(layer, mp_policy=policy)
    fully_shard(layers, mp_policy=policy)
    layers[0].weight.register_post_accumulate_grad_hook(lambda parameter: check(parameter.grad.to_local()))
    layers(leaf(device)).sum().backward()


@distributed
def fsdp1_hooks(check: Check, device: str) -> None:
    model = torch.distributed.fsdp.FullyShardedDataParallel(Checked(check, device), device_id=0, use_orig_params=True)
    (output := model(leaf(device))).register_hook(check)
    output.sum().backward()
